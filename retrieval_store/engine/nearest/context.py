"""What all search methods share: the caches kept between calls (`Caches`), one call
(`SearchContext`), and its record for `explain` and spans (`Trace`)."""

import time
from collections.abc import Mapping
from functools import partial
from typing import TypeAlias

import numpy as np

from retrieval_store.answering import leaves as answering
from retrieval_store.base.arrays import Floats, Ints, Matrix
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.tracing import Attributes
from retrieval_store.engine.codes.segments import SpaceCodes
from retrieval_store.engine.filtering.allowed import FilterResult
from retrieval_store.engine.filtering.kept import KeptFilters
from retrieval_store.engine.nearest.indexing import SpaceIndex
from retrieval_store.engine.nearest.planner import Plan
from retrieval_store.engine.state.budget import BUDGET
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.state.view import View
from retrieval_store.indexes.exact import Norms, exact_distances, length_of, nearest

UNCODED = 8  # one vector without a code costs as much as so many that the index lacks


@dataclass(frozen=True, slots=True)
class Caches(KeptFilters):
    """All caches kept beside a state. indexes, codes: of the dense spaces, by name, in one
    generation; several: the vectors of multivector spaces, by the numbers of the spaces, valid for
    all states that number their rows alike."""

    indexes: Mapping[str, SpaceIndex]
    codes: Mapping[str, SpaceCodes]
    several: LayerCache


SearchView: TypeAlias = View[Caches]


@dataclass(slots=True)
class Trace(answering.Trace):
    """Adds the engine's part to the trace. plans: one for each query; matching: points that the
    filter allows; fresh: vectors that the index lacks; uncoded: vectors without codes;
    lacking_cells: the size of the larger burden of these two, in numbers of vectors; steps:
    milliseconds by step; remarks: sentences for `explain`; last: when the last lap ended."""

    plans: list[Plan] = field(default_factory=list)
    matching: int = 0
    fresh: int = 0
    uncoded: int = 0
    lacking_cells: int = 0
    steps: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    last: float = field(default_factory=time.perf_counter)

    def note_fresh(self, vectors: int, dimension: int) -> None:
        """Note how many vectors the index lacks."""
        self.fresh = vectors
        self.lacking_cells = max(self.lacking_cells, vectors * dimension)

    def note_uncoded(self, vectors: int, dimension: int) -> None:
        """Note how many vectors have no codes."""
        self.uncoded = vectors
        self.lacking_cells = max(self.lacking_cells, UNCODED * vectors * dimension)

    def of_plans(self, first: int, k: int) -> Attributes:
        """Attributes for spans: the plans from the `first` on, and the largest number of vectors
        that any of their queries was compared with."""
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
        """Attribute the time since the last lap to this step."""
        now = time.perf_counter()
        self.steps[step] = self.steps.get(step, 0.0) + (now - self.last) * 1e3
        self.last = now


Neighbors: TypeAlias = tuple[Ints, Floats]  # rows and distances, nearest first
MOST_TOGETHER = 16  # what is copied together for one filter may take this part of the budget
MANY, MANY_FOR_EACH = 256, 4  # more slots than these (or per k) are searched in float32 first


class SearchContext:
    """One call: its query vectors, (q, dim) float32, the space that is searched for the k nearest
    of each, and the points that the filter allows. within: a distance beyond which hits may be left
    out."""

    def __init__(
        self,
        view: SearchView,
        space: SpaceState,
        vectors: Matrix,
        k: int,
        within: float | None,
        allowed: FilterResult,
        trace: Trace,
    ) -> None:
        self.view, self.space, self.vectors, self.k, self.within = view, space, vectors, k, within
        self.allowed, self.trace = allowed, trace
        self.matrix = space.vectors.rows(space.space.slots)
        self.metric = space.space.metric
        self.lengths = [length_of(vector) for vector in vectors]

    @property
    def slots(self) -> int:
        """The number of slots in the space, dead ones included."""
        return self.space.space.slots

    @property
    def dimension(self) -> int:
        """The dimension of the vectors."""
        dimension: int = self.matrix.shape[1]
        return dimension

    def may_keep(self, row_bytes: int) -> bool:
        """Whether to keep a copy of the allowed points' vectors or codes, of `row_bytes` each: only
        if the filter has been used before, and the copy fits its part of the budget."""
        allowed = self.allowed
        return allowed.uses > 0 and allowed.count * row_bytes <= BUDGET.limit // MOST_TOGETHER

    def admit(self, slots: Ints | None) -> None:
        """Verify the checksums of the vectors in these slots, None for all."""
        self.space.vectors.admit(self.matrix, self.space.checksums, slots)

    def norms(self, slots: Ints | None) -> Norms:
        """Norms of all vectors, of which only those of these slots are sure to be verified."""
        return self.space.vectors.norms(self.matrix, self.space.checksums, slots)

    def ranked(self, i: int, slots: Ints) -> Neighbors:
        """The k nearest of these slots to the i-th query vector, with exact distances."""
        self.admit(slots)
        vector, length, k = self.vectors[i], self.lengths[i], self.k
        if len(slots) > max(MANY, MANY_FOR_EACH * k):
            norms = partial(self.norms, slots)
            some = nearest(vector[None], [length], self.matrix, norms, self.metric, k, slots)
            slots, distances = next(some)
        else:
            distances = exact_distances(vector, length, self.matrix, slots, self.metric)
        return self.in_order(slots, distances)

    def in_order(self, slots: Ints, distances: Floats) -> Neighbors:
        """The rows of the k nearest slots, nearest first; at equal distances, first inserted
        first."""
        rows = self.space.row_of_slot[slots]
        order = np.lexsort((rows, distances))[: self.k]
        return rows[order], distances[order]

    def nearest_of(self, which: list[int], slots: Ints) -> list[Ints]:
        """For each of the query vectors at `which`, the k nearest of these slots and all that tie
        with the k-th."""
        self.admit(slots)
        norms = partial(self.norms, slots)
        vectors, lengths = self.vectors[which], [self.lengths[i] for i in which]
        k = self.k
        found = nearest(vectors, lengths, self.matrix, norms, self.metric, k, slots)
        return [near for near, _ in found]
