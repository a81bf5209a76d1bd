"""The compiled functions that scan vectors, and how they are called.

The package contains C sources and, if there was a compiler when it was built, the compiled
`kernel.so` (`kernel.dll`). There is a C file for each instruction set (`scalar`, `avx2`, `avx512`,
`neon`); the best one for the processor is chosen at run time. These files share `scan_body.h` and
`floats_body.h`. The package is allowed to import `base` and `errors`.

If the library is missing, or was compiled from another version of these sources, numpy searches
vectors instead, and the log says so once. The variable RETRIEVAL_STORE_INSTRUCTIONS names the
instruction set to use, or "none".

All calls release the GIL.

A `RowTest` is a condition on rows. A scan tests it only for rows that it would otherwise accept. It
is a tree of conditions, each on a few arrays: rows whose number is in a range (`Numbered`), or
listed rows (`Listed`). A `RowFilter` tests slots, by the rows that they belong to. The compiled
part reads both objects from memory; without the compiled part, numpy tests rows.

Structures that Python and C share have fields of eight bytes, as in `layout.h`. Addresses in them
are integers, so whoever creates a structure must keep references to the arrays that it points to.
"""

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import (
    Bools,
    Bytes,
    CowArray,
    Ints,
    Matrix,
    Unsigned,
    bits_at,
    bits_of,
)
from retrieval_store.base.tracing import log_of
from retrieval_store.errors import InvalidArgumentError

BLOCK = 32  # rows
CHUNK = 8  # numbers of a row
DIGITS = 8 + 8 * 4  # bytes of a query's digits for a chunk
# Numbers of a group; bytes of its signs; bytes of a query's tables for it.
GROUP, GROUP_BYTES, TABLE_BYTES = 16, 64, 128
OF_ROW = 4  # floats stored for a row …
SIDE = 2  # … and the position of its exact part among them
CACHED_BYTES = 65_536  # bytes of codes that each group of queries reads again
OF_SIGNS = 2  # floats stored with the signs of a row
# Limit for coded vectors: up to here the number of a rotation's roundings is correct.
MAX_DIMENSIONS = 32_768
WORD = 8  # bytes
VERSION = 8  # must equal KERNEL_VERSION
CHOICE = "RETRIEVAL_STORE_INSTRUCTIONS"
NONE = "none"
DATATYPES = {"f": 0, "e": 1, "B": 2}  # float32, float16, uint8, by numpy's type characters
METRIC_NUMBERS = {"cosine": 0, "ip": 1, "l2": 2, "l1": 3}

PIECE = Struct("=9q")  # high low rows finer signs slots first count frame
# digits tiled tables sum scale offset side by_residual by_reach by_side constant spread step base
# by_factor
TURNED = Struct("=4q11d")
# floor best k held slots uppers found capacity most left hard chosen tied passed refined measured
SOUGHT = Struct("=d15q")
# pieces piece_count turned sought queries chunks allowed filter piece block work rows stride
# sampling errors room
SCAN = Struct("=14qdq")
# query frames frame_count wide turned digits tables scan rows begun
SEARCH = Struct("=10q")
# kind size numbers width base count first stop among over over_count held held_count
ROW_TEST = Struct("=13q")
ROW_FILTER = Struct("=7q")  # row_of_slot slots moved rows_of_moved moved_count mask test
# rows slots query room sought row_count count dimension datatype metric row work length
FLOAT_SCAN = Struct("=12qd")
FRAME = Struct("=4q")  # centre signs dimension metric
# frame vectors count datatype at high low rows finer signs wide room
ENCODING = Struct("=12q")
GATHERING = Struct("=10q")  # pieces piece_of row_of count chunks high low rows finer signs
# rows slots query room distances row_count count dimension datatype metric length
DISTANCES = Struct("=10qd")
CODE_SEARCH = Struct("=10q14qdq10qd")  # a SEARCH, a SCAN and a DISTANCES in succession


def address(array: npt.NDArray[Any] | None) -> int:
    """The address at which a contiguous array begins; 0 for None."""
    if array is None:
        return 0
    assert array.flags.c_contiguous
    return int(array.__array_interface__["data"][0])


def record(kind: Struct, *values: float) -> Bytes:
    """A structure with these field values, in the order of its fields."""
    return np.frombuffer(bytearray(kind.pack(*values)), np.uint8)


def records(kind: Struct, structures: Sequence[tuple[float, ...]]) -> Bytes:
    """An array of several structures of the same kind."""
    return np.frombuffer(bytearray().join(kind.pack(*values) for values in structures), np.uint8)


def chunks_of(dimension: int) -> int:
    """How many chunks the codes of a row of this dimension have."""
    return -(-dimension // CHUNK)


def tile_rows(dimension: int) -> int:
    """How many rows form a tile. The upper bits of a tile's rows are stored together."""
    chunks = chunks_of(dimension)
    return 4 if chunks < 16 else 2 if chunks < 32 else 1


def groups_of(dimension: int) -> int:
    """How many groups of signs a row of this dimension has."""
    return -(-CHUNK * chunks_of(dimension) // GROUP)


def signs_bytes(dimension: int) -> int:
    """The size of the signs of a block in bytes, including their factors."""
    return groups_of(dimension) * GROUP_BYTES + OF_SIGNS * BLOCK * 4


PATH = Path(__file__).with_name("kernel.dll" if os.name == "nt" else "kernel.so")
DONE, MORE, OUTSIDE, UNSAFE = range(4)  # results of a search; see native/layout.h
REMEDY = (
    "install the package anew where there is a C compiler (gcc, clang, or Visual Studio's), "
    "or from a wheel"
)
FUNCTIONS = (
    *("rs_version", "rs_set", "rs_set_name", "rs_scan", "rs_scan_floats", "rs_distances"),
    *("rs_decide", "rs_length", "rs_turn", "rs_encode", "rs_gather", "rs_search", "rs_test_rows"),
)

_log = log_of("files")


class Kernel:
    """The compiled library, used with one of the instruction sets that this processor has.

    name: the name of the set in use; names: the names of all sets that this processor has, the best
    first.
    """

    def __init__(self, library: ctypes.CDLL, chosen: str | None) -> None:
        self._library, self.names = library, _names(library)
        library.rs_set.restype = ctypes.c_void_p
        self.use(self.names[0] if chosen is None else chosen)
        self._scan, self._scan_floats = library.rs_scan, library.rs_scan_floats
        self._search, self._test_rows = library.rs_search, library.rs_test_rows
        self._distances, self._turn = library.rs_distances, library.rs_turn
        self._decide, self._length = library.rs_decide, library.rs_length
        self._length.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self._length.restype = ctypes.c_double
        self._encode, self._gather = library.rs_encode, library.rs_gather
        for function in (self._scan, self._scan_floats, self._decide, self._search):
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        for function in (self._distances, self._encode, self._gather):
            function.argtypes = [ctypes.c_void_p]
        pointer, number = ctypes.c_void_p, ctypes.c_double
        self._test_rows.argtypes = [pointer, pointer, ctypes.c_int64, ctypes.c_int64, pointer]
        self._test_rows.restype = ctypes.c_int64
        self._turn.argtypes = [pointer, number, *[pointer] * 5]

    def use(self, name: str) -> None:
        """Switch to the instruction set of this name."""
        if name not in self.names:
            choices = ", ".join(map(repr, [*self.names, NONE]))
            raise InvalidArgumentError(
                f"{CHOICE} is {name!r}; on this processor it is one of {choices}"
            )
        self.name = name
        number = ctypes.c_int64(self.names.index(name))
        self._set = ctypes.c_void_p(self._library.rs_set(number))

    def scan(self, scan: int) -> None:
        """Scan codes as described by the SCAN structure at this address. The work is split into
        calls of a few milliseconds, so that Ctrl-C is handled between them."""
        while self._scan(self._set, scan) == MORE:
            pass

    def search(self, search: int) -> bool:
        """Do a complete search by codes for one query, as described by the SEARCH structure at this
        address. Returns False if the query is too long or too short for its scores to be bounded.
        Raises IndexError for slots outside the vectors."""
        while (state := self._search(self._set, search)) == MORE:
            pass
        if state == OUTSIDE:
            raise IndexError("a slot lies outside of the vectors")
        return bool(state == DONE)

    def test_rows(self, test: Bytes, rows: Ints | range, bits: npt.NDArray[Any] | None) -> int:
        """How many of these rows fulfil the ROW_TEST structure `test`. rows: a range with step 1 or
        an array. bits: an array that gets a bit for each row, or None."""
        rows_address, start = (0, rows.start) if isinstance(rows, range) else (address(rows), 0)
        count: int = self._test_rows(address(test), rows_address, start, len(rows), address(bits))
        return count

    def scan_floats(self, scan: int) -> bool:
        """Scan vectors as described by the FLOAT_SCAN structure at this address, and compare the
        rows that may be near in float64. Returns False if the query is so long or short that
        float32 might overflow or underflow. Raises IndexError for slots outside the vectors."""
        while (state := self._scan_floats(self._set, scan)) == MORE:
            pass
        if state == OUTSIDE:
            raise IndexError("a slot lies outside of the vectors")
        return bool(state == DONE)

    def length(self, vector: Matrix) -> float:
        """The length of a contiguous vector, computed in float64."""
        length: float = self._length(address(vector), len(vector))
        return length

    def distances(self, task: Bytes) -> None:
        """Fill in the distances of a DISTANCES structure. Raises IndexError for slots outside the
        vectors."""
        if self._distances(address(task)) != DONE:
            raise IndexError("a slot lies outside of the vectors")

    def decide(self, task: int, sought: int) -> None:
        """Compare the candidates of a search by codes by their distances in float64. task: the
        address of a DISTANCES structure, whose slots and distances aren't read. sought: the address
        of a SOUGHT structure. Raises IndexError for slots outside the vectors."""
        if self._decide(task, sought) != DONE:
            raise IndexError("a slot lies outside of the vectors")

    def encode(self, encoding: Bytes) -> None:
        """Compute the codes that the ENCODING structure at this address describes."""
        self._encode(address(encoding))

    def gather(self, gathering: Bytes) -> None:
        """Copy the codes that the GATHERING structure at this address describes."""
        self._gather(address(gathering))

    def turn(
        self,
        query: int,
        length: float,
        frame: int,
        wide: int,
        digits: int,
        tables: int,
        turned: int,
    ) -> None:
        """Prepare a query for scanning the codes of a FRAME: fill in its digits, its tables (0 for
        no tables), and a TURNED structure. length: the length of the query. All other arguments are
        addresses. wide: the address of space for one float64 per dimension of the query."""
        self._turn(query, length, frame, wide, digits, tables, turned)


def _names(library: ctypes.CDLL) -> list[str]:
    library.rs_set_name.restype = ctypes.c_char_p
    names: list[str] = []
    while (name := library.rs_set_name(ctypes.c_int64(len(names)))) is not None:
        names.append(name.decode())
    return names


@cache
def kernel() -> Kernel | None:
    """The compiled library; None if there is no such library, or if the user has disabled it."""
    chosen = os.environ.get(CHOICE) or None
    if chosen == NONE:
        return None
    try:
        library = ctypes.CDLL(str(PATH))
    except OSError:
        _warn("it wasn't compiled when the package was installed")
        return None
    if not all(hasattr(library, name) for name in FUNCTIONS) or _version(library) != VERSION:
        _warn("the existing library was compiled from other sources")
        return None
    return Kernel(library, chosen)


def _version(library: ctypes.CDLL) -> int:
    library.rs_version.restype = ctypes.c_int64
    version: int = library.rs_version()
    return version


def _warn(why: str) -> None:
    message = "searches are several times slower without the compiled part: %s; to have it, %s"
    _log.warning(message, why, REMEDY)


Junction: TypeAlias = Literal["all", "any", "none"]
KINDS: dict[Junction, int] = {"all": 0, "any": 1, "none": 2}  # as in native/layout.h
NUMBERED, LISTED = 3, 4
BITS = 32  # in a word of bits


class Numbered(NamedTuple):
    """A condition on rows: a row's number must be in the range `run` (start, end). among: None, or
    a bit for each number of the run; the bit of the row's number must also be set. The first bit
    belongs to the start of the run, rounded down to a multiple of eight. numbers: the numbers of
    consecutive rows. packed: the address of the first number, the size of a number in bytes, the
    first row, and the count of the rows; other rows have no number. over: exceptional rows,
    ascending, whose numbers aren't tested. An exceptional row fulfils the condition if it is in
    `held`, which also ascends."""

    numbers: Unsigned
    packed: tuple[int, int, int, int]
    run: tuple[int, int]
    among: Bytes | None
    over: Ints
    held: Ints

    def has(self, rows: Ints) -> Bools:
        """Which of the rows fulfil the condition."""
        places = rows - self.packed[2]
        has_number = (places >= 0) & (places < len(self.numbers))
        flags = np.zeros(len(rows), np.bool_)
        numbers = self.numbers[places[has_number]].astype(np.int64)
        fits = (numbers >= self.run[0]) & (numbers < self.run[1])
        if self.among is not None:
            fits[fits] = bits_at(self.among, numbers[fits] - (self.run[0] & ~7))
        flags[has_number] = fits
        return (flags & ~np.isin(rows, self.over)) | np.isin(rows, self.held)

    @property
    def nodes(self) -> list[tuple[int, ...]]:
        """The nodes of the condition in the form for the compiled part."""
        among = 0 if self.among is None else address(self.among)
        changed: tuple[int, ...] = (0, 0, 0, 0)
        if len(self.over):
            changed = address(self.over), len(self.over), address(self.held), len(self.held)
        return [(NUMBERED, 1, *self.packed, *self.run, among, *changed)]


class Listed(NamedTuple):
    """A condition on rows: the row must be in `held`, which ascends."""

    held: Ints

    def has(self, rows: Ints) -> Bools:
        """Which of the rows fulfil the condition."""
        flags: Bools = np.isin(rows, self.held)
        return flags

    @property
    def nodes(self) -> list[tuple[int, ...]]:
        """The nodes of the condition in the form for the compiled part."""
        return [(LISTED, 1, *(0,) * 9, address(self.held), len(self.held))]


class Terms(NamedTuple):
    """A condition on rows: all, any or none of the terms must be fulfilled."""

    kind: Junction
    terms: "tuple[Condition, ...]"

    def has(self, rows: Ints) -> Bools:
        """Which of the rows fulfil the condition."""
        flags_of_terms = np.empty((len(self.terms), len(rows)), np.bool_)  # there may be no terms
        for flags_of_term, term in zip(flags_of_terms, self.terms, strict=True):
            flags_of_term[:] = term.has(rows)
        flags: Bools = (np.all if self.kind == "all" else np.any)(flags_of_terms, axis=0)
        return ~flags if self.kind == "none" else flags

    @property
    def nodes(self) -> list[tuple[int, ...]]:
        """The nodes of the condition in the form for the compiled part."""
        below = [node for term in self.terms for node in term.nodes]
        return [(KINDS[self.kind], 1 + len(below), *(0,) * 11), *below]


Condition: TypeAlias = Numbered | Listed | Terms


@dataclass(frozen=True, slots=True)
class RowTest:
    """A condition on rows, with its form for the compiled part. record: the nodes of the condition
    in that form; they point into the condition's arrays."""

    condition: Condition
    record: Bytes

    @classmethod
    def of(cls, condition: Condition) -> "RowTest":
        """Create a test from a condition, whose arrays are kept without copying."""
        return cls(condition, records(ROW_TEST, condition.nodes))

    def has(self, rows: Ints | range) -> Bools:
        """Which of these rows fulfil the test: (n,) bool. rows: a range with step 1 or an array,
        without negative numbers."""
        compiled = kernel()
        if compiled is None:
            row_array = np.arange(rows.start, rows.stop) if isinstance(rows, range) else rows
            return self.condition.has(row_array)
        bits = np.empty(-(-len(rows) // BITS), np.uint32)
        row_numbers = rows if isinstance(rows, range) else np.ascontiguousarray(rows, np.int64)
        compiled.test_rows(self.record, row_numbers, bits)
        return np.unpackbits(bits.view(np.uint8), count=len(rows), bitorder="little").view(np.bool_)

    def count(self, rows: Ints | range) -> int:
        """How many of these rows fulfil the test. rows: a range with step 1 or an array, without
        negative numbers."""
        compiled = kernel()
        if compiled is None:
            return int(np.count_nonzero(self.has(rows)))
        return compiled.test_rows(self.record, rows, None)

    def bits(self, height: int) -> Bytes:
        """A bit for each of the first `height` rows, packed 8 to a byte; it is 1 if the row fulfils
        the test."""
        compiled = kernel()
        if compiled is None:
            return bits_of(self.condition.has(np.arange(height)))
        bits = np.empty(-(-height // BITS), np.uint32)
        compiled.test_rows(self.record, range(height), bits)
        return bits.view(np.uint8)[: -(-height // 8)]


class RowFilter:
    """A filter of slots. A slot passes if its row fulfils both `bits` and `test`. If `bits` or
    `test` is None, all rows fulfil it. row_of_slot: (slots,), negative for slots without a row.
    bits: a bit for each row, packed 8 to a byte. test: a test of rows. record: the filter in the
    form that the compiled part reads; it points into the filter's arrays."""

    def __init__(
        self, row_of_slot: CowArray, bits: Bytes | None, test: RowTest | None = None
    ) -> None:
        self.row_of_slot, self.bits, self.test = row_of_slot, bits, test
        moved = address(row_of_slot.at), address(row_of_slot.values), len(row_of_slot.at)
        tests = address(bits), 0 if test is None else address(test.record)
        base_map = address(row_of_slot.base), len(row_of_slot)
        self.record = record(ROW_FILTER, *base_map, *moved, *tests)
