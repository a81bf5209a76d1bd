"""Codes: vectors as int8, and how far each may be from what it stands for.

A row x is kept as x̂ = s c, with integers c from -127 to 127 and a scale s of its own, and with the
length of what is left, r = |x - x̂|. For a query q and its code q̂, Cauchy and Schwarz bound what
codes get wrong of a product: |q·x - q̂·x̂| ≤ |q| |x - x̂| + |q - q̂| |x̂|.

What is coded depends on the metric: the row itself ("ip", "l2") or brought to length 1 ("cosine"),
less a *centre* where that leaves shorter rows: of vectors that lie far from the origin, most of the
code would say where they all are. Rows whose products leave float32's range get an infinite r: a
search always looks at them.

All bounds hold in the arithmetic that is done here: u is float32's unit roundoff, and a sum of n
terms is wrong by the share (n + 8) u at most (see `exact`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix, Stored, as_float32
from retrieval_store.indexes.exact import SAFE_LENGTHS, UNIT_ROUNDOFF, Metric
from retrieval_store.indexes.kernels import Int8s

BLOCK = 64  # rows whose best is looked at before they are
CELLS_AT_ONCE = 262_144  # so that the processor's cache holds what is worked on: 1 MB
MOST = 127.0
NOTHING = 1e-30  # a row with no larger number is coded as 0
CENTRE_GAIN = 0.8  # the residuals that a centre must leave at most, as a share of those without
CENTRE_SERVES = 1.1  # … and that one made for others may leave, against one of their own
SAMPLE = 1_024  # rows by which that is judged


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of `count` rows, padded to a multiple of BLOCK.

    numbers: (m, dim) int8; scales: (m,) float32; residuals, lengths: (m,) float32, bounds of
    |x - x̂| and |x̂| from above; halves: (m,) float32 of |x|² / 2, for "l2" alone; centre: (dim,)
    float32, None for the origin. The residuals of rows that are padding are -∞, so that no bound of
    theirs is ever above another.
    """

    count: int
    numbers: Int8s
    scales: Matrix
    residuals: Matrix
    lengths: Matrix
    halves: Matrix | None
    centre: Matrix | None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        halves = 0 if self.halves is None else self.halves.nbytes
        arrays = (self.numbers, self.scales, self.residuals, self.lengths)
        return halves + sum(array.nbytes for array in arrays)


def padded(count: int) -> int:
    """The multiple of BLOCK that holds so many rows."""
    return -(-count // BLOCK) * BLOCK


def room_for(count: int, dimension: int, metric: Metric, centre: Matrix | None) -> Codes:
    """Codes of no rows yet, with room for so many."""
    rows = padded(count)
    halves = np.zeros(rows, np.float32) if metric == "l2" else None
    return Codes(
        0,
        np.zeros((rows, dimension), np.int8),
        np.zeros(rows, np.float32),
        np.full(rows, -np.inf, np.float32),
        np.zeros(rows, np.float32),
        halves,
        centre,
    )


def part_of(codes: Codes, start: int, count: int) -> Codes:
    """`count` rows from `start` on, a multiple of BLOCK, sharing memory."""
    rows = slice(start, start + padded(count))
    return Codes(
        count,
        codes.numbers[rows],
        codes.scales[rows],
        codes.residuals[rows],
        codes.lengths[rows],
        None if codes.halves is None else codes.halves[rows],
        codes.centre,
    )


def slices_of(codes: Codes, rows: int) -> Iterator[Codes]:
    """All of them, so many rows at a time, a multiple of BLOCK."""
    for start in range(0, codes.count, rows):
        yield part_of(codes, start, min(rows, codes.count - start))


def encode_into(into: Codes, at: int, rows: Stored, lengths: Floats, metric: Metric) -> None:
    """Put codes of (n, dim) rows, whose lengths are (n,) float64, at the place `at`."""
    step = max(1, CELLS_AT_ONCE // rows.shape[1])
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        _encode(into, at + start, as_float32(rows[some]), lengths[some], metric)


def _encode(into: Codes, at: int, rows: Matrix, lengths: Floats, metric: Metric) -> None:
    place = slice(at, at + len(rows))
    least, most = SAFE_LENGTHS
    safe = ((lengths >= least) & (lengths <= most)) | (lengths == 0)
    moved = _moved(rows, lengths, safe, metric, into.centre)
    peaks = np.maximum(moved.max(axis=1), -moved.min(axis=1))
    peaks[peaks < NOTHING] = 0
    scales = peaks * np.float32(1 / MOST)
    numbers = moved * np.divide(MOST, peaks, out=np.zeros_like(peaks), where=peaks > 0)[:, None]
    rounded = np.rint(numbers)
    into.numbers[place] = rounded
    into.scales[place] = scales
    dimension = rows.shape[1]
    sums = 1 + (dimension + 8) * UNIT_ROUNDOFF
    numbers -= rounded
    left = _length(numbers) * sums + 4 * MOST * UNIT_ROUNDOFF * dimension**0.5
    held = _length(rounded) * sums * scales
    far = held + left * scales
    if into.centre is not None:
        far += float(np.linalg.norm(into.centre.astype(np.float64)))
    slack = 8 * UNIT_ROUNDOFF * far + NOTHING * dimension**0.5
    into.residuals[place] = np.where(safe, up(left * scales + slack), np.inf)
    into.lengths[place] = up(held)
    if into.halves is not None:
        own = lengths if into.centre is None else _length(moved.astype(np.float64))
        into.halves[place] = np.where(safe, own * own / 2, 0)


def _moved(
    rows: Matrix, lengths: Floats, safe: np.ndarray, metric: Metric, centre: Matrix | None
) -> Matrix:
    """What is coded of the rows; 0 of those that aren't safe."""
    if metric == "cosine":
        inverse = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=safe & (lengths > 0))
        moved = rows * inverse.astype(np.float32)[:, None]
    else:
        moved = rows if safe.all() else np.where(safe[:, None], rows, np.float32(0))
    return moved if centre is None else moved - centre


def _length(rows: np.ndarray) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows)).astype(np.float64)
    return lengths


def up(numbers: Floats) -> Matrix:
    """The next larger float32."""
    return np.nextafter(numbers.astype(np.float32), np.float32(np.inf))


def best_centre(rows: Stored, lengths: Floats, metric: Metric) -> Matrix | None:
    """The mean of the rows, if codes of what differs from it are much nearer; None if not.

    With vectors far from the origin it is what makes codes of use; where a few rows are much longer
    than the others, or all lie around the origin, it does harm.
    """
    sample = _sample(rows, lengths, metric)
    if not len(sample):
        return None
    centre: Matrix = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    return centre if _peak(sample, centre) < CENTRE_GAIN * _peak(sample, None) else None


def serves(
    centre: Matrix | None, best: Matrix | None, rows: Stored, lengths: Floats, metric: Metric
) -> bool:
    """Whether a centre serves these rows nearly as well as the best."""
    if centre is None or best is None:
        return centre is best
    sample = _sample(rows, lengths, metric)
    return _peak(sample, centre) <= CENTRE_SERVES * _peak(sample, best)


def _sample(rows: Stored, lengths: Floats, metric: Metric) -> Matrix:
    """Some of the rows, as they are coded."""
    every = slice(None, None, max(1, len(rows) // SAMPLE))
    least, most = SAFE_LENGTHS
    some, own = rows[every], lengths[every]
    good = (own >= least) & (own <= most)
    return _moved(as_float32(some[good]), own[good], good[good], metric, None)


def _peak(rows: Matrix, centre: Matrix | None) -> float:
    """The largest number of a row, in the middle of all rows: what its scale follows."""
    moved = rows if centre is None else rows - centre
    return float(np.median(np.abs(moved).max(axis=1)))


def gathered(pieces: list[tuple[Codes, Ints]], metric: Metric) -> Codes:
    """Codes of some rows of several pieces with one centre, by their places in each, copied
    together in that order."""
    first = pieces[0][0]
    count = sum(len(places) for _, places in pieces)
    into = _space_for(count, first.numbers.shape[1], metric, first.centre)
    at = 0
    for codes, places in pieces:
        stop = at + len(places)
        # Without a mode `take` would copy twice.
        np.take(codes.numbers, places, axis=0, out=into.numbers[at:stop], mode="clip")
        into.scales[at:stop] = codes.scales[places]
        into.residuals[at:stop] = codes.residuals[places]
        into.lengths[at:stop] = codes.lengths[places]
        if into.halves is not None and codes.halves is not None:
            into.halves[at:stop] = codes.halves[places]
        at = stop
    into.residuals[count:] = -np.inf
    for array in (into.lengths, into.scales, into.halves):
        if array is not None:
            array[count:] = 0
    return part_of(into, 0, count)


def _space_for(count: int, dimension: int, metric: Metric, centre: Matrix | None) -> Codes:
    """Arrays for so many rows, with anything in them: to fill them with zeros takes as long as to
    copy what is needed."""
    rows = padded(count)
    scales, residuals, lengths, halves = np.empty((4, rows), np.float32)
    numbers = np.empty((rows, dimension), np.int8)
    return Codes(0, numbers, scales, residuals, lengths, halves if metric == "l2" else None, centre)
