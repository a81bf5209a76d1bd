"""Which points are nearest to a query vector, among those that a filter allows."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix
from retrieval_store.engine.filtering.allowed import BYTES_KEPT, Allowed
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.indexing import is_worth_an_index
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.nearest.planner import TRUST, WIDER, Plan, Situation, choose
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.errors import DimensionMismatchError
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.exact import (
    Norms,
    exact_distances,
    is_safe_length,
    length_of,
    nearest,
    taken,
)
from retrieval_store.interface.queries import Query
from retrieval_store.interface.spaces import index_settings

Found: TypeAlias = tuple[Ints, Floats]  # rows and distances, nearest first
TIE = 2.0**-23  # for each number of a vector: what float32 in an index may get wrong
NO_SLOTS = np.empty(0, np.int64)


class _UselessError(Exception):
    """The index can't answer."""


def nearest_rows(view: SearchView, query: Query, trace: Trace) -> list[Found]:
    """For each query vector the rows of the nearest points, and their distances."""
    space = view.state.spaces.get(query.space)
    if space is None:
        return [(np.empty(0, np.int64), np.empty(0))] * len(query.vectors)
    if query.vectors.shape[1] != space.space.dimension:
        raise DimensionMismatchError(
            f"the query vectors have {query.vectors.shape[1]} numbers, but the collection holds "
            f"vectors of {space.space.dimension}"
        )
    allowed = allowed_by(view, query.expression)
    trace.matching = allowed.count
    trace.lap("filter")
    return _Search(view, space, query, allowed, trace).run()


class _Search:
    """One call: what all of its query vectors share."""

    def __init__(
        self, view: SearchView, space: SpaceState, query: Query, allowed: Allowed, trace: Trace
    ) -> None:
        self._view, self._space, self._query = view, space, query
        self._index = view.kept.indexes[query.space]
        self._allowed, self._trace = allowed, trace
        self._matrix = space.vectors.rows(space.space.slots)
        self._metric = space.space.metric
        self._lengths = [length_of(vector) for vector in query.vectors]

    def run(self) -> list[Found]:
        """The rows and distances for each query vector."""
        answers: list[Found | None] = [None] * len(self._query.vectors)
        index, plan = self._index, None
        if self._may_use_index():
            covered = min(index.covered, self._space.space.slots)
            if not index.full:
                self._trace.fresh = self._space.space.slots - covered
                self._trace.fresh_cells = self._trace.fresh * self._matrix.shape[1]
            plan = choose(self._situation(covered))
            if plan.method == "over-fetch":
                plan, answers = None, index.searched(self._through_index, answers)
        left = [i for i, answer in enumerate(answers) if answer is None]
        if left:
            self._note(plan or choose(self._situation(0)), len(left))
            for i, answer in zip(left, self._exactly(left), strict=True):
                answers[i] = answer
            self._trace.lap("exact")
        return [answer for answer in answers if answer is not None]

    def _may_use_index(self) -> bool:
        """Whether an index, if there is one, may answer."""
        space = self._space
        if self._query.exact or not self._index.wanted:
            return False
        worth = is_worth_an_index(space.space.slots, self._matrix.shape[1])
        return (worth or self._index.covered > 0) and all(map(is_safe_length, self._lengths))

    def _situation(self, covered: int) -> Situation:
        """Where `covered` of the vectors are in the index."""
        ef = 0
        if covered:
            stored = index_settings(self._space.space).get("ef_search")
            usual = stored if isinstance(stored, int) else self._index.ef_search
            ef = max(1, self._query.ef or usual)
        return Situation(
            self._space.space.slots,
            self._allowed.count,
            self._matrix.shape[1],
            self._query.k,
            self._lies_together(),
            covered,
            ef,
        )

    def _lies_together(self) -> bool:
        """Whether the allowed rows are in one piece, or will be since they are wanted again."""
        allowed = self._allowed
        whole = allowed.mask is None and not self._space.dead
        kept = allowed.together(self._query.space) is not None
        return whole or kept or self._may_keep_together()

    def _may_keep_together(self) -> bool:
        allowed = self._allowed
        return allowed.uses > 0 and 4 * allowed.count * self._matrix.shape[1] <= BYTES_KEPT // 2

    def _note(self, plan: Plan, queries: int) -> None:
        self._trace.plans += [plan] * queries

    def _through_index(self, index: VectorIndex, held: int) -> list[Found | None]:
        """Answers for those queries that are cheapest to answer so; None for the others."""
        answers: list[Found | None] = [None] * len(self._query.vectors)
        covered = min(held, self._space.space.slots)
        situation, wider = self._situation(covered), 1
        left = list(range(len(answers)))
        while left:
            plan = choose(situation, wider)
            if plan.method != "over-fetch":
                break
            self._note(plan, len(left))
            try:
                self._over_fetch(index, covered, plan.ef, left, answers)
            except _UselessError:
                break
            self._trace.lap("over-fetch")
            left = [i for i in left if answers[i] is None]
            wider *= WIDER
        return answers

    def _over_fetch(
        self,
        index: VectorIndex,
        covered: int,
        ef: int,
        which: list[int],
        answers: list[Found | None],
    ) -> None:
        """Answer those of the queries for which enough of `ef` candidates are allowed."""
        space, k = self._space, self._query.k
        vectors = self._query.vectors
        try:
            candidates, distances = index.search(vectors[which], ef)
        except RuntimeError as error:  # it found fewer than it should have
            raise _UselessError from error
        fresh = self._fresh(covered, which) if covered < space.space.slots else None
        if len(index) > space.space.slots:  # it holds vectors newer than this reader's state
            known = np.minimum(candidates, space.space.slots - 1)
            rows = np.where(known == candidates, space.row_of_slot[known], -1)
        else:
            rows = space.row_of_slot[candidates]
        passing = rows >= 0
        if self._allowed.mask is not None:
            passing &= self._allowed.mask[rows]
        for at, i in enumerate(which):
            places = np.flatnonzero(passing[at])
            if len(places) < k or places[k - 1] > TRUST * ef:
                continue
            count = self._count_near(distances[at, places], k, self._lengths[i])
            if count == len(places):  # there may be more that float32 can't tell from the last
                continue
            slots = candidates[at, places[:count]]
            answers[i] = self._ranked(i, slots if fresh is None else np.append(slots, fresh[at]))

    def _count_near(self, distances: Matrix, k: int, length: float) -> int:
        """How many of the candidates may be among the k nearest, given what float32 can have got
        wrong; all of them when the distances make no sense."""
        if not (distances[1:] >= distances[:-1]).all():
            return len(distances)
        last, units = float(distances[k - 1]), (self._matrix.shape[1] + 8) * TIE
        scale = {"l2": abs(last), "cosine": 1.0, "ip": 0.0}[self._metric]
        if self._metric == "ip":
            norms = self._space.vectors.admit(self._matrix, self._space.checksums, NO_SLOTS)
            scale = length * norms.longest
        return int(distances.searchsorted(last + units * scale, "right"))

    def _ranked(self, i: int, slots: Ints) -> Found:
        """The k nearest of some slots, with their exact distances."""
        norms = self._space.vectors.admit(self._matrix, self._space.checksums, slots)
        query, length = self._query.vectors[i], self._lengths[i]
        distances = exact_distances(query, length, self._matrix, norms, slots, self._metric)
        rows = self._space.row_of_slot[slots]
        order = np.lexsort((rows, distances))[: self._query.k]
        return rows[order], distances[order]

    def _fresh(self, covered: int, which: list[int]) -> list[Ints]:
        """The nearest allowed slots behind those that the index holds, for each query."""
        rows = self._space.row_of_slot[covered:]
        passing = rows >= 0
        if self._allowed.mask is not None:
            passing &= self._allowed.mask[rows]
        slots = np.flatnonzero(passing) + covered
        norms = self._space.vectors.admit(self._matrix, self._space.checksums, slots)
        found = nearest(
            self._query.vectors[which],
            [self._lengths[i] for i in which],
            self._matrix,
            norms,
            self._metric,
            self._query.k,
            slots,
        )
        return [near for near, _ in found]

    def _exactly(self, which: list[int]) -> Iterator[Found]:
        space, k = self._space, self._query.k
        vectors, slots = self._query.vectors[which], self._allowed.slots(space)
        lengths = [self._lengths[i] for i in which]
        together = self._together(slots)
        if together is None:
            norms = space.vectors.admit(self._matrix, space.checksums, slots)
            found = nearest(vectors, lengths, self._matrix, norms, self._metric, k, slots)
        else:
            found = nearest(vectors, lengths, *together, self._metric, k, None)
        for near, distances in found:
            moved = together is not None and slots is not None
            rows = space.row_of_slot[slots[near] if moved else near]  # type: ignore[index]
            order = np.lexsort((rows, distances))[:k]
            yield rows[order], distances[order]

    def _together(self, slots: Ints | None) -> tuple[Matrix, Norms] | None:
        """The allowed rows copied together, for a filter that is used again."""
        allowed, name = self._allowed, self._query.space
        kept = allowed.together(name)
        if kept is None and slots is not None and self._may_keep_together():
            norms = self._space.vectors.admit(self._matrix, self._space.checksums, slots)
            kept = self._matrix[slots], taken(norms, slots)
            self._view.kept.allowed.keep_together(allowed, name, *kept)
        return kept
