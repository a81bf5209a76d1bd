"""Which rows may be among the nearest, proved by their codes.

One pass over the codes bounds each row's score from both sides (see `codes`). Any k lower bounds
are a floor: a row whose upper bound lies below the least of them is not among the k nearest. What
is left, some twenty rows in the usual case, is decided in float64 by who asked.

The score is what grows as the distance falls: the cosine, the product, or minus half the squared
distance, all for one query p: for "l2" and a centre c, p = q - c and -|x - q|²/2 is y·p - |y|²/2 -
|p|²/2 with y = x - c; for the others it is y·q + c·q.

The pass itself costs a product of int8; what follows it could easily cost as much. So nothing is
sorted, and nothing chosen by a mask, that is as long as the rows are many: the best score of each
block of 64 rows is found (they lie apart, so that it is the maximum of 64 arrays), which gives a
first floor, and only blocks that may reach it are looked at row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix
from retrieval_store.indexes.codes import BLOCK, Codes, slices_of
from retrieval_store.indexes.exact import UNIT_ROUNDOFF, Metric
from retrieval_store.indexes.kernels import Packed, packed, products

PIECE_ROWS = 16_384  # multiplied at once, and looked at while the processor's cache holds them
STRETCH_ROWS = 131_072  # after which the floor is raised
STRETCH_CELLS = 2_097_152  # scores that are kept at once
FORBIDDEN = np.float32(-3e38)  # what is added to the score of a row that mustn't be found
IN_BLOCK = np.arange(BLOCK)[:, None]
ROUNDING = 8 * UNIT_ROUNDOFF  # of the steps from a product to a score, as a share
WIDE_ROUNDING = 1e-11  # of sums in float64
OF_ONE = 1e-15  # of 1 - score, the distance: scores that differ by less may be equally far
UP = 1 + 2.0**-20


class HardError(Exception):
    """Too many rows can't be told apart by their codes."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Pieces of codes with one centre, looked at in one go, in blocks of rows.

    residuals, lengths: (m,) of all rows; starts, steps: (b,) where the rows of a block are: at
    start, start + step, …; worst_residuals, worst_lengths, worst_halves: (b,) the largest of each
    block; longest_half: the largest of all. slots: (m,) of rows gathered from all over, or
    first_slots: (b,) of the blocks' first rows, where rows are slots that follow one another.
    """

    pieces: tuple[Codes, ...]
    residuals: Matrix
    lengths: Matrix
    starts: Ints
    steps: Ints
    worst_residuals: Matrix
    worst_lengths: Matrix
    worst_halves: Matrix
    longest_half: float
    slots: Ints | None
    first_slots: Ints

    @property
    def rows(self) -> int:
        """How many rows there are, padding too."""
        return len(self.residuals)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, those of the pieces too."""
        own = (self.residuals, self.lengths, self.starts, self.steps, self.first_slots, self.slots)
        worst = (self.worst_residuals, self.worst_lengths, self.worst_halves)
        arrays = [array for array in (*own, *worst) if array is not None]
        return sum(part.nbytes for part in self.pieces) + sum(array.nbytes for array in arrays)


def stretches_of(codes: Codes, slots: Ints) -> list[Stretch]:
    """The stretches of codes gathered from all over, of the rows with these slots."""
    pieces = list(slices_of(codes, PIECE_ROWS))
    per = max(1, STRETCH_ROWS // PIECE_ROWS)
    found = []
    for i in range(0, len(pieces), per):
        chosen = slots[i * PIECE_ROWS : (i + per) * PIECE_ROWS]
        found.append(stretch(pieces[i : i + per], None, chosen))
    return found


def stretch(pieces: Sequence[Codes], firsts: Sequence[int] | None, slots: Ints | None) -> Stretch:
    """One stretch. firsts: the slot of each piece's first row; or else slots: of all rows."""
    residuals = np.concatenate([piece.residuals for piece in pieces])
    lengths = np.concatenate([piece.lengths for piece in pieces])
    blocks = [len(piece.scales) // BLOCK for piece in pieces]
    inside = np.concatenate([np.arange(count) for count in blocks])
    steps, starts, first_slots = np.repeat(blocks, blocks), inside, inside
    if len(pieces) > 1:
        starts = inside + np.repeat(BLOCK * (np.cumsum(blocks) - blocks), blocks)
    if firsts is not None:
        first_slots = inside + np.repeat(firsts, blocks)
    if slots is not None:  # of the padding too
        slots = np.concatenate([slots, np.zeros(len(residuals) - len(slots), np.int64)])
    halves = [piece.halves for piece in pieces if piece.halves is not None]
    none = np.zeros(len(starts), np.float32)
    worst_halves = np.concatenate([_worst(one) for one in halves] or [none])
    return Stretch(
        tuple(pieces),
        residuals,
        lengths,
        starts,
        steps,
        np.concatenate([_worst(piece.residuals) for piece in pieces]),
        np.concatenate([_worst(piece.lengths) for piece in pieces]),
        worst_halves,
        float(worst_halves.max()),
        slots,
        first_slots,
    )


def _worst(values: Matrix) -> Matrix:
    worst: Matrix = values.reshape(BLOCK, -1).max(axis=0)
    return worst


@dataclass(frozen=True, slots=True)
class _Coded:
    """Codes of queries, for rows with one centre.

    All but `packed` are (q,) float64: scales, of the codes; offsets, what to add to a product to
    have a score; and by what the bounds of a row are multiplied to have that of its score: its
    residual, its length, and half its squared length; constant, what is added.
    """

    packed: Packed
    scales: Floats
    offsets: Floats
    by_residual: Floats
    by_length: Floats
    by_half: Floats
    constant: Floats


def _coded(
    queries: Matrix, lengths: Floats, metric: Metric, centre: Matrix | None, longest_half: float
) -> _Coded:
    """Codes of queries; longest_half: of all rows that they are compared with."""
    wide, reach = queries.astype(np.float64), lengths
    offsets, constant = np.zeros(len(wide)), np.full(len(wide), OF_ONE)
    if metric == "cosine":
        wide /= lengths[:, None]
        reach = np.ones(len(wide))
    if metric == "l2":
        if centre is not None:
            wide -= centre
            reach = _lengths(wide)
        offsets, constant = reach * reach / -2, reach * reach * WIDE_ROUNDING
    elif centre is not None:
        offsets = wide @ centre.astype(np.float64)
        constant += reach * float(np.linalg.norm(centre)) * WIDE_ROUNDING
    peaks = np.maximum(wide.max(axis=1), -wide.min(axis=1))
    # Where a row's half square would leave float32's range, measured by the scale, a coarser one.
    scales = np.maximum(np.maximum(peaks, 1e-30) / 127, longest_half * 1e-30)
    wide /= scales[:, None]
    rounded = np.rint(wide)
    wide -= rounded
    reach = np.maximum(reach, 1e-30)  # ∞ times 0 is no number
    return _Coded(
        packed(rounded.astype(np.int8)),
        scales,
        offsets,
        reach * UP,
        (_lengths(wide) * scales + reach * ROUNDING) * UP,
        np.full(len(wide), 2 * ROUNDING if metric == "l2" else 0.0),
        constant,
    )


def _lengths(rows: Floats) -> Floats:
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return lengths


class _Sought:
    """What one query has found so far. best: the largest lower bounds, at most k; floor: the least
    of them, -∞ while there are fewer."""

    def __init__(self, k: int, most: int) -> None:
        self.floor = -np.inf
        self._k, self._most = k, most
        self._best: Floats = np.empty(0)
        self._slots: list[Ints] = []
        self._uppers: list[Floats] = []
        self._held = 0

    def take(self, slots: Ints, lowers: Floats, uppers: Floats) -> None:
        """Take in rows that weren't known yet: at least all of a stretch that may be above the
        floor."""
        best = np.concatenate([self._best, lowers])
        if len(best) > self._k:
            best = np.partition(best, len(best) - self._k)[-self._k :]
        self._best = best
        if len(best) == self._k:
            self.floor = max(self.floor, float(best.min()))
        kept = uppers >= self.floor
        self._slots.append(slots[kept])
        self._uppers.append(uppers[kept])
        self._held += len(self._slots[-1])
        if self._held > self._most and len(self.candidates()) > self._most:
            raise HardError

    def candidates(self) -> Ints:
        """The slots of the rows that may be among the nearest."""
        if not self._slots:
            return np.empty(0, np.int64)
        slots, uppers = np.concatenate(self._slots), np.concatenate(self._uppers)
        kept = uppers >= self.floor
        self._slots, self._uppers = [slots[kept]], [uppers[kept]]
        self._held = len(self._slots[0])
        return self._slots[0]


Candidates: TypeAlias = Ints | None


def candidates(
    queries: Matrix,
    lengths: Floats,
    stretches: Sequence[Stretch],
    metric: Metric,
    k: int,
    most: int,
    penalty: Matrix | None = None,
) -> list[Candidates]:
    """For each query the slots of all rows that may be among its k nearest, in no order; None where
    there would be more than `most`, since its codes don't tell rows apart.

    queries: (q, dim) float32, and their lengths, of which none may be 0 for "cosine", nor unsafe
    (see `exact`); penalty: (slots,) float32, FORBIDDEN for slots that mustn't be found and else 0,
    for stretches of all slots; it reaches to the end of their padding.
    """
    rows = max((stretch.rows for stretch in stretches), default=1)
    step = max(1, STRETCH_CELLS // rows)
    found: list[Candidates] = []
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        search = _Pass(queries[some], lengths[some], metric, k, most, penalty)
        found += search.run(stretches)
    return found


class _Pass:
    """One pass for some queries over all stretches."""

    def __init__(
        self,
        queries: Matrix,
        lengths: Floats,
        metric: Metric,
        k: int,
        most: int,
        penalty: Matrix | None,
    ) -> None:
        self._queries, self._metric, self._penalty = queries, metric, penalty
        self._lengths, self._k = lengths, k
        self._sought: list[_Sought | None] = [_Sought(k, most) for _ in queries]

    def run(self, stretches: Sequence[Stretch]) -> list[Candidates]:
        """Candidates of each query, None for hard ones."""
        coded, centre = None, None
        longest = max((one.longest_half for one in stretches), default=0.0)
        for one in stretches:
            if coded is None or one.pieces[0].centre is not centre:
                centre = one.pieces[0].centre
                coded = _coded(self._queries, self._lengths, self._metric, centre, longest)
            self._look(one, coded)
        return [None if sought is None else sought.candidates() for sought in self._sought]

    def _look(self, one: Stretch, coded: _Coded) -> None:
        scores, tops = self._scores(one, coded)
        slack = _slack(one, coded)
        for i, sought in enumerate(self._sought):
            if sought is None:
                continue
            try:
                self._take(one, coded, i, scores[:, i], tops[:, i], slack[:, i], sought)
            except HardError:
                self._sought[i] = None

    def _scores(self, one: Stretch, coded: _Coded) -> tuple[Matrix, Matrix]:
        """(m, q) scores in the units of each query's code, but for offsets, and the best of each
        block."""
        queries = len(self._queries)
        scores = np.empty((one.rows, queries), np.float32)
        tops = np.empty((len(one.starts), queries), np.float32)
        at = 0
        for piece in one.pieces:
            rows = len(piece.scales)
            part = scores[at : at + rows]
            found = products(piece.numbers, coded.packed)
            column = piece.scales[:, None]
            np.multiply(found, column, out=part, dtype=np.float32, casting="unsafe")
            if piece.halves is not None:
                part -= piece.halves[:, None] * (1 / coded.scales).astype(np.float32)
            if self._penalty is not None:
                first = int(one.first_slots[at // BLOCK])
                part += self._penalty[first : first + rows, None]
            part[piece.count :] = FORBIDDEN  # padding
            blocks = tops[at // BLOCK : (at + rows) // BLOCK]
            np.maximum.reduce(part.reshape(BLOCK, -1, queries), axis=0, out=blocks)
            at += rows
        return scores, tops

    def _take(
        self,
        one: Stretch,
        coded: _Coded,
        i: int,
        scores: Matrix,
        tops: Matrix,
        slack: Matrix,
        sought: _Sought,
    ) -> None:
        """Look at the rows of the blocks that may reach the floor. scores: (m,), tops and slack:
        (b,), all in the units of the query's code."""
        floor = _in_units(sought.floor, coded, i)
        if len(tops) >= self._k:  # the best rows of k blocks are k rows
            lowers = tops - slack
            floor = max(floor, np.partition(lowers, len(lowers) - self._k)[-self._k])
        blocks = np.flatnonzero(tops + slack >= floor)
        if not len(blocks):
            return
        places = one.starts[blocks] + IN_BLOCK * one.steps[blocks]
        at, of = np.nonzero(scores[places] >= floor - slack[blocks])
        places, blocks = places[at, of], blocks[of]
        slots = one.first_slots[blocks] + at * one.steps[blocks]
        if one.slots is not None:
            slots = one.slots[places]
        good = one.residuals[places] >= 0  # no padding
        if self._penalty is not None:
            good &= self._penalty[slots] == 0
        places, slots, blocks = places[good], slots[good], blocks[good]
        own = _own_slack(one, places, blocks, coded, i)
        middle = scores[places].astype(np.float64) * coded.scales[i] + coded.offsets[i]
        sought.take(slots, middle - own, middle + own)


def _own_slack(one: Stretch, places: Ints, blocks: Ints, coded: _Coded, i: int) -> Floats:
    """What the scores of some rows may be wrong by."""
    slack: Floats = one.residuals[places].astype(np.float64) * coded.by_residual[i]
    slack += one.lengths[places].astype(np.float64) * coded.by_length[i]
    slack += one.worst_halves[blocks].astype(np.float64) * coded.by_half[i] + coded.constant[i]
    return slack


def _in_units(score: float, coded: _Coded, i: int) -> np.float32:
    """A score in the units of a query's code, rounded down."""
    units = np.float32((score - coded.offsets[i]) / coded.scales[i])
    below: np.float32 = np.nextafter(units, np.float32(-np.inf))
    return below


def _slack(one: Stretch, coded: _Coded) -> Matrix:
    """(b, q) what the scores of blocks may be wrong by, in the units of each query's code."""
    units = UP / coded.scales
    slack = np.multiply.outer(one.worst_residuals, (coded.by_residual * units).astype(np.float32))
    slack += np.multiply.outer(one.worst_lengths, (coded.by_length * units).astype(np.float32))
    if one.longest_half:
        slack += np.multiply.outer(one.worst_halves, (coded.by_half * units).astype(np.float32))
    slack += (coded.constant * units).astype(np.float32)
    return slack
