"""Groups of what is ranked, and of what is near to each other."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.ranking.similar import (
    holders,
    is_allowed,
    metric_of,
    shown,
    similarities,
)
from retrieval_store.engine.ranking.steps import Ranked, examples_of, ranked
from retrieval_store.engine.state.fetch import fetch
from retrieval_store.engine.storage.records import read_exactly
from retrieval_store.filters.expression import Expression
from retrieval_store.filters.typed.paths import Steps, found_in, items_of
from retrieval_store.interface.points import Fields, PointId
from retrieval_store.interface.steps import Step

FIRST_LOOK, MORE = 4, 8  # times as many as there may be in groups; and then times that


@dataclass(frozen=True, slots=True)
class Group:
    """A value, and the best rows that have it, with their scores."""

    value: str | int
    found: Ranked


def grouped(view: SearchView, step: Step, path: Steps, groups: int, size: int) -> list[Group]:
    """The first so many groups, by their best rows, with so many rows each. A row is in the group
    of each of its values; one with a value that is neither a string nor an integer is in none.

    Rows are ranked as far as it takes for the groups to be full."""
    wanted, count = groups * size * FIRST_LOOK, view.state.count
    while True:
        found = ranked(view, replace(step, limit=wanted))
        made = list(_gathered(view, found, path, groups, size))
        full = len(made) == groups and all(len(group.found.rows) == size for group in made)
        if full or wanted >= count or len(found.rows) < wanted:
            return made
        wanted *= MORE


def _gathered(
    view: SearchView, found: Ranked, path: Steps, groups: int, size: int
) -> Iterator[Group]:
    places: dict[str | int, list[int]] = {}
    (values,) = read_exactly(view.connection, view.state.pks[found.rows], [path.keys])
    for place, value in enumerate(values):
        for one in _values(items_of(found_in(value, path.beyond))):
            if one in places or len(places) < groups:
                places.setdefault(one, []).append(place)
    for value, at in places.items():
        best = np.array(at[:size], np.int64)
        yield Group(value, Ranked(found.rows[best], found.scores[best]))


def _values(items: list[Any]) -> list[Any]:
    if any(type(item) not in (str, int) for item in items):
        return []
    return list(dict.fromkeys(items))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Points by pairs: ids[a[i]] and ids[b[i]] with scores[i]."""

    ids: list[PointId]
    a: Ints
    b: Ints
    scores: Floats


def pairs(
    view: SearchView, space: str, expression: Expression | None, sample: int, limit: int
) -> Pairs:
    """For each of some points chosen at random, the others among them that are nearest to it."""
    rows = holders(view, space, is_allowed(allowed_by(view, expression).mask, view.state.alive))
    if len(rows) > sample:
        rows = np.random.default_rng().choice(rows, sample, replace=False)
    ids, rows = _by_id(fetch(view, rows, Fields()).ids, rows)
    alike = similarities(view, space, rows, examples_of(view, space, rows))
    alike = alike.reshape(len(rows), len(rows))
    np.fill_diagonal(alike, -np.inf)
    most = min(limit, max(0, len(rows) - 1))
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :most]
    a, b = np.repeat(np.arange(len(rows)), most), nearest.ravel()
    return Pairs(ids, a, b, shown(alike[a, b], metric_of(view, space)))


def _by_id(ids: list[PointId], rows: Ints) -> tuple[list[PointId], Ints]:
    """Ids and their rows in the order of ids: integers, and then strings."""
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    return [ids[i] for i in order], rows[order]
