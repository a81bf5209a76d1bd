"""What a collection was configured with: as it is asked for, as it is stored, and what the engine
is told of it.

Stored is JSON, in the catalog's settings under `KEY`, in the shape in which a server reports it. A
collection that was made by `Client` has none; what it reports is made of its spaces.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from qdrant_client import models

from retrieval_store.base.arrays import Datatype, Metric
from retrieval_store.base.dataclasses import dataclass, field, replace
from retrieval_store.base.validation import Payload
from retrieval_store.errors import DamagedError
from retrieval_store.indexes import EXACT, HNSW, HNSW_DEFAULTS
from retrieval_store.qdrant.filters.indexes import Indexes, by_path
from retrieval_store.query.types import CollectionRecord, Kind, NewSpace, SpaceRecord

KEY = "qdrant_front"
UNNAMED = ""
METRICS: dict[str, Metric] = {"Cosine": "cosine", "Euclid": "l2", "Dot": "ip", "Manhattan": "l1"}
DISTANCES = {metric: distance for distance, metric in METRICS.items()}
DATATYPES: dict[str, Datatype] = {"float32": "float32", "float16": "float16", "uint8": "uint8"}
# What a server says of a collection that was made without any of these settings.
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
MOST_NEIGHBORS, LEAST_NEIGHBORS = 1024, 2  # of what our graph can be made with


@dataclass(frozen=True, slots=True)
class Vector:
    """One kind of vectors that points may have. size: numbers of each, None where none was said;
    idf: whether a sparse one is ranked with the idf of its indices."""

    name: str
    kind: Kind
    metric: Metric
    size: int | None = None
    datatype: Datatype = "float32"
    idf: bool = False

    @property
    def is_normalised(self) -> bool:
        """Whether a server keeps them at length 1."""
        return self.metric == "cosine" and self.kind != "sparse" and self.datatype != "uint8"


@dataclass(frozen=True)
class Configuration:
    """What is stored of a collection under `KEY`. vectors, sparse_vectors: parameters by name;
    others: as a server reports them."""

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
        """All vectors that points may have."""
        dense = {name: _dense(name, params) for name, params in self.vectors.items()}
        sparse = {name: _sparse(name, params) for name, params in self.sparse_vectors.items()}
        return dense | sparse

    @cached_property
    def strict(self) -> models.StrictModeConfig:
        """What strict mode forbids: nothing, where it is off."""
        config = models.StrictModeConfig.model_validate(self.strict_mode_config or {})
        return config if config.enabled else models.StrictModeConfig()

    @cached_property
    def indexes(self) -> dict[str, Any]:
        """The payload indexes: for each key the parameters of its index."""
        return {key: index_params(schema) for key, schema in self.payload_schema.items()}

    @cached_property
    def indexes_by_path(self) -> Indexes:
        """The same by the paths of their keys."""
        return by_path(self.indexes)

    @property
    def lacks_sizes(self) -> bool:
        """Whether the first vector decides of how many numbers vectors are, as `Client` has it."""
        return any(params["size"] == 0 for params in self.vectors.values())

    def stored(self) -> Payload:
        """As it is stored."""
        return {
            name: value
            for name, value in vars(self).items()
            if name in self.__dataclass_fields__ and value is not None
        }


def index_params(schema: Mapping[str, Any]) -> Any:
    """The parameters of a payload index that is stored as a server reports it."""
    kind = schema["data_type"]
    params = getattr(models, f"{kind.capitalize()}IndexParams")
    return params.model_validate({"type": kind, **schema.get("params", {})})


def plain(model: Any) -> Payload:
    """A model as JSON, without what wasn't given."""
    dumped: Payload = model.model_dump(mode="json", exclude_none=True, by_alias=True)
    return dumped


def changed(old: Mapping[str, Any] | None, diff: Any) -> Payload:
    """Settings with those of a model in place of the old ones."""
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
    """What the engine is told of it. hnsw: the settings of its graph, as Qdrant names them."""
    if vector.kind == "sparse":
        return NewSpace(vector.metric, {"idf": vector.idf}, "sparse")
    index = _index(hnsw) if vector.kind == "dense" else {}
    return NewSpace(vector.metric, index, vector.kind, vector.datatype, vector.size)


def _index(hnsw: Mapping[str, Any]) -> Payload:
    if hnsw.get("m") == 0:  # as users of Qdrant say that they want no graph
        return {"name": EXACT, "settings": {}}
    return {"name": HNSW, "settings": _graph(hnsw)}


def _graph(hnsw: Mapping[str, Any]) -> Payload:
    neighbors = min(max(hnsw.get("m") or HNSW_REPORTED["m"], LEAST_NEIGHBORS), MOST_NEIGHBORS)
    construction = max(hnsw.get("ef_construct") or HNSW_REPORTED["ef_construct"], 1)
    return {**HNSW_DEFAULTS, "max_neighbors": neighbors, "ef_construction": construction}


def hnsw_of(configuration: Configuration, name: str) -> dict[str, Any]:
    """The settings of the graph of one kind of vectors: its own before those of the collection."""
    own = configuration.vectors.get(name, {}).get("hnsw_config", {})
    return {**configuration.hnsw_config, **own}


def settings_of(configuration: Configuration, metadata: Payload | None) -> Payload:
    """What the catalog keeps of a collection. Where `Collection` can work with it, also what that
    wants to find."""
    settings: Payload = {
        "metadata": metadata,
        "embedding_function": None,
        KEY: configuration.stored(),
    }
    vector = configuration.by_name.get(UNNAMED)
    if vector is not None and _suits_collection(vector):
        graph = _graph(hnsw_of(configuration, UNNAMED))
        settings["hnsw"] = {"space": vector.metric, **graph}
    return settings


def _suits_collection(vector: Vector) -> bool:
    return vector.kind == "dense" and vector.datatype == "float32" and vector.metric != "l1"


def configuration_of(record: CollectionRecord, spaces: Sequence[SpaceRecord]) -> Configuration:
    """What a collection was configured with. spaces: looked at if it wasn't made by this front."""
    stored = stored_of(record)
    return _of_spaces(spaces) if stored is None else _understood(record.name, stored)


def stored_of(record: CollectionRecord) -> dict[str, Any] | None:
    """What is stored under `KEY`; None for a collection that `Client` has made."""
    settings: Any = record.settings
    stored = settings.get(KEY) if isinstance(settings, dict) else ()
    if stored is None or isinstance(stored, dict):
        return stored
    raise DamagedError(f"the catalog is damaged: collection {record.name!r} has no such settings")


def _understood(name: str, stored: dict[str, Any]) -> Configuration:
    """What is stored as a configuration, which may be anything: a file can be tampered with."""
    try:
        configuration = Configuration(**stored)
        _ = configuration.by_name, configuration.strict, configuration.indexes
        return configuration
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"the catalog is damaged: collection {name!r} has no such configuration: {error!r}"
        ) from error


def _of_spaces(spaces: Sequence[SpaceRecord]) -> Configuration:
    vectors, sparse = {}, {}
    for space in spaces:
        if space.kind == "sparse":
            sparse[space.name] = {"modifier": "idf"} if space.index.get("idf") else {}
        else:
            vectors[space.name] = _params_of(space)
    return Configuration(vectors, sparse)


def with_sizes(configuration: Configuration, spaces: Sequence[SpaceRecord]) -> Configuration:
    """The configuration with the sizes that first vectors have decided since it was stored."""
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
