"""The nearest by the vectors themselves, of all that a filter allows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from retrieval_store.base.arrays import Ints, Stored
from retrieval_store.engine.nearest.asked import Asked, Found
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


def by_floats(asked: Asked, which: list[int]) -> Iterator[Found]:
    """The nearest to some of the query vectors."""
    space, k = asked.space, asked.query.k
    vectors, slots = asked.query.vectors[which], asked.allowed.slots(space)
    lengths = [asked.lengths[i] for i in which]
    together = _together(asked, slots)
    if together is None:
        asked.admit(slots)
        norms = partial(asked.norms, slots)
        found = nearest(vectors, lengths, asked.matrix, norms, asked.metric, k, slots)
    else:
        of_rows = partial(getattr, together, "norms")
        found = nearest(vectors, lengths, together.rows, of_rows, asked.metric, k, None)
    for near, distances in found:
        moved = together is not None and slots is not None
        yield asked.in_order(slots[near] if moved else near, distances)  # type: ignore[index]


def _together(asked: Asked, slots: Ints | None) -> FloatsTogether | None:
    """The allowed vectors copied together, for a filter that is used again."""
    name = asked.query.space
    kept = asked.allowed.packed(name)
    wanted = slots is not None and asked.may_keep(4 * asked.dimension)
    if wanted and not isinstance(kept, FloatsTogether):
        asked.admit(slots)
        kept = FloatsTogether(asked.matrix[slots])
        asked.view.kept.allowed.keep_packed(asked.allowed, name, kept, asked.view.state)
    return kept if isinstance(kept, FloatsTogether) else None
