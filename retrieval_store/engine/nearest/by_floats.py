"""The search by the vectors themselves (floats), of all that the filter allows.

Where a filter is used again, the vectors that it allows are copied together.
"""

from functools import cached_property, partial

from retrieval_store.base.arrays import Ints, Stored
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.nearest.context import Neighbors, SearchContext
from retrieval_store.indexes.exact import Norms, nearest, norms_of


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
