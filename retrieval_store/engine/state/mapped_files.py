"""States in files: the points and the owners of vectors, as arrays that are mapped.

A file has a JSON header and arrays (`Arrays`), each at a multiple of 64 bytes. Processes share a
mapped array, which takes no private memory. Nothing is copied, and only the header is parsed. Only
certain types of arrays are permitted. The lengths in the header aren't trusted: together they must
match the size of the file. A fault that the checksum doesn't reveal causes a ValueError in this
module or where the arrays are read.

The header of a state has the number of rows, and for each dense space its number, its dimension and
its number of slots. Its arrays are little-endian, each at the beginning of a page: the pks, and for
each space `row_of_slot`, `slot_of_row` and the checksums of its blocks. After each array there is
spare room. A process appends later data of its state there: the map is private, so the data goes
into private pages, and the file doesn't change. Only existing points have rows in a file. Rows and
slots are checked, so that they can't make a read go out of the bounds of an array.

All files that are built from points are updated in the same way (`PointsFile`).
"""

import mmap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

import apsw
import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store.base.arrays import NOWHERE, CowArray, Ints, union
from retrieval_store.base.platform import map_file
from retrieval_store.engine.state.state import (
    FILE_KIND,
    NONE,
    AnyView,
    MappedFile,
    SpaceState,
    State,
    catch_up,
    has_too_many_dead,
    load,
    rows_of,
)
from retrieval_store.engine.storage.derived import DerivedFile, DerivedKind, OutdatedError, find
from retrieval_store.engine.storage.log import read_changes
from retrieval_store.engine.storage.schema import CollectionHead, Space, read_spaces
from retrieval_store.engine.storage.vector_files import (
    Checksums,
    OpenVectors,
    VectorRows,
    rows_per_block,
)
from retrieval_store.indexes.native import address

V_contra = TypeVar("V_contra", bound=AnyView, contravariant=True)
T_co = TypeVar("T_co", covariant=True)
CheckCancelled: TypeAlias = Callable[[], object]


class PointsFile(DerivedKind[V_contra, T_co]):
    """A file that is built from the points of a view, and updated by the change log. parts: the
    parts of points from which the file is built, None for all parts. keys: the numbers of the
    payload keys from which the file is built, None for all keys. key: the key under which the file
    is recorded."""

    @property
    def parts(self) -> int | None:
        return None

    @property
    def keys(self) -> frozenset[int] | None:
        return None

    @property
    def key(self) -> str:
        raise NotImplementedError

    def writer(
        self, view: V_contra, check_cancelled: CheckCancelled
    ) -> Callable[[Path], int] | None:
        """A function that takes a path, writes the file there, and returns the first pk that isn't
        in the file. If there is no room for the file, the result is None instead of a function.
        check_cancelled: called regularly; it can raise."""
        raise NotImplementedError

    def read_saved(self, view: V_contra) -> T_co | None:
        """The content of the file, None if there is no usable file."""
        if view.files is None:
            return None
        derived_file = find(view.connection, self.key)
        return None if derived_file is None else self.try_read(view.files, derived_file, view)

    def unmap(self, view: V_contra) -> None:
        """Release the maps of the previous file, after a new file was written."""

    def count_changed(self, view: V_contra) -> int:
        """The number of points that were inserted after the file was written, or changed in a part
        from which the file is built. If the file is useless, all points are counted."""
        head, saved_file = view.state.head, find(view.connection, self.key)
        if saved_file is None or saved_file.seq < head.log_floor or is_useless(view, saved_file):
            return view.state.count
        changed = len(read_changes(view.connection, saved_file.seq).of(self.parts, self.keys))
        return changed + head.next_pk - saved_file.covered

    def stale_rows(self, view: V_contra, derived_file: DerivedFile) -> Ints:
        """The rows of points that were inserted after the file was written, or changed in a part
        from which the file is built."""
        refuse_unknown_writes(derived_file, view.state.head)
        pks, changes = view.state.pks, read_changes(view.connection, derived_file.seq)
        changed = rows_of(pks, changes.of(self.parts, self.keys))
        fresh = np.arange(np.searchsorted(pks, derived_file.covered), len(pks))
        return union(changed[changed >= 0], fresh)


def is_useless(view: AnyView, derived_file: DerivedFile) -> bool:
    """Whether an attempt to use a file showed that it is of no use."""
    return view.files is not None and derived_file in view.files.useless


def refuse_unknown_writes(derived_file: DerivedFile, head: CollectionHead) -> None:
    """Raise ValueError for a file that is ahead of the last write. Raise OutdatedError if the
    change log begins after the last write that the file includes."""
    if not (0 <= derived_file.seq <= head.seq and 0 <= derived_file.covered <= head.next_pk):
        raise ValueError("it claims to know of writes that never were")
    if head.log_floor > derived_file.seq:
        raise OutdatedError("the file is older than the change log")


MAGIC = b"RSstate1"
PAGE = 4096
ROOM_SHARE = 16  # after an array there is room for one further number in this many
_SPACE_TYPES = ("<i8", "<i8", "<u4")  # the types of the arrays of a space
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StateFile(PointsFile[AnyView, State]):
    """The file that contains the state of a generation."""

    what: ClassVar[str] = "the state"
    generation: int
    open_vectors: OpenVectors

    @property
    def key(self) -> str:
        return f"{FILE_KIND}.{self.generation}"

    def writer(self, view: AnyView, check_cancelled: CheckCancelled) -> Callable[[Path], int]:
        state = view.state
        if state.mapped is not None:
            # The state is loaded from the database, so that an error in one file doesn't get into
            # the next.
            state = load(view.connection, state.head, self.open_vectors).state
        return partial(_write, state=state, check_cancelled=check_cancelled)

    def read(self, path: Path, derived_file: DerivedFile, source: AnyView) -> State:
        """The state at the head of the view, built from the saved state and the writes since."""
        connection, head = source.connection, source.state.head
        state = _read(path, derived_file, connection, head, self.open_vectors)
        state = catch_up(state, connection, head, self.open_vectors).state
        if has_too_many_dead(state):
            raise OutdatedError("so much was deleted since that to load is less work")
        return state


def _write(path: Path, state: State, check_cancelled: CheckCancelled) -> int:
    spaces = [
        [space.space.number, space.space.dimension, space.space.slots]
        for space in state.spaces.values()
    ]
    header = orjson.dumps([state.count, spaces])
    places = _Places(len(header))
    with path.open("xb") as file:
        file.write(MAGIC + len(header).to_bytes(8, "little") + header)
        for array, dtype in _arrays(state):
            check_cancelled()
            file.seek(places.next(len(array), dtype))
            file.write(np.ascontiguousarray(array, dtype).data.cast("B"))
        # The room is a hole in the file, which takes no space on the disk.
        file.truncate(places.size)
    return state.head.next_pk


def _arrays(state: State) -> Iterator[tuple[Array, str]]:
    """Yield the arrays of a state's file, with their types. They contain only rows of existing
    points."""
    yield (state.pks[state.alive] if state.has_dead_rows else state.pks), "<i8"
    numbers = np.cumsum(state.alive) - 1 if state.has_dead_rows else None
    for space in state.spaces.values():
        rows, slots = space.row_of_slot.whole(), space.slot_of_row.whole()
        if numbers is not None:
            rows, slots = np.where(rows >= 0, numbers[rows], NONE), slots[state.alive]
        yield from zip((rows, slots, space.checksums), _SPACE_TYPES, strict=True)


class _Places:
    """Computes the offsets of consecutive arrays in a file, after a header of this size. size: the
    size of the file so far."""

    def __init__(self, header: int) -> None:
        self.size = _pages(len(MAGIC) + 8 + header)

    def next(self, length: int, dtype: str) -> int:
        """The offset of the next array."""
        place = self.size
        self.size += _pages(_with_room(length) * np.dtype(dtype).itemsize)
        return place


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _with_room(length: int) -> int:
    return length + length // ROOM_SHARE


def _read(
    path: Path,
    derived_file: DerivedFile,
    connection: apsw.Connection,
    head: CollectionHead,
    open_vectors: OpenVectors,
) -> State:
    """Map a file with the state that was written at `derived_file.seq`. Raises OutdatedError if the
    log begins after that write, and ValueError if this package can't have written the file's
    content."""
    refuse_unknown_writes(derived_file, head)
    memory = map_file(path, private=True)
    rows, spaces, places = _header(memory, read_spaces(connection).values())
    lengths = [(rows, "<i8")]
    for space in spaces:
        blocks = -(-space.slots // rows_per_block(space.row_bytes))
        lengths += zip((space.slots, rows, blocks), _SPACE_TYPES, strict=True)
    pieces = [(dtype, length, places.next(length, dtype)) for length, dtype in lengths]
    if places.size != len(memory):
        raise ValueError(f"{path} has {len(memory)} bytes instead of {places.size}")
    pks, *space_arrays = [_array(memory, *piece) for piece in pieces]
    _refuse_disorder(pks, derived_file.covered)
    states = {}
    for i, space in enumerate(spaces):
        vectors = open_vectors(space, head.generation)
        states[space.name] = _space_state(space, vectors, *space_arrays[3 * i : 3 * i + 3])
    start = address(np.frombuffer(memory, np.uint8))
    saved_head = replace(head, seq=derived_file.seq, next_pk=derived_file.covered)
    alive = np.ones(rows, np.bool_)
    return State(saved_head, pks, alive, rows, {}, states, {}, MappedFile(memory, start))


def _header(memory: mmap.mmap, present_spaces: Iterable[Space]) -> tuple[int, list[Space], _Places]:
    """From the header of a state's file: the number of rows, the spaces with their numbers of
    slots, and an object that computes the offsets of the arrays."""
    start = len(MAGIC) + 8
    size = int.from_bytes(memory[len(MAGIC) : start], "little")
    if memory[: len(MAGIC)] != MAGIC or size > len(memory):
        raise ValueError("it is no file of a state")
    rows, saved_spaces = orjson.loads(memory[start : start + size])
    by_number, spaces = {space.number: space for space in present_spaces}, []
    for number, dimension, slots in saved_spaces:
        if number not in by_number:
            raise OutdatedError("a vector space has been dropped since")
        space = by_number[number]
        if space.kind != "dense" or dimension is None or dimension != space.dimension:
            raise ValueError(f"vector space {space.name!r} has no vectors of {dimension} numbers")
        spaces.append(replace(space, slots=_size(slots, space.slots)))
    return _size(rows, len(memory)), spaces, _Places(size)


def _size(number: object, limit: int) -> int:
    if type(number) is not int or not 0 <= number <= limit:
        raise ValueError(f"{number!r} are more than {limit}, or no number")
    return number


def _array(memory: mmap.mmap, dtype: str, length: int, place: int) -> Array:
    """An array in the map. It is the first part of a longer buffer; `arrays.append` uses the spare
    room at the end."""
    return np.frombuffer(memory, dtype, _with_room(length), place)[:length]


def _refuse_disorder(pks: Ints, covered: int) -> None:
    ascending = len(pks) == 0 or (pks[0] >= 0 and pks[-1] < covered)
    if not ascending or not (pks[1:] > pks[:-1]).all():
        raise ValueError("its points are out of order")


def _space_state(
    space: Space, vectors: VectorRows, row_of_slot: Ints, slot_of_row: Ints, checksums: Checksums
) -> SpaceState:
    for places, targets in ((row_of_slot, slot_of_row), (slot_of_row, row_of_slot)):
        if len(places) and not NONE <= int(places.min()) <= int(places.max()) < len(targets):
            raise ValueError(f"it has places in vector space {space.name!r} that aren't there")
    living = int(np.count_nonzero(row_of_slot >= 0))
    if living != np.count_nonzero(slot_of_row >= 0):
        raise ValueError(f"in vector space {space.name!r} it has other vectors than points")
    rows, slots = (CowArray(places, NOWHERE, NOWHERE) for places in (row_of_slot, slot_of_row))
    return SpaceState(space, vectors, rows, slots, checksums.copy(), space.slots - living)


ALIGNMENT = 64
_ARRAY_TYPES = frozenset(("<i8", "<u8", "<f8", "<i4", "<f4", "|u1"))  # little-endian, as in memory


@dataclass(frozen=True, slots=True)
class Arrays:
    """The content of a file. header: JSON data from the file's writer; arrays: read-only; memory:
    the memory map that contains the arrays."""

    header: Any
    arrays: Sequence[Array]
    memory: mmap.mmap

    def unpack(self, *types: str) -> Sequence[Array]:
        """The arrays. Raises ValueError unless they have these types, in this order."""
        if [array.dtype for array in self.arrays] != [np.dtype(name) for name in types]:
            raise ValueError("it has other arrays than it should")
        return self.arrays


Piece: TypeAlias = bytes | memoryview


class StreamedArray(NamedTuple):
    """An array that is written to a file piece by piece. dtype: numpy's name of the type,
    little-endian; length: the total length of all pieces; content: the pieces, in order."""

    dtype: str
    length: int
    content: Iterator[Array]


def pieces(
    magic: bytes, header: object, arrays: Sequence[Array | StreamedArray]
) -> Iterator[Piece]:
    """Yield the bytes of a file, piece by piece. magic: eight bytes that identify the type of file.
    header: JSON data. arrays: the arrays to write; only the last one can be a streamed array."""
    types = [[_type_of(array), _length_of(array)] for array in arrays]
    description = orjson.dumps([header, types])
    head = magic + len(description).to_bytes(8, "little") + description
    place = len(head)
    yield head
    for array in arrays:
        if isinstance(array, StreamedArray):
            if array.length:
                yield bytes(_align(place) - place)
            yield from (piece.data for piece in array.content)
            return
        data = np.ascontiguousarray(array, _type_of(array)).tobytes()
        if data:
            yield data.rjust(len(data) + _align(place) - place, b"\0")
            place = _align(place) + len(data)


def write_arrays(
    path: Path, content: Iterator[Piece], check_cancelled: Callable[[], object]
) -> None:
    """Write the pieces of a file (see `pieces`) to a new file. check_cancelled: called before each
    piece; it can raise."""
    with path.open("xb") as file:
        for piece in content:
            check_cancelled()
            file.write(piece)


def read_arrays(path: Path, magic: bytes, before: Collection[bytes] = ()) -> Arrays:
    """The content of a file. Raises ValueError if the file isn't of this type, and OutdatedError if
    it has an earlier format. before: the first bytes of files in earlier formats."""
    memory = map_file(path)
    start = len(magic) + 8
    place = start + int.from_bytes(memory[len(magic) : start], "little")
    if memory[: len(magic)] in before:
        raise OutdatedError("the file is of an older kind")
    if memory[: len(magic)] != magic or place > len(memory):
        raise ValueError(f"{path} is no file of this kind")
    header, descriptions = orjson.loads(memory[start:place])
    arrays = []
    for name, length in descriptions:
        if name not in _ARRAY_TYPES or type(length) is not int or length < 0:
            raise ValueError(f"{path} has an array of {length!r} {name!r}")
        dtype = np.dtype(name)
        if length:
            place = _align(place)
            arrays.append(np.frombuffer(memory, dtype, length, place))
            place += length * dtype.itemsize
        else:
            arrays.append(np.empty(0, dtype))
    if place != len(memory):
        raise ValueError(f"{path} has {len(memory)} bytes instead of {place}")
    return Arrays(header, arrays, memory)


def _length_of(array: Array | StreamedArray) -> int:
    return array.length if isinstance(array, StreamedArray) else len(array)


def _type_of(array: Array | StreamedArray) -> str:
    if isinstance(array, StreamedArray):
        return array.dtype
    return array.dtype.newbyteorder("<").str


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
