"""The files in the directory of a store, and their removal.

A file is removed only if its name is one that a store uses, and only in directories that the
store's catalog names. Files of other programs stay, and so does their directory. `warn_of_network`
warns of network file systems, whose locks aren't reliable enough for a store.
"""

import os
import re
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from retrieval_store.base.platform import is_in_use, lock_directory, remove_files, remove_tree
from retrieval_store.base.tracing import log_of
from retrieval_store.errors import FormatError

CATALOG_NAME = "catalog.sqlite"
POINTS_NAME = "points.sqlite"
LOCK_NAME, TURNS_NAME = "maintenance.lock", "writing.lock"
DERIVED = "derived"
DROPPED_SUFFIX = ".dropped"
TEMPORARY = ".new"
PRIVATE_PREFIX = ".retrieval-store-"  # prefix of directories in which a call of one process works
SNAPSHOTS = "snapshots"  # directory of snapshots by name, with a folder for each collection
SNAPSHOT_NAME = "snapshot.zip"  # name of a snapshot that is being written
# The beginnings of the names of files and directories in the directory of a store.
IN_STORE = (
    rf"{re.escape(CATALOG_NAME)}|{SNAPSHOTS}[/\\]|{re.escape(PRIVATE_PREFIX)}[0-9a-f]{{32}}"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # directory of a collection, named by its id
)
_UNFINISHED = r"\.[0-9a-f]{32}(-journal|-wal|-shm)?"  # suffix of a database that is being created
# Patterns, which `re` compiles when they are first needed, and caches.
_CATALOG = re.escape(CATALOG_NAME) + _UNFINISHED
_VECTORS = r"([0-9]+)\.([0-9]+)\.vectors"
_OF_COLLECTION = (
    rf"points\.sqlite(-wal|-shm|-journal|{_UNFINISHED})?|{_VECTORS}|(maintenance|writing)\.lock"
)
_OF_PRIVATE = (
    rf"{re.escape(CATALOG_NAME)}({_UNFINISHED}|-wal|-shm)?|{re.escape(SNAPSHOT_NAME)}"
    r"|[0-9a-f]{32}\.part"  # a snapshot on its way to a server or from it
    # Files of a cluster's copy that is becoming a snapshot.
    r"|\.?copy-[0-9a-f]{16}\.(journal(\.new)?|lock)"
)
_OF_DERIVED = r"[a-z0-9]+(\.[a-z0-9]+)*\.[0-9a-f]{32}(\.new)?"
_NAMED = 4  # names of found files in a message
_log = log_of("files")
_HINTS = {
    "chroma.sqlite3": (
        "It is Chroma's: retrieval_store_files.import_chroma brings what it holds to a store "
        'elsewhere, as docs/chroma.md shows under "Bringing your data"'
    ),
    "meta.json": (
        "It is that of qdrant-client's local mode: "
        "retrieval_store_files.import_qdrant_local brings what it holds to a store elsewhere"
    ),
    ".lance": (
        "It is LanceDB's: retrieval_store_files.import_lancedb brings what it holds to a store "
        "elsewhere"
    ),
}


def refuse_foreign(directory: Path) -> None:
    """Raise FormatError if a directory contains no store, but files of another program. Hidden
    files are ignored."""
    names = sorted(os.listdir(directory))
    if CATALOG_NAME in names:
        return
    foreign = [name for name in names if not _may_exist(name)]
    if foreign:
        shown = ", ".join(foreign[:_NAMED]) + (" and others" if len(foreign) > _NAMED else "")
        hints = [hint for end, hint in _HINTS.items() if any(n.endswith(end) for n in foreign)]
        hint = hints[0] if hints else "Name a directory that is empty, or that isn't there yet"
        raise FormatError(
            f"{directory} is no store of retrieval-store, and not empty: it holds {shown}. {hint}"
        )


def _may_exist(name: str) -> bool:
    made_now = re.fullmatch(_CATALOG, name)  # of another process that is also creating the store
    return bool(made_now) or name.startswith(".") or name == "lost+found"


@dataclass(slots=True)
class Label:
    """The name of a collection for messages. The name can change when the collection is renamed.
    Messages contain this name because the name of the collection's directory is only an id."""

    name: str


@contextmanager
def private_folder(directory: Path | None) -> Iterator[Path]:
    """Context manager: a new directory for one call, in `directory` or among the system's temporary
    files. It is deleted at the end of the context, except for files that were moved away. If the
    process dies before that, the next call of `remove_lost_folders` deletes it. The process holds a
    lock on the directory, which shows that it is alive."""
    # Imported here with shutil, so that the directory can be removed even if no file can be opened.
    import tempfile

    parent = Path(tempfile.gettempdir()) if directory is None else directory
    remove_lost_folders(parent)
    process = os.getpid()
    while True:
        folder = parent / f"{PRIVATE_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700 if directory is None else 0o777)
        with lock_directory(folder) as is_ours:
            if is_ours is False:  # another process took it for a lost folder, and is removing it
                continue
            try:
                yield folder
                return
            finally:
                if os.getpid() == process:  # in a forked child the folder belongs to the parent
                    remove_tree(folder)


def remove_lost_folders(parent: Path) -> None:
    """Remove private folders whose processes have died. Only files with names that a store uses are
    removed from them."""
    for folder in parent.glob(f"{PRIVATE_PREFIX}*"):
        with suppress(OSError), lock_directory(folder) as is_ours:
            if is_ours:
                for inside in folder.iterdir():
                    if inside.is_dir():
                        remove_collection(inside)
                _remove(folder, _OF_PRIVATE)
                folder.rmdir()


def remove_collection(directory: Path) -> None:
    """Remove the files of a collection, and its directory if it is then empty. Other processes may
    be removing the same files at the same time."""
    # The link isn't ours, and the directory that it leads to isn't either.
    if directory.is_symlink():
        directory.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError):
        remove_derived(directory, ())
        with suppress(OSError):
            (directory / DERIVED).rmdir()
        _remove(directory, _OF_COLLECTION)
        remaining_names = sorted(os.listdir(directory))
        if remaining_names:
            _log.warning(
                "%s stays, since it holds what isn't ours: %s", directory, remaining_names[:_NAMED]
            )
        else:
            directory.rmdir()


def remove_vector_files(
    directory: Path, generation_kept: int, is_dropped: Callable[[int], bool]
) -> None:
    """Remove the vector files of all generations except `generation_kept`, and the vector files of
    deleted spaces."""

    def keep(name: str) -> bool:
        space, generation, _ = name.split(".")
        return int(generation) == generation_kept and not is_dropped(int(space))

    _remove_unused(directory, _VECTORS, keep)


def vector_files(directory: Path) -> set[tuple[int, int]]:
    """The vector space and the generation of each vector file of a collection."""
    found = (re.fullmatch(_VECTORS, name) for name in os.listdir(directory))
    return {(int(match[1]), int(match[2])) for match in found if match}


def remove_derived(directory: Path, names: Collection[str]) -> None:
    """Remove the derived files of a collection, except the files with these names."""
    with suppress(FileNotFoundError, NotADirectoryError):
        _remove_unused(directory / DERIVED, _OF_DERIVED, names.__contains__)


def _remove(
    directory: Path, pattern: str, keep: Callable[[str], bool] = lambda name: False
) -> None:
    """Remove the files of a directory whose whole names match the pattern, except those for which
    `keep` is true."""
    remove_files(directory, lambda name: bool(re.fullmatch(pattern, name)) and not keep(name))


def _remove_unused(directory: Path, pattern: str, keep: Callable[[str], bool]) -> None:
    """Like `_remove`, but leaves files that are in use; a later call removes them."""
    try:
        _remove(directory, pattern, keep)
    except OSError as error:
        if not is_in_use(error):
            raise


NETWORK_TYPES = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "9p",
        "ceph",
        "glusterfs",
        "lustre",
        "gpfs",
        "fuse.sshfs",
        "fuse.glusterfs",
    ]
)
MOUNTS = Path("/proc/self/mounts")


def warn_of_network(path: Path) -> None:
    """Warn if the path is known to be on a network file system."""
    try:
        mounts = MOUNTS.read_text()
    except OSError:
        return
    kind = file_system_of(path.resolve(), mounts)
    if kind in NETWORK_TYPES:
        warnings.warn(
            f"{path} lies on a network file system ({kind}), whose locks and syncs don't keep the "
            "store's promises: use a local disk",
            stacklevel=2,
        )


def file_system_of(path: Path, mounts: str) -> str | None:
    """The type of the file system that contains the path, according to a mount table like
    /proc/mounts."""
    best, kind = -1, None
    for line in mounts.splitlines():
        _, mount_point, mounted_type, *_ = [*line.split(), "", "", ""]
        mounted = Path(mount_point.replace("\\040", " "))  # the table writes a space like this
        if path.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), mounted_type
    return kind
