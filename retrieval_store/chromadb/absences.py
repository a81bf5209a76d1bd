"""What of chromadb isn't here, and what to do instead."""

from retrieval_store.errors import NameNotHereError

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


def refused(module: str, name: str) -> Exception:
    """The error for a name that a module here lacks: for one that chromadb has an ImportError that
    says why, since `from … import` shows no message of an AttributeError."""
    if name in _REASON_OF:
        return NameNotHereError(f"{module} has no {name}: {_REASON_OF[name]}")
    return AttributeError(f"module {module!r} has no attribute {name!r}")
