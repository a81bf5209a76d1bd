"""`chromadb.execution.expression.operator`."""

from retrieval_store.api.chroma.expressions import (
    GroupBy,
    K,
    Key,
    Knn,
    Limit,
    MaxK,
    MinK,
    Rrf,
    Select,
    Val,
)

__all__ = ["GroupBy", "K", "Key", "Knn", "Limit", "MaxK", "MinK", "Rrf", "Select", "Val"]
