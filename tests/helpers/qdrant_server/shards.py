"""The points of a collection, in several shards of the engine."""

import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models

from tests.helpers.qdrant_server import config
from tests.helpers.qdrant_server.edge_models import (
    filter_of,
    ids_of,
    sparse_params,
    vector_params,
)
from tests.helpers.qdrant_server.refusals import bad, refused

NO_VECTOR = "no vector"  # the engine makes no shard without one


class Shards:
    """New shards in their own folder. A point's id decides its shard."""

    def __init__(self, folder: Path, made: models.CreateCollection, number: int) -> None:
        self._folder = folder
        self.all = [_shard(folder / str(i), made) for i in range(number)]

    def close(self) -> None:
        """Delete everything."""
        for shard in self.all:
            shard.close()
        shutil.rmtree(self._folder)

    def points(self) -> int:
        """The number of points."""
        return sum(shard.info().points_count for shard in self.all)

    def update(self, operation: Any) -> None:
        """Apply an operation to each shard."""
        for shard in self.all:
            shard.update(operation)

    def split(
        self, given: Iterable[Any], id_of: Callable[[Any], int | str]
    ) -> Iterator[tuple[edge.EdgeShard, list[Any]]]:
        """The items of each shard."""
        parts: dict[int, list[Any]] = {}
        for one in given:
            place = zlib.crc32(str(id_of(one)).encode()) % len(self.all)
            parts.setdefault(place, []).append(one)
        return ((self.all[place], part) for place, part in parts.items())

    def by_id(self, ids: list[Any]) -> Iterator[tuple[edge.EdgeShard, list[Any]]]:
        """The ids of each shard."""
        return self.split(ids_of(ids), lambda one: one)

    def change(self, given: Any, by_id: Any, by_filter: Any, *more: Any) -> None:
        """Change the named points, or those that match a filter."""
        if getattr(given, "filter", None) is not None:
            self.update(by_filter(filter_of(given.filter), *more))
        elif getattr(given, "points", None):
            for shard, ids in self.by_id(given.points):
                shard.update(by_id(ids, *more))
        else:
            raise refused(400, "Bad request: Either list of ids or filter must be provided")


def _shard(folder: Path, made: models.CreateCollection) -> edge.EdgeShard:
    """A new shard. Nothing has to outlive the process, so there is no log."""
    vectors = config.by_name(made.vectors)
    if any(one.size < 1 for one in vectors.values()):
        raise bad("Vector size must be greater than 0")
    dense = {name: vector_params(one) for name, one in vectors.items()}
    sparse = {name: sparse_params(one) for name, one in (made.sparse_vectors or {}).items()}
    some = sparse if dense or sparse else {NO_VECTOR: edge.EdgeSparseVectorParams()}
    folder.mkdir(parents=True)
    shard = edge.EdgeShard.create(
        str(folder),
        edge.EdgeConfig(dense, some, max_search_threads=1, wal_enabled=False),
    )
    if not (dense or sparse):
        shard.update(edge.UpdateOperation.delete_vector_name(NO_VECTOR))
    return shard
