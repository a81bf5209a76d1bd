"""Which of the hits of a query are shown: from where on, how far away, and how many of a kind."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from retrieval_store.base.arrays import Ints, plain_scalar
from retrieval_store.base.json_values import Payload, shown
from retrieval_store.direct.arguments import whole_number
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import value_at
from retrieval_store.interface.points import Fields, Hits, Points
from retrieval_store.interface.queries import AnyQuery, HybridQuery
from retrieval_store.interface.stores import PointsBackend

EXACT = 2**53  # below it every whole number is a float of its own
MORE = 4  # times as many hits are looked at where too few values were among those before


@dataclass(frozen=True, slots=True)
class Cut:
    """Of the hits so many after an offset, no farther than a distance; of those with one value
    under a key at most so many, and none without a value."""

    count: int
    offset: int = 0
    max_distance: float | None = None
    group_by: str | None = None
    group_size: int = 1

    @property
    def depth(self) -> int:
        """How many hits are needed at least."""
        return self.offset + self.count


def checked_cut(
    n_results: Any, offset: Any, max_distance: Any, group_by: Any, group_size: Any, mode: str
) -> Cut:
    """A cut of what a user passes."""
    count = whole_number(n_results, "n_results", 1)
    skipped = 0 if offset is None else whole_number(offset, "offset", 0, sys.maxsize - count)
    size = 1 if group_size is None else whole_number(group_size, "group_size", 1)
    if group_by is None and group_size is not None:
        raise InvalidArgumentError("group_size goes with group_by, the key to group by")
    if group_by is not None and (not isinstance(group_by, str) or not group_by):
        raise InvalidArgumentError(f"group_by is {shown(group_by)}, expected a metadata key")
    if max_distance is None:
        return Cut(count, skipped, None, group_by, size)
    if mode != "dense":
        raise InvalidArgumentError(f"max_distance goes with mode 'dense', not {mode!r}")
    max_distance = plain_scalar(max_distance)
    number = isinstance(max_distance, int | float) and not isinstance(max_distance, bool)
    if not number or math.isnan(max_distance) or abs(max_distance) > sys.float_info.max:
        raise InvalidArgumentError(f"max_distance is {shown(max_distance)}, expected a number")
    return Cut(count, skipped, float(max_distance), group_by, size)


def cut_hits(points: PointsBackend, query: AnyQuery, fields: Fields, cut: Cut) -> list[Hits]:
    """What a query finds, as it is shown."""
    if cut.group_by is None:
        hits = points.search(query, fields)
        if cut == Cut(cut.count):
            return hits
        return [_chosen(one, _near(one, cut)[cut.offset : cut.depth]) for one in hits]
    with_payloads = replace(fields, payload=True)
    while True:
        hits = points.search(query, with_payloads)
        grouped = [_grouped(one, cut) for one in hits]
        ended = all(len(one.points.ids) < query.k for one in hits)
        if ended or all(len(places) >= cut.depth for places in grouped):
            return [
                _chosen(one, places[cut.offset : cut.depth])
                for one, places in zip(hits, grouped, strict=True)
            ]
        query = _deeper(query, MORE * query.k)


def _deeper(query: AnyQuery, k: int) -> AnyQuery:
    """The same query for more hits."""
    if isinstance(query, HybridQuery):
        dense = replace(query.dense, k=max(query.dense.k, k))
        return replace(query, k=k, dense=dense, text=replace(query.text, k=max(query.text.k, k)))
    return replace(query, k=k)


def _near(hits: Hits, cut: Cut) -> Ints:
    places = np.arange(len(hits.points.ids))
    if cut.max_distance is None or hits.distances is None:
        return places
    return places[hits.distances <= cut.max_distance]


def _grouped(hits: Hits, cut: Cut) -> Ints:
    """The places of hits of which each has a value that not too many before it have."""
    times: dict[bytes, int] = {}
    kept = []
    payloads: Sequence[Payload | None] = hits.points.payloads or ()
    for place in _near(hits, cut).tolist():
        value = value_at(payloads[place], (cut.group_by or "",))
        if value is not None:
            if isinstance(value, float) and abs(value) < EXACT and value.is_integer():
                value = int(value)  # 1.0 is 1 to a filter, too
            key = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
            times[key] = times.get(key, 0) + 1
            if times[key] <= cut.group_size:
                kept.append(place)
    return np.array(kept, np.int64)


def _chosen(hits: Hits, places: Ints) -> Hits:
    points, at = hits.points, places.tolist()

    def some(column: Any) -> Any:
        return None if column is None else [column[i] for i in at]

    vectors = points.vectors and {
        name: column[places] if isinstance(column, np.ndarray) else some(column)
        for name, column in points.vectors.items()
    }
    chosen = Points(
        some(points.ids), some(points.payloads), some(points.documents), some(points.uris), vectors
    )
    distances = None if hits.distances is None else hits.distances[places]
    return Hits(chosen, distances, hits.scores[places])
