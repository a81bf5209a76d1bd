"""`chromadb.api.models.Collection`."""

from retrieval_store.api.collection import Collection

__all__ = ["Collection"]
