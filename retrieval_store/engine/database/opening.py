"""Making and opening databases of ours.

Every one uses the checksum VFS, so a flipped bit in a page is an error and not an answer, and
carries an application id and a format version. None is trusted; see `guards`.
"""

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import apsw

from retrieval_store.base import system
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.system import sync_directory, sync_file
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.concurrency import unforkable
from retrieval_store.engine.database.failures import (
    LOCK_TIMEOUT_MS,
    corruption_as_damage,
    translated,
)
from retrieval_store.engine.database.guards import (
    Format,
    Steps,
    guard,
    refuse_odd_files_beside,
    refuse_other_schema,
)
from retrieval_store.engine.database.transactions import in_transaction, select, writing
from retrieval_store.errors import DamagedError, FormatError, StorageError
from retrieval_store.query.types import Mode

_log = log_of("store")
Fill: TypeAlias = Callable[[apsw.Connection], None]
CHECKSUM_BYTES = 8  # at the end of each page, as the checksum VFS wants them
CHECKSUM_VFS = "cksmvfs"
EXTENSION = "sqlite_extra_binaries/cksumvfs"  # SQLite appends what the system's libraries end in
CACHE_KIB = 16 * 1024  # of pages at most, for each connection; 2 MiB made a fetch twice as slow
TEMPLATES_KEPT = 8  # of some 50 KB each
_templates: dict[str, bytes] = {}  # new databases, by what they are like
_registering = threading.RLock()  # reentrant: a client may be collected meanwhile


def _register_checksum_vfs() -> None:
    """Once per process. The extension makes itself the default; other users of apsw keep theirs."""
    with _registering:
        if CHECKSUM_VFS not in apsw.vfs_names():
            _load_checksum_vfs(apsw.Connection(":memory:"))
        first, *others = apsw.vfs_names()
        if first == CHECKSUM_VFS:  # just now, or an interrupt came before what follows
            apsw.set_default_vfs(others[0])


def _load_checksum_vfs(connection: apsw.Connection) -> None:
    """Load it from where it lies in apsw's wheels. Elsewhere apsw itself finds it, for which it
    imports so much of the standard library that the first opening takes 8 ms more."""
    connection.enable_load_extension(True)
    try:
        connection.load_extension(str(Path(apsw.__file__).parent / EXTENSION))
    except apsw.ExtensionLoadingError:
        from apsw.sqlite_extra import load

        load(connection, "cksumvfs")


def create(path: Path, format: Format, fill: Fill | None = None, alike: str | None = None) -> bool:
    """Make the database unless it is there, and say whether it was made; several processes may do
    so at once. `fill` adds to the tables; alike: names what it adds, which is then worked out once
    in a process. It is made whole under another name and then linked, so no process ever sees half
    of it, and of two processes one comes first."""
    with translated(path):
        return unforkable(partial(_create, path, format, fill, alike))


def _create(path: Path, format: Format, fill: Fill | None, alike: str | None) -> bool:
    is_new = not path.exists()
    if is_new:
        made = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            template = None if alike is None else _templates.get(alike)
            if template is None:
                _fill_new(made, format, fill)
                if alike is not None:
                    _templates[alike] = made.read_bytes()
                    if len(_templates) > TEMPLATES_KEPT:
                        _templates.pop(next(iter(_templates)), None)
            else:
                _write_new(made, template)
            sync_file(made)
            try:
                os.link(made, path)
            except FileExistsError:  # another process was faster
                is_new = False
        finally:
            made.unlink(missing_ok=True)
        sync_directory(path.parent)
    return is_new


def _fill_new(path: Path, format: Format, fill: Fill | None) -> None:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    with closing(_opened(path, flags, "full")) as connection:
        connection.reserve_bytes("main", CHECKSUM_BYTES)
        # No process sees it yet: so it is synced once, when it is whole, not at each step.
        connection.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        in_transaction(connection, partial(make_tables, format=format, fill=fill))
        connection.execute("PRAGMA journal_mode = WAL")


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | system.CLOSE_ON_EXEC, 0o644)
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, content[written:], written)
    finally:
        os.close(descriptor)


@contextmanager
def begun_copy(path: Path) -> Iterator[apsw.Connection]:
    """A database that isn't there yet, to be filled by a backup; of use once it is closed. No
    other process sees it, so it needs no journal; the caller makes it durable before others do."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    with closing(_opened(path, flags, "relaxed")) as connection:
        connection.reserve_bytes("main", CHECKSUM_BYTES)
        connection.execute("PRAGMA synchronous = OFF")
        yield connection
        connection.execute("PRAGMA journal_mode = WAL")


def make_tables(connection: apsw.Connection, format: Format, fill: Fill | None = None) -> None:
    """Make an empty database one of ours, with what `fill` adds."""
    connection.execute(f"PRAGMA application_id = {format.application_id}")
    connection.execute(f"PRAGMA user_version = {format.version}")
    connection.execute(format.statements(format.version))
    if fill is not None:
        fill(connection)


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection of a pool, and what counts its steps. Not a class of connections of our own, nor
    weak references to them: with both, the interpreter crashed when threads closed some."""

    connection: apsw.Connection
    steps: Steps


def connect(path: Path, format: Format, mode: Mode) -> Lease:
    """A connection to a database that exists; raises FormatError when it isn't one of ours."""
    with translated(path), corruption_as_damage(path):
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
        return Lease(connection, steps)


def log_of_database(path: Path) -> Path:
    """The write-ahead log beside a database."""
    return path.with_name(path.name + "-wal")


def remove_empty_log(path: Path) -> None:
    """Have SQLite remove a log without content, and what processes share of it, unless another
    connection is there: one that only reads makes them, and can't remove them."""
    with suppress(apsw.Error, OSError):
        if log_of_database(path).stat().st_size == 0:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
            uri = f"{path.as_uri()}?mode=rw"  # as text a path may be none
            with closing(apsw.Connection(uri, flags=flags, vfs=CHECKSUM_VFS)) as connection:
                guard(connection, path)
                select(connection, "SELECT 1 FROM sqlite_schema LIMIT 1")


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
    log = log_of_database(path)
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
        found = _version(connection, path, format)
        for version in range(found, format.version):
            connection.execute(format.migrations[version])
        if found < format.version:
            _log.info("brought %s from format version %d to %d", path, found, format.version)
        connection.execute(f"PRAGMA user_version = {format.version}")
        return format.version

    return writing(connection, format, migrate)
