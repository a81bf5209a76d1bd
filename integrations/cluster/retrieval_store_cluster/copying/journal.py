"""The journal of copies: which collections are copies, and the progress of each copy.

The journal is one JSON file in the directory of the target, or of the source if the target has no
directory. A repeated copy resumes from the journal; only one process at a time uses it. The journal
is kept after the copy, since it distinguishes copies from the owner's collections: a collection
that isn't in the journal is never changed. After an interruption, the stores may differ from the
journal. So every step can be repeated, and a copy's name is recorded before the copy gets this
name.

If neither store has a directory, and the target is a cluster, the entry of each copy is stored in
the copy's metadata (`JournalOfCluster`).
"""

import hashlib
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import orjson

from retrieval_store.errors import ConflictError, DamagedError, NotFoundError, StorageError
from retrieval_store.extension import Payload, Position, hold_lock, replace_file

FORMAT = 3
COPIES = uuid.UUID("3d8a4f0e-8f0b-4c1d-9a55-6f2c1c7f5b21")  # for ids derived from others
READABLE = (1, 2, FORMAT)  # the first had no vector spaces, and was deleted at the end


@dataclass(frozen=True, slots=True)
class Entry:
    """The journal's entry for one collection.

    target: the id of the copy. position: the position in the source's change log from which changes
    are copied; None for a source without a log. done, count: the number of copied points, and of
    all points; whole: whether all points are copied. left: the position in the copy's change log
    after this program's last write to the copy, None for a copy without a log; kept: the copy's
    number of points after that write. Both are None during writes. name: the name that this program
    has given the copy; "" in some older journals. spaces: the source's vector spaces that the copy
    has, with their numbers in the source; None if unknown. paged: whether the points are being
    copied page by page. finished: whether the copy was completed after the last write.
    """

    target: str
    position: Position | None = None
    done: int = 0
    count: int = 0
    whole: bool = False
    left: Position | None = None
    kept: int | None = None
    name: str = ""
    spaces: Mapping[str, int] | None = None
    paged: bool = False
    finished: bool = False


@dataclass(slots=True)
class Journal:
    """The entries, by the ids of collections in the source. path: the journal's file. None if there
    is no directory for a file; the entries are then lost when the process ends."""

    path: Path | None
    entries: dict[str, Entry] = field(default_factory=dict)

    def note(self, collection_id: str, entry: Entry) -> Entry:
        """Store an entry durably."""
        self.entries[collection_id] = entry
        self._write()
        return entry

    def advance(self, collection_id: str, **changes: Any) -> Entry:
        """Change an entry and store it durably."""
        return self.note(collection_id, replace(self.entries[collection_id], **changes))

    def finish(self, collection_ids: Collection[str]) -> None:
        """Mark these copies as complete."""
        for collection_id in collection_ids:
            self.entries[collection_id] = replace(self.entries[collection_id], finished=True)
        if collection_ids:
            self._write()

    def new_id(self, collection_id: str) -> str:
        """A new id for the copy of a collection. The journal records the id before it is used,
        since a process that dies may leave data under this id."""
        return str(uuid.uuid4())

    def look_up(self, collection_ids: Collection[str]) -> None:
        """Do nothing, since the entries have been read from the file. (A `JournalOfCluster` reads
        the entries of these collections here.)"""

    def _write(self) -> None:
        if self.path is not None:
            _write(self.path, self)


class NoteKeeper(Protocol):
    """A cluster, which can store a note with each collection. The note is the journal's entry for a
    copy."""

    def copy_note(self, collection_id: str) -> tuple[Any, int]:
        """The note of a collection, None if there is none, and the collection's number of points.
        Raises NotFoundError if the collection does not exist."""

    def note_copy(self, collection_id: str, note: Payload) -> None:
        """Store the note of a collection; raises NotFoundError if the collection does not exist."""


def _id_of_copy(collection_id: str) -> str:
    return str(uuid.uuid5(COPIES, collection_id))


class JournalOfCluster(Journal):
    """The journal's entries, for a target that is a cluster. The entry for a collection is stored
    in the metadata of its copy. The id of the copy is derived from the collection's id, so it is
    known before there is an entry. The number of copied points is determined from the points of the
    copy."""

    def __init__(self, keeper: NoteKeeper) -> None:
        super().__init__(None)
        self._keeper = keeper
        self._kept: dict[str, Payload] = {}

    def new_id(self, collection_id: str) -> str:
        """The id for the copy of a collection. The id is always the same, unless another program
        has renamed the copy with that id."""
        try:
            self._keeper.copy_note(_id_of_copy(collection_id))
        except NotFoundError:
            return _id_of_copy(collection_id)
        return super().new_id(collection_id)

    def look_up(self, collection_ids: Collection[str]) -> None:
        """Read the notes of the copies of these collections. An invalid note is ignored."""
        for collection_id in collection_ids:
            target = _id_of_copy(collection_id)
            with suppress(NotFoundError, LookupError, TypeError, ValueError, AttributeError):
                note, count = self._keeper.copy_note(target)
                entry = Entry(target, paged=True) if note is None else _entry(note)
                done = count if entry.position is None else 0
                self.entries[collection_id] = replace(entry, target=target, done=done)

    def note(self, collection_id: str, entry: Entry) -> Entry:
        """Store an entry durably in the metadata of the copy, if the copy exists. The entry's
        progress is not stored."""
        self.entries[collection_id] = entry
        kept = asdict(replace(entry, done=0, count=0))
        if kept != self._kept.get(collection_id):
            with suppress(NotFoundError):
                self._keeper.note_copy(entry.target, kept)
                self._kept[collection_id] = kept
        return entry

    def finish(self, collection_ids: Collection[str]) -> None:
        """Mark these copies as complete."""
        for collection_id in collection_ids:
            self.advance(collection_id, finished=True)


@contextmanager
def open_journal(
    folders: Sequence[Path | None],
    places: tuple[str, str],
    keeper: NoteKeeper | None = None,
    leading: tuple[str, str] = ("", ""),
) -> Iterator[Journal]:
    """A context manager that opens the journal of copies from the first store to the second, with
    the entries of earlier runs. The journal's file is in the first of the folders that is not None.
    Raises ConflictError if another process uses the journal. places: how messages name the two
    stores. keeper: the target, if that is a cluster. leading: for each store a value that
    distinguishes it from other stores at the same address."""
    told_apart = places if leading == ("", "") else (*places, *leading)
    name = f"copy-{hashlib.sha256(orjson.dumps(told_apart)).hexdigest()[:16]}.journal"
    folder = next((existing for existing in folders if existing is not None), None)
    if folder is None:
        yield Journal(None) if keeper is None else JournalOfCluster(keeper)
        return
    path = folder / name
    with hold_lock(path.with_suffix(".lock")) as is_alone:
        if not is_alone:
            raise ConflictError(
                f"another process is copying from {places[0]} to {places[1]} already"
            )
        yield _read_journal(path)


def _read_journal(path: Path) -> Journal:
    try:
        content = orjson.loads(path.read_bytes())
        if content["format"] not in READABLE:
            raise ValueError(f"its format is {content['format']!r}")
        entries = {
            str(uuid.UUID(collection_id)): _entry(e)
            for collection_id, e in content["collections"].items()
        }
        return Journal(path, entries)
    except FileNotFoundError:
        return Journal(path)
    except OSError as error:
        raise StorageError(f"{path}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(
            f"{path} is no journal of a copy ({error}); delete it to begin the copy anew"
        ) from error


def _entry(entry: Any) -> Entry:
    whole, spaces = bool(entry["whole"]), entry.get("spaces")
    return Entry(
        str(uuid.UUID(entry["target"])),
        _position(entry["position"]),
        max(0, int(entry["done"])),
        max(0, int(entry["count"])),
        whole,
        _position(entry["left"]),
        None if entry["kept"] is None else int(entry["kept"]),
        str(entry.get("name", "")) or _only([*entry.get("names", ())]),
        None if spaces is None else {str(name): int(number) for name, number in spaces.items()},
        bool(entry.get("paged", not whole)),  # older ones lack it: then all are checked
        bool(entry.get("finished", False)),
    )


def _only(names: list[Any]) -> str:
    """The name of the copy, from a journal in the second format, in which an entry has a list of
    names. "" if the list has several names, because the copy was being renamed."""
    return str(names[0]) if len(names) == 1 else ""


def _position(data: Any) -> Position | None:
    return None if data is None else Position(int(data["operation"]), int(data["inserted"]))


def _write(path: Path, journal: Journal) -> None:
    """Write the journal to its file, which is replaced atomically."""
    entries = {collection_id: asdict(entry) for collection_id, entry in journal.entries.items()}
    content = {"format": FORMAT, "collections": entries}
    replace_file(path, orjson.dumps(content))  # else a power failure could leave a copy without one
