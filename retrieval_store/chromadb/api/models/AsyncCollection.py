"""`chromadb.api.models.AsyncCollection`."""

from retrieval_store.api.aio import AsyncCollection

__all__ = ["AsyncCollection"]
