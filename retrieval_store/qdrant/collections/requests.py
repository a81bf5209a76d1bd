"""What is asked of collections, checked: names, vectors, and settings that mean something here or
are kept and reported only."""

from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from retrieval_store.base.tracing import log_of
from retrieval_store.qdrant.collections.configuration import (
    UNNAMED,
    Configuration,
    changed,
    plain,
)
from retrieval_store.qdrant.refusals import malformed, missing, wrong
from retrieval_store.qdrant.tokens.described import tokens_of

LONGEST_NAME = 255
FORBIDDEN = '<>:"/\\|?*\0\x1f'
LARGEST_SIZE = 65_536
_log = log_of()
_told: set[str] = set()
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
    "datatype": "what Turbo would quantize is kept exactly, as float32",
}


def checked_name(name: Any) -> str:
    """The name of a collection to be."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or set(name) & set(FORBIDDEN):
        raise malformed(
            f"collection_name is {name!r}: expected 1 to {LONGEST_NAME} characters, none of "
            f"{FORBIDDEN!r}"
        )
    if not name:
        raise missing("collection_name is empty")
    return name


def checked_vector_name(name: Any, sparse: bool) -> str:
    """The name of vectors to be."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or set(name) & set(FORBIDDEN):
        raise malformed(
            f"the vector name {name!r} has characters that none may have: {FORBIDDEN!r}"
        )
    if sparse and not name:
        raise malformed("a sparse vector needs a name")
    return name


def dense_params(name: str, params: Any) -> dict[str, Any]:
    """The parameters of dense vectors, as they are stored."""
    stored: dict[str, Any] = plain(_model(params, models.VectorParams))
    if stored["size"] == 0:
        raise wrong(f"vectors {name!r} have size 0, expected 1 to {LARGEST_SIZE}")
    if not 0 < stored["size"] <= LARGEST_SIZE:
        raise malformed(
            f"vectors {name!r} have size {stored['size']}, expected 1 to {LARGEST_SIZE}"
        )
    _tell_of_turbo(stored)
    return stored


def sparse_params(params: Any) -> dict[str, Any]:
    """The parameters of sparse vectors, as they are stored."""
    stored: dict[str, Any] = plain(_model(params, models.SparseVectorParams))
    _tell_of_turbo(stored.get("index", {}))
    return stored


def _model(value: Any, kind: Any) -> Any:
    return value if isinstance(value, kind) else kind.model_validate(value or {})


def _tell_of_turbo(params: Mapping[str, Any]) -> None:
    if "turbo" in params.get("datatype", ""):
        tell_once({"datatype": params["datatype"]})


def new_configuration(
    vectors: Any, sparse_vectors: Any, settings: Mapping[str, Any]
) -> Configuration:
    """What a collection is to be configured with. settings: the further arguments of
    `create_collection`."""
    if isinstance(vectors, models.VectorParams):
        vectors = {UNNAMED: vectors}
    dense = {
        checked_vector_name(name, sparse=False): dense_params(name, params)
        for name, params in (vectors or {}).items()
    }
    sparse = {
        checked_vector_name(name, sparse=True): sparse_params(params)
        for name, params in (sparse_vectors or {}).items()
    }
    if both := dense.keys() & sparse.keys():
        raise wrong(f"the vector name {min(both)!r} stands for dense and for sparse vectors")
    given = {name: value for name, value in settings.items() if value is not None}
    configuration = with_settings(Configuration(dense, sparse), given)
    tell_once(given)
    return configuration


def index_to_store(key: str, schema: Any) -> dict[str, Any]:
    """What a payload index is to be, as a server reports it."""
    if schema is None:
        raise malformed(f"field_schema of {key!r} is missing: expected a PayloadSchemaType")
    if hasattr(schema, "model_dump"):
        if isinstance(schema, models.TextIndexParams):
            tokens_of(schema)  # refuses what isn't known here
        params: dict[str, Any] = plain(schema)
        return {"data_type": str(params.pop("type")), "params": plain(schema)}
    try:
        return {"data_type": models.PayloadSchemaType(schema).value}
    except ValueError:
        kinds = ", ".join(kind.value for kind in models.PayloadSchemaType)
        raise malformed(f"field_schema of {key!r} is {schema!r}, expected one of {kinds}") from None


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


def with_settings(old: Configuration, given: Mapping[str, Any]) -> Configuration:
    """A configuration with what is given in place of what was."""
    params = {name: _plain(given[name]) for name in PARAMS if name in given}
    for name in COUNTS:
        if given.get(name, 1) < 1:
            raise malformed(f"{name} is {given[name]}, expected 1 or more")
    return Configuration(
        old.vectors,
        old.sparse_vectors,
        {**old.params, **params},
        changed(old.hnsw_config, given.get("hnsw_config")),
        changed(old.optimizer_config, given.get("optimizers_config")),
        changed(old.wal_config, given.get("wal_config")),
        _quantization(old, given.get("quantization_config")),
        changed(old.strict_mode_config, given.get("strict_mode_config")) or None,
        old.payload_schema,
    )


def _plain(value: Any) -> Any:
    return plain(value) if hasattr(value, "model_dump") else getattr(value, "value", value)


def _quantization(old: Configuration, given: Any) -> Any:
    if given is None:
        return old.quantization_config
    return None if given == models.Disabled.DISABLED else plain(given)


def tell_once(given: Mapping[str, Any]) -> None:
    """Say, once in a process, which settings are kept and reported, but mean nothing here."""
    for name in given:
        if name in WITHOUT_MEANING and name not in _told:
            _told.add(name)
            _log.warning("%s changes nothing here: %s", name, WITHOUT_MEANING[name])
