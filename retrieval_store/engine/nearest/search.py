"""Search in a dense space: the points nearest to a query vector, among those that a filter
allows."""

import numpy as np

from retrieval_store.base import tracing
from retrieval_store.base.arrays import Matrix
from retrieval_store.engine.codes.segments import NOTHING_CODED, WORTH_CELLS, Coded, uncoded
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.context import (
    Neighbors,
    SearchContext,
    SearchView,
    Trace,
    in_order,
)
from retrieval_store.engine.nearest.indexing import FRESH_CELLS, SpaceIndex, is_worth_an_index
from retrieval_store.engine.nearest.methods import (
    PackedCodes,
    PackedFloats,
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
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.errors import DimensionMismatchError
from retrieval_store.filters.expression import Expression
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.exact import FloatPass, is_safe_length
from retrieval_store.indexes.native.library import REMEDY, kernel
from retrieval_store.interface.questions import Near
from retrieval_store.interface.spaces import index_settings

PLANS_KEPT = 64  # with one filter: then they are made anew
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
    kept: KeptPass | None = allowed.passes.get(near.space)
    if kept is not None and len(vectors) == 1 and not trace.is_kept and kept.serves(view, space, k):
        return [kept.nearest(vectors[0])]
    trace.note_filter(allowed.count)
    planned = len(trace.plans) if trace.is_kept else 0
    context = SearchContext(view, space, vectors, k, within, allowed, trace)
    found = _Search(context, near).run()
    if trace.is_kept:
        tracing.event("plan", lambda: trace.of_plans(planned, k))
    return found


class KeptPass:
    """A search by a pass over floats, kept with its filter and made ready for the next query, where
    neither codes nor an index come into question before the state changes."""

    __slots__ = ("_copy", "_floats", "_index", "_slots", "_space")

    def __init__(self, context: SearchContext, index: SpaceIndex) -> None:
        slots = context.allowed.slots(context.space)
        together = context.allowed.packed(context.space.space.name)
        self._space, self._index = context.space, index
        self._copy, self._slots, matrix = None, None, context.matrix
        if isinstance(together, PackedFloats):
            self._copy = matrix = together.rows
            self._slots, slots = slots, None
        self._floats = FloatPass(matrix, context.metric, context.k, slots)

    def serves(self, view: SearchView, space: SpaceState, k: int) -> bool:
        """Whether it is right for this state and as many hits."""
        if self._space is not space or self._floats.k != k:
            return False
        return view.kept.indexes[space.space.name] is self._index and not self._index.covered

    def nearest(self, vector: Matrix) -> Neighbors:
        """The rows of the nearest points, all of whose vectors this process has verified."""
        space = self._space
        # Which is DamagedError if the file was cut off meanwhile, whatever is searched.
        matrix = space.vectors.rows(space.space.slots)
        found = self._floats.nearest(vector, matrix if self._copy is None else self._copy)
        return in_order(space, self._floats.k, found, self._slots)


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
            if covered and self._plan(covered).method == "over-fetch":
                self._index.searched(self._through_index, None)
        if left := self._left():
            self._by_products(left)
        return [answer for answer in self._answers if answer is not None]

    def _left(self) -> list[int]:
        """The places of queries without an answer yet."""
        return [i for i, answer in enumerate(self._answers) if answer is None]

    def _at_hand(self) -> Coded:
        """The codes that may be used; NOTHING_CODED if none."""
        context, codes = self._context, self._codes
        if context.slots * context.dimension >= WORTH_CELLS and kernel() is None:
            self._trace.remark(UNCOMPILED)
        if not codes.worth(context.slots):
            return NOTHING_CODED
        codes.load_saved(context.view.connection, context.slots)
        coded = codes.shown()
        if lacking := uncoded(coded, context.space):
            self._note_uncoded(lacking)
        self._trace.lap("codes at hand")
        if not any(can_use_codes(context, i) for i in range(len(context.vectors))):
            return NOTHING_CODED
        if not codes.are_effective():
            self._trace.remark(NO_HELP)
            return NOTHING_CODED
        return coded

    def _note_uncoded(self, vectors: int) -> None:
        cells = vectors * self._context.dimension
        self._trace.note_uncoded(vectors, self._context.dimension)
        if cells > FRESH_CELLS:
            self._trace.remark(f"{vectors} vectors have no codes yet, and are searched as floats")

    def _may_use_index(self) -> bool:
        """Whether an index, if there is one, may answer."""
        if self._near.exact or not self._has_index():
            return False
        return all(map(is_safe_length, self._context.lengths))

    def _has_index(self) -> bool:
        """Whether there is an index, or should be."""
        context, index = self._context, self._index
        if not index.wanted:
            return False
        return index.covered > 0 or is_worth_an_index(
            context.slots, context.dimension, context.metric
        )

    def _plan(self, covered: int, wider: int = 1, without_codes: bool = False) -> Plan:
        """The plan if `covered` of the vectors are in the index; made once, and kept with the
        filter as long as nothing that it depends on changes. wider: see `planner.choose`."""
        inputs = self._cost_inputs(covered)
        if without_codes:
            inputs = inputs._replace(coded=0)
        plans = self._context.allowed.plans
        plan: Plan | None = plans.get((inputs, wider))
        if plan is None:
            if len(plans) >= PLANS_KEPT:
                plans.clear()
            plan = plans[inputs, wider] = choose(inputs, wider)
        return plan

    def _cost_inputs(self, covered: int) -> CostInputs:
        """The planner's inputs, if `covered` of the vectors are in the index."""
        context, ef = self._context, 0
        if covered:
            stored = index_settings(context.space.space).get("ef_search")
            usual = stored if isinstance(stored, int) else self._index.ef_search
            ef = max(1, self._near.ef or usual)
        return CostInputs(
            context.slots,
            min(context.allowed.count, context.slots - context.space.dead),
            context.dimension,
            context.k,
            self._lies_together(),
            self._coded.count_below(context.slots) if self._coded.pieces else 0,
            covered,
            ef,
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

    def _through_index(self, index: VectorIndex, held: int) -> None:
        """Answer, through the index, the queries for which that is cheapest."""
        covered, wider = min(held, self._context.slots), 1
        while left := self._left():
            plan = self._plan(covered, wider)
            if plan.method != "over-fetch":
                break
            self._trace.note_plan(plan, len(left))
            try:
                over_fetch(self._context, index, covered, plan.ef, left, self._answers)
            except UselessError:
                break
            self._trace.lap("over-fetch")
            wider *= WIDER

    def _by_products(self, left: list[int]) -> None:
        """Answer the remaining queries by codes or floats."""
        plan = self._plan(0)
        if self._index.pays_from and self._index.rests and plan.costs and not self._near.exact:
            lost = plan.costs[plan.method] - index_cost(self._cost_inputs(0))
            self._index.missed += max(0.0, lost) * len(left)
        if plan.method == "codes":
            coded = [i for i in left if can_use_codes(self._context, i)]
            self._trace.note_plan(plan, len(coded))
            found = by_codes(self._context, self._codes, self._coded, coded)
            for i, answer in zip(coded, found, strict=True):
                self._answers[i] = answer
            self._trace.lap("codes")
            if not (left := self._left()):
                return
            plan = self._plan(0, without_codes=True)
        self._trace.note_plan(plan, len(left))
        for i, nearest in zip(left, by_floats(self._context, left), strict=True):
            self._answers[i] = nearest
        self._trace.lap("exact")
        self._keep_pass()

    def _keep_pass(self) -> None:
        """Keep the pass over floats for the next query, if that can't be searched otherwise: from
        the second use of a filter on, when its vectors have been copied together."""
        context, index = self._context, self._index
        others = index.covered or self._has_index() or self._codes.worth(context.slots)
        if context.allowed.uses > 1 and not others and kernel() is not None:
            context.allowed.passes[self._near.space] = KeptPass(context, index)
