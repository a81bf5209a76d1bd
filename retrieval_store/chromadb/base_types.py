"""`chromadb.base_types`: types of values."""

from retrieval_store.base.arrays import SparseVector
from retrieval_store.direct.chroma.types import (
    Metadata,
    UpdateMetadata,
    Where,
    WhereDocument,
)

__all__ = ["Metadata", "SparseVector", "UpdateMetadata", "Where", "WhereDocument"]
