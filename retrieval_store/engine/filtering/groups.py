"""Groups: rows by the number of their value, and masks of the rows whose number is wanted.

Where few rows are wanted, they are looked up and set one by one. Where many are, the numbers of all
rows are compared: a row costs a tenth of a nanosecond then, where setting one costs a whole.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools, Ints, own_bytes, stable_order
from retrieval_store.base.dataclasses import dataclass

Run: TypeAlias = tuple[int, int]  # numbers from the first on, up to but without the second
Numbers32: TypeAlias = npt.NDArray[np.int32]
Whole: TypeAlias = npt.NDArray[np.integer[Any]]
Unsigned: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
SPREAD = 2  # rows lie close together where they are at least one in so many
COMPARED = 16  # bytes of numbers that are compared while one row is set (measured: 12 to 29)


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows by number: rows[offsets[c]:offsets[c + 1]] have number c.

    dense: the number of each row from `first` on, and for a row that has none, one more than the
    last; None where rows lie far apart or may have several numbers.
    """

    rows: Numbers32
    offsets: Numbers32
    first: int
    dense: Unsigned | None

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays, without those in a mapped file."""
        dense = 0 if self.dense is None else self.dense.nbytes
        return own_bytes(self.rows, self.offsets) + dense

    def mark(self, mask: Bools, runs: Sequence[Run]) -> None:
        """Set the mask, over rows, where the number is in one of the runs."""
        cuts = [(int(self.offsets[start]), int(self.offsets[stop])) for start, stop in runs]
        wanted = sum(stop - start for start, stop in cuts)
        if self.dense is not None and wanted * COMPARED >= len(runs) * self.dense.nbytes:
            part = mask[self.first : self.first + len(self.dense)]
            for start, stop in runs:
                part |= _within(self.dense, start, stop)
        elif wanted:
            parts = [self.rows[start:stop] for start, stop in cuts]
            rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
            # As numpy's own kind of index: it takes others at a third of the speed.
            mask[rows.astype(np.intp)] = True


@dataclass(frozen=True, slots=True)
class Chosen:
    """The rows whose numbers are in some runs."""

    groups: Groups
    runs: Sequence[Run]

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""
        self.groups.mark(mask, self.runs)


def grouped(rows: Ints, numbers: Ints, count: int) -> Groups:
    """The groups of rows, ascending, of which rows[i] has numbers[i], which is below `count`."""
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(numbers, minlength=count), out=offsets[1:])
    in_order = rows[stable_order(numbers)].astype(np.int32)
    return Groups(in_order, offsets, *_dense(rows, numbers, count))


def regrouped(rows: Numbers32, offsets: Numbers32) -> Groups:
    """The groups whose rows and offsets these are; see `refuse_disorder`."""
    count = len(offsets) - 1
    numbers = np.repeat(np.arange(count, dtype=np.min_scalar_type(count)), np.diff(offsets))
    return Groups(rows, offsets, *_dense(rows, numbers, count))


def refuse_disorder(rows: Numbers32, offsets: Numbers32, height: int) -> None:
    """Raise ValueError unless they are those of groups, of rows below `height`, each ascending."""
    follow = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(rows)
    if not follow or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("its groups don't follow one another")
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < height:
        raise ValueError("it has rows that aren't there")
    ascending = np.ones(len(rows) + 1, np.bool_)
    ascending[1:-1] = rows[1:] >= rows[:-1]
    ascending[offsets] = True
    if not ascending.all():
        raise ValueError("its rows are out of order")


def runs_of(numbers: Sequence[int]) -> list[Run]:
    """The numbers as runs of those that follow one another."""
    runs: list[Run] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


def _dense(rows: Whole, numbers: Whole, count: int) -> tuple[int, Unsigned | None]:
    """The least of the rows, and by row the number of each; see `Groups`."""
    if not len(rows):
        return 0, np.empty(0, np.min_scalar_type(count))
    first, last = int(rows.min()), int(rows.max())
    if last - first + 1 > SPREAD * len(rows):
        return first, None
    dense = np.full(last - first + 1, count, np.min_scalar_type(count))
    dense[rows - first if first else rows] = numbers
    several = int(np.count_nonzero(dense != count)) < len(rows)  # numbers of one row
    return first, None if several else dense


def _within(numbers: Unsigned, start: int, stop: int) -> Bools:
    """Where numbers are in the run. What is below its start is very large once that is taken off,
    since there are no signs."""
    within: Bools
    if stop - start == 1:
        within = numbers == start
    else:
        within = (numbers - start if start else numbers) < stop - start
    return within
