"""What all ways to answer a query share."""

from functools import partial
from typing import TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.engine.filtering.allowed import FilterResult
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.state.budget import BUDGET
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.indexes.exact import Norms, exact_distances, length_of, nearest
from retrieval_store.interface.queries import Query

Found: TypeAlias = tuple[Ints, Floats]  # rows and distances, nearest first
MOST_TOGETHER = 16  # one part of the budget in so many, for what one filter allows
MANY, MANY_FOR_EACH = 256, 4  # more slots than these are looked at in float32 first


class Asked:
    """One call: its query vectors, the vectors that are searched, and which of them are allowed."""

    def __init__(
        self, view: SearchView, space: SpaceState, query: Query, allowed: FilterResult, trace: Trace
    ) -> None:
        self.view, self.space, self.query = view, space, query
        self.allowed, self.trace = allowed, trace
        self.matrix = space.vectors.rows(space.space.slots)
        self.metric = space.space.metric
        self.lengths = [length_of(vector) for vector in query.vectors]

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

    def ranked(self, i: int, slots: Ints) -> Found:
        """The nearest of some slots to one of the query vectors, with their exact distances."""
        self.admit(slots)
        vector, length, k = self.query.vectors[i], self.lengths[i], self.query.k
        if len(slots) > max(MANY, MANY_FOR_EACH * k):
            norms = partial(self.norms, slots)
            some = nearest(vector[None], [length], self.matrix, norms, self.metric, k, slots)
            slots, distances = next(some)
        else:
            distances = exact_distances(vector, length, self.matrix, slots, self.metric)
        return self.in_order(slots, distances)

    def in_order(self, slots: Ints, distances: Floats) -> Found:
        """The k nearest of these; of equal ones, those that were inserted first."""
        rows = self.space.row_of_slot[slots]
        order = np.lexsort((rows, distances))[: self.query.k]
        return rows[order], distances[order]

    def nearest_of(self, which: list[int], slots: Ints) -> list[Ints]:
        """For some of the query vectors the nearest of these slots, and all that tie with them."""
        self.admit(slots)
        norms = partial(self.norms, slots)
        vectors, lengths = self.query.vectors[which], [self.lengths[i] for i in which]
        k = self.query.k
        found = nearest(vectors, lengths, self.matrix, norms, self.metric, k, slots)
        return [near for near, _ in found]
