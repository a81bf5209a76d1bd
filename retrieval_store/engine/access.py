"""Access to one collection: transactions on its database, and its data in memory.

Locks, in the order in which they are taken:
0. `maintaining`: one thread of this process at a time compacts.
1. `_writers`: one writing thread of this process at a time; the others queue here instead of
   polling SQLite's lock, which keeps other processes' writers out.
2. a connection, lent by the database (in memory there is only one).
3. `Memory._advancing`: held where the state in memory has to move, while a transaction starts and
   the state is brought to its `seq` (the number of the last write that it shows).
"""

import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar, TypeVarTuple

import apsw

from retrieval_store.base import tracing
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.engine.concurrency import FifoLock, reset_after_fork, tries
from retrieval_store.engine.database.failures import (
    CORRUPTION_ERRORS,
    LOCK_TIMEOUT_MS,
    ContradictionError,
    corruption_as_damage,
    corruption_error,
    locked_for_too_long,
)
from retrieval_store.engine.database.pools import Database, FileDatabase, Reason
from retrieval_store.engine.database.transactions import rolled_back_after_errors
from retrieval_store.engine.database.transactions import select as select_rows
from retrieval_store.engine.memory import CachedState, Memory
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.nearest.indexing import FindClass, built_in
from retrieval_store.engine.state.budget import BUDGET, Cache
from retrieval_store.engine.state.state import State, View, load, numbers_of
from retrieval_store.engine.storage.files import POINTS_NAME, Label
from retrieval_store.engine.storage.log import Write
from retrieval_store.engine.storage.schema import (
    POINTS,
    Head,
    numbers_of_spaces,
    read_head,
)
from retrieval_store.errors import (
    DamagedError,
    LockTimeoutError,
    NotFoundError,
    ReadOnlyError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.filters.paths import Steps
from retrieval_store.query.types import Mode

SHORTEST_PATIENCE_MS, LONGEST_PATIENCE_MS = 50, 1_600
# Memory is accounted at the end of the first calls after a write, then at every so many calls
# (memory grows without writes too, as queries load codes from files). Not at each call, since
# accounting takes half as long as the shortest one.
FIRST_CALLS, ACCOUNTED_EVERY = 4, 16
Found = TypeVar("Found")
Ts = TypeVarTuple("Ts")
A = TypeVar("A", bound="Access")


@dataclass(frozen=True, slots=True)
class Maintained:
    """What maintenance does. doing: in words, None if nothing; done, total: vectors, or points;
    since: by `time.monotonic`."""

    doing: str | None = None
    done: int = 0
    total: int = 0
    since: float = 0.0

    def further(self, done: int, total: int) -> "Maintained":
        """After so many more of so many are done."""
        return replace(self, done=self.done + done, total=total)


IDLE = Maintained()


@dataclass(frozen=True, slots=True)
class StoreHooks:
    """What a store passes to its collections. find_class: returns the class of an index by name;
    schedule_maintenance: called when there may be work for maintenance; uses_derived: whether
    derived files may be used; expires: where the points of this collection have the moment from
    which on they are gone, None where they have none; find_damage: looks at every byte of a
    collection and says what is wrong, None if nothing is."""

    find_class: FindClass = built_in
    schedule_maintenance: Callable[["Access"], None] = lambda access: None
    uses_derived: bool = True
    expires: Steps | None = None
    find_damage: Callable[["Access"], str | None] = lambda access: None


class Access:
    """One collection in a directory, or in memory when `directory` is None.

    A reader sees one consistent state, a writer makes the next. Methods raise NotFoundError once
    the collection has been deleted, by this or another process.
    """

    def __init__(
        self, database: Database, directory: Path | None, name: str, hooks: StoreHooks
    ) -> None:
        self._database = database
        self.directory = directory
        self.label = Label(name)
        self._new_locks()
        self.closing = False
        self.hooks = hooks
        self._derived_from = directory if hooks.uses_derived else None
        self.memory = Memory(
            directory, self._derived_from, hooks.find_class, database.path, self.label
        )
        self.dropped = False
        self.maintained = IDLE  # by this process
        self._held: Cache[None, None] = Cache(_evicting_weakly(self))
        self._accounted, self._calls = -1, 0
        self._sound_at = -1  # the last write after which no damage was found
        reset_after_fork(self)

    @property
    def name(self) -> str:
        """The name of the collection, as this process knows it."""
        return self.label.name

    @property
    def expires(self) -> Steps | None:
        """Where its points have the moment from which on they are gone; see `StoreHooks`."""
        return self.hooks.expires

    def _new_locks(self) -> None:
        self._writers, self.maintaining = FifoLock(), FifoLock()

    @classmethod
    def open(cls: type[A], directory: Path, name: str, mode: Mode, hooks: StoreHooks) -> A:
        """Open the collection in this directory; its files are opened when they are needed."""
        if directory.is_symlink():
            raise DamagedError(f"{directory} is a link; a collection is a directory of its own")
        database = FileDatabase(directory / POINTS_NAME, POINTS, mode)
        return cls(database, directory, name, hooks)

    def close_idle(self) -> None:
        """Close files; the next call opens them again. Data in memory stays."""
        self._database.close_idle()
        if self.directory is not None:
            self.memory.close_idle()

    def forget(self) -> None:
        """Close files and drop all data in memory; the next call loads them again."""
        self._database.close_idle()
        if self.directory is not None:
            self.memory.forget()

    @property
    def descriptors(self) -> int:
        """How many file descriptors the collection takes."""
        return self._database.descriptors + self.memory.descriptors

    def account_memory(self) -> None:
        """Report the bytes in memory to the budget of this process."""
        if self.directory is not None:
            self._held.put(None, None, self.memory.nbytes)

    def evict(self) -> None:
        """Drop the data in memory, which the next call loads again; not during maintenance, since
        an index may be half built."""
        if self.maintaining.taken:
            self.account_memory()
        else:
            self._accounted = -1
            self.memory.forget()

    def _settle(self, seq: int) -> None:
        """Account memory and keep to the budget, at the end of a call whose state was that of the
        write `seq`; no lock is held."""
        self._held.get(None)
        self._calls = self._calls + 1 if seq == self._accounted else 1
        if self._calls <= FIRST_CALLS or self._calls % ACCOUNTED_EVERY == 0:
            self._accounted = seq
            self.account_memory()
        BUDGET.settle(self._held)

    def close(self, reason: Reason) -> None:
        """Close files and drop everything; from here on methods raise `reason`. Calls under way in
        other threads keep what they use until they end."""
        self._database.close(reason)
        self.memory.forget()
        self._held.drop(None)  # so that a reference to a closed collection holds no memory

    def forget_after_fork(self) -> None:
        """In a child: begin anew, with locks that no thread of the parent's holds."""
        self._new_locks()
        self.memory.forget_after_fork()

    def read(self, look: Callable[[SearchView], Found]) -> Found:
        """Call `look` with one consistent state, and return its result. `look` is called again if
        maintenance has removed a file after the state was read and before the file was opened; and
        once more, with everything loaded anew, after an error that contradictions can lead to, as
        where a derived file was overwritten while it was mapped. If it comes again, it is damage
        where a check of all bytes finds any, else a programming error, which is raised as it is."""
        is_new = self.directory is None
        while True:
            seen: list[State] = []
            try:
                found = self._database.use(self._show, look, seen)
                self._settle(seen[0].head.seq)
                return found
            except RetrievalStoreError as error:
                self._go_on_after(error, seen)
            except CORRUPTION_ERRORS as error:
                if not is_new:
                    self.memory.forget()
                    is_new = True
                    continue
                self._go_on_after(self._damage_behind(error), seen)

    def _damage_behind(self, error: Exception) -> DamagedError:
        """The damage that a check of all bytes finds after an error; raises the error itself if
        there is none. Every byte is looked at once for each write."""
        path, problem = self._database.path, None
        if not isinstance(error, ContradictionError):
            with corruption_as_damage(path):
                seq = self.use(lambda connection: read_head(connection).seq)
            problem = None if seq == self._sound_at else self.hooks.find_damage(self)
            if problem is None:
                self._sound_at = seq
                raise error
        damage = corruption_error(error, path, problem)
        damage.__cause__ = error
        return damage

    def at_once(
        self, look: Callable[[apsw.Connection, *Ts], Found | None], *arguments: *Ts
    ) -> Found | None:
        """What `look` returns, given a connection and these arguments: by a single statement, which
        shows one state without a transaction. None if it returns that, or fails: then `read` tells
        what there is, or what is wrong."""
        return self._database.at_once(look, *arguments)

    def _show(
        self,
        connection: apsw.Connection,
        look: Callable[[SearchView], Found],
        seen: list[State],
    ) -> Found:
        """Call `look` in a read transaction, with the state that it shows, which is also put in
        `seen`."""
        with rolled_back_after_errors(connection):
            cached = self.memory.now(connection)
            if cached is not None:
                seen.append(cached.state)
                return look(self.view(connection, cached))
        with rolled_back_after_errors(connection):
            cached = self.memory.at(connection, self._head)
            seen.append(cached.state)
            return look(self.view(connection, cached))

    def _go_on_after(self, error: RetrievalStoreError, seen: list[State]) -> None:
        """Raise the error of a read; return if it comes of a file that maintenance has removed."""
        if isinstance(error, StorageError):
            self._refuse_if_gone()
        if not isinstance(error, DamagedError) or not seen or not self.has_moved_on(seen[0]):
            raise error

    def cached(self) -> CachedState:
        """The state in memory, brought up to date, and its caches."""
        return self.read(lambda view: CachedState(view.state, view.kept))

    def state_in_database(self, view: SearchView) -> State:
        """The state of a view, loaded anew from the database. The state in memory may come from a
        derived file, which must not decide about anything that can't be made again."""
        return load(view.connection, view.state.head, self.memory.open_vectors).state

    def view(self, connection: apsw.Connection, cached: CachedState) -> SearchView:
        """The view of a call, in a transaction that shows this state."""
        return View(connection, cached.state, cached.kept, self._derived_from, self.name)

    def write(self, change: Callable[[Write], Found]) -> Found:
        """Call `change` in a write transaction, and return its result; the transaction is committed
        unless `change` raises."""

        def use(connection: apsw.Connection) -> Found:
            tracing.event("begun")  # until here it waited for other writers
            return change(Write(connection, self._head(connection), self.memory.open_vectors))

        def write() -> Found:
            return self._unless_gone(lambda: self._database.write(use))

        self._database.refuse_if_read_only()
        try:
            made = self._writers.take_within(LOCK_TIMEOUT_MS / 1000, write, self._refuse_to_wait)
        except RetrievalStoreError:
            raise
        except CORRUPTION_ERRORS as error:
            raise self._damage_behind(error) from error
        BUDGET.settle(self._held)
        return made

    def _refuse_to_wait(self) -> NoReturn:
        raise LockTimeoutError(
            f"other threads have been writing to collection {self.name!r} for more than "
            f"{LOCK_TIMEOUT_MS // 1000} s"
        )

    def schedule_maintenance(self) -> None:
        """Tell the store that there may be work for maintenance."""
        self.hooks.schedule_maintenance(self)

    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError if the store was opened as read-only."""
        self._database.refuse_if_read_only()

    @property
    def is_read_only(self) -> bool:
        """Whether the store was opened as read-only."""
        try:
            self._database.refuse_if_read_only()
        except ReadOnlyError:
            return True
        return False

    def empty_log(self) -> None:
        """Copy the write-ahead log into the database and truncate the log; raises LockTimeoutError
        when a reader needs the log for too long."""
        patience = SHORTEST_PATIENCE_MS
        for _ in tries(LOCK_TIMEOUT_MS):
            if self.use(partial(_emptied, patience=patience)):
                return
            patience = min(2 * patience, LONGEST_PATIENCE_MS)
        raise LockTimeoutError(
            f"a reader of collection {self.name!r} has kept the write-ahead log for more than "
            f"{LOCK_TIMEOUT_MS // 1000} s; deleted content may be left in it"
        )

    def has_moved_on(self, state: State) -> bool:
        """Whether files that a state refers to may have been removed since: by the end of a
        compaction, or because a vector space was dropped."""

        def look(connection: apsw.Connection) -> bool:
            head = self._head(connection)
            if head.seq == state.head.seq:  # even if a tampered store contradicts itself
                return False
            compacted = head.generation != state.head.generation
            return compacted or not numbers_of(state) <= numbers_of_spaces(connection)

        return self.use(look)

    def _head(self, connection: apsw.Connection) -> Head:
        with corruption_as_damage(self._database.path):
            head = read_head(connection)
        if head.dropped:
            raise self._gone()
        return head

    def _gone(self) -> NotFoundError:
        self.dropped = True
        return NotFoundError.of_deleted(f"Collection {self.name!r}")

    def use(self, work: Callable[[apsw.Connection], Found]) -> Found:
        """Call `work` with a connection on which no transaction was begun, and return its result;
        NotFoundError if the collection is deleted."""
        return self._unless_gone(lambda: self._database.use(work))

    def _unless_gone(self, work: Callable[[], Found]) -> Found:
        """The result of `work`; NotFoundError if it fails because the collection is deleted."""
        try:
            return work()
        except LockTimeoutError as error:
            path = self._database.path
            what = f"collection {self.name!r} in {path.parent.parent}"
            raise locked_for_too_long(what, path) from error
        except StorageError:
            self._refuse_if_gone()
            raise

    def _refuse_if_gone(self) -> None:
        if self.directory is not None and not self.directory.exists():
            raise self._gone() from None


def _evicting_weakly(access: Access) -> Callable[[], None]:
    """A function that evicts a collection's data from memory, with only a weak reference to the
    collection, so that the budget keeps none alive."""
    reference = weakref.ref(access)

    def evict() -> None:
        there = reference()
        if there is not None:
            there.evict()

    return evict


def _emptied(connection: apsw.Connection, patience: int) -> bool:
    """Whether the write-ahead log could be emptied."""
    # PASSIVE does most of the work without a lock. TRUNCATE does the rest; while it waits for
    # readers, writers have to wait too. So it waits for `patience` only, which grows with each try.
    select_rows(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    connection.set_busy_timeout(patience)
    try:
        ((busy, _, _),) = select_rows(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.BusyError:
        busy = 1
    finally:
        connection.set_busy_timeout(LOCK_TIMEOUT_MS)
    return not busy
