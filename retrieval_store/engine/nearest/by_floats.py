"""The nearest by the vectors themselves, of all that a filter allows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from retrieval_store.base.arrays import Ints, Stored
from retrieval_store.engine.nearest.context import Found, SearchContext
from retrieval_store.indexes.exact import Norms, nearest, norms_of


@dataclass(frozen=True)
class FloatsTogether:
    """Copies of the vectors that a filter allows, in the order of their slots."""

    rows: Stored

    @cached_property
    def norms(self) -> Norms:
        """Their norms, for who needs them."""
        return norms_of(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return self.rows.nbytes


def by_floats(context: SearchContext, which: list[int]) -> Iterator[Found]:
    """The nearest to some of the query vectors."""
    space, k = context.space, context.k
    vectors, slots = context.vectors[which], context.allowed.slots(space)
    lengths = [context.lengths[i] for i in which]
    together = _together(context, slots)
    if together is None:
        context.admit(slots)
        norms = partial(context.norms, slots)
        found = nearest(vectors, lengths, context.matrix, norms, context.metric, k, slots)
    else:
        of_rows = partial(getattr, together, "norms")
        found = nearest(vectors, lengths, together.rows, of_rows, context.metric, k, None)
    for near, distances in found:
        moved = together is not None and slots is not None
        yield context.in_order(slots[near] if moved else near, distances)  # type: ignore[index]


def _together(context: SearchContext, slots: Ints | None) -> FloatsTogether | None:
    """The allowed vectors copied together, for a filter that is used again."""
    name = context.space.space.name
    kept = context.allowed.together(name)
    wanted = slots is not None and context.may_keep(4 * context.dimension)
    if wanted and not isinstance(kept, FloatsTogether):
        context.admit(slots)
        kept = FloatsTogether(context.matrix[slots])
        context.view.kept.allowed.keep_together(context.allowed, name, kept, context.view.state)
    return kept if isinstance(kept, FloatsTogether) else None
