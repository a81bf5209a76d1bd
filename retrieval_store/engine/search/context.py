"""The data that all search methods share: the open vector spaces (`OpenSpace`), with their prepared
searches (`SearchCache`), the other caches kept between calls (`Caches`), the data of one call
(`SearchContext`), and its record for `explain` and spans (`EngineTrace`)."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from retrieval_store.base import budget
from retrieval_store.base.arrays import Floats, Ints, Matrix
from retrieval_store.base.tracing import Attributes
from retrieval_store.engine.filtering.cache import FilterResult, KeptFilters
from retrieval_store.engine.search.index_lifecycle import SpaceIndex, index_is_worth_building
from retrieval_store.engine.search.planner import (
    BY_CODES,
    CostInputs,
    SearchPlan,
    choose,
    codes_pay_off,
    copying_cost,
    lost_without_copy,
    signs_pay_off,
)
from retrieval_store.engine.state.caches import CACHE_BUDGET, LayerCache
from retrieval_store.engine.state.state import SpaceState, View
from retrieval_store.engine.storage.schema import Space
from retrieval_store.engine.storage.vector_files import VectorRows
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.exact import (
    FloatPass,
    Nearest,
    Norms,
    exact_distances,
    is_safe_length,
    length_of,
    nearest,
    nearest_of,
)
from retrieval_store.query import executor as answering
from retrieval_store.query.query import NearestDense

if TYPE_CHECKING:
    from retrieval_store.engine.search.codes import CodeSnapshot, SpaceCodes
    from retrieval_store.engine.search.recall import Recall, SpaceRecall
    from retrieval_store.indexes.quantized import CodePass

UNCODED = 8  # one vector without a code costs as much as this many that the index lacks


class IndexPolicy(NamedTuple):
    """Whether a space with this number of vectors should have codes, and whether it should have an
    index. signs: whether to scan signs first even if no recall is set."""

    slots: int
    codes: bool
    graph: bool
    signs: bool


# Searches of one filter that are kept, because a caller may request ever different numbers of hits.
MOST_KEPT = 4


# Queries under one filter with the same k, exact, ef and recall share a search.
SearchKey: TypeAlias = tuple[int, bool, int | None, float | None]


def search_key(near: NearestDense, k: int) -> SearchKey:
    """The cache key of a search for the k nearest points."""
    return k, near.exact, near.ef, near.recall


class CodesAtHand(NamedTuple):
    """The codes of a space at one moment, and the measured recall of searches by signs."""

    codes: "SpaceCodes"
    shown: "CodeSnapshot"
    recall: "SpaceRecall"
    known: "Recall | None"

    def are_current(self) -> bool:
        """Whether the space still has these codes and this measured recall; both are replaced when
        they change."""
        return self.codes.snapshot() is self.shown and self.recall.known is self.known


@dataclass(frozen=True, slots=True, eq=False)
class Validity:
    """The objects from which a search was prepared. index: the space's `SpaceIndex`; held: the
    index object that it had at that time. at_hand: the codes, None if the search scans floats."""

    space: SpaceState
    index: SpaceIndex
    held: VectorIndex | None
    at_hand: CodesAtHand | None = None

    def holds(self, space: SpaceState) -> bool:
        """Whether all these objects are still current in this state."""
        if self.space is not space or self.index.held is not self.held:
            return False
        return self.at_hand is None or self.at_hand.are_current()


@dataclass(frozen=True, slots=True, eq=False)
class KeptSearch:
    """A prepared search among the points that fulfil one filter. one_pass: the compiled scan of
    floats or codes. matching: about how many points fulfil the filter."""

    validity: Validity
    one_pass: "FloatPass | CodePass"
    matching: int

    def nearest(self, vector: Matrix, allowed: FilterResult) -> Nearest | None:
        """The nearest points that fulfil the filter; None if this query needs another kind of
        search. allowed: unused here, because `one_pass` contains the filter; `KeptScan` uses it."""
        space, at_hand, one_pass = self.validity.space, self.validity.at_hand, self.one_pass
        if at_hand is not None:
            return _scan_kept_codes(at_hand.codes, space, one_pass, vector, self.matching)
        return one_pass.nearest(vector, space.vectors.rows(space.space.slots))


def _scan_kept_codes(
    codes: "SpaceCodes",
    space: SpaceState,
    one_pass: "FloatPass | CodePass",
    vector: Matrix,
    matching: int,
) -> Nearest | None:
    if not codes.is_trusted(one_pass.k, matching):
        return None
    matrix = space.vectors.rows(space.space.slots)
    hits = one_pass.nearest(vector, matrix)
    if hits is not None:
        codes.note(True, one_pass.k, matching)
        space.vectors.verify_once(matrix, space.checksums, hits.slots)
    return hits


@dataclass(frozen=True, slots=True, eq=False)
class KeptScan:
    """The arguments of a search over the codes of all vectors of a space, for filters that weren't
    used before. inputs: the inputs of the planner. errors: the number of standard errors that
    searches by signs allow for."""

    validity: Validity
    inputs: CostInputs
    errors: float | None

    def nearest(self, vector: Matrix, allowed: FilterResult) -> Nearest | None:
        """The nearest points that fulfil a filter. The filter is tested row by row. None if this
        query must be answered in another way. allowed: the result of the filter."""
        inputs, space, at_hand = self.inputs, self.validity.space, self.validity.at_hand
        assert at_hand is not None
        matching, lacks_bits = min(allowed.about_count, inputs.matching), allowed.lacks_bits(space)
        plan = choose(inputs._replace(matching=matching, contiguous=False, lacks_bits=lacks_bits))
        if plan.method == "exact":
            return _among_few(space, allowed, vector, inputs.k)
        if plan.method not in BY_CODES:
            return None
        errors = self.errors if plan.method == "signs" else None
        one_pass = at_hand.shown.pass_among(allowed, space, inputs.k, errors)
        return _scan_kept_codes(at_hand.codes, space, one_pass, vector, allowed.about_count)


def _among_few(space: SpaceState, allowed: FilterResult, vector: Matrix, k: int) -> Nearest:
    matrix, slots = space.vectors.rows(space.space.slots), allowed.slots(space)
    space.vectors.verify_once(matrix, space.checksums, slots)
    return FloatPass(matrix, space.space.metric, k, slots).nearest(vector, matrix)


Kept: TypeAlias = KeptSearch | KeptScan


class AnyFilter:
    """The type of a key that represents every filter that wasn't used before."""


ANY_FILTER = AnyFilter()
Filter: TypeAlias = FilterResult | AnyFilter


class SearchCache:
    """Prepared searches of one space, kept for the next queries. There is no other cache of such
    searches.

    A search is kept if its method is sure to remain the best until something changes. It contains
    the compiled scan, with all addresses and sizes. From the second use of a filter on, a search of
    the points that fulfil the filter is kept. All filters that weren't used before share one
    search, of all codes of a space; each query passes it the test of its filter. Each search is
    kept for one filter, exactness and k (`SearchKey`). It stays correct as long as its `Validity`
    holds:

    | event | object that is replaced |
    |---|---|
    | a write, a compaction, new settings of the space | the state of the space |
    | a write to data that a filter reads | the filter's result, and its searches are dropped |
    | the memory budget evicts that result | the filter's result, and its searches are dropped |
    | an index is loaded, built or released | the index |
    | codes are computed or loaded, or a file is cut off | the snapshot of the codes |
    | the recall of searches by signs is measured or loaded | the measurement |
    | idle files are closed | nothing: all searches are released |
    """

    def __init__(self) -> None:
        self._searches = WeakKeyDictionary[Filter, dict[SearchKey, Kept]]()

    def get(self, allowed: Filter, key: SearchKey) -> Kept | None:
        """The search that is kept for this filter and key, whether it is still valid or not.
        allowed: the result of the filter, or `ANY_FILTER`."""
        of_filter = self._searches.get(allowed)
        return None if of_filter is None else of_filter.get(key)

    def put(self, allowed: Filter, key: SearchKey, kept: Kept) -> None:
        """Keep a search for this filter and key. allowed: the result of the filter, or
        `ANY_FILTER`."""
        of_filter = self._searches.setdefault(allowed, {})
        if len(of_filter) >= MOST_KEPT and key not in of_filter:
            of_filter.clear()
        of_filter[key] = kept

    def clear(self) -> None:
        """Release all searches, so that files can be closed."""
        self._searches = WeakKeyDictionary()


class OpenSpace:
    """One dense vector space in one generation, as this process has it open. make_codes: creates
    the object for the space's codes; make_recall: creates the object for the measured recall of
    searches by signs. Both are called when the object is first needed. Most spaces are too small
    for codes, and the modules for codes aren't imported for them."""

    def __init__(
        self,
        vectors: VectorRows,
        index: SpaceIndex,
        make_codes: "Callable[[], SpaceCodes]",
        make_recall: "Callable[[], SpaceRecall]",
    ) -> None:
        self.vectors, self.index = vectors, index
        self._make_codes, self._make_recall = make_codes, make_recall
        self._closed = False
        self._made: dict[str, SpaceCodes] = {}  # at most one entry
        self._measured: dict[str, SpaceRecall] = {}  # at most one entry
        self._policy = IndexPolicy(0, False, False, False)
        # Whether a query has set a recall; then it is measured even for few vectors.
        self.recall_wanted = False
        self._searches = SearchCache()

    def policy(self, space: Space) -> IndexPolicy:
        """The policy for the number of vectors in this state of the space, dead vectors included.
        It is computed once for each number."""
        if self._policy.slots != space.slots:
            shape = space.slots, space.dimension or 0, space.metric
            worth = codes_pay_off(*shape), index_is_worth_building(*shape), signs_pay_off(*shape)
            self._policy = IndexPolicy(space.slots, *worth)
        return self._policy

    @property
    def codes(self) -> "SpaceCodes":
        """The codes of the space. They are closed if the space was released."""
        space_codes = self._made.get("codes")
        if space_codes is None:
            # Two threads may create the object at the same time.
            space_codes = self._made.setdefault("codes", self._make_codes())
            space_codes.changed = self._searches.clear
            if self._closed:
                space_codes.close()
        return space_codes

    @property
    def codes_at_hand(self) -> "SpaceCodes | None":
        """The codes of the space; None if no call has needed codes yet."""
        return self._made.get("codes")

    @property
    def recall(self) -> "SpaceRecall":
        """The measured recall of searches by signs."""
        space_recall = self._measured.get("recall")
        if space_recall is None:
            space_recall = self._measured.setdefault("recall", self._make_recall())
        return space_recall

    @property
    def has_something_to_save(self) -> bool:
        """Whether the index or the codes have grown since they were saved."""
        codes = self.codes_at_hand
        grown = self.index.covered > self.index.saved
        return grown or (codes is not None and bool(codes.unsaved_files(True)))

    @property
    def nbytes(self) -> int:
        """The size of the data of this space in memory, in bytes."""
        return self.vectors.nbytes + self.index.nbytes + self.codes_nbytes

    @property
    def codes_nbytes(self) -> int:
        """The size of the codes of this space in memory, in bytes."""
        codes = self.codes_at_hand
        return 0 if codes is None else codes.nbytes

    @property
    def descriptors(self) -> int:
        """How many file descriptors the open files use."""
        codes = self.codes_at_hand
        return 1 if codes is None else 1 + codes.files

    def close_idle(self) -> None:
        """Close files; they are opened again when they are needed."""
        self.vectors.close()
        for codes in list(self._made.values()):
            codes.close_idle()
        self._searches.clear()

    def let_go(self) -> None:
        """Release the index and the codes permanently. Running searches keep their references, and
        the vectors stay open."""
        self.index.close()
        self._closed = True
        for codes in list(self._made.values()):
            codes.close()
        self._searches.clear()

    def find_search(self, allowed: FilterResult, key: SearchKey, space: SpaceState) -> Kept | None:
        """The prepared search for this filter. If there is no such search, the search of all
        vectors (`ANY_FILTER`) is returned, which tests rows during the scan. None if neither search
        is cached and valid in this state. allowed: the result of the filter."""
        kept = self._searches.get(allowed, key)
        if kept is None and allowed.tested is not None:
            kept = self._searches.get(ANY_FILTER, key)
        return kept if kept is not None and kept.validity.holds(space) else None

    def keep_search(self, allowed: Filter, key: SearchKey, kept: Kept) -> None:
        """Keep a search for the next query, unless the objects from which it was prepared were
        replaced. allowed: the result of the search's filter, or `ANY_FILTER`."""
        self._searches.put(allowed, key, kept)
        if self._closed or not kept.validity.holds(kept.validity.space):
            self._searches.clear()


@dataclass(frozen=True, slots=True)
class Caches(KeptFilters):
    """All caches of a collection. spaces: the dense spaces of one generation, by name, with their
    indexes and codes. several: the vectors of multivector spaces, by the numbers of the spaces;
    valid for all states with the same row numbers."""

    spaces: Mapping[str, OpenSpace]
    several: LayerCache


SearchView: TypeAlias = View[Caches]


class SignSearchReport(NamedTuple):
    """A report on a search by signs. target: the wanted recall. errors: how many standard errors
    the search allowed for. measured: the measured recall of such searches, None if it isn't
    measured yet. looked: for how many rows the signs, the upper bits of codes, and the distances
    were compared. estimate: the estimated recall of this query, None if it isn't estimated."""

    target: float
    errors: float
    measured: "Recall | None"
    looked: tuple[int, int, int]
    estimate: float | None


class EngineTrace(answering.Trace):
    """The trace of a query, with the data that only the engine records. plans: one plan for each
    query vector. matching: how many points fulfil the filter. recall: the report on a search by
    signs. fresh: how many vectors the index lacks. uncoded: how many vectors have no codes. steps:
    milliseconds by step. remarks: sentences for `explain`. reads_only: whether the store was opened
    read-only. last: when the last lap ended.

    lacking_cells: the amount of work that maintenance hasn't done yet, as the number of vectors
    times the dimension. It is the greatest of three amounts: for fresh, for uncoded, and for
    unmeasured vectors. The last two are weighted by UNCODED. The amount is recorded for every call,
    because it decides whether maintenance starts.
    """

    __slots__ = (
        *("fresh", "lacking_cells", "last", "matching", "plans", "reads_only", "recall", "remarks"),
        *("steps", "uncoded"),
    )

    def __init__(self, is_recording: bool = True, reads_only: bool = False) -> None:
        self.is_recording, self.lacking_cells, self.reads_only = is_recording, 0, reads_only
        if is_recording:
            super().__init__()
            self.matching = self.fresh = self.uncoded = 0
            self.plans: list[SearchPlan] = []
            self.steps: dict[str, float] = {}
            self.remarks: list[str] = []
            self.recall: SignSearchReport | None = None
            self.last = time.perf_counter()

    def note_filter(self, matching: int) -> None:
        """Record how many points fulfil the filter. Called at the end of the filter's
        evaluation."""
        if self.is_recording:
            self.matching = matching
            self.lap("filter")

    def note_plan(self, plan: SearchPlan, queries: int) -> None:
        """Record the plan by which a number of query vectors are answered."""
        if self.is_recording:
            self.plans += [plan] * queries

    def note_fresh(self, vectors: int, dimension: int) -> None:
        """Record how many vectors the index lacks."""
        if self.is_recording:
            self.fresh = vectors
        self.lacking_cells = max(self.lacking_cells, vectors * dimension)

    def note_uncoded(self, vectors: int, dimension: int) -> None:
        """Record how many vectors have no codes."""
        if self.is_recording:
            self.uncoded = vectors
        self.lacking_cells = max(self.lacking_cells, UNCODED * vectors * dimension)

    def note_unmeasured(self, vectors: int, dimension: int) -> None:
        """Record the number of vectors in the space if the recall of searches by signs should be
        measured."""
        self.lacking_cells = max(self.lacking_cells, UNCODED * vectors * dimension)

    def note_signs(self, by_signs: "SignSearchReport") -> None:
        """Record the report on a search by signs."""
        if self.is_recording:
            self.recall = by_signs

    def remark(self, sentence: str) -> None:
        """Record a sentence for `explain`."""
        if self.is_recording:
            self.remarks.append(sentence)

    def plan_attributes(self, first: int, k: int) -> Attributes:
        """Attributes for spans: the plans from number `first` on, and the largest number of vectors
        that one of these plans compared with a query."""
        plans = self.plans[first:]
        scanned = [plan.ef if plan.method == "over-fetch" else self.matching for plan in plans]
        return {
            "retrieval_store.methods": [*dict.fromkeys(plan.method for plan in plans)],
            "retrieval_store.k": k,
            "retrieval_store.ef": max((plan.ef for plan in plans), default=0),
            "retrieval_store.matching": self.matching,
            "retrieval_store.scanned": max(scanned, default=0),
            "retrieval_store.fresh": self.fresh,
            "retrieval_store.uncoded": self.uncoded,
        }

    def lap(self, step: str) -> None:
        """Add the time since the last lap to the time of this step."""
        if self.is_recording:
            now = time.perf_counter()
            self.steps[step] = self.steps.get(step, 0.0) + (now - self.last) * 1e3
            self.last = now


Neighbors: TypeAlias = tuple[Ints, Floats]  # rows and distances, nearest first
COPIES = 32  # the copied codes for one filter take at most the memory budget divided by this
BESIDES = 32  # bytes that are stored with each code
MANY, MANY_FOR_EACH = 256, 4  # more slots than these (or per k) are searched in float32 first


class SearchContext:
    """The data of one search call: its query vectors, (q, dim) float32, the space that is searched
    for the k nearest points, and the points that fulfil the filter. within: a distance; farther
    hits can be left out. slots: the number of slots of the space, dead slots included. matrix:
    (slots, dim) the vectors."""

    def __init__(
        self,
        view: SearchView,
        space: SpaceState,
        vectors: Matrix,
        k: int,
        within: float | None,
        allowed: FilterResult,
        trace: EngineTrace,
    ) -> None:
        self.view, self.space, self.vectors, self.k, self.within = view, space, vectors, k, within
        self.allowed, self.trace = allowed, trace
        self.slots, self.metric = space.space.slots, space.space.metric
        self.matrix = space.vectors.rows(self.slots)
        self.dimension: int = vectors.shape[1]
        self._lengths: list[float] | None = None

    @property
    def lengths(self) -> list[float]:
        """The length of each query vector."""
        if self._lengths is None:
            self._lengths = [length_of(vector) for vector in self.vectors]
        return self._lengths

    def can_use_codes(self, i: int) -> bool:
        """Whether codes can bound the scores for the i-th query vector."""
        length = self.lengths[i]
        return is_safe_length(length) and (length > 0 or self.metric == "l2")

    def may_copy_codes(self) -> bool:
        """Whether the codes of the points that fulfil the filter are few enough to be copied into
        one block."""
        allowed = self.allowed
        nbytes = allowed.about_count * (self.dimension + BESIDES)
        return allowed.restricts and CACHE_BUDGET.has_room(nbytes, COPIES)

    def copies_codes(self) -> bool:
        """Whether to copy the codes of the points that fulfil the filter into one block. That pays
        once queries have lost as much time without a copy as copying costs."""
        lost = self.allowed.lost.get(self.space.space.name, 0.0)
        cost = copying_cost(self.allowed.about_count, self.dimension)
        return 0 < cost <= lost and self.may_copy_codes()

    def note_lost(self, inputs: CostInputs, plan: SearchPlan, queries: int) -> None:
        """Record how much time these queries lose because the codes of matching points aren't
        copied into one block."""
        if self.may_copy_codes():
            name, lost = self.space.space.name, self.allowed.lost
            lost[name] = lost.get(name, 0.0) + queries * lost_without_copy(inputs, plan)

    def verify_once(self, slots: Ints | None) -> None:
        """Verify the checksums of the vectors in these slots, or of all vectors if None."""
        self.space.vectors.verify_once(self.matrix, self.space.checksums, slots)

    def norms(self, slots: Ints | None) -> Norms:
        """The norms of all vectors. They are correct only for these slots, whose vectors are
        verified first."""
        return self.space.vectors.norms(self.matrix, self.space.checksums, slots)

    def vectors_at(self, query_numbers: list[int]) -> Matrix:
        """The query vectors with these numbers."""
        return (
            self.vectors if len(query_numbers) == len(self.vectors) else self.vectors[query_numbers]
        )

    def rank(self, i: int, slots: Ints) -> Neighbors:
        """Of these slots, the k whose vectors are nearest to the i-th query vector, with exact
        distances."""
        self.verify_once(slots)
        vector, k = self.vectors[i], self.k
        if len(slots) > max(MANY, MANY_FOR_EACH * k):
            norms = partial(self.norms, slots)
            nearest_hits = nearest(vector[None], self.matrix, norms, self.metric, k, slots)
            return self.in_order(nearest_hits[0])
        distances = exact_distances(vector, self.lengths[i], self.matrix, slots, self.metric)
        return self.in_order(nearest_of(slots, distances, k))

    def in_order(self, hits: Nearest) -> Neighbors:
        """The rows of hits, sorted by distance; see the function `in_order`."""
        return in_order(self.space, self.k, hits)

    def nearest_of(self, query_numbers: list[int], slots: Ints) -> list[Ints]:
        """For each of the query vectors at `query_numbers`, the k nearest of these slots and all
        slots that tie with the k-th."""
        self.verify_once(slots)
        norms = partial(self.norms, slots)
        hits_by_query = nearest(
            self.vectors_at(query_numbers), self.matrix, norms, self.metric, self.k, slots
        )
        return [hits.slots[: hits.chosen] for hits in hits_by_query]


def in_order(space: SpaceState, k: int, hits: Nearest) -> Neighbors:
    """The rows and distances of the k nearest hits, nearest first. Hits at equal distances are in
    the order of insertion."""
    budget.check()
    chosen, distances = hits.slots, hits.distances
    if hits.chosen < len(chosen):
        chosen, distances = chosen[: hits.chosen], distances[: hits.chosen]
    rows = space.row_of_slot[chosen]
    if hits.tied:
        order = np.lexsort((rows, distances))[:k]
        return rows[order], distances[order]
    return rows, distances
