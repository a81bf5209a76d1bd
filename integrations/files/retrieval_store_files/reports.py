"""The results of exports, checks, additions and imports."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_REASONS = 6  # that a report names


@dataclass(frozen=True, slots=True)
class Exported:
    """The result of an export. records: the number of written records; bytes: the size of the file,
    or of all files in the directory."""

    path: Path
    records: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking a file whose records are all valid. dimension: the dimension of the
    embeddings, None if the file has no embeddings; embedded: the number of records that have an
    embedding."""

    path: Path
    records: int
    embedded: int
    dimension: int | None


@dataclass(frozen=True, slots=True)
class Added:
    """The result of adding a file: the numbers of new, updated and skipped records. A record is
    skipped if its id exists."""

    path: Path
    added: int
    updated: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that wasn't added, and the reason."""

    path: Path
    why: str


def count_reasons(files: Sequence[Unreadable]) -> str:
    """A text that lists the reasons, each with the number of files that have it. The most frequent
    reason comes first."""
    counts = Counter(file.why for file in files)
    reasons = sorted(counts.items(), key=lambda reason_count: (-reason_count[1], reason_count[0]))
    counted = [f"{times:,} {reason}" for reason, times in reasons[:MOST_REASONS]]
    return ", ".join(counted) + (", …" if len(reasons) > MOST_REASONS else "")


@dataclass(frozen=True, slots=True)
class FolderAdded:
    """The result of adding a folder: the numbers in `Added`, and the files that couldn't be read.
    left_out: hidden files and folders, and files that were skipped because of their kind."""

    path: Path
    added: int
    updated: int
    skipped: int
    left_out: tuple[Unreadable, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def others(self) -> int:
        """The number of skipped files and hidden folders."""
        return len(self.left_out)


@dataclass(frozen=True, slots=True)
class FolderSynced:
    """The result of syncing a folder; with `dry_run`, a preview of the result. added, changed,
    deleted: the paths, within the folder, of files whose records were added, changed or deleted.
    unchanged: the number of files that stayed the same. left_out: excluded files and folders, with
    the reason. unreadable: files that can't be read; their records are kept. gaps: the parts of
    files that weren't read, such as a page that is a picture. embedded: the number of records for
    which vectors were computed."""

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
        """The number of excluded files and folders."""
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
    """A kind of data that couldn't be imported, and the reason. records: the number of records with
    such data; 0 if the data aren't part of a record, as for a setting. example: the id of one of
    these records."""

    what: str
    why: str
    records: int = 0
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Carried:
    """An imported collection: its name in the source, its number of records, and the data that
    couldn't be imported."""

    source: str
    name: str
    records: int
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import. left: the data that couldn't be imported and that belong to no
    imported collection."""

    path: Path
    collections: tuple[Carried, ...]
    left: tuple[Left, ...] = ()

    @property
    def records(self) -> int:
        """The total number of records in the imported collections."""
        return sum(collection.records for collection in self.collections)
