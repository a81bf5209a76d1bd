"""Store: a directory of collections, or one in memory."""

import contextlib
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from retrieval_store.engine.catalog import CATALOG, Catalog, CollectionRecord
from retrieval_store.engine.database import (
    Durability,
    FileDatabase,
    MemoryDatabase,
    create,
    sync_directory,
)
from retrieval_store.engine.points import PointStore
from retrieval_store.errors import ClientClosedError, DamagedError, FormatError, NotFoundError
from retrieval_store.indexes.exact import Metric
from retrieval_store.json_values import Payload

CATALOG_NAME = "catalog.sqlite"
DROPPED_SUFFIX = ".dropped"


class Store:
    """The collections below a directory, which exists; or in memory when `directory` is None."""

    def __init__(self, directory: Path | None, durability: Durability) -> None:
        self.directory = directory
        self.durability: Durability = durability
        self._open: dict[str, PointStore] = {}
        self._lock = threading.Lock()
        self._closed = False
        if directory is None:
            self._catalog = Catalog(MemoryDatabase(CATALOG))
        else:
            create(directory / CATALOG_NAME, CATALOG)
            self._catalog = Catalog(FileDatabase(directory / CATALOG_NAME, CATALOG, durability))

    def create(self, name: str, settings: Payload, spaces: dict[str, Metric]) -> CollectionRecord:
        """A new collection with these vector spaces; raises AlreadyExistsError."""
        record = CollectionRecord(str(uuid.uuid4()), name, settings)
        directory = self._directory_of(record.id)
        with self._catalog.writing() as entries:
            entries.insert(record)
            # The files before the commit: a name in the catalog always leads to a whole collection.
            # Should this process die in between, a directory that nobody names is left.
            if directory is not None:
                directory.mkdir()
            points = PointStore.create(directory, name, spaces, self.durability)
            if directory is not None:
                sync_directory(directory.parent)
        with self._lock:
            self._open[record.id] = points
        return record

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace name and settings by what `edit` makes of them; raises AlreadyExistsError."""
        with self._catalog.writing() as entries:
            record = edit(entries.with_id(collection_id))
            entries.replace(record)
            return record

    def named(self, name: str) -> CollectionRecord:
        """The collection of this name; raises NotFoundError."""
        with self._catalog.reading() as entries:
            return entries.named(name)

    def record(self, collection_id: str) -> CollectionRecord:
        """Name and settings of a collection; raises NotFoundError."""
        with self._catalog.reading() as entries:
            return entries.with_id(collection_id)

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """Collections in the order of their names."""
        with self._catalog.reading() as entries:
            return entries.page(limit, offset)

    def count(self) -> int:
        """How many collections there are."""
        with self._catalog.reading() as entries:
            return entries.count()

    def drop(self, name: str) -> None:
        """Delete a collection and its files; raises NotFoundError.

        In this order: hidden, so that whoever comes next finishes the deletion if this process
        dies; marked in points.sqlite, so that no other process's write to it is acknowledged any
        more; unlinked; forgotten.
        """
        with self._catalog.writing() as entries:
            entries.mark_dropping(entries.named(name).id)
            pending = entries.being_dropped()
        for record in pending:
            self._unlink(record.id)
            with self._catalog.writing() as entries:
                entries.remove(record.id)

    def points(self, collection_id: str) -> PointStore:
        """The points of a collection; raises NotFoundError."""
        points = self._open.get(collection_id)
        if points is None:
            record = self.record(collection_id)
            with self._lock:
                if self._closed:
                    raise ClientClosedError("the store is closed")
                points = self._open.get(collection_id)
                if points is None:
                    directory = self._directory_of(record.id)
                    points = PointStore(directory, record.name, self.durability)
                    self._open[record.id] = points
        return points

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            self._closed = True
            for points in self._open.values():
                points.close()
            self._open.clear()
        self._catalog.close()

    def _directory_of(self, collection_id: str) -> Path | None:
        return None if self.directory is None else self.directory / collection_id

    def _unlink(self, collection_id: str) -> None:
        directory = self._directory_of(collection_id)
        # Marked already, or too damaged for anybody to write to it.
        with contextlib.suppress(NotFoundError, DamagedError, FormatError):
            points = self._open.get(collection_id)
            (points or PointStore(directory, collection_id, self.durability)).mark_dropped()
        with self._lock:
            points = self._open.pop(collection_id, None)
        if points is not None:
            points.close()
        if directory is not None:
            # Renamed at once, so that nobody opens points.sqlite without its write-ahead log, which
            # says that it is dropped.
            grave = directory.with_name(directory.name + DROPPED_SUFFIX)
            with contextlib.suppress(FileNotFoundError):
                directory.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
