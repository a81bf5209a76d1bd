"""Which rows may be among the nearest, proved by their codes.

A pass over the upper halves of codes bounds each row's score from both sides (see `codes`); rows
whose upper bound reaches the floor are bounded by both halves at once, sixteen times as closely.
The floor is the least of the k largest lower bounds so far: a row whose upper bound lies below it
is not among the k nearest. What is left, some fifteen rows in the usual case, is decided in float64
by who asked.

The score is what grows as the distance falls: the cosine, the product, or minus half the squared
distance, all for one query p: for "l2" and the centre c, p = q - c and -|x - q|²/2 is y·p - |y|²/2
- |p|²/2; for the others it is t (q·c) + q⊥·y.

The pass is compiled (`native/scan_body.h`). A query is rotated as rows were and becomes digits from
-127 to 127, so that products are sums of integers, without any rounding. What else is rounded, in
units of float32's u = 2⁻²⁴ (float64's are 2⁻⁵³, and stand in `constant`), is a part of the bound:

- Of a row, in r: y is what is left once t is rounded, so t is exact. y / |y| in float32: 1; the
  rotation: 68 (`native/codes.c` counts them); numbers less what codes stand for: 3; the scale,
  times |y|: 2; with some to spare 84 u (|y| + |ŷ|). The sum of squares: (dim + 16) u of itself.
- |q| r: `by_residual`, with 16 u to spare for the product, and for adding it up.
- |q - q̂| |ŷ|, what the query's digits leave: `by_reach`. The score's product is an integer made a
  float32 (1), times two scales (2), and is added up (4): 12 u |q| |ŷ| are there for them.
- t (q·c), of which c·y, which isn't quite 0, is u |t| at most (2), a product (1), added up (4); and
  |y|²/2, rounded when it is stored (1): `by_side`, 10 u of each.
- What is lost of a score that is taken from 1, of float64, and of numbers too small for float32:
  `constant`.

In the second look all but r and c·y is float64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bytes, Matrix
from retrieval_store.base.metrics import Metric
from retrieval_store.indexes.codes import Codes, Frame
from retrieval_store.indexes.native.library import (
    CHUNK,
    PIECE,
    SCAN,
    TURNED,
    WORD,
    Kernel,
    address,
    kernel,
    records,
)
from retrieval_store.indexes.sought import NOTED_FACTOR, Candidates, Sought

CALL_BYTES = 4_194_304  # of codes that one call looks at, times queries: some milliseconds at most
LOOSE = 1e-9  # a distance that is given is compared in float64 by who asked
NOTED = 4_000_000  # rows that all queries of one pass may note together
Bits: TypeAlias = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Codes to be looked at together. frames: that they are in; records: PIECEs; count: of rows;
    codes: what the records point to."""

    codes: tuple[Codes, ...]
    frames: tuple[Frame, ...]
    records: Bytes
    count: int

    @classmethod
    def of(cls, codes: Sequence[Codes], firsts: Sequence[int]) -> "Pieces":
        """These codes; firsts: the slots of their first rows, multiples of 32."""
        frames = list({id(one.frame): one.frame for one in codes}.values())
        places = {id(frame): at for at, frame in enumerate(frames)}
        each = [
            one.as_piece(first, places[id(one.frame)])
            for one, first in zip(codes, firsts, strict=True)
        ]
        count = sum(one.count for one in codes)
        return cls(tuple(codes), tuple(frames), records(PIECE, each), count)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(one.nbytes for one in self.codes)


def candidates(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: Pieces,
    k: int,
    most: int,
    allowed: Bits | None = None,
    within: float | None = None,
) -> list[Candidates]:
    """For each query the slots of all rows that may be among its k nearest, in no order; None where
    there would be more than `most`, since its codes don't tell rows apart. within: a distance (see
    `exact.nearest`) beyond which none is wanted.

    queries: (q, dim) float32, and their lengths, of which none may be 0 for "cosine", nor unsafe
    (see `exact`); allowed: bits by slot, 32 to a number, 1 for those that may be found; None for
    all. Codes of rows from all over aren't asked for it.
    """
    compiled = kernel()
    assert compiled is not None
    found: list[Candidates] = []
    step, floor = max(1, NOTED // (NOTED_FACTOR * most)), _floor(within, pieces.frames[0].metric)
    for start in range(0, len(queries), step):
        some, wanted = slice(start, start + step), (k, most, floor)
        own = np.ascontiguousarray(queries[some])
        found += _scan(compiled, own, lengths[some], pieces, wanted, allowed)
    return found


def _floor(within: float | None, metric: Metric) -> float:
    """The least score that is looked for, given the largest distance."""
    if within is None:
        return -math.inf
    score = -within / 2 if metric == "l2" else 1 - within
    return score - LOOSE * max(1.0, abs(score))


def _scan(
    compiled: Kernel,
    queries: Matrix,
    lengths: Sequence[float],
    pieces: Pieces,
    wanted: tuple[int, int, float],
    allowed: Bits | None,
) -> list[Candidates]:
    """wanted: k, how many rows may be left, and the least score."""
    (k, most, floor), (count, dimension) = wanted, queries.shape
    chunks = pieces.codes[0].high.shape[1]
    each = TURNED.size + CHUNK * chunks
    turned_size = len(pieces.frames) * count * TURNED.size
    room = SCAN.size + WORD * dimension + len(pieces.frames) * count * each
    sought = Sought(count, k, most, room, floor)
    scan, wide = sought.room, sought.room + SCAN.size
    turned = wide + WORD * dimension
    digits, at_queries = turned + turned_size, address(queries)
    number = 0
    for frame in pieces.frames:
        at_frame = address(frame.record)
        for query in range(count):
            at_query = at_queries + queries.itemsize * dimension * query
            own = digits + CHUNK * chunks * number, turned + TURNED.size * number
            compiled.turn(at_query, lengths[query], at_frame, wide, *own)
            number += 1
    where = address(pieces.records), len(pieces.codes), turned, sought.at
    what = count, chunks, address(allowed), 0, 0, CALL_BYTES
    sought.put(SCAN, sought.room_offset, *where, *what)
    compiled.scan(scan)
    return sought.candidates()
