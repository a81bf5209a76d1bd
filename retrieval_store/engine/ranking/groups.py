"""Groups of what is ranked, and of what is near to each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.ranking.labels import Label, Labelling, LabelsAt
from retrieval_store.engine.ranking.rounds import grouped_in_rounds, is_asked_in_rounds
from retrieval_store.engine.ranking.similar import (
    Rough,
    allowed_rows,
    best_of,
    holders,
    metric_of,
    roughly,
    shown,
    similarities,
)
from retrieval_store.engine.ranking.steps import Ranked, examples_of, ranked
from retrieval_store.engine.state.fetch import fetch
from retrieval_store.filters.expression import Expression
from retrieval_store.interface.points import Fields, PointId
from retrieval_store.interface.steps import Example, Grouping, GroupValue, Step

FIRST_LOOK, MORE = 4, 8  # times as many as there may be in groups; and then times that
CELLS = 1 << 22  # likenesses at once
USUAL = 2  # times what one group holds, of points in which each value comes once, …
TWICE = 2  # … and then once more, where the groups are known


def grouped(view: SearchView, step: Step, grouping: Grouping) -> list[tuple[GroupValue, Ranked]]:
    """The first so many groups, by their best rows, with so many rows each. A row is in the group
    of each of its values; one with a value that is neither a string nor an integer is in none.

    Rows are ranked as far as it takes for the groups to be full."""
    if is_asked_in_rounds(step):
        return grouped_in_rounds(view, step, grouping)
    groups, size, count = grouping.groups, grouping.size, view.state.count
    wanted = groups * size * FIRST_LOOK
    labels = Labelling(view, LabelsAt(grouping.path), wanted)
    wanted = max(wanted, min(MORE * wanted, labels.apart * size * USUAL))
    while True:
        found = ranked(view, replace(step, limit=wanted))
        places = _gathered(labels.of(found.rows), groups, size)
        if len(set(map(type, places))) > 1:  # a server loses some: its conditions are of one type
            return grouped_in_rounds(view, step, grouping)
        lack = any(len(at) < min(size, labels.most(one)) for one, at in places.items())
        full = len(places) == groups and not lack
        if full or wanted >= count or len(found.rows) < wanted:
            return [(value, _taken(found, at)) for value, at in places.items()]
        wanted *= MORE if len(places) < groups else TWICE


def _gathered(labels: Sequence[Label], groups: int, size: int) -> dict[GroupValue, list[int]]:
    """Where the first of each group are."""
    places: dict[GroupValue, list[int]] = {}
    for place, label in enumerate(labels):
        for one in label:
            at = places.get(one)
            if at is None and len(places) < groups:
                places[one] = [place]
            elif at is not None and len(at) < size:
                at.append(place)
    return places


def _taken(found: Ranked, at: list[int]) -> Ranked:
    best = np.array(at, np.int64)
    values = None if found.values is None else [found.values[i] for i in at]
    return Ranked(found.rows[best], found.scores[best], values)


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
    rows = holders(view, space, allowed_rows(allowed_by(view, expression).mask, view.state.alive))
    if len(rows) > sample:
        rows = np.random.default_rng().choice(rows, sample, replace=False)
    if len(rows) == 1:  # there is nothing to compare it with
        rows = rows[:0]
    ids, rows = _by_id(fetch(view, rows, Fields()).ids, rows)
    most = min(limit, max(0, len(rows) - 1))
    b, alike = _others(view, space, rows, most)
    a = np.repeat(np.arange(len(rows)), most)
    return Pairs(ids, a, b, shown(alike, metric_of(view, space)))


def _others(view: SearchView, space: str, rows: Ints, most: int) -> tuple[Ints, Floats]:
    """For each of the rows so many others that are nearest to it, best first, and how alike they
    are."""
    examples, step = examples_of(view, space, rows), max(1, CELLS // max(1, len(rows)))
    nearest, scores = [np.empty(0, np.int64)], [np.empty(0)]

    def exactly(example: Example, places: Ints) -> tuple[Ints, Floats]:
        (alike,) = similarities(view, space, rows[places], [example])
        order = np.argsort(-alike, kind="stable")[:most]
        return places[order], alike[order]

    for start in range(0, len(rows), step):
        some = examples[start : start + step]
        rough = roughly(view, space, rows, some)
        for i, example in enumerate(some):
            others = np.delete(np.arange(len(rows)), start + i)
            found = None if rough is None else _proven(rough, i, others, most, example, exactly)
            places, alike = found or exactly(example, others)
            nearest.append(places)
            scores.append(alike)
    return np.concatenate(nearest), np.concatenate(scores)


def _proven(
    rough: Rough,
    i: int,
    others: Ints,
    most: int,
    example: Example,
    exactly: Callable[[Example, Ints], tuple[Ints, Floats]],
) -> tuple[Ints, Floats] | None:
    """The best of those that are best roughly; None where one of the rest may be better."""
    scores = rough.scores[i, others]
    chosen = np.sort(best_of(scores, most))
    places, alike = exactly(example, others[chosen])
    left = len(chosen) < len(others)
    if left and most and alike[-1] <= scores[chosen].min() + rough.errors[i]:
        return None
    return places, alike


def _by_id(ids: list[PointId], rows: Ints) -> tuple[list[PointId], Ints]:
    """Ids and their rows in the order of ids: integers, and then strings."""
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    return [ids[i] for i in order], rows[order]
