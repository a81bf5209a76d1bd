"""Files that can be rebuilt from the points and vectors. points.sqlite records their sizes and
checksums.

A file is written under a temporary name, synced, and renamed to a name that was never used before.
It is then recorded in one transaction, which replaces the record of the previous file. So a process
that reads a record finds either the complete file or none. Only the one process that does
maintenance writes derived files, and removes files without a record.

The content is never trusted: a file that is missing, or has another size or checksum, is ignored
and rebuilt.

A `DerivedKind` defines how files of one kind are read. `DerivedKind.try_read` loads files of all
kinds, and handles files that can't be used.
"""

import re
import threading
import uuid
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import apsw

from retrieval_store.base.platform import sync_directory, sync_file
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.sqlite import ContradictionError, select
from retrieval_store.engine.storage.files import DERIVED, TEMPORARY, Label, remove_derived
from retrieval_store.engine.storage.log import WriteTransaction
from retrieval_store.errors import DamagedError, PluginError

S_contra = TypeVar("S_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)
_log = log_of("files")
PIECE = 1 << 22
# Kinds of files that are built from vectors. Their keys contain the number of a space, and then a
# generation.
OF_VECTORS = ("index", "codes", "recall")
KINDS_BEFORE = ("clusters",)  # obsolete kinds, which old stores may still have
_NAME = r"[a-z0-9]+(\.[a-z0-9]+)*"


@dataclass(frozen=True, slots=True)
class DerivedFile:
    """The record of a derived file. key: identifies the file's content. seq: the last write that
    the file includes. covered: how many source items it contains, for example vectors or points."""

    key: str
    file: str
    seq: int
    size: int
    checksum: int
    covered: int


@dataclass(slots=True)
class DerivedFiles:
    """The usable derived files of a collection. directory: the collection's directory. label: the
    name of the collection, for messages. useless: files that couldn't be used, and must be
    rewritten."""

    directory: Path
    label: Label
    useless: set[DerivedFile] = field(default_factory=set)

    def warn(self, what: str, why: object) -> None:
        """Log a warning that a file can't be used. what: the kind of file."""
        _log.warning(
            "%s of collection %r can't be used and will be made again: %s",
            what,
            self.label.name,
            why,
        )


class OutdatedError(ValueError):
    """Raised if a file is intact but outdated: the change log begins after the file was written, or
    the file has an earlier format."""


class DerivedKind(Generic[S_contra, T_co]):
    """How files of one kind are read, and from which source data they are built. what: the name of
    the kind in log messages."""

    what: ClassVar[str]

    def read(self, path: Path, derived_file: DerivedFile, source: S_contra) -> T_co:
        """The content of a file whose checksum is correct. Raises ValueError or another built-in
        error for wrong content, and OutdatedError for an outdated file."""
        raise NotImplementedError

    def read_checked(self, directory: Path, derived_file: DerivedFile, source: S_contra) -> T_co:
        """Like `read`, but verifies the checksum of the file first."""
        path = path_of(directory, derived_file)
        refuse_damaged(path, derived_file)
        return self.read(path, derived_file, source)

    def try_read(
        self, files: DerivedFiles, derived_file: DerivedFile, source: S_contra
    ) -> T_co | None:
        """Like `read_checked`, but returns None if the file can't be used. This is recorded in
        `files`, and logged as a warning if the file is damaged."""
        if derived_file in files.useless:
            return None
        try:
            content = self.read_checked(files.directory, derived_file, source)
            _log.debug("loaded %s", derived_file.file)
            return content
        except OutdatedError as error:
            files.useless.add(derived_file)
            _log.info("%s of collection %r are made again: %s", self.what, files.label.name, error)
        except PluginError:
            raise  # a missing class, which isn't a fault of the file
        except (DamagedError, ValueError, LookupError, TypeError, OSError) as error:
            # After other errors the file may be usable later, for example if too many files are
            # open now.
            if isinstance(error, DamagedError) or not isinstance(error, OSError):
                files.useless.add(derived_file)
            # If the file is gone, another process has replaced it meanwhile.
            if is_there(files.directory, derived_file):
                files.warn(self.what, error)
        return None


def find(connection: apsw.Connection, key: str) -> DerivedFile | None:
    """The record with this key; None if there is no such record."""
    files = _records(connection, "WHERE key = ?", key)
    return files[0] if files else None


def find_all(connection: apsw.Connection, key: str) -> list[DerivedFile]:
    """The records whose keys begin with this key and a dot."""
    return _records(connection, "WHERE key GLOB ? ORDER BY key", f"{key}.*")


def all_files(connection: apsw.Connection) -> list[DerivedFile]:
    """All records."""
    return _records(connection, "ORDER BY key")


def write_file(directory: Path, key: str, write: Callable[[Path], int], seq: int) -> DerivedFile:
    """Write a file durably; the caller must then record it. `write` fills the file and returns how
    many items it covers."""
    folder = directory / DERIVED
    if folder.is_symlink():  # it wasn't created by a store, and may lead anywhere
        raise DamagedError(f"{folder} is a link")
    if not folder.exists():
        folder.mkdir()
        sync_directory(directory)
    name = f"{key}.{uuid.uuid4().hex}"
    temporary = folder / (name + TEMPORARY)
    try:
        covered = write(temporary)
        sync_file(temporary)
        size, checksum = temporary.stat().st_size, checksum_of(temporary)
        temporary.rename(folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(folder)
    _log.debug("wrote %s: %d bytes", folder / name, size)
    return DerivedFile(key, name, seq, size, checksum, covered)


def record(connection: apsw.Connection, derived_file: DerivedFile) -> None:
    """Record a file in a write transaction, so that it is used from then on."""
    connection.execute(
        "INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?, ?, ?)",
        (
            derived_file.key,
            derived_file.file,
            derived_file.seq,
            derived_file.size,
            derived_file.checksum,
            derived_file.covered,
        ),
    )


def forget(connection: apsw.Connection, keys: list[str]) -> None:
    """Delete the records with these keys. The next `sweep` removes their files."""
    connection.executemany("DELETE FROM derived WHERE key = ?", [(key,) for key in keys])


def forget_all(write: WriteTransaction) -> None:
    """Delete all records, whether valid or not."""
    write.connection.execute("DELETE FROM derived")


def sweep(directory: Path, files: list[DerivedFile]) -> None:
    """Remove derived files that have no record. files: the records. Only the process that does
    maintenance is allowed to call this."""
    remove_derived(directory, {derived_file.file for derived_file in files})


def is_there(directory: Path, derived_file: DerivedFile) -> bool:
    """Whether the file exists; it is then complete."""
    return (directory / DERIVED / derived_file.file).exists()


def path_of(directory: Path, derived_file: DerivedFile) -> Path:
    """The path of the file. Raises DamagedError unless it is a plain file of the recorded size."""
    path = directory / DERIVED / derived_file.file
    for part in (path, path.parent):
        if part.is_symlink():
            raise DamagedError(f"{part} is a link")
    if not path.is_file():
        raise DamagedError(f"{path} is missing")
    if path.stat().st_size != derived_file.size:
        raise DamagedError(f"{path} has {path.stat().st_size} bytes instead of {derived_file.size}")
    return path


def refuse_damaged(
    path: Path, derived_file: DerivedFile, use: Callable[[], None] | None = None
) -> None:
    """Raise DamagedError unless the file's checksum is correct. use: a function that uses the file;
    it is called in this thread while another thread computes the checksum. If DamagedError is
    raised, the caller must discard what `use` has computed."""
    checksums: list[int] = []

    def read() -> None:
        with suppress(OSError):
            checksums.append(checksum_of(path))

    if use is None:  # a further thread would be of no use
        read()
    else:
        _call_both(read, use)
    if checksums != [derived_file.checksum]:
        raise DamagedError(f"{path} is damaged: its checksum is wrong")


def _call_both(read: Callable[[], None], use: Callable[[], None]) -> None:
    """Call both functions. `read` is called in a separate thread if one can be started."""
    reader = threading.Thread(target=read)
    try:
        reader.start()
    except RuntimeError:
        read()
    try:
        use()
    finally:
        if reader.ident is not None:
            reader.join()


def checksum_of(path: Path) -> int:
    """The CRC-32 checksum of a file."""
    checksum, buffer = 0, bytearray(PIECE)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            checksum = zlib.crc32(memoryview(buffer)[:count], checksum)
    return checksum


def _records(connection: apsw.Connection, condition: str, *parameters: str) -> list[DerivedFile]:
    query = f"SELECT key, file, seq, size, checksum, covered FROM derived {condition}"
    files = [DerivedFile(*row) for row in select(connection, query, *parameters)]
    for derived_file in files:  # its numbers are checked where the file is used
        names = type(derived_file.key) is type(derived_file.file) is str
        if not names or not re.fullmatch(_NAME, derived_file.file):
            raise ContradictionError(f"{derived_file.file!r} is no name of a derived file")
    return files
