"""Compaction: vectors of existing points are copied into files of the next generation, and the old
files are removed."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from retrieval_store.base import tracing
from retrieval_store.base.arrays import Ints, Stored, as_float32
from retrieval_store.base.platform import sync_file
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.access import Access
from retrieval_store.engine.maintenance.derive import FILLED_AT_ONCE, sweep
from retrieval_store.engine.search.context import SearchView
from retrieval_store.engine.search.index_lifecycle import SpaceIndex, index_is_worth_building
from retrieval_store.engine.search.planner import codes_pay_off
from retrieval_store.engine.sqlite import select
from retrieval_store.engine.state.state import FILE_KIND, SpaceState, State, advance, rows_of
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.files import POINTS_NAME, remove_vector_files, vector_files
from retrieval_store.engine.storage.log import WriteTransaction
from retrieval_store.engine.storage.schema import Space, dropped_spaces, read_head, write_head
from retrieval_store.engine.storage.vector_files import rows_per_block
from retrieval_store.engine.storage.write import append_rows, disown
from retrieval_store.errors import LockTimeoutError, StorageFullError
from retrieval_store.indexes.exact import norms_of
from retrieval_store.query.types import Progress

_log = log_of("maintenance")
SLICE_BYTES = 4 * 1024 * 1024
SLICE_PAGES = 500
DEAD_SHARE = 0.25  # compaction is worthwhile if this share of the slots is dead
DEAD_CELLS = 250_000
# If this share of the slots is dead, compaction is more urgent than building an index.
OVERGROWN = 0.5
# Derived files whose keys contain the number of a space after their kind.
OF_SPACES = (*derived.OF_VECTORS, "sparse")


def is_worth_compacting(space: SpaceState, share: float = DEAD_SHARE) -> bool:
    cells = space.dead * (space.space.dimension or 0)
    return space.dead > share * space.space.slots and cells >= DEAD_CELLS


def is_overgrown(access: Access) -> bool:
    """Whether there is so much dead data that compaction must come before any other long work."""
    spaces = access.current_state().state.spaces.values()
    return any(is_worth_compacting(space, OVERGROWN) for space in spaces)


def compact(access: Access, progress: Progress, with_indexes: bool = True) -> None:
    """Copy the live vectors, then the vectors written during the copy, and switch to the new
    generation. with_indexes: whether the indexes and codes of the new generation are built during
    the copy."""
    # From the database, not from memory, because vectors that aren't copied would be lost.
    copied_state = access.read(access.state_in_database)
    # An earlier attempt may have been interrupted.
    access.memory.drop_later_generations(copied_state.head.generation)
    dead = sum(space.dead for space in copied_state.spaces.values())
    with tracing.span("compact", access.name):
        tracing.note(lambda: {"retrieval_store.dead": dead})
        process = os.getpid()
        try:
            with access.memory.compacting:
                _copy_and_switch(access, copied_state, progress, with_indexes)
        except BaseException as error:
            # After a lock timeout, another attempt to lock would fail again. In a forked child the
            # new generation belongs to the parent.
            if os.getpid() == process and not isinstance(error, LockTimeoutError):
                _remove_unfinished(access)
            raise
        generation = copied_state.head.generation + 1
        del copied_state  # not every system removes a file that is mapped
        remove_leftovers(access, generation)
    _log.debug("compacted %r: %d vectors that no point has are gone", access.name, dead)


def _copy_and_switch(
    access: Access, copied_state: State, progress: Progress, with_indexes: bool
) -> None:
    generation = copied_state.head.generation + 1
    copies = {
        space.space.number: _copy_space(
            access, copied_state, space, generation, progress, with_indexes
        )
        for space in copied_state.spaces.values()
    }
    access.write(_switch, access, copied_state, copies, generation)
    access.current_state()  # drops the files of the previous generation


def _remove_unfinished(access: Access) -> None:
    """Remove the files of a failed compaction, if that is possible now; the next compaction removes
    the remaining files. Errors in this function are ignored, so that the caller gets the error of
    the compaction."""
    with suppress(Exception):
        # Not from memory: the switch may have been committed before the error occurred.
        generation = access.use(read_head).generation
        access.memory.drop_later_generations(generation)
        # First, because it overwrites any remains of a failed commit of the switch in the log. On a
        # full disk, where nothing was committed, it isn't possible until there is room.
        with suppress(StorageFullError):
            access.write(_forget_blocks, generation)
        if access.directory is not None:
            remove_vector_files(access.directory, generation, lambda space: False)


def _copy_space(
    access: Access,
    copied_state: State,
    space: SpaceState,
    generation: int,
    progress: Progress,
    with_index: bool,
) -> Space:
    """The space in the next generation, with copies of the vectors that are live in the copied
    state."""
    copy = replace(space.space, slots=0)
    rows = np.flatnonzero(space.slot_of_row.whole() >= 0)
    index = _index_to_build(access, copy, generation, len(rows)) if with_index else None
    for piece in _slices(rows, space.space):
        vectors, safe = _vectors(space, piece)
        copy = access.write(append_rows, copy, generation, vectors, copied_state.pks[piece])
        if index is not None and not safe:
            index.full = True
        if index is not None and not _fill_index(access, space, index, vectors):
            index = None  # it is filled later, since until the switch nothing is given back
        if with_index:
            _take_in_codes(access, copy, generation, partial(progress, 0, len(rows)))
        progress(len(piece), len(rows))
    return copy


def _take_in_codes(
    access: Access, copy: Space, generation: int, check_cancelled: Callable[[], object]
) -> None:
    """Compute the codes of the copied vectors for the next generation, so that queries have codes
    as soon as that generation is valid."""
    assert copy.dimension is not None
    vectors, slots = access.memory.open_vectors(copy, generation), copy.slots
    if not codes_pay_off(slots, copy.dimension, copy.metric):
        return
    codes = access.memory.open_space(copy, generation).codes
    codes.take_in(slots, lambda first, stop: vectors.rows(slots)[first:stop], check_cancelled)


def _fill_index(
    access: Access, copied_space: SpaceState, index: SpaceIndex, vectors: Stored
) -> bool:
    """Add the copied vectors to the index, unless other writes leave no time for that; returns
    whether they were added."""
    for start in range(0, len(vectors), FILLED_AT_ONCE):
        if _is_outgrown(access, copied_space):
            return False
        if not index.full:
            piece = as_float32(vectors[start : start + FILLED_AT_ONCE])
            index.filling.take(partial(index.add, piece))
    return True


def _is_outgrown(access: Access, copied_space: SpaceState) -> bool:
    """Whether other threads or processes write so much during the copy that the switch can't wait
    for an index."""
    spaces = access.current_state().state.all_spaces.values()
    slots = max(
        (space.slots for space in spaces if space.number == copied_space.space.number), default=0
    )
    return slots > copied_space.space.slots and is_overgrown(access)


def _switch(
    write: WriteTransaction,
    access: Access,
    copied_state: State,
    copies: dict[int, Space],
    generation: int,
) -> None:
    """Copy the vectors written since the copied state, and make the new generation the valid
    one."""
    new_state = advance(
        copied_state, write.connection, write.head, access.memory.open_vectors
    ).state
    copied_spaces = {space.space.number: space for space in copied_state.spaces.values()}
    for space in new_state.spaces.values():
        copy = copies.get(space.space.number, replace(space.space, slots=0))
        old = copied_spaces.get(space.space.number)
        if old is not None:
            lost = _copies_lost_since(copied_state, new_state, old, space)
            disown(write.connection, copy, generation, lost)
        rows = _rows_written_since(copied_state, new_state, old, space)
        vectors, _ = _vectors(space, rows)
        copy = append_rows(write, copy, generation, vectors, new_state.pks[rows])
        query = "UPDATE spaces SET slots = ? WHERE number = ?"
        write.connection.execute(query, (copy.slots, space.space.number))
    # They belong to the previous files; the new files are synced.
    write.connection.execute("DELETE FROM unsynced")
    _forget_blocks(write, generation)
    write_head(write.connection, replace(write.head, seq=write.head.seq + 1, generation=generation))


def _forget_blocks(write: WriteTransaction, generation: int) -> None:
    """Delete the records of blocks of other generations, and of deleted spaces."""
    condition = "generation <> ? OR space NOT IN (SELECT number FROM spaces)"
    write.connection.execute(f"DELETE FROM blocks WHERE {condition}", (generation,))


def _index_to_build(access: Access, space: Space, generation: int, count: int) -> SpaceIndex | None:
    """The index of the next generation; None if that generation shouldn't have an index."""
    assert space.dimension is not None
    index = access.memory.open_space(space, generation).index
    worth = index_is_worth_building(count, space.dimension, space.metric)
    return index if index.wanted and worth else None


def _vectors(space: SpaceState, rows: Ints) -> tuple[Stored, bool]:
    """The vectors of these rows, and whether all of them have lengths that an index accepts."""
    slots = space.slot_of_row[rows]
    stored = space.vectors.rows(space.space.slots)
    space.vectors.verify_once(stored, space.checksums, slots)
    vectors = stored[slots]
    return vectors, norms_of(vectors).safe


def _rows_written_since(
    copied_state: State, new_state: State, old: SpaceState | None, new: SpaceState
) -> Ints:
    """The rows whose vector has changed since the copied state. To find them, slots are compared: a
    slot is never reused for another vector."""
    slots = new.slot_of_row.whole()
    lives = slots >= 0
    if old is None:
        return np.flatnonzero(lives)
    rows = rows_of(copied_state.pks, new_state.pks)
    was_copied = rows >= 0
    lives[was_copied] &= old.slot_of_row[rows[was_copied]] != slots[was_copied]
    return np.flatnonzero(lives)


def _copies_lost_since(
    copied_state: State, new_state: State, old: SpaceState, new: SpaceState
) -> Ints:
    """The slots that `_copy_space` has assigned to vectors that were deleted after the copy, and
    whose points still exist."""
    copied = np.flatnonzero(old.slot_of_row.whole() >= 0)
    rows = rows_of(new_state.pks, copied_state.pks[copied])
    present = np.flatnonzero(rows >= 0)
    return present[new.slot_of_row[rows[present]] < 0]


def _slices(rows: Ints, space: Space) -> Iterator[Ints]:
    block_rows = rows_per_block(space.row_bytes)
    step = block_rows * max(1, SLICE_BYTES // space.row_bytes // block_rows)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def remove_leftovers(access: Access, generation: int) -> None:
    """Remove data of other generations (an earlier or an unfinished one), and of deleted vector
    spaces."""
    if access.directory is not None:  # no other process writes files of other generations now
        is_dropped = access.read(_dropped_spaces)
        _sync_log(access.directory)
        # First, because these files may have filled the disk, and then no record can be deleted
        # before.
        remove_vector_files(access.directory, generation, is_dropped)
    access.write(_forget_leftovers, generation)
    sweep(access)


def _dropped_spaces(view: SearchView) -> Callable[[int], bool]:
    return dropped_spaces(view.connection)


def _forget_leftovers(write: WriteTransaction, generation: int) -> None:
    _forget_blocks(write, generation)
    files, is_dropped = derived.all_files(write.connection), dropped_spaces(write.connection)
    useless_keys = [f.key for f in files if _is_of_other(f.key, generation, is_dropped)]
    derived.forget(write.connection, useless_keys)


def _sync_log(directory: Path) -> None:
    """Sync the record of the valid generation before the files of other generations are removed.
    Commits may not be synced. Without this sync, a power cut could then undo the commit, but not
    the removal of the files."""
    with suppress(FileNotFoundError):  # in that case its data is in the database, which was synced
        sync_file(directory / f"{POINTS_NAME}-wal")


def has_leftovers(view: SearchView, directory: Path | None) -> bool:
    """Whether there are files of other generations, of deleted vector spaces, or of obsolete kinds.
    Only the process that is allowed to compact may call this. Otherwise files that another process
    is writing would count as left over."""
    is_dropped, files = dropped_spaces(view.connection), derived.all_files(view.connection)
    vectors = vector_files(directory) if directory is not None else set()
    has_old_kinds = any(_kind_of(file.key) in derived.KINDS_BEFORE for file in files)
    has_others = any(generation != view.state.head.generation for _, generation in vectors)
    numbers = [*(space for space, _ in vectors), *(_space_of(file.key) for file in files)]
    return has_old_kinds or has_others or any(map(is_dropped, numbers))


def _is_of_other(key: str, generation: int, is_dropped: Callable[[int], bool]) -> bool:
    """Whether the file with this key belongs to another generation, to a deleted space, or to an
    obsolete kind. is_dropped: returns whether a space with this number was deleted."""
    kind, *numbers = key.split(".")
    is_of_other = kind in derived.KINDS_BEFORE
    is_of_other = is_of_other or (kind in derived.OF_VECTORS and numbers[1:2] != [str(generation)])
    is_of_other = is_of_other or (kind == FILE_KIND and numbers != [str(generation)])
    return is_of_other or is_dropped(_space_of(key))


def _kind_of(key: str) -> str:
    return key.partition(".")[0]


def _space_of(key: str) -> int:
    """The number of the vector space to which a derived file belongs; -1 if the file belongs to no
    vector space."""
    kind, *numbers = key.split(".")
    return int(numbers[0]) if kind in OF_SPACES and numbers and numbers[0].isdecimal() else -1


def give_back_space(access: Access) -> None:
    # In the database, deleted content is overwritten at once (secure_delete). The write-ahead log
    # may still contain it until it is emptied.
    free, free_before = 0, -1
    while free != free_before:
        free, free_before = access.write(_vacuum_batch), free
    access.empty_log()


def _vacuum_batch(write: WriteTransaction) -> int:
    """Release some pages of the database; returns how many free pages are left."""
    select(write.connection, f"PRAGMA incremental_vacuum({SLICE_PAGES})")
    ((free,),) = select(write.connection, "PRAGMA freelist_count")
    return int(free)
