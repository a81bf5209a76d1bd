"""The names of chromadb that this package lacks, and what to use instead."""

from importlib.abc import MetaPathFinder
from typing import Any

from retrieval_store.errors import NameNotHereError
from retrieval_store.utils.embedding_functions import CALLABLE

PACKAGE = "retrieval_store.chromadb."

_CLOUD = (
    "it is about Chroma's cloud, its tenants and its servers; a store is opened by its path, and a "
    "server or a cluster by Client(url=…)"
)
_INDEXES = (
    "nothing has to be said about indexes; all keys and texts can be filtered by, and "
    "configuration= chooses the distance"
)
_INSTALLED = "it is about how chromadb is installed"
_SYSTEM = "it is about what chromadb is made of, which this package isn't"
_REASONS = {
    _CLOUD: "CloudClient AdminClient AdminAPI AsyncClientAPI AsyncClientCreator ClientCreator "
    "AdminClientCreator CloudClientArg TokenTransportHeader ReadLevel Cmek",
    _INDEXES: "Schema VectorIndexConfig HnswIndexConfig SpannIndexConfig FtsIndexConfig "
    "SparseVectorIndexConfig StringInvertedIndexConfig IntInvertedIndexConfig "
    "FloatInvertedIndexConfig BoolInvertedIndexConfig",
    _INSTALLED: "get_settings configure is_client is_in_colab IN_COLAB logger",
    _SYSTEM: "RustClient System Component BaseAPI ServerAPI",
    "write list[SparseVector]": "SparseVectors",
}
_REASON_OF = {name: reason for reason, names in _REASONS.items() for name in names.split()}
_CLIENTS = (
    "clients are made by retrieval_store.Client(path), those of one path share its store, and "
    "close() lets go of it, so there is nothing to clear"
)
_SERVER = (
    "`retrieval-store serve` serves a store, with keys of its own, and Client(url=…) connects to it"
)
# By modules, with all that is below them; those of others aren't chromadb's.
_OF_MODULES = {
    _CLIENTS: "api.client api.shared_system_client api.async_client",
    _SERVER: "app auth cli server quota rate_limit api.fastapi api.async_fastapi "
    "api.base_http_client api.async_api utils.fastapi",
    "there is no telemetry": "telemetry",
    "collection.facet(key) counts values": "utils.statistics",
    CALLABLE: "utils.embedding_functions",
    _SYSTEM: "api.collection_configuration api.configuration api.functions api.rust api.segment db "
    "ingest log_service migrations proto segment serde execution.executor utils.async_to_sync "
    "utils.delete_file utils.directory utils.distance_functions utils.lru_cache utils.messageid "
    "utils.read_write_lock utils.rendezvous_hash utils.results utils.sparse_embedding_utils",
}
_REASON_OF_MODULE = {
    name: reason for reason, names in _OF_MODULES.items() for name in names.split()
}


class AbsentModules(MetaPathFinder):
    """An import finder that raises an error for a module that chromadb has and this package lacks.
    It must be the last finder."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Raise NameNotHereError with the reason, if chromadb has a module of this name."""
        if not fullname.startswith(PACKAGE):
            return
        name = fullname.removeprefix(PACKAGE)
        while name:
            if name in _REASON_OF_MODULE:
                raise NameNotHereError(f"{fullname} isn't here: {_REASON_OF_MODULE[name]}")
            name = name.rpartition(".")[0]


def error_for(module: str, name: str) -> Exception:
    """The error for a name that a module of this package lacks. If chromadb has the name, it is an
    ImportError with the reason, since `from … import` does not show the message of an
    AttributeError."""
    if name in _REASON_OF:
        return NameNotHereError(f"{module} has no {name}: {_REASON_OF[name]}")
    return AttributeError(f"module {module!r} has no attribute {name!r}")
