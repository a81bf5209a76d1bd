"""Steps, carried out: each gives rows, best first, with the scores that a server gives them."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix, SparseVector, distinct
from retrieval_store.base.ranking import (
    Ranking,
    by_distributions,
    by_weighted_ranks,
    marginally_relevant,
)
from retrieval_store.engine.filtering.allowed import key_of
from retrieval_store.engine.filtering.facets import ordered
from retrieval_store.engine.filtering.masks import among
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.nearest.late_interaction import rank_multi
from retrieval_store.engine.nearest.search import nearest_rows
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.paging import page
from retrieval_store.engine.ranking.examples import compared_by
from retrieval_store.engine.ranking.formulas import worked_out
from retrieval_store.engine.ranking.similar import (
    allowed_rows,
    best_of,
    holders,
    metric_of,
    roughly,
    shown,
    similarities,
)
from retrieval_store.engine.ranking.texts import worded
from retrieval_store.engine.state.fetch import vectors_read
from retrieval_store.engine.words.ranked import rank_sparse
from retrieval_store.filters.expression import Expression
from retrieval_store.interface.queries import Query, scores_of
from retrieval_store.interface.steps import (
    Adjusted,
    Computed,
    Discovered,
    Diverse,
    Example,
    Fused,
    Near,
    Ordered,
    Recommended,
    Step,
    Unranked,
    Worded,
)

LESS_IS_BETTER = ("l2", "l1")
FLAT = 1.0  # the score of what isn't ranked


@dataclass(frozen=True, slots=True)
class Ranked:
    """(n,) rows, best first, and their scores; values: what an order went by."""

    rows: Ints
    scores: Floats
    values: list[int | float] | None = None

    def cut(self, start: int, stop: int) -> "Ranked":
        """Those from one rank to another."""
        values = None if self.values is None else self.values[start:stop]
        return Ranked(self.rows[start:stop], self.scores[start:stop], values)


NOTHING = Ranked(np.empty(0, np.int64), np.empty(0))
Within: TypeAlias = Ints | None  # rows, ascending; None for all that the expression allows


def ranked_each(view: SearchView, steps: Sequence[Step]) -> list[Ranked]:
    """What each of the steps finds. Those that differ in their vectors alone are one search, which
    passes over the codes once."""
    alike: dict[Hashable, list[int]] = {}
    for i, step in enumerate(steps):
        alike.setdefault(_search_of(view, step) or i, []).append(i)
    found: dict[int, Ranked] = {}
    for which in alike.values():
        some = [steps[i] for i in which]
        each = [ranked(view, some[0])] if len(some) == 1 else _searched(view, some)
        found.update(zip(which, each, strict=True))
    return [found[i] for i in range(len(steps))]


def _search_of(view: SearchView, step: Step) -> Hashable:
    """What is searched, and how, by a step that is a search of a dense space and no more."""
    near = step.scoring
    if step.before or not isinstance(near, Near) or isinstance(near.vector, SparseVector):
        return None
    if near.space not in view.state.spaces:
        return None
    key = key_of(step.expression)
    if key is None and step.expression is not None:
        return None
    return near.space, near.vector.shape, step.offset + step.limit, key, near.exact, near.ef


def _searched(view: SearchView, steps: Sequence[Step]) -> list[Ranked]:
    """What steps find that are one search."""
    nears = [step.scoring for step in steps if isinstance(step.scoring, Near)]
    vectors = np.stack([near.vector for near in nears if isinstance(near.vector, np.ndarray)])
    wanted = steps[0].offset + steps[0].limit
    each = _near_vectors(view, nears[0], vectors, wanted, steps[0].expression)
    metric = metric_of(view, nears[0].space)
    return [
        _cut(view, step, replace(found, scores=shown(found.scores, metric)))
        for step, found in zip(steps, each, strict=True)
    ]


def ranked(view: SearchView, step: Step) -> Ranked:
    """What a step finds."""
    before = ranked_each(view, step.before)
    match step.scoring:
        case Fused(k, weights):
            found = _fused(before, k, weights)
        case Computed(formula):
            rows = _together(before)
            scores = worked_out(view, formula, rows, [(one.rows, one.scores) for one in before])
            found = _by_score(rows, scores)
        case _:
            found = _alone(view, step, _within(view, step, before) if before else None)
    return _cut(view, step, found)


def _cut(view: SearchView, step: Step, found: Ranked) -> Ranked:
    """The part that is wanted."""
    good = _good_enough(view, step, found.scores)
    return found.cut(step.offset, min(good, step.offset + step.limit))


def _within(view: SearchView, step: Step, before: list[Ranked]) -> Ints:
    rows = _together(before)
    return rows if step.expression is None else rows[among(view, step.expression, rows)]


def _together(before: list[Ranked]) -> Ints:
    return distinct(np.concatenate([np.empty(0, np.int64), *(one.rows for one in before)]))


def less_is_better(view: SearchView, step: Step) -> bool:
    """Whether the best of what a step ranks has the least score, or the least value of an order."""
    if isinstance(step.scoring, Ordered):
        return not step.scoring.descending
    near = step.scoring.near if isinstance(step.scoring, Diverse) else step.scoring
    return isinstance(near, Near) and metric_of(view, near.space) in LESS_IS_BETTER


def _good_enough(view: SearchView, step: Step, scores: Floats) -> int:
    """How many of the scores, best first, come before the first that isn't as good as the
    threshold. As on a server, the metric of a space alone says which side is good: so what is
    compared with examples in a space of distances is best where it is greatest, and must be
    below."""
    if step.threshold is None:
        return len(scores)
    scoring = step.scoring.near if isinstance(step.scoring, Diverse) else step.scoring
    below = (
        isinstance(scoring, Near | Recommended | Discovered | Adjusted)
        and metric_of(view, scoring.space) in LESS_IS_BETTER
    )
    bad = scores > step.threshold if below else scores < step.threshold
    return int(np.argmax(bad)) if bad.any() else len(scores)


def _alone(view: SearchView, step: Step, within: Within) -> Ranked:
    wanted = step.offset + step.limit
    match step.scoring:
        case Near() as near:
            found = _nearest(view, step, near, wanted, within)
            return replace(found, scores=shown(found.scores, metric_of(view, near.space)))
        case Diverse() as diverse:
            return _diverse(view, step, diverse, within)
        case Recommended() | Discovered() | Adjusted() as scoring:
            return _compared(view, step, scoring, wanted, within)
        case Worded() as words:
            rows, scores = worded(view, words, step.expression)
            if within is not None:
                rows, scores = rows[np.isin(rows, within)], scores[np.isin(rows, within)]
            return _by_score(rows, scores)
        case Ordered() as order:
            return _in_order(view, step, order, wanted, within)
        case Unranked(at_random):
            return _unranked(view, step, at_random, wanted, within)
    raise TypeError(f"there is no such step: {step.scoring!r}")


def _nearest(view: SearchView, step: Step, near: Near, wanted: int, within: Within) -> Ranked:
    """By likeness: more is nearer, whatever the metric."""
    vector = near.vector
    if within is not None:
        rows = holders(view, near.space, within)
        (alike,) = similarities(view, near.space, rows, [vector])
        if isinstance(vector, SparseVector):
            rows, alike = rows[alike != 0], alike[alike != 0]
        return _by_score(rows, alike)
    if isinstance(vector, SparseVector):
        mask = allowed_by(view, step.expression).mask
        corpus = allowed_by(view, near.corpus).mask
        space = view.state.special[near.space]
        return Ranked(*rank_sparse(view, space, [vector], wanted, mask, corpus)[0])
    if near.space in view.state.special:
        rows = allowed_rows(allowed_by(view, step.expression).mask, view.state.alive)
        return Ranked(*rank_multi(view, view.state.special[near.space], vector, wanted, rows))
    return _near_vectors(view, near, vector[None], wanted, step.expression)[0]


def _near_vectors(
    view: SearchView, near: Near, vectors: Matrix, wanted: int, expression: Expression | None
) -> list[Ranked]:
    """The same for each of some vectors, (m, dim), in a dense space."""
    space = view.state.spaces.get(near.space)
    if space is None:
        return [NOTHING] * len(vectors)
    query = Query(near.space, vectors, wanted, expression, near.exact, near.ef)
    metric = space.space.metric
    each = nearest_rows(view, query, Trace(remarks=view.remarks))
    return [Ranked(rows, scores_of(distances, metric)) for rows, distances in each]


def _compared(
    view: SearchView,
    step: Step,
    scoring: Recommended | Discovered | Adjusted,
    wanted: int,
    within: Within,
) -> Ranked:
    """By what is made of the likeness to examples: of all roughly, then of the best exactly."""
    name, examples, combine = compared_by(scoring)
    rows = _rows(view, step, within)
    rows = holders(view, name, rows)
    rough = roughly(view, name, rows, examples)
    if rough is not None:
        rows = np.sort(rows[best_of(combine(rough.scores), wanted)])
    return _by_score(rows, combine(similarities(view, name, rows, examples)))


def _rows(view: SearchView, step: Step, within: Within) -> Ints:
    if within is not None:
        return within
    return allowed_rows(allowed_by(view, step.expression).mask, view.state.alive)


def _diverse(view: SearchView, step: Step, diverse: Diverse, within: Within) -> Ranked:
    """So many as are wanted, of which an offset skips some: as a server does it."""
    near = diverse.near
    found = _nearest(view, step, near, diverse.candidates, within).cut(0, diverse.candidates)
    scores = shown(found.scores, metric_of(view, near.space))
    if step.threshold is not None:
        found = found.cut(0, _good_enough(view, step, scores))
    # As a server does it: what idf makes of sparse vectors chooses candidates, and counts no more.
    (relevance,) = similarities(view, near.space, found.rows, [near.vector], weighted=False)
    chosen = marginally_relevant(
        relevance, _likeness(view, near.space, found.rows), step.limit, 1.0 - diverse.diversity
    )
    return Ranked(found.rows[chosen], scores[chosen])


def _likeness(view: SearchView, name: str, rows: Ints) -> Callable[[int], Floats]:
    """How alike all rows are to one of them."""
    vectors, special = examples_of(view, name, rows), view.state.special.get(name)
    is_multi = special is not None and special.kind == "multi"

    def likeness(place: int) -> Floats:
        if is_multi:  # which of two asks for the other matters there: all ask for the one
            of_all: Floats = similarities(view, name, rows[place : place + 1], vectors)[:, 0]
            return of_all
        alike: Floats = similarities(view, name, rows, [vectors[place]], weighted=False)[0]
        return alike

    return likeness


def _in_order(view: SearchView, step: Step, order: Ordered, wanted: int, within: Within) -> Ranked:
    limit = wanted if within is None else None
    rows, values = ordered(
        view, order.values, step.expression, limit, order.descending, order.start
    )
    if within is not None:
        kept = np.isin(rows, within)
        rows, values = rows[kept], [v for v, k in zip(values, kept.tolist(), strict=True) if k]
    return Ranked(rows, np.full(len(rows), FLAT), values)


def _unranked(view: SearchView, step: Step, at_random: bool, wanted: int, within: Within) -> Ranked:
    if at_random:
        rows = _rows(view, step, within)
        count = min(wanted, len(rows))
        rows = np.random.default_rng().choice(rows, count, replace=False)
    else:
        rows = page(view, step.expression, None, wanted)
    return Ranked(rows, np.full(len(rows), FLAT))


def _fused(before: list[Ranked], k: float | None, weights: tuple[float, ...] | None) -> Ranked:
    rankings: list[Ranking] = [(one.rows, one.scores) for one in before]
    if k is None:
        return Ranked(*by_distributions(rankings))
    return Ranked(*by_weighted_ranks(rankings, weights or [1.0] * len(rankings), k))


def _by_score(rows: Ints, scores: Floats) -> Ranked:
    order = np.argsort(-scores, kind="stable")
    return Ranked(rows[order], scores[order])


def examples_of(view: SearchView, name: str, rows: Ints) -> list[Example]:
    """The vectors of rows, all of which have one."""
    column = vectors_read(view, rows, name)
    return [one for one in column if one is not None]
