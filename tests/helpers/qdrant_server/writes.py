"""Operations that change points."""

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from tests.helpers.qdrant_server.edge_models import (
    filter_of,
    named,
    point_id,
    points_of,
    vector_of,
)
from tests.helpers.qdrant_server.shards import Shards

Operations = edge.UpdateOperation


def upsert(shards: Shards, given: Any) -> None:
    """Write whole points."""
    made = points_of(given)
    only, mode = filter_of(given.update_filter), named(edge.UpdateMode, given.update_mode)
    for shard, points in shards.split(made, lambda point: point_id(point.id)):
        shard.update(Operations.upsert_points(points, only, mode))


def update_vectors(shards: Shards, given: models.UpdateVectors) -> None:
    """Write some vectors of points."""
    made = [edge.PointVectors(point_id(one.id), vector_of(one.vector)) for one in given.points]
    only = filter_of(given.update_filter)
    for shard, points in shards.split(made, lambda point: point_id(point.id)):
        shard.update(Operations.update_vectors(points, only))


def _named_or_found(name: str, *fields: str) -> Callable[[Shards, Any], None]:
    """An operation on points selected by id or by filter; the engine has one for each. fields:
    further fields of the request."""
    by_id, by_filter = getattr(Operations, name), getattr(Operations, f"{name}_by_filter")
    return lambda shards, given: shards.change(
        given, by_id, by_filter, *(getattr(given, field) for field in fields)
    )


WRITES: dict[str, Callable[[Shards, Any], None]] = {
    "upsert": upsert,
    "delete": _named_or_found("delete_points"),
    "set_payload": _named_or_found("set_payload", "payload", "key"),
    "overwrite_payload": _named_or_found("overwrite_payload", "payload", "key"),
    "delete_payload": _named_or_found("delete_payload", "keys"),
    "clear_payload": _named_or_found("clear_payload"),
    "update_vectors": update_vectors,
    "delete_vectors": _named_or_found("delete_vectors", "vector"),
}
