"""`chromadb.base_types`: types of values."""

from retrieval_store.api.chroma.types import Metadata, UpdateMetadata, Where, WhereDocument
from retrieval_store.base.arrays import SparseVector

__all__ = ["Metadata", "SparseVector", "UpdateMetadata", "Where", "WhereDocument"]
