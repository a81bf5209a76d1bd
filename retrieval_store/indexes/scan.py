"""Which rows may be among the k nearest, proved by their codes.

The algorithm. A *score* grows as the distance falls. A pass over the upper halves of codes computes
for each row an approximate score s and a bound e of its error, so the true score lies in
[s - e, s + e]. The *floor* is the k-th largest lower bound s - e so far: at least k rows score that
much, so a row with s + e < floor is not among the k nearest. Rows that reach the floor are bounded
again by both halves of their codes, sixteen times as closely. The caller computes the distances of
the remaining rows, usually about fifteen, in float64.

Symbols (of rows: see `codes`): x a row, q the query ("cosine": both of length 1), c the centre, y
the coded part of x, ŷ what its code stands for, r ≥ |y - ŷ| the residual, t the share of c in x; p
the part of the query that is multiplied with y, p̂ what its digits stand for; u = 2⁻²⁴.

1. The score to be approximated, exactly:
   - "l2": p = q - c, and -|x - q|²/2 = p·y - |y|²/2 - |p|²/2, as x - q = y - p;
   - "cosine", "ip": p = q⊥, the query without its component along c, and q·x = t (q·c) + p·y.
2. p·y is approximated by p̂·ŷ. As p·y - p̂·ŷ = p·(y - ŷ) + (p - p̂)·ŷ, Cauchy-Schwarz gives
   |p·y - p̂·ŷ| ≤ |p| r + |p - p̂| |ŷ|.
3. With the roundings below, the bound that is computed for each row is
   e = by_residual · r + by_reach · |ŷ| + by_side · |side| + constant, where the *side* of a row is
   |y|²/2 for "l2" and t for the others.

The pass is compiled (`native/scan_body.h`; `rs_turn` in `native/codes.c` computes the four factors
for a query). The query is rotated as the rows were and becomes digits from -127 to 127, so p̂·ŷ is
a sum of integers, without rounding, times two scales. All other roundings are covered as follows;
numbers in parentheses count roundings, each of relative size u (in float64 2⁻⁵³, in `constant`):

- In r, from coding the row: t is exact, since y is what is left after t was rounded. Normalizing
  y / |y| in float32 (1), the rotation (68, counted in `native/codes.c`), the difference of numbers
  and what codes stand for (3), the scale times |y| (2): 74, for which 84 u (|y| + |ŷ|) are added;
  and (dim + 16) u of itself for the sum of squares.
- by_residual = |p|, plus 16 u of itself, for the product |p| r and for adding it up.
- by_reach = |p - p̂| + 12 u |p|: the integer product becomes float32 (1), is multiplied by two
  scales (2) and added up (4).
- by_side = 10 u |factor of the side|: for "cosine" and "ip" the factor is q·c. c·y isn't quite 0,
  but at most u |t| (2, to be safe); a product (1), added up (4). For "l2" the factor is -1, and
  |y|²/2 was rounded when stored (1).
- constant: float64's roundings, those of 1 - score, and numbers too small for float32.

When rows are bounded again by both halves, everything but r and c·y is float64.
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bytes, Matrix, Metric, Stored
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.indexes.codes import Codes, Frame
from retrieval_store.indexes.native.library import (
    CHUNK,
    DATATYPES,
    DISTANCES,
    METRIC_NUMBERS,
    PIECE,
    SCAN,
    SOUGHT,
    TURNED,
    WORD,
    address,
    kernel,
    records,
)
from retrieval_store.indexes.sought import NOTED_FACTOR, Candidates, Decided, Sought

CALL_BYTES = 4_194_304  # bytes of codes × queries that one call scans: some milliseconds at most
LOOSE = 1e-9  # slack of `within`; the caller compares exactly, in float64
NOTED = 4_000_000  # candidates that all queries of one pass may store together
Bits: TypeAlias = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Codes to be scanned together. frames: the distinct frames of these codes; records: PIECE
    structures for compiled functions, which point into the arrays of `codes`; count: of rows."""

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
    there would be more than `most`, as where codes can't tell rows apart. within: a distance (see
    `exact.nearest`) beyond which no row is wanted.

    queries: (q, dim) float32; lengths: of each query; none may be 0 for "cosine", nor unsafe (see
    `exact.is_safe_length`); allowed: a bit for each slot, 32 to a number, 1 for slots that may be
    found, None for all; not looked at for codes with `slots` of their own (`Codes.slots`).
    """
    found: list[Candidates] = []
    for _, sought in _passes(queries, lengths, pieces, (k, most, within), allowed):
        found += sought.candidates()
        sought.let_go()
    return found


def nearest_by_codes(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: Pieces,
    k: int,
    most: int,
    matrix: Stored,
    allowed: Bits | None = None,
    within: float | None = None,
) -> list[Decided | None]:
    """The same, decided by the distances of the candidates. matrix: (n, dim) the vectors, by
    slots."""
    found: list[Decided | None] = []
    for first, sought in _passes(queries, lengths, pieces, (k, most, within), allowed):
        for query in range(sought.queries):
            _decide(sought, query, queries[first + query], lengths[first + query], pieces, matrix)
            found.append(sought.decided(query))
        sought.let_go()
    return found


def _decide(
    sought: Sought, query: int, vector: Matrix, length: float, pieces: Pieces, matrix: Stored
) -> None:
    """Decide about what a pass has found for one query; nothing else in the room is used again."""
    compiled = kernel()
    assert compiled is not None
    at, dimension = sought.room_offset + DISTANCES.size, len(vector)
    sought.put_vector(at, vector)
    where = address(matrix), 0, sought.at + at, sought.at + at + 4 * dimension, 0
    what = len(matrix), 0, dimension, DATATYPES[matrix.dtype.char]
    metric = METRIC_NUMBERS[pieces.frames[0].metric]
    sought.put(DISTANCES, sought.room_offset, *where, *what, metric, length)
    compiled.decide(sought.room_at, sought.at + SOUGHT.size * query)


def _passes(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: Pieces,
    wanted: tuple[int, int, float | None],
    allowed: Bits | None,
) -> Iterator[tuple[int, Sought]]:
    """What passes have found that look for as many queries at once as there is room for, each with
    the place of its first query."""
    k, most, within = wanted
    step, floor = max(1, NOTED // (NOTED_FACTOR * most)), _floor(within, pieces.frames[0].metric)
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        own = np.ascontiguousarray(queries[some])
        yield start, _scan(own, lengths[some], pieces, (k, most, floor), allowed)


def _floor(within: float | None, metric: Metric) -> float:
    """The initial floor: the score at the distance `within`, less some slack; -inf without one."""
    if within is None:
        return -math.inf
    score = -within / 2 if metric == "l2" else 1 - within
    return score - LOOSE * max(1.0, abs(score))


def _scan(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: Pieces,
    wanted: tuple[int, int, float],
    allowed: Bits | None,
) -> Sought:
    """wanted: k, the largest number of candidates, and the initial floor."""
    compiled = kernel()
    assert compiled is not None
    (k, most, floor), (count, dimension) = wanted, queries.shape
    chunks = pieces.codes[0].high.shape[1]
    each = TURNED.size + CHUNK * chunks
    turned_size = len(pieces.frames) * count * TURNED.size
    room = DISTANCES.size + WORD * dimension + len(pieces.frames) * count * each
    sought = Sought.of(count, k, most, room, floor)
    scan, wide = sought.room_at, sought.room_at + SCAN.size
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
    return sought
