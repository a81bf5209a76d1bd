"""The engine's implementation of `answering.leaves.Leaves`: rankings of the points in one state.

Items are rows of the state, which are numbered in the order of insertion. What isn't asked of most
collections, every scoring but nearness in a dense space and all labels, is loaded when it is asked
for first.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints, Metric, similarity_of
from retrieval_store.engine.filtering.allowed import key_of
from retrieval_store.engine.nearest.context import SearchView, Trace
from retrieval_store.engine.nearest.search import nearest_rows
from retrieval_store.engine.state.fetch import fetch_each
from retrieval_store.engine.state.state import known_space
from retrieval_store.query.executor import Labelling, Ranked
from retrieval_store.query.query import BestOfEach, Groups, Near, Step, Text
from retrieval_store.query.types import Fields, Points

if TYPE_CHECKING:
    from retrieval_store.engine.ranking.scorings import Scorings
    from retrieval_store.filters.nodes import Expression
    from retrieval_store.query.query import WordFindings


class EngineLeaves:
    """The points of one view; see `answering.leaves.Leaves`."""

    def __init__(self, view: SearchView, trace: Trace) -> None:
        self._view, self.trace = view, trace

    def rank(self, step: Step) -> list[Ranked]:
        """For each query of a step its best points, among all that its filter allows."""
        near = step.scoring
        if isinstance(near, Near) and near.space not in self._view.state.non_dense:
            return self.near(step, near, step.depth)
        return self._scorings().rank(step)

    def rank_among(self, step: Step, found: Sequence[Ranked]) -> Ranked:
        """The same for a step of one query, among the points that are in any of these rankings."""
        return self._scorings().rank_among(step, found)

    def near(self, step: Step, near: Near, wanted: int) -> list[Ranked]:
        """By nearness in a dense space, with scores in the scale of `near`; nothing where there is
        no such space."""
        within = step.threshold if near.scale == "distance" else None
        found = nearest_rows(self._view, near, wanted, step.expression, self.trace, within)
        space = self._view.state.spaces.get(near.space)
        metric: Metric = "l2" if space is None else space.space.metric
        ranked = [Ranked(rows, similarity_of(far, metric), far) for rows, far in found]
        return ranked if near.scale == "distance" else [one.on_server(metric) for one in ranked]

    def _scorings(self) -> "Scorings":
        """All the other ways in which points can be scored."""
        from retrieval_store.engine.ranking.scorings import Scorings

        return Scorings(self._view, self.trace, self)

    def search_key(self, step: Step) -> Hashable:
        """Equal for steps that search one dense space, with one filter, in one way."""
        near = step.scoring
        if step.prefetch or not isinstance(near, Near) or near.space not in self._view.state.spaces:
            return None
        key = key_of(step.expression)
        if key is None and step.expression is not None:
            return None
        dimension = np.shape(near.vectors)[1]
        return near.space, dimension, step.depth, key, near.exact, near.ef, near.scale

    def metric(self, space: str) -> Metric:
        """The metric of a space."""
        return known_space(self._view.state, space).metric

    def distances(self, near: Near, place: int, items: Ints) -> Floats:
        """(n,) float64 distances from the query vector at `place`; NaN for points without one."""
        return self._scorings().distances(near, place, items)

    def order(self, items: Ints) -> Ints:
        """Rows are numbered in the order of insertion."""
        return items

    def labelling(self, groups: BestOfEach | Groups, wanted: int) -> Labelling:
        """Access to labels; wanted: about how many points the call will look at."""
        from retrieval_store.engine.ranking.labels import Kinds, LabelsAt, RowLabels

        key = Kinds(groups.path) if isinstance(groups, BestOfEach) else LabelsAt(groups.path)
        return RowLabels(self._view, key, wanted)

    def fetch(self, each: Sequence[Ints], fields: Fields) -> list[Points]:
        """The points of several lists of rows, read at once."""
        return fetch_each(self._view, each, fields)

    def matching(self, expression: "Expression", limit: int) -> Ints:
        """The first `limit` rows that fulfil an expression."""
        from retrieval_store.engine.filtering.selecting import select

        return select(self._view, None, expression, limit)

    def fulfilling(self, expression: "Expression", items: Ints) -> Bools:
        """(n,) bool: which of some rows, ascending, fulfil an expression."""
        from retrieval_store.engine.filtering.masks import among

        return among(self._view, expression, items)

    def words(self, text: Text, items: Ints) -> "list[WordFindings]":
        """Each distinct word of the first text, and what it adds to the scores of some rows."""
        return self._scorings().words(text, items)
