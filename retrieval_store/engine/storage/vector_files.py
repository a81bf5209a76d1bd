"""Append-only vector files: one matrix per vector space, in the space's datatype, read through a
memory map.

Committed rows never change; rows that a power cut may have lost are written again. points.sqlite
contains the number of committed rows, and the checksum of each block of rows. So readers ignore a
row that a crash left incomplete, and the next append overwrites it. The file is longer than its
rows, so that a map stays valid while the file fills up. The rest is a hole that takes no disk
space.

`VectorArray` has the same methods for a store in memory.
"""

import contextlib
import mmap
import os
import stat
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import apsw
import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import AnyArray, Datatype, Floats, Ints, Stored, distinct
from retrieval_store.base.locks import Lock
from retrieval_store.base.platform import (
    map_descriptor,
    open_plainly,
    read_at,
    sync,
    sync_directory,
    write_at,
)
from retrieval_store.engine.sqlite import ContradictionError, select
from retrieval_store.engine.storage.schema import Space, has_unsynced, read_spaces
from retrieval_store.errors import DamagedError, StorageError
from retrieval_store.indexes.exact import Norms, norms_of

BLOCK_BYTES = 256 * 1024
MAX_BLOCK_ROWS = 512
SMALLEST_FILE = 64 * 1024
Checksums = npt.NDArray[np.uint32]


class VectorRows(Protocol):
    """The rows of one vector space, by slot, in the datatype of the space."""

    path: Path

    def append(self, slot: int, rows: Stored) -> None:
        """Write (n, dim) rows at `slot` and the following slots, durably. The map isn't used for
        writing."""

    def append_unsynced(self, slot: int, rows: Stored) -> bool:
        """Write rows without syncing, so that a power cut may lose them. They are written only if
        the file already has, durably, the length that they need. Returns whether they were
        written."""

    def has(self, slot: int, rows: bytes) -> bool:
        """Whether the rows at `slot` and the following slots equal these rows."""

    def rewrite(self, slot: int, rows: bytes) -> None:
        """Rewrite rows that the file may have lost. The next `append` makes them durable."""

    def rows(self, count: int) -> Stored:
        """The first `count` rows, (count, dim), read-only. Their checksums aren't verified yet."""

    def verify_once(self, matrix: Stored, checksums: Checksums, slots: Ints | None) -> None:
        """Verify the blocks that contain the rows `slots` of `matrix` (None: all rows), unless this
        process has already done so. Raises DamagedError if a checksum is wrong."""

    def norms(self, matrix: Stored, checksums: Checksums, slots: Ints | None) -> Norms:
        """Call `verify_once`, then return the norms for `matrix`, which are correct for the rows
        `slots`."""

    def close(self) -> None:
        """Close the file. It is opened again when needed."""

    @property
    def nbytes(self) -> int:
        """The size of all data in memory except the rows, in bytes."""


# Opens the vectors of a space in a generation.
OpenVectors: TypeAlias = Callable[[Space, int], VectorRows]


def rows_per_block(row_bytes: int) -> int:
    """How many rows of this size share a checksum."""
    return max(1, min(MAX_BLOCK_ROWS, BLOCK_BYTES // row_bytes))


class _Blocks:
    """Records to how many rows of each block a function was applied. The caller must hold a lock.
    _complete: a row number; the function was applied to all rows before this row."""

    def __init__(self, block_rows: int) -> None:
        self._rows = block_rows
        self._counts: Ints = np.zeros(0, np.int64)
        self._complete = 0

    @property
    def nbytes(self) -> int:
        """The size of the array in bytes."""
        return self._counts.nbytes

    def first_rows(self, matrix: Stored) -> Ints:
        """The first row of each block of `matrix` with rows to which the function hasn't been
        applied."""
        if self._complete >= len(matrix):
            return np.empty(0, np.int64)
        self._cover(matrix)
        return np.array(self._unseen(len(matrix), None), np.int64) * self._rows

    def take(
        self, matrix: Stored, slots: Ints | None, do: Callable[[int, int, Stored], None]
    ) -> None:
        """Call do(block, its first row, its rows) for the blocks that contain the rows `slots` of
        `matrix` (None: all rows). It is called once for each block, and again after the block has
        grown."""
        if self._complete >= len(matrix) or (slots is not None and self._are_seen(slots)):
            return
        self._cover(matrix)
        unseen = self._unseen(len(matrix), slots)
        for block in unseen:
            first = block * self._rows
            rows = matrix[first : first + self._rows]
            do(block, first, rows)
            self._counts[block] = len(rows)
        if slots is None or (unseen and not self._unseen(len(matrix), None)):
            self._complete = len(matrix)

    def _cover(self, matrix: Stored) -> None:
        """Extend the counts so that each block of `matrix` has a count."""
        capacity = len(matrix) + len(matrix) // 2 + self._rows
        if len(self._counts) * self._rows < len(matrix):
            self._counts = _longer(self._counts, -(-capacity // self._rows))

    def _are_seen(self, slots: Ints) -> bool:
        """Whether the function was applied to the complete blocks of all these rows."""
        try:
            return bool((self._counts.take(slots // self._rows) == self._rows).all())
        except IndexError:  # the blocks were added later
            return False

    def _unseen(self, rows: int, slots: Ints | None) -> list[int]:
        size = self._rows
        blocks = np.arange(-(-rows // size)) if slots is None else slots // size
        whole = np.minimum(rows - blocks * size, size)
        lacking = self._counts[blocks] < whole
        return distinct(blocks[lacking]).tolist() if lacking.any() else []


# Blocks that are verified together if all are needed, and the pause in seconds between them.
BLOCKS_AT_ONCE, PAUSE = 16, 1e-4


class BlockVerifier:
    """Records which rows of each block this process has verified. A block is verified when one of
    its rows is first used. The lengths of its rows are computed when they are first needed."""

    def __init__(self, block_rows: int) -> None:
        self._lock = Lock()
        self._verified, self._measured = _Blocks(block_rows), _Blocks(block_rows)
        self._lengths: Floats = np.zeros(0)
        self._safe, self._longest = True, 0.0

    def verify_once(
        self, matrix: Stored, slots: Ints | None, verify: Callable[[int, int, Stored], None]
    ) -> None:
        """Call verify(block, its first row, its rows) for the blocks that contain the rows `slots`
        of `matrix` (None: all rows) and have unverified rows. If all rows are wanted, the lock is
        held only for a few blocks at a time. Verifying all blocks can take seconds, during which
        searches need some of the blocks."""
        if slots is None:
            with self._lock:
                rows = self._verified.first_rows(matrix)
            for start in range(0, len(rows) - BLOCKS_AT_ONCE, BLOCKS_AT_ONCE):
                with self._lock:
                    self._verified.take(matrix, rows[start : start + BLOCKS_AT_ONCE], verify)
                time.sleep(PAUSE)  # otherwise this thread would get the lock again at once
        with self._lock:
            self._verified.take(matrix, slots, verify)

    def norms(self, matrix: Stored, slots: Ints | None) -> Norms:
        """The norms for `matrix`. They are correct in the blocks of the rows `slots` (None: all
        rows), which must be verified."""
        with self._lock:
            # Readers keep the array that they have. The blocks that they use don't change in it.
            if len(self._lengths) < len(matrix):
                self._lengths = _longer(self._lengths, len(matrix) + len(matrix) // 2)
            self._measured.take(matrix, slots, self._measure)
            return Norms(self._lengths[: len(matrix)], self._safe, self._longest)

    def _measure(self, block: int, first: int, rows: Stored) -> None:
        new = norms_of(rows)
        self._lengths[first : first + len(rows)] = new.lengths
        self._safe, self._longest = self._safe and new.safe, max(self._longest, new.longest)

    @property
    def nbytes(self) -> int:
        """The size of the arrays in bytes."""
        return self._verified.nbytes + self._measured.nbytes + self._lengths.nbytes


class VectorFile:
    """The rows of one space in a file. Many reading threads and one writing thread can use it at
    the same time."""

    def __init__(self, path: Path, dimension: int, datatype: Datatype) -> None:
        self.path = path
        self._none: Stored = np.empty((0, dimension), datatype)
        self._row_bytes = self._none.itemsize * dimension
        self._mapped: tuple[mmap.mmap | None, Stored] = None, self._none
        self._map_lock = Lock()
        self._verifier = BlockVerifier(rows_per_block(self._row_bytes))

    def append_unsynced(self, slot: int, rows: Stored) -> bool:
        if slot == 0:  # the name of the file may not be durable yet
            return False
        descriptor = self._open(os.O_RDWR)
        try:
            fits = os.fstat(descriptor).st_size >= (slot + len(rows)) * self._row_bytes
            if fits:
                write_at(descriptor, as_bytes(rows), slot * self._row_bytes)
            return fits
        finally:
            os.close(descriptor)

    def has(self, slot: int, rows: bytes) -> bool:
        descriptor = self._open(os.O_RDONLY)
        try:
            return read_at(descriptor, len(rows), slot * self._row_bytes) == rows
        finally:
            os.close(descriptor)

    def rewrite(self, slot: int, rows: bytes) -> None:
        descriptor = self._open(os.O_RDWR)
        try:
            self._refuse_cut_off(os.fstat(descriptor).st_size, slot)
            write_at(descriptor, rows, slot * self._row_bytes)
        finally:
            os.close(descriptor)

    def append(self, slot: int, rows: Stored) -> None:
        descriptor = self._open(os.O_RDWR | os.O_CREAT)
        try:
            size = os.fstat(descriptor).st_size
            try:
                self._append(descriptor, size, slot, rows)
            except BaseException:
                # Remove rows that were appended but not committed, because they take room on a disk
                # that may be full. The committed rows lie before them. No other process appends
                # while this write transaction lasts.
                if os.fstat(descriptor).st_size > size:
                    with contextlib.suppress(OSError):
                        os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if slot == 0:  # the first committed rows: only now the name of the file must be durable
            sync_directory(self.path.parent)

    def _open(self, flags: int) -> int:
        # A link could lead anywhere, and a pipe would block.
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                raise DamagedError(f"{self.path} is not a regular file")
        return open_plainly(self.path, flags)

    def _append(self, descriptor: int, size: int, slot: int, rows: Stored) -> None:
        """Write the rows to the open file and sync it. size: the present size of the file in
        bytes."""
        needed = (slot + len(rows)) * self._row_bytes
        if size < needed:
            os.ftruncate(descriptor, max(SMALLEST_FILE, needed + needed // 4))
        write_at(descriptor, as_bytes(rows), slot * self._row_bytes)
        # fdatasync before COMMIT: a committed row must never refer to vectors that aren't on the
        # disk. It also makes the new length durable.
        sync(descriptor)

    def rows(self, count: int) -> Stored:
        memory, mapped = self._mapped
        if len(mapped) < count:
            with self._map_lock:
                memory, mapped = self._mapped
                if len(mapped) < count:
                    memory, mapped = self._mapped = self._map(count)
        # Reading a map beyond the end of its file kills the process. The file may have been
        # truncated since it was mapped. If it is truncated during the read, nothing can be done.
        if memory is not None and memory.size() < count * self._row_bytes:
            self._refuse_cut_off(memory.size(), count)
        return mapped[:count]

    def _map(self, count: int) -> tuple[mmap.mmap, Stored]:
        try:
            descriptor = self._open(os.O_RDONLY)
        except FileNotFoundError:
            raise DamagedError(f"{self.path} is missing; it should hold {count} vectors") from None
        try:
            size = os.fstat(descriptor).st_size
            self._refuse_cut_off(size, count)
            room = size // self._row_bytes
            memory = map_descriptor(descriptor, room * self._row_bytes)
        finally:
            os.close(descriptor)
        numbers: Any = np.frombuffer(memory, self._none.dtype)
        return memory, numbers.reshape(room, self._none.shape[1])

    def _refuse_cut_off(self, size: int, count: int) -> None:
        room = size // self._row_bytes
        if room < count:
            raise DamagedError(f"{self.path} is cut off: it has room for {room} vectors of {count}")

    def verify_once(self, matrix: Stored, checksums: Checksums, slots: Ints | None) -> None:
        self._verifier.verify_once(matrix, slots, lambda *block: self._verify(checksums, *block))

    def norms(self, matrix: Stored, checksums: Checksums, slots: Ints | None) -> Norms:
        self.verify_once(matrix, checksums, slots)
        return self._verifier.norms(matrix, slots)

    def _verify(self, checksums: Checksums, block: int, first: int, rows: Stored) -> None:
        if zlib.crc32(as_bytes(rows)) != checksums[block]:
            raise DamagedError(
                f"{self.path} is damaged: wrong checksum of block {block}, "
                f"vectors {first} to {first + len(rows) - 1}"
            )

    @property
    def nbytes(self) -> int:
        return self._verifier.nbytes

    def close(self) -> None:
        # The map is closed when the last array that refers to it is dropped.
        self._mapped = None, self._none


class VectorArray:
    """The rows of one space in memory."""

    path = Path(":memory:")

    def __init__(self, dimension: int, datatype: Datatype) -> None:
        self._buffer: Stored = np.empty((0, dimension), datatype)
        self._verifier = BlockVerifier(rows_per_block(self._buffer.itemsize * dimension))

    def append(self, slot: int, rows: Stored) -> None:
        stop = slot + len(rows)
        if len(self._buffer) < stop:
            longer = np.empty((max(64, stop + stop // 2), rows.shape[1]), self._buffer.dtype)
            longer[:slot] = self._buffer[:slot]
            self._buffer = longer
        self._buffer[slot:stop] = rows

    def append_unsynced(self, slot: int, rows: Stored) -> bool:
        return False

    def has(self, slot: int, rows: bytes) -> bool:
        return True

    def rewrite(self, slot: int, rows: bytes) -> None:
        """Do nothing, because only rows in files have to be rewritten after a power cut."""

    def rows(self, count: int) -> Stored:
        return self._buffer[:count]

    def verify_once(self, matrix: Stored, checksums: Checksums, slots: Ints | None) -> None:
        """Do nothing, because rows in memory have no checksums."""

    def norms(self, matrix: Stored, checksums: Checksums, slots: Ints | None) -> Norms:
        return self._verifier.norms(matrix, slots)

    @property
    def nbytes(self) -> int:
        return self._verifier.nbytes

    def close(self) -> None:
        self._buffer = self._buffer[:0]


def checksums_after(slot: int, rows: Stored, last_checksum: int) -> list[tuple[int, int, int, int]]:
    """The blocks that change if rows are appended at `slot`: (block, first row, stop row, checksum)
    each, where rows are counted within `rows`. last_checksum: the checksum of the block with `slot`
    before the rows are appended."""
    block_rows = rows_per_block(rows.itemsize * rows.shape[1])
    changed = []
    start, checksum = 0, last_checksum
    while start < len(rows):
        block = (slot + start) // block_rows
        stop = min(len(rows), (block + 1) * block_rows - slot)
        checksum = zlib.crc32(as_bytes(rows[start:stop]), checksum)
        changed.append((block, start, stop, checksum))
        start, checksum = stop, 0
    return changed


def as_bytes(rows: Stored) -> memoryview:
    """The bytes of rows in the layout of a vector file."""
    # A memoryview can't be cast, because it doesn't support float16.
    return memoryview(rows.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def _longer(array: AnyArray, length: int) -> AnyArray:
    longer = np.zeros(length, array.dtype)
    longer[: len(array)] = array
    return longer  # type: ignore[return-value]


def read_unsynced(connection: apsw.Connection, space: Space) -> tuple[int, bytes]:
    """The rows of a space that its file may lack after a power cut. Returns the slot of the first
    of these rows, and the rows."""
    # The rows of the space are selected in Python: in a damaged tree without an end, SQLite would
    # search forever.
    unsynced_rows = select(connection, "SELECT space, slot, rows FROM unsynced ORDER BY number")
    pieces = [(slot, rows) for of_space, slot, rows in unsynced_rows if of_space == space.number]
    first = next_slot = pieces[0][0] if pieces else space.slots
    for slot, rows in pieces:
        if slot != next_slot or not isinstance(rows, bytes) or len(rows) % space.row_bytes:
            break
        next_slot += len(rows) // space.row_bytes
    if next_slot != space.slots:
        raise ContradictionError(f"vector space {space.name!r} has other rows than those to sync")
    return first, b"".join([rows for _, rows in pieces])


def restore_unsynced(
    connection: apsw.Connection, generation: int, open_vectors: OpenVectors, may_write: bool
) -> None:
    """Rewrite rows that vector files have lost in a power cut. Raises StorageError if rows are lost
    and `may_write` is False."""
    if has_unsynced(connection) and select(connection, "SELECT 1 FROM unsynced LIMIT 1"):
        for space in read_spaces(connection).values():
            if space.kind == "dense" and space.dimension is not None:
                unsynced = read_unsynced(connection, space)
                # The file was removed by a compaction meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    _restore(open_vectors(space, generation), may_write, *unsynced)


def _restore(vectors: VectorRows, may_write: bool, slot: int, rows: bytes) -> None:
    if not vectors.has(slot, rows):
        if not may_write:
            raise StorageError(
                f"{vectors.path} lacks vectors since the power was cut: open the store once "
                "without read_only=True"
            )
        vectors.rewrite(slot, rows)


def owners_of(connection: apsw.Connection, space: Space, generation: int, slots: Ints) -> Ints:
    """The owners of these slots as stored in the database: (n,) a pk, or ~pk for a lost vector."""
    block_rows = rows_per_block(space.row_bytes)
    query = """SELECT block, owners FROM blocks
               WHERE space = ? AND generation = ? AND block IN carray(?) ORDER BY block"""
    blocks = distinct(slots // block_rows)
    rows = select(connection, query, space.number, generation, apsw.carray(blocks))
    starts = np.cumsum([0, *(len(blob) // 8 for _, blob in rows)])[:-1]
    owners = np.frombuffer(b"".join([blob for _, blob in rows]), "<i8")
    if not np.array_equal([block for block, _ in rows], blocks):
        raise ContradictionError(f"vector space {space.name!r} lacks blocks of its vectors")
    places = starts[np.searchsorted(blocks, slots // block_rows)] + slots % block_rows
    if len(places) and places.max() >= len(owners):
        raise ContradictionError(f"vector space {space.name!r} has vectors without an owner")
    return owners[places]
