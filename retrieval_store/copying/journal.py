"""The journal of a copy: which collections it has begun, and how far each has come.

One JSON file in the directory of the target, or, where that has none, of the source. Whoever
begins the same copy again goes on where the journal says. It is a note, not the truth: everything
that it lets go on can be done twice.
"""

import hashlib
import os
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from retrieval_store.errors import DamagedError, StorageError
from retrieval_store.interface.points import Position

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One collection: the id of its copy; the position of the source from which on changes are to
    be copied again, None for a source that tells none; how many of its points are done, and of how
    many; whole: whether all are."""

    target: str
    position: Position | None = None
    done: int = 0
    count: int = 0
    whole: bool = False


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

    def forget(self) -> None:
        """The copy is finished."""
        self.entries.clear()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def opened(folders: Sequence[Path | None], places: tuple[str, str]) -> Journal:
    """The journal of a copy from the first of the places to the second, one that was broken off
    being gone on with; in the first of the folders that is one."""
    name = f"copy-{hashlib.sha256(orjson.dumps(places)).hexdigest()[:16]}.journal"
    for folder in folders:
        if folder is not None:
            return Journal(folder / name, _read(folder / name))
    return Journal(None)


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
    position = said["position"]
    return Entry(
        str(uuid.UUID(said["target"])),
        None
        if position is None
        else Position(int(position["operation"]), int(position["inserted"])),
        max(0, int(said["done"])),
        max(0, int(said["count"])),
        bool(said["whole"]),
    )


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
