"""`chromadb.api.models.Collection`."""

from retrieval_store.direct.collection import Collection

__all__ = ["Collection"]
