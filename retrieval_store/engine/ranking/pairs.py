"""Pairs of points that are near to each other."""

from collections.abc import Callable

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, server_scores_of
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.ranking.similar import (
    ApproximateScores,
    approximate_scores,
    best_of,
    examples_of,
    rows_with_vector,
    similarities,
)
from retrieval_store.engine.state.fetch import fetch
from retrieval_store.engine.state.state import known_space
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.query import Example
from retrieval_store.query.types import Fields, PointId

CELLS = 1 << 22  # likenesses at once


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
    mask = allowed_by(view, expression).mask
    rows = rows_with_vector(view, space, np.flatnonzero(view.state.alive if mask is None else mask))
    if len(rows) > sample:
        rows = np.random.default_rng().choice(rows, sample, replace=False)
    if len(rows) == 1:  # there is nothing to compare it with
        rows = rows[:0]
    ids, rows = _by_id(fetch(view, rows, Fields()).ids, rows)
    most = min(limit, max(0, len(rows) - 1))
    b, alike = _others(view, space, rows, most)
    a = np.repeat(np.arange(len(rows)), most)
    return Pairs(ids, a, b, server_scores_of(alike, known_space(view.state, space).metric))


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
        approximate = approximate_scores(view, space, rows, some)
        for i, example in enumerate(some):
            others = np.delete(np.arange(len(rows)), start + i)
            found = (
                None
                if approximate is None
                else _proven(approximate, i, others, most, example, exactly)
            )
            places, alike = found or exactly(example, others)
            nearest.append(places)
            scores.append(alike)
    return np.concatenate(nearest), np.concatenate(scores)


def _proven(
    approximate: ApproximateScores,
    i: int,
    others: Ints,
    most: int,
    example: Example,
    exactly: Callable[[Example, Ints], tuple[Ints, Floats]],
) -> tuple[Ints, Floats] | None:
    """The best of those that are best roughly; None where one of the rest may be better."""
    scores = approximate.scores[i, others]
    chosen = np.sort(best_of(scores, most))
    places, alike = exactly(example, others[chosen])
    left = len(chosen) < len(others)
    if left and most and alike[-1] <= scores[chosen].min() + approximate.errors[i]:
        return None
    return places, alike


def _by_id(ids: list[PointId], rows: Ints) -> tuple[list[PointId], Ints]:
    """Ids and their rows in the order of ids: integers, and then strings."""
    order = sorted(range(len(ids)), key=lambda i: (isinstance(ids[i], str), ids[i]))
    return [ids[i] for i in order], rows[order]
