"""What a server in strict mode allows, and filters that keep to it.

A filter with more conditions than a server takes, or more values in one, is sent as one that says
less: a necessary one stays necessary, and what is left out is looked at here, as everything else
that comes back.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from qdrant_client import models

from retrieval_store.base.dataclasses import dataclass, field, replace
from retrieval_store.remote.conditions import Bound, Condition, all_of, any_of, none_of

MOST_LEFT_OUT = 10_000  # points that a request names, to be asked for those after them


@dataclass(frozen=True, slots=True)
class Limits:
    """None: anything. query: points in one answer; batch: points in one write; searches: queries in
    one request; conditions: of a filter; values: in one condition; ef: candidates of a search;
    exact: whether points may be counted, and searched without an index; lengths: of sparse vectors,
    by their names in Qdrant."""

    query: int | None = None
    batch: int | None = None
    searches: int | None = None
    conditions: int | None = None
    values: int | None = None
    ef: int | None = None
    exact: bool = True
    lengths: Mapping[str, int] = field(default_factory=dict)

    @property
    def reach(self) -> int:
        """How many of the best points can be asked for, in several requests: each but the first
        names those that it isn't to find again."""
        if self.query is None:
            return sys.maxsize
        conditions, values = _room(self.conditions), _room(self.values)
        return self.query * (1 + min(MOST_LEFT_OUT, conditions * values) // self.query)


def limits_of(strict: Any) -> Limits:
    """Those that a server says of a collection; `strict` is None where there are none."""
    if strict is None:
        return Limits()
    sparse = strict.sparse_config or {}
    lengths = {name: one.max_length for name, one in sparse.items() if one.max_length is not None}
    return Limits(
        strict.max_query_limit,
        strict.upsert_max_batchsize,
        strict.search_max_batchsize,
        strict.filter_max_conditions,
        strict.condition_max_size,
        strict.search_max_hnsw_ef,
        strict.search_allow_exact is not False,
        lengths,
    )


def within(condition: models.Filter | None, limits: Limits, spare: int = 0) -> models.Filter | None:
    """Of a necessary condition what may be sent. spare: conditions that others want to add."""
    if condition is None or (limits.conditions is None and limits.values is None):
        return condition
    room = _Room(max(0, _room(limits.conditions) - spare), _room(limits.values))
    bound = _fitted(condition, room, True)
    if isinstance(bound, bool):
        return None
    return bound if isinstance(bound, models.Filter) else models.Filter(must=[bound])


def without(
    condition: models.Filter | None, ids: Sequence[Any], limits: Limits
) -> models.Filter | None:
    """The condition, and none of the points with these ids."""
    if not ids:
        return condition
    seen = _pieces(models.HasIdCondition(has_id=list(ids)), _room(limits.values))
    return models.Filter(must=None if condition is None else [condition], must_not=seen)


def spared(points: int, most: int, limits: Limits) -> int:
    """How many conditions it takes to ask for so many points, of which one answer has `most`: the
    last request leaves out those of all before it."""
    return math.ceil((points - 1) // most * most / _room(limits.values))


@dataclass(frozen=True, slots=True)
class _Room:
    """For conditions, and for the values of one."""

    conditions: int
    values: int


def _room(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit


def _fitted(bound: Bound, room: _Room, upper: bool) -> Bound:
    """What there is room for of what is necessary (`upper`) or enough; where that is nothing,
    `upper` itself: everything may fulfil it, or nothing is known to."""
    if isinstance(bound, bool):
        return bound
    if not isinstance(bound, models.Filter):
        return _leaf(bound, room, upper)
    if bound.must_not:  # of one condition, as these filters are made
        return none_of(_fitted(_terms(bound.must_not)[0], room, not upper))
    if bound.must:
        terms = _terms(bound.must)
        return all_of(_some(terms, room) if upper else _each(terms, room, upper))
    terms = _alternatives(bound)
    if not upper:
        return any_of(_some(terms, room, upper))
    found = any_of(_each(terms, room, upper))
    return any_of(_each(_merged(terms), room, upper)) if found is True else found


def _some(terms: Sequence[Bound], room: _Room, upper: bool = True) -> list[Bound]:
    """As many of the terms as there is room for, the small ones first: without some it says less,
    and is right all the same."""
    kept: list[Bound] = []
    for term in sorted(terms, key=_count):
        one = _fitted(term, room, upper)
        if one is not upper:
            kept.append(one)
            room = replace(room, conditions=room.conditions - _count(one))
    return kept


def _each(terms: Sequence[Bound], room: _Room, upper: bool) -> list[Bound]:
    """All of the terms; where there is no room for one, nothing can be said by the others."""
    kept: list[Bound] = []
    for term in terms:
        one = _fitted(term, room, upper)
        if one is upper:
            return [upper]
        kept.append(one)
        room = replace(room, conditions=room.conditions - _count(one))
    return kept


def _leaf(leaf: Condition, room: _Room, upper: bool) -> Bound:
    """The condition, as several where it has too many values for one."""
    values = _values(leaf)
    if room.conditions < 1 or (values and room.values < 1):
        return upper
    needed = math.ceil(len(values) / room.values)
    if needed > room.conditions and upper:
        return upper
    pieces = _pieces(leaf, room.values)[: room.conditions]
    return any_of(pieces)


def _pieces(leaf: Condition, size: int) -> list[Condition]:
    values = _values(leaf)
    if len(values) <= size:
        return [leaf]
    return [_with(leaf, values[i : i + size]) for i in range(0, len(values), size)]


def _values(leaf: Condition) -> list[Any]:
    """Those that servers count, of a condition."""
    if isinstance(leaf, models.HasIdCondition):
        return leaf.has_id
    match = getattr(leaf, "match", None)
    return list(match.any) if isinstance(match, models.MatchAny) else []


def _with(leaf: Condition, values: list[Any]) -> Condition:
    if isinstance(leaf, models.HasIdCondition):
        return models.HasIdCondition(has_id=values)
    return models.FieldCondition(key=leaf.key, match=models.MatchAny(any=values))


def _terms(given: Any) -> list[Condition]:
    return list(given) if isinstance(given, list) else [given]


def _count(bound: Bound) -> int:
    """The conditions in it, as servers count them."""
    if isinstance(bound, bool):
        return 0
    if not isinstance(bound, models.Filter):
        return 1
    parts = (bound.must, bound.should, bound.must_not)
    return sum(_count(term) for part in parts if part for term in _terms(part))


def _alternatives(bound: models.Filter) -> list[Condition]:
    """Those of a filter of alternatives, and of those that are alternatives themselves."""
    found: list[Condition] = []
    for term in _terms(bound.should):
        plain = isinstance(term, models.Filter) and term.should and not (term.must or term.must_not)
        found += _alternatives(term) if plain else [term]
    return found


def _merged(terms: Sequence[Condition]) -> list[Bound]:
    """Fewer alternatives that let through no less: of one key the values as one condition, and the
    ranges as one from the least to the greatest."""
    left: list[Bound] = []
    values: dict[str, list[Any]] = {}
    ranges: dict[str, list[models.Range]] = {}
    for term in terms:
        if _values(term):
            values.setdefault(getattr(term, "key", ""), []).extend(_values(term))
        elif isinstance(getattr(term, "range", None), models.Range):
            ranges.setdefault(term.key, []).append(term.range)
        else:
            left.append(term)
    for key, found in values.items():
        some: list[Any] = list(dict.fromkeys(found))
        match = models.MatchAny(any=some)
        named = models.HasIdCondition(has_id=some)
        left.append(models.FieldCondition(key=key, match=match) if key else named)
    return [*left, *(_span(key, spans) for key, spans in ranges.items())]


def _span(key: str, ranges: Sequence[models.Range]) -> Bound:
    """From the least of the bounds to the greatest; open where one of the ranges is."""
    lows = [one.gt if one.gte is None else one.gte for one in ranges]
    highs = [one.lt if one.lte is None else one.lte for one in ranges]
    low = None if None in lows else min(one for one in lows if one is not None)
    high = None if None in highs else max(one for one in highs if one is not None)
    if low is None and high is None:
        return True
    return models.FieldCondition(key=key, range=models.Range(gte=low, lte=high))
