"""The search by the vectors themselves (floats), of all that the filter allows.

Where a filter is used again, the vectors that it allows are copied together.
"""

from functools import cached_property, partial

from retrieval_store.base.arrays import Ints, Matrix, Stored
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.nearest.context import (
    Neighbors,
    SearchContext,
    SearchView,
    in_order,
)
from retrieval_store.engine.nearest.indexing import SpaceIndex
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.indexes.exact import FloatPass, Norms, nearest, norms_of


@dataclass(frozen=True)
class PackedFloats:
    """Copies of the vectors that a filter allows, in the order of their slots."""

    rows: Stored

    @cached_property
    def norms(self) -> Norms:
        """The norms of these rows, computed at the first use."""
        return norms_of(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return self.rows.nbytes


def by_floats(context: SearchContext, which: list[int]) -> list[Neighbors]:
    """The k nearest to each of the query vectors at `which`, by a pass over floats."""
    k, slots = context.k, context.allowed.slots(context.space)
    vectors, together = context.some(which), _together(context, slots)
    if together is None:
        context.admit(slots)
        norms = partial(context.norms, slots)
        found = nearest(vectors, context.matrix, norms, context.metric, k, slots)
        return [context.in_order(one) for one in found]
    of_rows = partial(getattr, together, "norms")
    found = nearest(vectors, together.rows, of_rows, context.metric, k, None)
    return [context.in_order(one, slots) for one in found]


def _together(context: SearchContext, slots: Ints | None) -> PackedFloats | None:
    """The allowed vectors copied together; None unless the filter has been used before."""
    name = context.space.space.name
    kept = context.allowed.packed(name)
    wanted = slots is not None and context.may_keep_floats()
    if wanted and not isinstance(kept, PackedFloats):
        context.admit(slots)
        kept = PackedFloats(context.matrix[slots])
        context.view.kept.allowed.keep_packed(context.allowed, name, kept, context.view.state)
    return kept if isinstance(kept, PackedFloats) else None


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
        return view.kept.spaces[space.space.name].index is self._index and not self._index.covered

    def nearest(self, vector: Matrix) -> Neighbors:
        """The rows of the nearest points, all of whose vectors this process has verified."""
        space = self._space
        # Which is DamagedError if the file was cut off meanwhile, whatever is searched.
        matrix = space.vectors.rows(space.space.slots)
        found = self._floats.nearest(vector, matrix if self._copy is None else self._copy)
        return in_order(space, self._floats.k, found, self._slots)
