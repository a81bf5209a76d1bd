"""Copying collections from one store to another, wherever they live.

Where both lie on disk the files of a collection are copied as they are at one moment, and become a
collection of the target at once or not at all. Else points travel in pages: from a private copy of
one state where the source is of this process, from a cluster as they are listed. The journal notes
each page; whatever is done twice does no harm.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from retrieval_store.base.progress import progress_bar
from retrieval_store.copying import journal as journals
from retrieval_store.copying.comparing import Since, compare
from retrieval_store.copying.following import Follower, TooFarError, follow
from retrieval_store.copying.journal import Entry, Journal
from retrieval_store.copying.points import (
    delete_others,
    everything,
    page_size,
    pages,
    write,
    write_differing,
    write_named,
)
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
)
from retrieval_store.interface.records import CollectionRecord
from retrieval_store.interface.spaces import NewSpace
from retrieval_store.interface.stores import (
    CollectionStore,
    EmbeddedPoints,
    EmbeddedStore,
    PointsBackend,
)
from retrieval_store.places import Session

SpacesOf: TypeAlias = Callable[[CollectionRecord], Mapping[str, NewSpace]]


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied of one collection. points: how many the copy holds; followed: how many were
    copied again since they had been written meanwhile; compared: how many were looked at in both
    and found alike."""

    name: str
    points: int
    followed: int
    compared: int


@dataclass(frozen=True, slots=True)
class Ways:
    """How to copy. quiet: the seconds for which the sources must rest before following ends; None
    not to follow; shown: whether bars are; spaces_of: the vector spaces of a collection that
    doesn't tell them."""

    quiet: float | None
    shown: bool
    spaces_of: SpacesOf


def copy_store(
    source: Session, target: Session, names: Sequence[str] | None, ways: Ways
) -> list[Copied]:
    """Copy collections, all when none is named, into another store, where none of these names is
    taken; then look at both. One that was broken off goes on where it stopped."""
    _refuse_impossible(source, target)
    if ways.quiet is not None and source.on_cluster:
        raise InvalidArgumentError(f"follow isn't there {source.place}, which keeps no such log")
    records = _records(source.store, names)
    folders = [one.store.directory for one in (target, source) if not one.read_only]
    journal = journals.opened(folders, (source.place, target.place))
    copies = [_Copy(source, target, record, journal, ways) for record in records]
    for one in copies:
        one.refuse_taken()
    for one in copies:
        one.copy()
    if ways.quiet is not None:
        _follow(copies, ways.quiet)
        for one in copies:
            one.settle()
    found = [one.compared() for one in copies]
    _copy_aliases(source, target, [record.name for record in records])
    journal.forget()
    return found


def _refuse_impossible(source: Session, target: Session) -> None:
    """Raise InvalidArgumentError for a store that would be copied into itself, ReadOnlyError for a
    target where nothing can be written."""
    if target.read_only:
        raise ReadOnlyError(f"the store {target.place} is open read-only; nothing is copied there")
    directory = source.store.directory
    same = directory is not None and directory == target.store.directory
    if same or source.store is target.store:
        raise InvalidArgumentError(f"both are one store, {source.place}: there is nothing to copy")


def _records(store: CollectionStore, names: Sequence[str] | None) -> list[CollectionRecord]:
    if names is None:
        return store.page(None, 0)
    return [store.named(name) for name in dict.fromkeys(names)]


def _follow(copies: Sequence["_Copy"], quiet: float) -> None:
    while True:
        try:
            return follow([one.follower() for one in copies], quiet)
        except TooFarError:  # its log was cut off meanwhile
            for one in copies:
                one.copy_again_if_lost()


def _copy_aliases(source: Session, target: Session, names: Sequence[str]) -> None:
    """Aliases of QdrantClient's, between stores that have some."""
    if source.on_cluster or target.on_cluster:
        return
    given = cast(EmbeddedStore, source.store).aliases()
    wanted = {alias: name for alias, name in given.items() if name in names}
    if wanted:
        cast(EmbeddedStore, target.store).change_aliases(lambda there: {**wanted, **there})


class _Copy:
    """One collection on its way."""

    def __init__(
        self,
        source: Session,
        target: Session,
        record: CollectionRecord,
        journal: Journal,
        ways: Ways,
    ) -> None:
        self._source = source
        self._target = target
        self._record = record
        self._journal = journal
        self._ways = ways
        self._follower: Follower | None = None
        spaces = ways.spaces_of(record) if source.on_cluster else self._embedded_spaces()
        self._spaces = spaces
        dimensions = sum(space.dimension or 0 for space in spaces.values())
        self._size = page_size(dimensions)

    @property
    def _entry(self) -> Entry | None:
        return self._journal.entries.get(self._record.id)

    @property
    def _points(self) -> PointsBackend:
        return self._source.store.points(self._record.id)

    @property
    def _copied(self) -> PointsBackend:
        """The points of the copy; raises NotFoundError."""
        entry = self._entry
        if entry is None:
            raise NotFoundError(f"there is no copy of {self._record.name!r} yet")
        return self._target.store.points(entry.target)

    @property
    def _by_files(self) -> bool:
        return None not in (self._source.store.directory, self._target.store.directory)

    def refuse_taken(self) -> None:
        """Raise for a collection that the target can't have."""
        name, entry = self._record.name, self._entry
        if self._target.on_cluster and self._record.is_apart:
            raise InvalidArgumentError(
                f"collection {name!r} has vectors that only QdrantClient knows; copy it with "
                "QdrantClient.migrate, or name the others"
            )
        try:
            there = self._target.store.named(name)
        except NotFoundError:
            return
        if entry is not None and self._was_made(entry, there):
            self._journal.note(self._record.id, Entry(there.id))
        elif entry is None or there.id != entry.target:
            raise AlreadyExistsError(
                f"collection {name!r} exists already {self._target.place}; a copy replaces nothing"
            )

    def _was_made(self, entry: Entry, there: CollectionRecord) -> bool:
        """Whether it is the copy, made by a process that died before it could note so."""
        points = self._target.store.points(there.id)
        return not self._exists(entry) and not self._by_files and not points.count()

    def copy(self) -> None:
        """Copy the collection, or what is left to be copied of it."""
        entry = self._journal.begin(self._record.id)
        if self._exists(entry):
            if self._by_files and not entry.whole:  # it died between the two
                entry = self._journal.advance(self._record.id, whole=True)
            if entry.whole:
                self._go_on()
                return
        if self._by_files:
            self._copy_files()
        else:
            self._copy_points()

    def _go_on(self) -> None:
        """Copy what has changed since the copy was whole, which a cluster doesn't tell."""
        if not self._source.on_cluster:
            try:
                self.follower().catch_up()
            except TooFarError:
                self.copy_again_if_lost()

    def _exists(self, entry: Entry) -> bool:
        """Whether the copy is there; what has another name by now is somebody's own, and gets a new
        copy beside it."""
        try:
            there = self._target.store.record(entry.target)
        except NotFoundError:
            return False
        if there.name != self._record.name:
            self._journal.note(self._record.id, Entry(str(uuid.uuid4())))
            return False
        return True

    def _copy_files(self) -> None:
        points = cast(EmbeddedPoints, self._points)
        with progress_bar(self._record.name, points.count(), "point", self._ways.shown) as bar:
            entry = self._journal.advance(self._record.id, position=points.position())
            copy = CollectionRecord(entry.target, self._record.name, self._record.settings)
            source = cast(EmbeddedStore, self._source.store)
            cast(EmbeddedStore, self._target.store).take_in(source, self._record.id, copy)
            self._journal.advance(self._record.id, whole=True)
            bar.update(self._copied.count())

    def _copy_points(self) -> None:
        entry = self._journal.entries[self._record.id]
        if not self._exists(entry):
            entry = self._made()
        position = None if self._source.on_cluster else self._embedded.position()
        with self._frozen() as points:
            entry = self._gone_on(entry, position, points.count())
            fields, copied = everything([*self._spaces]), self._copied
            with progress_bar(self._record.name, entry.count, "point", self._ways.shown) as bar:
                start = 0 if self._source.on_cluster else entry.done
                bar.update(start)
                for page in pages(points, fields, start, self._size):
                    if start < entry.done:  # a cluster may have changed it since, and won't say so
                        write_differing(copied, page, fields)
                    else:
                        write(copied, page)
                    start += len(page.ids)
                    self._journal.advance(self._record.id, done=max(start, entry.done))
                    bar.update(len(page.ids))
            self._mend(points)
        self._journal.advance(self._record.id, whole=True, position=position)

    def _made(self) -> Entry:
        """The empty copy."""
        settings = self._record.settings
        if not self._target.on_cluster:  # a cluster's own
            settings = {key: value for key, value in settings.items() if key != "qdrant"}
        made = self._target.store.create(self._record.name, settings, self._spaces)
        return self._journal.note(self._record.id, Entry(made.id))

    def _gone_on(self, entry: Entry, position: Any, count: int) -> Entry:
        """The entry to go on with: where a copy was broken off there are at least so many points
        behind it as were done less all that were deleted since."""
        if not entry.done:
            return self._journal.advance(self._record.id, position=position, count=count)
        if position is None or entry.position is None:  # a cluster, or the same state
            return entry
        changed = self._embedded.changed_since(entry.position)
        if changed.ids is None:
            return self._journal.advance(self._record.id, done=0, position=position, count=count)
        deleted = max(0, entry.count - (count - changed.inserted))
        return self._journal.advance(self._record.id, done=max(0, entry.done - deleted))

    def _mend(self, points: PointsBackend) -> None:
        """Make a copy that was broken off what the source is now, not what it was."""
        entry, copied = self._journal.entries[self._record.id], self._copied
        if entry.position is not None:
            changed = self._embedded.changed_since(entry.position)
            write_named(points, copied, changed.ids or (), [*self._spaces], self._size)
        if copied.count() > points.count():
            delete_others(points, copied)

    def _frozen(self) -> AbstractContextManager[PointsBackend]:
        """The points in one state, where that can be had."""
        if self._source.on_cluster:
            return nullcontext(self._points)
        return cast(EmbeddedStore, self._source.store).copied(self._record.id)

    @property
    def _embedded(self) -> EmbeddedPoints:
        return cast(EmbeddedPoints, self._points)

    def _embedded_spaces(self) -> dict[str, NewSpace]:
        return {
            one.name: NewSpace(one.metric, one.index, one.kind, one.datatype, one.dimension)
            for one in self._embedded.spaces()
        }

    def follower(self) -> Follower:
        """What brings the copy level with the source."""
        if self._follower is None:
            self._follower = Follower(
                self._embedded,
                self._copied,
                [*self._spaces],
                self._size,
                self._journal,
                self._record.id,
            )
        return self._follower

    def copy_again_if_lost(self) -> None:
        """Copy all points again where it isn't known any more which have changed."""
        position = self._journal.entries[self._record.id].position
        if position is None or self._embedded.changed_since(position).ids is None:
            self._journal.advance(self._record.id, done=0, whole=False, position=None)
            self._copy_points()

    def compared(self) -> Copied:
        """What there is now, after a look at a sample of both."""
        entry = self._journal.entries[self._record.id]
        since = Since(frozenset(), rests=True)
        if entry.position is not None:
            changed = self._embedded.changed_since(entry.position)
            ids = None if changed.ids is None else frozenset(changed.ids)
            since = Since(ids, changed.position == entry.position)
        compared = compare(
            self._points,
            self._copied,
            [*self._spaces],
            since,
            self._target.on_cluster,
            self._record.name,
        )
        followed = 0 if self._follower is None else self._follower.followed
        return Copied(self._record.name, self._copied.count(), followed, compared)

    def settle(self) -> None:
        """Give the copy the settings that the source has got meanwhile."""
        now = self._source.store.record(self._record.id)
        if now.settings != self._record.settings:
            self._target.store.change(
                self._journal.entries[self._record.id].target,
                lambda there: replace(there, settings=now.settings),
            )
        if not self._source.on_cluster and [*self._embedded_spaces()] != [*self._spaces]:
            raise StorageError(
                f"collection {self._record.name!r} has got other vector spaces while it was copied;"
                " delete the copy and copy it again"
            )
