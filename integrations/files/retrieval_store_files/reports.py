"""The results of exports, checks, additions and imports."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_REASONS = 6  # that a report names


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export: the number of records, and bytes in the file or the directory."""

    path: Path
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Checked:
    """The content of a valid file. dimension: the dimension of its embeddings, if it has any;
    embedded: how many records have an embedding."""

    path: Path
    records: int
    embedded: int
    dimension: int | None


@dataclass(frozen=True, slots=True)
class Added:
    """The result of adding a file: the numbers of new, replaced and skipped records. A record is
    skipped if its id exists."""

    path: Path
    added: int
    updated: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that wasn't added, and why."""

    path: Path
    why: str


def count_reasons(files: Sequence[Unreadable]) -> str:
    """How often each reason occurs, the most frequent first."""
    counts = Counter(file.why for file in files)
    reasons = sorted(counts.items(), key=lambda reason_count: (-reason_count[1], reason_count[0]))
    counted = [f"{times:,} {reason}" for reason, times in reasons[:MOST_REASONS]]
    return ", ".join(counted) + (", …" if len(reasons) > MOST_REASONS else "")


@dataclass(frozen=True, slots=True)
class FolderAdded:
    """The result of adding a folder: the fields of `Added`, and the unreadable files. Also the
    files that were skipped because of their kind or because they are hidden."""

    path: Path
    added: int
    updated: int
    skipped: int
    left_out: tuple[Unreadable, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def others(self) -> int:
        """How many files and hidden folders were skipped."""
        return len(self.left_out)


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """The result of syncing a folder, or its preview with `dry_run`. added, changed, deleted: the
    files whose records were added, changed or deleted, by their paths within the folder; unchanged:
    how many files stayed the same. left_out: excluded files and folders, with the reason;
    unreadable: files that can't be read, which keep their records. gaps: the unread parts of files,
    such as a page that is a picture; embedded: for how many records vectors were computed."""

    path: Path
    name: str
    added: tuple[str, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    unchanged: int
    left_out: tuple[Unreadable, ...]
    unreadable: tuple[Unreadable, ...]
    gaps: tuple[Unreadable, ...]
    embedded: int
    dry_run: bool

    @property
    def others(self) -> int:
        """How many files and folders were excluded."""
        return len(self.left_out)

    def __str__(self) -> str:
        done = [
            f"{len(self.added):,} added",
            f"{len(self.changed):,} changed",
            f"{len(self.deleted):,} deleted",
            f"{self.unchanged:,} unchanged",
        ]
        if self.unreadable:
            done.append(f"{len(self.unreadable):,} that can't be read")
        if self.left_out:
            done.append(f"{self.others:,} left out ({count_reasons(self.left_out)})")
        would = "would be: " if self.dry_run else ""
        return f"{would}{', '.join(done)}; {self.embedded:,} embedded"


@dataclass(frozen=True, slots=True)
class Left:
    """A kind of thing that couldn't be imported, why, and for how many records; 0 if it doesn't
    concern records. example: the id of a record."""

    what: str
    why: str
    records: int = 0
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """A collection that was imported: its source, its number of records, and what couldn't be
    imported."""

    source: str
    name: str
    records: int
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import; `left` is what couldn't be imported and belongs to no collection."""

    path: Path
    collections: tuple[Carried, ...]
    left: tuple[Left, ...] = ()

    @property
    def records(self) -> int:
        """The number of records in all collections."""
        return sum(collection.records for collection in self.collections)
