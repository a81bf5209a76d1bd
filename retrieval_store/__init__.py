"""retrieval-store: an embedded store for finding texts and images by nearness, words and metadata.

    import retrieval_store

    client = retrieval_store.Client("./store")
    collection = client.get_or_create_collection("notes")
    collection.add(ids=["a", "b"], documents=["first note", "second note"])
    collection.query(query_texts="first", n_results=1)

Importing this package imports nothing else; its names are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store.client import Client, EphemeralClient, PersistentClient
    from retrieval_store.collection import Collection
    from retrieval_store.embeddings import EmbeddingFunction
    from retrieval_store.loaders import DataLoader
    from retrieval_store.results import DeleteResult, GetResult, QueryResult

__version__ = "0.1.0"
__all__ = [
    "Client",
    "Collection",
    "DataLoader",
    "DeleteResult",
    "EmbeddingFunction",
    "EphemeralClient",
    "GetResult",
    "PersistentClient",
    "QueryResult",
    "__version__",
]

_HOMES = {
    "Client": "retrieval_store.client",
    "PersistentClient": "retrieval_store.client",
    "EphemeralClient": "retrieval_store.client",
    "Collection": "retrieval_store.collection",
    "DataLoader": "retrieval_store.loaders",
    "EmbeddingFunction": "retrieval_store.embeddings",
    "DeleteResult": "retrieval_store.results",
    "GetResult": "retrieval_store.results",
    "QueryResult": "retrieval_store.results",
}


if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
