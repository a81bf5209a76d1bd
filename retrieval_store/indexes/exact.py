"""Finds the exact nearest neighbours of queries, by comparing the vectors themselves.

A first scan in float32 selects candidates; the distances of candidates are then computed in
float64. For a few queries the scan is a compiled function with its own error bounds
(`native/floats_body.h`). For many queries, and without the compiled part, it is a blocked matrix
product by numpy, whose error bounds are derived below.

Why bounds are needed: the product form of a squared distance, |x|² + |q|² - 2 x·q, loses most of
its digits in float32 if vectors are far from the origin. (If their mean is 1,000 times their
standard deviation, two thirds of the neighbours found are wrong.) So the rounding error is bounded,
and every row that may be among the k nearest within that bound becomes a candidate. In float64,
squared distances are computed from the differences.

Symbols: x is a row, q the query, n their dimension. fl(·) is the float32 result of a computation,
and u = 2⁻²⁴ is the unit roundoff. d is the exact value by which rows are ranked (less is nearer), a
its float32 approximation, and e a bound of the error, |a - d| ≤ e.

1. A dot product of n terms, in any order of summation: |fl(x·q) - x·q| ≤ γ |x| |q| with γ = n u /
   (1 - n u) (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 3.1). Here
   n + 8 replaces n, for the few operations besides the product.
2. So, by metric: - "ip": d = -x·q, e = γ |x| |q|; - "cosine": d = -x·q / (|x| |q|), e = γ; - "l2":
   d = |x|² - 2 x·q, e = γ (|x| + |q|)²; |q|² is left out, since all rows share it. The final
   distance of "cosine" is 1 + d, rounded in float64; γ also covers this rounding.
3. If all rows share one e (by the longest |x|): let A be the k-th least a. Those k rows have d ≤ A
   + e, so the k-th least d is at most A + e, and a row among the k nearest has a ≤ d + e ≤ A + 2e.
   All rows with a ≤ A + 2e are candidates (`_within_common`).
4. If each row has its own e: let L be the k-th least a + e. At least k rows have d ≤ L, so a row
   among the k nearest has a - e ≤ d ≤ L. All rows with a - e ≤ L are candidates
   (`_within_own_bounds`).
5. "l1": all terms of d = Σ|xᵢ - qᵢ| are positive, so the error is relative to d itself: |a - d| ≤ γ
   d. With A as above, the k-th least d is at most A / (1 - γ), so a row among the k nearest has a ≤
   (1 + γ) A / (1 - γ), which is less than (1 + 4 (n + 8) u) A.

`ScanBuffers` contains the arguments and results of queries in a scan of codes or vectors. All of
these are in one buffer, which later scans reuse: allocating and filling a dozen small arrays, and
getting their addresses, takes longer than scanning thousands of rows.

`dot_products` lets BLAS split only one float32 product at a time among threads. The threads of BLAS
wait for each other without releasing their cores. If several threads called BLAS at the same time,
or other processes kept the cores busy, these threads would block each other. A product would then
take ten to a hundred times as long.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

import numpy as np

from retrieval_store.base.arrays import (
    METRICS,
    Bytes,
    Floats,
    Ints,
    Matrix,
    Metric,
    Stored,
    as_float32,
    hit_distances,
)
from retrieval_store.base.locks import Lock
from retrieval_store.base.platform import at_fork
from retrieval_store.indexes.native import (
    DATATYPES,
    DISTANCES,
    FLOAT_SCAN,
    METRIC_NUMBERS,
    SOUGHT,
    WORD,
    address,
    kernel,
    record,
)

# The buffer has room for this many times the permitted number of candidates, because the best may
# come last.
NOTED_FACTOR = 8
# Candidates that a good scan leaves: for each hit, and at least in total.
CANDIDATES_PER_HIT, MIN_CANDIDATES = 4, 64
# With more candidates per hit than this, each row gets its own error bound.
MANY_CANDIDATES_PER_HIT = 8
Candidates = Ints | None
# ScanBuffers of up to MAX_POOLED_BYTES are pooled: at most POOLED_PER_SHAPE of each shape, for at
# most MAX_SHAPES shapes.
MAX_POOLED_BYTES = 1_048_576
POOLED_PER_SHAPE, MAX_SHAPES = 4, 8
# The pool, by shape. A scan takes a buffer out and puts it back: each is a single step, so that
# threads, and signal handlers that search too, don't share one.
_pool: "dict[tuple[float, ...], list[ScanBuffers]]" = {}


class Nearest(NamedTuple):
    """The rows found for one query, nearest first, with distances in float64. chosen: how many of
    these rows are the result, which consists of the k nearest and of rows that tie with the k-th.
    The other rows were only candidates. tied: whether some rows of the result may be at equal
    distances; rows at equal distances are in no particular order. looked: the numbers of rows whose
    signs, upper bits and distances a search by signs has compared."""

    slots: Ints
    distances: Floats
    chosen: int
    tied: bool
    looked: tuple[int, int, int] = (0, 0, 0)

    def share_of(self, true: "Nearest", k: int) -> float:
        """The share of the k nearest rows of `true` (which must not be empty) that this result
        contains. Rows that tie with the k-th count, too."""
        k = min(k, true.chosen)
        near = self.distances[: self.chosen] <= true.distances[k - 1]
        return min(k, int(np.count_nonzero(near))) / k


def nearest_of(slots: Ints, distances: Floats, k: int) -> Nearest:
    """The k nearest of these slots, and slots that tie with the k-th. distances: the distances of
    all slots."""
    if 0 < k < len(slots):
        chosen = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1])
        slots, distances = slots[chosen], distances[chosen]
    order = np.argsort(distances)
    return Nearest(slots[order], distances[order], len(order), tied=True)


def max_candidates(count: int, share: int, k: int) -> int:
    """The maximum number of candidates that a scan of `count` rows may leave: `count / share`, or
    if that is less, the number that a good scan leaves for k hits."""
    return max(count // share, CANDIDATES_PER_HIT * k + MIN_CANDIDATES)


class _QueryStruct(NamedTuple):
    """The fields of the C struct SOUGHT: the arguments of a query and its results so far
    (`native/layout.h`)."""

    floor: float
    best: int  # the address of an array, as are slots and uppers
    k: int
    held: int
    slots: int
    uppers: int
    found: int
    capacity: int
    most: int
    left: int
    hard: int = 0
    chosen: int = 0
    tied: int = 0
    passed: int = 0
    refined: int = 0
    measured: int = 0


class ScanBuffers:
    """The C structs (SOUGHT) of some queries, followed by scratch space for a scan.

    queries: the number of queries. k: how many nearest rows each query wants. most: a query with
    more candidates than this counts as hard. room: the size of the scratch space in bytes. floor:
    the least score wanted. at: the address of the first struct. room_at: the address of the scratch
    space. room_offset: the offset of the scratch space in the buffer.
    """

    def __init__(self, queries: int, k: int, most: int, room: int, floor: float) -> None:
        self.queries, self._most, self._capacity = queries, most, NOTED_FACTOR * most + 1
        self._size = queries, k, most, room, floor
        row = WORD * (2 * self._capacity + k)
        heads = SOUGHT.size * queries
        self.room_offset = heads + queries * row
        self.buffer: Bytes = np.empty(self.room_offset + room, np.uint8)
        self.at = address(self.buffer)
        self.room_at = self.at + self.room_offset
        self._memory = self.buffer.data
        for query in range(queries):
            slots = heads + query * row
            uppers = slots + WORD * self._capacity
            best = uppers + WORD * self._capacity
            sought = _QueryStruct(
                floor,
                best=self.at + best,
                k=k,
                held=0,
                slots=self.at + slots,
                uppers=self.at + uppers,
                found=0,
                capacity=self._capacity,
                most=most * (NOTED_FACTOR - 1),
                left=most,
            )
            self.put(SOUGHT, SOUGHT.size * query, *sought)
        self._heads = bytes(self._memory[:heads])

    @classmethod
    def of(
        cls, queries: int, k: int, most: int, room: int = 0, floor: float = -np.inf
    ) -> "ScanBuffers":
        """Buffers of these sizes without results. They are taken from the pool if possible. For the
        arguments, see the class."""
        try:
            kept = _pool[queries, k, most, room, floor].pop()
        except (KeyError, IndexError):
            return cls(queries, k, most, room, floor)
        kept._memory[: len(kept._heads)] = kept._heads
        return kept

    def put(self, kind: Struct, offset: int, *values: float) -> None:
        """Write a structure with these field values into the buffer, at this offset."""
        kind.pack_into(self._memory, offset, *values)

    def put_vector(self, offset: int, vector: Matrix) -> None:
        """Write the numbers of a float32 vector into the buffer, at this offset."""
        self._memory[offset : offset + vector.nbytes] = vector.tobytes()

    def give_back(self) -> None:
        """Return the buffer to the pool for later scans. This object must not be used after
        that."""
        if len(self.buffer) > MAX_POOLED_BYTES:
            return
        if self._size not in _pool and len(_pool) >= MAX_SHAPES:
            _pool.clear()
        alike = _pool.setdefault(self._size, [])
        if len(alike) < POOLED_PER_SHAPE:
            alike.append(self)

    def candidates(self) -> list[Candidates]:
        """For each query, the slots of rows that may be among the nearest, in no particular order;
        None for hard queries."""
        return [self._candidates_of(query) for query in range(self.queries)]

    def _candidates_of(self, query: int) -> Candidates:
        sought = self._sought(query)
        if sought.hard:
            return None
        at_slots, at_uppers, size = self._arrays(sought)
        uppers: Floats = self.buffer[at_uppers : at_uppers + size].view(np.float64)
        slots: Ints = self.buffer[at_slots : at_slots + size].view(np.int64)
        kept: Ints = slots[~(uppers < sought.floor)]
        return kept if len(kept) <= self._most else None

    def result_of(self, query: int) -> Nearest | None:
        """The result of a query; None for a hard query."""
        sought = self._sought(query)
        if sought.hard:
            return None
        at_slots, at_uppers, size = self._arrays(sought)
        return Nearest(
            np.frombuffer(bytes(self._memory[at_slots : at_slots + size]), np.int64),
            np.frombuffer(bytes(self._memory[at_uppers : at_uppers + size]), np.float64),
            sought.chosen,
            sought.tied != 0,
            (sought.passed, sought.refined, sought.measured),
        )

    def _sought(self, query: int) -> _QueryStruct:
        return _QueryStruct._make(SOUGHT.unpack_from(self._memory, SOUGHT.size * query))

    def _arrays(self, sought: _QueryStruct) -> tuple[int, int, int]:
        """The offsets in the buffer at which the arrays `slots` and `uppers` begin, and the size of
        each array in bytes."""
        return sought.slots - self.at, sought.uppers - self.at, WORD * sought.found


BY_PRODUCTS = METRICS[:3]  # metrics computed from dot products, which codes and indexes require
UNIT_ROUNDOFF = 2.0**-24
# For lengths between these, no square or product over- or underflows in float32.
SAFE_LENGTHS = (1e-12, 1e12)
PRODUCT_CELLS = 4_000_000  # numbers of one block of products: 16 MB
FLOAT64_CELLS = 500_000  # numbers of one block in float64: 4 MB
# Numbers that are copied together, so that they fit into the processor's cache: 256 KB.
GATHERED_CELLS = 65_536
# For this many queries or more, a matrix product is faster than a scan for each query.
MANY_QUERIES = 8
# Numbers that one call of the compiled function scans in a millisecond or two.
CALL_NUMBERS = 2_097_152
MAX_SHARE = 8  # at most one row in this many can be a candidate
# Cost of copying rows together and multiplying them, relative to multiplying all rows in place.
GATHER_FACTOR = 1.5


@dataclass(frozen=True, slots=True)
class Norms:
    """The Euclidean lengths of the rows of a matrix.

    lengths: (n,) float64. safe: whether the products of all rows stay within float32's range, to
    judge by these lengths. longest: the largest length.
    """

    lengths: Floats
    safe: bool
    longest: float

    def squares_of(self, rows: Ints | slice) -> Matrix:
        """The squared lengths of some rows."""
        lengths = self.lengths[rows]
        return (lengths * lengths).astype(np.float32)

    def inverse(self, rows: Ints | slice) -> Matrix:
        """1 divided by the length of each of these rows, 0 for rows of length 0."""
        lengths = self.lengths[rows]
        inverse: Floats = np.divide(1.0, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
        return inverse.astype(np.float32)


def length_of(vector: Matrix) -> float:
    """The length of a (dim,) vector, computed in float64."""
    compiled = kernel()
    if compiled is not None:
        return compiled.length(np.ascontiguousarray(vector, np.float32))
    wide = vector.astype(np.float64)
    return math.sqrt(wide @ wide)


def is_safe_length(length: float) -> bool:
    """Whether products of a vector of this length with vectors of usual lengths stay within
    float32's range."""
    return SAFE_LENGTHS[0] <= length <= SAFE_LENGTHS[1] or length == 0


def norms_of(rows: Stored) -> Norms:
    """The norms of (n, dim) rows, computed in float64."""
    lengths = np.empty(len(rows), np.float64)
    for start, stop in _blocks(len(rows), rows.shape[1], FLOAT64_CELLS):
        block = as_float32(rows[start:stop]).astype(np.float64)
        lengths[start:stop] = np.sqrt(np.einsum("ij,ij->i", block, block))
    safe = ((lengths >= SAFE_LENGTHS[0]) & (lengths <= SAFE_LENGTHS[1])) | (lengths == 0)
    return Norms(lengths, bool(safe.all()), float(lengths.max(initial=0.0)))


def nearest(
    queries: Matrix,
    matrix: Stored,
    norms: Callable[[], Norms],
    metric: Metric,
    k: int,
    slots: Ints | None,
) -> list[Nearest]:
    """For each query, the k nearest rows of `matrix`, and all rows that tie with the k-th.

    queries: (q, dim) float32. matrix: (n, dim). norms: a function that returns the norms of the
    matrix's rows; it is called only if needed. slots: the rows that can be found, None for all
    rows. Distances: squared for "l2", the sum of absolute differences for "l1", -dot for "ip", 1 -
    cos for "cosine" (1 if a vector is zero).
    """
    compiled = kernel()
    if compiled is not None and (metric == "l1" or len(queries) < MANY_QUERIES):
        one_pass = FloatPass(matrix, metric, k, slots)
        return [one_pass.nearest(query, matrix) for query in queries]
    lengths = [length_of(query) for query in queries]
    if metric == "l1":
        return [*_nearest_by_differences(queries, lengths, matrix, norms(), k, slots)]
    return [*_nearest_by_products(queries, lengths, matrix, norms(), metric, k, slots)]


class FloatPass:
    """A compiled scan of the same rows for any number of queries, one query at a time, in any
    number of threads. The arguments are the same as those of `nearest`. The object keeps no
    reference to the matrix."""

    def __init__(self, matrix: Stored, metric: Metric, k: int, slots: Ints | None) -> None:
        self._metric, self.k = metric, k
        self._slots = _in_one_piece(slots)
        count, dimension = (len(matrix) if slots is None else len(slots)), matrix.shape[1]
        self._selects = 0 < k < count
        self._most = min(count, max_candidates(count, MAX_SHARE, k))
        self._wide = 4 * dimension + 4 * (dimension % 2)  # in complete words
        self._at_slots = address(self._slots)
        kinds = DATATYPES[matrix.dtype.char], METRIC_NUMBERS[metric]
        self._scan_fields = len(matrix), count, dimension, *kinds, 0, CALL_NUMBERS, 0.0

    def nearest(self, query: Matrix, matrix: Stored) -> Nearest:
        """The k nearest rows, and all rows that tie with the k-th. matrix: the matrix for which
        this object was created; its memory may have been mapped at another address since then."""
        hits = self._by_pass(query, matrix) if self._selects else None
        if hits is None:
            length = length_of(query)
            return _closest(query, length, matrix, self._slots, self._metric, self.k)
        return hits

    def _by_pass(self, query: Matrix, matrix: Stored) -> Nearest | None:
        """The result of a compiled scan. None if errors can't be bounded, or if more than one row
        in MAX_SHARE would be a candidate, so that the scan saves too little."""
        compiled = kernel()
        assert compiled is not None
        buffers = ScanBuffers.of(1, self.k, self._most, FLOAT_SCAN.size + 2 * self._wide)
        offset = buffers.room_offset + FLOAT_SCAN.size
        buffers.put_vector(offset, query)
        query_address = buffers.at + offset
        addresses = (
            address(matrix),
            self._at_slots,
            query_address,
            query_address + self._wide,
            buffers.at,
        )
        buffers.put(FLOAT_SCAN, buffers.room_offset, *addresses, *self._scan_fields)
        hits = buffers.result_of(0) if compiled.scan_floats(buffers.room_at) else None
        buffers.give_back()
        return hits


def _nearest_by_products(
    queries: Matrix,
    lengths: Sequence[float],
    matrix: Stored,
    norms: Norms,
    metric: Metric,
    k: int,
    slots: Ints | None,
) -> Iterator[Nearest]:
    allowed = len(matrix) if slots is None else len(slots)
    step = max(1, PRODUCT_CELLS // max(1, len(matrix)))
    for start in range(0, len(queries), step):
        group = queries[start : start + step]
        products = _products(group, matrix, slots) if norms.safe and k < allowed else None
        for i, query in enumerate(group):
            length = lengths[start + i]
            candidates = slots
            if products is not None and is_safe_length(length):
                candidates = _candidates(
                    products[i], norms, slots, length, metric, k, matrix.shape[1]
                )
            yield _closest(query, length, matrix, candidates, metric, k)


def _nearest_by_differences(
    queries: Matrix,
    lengths: Sequence[float],
    matrix: Stored,
    norms: Norms,
    k: int,
    slots: Ints | None,
) -> Iterator[Nearest]:
    all_slots = np.arange(len(matrix)) if slots is None else slots
    units = (matrix.shape[1] + 8) * UNIT_ROUNDOFF
    for query, length in zip(queries, lengths, strict=True):
        candidates = all_slots
        if norms.safe and is_safe_length(length) and k < len(all_slots):
            sums = _differences(query, matrix, slots)
            least = float(np.partition(sums, k - 1)[k - 1])
            # Step 5 of the module's docstring.
            candidates = all_slots[sums <= least * (1 + 4 * units)]
        yield _closest(query, length, matrix, candidates, "l1", k)


def _differences(query: Matrix, matrix: Stored, slots: Ints | None) -> Matrix:
    """The sums of absolute differences between the query and the rows `slots` (None: all rows):
    (m,) float32."""
    sums = np.empty(len(matrix) if slots is None else len(slots), np.float32)
    for start, stop in _blocks(len(sums), matrix.shape[1], GATHERED_CELLS):
        block = slice(start, stop) if slots is None else slots[start:stop]
        differences = as_float32(matrix[block]) - query
        np.abs(differences, out=differences)
        differences.sum(axis=1, out=sums[start:stop])
    return sums


def exact_distances(
    query: Matrix, length: float, matrix: Stored, slots: Ints | None, metric: Metric
) -> Floats:
    """The distances from `query`, (dim,) float32, to the rows `slots` of `matrix` (None: all rows):
    (m,) float64. length: the length of the query.

    Equal rows have equal distances at any position, because each row is summed separately.
    """
    distances = np.empty(len(matrix) if slots is None else len(slots), np.float64)
    compiled = kernel()
    if compiled is None:
        _measure(query, length, matrix, slots, metric, distances)
        return distances
    query = np.ascontiguousarray(query)
    slots, room = _in_one_piece(slots), np.empty(len(query), np.float32)
    addresses = map(address, (matrix, slots, query, room, distances))
    sizes = len(matrix), len(distances), len(query)
    fields = *sizes, DATATYPES[matrix.dtype.char], METRIC_NUMBERS[metric]
    compiled.distances(record(DISTANCES, *addresses, *fields, length))
    return distances


def distances_from(query: Matrix, rows: Stored, metric: Metric) -> Floats:
    """The distances from a vector, (dim,) float32, to the rows of a matrix: (m,) float64. The
    distances are in the form that hits contain: squared for "l2", 1 - dot for "ip", 1 - cos for
    "cosine". Equal rows have equal distances."""
    return hit_distances(exact_distances(query, length_of(query), rows, None, metric), metric)


def _in_one_piece(slots: Ints | None) -> Ints | None:
    return None if slots is None else np.ascontiguousarray(slots, np.int64)


def _measure(
    query: Matrix,
    length: float,
    matrix: Stored,
    slots: Ints | None,
    metric: Metric,
    distances: Floats,
) -> None:
    wide = query.astype(np.float64)
    for start, stop in _blocks(len(distances), matrix.shape[1], FLOAT64_CELLS):
        block = matrix[start:stop] if slots is None else matrix[slots[start:stop]]
        rows = as_float32(block).astype(np.float64)
        if metric in ("l2", "l1"):
            rows -= wide
            differences = rows * rows if metric == "l2" else np.abs(rows)
            distances[start:stop] = differences.sum(axis=1)
        else:
            dots = (rows * wide).sum(axis=1)
            if metric == "cosine":
                dots = _cosines(dots, np.sqrt(np.einsum("ij,ij->i", rows, rows)) * length)
            distances[start:stop] = 1.0 - dots if metric == "cosine" else -dots


def _closest(
    query: Matrix, length: float, matrix: Stored, slots: Ints | None, metric: Metric, k: int
) -> Nearest:
    """The k nearest of the rows `slots` (None: of all rows)."""
    distances = exact_distances(query, length, matrix, slots, metric)
    return nearest_of(np.arange(len(matrix)) if slots is None else slots, distances, k)


def _products(queries: Matrix, matrix: Stored, slots: Ints | None) -> Matrix:
    """The dot products of the queries and the rows `slots`: (q, m) float32. The cheaper of two
    methods is used."""
    if slots is not None and len(slots) * GATHER_FACTOR <= len(matrix):
        return _products_of_slots(queries, matrix, slots)
    products = _products_of_all(queries, matrix)
    return products if slots is None else products[:, slots]


def _products_of_all(queries: Matrix, matrix: Stored) -> Matrix:

    products = np.empty((len(queries), len(matrix)), np.float32)
    if matrix.dtype == np.float32:
        dot_products(queries, as_float32(matrix), products)
        return products
    wide = np.empty((_at_once(matrix), matrix.shape[1]), np.float32)
    for start, stop in _blocks(len(matrix), matrix.shape[1], GATHERED_CELLS):
        rows = as_float32(matrix[start:stop], wide)
        dot_products(queries, rows, products[:, start:stop])
    return products


def _products_of_slots(queries: Matrix, matrix: Stored, slots: Ints) -> Matrix:

    products = np.empty((len(queries), len(slots)), np.float32)
    wide = np.empty((_at_once(matrix), matrix.shape[1]), np.float32)
    gathered = np.empty(wide.shape, matrix.dtype)
    for start, stop in _blocks(len(slots), matrix.shape[1], GATHERED_CELLS):
        rows: Stored = gathered[: stop - start]
        # Without a mode, `take` uses a further buffer.
        np.take(matrix, slots[start:stop], axis=0, out=rows, mode="clip")
        dot_products(queries, as_float32(rows, wide), products[:, start:stop])
    return products


def _at_once(matrix: Stored) -> int:
    """How many rows are copied or converted at the same time."""
    return min(len(matrix), max(1, GATHERED_CELLS // int(matrix.shape[1])))


def _candidates(
    products: Matrix,
    norms: Norms,
    slots: Ints | None,
    length: float,
    metric: Metric,
    k: int,
    dimension: int,
) -> Ints:
    """The slots that may be among the k nearest, in view of the bounds of float32's rounding
    errors. products: the dot products of one query vector with the rows `slots`; length: the
    Euclidean norm of the query vector."""
    units = (dimension + 8) * UNIT_ROUNDOFF  # n + 8 in the module's docstring
    gamma = units / (1 - units)
    chosen = slice(None) if slots is None else slots
    if metric == "cosine":
        scale = -1.0 / length if length else 0.0
        approximate = products * (norms.inverse(chosen) * np.float32(scale))
        places = _within_common(approximate, gamma, k)
    else:
        squared = metric == "l2"  # |q|² is left out, since all rows share it
        approximate = norms.squares_of(chosen) - (products + products) if squared else -products
        common = gamma * _scale(norms.longest, length, metric)
        places = _within_common(approximate, common, k)
        if len(places) > MANY_CANDIDATES_PER_HIT * k + MIN_CANDIDATES:
            # A few long rows make the common bound loose, so each row gets its own bound.
            errors = gamma * _scale(norms.lengths[chosen], length, metric)
            places = _within_own_bounds(approximate, errors, k)
    return places if slots is None else slots[places]


def _scale(lengths: Floats | float, length: float, metric: Metric) -> Floats | float:
    """The factor of γ in the error bound: |x||q| for "ip", (|x| + |q|)² for "l2"."""
    return lengths * length if metric == "ip" else (lengths + length) ** 2


def _within_common(approximate: Matrix, error: Floats | float, k: int) -> Ints:
    limit = float(np.partition(approximate, k - 1)[k - 1]) + 2 * error
    return np.flatnonzero(approximate <= np.nextafter(np.float32(limit), np.float32(np.inf)))


def _within_own_bounds(approximate: Matrix, errors: Floats | float, k: int) -> Ints:
    limit = np.partition(approximate + errors, k - 1)[k - 1]
    return np.flatnonzero(approximate - errors <= limit)


def _cosines(dots: Floats, scale: Floats) -> Floats:
    if scale.min(initial=1.0) > 0:
        cosines = dots / scale
    else:
        cosines = np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
    return np.minimum(np.maximum(cosines, -1.0), 1.0)  # np.clip takes twice as long


def _blocks(rows: int, columns: int, cells: int) -> Iterator[tuple[int, int]]:
    step = max(1, cells // max(1, columns))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


# OpenBLAS splits products with a vector among threads if they have 9,216 numbers or more.
UNSPLIT_CELLS = 9_000

# OpenBLAS splits products of matrices from UNSPLIT_PRODUCTS multiplications on; parts of more than
# PART_CELLS numbers exceed the cache.
UNSPLIT_PRODUCTS, PART_CELLS = 262_144, 32_768


class _Turn:
    """Holds the lock that a thread must hold while BLAS splits its product among threads."""

    def __init__(self) -> None:
        self.lock = Lock()

    def forget_after_fork(self) -> None:
        """Called in a forked child: replace the lock, because no thread of the child holds it."""
        self.lock = Lock()


_turn = _Turn()
at_fork(after_in_child=_turn.forget_after_fork)


def dot_products(queries: Matrix, rows: Matrix, out: Matrix) -> None:
    """Write the products of (q, dim) queries and (n, dim) rows to `out`, (q, n)."""
    if len(queries) == 1:
        _unsplit(queries[0], rows, out[0])
        return
    with _turn.lock:
        np.matmul(queries, rows.T, out=out)


def _unsplit(query: Matrix, rows: Matrix, out: Matrix) -> None:
    """Write the products of one query and the rows to `out`. They are computed in parts too small
    for BLAS to split among threads. A single thread is nearly as fast as several here, because
    memory is the bottleneck."""
    dimension = max(1, rows.shape[1])
    part = max(1, UNSPLIT_CELLS // dimension)
    parts = len(rows) // part
    cut = parts * part
    np.matmul(rows[:cut].reshape(parts, part, dimension), query, out=out[:cut].reshape(parts, part))
    np.matmul(rows[cut:], query, out=out[cut:])


def products_of_few(queries: Matrix, rows: Matrix) -> Matrix:
    """The products of (n, dim) rows and a few queries: (n, q). They are computed in parts too small
    for BLAS to split among threads, so the rows are read once for all queries."""
    dimension = max(1, rows.shape[1])
    part = max(1, min(PART_CELLS, UNSPLIT_PRODUCTS // max(1, len(queries))) // dimension)
    parts = len(rows) // part
    cut, columns = parts * part, np.ascontiguousarray(queries.T)
    products = np.empty((len(rows), len(queries)), np.float32)
    together = products[:cut].reshape(parts, part, len(queries))
    np.matmul(rows[:cut].reshape(parts, part, rows.shape[1]), columns, out=together)
    np.matmul(rows[cut:], columns, out=products[cut:])
    return products
