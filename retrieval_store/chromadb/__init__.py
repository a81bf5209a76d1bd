"""chromadb's module paths and names: programs change only the import.

    import retrieval_store.chromadb as chromadb
    from retrieval_store.chromadb.config import Settings

The names stand for objects of `retrieval_store`, or of `retrieval_store.utils`. Names of chromadb
that don't exist here raise an error with the reason (`absences`). The modules `api`, `base_types`,
`config`, `errors`, `execution`, `types` and `utils` have the same names as in chromadb. This
package may import every package except `cli`.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

from retrieval_store import __version__
from retrieval_store.api.aio import AsyncHttpClient
from retrieval_store.api.arguments import DEFAULT_DATABASE, DEFAULT_TENANT
from retrieval_store.api.chroma.expressions import (
    GroupBy,
    K,
    Key,
    Knn,
    Limit,
    MaxK,
    MinK,
    Rrf,
    Search,
    Select,
    Val,
)
from retrieval_store.api.chroma.search import SearchResult
from retrieval_store.api.chroma.settings import Settings
from retrieval_store.api.chroma.types import (
    URI,
    CollectionMetadata,
    Documents,
    Embeddings,
    IDs,
    Include,
    Metadata,
    Metadatas,
    UpdateCollectionMetadata,
    UpdateMetadata,
    URIs,
    Where,
    WhereDocument,
)
from retrieval_store.api.client import Client, ClientAPI, EphemeralClient, HttpClient
from retrieval_store.api.client import PersistentClient as _PersistentClient
from retrieval_store.api.collection import Collection
from retrieval_store.api.results import GetResult, QueryResult
from retrieval_store.base.arrays import SparseVector
from retrieval_store.chromadb import api, base_types, config, errors, execution, types, utils
from retrieval_store.chromadb.absences import AbsentModules, error_for
from retrieval_store.embeddings import EmbeddingFunction, SparseEmbeddingFunction

__all__ = [
    "DEFAULT_DATABASE",
    "DEFAULT_TENANT",
    "URI",
    "AsyncHttpClient",
    "Client",
    "ClientAPI",
    "Collection",
    "CollectionMetadata",
    "Documents",
    "EmbeddingFunction",
    "Embeddings",
    "EphemeralClient",
    "GetResult",
    "GroupBy",
    "HttpClient",
    "IDs",
    "Include",
    "K",
    "Key",
    "Knn",
    "Limit",
    "MaxK",
    "Metadata",
    "Metadatas",
    "MinK",
    "PersistentClient",
    "QueryResult",
    "Rrf",
    "Search",
    "SearchResult",
    "Select",
    "Settings",
    "SparseEmbeddingFunction",
    "SparseVector",
    "URIs",
    "UpdateCollectionMetadata",
    "UpdateMetadata",
    "Val",
    "Where",
    "WhereDocument",
    "__version__",
    "api",
    "base_types",
    "config",
    "errors",
    "execution",
    "types",
    "utils",
]


sys.meta_path.append(AbsentModules())


def PersistentClient(
    path: str | os.PathLike[str] = "./chroma",
    settings: Any = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
    *,
    trust: bool = False,
) -> Client:
    """A client of the store in a directory. A directory that Chroma created is refused."""
    return _PersistentClient(path, settings, tenant, database, trust=trust)


if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        raise error_for(__name__, name)
