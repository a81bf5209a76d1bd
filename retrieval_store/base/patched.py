"""Arrays of numbers that grow at the end and change here and there, of which versions share memory.

A version is a long array that others share, and a short *patch* of places where its numbers are
others. So a change of one number costs the same however long the array is; only when a patch has
become long, a version gets an array of its own.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools, Ints, appended
from retrieval_store.base.dataclasses import dataclass

LONGEST_PATCH = 1_024
FEW = 64  # one in so many numbers: more are taken from a copy without patch
NOWHERE: Ints = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Patched:
    """base: (n,), with room behind it, see `appended`; at: (p,) ascending, where the numbers are
    those of values instead, (p,)."""

    base: Ints
    at: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.base)

    @property
    def nbytes(self) -> int:
        """Bytes of memory, those that versions share too."""
        return self.base.nbytes + self.at.nbytes + self.values.nbytes

    def __getitem__(self, places: npt.NDArray[np.integer[Any]]) -> Ints:
        """The numbers at these places, none negative, in an array of the same shape."""
        if not len(self.at):
            return self.base.take(places)  # faster than by []
        if places.size * FEW > len(self.base):
            return self.whole().take(places)
        found = self.base.take(places)
        near = np.minimum(np.searchsorted(self.at, places), len(self.at) - 1)
        hit = self.at[near] == places
        found[hit] = self.values[near[hit]]
        return found

    def whole(self, start: int = 0, stop: int | None = None) -> Ints:
        """All numbers from start to stop; not to be changed."""
        part = self.base[start:stop]
        first, last = np.searchsorted(self.at, (start, start + len(part))).tolist()
        if first == last:
            return part
        part = part.copy()
        part[self.at[first:last] - start] = self.values[first:last]
        return part

    def not_negative(self, stop: int) -> Bools:
        """Which of the first so many numbers aren't."""
        good: Bools = self.base[:stop] >= 0
        inside = slice(0, int(np.searchsorted(self.at, stop)))
        good[self.at[inside]] = self.values[inside] >= 0
        return good

    def appended(self, tail: Ints) -> "Patched":
        """With more numbers at the end; only of the newest version."""
        return Patched(appended(self.base, tail), self.at, self.values)

    def changed(self, at: Ints, values: Ints | int) -> "Patched":
        """With other numbers at these places; the last one where a place comes twice."""
        if not len(at):
            return self
        every = np.concatenate([self.at, at])
        new = np.concatenate([self.values, np.broadcast_to(values, at.shape)])
        places, last = np.unique(every[::-1], return_index=True)
        new = new[len(every) - 1 - last]
        if len(places) <= LONGEST_PATCH:
            return Patched(self.base, places, new)
        base = _with_room(self.base)
        base[places] = new
        return Patched(base, NOWHERE, NOWHERE)


NOTHING = Patched(NOWHERE, NOWHERE, NOWHERE)


def _with_room(numbers: Ints) -> Ints:
    """A copy that can be appended to without copying it again at once."""
    room = np.empty(len(numbers) + len(numbers) // 8, np.int64)
    room[: len(numbers)] = numbers
    return room[: len(numbers)]
