"""Codes of a vector space at one moment, as they are searched."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.indexes.codes import Codes
from retrieval_store.indexes.scan import Pieces

NO_SLOTS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Coded:
    """Codes at one moment. pieces: with the slots that they begin at, ascending; together: the
    same, as they are searched, None for none. count: of slots; stop: behind the last of them."""

    pieces: tuple[tuple[int, Codes], ...]
    together: Pieces | None
    count: int
    stop: int

    @classmethod
    def of(cls, pieces: Sequence[tuple[int, Codes]]) -> "Coded":
        """These pieces."""
        if not pieces:
            return NOTHING_CODED
        first, last = pieces[-1]
        together = Pieces.of([codes for _, codes in pieces], [first for first, _ in pieces])
        return cls(tuple(pieces), together, together.count, first + last.count)

    def count_below(self, slots: int) -> int:
        """How many of the first `slots` slots have a code."""
        if slots >= self.stop:
            return self.count
        return sum(min(codes.count, max(0, slots - first)) for first, codes in self.pieces)

    def lacking(self, slots: int) -> Ints:
        """Those of the first `slots` slots that have no code."""
        if slots == self.count == self.stop:
            return NO_SLOTS
        ranges, at = [], 0
        for first, codes in self.pieces:
            ranges.append(np.arange(at, min(first, slots)))
            at = first + codes.count
        ranges.append(np.arange(at, slots))
        return np.concatenate(ranges)


NOTHING_CODED = Coded((), None, 0, 0)


def uncoded(coded: Coded, space: SpaceState) -> int:
    """How many vectors of points have no code; those of dead slots need none."""
    slots = space.space.slots
    if not coded.count:
        return slots - space.dead
    lacking = coded.lacking(slots)
    return int(np.count_nonzero(space.row_of_slot[lacking] >= 0)) if len(lacking) else 0
