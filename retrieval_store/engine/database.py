"""SQLite through apsw: opening databases of ours, borrowing connections, naming what went wrong.

Every database uses the checksum VFS, so a flipped bit in a page is an error and not an answer, and
carries an application id and a format version.
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import apsw
import apsw.sqlite_extra

from retrieval_store.errors import (
    ClientClosedError,
    DamagedError,
    FormatError,
    LockTimeoutError,
    RetrievalStoreError,
    StorageError,
    StorageFullError,
)

Durability: TypeAlias = Literal["full", "relaxed"]

LOCK_TIMEOUT_MS = 30_000
CHECKSUM_BYTES = 8  # at the end of each page, as the checksum VFS wants them
CHECKSUM_VFS = "cksmvfs"
IDLE_CONNECTIONS = 4
_registering = threading.Lock()


@dataclass(frozen=True, slots=True)
class Format:
    """What one kind of database of ours is made of."""

    application_id: int
    version: int
    schema: str


def _register_checksum_vfs() -> None:
    """Once per process. The extension makes itself the default; other users of apsw keep theirs."""
    with _registering:
        if CHECKSUM_VFS not in apsw.vfs_names():
            default = apsw.vfs_names()[0]
            apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
            apsw.set_default_vfs(default)


def create(path: Path, format: Format) -> None:
    """Make the database unless it is there; several processes may do so at once."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    with translated(path), closing(_opened(path, flags, "full")) as connection:
        connection.reserve_bytes("main", CHECKSUM_BYTES)
        with transaction(connection, "EXCLUSIVE"):
            if not select(connection, "SELECT 1 FROM sqlite_schema"):
                connection.execute(f"PRAGMA application_id = {format.application_id}")
                connection.execute(f"PRAGMA user_version = {format.version}")
                connection.execute(format.schema)
        connection.execute("PRAGMA journal_mode = WAL")
    sync_directory(path.parent)


def connect(path: Path, format: Format, durability: Durability) -> apsw.Connection:
    """A connection to a database that exists; raises FormatError when it isn't one of ours."""
    with translated(path):
        connection = _opened(path, apsw.SQLITE_OPEN_READWRITE, durability)
        _check_format(connection, path, format)
        return connection


def connect_memory(format: Format) -> apsw.Connection:
    """A new database in memory."""
    connection = apsw.Connection(":memory:")
    connection.execute(format.schema)
    return connection


def _opened(path: Path, flags: int, durability: Durability) -> apsw.Connection:
    _register_checksum_vfs()
    connection = apsw.Connection(str(path), flags=flags, vfs=CHECKSUM_VFS)
    connection.set_busy_timeout(LOCK_TIMEOUT_MS)
    # Relaxed leaves out the sync of the write-ahead log at each commit, nothing else.
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
    return connection


def _check_format(connection: apsw.Connection, path: Path, format: Format) -> None:
    query = "PRAGMA application_id; PRAGMA user_version"
    (application_id,), (version,) = select(connection, query)
    if application_id != format.application_id:
        raise FormatError(f"{path} is not a database of retrieval-store of the expected kind")
    if version > format.version:
        raise FormatError(
            f"{path} has format version {version}; this retrieval-store reads up to "
            f"{format.version}: install a newer one"
        )


class FileDatabase:
    """A pool of connections to one database file; `close` closes the idle ones at once and the
    borrowed ones when they come back."""

    def __init__(self, path: Path, format: Format, durability: Durability) -> None:
        self.path = path
        self._format = format
        self._durability: Durability = durability
        self._idle: list[apsw.Connection] = []
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[apsw.Connection]:
        """A connection for one thread; a transaction left open is rolled back."""
        if self._closed:
            raise ClientClosedError(f"the store at {self.path.parent} is closed")
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect(self.path, self._format, self._durability)
        try:
            with translated(self.path):
                yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if self._closed or len(self._idle) >= IDLE_CONNECTIONS:
                connection.close()
            else:
                self._idle.append(connection)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class MemoryDatabase:
    """The same for a database in memory: one connection, one borrower at a time."""

    path = Path(":memory:")

    def __init__(self, format: Format) -> None:
        self._connection = connect_memory(format)
        self._lock = threading.RLock()
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[apsw.Connection]:
        """The connection; a transaction left open is rolled back."""
        with self._lock:
            if self._closed:
                raise ClientClosedError("the store in memory is closed")
            try:
                with translated(self.path):
                    yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.close()


Database: TypeAlias = FileDatabase | MemoryDatabase


def select(connection: apsw.Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a query at once, so that no statement stays open."""
    return connection.execute(query, parameters).fetchall()


@contextmanager
def transaction(connection: apsw.Connection, mode: str) -> Iterator[None]:
    """BEGIN … COMMIT, or ROLLBACK when the body or the commit fails."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some failures have rolled back already
            connection.execute("ROLLBACK")
        raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and the system as ours, naming the file."""
    try:
        yield
    except apsw.BusyError as error:
        raise LockTimeoutError(
            f"{path} was locked by another writer for more than {LOCK_TIMEOUT_MS // 1000} s"
        ) from error
    except apsw.FullError as error:
        raise StorageFullError(f"no space left for {path}; nothing was written") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    except apsw.IOError as error:
        if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
            raise DamagedError(f"{path} is damaged: a page's checksum is wrong") from error
        raise StorageError(f"{path}: {error}") from error
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
        raise StorageError(f"{path}: {error}") from error
    except RetrievalStoreError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFullError(f"no space left below {path.parent}: {error}") from error
        raise StorageError(f"{path}: {error}") from error


def sync_directory(path: Path) -> None:
    """Make the names in the directory durable; only then is a new file there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
