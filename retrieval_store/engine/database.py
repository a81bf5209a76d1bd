"""SQLite through apsw: opening databases of ours, lending connections, naming what went wrong.

Every database uses the checksum VFS, so a flipped bit in a page is an error and not an answer, and
carries an application id and a format version. None is trusted: its schema must be ours to the
letter, nothing in it is run, no file beside it is opened that isn't one of ours, and no statement
takes longer than its size can explain.

Connections and transactions are held by functions that call back, and by `with` on what is made of
C; see `locking` for why.
"""

import errno
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast

import apsw
import apsw.sqlite_extra

from retrieval_store.engine.forking import aware, is_unforkable, rests_before_fork, unforkable
from retrieval_store.engine.guards import (
    Steps,
    guard,
    refuse_odd_files_beside,
    refuse_other_schema,
)
from retrieval_store.errors import (
    DamagedError,
    FormatError,
    LockTimeoutError,
    ReadOnlyError,
    RetrievalStoreError,
    StorageError,
    StorageFullError,
)

Mode: TypeAlias = Literal["full", "relaxed", "read-only"]
Fill: TypeAlias = Callable[[apsw.Connection], None]
Reason: TypeAlias = Callable[[], Exception]  # makes the error that the use of what is closed raises

LOCK_TIMEOUT_MS = 30_000
# Rows of one query, from which on they are counted. More than are ever read at once by keys, which
# may name the same row many times.
MANY_ROWS = 32_768
PAGE_BYTES, LEAST_ROW = 4096, 6  # a row has its place in a page, its length, its key and its types
CHECKSUM_BYTES = 8  # at the end of each page, as the checksum VFS wants them
CHECKSUM_VFS = "cksmvfs"
IDLE_CONNECTIONS = 4
CACHE_KIB = 16 * 1024  # of pages at most, for each connection; 2 MiB made a fetch twice as slow
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
T = TypeVar("T")
_registering = threading.RLock()  # reentrant: a client may be collected meanwhile


@dataclass(frozen=True, slots=True)
class Format:
    """What one kind of database of ours is made of. schema: of the first version; migrations: for
    each older version what makes the next one of it; readable: the oldest version that can be read
    as it is; main_table: one that is there in all versions."""

    application_id: int
    version: int
    main_table: str
    schema: str
    migrations: Mapping[int, str] = field(default_factory=dict)
    readable: int = 1

    def statements(self, version: int) -> str:
        """What makes a database of that version."""
        return "".join([self.schema, *(self.migrations[v] for v in range(1, version))])


def _register_checksum_vfs() -> None:
    """Once per process. The extension makes itself the default; other users of apsw keep theirs."""
    with _registering:
        if CHECKSUM_VFS not in apsw.vfs_names():
            apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
        first, *others = apsw.vfs_names()
        if first == CHECKSUM_VFS:  # just now, or an interrupt came before what follows
            apsw.set_default_vfs(others[0])


def create(path: Path, format: Format, fill: Fill | None = None) -> None:
    """Make the database unless it is there; several processes may do so at once. `fill` adds to
    the tables. It is made whole under another name and then linked, so nobody ever sees half of
    it, and of two processes one comes first."""
    with translated(path):
        unforkable(partial(_create, path, format, fill))


def _create(path: Path, format: Format, fill: Fill | None) -> None:
    if not path.exists():
        made = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        try:
            with closing(_opened(made, flags, "full")) as connection:
                connection.reserve_bytes("main", CHECKSUM_BYTES)
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA journal_mode = WAL")
                in_transaction(connection, partial(_fill, format=format, fill=fill))
            with suppress(FileExistsError):
                os.link(made, path)
        finally:
            made.unlink(missing_ok=True)
        sync_directory(path.parent)


def _fill(connection: apsw.Connection, format: Format, fill: Fill | None) -> None:
    connection.execute(f"PRAGMA application_id = {format.application_id}")
    connection.execute(f"PRAGMA user_version = {format.version}")
    connection.execute(format.statements(format.version))
    if fill is not None:
        fill(connection)


@dataclass(frozen=True, slots=True)
class Lent:
    """A connection of a pool, and what counts its steps. Not a class of connections of our own, nor
    weak references to them: with both, the interpreter crashed when threads closed some."""

    connection: apsw.Connection
    steps: Steps


def connect(path: Path, format: Format, mode: Mode) -> Lent:
    """A connection to a database that exists; raises FormatError when it isn't one of ours."""
    with translated(path), contradictions(path):
        refuse_odd_files_beside(path)
        connection = _opened(path, apsw.SQLITE_OPEN_READWRITE, mode)
        try:
            steps = guard(connection, path)
            version = _version(connection, path, format)
            if version < (format.readable if mode == "read-only" else format.version):
                version = _migrate(connection, path, format, mode)
            refuse_other_schema(connection, format.statements(version), path)
        except BaseException:
            connection.close()
            raise
        return Lent(connection, steps)


def _opened(path: Path, flags: int, mode: Mode) -> apsw.Connection:
    _register_checksum_vfs()
    name = str(path)
    if mode == "read-only":
        flags, name = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, _read_only_uri(path)
    connection = apsw.Connection(name, flags=flags, vfs=CHECKSUM_VFS)
    connection.set_busy_timeout(LOCK_TIMEOUT_MS)
    # Relaxed leaves out the sync of the write-ahead log at each commit, nothing else.
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'relaxed' else 'FULL'}")
    connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _read_only_uri(path: Path) -> str:
    """Where nothing can be written SQLite can't coordinate with writers, nor read a write-ahead
    log; there are no writers there, and a log only if the store wasn't closed."""
    if os.access(path.parent, os.W_OK):
        return f"{path.as_uri()}?mode=ro"
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise StorageError(
            f"{log} holds changes that can't be read where nothing can be written: open and close "
            "the store once where it was made"
        )
    return f"{path.as_uri()}?immutable=1"


def _version(connection: apsw.Connection, path: Path, format: Format) -> int:
    """The format version of a database, which is one that this code can use or migrate."""
    query = "PRAGMA application_id; PRAGMA user_version"
    (application_id,), (version,) = select(connection, query)
    if application_id != format.application_id:
        raise FormatError(f"{path} is not a database of retrieval-store of the expected kind")
    if connection.reserve_bytes("main") != CHECKSUM_BYTES:
        raise DamagedError(f"{path} is damaged: its pages have no checksums")
    if version > format.version:
        raise FormatError(
            f"{path} has format version {version}; this retrieval-store reads up to "
            f"{format.version}: install a newer one"
        )
    if version < format.version and version not in format.migrations:
        raise FormatError(f"{path} has format version {version}, which never was in use")
    return int(version)


def _migrate(connection: apsw.Connection, path: Path, format: Format, mode: Mode) -> int:
    """Bring an older database up to date, in one transaction; returns its version."""
    if mode == "read-only":
        raise FormatError(
            f"{path} has an older format, which can't be brought up to date with read_only=True: "
            "open the store once without"
        )

    def migrate(connection: apsw.Connection) -> int:
        # Another process may have done it meanwhile.
        for version in range(_version(connection, path, format), format.version):
            connection.execute(format.migrations[version])
        connection.execute(f"PRAGMA user_version = {format.version}")
        return format.version

    return writing(connection, format, migrate)


class FileDatabase:
    """A pool of connections to one database file; `close` closes the idle ones at once and those in
    use when they come back."""

    def __init__(self, path: Path, format: Format, mode: Mode) -> None:
        self.path = path
        self._format = format
        self._mode: Mode = mode
        self._idle: list[Lent] = []
        self._lent: dict[int, list[Lent]] = {}  # by thread, the last one last
        self._file: tuple[int, int] | None = None
        self._closed: Reason | None = None
        self._rests = 0
        rests_before_fork(self)

    def use(self, work: Callable[[apsw.Connection], T]) -> T:
        """What `work` returns, given a connection for itself; errors of SQLite and the system come
        out as ours."""

        def inside() -> T:
            mine = self._lent.setdefault(threading.get_ident(), [])
            rests = self._rests
            connection = self._take(mine)
            try:
                return work(connection)
            except apsw.Error as error:
                first = _first_error(error)
                if isinstance(first, apsw.IOError) and _lacks_space(connection, first):
                    raise StorageFullError(
                        f"no space left for {self.path}; nothing was written"
                    ) from first
                raise first from first.__cause__
            finally:
                self._give_back(mine, rests)

        if not is_unforkable():
            self._close_lost(threading.get_ident())
        try:
            return unforkable(inside)
        except RetrievalStoreError:
            raise
        except (apsw.Error, OSError) as error:
            raise _translation(error, self.path) from error

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """The same, in a read transaction."""
        return self.use(lambda connection: in_transaction(connection, work))

    def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """The same, in a write transaction; only one process is in one at a time."""
        self.refuse_if_read_only()
        return self.use(lambda connection: writing(connection, self._format, work))

    def _take(self, mine: list[Lent]) -> apsw.Connection:
        """A connection, which is among `mine` until it is given back."""
        if self._closed is not None:
            raise self._closed()
        self._refuse_replaced()
        try:
            _move_last(self._idle, mine)
        except IndexError:
            mine.append(connect(self.path, self._format, self._mode))
        mine[-1].steps.taken = 0
        return mine[-1].connection

    def _give_back(self, mine: list[Lent], rests: int) -> None:
        """The opposite of `_take`."""
        if len(self._idle) < IDLE_CONNECTIONS and rests == self._rests:
            _move_last(mine, self._idle)
        else:
            mine.pop().connection.close()
        if self._closed is not None:
            self.rest()

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

    def rest(self) -> None:
        """Close the idle connections, and those that are in use when they come back; others are
        opened when they are needed."""
        self._rests += 1
        while self._idle:
            with suppress(IndexError):  # another thread took the last
                self._idle.pop().connection.close()

    def rest_before_fork(self) -> None:
        """Close all but what this thread itself is using: no other is inside."""
        self.rest()
        for thread in list(self._lent):
            if thread != threading.get_ident() or not is_unforkable():
                self._close_lost(thread)

    def close(self, reason: Reason) -> None:
        """Close all connections; from here on `use` raises `reason`."""
        self._closed = reason
        self.rest()

    def _refuse_replaced(self) -> None:
        # SQLite would go on in a file that has no name any more, and what it wrote would be gone.
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            raise DamagedError(f"{self.path} is missing") from None
        if not stat.S_ISREG(status.st_mode):  # a link could lead anywhere, a pipe would hang
            raise DamagedError(f"{self.path} is not a regular file")
        file = (status.st_dev, status.st_ino)
        if self._file is None:
            self._file = file
        elif self._file != file:
            raise StorageError(f"{self.path} has been replaced while it was open")


def _move_last(source: list[Lent], target: list[Lent]) -> None:
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


class MemoryDatabase:
    """The same for a database in memory: one connection, for one thread at a time."""

    path = Path(":memory:")

    def __init__(self, format: Format, fill: Fill | None = None) -> None:
        self._format = format
        self._connection = apsw.Connection(":memory:")
        guard(self._connection, None)
        self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _fill(self._connection, format, fill)
        self._lock = threading.RLock()
        self._closed: Reason | None = None
        aware(self)

    def use(self, work: Callable[[apsw.Connection], T]) -> T:
        """What `work` returns, given the connection."""

        def inside() -> T:
            with self._lock:
                if self._closed is not None:
                    raise self._closed()
                with translated(self.path):
                    return work(self._connection)

        return unforkable(inside)

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """The same, in a read transaction."""
        return self.use(lambda connection: in_transaction(connection, work))

    def write(self, work: Callable[[apsw.Connection], T]) -> T:
        """The same, in a write transaction."""
        return self.use(lambda connection: writing(connection, self._format, work))

    def refuse_if_read_only(self) -> None:
        """Memory can be written to."""

    def is_in_place(self) -> bool:
        """Memory is."""
        return True

    def rest(self) -> None:
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


def select(connection: apsw.Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a query at once, so that no statement stays open. More of them than the database
    has room for come from a tree whose pages lead to the same pages again and again."""
    cursor = connection.execute(query, parameters)
    try:
        rows = list(islice(cursor, MANY_ROWS))
        if len(rows) == MANY_ROWS:
            most = connection.pragma("page_count") * PAGE_BYTES // LEAST_ROW
            rows += islice(cursor, most)
            if len(rows) > most:
                raise apsw.CorruptError(f"a query finds more than {most} rows in it")
    finally:
        cursor.close(True)  # which the traceback of an error would keep open
    return rows


def in_transaction(connection: apsw.Connection, work: Callable[[apsw.Connection], T]) -> T:
    """What `work` returns, in a transaction, which shows what there is at its first look."""
    with _rolled_back_after_errors(connection):
        return work(connection)


def writing(connection: apsw.Connection, format: Format, work: Callable[[apsw.Connection], T]) -> T:
    """The same in a write transaction, which is committed unless `work` raises."""
    if connection.in_transaction:
        raise StorageError("a write can't be part of a read or of another write")

    def write(connection: apsw.Connection) -> T:
        # It waits here for the lock, and below for the disk. Where apsw itself begins and ends a
        # transaction it keeps the interpreter meanwhile, so what it ends is an empty one.
        connection.execute(f"DELETE FROM {format.main_table} WHERE 0")
        result = work(connection)
        connection.execute("COMMIT; BEGIN")
        return result

    return in_transaction(connection, write)


def _rolled_back_after_errors(connection: apsw.Connection) -> "_Transaction":
    return cast(_Transaction, connection)


class _Transaction(Protocol):
    """What a connection is in a `with` block: a transaction, which errors end and come out of."""

    def __enter__(self) -> object: ...
    def __exit__(self, *error: Any) -> None: ...


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Errors of SQLite and the system as ours, naming the file."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise _translation(error, path) from error


def _translation(error: BaseException, path: Path) -> RetrievalStoreError:
    match error:
        case RetrievalStoreError():
            return error
        case apsw.BusyError():
            waited = LOCK_TIMEOUT_MS // 1000
            return LockTimeoutError(f"{path} was locked by another writer for more than {waited} s")
        case apsw.FullError():
            return StorageFullError(f"no space left for {path}; nothing was written")
        case apsw.CorruptError() | apsw.NotADBError():
            return DamagedError(f"{path} is damaged: {error}")
        case apsw.IOError() if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
            return DamagedError(f"{path} is damaged: a page's checksum is wrong")
        case apsw.InterruptError():
            return DamagedError(f"{path} is damaged: reading it would take for ever")
        case apsw.TooBigError():
            return StorageError(f"{path}: one document or payload is larger than 1 GB")
        case OSError() if error.errno in NO_SPACE:
            return StorageFullError(f"no space left below {path.parent}: {error}")
    return StorageError(f"{path}: {error}")


CONTRADICTIONS = (LookupError, OverflowError, TypeError, ValueError)


@contextmanager
def contradictions(path: Path) -> Iterator[None]:
    """Errors that only stored values can lead to, as damage: whoever wrote them kept the checksums
    right, so it is their use that shows it."""
    try:
        yield
    except RetrievalStoreError:
        raise
    except CONTRADICTIONS as error:
        raise contradiction(error, path) from error


def contradiction(error: Exception, path: Path) -> DamagedError:
    """The damage that such an error is the sign of."""
    return DamagedError(f"{path} is damaged: what it holds contradicts itself: {error}")


def tries(milliseconds: int) -> Iterator[None]:
    """Again and again, with pauses, until the time is over; for locks that can only be polled."""
    pause, deadline = threading.Event(), time.monotonic() + milliseconds / 1000
    yield
    while time.monotonic() < deadline:
        pause.wait(0.02)
        yield


def sync_directory(path: Path) -> None:
    """Make the names in the directory durable; only then is a new file there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
