"""A server's description of a collection's configuration."""

from typing import Any

from qdrant_client.http import models

Json = dict[str, Any]
HNSW: Json = {
    "m": 16,
    "ef_construct": 100,
    "full_scan_threshold": 10_000,
    "max_indexing_threads": 0,
    "on_disk": False,
}
OPTIMIZERS: Json = {
    "deleted_threshold": 0.2,
    "vacuum_min_vector_number": 1000,
    "default_segment_number": 0,
    "indexing_threshold": 10_000,
    "flush_interval_sec": 5,
}
WAL: Json = {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1}
PARAMS = ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload")
STRICT = models.StrictModeConfig(
    enabled=True, unindexed_filtering_retrieve=False, unindexed_filtering_update=False
)


def said(given: Any) -> Any:
    """A model as JSON."""
    return given.model_dump(mode="json", exclude_none=True)


def by_name(vectors: Any) -> dict[str, models.VectorParams]:
    """Dense vectors by name; a single unnamed one has an empty name."""
    if isinstance(vectors, models.VectorParams):
        return {"": vectors}
    return dict(vectors or {})


def config_of(made: models.CreateCollection) -> Json:
    """The configuration at creation, with vectors by name."""
    given = said(made)
    params = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1}
    config: Json = {
        "params": {
            "vectors": {name: said(one) for name, one in by_name(made.vectors).items()},
            **params,
            "on_disk_payload": True,
            **{name: given[name] for name in PARAMS if name in given},
        },
        "hnsw_config": {**HNSW, **given.get("hnsw_config", {})},
        "optimizer_config": {**OPTIMIZERS, **given.get("optimizers_config", {})},
        "wal_config": {**WAL, **given.get("wal_config", {})},
    }
    if made.sparse_vectors:
        config["params"]["sparse_vectors"] = given["sparse_vectors"]
    for name in ("quantization_config", "strict_mode_config", "metadata"):
        if getattr(made, name) is not None:
            config[name] = given[name]
    return config


def change(config: Json, asked: models.UpdateCollection) -> None:
    """Given values replace old ones; in metadata, null removes a key."""
    given = said(asked)
    vectors = config["params"]["vectors"]
    for name, diff in given.get("vectors", {}).items():
        vectors[name].update(diff)
    config["params"].update(given.get("params", {}))
    config["hnsw_config"].update(given.get("hnsw_config", {}))
    config["optimizer_config"].update(given.get("optimizers_config", {}))
    if asked.quantization_config is not None:
        config["quantization_config"] = given["quantization_config"]
    if asked.strict_mode_config is not None:
        strict = {**config.get("strict_mode_config", {}), **given["strict_mode_config"]}
        config["strict_mode_config"] = strict
    if asked.metadata is not None:
        merged = {**config.get("metadata", {}), **asked.metadata}
        config["metadata"] = {key: value for key, value in merged.items() if value is not None}


def shown(config: Json) -> Json:
    """The displayed configuration, in which a single unnamed vector stands alone."""
    params = config["params"]
    if set(params["vectors"]) == {""}:
        params = {**params, "vectors": params["vectors"][""]}
    return {**config, "params": params}
