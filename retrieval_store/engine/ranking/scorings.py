"""Points by everything but nearness in a dense space: sparse vectors, words, multivectors,
examples, formulas, orders, chance; and any of it among points that other steps have found."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints, distinct
from retrieval_store.base.fusion import IDENTIFIER_WEIGHT, marginally_relevant
from retrieval_store.engine.filtering.facets import ordered
from retrieval_store.engine.filtering.masks import among
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.context import SearchView, Trace
from retrieval_store.engine.nearest.multivectors import rank_multi
from retrieval_store.engine.paging import page
from retrieval_store.engine.ranking.examples import compared_by
from retrieval_store.engine.ranking.formulas import worked_out
from retrieval_store.engine.ranking.payload_texts import rank_payload_texts
from retrieval_store.engine.ranking.similar import (
    approximate_scores,
    best_of,
    distances_of,
    examples_of,
    rows_with_vector,
    similarities,
)
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.words.ranked import (
    rank_sparse,
    rank_texts,
    rank_weighed_texts,
    word_shares,
)
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.query.executor import Leaves, Ranked, are_worse
from retrieval_store.query.query import (
    ByExamples,
    Computed,
    Discovered,
    Diverse,
    Near,
    Ordered,
    PayloadText,
    Recommended,
    RelevanceFeedback,
    Sparse,
    Step,
    Text,
    Unranked,
    WordFindings,
)
from retrieval_store.query.types import Kind

FLAT = 1.0  # the score of hits that aren't ranked by a score
# The rows that a step may rank; None for all that its filter allows.
Within: TypeAlias = Ints | None


class DenseLeaves(Leaves, Protocol):
    """What is asked of `leaves.EngineLeaves` here."""

    def near(self, step: Step, near: Near, wanted: int) -> list[Ranked]:
        """By nearness in a dense space."""


class Scorings:
    """Rankings of the points in one view. leaves: those of the same view, which rank by nearness in
    dense spaces."""

    def __init__(self, view: SearchView, trace: Trace, leaves: DenseLeaves) -> None:
        self._view, self._trace, self._leaves = view, trace, leaves

    def rank(self, step: Step) -> list[Ranked]:
        """For each query of a step its best points, among all that its filter allows."""
        match step.scoring:
            case Near() as near:
                return self._near(step, near, step.depth)
            case Sparse() as sparse:
                return self._sparse(step, sparse, step.depth)
            case Text() as text:
                return self._text(step, text)
        return [self._rank_one(step, None)]

    def rank_among(self, step: Step, found: Sequence[Ranked]) -> Ranked:
        """The same for a step of one query, among the points that are in any of these rankings."""
        rows = distinct(np.concatenate([np.empty(0, np.int64), *(one.items for one in found)]))
        if isinstance(step.scoring, Computed):
            before = [(one.items, one.scores) for one in found]
            return _by_score(rows, worked_out(self._view, step.scoring.formula, rows, before))
        if step.expression is not None:
            rows = rows[among(self._view, step.expression, rows)]
        if isinstance(step.scoring, Near | Sparse):
            return self._near_among(step.scoring, rows)
        return self._rank_one(step, rows)

    def _rank_one(self, step: Step, within: Within) -> Ranked:
        match step.scoring:
            case Diverse() as diverse:
                return self._diverse(step, diverse, within)
            case Recommended() | Discovered() | RelevanceFeedback() as scoring:
                return self._compared(step, scoring, within)
            case PayloadText() as texts:
                rows, scores = rank_payload_texts(self._view, texts, step.expression)
                if within is not None:
                    rows, scores = rows[np.isin(rows, within)], scores[np.isin(rows, within)]
                return _by_score(rows, scores)
            case Ordered() as order:
                return self._in_order(step, order, within)
            case Unranked(at_random):
                return self._unranked(step, at_random, within)
        raise TypeError(f"a step can't be scored so: {step.scoring!r}")

    def distances(self, near: Near, place: int, items: Ints) -> Floats:
        """(n,) float64 distances from the query vector at `place`; NaN for points without one."""
        distances = np.full(len(items), np.nan)
        space = self._view.state.spaces.get(near.space)
        if space is not None:
            owned = space.slot_of_row[items] >= 0
            distances[owned] = distances_of(space, items[owned], near.vectors[place])
        return distances

    def _allowed(self, step: Step) -> Bools | None:
        """The step's filter as a mask over rows; None if it allows all."""
        allowed = allowed_by(self._view, step.expression)
        self._trace.note_filter(allowed.count)
        return allowed.mask

    def _rows(self, step: Step, within: Within) -> Ints:
        if within is not None:
            return within
        mask = self._allowed(step)
        return np.flatnonzero(self._view.state.alive if mask is None else mask)

    def _near(self, step: Step, near: Near, wanted: int) -> list[Ranked]:
        """By nearness to vectors, of which a space that isn't dense has several for a point."""
        if near.space in self._view.state.non_dense:
            return self._late_interaction(step, near, wanted)
        return self._leaves.near(step, near, wanted)

    def _late_interaction(self, step: Step, near: Near, wanted: int) -> list[Ranked]:
        if step.threshold is not None and near.scale == "distance":
            raise InvalidArgumentError("late interaction gives scores, and no distances to compare")
        space, rows = self._non_dense(near.space, "multi"), self._rows(step, None)
        found = [rank_multi(self._view, space, one, wanted, rows) for one in near.vectors]
        self._trace.lap("late interaction")
        ranked = [Ranked(rows, scores) for rows, scores in found]
        metric = space.metric
        return ranked if near.scale == "distance" else [one.on_server(metric) for one in ranked]

    def _sparse(self, step: Step, sparse: Sparse, wanted: int) -> list[Ranked]:
        space, mask = self._non_dense(sparse.space, "sparse"), self._allowed(step)
        corpus = allowed_by(self._view, sparse.corpus).mask
        found = rank_sparse(self._view, space, sparse.vectors, wanted, mask, corpus)
        self._trace.lap("sparse")
        return [Ranked(rows, scores) for rows, scores in found]

    def _text(self, step: Step, text: Text) -> list[Ranked]:
        view, mask = self._view, self._allowed(step)
        asked = (view, text.analyzer, text.texts, step.depth, mask)
        if text.weighs_identifiers:
            weighed = rank_weighed_texts(*asked, IDENTIFIER_WEIGHT)
            ranked = [Ranked(*one, share=share) for one, share in weighed]
        else:
            ranked = [Ranked(*one) for one in rank_texts(*asked)]
        self._trace.lap("text")
        return ranked

    def words(self, text: Text, rows: Ints) -> list[WordFindings]:
        """Each distinct word of the first text, and what it adds to the scores of some rows."""
        weight = IDENTIFIER_WEIGHT if text.weighs_identifiers else 1.0
        shares = word_shares(self._view, text.analyzer, text.texts[0], rows, weight)
        return [WordFindings(*one) for one in shares]

    def _non_dense(self, name: str, kind: Kind) -> Space:
        space = self._view.state.non_dense.get(name)
        if space is None or space.kind != kind:
            raise InvalidArgumentError(f"there is no {kind} vector space {name!r}")
        return space

    def _near_among(self, near: Near | Sparse, rows: Ints) -> Ranked:
        """By nearness to the first vector, of the rows whose points have one."""
        rows = rows_with_vector(self._view, near.space, rows)
        (scores,) = similarities(self._view, near.space, rows, [near.vectors[0]])
        if isinstance(near, Sparse):
            rows, scores = rows[scores != 0], scores[scores != 0]
        ranked = _by_score(rows, scores)
        if isinstance(near, Near) and near.scale == "server":
            return ranked.on_server(self._leaves.metric(near.space))
        if isinstance(near, Near) and near.space in self._view.state.spaces:
            ranked.distances = self.distances(near, 0, ranked.items)
        return ranked

    def _compared(self, step: Step, scoring: ByExamples, within: Within) -> Ranked:
        """By a combination of the likenesses to examples: approximately for all rows, then exactly
        for the best of them."""
        view = self._view
        name, examples, combine = compared_by(scoring)
        rows = rows_with_vector(view, name, self._rows(step, within))
        approximate = approximate_scores(view, name, rows, examples)
        if approximate is not None:
            rows = np.sort(rows[best_of(combine(approximate.scores), step.depth)])
        return _by_score(rows, combine(similarities(view, name, rows, examples)))

    def _diverse(self, step: Step, diverse: Diverse, within: Within) -> Ranked:
        """`step.limit` hits by MMR. An offset skips some of these, so that fewer are left; a server
        does the same."""
        near, view = diverse.near, self._view
        if diverse.candidates < 1:
            return Ranked(np.empty(0, np.int64), np.empty(0))
        if within is not None:
            found = self._near_among(near, within)
        elif isinstance(near, Near):
            (found,) = self._near(step, near, diverse.candidates)
        else:
            (found,) = self._sparse(step, near, diverse.candidates)
        found = found.at(slice(diverse.candidates))
        if step.threshold is not None:
            worse = are_worse(self._leaves, diverse, found.scores, step.threshold)
            found = found.at(slice(int(np.argmax(worse)) if worse.any() else None))
        # As on a server: idf counts in the choice of candidates, but not from here on.
        (relevance,) = similarities(
            view, near.space, found.items, [near.vectors[0]], weighted=False
        )
        chosen = marginally_relevant(
            relevance, self._likeness(near.space, found.items), step.limit, 1.0 - diverse.diversity
        )
        return found.at(chosen)

    def _likeness(self, name: str, rows: Ints) -> Callable[[slice | Ints, Ints], Floats]:
        """A function that computes the likeness of some of these rows to rows picked before, as
        (rows, picks)."""
        view = self._view
        vectors, space = examples_of(view, name, rows), view.state.non_dense.get(name)
        is_multi = space is not None and space.kind == "multi"

        def likeness(places: slice | Ints, picks: Ints) -> Floats:
            if is_multi:  # late interaction isn't symmetric: the rows are queries, picks documents
                asking = [vectors[i] for i in np.arange(len(rows))[places].tolist()]
                return similarities(view, name, rows[picks], asking)
            picked = [vectors[i] for i in picks.tolist()]
            alike: Floats = similarities(view, name, rows[places], picked, weighted=False).T
            return alike

        return likeness

    def _in_order(self, step: Step, order: Ordered, within: Within) -> Ranked:
        limit = step.depth if within is None else None
        rows, values = ordered(
            self._view, order.values, step.expression, limit, order.descending, order.start
        )
        found = Ranked(rows, np.full(len(rows), FLAT), values=values)
        return found if within is None else found.at(np.flatnonzero(np.isin(rows, within)))

    def _unranked(self, step: Step, at_random: bool, within: Within) -> Ranked:
        if at_random:
            rows = self._rows(step, within)
            count = min(step.depth, len(rows))
            rows = np.random.default_rng().choice(rows, count, replace=False)
        else:
            rows = page(self._view, step.expression, None, step.depth)
        return Ranked(rows, np.full(len(rows), FLAT))


def _by_score(rows: Ints, scores: Floats) -> Ranked:
    order = np.argsort(-scores, kind="stable")
    return Ranked(rows[order], scores[order])
