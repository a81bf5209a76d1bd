"""Databases as pools of connections, each lent to one thread at a time, by calling back.

What a call of `use` holds at each moment, and what an interrupt, a fork and `close` do to it there,
is a table in ARCHITECTURE.md.
"""

import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar, TypeVarTuple

import apsw

from retrieval_store.engine.concurrency import (
    closes_before_fork,
    is_unforkable,
    reset_after_fork,
    unforkable,
)
from retrieval_store.engine.database.failures import NO_SPACE, translation
from retrieval_store.engine.database.guards import Format, guard
from retrieval_store.engine.database.opening import (
    CHECKSUM_BYTES,
    Fill,
    Lease,
    connect,
    make_tables,
    remove_empty_log,
)
from retrieval_store.engine.database.transactions import in_transaction, writing
from retrieval_store.errors import (
    DamagedError,
    LockTimeoutError,
    ReadOnlyError,
    RetrievalStoreError,
    StorageError,
    StorageFullError,
)
from retrieval_store.query.types import Mode

Reason: TypeAlias = Callable[[], Exception]  # makes the error that the use of what is closed raises
IDLE_CONNECTIONS = 4
DESCRIPTORS = 3  # that a connection takes: the file, its log, and what processes share of that, …
MORE_DESCRIPTORS = 2  # … which all of a process share
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Pool(ABC):
    """What databases in files and in memory have in common."""

    path: Path
    _format: Format

    @abstractmethod
    def use(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """What `work` returns, given a connection and these arguments."""

    @abstractmethod
    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError when the store was opened so."""

    def _translating(self, lend: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """What `lend` returns, with no fork meanwhile; errors of SQLite and the system come out as
        ours."""
        try:
            return unforkable(lend, *arguments)
        except RetrievalStoreError:
            raise
        except (apsw.Error, OSError) as error:
            raise translation(error, self.path) from error

    def at_once(
        self, look: Callable[[apsw.Connection, *Ts], T | None], *arguments: *Ts
    ) -> T | None:
        """What `look` returns, by a single statement, which shows one state without a transaction.
        None if it returns that, or fails: then a read tells what there is, or what is wrong."""
        try:
            return self.use(look, *arguments)
        except LockTimeoutError:  # a read would wait as long again
            raise
        except Exception:
            return None

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """What `work` returns, given a connection in a read transaction."""
        return self.use(in_transaction, work)

    def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """The same, in a write transaction; only one process is in one at a time."""
        self.refuse_if_read_only()
        return self.use(writing, self._format, work)


class FileDatabase(_Pool):
    """A pool of connections to one database file; `close` closes the idle ones at once and those in
    use when they come back."""

    def __init__(self, path: Path, format: Format, mode: Mode) -> None:
        self.path, self._name = path, str(path)
        self._format = format
        self._mode: Mode = mode
        self._idle: list[Lease] = []
        self._lent: dict[int, list[Lease]] = {}  # by thread, the last one last
        self._file: tuple[int, int] | None = None
        self._closed: Reason | None = None
        self._closings = 0
        closes_before_fork(self)

    @property
    def descriptors(self) -> int:
        """How many descriptors idle connections take."""
        idle = len(self._idle)
        return DESCRIPTORS + MORE_DESCRIPTORS * (idle - 1) if idle else 0

    def use(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """What `work` returns, given a connection for itself and these arguments; errors of SQLite
        and the system come out as ours."""
        thread = threading.get_ident()
        if self._lent.get(thread) and not is_unforkable():
            self._close_lost(thread)
        return self._translating(self._lend, thread, work, arguments)

    def _lend(
        self, thread: int, work: Callable[[apsw.Connection, *Ts], T], arguments: tuple[*Ts]
    ) -> T:
        """What `work` returns, given a connection that is lent to this thread meanwhile."""
        mine = self._lent.setdefault(thread, [])
        closings = self._closings
        connection = self._take(mine)
        try:
            return work(connection, *arguments)
        except apsw.Error as error:
            first = _first_error(error)
            if isinstance(first, apsw.IOError) and _lacks_space(connection, first):
                raise StorageFullError(
                    f"no space left for {self.path}; nothing was written"
                ) from first
            raise first from first.__cause__
        finally:
            self._give_back(mine, closings)

    def _take(self, mine: list[Lease]) -> apsw.Connection:
        """A connection, which is among `mine` until it is given back."""
        if self._closed is not None:
            raise self._closed()
        self._refuse_replaced()
        try:
            mine.extend(map(list.pop, [self._idle]))  # see _move_last
        except IndexError:
            mine.append(connect(self.path, self._format, self._mode))
        lease = mine[-1]
        lease.steps.taken = 0
        return lease.connection

    def _give_back(self, mine: list[Lease], closings: int) -> None:
        """The opposite of `_take`."""
        if len(self._idle) < IDLE_CONNECTIONS and closings == self._closings:
            _move_last(mine, self._idle)
        else:
            mine.pop().connection.close()
        if self._closed is not None:
            self.close(self._closed)

    def _close_lost(self, thread: int) -> None:
        """Close what was lent to a thread that isn't inside: an interrupt has kept it from coming
        back. It holds no lock, since transactions end by themselves."""
        lost = self._lent.get(thread)
        while lost:
            lost.pop().connection.close()

    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError when the store was opened so."""
        if self._mode == "read-only":
            raise ReadOnlyError(f"the store at {self.path.parent} was opened with read_only=True")

    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that was opened."""
        try:
            self._refuse_replaced()
        except OSError:
            return False
        return True

    def close_idle(self) -> None:
        """Close the idle connections, and those that are in use when they come back; others are
        opened when they are needed."""
        self._closings += 1
        while self._idle:
            with suppress(IndexError):  # another thread took the last
                self._idle.pop().connection.close()

    def close_before_fork(self) -> None:
        """Close all but what this thread itself is using: no other is inside."""
        self.close_idle()
        for thread in list(self._lent):
            if thread != threading.get_ident() or not is_unforkable():
                self._close_lost(thread)

    def close(self, reason: Reason) -> None:
        """Close all connections; from here on `use` raises `reason`."""
        self._closed = reason
        self.close_idle()
        if self._mode == "read-only" and self._file is not None:  # it was in use
            unforkable(remove_empty_log, self.path)

    def _refuse_replaced(self) -> None:
        # SQLite would go on in a file that has no name any more, and what it wrote would be gone.
        try:
            status = os.lstat(self._name)
        except FileNotFoundError:
            raise DamagedError(f"{self.path} is missing") from None
        file = (status.st_ino, status.st_dev)
        if file == self._file:
            return
        if not stat.S_ISREG(status.st_mode):  # a link could lead anywhere, a pipe would hang
            raise DamagedError(f"{self.path} is not a regular file")
        if self._file is not None:
            raise StorageError(f"{self.path} has been replaced while it was open")
        self._file = file


def _move_last(source: list[Lease], target: list[Lease]) -> None:
    """Move the last of one list behind another, in a single step, between whose halves no interrupt
    can come; raises IndexError."""
    target.extend(map(list.pop, [source]))


def _first_error(error: BaseException) -> BaseException:
    """What went wrong in a transaction: apsw rolls back also what SQLite itself has rolled back
    already, and raises what SQLite says to that."""
    before = error.__context__
    vain = isinstance(error, apsw.SQLError) and "no transaction is active" in str(error)
    return before if vain and before is not None else error


def _lacks_space(connection: apsw.Connection, error: apsw.IOError) -> bool:
    # Of a limit on the size of files SQLite says no more than that writing failed.
    wrote = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE
    return wrote and connection.system_errno in NO_SPACE


class MemoryDatabase(_Pool):
    """The same for a database in memory: one connection, for one thread at a time."""

    path = Path(":memory:")
    descriptors = 0

    def __init__(
        self, format: Format, fill: Fill | None = None, like: apsw.Connection | None = None
    ) -> None:
        """An empty one, with what `fill` adds; or one that holds what another database shows."""
        self._format = format
        self._connection = apsw.Connection(":memory:")
        guard(self._connection, None)
        self._connection.reserve_bytes("main", CHECKSUM_BYTES)  # as in files, for copies to be one
        self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if like is None:
            make_tables(self._connection, format, fill)
        else:
            with self._connection.backup("main", like, "main") as backup:
                backup.step(-1)
        self._lock = threading.RLock()
        self._closed: Reason | None = None
        reset_after_fork(self)

    def use(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """What `work` returns, given the connection and these arguments. In the middle of a write
        of this thread it is an error: it would show what the write has done so far."""
        return self._translating(self._lend, work, arguments)

    def _lend(self, work: Callable[[apsw.Connection, *Ts], T], arguments: tuple[*Ts]) -> T:
        with self._lock:
            if self._closed is not None:
                raise self._closed()
            if self._connection.txn_state() == apsw.SQLITE_TXN_WRITE:
                raise StorageError("what is in memory can't be read in the middle of a write")
            return work(self._connection, *arguments)

    def refuse_if_read_only(self) -> None:
        """Memory can be written to."""

    def is_in_place(self) -> bool:
        """Memory is."""
        return True

    def close_idle(self) -> None:
        """What is in memory can't be opened again, so it stays."""

    def forget_after_fork(self) -> None:
        """In a child: the content is the parent's."""
        self._lock = threading.RLock()
        self._closed = partial(
            StorageError, "a store in memory can't be used in a forked process; make one there"
        )

    def close(self, reason: Reason) -> None:
        """Close the connection; from here on `use` raises `reason`."""
        with self._lock:
            self._closed = reason
            self._connection.close()


Database: TypeAlias = FileDatabase | MemoryDatabase
