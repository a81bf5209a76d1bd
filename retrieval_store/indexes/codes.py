"""Codes: vectors quantized to eight bits a number, stored in two halves of four bits, each with a
bound of its quantization error.

What is coded of a row x depends on the metric: the row itself ("ip", "l2"), or the row scaled to
length 1 ("cosine"). One part of it is stored exactly, and only the rest, y, is coded:

- "l2": y = x - c, where the centre c is the mean of many rows. Moving everything by c changes no
  distance.
- "cosine", "ip": y = x - t c, where c is the direction of the mean, |c| = 1, and t = x·c is stored
  with the row. For a query q, q·x = t (q·c) + q⊥·y, where q⊥ = q - (q·c) c. Without this, codes of
  vectors far from the origin would mostly describe the mean that all share, and the error bound,
  which grows with the length of the query's part, would be loose.

The steps of coding:

1. y is rotated, by Hadamard matrices with random signs (see `native/codes.c`). That changes no
   product, and makes the numbers of a row similar in size: a few large numbers, or many equal ones,
   would make bad codes.
2. Each number becomes one of 256 steps from -8 to 8, times a scale of the row. Its upper four bits
   alone stand for the middle of one of sixteen intervals. ŷ is the vector that a code stands for,
   by the upper bits alone or by all eight.
3. The *residual* r = |y - ŷ| is stored, for the upper bits alone and for all eight.

What codes get wrong of a product with a query part p, whose own approximation is p̂: as
p·y - p̂·ŷ = p·(y - ŷ) + (p - p̂)·ŷ, the Cauchy-Schwarz inequality gives
|p·y - p̂·ŷ| ≤ |p| r + |p - p̂| |ŷ|. `scan` searches by this bound.

Rows whose products would leave float32's range get an infinite r, so that a search never excludes
them. Roundings while coding are added to r; `native/codes.c` counts them.
"""

from hashlib import shake_128

import numpy as np

from retrieval_store.base.arrays import Bytes, Floats, Ints, Matrix, Metric, Stored, as_float32
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.indexes.exact import SAFE_LENGTHS
from retrieval_store.indexes.native.library import (
    BLOCK,
    DATATYPES,
    ENCODING,
    FRAME,
    GATHERING,
    METRIC_NUMBERS,
    OF_ROW,
    PIECE,
    address,
    chunks_of,
    kernel,
    record,
    records,
)

ENCODED_AT_ONCE = 262_144  # numbers: a few milliseconds
CENTRE_SERVES = 1.1  # a shared frame may leave residual parts y longer by this factor
SAMPLE = 1_024  # rows by which that is judged


@dataclass(frozen=True, eq=False)
class Frame:
    """The transformation of rows before they are coded: centre and rotation. seed: of the rotation;
    centre: (dim,) float32, the mean of rows ("l2") or its direction ("cosine", "ip"); signs: (2,
    dim) float32, +1 and -1, of the rotation; record: the FRAME structure for compiled
    functions."""

    seed: int
    centre: Matrix
    metric: Metric
    signs: Matrix = field(init=False, repr=False)
    record: Bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A function that is the same everywhere; and numpy.random takes 15 ms to be imported.
        wanted = 2 * len(self.centre)
        drawn = shake_128(self.seed.to_bytes(8, "little")).digest(-(-wanted // 8))
        bits = np.unpackbits(np.frombuffer(drawn, np.uint8))[:wanted]
        signs = np.where(bits, np.float32(1), np.float32(-1)).reshape(2, -1)
        places = address(self.centre), address(signs)
        made = record(FRAME, *places, len(self.centre), METRIC_NUMBERS[self.metric])
        object.__setattr__(self, "signs", signs)
        object.__setattr__(self, "record", made)

    def same_as(self, other: "Frame") -> bool:
        """Whether a query transformed for one of them can be used with the other."""
        return self is other or (
            (self.seed, self.metric) == (other.seed, other.metric)
            and np.array_equal(self.centre, other.centre)
        )


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of `count` rows, in blocks of 32 (the layout stands in `native/kernel.h`).

    high: (blocks, chunks, 32, 4) uint8, the upper halves; low: (m, chunks, 4) uint8, the lower
    halves, of m = 32 * blocks rows; rows: (blocks, 4, 32) float32, of each row the scale, the
    residual r of the upper half alone, the exact part (t, or |y|² / 2 for "l2"), and |ŷ|; finer:
    (m,) float32, the residuals of both halves together. slots: (count,) int64, the slot of each
    row; None where the slots are consecutive.
    """

    count: int
    frame: Frame
    high: Bytes
    low: Bytes
    rows: Matrix
    finer: Matrix
    slots: Ints | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.high, self.low, self.rows, self.finer, self.slots)
        return sum(array.nbytes for array in arrays if array is not None)

    def as_piece(self, first: int, frame: int) -> tuple[int, ...]:
        """The fields of a PIECE structure, for rows whose first slot is `first`; frame: the frame's
        place among those of the search."""
        arrays = (self.high, self.low, self.rows, self.finer, self.slots)
        return (*map(address, arrays), first, self.count, frame)


def blocks_of(count: int) -> int:
    """The number of blocks that `count` rows take."""
    return -(-count // BLOCK)


def room_for(count: int, frame: Frame) -> Codes:
    """Codes of no rows yet, with room for `count` rows."""
    blocks, chunks = blocks_of(count), chunks_of(len(frame.centre))
    return Codes(
        0,
        frame,
        np.zeros((blocks, chunks, BLOCK, 4), np.uint8),
        np.zeros((blocks * BLOCK, chunks, 4), np.uint8),
        np.zeros((blocks, OF_ROW, BLOCK), np.float32),
        np.zeros(blocks * BLOCK, np.float32),
    )


def first_of(codes: Codes, count: int) -> Codes:
    """The codes of the first `count` rows, sharing memory."""
    return Codes(count, codes.frame, codes.high, codes.low, codes.rows, codes.finer)


def encode_into(into: Codes, at: int, rows: Stored) -> None:
    """Put codes of (n, dim) rows at the place `at`."""
    compiled = kernel()
    assert compiled is not None
    dimension = rows.shape[1]
    wide, room = np.empty(dimension), np.empty(dimension, np.float32)
    arrays = (into.high, into.low, into.rows, into.finer, wide, room)
    places = [address(array) for array in arrays]
    frame, datatype = address(into.frame.record), DATATYPES[rows.dtype.char]
    step = max(1, ENCODED_AT_ONCE // dimension)
    for start in range(0, len(rows), step):
        some = np.ascontiguousarray(rows[start : start + step])
        begin = (frame, address(some), len(some), datatype, at + start)
        compiled.encode(record(ENCODING, *begin, *places))


def gathered(pieces: list[tuple[Codes, Ints]], slots: Ints) -> Codes:
    """Codes of some rows of several pieces, all in one frame, copied together in this order.
    pieces: codes, and the places of the wanted rows in them; slots: those of all these rows."""
    compiled = kernel()
    assert compiled is not None
    into = room_for(len(slots), pieces[0][0].frame)
    source = records(PIECE, [codes.as_piece(0, 0) for codes, _ in pieces])
    numbers = np.arange(len(pieces), dtype=np.int64)
    piece_of = np.repeat(numbers, [len(places) for _, places in pieces])
    row_of = np.concatenate([places for _, places in pieces]).astype(np.int64, copy=False)
    slots = np.ascontiguousarray(slots, np.int64)
    arrays = (into.high, into.low, into.rows, into.finer)
    sizes = len(slots), into.high.shape[1]
    begin = (address(source), address(piece_of), address(row_of), *sizes)
    compiled.gather(record(GATHERING, *begin, *[address(array) for array in arrays]))
    return Codes(len(slots), into.frame, into.high, into.low, into.rows, into.finer, slots)


def best_frame(rows: Stored, metric: Metric, seed: int) -> Frame:
    """The frame whose centre is the mean of these rows (of a sample), or its direction."""
    sample = _sample(rows, metric)
    mean = sample.mean(axis=0) if len(sample) else np.zeros(rows.shape[1])
    if metric != "l2":
        length = float(np.linalg.norm(mean))
        mean = mean / length if length > 0 else mean
    if metric != "l2" and not np.any(mean):
        mean[0] = 1  # any direction will do
    return Frame(seed, np.ascontiguousarray(mean, np.float32), metric)


def serves(frame: Frame, best: Frame, rows: Stored) -> bool:
    """Whether a frame serves these rows nearly as well as the best: whether the median length of y
    is at most CENTRE_SERVES times as long."""
    sample = _sample(rows, frame.metric)
    return _left(sample, frame) <= CENTRE_SERVES * _left(sample, best)


def _sample(rows: Stored, metric: Metric) -> Floats:
    """A sample of the rows, scaled to length 1 for "cosine"."""
    some = as_float32(rows[:: max(1, len(rows) // SAMPLE)]).astype(np.float64)
    lengths = np.linalg.norm(some, axis=1)
    good = (lengths >= SAFE_LENGTHS[0]) & (lengths <= SAFE_LENGTHS[1])
    kept: Floats = some[good] / lengths[good, None] if metric == "cosine" else some[good]
    return kept


def _left(rows: Floats, frame: Frame) -> float:
    """The median length of the coded part, y."""
    centre = frame.centre.astype(np.float64)
    left = rows - centre if frame.metric == "l2" else rows - np.outer(rows @ centre, centre)
    return float(np.median(np.linalg.norm(left, axis=1))) if len(rows) else 0.0
