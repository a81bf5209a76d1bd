"""`chromadb.utils.batch_utils`: cuts records into batches that a client accepts."""

from collections.abc import Sequence
from typing import Any

from retrieval_store.api.client import Client

Batch = tuple[Sequence[str], Any, Any, Any]


def create_batches(
    api: Client,
    ids: Sequence[str],
    embeddings: Any = None,
    metadatas: Any = None,
    documents: Any = None,
) -> list[Batch]:
    """The ids, embeddings, metadatas and documents of each batch, in the order of the arguments of
    `add`. Since a store accepts any number of records at once, there is one batch, unless
    `get_max_batch_size` of `api` returns a smaller number."""
    most = api.get_max_batch_size()
    columns = (ids, embeddings, metadatas, documents)
    starts = range(0, max(1, len(ids)), min(most, max(1, len(ids))))
    return [
        tuple(None if column is None else column[start : start + most] for column in columns)  # type: ignore[misc]
        for start in starts
    ]
