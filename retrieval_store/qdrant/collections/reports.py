"""What a collection says of itself, as a server reports it."""

from typing import Any

from qdrant_client import models

from retrieval_store.qdrant.collections.configuration import (
    HNSW_REPORTED,
    OPTIMIZERS_REPORTED,
    PARAMS_REPORTED,
    UNNAMED,
    WAL_REPORTED,
    Configuration,
)
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.filters.indexes import parse_filled


def collection_info(opened: Opened) -> models.CollectionInfo:
    """Everything that is known of a collection; the numbers are counted, not estimated."""
    configuration = opened.configuration
    return models.CollectionInfo.model_validate(
        {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": _indexed(opened),
            "points_count": opened.points.number(None),
            "segments_count": 1,
            "config": {
                "params": _params(configuration),
                "hnsw_config": {**HNSW_REPORTED, **configuration.hnsw_config},
                "optimizer_config": {**OPTIMIZERS_REPORTED, **configuration.optimizer_config},
                "wal_config": {**WAL_REPORTED, **configuration.wal_config},
                "quantization_config": configuration.quantization_config,
                "strict_mode_config": configuration.strict_mode_config,
                "metadata": opened.record.settings.get("metadata"),
            },
            "payload_schema": {
                key: {**schema, "points": _points(opened, key, index)}
                for (key, schema), index in zip(
                    configuration.payload_schema.items(),
                    configuration.indexes.values(),
                    strict=True,
                )
            },
            "update_queue": {"length": 0},
        }
    )


def _params(configuration: Configuration) -> dict[str, Any]:
    vectors: Any = configuration.vectors
    params = {**PARAMS_REPORTED, **configuration.params}
    if vectors.keys() == {UNNAMED}:
        vectors = vectors[UNNAMED]
    params["vectors"] = vectors
    if configuration.sparse_vectors:
        params["sparse_vectors"] = configuration.sparse_vectors
    return params


def _indexed(opened: Opened) -> int:
    """How many vectors an index holds: sparse ones all, of others those in a graph, where one is
    worth it."""
    spaces: Any = opened.points.stats()["spaces"]
    graphs: int = sum(min(space["indexed_slots"], space["vectors"]) for space in spaces.values())
    return graphs + sum(one.count for one in opened.points.spaces() if one.kind == "sparse")


def _points(opened: Opened, key: str, index: Any) -> int:
    """How many points have a value that an index holds."""
    return opened.points.number(parse_filled(key, index))
