"""Snapshots by name, as a server keeps them: in a folder of the store's directory for each
collection, and one for the whole store.

The files are the store's own snapshots. Beside each lies its SHA-256, so that listing them reads no
more than that.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlparse

from qdrant_client import models

from retrieval_store.backends import SNAPSHOTS
from retrieval_store.base.system import digest_of
from retrieval_store.errors import StorageError
from retrieval_store.qdrant.collections import CollectionHandle
from retrieval_store.qdrant.refusals import not_found, wrong
from retrieval_store.query.protocols import EmbeddedStore

FULL = "full"
SUFFIX, CHECKSUM = ".snapshot", ".checksum"
LONGEST = 100  # characters of a name in the name of a file
_NAME = re.compile(r"[A-Za-z0-9%._~-]+\.snapshot")


def _as_file(opened: CollectionHandle) -> str:
    name = quote(opened.record.name, safe="")
    if len(name) <= LONGEST:
        return name
    return f"{name[:LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


@contextlib.contextmanager
def _translate_file_errors() -> Iterator[None]:
    """Turns errors of the file system into ours: another process may delete a snapshot at any
    moment."""
    try:
        yield
    except StorageError:  # ours are OSErrors, too, which say more
        raise
    except FileNotFoundError as error:
        raise not_found(f"Not found: there is no snapshot {error.filename}") from None
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Snapshots:
    """The snapshots of a collection, or of the whole store where `opened` is None. All but
    `described` raises Refused for a store in memory, which has no directory for them."""

    store: EmbeddedStore
    opened: CollectionHandle | None

    @property
    def root(self) -> Path:
        """The directory that holds all snapshots of the store."""
        if self.store.directory is None:
            raise wrong("a store in memory has no directory for snapshots; give path")
        return self.store.directory / SNAPSHOTS

    @property
    def _folder(self) -> Path:
        return self.root / (FULL if self.opened is None else f"collection-{_as_file(self.opened)}")

    @_translate_file_errors()
    def create(self) -> models.SnapshotDescription:
        """Make one now."""
        folder, opened = self._folder, self.opened
        folder.mkdir(parents=True, exist_ok=True)
        timestamp = datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S-%f")
        path = folder / f"{FULL if opened is None else _as_file(opened)}-{timestamp}{SUFFIX}"
        self.store.snapshot(path, None if opened is None else opened.record.id)
        path.with_name(path.name + CHECKSUM).write_text(digest_of(path), encoding="ascii")
        return _describe_snapshot(path)

    @_translate_file_errors()
    def described(self) -> list[models.SnapshotDescription]:
        """Those that there are, the oldest first; of a store in memory none."""
        if self.store.directory is None:
            return []
        folder = self._folder
        paths = folder.glob(f"*{SUFFIX}") if folder.is_dir() else ()
        snapshots = []
        for path in filter(self._is_own, sorted(paths)):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                snapshots.append(_describe_snapshot(path))
        return snapshots

    @_translate_file_errors()
    def delete(self, name: str) -> bool:
        """Delete the one of this name; Refused without one."""
        path = self.path_of(name)
        path.unlink()
        path.with_name(path.name + CHECKSUM).unlink(missing_ok=True)
        return True

    def path_of(self, name: Any) -> Path:
        """The path of the one of this name; Refused without one."""
        path = self._folder / str(name)
        if not (isinstance(name, str) and _NAME.fullmatch(name) and self._is_own(path)):
            raise not_found(f"Not found: there is no snapshot {name!r}")
        return path

    def _is_own(self, path: Path) -> bool:
        """Whether a file exists and is no link out of the directory for snapshots, which the maker
        of the store may have put there."""
        return path.is_file() and path.resolve().is_relative_to(self.root.resolve())


@_translate_file_errors()
def recover(store: EmbeddedStore, name: str, location: Any, checksum: str | None) -> bool:
    """Replace the collection of this name, if there is one, by a snapshot. location: a path or a
    file:// URI; nothing is downloaded. checksum: the expected SHA-256 of the file."""
    path = _path_of_location(location)
    if not path.is_file():
        raise not_found(f"Not found: there is no snapshot {path}")
    if checksum is not None and digest_of(path) != checksum.lower():
        raise wrong(f"the checksum of {path} isn't {checksum!r}: {digest_of(path)!r}")
    store.restore(path, name, replace=True)
    return True


def _path_of_location(location: Any) -> Path:
    try:
        url = urlparse(str(location))
    except ValueError:
        raise wrong(f"location is {location!r}, expected a path or a file:// URL") from None
    if url.scheme == "file":
        as_it_is = Path(url.path)  # as those make it who put a path behind file://
        return as_it_is if as_it_is.is_file() else Path(unquote(url.path))
    if url.scheme in ("http", "https"):
        raise wrong(f"{location} isn't fetched: get the file, and give its path")
    return Path(str(location))


def _describe_snapshot(path: Path) -> models.SnapshotDescription:
    status, beside = path.stat(), path.with_name(path.name + CHECKSUM)
    created = datetime.fromtimestamp(status.st_mtime, UTC).replace(microsecond=0, tzinfo=None)
    return models.SnapshotDescription(
        name=path.name,
        creation_time=created.isoformat(),
        size=status.st_size,
        checksum=_read_checksum(beside),
    )


def _read_checksum(path: Path) -> str | None:
    """The checksum that is stored beside a snapshot; None while it isn't."""
    try:
        if not path.is_symlink():  # which isn't of our making
            return path.read_text(encoding="ascii")
    except FileNotFoundError:
        pass
    return None
