"""`chromadb.execution.expression.plan`."""

from retrieval_store.direct.chroma.expressions import Search

__all__ = ["Search"]
