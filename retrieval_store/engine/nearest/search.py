"""Search in a dense space: the points nearest to a query vector, among those that a filter
allows."""

import numpy as np

from retrieval_store.base import tracing
from retrieval_store.base.dataclasses import replace
from retrieval_store.engine.codes.segments import NOTHING_CODED, WORTH_CELLS, Coded, uncoded
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.context import Neighbors, SearchContext, SearchView, Trace
from retrieval_store.engine.nearest.indexing import FRESH_CELLS, is_worth_an_index
from retrieval_store.engine.nearest.methods import (
    PackedCodes,
    UselessError,
    by_codes,
    by_floats,
    can_use_codes,
    may_keep_codes,
    over_fetch,
)
from retrieval_store.engine.nearest.planner import (
    WIDER,
    CostInputs,
    Plan,
    choose,
    index_cost,
)
from retrieval_store.errors import DimensionMismatchError
from retrieval_store.filters.expression import Expression
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.exact import is_safe_length
from retrieval_store.indexes.native.library import REMEDY, kernel
from retrieval_store.interface.questions import Near
from retrieval_store.interface.spaces import index_settings

NO_HELP = "codes told too few vectors apart of late: floats are searched"
UNCOMPILED = f"there is no compiled part, and numpy searches the vectors; {REMEDY}"


def nearest_rows(
    view: SearchView,
    near: Near,
    k: int,
    expression: Expression | None,
    trace: Trace,
    within: float | None = None,
) -> list[Neighbors]:
    """For each query vector the rows and float64 distances of the k nearest points in a dense space
    that fulfil the expression. within: a distance beyond which hits may be left out. Raises
    DimensionMismatchError."""
    space, vectors = view.state.spaces.get(near.space), np.asarray(near.vectors)
    if space is None or k < 1:
        return [(np.empty(0, np.int64), np.empty(0))] * len(vectors)
    if vectors.shape[1] != space.space.dimension:
        raise DimensionMismatchError(
            f"the query vectors have {vectors.shape[1]} numbers, but the collection holds "
            f"vectors of {space.space.dimension} (its dimension)"
        )
    allowed = allowed_by(view, expression)
    trace.matching = allowed.count
    trace.lap("filter")
    planned = len(trace.plans)
    context = SearchContext(view, space, vectors, k, within, allowed, trace)
    found = _Search(context, near).run()
    tracing.event("plan", lambda: trace.of_plans(planned, k))
    return found


class _Search:
    """One call. Its queries are answered by the cheapest method; a query for which the index finds
    too few hits, or codes leave too many candidates, is answered by the cheapest other method."""

    def __init__(self, context: SearchContext, near: Near) -> None:
        self._context, self._near, self._trace = context, near, context.trace
        self._index = context.view.kept.indexes[near.space]
        self._codes = context.view.kept.codes[near.space]
        self._answers: list[Neighbors | None] = [None] * len(context.vectors)

    def run(self) -> list[Neighbors]:
        """The rows and distances for each query vector."""
        self._coded = self._at_hand()
        if self._may_use_index():
            covered = min(self._index.covered, self._context.slots)
            if self._index.installed and not (self._index.full or self._index.rests):
                self._trace.note_fresh(self._context.slots - covered, self._context.dimension)
            if covered and choose(self._cost_inputs(covered)).method == "over-fetch":
                self._index.searched(self._through_index, None)
        if self._left():
            self._by_products()
        return [answer for answer in self._answers if answer is not None]

    def _left(self) -> list[int]:
        """The places of queries without an answer yet."""
        return [i for i, answer in enumerate(self._answers) if answer is None]

    def _at_hand(self) -> Coded:
        """The codes that may be used; NOTHING_CODED if none."""
        context, codes = self._context, self._codes
        if context.slots * context.dimension >= WORTH_CELLS and kernel() is None:
            self._trace.remarks.append(UNCOMPILED)
        if not codes.worth(context.slots):
            return NOTHING_CODED
        codes.load_saved(context.view.connection, context.slots)
        coded = codes.shown()
        if lacking := uncoded(coded, context.space):
            self._note_uncoded(lacking)
        self._trace.lap("codes at hand")
        if not any(can_use_codes(context, i) for i in range(len(context.lengths))):
            return NOTHING_CODED
        if not codes.are_effective():
            self._trace.remarks.append(NO_HELP)
            return NOTHING_CODED
        return coded

    def _note_uncoded(self, vectors: int) -> None:
        cells = vectors * self._context.dimension
        self._trace.note_uncoded(vectors, self._context.dimension)
        if cells > FRESH_CELLS:
            remark = f"{vectors} vectors have no codes yet, and are searched as floats"
            self._trace.remarks.append(remark)

    def _may_use_index(self) -> bool:
        """Whether an index, if there is one, may answer."""
        context = self._context
        worth = is_worth_an_index(context.slots, context.dimension, context.metric)
        if self._near.exact or not (worth or self._index.covered > 0):
            return False
        return self._index.wanted and all(map(is_safe_length, context.lengths))

    def _cost_inputs(self, covered: int) -> CostInputs:
        """The planner's inputs, if `covered` of the vectors are in the index."""
        context, ef = self._context, 0
        if covered:
            stored = index_settings(context.space.space).get("ef_search")
            usual = stored if isinstance(stored, int) else self._index.ef_search
            ef = max(1, self._near.ef or usual)
        return CostInputs(
            slots=context.slots,
            matching=min(context.allowed.count, context.slots - context.space.dead),
            dimension=context.dimension,
            k=self._context.k,
            contiguous=self._lies_together(),
            coded=self._coded.count_below(context.slots),
            indexed=covered,
            ef_search=ef,
        )

    def _lies_together(self) -> bool:
        """Whether the allowed vectors or codes lie contiguously: because all are allowed, or
        because a copy of them is kept, or will be made by this call."""
        context = self._context
        whole = context.allowed.mask is None and not context.space.dead
        if whole:
            return True
        kept, coded = context.allowed.packed(self._near.space), bool(self._coded.pieces)
        if kept is not None and isinstance(kept, PackedCodes) == coded:
            return True
        return may_keep_codes(context) if coded else context.may_keep(4 * context.dimension)

    def _note(self, plan: Plan, queries: int) -> None:
        self._trace.plans += [plan] * queries

    def _through_index(self, index: VectorIndex, held: int) -> None:
        """Answer, through the index, the queries for which that is cheapest."""
        covered = min(held, self._context.slots)
        inputs, wider = self._cost_inputs(covered), 1
        while left := self._left():
            plan = choose(inputs, wider)
            if plan.method != "over-fetch":
                break
            self._note(plan, len(left))
            try:
                over_fetch(self._context, index, covered, plan.ef, left, self._answers)
            except UselessError:
                break
            self._trace.lap("over-fetch")
            wider *= WIDER

    def _by_products(self) -> None:
        """Answer the remaining queries by codes or floats."""
        inputs = self._cost_inputs(0)
        plan = choose(inputs)
        if self._index.rests and plan.costs and not self._near.exact:
            lost = plan.costs[plan.method] - index_cost(inputs)
            self._index.missed += max(0.0, lost) * len(self._left())
        if plan.method == "codes":
            left = [i for i in self._left() if can_use_codes(self._context, i)]
            self._note(plan, len(left))
            found = by_codes(self._context, self._codes, self._coded, left)
            for i, answer in zip(left, found, strict=True):
                self._answers[i] = answer
            self._trace.lap("codes")
        if left := self._left():
            if plan.method == "codes":
                plan = choose(replace(inputs, coded=0))
            self._note(plan, len(left))
            for i, answer in zip(left, by_floats(self._context, left), strict=True):
                self._answers[i] = answer
            self._trace.lap("exact")
