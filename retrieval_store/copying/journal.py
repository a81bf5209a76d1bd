"""The journal of a copy: which collections it has begun, and how far each has come.

One JSON file in the directory of the target, or, where that has none, of the source. Whoever
begins the same copy again goes on where the journal says; only one process at a time does. It is a
note, not the truth: everything that it lets go on can be done twice.
"""

import hashlib
import os
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from retrieval_store.base import posix
from retrieval_store.errors import ConflictError, DamagedError, StorageError
from retrieval_store.interface.points import Position

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One collection: the id of its copy; the position of the source from which on changes are to
    be copied again, None for a source that tells none; how many of its points are done, and of how
    many; whole: whether all are; left, kept: the position of the copy, if it tells one, and how
    many points it had, when it was last written to by us; None while we write."""

    target: str
    position: Position | None = None
    done: int = 0
    count: int = 0
    whole: bool = False
    left: Position | None = None
    kept: int | None = None


@dataclass(slots=True)
class Journal:
    """The entries, by the ids of collections in the source. path: None where there is no place for
    a file, so that nothing outlives the process."""

    path: Path | None
    entries: dict[str, Entry] = field(default_factory=dict)

    def begin(self, collection_id: str) -> Entry:
        """The entry of a collection; a new one, which is noted, where there is none."""
        if collection_id not in self.entries:
            self.note(collection_id, Entry(str(uuid.uuid4())))
        return self.entries[collection_id]

    def note(self, collection_id: str, entry: Entry) -> Entry:
        """Remember an entry, durably."""
        self.entries[collection_id] = entry
        if self.path is not None:
            _write(self.path, self.entries)
        return entry

    def advance(self, collection_id: str, **changes: Any) -> Entry:
        """The same of an entry with changes."""
        return self.note(collection_id, replace(self.entries[collection_id], **changes))

    def forget(self, collection_ids: Collection[str]) -> None:
        """The copies of these are finished."""
        self.entries = {i: one for i, one in self.entries.items() if i not in collection_ids}
        if self.path is not None and self.entries:
            _write(self.path, self.entries)
        elif self.path is not None:
            self.path.unlink(missing_ok=True)


@contextmanager
def opened(folders: Sequence[Path | None], places: tuple[str, str]) -> Iterator[Journal]:
    """The journal of a copy from the first of the places to the second, one that was broken off
    being gone on with; in the first of the folders that is one. ConflictError while another process
    has it."""
    name = f"copy-{hashlib.sha256(orjson.dumps(places)).hexdigest()[:16]}.journal"
    folder = next((one for one in folders if one is not None), None)
    if folder is None:
        yield Journal(None)
        return
    path = folder / name
    with _alone(path.with_suffix(".lock"), places):
        yield Journal(path, _read(path))


@contextmanager
def _alone(path: Path, places: tuple[str, str]) -> Iterator[None]:
    """Hold a lock that a process lets go of when it dies."""
    while True:
        try:
            file = path.open("ab")
        except OSError as error:
            raise StorageError(f"{path}: {error}") from error
        with file:
            if posix.IS_THERE:
                try:
                    posix.fcntl.flock(file, posix.fcntl.LOCK_EX | posix.fcntl.LOCK_NB)
                except OSError:
                    raise ConflictError(
                        f"another process is copying from {places[0]} to {places[1]} already"
                    ) from None
            if not _is_at(path, file.fileno()):  # its last holder has removed it
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(path: Path) -> dict[str, Entry]:
    try:
        said = orjson.loads(path.read_bytes())
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}")
        return {str(uuid.UUID(one)): _entry(entry) for one, entry in said["collections"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{path}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"{path} is no journal of a copy ({error}); delete it to begin the copy anew"
        ) from error


def _entry(said: Any) -> Entry:
    return Entry(
        str(uuid.UUID(said["target"])),
        _position(said["position"]),
        max(0, int(said["done"])),
        max(0, int(said["count"])),
        bool(said["whole"]),
        _position(said["left"]),
        None if said["kept"] is None else int(said["kept"]),
    )


def _position(said: Any) -> Position | None:
    return None if said is None else Position(int(said["operation"]), int(said["inserted"]))


def _write(path: Path, entries: dict[str, Entry]) -> None:
    """Replace the file, so that there is always a whole one."""
    said = {"format": FORMAT, "collections": {one: asdict(e) for one, e in entries.items()}}
    new = path.with_name(f".{path.name}.new")  # one that a dead process left is used again
    try:
        with new.open("wb") as file:
            file.write(orjson.dumps(said))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: {error}") from error
