"""Orders points by the numbers and dates under a key, as a store in a directory does.

A server can list points by an index, but in another order. It returns points with equal numbers in
random order, returns a point for each element of a list, and treats rounded numbers as equal. So
the client requests the first points, and all points that may tie with the last of them, and sorts
these points. Without such an index the ids and values of all points are read. Only the requested
number of points is in memory.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.extension import Fields, PointId, sort_key
from retrieval_store.filters.expression import (
    Exists,
    Expression,
    Or,
    PayloadPath,
    fulfils,
    split_dotted,
)
from retrieval_store.filters.expression import all_of as conjunction
from retrieval_store_cluster.filters import (
    Bound,
    Parts,
    all_of,
    any_of,
    as_filter,
    fits,
    is_list,
    none_of,
    parts_of,
    payload_for,
)
from retrieval_store_cluster.payload import ROUNDED
from retrieval_store_cluster.schema import is_plain, quote_path
from retrieval_store_cluster.space import ListedPoint, Listing, QdrantCollection, points_within

SLACK = 16  # points beyond the requested ones
WIDER = 4  # factor by which more are requested
LEAST = -1e308  # a smaller number isn't listed; then all points are read
MOST = 10_000  # points that are listed by an index; with more all points are read
SortKey: TypeAlias = tuple[int, float, int, str]  # kind, value, order and id in Qdrant


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """How points are sorted. count: how many of the first points are needed, None for all."""

    collection: QdrantCollection
    path: PayloadPath
    expression: Expression | None
    descending: bool
    count: int | None

    @property
    def having(self) -> Expression:
        """The expression, combined with the condition that a point has a value at the path."""
        ways = [Exists(way) for way in (self.path, split_dotted(self.path)) if way is not None]
        having = conjunction(self.expression, Or(tuple(ways)))
        assert having is not None
        return having


def ids_in_order(order: KeyOrder) -> list[PointId]:
    """The ids of the first points in an order."""
    parts = parts_of(order.having, order.collection.indexes, lambda: order.collection.limits)
    listed = _list_by_index(order, parts)
    return _first(order, _all_within(order, parts) if listed is None else listed)


def _first(order: KeyOrder, points: Iterable[ListedPoint]) -> list[PointId]:
    """The ids of the first of these points, in the order."""
    placed = ((_sort_key(order, listed), listed.point.id) for listed in points)
    ordered = ((place, own_id) for place, own_id in placed if place is not None)
    if order.count is None:
        first = sorted(ordered, reverse=order.descending)
    else:
        ends = heapq.nlargest if order.descending else heapq.nsmallest
        first = ends(order.count, ordered)
    return list(dict.fromkeys(own_id for _, own_id in first))


def _sort_key(order: KeyOrder, listed: ListedPoint) -> SortKey | None:
    """The sort key of a point; None if it has neither a number nor a date."""
    key = sort_key(listed.point.payload, order.path, order.descending)
    return None if key is None else (*key, listed.point.order, listed.id)


def _all_within(order: KeyOrder, parts: Parts) -> Iterator[ListedPoint]:
    """All points that fulfil the expression. Only the keys that are needed to sort and check the
    points are read."""
    yield from _judge_points(order, parts.certain)
    yield from _judge_points(order, parts.doubtful)


def _judge_points(order: KeyOrder, bound: Bound) -> Iterator[ListedPoint]:
    for listed in points_within(order.collection, bound, _payload(order)):
        if fulfils(listed.point.candidate, order.expression):
            yield listed


def _payload(order: KeyOrder) -> Any:
    return payload_for(Fields(), order.having)


def _list_by_index(order: KeyOrder, parts: Parts) -> list[ListedPoint] | None:
    """The first points in the order of an index of numbers, and all points that may be equal to the
    last of them. Points with a list are added. None if there is no such index, or if dates may be
    among the first points."""
    collection, path = order.collection, order.path
    if order.count is None or order.count > MOST or not is_plain(path):
        return None
    if not collection.indexes.orders(path):
        return None
    has_list = is_list(path[0], collection.indexes)
    if has_list is None:
        return None
    allowed = any_of([parts.certain, parts.doubtful])
    number = models.FieldCondition(key=quote_path(path), range=models.Range(gte=LEAST))
    single = all_of([allowed, none_of(has_list)])
    others = all_of([single, none_of(number)])
    if allowed is False or not all(fits(b, collection.limits) for b in (single, others)):
        return None
    first = _by_index(order, single)
    if first is None:
        return None
    if (order.descending or len(first) < order.count) and collection.number(others):
        return None
    return [*first, *_judge_points(order, all_of([allowed, has_list]))]


def _by_index(order: KeyOrder, bound: Bound) -> list[ListedPoint] | None:
    """The first points by their numbers, with later points that may be equal to the last one. None
    if there are too many to list. Each point must have one number."""
    assert order.count is not None
    listing = Listing(order.collection, as_filter(bound), payload=_payload(order))
    size = order.count + SLACK
    while size <= min(MOST, order.collection.limits.query or MOST):
        page = listing.by_value(quote_path(order.path), order.descending, size)
        passing = [listed for listed in page if fulfils(listed.point.candidate, order.expression)]
        if len(page) < size or _is_enough(order, passing, page[-1]):
            return passing
        size *= WIDER
    return None


def _is_enough(order: KeyOrder, passing: list[ListedPoint], last: ListedPoint) -> bool:
    """Whether the needed points are certainly among the listed points. If so, every point that
    Qdrant would list after `last` has a greater sort key than the last needed point, even with the
    error of Qdrant's rounding."""
    assert order.count is not None
    if not order.count:
        return True
    if len(passing) < order.count:
        return False
    wanted, beyond = _sort_key(order, passing[order.count - 1]), _sort_key(order, last)
    if wanted is None or beyond is None:
        return False
    margin = 2 * ROUNDED * max(abs(wanted[1]), abs(beyond[1]), 1e-300)
    return abs(beyond[1] - wanted[1]) > margin
