"""Store: a directory of collections, or one in memory."""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from retrieval_store.base.dataclasses import replace
from retrieval_store.base.system import sync_directory, sync_file
from retrieval_store.base.tracing import log_of
from retrieval_store.base.validation import Payload, is_unicode
from retrieval_store.engine.access import Access, StoreHooks
from retrieval_store.engine.database.failures import translated
from retrieval_store.engine.database.opening import create
from retrieval_store.engine.database.pools import FileDatabase, MemoryDatabase
from retrieval_store.engine.nearest.indexing import FindClass, built_in
from retrieval_store.engine.opened import OpenCollections
from retrieval_store.engine.points import PointStore
from retrieval_store.engine.state.budget import BUDGET
from retrieval_store.engine.storage.catalog import CATALOG, Catalog, Entries
from retrieval_store.engine.storage.files import (
    CATALOG_NAME,
    DROPPED_SUFFIX,
    SNAPSHOTS,
    refuse_foreign,
    remove_collection,
    remove_lost_folders,
)
from retrieval_store.errors import (
    ClientClosedError,
    DamagedError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
)
from retrieval_store.filters.paths import Steps
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
    from retrieval_store.query.protocols import EmbeddedStore

T = TypeVar("T")
_log = log_of("store")
CLOSING_WAITS = 2.0  # seconds, for what is under way in a collection to stop


class Store:
    """The collections below a directory, which exists; or in memory when `directory` is None."""

    def __init__(
        self,
        directory: Path | None,
        mode: Mode,
        find_class: FindClass = built_in,
        uses_derived: bool = True,
    ) -> None:
        self.directory = directory
        find_damage = partial(_damage_of, find_class=find_class)
        self._hooks = StoreHooks(find_class, _look_after, uses_derived, find_damage=find_damage)
        self.mode: Mode = mode
        self.is_new = False  # on disk
        self._open = OpenCollections()
        if directory is None:
            self._catalog = Catalog(MemoryDatabase(CATALOG))
        else:
            # Never relaxed: a power cut could take a deletion back here and not there.
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
        """Itself, with what only a store in this process can do."""
        return self

    @property
    def engine(self) -> "Store":
        """Itself."""
        return self

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """A new collection with these vector spaces; raises AlreadyExistsError. collection_id: a
        UUID that nothing has had yet, for who wants to know it before; None for any."""
        self._finish_drops()
        record = CollectionRecord(collection_id or str(uuid.uuid4()), name, settings)
        make = partial(PointStore.create, self._directory_of(record.id), name, spaces)
        if self.directory is None:
            self._create_in_memory(record, make)
        else:
            self._create_files(self.directory, record, make)
        _log.debug("made the collection %r (%s)", name, record.id)
        return record

    def snapshot(self, target: Path, collection_id: str | None = None) -> None:
        """Write a snapshot of a collection, or of the whole store, into a file that isn't there."""
        from retrieval_store.engine.snapshots.taking import take

        if collection_id is None:
            take(target, self.page(None, 0), self.aliases(), self._access, whole=True)
        else:
            take(target, [self.record(collection_id)], {}, self._access, whole=False)
        _log.info("wrote the snapshot %s", target)

    def restore(
        self, snapshot: Path, name: str | None = None, replace: bool = False
    ) -> CollectionRecord:
        """Add the collection of a snapshot, by the name that it had or another; AlreadyExistsError
        for one that is taken, unless the collection of that name is to be replaced."""
        from retrieval_store.engine.snapshots.restoring import unpacked

        if self.directory is None:
            raise InvalidArgumentError("a snapshot isn't restored into memory; name a directory")
        with unpacked(snapshot, self.directory, self._hooks.find_class) as found:
            folder, manifest = found
            if len(manifest.collections) != 1:
                raise InvalidArgumentError(
                    f"{snapshot} holds {len(manifest.collections)} collections; it is restored as "
                    "a store of its own"
                )
            (old,) = manifest.collections
            record = CollectionRecord(str(uuid.uuid4()), name or old.name, old.settings)
            replaced = self._adopt(record, folder / old.id, self.directory, replace)
        if replaced is not None:
            self._drop_marked(replaced)
        _log.info("restored the collection %r (%s) from %s", record.name, record.id, snapshot)
        return record

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """A copy of a collection, as it is at one moment, under another name; AlreadyExistsError
        for one that is taken."""
        record = CollectionRecord(str(uuid.uuid4()), name, self.record(collection_id).settings)
        self.adopt_collection(self, collection_id, record)
        return record

    def adopt_collection(
        self, source: "EmbeddedStore", collection_id: str, record: CollectionRecord
    ) -> None:
        """Make, under this record, a collection that holds what one of another store, or of this
        one, holds at one moment; AlreadyExistsError for a name that is taken."""
        if not isinstance(source, Store) or (self.directory is None) != (source.directory is None):
            raise InvalidArgumentError("only one of the two stores has files that could be copied")
        if self.directory is None:
            points = source.points(collection_id)
            self._create_in_memory(
                record, lambda _, hooks: PointStore.copied_in_memory(points, record.name, hooks)
            )
            return
        from retrieval_store.engine.snapshots.copies import private_copy

        self._catalog.refuse_if_read_only()
        with private_copy(source.points(collection_id).access, self.directory) as files:
            for file in files.iterdir():
                sync_file(file)
            sync_directory(files)
            self._adopt(record, files, self.directory, replace=False)

    def _access(self, collection_id: str) -> Access:
        return self.points(collection_id).access

    @contextlib.contextmanager
    def copied(self, collection_id: str) -> Iterator[PointStore]:
        """The points of a collection as they are now, in a copy that goes afterwards."""
        from retrieval_store.engine.snapshots.copies import private_copy

        beside = None if self.mode == "read-only" else self.directory
        hooks = StoreHooks(
            self._hooks.find_class, uses_derived=False, find_damage=self._hooks.find_damage
        )
        with private_copy(self.points(collection_id).access, beside) as files:
            points = PointStore.open(files, collection_id, "relaxed", hooks)
            try:
                yield points
            finally:
                points.access.close(partial(ClientClosedError, "the copy is gone"))

    def _adopt(
        self, record: CollectionRecord, files: Path, directory: Path, replace: bool
    ) -> CollectionRecord | None:
        """Make the files of a collection one of the store; returns the one that it replaces. In the
        order in which one is made: begun, in its place, and in the catalog."""

        def finish(entries: Entries) -> CollectionRecord | None:
            aliases = entries.aliases()
            replaced = entries.replaced(record.name) if replace else None
            entries.insert(record)
            entries.set_aliases(aliases)  # those of the one that was replaced lead here now
            files.rename(directory / record.id)
            sync_directory(directory)
            return replaced

        self._catalog.write(lambda entries: entries.begin(record.id))
        try:
            return self._catalog.write(finish)
        except BaseException:
            with contextlib.suppress(StorageError):  # someone will come again
                self._catalog.write(partial(_give_up, directory, record.id))
            raise

    def _create_in_memory(self, record: CollectionRecord, make: Callable[..., PointStore]) -> None:
        is_ours = False

        def finish(entries: Entries) -> None:
            nonlocal is_ours
            entries.insert(record)
            is_ours = True
            self._open.add(record.id, make(self.mode, self._hooks_of(record)))

        try:
            self._catalog.write(finish)
        except BaseException:  # also after the commit: a name without points would stay taken
            if is_ours:
                self._open.forget(record.id)
                self._catalog.write(lambda entries: entries.remove(record.id))
            raise

    def _create_files(
        self, directory: Path, record: CollectionRecord, make: Callable[..., PointStore]
    ) -> None:
        """Create a collection's files, in three steps: an entry in the catalog's table
        `unfinished`, so that the next process to open the store removes the files if this one dies;
        the files; the collection's row in the catalog. So a name in the catalog always has a whole
        collection."""
        is_ours = False

        def begin(entries: Entries) -> None:
            nonlocal is_ours
            entries.begin(record.id)
            is_ours = True

        def finish(entries: Entries) -> bool:
            if record.id not in entries.unfinished():
                return False  # someone who opened the store meanwhile has taken it for a leftover
            entries.insert(record)
            (directory / record.id).mkdir()
            self._open.add(record.id, make(self.mode, self._hooks_of(record)))
            sync_directory(directory)
            return True

        try:
            while True:
                self._catalog.write(begin)
                if self._catalog.write(finish):
                    break
        except BaseException:
            if is_ours:
                self._open.forget(record.id)
                with contextlib.suppress(StorageError):  # someone will come again
                    self._catalog.write(partial(_give_up, directory, record.id))
            raise

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace name and settings by what `edit` makes of them; raises AlreadyExistsError."""

        def replaced(entries: Entries) -> CollectionRecord:
            record = edit(entries.with_id(collection_id))
            entries.replace(record)
            return record

        self._finish_drops()
        record = self._catalog.write(replaced)
        self._open.renamed(collection_id, record.name)
        return record

    def named(self, name: str) -> CollectionRecord:
        """The collection of this name; raises NotFoundError."""
        if not is_unicode(name):  # as SQLite has it
            raise NotFoundError(f"there is no collection {name!r}")
        return self._read(lambda entries: entries.named(name))

    def resolved(self, name: str) -> CollectionRecord:
        """The collection of this name, or that an alias of this name leads to; NotFoundError."""
        found = self._catalog.at_once(name)
        return found or self._read(lambda entries: entries.resolved(name))

    def aliases(self) -> dict[str, str]:
        """The name of the collection that each alias leads to, in the order of aliases."""
        return self._read(Entries.aliases)

    def change_aliases(self, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the aliases by what `edit` makes of them, in one transaction. NotFoundError for a
        collection that isn't there, AlreadyExistsError for an alias that is a collection's name."""
        self._finish_drops()
        self._catalog.write(lambda entries: entries.set_aliases(edit(entries.aliases())))

    def record(self, collection_id: str) -> CollectionRecord:
        """Name and settings of a collection; raises NotFoundError."""
        return self._read(lambda entries: entries.with_id(collection_id))

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """Collections in the order of their names."""
        return self._read(lambda entries: entries.page(limit, offset))

    def count(self) -> int:
        """How many collections there are."""
        return self._read(lambda entries: entries.count())

    def drop(self, name: str) -> None:
        """Delete a collection and its files; raises NotFoundError.

        In four steps: flagged in the catalog, so that the next process to open the store finishes
        the deletion if this one dies; marked as dropped in points.sqlite, which is the deletion
        itself, since from then on no process acknowledges a write to it; files unlinked; row
        removed from the catalog.
        """

        def flag(entries: Entries) -> CollectionRecord:
            record = entries.named(name)
            entries.flag(record.id)
            return record

        self._drop_marked(self._catalog.write(flag))

    def _drop_marked(self, record: CollectionRecord) -> None:
        """Delete a collection that is flagged in the catalog: marked in points.sqlite, which is
        what deletes it; unlinked; forgotten."""
        # Marked already by another process, or too damaged to be written to.
        with contextlib.suppress(NotFoundError, DamagedError):
            self.points(record.id).mark_dropped()
        self._remove(record.id)

    def points(self, collection_id: str) -> PointStore:
        """The points of a collection; raises NotFoundError."""
        points = self._open.get(collection_id) or self._reopened(collection_id)
        self._open.mark_used(collection_id, points)
        return points

    def gauges(self) -> Iterator[tuple[str, Gauges]]:
        """What is watched of each collection, by their names; loads nothing."""
        from retrieval_store.engine.report import gauges

        for record in self.page(None, 0):
            try:
                points = self._open.get(record.id) or self._reopened(record.id)
                yield record.name, gauges(points.access, self.mode)
            except NotFoundError:  # deleted meanwhile, or lost
                lost = self._lost(record)
                if lost is not None:
                    yield record.name, Gauges(problem=lost.problem)

    def own_bytes(self) -> int:
        """What the catalog takes on disk."""
        if self.directory is None:
            return 0
        from retrieval_store.engine.report import on_disk

        return on_disk(self.directory, f"{CATALOG_NAME}*")

    def budget(self) -> dict[str, int]:
        """What the stores of this process may hold in memory, and hold."""
        return BUDGET.told

    def forget_derived(self) -> None:
        """Drop all derived files, and what is in memory of them; they are made again as they are
        needed."""
        from retrieval_store.engine.upkeep.maintenance import forget_derived

        _log.info("derived files in %s are made again as they are needed", self.directory)
        for record in self.page(None, 0):
            with contextlib.suppress(NotFoundError):  # deleted meanwhile
                forget_derived(self.points(record.id).access)

    def verify(self, analyzer_of: "Callable[[CollectionRecord], Analyzer]") -> Iterator[FileReport]:
        """Look at every byte; a report for each file. In memory there is none. analyzer_of: how a
        collection finds words."""
        from retrieval_store.engine.upkeep.verify import verify_catalog, verify_collection

        if self.directory is not None:
            report = verify_catalog(self.directory / CATALOG_NAME, self.mode)
            yield report
            for record in [] if report.problem else self.page(None, 0):
                directory = self.directory / record.id
                lost = self._lost(record)
                if lost is not None:
                    yield lost
                    continue
                find_class, find_analyzer = self._hooks.find_class, partial(analyzer_of, record)
                for report in verify_collection(
                    directory, record.name, self.mode, find_class, find_analyzer
                ):
                    if report.problem:  # what this process has of it may be as bad
                        self._forget(record.id)
                    yield report

    def _lost(self, record: CollectionRecord) -> FileReport | None:
        """A report of a collection whose directory is gone without a deletion (which the catalog
        notes before it removes a directory); None if the directory is there."""
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
            points.access.forget()  # even what maintenance is just making something of

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Compact a collection and let go of all that was deleted."""
        from retrieval_store.engine.upkeep.maintenance import optimize

        if self.directory is not None:
            self._remove_lost(self.directory)
        optimize(self.points(collection_id).access, progress)

    def is_in_place(self) -> bool:
        """Whether the directory is still the one that was opened."""
        return self._catalog.is_in_place()

    def close(self) -> None:
        """Let go of all files."""
        where = "in memory" if self.directory is None else f"at {self.directory}"
        reason = partial(ClientClosedError, f"the store {where} has been closed")
        try:
            self._open.close(reason, self._save_and_stop)
        finally:
            self._catalog.close(reason)

    def _save_and_stop(self, points: PointStore) -> None:
        """What is done for a collection that is being closed: what its indexes have grown by is
        saved, if its files can be written to, and the background stops with it."""
        access = points.access
        if self.directory is None or self.mode == "read-only":
            return
        if access.memory.has_something_to_save():
            from retrieval_store.engine.upkeep.maintenance import save_indexes

            save_indexes(access, CLOSING_WAITS)
        # From here on the background finds it closing, so nothing is written after this.
        access.maintaining.take_within(CLOSING_WAITS, _nothing, _nothing)

    def _reopened(self, collection_id: str) -> PointStore:
        record = self._catalog.read(lambda entries: entries.with_id(collection_id))
        directory = self._directory_of(collection_id)
        if directory is None:  # what is in memory is open, or gone
            raise NotFoundError.of_deleted(f"Collection {record.name!r}")
        hooks = self._hooks_of(record)
        opening = partial(PointStore.open, directory, record.name, self.mode, hooks)
        return self._open.opened(collection_id, opening)

    def _hooks_of(self, record: CollectionRecord) -> StoreHooks:
        """What a collection is given."""
        key = record.expires
        return self._hooks if key is None else replace(self._hooks, expires=Steps((key,)))

    def _read(self, look: Callable[[Entries], T]) -> T:
        """What `look` returns, given the catalog without collections whose deletion was
        interrupted. Mostly there are none, which the same transaction tells."""
        found = self._catalog.read(
            lambda entries: () if entries.has_flagged() else (look(entries),)
        )
        return found[0] if found else self._catalog.read(look, without=self._finish_drops())

    def _finish_drops(self) -> list[str]:
        """Finish the deletions that were interrupted after they had taken effect; returns the ids
        of those that can't be finished now."""
        left = []
        for record, is_replaced in self._catalog.read(Entries.flagged):
            if is_replaced or self._is_dropped(record.id):
                try:
                    if self.mode == "read-only":
                        raise StorageError("nothing can be removed")
                    self._drop_marked(record)
                except StorageError:  # someone will come again
                    left.append(record.id)
        return left

    def _is_dropped(self, collection_id: str) -> bool:
        try:
            return self.points(collection_id).is_dropped()
        except NotFoundError:
            return True
        except StorageError:  # raised again when the collection is used
            return False

    def _sweep(self, directory: Path) -> None:
        """Remove what creations and copies left behind whose process died."""
        self._remove_lost(directory)
        for collection_id in self._catalog.read(Entries.unfinished):
            # In a write transaction, so that no process is creating the collection meanwhile.
            self._catalog.write(partial(_give_up, directory, collection_id))

    @staticmethod
    def _remove_lost(directory: Path) -> None:
        """Remove what copies, snapshots and restoring left behind whose process died."""
        for folder in (directory, *directory.glob(f"{SNAPSHOTS}/*/")):
            remove_lost_folders(folder)

    def _remove(self, collection_id: str) -> None:
        """Unlink and forget a collection that is marked as dropped."""
        self._open.forget(collection_id)
        _unlink(self._directory_of(collection_id))
        self._catalog.write(lambda entries: entries.remove(collection_id))
        _log.info("deleted the collection %s", collection_id)

    def _directory_of(self, collection_id: str) -> Path | None:
        return None if self.directory is None else self.directory / collection_id


def _look_after(points: Access) -> None:
    """Let the background look after a collection; it is loaded when the first one wants it."""
    from retrieval_store.engine.upkeep.background import want

    want(points)


def _damage_of(points: Access, find_class: FindClass) -> str | None:
    """What is wrong with the files of a collection; None if nothing is."""
    from retrieval_store.engine.upkeep.verify import no_analyzer, verify_collection

    if points.directory is None:
        return None
    mode: Mode = "read-only" if points.is_read_only else "full"
    reports = verify_collection(points.directory, points.name, mode, find_class, no_analyzer)
    return next((report.problem for report in reports if report.problem), None)


def _nothing() -> None:
    """The turn is over at once."""


def _give_up(directory: Path, collection_id: str, entries: Entries) -> None:
    """Remove what there is of a collection that was never finished."""
    if collection_id in entries.unfinished() and not entries.is_there(collection_id):
        with translated(directory):
            remove_collection(directory / collection_id)
    entries.give_up(collection_id)


def _unlink(directory: Path | None) -> None:
    if directory is not None:
        # Renamed first, so that no process opens points.sqlite without its write-ahead log, in
        # which the collection is marked as dropped.
        grave = directory.with_name(directory.name + DROPPED_SUFFIX)
        with translated(directory):
            with contextlib.suppress(FileNotFoundError):
                directory.rename(grave)
                # Else a power cut may leave the old name without its files.
                sync_directory(grave.parent)
            remove_collection(grave)
