"""`chromadb.api.models.AsyncCollection`."""

from retrieval_store.direct.asynchronous import AsyncCollection

__all__ = ["AsyncCollection"]
