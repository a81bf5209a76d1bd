"""The configuration of a collection: its distance, and settings of its index, words and vectors.

Users write it as `configuration={"hnsw": {"space": "cosine", …}}`, or in an older form as metadata
keys such as "hnsw:space", which also stay in the metadata. On a cluster there are more settings:
how the cluster stores a collection (`check_storage`), and how it reads (`check_consistency`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from retrieval_store.api.arguments import DEFAULT, metadata_key
from retrieval_store.api.results import SPACE, SPARSE
from retrieval_store.base.arrays import Datatype, Metric
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import Payload, check_object, fraction, quote, whole_number
from retrieval_store.errors import ConflictError, DamagedError, InvalidArgumentError
from retrieval_store.indexes import CODES, CODES_BEFORE, EXACT, HNSW, HNSW_DEFAULTS
from retrieval_store.indexes.exact import BY_PRODUCTS
from retrieval_store.query.types import TEXT_DEFAULTS, CollectionRecord, NewSpace

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer


class HnswConfiguration(TypedDict, total=False):
    """The distance, and how the HNSW index is built and searched."""

    space: Literal["l2", "ip", "cosine"]
    ef_construction: int
    max_neighbors: int
    ef_search: int
    M: int
    num_threads: int
    batch_size: int
    sync_threshold: int
    resize_factor: float


class IndexConfiguration(TypedDict, total=False):
    """An index by its name; an index of a plugin has settings, too."""

    name: str
    settings: Mapping[str, Any]


class TextConfiguration(TypedDict, total=False):
    """How documents are split into words."""

    language: str | None
    stemming: bool
    stopwords: bool | list[str]


class VectorConfiguration(TypedDict, total=False):
    """The data type in which vectors are stored."""

    datatype: Datatype


class SparseConfiguration(TypedDict, total=False):
    """The settings of sparse vectors. A collection without them has no sparse vectors. idf: whether
    queries weight each index of a sparse vector by its inverse document frequency."""

    idf: bool


class Configuration(TypedDict, total=False):
    """The settings of a collection: see `Client.create_collection`."""

    hnsw: HnswConfiguration
    index: str | IndexConfiguration
    text: TextConfiguration
    vectors: VectorConfiguration
    sparse: SparseConfiguration | None
    expires: str | None
    recall: float | None
    qdrant: Mapping[str, Any]
    embedding_function: Any


DEFAULTS: Payload = {"space": "l2", **HNSW_DEFAULTS}
SEARCH_TIME = ("ef_search", "text", "recall")
LIMITS = {"max_neighbors": (2, 1024), "ef_construction": (1, 100_000), "ef_search": (1, 1_000_000)}
DEFAULT_INDEX: Payload = {"name": CODES, "settings": {}}
INDEX_BEFORE: Payload = {"name": HNSW, "settings": {}}  # of collections that name none
VECTOR_DEFAULTS: Payload = {"datatype": "float32"}
LEFT_OUT: Payload = {  # what collections have whose settings leave it out
    "index": INDEX_BEFORE,
    "text": TEXT_DEFAULTS,
    "vectors": VECTOR_DEFAULTS,
    "sparse": None,
    "expires": None,
    "recall": None,
    "qdrant": {},
}
ALL_DEFAULTS: Payload = {**DEFAULTS, **LEFT_OUT, "index": DEFAULT_INDEX}
_DATATYPES: tuple[Datatype, ...] = ("float32", "float16")
PARTS = ("hnsw", "index", "text", "vectors", "sparse", "expires", "recall", "qdrant")
_log = log_of()
_ALIASES = {"M": "max_neighbors"}
OF_CHROMA = ("num_threads", "batch_size", "sync_threshold", "resize_factor")  # nothing to us
IN_METADATA = {
    "hnsw:space": "space",
    "hnsw:construction_ef": "ef_construction",
    "hnsw:M": "max_neighbors",
    "hnsw:search_ef": "ef_search",
}


def agreeing(metadata: Payload | None, configuration: Payload) -> Payload | None:
    """The metadata of a collection. Metadata for Chroma may contain index settings, such as
    "hnsw:space". They get their current values from the configuration, since these may have
    changed."""
    settings = configuration.get("hnsw")
    if metadata is None or not isinstance(settings, dict):
        return metadata
    current = {key: settings[name] for key, name in IN_METADATA.items() if name in settings}
    return {key: current.get(key, value) for key, value in metadata.items()}


def given_settings(configuration: Any, metadata: Payload | None) -> Payload:
    """The settings that the configuration and the metadata name, in one dict. Each setting of the
    HNSW index is a key of the dict. An index of another kind is under the key "index". Raises
    InvalidArgumentError for an invalid setting, and ConflictError if configuration and metadata
    contradict each other."""
    settings = _from_configuration(configuration)
    for key, name in IN_METADATA.items():
        if metadata and key in metadata:
            value = _check_setting(name, metadata[key], f"metadata[{key!r}]")
            if settings.setdefault(name, value) != value:
                raise ConflictError(
                    f"configuration says {name} is {settings[name]!r}, metadata[{key!r}] {value!r}"
                )
    for key in metadata or {}:
        if key.startswith("hnsw:") and key.removeprefix("hnsw:") in OF_CHROMA:
            _note(key)
        elif key.startswith("hnsw:") and key not in IN_METADATA:
            _log.warning("metadata key %r chooses no setting here; it is only stored", key)
    return settings


@lru_cache(maxsize=2 * len(OF_CHROMA))
def _note(key: str) -> None:
    """Log, once in a process, that a setting of Chroma has no effect here."""
    _log.warning("%r has no meaning here, where vectors are found without it", key)


def split_function(configuration: Any, function: Any) -> tuple[Any, Any]:
    """The configuration without its embedding function, and the embedding function of the
    configuration or, if it has none, the passed function. Raises ConflictError if both are given
    and differ."""
    if not isinstance(configuration, Mapping) or "embedding_function" not in configuration:
        return configuration, function
    others = {name: value for name, value in configuration.items() if name != "embedding_function"}
    inside = configuration["embedding_function"]
    if function is not DEFAULT and function is not inside:
        raise ConflictError(
            "embedding_function is given as an argument and another in configuration: expected one"
        )
    return others, inside


def stored_settings(record: CollectionRecord) -> Payload:
    """The settings of a collection, as `Client` stored them. Raises InvalidArgumentError for a
    collection that QdrantClient created, and DamagedError for settings that no version of this
    package writes."""
    if isinstance(record.settings, dict) and _is_written(record.settings, record.expires):
        return record.settings
    if record.is_qdrant_only:
        raise InvalidArgumentError(
            f"collection {record.name!r} was made by QdrantClient, with vectors of another kind: "
            "Collection works with one unnamed dense float32 vector a point, and distances Cosine, "
            "Euclid or Dot; open it with retrieval_store.qdrant.QdrantClient"
        )
    raise DamagedError(
        f"the catalog is damaged: collection {record.name!r} has settings that no version writes"
    )


def _is_written(settings: Payload, expires: str | None) -> bool:
    """Whether some version of this package writes settings of this form. expires: the metadata key
    for expiry times, which the engine reads from the settings."""
    match {**LEFT_OUT, **settings}:
        case {
            "metadata": None | dict(),
            "hnsw": dict() as hnsw,
            "embedding_function": None | dict() as spec,
            "index": {"name": str(), "settings": dict()},
            "text": {
                "language": None | str(),
                "stemming": bool(),
                "stopwords": bool() | list() as words,
            },
            "vectors": {"datatype": datatype},
            "sparse": None | {"idf": bool()},
            "expires": key,
            "recall": None | float() as recall,
        }:
            return (
                set(hnsw) == set(DEFAULTS)
                and hnsw["space"] in BY_PRODUCTS
                and (spec is None or _is_spec(spec))
                and (isinstance(words, bool) or all(isinstance(word, str) for word in words))
                and datatype in _DATATYPES
                and key == expires
                and (recall is None or 0 <= recall <= 1)
            )
    return False


def all_settings(record: CollectionRecord) -> Payload:
    """The settings of a collection in the form of `given_settings`."""
    stored: dict[str, Any] = {**LEFT_OUT, **stored_settings(record)}
    index = {**stored["index"], "name": _today(stored["index"]["name"])}
    return {**stored["hnsw"], **{name: stored[name] for name in LEFT_OUT}, "index": index}


def merge_given(settings: Payload, config: Payload) -> Payload:
    """A copy of the settings, in which the values of `config` replace earlier values."""
    merged: dict[str, Any] = {**settings, **config}
    for part in ("text", "vectors"):
        merged[part] = {**_part(settings, part), **_part(config, part)}
    analyzer_of(merged)  # refuses what doesn't go together
    if merged["recall"] is not None and merged["index"]["name"] not in (CODES, HNSW):
        raise InvalidArgumentError(
            f"configuration has recall {merged['recall']!r} beside index "
            f"{merged['index']['name']!r}, expected {CODES!r} or {HNSW!r}"
        )
    return merged


def _part(settings: Payload, name: str) -> dict[str, Any]:
    """A copy of one part of the settings, such as "text" or "vectors"; an empty dict if there is no
    such part."""
    part: Any = settings.get(name, {})
    return dict(part)


def to_store(settings: Payload) -> Payload:
    """The settings in the form in which they are stored."""
    stored: Payload = {
        "hnsw": {name: settings[name] for name in DEFAULTS},
        "index": settings["index"],
        "text": settings["text"],
        "vectors": settings["vectors"],
    }
    others = ("sparse", "expires", "qdrant")
    used = {name: settings[name] for name in others if settings[name]}
    if settings["recall"] is not None:
        used["recall"] = settings["recall"]
    return stored | used


def index_of(settings: Payload) -> Payload:
    """The name and settings of the index of a collection, from all its settings."""
    index: Payload = settings["index"]  # type: ignore[assignment]
    if index["name"] not in (HNSW, CODES):
        return index
    index_settings: Payload = {name: settings[name] for name in HNSW_DEFAULTS}
    if index["name"] == CODES:
        index_settings = {"ef_search": settings["ef_search"]}
    if settings["recall"] is not None:
        index_settings["recall"] = settings["recall"]
    return {"name": index["name"], "settings": index_settings}


def _today(name: str) -> str:
    """The current name of an index, which may be stored under a former name."""
    return CODES if name == CODES_BEFORE else name


def _is_spec(spec: Payload) -> bool:
    match spec:
        case {"name": str(), "settings": dict()}:
            return True
        case {"custom": str()}:
            return "name" not in spec
    return False


def refuse_conflict(config: Payload, stored: Payload, changeable: tuple[str, ...]) -> None:
    """Raise ConflictError if `config` has another value than `stored` for a setting that can't be
    changed."""
    for name, value in merge_given(stored, config).items():
        if name not in changeable and value != stored[name]:
            raise ConflictError(
                f"the collection was created with {name}={stored[name]!r}, which can't become "
                f"{value!r}: leave {name} out to go on with it as it is, or add what it holds to a "
                "collection of another name"
            )


def require_sparse(argument: str, record: CollectionRecord) -> None:
    """Raise InvalidArgumentError if points of the collection can't have sparse vectors."""
    if not stored_settings(record).get("sparse"):
        raise InvalidArgumentError(
            f"{argument} is given, but collection {record.name!r} has no sparse vectors: those are "
            "for collections made with configuration={'sparse': {}}"
        )


def edit_record(
    name: str | None, metadata: Payload | None, config: Payload, record: CollectionRecord
) -> CollectionRecord:
    """The record with a new name, metadata and settings; an argument that is None changes nothing.
    Raises ConflictError for a setting that can't be changed."""
    stored = all_settings(record)
    refuse_conflict(config, stored, SEARCH_TIME)
    kept = {part: value for part, value in record.settings.items() if part != "recall"}
    settings = {**kept, **to_store(merge_given(stored, config))}
    if metadata is not None:
        settings["metadata"] = metadata
    return replace(record, name=name or record.name, settings=settings)


def metric_of(settings: Payload) -> Metric:
    """The distance of a collection with these settings."""
    return cast(Metric, settings["space"])


def spaces_of(settings: Payload) -> dict[str, NewSpace]:
    """The vector spaces for a new collection, from all its settings."""
    datatype = cast(Datatype, _part(settings, "vectors")["datatype"])
    spaces = {SPACE: NewSpace(metric_of(settings), index_of(settings), datatype=datatype)}
    if settings["sparse"]:
        spaces[SPARSE] = NewSpace("ip", _part(settings, "sparse"), "sparse")
    return spaces


def spaces_in(record: CollectionRecord) -> dict[str, NewSpace]:
    """The vector spaces that the settings of a collection describe, by name: "" for its embeddings,
    and "sparse" if it has sparse vectors."""
    return spaces_of(all_settings(record))


def _from_configuration(configuration: Any) -> Payload:
    if configuration is None:
        return {}
    parts = _mapping(configuration, "configuration", PARTS)
    names = (*DEFAULTS, *_ALIASES, *OF_CHROMA)
    checks: dict[str, Callable[[Any], Any]] = {
        "index": _check_index,
        "text": _check_text,
        "vectors": _check_vectors,
        "sparse": _check_sparse,
        "expires": partial(metadata_key, name="configuration['expires']"),
        "recall": partial(fraction, name="configuration['recall']"),
        "qdrant": check_storage,
    }
    others: Payload = {
        name: check(parts[name]) for name, check in checks.items() if parts.get(name) is not None
    }
    if "recall" in parts:  # of which None is a setting
        others.setdefault("recall", None)
    return others | {
        _ALIASES.get(name, name): _check_setting(
            _ALIASES.get(name, name), value, f"configuration['hnsw'][{name!r}]"
        )
        for name, value in _mapping(
            _or_empty(parts, "hnsw"), "configuration['hnsw']", names
        ).items()
        if value is not None and not _is_chroma_setting(name)
    }


def _is_chroma_setting(name: str) -> bool:
    if name in OF_CHROMA:
        _note(name)
    return name in OF_CHROMA


def _check_text(value: Any) -> Payload:
    """The settings of word search that were passed; raises an error for an invalid setting."""
    place = "configuration['text']"
    settings: dict[str, Any] = dict(_mapping(value, place, tuple(TEXT_DEFAULTS)))
    for name, setting in settings.items():
        match name, setting:
            case ("language", None | str()) | ("stemming" | "stopwords", bool()):
                continue
            case ("stopwords", list() | tuple()) if all(isinstance(w, str) for w in setting):
                settings[name] = list(setting)
                continue
        expected = {
            "language": "a str or None",
            "stemming": "a bool",
            "stopwords": "a bool or a list of str",
        }
        raise InvalidArgumentError(
            f"{place}[{name!r}] is {quote(setting)}, expected {expected[name]}"
        )
    return settings


def _check_vectors(value: Any) -> Payload:
    """The settings of vectors that were passed; raises an error for an invalid setting."""
    place = "configuration['vectors']"
    settings: dict[str, Any] = dict(_mapping(value, place, tuple(VECTOR_DEFAULTS)))
    if settings and (datatype := settings["datatype"]) not in _DATATYPES:
        raise InvalidArgumentError(
            f"{place}['datatype'] is {quote(datatype)}, expected one of {_DATATYPES}"
        )
    return settings


def _check_sparse(value: Any) -> Payload:
    """The settings of sparse vectors, with defaults for missing ones; raises an error for an
    invalid setting."""
    place = "configuration['sparse']"
    idf = _mapping(value, place, ("idf",)).get("idf", False)
    if not isinstance(idf, bool):
        raise InvalidArgumentError(f"{place}['idf'] is {quote(idf)}, expected a bool")
    return {"idf": idf}


def analyzer_of(settings: Payload) -> "Analyzer":
    """The analyzer that splits documents into words, for a collection with these stored
    settings."""
    from retrieval_store.base import analysis

    return analysis.analyzer_of(_part(settings, "text") or TEXT_DEFAULTS)


def _check_index(value: Any) -> Payload:
    """The name and settings of an index, from a dict or from a name alone; raises an error for
    invalid settings."""
    if isinstance(value, str):
        value = {"name": value}
    index = _mapping(value, "configuration['index']", ("name", "settings"))
    name = index.get("name")
    if not isinstance(name, str):
        raise InvalidArgumentError(
            f"configuration['index']['name'] is {quote(name)}, expected {CODES!r}, {HNSW!r}, "
            f"{EXACT!r} or the name of a plugin"
        )
    settings = check_object(_or_empty(index, "settings"), "configuration['index']['settings']")
    if settings and _today(name) in (HNSW, EXACT, CODES):
        hint = {HNSW: "give them under 'hnsw'", EXACT: "the exact search has none"}.get(
            name, "configuration['recall'] says how many of the nearest to find"
        )
        raise InvalidArgumentError(f"configuration['index'] has settings for {name!r}; {hint}")
    return {"name": _today(name), "settings": settings}


def _or_empty(settings: Mapping[str, Any], name: str) -> Any:
    return {} if settings.get(name) is None else settings[name]


def _mapping(value: Any, place: str, names: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{place} is {quote(value)}, expected a dict")
    unknown = [name for name in value if name not in names]
    if unknown:
        hint = "; it belongs under 'hnsw'" if unknown[0] in (*DEFAULTS, *_ALIASES) else ""
        raise InvalidArgumentError(
            f"{place} has the unknown key {unknown[0]!r}; known are {', '.join(names)}{hint}"
        )
    return value


def _check_setting(name: str, value: Any, place: str) -> str | int:
    if name != "space":
        return whole_number(value, place, *LIMITS[name])
    return check_space(value, place)


def check_space(value: Any, place: str = "default_space()") -> Metric:
    """The distance, if a collection can have it; otherwise raises InvalidArgumentError."""
    if not isinstance(value, str) or value not in BY_PRODUCTS:
        raise InvalidArgumentError(f"{place} is {quote(value)}, expected one of {BY_PRODUCTS}")
    return value


STORAGE = "configuration['qdrant']"
STORAGE_COUNTS = ("shard_number", "replication_factor", "write_consistency_factor")
STORAGE_KEYS = (*STORAGE_COUNTS, "on_disk", "quantization", "indexes")
CONSISTENCIES = ("majority", "quorum", "all")


def check_storage(value: Any) -> Payload:
    """The settings with which a Qdrant cluster stores a collection; raises InvalidArgumentError for
    an invalid setting. They are: the number of shards, and of each shard's replicas; how many
    replicas must confirm a write; whether vectors are on disk; how vectors are quantized; which
    metadata keys are indexed from the beginning."""
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{STORAGE} is {quote(value)}, expected a dict")
    unknown = [key for key in value if key not in STORAGE_KEYS]
    if unknown:
        raise InvalidArgumentError(
            f"{STORAGE} has the unknown key {unknown[0]!r}; known are {', '.join(STORAGE_KEYS)}"
        )
    storage = {key: setting for key, setting in value.items() if setting is not None}
    return {
        key: _check_storage_setting(key, setting, f"{STORAGE}[{key!r}]")
        for key, setting in storage.items()
    }


def _check_storage_setting(key: str, value: Any, place: str) -> Any:
    if key in STORAGE_COUNTS:
        return whole_number(value, place, 1)
    if key == "on_disk" and not isinstance(value, bool):
        raise InvalidArgumentError(f"{place} is {quote(value)}, expected True or False")
    if key == "quantization" and not isinstance(value, str):
        return check_object(value, place)
    if key == "indexes":
        return _check_indexes(value, place)
    return value


def _check_indexes(value: Any, place: str) -> Payload:
    from retrieval_store.query.protocols import INDEX_KINDS

    kinds = check_object(value, place)
    for key, kind in kinds.items():
        if kind not in INDEX_KINDS:
            expected = f"expected the kind of an index, one of {INDEX_KINDS}"
            raise InvalidArgumentError(f"{place}[{key!r}] is {quote(kind)}, {expected}")
    return kinds


def check_consistency(value: Any) -> int | str | None:
    """How many replicas a read queries; raises InvalidArgumentError for an invalid value."""
    if value is None or value in CONSISTENCIES:
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        expected = ", ".join(map(repr, CONSISTENCIES))
        raise InvalidArgumentError(
            f"consistency is {quote(value)}, expected a number of replicas, {expected}, or None"
        )
    return value
