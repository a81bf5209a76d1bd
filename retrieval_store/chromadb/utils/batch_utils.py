"""`chromadb.utils.batch_utils`: cuts records into batches that a client takes."""

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
    """Ids, embeddings, metadatas and documents of each batch, in the order of `add`. A store here
    takes any number of records at once, so it is one, unless api says otherwise by its
    `get_max_batch_size`."""
    most = api.get_max_batch_size()
    columns = (ids, embeddings, metadatas, documents)
    starts = range(0, max(1, len(ids)), min(most, max(1, len(ids))))
    return [
        tuple(None if column is None else column[start : start + most] for column in columns)  # type: ignore[misc]
        for start in starts
    ]
