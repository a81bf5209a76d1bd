"""`chromadb.execution.expression.plan`."""

from retrieval_store.api.chroma.expressions import Search

__all__ = ["Search"]
