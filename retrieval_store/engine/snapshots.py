"""Takes and restores snapshots: one or more collections as of one moment, in one file.

A snapshot contains a whole store or one collection, and never changes. The whole file is checked
before anything in it is used. This module is allowed to import `maintenance` and the subpackages
that `engine` lists below it.

To take a snapshot, the collections are copied into a folder next to the target file. Each copy has
one consistent state, without dead, expired or derived data. Then the copies are packed into a ZIP
archive with a manifest. Nothing in the archive is compressed, so its content is never larger than
the file. The manifest contains the size and SHA-256 of every other file, and the archive's comment
contains the SHA-256 of the manifest. All file names in the archive are generated:
`UUID/points.sqlite`, `UUID/NUMBER.GENERATION.vectors`.

To restore a snapshot, all of it is checked before any file is moved to its final path.
"""

import errno
import hashlib
import os
import re
import stat
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

import apsw
import orjson

from retrieval_store.base.arrays import Stored
from retrieval_store.base.platform import (
    flush,
    give_name,
    open_plainly,
    sync_directory,
    sync_file,
    take_place,
    write_at,
)
from retrieval_store.base.validation import Payload, check_new_file, error_of_taken_path
from retrieval_store.engine.access import Access, StoreHooks
from retrieval_store.engine.maintenance.compaction import compact, give_back_space, remove_leftovers
from retrieval_store.engine.maintenance.run import remove_expired
from retrieval_store.engine.maintenance.verify import no_analyzer, verify_collection
from retrieval_store.engine.search.context import SearchView
from retrieval_store.engine.search.index_lifecycle import FindClass
from retrieval_store.engine.sqlite import create, new_file, select, translate_errors
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.catalog import CATALOG, Entries
from retrieval_store.engine.storage.files import (
    CATALOG_NAME,
    LOCK_NAME,
    POINTS_NAME,
    SNAPSHOT_NAME,
    TURNS_NAME,
    private_folder,
)
from retrieval_store.engine.storage.schema import has_unsynced
from retrieval_store.engine.storage.vector_files import as_bytes
from retrieval_store.errors import (
    ClientClosedError,
    DamagedError,
    FormatError,
    InvalidArgumentError,
    NotFoundError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.query.types import CollectionRecord

_CLOSE = partial(ClientClosedError, "the copy is finished")


def copy_collection(access: Access, directory: Path) -> None:
    """Copy the files of a collection, as of one moment, into a new directory. Other threads and
    processes may write meanwhile: committed rows of vector files never change, and one transaction
    copies all other data. Copying the rows can take minutes, and no thread of the process can fork
    during a transaction. So the rows are copied after the transaction, from memory maps, which keep
    the rows even if the files are removed."""
    directory.mkdir()
    state, has_dead = access.read(_copy_state, directory)
    with translate_errors(directory):
        for name, space, rows in state:
            space.vectors.verify_once(rows, space.checksums, None)
            _write_rows(directory / name, rows)
    if has_dead or access.expires is not None:
        _reduce(directory, access.hooks)


@contextmanager
def private_copy(access: Access, directory: Path | None) -> Iterator[Path]:
    """Context manager: a private directory with a copy of the collection, in `directory` or the
    system's temporary folder. The directory is deleted at the end of the context, except for files
    that were moved away."""
    with private_folder(directory) as folder:
        copy_collection(access, folder / "copy")
        yield folder / "copy"


def _write_rows(path: Path, rows: Stored) -> None:
    """Write rows into a new file. This function avoids numpy, which writes through a buffer of the
    C library: a child forked meanwhile would write the buffer's content again when the child
    ends."""
    with path.open("xb", buffering=0) as file:
        write_at(file.fileno(), as_bytes(rows), 0)


def _copy_state(
    view: SearchView, directory: Path
) -> tuple[list[tuple[str, SpaceState, Stored]], bool]:
    """Copy the database of a collection. Returns the name, space and rows of each vector file, and
    whether the files contain dead or expired data."""
    # An earlier attempt, during which a file was removed, may have left files.
    for leftover in directory.iterdir():
        leftover.unlink()
    with translate_errors(directory):
        _copy_database(view.connection, directory / POINTS_NAME)
        files = [
            (
                f"{space.space.number}.{view.state.head.generation}.vectors",
                space,
                space.vectors.rows(space.space.slots),
            )
            for space in view.state.spaces.values()
        ]
    query = "SELECT 1 FROM derived UNION ALL SELECT 1 FROM blocks WHERE generation <> ? LIMIT 1"
    has_more = bool(select(view.connection, query, view.state.head.generation))
    has_free = view.connection.pragma("freelist_count") > 0
    has_dead = any(space.dead for space in view.state.spaces.values())
    return files, has_more or has_free or has_dead


def _copy_database(source: apsw.Connection, path: Path) -> None:
    with new_file(path) as target, target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(-1)
        backup.finish()
        # The copied files are complete, and are synced before they are used.
        if has_unsynced(target):
            target.execute("DELETE FROM unsynced")


def _reduce(directory: Path, hooks: StoreHooks) -> None:
    """Remove dead data and expired points from a private copy."""
    own_hooks = StoreHooks(uses_derived=False, expires=hooks.expires, find_damage=hooks.find_damage)
    points = Access.open(directory, directory.name, "relaxed", own_hooks)
    try:
        points.write(derived.forget_all)
        remove_expired(points)
        # Remove the remains of a running or interrupted compaction.
        remove_leftovers(points, points.current_state().state.head.generation)
        if any(space.dead for space in points.current_state().state.spaces.values()):
            compact(points, _without_a_word, with_indexes=False)
        give_back_space(points)
    finally:
        points.close(_CLOSE)
    for name in (LOCK_NAME, TURNS_NAME, f"{POINTS_NAME}-wal", f"{POINTS_NAME}-shm"):
        (directory / name).unlink(missing_ok=True)


def _without_a_word(done: int, total: int) -> None:
    """A progress callback that does nothing."""


VERSION = 1
MANIFEST = "manifest.json"
PIECE = 1 << 22
LARGEST_MANIFEST = 1 << 28
_COMMENT = b"retrieval-store snapshot "
_FILE = re.compile(rf"{re.escape(POINTS_NAME)}|[0-9]{{1,18}}\.[0-9]{{1,18}}\.vectors")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a snapshot. whole: whether the snapshot contains a whole store, or only one
    collection."""

    whole: bool
    collections: tuple[CollectionRecord, ...]
    aliases: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _ZipEntry:
    bytes: int
    sha256: str


def pack(directory: Path, manifest: Manifest, target: Path) -> None:
    """Create a snapshot from a private folder, which has a directory for each collection. Raises
    InvalidArgumentError if `target` exists."""
    snapshot_path = directory / SNAPSHOT_NAME
    with zipfile.ZipFile(snapshot_path, "x", allowZip64=True) as archive:
        entries = {}
        for record in manifest.collections:
            for path in sorted((directory / record.id).iterdir()):
                name = f"{record.id}/{path.name}"
                entries[name] = _add(archive, path, name)
        described = _manifest_bytes(manifest, entries)
        archive.writestr(MANIFEST, described)
        archive.comment = _COMMENT + hashlib.sha256(described).hexdigest().encode()
    sync_file(snapshot_path)
    try:
        give_name(snapshot_path, target)
    except FileExistsError:
        raise error_of_taken_path(target) from None
    sync_directory(target.parent)


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> _ZipEntry:
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as source, archive.open(name, "w", force_zip64=True) as to:
        while piece := source.read(PIECE):
            digest.update(piece)
            to.write(piece)
    return _ZipEntry(size, digest.hexdigest())


def _manifest_bytes(manifest: Manifest, entries: Mapping[str, _ZipEntry]) -> bytes:
    return orjson.dumps(
        {
            "format": VERSION,
            "whole": manifest.whole,
            "collections": [
                {"id": record.id, "name": record.name, "settings": record.settings}
                for record in manifest.collections
            ],
            "aliases": dict(manifest.aliases),
            "files": {
                name: {"bytes": entry.bytes, "sha256": entry.sha256}
                for name, entry in entries.items()
            },
        }
    )


def unpack(snapshot: Path, directory: Path) -> Manifest:
    """Write the files of a snapshot into a directory, and check each file while it is read. Raises
    DamagedError if a check fails, and FormatError if a newer version wrote the snapshot."""
    with _open_archive(snapshot) as archive:
        manifest, entries = _read_manifest(archive, snapshot)
        _refuse_others(archive, entries, snapshot)
        for record in manifest.collections:
            (directory / record.id).mkdir()
        for name, entry in entries.items():
            with archive.open(name) as source:
                _write(source, entry, directory / name, f"{name} in {snapshot}")
        return manifest


@contextmanager
def _open_archive(snapshot: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with _regular(snapshot) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except RetrievalStoreError:
        raise
    except FileNotFoundError:
        raise InvalidArgumentError(f"there is no snapshot {snapshot}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DamagedError(f"{snapshot} is damaged, or no snapshot: {error}") from error
    except OSError as error:
        raise StorageError(f"{snapshot}: {error}") from error


def _regular(path: Path) -> BinaryIO:
    """Open a file for reading. Raises InvalidArgumentError unless it is a regular file, because
    reading a pipe or a device may never end."""
    opened = open_plainly(path, os.O_RDONLY, follow=True)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise InvalidArgumentError(f"{path} is no regular file, as snapshots are")
    return os.fdopen(opened, "rb")


def _read_manifest(
    archive: zipfile.ZipFile, snapshot: Path
) -> tuple[Manifest, dict[str, _ZipEntry]]:
    if not archive.comment.startswith(_COMMENT):
        raise FormatError(f"{snapshot} is no snapshot of retrieval-store")
    info = _info(archive, MANIFEST, snapshot)
    if info.file_size > LARGEST_MANIFEST:
        raise DamagedError(f"{snapshot} is damaged: its manifest is too long")
    described = archive.read(info)
    if hashlib.sha256(described).hexdigest().encode() != archive.comment[len(_COMMENT) :]:
        raise DamagedError(f"{snapshot} is damaged: the checksum of its manifest is wrong")
    try:
        return _parse_manifest(orjson.loads(described), snapshot)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"{snapshot} is damaged: its manifest says {error!r}") from error


def _parse_manifest(manifest: Any, snapshot: Path) -> tuple[Manifest, dict[str, _ZipEntry]]:
    version = int(manifest["format"])
    if version > VERSION:
        raise FormatError(
            f"{snapshot} has format version {version}; this retrieval-store reads up to {VERSION}: "
            "install a newer one"
        )
    records = tuple(_record(collection) for collection in manifest["collections"])
    ids = {record.id for record in records}
    entries = {name: _entry(name, entry, ids) for name, entry in manifest["files"].items()}
    if {name.split("/")[0] for name in entries if name.endswith(POINTS_NAME)} != ids:
        raise ValueError("other collections than it has files for")
    aliases = {str(alias): str(name) for alias, name in manifest["aliases"].items()}
    return Manifest(bool(manifest["whole"]), records, aliases), entries


def _record(entry: Any) -> CollectionRecord:
    settings: Payload = entry["settings"]
    if str(uuid.UUID(entry["id"])) != entry["id"] or not isinstance(settings, dict):
        raise ValueError(f"{entry['id']!r} is no id of a collection")
    return CollectionRecord(entry["id"], str(entry["name"]), settings)


def _entry(name: str, entry: Any, ids: set[str]) -> _ZipEntry:
    folder, _, file = name.partition("/")
    if folder not in ids or not _FILE.fullmatch(file):
        raise ValueError(f"{name!r} is no file of a collection")
    return _ZipEntry(int(entry["bytes"]), str(entry["sha256"]))


def _refuse_others(
    archive: zipfile.ZipFile, entries: Mapping[str, _ZipEntry], snapshot: Path
) -> None:
    """Raise DamagedError unless the archive contains exactly the files of the manifest, in the same
    sizes."""
    names = archive.namelist()
    if len(names) != len(set(names)) or set(names) != {MANIFEST, *entries}:
        raise DamagedError(f"{snapshot} is damaged: it has other files than its manifest says")
    for name, entry in entries.items():
        if _info(archive, name, snapshot).file_size != entry.bytes:
            raise DamagedError(f"{snapshot} is damaged: {name} has another length than it should")
    if sum(entry.bytes for entry in entries.values()) > snapshot.stat().st_size:
        raise DamagedError(f"{snapshot} is damaged: its files overlap")


def _info(archive: zipfile.ZipFile, name: str, snapshot: Path) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise DamagedError(f"{snapshot} is damaged: it has no {name}") from None
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise DamagedError(f"{snapshot} is damaged: {name} is compressed or encrypted")
    return info


def _write(source: IO[bytes], entry: _ZipEntry, target: Path, shown: str) -> None:
    digest = hashlib.sha256()
    with target.open("xb") as to:
        while piece := source.read(PIECE):
            digest.update(piece)
            to.write(piece)
        flush(to)
    if digest.hexdigest() != entry.sha256:
        raise DamagedError(f"{shown} is damaged: its checksum is wrong")


@contextmanager
def unpack_snapshot(
    snapshot: Path, directory: Path, find_class: FindClass
) -> Iterator[tuple[Path, Manifest]]:
    """Context manager: a private folder in `directory`, with all files of a snapshot's collections,
    synced to disk. Files that aren't moved away are deleted at the end of the context."""
    with translate_errors(directory), private_folder(directory) as folder, translate_errors(folder):
        manifest = unpack(snapshot, folder)
        for record in manifest.collections:
            _refuse_damaged(folder / record.id, record.name, snapshot, find_class)
            sync_directory(folder / record.id)
        sync_directory(folder)
        yield folder, manifest


def _refuse_damaged(directory: Path, name: str, snapshot: Path, find_class: FindClass) -> None:
    files = set(os.listdir(directory))
    reports = verify_collection(directory, name, "relaxed", find_class, no_analyzer)
    for report in reports:
        if report.problem:
            raise DamagedError(f"{snapshot} holds what is damaged: {report.problem}")
    if not reports:
        raise DamagedError(f"{snapshot} holds a collection that is deleted")
    used = {POINTS_NAME, *(report.file.name for report in reports)}
    if files - used:
        raise DamagedError(f"{snapshot} holds files of no use: {sorted(files - used)[:4]}")
    # Files that opening the database has created.
    for leftover in set(os.listdir(directory)) - files:
        (directory / leftover).unlink()


def restore_store(snapshot: Path, path: Path, find_class: FindClass) -> None:
    """Create a store in the directory `path` from a snapshot. Raises InvalidArgumentError unless
    that directory is empty or doesn't exist."""
    if os.path.lexists(path) and not (path.is_dir() and not os.listdir(path)):
        raise _in_the_way(path)
    with unpack_snapshot(snapshot, path.parent, find_class) as (folder, manifest):
        create(folder / CATALOG_NAME, CATALOG, partial(_fill, folder=folder, manifest=manifest))
        try:
            take_place(folder, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise _in_the_way(path) from None
            raise
        sync_directory(path.parent)


def _in_the_way(path: Path) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{path} is there already; name a directory that is empty, or that isn't there yet"
    )


def _fill(connection: apsw.Connection, folder: Path, manifest: Manifest) -> None:
    entries = Entries(connection, folder / CATALOG_NAME)
    for record in manifest.collections:
        entries.insert(record)
    entries.set_aliases(manifest.aliases)


def take(
    target: Path,
    records: Sequence[CollectionRecord],
    aliases: Mapping[str, str],
    points_of: Callable[[str], Access],
    whole: bool,
) -> None:
    """Write a snapshot of these collections to `target`. whole: whether they are a whole store;
    then collections that are deleted meanwhile are left out. Each collection is copied at a
    different moment, which is safe because no transaction writes to several collections."""
    with translate_errors(target):
        check_new_file(target)
        with private_folder(target.parent) as folder:
            copied = []
            for record in records:
                with suppress(*([NotFoundError] if whole else [])):
                    copy_collection(points_of(record.id), folder / record.id)
                    copied.append(record)
            names = {record.name for record in copied}
            kept_aliases = {alias: name for alias, name in aliases.items() if name in names}
            pack(folder, Manifest(whole, tuple(copied), kept_aliases), target)
