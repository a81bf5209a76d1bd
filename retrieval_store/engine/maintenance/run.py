"""Maintenance of a collection: copies live data, removes other data, and updates the indexes.

*Compaction*: the vectors of existing points are copied into files of the next *generation*, slice
by slice, each slice in a short write transaction, so writers wait only for milliseconds. The index
of that generation is built at the same time. Writes in the meantime are copied in the transaction
that switches to the new generation. Readers keep the files that they have mapped. Then the old
files are removed, free pages are returned, and the write-ahead log is emptied, so that no byte of
deleted data is left. If a reader finds that a file was removed, the reader reads again
(`Access.read`).

*Expiry*: points whose expiry time has passed are deleted (`remove_expired`). No result depends on
when that happens, because every call leaves expired points out anyway.

*Coding*: the codes of vectors are computed, and full segments of codes are saved. *Filling*:
missing vectors are added to an index, which is saved when it has grown enough. If too many vectors
become dead meanwhile, compaction comes first.

One thread of one process at a time maintains a directory (`as_only_process`): it holds a lock on a
lock file, which is released when its process dies. The next process removes the remains of
unfinished work. Meanwhile, other processes can load saved files and add vectors to their own copy
of an index, but they don't begin to build an index.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NoReturn, TypeVar

from retrieval_store.base import tracing
from retrieval_store.base.platform import open_lock_file, try_lock, unlock
from retrieval_store.base.system import by_holder_of
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.access import IDLE, Access, MaintenanceProgress
from retrieval_store.engine.filtering.select import expired_filter, select
from retrieval_store.engine.locks import (
    FifoLock,
    reset_after_fork,
    tries,
)
from retrieval_store.engine.maintenance.compaction import (
    compact,
    give_back_space,
    has_leftovers,
    is_overgrown,
    is_worth_compacting,
    remove_leftovers,
)
from retrieval_store.engine.maintenance.derive import (
    GROWTH_TO_SAVE,
    build_codes,
    build_lists,
    columns_ahead,
    columns_worth_saving,
    fill_index,
    follow_with_lists,
    list_words_ahead,
    load_index,
    measure_recall,
    renew,
    save_codes,
    save_columns,
    save_index,
    save_lists,
    save_small_lists,
    save_state,
    sweep,
    worth_saving,
)
from retrieval_store.engine.sqlite import LOCK_TIMEOUT_MS, translate_errors
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage import write as storage
from retrieval_store.engine.storage.files import LOCK_NAME
from retrieval_store.engine.storage.log import WriteTransaction
from retrieval_store.errors import LockTimeoutError, StorageError
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.types import Progress

# The state of at most this many points is saved while a caller closes the store.
CLOSING_STATE = 500_000
T = TypeVar("T")


class _Locks:
    """The locks with which the threads and processes take turns at maintenance. Threads of this
    process queue for one lock for each directory. files: the open lock files whose locks this
    process holds."""

    def __init__(self) -> None:
        self._of_threads: dict[Path, FifoLock] = {}
        self.files: set[BinaryIO] = set()
        reset_after_fork(self)

    def at(self, directory: Path) -> FifoLock:
        return self._of_threads.setdefault(directory, FifoLock())

    def forget_after_fork(self) -> None:
        """Called in a forked child, in which no thread does maintenance. The parent's lock files
        are closed, because otherwise their locks would outlive the parent."""
        self._of_threads, files = {}, self.files
        self.files = set()
        for file in files:
            file.close()


_locks = _Locks()


def as_only_process(access: Access, milliseconds: int, work: Callable[[bool], T]) -> T:
    """Call `work` and return its result. The argument of `work` is True if this is now the one
    thread of all processes that is allowed to do maintenance. It is False if another thread or
    process has held the lock for `milliseconds`."""
    directory = access.directory
    if directory is None or access.is_read_only:
        return work(not access.is_read_only)
    return _locks.at(directory).take_in_time(
        milliseconds / 1000,
        partial(_with_lock_file, directory, milliseconds, work),
        partial(work, False),
    )


def _with_lock_file(directory: Path, milliseconds: int, work: Callable[[bool], T]) -> T:
    with translate_errors(directory / LOCK_NAME):
        opened = open_lock_file(directory / LOCK_NAME)
    with opened as file:
        _locks.files.add(file)
        try:
            return work(any(try_lock(file) for _ in tries(milliseconds)))
        finally:
            _locks.files.discard(file)
            # A child that was forked meanwhile has closed it, because the lock isn't the child's.
            if not file.closed:
                unlock(file)


AT_ONCE = 10_000  # points that one transaction deletes while writers wait
_log = log_of("maintenance")


def remove_expired(access: Access) -> int:
    """Delete the expired points; returns the number of deleted points."""
    path = access.expires
    if path is None or access.is_read_only:
        return 0
    # Up to now only, because other points may expire all the time.
    expired = access.read(expired_filter, path)
    if expired is None:
        return 0
    removed = count = access.write(_remove_batch, access, expired)
    while count == AT_ONCE:
        count = access.write(_remove_batch, access, expired)
        removed += count
    _log.info("deleted %d points of collection %r that had expired", removed, access.name)
    return removed


def _remove_batch(write: WriteTransaction, access: Access, expired: Expression) -> int:
    cached = access.memory.before(write.connection, write.head)
    view = access.view(write.connection, cached)
    rows = select(view, None, expired, AT_ONCE)
    storage.delete(write, view.state.pks[rows])
    return len(rows)


EXPIRING, COMPACTING, CODING = "deleting what has expired", "compacting", "making codes"
MEASURING = "measuring the recall"
LISTING, INDEXING, SAVING = "making lists of words", "building the index", "saving"
CODED_EVERY = 0.2  # seconds between two codings during other work
GLANCE = 0.1  # seconds between two checks of another thread's progress


class _Overgrown(Exception):  # noqa: N818 (it isn't an error)
    """Raised to end a maintenance pass because compaction must come first."""


def optimize(access: Access, progress: Progress) -> None:
    """Compact the vector files if they have dead slots, complete the indexes and save them, and
    release all unused disk space."""
    access.refuse_if_read_only()
    work = partial(_in_passes, access, progress, LOCK_TIMEOUT_MS, _Pass.all)
    try:
        with tracing.span("optimize", access.name):
            _in_turn(access, progress, work)
        _log.debug("optimized %r", access.name)
    except StorageError:
        access.refuse_if_deleted()
        raise
    finally:
        access.account_memory()  # codes or an index may have grown


def run_once(access: Access, progress: Progress) -> bool:
    """Do all worthwhile maintenance now, without waiting for another process or thread that is
    already doing maintenance. Returns whether work is left to that process or thread, or for
    later."""
    work = partial(_do_worthwhile, access, progress)
    return access.maintaining.take_in_time(0, work, lambda: True)


def _do_worthwhile(access: Access, progress: Progress) -> bool:
    return not access.closing and _in_passes(access, progress, 0, _Pass.do_worthwhile)


@dataclass(slots=True)
class _Pass:
    """One pass of maintenance. is_alone: whether this is the one thread of all processes that is
    allowed to change files. coded_at: when the codes of new vectors were last computed, by
    `time.monotonic`."""

    access: Access
    progress: Progress
    is_alone: bool
    coded_at: float = 0.0

    def all(self) -> bool:
        """Do all possible maintenance. Returns True at the end."""
        access = self.access
        if not self.is_alone:
            _refuse_to_wait(access)
        self._expire()
        cached = access.current_state()
        state, held = cached.state, worth_saving(cached)
        used = [*access.read(columns_worth_saving), *access.read(columns_ahead)]
        remove_leftovers(access, state.head.generation)
        names, has_dead = [*state.spaces], any(space.dead for space in state.spaces.values())
        del cached, state  # some systems can't remove mapped files
        if has_dead:
            _begin(access, COMPACTING)
            compact(access, self._report)
        for name in names:
            _begin(access, CODING)
            build_codes(access, name, self._report)
            save_codes(access, name, every=True)
            _begin(access, MEASURING)
            measure_recall(access, name, self.is_alone, self._report)
            _begin(access, INDEXING)
            while fill_index(access, name, True, self._between_parts):
                pass  # the collection was closed as idle meanwhile
            save_index(access, name, 0)
        _begin(access, LISTING)
        list_words_ahead(access, partial(self._report, 0, 0), may_postpone=False)
        _begin(access, SAVING)
        save_state(access, every=True)
        renew(access, held, used)
        give_back_space(access)
        return True

    def do_worthwhile(self) -> bool:
        """Do only the maintenance that is worthwhile now. Returns whether work is left to another
        process, or for later."""
        access, is_alone = self.access, self.is_alone
        self._expire()
        _begin(access, CODING)
        cached = access.current_state()
        state, used = cached.state, access.read(columns_worth_saving)
        cached.caches.unsaved.clear()  # also if another process saves, or no process can
        self._code_all()
        _begin(access, LISTING)
        codes_first = partial(self._codes_first, 0, 0)
        follow_with_lists(access, codes_first)
        for name in state.spaces:  # early, because queries can then use the saved files
            load_index(access, name, at_once=False)
        is_to_compact = is_alone and any(map(is_worth_compacting, state.spaces.values()))
        if is_to_compact or (is_alone and access.read(has_leftovers, access.directory)):
            remove_leftovers(access, state.head.generation)
        if is_to_compact:
            del cached, state
            _begin(access, COMPACTING)
            compact(access, self._report)
            give_back_space(access)
            _begin(access, CODING)
            state = access.current_state().state
            self._code_all()  # the codes of the new generation
        _begin(access, LISTING)
        build_lists(access, codes_first)
        follow_with_lists(access, codes_first)
        is_left = False
        for name in state.spaces:
            _begin(access, INDEXING)
            may_begin = is_alone or access.is_read_only
            is_left |= fill_index(
                access, name, may_begin, self._between_background_parts, at_once=False
            )
            _begin(access, MEASURING)
            is_left |= measure_recall(access, name, is_alone, self._codes_first, at_once=False)
            if is_alone:
                save_codes(access, name)
                save_index(access, name, GROWTH_TO_SAVE)
        _begin(access, SAVING)
        if is_alone:
            save_state(access, codes_first)
            is_left |= save_lists(access, codes_first)
            is_left |= list_words_ahead(access, codes_first)
            save_columns(access, codes_first, before=used)
        return is_left

    def _expire(self) -> None:
        if self.is_alone and self.access.expires is not None:
            _begin(self.access, EXPIRING)
            remove_expired(self.access)

    def _report(self, done: int, total: int) -> None:
        """Report progress to the caller, and to threads that wait for their turn."""
        self.access.maintained = self.access.maintained.advanced(done, total)
        self.progress(done, total)

    def _between_parts(self, done: int, total: int) -> None:
        """Called between two parts of filling an index, which can take minutes. Reports progress,
        and ends the pass if compaction must come first."""
        self._report(done, total)
        self._compaction_first()

    def _between_background_parts(self, done: int, total: int) -> None:
        """Like `_between_parts`, but for work that no caller waits for: codes of new vectors are
        computed in between."""
        self._codes_first(done, total)
        self._compaction_first()

    def _compaction_first(self) -> None:
        """Start the pass again if so much was written during the pass that an index would include
        dead vectors."""
        if self.is_alone and is_overgrown(self.access):
            raise _Overgrown

    def _codes_first(self, done: int, total: int) -> None:
        """Called between two steps of long work. Computes the codes of vectors that were written
        during the work, since queries compare vectors without codes one by one, which is slow."""
        self._report(done, total)
        if time.monotonic() >= self.coded_at + CODED_EVERY:
            self._code_all()

    def _code_all(self) -> None:
        for name in self.access.current_state().state.spaces:
            build_codes(self.access, name, self._report)
        self.coded_at = time.monotonic()


def _in_turn(access: Access, progress: Progress, work: Callable[[], bool]) -> None:
    """Call `work` when it is this thread's turn; `work` must return True. Until then the progress
    of the thread that holds the lock is reported."""
    done_before = 0
    while not access.maintaining.take_in_time(GLANCE, work, lambda: False):
        other_work = access.maintained
        progress(max(0, other_work.done - done_before), other_work.total)
        done_before = other_work.done


def _begin(access: Access, doing: str) -> None:
    """Record the current maintenance activity. doing: a phrase that describes it."""
    access.maintained = MaintenanceProgress(doing, since=time.monotonic())


def _refuse_to_wait(access: Access) -> NoReturn:
    holder = "" if access.directory is None else by_holder_of(access.directory / LOCK_NAME)
    raise LockTimeoutError(
        f"collection {access.name!r} has been maintained by another process for more than "
        f"{LOCK_TIMEOUT_MS // 1000} s{holder}"
    )


def _in_passes(
    access: Access, progress: Progress, milliseconds: int, work: Callable[[_Pass], T]
) -> T:
    """Call `work` by `as_only_process`, and return its result. `work` is called again each time it
    ends early because compaction must come first."""
    return as_only_process(access, milliseconds, partial(_again, access, progress, work))


def _again(access: Access, progress: Progress, work: Callable[[_Pass], T], is_alone: bool) -> T:
    try:
        while True:
            with suppress(_Overgrown):
                return work(_Pass(access, progress, is_alone))
    # A deletion may have released vectors in memory, for example.
    except (LookupError, ValueError):
        access.refuse_if_deleted()
        raise
    finally:
        access.maintained = IDLE


def save_indexes(access: Access, seconds: float) -> None:
    """Save indexes that have grown, before the collection is closed. They are saved only if no
    other process does maintenance, and if background maintenance stops within `seconds`. Large
    lists of words aren't saved here, because background maintenance saves them soon after they are
    built."""
    save = partial(as_only_process, access, 0, partial(_save_indexes, access))
    try:
        access.maintaining.take_in_time(seconds, save, lambda: None)
    except Exception as error:  # for example a plugin's error; in any case the index is rebuilt
        _log.warning("an index of collection %r wasn't saved on closing: %s", access.name, error)


def _save_indexes(access: Access, is_alone: bool) -> None:
    if is_alone:
        for name in access.current_state().state.spaces:
            save_codes(access, name, every=True)
            save_index(access, name, GROWTH_TO_SAVE / 2)
        save_state(access, most=CLOSING_STATE)
        save_small_lists(access)


def forget_derived(access: Access) -> None:
    """Drop all derived files, whichever process wrote them, and their data in memory. They are
    rebuilt when needed."""
    access.forget()  # so that no thread continues to build a derived file
    access.maintaining.take(partial(as_only_process, access, 0, partial(_forget_derived, access)))


def _forget_derived(access: Access, is_alone: bool) -> None:
    access.write(derived.forget_all)
    if is_alone:
        sweep(access)
    access.forget()
