"""The common parts of all imports: they copy a store, and create and fill collections.

`private_copy` copies the directory of another program, because opening the original might change
it. `Making` creates collections that get their names when an import has succeeded, and are deleted
when the import has failed. `Filling` adds the records to a collection. `Leftovers` counts the
records that can't be stored, by the reason.
"""

import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_store import Client, Collection, check_records
from retrieval_store.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from retrieval_store_files.reports import Left
from retrieval_store_files.values import list_ids, path_of, quote

Stamps = dict[str, tuple[int, int]]
_APART = re.compile(r"import-[0-9a-f]{32}-[0-9]+")  # the name during an import
_log = logging.getLogger("retrieval_store")


def directory_of(path: str | os.PathLike[str], expected: str, what: str) -> Path:
    """The path of a directory; raises InvalidArgumentError if the directory contains nothing that
    matches the pattern `expected`. what: a phrase for the expected contents, used in the
    message."""
    directory = path_of(path, "directory")
    if not directory.is_dir():
        raise InvalidArgumentError(f"directory is {str(directory)!r}, expected that of {what}")
    if next(directory.glob(expected), None) is None:
        raise InvalidArgumentError(
            f"directory is {str(directory)!r}, which isn't that of {what}: it has no {expected}"
        )
    return directory


@contextmanager
def private_copy(directory: Path) -> Iterator[Path]:
    """A context manager that copies a directory to a place that no other user can read, and deletes
    the copy at the end. Links are refused, since they would lead out of the copy. A directory that
    changes while it is copied is refused, too."""
    with tempfile.TemporaryDirectory(prefix="retrieval-store-") as place:
        copy = Path(place) / "copy"
        before = _stamps(directory)
        try:
            shutil.copytree(directory, copy)
        except (shutil.Error, OSError) as error:
            raise InvalidArgumentError(f"{directory} can't be copied: {error}") from error
        if _stamps(directory) != before:
            raise InvalidArgumentError(
                f"{directory} changed while it was being copied: close the program that uses it"
            )
        yield copy


def _stamps(directory: Path) -> Stamps:
    stamps: Stamps = {}
    for place, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = Path(place, name)
            if path.is_symlink():
                raise InvalidArgumentError(f"{path} is a link, which isn't followed")
            status = path.lstat()
            stamps[str(path)] = status.st_size, status.st_mtime_ns
    return stamps


Record = dict[str, Any]
RECORD = "record"


class Leftovers:
    """Collects the data that couldn't be imported, by kind and reason."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Left] = {}

    def setting(self, what: str, why: str) -> None:
        """Note that data which belong to no record, such as a setting of the collection, couldn't
        be imported. what: the kind of data; why: the reason."""
        self._entries.setdefault((what, why), Left(what, why))

    def record(self, what: str, why: str, point_id: Any) -> None:
        """Note that a record of the source, or a part of a record, couldn't be imported. what: the
        kind of data; why: the reason."""
        before = self._entries.get((what, why))
        example = str(point_id) if before is None else before.example
        count = 1 if before is None else before.records + 1
        self._entries[what, why] = Left(what, why, count, example)

    def all(self) -> tuple[Left, ...]:
        """All kinds of data that couldn't be imported, in the order in which they were found."""
        return tuple(self._entries.values())


class Filling:
    """Adds records to a new collection, and counts the records that can't be added. No other
    program knows the collection yet."""

    def __init__(self, collection: Collection, left: Leftovers) -> None:
        self._collection, self._left = collection, left
        self._seen: set[bytes] = set()
        self._dimension: int | None = None
        self.records = 0

    def add(self, records: Iterable[Record]) -> None:
        """Add the valid records; the other records are skipped and counted."""
        kept = [record for record in map(self._keep_record, records) if record is not None]
        if kept:
            self.records += self._collection.add_from(kept, len(kept))

    def _keep_record(self, record: Record) -> Record | None:
        why = self._why_not(record)
        if why is not None:
            self._left.record(RECORD, why, record.get("id"))
            return None
        metadata = record.get("metadata")
        if metadata is not None:
            return {**record, "metadata": self._metadata(record["id"], metadata)}
        return record

    def _why_not(self, record: Record) -> str | None:
        """The reason why a record can't be added; None if the record can be added."""
        point_id, vector = record.get("id"), record.get("embedding")
        try:
            check_records([point_id])
        except InvalidArgumentError:
            return "its id isn't a text of at least one character"
        if vector is None:
            return "it has no vector"
        numbers = np.asarray(vector, np.float32)
        if not np.isfinite(numbers).all():
            return "its vector has numbers that aren't finite, in float32"
        if self._dimension is None:
            self._dimension = len(numbers)
        if len(numbers) != self._dimension:
            return f"its vector hasn't {self._dimension} numbers, as the first has"
        digest = blake2b(record["id"].encode(), digest_size=16).digest()
        if digest in self._seen:
            return "another record before it has its id"
        self._seen.add(digest)
        return None

    def _metadata(self, point_id: str, metadata: Record) -> Record:
        try:
            check_records(["-"], metadatas=[metadata])
        except InvalidArgumentError:
            return {
                key: value for key, value in metadata.items() if self._fits(point_id, key, value)
            }
        return metadata

    def _fits(self, point_id: str, key: Any, value: Any) -> bool:
        try:
            check_records(["-"], metadatas=[{key: value}])
        except InvalidArgumentError as error:
            why = str(error).partition("which can't be stored: ")[2] or str(error)
            self._left.record(f"metadata key {key!r}", why, point_id)
            return False
        return True


def refuse_missing(source: str, read: int, counted: int, why: str) -> None:
    """Raise InvalidArgumentError if a library returned fewer records than the source has. read: the
    number of returned records; counted: the number of records in the source; why: the likely
    reason, for the message."""
    if read < counted:
        raise InvalidArgumentError(
            f"{source} has {counted:,} records, but only {read:,} could be read, so none were "
            f"imported; {why}"
        )


Names = Sequence[str] | Mapping[str, str] | None


def choose_names(names: Any, existing: Sequence[str], what: str) -> dict[str, str]:
    """A dict from the name of each collection to import to its new name. If `names` is None, all
    existing collections are imported under their own names. names: a list of collections, or a dict
    from names to new names; what: the word for a collection in messages."""
    if names is None:
        return {name: name for name in existing}
    if isinstance(names, str) or not isinstance(names, Mapping | Sequence):
        raise InvalidArgumentError(
            f"names is {quote(names)}, expected a list of names, or a dict of them and the new ones"
        )
    chosen = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    unknown = [name for name in chosen if name not in existing]
    if unknown:
        raise InvalidArgumentError(
            f"there is no {what} {unknown[0]!r}; there are {list_ids(list(existing)) or 'none'}"
        )
    new = list(chosen.values())
    twice = [name for name in new if new.count(name) > 1]
    if twice:
        raise InvalidArgumentError(f"names calls more than one {what} {twice[0]!r}")
    return chosen


def check_name(name: str) -> None:
    """Raise InvalidArgumentError if `name` isn't a valid name of a collection."""
    with Client() as nowhere:
        nowhere.create_collection(name, embedding_function=None)


def refuse_taken(client: Client, names: Sequence[str]) -> None:
    """Raise AlreadyExistsError if a collection has one of the names, and InvalidArgumentError if a
    name is invalid. Called before anything is created."""
    for name in names:
        check_name(name)
        try:
            client.get_collection(name, embedding_function=None)
        except NotFoundError:
            continue
        except InvalidArgumentError:  # a collection of QdrantClient's
            pass
        raise AlreadyExistsError(
            f"collection {name!r} exists already; an import replaces nothing: give what is "
            "imported another name"
        )


def _report_remains(client: Client) -> None:
    """Log a warning with the names of temporary collections that exist. A killed import leaves its
    temporary collections behind. They aren't deleted, because a collection could also belong to a
    running import, or to a user."""
    names = [collection.name for collection in client.list_collections()]
    if remains := [name for name in names if _APART.fullmatch(name)]:
        _log.warning(
            "these collections are of imports that are under way or were killed; if none is under "
            "way, delete_collection of the client removes them: %s",
            list_ids(remains),
        )


class Making:
    """Creates the collections of one import under temporary names. `finish` renames all of them to
    their own names, and `undo` deletes all of them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._apart = f"import-{uuid.uuid4().hex}-"  # in the form of `_APART`
        self._made: dict[str, Collection] = {}

    def collection(self, name: str, **settings: Any) -> Collection:
        """Create a collection under a temporary name. `finish` renames it to `name`."""
        made = self._client.create_collection(f"{self._apart}{len(self._made)}", **settings)
        self._made[name] = made
        return made

    def finish(self) -> None:
        """Rename all created collections from their temporary names to their own names."""
        for name, made in self._made.items():
            made.modify(name=name)

    def undo(self) -> None:
        """Delete all created collections."""
        for collection in self._made.values():
            with suppress(NotFoundError):
                self._client.delete_collection(collection.name)
        # A collection that was created but isn't recorded, since an interrupt came in between.
        with suppress(NotFoundError):
            self._client.delete_collection(f"{self._apart}{len(self._made)}")


@contextmanager
def making(client: Client) -> Iterator[Making]:
    """A context manager in which collections are created under temporary names. The collections get
    their own names at the end of the `with` block, or are deleted after an error."""
    _report_remains(client)
    made = Making(client)
    try:
        yield made
        made.finish()
    except BaseException:
        made.undo()
        raise
