"""The file of a snapshot: a ZIP archive of the files of collections, and a manifest.

Nothing in it is compressed, so what it holds is never more than it is long. The manifest has the
size and SHA-256 of every other file, and the archive's comment has that of the manifest. Names are
ours, all of them: `UUID/points.sqlite`, `UUID/NUMBER.GENERATION.vectors`.
"""

import hashlib
import os
import re
import stat
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import orjson

from retrieval_store.base import system
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.system import sync_directory, sync_file
from retrieval_store.base.validation import Payload
from retrieval_store.engine.storage.files import POINTS_NAME, SNAPSHOT_NAME
from retrieval_store.errors import (
    DamagedError,
    FormatError,
    InvalidArgumentError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.query.types import CollectionRecord

VERSION = 1
MANIFEST = "manifest.json"
PIECE = 1 << 22
LARGEST_MANIFEST = 1 << 28
_COMMENT = b"retrieval-store snapshot "
_FILE = re.compile(rf"{re.escape(POINTS_NAME)}|[0-9]{{1,18}}\.[0-9]{{1,18}}\.vectors")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot holds. whole: a whole store, or one collection of it."""

    whole: bool
    collections: tuple[CollectionRecord, ...]
    aliases: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Entry:
    bytes: int
    sha256: str


def pack(directory: Path, manifest: Manifest, target: Path) -> None:
    """Make a snapshot of a private folder that has a directory for each of the collections;
    InvalidArgumentError when there is something in its place."""
    made = directory / SNAPSHOT_NAME
    with zipfile.ZipFile(made, "x", allowZip64=True) as archive:
        entries = {}
        for record in manifest.collections:
            for path in sorted((directory / record.id).iterdir()):
                name = f"{record.id}/{path.name}"
                entries[name] = _add(archive, path, name)
        described = _described(manifest, entries)
        archive.writestr(MANIFEST, described)
        archive.comment = _COMMENT + hashlib.sha256(described).hexdigest().encode()
    sync_file(made)
    try:
        os.link(made, target)  # which never replaces anything
    except FileExistsError:
        raise InvalidArgumentError(
            f"{target} is there already; a snapshot replaces nothing"
        ) from None
    sync_directory(target.parent)


def _add(archive: zipfile.ZipFile, path: Path, name: str) -> _Entry:
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as source, archive.open(name, "w", force_zip64=True) as to:
        while piece := source.read(PIECE):
            digest.update(piece)
            to.write(piece)
    return _Entry(size, digest.hexdigest())


def _described(manifest: Manifest, entries: Mapping[str, _Entry]) -> bytes:
    return orjson.dumps(
        {
            "format": VERSION,
            "whole": manifest.whole,
            "collections": [
                {"id": one.id, "name": one.name, "settings": one.settings}
                for one in manifest.collections
            ],
            "aliases": dict(manifest.aliases),
            "files": {
                name: {"bytes": entry.bytes, "sha256": entry.sha256}
                for name, entry in entries.items()
            },
        }
    )


def unpack(snapshot: Path, directory: Path) -> Manifest:
    """Write the files of a snapshot into a directory, each checked on its way; what is found wrong
    is a DamagedError, or a FormatError for one of a newer version."""
    with _opened(snapshot) as archive:
        manifest, entries = _read_manifest(archive, snapshot)
        _refuse_others(archive, entries, snapshot)
        for record in manifest.collections:
            (directory / record.id).mkdir()
        for name, entry in entries.items():
            with archive.open(name) as source:
                _write(source, entry, directory / name, f"{name} in {snapshot}")
        return manifest


@contextmanager
def _opened(snapshot: Path) -> Iterator[zipfile.ZipFile]:
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
    """The file, opened; InvalidArgumentError for what is none: a pipe or a device may never end."""
    opened = os.open(path, os.O_RDONLY | system.CLOSE_ON_EXEC | system.NO_WAITING)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise InvalidArgumentError(f"{path} is no regular file, as snapshots are")
    return os.fdopen(opened, "rb")


def _read_manifest(archive: zipfile.ZipFile, snapshot: Path) -> tuple[Manifest, dict[str, _Entry]]:
    if not archive.comment.startswith(_COMMENT):
        raise FormatError(f"{snapshot} is no snapshot of retrieval-store")
    info = _info(archive, MANIFEST, snapshot)
    if info.file_size > LARGEST_MANIFEST:
        raise DamagedError(f"{snapshot} is damaged: its manifest is too long")
    described = archive.read(info)
    if hashlib.sha256(described).hexdigest().encode() != archive.comment[len(_COMMENT) :]:
        raise DamagedError(f"{snapshot} is damaged: the checksum of its manifest is wrong")
    try:
        return _understood(orjson.loads(described), snapshot)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"{snapshot} is damaged: its manifest says {error!r}") from error


def _understood(said: Any, snapshot: Path) -> tuple[Manifest, dict[str, _Entry]]:
    version = int(said["format"])
    if version > VERSION:
        raise FormatError(
            f"{snapshot} has format version {version}; this retrieval-store reads up to {VERSION}: "
            "install a newer one"
        )
    records = tuple(_record(one) for one in said["collections"])
    ids = {record.id for record in records}
    entries = {name: _entry(name, one, ids) for name, one in said["files"].items()}
    if {name.split("/")[0] for name in entries if name.endswith(POINTS_NAME)} != ids:
        raise ValueError("other collections than it has files for")
    aliases = {str(alias): str(name) for alias, name in said["aliases"].items()}
    return Manifest(bool(said["whole"]), records, aliases), entries


def _record(said: Any) -> CollectionRecord:
    settings: Payload = said["settings"]
    if str(uuid.UUID(said["id"])) != said["id"] or not isinstance(settings, dict):
        raise ValueError(f"{said['id']!r} is no id of a collection")
    return CollectionRecord(said["id"], str(said["name"]), settings)


def _entry(name: str, said: Any, ids: set[str]) -> _Entry:
    folder, _, file = name.partition("/")
    if folder not in ids or not _FILE.fullmatch(file):
        raise ValueError(f"{name!r} is no file of a collection")
    return _Entry(int(said["bytes"]), str(said["sha256"]))


def _refuse_others(archive: zipfile.ZipFile, entries: Mapping[str, _Entry], snapshot: Path) -> None:
    """What is in the archive must be what the manifest says, as long as it says, and no more than
    the archive has room for."""
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


def _write(source: IO[bytes], entry: _Entry, target: Path, shown: str) -> None:
    digest = hashlib.sha256()
    with target.open("xb") as to:
        while piece := source.read(PIECE):
            digest.update(piece)
            to.write(piece)
        to.flush()
        os.fsync(to.fileno())
    if digest.hexdigest() != entry.sha256:
        raise DamagedError(f"{shown} is damaged: its checksum is wrong")
