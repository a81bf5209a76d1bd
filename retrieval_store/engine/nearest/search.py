"""Which points are nearest to a query vector, among those that a filter allows."""

from dataclasses import replace

import numpy as np

from retrieval_store.base import tracing
from retrieval_store.engine.codes.coded import NOTHING_CODED, Coded, uncoded
from retrieval_store.engine.codes.segments import WORTH_CELLS
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.asked import Asked, Found
from retrieval_store.engine.nearest.by_codes import (
    CodesTogether,
    by_codes,
    can_use_codes,
    may_keep_codes,
)
from retrieval_store.engine.nearest.by_floats import by_floats
from retrieval_store.engine.nearest.indexing import FRESH_CELLS, is_worth_an_index
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.nearest.planner import (
    WIDER,
    Plan,
    Situation,
    choose,
    index_cost,
)
from retrieval_store.engine.nearest.through_index import UselessError, over_fetch
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.errors import DimensionMismatchError
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.exact import is_safe_length
from retrieval_store.indexes.native.library import REMEDY, kernel
from retrieval_store.interface.queries import Query
from retrieval_store.interface.spaces import index_settings

NO_HELP = "codes told too few vectors apart of late: floats are searched"
UNCOMPILED = f"there is no compiled part, and numpy searches the vectors; {REMEDY}"


def nearest_rows(view: SearchView, query: Query, trace: Trace) -> list[Found]:
    """For each query vector the rows of the nearest points, and their distances."""
    space = view.state.spaces.get(query.space)
    if space is None:
        return [(np.empty(0, np.int64), np.empty(0))] * len(query.vectors)
    if query.vectors.shape[1] != space.space.dimension:
        raise DimensionMismatchError(
            f"the query vectors have {query.vectors.shape[1]} numbers, but the collection holds "
            f"vectors of {space.space.dimension} (its dimension)"
        )
    allowed = allowed_by(view, query.expression)
    trace.matching = allowed.count
    trace.lap("filter")
    planned = len(trace.plans)
    found = _Search(Asked(view, space, query, allowed, trace)).run()
    tracing.event("plan", lambda: trace.of_plans(planned, query.k))
    return found


class _Search:
    """One call, whose query vectors are answered in the cheapest way; where that is the index and
    it finds too little, or codes and they don't tell enough, in the cheapest of the others."""

    def __init__(self, asked: Asked) -> None:
        self._asked, self._query, self._trace = asked, asked.query, asked.trace
        self._index = asked.view.kept.indexes[self._query.space]
        self._codes = asked.view.kept.codes[self._query.space]
        self._answers: list[Found | None] = [None] * len(self._query.vectors)

    def run(self) -> list[Found]:
        """The rows and distances for each query vector."""
        self._coded = self._at_hand()
        if self._may_use_index():
            covered = min(self._index.covered, self._asked.slots)
            if self._index.installed and not (self._index.full or self._index.rests):
                self._trace.note_fresh(self._asked.slots - covered, self._asked.dimension)
            if covered and choose(self._situation(covered)).method == "over-fetch":
                self._index.searched(self._through_index, None)
        if self._left():
            self._by_products()
        return [answer for answer in self._answers if answer is not None]

    def _left(self) -> list[int]:
        """Which queries have no answer yet."""
        return [i for i, answer in enumerate(self._answers) if answer is None]

    def _at_hand(self) -> Coded:
        """The codes that may be used."""
        asked, codes = self._asked, self._codes
        if kernel() is None and asked.slots * asked.dimension >= WORTH_CELLS:
            self._trace.remarks.append(UNCOMPILED)
        if not codes.worth(asked.slots):
            return NOTHING_CODED
        codes.load_saved(asked.view.connection, asked.slots)
        coded = codes.shown()
        if lacking := uncoded(coded, asked.space):
            self._note_uncoded(lacking)
        self._trace.lap("codes at hand")
        if not any(can_use_codes(asked, i) for i in range(len(asked.lengths))):
            return NOTHING_CODED
        if not codes.help():
            self._trace.remarks.append(NO_HELP)
            return NOTHING_CODED
        return coded

    def _note_uncoded(self, vectors: int) -> None:
        cells = vectors * self._asked.dimension
        self._trace.note_uncoded(vectors, self._asked.dimension)
        if cells > FRESH_CELLS:
            remark = f"{vectors} vectors have no codes yet, and are searched as floats"
            self._trace.remarks.append(remark)

    def _may_use_index(self) -> bool:
        """Whether an index, if there is one, may answer."""
        asked = self._asked
        if self._query.exact or not self._index.wanted:
            return False
        worth = is_worth_an_index(asked.slots, asked.dimension, asked.metric)
        usable = worth or self._index.covered > 0
        return usable and all(map(is_safe_length, asked.lengths))

    def _situation(self, covered: int) -> Situation:
        """Where `covered` of the vectors are in the index."""
        asked, ef = self._asked, 0
        if covered:
            stored = index_settings(asked.space.space).get("ef_search")
            usual = stored if isinstance(stored, int) else self._index.ef_search
            ef = max(1, self._query.ef or usual)
        return Situation(
            slots=asked.slots,
            matching=min(asked.allowed.count, asked.slots - asked.space.dead),
            dimension=asked.dimension,
            k=self._query.k,
            contiguous=self._lies_together(),
            coded=self._coded.count_below(asked.slots),
            indexed=covered,
            ef_search=ef,
        )

    def _lies_together(self) -> bool:
        """Whether what is allowed is in one piece, or will be since it is wanted again."""
        asked = self._asked
        whole = asked.allowed.mask is None and not asked.space.dead
        if whole:
            return True
        kept, coded = asked.allowed.packed(self._query.space), bool(self._coded.pieces)
        if kept is not None and isinstance(kept, CodesTogether) == coded:
            return True
        return may_keep_codes(asked) if coded else asked.may_keep(4 * asked.dimension)

    def _note(self, plan: Plan, queries: int) -> None:
        self._trace.plans += [plan] * queries

    def _through_index(self, index: VectorIndex, held: int) -> None:
        """Answer those queries that are cheapest to answer so."""
        covered = min(held, self._asked.slots)
        situation, wider = self._situation(covered), 1
        while left := self._left():
            plan = choose(situation, wider)
            if plan.method != "over-fetch":
                break
            self._note(plan, len(left))
            try:
                over_fetch(self._asked, index, covered, plan.ef, left, self._answers)
            except UselessError:
                break
            self._trace.lap("over-fetch")
            wider *= WIDER

    def _by_products(self) -> None:
        """Answer those queries that are left."""
        situation = self._situation(0)
        plan = choose(situation)
        if self._index.rests and plan.costs and not self._query.exact:
            lost = plan.costs[plan.method] - index_cost(situation)
            self._index.missed += max(0.0, lost) * len(self._left())
        if plan.method == "codes":
            left = [i for i in self._left() if can_use_codes(self._asked, i)]
            self._note(plan, len(left))
            found = by_codes(self._asked, self._codes, self._coded, left)
            for i, answer in zip(left, found, strict=True):
                self._answers[i] = answer
            self._trace.lap("codes")
        if left := self._left():
            if plan.method == "codes":
                plan = choose(replace(situation, coded=0))
            self._note(plan, len(left))
            for i, answer in zip(left, by_floats(self._asked, left), strict=True):
                self._answers[i] = answer
            self._trace.lap("exact")
