"""One collection on its way to another store, wherever the two live.

Where both lie on disk its files are copied as they are at one moment, and become a collection of
the target at once or not at all. Else points travel in pages: from a private copy of one state
where the source is of this process, from a cluster as they are listed.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any, TypeAlias, cast

from retrieval_store.base.progress import progress_bar
from retrieval_store.copying.comparing import Since, compare
from retrieval_store.copying.following import Follower, TooFarError
from retrieval_store.copying.journal import Entry, Journal
from retrieval_store.copying.points import (
    delete_others,
    everything,
    pages,
    write_differing,
    write_each,
    write_named,
)
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.interface.points import PointId, Position
from retrieval_store.interface.records import CollectionRecord
from retrieval_store.interface.spaces import NewSpace
from retrieval_store.interface.stores import EmbeddedPoints, EmbeddedStore, PointsBackend
from retrieval_store.places import Session

SpacesOf: TypeAlias = Callable[[CollectionRecord], Mapping[str, NewSpace]]


class CollectionCopy:
    """One collection on its way."""

    def __init__(
        self,
        source: Session,
        target: Session,
        record: CollectionRecord,
        journal: Journal,
        shown: bool,
        spaces_of: SpacesOf,
    ) -> None:
        self._source = source
        self._target = target
        self._record = record
        self._journal = journal
        self._shown = shown
        self._follower: Follower | None = None
        self._spaces = spaces_of(record) if source.on_cluster else self._embedded_spaces()

    @property
    def _entry(self) -> Entry | None:
        return self._journal.entries.get(self._record.id)

    @property
    def name(self) -> str:
        """What the collection was called when this began, and its copy is."""
        return self._record.name

    @property
    def copied_id(self) -> str:
        """The id of the copy."""
        return self._journal.entries[self._record.id].target

    @property
    def _points(self) -> PointsBackend:
        """The points of the source; raises NotFoundError."""
        return self._source.store.points(self._record.id)

    def refuse_deleted(self) -> None:
        """Raise NotFoundError if the source is gone."""
        try:
            self._source.store.record(self._record.id)
        except NotFoundError as error:
            raise NotFoundError(
                f"collection {self.name!r} was deleted while it was copied; what there is of its "
                f"copy stays {self._target.place}"
            ) from error

    @property
    def _copied(self) -> PointsBackend:
        """The points of the copy; raises NotFoundError."""
        return self._target.store.points(self.copied_id)

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
        else:
            self._refuse_written(entry)

    def _refuse_written(self, entry: Entry) -> None:
        """Raise ConflictError for a copy that others have written to since we left it."""
        if entry.kept is None:
            return
        points, changed = self._copied, False
        if entry.left is not None:
            changed = cast(EmbeddedPoints, points).changed_since(entry.left).ids != []
        if changed or points.count() != entry.kept:
            raise ConflictError(
                f"the copy of collection {self.name!r} {self._target.place} was written to by "
                f"others since; to leave it as it is delete {self._journal.path}, to copy it again "
                "the copy"
            )

    def _was_made(self, entry: Entry, there: CollectionRecord) -> bool:
        """Whether it is the copy, made by a process that died before it could note so."""
        points = self._target.store.points(there.id)
        return not self._exists(entry) and not self._by_files and not points.count()

    def copy(self) -> None:
        """Copy the collection, or what is left to be copied of it."""
        entry = self._journal.begin(self._record.id)
        there = self._exists(entry)
        self._journal.advance(self._record.id, left=None, kept=None)
        if there and self._by_files and not entry.whole:  # it died between the two
            entry = self._journal.advance(self._record.id, whole=True)
        try:
            if there and entry.whole:
                self._go_on()
            elif self._by_files:
                self._copy_files()
            else:
                self._copy_points()
        finally:  # broken off, too
            with suppress(RetrievalStoreError):
                self.follower().leave()

    def _go_on(self) -> None:
        """Copy what has changed since the copy was whole: what a cluster doesn't tell."""
        try:
            if self._source.on_cluster:
                self._copy_points()
            else:
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
        with progress_bar(self._record.name, points.count(), "point", self._shown) as bar:
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
            entry, changed = self._gone_on(entry, position, points)
            self._copy_pages(points, entry)
            write_named(points, self._copied, changed, [*self._spaces])
            if self._copied.count() > points.count():
                delete_others(points, self._copied)
        self._journal.advance(self._record.id, whole=True, position=position)

    def _copy_pages(self, points: PointsBackend, entry: Entry) -> None:
        """Copy all points but those that are done. A cluster may have changed these since, and
        won't say so: there they are compared."""
        fields, copied = everything([*self._spaces]), self._copied
        start = 0 if self._source.on_cluster else entry.done
        with progress_bar(self.name, points.count(), "point", self._shown) as bar:
            bar.update(start)
            found = pages(points, fields, start)
            while start < entry.done and (page := next(found, None)) is not None:
                write_differing(copied, page, fields)
                start += len(page.ids)
                bar.update(len(page.ids))
            for number in write_each(copied, found):
                start += number
                self._journal.advance(self._record.id, done=max(start, entry.done))
                bar.update(number)

    def _made(self) -> Entry:
        """The empty copy."""
        settings = self._record.settings
        if not self._target.on_cluster:  # a cluster's own
            settings = {key: value for key, value in settings.items() if key != "qdrant"}
        made = self._target.store.create(self._record.name, settings, self._spaces)
        return self._journal.note(self._record.id, Entry(made.id))

    def _gone_on(
        self, entry: Entry, position: Position | None, points: PointsBackend
    ) -> tuple[Entry, Sequence[PointId]]:
        """The entry to go on with, and which points are otherwise now. Where a copy was broken off
        there are at least so many points behind it as were done less all that were deleted since.
        All is told by one state, that of `points`."""
        count = points.count()
        anew: dict[str, Any] = {"done": 0, "position": position, "count": count}
        if position is None:
            return entry, ()
        if not entry.done or entry.position is None:
            return self._journal.advance(self._record.id, **anew), ()
        changed = cast(EmbeddedPoints, points).changed_since(entry.position)
        if changed.ids is None:
            return self._journal.advance(self._record.id, **anew), ()
        deleted = max(0, entry.count - (count - changed.inserted))
        done = max(0, entry.done - deleted)
        return self._journal.advance(self._record.id, done=done), changed.ids

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
                self._journal,
                self._record.id,
                not self._target.on_cluster,
            )
        return self._follower

    def copy_again_if_lost(self) -> None:
        """Copy all points again where it isn't known any more which have changed."""
        position = self._journal.entries[self._record.id].position
        if position is None or self._embedded.changed_since(position).ids is None:
            self._journal.advance(self._record.id, done=0, whole=False, position=None)
            self._copy_points()

    def compared(self) -> tuple[int, int, int]:
        """How many points the copy has, how many were copied again, and how many were compared with
        the source."""
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
        return self._copied.count(), followed, compared

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
