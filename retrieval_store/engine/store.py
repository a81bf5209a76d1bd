"""`Store` holds collections, in a directory or in memory.

The clients of a process share one store for each directory (`acquire`). A directory is identified
by device and inode, so that two paths to it lead to one store. `OpenCollections` contains the
collections that a store has open in this process.
"""

import atexit
import contextlib
import os
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar, TypeVarTuple

from retrieval_store.base import system
from retrieval_store.base.locks import Lock, ReentrantLock
from retrieval_store.base.platform import is_in_use, refuse_untried, sync_directory, sync_file
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import Payload, is_unicode
from retrieval_store.engine.locks import defer, reset_after_fork
from retrieval_store.engine.sqlite import (
    FileDatabase,
    MemoryDatabase,
    Reason,
    create,
    translate_errors,
)
from retrieval_store.engine.state.caches import CACHE_BUDGET
from retrieval_store.engine.storage.catalog import CATALOG, STAYS, Catalog, Entries
from retrieval_store.engine.storage.files import (
    CATALOG_NAME,
    DROPPED_SUFFIX,
    SNAPSHOTS,
    refuse_foreign,
    remove_collection,
    remove_lost_folders,
    warn_of_network,
)
from retrieval_store.errors import (
    ClientClosedError,
    ConflictError,
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
)
from retrieval_store.filters.paths import JsonPath
from retrieval_store.query.types import (
    CollectionRecord,
    FileReport,
    Gauges,
    Mode,
    NewSpace,
    Progress,
)

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.engine.access import Access, StoreHooks
    from retrieval_store.engine.points import PointStore
    from retrieval_store.engine.search.index_lifecycle import FindClass
    from retrieval_store.indexes import VectorIndex
    from retrieval_store.query.protocols import EmbeddedStore

DESCRIPTOR_SHARE = 4  # collections use at most one in this many of the process's file descriptors;
# where several threads read at once, each may use more than twice the number for a while
ENDLESS = 65_536  # descriptors assumed where there is no limit
MIN_AWAKE = 8  # collections that keep their files open, however few descriptors there are
MEASURED = 8  # counted collections whose descriptors are measured again each time one is counted
ROOM = 8  # if they use too many, this share of the limit (1 / ROOM) is freed at once


def descriptor_limit() -> int:
    """How many files this process is allowed to have open."""
    if system.resource is None:
        return ENDLESS
    soft: int = system.resource.getrlimit(system.resource.RLIMIT_NOFILE)[0]
    return ENDLESS if soft == system.resource.RLIM_INFINITY else min(soft, ENDLESS)


class OpenCollections:
    """The open PointStores, by the ids of their collections. If their files use too many file
    descriptors, the least recently used PointStores close their files and are no longer counted.
    The next call that uses a closed PointStore opens its files again, and counts it.

    Each time a collection is counted, the descriptors of a few other collections are measured, in
    turn. The total is the sum of the last measurements, so the cost is the same for any number of
    open collections.
    """

    def __init__(self) -> None:
        self._open: dict[str, PointStore] = {}
        self._counted: dict[PointStore, int] = {}  # with the number of descriptors that each used
        self._turn = 0
        self._lock = Lock()
        self._closed: Reason | None = None
        reset_after_fork(self)

    def get(self, collection_id: str) -> "PointStore | None":
        """The open PointStore of a collection. None if the collection isn't open or has been
        deleted."""
        points = self._open.get(collection_id)
        if points is not None and points.access.dropped:
            self.forget(collection_id, points)
            return None
        return points

    def add(self, collection_id: str, points: "PointStore") -> None:
        """Keep a new PointStore. If this object was closed meanwhile, the PointStore is closed, and
        the error passed to `close` is raised."""
        with self._lock:
            closed = self._closed
            if closed is None:
                self._open[collection_id] = points
        if closed is not None:
            points.access.close(closed)
            raise closed()

    def note_change(self, record: CollectionRecord, hooks: "StoreHooks") -> None:
        """If the collection is open, give its PointStore the new name and the new hooks."""
        points = self._open.get(record.id)
        if points is not None:
            points.access.label.name, points.access.hooks = record.name, hooks

    def open(self, collection_id: str, opening: "Callable[[], PointStore]") -> "PointStore":
        """The open PointStore of a collection. If the collection isn't open, `opening` is called to
        open it, and the result is kept."""
        with self._lock:
            if self._closed is not None:
                raise self._closed()
            return self._open.setdefault(collection_id, opening())

    def count(self, collection_id: str, points: "PointStore") -> None:
        """Count the file descriptors of a collection that is about to be used. If there are too
        many descriptors, other collections close their files."""
        if points.access.counted:
            return
        with self._lock:
            if self._open.get(collection_id) is not points:  # it was closed and dropped meanwhile
                return
            self._measure(points)
            points.access.counted = True
            idle = self._least_used(points)
        for unused in idle:
            unused.access.close_idle()

    def _measure(self, new: "PointStore") -> None:
        """Measure the descriptors of a new PointStore, and of the next few PointStores that are
        already counted. The new PointStore is assumed to use at least the average of the other
        PointStores."""
        other_points = [*self._counted]
        start = self._turn % max(1, len(other_points))
        for points in other_points[start : start + MEASURED]:
            self._counted[points] = points.access.descriptors
        self._turn = start + MEASURED
        usual = -(-sum(self._counted.values()) // max(1, len(other_points)))
        self._counted[new] = max(usual, new.access.descriptors)

    def _least_used(self, new: "PointStore") -> "list[PointStore]":
        """If all PointStores together use too many descriptors, stop counting the least recently
        used ones and return them. The few most recently used PointStores and those under
        maintenance are left out."""
        taken, limit = sum(self._counted.values()), descriptor_limit() // DESCRIPTOR_SHARE
        if taken <= limit:
            return []
        other_points = sorted(
            self._counted.keys() - {new}, key=lambda points: points.access.last_used
        )
        idle: list[PointStore] = []
        for points in [*other_points, new][:-MIN_AWAKE]:
            if taken <= limit - limit // ROOM:
                break
            if not points.access.maintaining.taken:
                taken -= self._counted.pop(points)
                points.access.counted = False
                idle.append(points)
        return idle

    def forget(self, collection_id: str, points: "PointStore | None" = None) -> None:
        """Close the collection's PointStore and drop it. If `points` is passed, that PointStore is
        closed, and is dropped only if it is the one that is open here."""
        with self._lock:
            points = points or self._open.get(collection_id)
            if points is not None and self._open.get(collection_id) is points:
                del self._open[collection_id]
                self._counted.pop(points, None)
        if points is not None:
            points.access.close(partial(NotFoundError.of_deleted, "the collection"))

    def close_at_exit(self, before: "Callable[[PointStore], object]") -> None:
        """For each collection, call `before` and then close its files, before the process ends."""
        for points in list(self._open.values()):
            points.access.closing = True
            before(points)
            points.access.close_at_exit()
            points.access.closing = False

    def close(self, reason: Reason, before: "Callable[[PointStore], object]") -> None:
        """For each collection, call `before` and then close it. Later attempts to open a collection
        raise `reason`."""
        with self._lock:
            self._closed, all_points = reason, list(self._open.values())
        for points in all_points:
            points.access.closing = True
            before(points)
            points.access.close(reason)

    def forget_after_fork(self) -> None:
        """Called in a forked child: replace the lock, which a thread of the parent may hold."""
        self._lock = Lock()


T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_log = log_of("store")
CLOSING_WAITS = 2.0  # seconds to wait for running work in a collection to stop


def _builtin_index(name: str) -> "Callable[..., VectorIndex]":
    from retrieval_store.engine.search.index_lifecycle import builtin_index

    return builtin_index(name)


class Store:
    """A store: the collections in an existing directory, or in memory if `directory` is None.

    The code that reads and writes points is imported with the first collection.
    """

    def __init__(
        self,
        directory: Path | None,
        mode: Mode,
        find_class: "FindClass" = _builtin_index,
        uses_derived: bool = True,
    ) -> None:
        self.directory = directory
        self._find_class, self._uses_derived = find_class, uses_derived
        self.mode: Mode = mode
        self.is_new = False  # whether this call created the store on disk
        self._open = OpenCollections()
        if directory is None:
            self._catalog = Catalog(MemoryDatabase(CATALOG))
        else:
            # Never relaxed: a power cut could undo a deletion in the catalog but not in the
            # collection.
            catalog_mode: Mode = "full" if mode == "relaxed" else mode
            if mode != "read-only":
                refuse_foreign(directory)
                self.is_new = create(directory / CATALOG_NAME, CATALOG)
            self._catalog = Catalog(FileDatabase(directory / CATALOG_NAME, CATALOG, catalog_mode))
            self._finish_drops()
            if mode != "read-only":
                self._sweep(directory)

    @property
    def embedded(self) -> "Store":
        """The store itself: it is in this process, and has the methods that only such a store
        has."""
        return self

    @property
    def engine(self) -> "Store":
        """The object itself."""
        return self

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """Create a collection with these vector spaces. Raises AlreadyExistsError if the name is
        taken. collection_id: a new UUID, for callers that must know the id in advance; None
        generates an id."""
        from retrieval_store.engine.points import PointStore

        self._finish_drops()
        record = CollectionRecord(collection_id or str(uuid.uuid4()), name, settings)
        make = partial(PointStore.create, self._directory_of(record.id), name, spaces, self.mode)
        if self.directory is None:
            self._create_in_memory(record, make)
        else:
            self._create_files(self.directory, record, make)
        _log.debug("made the collection %r (%s)", name, record.id)
        return record

    def snapshot(self, target: Path, collection_id: str | None = None) -> None:
        """Write a snapshot to the new file `target`. It contains one collection, or the whole store
        if `collection_id` is None."""
        from retrieval_store.engine.snapshots import take

        if collection_id is None:
            # In one read, because an alias must lead to a collection by the name that it has in
            # this state.
            records, aliases = self._read(_collections_and_aliases)
            take(target, records, aliases, self._access, whole=True)
        else:
            take(target, [self.record(collection_id)], {}, self._access, whole=False)
        _log.info("wrote the snapshot %s", target)

    def restore(
        self, snapshot: Path, name: str | None = None, replace: bool = False
    ) -> CollectionRecord:
        """Add the collection of a snapshot, under the name `name`, or under its own name if `name`
        is None. If the name is taken, the existing collection is replaced if `replace` is True;
        otherwise AlreadyExistsError is raised."""
        from retrieval_store.engine.snapshots import unpack_snapshot

        if self.directory is None:
            raise InvalidArgumentError("a snapshot isn't restored into memory; name a directory")
        with unpack_snapshot(snapshot, self.directory, self._find_class) as unpacked:
            folder, manifest = unpacked
            if len(manifest.collections) != 1:
                raise InvalidArgumentError(
                    f"{snapshot} holds {len(manifest.collections)} collections; it is restored as "
                    "a store of its own"
                )
            (old,) = manifest.collections
            record = CollectionRecord(str(uuid.uuid4()), name or old.name, old.settings)
            replaced = self._adopt(record, folder / old.id, self.directory, replace)
        if replaced is not None:
            with contextlib.suppress(StorageError):  # another process will retry
                self._finish_drop(replaced)
        _log.info("restored the collection %r (%s) from %s", record.name, record.id, snapshot)
        return record

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """Copy a collection as of one moment under another name, and return the record of the copy.
        Raises AlreadyExistsError if the name is taken."""
        record = CollectionRecord(str(uuid.uuid4()), name, self.record(collection_id).settings)
        self.adopt_collection(self, collection_id, record)
        return record

    def adopt_collection(
        self, source: "EmbeddedStore", collection_id: str, record: CollectionRecord
    ) -> None:
        """Create a collection with this record, and copy the contents of another collection into
        it. The other collection can be in this or another store. Its contents are read in one
        state. Raises AlreadyExistsError if the name is taken."""
        if not isinstance(source, Store) or (self.directory is None) != (source.directory is None):
            raise InvalidArgumentError("only one of the two stores has files that could be copied")
        if self.directory is None:
            from retrieval_store.engine.points import PointStore

            points = source.points(collection_id)
            copy = partial(PointStore.copy_in_memory, points, record.name)
            self._create_in_memory(record, copy)
            return
        from retrieval_store.engine.snapshots import private_copy

        self._catalog.refuse_if_read_only()
        with private_copy(source.points(collection_id).access, self.directory) as files:
            for file in files.iterdir():
                sync_file(file)
            sync_directory(files)
            self._adopt(record, files, self.directory, replace=False)

    def _access(self, collection_id: str) -> "Access":
        return self.points(collection_id).access

    @contextlib.contextmanager
    def open_copy(self, collection_id: str) -> "Iterator[PointStore]":
        """Context manager: the present points of a collection in a temporary copy."""
        from retrieval_store.engine.access import StoreHooks
        from retrieval_store.engine.points import PointStore
        from retrieval_store.engine.snapshots import private_copy

        directory = None if self.mode == "read-only" else self.directory
        hooks = StoreHooks(self._find_class, uses_derived=False, find_damage=self._find_damage)
        with private_copy(self.points(collection_id).access, directory) as files:
            points = PointStore.open(files, collection_id, "relaxed", hooks)
            try:
                yield points
            finally:
                points.access.close(partial(ClientClosedError, "the copy is gone"))

    def _adopt(
        self, record: CollectionRecord, files: Path, directory: Path, replace: bool
    ) -> CollectionRecord | None:
        """Turn a folder of files into a collection of the store; returns the collection that it
        replaces. As in `_create_files`, the steps are: an entry among the catalog's unfinished
        collections, moving the files to their path, and the collection's row."""
        self._catalog.write(Entries.begin, record.id)
        try:
            while True:
                is_done, replaced = self._catalog.write(
                    _put_in_place, record, files, directory, replace
                )
                if is_done:
                    return replaced
                self._catalog.write(Entries.begin, record.id)
        except BaseException:
            with contextlib.suppress(StorageError):  # another process will retry
                self._catalog.write(_give_up, directory, record.id)
            raise

    def _create_in_memory(
        self, record: CollectionRecord, make: "Callable[[StoreHooks], PointStore]"
    ) -> None:
        inserted: list[CollectionRecord] = []
        try:
            self._catalog.write(self._insert_in_memory, record, make, inserted)
        # Also after the commit, because otherwise a name without points would stay taken.
        except BaseException:
            if inserted:
                self._open.forget(record.id)
                self._catalog.write(Entries.remove, record.id)
            raise

    def _insert_in_memory(
        self,
        entries: Entries,
        record: CollectionRecord,
        make: "Callable[[StoreHooks], PointStore]",
        inserted: list[CollectionRecord],
    ) -> None:
        entries.insert(record)
        inserted.append(record)
        self._open.add(record.id, make(self._hooks_of(record)))

    def _create_files(
        self,
        directory: Path,
        record: CollectionRecord,
        make: "Callable[[StoreHooks], PointStore]",
    ) -> None:
        """Create a collection's files, in three steps: an entry among the catalog's unfinished
        collections, the files, and the collection's row in the catalog. If this process dies, the
        next process that opens the store removes the files of the entry. So a name in the catalog
        always has a complete collection."""
        begun: list[str] = []
        try:
            self._catalog.write(_begin, record.id, begun)
            while not self._catalog.write(self._insert_with_files, directory, record, make):
                self._catalog.write(_begin, record.id, begun)
        except BaseException:
            if begun:
                self._open.forget(record.id)
                with contextlib.suppress(StorageError):  # another process will retry
                    self._catalog.write(_give_up, directory, record.id)
            raise

    def _insert_with_files(
        self,
        entries: Entries,
        directory: Path,
        record: CollectionRecord,
        make: "Callable[[StoreHooks], PointStore]",
    ) -> bool:
        if record.id not in entries.unfinished_ids():
            return False  # a process that opened the store meanwhile took it for a leftover
        entries.insert(record)
        (directory / record.id).mkdir()
        self._open.add(record.id, make(self._hooks_of(record)))
        sync_directory(directory)
        return True

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace the name and settings of a collection by the result of `edit`. Raises
        AlreadyExistsError if another collection has the new name."""
        self._finish_drops()
        record = self._catalog.write(_edit, collection_id, edit)
        self._open.note_change(record, self._hooks_of(record))
        return record

    def by_name(self, name: str) -> CollectionRecord:
        """The collection with this name. Raises NotFoundError if there is no such collection."""
        if not is_unicode(name):  # SQLite requires valid Unicode
            raise NotFoundError(f"there is no collection {name!r}")
        return self._read(Entries.by_name, name)

    def resolve(self, name: str) -> CollectionRecord:
        """The collection with this name or alias. Raises NotFoundError if there is no such
        collection."""
        record = self._catalog.without_transaction(name)
        return record or self._read(Entries.resolve, name)

    def aliases(self) -> dict[str, str]:
        """The aliases in sorted order, each with the name of its collection."""
        return self._read(Entries.aliases)

    def change_aliases(self, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the aliases by the result of `edit`, in one transaction. Raises NotFoundError if
        an alias leads to a missing collection, and AlreadyExistsError if an alias is the name of a
        collection."""
        self._finish_drops()
        self._catalog.write(_edit_aliases, edit)

    def record(self, collection_id: str) -> CollectionRecord:
        """The name and settings of a collection. Raises NotFoundError if there is no such
        collection."""
        return self._read(Entries.with_id, collection_id)

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """At most `limit` collections, sorted by name, after `offset` of them are skipped."""
        return self._read(Entries.page, limit, offset)

    def count(self) -> int:
        """The number of collections."""
        return self._read(Entries.count)

    def drop(self, name: str) -> None:
        """Delete a collection and its files. Raises NotFoundError if there is no such collection.

        The deletion has four steps. First, the collection is flagged in the catalog, so that the
        next process to open the store finishes the deletion if this process dies. Then it is marked
        as dropped in points.sqlite. This is the actual deletion, because from then on no process
        acknowledges a write to the collection. Then its files are unlinked. Finally its row is
        removed from the catalog.
        """
        record = self._catalog.write(_flag, name)
        try:
            self._finish_drop(record)
        except StorageError:  # for example because a writer takes too long
            if not self._is_dropped(record.id):
                self._catalog.write(Entries.flag, record.id, STAYS)
            raise

    def _finish_drop(self, record: CollectionRecord) -> bool:
        """Delete a collection that is flagged in the catalog: mark it as dropped in points.sqlite,
        unlink its files, and remove its row. Returns False if its files are in use; the collection
        then stays flagged, but its name is free for another collection."""
        # It may already be marked by another process, or too damaged to be written.
        with contextlib.suppress(NotFoundError, DamagedError):
            self.points(record.id).mark_dropped()
        try:
            self._remove(record.id)
        except StorageError as error:
            if not is_in_use(error.__cause__):
                raise
            if record.name != record.id:
                self._catalog.write(Entries.set_aside, record)
                _log.info("the files of the collection %s are in use, and go later", record.id)
            return False
        return True

    def points(self, collection_id: str) -> "PointStore":
        """The points of a collection. Raises NotFoundError if there is no such collection."""
        points = self._open.get(collection_id) or self._reopen(collection_id)
        self._open.count(collection_id, points)
        return points

    def gauges(self) -> Iterator[tuple[str, Gauges]]:
        """The name and the gauges of each collection. Loads nothing into memory."""
        from retrieval_store.engine.stats import gauges

        for record in self.page(None, 0):
            try:
                points = self._open.get(record.id) or self._reopen(record.id)
                yield record.name, gauges(points.access, self.mode)
            except NotFoundError:  # deleted meanwhile, or lost
                lost = self._lost_report(record)
                if lost is not None:
                    yield record.name, Gauges(problem=lost.problem)

    def own_bytes(self) -> int:
        """The size of the catalog on disk in bytes."""
        if self.directory is None:
            return 0
        from retrieval_store.engine.stats import on_disk

        return on_disk(self.directory, f"{CATALOG_NAME}*")

    def budget(self) -> dict[str, int]:
        """The memory limit on the caches of all stores of this process, and their present memory
        use, in bytes."""
        return CACHE_BUDGET.usage

    def forget_derived(self) -> None:
        """Drop all derived files, and their content in memory. They are rebuilt when they are
        needed."""
        from retrieval_store.engine.maintenance.run import forget_derived

        _log.info("derived files in %s are made again as they are needed", self.directory)
        for record in self.page(None, 0):
            with contextlib.suppress(NotFoundError):  # deleted meanwhile
                forget_derived(self.points(record.id).access)

    def verify(self, analyzer_of: "Callable[[CollectionRecord], Analyzer]") -> Iterator[FileReport]:
        """Check every byte of the store. Yields a report for each file, and no reports for a store
        in memory. analyzer_of: returns the analyzer of a collection."""
        from retrieval_store.engine.maintenance.verify import verify_catalog, verify_collection

        if self.directory is not None:
            report = verify_catalog(self.directory / CATALOG_NAME, self.mode)
            yield report
            for record in [] if report.problem else self.page(None, 0):
                directory = self.directory / record.id
                lost = self._lost_report(record)
                if lost is not None:
                    yield lost
                    continue
                find_class, find_analyzer = self._find_class, partial(analyzer_of, record)
                for report in verify_collection(
                    directory, record.name, self.mode, find_class, find_analyzer
                ):
                    if report.problem:  # the copy in this process may be damaged too
                        self._forget(record.id)
                    yield report

    def _lost_report(self, record: CollectionRecord) -> FileReport | None:
        """A report on a collection whose directory was removed without a deletion; None if the
        directory exists. (The catalog records a deletion before the store removes a directory.)"""
        directory = self._directory_of(record.id)
        if directory is None or directory.exists():
            return None
        with contextlib.suppress(NotFoundError):
            self.record(record.id)
            return FileReport(
                directory, 0, f"{directory} is missing: it should hold collection {record.name!r}"
            )
        return None

    def _forget(self, collection_id: str) -> None:
        points = self._open.get(collection_id)
        if points is not None:
            points.access.forget()  # drops even data that maintenance is using

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Compact a collection, so that its files contain no deleted data."""
        from retrieval_store.engine.maintenance.run import optimize

        if self.directory is not None:
            self._remove_lost(self.directory)
        optimize(self.points(collection_id).access, progress)

    def is_in_place(self) -> bool:
        """Whether the path still leads to the directory that was opened."""
        return self._catalog.is_in_place()

    def close(self) -> None:
        """Save indexes that have grown, and close all files."""
        where = "in memory" if self.directory is None else f"at {self.directory}"
        reason = partial(ClientClosedError, f"the store {where} has been closed")
        try:
            self._open.close(reason, self._save_and_stop)
        finally:
            self._catalog.close(reason)

    def close_at_exit(self) -> None:
        """Like `close`, but before the process ends: later calls, for example from functions
        registered with `atexit`, open the files again."""
        if self.directory is not None and self.is_in_place():
            self._open.close_at_exit(self._save_and_stop)
            self._catalog.close_at_exit()

    def _save_and_stop(self, points: "PointStore") -> None:
        """Save the growth of a collection's indexes if its files are writable, and stop its
        background maintenance. Called before the collection is closed."""
        access = points.access
        if self.directory is None or self.mode == "read-only":
            return
        if access.memory.has_something_to_save():
            from retrieval_store.engine.maintenance.run import save_indexes

            save_indexes(access, CLOSING_WAITS)
        # From now on background maintenance sees that it is closing, so nothing is written after
        # this.
        access.maintaining.take_in_time(CLOSING_WAITS, _nothing, _nothing)

    def _reopen(self, collection_id: str) -> "PointStore":
        from retrieval_store.engine.points import PointStore

        record = self._catalog.read(Entries.with_id, collection_id)
        directory = self._directory_of(collection_id)
        if directory is None:  # a collection in memory is either open or deleted
            raise NotFoundError.of_deleted(f"Collection {record.name!r}")
        hooks = self._hooks_of(record)
        opening = partial(PointStore.open, directory, record.name, self.mode, hooks)
        return self._open.open(collection_id, opening)

    def _hooks_of(self, record: CollectionRecord) -> "StoreHooks":
        """The hooks for a collection."""
        from retrieval_store.engine.access import StoreHooks

        key = record.expires
        return StoreHooks(
            self._find_class,
            _look_after,
            self._uses_derived,
            expires=None if key is None else JsonPath((key,)),
            find_damage=self._find_damage,
            text_settings=None if record.is_qdrant_only else record.text_settings,
        )

    def _find_damage(self, access: "Access") -> str | None:
        """The damage in a collection's files; None if there is no damage."""
        from retrieval_store.engine.maintenance.verify import no_analyzer, verify_collection

        if access.directory is None:
            return None
        mode: Mode = "read-only" if access.is_read_only else "full"
        reports = verify_collection(
            access.directory, access.name, mode, self._find_class, no_analyzer
        )
        return next((report.problem for report in reports if report.problem), None)

    def _read(self, look: Callable[[Entries, *Ts], T], *arguments: *Ts) -> T:
        """Call `look` with the catalog and these arguments, and return its result. Before that,
        interrupted deletions are finished. Usually there are none, which the same transaction
        checks."""
        results = self._catalog.read(_look_unless_flagged, look, arguments)
        if results:
            return results[0]
        return self._catalog.read(look, *arguments, without=self._finish_drops())

    def _finish_drops(self) -> list[str]:
        """Finish interrupted deletions that had already taken effect. Returns the ids of the
        collections that can't be deleted now."""
        left = []
        for record, is_replaced in self._catalog.read(Entries.flagged_collections):
            if is_replaced or self._is_dropped(record.id):
                try:
                    if self.mode == "read-only" or not self._finish_drop(record):
                        left.append(record.id)
                except StorageError:  # another process will retry
                    left.append(record.id)
        return left

    def _is_dropped(self, collection_id: str) -> bool:
        try:
            return self.points(collection_id).is_dropped()
        except NotFoundError:
            return True
        except StorageError:  # the error is raised again when the collection is used
            return False

    def _sweep(self, directory: Path) -> None:
        """Remove the remains of creations and copies that were interrupted."""
        self._remove_lost(directory)
        for collection_id in self._catalog.read(Entries.unfinished_ids):
            # In a write transaction, so that no process is creating the collection meanwhile.
            self._catalog.write(_give_up, directory, collection_id)

    @staticmethod
    def _remove_lost(directory: Path) -> None:
        """Remove the remains of copies, snapshots and restorations that were interrupted."""
        for folder in (directory, *directory.glob(f"{SNAPSHOTS}/*/")):
            remove_lost_folders(folder)

    def _remove(self, collection_id: str) -> None:
        """Delete the files of a collection that is marked as dropped, and its row in the
        catalog."""
        self._open.forget(collection_id)
        _unlink(self._directory_of(collection_id))
        self._catalog.write(Entries.remove, collection_id)
        _log.info("deleted the collection %s", collection_id)

    def _directory_of(self, collection_id: str) -> Path | None:
        return None if self.directory is None else self.directory / collection_id


def _look_after(access: "Access") -> None:
    """Schedule a collection for background maintenance. The maintenance module is imported on the
    first call."""
    from retrieval_store.engine.maintenance.background import want

    want(access)


def _nothing() -> None:
    """Do nothing; used as work that ends at once."""


# Functions that read or change the catalog in one transaction.


def _collections_and_aliases(entries: Entries) -> tuple[list[CollectionRecord], dict[str, str]]:
    return entries.page(None, 0), entries.aliases()


def _look_unless_flagged(
    entries: Entries, look: Callable[[Entries, *Ts], T], arguments: tuple[*Ts]
) -> tuple[T, ...]:
    """The result of `look` in a tuple, or an empty tuple if there are collections whose deletion
    has begun."""
    return () if entries.has_flagged() else (look(entries, *arguments),)


def _edit(
    entries: Entries, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
) -> CollectionRecord:
    record = edit(entries.with_id(collection_id))
    entries.replace(record)
    return record


def _edit_aliases(entries: Entries, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
    entries.set_aliases(edit(entries.aliases()))


def _flag(entries: Entries, name: str) -> CollectionRecord:
    record = entries.by_name(name)
    entries.flag(record.id)
    return record


def _begin(entries: Entries, collection_id: str, begun: list[str]) -> None:
    """Record a collection as unfinished in the catalog. begun: its id is added to this list before
    the record is committed."""
    entries.begin(collection_id)
    begun.append(collection_id)


def _put_in_place(
    entries: Entries, record: CollectionRecord, files: Path, directory: Path, replace: bool
) -> tuple[bool, CollectionRecord | None]:
    """Move a folder of files to the path of a collection whose creation has begun, and add the
    collection's row. Returns whether that was possible, and the collection that was replaced, or
    None."""
    if record.id not in entries.unfinished_ids():
        return False, None  # otherwise nobody would remove the files if this process dies here
    aliases = entries.aliases()
    replaced = entries.set_named_aside(record.name) if replace else None
    entries.insert(record)
    entries.set_aliases(aliases)  # the aliases of the replaced collection now lead to this one
    files.rename(directory / record.id)
    sync_directory(directory)
    return True, replaced


def _give_up(entries: Entries, directory: Path, collection_id: str) -> None:
    """Remove the remains of a collection whose creation was never finished."""
    if collection_id in entries.unfinished_ids() and not entries.is_there(collection_id):
        with translate_errors(directory):
            remove_collection(directory / collection_id)
    entries.give_up(collection_id)


def _unlink(directory: Path | None) -> None:
    if directory is not None:
        # The directory is renamed first, so that no process opens points.sqlite without its
        # write-ahead log. The log contains the mark that the collection is dropped.
        grave = directory.with_name(directory.name + DROPPED_SUFFIX)
        with translate_errors(directory):
            with contextlib.suppress(FileNotFoundError):
                directory.rename(grave)
                # Without the sync, a power cut may leave the old name without its files.
                sync_directory(grave.parent)
            remove_collection(grave)


_Key: TypeAlias = tuple[int, int, bool, bool]  # device, inode, read-only, without derived files


class Share:
    """A client's share in a store. A share that was garbage-collected without being released isn't
    counted."""

    def __init__(self, store: Store) -> None:
        self.store = store


class _Shared:
    """A store, and the shares that clients have in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.shares: weakref.WeakSet[Share] = weakref.WeakSet()

    def share(self) -> Share:
        share = Share(self.store)
        self.shares.add(share)
        return share


class _Open:
    """The open stores, and a lock for them. The lock is reentrant: a client may be
    garbage-collected in the thread that holds the lock, and then releases its store."""

    def __init__(self) -> None:
        self.stores: dict[_Key, _Shared] = {}
        self.lock = ReentrantLock()
        reset_after_fork(self)

    def forget_after_fork(self) -> None:
        """Called in a forked child: replace the lock, which a thread of the parent may hold."""
        self.lock = ReentrantLock()

    def close_at_exit(self) -> None:
        """Let all stores save their data, and close their files."""
        for shared in list(self.stores.values()):
            shared.store.close_at_exit()


_open = _Open()
atexit.register(_open.close_at_exit)


def acquire(
    path: Path, mode: Mode, find_class: "FindClass" = _builtin_index, uses_derived: bool = True
) -> Share:
    """A share in the store at the path; a store is created if there is none. The caller must give
    the share back with `release`."""
    refuse_untried()
    share, opened = _acquire(path, mode, find_class, uses_derived)
    # After the lock is released: a client that is garbage-collected while a log handler runs needs
    # it.
    if opened:
        _log.debug("opened the store in %s, %s", path, mode)
        if share.store.is_new:
            _log.info("made a store in %s", path)
    return share


def _acquire(
    path: Path, mode: Mode, find_class: "FindClass", uses_derived: bool
) -> tuple[Share, bool]:
    """A share in the store at the path, and whether this call has opened the store."""
    opened = False
    with translate_errors(path), _open.lock:
        if mode != "read-only":
            _make_directory(path)
        key = _key(path, mode, uses_derived)
        shared = _open.stores.get(key)
        # At once, because any of the following steps may garbage-collect the last client that holds
        # the store.
        share = None if shared is None else shared.share()
        if share is None or not share.store.is_in_place():  # another directory now has this inode
            warn_of_network(path)
            shared = _Shared(Store(path, mode, find_class, uses_derived))
            share = shared.share()
            _open.stores[key], opened = shared, True
        if share.store.mode != mode:
            raise ConflictError(
                f"{path} is open in this process with durability={share.store.mode!r}, not {mode!r}"
            )
        return share, opened


def release(share: Share) -> None:
    """Release a share; releasing the last share closes the store."""
    with _open.lock:
        for key, shared in list(_open.stores.items()):
            if shared.store is share.store:
                shared.shares.discard(share)
                if shared.shares:
                    return
                del _open.stores[key]
    # A client may be garbage-collected while the maintenance thread is working in its store.
    defer(share.store.close)


def _key(path: Path, mode: Mode, uses_derived: bool) -> _Key:
    status = os.stat(path)
    return status.st_dev, status.st_ino, mode == "read-only", not uses_derived


def _make_directory(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is not a directory")
    missing = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for created in missing:
        sync_directory(created.parent)
