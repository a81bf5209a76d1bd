"""The compiled functions that look at vectors, and how they are called.

C sources and, where a compiler was there when the package was built, what became of them:
`kernel.so` (`kernel.dll`). One C file for each instruction set (`scalar`, `avx2`, `avx512`,
`neon`), of which the best that the processor has is taken at run time; they share what is the same
for all (`scan_body.h`, `floats_body.h`). It may use `base` and `errors`.

The compiled library: whether it is there, and calls of its functions.

It is made when the package is built, where there is a compiler. Without it, or where it is of
another version of these sources, vectors are searched by numpy, and one line of the log says so.
The variable RETRIEVAL_STORE_INSTRUCTIONS names the instruction set to use, or "none".

All calls let go of the interpreter.

Structures that both sides know have fields of eight bytes, as in `kernel.h`. Addresses in them are
integers: the maker of a structure keeps the arrays that it points to.
"""

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bytes, Matrix
from retrieval_store.base.tracing import log_of
from retrieval_store.errors import InvalidArgumentError

BLOCK = 32  # rows
CHUNK = 8  # numbers of a row
OF_ROW = 4  # floats of a row
MAX_DIMENSIONS = 32_768  # of coded vectors: the count of a rotation's roundings holds up to here
WORD = 8  # bytes
VERSION = 5  # KERNEL_VERSION
CHOICE = "RETRIEVAL_STORE_INSTRUCTIONS"
NONE = "none"


DATATYPES = {"f": 0, "e": 1, "B": 2}  # float32, float16, uint8, as numpy marks them
METRIC_NUMBERS = {"cosine": 0, "ip": 1, "l2": 2, "l1": 3}

PIECE = Struct("=8q")  # high low rows finer slots first count frame
TURNED = Struct("=2q7d")  # digits sum scale offset side by_residual by_reach by_side constant
# floor best k held slots uppers found capacity most left hard chosen tied
SOUGHT = Struct("=d12q")
SCAN = Struct("=10q")  # pieces piece_count turned sought queries chunks allowed piece block work
# rows slots query room sought row_count count dimension datatype metric row work length
FLOAT_SCAN = Struct("=12qd")
FRAME = Struct("=4q")  # centre signs dimension metric
ENCODING = Struct("=11q")  # frame vectors count datatype at high low rows finer wide room
GATHERING = Struct("=9q")  # pieces piece_of row_of count chunks high low rows finer
# rows slots query room distances row_count count dimension datatype metric length
DISTANCES = Struct("=10qd")
PLACES = Struct("=2q")  # blocks offsets
# parts part_count centres radii centre_frame frame query unit wide turned digits tables allowed
# row_of_slot moved rows_of_moved moved_count mask numbers width numbered first stop over over_count
# held held_count groups limit clusters chunks products terms levels order ordered level next wanted
# looked asked passed found count capacity most index index_size work rows sought length threshold
# step base floor usual slope
CLUSTER_SCAN = Struct("=51q7d")
# frame rows slots row_count datatype count at centre blocks room other
CLUSTER_ENCODING = Struct("=11q")


def address(array: npt.NDArray[Any] | None) -> int:
    """Where an array, which lies in one piece, begins; 0 for none."""
    if array is None:
        return 0
    assert array.flags.c_contiguous
    return int(array.__array_interface__["data"][0])


def record(kind: Struct, *values: float) -> Bytes:
    """One structure with these values, in the order of its fields."""
    return np.frombuffer(bytearray(kind.pack(*values)), np.uint8)


def records(kind: Struct, several: Sequence[tuple[float, ...]]) -> Bytes:
    """Several, one behind the other."""
    return np.frombuffer(bytearray().join(kind.pack(*values) for values in several), np.uint8)


def chunks_of(dimension: int) -> int:
    """How many chunks a row has."""
    return -(-dimension // CHUNK)


PATH = Path(__file__).with_name("kernel.dll" if os.name == "nt" else "kernel.so")
DONE, MORE, OUTSIDE, UNSAFE = range(4)  # what a search returns; see native/kernel.h
REMEDY = (
    "install the package anew where there is a C compiler (gcc, clang, or Visual Studio's), "
    "or from a wheel"
)
FUNCTIONS = (
    *("rs_version", "rs_set", "rs_set_name", "rs_scan", "rs_scan_floats", "rs_distances"),
    *("rs_decide", "rs_length", "rs_turn", "rs_encode", "rs_gather"),
    *("rs_cluster_encode", "rs_cluster_rank", "rs_cluster_scan"),
)

_log = log_of("files")


class Kernel:
    """The library, with one of the instruction sets that this processor has.

    name: of the set in use; names: of all that could be, the best first.
    """

    def __init__(self, library: ctypes.CDLL, chosen: str | None) -> None:
        self._library, self.names = library, _names(library)
        library.rs_set.restype = ctypes.c_void_p
        self.use(self.names[0] if chosen is None else chosen)
        self._scan, self._scan_floats = library.rs_scan, library.rs_scan_floats
        self._distances, self._turn = library.rs_distances, library.rs_turn
        self._decide, self._length = library.rs_decide, library.rs_length
        self._length.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self._length.restype = ctypes.c_double
        self._encode, self._gather = library.rs_encode, library.rs_gather
        for function in (self._scan, self._scan_floats, self._decide):
            function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        for function in (self._distances, self._encode, self._gather):
            function.argtypes = [ctypes.c_void_p]
        pointer, number = ctypes.c_void_p, ctypes.c_double
        self._turn.argtypes = [pointer, number, pointer, pointer, pointer, pointer]
        self._cluster_encode = library.rs_cluster_encode
        self._cluster_rank, self._cluster_scan = library.rs_cluster_rank, library.rs_cluster_scan
        self._cluster_encode.argtypes = [pointer]
        for function in (self._cluster_rank, self._cluster_scan):
            function.argtypes = [pointer, pointer]

    def use(self, name: str) -> None:
        """Go on with the instruction set of this name."""
        if name not in self.names:
            there = ", ".join(map(repr, [*self.names, NONE]))
            raise InvalidArgumentError(
                f"{CHOICE} is {name!r}; on this processor it is one of {there}"
            )
        self.name = name
        number = ctypes.c_int64(self.names.index(name))
        self._set = ctypes.c_void_p(self._library.rs_set(number))

    def scan(self, scan: int) -> None:
        """Look at codes, as the SCAN at this address says. Ctrl-C comes through between two calls,
        of a few milliseconds each."""
        while self._scan(self._set, scan) == MORE:
            pass

    def scan_floats(self, scan: int) -> bool:
        """Look at vectors, as the FLOAT_SCAN at this address says, and decide about those that may
        be near; whether the length of the query allows it. IndexError for slots of no row."""
        while (state := self._scan_floats(self._set, scan)) == MORE:
            pass
        if state == OUTSIDE:
            raise IndexError("a slot lies outside of the vectors")
        return bool(state == DONE)

    def length(self, vector: Matrix) -> float:
        """The length of a vector that lies in one piece, in float64."""
        length: float = self._length(address(vector), len(vector))
        return length

    def distances(self, wanted: Bytes) -> None:
        """Fill in the distances of a DISTANCES; IndexError for slots of no row."""
        if self._distances(address(wanted)) != DONE:
            raise IndexError("a slot lies outside of the vectors")

    def decide(self, wanted: int, sought: int) -> None:
        """Decide by distances in float64 about what a search by codes has found. wanted: the
        address of a DISTANCES, of which slots and distances aren't looked at; sought: of a SOUGHT;
        IndexError for slots of no row."""
        if self._decide(wanted, sought) != DONE:
            raise IndexError("a slot lies outside of the vectors")

    def encode(self, encoding: Bytes) -> None:
        """Make the codes of an ENCODING."""
        self._encode(address(encoding))

    def gather(self, gathering: Bytes) -> None:
        """Copy the codes of a GATHERING."""
        self._gather(address(gathering))

    def turn(
        self, query: int, length: float, frame: int, wide: int, digits: int, turned: int
    ) -> None:
        """Make a query of that length ready for codes in a FRAME: fill in digits and a TURNED. All
        others are addresses; wide: of room for as many float64 as the query has numbers."""
        self._turn(query, length, frame, wide, digits, turned)

    def cluster_encode(self, encoding: Bytes) -> None:
        """Make the places of a CLUSTER_ENCODING; IndexError for slots of no row."""
        if self._cluster_encode(address(encoding)) != DONE:
            raise IndexError("a slot lies outside of the vectors")

    def cluster_rank(self, scan: int) -> None:
        """Make the query of the CLUSTER_SCAN at this address ready, and find the nearest clusters,
        or put all in order by its floor."""
        self._cluster_rank(self._set, scan)

    def cluster_scan(self, scan: int) -> None:
        """Look at the clusters of a CLUSTER_SCAN in that order, and decide about the best by
        distances, if it says so. Ctrl-C comes through between two calls, of a millisecond each.
        IndexError for slots of no row."""
        while (state := self._cluster_scan(self._set, scan)) == MORE:
            pass
        if state == OUTSIDE:
            raise IndexError("a slot lies outside of the vectors")


def _names(library: ctypes.CDLL) -> list[str]:
    library.rs_set_name.restype = ctypes.c_char_p
    names: list[str] = []
    while (name := library.rs_set_name(ctypes.c_int64(len(names)))) is not None:
        names.append(name.decode())
    return names


@cache
def kernel() -> Kernel | None:
    """The library, None where there is none or none is to be used."""
    chosen = os.environ.get(CHOICE) or None
    if chosen == NONE:
        return None
    try:
        library = ctypes.CDLL(str(PATH))
    except OSError:
        _warn("it wasn't compiled when the package was installed")
        return None
    if not all(hasattr(library, name) for name in FUNCTIONS) or _version(library) != VERSION:
        _warn("what is there was compiled of other sources")
        return None
    return Kernel(library, chosen)


def _version(library: ctypes.CDLL) -> int:
    library.rs_version.restype = ctypes.c_int64
    version: int = library.rs_version()
    return version


def _warn(why: str) -> None:
    message = "searches are several times slower without the compiled part: %s; to have it, %s"
    _log.warning(message, why, REMEDY)
