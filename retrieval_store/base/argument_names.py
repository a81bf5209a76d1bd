"""Names of arguments in other libraries. Errors can then name the corresponding argument of this
library."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from retrieval_store.errors import InvalidTypeError

P = ParamSpec("P")
R = TypeVar("R")

# For each argument of this library, its names in queries of LangChain, LlamaIndex, Qdrant and
# others.
OF_QUERIES: Mapping[str, Sequence[str]] = {
    "n_results": ("top_k", "k", "n", "limit", "count", "size", "num_results", "similarity_top_k"),
    "where": ("filter", "filters", "query_filter", "metadata", "metadatas"),
    "where_document": ("document", "documents", "contains"),
    "query_texts": ("text", "texts", "query", "queries", "query_text", "q"),
    "query_embeddings": (
        *("vector", "vectors", "embedding", "embeddings", "query_vector", "query_embedding"),
    ),
    "query_images": ("image", "images", "query_image"),
    "query_uris": ("uri", "uris", "query_uri"),
    "max_distance": ("distance_threshold",),
    "min_score": ("score_threshold", "threshold", "similarity_cutoff"),
    "mode": ("search_mode", "search_type"),
    "rerank": ("reranker",),
}
_PATH = (
    *("persist_directory", "persist_dir", "persist_path", "chroma_path", "db_path", "directory"),
    *("folder_path", "location", "uri", "dir", "file"),
)
_URL = ("host", "address", "server", "endpoint", "qdrant_url", "chroma_server_host")
_EMBEDDING_FUNCTION = ("embedding", "embeddings", "embed_model", "embedder", "embedding_model")
_DISTANCE = ("distance_strategy", "metric", "space", "similarity", "distance_func")
_CONFIGURATION = ("collection_configuration", "index_params", "hnsw_config", "config")
_COLLECTION_NAME = ("name", "index_name", "table_name", "collection", "table")

OF_CLIENTS: Mapping[str, Sequence[str]] = {
    "path": _PATH,
    "url": _URL,
    "settings": ("client_settings", "chroma_settings"),
    "embedding_function= of create_collection": ("embedding_function", *_EMBEDDING_FUNCTION),
    "name= of create_collection": ("collection_name", *_COLLECTION_NAME),
}
OF_QDRANT: Mapping[str, Sequence[str]] = {
    "path": [name for name in _PATH if name != "location"],
    "url": ("address", "server", "endpoint", "qdrant_url"),
}
OF_COLLECTIONS: Mapping[str, Sequence[str]] = {
    "name": ("collection_name", *_COLLECTION_NAME),
    "embedding_function": _EMBEDDING_FUNCTION,
    "metadata": ("collection_metadata",),
    "configuration": (*_CONFIGURATION, *_DISTANCE, "distance", "vectors_config"),
    "data_loader": ("loader",),
}
# Names of arguments in the vector stores of frameworks. Adapters name embedding functions as their
# framework does.
OTHER_NAMES: Mapping[str, Sequence[str]] = {
    "collection_name": _COLLECTION_NAME,
    "embedding": ("embedding_function", *_EMBEDDING_FUNCTION),
    "path": _PATH,
    "url": _URL,
    "client": ("chroma_client", "client_settings", "qdrant_client", "aclient"),
    "collection": ("chroma_collection",),
    "distance": _DISTANCE,
    "configuration": _CONFIGURATION,
    "collection_metadata": ("metadata", "collection_kwargs"),
}


def hint_at_argument(unknown: str, names: Mapping[str, Sequence[str]]) -> str:
    """The end of an error message, which names this library's argument for an argument of another
    library, for example ": here it is path". The result is empty if no other library has that
    argument.

    Args:
        unknown: the unknown name.
        names: for each argument of this library, its names in other libraries.
    """
    ours = next((ours for ours, theirs in names.items() if unknown in theirs), None)
    return "" if ours is None else f": here it is {ours}"


def suggests_argument(
    names: Mapping[str, Sequence[str]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator of a method. If a caller uses another library's name for an argument, the
    InvalidTypeError suggests this library's name. (A parameter `**unknown` isn't used for these
    names. Frameworks that make tools of methods would show it to language models.)

    Args:
        names: for each argument of this library, its names in other libraries.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        code: Any = getattr(method, "__code__", None)
        own_names = frozenset(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])

        @wraps(method)
        def call_and_suggest(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return method(*args, **kwargs)
            except TypeError as error:
                is_of_this_call = error.__traceback__ is None or error.__traceback__.tb_next is None
                others = (name for name in kwargs if name not in own_names)
                foreign = [name for name in others if hint_at_argument(name, names)]
                if not (foreign and is_of_this_call):
                    raise
                raise InvalidTypeError(
                    f"{method.__qualname__}() got an unexpected keyword argument {foreign[0]!r}"
                    f"{hint_at_argument(foreign[0], names)}"
                ) from None

        return call_and_suggest

    return decorate
