"""Searches that are made ready for the next query: the one cache of them.

Where one way of searching is sure to be the best until something changes, its compiled pass is kept
with all addresses and sizes worked out: for what a filter allows, from the second use of that
filter on, and over all codes of a space, into which the test of a new filter is put. Each is kept
for one filter, exactness and k (`SearchKey`), and is right as long as its `Validity` holds:

| what happens | what is another object then |
|---|---|
| a write, a compaction, other settings of the space | the state of the space |
| a write to what a filter reads | the result of the filter, with which its searches go |
| the budget of memory takes the result of the filter | the same |
| an index is loaded, built or let go of | the index |
| codes are made or loaded, or a file is cut off | the snapshot of the codes |
| recall by signs is measured or loaded | what was measured |
| files are closed, since nobody asks | nothing: all searches are let go of |
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from retrieval_store.base.arrays import Matrix
from retrieval_store.engine.filtering.cache import FilterResult
from retrieval_store.engine.search.graph import SpaceIndex
from retrieval_store.engine.search.planner import BY_CODES, CostInputs, choose
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.exact import FloatPass, Nearest
from retrieval_store.query.query import NearestDense

if TYPE_CHECKING:
    from retrieval_store.engine.search.codes import CodeSnapshot, SpaceCodes
    from retrieval_store.engine.search.recall import Recall, SpaceRecall
    from retrieval_store.indexes.quantized import CodePass

MOST = 4  # searches that are kept of one filter: a caller may ask for ever other numbers of hits


# Of all queries under one filter those that are answered by one search: k, exact, ef and recall.
SearchKey: TypeAlias = tuple[int, bool, int | None, float | None]


def search_key(near: NearestDense, k: int) -> SearchKey:
    """That of a query for the k nearest."""
    return k, near.exact, near.ef, near.recall


class CodesAtHand(NamedTuple):
    """The codes of a space as they were shown, and what was measured of searches by signs."""

    codes: "SpaceCodes"
    shown: "CodeSnapshot"
    recall: "SpaceRecall"
    known: "Recall | None"

    def are_current(self) -> bool:
        """Whether they still are."""
        return self.codes.snapshot() is self.shown and self.recall.known is self.known


@dataclass(frozen=True, slots=True, eq=False)
class Validity:
    """What a search was made of. index: of the space, and what it held; at_hand: None where floats
    are searched."""

    space: SpaceState
    index: SpaceIndex
    held: VectorIndex | None
    at_hand: CodesAtHand | None = None

    def holds(self, space: SpaceState) -> bool:
        """Whether all of it is still what there is, in this state."""
        if self.space is not space or self.index.held is not self.held:
            return False
        return self.at_hand is None or self.at_hand.are_current()


@dataclass(frozen=True, slots=True, eq=False)
class KeptSearch:
    """A search of what one filter allows. one_pass: over floats or codes; matching: about how many
    points the filter allows."""

    validity: Validity
    one_pass: "FloatPass | CodePass"
    matching: int

    def nearest(self, vector: Matrix, allowed: FilterResult) -> Nearest | None:
        """What is nearest of what the filter allows; None where this query is to be answered
        otherwise."""
        space, at_hand, one_pass = self.validity.space, self.validity.at_hand, self.one_pass
        if at_hand is not None:
            return _by_codes(at_hand.codes, space, one_pass, vector, self.matching)
        return one_pass.nearest(vector, space.vectors.rows(space.space.slots))


def _by_codes(
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
        space.vectors.admit(matrix, space.checksums, hits.slots)  # of floats, all are verified
    return hits


@dataclass(frozen=True, slots=True, eq=False)
class KeptScan(KeptSearch):
    """A search over the codes of all vectors of a space, for filters that are new. inputs: of the
    planner; errors: that searches by signs allow for."""

    inputs: CostInputs
    errors: float | None

    def nearest(self, vector: Matrix, allowed: FilterResult) -> Nearest | None:
        """The same for a filter that is asked row by row."""
        from retrieval_store.engine.search.large import pass_among

        inputs, space, at_hand = self.inputs, self.validity.space, self.validity.at_hand
        assert at_hand is not None
        matching, lacks_bits = min(allowed.about_count, inputs.matching), allowed.lacks_bits(space)
        plan = choose(inputs._replace(matching=matching, contiguous=False, lacks_bits=lacks_bits))
        if plan.method not in BY_CODES:
            return None
        errors = self.errors if plan.method == "signs" else None
        one_pass = pass_among(allowed, space, at_hand.shown, inputs, errors)
        return _by_codes(at_hand.codes, space, one_pass, vector, allowed.about_count)


class AnyFilter:
    """Stands for filters that are new."""


ANY_FILTER = AnyFilter()
Filter: TypeAlias = FilterResult | AnyFilter


class SearchCache:
    """The searches that are kept of one space. Those of a filter go when its result does, from the
    cache of filters or by its budget."""

    def __init__(self) -> None:
        self._searches = WeakKeyDictionary[Filter, dict[SearchKey, KeptSearch]]()

    def get(self, allowed: Filter, key: SearchKey) -> KeptSearch | None:
        """What is kept, right or not."""
        of_filter = self._searches.get(allowed)
        return None if of_filter is None else of_filter.get(key)

    def put(self, allowed: Filter, key: SearchKey, kept: KeptSearch) -> None:
        """Keep a search."""
        of_filter = self._searches.setdefault(allowed, {})
        if len(of_filter) >= MOST and key not in of_filter:
            of_filter.clear()
        of_filter[key] = kept

    def clear(self) -> None:
        """Let go of all, so that files can be closed."""
        self._searches = WeakKeyDictionary()
