"""Configurations of collections: in requests, in the catalog, and as settings of the engine.

This module checks the names, vectors and settings in requests. (Some settings have no effect here;
they are only stored and reported.) From these it makes a `CollectionConfig`, which is stored as
JSON in the catalog's settings under `KEY`, in the form that a server reports. A collection that
`Client` created has no such JSON; the configuration is then derived from its vector spaces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from qdrant_client import models

from retrieval_store.base.arrays import Datatype, Metric
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import Payload
from retrieval_store.errors import DamagedError
from retrieval_store.indexes import CODES, EXACT, HNSW_DEFAULTS
from retrieval_store.qdrant.payload_indexes import Indexes, by_path
from retrieval_store.qdrant.refusals import INVALID, bad_request, invalid, not_found, wrong
from retrieval_store.qdrant.tokenizers import tokens_of
from retrieval_store.query.types import CollectionRecord, NewSpace, SpaceRecord, VectorKind

KEY = "qdrant_front"
UNNAMED = ""
METRICS: dict[str, Metric] = {"Cosine": "cosine", "Euclid": "l2", "Dot": "ip", "Manhattan": "l1"}
DISTANCES = {metric: distance for distance, metric in METRICS.items()}
DATATYPES: dict[str, Datatype] = {"float32": "float32", "float16": "float16", "uint8": "uint8"}
# What a server says of a collection that was made without any of these settings.
MAX_NEIGHBORS, MIN_NEIGHBORS = 1024, 2  # of what our graph can be made with
HNSW_REPORTED: dict[str, Any] = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10_000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
OPTIMIZERS_REPORTED: Payload = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "indexing_threshold": 10_000,
    "flush_interval_sec": 5,
}
WAL_REPORTED: Payload = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}
PARAMS_REPORTED: Payload = {
    "shard_number": 1,
    "replication_factor": 1,
    "write_consistency_factor": 1,
    "on_disk_payload": True,
}


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector space. size: the dimension, None until it is known; idf: whether a sparse space
    weights the numbers of its vectors by idf."""

    name: str
    kind: VectorKind
    metric: Metric
    size: int | None = None
    datatype: Datatype = "float32"
    idf: bool = False

    @property
    def is_normalised(self) -> bool:
        """Whether a server would scale the vectors to length 1 before storing them."""
        return self.metric == "cosine" and self.kind != "sparse" and self.datatype != "uint8"


@dataclass(frozen=True)
class CollectionConfig:
    """The configuration of a collection, which its settings contain under `KEY`. vectors,
    sparse_vectors: the parameters of vector spaces by name; all other fields have the form in which
    a server reports them."""

    vectors: Mapping[str, Any] = field(default_factory=dict)
    sparse_vectors: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    hnsw_config: Mapping[str, Any] = field(default_factory=dict)
    optimizer_config: Mapping[str, Any] = field(default_factory=dict)
    wal_config: Mapping[str, Any] = field(default_factory=dict)
    quantization_config: Mapping[str, Any] | None = None
    strict_mode_config: Mapping[str, Any] | None = None
    payload_schema: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def by_name(self) -> dict[str, Vector]:
        """All vector spaces by name."""
        dense = {name: _dense(name, params) for name, params in self.vectors.items()}
        sparse = {name: _sparse(name, params) for name, params in self.sparse_vectors.items()}
        return dense | sparse

    @cached_property
    def strict(self) -> models.StrictModeConfig:
        """The limits of strict mode; no limits if it is off."""
        config = models.StrictModeConfig.model_validate(self.strict_mode_config or {})
        return config if config.enabled else models.StrictModeConfig()

    @cached_property
    def indexes(self) -> dict[str, Any]:
        """The payload indexes: for each key the parameters of its index."""
        return {key: index_params(schema) for key, schema in self.payload_schema.items()}

    @cached_property
    def indexes_by_path(self) -> Indexes:
        """The parameters of the payload indexes, by the paths of their keys."""
        return by_path(self.indexes)

    @property
    def lacks_sizes(self) -> bool:
        """Whether there is a dense vector space whose dimension is unknown until its first vector
        is written. `Client` creates such collections."""
        return any(params["size"] == 0 for params in self.vectors.values())

    def as_payload(self) -> Payload:
        """The JSON to store."""
        return {
            name: value
            for name, value in vars(self).items()
            if name in self.__dataclass_fields__ and value is not None
        }


def index_params(schema: Mapping[str, Any]) -> Any:
    """The stored parameters of a payload index, in the form in which a server reports them."""
    kind = schema["data_type"]
    params = getattr(models, f"{kind.capitalize()}IndexParams")
    return params.model_validate({"type": kind, **schema.get("params", {})})


def plain(model: Any) -> Payload:
    """An instance of a qdrant-client model as JSON, without the fields that are None."""
    dumped: Payload = model.model_dump(mode="json", exclude_none=True, by_alias=True)
    return dumped


def merge_settings(old: Mapping[str, Any] | None, diff: Any) -> Payload:
    """The old settings, updated by the values that the model `diff` sets."""
    return {**(old or {}), **({} if diff is None else plain(diff))}


def _dense(name: str, params: Mapping[str, Any]) -> Vector:
    return Vector(
        name,
        "multi" if "multivector_config" in params else "dense",
        METRICS[params["distance"]],
        params["size"] or None,
        DATATYPES.get(params.get("datatype", "float32"), "float32"),  # Turbo's are kept exactly
    )


def _sparse(name: str, params: Mapping[str, Any]) -> Vector:
    return Vector(name, "sparse", "ip", idf=params.get("modifier") == "idf")


def space_of(vector: Vector, hnsw: Mapping[str, Any]) -> NewSpace:
    """The vector space for the engine. hnsw: the settings of its graph, under Qdrant's names."""
    if vector.kind == "sparse":
        return NewSpace(vector.metric, {"idf": vector.idf}, "sparse")
    index = _index(hnsw) if vector.kind == "dense" else {}
    return NewSpace(vector.metric, index, vector.kind, vector.datatype, vector.size)


def _index(hnsw: Mapping[str, Any]) -> Payload:
    if hnsw.get("m") == 0:  # as users of Qdrant say that they want no graph
        return {"name": EXACT, "settings": {}}
    return {"name": CODES, "settings": {}}  # whatever graph a server would make


def _graph(hnsw: Mapping[str, Any]) -> Payload:
    """The settings of a graph, under the names that `Collection` uses."""
    neighbors = min(max(hnsw.get("m") or HNSW_REPORTED["m"], MIN_NEIGHBORS), MAX_NEIGHBORS)
    construction = max(hnsw.get("ef_construct") or HNSW_REPORTED["ef_construct"], 1)
    return {**HNSW_DEFAULTS, "max_neighbors": neighbors, "ef_construction": construction}


def hnsw_of(configuration: CollectionConfig, name: str) -> dict[str, Any]:
    """The graph settings of a vector space. A setting that the space lacks is taken from the
    collection."""
    space_settings = configuration.vectors.get(name, {}).get("hnsw_config", {})
    return {**configuration.hnsw_config, **space_settings}


def settings_of(configuration: CollectionConfig, metadata: Payload | None) -> Payload:
    """The settings to store in the catalog. They include the settings that `Collection` needs, if
    `Collection` can use this collection."""
    settings: Payload = {
        "metadata": metadata,
        "embedding_function": None,
        KEY: configuration.as_payload(),
    }
    vector = configuration.by_name.get(UNNAMED)
    if vector is not None and _suits_collection(vector):
        graph = _graph(hnsw_of(configuration, UNNAMED))
        settings["hnsw"] = {"space": vector.metric, **graph}
    return settings


def _suits_collection(vector: Vector) -> bool:
    return vector.kind == "dense" and vector.datatype == "float32" and vector.metric != "l1"


def configuration_of(record: CollectionRecord, spaces: Sequence[SpaceRecord]) -> CollectionConfig:
    """The configuration of a collection. If `Client` created the collection, the configuration is
    derived from its vector spaces (`spaces`)."""
    stored = stored_config(record)
    return (
        _configuration_of_spaces(spaces) if stored is None else _parse_config(record.name, stored)
    )


def stored_config(record: CollectionRecord) -> dict[str, Any] | None:
    """The JSON that the settings contain under `KEY`; None for a collection that `Client`
    created."""
    settings: Any = record.settings
    stored = settings.get(KEY) if isinstance(settings, dict) else ()
    if stored is None or isinstance(stored, dict):
        return stored
    raise DamagedError(
        f"the catalog is damaged: collection {record.name!r} has settings that no version writes"
    )


def _parse_config(name: str, stored: dict[str, Any]) -> CollectionConfig:
    """The configuration that stored JSON describes. Raises an error if the JSON is invalid, since
    files can be tampered with."""
    try:
        configuration = CollectionConfig(**stored)
        _ = configuration.by_name, configuration.strict, configuration.indexes
        return configuration
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"the catalog is damaged: collection {name!r} has no such configuration: {error!r}"
        ) from error


def _configuration_of_spaces(spaces: Sequence[SpaceRecord]) -> CollectionConfig:
    vectors, sparse = {}, {}
    for space in spaces:
        if space.kind == "sparse":
            sparse[space.name] = {"modifier": "idf"} if space.index.get("idf") else {}
        else:
            vectors[space.name] = _params_of(space)
    return CollectionConfig(vectors, sparse)


def with_sizes(configuration: CollectionConfig, spaces: Sequence[SpaceRecord]) -> CollectionConfig:
    """The configuration, with the dimensions that were unknown when it was stored, and were fixed
    by the first vectors."""
    known = {space.name: space.dimension or 0 for space in spaces}
    vectors = {
        name: {**params, "size": params["size"] or known.get(name, 0)}
        for name, params in configuration.vectors.items()
    }
    return replace(configuration, vectors=vectors)


def _params_of(space: SpaceRecord) -> Payload:
    params: Payload = {"size": space.dimension or 0, "distance": DISTANCES[space.metric]}
    if space.datatype != "float32":
        params["datatype"] = space.datatype
    if space.kind == "multi":
        params["multivector_config"] = {"comparator": "max_sim"}
    return params


LONGEST_NAME = 255
FORBIDDEN = '<>:"/\\|?*\0\x1f'
LARGEST_SIZE = 65_536
_log = log_of()
_logged: set[str] = set()
WITHOUT_MEANING = {
    "quantization_config": "vectors are coded as int8 here anyway, and answers stay exact",
    "optimizers_config": "there are no segments",
    "wal_config": "SQLite keeps the write-ahead log",
    "shard_number": "there is one shard",
    "sharding_method": "there is one shard",
    "replication_factor": "there is one replica",
    "write_consistency_factor": "there is one replica",
    "on_disk_payload": "payloads are on disk",
    "payload": "payloads are on disk",
    "id_tracker": "ids are on disk",
    "datatype": "vectors for Turbo quantization are stored exactly, as float32",
}


def check_name(name: Any) -> str:
    """The name, if a new collection can have it; otherwise raises Refused."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or set(name) & set(FORBIDDEN):
        raise bad_request(
            f"collection_name is {name!r}: expected 1 to {LONGEST_NAME} characters, none of "
            f"{FORBIDDEN!r}"
        )
    if not name:
        raise not_found("collection_name is empty")
    return name


def check_vector_name(name: Any, sparse: bool) -> str:
    """The name, if a new vector space can have it; otherwise raises Refused."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or set(name) & set(FORBIDDEN):
        raise bad_request(
            f"the vector name {name!r} has characters that none may have: {FORBIDDEN!r}"
        )
    if sparse and not name:
        raise bad_request("Sparse vector name cannot be empty")
    return name


def size_refused(name: str, size: int) -> str:
    """A server's error message for an invalid dimension."""
    at = f"vectors.{name}.size" if name else "vectors.size"
    message = f"value {size} invalid, must be from 1 to {LARGEST_SIZE}"
    return f"{INVALID}: [{at}: {message}]"


def dense_params(name: str, params: Any) -> dict[str, Any]:
    """The parameters of a dense vector space, in the form in which they are stored."""
    stored: dict[str, Any] = plain(_model(params, models.VectorParams))
    if stored["size"] == 0:
        raise wrong(size_refused(name, 0))
    if not 0 < stored["size"] <= LARGEST_SIZE:
        raise bad_request(size_refused(name, stored["size"]))
    refuse_pinned(f"vectors {name!r}", stored)
    check_ranges("vectors.?", stored)
    if "turbo" in stored.get("datatype", ""):
        warn_once({"datatype": stored["datatype"]})
    return stored


def refuse_pinned(noun: str, settings: Any) -> None:
    """Refuse the memory setting "pinned" for data that a server cannot pin in memory. noun: the
    kind of data, for the message."""
    if isinstance(settings, Mapping) and settings.get("memory") == "pinned":
        raise bad_request(f"{noun} have memory 'pinned', expected 'cold' or 'cached'")


def sparse_params(params: Any) -> dict[str, Any]:
    """The parameters of a sparse vector space, in the form in which they are stored."""
    stored: dict[str, Any] = plain(_model(params, models.SparseVectorParams))
    datatype = stored.get("index", {}).get("datatype", "")
    if "turbo" in datatype:
        raise wrong(f"Wrong input: sparse vectors do not support the datatype {datatype}")
    return stored


def _model(value: Any, kind: Any) -> Any:
    return value if isinstance(value, kind) else kind.model_validate(value or {})


def new_configuration(
    vectors: Any, sparse_vectors: Any, settings: Mapping[str, Any]
) -> CollectionConfig:
    """The configuration of a new collection. settings: the other arguments of
    `create_collection`."""
    if isinstance(vectors, models.VectorParams):
        vectors = {UNNAMED: vectors}
    dense = {
        check_vector_name(name, sparse=False): dense_params(name, params)
        for name, params in (vectors or {}).items()
    }
    sparse = {
        check_vector_name(name, sparse=True): sparse_params(params)
        for name, params in (sparse_vectors or {}).items()
    }
    if shared := dense.keys() & sparse.keys():
        raise wrong(
            f"Dense and sparse vector names must be unique - duplicate found with '{min(shared)}'"
        )
    present = {name: value for name, value in settings.items() if value is not None}
    configuration = with_settings(CollectionConfig(dense, sparse), present)
    warn_once(present)
    return configuration


def index_to_store(key: str, schema: Any) -> dict[str, Any]:
    """A new payload index, in the form in which a server reports it."""
    if schema is None:
        raise bad_request(f"field_schema of {key!r} is missing: expected a PayloadSchemaType")
    if hasattr(schema, "model_dump"):
        if isinstance(schema, models.TextIndexParams):
            tokens_of(schema)  # refuses what isn't known here
        params: dict[str, Any] = plain(schema)
        if params.get("lookup") is False and params.get("range") is False:
            raise invalid(
                "[field_schema.?: Validation error: the 'lookup' and 'range' capabilities can't "
                "be both disabled [{}]]"
            )
        return {"data_type": str(params.pop("type")), "params": plain(schema)}
    try:
        return {"data_type": models.PayloadSchemaType(schema).value}
    except ValueError:
        kinds = ", ".join(kind.value for kind in models.PayloadSchemaType)
        raise bad_request(
            f"field_schema of {key!r} is {schema!r}, expected one of {kinds}"
        ) from None


COUNTS = ("shard_number", "replication_factor", "write_consistency_factor")
PARAMS = (
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "read_fan_out_factor",
    "read_fan_out_delay_ms",
    "on_disk_payload",
    "payload",
    "id_tracker",
)
RANGES: Mapping[str, tuple[float, float | None]] = {  # that a server allows
    "ef_construct": (4, None),
    "full_scan_threshold": (10, None),
    "deleted_threshold": (0.0, 1.0),
    "vacuum_min_vector_number": (100, None),
    "max_segment_size": (1, None),
    "wal_capacity_mb": (1, None),
    "quantile": (0.5, 1.0),
    "max_query_limit": (1, None),
    "max_timeout": (1, None),
    "read_rate_limit": (1, None),
    "write_rate_limit": (1, None),
    "max_points_count": (1, None),
    "max_resident_memory_percent": (1, 100),
    "max_length": (1, None),
    "max_vectors": (1, None),
}


def check_ranges(place: str, settings: Any) -> None:
    """Refuse settings that are too small or too large. place: their path in the request's body."""
    by_name = plain(settings) if hasattr(settings, "model_dump") else settings
    if not isinstance(by_name, Mapping):
        return
    for name, value in by_name.items():
        if name in RANGES and isinstance(value, int | float):
            check_range(f"{place}.{name}", value, *RANGES[name])
        check_ranges(f"{place}.{name}", value)


CHECKED = (
    *("hnsw_config", "optimizers_config", "wal_config", "quantization_config"),
    "strict_mode_config",
)


def check_range(place: str, value: Any, least: float, most: float | None) -> None:
    """Refuse a number below `least` or above `most`. place: its path in the request's body."""
    if value >= least and (most is None or value <= most):
        return
    allowed = f"{least} or larger" if most is None else f"from {least} to {most}"
    raise invalid(f"[{place}: value {value} invalid, must be {allowed}]")


def with_settings(old: CollectionConfig, settings: Mapping[str, Any]) -> CollectionConfig:
    """A configuration with new values for these settings."""
    params = {name: _plain(settings[name]) for name in PARAMS if name in settings}
    refuse_pinned("payloads", params.get("payload"))
    for name in COUNTS:
        if settings.get(name, 1) < 1:
            raise bad_request(f"{name} is {settings[name]}, expected 1 or more")
    for name in CHECKED:
        check_ranges(name, settings.get(name))
    return CollectionConfig(
        old.vectors,
        old.sparse_vectors,
        {**old.params, **params},
        merge_settings(old.hnsw_config, settings.get("hnsw_config")),
        merge_settings(old.optimizer_config, settings.get("optimizers_config")),
        merge_settings(old.wal_config, settings.get("wal_config")),
        _quantization(old, settings.get("quantization_config")),
        merge_settings(old.strict_mode_config, settings.get("strict_mode_config")) or None,
        old.payload_schema,
    )


def _plain(value: Any) -> Any:
    return plain(value) if hasattr(value, "model_dump") else getattr(value, "value", value)


def _quantization(old: CollectionConfig, value: Any) -> Any:
    if value is None:
        return old.quantization_config
    return None if value == models.Disabled.DISABLED else plain(value)


def warn_once(settings: Mapping[str, Any]) -> None:
    """Log each setting that is stored and reported but has no effect here. Each setting is logged
    once in a process."""
    for name in settings:
        if name in WITHOUT_MEANING and name not in _logged:
            _logged.add(name)
            _log.warning("%s changes nothing here: %s", name, WITHOUT_MEANING[name])
