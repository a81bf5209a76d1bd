"""retrieval-store: an embedded store for finding texts and images by nearness, words and metadata.

    import retrieval_store

    client = retrieval_store.Client("./store")
    collection = client.get_or_create_collection("notes")
    collection.add(ids=["a", "b"], documents=["first note", "second note"])
    collection.query(query_texts="first", n_results=1)

Importing this package imports nothing else. Its names are loaded when they are first used, and so
are the subpackages `errors`, `filters`, `embeddings`, `loaders`, `plugins` and `utils`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval_store import embeddings, errors, filters, loaders, plugins, utils
    from retrieval_store.api.aio import AsyncClient, AsyncCollection, AsyncHttpClient
    from retrieval_store.api.arguments import DEFAULT_DATABASE, DEFAULT_TENANT, check_records
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
        Embeddable,
        Embeddings,
        IDs,
        Images,
        Include,
        Metadata,
        Metadatas,
        UpdateCollectionMetadata,
        UpdateMetadata,
        URIs,
        Where,
        WhereDocument,
    )
    from retrieval_store.api.client import (
        Client,
        ClientAPI,
        EphemeralClient,
        HttpClient,
        PersistentClient,
        restore,
    )
    from retrieval_store.api.collection import Collection
    from retrieval_store.api.configuration import Configuration
    from retrieval_store.api.frames import to_arrow, to_pandas
    from retrieval_store.api.query_arguments import Groups, Hybrid, Rerank
    from retrieval_store.api.results import (
        DeleteResult,
        Explanation,
        GetResult,
        QueryResult,
        Stats,
        StoreStats,
        Warmed,
        WriteResult,
    )
    from retrieval_store.base.arrays import SparseVector
    from retrieval_store.embeddings import EmbeddingFunction, SparseEmbeddingFunction
    from retrieval_store.embeddings.fastembed import FastEmbedEmbeddingFunction
    from retrieval_store.embeddings.ollama import OllamaEmbeddingFunction
    from retrieval_store.embeddings.onnx.functions import MiniLMEmbedding, OnnxEmbedding
    from retrieval_store.embeddings.open_clip import OpenCLIPEmbeddingFunction
    from retrieval_store.embeddings.openai import OpenAIEmbeddingFunction
    from retrieval_store.embeddings.sentence_transformers import (
        SentenceTransformerEmbeddingFunction,
    )
    from retrieval_store.embeddings.wordllama import WordLlamaEmbedding
    from retrieval_store.evaluation.harness import evaluate
    from retrieval_store.evaluation.measures import Comparison, Evaluation
    from retrieval_store.loaders import DataLoader
    from retrieval_store.loaders.images import ImageLoader, TextLoader
    from retrieval_store.plugins import register_embedding_function
    from retrieval_store.query.reasons import Reason, Reasons
    from retrieval_store.rerankers import (
        CrossEncoderReranker,
        Reranker,
        SimilarityReranker,
        TokenReranker,
    )

__version__ = "0.2.0"
__all__ = [
    "DEFAULT_DATABASE",
    "DEFAULT_TENANT",
    "URI",
    "AsyncClient",
    "AsyncCollection",
    "AsyncHttpClient",
    "Client",
    "ClientAPI",
    "Collection",
    "CollectionMetadata",
    "Comparison",
    "Configuration",
    "CrossEncoderReranker",
    "DataLoader",
    "DeleteResult",
    "Documents",
    "Embeddable",
    "EmbeddingFunction",
    "Embeddings",
    "EphemeralClient",
    "Evaluation",
    "Explanation",
    "FastEmbedEmbeddingFunction",
    "GetResult",
    "GroupBy",
    "Groups",
    "HttpClient",
    "Hybrid",
    "IDs",
    "ImageLoader",
    "Images",
    "Include",
    "K",
    "Key",
    "Knn",
    "Limit",
    "MaxK",
    "Metadata",
    "Metadatas",
    "MinK",
    "MiniLMEmbedding",
    "OllamaEmbeddingFunction",
    "OnnxEmbedding",
    "OpenAIEmbeddingFunction",
    "OpenCLIPEmbeddingFunction",
    "PersistentClient",
    "QueryResult",
    "Reason",
    "Reasons",
    "Rerank",
    "Reranker",
    "Rrf",
    "Search",
    "SearchResult",
    "Select",
    "SentenceTransformerEmbeddingFunction",
    "Settings",
    "SimilarityReranker",
    "SparseEmbeddingFunction",
    "SparseVector",
    "Stats",
    "StoreStats",
    "TextLoader",
    "TokenReranker",
    "URIs",
    "UpdateCollectionMetadata",
    "UpdateMetadata",
    "Val",
    "Warmed",
    "Where",
    "WhereDocument",
    "WordLlamaEmbedding",
    "WriteResult",
    "__version__",
    "check_records",
    "embeddings",
    "errors",
    "evaluate",
    "filters",
    "loaders",
    "plugins",
    "register_embedding_function",
    "require_core",
    "restore",
    "to_arrow",
    "to_pandas",
    "utils",
]
_NAMES = {
    "retrieval_store.api.aio": "AsyncClient AsyncCollection AsyncHttpClient",
    "retrieval_store.api.arguments": "DEFAULT_DATABASE DEFAULT_TENANT check_records",
    "retrieval_store.api.chroma.expressions": (
        "GroupBy K Key Knn Limit MaxK MinK Rrf Search Select Val"
    ),
    "retrieval_store.api.chroma.search": "SearchResult",
    "retrieval_store.api.chroma.settings": "Settings",
    "retrieval_store.api.chroma.types": (
        "CollectionMetadata Documents Embeddable Embeddings IDs Images Include Metadata Metadatas "
        "URI URIs UpdateCollectionMetadata UpdateMetadata Where WhereDocument"
    ),
    "retrieval_store.api.client": (
        "Client ClientAPI EphemeralClient HttpClient PersistentClient restore"
    ),
    "retrieval_store.api.collection": "Collection",
    "retrieval_store.api.configuration": "Configuration",
    "retrieval_store.api.frames": "to_arrow to_pandas",
    "retrieval_store.api.query_arguments": "Groups Hybrid Rerank",
    "retrieval_store.api.results": (
        "DeleteResult Explanation GetResult QueryResult Stats StoreStats Warmed WriteResult"
    ),
    "retrieval_store.base.arrays": "SparseVector",
    "retrieval_store.embeddings": "EmbeddingFunction SparseEmbeddingFunction",
    "retrieval_store.embeddings.fastembed": "FastEmbedEmbeddingFunction",
    "retrieval_store.embeddings.ollama": "OllamaEmbeddingFunction",
    "retrieval_store.embeddings.onnx.functions": "MiniLMEmbedding OnnxEmbedding",
    "retrieval_store.embeddings.open_clip": "OpenCLIPEmbeddingFunction",
    "retrieval_store.embeddings.openai": "OpenAIEmbeddingFunction",
    "retrieval_store.embeddings.sentence_transformers": "SentenceTransformerEmbeddingFunction",
    "retrieval_store.embeddings.wordllama": "WordLlamaEmbedding",
    "retrieval_store.evaluation.harness": "evaluate",
    "retrieval_store.evaluation.measures": "Comparison Evaluation",
    "retrieval_store.loaders": "DataLoader",
    "retrieval_store.loaders.images": "ImageLoader TextLoader",
    "retrieval_store.plugins": "register_embedding_function",
    "retrieval_store.query.reasons": "Reason Reasons",
    "retrieval_store.rerankers": "CrossEncoderReranker Reranker SimilarityReranker TokenReranker",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

_ROOMS = ("embeddings", "errors", "filters", "loaders", "plugins", "utils")


def require_core(package: str, version: str) -> None:
    """Check that retrieval-store has the minor version that another package of this project needs.
    That package calls this function when it is imported.

    Args:
        package: the name of the other package's distribution.
        version: the version of the other package, such as "0.2.1".

    Raises:
        MissingDependencyError: retrieval-store is older or newer. The message names the version
            that the other package needs.
    """
    major, minor = map(int, version.split(".")[:2])
    if [str(major), str(minor)] != __version__.split(".")[:2]:
        from retrieval_store.errors import MissingDependencyError

        raise MissingDependencyError(
            f"{package} {major}.{minor} wants retrieval-store >= {major}.{minor},<{major}."
            f"{minor + 1}; {__version__} is installed"
        )


if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        if name in _ROOMS:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
