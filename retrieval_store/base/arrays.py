"""Array types, the few array operations that numpy lacks, and the metrics and fusions by name.

`CowArray` is a copy-on-write array of numbers. Appending numbers, or changing some, makes a new
version, which shares memory with the old one. A version consists of a long shared array, and a
short *patch*: positions whose numbers differ. So changing a number costs the same for any length. A
version gets an array of its own only when its patch becomes long.

The metrics are distances between vectors. Searches compute and rank by *distances* where "ip" is
-dot: in 1 - dot, products of small vectors would lose their digits. `similarity_of` and
`server_scores_of` convert these distances to scores, `hit_distances` converts them to the distances
of hits.
"""

import mmap
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float32]  # (n, dim) vectors
Halves: TypeAlias = npt.NDArray[np.float16]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Stored: TypeAlias = Matrix | Halves | Bytes  # vectors in the form in which a space stores them
Datatype: TypeAlias = Literal["float32", "float16", "uint8"]  # the type of their numbers
Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]  # such as places of points, or counts
Unsigned: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
Bools: TypeAlias = npt.NDArray[np.bool_]
Indices: TypeAlias = npt.NDArray[np.uint32]
Ints32: TypeAlias = npt.NDArray[np.int32]
AnyArray = TypeVar("AnyArray", bound=npt.NDArray[Any])
DATATYPES: tuple[Datatype, ...] = get_args(Datatype)
FLOAT16_MAX = 65_504.0  # the largest finite number of float16
# The float32 number that represents float16's infinity, see `as_float32`.
FLOAT16_INFINITY = 65_536.0
UINT8_MAX = 255
_HALF_SHIFT = 13  # bits of a float32's fraction that float16 lacks
# The bits of a float32 that float16 has: all except three bits of the exponent.
_HALF_BITS = np.int32(-0x70002000)
_HALF_SCALE = np.float32(2.0**112)  # exponents of float16 begin at -15, those of float32 at -127


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """A vector that is 0 except at some indices. indices: (n,) uint32, ascending, without
    repetitions; values: (n,) float32."""

    indices: Indices
    values: Matrix


def bits_of(flags: Bools) -> Bytes:
    """The flags as bits, packed 8 to a byte, the lowest bit first."""
    return np.packbits(flags, bitorder="little")


def words_of(flags: Bools, words: int) -> npt.NDArray[np.uint32]:
    """The flags as bits, packed into `words` 32-bit words. The bits after the last flag are 0."""
    bits = np.zeros(words, "<u4")
    packed = bits_of(flags)
    bits.view(np.uint8)[: len(packed)] = packed
    return bits


def bits_at(bits: Bytes, places: Ints) -> Bools:
    """The bits at these positions, in an array of the same shape as `places`."""
    bit_values: Bools = (bits[places >> 3] >> (places & 7).astype(np.uint8) & 1).view(np.bool_)
    return bit_values


def in_range(numbers: Unsigned, start: int, stop: int) -> Bools:
    """Which of the numbers are at least `start` and below `stop`. The unsigned subtraction makes
    numbers below `start` very large."""
    within: Bools
    if stop - start == 1:
        within = numbers == start
    else:
        within = (numbers - start if start else numbers) < stop - start
    return within


def as_float16(rows: Matrix) -> Halves:
    """The numbers, rounded to float16. They must not exceed FLOAT16_MAX, except FLOAT16_INFINITY,
    which represents all larger numbers."""
    with np.errstate(under="ignore", over="ignore"):
        return rows.astype(np.float16)


def as_bytes(rows: Matrix) -> Bytes:
    """The numbers, truncated to integers and clipped to the range of a byte."""
    return rows.clip(0, UINT8_MAX).astype(np.uint8)


def as_float32(rows: Stored, into: Matrix | None = None) -> Matrix:
    """The same numbers in float32. float32 numbers are returned unchanged. Numbers of other types
    are converted, into the start of `into` if it isn't None.

    numpy converts float16 number by number, which takes four times as long as the multiplication
    here. Shifted by 13 bits, the bits of a float16 are those of a float32 that is 2¹¹² times
    smaller, denormals included. Infinities become FLOAT16_INFINITY, so that searches never see
    infinite numbers.
    """
    if rows.dtype == np.float32:
        return cast(Matrix, rows)
    wide = np.empty(rows.shape, np.float32) if into is None else into[: len(rows)]
    if rows.dtype == np.uint8:
        wide[...] = rows
        return wide
    bits = wide.view(np.int32)
    bits[...] = rows.view(np.int16)
    bits <<= _HALF_SHIFT
    bits &= _HALF_BITS
    wide *= _HALF_SCALE
    return wide


def append(prefix: AnyArray, tail: AnyArray) -> AnyArray:
    """The array `prefix` followed by `tail`, in amortised O(len(tail)).

    If `prefix` is a view from the start of a larger buffer, `tail` is written into that buffer;
    earlier views of it don't change. That is correct only for a single line of versions: append
    only to the newest version, one thread at a time.
    """
    if not len(tail):
        return prefix
    size = len(prefix) + len(tail)
    buffer = prefix.base
    if not _has_room(buffer, prefix, size):
        buffer = np.empty(max(64, size + size // 2), prefix.dtype)
        buffer[: len(prefix)] = prefix
    buffer[len(prefix) : size] = tail  # type: ignore[index]
    return buffer[:size]  # type: ignore[return-value, index]


def _has_room(buffer: Any, prefix: npt.NDArray[Any], size: int) -> bool:
    return (
        isinstance(buffer, np.ndarray)
        and buffer.flags.writeable
        and buffer.dtype == prefix.dtype
        and len(buffer) >= size
        and buffer.__array_interface__["data"] == prefix.__array_interface__["data"]
    )


def plain_scalar(value: Any) -> Any:
    """A numpy number or bool as Python's own type. Any other value, such as a time span or a long
    double, is returned unchanged."""
    if isinstance(value, np.bool_ | np.integer | np.floating) and not isinstance(
        value, np.timedelta64 | np.longdouble
    ):
        return value.item()
    return value


def distinct(numbers: AnyArray) -> AnyArray:
    """The distinct numbers, ascending. Since numpy 2.3, np.unique uses a hash table, which takes up
    to 200 times as long if the numbers are already sorted."""
    ordered = np.sort(numbers, kind="stable")
    new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]  # type: ignore[return-value]


def union(numbers: Ints, others: Ints) -> Ints:
    """The numbers that are in either array, ascending, without repetitions. The result equals that
    of np.union1d, but is computed by `distinct`."""
    return distinct(np.concatenate([numbers, others]))


def ranges(starts: Ints, stops: Ints) -> Ints:
    """The ranges from each start to its stop, concatenated. Equals np.concatenate([np.arange(a, b)
    for a, b in zip(starts, stops)]), without the loop."""
    lengths = stops - starts
    total = int(lengths.sum())
    offsets = np.repeat(stops - np.cumsum(lengths), lengths)
    return offsets + np.arange(total)


def stable_order(numbers: npt.NDArray[np.integer[Any]]) -> Ints:
    """The same as np.argsort(numbers, kind="stable") for integers that aren't negative. It is
    several times faster, because numpy sorts 16-bit integers by radix and larger integers by
    comparing."""
    greatest = int(numbers.max(initial=0))
    order = np.argsort((numbers & 0xFFFF).astype(np.uint16), kind="stable")
    for shift in range(16, greatest.bit_length(), 16):
        digits = ((numbers >> shift) & 0xFFFF).astype(np.uint16)
        order = order[np.argsort(digits[order], kind="stable")]
    return order


def own_bytes(*arrays: npt.NDArray[Any]) -> int:
    """The private memory that some arrays take, in bytes. Arrays in a mapped file take no private
    memory."""
    return sum(array.nbytes for array in arrays if not _is_mapped(array))


def _is_mapped(array: npt.NDArray[Any]) -> bool:
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)


LONGEST_PATCH = 1_024
FEW = 64  # if more than one number in this many is read, the patch is first applied to a copy
NOWHERE: Ints = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class CowArray:
    """A version of a copy-on-write array. base: (n,), a view of a buffer with spare room at the
    end, see `with_tail`. at: (p,) ascending positions. values: (p,), the numbers that replace those
    of `base` at these positions."""

    base: Ints
    at: Ints
    values: Ints

    def __len__(self) -> int:
        return len(self.base)

    @property
    def nbytes(self) -> int:
        """The size in bytes, including memory that versions share."""
        return self.base.nbytes + self.at.nbytes + self.values.nbytes

    def __getitem__(self, places: npt.NDArray[np.integer[Any]]) -> Ints:
        """The numbers at these positions, in an array of the same shape. Positions must not be
        negative."""
        if not len(self.at):
            return self.base.take(places)  # faster than indexing with []
        if places.size * FEW > len(self.base):
            return self.whole().take(places)
        numbers = self.base.take(places)
        near = np.minimum(np.searchsorted(self.at, places), len(self.at) - 1)
        hit = self.at[near] == places
        numbers[hit] = self.values[near[hit]]
        return numbers

    def whole(self, start: int = 0, stop: int | None = None) -> Ints:
        """All numbers from start to stop. The caller must not change the array."""
        part = self.base[start:stop]
        first, last = np.searchsorted(self.at, (start, start + len(part))).tolist()
        if first == last:
            return part
        part = part.copy()
        part[self.at[first:last] - start] = self.values[first:last]
        return part

    def not_negative(self, stop: int) -> Bools:
        """Which of the first `stop` numbers aren't negative."""
        good: Bools = self.base[:stop] >= 0
        inside = slice(0, int(np.searchsorted(self.at, stop)))
        good[self.at[inside]] = self.values[inside] >= 0
        return good

    def with_tail(self, tail: Ints) -> "CowArray":
        """A version with more numbers at the end. Must be called only on the newest version."""
        return CowArray(append(self.base, tail), self.at, self.values)

    def with_values(self, at: Ints, values: Ints | int) -> "CowArray":
        """A version with these numbers at these positions. If a position is repeated, its last
        number is used."""
        if not len(at):
            return self
        all_places = np.concatenate([self.at, at])
        new = np.concatenate([self.values, np.broadcast_to(values, at.shape)])
        places, last = np.unique(all_places[::-1], return_index=True)
        new = new[len(all_places) - 1 - last]
        if len(places) <= LONGEST_PATCH:
            return CowArray(self.base, places, new)
        base = _with_room(self.base)
        base[places] = new
        return CowArray(base, NOWHERE, NOWHERE)


NOTHING = CowArray(NOWHERE, NOWHERE, NOWHERE)


def _with_room(numbers: Ints) -> Ints:
    """A copy with spare room at the end, so that the next appends don't copy the numbers again."""
    room = np.empty(len(numbers) + len(numbers) // 8, np.int64)
    room[: len(numbers)] = numbers
    return room[: len(numbers)]


Metric: TypeAlias = Literal["l2", "ip", "cosine", "l1"]
METRICS: tuple[Metric, ...] = get_args(Metric)
LESS_IS_BETTER = ("l2", "l1")  # metrics for which a server's scores are distances
Fusion: TypeAlias = Literal["rrf", "weighted", "adaptive"]
FusionKind: TypeAlias = Fusion | Literal["server_rrf", "dbsf"]  # see `base.fusion.fuse`
RRF_K = 60


def similarity_of(distances: Floats, metric: Metric) -> Floats:
    """The similarities that correspond to distances; greater is nearer. They are the cosine, the
    dot product, or the negative of the squared L2 or of the L1 distance."""
    return 1.0 - distances if metric == "cosine" else -distances


def hit_distances(distances: Floats, metric: Metric) -> Floats:
    """The distances in the form that hits contain: 1 - dot for "ip", unchanged for other
    metrics."""
    return 1.0 + distances if metric == "ip" else distances


def distance_within(distance: float, metric: Metric) -> float:
    """The distance in the form that searches use, computed from the distance of a hit. It is the
    inverse of `hit_distances`, except for a rounding."""
    return distance - 1.0 if metric == "ip" else distance


def server_scores_of(similar: Floats, metric: Metric) -> Floats:
    """The scores that a Qdrant server returns for similarities: for L2 and L1 the distance, for
    other metrics the similarity."""
    if metric == "l2":
        return np.sqrt(np.abs(similar))
    return np.abs(similar) if metric == "l1" else similar


def is_whole(memory: mmap.mmap) -> bool:
    """Whether a mapped file still has the length that it had when it was mapped. Reading a map
    beyond the end of its file kills the process."""
    return memory.size() >= len(memory)
