"""Maintenance of a collection: one operation that copies what lives and lets go of the rest.

The vectors of living points go into files of the next *generation*, slice by slice, each slice in a
short write transaction, so writers wait for milliseconds. What was written meanwhile is copied in
the transaction that switches to the new generation. Readers go on with the files they have mapped;
one that finds a file gone reads again (`PointStore._read_again`). Then the old files are removed,
freed pages given back, and the write-ahead log emptied: no byte of what was deleted is left.

One process does this at a time, by a lock on a file of its own, which is free again when its holder
dies. What a dead one left is removed by the next.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from retrieval_store.arrays import Ints
from retrieval_store.engine.database import (
    LOCK_TIMEOUT_MS,
    select,
    sync_directory,
    translated,
    tries,
)
from retrieval_store.engine.points import PointStore
from retrieval_store.engine.schema import write_head
from retrieval_store.engine.state import SpaceState, State, rows_of
from retrieval_store.engine.types import Space
from retrieval_store.engine.vectors import rows_per_block
from retrieval_store.engine.write import append_rows
from retrieval_store.errors import LockTimeoutError, NotFoundError, StorageError

LOCK_NAME = "maintenance.lock"
SLICE_BYTES = 4 * 1024 * 1024
SLICE_PAGES = 500
Progress: TypeAlias = Callable[[int], object]


def optimize(points: PointStore, progress: Progress) -> None:
    """Compact the vector files if they have dead slots, and give back all space; `progress` is
    told how many vectors were copied."""
    points.refuse_if_read_only()
    try:
        with points.maintaining, _only_process(points.directory):
            with points.reading() as view:
                state = view.state
            _remove_leftovers(points, state.head.generation)
            if any(space.dead for space in state.spaces.values()):
                _compact(points, state, progress)
            _give_back_space(points)
    except StorageError:
        if points.directory is not None and not points.directory.exists():
            raise NotFoundError("the collection has been deleted") from None
        raise


def _compact(points: PointStore, then: State, progress: Progress) -> None:
    """Copy the vectors that live in the state `then`, and those written since, and switch."""
    generation = then.head.generation + 1
    copies: dict[str, Space] = {}
    for name, space in then.spaces.items():
        copies[name] = replace(space.space, slots=0)
        rows = np.flatnonzero(space.slot_of_row >= 0)
        for some in _slices(rows, space.space):
            with points.writing() as write:
                copies[name] = append_rows(
                    write, copies[name], generation, _vectors(space, some), then.pks[some]
                )
            progress(len(some))
    with points.writing() as write:
        now = points.state_of(write)
        for name, space in now.spaces.items():
            rows = _rows_written_since(then, now, name)
            copy = copies.get(name, replace(space.space, slots=0))
            copy = append_rows(write, copy, generation, _vectors(space, rows), now.pks[rows])
            query = "UPDATE spaces SET slots = ? WHERE number = ?"
            write.connection.execute(query, (copy.slots, space.space.number))
        write.connection.execute("DELETE FROM blocks WHERE generation <> ?", (generation,))
        write_head(
            write.connection, replace(write.head, seq=write.head.seq + 1, generation=generation)
        )
    _remove_leftovers(points, generation)


def _vectors(space: SpaceState, rows: Ints) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    slots = space.slot_of_row[rows]
    stored = space.vectors.rows(space.space.slots)
    space.vectors.admit(stored, space.checksums, slots)
    return stored[slots]


def _rows_written_since(then: State, now: State, name: str) -> Ints:
    """Rows of `now` with another vector than `then`; equal slots have equal vectors."""
    slots = now.spaces[name].slot_of_row
    lives = slots >= 0
    if name not in then.spaces:
        return np.flatnonzero(lives)
    rows = rows_of(then.pks, now.pks)
    known = rows >= 0
    lives[known] &= then.spaces[name].slot_of_row[rows[known]] != slots[known]
    return np.flatnonzero(lives)


def _slices(rows: Ints, space: Space) -> Iterator[Ints]:
    assert space.dimension is not None
    blocks = max(1, SLICE_BYTES // (4 * space.dimension) // rows_per_block(space.dimension))
    step = blocks * rows_per_block(space.dimension)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _remove_leftovers(points: PointStore, generation: int) -> None:
    """Remove what belongs to other generations: the one before, or one that was never finished."""
    with points.writing() as write:
        write.connection.execute("DELETE FROM blocks WHERE generation <> ?", (generation,))
    if points.directory is not None:  # nobody else makes files of other generations now
        for file in points.directory.glob("*.vectors"):
            if file.suffixes[:1] != [f".{generation}"]:
                file.unlink()
        sync_directory(points.directory)


def _give_back_space(points: PointStore) -> None:
    # Deleted content is overwritten when it is deleted (secure_delete), in the database; the
    # write-ahead log may still have it until it is emptied.
    free, before = 0, -1
    while free != before:
        with points.writing() as write:
            select(write.connection, f"PRAGMA incremental_vacuum({SLICE_PAGES})")
            before = free
            ((free,),) = select(write.connection, "PRAGMA freelist_count")
    points.empty_log()


@contextmanager
def _only_process(directory: Path | None) -> Iterator[None]:
    """One process at a time; in memory there is only one. A POSIX lock: a forked child doesn't
    inherit it, and it is free when its holder dies."""
    if directory is None:
        yield
        return
    path = directory / LOCK_NAME
    with translated(path):
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o644)
        try:
            _lock(descriptor, path)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    for _ in tries(LOCK_TIMEOUT_MS):
        with suppress(BlockingIOError):
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
    raise LockTimeoutError(
        f"another process has been compacting {path.parent} for more than "
        f"{LOCK_TIMEOUT_MS // 1000} s"
    )
