"""Quantized codes of vectors. With them, a search proves which rows may be among the k nearest.

A code (`Codes`) has eight bits for each number of a vector, stored in two halves of four bits. With
a code, two bounds of the quantization error are stored: for the upper halves alone, and for both
halves. `candidates` searches by codes.

The coded part of a row x depends on the metric: the row itself ("ip", "l2"), or the row scaled to
length 1 ("cosine"). One part of the row is stored exactly, and only the rest, y, is coded:

- "l2": y = x - c, where the centre c is the mean of many rows. Shifting all vectors by c changes no
  distance.
- "cosine", "ip": y = x - t c, where c is the direction of the mean, |c| = 1, and t = x·c is stored
  with the row. For a query q, q·x = t (q·c) + q⊥·y, where q⊥ = q - (q·c) c. Otherwise codes of
  vectors far from the origin would mostly describe the mean that all vectors share. The error
  bound, which grows with the length of the query's part, would then be loose.

The steps of coding:

1. y is rotated, by Hadamard matrices with random signs (see `native/codes.c`). The rotation changes
   no product, and makes the numbers of a row similar in size. A few large numbers, or many equal
   numbers, would give bad codes.
2. Each number is rounded to one of 256 steps from -8 to 8, times a scale of the row. Its upper four
   bits alone represent the middle of one of sixteen intervals. ŷ is the decoded vector, either from
   the upper bits alone or from all eight.
3. The *residual* r = |y - ŷ| is stored, for the upper bits alone and for all eight.

A row also has *signs*: one bit for each number of the rotated y, which says whether the number is
above 0. Let s be the vector of these signs, +1 and -1. Then p·y (see below) is about f p·s, with
the factor f = |y|² / y·s, which is stored with the row. After a random rotation this estimate is
unbiased (RaBitQ, arXiv 2405.12497). The resulting score has a standard error of about 0.6 f |p|
(`ERROR_OF_SIGNS`). A scan by signs assumes that a score is too low by at most a number of standard
errors (`SearchGoal.errors`). Rows whose scores don't reach the floor even then are excluded; the
others are bounded by their codes. That isn't a proof: rarely, a score has a larger error, and then
a neighbour is missed. The recall for a number of errors can only be measured.

Rows whose products would leave float32's range get an infinite r, so that a search never excludes
them. Rounding errors of the coding are added to r; `native/codes.c` counts them.

A search ranks rows by a *score*, which grows as the distance falls. A scan of the upper halves of
codes computes for each row an approximate score s and a bound e of its error, so the true score
lies in [s - e, s + e]. The *floor* is the k-th largest lower bound s - e so far. At least k rows
have a score of at least the floor, so a row with s + e < floor is not among the k nearest. Rows
that reach the floor are bounded again by both halves of their codes, sixteen times as closely. The
caller computes the distances of the remaining rows, usually about fifteen, in float64.

Symbols: x is a row, q the query (for "cosine" both have length 1), c the centre, y the coded part
of x, ŷ its decoded code, r ≥ |y - ŷ| the residual, t the share of c in x. p is the part of the
query that is multiplied with y, and p̂ the value of its digits. u = 2⁻²⁴ is the unit roundoff.

1. The exact score, which is to be approximated: - "l2": p = q - c, and -|x - q|²/2 = p·y - |y|²/2 -
   |p|²/2, as x - q = y - p; - "cosine", "ip": p = q⊥, the query without its component along c, and
   q·x = t (q·c) + p·y.
2. p·y is approximated by p̂·ŷ. As p·y - p̂·ŷ = p·(y - ŷ) + (p - p̂)·ŷ, Cauchy-Schwarz gives |p·y -
   p̂·ŷ| ≤ |p| r + |p - p̂| |ŷ|, a bound of the error that codes make in the product.
3. With the rounding errors below, the bound that is computed for each row is e = by_residual · r +
   by_reach · |ŷ| + by_side · |side| + constant, where the *side* of a row is |y|²/2 for "l2" and t
   for the others.

The scan is compiled (`native/scan_body.h`; `rs_turn` in `native/codes.c` computes the four factors
for a query). The query is rotated like the rows, and converted to digits from -127 to 127. So p̂·ŷ
is a sum of integers, without rounding, times two scales. All other roundings are covered as
follows. Numbers in parentheses count roundings, each of relative size u (in the constant, which is
computed in float64, 2⁻⁵³):

- r covers the roundings of coding the row. t is exact, since y is the rest after t was rounded. The
  roundings are: normalizing y / |y| in float32 (1), the rotation (68, counted in `native/codes.c`),
  the difference of numbers and decoded codes (3), the scale times |y| (2). For these 74 roundings
  84 u (|y| + |ŷ|) are added to r, and (dim + 16) u r for the sum of squares.
- by_residual = |p|, plus 16 u |p| for the product |p| r and for adding it up.
- by_reach = |p - p̂| + 12 u |p|: the integer product is converted to float32 (1), multiplied by two
  scales (2) and added up (4).
- by_side = 10 u |factor of the side|: for "cosine" and "ip" the factor is q·c. c·y isn't quite 0,
  but at most u |t| (counted as 2, to be safe); there is a product (1), which is added up (4). For
  "l2" the factor is -1, and |y|²/2 was rounded when stored (1).
- constant: float64's roundings, those of 1 - score for "cosine", and numbers too small for float32.

When rows are bounded again by both halves, everything but r and c·y is float64.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import shake_128
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import (
    Bools,
    Bytes,
    Floats,
    Ints,
    Matrix,
    Metric,
    Stored,
    as_float32,
    similarity_of,
)
from retrieval_store.base.locks import Lock
from retrieval_store.base.platform import at_fork
from retrieval_store.base.system import usable_cores
from retrieval_store.indexes.exact import (
    NOTED_FACTOR,
    SAFE_LENGTHS,
    Candidates,
    Nearest,
    ScanBuffers,
    nearest_of,
)
from retrieval_store.indexes.native import (
    BLOCK,
    CACHED_BYTES,
    CODE_SEARCH,
    DATATYPES,
    DIGITS,
    DISTANCES,
    ENCODING,
    FRAME,
    GATHERING,
    METRIC_NUMBERS,
    OF_ROW,
    OF_SIGNS,
    PIECE,
    SCAN,
    SEARCH,
    SOUGHT,
    TABLE_BYTES,
    TURNED,
    WORD,
    RowFilter,
    address,
    chunks_of,
    groups_of,
    kernel,
    record,
    records,
    signs_bytes,
    tile_rows,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")
ENCODED_AT_ONCE = 262_144  # numbers that are coded in one call: a few milliseconds
ERROR_OF_SIGNS = 0.6  # as in `native/codes.c`
CENTRE_SERVES = 1.1  # with a shared frame, residual parts y can be longer by this factor
SAMPLE = 1_024  # rows from which that is estimated


@dataclass(frozen=True, eq=False)
class Frame:
    """The transformation of rows before they are coded: centre and rotation. seed: the seed of the
    rotation. centre: (dim,) float32, the mean of rows ("l2") or its direction ("cosine", "ip").
    flips: (2, dim) float32, the signs +1 and -1 of the rotation. record: the FRAME structure for
    compiled functions."""

    seed: int
    centre: Matrix
    metric: Metric
    flips: Matrix = field(init=False, repr=False)
    record: Bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Not numpy.random, whose import takes 15 ms; this function gives the same result
        # everywhere.
        bit_count = 2 * len(self.centre)
        drawn = shake_128(self.seed.to_bytes(8, "little")).digest(-(-bit_count // 8))
        bits = np.unpackbits(np.frombuffer(drawn, np.uint8))[:bit_count]
        flips = np.where(bits, np.float32(1), np.float32(-1)).reshape(2, -1)
        places = address(self.centre), address(flips)
        frame_record = record(FRAME, *places, len(self.centre), METRIC_NUMBERS[self.metric])
        object.__setattr__(self, "flips", flips)
        object.__setattr__(self, "record", frame_record)

    def same_as(self, other: "Frame") -> bool:
        """Whether a query transformed for this frame can also be used with the other frame."""
        return self is other or (
            (self.seed, self.metric) == (other.seed, other.metric)
            and np.array_equal(self.centre, other.centre)
        )


def rotate(rows: Floats, frame: Frame) -> Floats:
    """Rotate (n, dim) rows like the rows of a frame before they are coded, without the compiled
    part."""
    dimension = rows.shape[1]
    longest = 1 << (dimension.bit_length() - 1)
    for flips in frame.flips.astype(np.float64):
        rows = rows * flips
        rows[:, :longest] = _by_hadamard(rows[:, :longest])
        if longest < dimension:
            rows[:, -longest:] = _by_hadamard(rows[:, -longest:])
    return rows


def _by_hadamard(rows: Floats) -> Floats:
    """Multiply rows by Hadamard's matrix, divided by the root of its size. The size is split into
    factors, and one multiplication is made for each factor. Each multiplication takes the last axis
    and makes it the first axis. The product of each row is separate, and so small that BLAS uses no
    threads."""
    count, size = rows.shape
    remaining = size
    while remaining > 1:
        factor = min(remaining, LARGEST_FACTOR)
        turned = rows.reshape(count, -1, factor) @ _hadamard(factor)
        rows = turned.transpose(0, 2, 1).reshape(count, size)
        remaining //= factor
    scaled: Floats = rows / size**0.5
    return scaled


LARGEST_FACTOR = 16  # larger factors need more multiplications


@cache
def _hadamard(size: int) -> Floats:
    """Sylvester's Hadamard matrix of this size, which must be a power of two."""
    if size == 1:
        return np.ones((1, 1))
    half = _hadamard(size // 2)
    return np.block([[half, half], [half, -half]])


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of `count` rows, in blocks of 32 (the layout is in `native/layout.h`).

    high: (blocks, 32 / t, chunks, t, 4) uint8, the upper halves, t rows together
    (`native.tile_rows`). low: (m, chunks, 4) uint8, the lower halves, where m = 32 * blocks. rows:
    (m, 4) float32, four numbers for each row: the scale, the residual r of the upper half alone,
    the exact part (t, or |y|² / 2 for "l2"), and |ŷ|. finer: (m,) float32, the residuals of both
    halves together. signs: (blocks, bytes) uint8, the signs of the 32 rows of each block together
    (`native.signs_bytes`). slots: (count,) int64, the slot of each row; None if the slots are
    consecutive.
    """

    count: int
    frame: Frame
    high: Bytes
    low: Bytes
    rows: Matrix
    finer: Matrix
    signs: Bytes
    slots: Ints | None = None

    @property
    def nbytes(self) -> int:
        """The total size of all arrays in bytes."""
        arrays = (self.high, self.low, self.rows, self.finer, self.signs, self.slots)
        return sum(array.nbytes for array in arrays if array is not None)

    def as_piece(self, first: int, frame: int) -> tuple[int, ...]:
        """The fields of a PIECE structure for these rows. first: the slot of the first row. frame:
        the position of the codes' frame among the frames of the search."""
        arrays = (self.high, self.low, self.rows, self.finer, self.signs, self.slots)
        return (*map(address, arrays), first, self.count, frame)


def blocks_of(count: int) -> int:
    """The number of blocks that `count` rows take."""
    return -(-count // BLOCK)


def allocate_codes(count: int, frame: Frame) -> Codes:
    """Empty codes with room for `count` rows."""
    blocks, dimension = blocks_of(count), len(frame.centre)
    chunks, tile = chunks_of(dimension), tile_rows(dimension)
    return Codes(
        0,
        frame,
        np.zeros((blocks, BLOCK // tile, chunks, tile, 4), np.uint8),
        np.zeros((blocks * BLOCK, chunks, 4), np.uint8),
        np.zeros((blocks * BLOCK, OF_ROW), np.float32),
        np.zeros(blocks * BLOCK, np.float32),
        np.zeros((blocks, signs_bytes(dimension)), np.uint8),
    )


def first_of(codes: Codes, count: int) -> Codes:
    """The codes of the first `count` rows. They share memory with the original."""
    return replace(codes, count=count)


def encode_into(target: Codes, place: int, rows: Stored) -> None:
    """Compute the codes of (n, dim) rows, and store them in `target` from the position `place`
    on."""
    compiled = kernel()
    assert compiled is not None
    dimension = rows.shape[1]
    wide, room = np.empty(dimension), np.empty(dimension, np.float32)
    arrays = (target.high, target.low, target.rows, target.finer, target.signs, wide, room)
    places = [address(array) for array in arrays]
    frame, datatype = address(target.frame.record), DATATYPES[rows.dtype.char]
    step = max(1, ENCODED_AT_ONCE // dimension)
    for start in range(0, len(rows), step):
        piece = np.ascontiguousarray(rows[start : start + step])
        begin = (frame, address(piece), len(piece), datatype, place + start)
        compiled.encode(record(ENCODING, *begin, *places))


def gather_codes(pieces: list[tuple[Codes, Ints]], slots: Ints) -> Codes:
    """Copy the codes of some rows into one block, in this order. All codes must have the same
    frame. pieces: pairs of codes, and the positions of the wanted rows in these codes. slots: the
    slots of all wanted rows."""
    compiled = kernel()
    assert compiled is not None
    target = allocate_codes(len(slots), pieces[0][0].frame)
    source = records(PIECE, [codes.as_piece(0, 0) for codes, _ in pieces])
    numbers = np.arange(len(pieces), dtype=np.int64)
    piece_of = np.repeat(numbers, [len(places) for _, places in pieces])
    row_of = np.concatenate([places for _, places in pieces]).astype(np.int64, copy=False)
    slots = np.ascontiguousarray(slots, np.int64)
    arrays = (target.high, target.low, target.rows, target.finer, target.signs)
    sizes = len(slots), target.high.shape[2]
    begin = (address(source), address(piece_of), address(row_of), *sizes)
    compiled.gather(record(GATHERING, *begin, *[address(array) for array in arrays]))
    return replace(target, count=len(slots), slots=slots)


def factors_and_sides(codes: Codes, blocks: slice) -> tuple[Matrix, Matrix]:
    """The factors of the signs of the rows in some blocks, and the copies of the rows' sides that
    are stored with the signs: (n,) float32 each. The copy is NaN for rows without a valid bound."""
    floats = codes.signs[blocks, -OF_SIGNS * BLOCK * 4 :]
    factors_and_sides = np.ascontiguousarray(floats).view("<f4").reshape(-1, OF_SIGNS, BLOCK)
    return factors_and_sides[:, 0].reshape(-1), factors_and_sides[:, 1].reshape(-1)


def signs_of(codes: Codes, rows: Ints) -> Bools:
    """Whether the numbers of these rotated rows are above 0: (n, dim) bool."""
    pairs = codes.signs[rows // BLOCK, : -OF_SIGNS * BLOCK * 4].reshape(len(rows), -1, BLOCK)
    packed = np.take_along_axis(pairs, (rows % BLOCK)[:, None, None], axis=2)[:, :, 0]
    signs = np.unpackbits(packed, axis=1, count=len(codes.frame.centre), bitorder="little")
    return signs.view(np.bool_)


def signs_at(codes: Codes, number: int) -> Bools:
    """Whether one component of each rotated row is above 0: (n,) bool. number: the index of the
    component."""
    first = number // 8 * BLOCK
    packed = codes.signs[:, first : first + BLOCK].reshape(-1)[: codes.count]
    return (packed >> (number % 8) & 1).view(np.bool_)


class TurnedQuery(NamedTuple):
    """A query transformed by a frame. own: (dim,), the rotated part that is multiplied with the
    coded parts of rows. by_side, offset: see `native/layout.h`."""

    own: Floats
    by_side: float
    offset: float


def turn_query(query: Matrix, frame: Frame) -> TurnedQuery:
    """Transform a query by a frame, with numpy. query: (dim,), of safe length."""
    wide, centre = query.astype(np.float64), frame.centre.astype(np.float64)
    if frame.metric == "l2":
        centred = wide - centre
        return TurnedQuery(rotate(centred[None], frame)[0], -1.0, -float(centred @ centred) / 2)
    if frame.metric == "cosine":
        wide = wide / np.linalg.norm(wide)
    by_side = float(wide @ centre)
    centred = wide - by_side / float(centre @ centre) * centre
    return TurnedQuery(rotate(centred[None], frame)[0], by_side, 0.0)


def estimates(codes: Codes, rows: Ints, query: TurnedQuery) -> tuple[Floats, Floats]:
    """The scores of these rows, estimated from their signs, and their standard errors: (n,) each.
    Except for roundings, the results equal those of a compiled scan. query: a query, transformed by
    the frame of these codes."""
    factors, sides = factors_and_sides(codes, slice(None))
    products = np.where(signs_of(codes, rows), query.own, -query.own).sum(axis=1)
    scores = query.offset + query.by_side * sides[rows] + factors[rows] * products
    errors: Floats = factors[rows] * np.float64(ERROR_OF_SIGNS * np.linalg.norm(query.own))
    return scores, errors


def best_frame(rows: Stored, metric: Metric, seed: int) -> Frame:
    """The best frame for these rows: its centre is the mean of (a sample of) the rows, or the
    direction of the mean."""
    sample = _sample(rows, metric)
    mean = sample.mean(axis=0) if len(sample) else np.zeros(rows.shape[1])
    if metric != "l2":
        length = float(np.linalg.norm(mean))
        mean = mean / length if length > 0 else mean
    if metric != "l2" and not np.any(mean):
        mean[0] = 1  # any direction is suitable
    return Frame(seed, np.ascontiguousarray(mean, np.float32), metric)


def serves(frame: Frame, best: Frame, rows: Stored) -> bool:
    """Whether `frame` suits these rows nearly as well as the frame `best`. The median length of
    their coded part y with `frame` must be at most CENTRE_SERVES times the median length with
    `best`."""
    sample = _sample(rows, frame.metric)
    return _median_length(sample, frame) <= CENTRE_SERVES * _median_length(sample, best)


def _sample(rows: Stored, metric: Metric) -> Floats:
    """A sample of the rows, scaled to length 1 for "cosine"."""
    sample = as_float32(rows[:: max(1, len(rows) // SAMPLE)]).astype(np.float64)
    lengths = np.linalg.norm(sample, axis=1)
    good = (lengths >= SAFE_LENGTHS[0]) & (lengths <= SAFE_LENGTHS[1])
    kept: Floats = sample[good] / lengths[good, None] if metric == "cosine" else sample[good]
    return kept


def _median_length(rows: Floats, frame: Frame) -> float:
    """The median length of the coded part y of these rows."""
    centre = frame.centre.astype(np.float64)
    residuals = rows - centre if frame.metric == "l2" else rows - np.outer(rows @ centre, centre)
    return float(np.median(np.linalg.norm(residuals, axis=1))) if len(rows) else 0.0


TOGETHER = 4  # queries whose products are computed together
CALL_BYTES = 16_777_216  # bytes of codes × queries that one call scans: a few milliseconds at most
LOOSE = 1e-9  # slack for `within`; the caller compares exactly, in float64
NOTED = 4_000_000  # candidates that all queries of one scan can store together
# A scan by signs over this number of rows is split into parts of at least this number.
SPLIT_ROWS, PART_ROWS, MOST_PARTS = 500_000, 131_072, 4
MOST_PARTS_OF_PROOFS = 8  # parts of a scan without signs, which compares more
# Rows × queries from which on a search is split: a few milliseconds.
SPLIT_WORK, QUERIES_A_PART = 4_000_000, 8
# Cores for each part: other work needs some, and two parts on one core gain nothing.
CORES_A_PART = 2
SAMPLED, SAMPLED_OF_MANY, FEW_ROWS = 8, 64, 131_072  # one block in this many is scanned first
Bits: TypeAlias = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class CodeSegments:
    """Codes to be scanned together. frames: the distinct frames of these codes. frame_records: the
    addresses of the frames' records. records: PIECE structures for compiled functions, which point
    into the arrays of `codes`. count: the number of rows. firsts: the slot of the first row of each
    of `codes`. splits: the cached results of `split`, by number."""

    codes: tuple[Codes, ...]
    frames: tuple[Frame, ...]
    frame_records: Ints
    records: Bytes
    count: int
    firsts: tuple[int, ...]
    splits: dict[int, "tuple[CodeSegments, ...]"] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, codes: Sequence[Codes], firsts: Sequence[int]) -> "CodeSegments":
        """Combine these codes into segments to be scanned together. firsts: the slots of their
        first rows, multiples of 32."""
        frames = list({id(segment.frame): segment.frame for segment in codes}.values())
        places = {id(frame): place for place, frame in enumerate(frames)}
        piece_records = [
            segment.as_piece(first, places[id(segment.frame)])
            for segment, first in zip(codes, firsts, strict=True)
        ]
        count = sum(segment.count for segment in codes)
        frame_addresses = np.array([address(frame.record) for frame in frames], np.int64)
        piece_structures = records(PIECE, piece_records)
        return cls(
            tuple(codes), tuple(frames), frame_addresses, piece_structures, count, tuple(firsts)
        )

    def split(self, number: int) -> "tuple[CodeSegments, ...]":
        """The same codes in at most `number` parts of about equal size."""
        pieces = self.splits.get(number)
        if pieces is None:
            runs = _runs_of(len(self.codes), number)
            parts = tuple(CodeSegments.of(self.codes[run], self.firsts[run]) for run in runs)
            pieces = self.splits.setdefault(number, parts)
        return pieces

    @property
    def nbytes(self) -> int:
        """The total size of all arrays in bytes."""
        return sum(segment.nbytes for segment in self.codes)


def _runs_of(count: int, number: int) -> list[slice]:
    """Divide `count` items into at most `number` ranges of about equal size, none empty."""
    edges = [round(i * count / number) for i in range(number + 1)]
    return [slice(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]


def scores_of(distances: Floats, metric: Metric) -> Floats:
    """Convert distances to scores as this module defines scores."""
    return -distances / 2 if metric == "l2" else similarity_of(distances, metric)


class SearchGoal(NamedTuple):
    """The aim of a search: the k nearest rows.

    most: a query with more candidates is abandoned, because then codes can't distinguish the rows.
    allowed: a bit for each slot, packed into 32-bit words, 1 for slots that can be hits; or a
    filter that is tested for rows that may be near; None if all slots can be hits. `allowed` isn't
    used for codes with their own `slots` (`Codes.slots`). within: the greatest distance of a hit
    (see `exact.nearest`). errors: the number of standard errors by which scores from signs may be
    wrong for true neighbours, None if only proven bounds of scores are used.
    """

    k: int
    most: int
    allowed: Bits | RowFilter | None = None
    within: float | None = None
    errors: float | None = None

    @property
    def filters(self) -> tuple[int, int]:
        """The values of the fields `allowed` and `filter` of a SCAN structure."""
        if isinstance(self.allowed, RowFilter):
            return 0, address(self.allowed.record)
        return address(self.allowed), 0

    def floor(self, metric: Metric) -> float:
        """The initial floor: the score at the distance `within`, less some slack; -inf if `within`
        is None."""
        if self.within is None:
            return -math.inf
        score = float(scores_of(np.array(self.within), metric))
        return score - LOOSE * max(1.0, abs(score))

    def by_signs(self, rows: int, pieces: CodeSegments) -> tuple[int, int, int, float]:
        """The values of the last fields of a SCAN structure. rows: the address of the first
        DISTANCES structure of the search."""
        if self.errors is None:
            return 0, 1, 0, 0.0
        stride = SAMPLED if pieces.count <= FEW_ROWS else SAMPLED_OF_MANY
        return rows, stride, 1, self.errors


def candidates(
    queries: Matrix, lengths: Sequence[float], pieces: CodeSegments, goal: SearchGoal
) -> list[Candidates]:
    """For each query, the slots of all rows that may be among its k nearest, in no particular
    order. None if there would be more than `most`.

    queries: (q, dim) float32. lengths: the length of each query. Lengths must be safe (see
    `exact.is_safe_length`), and for "cosine" they must not be 0.
    """
    slots_by_query: list[Candidates] = []
    for _, buffers in _passes(queries, lengths, pieces, goal._replace(errors=None), None):
        slots_by_query += buffers.candidates()
        buffers.give_back()
    return slots_by_query


def nearest_by_codes(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: CodeSegments,
    goal: SearchGoal,
    matrix: Stored,
    may_split: bool = True,
) -> list[Nearest | None]:
    """For each query, its nearest rows, found by codes and then by the distances of the candidates.
    None if there would be more than `most` candidates. Many queries are divided among several of
    the processor's cores, unless another split scan is running. matrix: (n, dim), the vectors by
    slots."""
    number = min(len(queries) // QUERIES_A_PART, usable_cores(), MOST_PARTS)
    much = len(queries) * pieces.count >= SPLIT_WORK
    if not (may_split and much and number > 1) or _helpers.lock.locked():
        return _nearest_by_codes(queries, lengths, pieces, goal, matrix, 1)
    parts = [
        partial(_nearest_by_codes, queries[run], lengths[run], pieces, goal, matrix, number)
        for run in _runs_of(len(queries), number)
    ]
    with _helpers.lock:
        return [hits for hits_of_part in _helpers.call_all(parts) for hits in hits_of_part]


def _nearest_by_codes(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: CodeSegments,
    goal: SearchGoal,
    matrix: Stored,
    sharing: int,
) -> list[Nearest | None]:
    """Like `nearest_by_codes`, but computed in this thread alone. sharing: how many threads share
    the room for candidates."""
    hits_by_query: list[Nearest | None] = []
    for first, buffers in _passes(queries, lengths, pieces, goal, matrix, sharing):
        for query in range(buffers.queries):
            _decide(buffers, query, queries[first + query], lengths[first + query], pieces, matrix)
            hits_by_query.append(buffers.result_of(query))
        buffers.give_back()
    return hits_by_query


class CodePass:
    """Finds the nearest rows by codes, for one query at a time in any number of threads, each by a
    single compiled call. If there are many rows, several calls scan parts of them at the same time
    on several cores, unless another split scan is running. The result is the same, but may have
    more candidates, because the threshold of a part is lower than the threshold of all rows. The
    object keeps no reference to the matrix."""

    def __init__(
        self, pieces: CodeSegments, goal: SearchGoal, matrix: Stored, may_split: bool = True
    ) -> None:
        number, by_signs = 0, goal.errors is not None
        if may_split and pieces.count >= SPLIT_ROWS:
            most = MOST_PARTS if by_signs else MOST_PARTS_OF_PROOFS
            number = min(most, pieces.count // PART_ROWS, usable_cores() // CORES_A_PART)
        split = pieces.split(number) if number > 1 else ()
        self._split = [CodePass(part, goal, matrix, may_split=False) for part in split]
        self.k, self._pieces, self._goal = goal.k, pieces, goal
        dimension, chunks = matrix.shape[1], pieces.codes[0].high.shape[2]
        metric, frames = pieces.frames[0].metric, len(pieces.frames)
        self._floor = goal.floor(metric)
        # Size of the float32 query, in complete words.
        self._wide = 4 * dimension + 4 * (dimension % 2)
        tables = TABLE_BYTES * groups_of(dimension) * frames * by_signs
        parts = TURNED.size * frames, DIGITS * chunks * frames, tables
        self._room = CODE_SEARCH.size + 2 * self._wide + WORD * dimension + sum(parts)
        self._codes = address(pieces.records), len(pieces.codes)
        self._frames = address(pieces.frame_records), frames
        self._chunks, self._parts = chunks, parts
        kinds = DATATYPES[matrix.dtype.char], METRIC_NUMBERS[metric]
        self._row_fields = len(matrix), 0, dimension, *kinds, 0.0

    def nearest(self, query: Matrix, matrix: Stored) -> Nearest | None:
        """The k nearest rows, and all rows that tie with the k-th. None if there would be too many
        candidates, or if errors can't be bounded for the length of the query. matrix: the matrix
        for which this object was created; its memory may have been mapped at another address since
        then."""
        if not self._split or _helpers.lock.locked():
            return self._nearest(query, matrix)
        with _helpers.lock:
            hits_of_parts = _helpers.call_all(
                [partial(part._nearest, query, matrix) for part in self._split]
            )
        found = [hits for hits in hits_of_parts if hits is not None]
        return _nearest_of_all(found, self.k) if len(found) == len(hits_of_parts) else None

    def _nearest(self, query: Matrix, matrix: Stored) -> Nearest | None:
        compiled = kernel()
        assert compiled is not None
        buffers = ScanBuffers.of(1, self.k, self._goal.most, self._room, self._floor)
        room, at = buffers.room_at, buffers.at
        buffers.put_vector(buffers.room_offset + CODE_SEARCH.size, query)
        vector = room + CODE_SEARCH.size
        widened = vector + self._wide
        wide = widened + self._wide
        turned = wide + WORD * query.size
        digits = turned + self._parts[0]
        tables = digits + self._parts[1] if self._parts[2] else 0
        scan, distances = room + SEARCH.size, room + SEARCH.size + SCAN.size
        buffers.put(
            CODE_SEARCH, buffers.room_offset,
            # `Search` of layout.h
            vector, *self._frames, wide, turned, digits, tables, scan, distances, 0,
            # `Scan`
            *self._codes, turned, at, 1, self._chunks, *self._goal.filters, 0, 0, CALL_BYTES,
            *self._goal.by_signs(distances, self._pieces), 0,
            # `Distances`
            address(matrix), 0, vector, widened, 0, *self._row_fields,
        )  # fmt: skip
        hits = buffers.result_of(0) if compiled.search(room) else None
        buffers.give_back()
        return hits


def _nearest_of_all(hits_of_parts: Sequence[Nearest], k: int) -> Nearest:
    """Merge the results of several parts of a scan. After the nearest rows, the result lists the
    other rows whose distances were computed, because the caller must verify these, too."""
    slots = np.concatenate([hits.slots for hits in hits_of_parts])
    distances = np.concatenate([hits.distances for hits in hits_of_parts])
    signs, codes, measured = np.transpose([hits.looked for hits in hits_of_parts]).tolist()
    best = nearest_of(slots, distances, k)
    rest = ~np.isin(slots, best.slots)
    return Nearest(
        np.append(best.slots, slots[rest]),
        np.append(best.distances, distances[rest]),
        best.chosen,
        best.tied,
        (sum(signs), sum(codes), sum(measured)),
    )


class _Helpers:
    """The threads that scan parts of split scans. lock: held while a scan is split."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._pool: Executor | None = None

    def call_all(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Make all calls, and return their results. This thread makes the first call."""
        if self._pool is None:
            from retrieval_store.base.workers import WorkerPool

            self._pool = WorkerPool(MOST_PARTS_OF_PROOFS - 1, "retrieval-store-passes")
        pending = [self._pool.submit(call) for call in calls[1:]]
        return [calls[0](), *(made.result() for made in pending)]

    def forget_after_fork(self) -> None:
        """Called in a forked child, which doesn't have these threads: drop them, and replace the
        lock."""
        self.lock, self._pool = Lock(), None


_helpers = _Helpers()
at_fork(after_in_child=_helpers.forget_after_fork)


def _distances(
    matrix: Stored, metric: Metric, query: int, widened: int, length: float
) -> tuple[float, ...]:
    """The fields of a DISTANCES structure. query: the address of the query; widened: the address of
    space for the query in float64."""
    datatype = DATATYPES[matrix.dtype.char]
    addresses = address(matrix), 0, query, widened, 0
    sizes = len(matrix), 0, matrix.shape[1], datatype
    return (*addresses, *sizes, METRIC_NUMBERS[metric], length)


def _decide(
    buffers: ScanBuffers,
    query: int,
    vector: Matrix,
    length: float,
    pieces: CodeSegments,
    matrix: Stored,
) -> None:
    """Compute the exact distances of a scan's candidates for one query, and select the nearest. The
    scan must be finished, because this reuses its scratch space."""
    compiled = kernel()
    assert compiled is not None
    at = buffers.room_offset + DISTANCES.size
    buffers.put_vector(at, vector)
    of_query = buffers.at + at, buffers.at + at + 4 * len(vector), length
    fields = _distances(matrix, pieces.frames[0].metric, *of_query)
    buffers.put(DISTANCES, buffers.room_offset, *fields)
    compiled.decide(buffers.room_at, buffers.at + SOUGHT.size * query)


def _passes(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: CodeSegments,
    goal: SearchGoal,
    matrix: Stored | None,
    sharing: int = 1,
) -> Iterator[tuple[int, ScanBuffers]]:
    """Yield the results of scans, each with the index of its first query. A scan covers as many
    queries as its buffer for candidates allows. matrix: the vectors, if the scan should also
    compute distances. sharing: the number of threads that share the buffer."""
    step = max(1, NOTED // (NOTED_FACTOR * goal.most * sharing))
    for start in range(0, len(queries), step):
        span = slice(start, start + step)
        group = np.ascontiguousarray(queries[span])
        yield start, _scan(group, lengths[span], pieces, goal, matrix)


def _scan(
    queries: Matrix,
    lengths: Sequence[float],
    pieces: CodeSegments,
    goal: SearchGoal,
    matrix: Stored | None,
) -> ScanBuffers:
    compiled = kernel()
    assert compiled is not None
    (count, dimension), metric = queries.shape, pieces.frames[0].metric
    chunks, turned_count = pieces.codes[0].high.shape[2], len(pieces.frames) * count
    by_signs = matrix is not None and goal.errors is not None
    digits, table = DIGITS * chunks, TABLE_BYTES * groups_of(dimension) * by_signs
    measured = DISTANCES.size * count
    room = max(SCAN.size, DISTANCES.size) + measured + 2 * WORD * dimension
    room += turned_count * (TURNED.size + digits + table)
    blocks = CACHED_BYTES + BLOCK * 4 * chunks if count >= TOGETHER and not by_signs else 0
    room += blocks
    buffers = ScanBuffers.of(count, goal.k, goal.most, room, goal.floor(metric))
    scan = buffers.room_at
    rows = scan + max(SCAN.size, DISTANCES.size)
    widened = rows + measured
    wide = widened + WORD * dimension
    turned = wide + WORD * dimension
    at_digits, at_queries = turned + TURNED.size * turned_count, address(queries)
    at_tables = at_digits + digits * turned_count
    for number in range(turned_count):
        frame, query = pieces.frames[number // count], number % count
        at_query = at_queries + queries.itemsize * dimension * query
        own_table = at_tables + table * number if by_signs else 0
        turn_addresses = at_digits + digits * number, own_table, turned + TURNED.size * number
        compiled.turn(at_query, lengths[query], address(frame.record), wide, *turn_addresses)
    if matrix is not None and by_signs:
        for query in range(count):
            at_query = at_queries + queries.itemsize * dimension * query
            fields = _distances(matrix, metric, at_query, widened, lengths[query])
            buffers.put(DISTANCES, rows - buffers.at + DISTANCES.size * query, *fields)
    addresses = address(pieces.records), len(pieces.codes), turned, buffers.at
    counts = count, chunks, *goal.filters, 0, 0, CALL_BYTES
    at_blocks = at_tables + table * turned_count if blocks else 0
    buffers.put(
        SCAN, buffers.room_offset, *addresses, *counts, *goal.by_signs(rows, pieces), at_blocks
    )
    compiled.scan(scan)
    return buffers
