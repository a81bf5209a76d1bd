"""Maintenance of a collection: one operation that copies what lives, lets go of the rest, and keeps
the indexes.

*Compaction*: the vectors of living points go into files of the next *generation*, slice by slice,
each slice in a short write transaction, so writers wait for milliseconds; the index of that
generation is built alongside. What was written meanwhile is copied in the transaction that switches
to the new generation. Readers go on with the files they have mapped; one that finds a file gone
reads again (`PointStore._read_again`). Then the old files are removed, freed pages given back, and
the write-ahead log emptied: no byte of what was deleted is left.

*Filling*: an index takes in the vectors it lacks, and is saved when it has grown enough.

One process does this at a time, by a lock on a file of its own, which is free again when its holder
dies. What a dead one left is removed by the next. Another process may meanwhile load what was saved
and let its own copy of an index follow, but begins none.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeAlias, TypeVar

import numpy as np

from retrieval_store.arrays import Ints, Matrix
from retrieval_store.engine import derived
from retrieval_store.engine.database import (
    LOCK_TIMEOUT_MS,
    select,
    translated,
    tries,
)
from retrieval_store.engine.files import LOCK_NAME, remove_vector_files
from retrieval_store.engine.forking import aware
from retrieval_store.engine.indexing import SpaceIndex, is_worth_an_index
from retrieval_store.engine.list_files import write as write_lists
from retrieval_store.engine.locking import Turns
from retrieval_store.engine.points import PointStore
from retrieval_store.engine.ranked import TRIGRAMS, ListKey, file_key, lists_for, renewed
from retrieval_store.engine.schema import read_changes, write_head
from retrieval_store.engine.state import SpaceState, State, View, rows_of
from retrieval_store.engine.types import Space
from retrieval_store.engine.vectors import rows_per_block
from retrieval_store.engine.write import Write, append_rows
from retrieval_store.errors import (
    DamagedError,
    LockTimeoutError,
    NotFoundError,
    StorageError,
)

_log = logging.getLogger("retrieval_store")
SLICE_BYTES = 4 * 1024 * 1024
SLICE_PAGES = 500
FILLED_AT_ONCE = 2_048  # vectors, after which the background looks whether it should stop
DEAD_SHARE = 0.25  # of the slots: then compaction is worth it
DEAD_CELLS = 250_000
GROWTH_TO_SAVE = 0.1
LISTS_WORTH = 20_000  # points; the lists of fewer are made anew in a moment
CLOSING_WAITS = 2.0  # seconds, for the background to stop
T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], object]  # told how many vectors more, and of how many


def optimize(points: PointStore, progress: Progress) -> None:
    """Compact the vector files if they have dead slots, bring the indexes up to date and save them,
    and give back all space."""
    points.refuse_if_read_only()

    def work(alone: bool) -> None:
        if not alone:
            _refuse_to_wait(points)
        state = _state_of(points)
        held = _worth_saving(state)
        _remove_leftovers(points, state.head.generation)
        if any(space.dead for space in state.spaces.values()):
            _compact(points, state, progress)
        for name in state.spaces:
            while _fill(points, name, True, progress):
                pass  # the collection was put to rest meanwhile
            _save(points, name, 0)
        _renew_lists(points, held)
        _give_back_space(points)

    try:
        points.maintaining.take(lambda: _as_only_process(points, LOCK_TIMEOUT_MS, work))
    except StorageError:
        if points.directory is not None and not points.directory.exists():
            raise NotFoundError("the collection has been deleted") from None
        raise


def _refuse_to_wait(points: PointStore) -> NoReturn:
    raise LockTimeoutError(
        f"another process has been compacting {points.directory} for more than "
        f"{LOCK_TIMEOUT_MS // 1000} s"
    )


def tend(points: PointStore, progress: Progress) -> bool:
    """What is worth doing now, without waiting for another process or thread that does it already;
    returns whether that is why something was left."""

    def work(alone: bool) -> bool:
        state = _state_of(points)
        if alone and any(map(_is_worth_compacting, state.spaces.values())):
            _remove_leftovers(points, state.head.generation)
            _compact(points, state, progress)
            _give_back_space(points)
        _build_lists(points)
        left = False
        for name in state.spaces:
            left |= _fill(points, name, alone or points.is_read_only, progress)
            if alone:
                _save(points, name, GROWTH_TO_SAVE)
        if alone:
            _save_lists(points)
        return left

    return points.maintaining.take_within(
        0, lambda: _as_only_process(points, 0, work), lambda: True
    )


def save_indexes(points: PointStore) -> None:
    """Save what indexes have grown by, before the collection is closed; if nobody else does."""

    def work(alone: bool) -> None:
        if alone:
            for name in _state_of(points).spaces:
                _save(points, name, GROWTH_TO_SAVE / 2)
            _save_lists(points)

    if points.has_lists or any(
        space.index.covered > space.index.saved for space in points.open_spaces()
    ):
        try:
            points.maintaining.take_within(
                CLOSING_WAITS, lambda: _as_only_process(points, 0, work), lambda: None
            )
        except Exception as error:  # a plugin's, say; whatever it is, the index is made again
            _log.warning("an index wasn't saved on closing: %s", error)


def forget_derived(points: PointStore) -> None:
    """Drop all derived files, whoever made them, and what is in memory of them; they are made again
    as they are needed."""
    points.rest()  # so that nobody goes on building one

    def work(alone: bool) -> None:
        points.write(lambda write: derived.forget_all(write.connection))
        if alone:
            _sweep(points)
        points.rest()

    points.maintaining.take(lambda: _as_only_process(points, 0, work))


def _state_of(points: PointStore) -> State:
    return points.read(lambda view: view.state)


def _is_worth_compacting(space: SpaceState) -> bool:
    cells = space.dead * (space.space.dimension or 0)
    return space.dead > DEAD_SHARE * space.space.slots and cells >= DEAD_CELLS


def _fill(points: PointStore, name: str, may_begin: bool, progress: Progress) -> bool:
    """Let the index of a space take in the vectors that it lacks; returns whether it lacks some
    since another process has begun it or has compacted, or the collection was put to rest."""

    def begin(view: View) -> tuple[SpaceState | None, int]:
        space = view.state.spaces.get(name)
        if space is not None and space.index.wanted:
            space.index.load_saved(view.connection, newer=True)
        return space, view.state.head.generation

    space, generation = points.read(begin)
    if space is None or not space.index.wanted:
        return False
    dimension, slots = space.vectors.rows(0).shape[1], space.space.slots
    if not space.index.covered:
        if not is_worth_an_index(slots, dimension):
            return False
        if not may_begin:
            return True
    try:
        space.index.filling.take(partial(_take_in, space, slots, progress))
    except DamagedError:
        if not points.has_moved_on(generation):
            raise
        return True  # not damage: the files are those of the generation before
    return space.index.closed


def _take_in(space: SpaceState, slots: int, progress: Progress) -> None:
    for first in range(space.index.covered, slots, FILLED_AT_ONCE):
        chosen = np.arange(first, min(first + FILLED_AT_ONCE, slots))
        rows = space.vectors.rows(slots)
        norms = space.vectors.admit(rows, space.checksums, chosen)
        if not norms.safe:  # what float32 can't multiply is left to the exact search
            space.index.full = True
            break
        if space.index.closed or space.index.full:
            break
        space.index.add(rows[first : chosen[-1] + 1])
        progress(len(chosen), slots)


def _save(points: PointStore, name: str, growth: float) -> None:
    """Save the index of a space if it has grown by more than this share since; only the one process
    that does maintenance may."""
    state = _state_of(points)
    space = state.spaces.get(name)
    if space is not None and points.directory is not None:
        index, seq = space.index, state.head.seq
        if index.filling.take(partial(_save_grown, points, points.directory, index, seq, growth)):
            _sweep(points)


def _save_grown(
    points: PointStore, directory: Path, index: SpaceIndex, seq: int, growth: float
) -> bool:
    if index.covered - index.saved <= growth * index.covered:
        return False
    with translated(directory):
        made = derived.write_file(directory, index.key, index.save, seq)
    points.write(lambda write: derived.record(write.connection, made))
    index.saved = made.covered
    return True


def _build_lists(points: PointStore) -> None:
    """Build the lists that filters have asked for often enough."""

    def build(view: View) -> None:
        if TRIGRAMS in view.state.lists.wanted():
            lists_for(view, TRIGRAMS)

    points.read(build)


def _save_lists(points: PointStore) -> None:
    """Save the lists of words and trigrams that have grown enough since; only the one process that
    does maintenance may. What has been deleted or replaced goes from a file when it is written."""
    for key in _worth_saving(_state_of(points)):
        # Of each a look of its own, since writing one takes a while.
        if points.read(partial(_has_grown, key=key)):
            _save_list(points, key)
    _sweep(points)


def _renew_lists(points: PointStore, held: list[ListKey]) -> None:
    """Write those of the lists that are held anew, and forget the files of all others: nothing of
    what was deleted is left in them."""
    kept = {file_key(key): key for key in held}
    for key in held:
        _save_list(points, key)

    def forget_others(write: Write) -> None:
        files = derived.all_files(write.connection)
        others = [f.key for f in files if not f.key.startswith("index.") and f.key not in kept]
        derived.forget(write.connection, others)

    points.write(forget_others)
    _sweep(points)


def _worth_saving(state: State) -> list[ListKey]:
    """The lists that should have files: of words only those of the analyzer used last."""
    if state.count < LISTS_WORTH:
        return []
    held: list[ListKey] = state.lists.held()
    of_words = [key for key in held if key[0] == "words"]
    return [key for key in held if key[0] != "words" or key == of_words[-1]]


def _has_grown(view: View, key: ListKey) -> bool:
    return _changed_since_saved(view, key) > GROWTH_TO_SAVE * view.state.count


def _changed_since_saved(view: View, key: ListKey) -> int:
    """How many points have been written since the lists were saved; all, if their file is of no
    use."""
    known = derived.find(view.connection, file_key(key))
    floor = view.state.head.log_floor
    if known is None or known.seq < floor or key in view.state.lists.rejected:
        return view.state.count
    changed = len(read_changes(view.connection, known.seq))
    return changed + view.state.head.next_pk - known.covered


def _save_list(points: PointStore, key: ListKey) -> None:
    if points.directory is None:
        return
    layers, state = points.read(lambda view: (renewed(view, key), view.state))
    with translated(points.directory):
        fill = partial(write_lists, layers=layers, state=state)
        made = derived.write_file(points.directory, file_key(key), fill, state.head.seq)
    points.write(lambda write: derived.record(write.connection, made))
    state.lists.rejected.discard(key)


def _sweep(points: PointStore) -> None:
    if points.directory is not None:
        files = points.read(lambda view: derived.all_files(view.connection))
        with translated(points.directory):
            derived.sweep(points.directory, files)


def _compact(points: PointStore, then: State, progress: Progress) -> None:
    """Copy the vectors that live in the state `then`, and those written since, and switch."""
    points.drop_later_generations(then.head.generation)  # an attempt may have been interrupted
    with points.compacting:
        _copy_and_switch(points, then, progress)
    _remove_leftovers(points, then.head.generation + 1)


def _copy_and_switch(points: PointStore, then: State, progress: Progress) -> None:
    generation = then.head.generation + 1
    copies = {name: _copied(points, then, name, generation, progress) for name in then.spaces}
    points.write(partial(_switch, points, then, copies, generation))
    _state_of(points)  # let go of the files of the generation before


def _copied(
    points: PointStore, then: State, name: str, generation: int, progress: Progress
) -> Space:
    """The space in the generation to come, with the vectors that live in the state `then`."""
    space = then.spaces[name]
    copy = replace(space.space, slots=0)
    rows = np.flatnonzero(space.slot_of_row >= 0)
    index = _index_to_build(points, copy, generation, len(rows))
    for some in _slices(rows, space.space):
        vectors, safe = _vectors(space, some)

        def append(
            write: Write, copy: Space = copy, vectors: Matrix = vectors, some: Ints = some
        ) -> Space:
            return append_rows(write, copy, generation, vectors, then.pks[some])

        copy = points.write(append)
        if index is not None and not safe:
            index.full = True
        if index is not None and not index.full:
            index.filling.take(partial(index.add, vectors))
        progress(len(some), len(rows))
    return copy


def _switch(
    points: PointStore, then: State, copies: dict[str, Space], generation: int, write: Write
) -> None:
    """Copy what was written since `then`, and make the new generation the one that counts."""
    now = points.state_of(write)
    for name, space in now.spaces.items():
        rows = _rows_written_since(then, now, name)
        copy = copies.get(name, replace(space.space, slots=0))
        vectors, _ = _vectors(space, rows)
        copy = append_rows(write, copy, generation, vectors, now.pks[rows])
        query = "UPDATE spaces SET slots = ? WHERE number = ?"
        write.connection.execute(query, (copy.slots, space.space.number))
    write.connection.execute("DELETE FROM blocks WHERE generation <> ?", (generation,))
    write_head(write.connection, replace(write.head, seq=write.head.seq + 1, generation=generation))


def _index_to_build(
    points: PointStore, space: Space, generation: int, count: int
) -> SpaceIndex | None:
    """The index of the generation to come, if there should be one."""
    assert space.dimension is not None
    index = points.open_space(space, generation).index
    return index if index.wanted and is_worth_an_index(count, space.dimension) else None


def _vectors(space: SpaceState, rows: Ints) -> tuple[Matrix, bool]:
    """The vectors of some rows, and whether none is too long or too short for an index."""
    slots = space.slot_of_row[rows]
    stored = space.vectors.rows(space.space.slots)
    norms = space.vectors.admit(stored, space.checksums, slots)
    return stored[slots], norms.safe


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

    def forget(write: Write) -> None:
        write.connection.execute("DELETE FROM blocks WHERE generation <> ?", (generation,))
        files = derived.all_files(write.connection)
        derived.forget(write.connection, [f.key for f in files if _is_of_other(f.key, generation)])

    points.write(forget)
    if points.directory is not None:  # nobody else makes files of other generations now
        remove_vector_files(points.directory, but_of=generation)
    _sweep(points)


def _is_of_other(key: str, generation: int) -> bool:
    return key.startswith("index.") and key.split(".")[2:] != [str(generation)]


def _give_back_space(points: PointStore) -> None:
    # Deleted content is overwritten when it is deleted (secure_delete), in the database; the
    # write-ahead log may still have it until it is emptied.
    free, before = 0, -1
    while free != before:
        free, before = points.write(_vacuumed), free
    points.empty_log()


def _vacuumed(write: Write) -> int:
    """Give back some pages; how many are left."""
    select(write.connection, f"PRAGMA incremental_vacuum({SLICE_PAGES})")
    ((free,),) = select(write.connection, "PRAGMA freelist_count")
    return int(free)


class _Busy:
    """Whose turn it is to do maintenance in a directory, of this process' threads: the lock on a
    file keeps other processes out, not another PointStore of the same directory here."""

    def __init__(self) -> None:
        self._turns: dict[Path, Turns] = {}
        aware(self)

    def at(self, directory: Path) -> Turns:
        """The line for a directory."""
        return self._turns.setdefault(directory, Turns())

    def forget_after_fork(self) -> None:
        """In a child: nobody does maintenance."""
        self._turns = {}


_busy = _Busy()


def _as_only_process(points: PointStore, milliseconds: int, work: Callable[[bool], T]) -> T:
    """What `work` returns, told whether this is now the one thread of all processes that may do
    maintenance; it isn't when another one has been at it for that time."""
    directory = points.directory
    if directory is None or points.is_read_only:
        return work(not points.is_read_only)
    return _busy.at(directory).take_within(
        milliseconds / 1000,
        lambda: _with_lock_file(directory, milliseconds, work),
        lambda: work(False),
    )


def _with_lock_file(directory: Path, milliseconds: int, work: Callable[[bool], T]) -> T:
    """A POSIX lock: a forked child doesn't inherit it, and it is free when its holder dies."""
    with _lock_file(directory / LOCK_NAME) as file:
        return work(any(_is_locked(file) for _ in tries(milliseconds)))


def _lock_file(path: Path) -> BinaryIO:
    def open_safely(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)

    with translated(path):
        return open(path, "ab", buffering=0, opener=open_safely)


def _is_locked(file: BinaryIO) -> bool:
    with suppress(BlockingIOError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
