"""Finds the points nearest to a query vector in a dense space, among those that fulfil a filter.

`EngineRanker` implements `query.executor.Ranker`: it ranks the points of one state. An item is a
row of the state; rows are numbered in the order of insertion. `EngineRanker` ranks by nearness in
dense spaces. `scorers` implements all other scorings, and labels; it is imported when needed. The
scan of the vectors themselves (floats) is in this module. The scan of codes is in `code_search`,
which is imported for the first collection with codes.
"""

from collections.abc import Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from retrieval_store.base import budget, tracing
from retrieval_store.base.arrays import (
    Bools,
    Floats,
    Ints,
    Metric,
    distance_within,
    hit_distances,
    server_scores_of,
    similarity_of,
)
from retrieval_store.engine.filtering import evaluate
from retrieval_store.engine.filtering.cache import filter_result, key_of
from retrieval_store.engine.search.context import (
    ANY_FILTER,
    CodesAtHand,
    EngineTrace,
    KeptScan,
    KeptSearch,
    Neighbors,
    SearchContext,
    SearchView,
    SignSearchReport,
    Validity,
    in_order,
    search_key,
)
from retrieval_store.engine.search.index_lifecycle import FRESH_CELLS
from retrieval_store.engine.search.planner import (
    BY_CODES,
    MAX_DIMENSION_BY_SIGNS,
    MIN_CODED_NUMBERS,
    ROWS_PER_HIT,
    WIDEN_BY,
    CostInputs,
    SearchPlan,
    choose,
    index_cost,
)
from retrieval_store.engine.state.state import fetch, fetch_each, known_space, vector_bytes
from retrieval_store.errors import DimensionMismatchError, InvalidArgumentError
from retrieval_store.filters.nodes import Expression
from retrieval_store.indexes import VectorIndex, ef_of, recall_of
from retrieval_store.indexes.exact import FloatPass, Nearest, is_safe_length, nearest
from retrieval_store.indexes.native import REMEDY, kernel
from retrieval_store.query.executor import Labelling, Ranked
from retrieval_store.query.query import BestOfEach, Bm25, GroupSearch, NearestDense, QueryStep
from retrieval_store.query.types import (
    Fields,
    Points,
    index_settings,
    recall_wanted,
    uses_codes,
    usual_recall,
)

if TYPE_CHECKING:
    from retrieval_store.engine.search.codes import CodeSnapshot
    from retrieval_store.engine.search.scorers import Scorings
    from retrieval_store.indexes.quantized import CodePass
    from retrieval_store.query.query import WordReport


HIT = 32  # bytes that a hit takes while a batch is searched


def by_floats(context: SearchContext, query_numbers: list[int]) -> list[Neighbors]:
    """The k nearest vectors to each of the query vectors at `query_numbers`, found by a scan of
    floats."""
    slots = context.allowed.slots(context.space)
    context.verify_once(slots)
    norms = partial(context.norms, slots)
    vectors = context.vectors_at(query_numbers)
    hits_by_query = nearest(vectors, context.matrix, norms, context.metric, context.k, slots)
    return [context.in_order(hits) for hits in hits_by_query]


NO_HELP = "codes have recently excluded too few vectors: floats are searched"
UNCOMPILED = f"there is no compiled part, and numpy searches the vectors; {REMEDY}"


def nearest_rows(
    view: SearchView,
    near: NearestDense,
    k: int,
    expression: Expression | None,
    trace: EngineTrace,
    within: float | None = None,
) -> list[Neighbors]:
    """For each query vector, the rows and float64 distances of the k nearest points in a dense
    space that fulfil the expression. within: a distance; farther hits can be left out. Raises
    DimensionMismatchError for query vectors of another dimension, and InvalidArgumentError for
    vectors of another kind of space."""
    if isinstance(near.vectors, tuple):
        raise InvalidArgumentError(
            f"each query of space {near.space!r} has one vector: expected a matrix of them"
        )
    space, vectors = view.state.spaces.get(near.space), near.vectors
    if space is None or k < 1:
        return [(np.empty(0, np.int64), np.empty(0))] * len(vectors)
    if vectors.shape[1] != space.space.dimension:
        raise DimensionMismatchError(
            f"the query vectors have {vectors.shape[1]} numbers, but the collection holds "
            f"vectors of {space.space.dimension} (its dimension)"
        )
    allowed = filter_result(view, expression, evaluate)
    if len(vectors) == 1 and within is None and not trace.is_recording:
        kept = view.caches.spaces[near.space].find_search(allowed, search_key(near, k), space)
        hits = None if kept is None else kept.nearest(vectors[0], allowed)
        if hits is not None:
            return [in_order(space, k, hits)]
    most_hits = len(vectors) * min(k, allowed.about_count)
    budget.take(HIT * most_hits, "hits", most_hits)
    trace.note_filter(allowed.count if trace.is_recording else allowed.about_count)
    planned = len(trace.plans) if trace.is_recording else 0
    context = SearchContext(view, space, vectors, k, within, allowed, trace)
    answers = _DenseSearch(context, near).run()
    view.caches.allowed.count_again(allowed, view.state)
    if trace.is_recording:
        tracing.event("plan", lambda: trace.plan_attributes(planned, k))
    return answers


class _DenseSearch:
    """One call of `nearest_rows`. Its queries are answered by the cheapest method. If the index
    finds too few hits for a query, or codes leave too many candidates, the cheapest other method
    answers it."""

    def __init__(self, context: SearchContext, near: NearestDense) -> None:
        self._context, self._near, self._trace = context, near, context.trace
        self._open = context.view.caches.spaces[near.space]
        self._index = self._open.index
        self._policy = self._open.policy(context.space.space)
        self._answers: list[Neighbors | None] = [None] * len(context.vectors)
        self._coded: CodeSnapshot | None = None
        self._errors: float | None = None

    def run(self) -> list[Neighbors]:
        """The rows and distances of the hits for each query vector."""
        self._coded = self._usable_codes()
        if self._coded is not None:
            self._errors = self._errors_allowed()
        if self._may_use_index():
            covered = min(self._index.covered, self._context.slots)
            if self._index.installed and not (self._index.full or self._index.rests):
                self._trace.note_fresh(self._context.slots - covered, self._context.dimension)
            if covered and choose(self._cost_inputs(covered)).method == "over-fetch":
                self._index.search_index(self._through_index, None)
        if unanswered := self._unanswered_queries():
            self._by_scan(unanswered)
        return [answer for answer in self._answers if answer is not None]

    def _unanswered_queries(self) -> list[int]:
        """The positions of the queries that have no answer yet."""
        return [i for i, answer in enumerate(self._answers) if answer is None]

    def _usable_codes(self) -> "CodeSnapshot | None":
        """A snapshot of the codes if they can be used for this search, otherwise None."""
        context = self._context
        if context.slots * context.dimension >= MIN_CODED_NUMBERS and kernel() is None:
            self._trace.remark(UNCOMPILED)
        if not self._policy.codes:
            return None
        codes = self._open.codes
        if codes.closed:
            return None
        codes.load_saved(context.view.connection, context.slots)
        coded = codes.snapshot()
        if lacking := coded.count_uncoded(context.space):
            self._note_uncoded(lacking)
        self._trace.lap("codes at hand")
        if not codes.are_effective(context.k, context.allowed.about_count):
            self._trace.remark(NO_HELP)
            return None
        return coded if coded.pieces else None

    def _note_uncoded(self, vectors: int) -> None:
        cells = vectors * self._context.dimension
        self._trace.note_uncoded(vectors, self._context.dimension)
        if cells > FRESH_CELLS:
            self._trace.remark(f"{vectors} vectors have no codes yet, and are searched as floats")

    @property
    def _asks_for_recall(self) -> bool:
        """Whether the query, or the settings of the space, set a recall."""
        recall = self._near.recall
        return recall is not None or recall_wanted(self._context.space.space) is not None

    @property
    def _target(self) -> float:
        """The wanted recall, set by the query or otherwise by the space."""
        near = self._near
        if near.recall is not None:
            return near.recall
        return usual_recall(self._context.space.space) if near.ef is None else recall_of(near.ef)

    def _errors_allowed(self) -> float | None:
        """How many standard errors a scan of signs allows for; None if signs aren't scanned
        first."""
        context, space = self._context, self._context.space.space
        is_usual = self._policy.signs and uses_codes(space)
        if self._near.exact or context.dimension > MAX_DIMENSION_BY_SIGNS:
            return None
        if self._asks_for_recall:
            self._open.recall_wanted = True
        elif not is_usual:
            return None
        recall = self._open.recall
        recall.load_saved(context.view.connection)
        if recall.asks(context.slots):
            self._trace.note_unmeasured(context.slots, context.dimension)
        return recall.errors_for(self._target)

    def _may_use_index(self) -> bool:
        """Whether this search is allowed to use an index, if there is one."""
        if self._near.exact or not self._has_index():
            return False
        return all(map(is_safe_length, self._context.lengths))

    def _has_index(self) -> bool:
        """Whether the space has an index, or should have one."""
        index = self._index
        return index.wanted and (self._policy.graph or index.held is not None)

    def _note_plan(self, plan: SearchPlan, inputs: CostInputs, queries: int) -> None:
        """Record the plan of some queries, and how much time these queries lose because the codes
        of matching points weren't copied together."""
        self._trace.note_plan(plan, queries)
        if plan.costs:
            self._context.note_lost(inputs, plan, queries)

    def _cost_inputs(self, covered: int) -> CostInputs:
        """The inputs of the planner. covered: how many vectors the index contains."""
        context, ef = self._context, 0
        if covered:
            stored = index_settings(context.space.space).get("ef_search")
            usual = stored if isinstance(stored, int) else self._index.ef_search
            ef_for_recall = None if self._near.recall is None else ef_of(self._near.recall)
            ef = max(1, self._near.ef or ef_for_recall or usual)
        return CostInputs(
            context.slots,
            min(context.allowed.about_count, context.slots - context.space.dead),
            context.dimension,
            context.k,
            self._is_contiguous(self._coded is not None),
            0 if self._coded is None else self._coded.count_below(context.slots),
            covered,
            ef,
            self._errors is not None,
            self._asks_for_recall,
            context.allowed.lacks_bits(context.space),
        )

    def _is_contiguous(self, coded: bool) -> bool:
        """Whether the vectors (or, with `coded`, the codes) that fulfil the filter are contiguous.
        They are contiguous if all vectors fulfil the filter. Codes are also contiguous if there is
        a copy of them, or if this call will make a copy."""
        allowed = self._context.allowed
        if not allowed.restricts and not self._context.space.dead:
            return True
        return coded and (self._near.space in allowed.copies or self._context.copies_codes())

    def _through_index(self, index: VectorIndex, indexed: int) -> None:
        """Search the index for the queries for which that is the cheapest method."""
        from retrieval_store.engine.search.code_search import UselessError, over_fetch

        covered, wider = min(indexed, self._context.slots), 1
        while unanswered := self._unanswered_queries():
            inputs = self._cost_inputs(covered)
            plan = choose(inputs, wider)
            if plan.method != "over-fetch":
                break
            self._note_plan(plan, inputs, len(unanswered))
            try:
                over_fetch(self._context, index, covered, plan.ef, unanswered, self._answers)
            except UselessError:
                break
            self._trace.lap("over-fetch")
            wider *= WIDEN_BY

    def _by_scan(self, unanswered: list[int]) -> None:
        """Answer the remaining queries by a scan of codes or floats."""
        inputs = self._cost_inputs(0)
        plan = choose(inputs)
        if self._index.pays_from and self._index.rests and plan.costs and not self._near.exact:
            lost = plan.costs[plan.method] - index_cost(inputs)
            self._index.missed += max(0.0, lost) * len(unanswered)
        if plan.method in BY_CODES:
            self._by_codes(plan, inputs, unanswered)
            if not (unanswered := self._unanswered_queries()):
                return
            inputs = inputs._replace(coded=0)
            plan = choose(inputs)
        self._note_plan(plan, inputs, len(unanswered))
        for i, answer in zip(unanswered, by_floats(self._context, unanswered), strict=True):
            self._answers[i] = answer
        self._trace.lap("exact")
        self._keep_pass()

    def _keep_pass(self) -> None:
        """Keep the compiled scan of floats for the next query, if that query will scan floats, too.
        A scan is kept from the second use of its filter on."""
        context = self._context
        # Codes are never used for so few points.
        are_few = context.allowed.about_count < ROWS_PER_HIT * context.k
        other_ways = self._has_index() or (self._policy.codes and not are_few)
        if context.allowed.uses > 0 and not other_ways and kernel() is not None:
            slots = context.allowed.slots(context.space)
            one_pass = FloatPass(context.matrix, context.metric, context.k, slots)
            validity = Validity(context.space, self._index, self._index.held)
            self._keep(KeptSearch(validity, one_pass, context.allowed.about_count))

    def _keep(self, kept: KeptSearch) -> None:
        """Keep a search for the next query."""
        context = self._context
        self._open.keep_search(context.allowed, search_key(self._near, context.k), kept)

    def _by_codes(self, plan: SearchPlan, inputs: CostInputs, unanswered: list[int]) -> None:
        """Answer the remaining queries that a scan of codes can answer."""
        from retrieval_store.engine.search.code_search import by_codes, code_pass

        assert self._coded is not None
        context, coded = self._context, self._coded
        errors = self._errors if plan.method == "signs" else None
        is_alone = len(unanswered) == len(context.vectors) == 1
        one_pass = code_pass(context, coded, errors) if is_alone else None
        if one_pass is not None:
            self._answers[0] = self._by_pass(one_pass, errors)
            if self._answers[0] is not None or context.can_use_codes(0):
                self._note_plan(plan, inputs, 1)
        else:
            usable = [i for i in unanswered if context.can_use_codes(i)]
            self._note_plan(plan, inputs, len(usable))
            neighbors_by_query = by_codes(context, self._open.codes, coded, usable, errors)
            for i, answer in zip(usable, neighbors_by_query, strict=True):
                self._answers[i] = answer
            self._note_signs(errors, None)
        self._trace.lap(plan.method)

    def _note_signs(self, errors: float | None, hits: Nearest | None) -> None:
        """Record a report for `explain`, if the search scanned signs first. hits: the hits for the
        only query vector. errors: the number of standard errors that the search allowed for; None
        if it scanned no signs."""
        if errors is None or not self._trace.is_recording:
            return
        from retrieval_store.engine.search.code_search import estimate_recall

        looked, estimate = (0, 0, 0), None
        if hits is not None:
            assert self._coded is not None
            looked = hits.looked
            estimate = estimate_recall(self._context, self._coded, hits, errors)
        recall = self._open.recall.known
        self._trace.note_signs(SignSearchReport(self._target, errors, recall, looked, estimate))

    def _by_pass(self, one_pass: "CodePass", errors: float | None) -> Neighbors | None:
        """Answer the only query by a compiled scan of codes. The scan is kept for the next query if
        codes will remain the way to search the points that fulfil the filter."""
        context, codes = self._context, self._open.codes
        hits = one_pass.nearest(context.vectors[0], context.matrix)
        if hits is None:
            if context.can_use_codes(0):
                codes.note(False, context.k, context.allowed.about_count)
            return None
        codes.note(True, context.k, context.allowed.about_count)
        context.verify_once(hits.slots)  # vectors that were changed on disk cause an error here
        self._note_signs(errors, hits)
        allowed, may_copy = context.allowed, context.may_copy_codes()
        may_change = self._has_index()
        is_settled = not may_change and (not may_copy or self._near.space in allowed.copies)
        coded, recall = self._coded, self._open.recall
        assert coded is not None
        at_hand = CodesAtHand(codes, coded, recall, recall.known)
        validity = Validity(context.space, self._index, self._index.held, at_hand)
        if allowed.uses > 0 and is_settled and context.within is None:
            self._keep(KeptSearch(validity, one_pass, allowed.about_count))
        covers_all = self._near.space not in allowed.copies and coded.covers(context.slots)
        if not may_change and covers_all:
            inputs = self._cost_inputs(0)._replace(matching=context.slots)
            scan = KeptScan(validity, inputs, self._errors)
            self._open.keep_search(ANY_FILTER, search_key(self._near, context.k), scan)
        return context.in_order(hits)


class EngineRanker:
    """Ranks the points of one view; implements `query.executor.Ranker`."""

    def __init__(self, view: SearchView, trace: EngineTrace) -> None:
        self._view, self.trace = view, trace

    def rank(self, step: QueryStep) -> list[Ranked]:
        """For each query vector or text of a step, rank all points that fulfil the step's
        filter."""
        near = step.scoring
        if isinstance(near, NearestDense) and near.space not in self._view.state.non_dense:
            return self.near(step, near, step.offset + step.limit)
        return self._scorings().rank(step)

    def rank_among(self, step: QueryStep, rankings: Sequence[Ranked]) -> Ranked:
        """One ranking by a step with a single query vector or text. It ranks only the points that
        are in any of these rankings."""
        return self._scorings().rank_among(step, rankings)

    def near(self, step: QueryStep, near: NearestDense, k: int) -> list[Ranked]:
        """Rank by nearness in a dense space, with scores in the scale of `near`. The rankings are
        empty if there is no such space."""
        space, within = self._view.state.spaces.get(near.space), None
        metric: Metric = "l2" if space is None else space.space.metric
        if step.threshold is not None and near.scale == "distance":
            within = distance_within(step.threshold, metric)
        neighbors = nearest_rows(self._view, near, k, step.expression, self.trace, within)
        if near.scale == "distance":
            return [
                Ranked(rows, similarity_of(far, metric), hit_distances(far, metric))
                for rows, far in neighbors
            ]
        return [
            Ranked(rows, server_scores_of(similarity_of(far, metric), metric))
            for rows, far in neighbors
        ]

    def _scorings(self) -> "Scorings":
        """The object that ranks points by all other scorings."""
        from retrieval_store.engine.search.scorers import Scorings

        return Scorings(self._view, self.trace, self)

    def batch_key(self, step: QueryStep) -> Hashable:
        """A key that is equal for steps that search the same dense space with the same filter and
        options. None for steps of other kinds."""
        near = step.scoring
        if (
            step.prefetch
            or not isinstance(near, NearestDense)
            or near.space not in self._view.state.spaces
        ):
            return None
        key = key_of(step.expression)
        if key is None and step.expression is not None:
            return None
        dimension = np.shape(near.vectors)[1]
        settings = near.exact, near.ef, near.recall, near.scale
        return near.space, dimension, step.depth, key, *settings

    def metric(self, space: str) -> Metric:
        """The metric of a vector space."""
        return known_space(self._view.state, space).metric

    def distances(self, near: NearestDense, lists: Sequence[Ints]) -> list[Floats]:
        """The distances from each query vector to the items of its list: one float64 array (n,) for
        each list. The distance is NaN for points without a vector."""
        scorings = self._scorings()
        return [scorings.distances(near, place, items) for place, items in enumerate(lists)]

    def order(self, items: Ints) -> Ints:
        """The items unchanged, because rows are already numbered in the order of insertion."""
        return items

    def labelling(
        self, groups: BestOfEach | GroupSearch, point_count: int, expression: Expression | None
    ) -> Labelling:
        """Access to the labels of points, for grouping. point_count: about how many points need a
        label. The expression isn't used here."""
        from retrieval_store.engine.search.scorers import Kinds, LabelsAt, RowLabels

        key = Kinds(groups.path) if isinstance(groups, BestOfEach) else LabelsAt(groups.path)
        return RowLabels(self._view, key, point_count)

    def fetch(self, groups: Sequence[Ints], fields: Fields) -> list[Points]:
        """Read the points of several lists of rows together. The size of their vectors is counted
        against the request's budget here; the caller counts other fields."""
        if fields.vectors:
            count = sum(map(len, groups))
            budget.take(count * vector_bytes(self._view, fields), "hits", count)
        if len(groups) == 1:
            return [fetch(self._view, groups[0], fields)]
        return fetch_each(self._view, groups, fields)

    def matching(self, expression: "Expression", limit: int) -> Ints:
        """The first `limit` rows that fulfil an expression."""
        from retrieval_store.engine.filtering.select import select

        return select(self._view, None, expression, limit)

    def fulfilling(self, expression: "Expression", items: Ints) -> Bools:
        """Which of these rows fulfil an expression: (n,) bool. The rows must ascend."""
        from retrieval_store.engine.filtering.evaluate import filter_rows

        return filter_rows(self._view, expression, items)

    def words(self, text: Bm25, items: Ints) -> "list[WordReport]":
        """Each distinct word of the first query text, with its contribution to the score of each
        row."""
        return self._scorings().words(text, items)
