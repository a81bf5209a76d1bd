"""What lies in the directory of a store, and how it is taken away.

Nothing is removed but files with names of ours, in directories that the catalog of the store names.
What other programs have put there stays, and so does the directory around it.
"""

import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from retrieval_store.base import posix
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.logs import log_of
from retrieval_store.errors import FormatError

CATALOG_NAME = "catalog.sqlite"
POINTS_NAME = "points.sqlite"
LOCK_NAME = "maintenance.lock"
DERIVED = "derived"
DROPPED_SUFFIX = ".dropped"
TEMPORARY = ".new"
COPY_PREFIX = ".copy-"  # of the names of directories with copies for a while, …
COPY, COPY_LOCK = "copy", "lock"  # … and what is in them
_UNFINISHED = r"\.[0-9a-f]{32}(-journal|-wal|-shm)?"  # behind the name of a database being made
# Patterns, which `re` compiles when they are first needed, and keeps.
_CATALOG = re.escape(CATALOG_NAME) + _UNFINISHED
_VECTORS = r"([0-9]+)\.([0-9]+)\.vectors"
_OF_COLLECTION = rf"points\.sqlite(-wal|-shm|-journal|{_UNFINISHED})?|{_VECTORS}|maintenance\.lock"
_OF_DERIVED = r"[a-z0-9]+(\.[a-z0-9]+)*\.[0-9a-f]{32}(\.new)?"
_FOLDER = os.O_RDONLY | posix.DIRECTORY | posix.NO_FOLLOW | posix.CLOSE_ON_EXEC
_NAMED = 4  # of what was found, in a message
_log = log_of("files")
_HINTS = {
    "chroma.sqlite3": (
        "It is Chroma's: retrieval_store.exchange.import_chroma brings what it holds to a store "
        'elsewhere, as docs/chroma.md shows under "Bringing your data"'
    ),
    "meta.json": (
        "It is that of qdrant-client's local mode: "
        "retrieval_store.exchange.import_qdrant_local brings what it holds to a store elsewhere"
    ),
    ".lance": (
        "It is LanceDB's: retrieval_store.exchange.import_lancedb brings what it holds to a store "
        "elsewhere"
    ),
}


def refuse_foreign(directory: Path) -> None:
    """Raise FormatError for a directory without a store that isn't empty: what is there is another
    program's. Hidden files don't count."""
    names = sorted(os.listdir(directory))
    if CATALOG_NAME in names:
        return
    foreign = [name for name in names if not _may_be_there(name)]
    if foreign:
        shown = ", ".join(foreign[:_NAMED]) + (" and others" if len(foreign) > _NAMED else "")
        hints = [hint for end, hint in _HINTS.items() if any(n.endswith(end) for n in foreign)]
        hint = hints[0] if hints else "Name a directory that is empty, or that isn't there yet"
        raise FormatError(
            f"{directory} is no store of retrieval-store, and not empty: it holds {shown}. {hint}"
        )


def _may_be_there(name: str) -> bool:
    made_now = re.fullmatch(_CATALOG, name)  # by another process that is making the store too
    return bool(made_now) or name.startswith(".") or name == "lost+found"


@dataclass(slots=True)
class Label:
    """What a collection is called in messages: its name, which may change; its directory, whose
    name never does, says nothing to a reader."""

    name: str


def remove_lost_copies(directory: Path) -> None:
    """Remove private copies of collections (`snapshots.copies`) whose processes have died: the lock
    of each other one is held."""
    for folder in directory.glob(f"{COPY_PREFIX}*"):
        with suppress(OSError), (folder / COPY_LOCK).open("rb") as lock:
            posix.fcntl.flock(lock, posix.fcntl.LOCK_EX | posix.fcntl.LOCK_NB)
            remove_collection(folder / COPY)
            (folder / COPY_LOCK).unlink()
            folder.rmdir()


def remove_collection(directory: Path) -> None:
    """Remove the files of a collection, and its directory if nothing else is in it. Others may be
    at it too."""
    if directory.is_symlink():  # in the place of ours; what it leads to isn't
        directory.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        remove_derived(directory, ())
        with suppress(OSError):
            (directory / DERIVED).rmdir()
        _remove(directory, _OF_COLLECTION)
        left = sorted(os.listdir(directory))
        if left:
            _log.warning("%s stays, since it holds what isn't ours: %s", directory, left[:_NAMED])
        else:
            directory.rmdir()


def remove_vector_files(directory: Path, but_of: int, gone: Callable[[int], bool]) -> None:
    """Remove the vector files of a collection but those of one generation, and of that the files of
    spaces that are gone."""

    def keep(name: str) -> bool:
        space, generation, _ = name.split(".")
        return int(generation) == but_of and not gone(int(space))

    _remove(directory, _VECTORS, keep)


def vector_files(directory: Path) -> set[int]:
    """The numbers of the vector spaces of which a collection has files."""
    return {
        int(name.split(".")[0]) for name in os.listdir(directory) if re.fullmatch(_VECTORS, name)
    }


def remove_derived(directory: Path, kept: Collection[str]) -> None:
    """Remove the derived files of a collection but those that are named."""
    with suppress(FileNotFoundError, NotADirectoryError):
        _remove(directory / DERIVED, _OF_DERIVED, kept.__contains__)


def _remove(
    directory: Path, pattern: str, keep: Callable[[str], bool] = lambda name: False
) -> None:
    """Remove the files of a directory whose whole names match, but those to keep. By a descriptor,
    so that a link put in its place meanwhile leads nowhere."""
    folder = os.open(directory, _FOLDER)
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if not e.is_dir(follow_symlinks=False)]
        for name in names:
            if re.fullmatch(pattern, name) and not keep(name):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
        os.fsync(folder)
    finally:
        os.close(folder)
