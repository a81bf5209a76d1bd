"""SQLite through apsw: opens untrusted databases, in transactions that interrupts can't break.

Functions here take a path, a `Format` (the expected tables) and a function, which they call with a
connection in a transaction. They return its result, or raise an error from
`retrieval_store.errors`. `storage` defines what the tables mean. This module is allowed to import
`locks` and `query.types`.

- Guards. The database may come from an untrusted source, so its schema must equal the expected
  schema exactly. A database is refused if files next to it could make SQLite hang, or read or
  change other files. Triggers, views, and functions that a schema calls are switched off. The time
  of one use of a connection is limited.
- Errors of SQLite and the system are *translated* into ours, which name the file. Corrupt content
  with correct checksums leads to Python's built-in errors (`CORRUPTION_ERRORS`). In code that only
  reads stored values, these errors become DamagedError; ContradictionError becomes DamagedError
  everywhere. In other code they may be programming errors, and a check of all bytes decides
  (`Access.read`).
- Transactions. A transaction is a `with` block on the connection itself, which is implemented in C.
  The block contains only one call, of a callback; docs/design/concurrency.md explains why.
- Files. Every database uses the checksum VFS, so a flipped bit in a page causes an error instead of
  a wrong result. The file has an application id and a format version.
- Pools. A database is a pool of connections, each of which is lent to one thread at a time, while a
  callback runs. A table in docs/design/concurrency.md shows which resources a call of `use` holds
  at each step, and the effects of an interrupt, a fork or `close` during that step.
"""

import errno
import os
import stat
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

import apsw

from retrieval_store.base import budget
from retrieval_store.base.locks import ReentrantLock, UninterruptibleContext
from retrieval_store.base.platform import (
    give_name,
    open_plainly,
    sync_directory,
    sync_file,
    write_at,
)
from retrieval_store.base.system import by_holder_of, usable_cores
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.locks import (
    POLLED_EVERY,
    QueueEntry,
    closes_before_fork,
    in_turn,
    is_unforkable,
    reset_after_fork,
    unforkable,
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
from retrieval_store.query.types import Mode

# Steps of SQLite's virtual machine, some 10 ns each: the number between two checks for Ctrl-C, and
# the limit for one use of a connection, far above any honest use. A damaged tree whose pages lead
# to the same pages repeatedly never ends, even if its checksums are correct.
STEPS_AT_ONCE = 1_000_000
MAX_STEPS, STEPS_A_BYTE = 300_000_000, 100
_COMPANIONS = ("-wal", "-shm")
_JOURNAL = "-journal"
_SAFE = {
    apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER: 0,
    apsw.SQLITE_DBCONFIG_ENABLE_VIEW: 0,
    apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA: 0,
    apsw.SQLITE_DBCONFIG_DEFENSIVE: 1,
}


@dataclass(frozen=True, slots=True)
class Format:
    """The format of one kind of database. schema: the schema of the first version; migrations: for
    each earlier version, the SQL that leads to the next version; readable: the oldest version that
    can be read without migration; main_table: a table that exists in all versions."""

    application_id: int
    version: int
    main_table: str
    schema: str
    migrations: Mapping[int, str] = field(default_factory=dict)
    readable: int = 1

    def statements(self, version: int) -> str:
        """The statements that create a database of this version."""
        return "".join([self.schema, *(self.migrations[v] for v in range(1, version))])


class StepLimiter:
    """Progress handler of a connection, which SQLite calls regularly. It counts the steps of
    statements, and stops a statement that takes too many steps. Ctrl-C is handled in it, too. path:
    the path of the database, None in memory."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.taken = 0

    def __call__(self) -> bool:
        self.taken += STEPS_AT_ONCE
        if self.path is None or self.taken <= MAX_STEPS:
            return False
        size = sum(_size_of(f"{self.path}{end}") for end in ("", *_COMPANIONS))
        return self.taken > MAX_STEPS + STEPS_A_BYTE * size


def identity_of(path: Path) -> tuple[int, int] | None:
    """An identity that distinguishes a directory from a later directory at the same path; None if
    there is no directory."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_dev


def refuse_moved(directory: Path, identity: tuple[int, int] | None = None) -> None:
    """Raise StorageError if a directory with open files is gone, or has another identity."""
    directory_identity = identity_of(directory)
    if directory_identity is not None and identity is not None and directory_identity != identity:
        raise StorageError(
            f"{directory} is another directory than the one that was opened: that was moved or "
            "deleted while the store was open; open the store where it is now"
        )
    if directory_identity is None:
        missing = directory
        while not missing.parent.exists():
            missing = missing.parent
        raise StorageError(
            f"{missing} isn't there any more: the directory was moved or deleted while the store "
            "was open; open the store where it is now"
        )


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def guard(connection: apsw.Connection, path: Path | None) -> StepLimiter:
    """Guard a connection against untrusted content; returns the counter of its steps. path: None in
    memory."""
    for option, value in _SAFE.items():
        connection.config(option, value)
    steps = StepLimiter(path)
    connection.set_progress_handler(steps, STEPS_AT_ONCE)
    return steps


def refuse_foreign_journals(path: Path) -> None:
    """Raise DamagedError if SQLite would use a file next to the database that isn't ours. Our
    databases have no journals. A journal of another program can hang SQLite, change the database,
    and, with an old SQLite, have any file deleted."""
    if os.path.lexists(f"{path}{_JOURNAL}"):
        raise DamagedError(
            f"{path}{_JOURNAL} isn't a file of retrieval-store, and SQLite would obey it: look "
            "where it comes from, and take it away"
        )
    for name in _COMPANIONS:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(f"{path}{name}").st_mode):
                raise DamagedError(f"{path}{name} is not a regular file")


def refuse_other_schema(connection: apsw.Connection, statements: str, path: Path) -> None:
    """Raise DamagedError unless the database has exactly the schema that these statements
    create."""
    expected = _schema_made_by(statements)
    if _schema(connection, len(expected) + 1) != expected:
        raise DamagedError(f"{path} is damaged: its tables aren't those of this format")


@lru_cache(maxsize=16)
def _schema_made_by(statements: str) -> list[tuple[str, ...]]:
    with closing(apsw.Connection(":memory:")) as connection:
        connection.execute(statements)
        return _schema(connection, -1)


def _schema(connection: apsw.Connection, limit: int) -> list[tuple[str, ...]]:
    """The schema of the database, sorted and without white space. It has at most `limit` entries;
    -1 means no limit."""
    query = "SELECT type, name, tbl_name, sql FROM sqlite_schema LIMIT ?"
    rows = connection.execute(query, (limit,)).fetchall()
    return sorted(tuple("".join(str(value).split()) for value in row) for row in rows)


LOCK_TIMEOUT_MS = 30_000
# Before it competes, a writer waits for its turn for at most one part in this many of the timeout.
IN_TURN = 6
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Context manager: converts errors of SQLite and the system into ours, which name the file."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise translation(error, path) from error


def translation(error: BaseException, path: Path) -> RetrievalStoreError:
    """Our error that corresponds to an error of SQLite or the system."""
    match error:
        case RetrievalStoreError():
            return error
        case apsw.BusyError():
            return lock_timeout(str(path), path)
        case apsw.FullError():
            return StorageFullError(f"no space left for {path}; nothing was written")
        case apsw.CorruptError() | apsw.NotADBError():
            return DamagedError(f"{path} is damaged: {error}")
        case apsw.IOError() if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
            return DamagedError(f"{path} is damaged: a page's checksum is wrong")
        case apsw.InterruptError():
            return DamagedError(f"{path} is damaged: reading it did not finish")
        case apsw.TooBigError():
            return StorageError(f"{path}: one document or payload is larger than 1 GB")
        case OSError() if error.errno in NO_SPACE:
            return StorageFullError(f"no space left below {path.parent}: {error}")
    hint = ""
    if _can_only_be_read(error, path):
        hint = "; where nothing can be written open the store with read_only=True"
    return StorageError(f"{path}: {error}{hint}")


def _can_only_be_read(error: BaseException, path: Path) -> bool:
    """Whether an error is caused by files that this user can read but not write."""
    match error:
        case apsw.ReadOnlyError():
            return True
        case apsw.CantOpenError():
            return os.path.exists(path) and not _may(path.parent, os.W_OK)
        case OSError():
            is_refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            return is_refused and _may(path, os.R_OK)
    return False


def _may(path: Path, mode: int) -> bool:
    """Whether the effective user of this process has this kind of access to a file."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def lock_timeout(what: str, path: Path) -> LockTimeoutError:
    """The error to raise if another process has been writing to a database for too long. what: a
    phrase that names the database."""
    # A writer holds this byte of SQLite's shared memory (WAL_WRITE_LOCK in its wal.c).
    holder = by_holder_of(path.with_name(f"{path.name}-shm"), 120)
    waited = LOCK_TIMEOUT_MS // 1000
    return LockTimeoutError(f"{what} was locked by another writer for more than {waited} s{holder}")


class ContradictionError(ValueError):
    """Raised when a check finds that stored data contradicts itself."""


CORRUPTION_ERRORS = (LookupError, OverflowError, TypeError, ValueError)


@contextmanager
def corruption_as_damage(path: Path) -> Iterator[None]:
    """Context manager: raises DamagedError instead of an error that only a wrong stored value can
    cause. A wrong value can have a correct checksum, so the damage shows only when the value is
    used."""
    try:
        yield
    except RetrievalStoreError:
        raise
    except CORRUPTION_ERRORS as error:
        raise corruption_error(error, path) from error


def corruption_error(error: Exception, path: Path, problem: str | None = None) -> DamagedError:
    """The DamagedError for an error that corrupt values have caused. problem: the problem that a
    check of the files has found, or None."""
    message = f"{path} is damaged: what it holds contradicts itself: {error}"
    return DamagedError(message if problem is None else f"{message} ({problem})")


# From this many rows of one query on, rows are counted. It is more than are ever read at once by
# keys, which may name the same row many times.
MANY_ROWS = 32_768
# The minimum of a row: its pointer in a page, its length, its key and its types.
PAGE_BYTES, MIN_ROW = 4096, 6
T = TypeVar("T")


def select(connection: apsw.Connection, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """All rows of a query as a list, so that no statement stays open. Raises apsw.CorruptError if
    there are more rows than fit into the database, because then its B-tree leads to the same pages
    repeatedly."""
    cursor = connection.execute(query, parameters)
    try:
        rows = list(islice(cursor, MANY_ROWS))
        if len(rows) == MANY_ROWS:
            max_rows = connection.pragma("page_count") * PAGE_BYTES // MIN_ROW
            rows += islice(cursor, max_rows)
            if len(rows) > max_rows:
                raise apsw.CorruptError(f"a query finds more than {max_rows} rows in it")
    except BaseException:
        cursor.close(True)  # otherwise the traceback of the error would keep it open
        raise
    return rows


class SQLiteTransaction(UninterruptibleContext):
    """A transaction of a connection, for a `with` block. All reads in it see the snapshot of the
    first read. If the block raises, the transaction is rolled back."""

    __slots__ = ()


def in_transaction(connection: apsw.Connection, work: Callable[[apsw.Connection], T]) -> T:
    """Call `work` in a transaction, and return its result."""
    with SQLiteTransaction(connection):
        return work(connection)


def writing(
    connection: apsw.Connection,
    format: Format,
    work: Callable[[apsw.Connection], T],
    turns: Path | None = None,
    committed: list[object] | None = None,
) -> T:
    """Call `work` in a write transaction, and return its result. The transaction is committed
    unless `work` raises. turns: the lock file that makes writing processes take turns, or None;
    committed: a list that gets an item when the transaction is committed."""
    if connection.in_transaction:
        raise StorageError("a write can't be part of a read or of another write")

    with SQLiteTransaction(connection):
        # The connection waits here for the lock, and below for the disk. When apsw itself begins
        # and ends a transaction, it holds the GIL meanwhile. So the transaction that it ends is an
        # empty one.
        begin = partial(connection.execute, f"DELETE FROM {format.main_table} WHERE 0")
        begin() if turns is None else in_turn(turns, LOCK_TIMEOUT_MS // IN_TURN, begin)
        result = work(connection)
        noted = [] if committed is None else committed
        # No interrupt comes between the two.
        noted.extend(map(connection.execute, ["COMMIT", "BEGIN"]))
        return result


def wait_for_locks(connection: apsw.Connection, milliseconds: int) -> None:
    """Make a connection wait for SQLite's locks for at most this time. SQLite's own busy handler
    isn't used, because its pauses grow up to 100 ms, during which other connections write again and
    again."""

    def wait(tried: int) -> bool:
        time.sleep(POLLED_EVERY)
        return tried * POLLED_EVERY * 1000 < milliseconds

    connection.set_busy_handler(wait)


_log = log_of("store")
Fill: TypeAlias = Callable[[apsw.Connection], None]
CHECKSUM_BYTES = 8  # bytes at the end of each page, as the checksum VFS requires
CHECKSUM_VFS = "cksmvfs"
EXTENSION = "sqlite_extra_binaries/cksumvfs"  # SQLite appends the system's suffix for libraries
# Of pages at most, for each connection; with 2 MiB a fetch took twice as long …
CACHE_KIB = 16 * 1024
SMALL_CACHE_KIB = 1024  # … but 16 MiB are too much if dozens of threads read at the same time
TEMPLATES_KEPT = 8  # templates in memory, of some 50 KB each
_templates: dict[str, bytes] = {}  # new databases, by their key
_registering = ReentrantLock()  # reentrant, because a client may be garbage-collected meanwhile


def _register_checksum_vfs() -> None:
    """Register the checksum VFS, once per process. The extension makes itself the default VFS; the
    previous default is restored for other users of apsw."""
    with _registering:
        if CHECKSUM_VFS not in apsw.vfs_names():
            _load_checksum_vfs(apsw.Connection(":memory:"))
        first, *other_names = apsw.vfs_names()
        if first == CHECKSUM_VFS:  # registered just now, or an interrupt came before the next line
            apsw.set_default_vfs(other_names[0])


def _load_checksum_vfs(connection: apsw.Connection) -> None:
    """Load the extension with the checksum VFS from its path in apsw's wheels. If the extension
    isn't there, apsw searches for it. That search imports much of the standard library, which takes
    8 ms."""
    connection.enable_load_extension(True)
    try:
        connection.load_extension(str(Path(apsw.__file__).parent / EXTENSION))
    except apsw.ExtensionLoadingError:
        from apsw.sqlite_extra import load

        load(connection, "cksumvfs")


def create(path: Path, format: Format, fill: Fill | None = None, alike: str | None = None) -> bool:
    """Create the database unless it exists; returns whether this call created it. Several processes
    can call it at once. `fill` adds rows to the new tables. alike: a key; databases with equal keys
    have equal content, which is computed once per process. The database is completed under another
    name and then renamed (see `give_name`). So no process sees an incomplete database, and only one
    process creates it."""
    with translate_errors(path):
        return unforkable(partial(_create, path, format, fill, alike))


def _create(path: Path, format: Format, fill: Fill | None, alike: str | None) -> bool:
    is_new = not path.exists()
    if is_new:
        new_path = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            template = None if alike is None else _templates.get(alike)
            if template is None:
                _fill_new(new_path, format, fill)
                if alike is not None:
                    _templates[alike] = new_path.read_bytes()
                    if len(_templates) > TEMPLATES_KEPT:
                        _templates.pop(next(iter(_templates)), None)
            else:
                _write_new(new_path, template)
            sync_file(new_path)
            try:
                give_name(new_path, path)
            except FileExistsError:  # another process has created it first
                is_new = False
        finally:
            new_path.unlink(missing_ok=True)
        sync_directory(path.parent)
    return is_new


def _fill_new(path: Path, format: Format, fill: Fill | None) -> None:
    with new_file(path) as connection, SQLiteTransaction(connection):
        make_tables(connection, format, fill)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = open_plainly(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_at(descriptor, content, 0)
    finally:
        os.close(descriptor)


@contextmanager
def new_file(path: Path) -> Iterator[apsw.Connection]:
    """Context manager: a new database file, to be filled; it can be used once it is closed. No
    other process sees it, so it is never synced here: the caller syncs the complete file."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    with closing(_open_file(path, flags, "relaxed")) as connection:
        connection.reserve_bytes("main", CHECKSUM_BYTES)
        connection.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")
        # This writes page 1, which records that pages have checksums. The checksum VFS adds no
        # checksums until it has read this page. If a database is larger than the cache, other pages
        # are written to the file before the end. A backup writes page 1 last. It would take the
        # pages from a log or from memory, where they have no checksums.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        yield connection
        connection.execute("PRAGMA journal_mode = WAL")


def make_tables(connection: apsw.Connection, format: Format, fill: Fill | None = None) -> None:
    """Create the tables of this format in an empty database, and let `fill` add rows."""
    connection.execute(f"PRAGMA application_id = {format.application_id}")
    connection.execute(f"PRAGMA user_version = {format.version}")
    connection.execute(format.statements(format.version))
    if fill is not None:
        fill(connection)


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection of a pool, and the counter of its steps. It isn't a subclass of apsw's
    Connection, and no weak references to connections exist: with these, the interpreter crashed
    when threads closed connections."""

    connection: apsw.Connection
    steps: StepLimiter
    is_small: bool = False  # whether the connection's cache is small


def connect(path: Path, format: Format, mode: Mode, is_small: bool = False) -> Lease:
    """A connection to an existing database. Raises FormatError if it isn't a database of ours.
    is_small: whether the connection gets a small cache."""
    with translate_errors(path), corruption_as_damage(path):
        refuse_foreign_journals(path)
        connection = _open_file(path, apsw.SQLITE_OPEN_READWRITE, mode)
        try:
            steps = guard(connection, path)
            version = _version(connection, path, format)
            if version < (format.readable if mode == "read-only" else format.version):
                version = _migrate(connection, path, format, mode)
            refuse_other_schema(connection, format.statements(version), path)
        except BaseException:
            connection.close()
            raise
        if is_small:
            connection.execute(f"PRAGMA cache_size = -{SMALL_CACHE_KIB}")
        return Lease(connection, steps, is_small)


def log_of_database(path: Path) -> Path:
    """The path of the write-ahead log next to a database."""
    return path.with_name(path.name + "-wal")


def remove_empty_log(path: Path) -> None:
    """Have SQLite remove an empty log and the shared-memory file, unless another connection exists.
    A read-only connection creates these files but can't remove them."""
    with suppress(apsw.Error, OSError):
        if log_of_database(path).stat().st_size == 0:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
            uri = f"{path.as_uri()}?mode=rw"  # a path that isn't a URI could be misread
            with closing(apsw.Connection(uri, flags=flags, vfs=CHECKSUM_VFS)) as connection:
                guard(connection, path)
                select(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")


def _open_file(path: Path, flags: int, mode: Mode) -> apsw.Connection:
    _register_checksum_vfs()
    name = str(path)
    if mode == "read-only":
        flags, name = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, _read_only_uri(path)
    connection = apsw.Connection(name, flags=flags, vfs=CHECKSUM_VFS)
    wait_for_locks(connection, LOCK_TIMEOUT_MS)
    # "relaxed" only leaves out the sync of the write-ahead log at each commit.
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'relaxed' else 'FULL'}")
    # Without it, macOS may leave data in the drive's cache.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA secure_delete = ON")  # overwrite deleted data
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return connection


def _read_only_uri(path: Path) -> str:
    """The URI of a database in a directory that can't be written to. In such a directory SQLite
    can't coordinate with writers, nor read a write-ahead log. But no process can write there, so no
    coordination is needed, and a log exists only if the store wasn't closed."""
    if _may(path.parent, os.W_OK):
        return f"{path.as_uri()}?mode=ro"
    log = log_of_database(path)
    if log.exists() and log.stat().st_size:
        raise StorageError(
            f"{log} holds changes that can't be read where nothing can be written: open and close "
            "the store once where it was made"
        )
    return f"{path.as_uri()}?immutable=1"


def _version(connection: apsw.Connection, path: Path, format: Format) -> int:
    """The format version of a database. Raises an error unless this code can use or migrate that
    version."""
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
    """Migrate a database of an earlier version in one transaction; returns its new version."""
    if mode == "read-only":
        raise FormatError(
            f"{path} has an older format, which can't be brought up to date with read_only=True: "
            "open the store once without"
        )

    def migrate(connection: apsw.Connection) -> int:
        # Another process may have migrated the database meanwhile.
        old_version = _version(connection, path, format)
        for version in range(old_version, format.version):
            connection.execute(format.migrations[version])
        if old_version < format.version:
            _log.info("brought %s from format version %d to %d", path, old_version, format.version)
        connection.execute(f"PRAGMA user_version = {format.version}")
        return format.version

    return writing(connection, format, migrate)


Reason: TypeAlias = Callable[[], Exception]  # creates the error that `use` raises after closing
# This many threads that read at the same time find an open connection, because opening one takes
# longer than a query. Only the first connections have a large cache.
IDLE_CONNECTIONS, USUAL_CACHES = 16, 4
# Threads that read at the same time, and the longest time in seconds that another thread waits for
# one of them.
AT_ONCE, LONGEST_LINE = min(IDLE_CONNECTIONS, max(4, usable_cores())), 0.05
# File descriptors of a connection: the file, its log, and the memory that processes share, …
DESCRIPTORS = 3
MORE_DESCRIPTORS = 2  # … which all connections of a process share
Ts = TypeVarTuple("Ts")


class _Pool(ABC):
    """Common base of databases in files and in memory. is_read_only: whether the store was opened
    read-only; last_used: when a connection was last taken, by `time.monotonic` (files only); turns:
    the lock file that makes the writers of several processes take turns, or None."""

    path: Path
    turns: Path | None = None
    is_read_only = False
    last_used = 0.0
    _format: Format

    @abstractmethod
    def use(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """Call `work` with a connection and these arguments, and return its result."""

    def look(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """Like `use`, but only for reads; a limited number of threads read at the same time."""
        return self.use(work, *arguments)

    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError if the store was opened read-only."""
        if self.is_read_only:
            raise ReadOnlyError(f"the store at {self.path.parent} was opened with read_only=True")

    def _translating(self, lend: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call `lend` while no fork can happen, and return its result. Errors of SQLite and the
        system are converted into ours."""
        try:
            return unforkable(lend, *arguments)  # `SharedLock.share`: forks wait
        except RetrievalStoreError:
            raise
        except (apsw.Error, OSError) as error:
            raise translation(error, self.path) from error

    def without_transaction(
        self, look: Callable[[apsw.Connection, *Ts], T | None], *arguments: *Ts
    ) -> T | None:
        """Call `look`, which runs a single statement and so sees one state without a transaction,
        and return its result. Returns None if `look` fails. The caller then uses `read`, which
        returns a result or raises the error."""
        try:
            return self.look(look, *arguments)
        except LockTimeoutError:  # a read would wait for the same time again
            raise
        except Exception:
            return None

    def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Call `work` with a connection in a read transaction, and return its result."""
        return self.look(in_transaction, work)

    def write(
        self, work: Callable[[apsw.Connection], T], committed: list[object] | None = None
    ) -> T:
        """Like `read`, but in a write transaction; only one process at a time has a write
        transaction. committed: a list that gets an item when the transaction is committed."""
        self.refuse_if_read_only()
        return self.use(writing, self._format, work, self.turns, committed)


class FileDatabase(_Pool):
    """A pool of connections to one database file. `close` closes idle connections at once, and
    connections in use when they are given back."""

    def __init__(self, path: Path, format: Format, mode: Mode, turns: Path | None = None) -> None:
        self.path, self._name, self.turns = path, str(path), turns
        self._format = format
        self._mode: Mode = mode
        self.is_read_only = mode == "read-only"
        self._idle: list[Lease] = []
        # By thread; the connection that was lent last comes last.
        self._lent: dict[int, list[Lease]] = {}
        self._file: tuple[int, int] | None = None
        self._closed: Reason | None = None
        self._closings = 0
        self._waiting: deque[QueueEntry] = deque()  # queue of threads that wait to read
        closes_before_fork(self)

    @property
    def descriptors(self) -> int:
        """How many file descriptors the idle connections use."""
        idle = len(self._idle)
        return DESCRIPTORS + MORE_DESCRIPTORS * (idle - 1) if idle else 0

    def use(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """Call `work` with these arguments and a connection that no other thread uses, and return
        its result. Errors of SQLite and the system are converted into ours."""
        self.last_used = time.monotonic()
        thread = threading.get_ident()
        if self._lent.get(thread) and not is_unforkable():
            self._close_lost(thread)
        return self._translating(self._lend, thread, work, arguments)

    def look(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """Like `use`, but only for reads. If more threads read than there are processors,
        throughput is a quarter lower, because the threads pass the GIL to each other. So further
        threads queue, but only for a short time: some reads take seconds, and a long search
        releases the GIL most of the time."""
        lent = self._lent
        is_busy = len(lent) >= AT_ONCE and not lent.get(threading.get_ident())
        if is_busy and (self._waiting or self._number_lent() >= AT_ONCE):
            self._wait_in_line()
        return self.use(work, *arguments)

    def _number_lent(self) -> int:
        return sum(map(len, [*self._lent.values()]))

    def _wait_in_line(self) -> None:
        # An interrupt may leave the entry in the queue. Then a wake-up is lost, and other threads
        # wait longer.
        entry = QueueEntry()
        self._waiting.append(entry)
        if not entry.called.acquire(timeout=LONGEST_LINE):
            with suppress(ValueError):  # the thread was woken just now
                self._waiting.remove(entry)

    def _lend(
        self, thread: int, work: Callable[[apsw.Connection, *Ts], T], arguments: tuple[*Ts]
    ) -> T:
        """Call `work` with a connection that is lent to this thread until `work` returns, and
        return its result."""
        leases = self._lent.setdefault(thread, [])
        closings = self._closings
        connection = self._acquire(leases)
        try:
            self._refuse_replaced()
            return work(connection, *arguments)
        except apsw.Error as error:
            first = _first_error(error)
            if isinstance(first, apsw.IOError) and _lacks_space(connection, first):
                raise StorageFullError(
                    f"no space left for {self.path}; nothing was written"
                ) from first
            raise first from first.__cause__
        finally:
            self._release(leases, closings)

    def _acquire(self, leases: list[Lease]) -> apsw.Connection:
        """Take a connection from the pool, or open one. It is kept in `leases` until it is given
        back."""
        if self._closed is not None:
            raise self._closed()
        try:
            leases.extend(map(list.pop, [self._idle]))  # see _move_last
        except IndexError:
            self._refuse_replaced()
            is_small = self._number_lent() >= USUAL_CACHES
            leases.append(connect(self.path, self._format, self._mode, is_small))
        lease = leases[-1]
        lease.steps.taken = 0
        return lease.connection

    def _release(self, leases: list[Lease], closings: int) -> None:
        """Give back a connection that `_acquire` has put into `leases`."""
        if len(self._idle) < IDLE_CONNECTIONS and closings == self._closings:
            if leases[-1].is_small:  # these are taken when there are no other connections
                self._idle[:0] = map(list.pop, [leases])  # in one step, as in _move_last
            else:
                _move_last(leases, self._idle)
        else:
            leases.pop().connection.close()
        if self._waiting and self._number_lent() < AT_ONCE:
            with suppress(IndexError):  # another thread has woken the last one
                self._waiting.popleft().call()
        if self._closed is not None:
            self.close(self._closed)

    def _close_lost(self, thread: int) -> None:
        """Close connections that a thread no longer uses, but didn't give back because of an
        interrupt. They hold no lock, because their transactions have ended."""
        lost = self._lent.get(thread)
        while lost:
            lost.pop().connection.close()

    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that this object opened."""
        try:
            self._refuse_replaced()
        except OSError:
            return False
        return True

    def close_idle(self) -> None:
        """Close the idle connections now, and the other connections when they are given back. Later
        calls open new connections."""
        self._closings += 1
        while self._idle:
            with suppress(IndexError):  # another thread took the last one
                self._idle.pop().connection.close()

    def close_before_fork(self) -> None:
        """Close all connections except those of this thread. The caller makes sure that no other
        thread is using a connection."""
        self.close_idle()
        for thread in list(self._lent):
            if thread != threading.get_ident() or not is_unforkable():
                self._close_lost(thread)

    def close(self, reason: Reason) -> None:
        """Close all connections; later calls of `use` raise `reason`."""
        self._closed = reason
        self.close_at_exit()

    def close_at_exit(self) -> None:
        """Close all connections, and leave the files as SQLite leaves them when the last connection
        is closed. A later `use` opens new connections."""
        self.close_idle()
        if self.is_read_only and self._file is not None:  # whether the store was used
            unforkable(remove_empty_log, self.path)

    def _refuse_replaced(self) -> None:
        # SQLite would continue to use a file that has no name any more, and its writes would be
        # lost.
        try:
            status = os.lstat(self._name)
        except FileNotFoundError:
            refuse_moved(self.path.parent)
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
    """Move the last item of one list to the end of the other list, in one step that an interrupt
    can't divide. Raises IndexError if `source` is empty."""
    target.extend(map(list.pop, [source]))


def _first_error(error: BaseException) -> BaseException:
    """The original error of a failed transaction. If SQLite has already rolled a transaction back,
    apsw's own rollback fails and raises a second error."""
    before = error.__context__
    vain = isinstance(error, apsw.SQLError) and "no transaction is active" in str(error)
    return before if vain and before is not None else error


def _lacks_space(connection: apsw.Connection, error: apsw.IOError) -> bool:
    # If a limit on the size of files is reached, SQLite only reports that writing failed.
    wrote = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_WRITE
    return wrote and connection.system_errno in NO_SPACE


class MemoryDatabase(_Pool):
    """A database in memory with one connection, which one thread at a time uses."""

    path = Path(":memory:")
    descriptors = 0

    def __init__(
        self, format: Format, fill: Fill | None = None, like: apsw.Connection | None = None
    ) -> None:
        """Create an empty database to which `fill` adds rows. If `like` isn't None, create a copy
        of that database instead."""
        self._format = format
        self._connection = apsw.Connection(":memory:")
        guard(self._connection, None)
        # As in files, so that a copy can become a file.
        self._connection.reserve_bytes("main", CHECKSUM_BYTES)
        self._connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        if like is None:
            make_tables(self._connection, format, fill)
        else:
            with self._connection.backup("main", like, "main") as backup:
                backup.step(-1)
        self._lock = ReentrantLock()
        self._is_lent = False  # whether it is lent to a reader for which others may have to wait
        self._closed: Reason | None = None
        reset_after_fork(self)

    def use(self, work: Callable[[apsw.Connection, *Ts], T], *arguments: *Ts) -> T:
        """Call `work` with the connection and these arguments, and return its result. Raises an
        error if this thread is in the middle of a write, which `work` would see unfinished."""
        return self._translating(self._lend, work, arguments)

    def _lend(self, work: Callable[[apsw.Connection, *Ts], T], arguments: tuple[*Ts]) -> T:
        if self._is_lent and not self._lock.is_mine():
            budget.may_block()
        with self._lock:
            if self._closed is not None:
                raise self._closed()
            if self._connection.txn_state() == apsw.SQLITE_TXN_WRITE:
                raise StorageError("what is in memory can't be read in the middle of a write")
            self._is_lent = True
            try:
                return work(self._connection, *arguments)
            finally:
                self._is_lent = False

    def is_in_place(self) -> bool:
        """Always True for a database in memory."""
        return True

    def close_idle(self) -> None:
        """Do nothing, because a database in memory can't be opened again."""

    close_at_exit = close_idle

    def forget_after_fork(self) -> None:
        """Called in a forked child: make every use an error, because the content belongs to the
        parent."""
        self._lock, self._is_lent = ReentrantLock(), False
        self._closed = partial(
            StorageError, "a store in memory can't be used in a forked process; make one there"
        )

    def close(self, reason: Reason) -> None:
        """Close the connection; later calls of `use` raise `reason`."""
        with self._lock:
            self._closed = reason
            self._connection.close()


Database: TypeAlias = FileDatabase | MemoryDatabase
