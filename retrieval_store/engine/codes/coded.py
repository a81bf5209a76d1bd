"""Codes of a vector space at one moment, as they are searched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Bools, Ints, Matrix
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.indexes.codes import Codes
from retrieval_store.indexes.proof import FORBIDDEN, STRETCH_ROWS, Stretch, stretch

NO_SLOTS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Coded:
    """Codes at one moment. pieces: with the slots that they begin at, ascending; stretches: the
    same, as they are searched. count: of slots; stop: behind the last of them; padded_stop: behind
    its padding."""

    pieces: tuple[tuple[int, Codes], ...]
    stretches: tuple[Stretch, ...]
    count: int
    stop: int
    padded_stop: int

    @classmethod
    def of(cls, pieces: Sequence[tuple[int, Codes]], before: "Coded") -> "Coded":
        """These pieces, in the stretches of before where they haven't changed."""
        if not pieces:
            return NOTHING_CODED
        first, last = pieces[-1]
        return cls(
            tuple(pieces),
            tuple(_stretches(pieces, before.stretches)),
            sum(codes.count for _, codes in pieces),
            first + last.count,
            first + len(last.scales),
        )

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


NOTHING_CODED = Coded((), (), 0, 0, 0)


def _stretches(
    pieces: Sequence[tuple[int, Codes]], before: tuple[Stretch, ...]
) -> Iterator[Stretch]:
    """The pieces in stretches of one centre each, those that haven't changed as they were."""
    known = {tuple(map(id, one.pieces)): one for one in before}
    for group in _groups(pieces):
        codes = [codes for _, codes in group]
        one = known.get(tuple(map(id, codes)))
        yield one or stretch(codes, [first for first, _ in group], None)


def _groups(pieces: Sequence[tuple[int, Codes]]) -> Iterator[list[tuple[int, Codes]]]:
    group: list[tuple[int, Codes]] = []
    rows = 0
    for first, codes in pieces:
        full = rows + len(codes.scales) > STRETCH_ROWS
        if group and (full or group[0][1].centre is not codes.centre):
            yield group
            group, rows = [], 0
        group.append((first, codes))
        rows += len(codes.scales)
    if group:
        yield group


def uncoded(coded: Coded, space: SpaceState) -> int:
    """How many vectors of points have no code; those of dead slots need none."""
    slots = space.space.slots
    if not coded.count:
        return slots - space.dead
    lacking = coded.lacking(slots)
    return int(np.count_nonzero(space.row_of_slot[lacking] >= 0)) if len(lacking) else 0


def penalties(coded: Coded, space: SpaceState, mask: Bools | None) -> Matrix:
    """(coded slots,) float32: what to add to the scores, so that slots that are dead, not allowed,
    or newer than the state are never found."""
    count = min(space.space.slots, coded.padded_stop)
    found = space.row_of_slot.not_negative(count)
    if mask is not None:
        found &= mask[space.row_of_slot.whole(0, count)]
    penalty = np.full(coded.padded_stop, FORBIDDEN)
    # Arithmetic: choosing by a mask takes several times as long.
    np.subtract(1, found, out=penalty[:count], dtype=np.float32)
    penalty[:count] *= FORBIDDEN
    return penalty
