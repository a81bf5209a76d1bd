"""What all ways to search share: what is kept between calls, one call, and what is told of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np

from retrieval_store.answering import leaves as answering
from retrieval_store.base.arrays import Floats, Ints, Matrix
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

UNCODED = 8  # vectors that an index lacks are as little a burden as one without a code


@dataclass(frozen=True, slots=True)
class Caches(KeptFilters):
    """All that is kept beside a state. indexes, codes: of the dense spaces, by their names, in one
    generation; several: the vectors of spaces of several, by the numbers of these, for all states
    that number their rows alike."""

    indexes: Mapping[str, SpaceIndex]
    codes: Mapping[str, SpaceCodes]
    several: LayerCache


SearchView: TypeAlias = View[Caches]


@dataclass(slots=True)
class Trace(answering.Trace):
    """What a search did, besides: the plan for each query, how many points matched, how many
    vectors the index and the codes lacked, and how many numbers these are at most, and the
    milliseconds of each step."""

    plans: list[Plan] = field(default_factory=list)
    matching: int = 0
    fresh: int = 0
    uncoded: int = 0
    lacking_cells: int = 0
    steps: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    last: float = field(default_factory=time.perf_counter)

    def note_fresh(self, vectors: int, dimension: int) -> None:
        """The index lacks so many."""
        self.fresh = vectors
        self.lacking_cells = max(self.lacking_cells, vectors * dimension)

    def note_uncoded(self, vectors: int, dimension: int) -> None:
        """So many have no codes."""
        self.uncoded = vectors
        self.lacking_cells = max(self.lacking_cells, UNCODED * vectors * dimension)

    def of_plans(self, first: int, k: int) -> Attributes:
        """For spans: the plans from the `first` on, and how many vectors each query was compared
        with by them, at most."""
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
        """The time since the last lap went to this step."""
        now = time.perf_counter()
        self.steps[step] = self.steps.get(step, 0.0) + (now - self.last) * 1e3
        self.last = now


Neighbors: TypeAlias = tuple[Ints, Floats]  # rows and distances, nearest first
MOST_TOGETHER = 16  # one part of the budget in so many, for what one filter allows
MANY, MANY_FOR_EACH = 256, 4  # more slots than these are looked at in float32 first


class SearchContext:
    """One call: its query vectors, (q, dim) float32, of which the k nearest are wanted, the vectors
    that are searched, and which of them are allowed. within: a distance beyond which hits may be
    left out."""

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
        """How many there are, dead ones too."""
        return self.space.space.slots

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        dimension: int = self.matrix.shape[1]
        return dimension

    def may_keep(self, row_bytes: int) -> bool:
        """Whether to keep what is searched of the points that the filter allows, so many bytes for
        each: whether the filter is used again, and it isn't too much."""
        allowed = self.allowed
        return allowed.uses > 0 and allowed.count * row_bytes <= BUDGET.limit // MOST_TOGETHER

    def admit(self, slots: Ints | None) -> None:
        """Verify the vectors in these slots, None for all."""
        self.space.vectors.admit(self.matrix, self.space.checksums, slots)

    def norms(self, slots: Ints | None) -> Norms:
        """Norms of the vectors, right for these slots."""
        return self.space.vectors.norms(self.matrix, self.space.checksums, slots)

    def ranked(self, i: int, slots: Ints) -> Neighbors:
        """The nearest of some slots to one of the query vectors, with their exact distances."""
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
        """The k nearest of these; of equal ones, those that were inserted first."""
        rows = self.space.row_of_slot[slots]
        order = np.lexsort((rows, distances))[: self.k]
        return rows[order], distances[order]

    def nearest_of(self, which: list[int], slots: Ints) -> list[Ints]:
        """For some of the query vectors the nearest of these slots, and all that tie with them."""
        self.admit(slots)
        norms = partial(self.norms, slots)
        vectors, lengths = self.vectors[which], [self.lengths[i] for i in which]
        k = self.k
        found = nearest(vectors, lengths, self.matrix, norms, self.metric, k, slots)
        return [near for near, _ in found]
