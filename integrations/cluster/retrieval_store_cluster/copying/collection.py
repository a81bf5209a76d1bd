"""Copies one collection to another store of any kind.

If both stores are on disk, the collection's files are copied in the state of one moment, and become
a collection of the target atomically. Otherwise a `Transfer` copies the points in pages (`pages`).
If the source is a cluster, the transfer reads the cluster itself. Otherwise it reads a private copy
of the source, in one state. A transfer resumes where an earlier transfer was interrupted.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any

from retrieval_store.errors import (
    ConflictError,
    NotFoundError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.extension import (
    ChangedPoints,
    CollectionRecord,
    NewSpace,
    Payload,
    PointsBackend,
    Position,
    Session,
    spaces_in,
)
from retrieval_store.frameworks import progress_bar
from retrieval_store_cluster.copying import pages
from retrieval_store_cluster.copying.journal import Entry, Journal
from retrieval_store_cluster.copying.pages import (
    Since,
    append,
    append_each,
    compare,
    delete_others,
    everything,
    holds_the_same,
    put_in_order,
    read_pages,
    write_differing,
    write_each,
    write_named,
)
from retrieval_store_cluster.copying.place import (
    ChangesCopy,
    CopyPlace,
    TooFarError,
    begin_writing,
    note_left,
    split,
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer of all points of a collection.

    source: the points to copy: a private copy in one state, or on a cluster the points that existed
    when the transfer began. copied: the points of the target; spaces: the vector spaces to copy;
    journal: records the progress. position: the position in the source's change log before the
    private copy was made; None for a cluster, which has no log. resumed: whether the target
    collection existed before. name: the name in the progress bar; shown: whether to show the bar.
    """

    source: PointsBackend
    copied: PointsBackend
    spaces: Sequence[str]
    journal: Journal
    collection_id: str
    position: Position | None
    resumed: bool
    name: str
    shown: bool

    def run(self) -> int:
        """Make the target equal to the source, with the points in the same order. Returns how many
        points were missing or different in the target."""
        entry, changed = self._resume()
        moved = self._copy_pages(entry)
        if changed is not None:
            self._copy_changed(changed)
        if self.copied.count() > self.source.count() or (self.resumed and self.position is None):
            moved += delete_others(self.source, self.copied)
        if self.resumed and self.position is None:  # which has no log of points added again
            moved += put_in_order(self.source, self.copied, self.spaces)
        return moved

    def _resume(self) -> tuple[Entry, ChangedPoints | None]:
        """The entry of the journal from which to resume, and the points that have changed since
        then. The points are None if all points must be copied, or if the source is a cluster.

        Points are copied in the order of insertion. Some of the `entry.done` points that were
        copied before the interruption may have been deleted since. So only the first (done -
        deleted) points are certain to be copied. All numbers are read from the same state as
        `source`.
        """
        entry, points = self.journal.entries[self.collection_id], self.source.engine
        if points is None or self.position is None:
            return entry, None
        count = points.count()
        changed = None
        if entry.done and entry.position is not None:
            changed = points.changes_since(entry.position)
        if changed is None or changed.ids is None:  # the log doesn't reach back: copy all points
            anew: dict[str, Any] = {"done": 0, "position": self.position, "count": count}
            return self.journal.advance(self.collection_id, **anew), None
        deleted = max(0, entry.count - (count - changed.inserted))
        done = max(0, entry.done - deleted)
        return self.journal.advance(self.collection_id, done=done), changed

    def _copy_pages(self, entry: Entry) -> int:
        """Copy the points after the first `entry.done`; returns how many were written. If the
        source is a cluster, the first points may have changed unnoticed, so they are compared."""
        fields, written = everything(self.spaces), 0
        start = 0 if self.position is None else entry.done
        # If the target has more points, a page was written but not recorded, or everything is
        # copied again.
        put = write_each if self.copied.count() <= start else append_each
        with progress_bar(self.name, self.source.count(), "point", self.shown) as bar:
            bar.update(start)
            source_pages = read_pages(self.source, fields, start)
            while start < entry.done and (page := next(source_pages, None)) is not None:
                written += write_differing(self.copied, page, fields)
                start += len(page.ids)
                self._note_done(max(start, entry.done))
                bar.update(len(page.ids))
            for number in put(self.copied, source_pages):
                start, written = start + number, written + number
                self._note_done(max(start, entry.done))
                bar.update(number)
        return written

    def _note_done(self, done: int) -> None:
        self.journal.advance(self.collection_id, done=done)

    def _copy_changed(self, changed: ChangedPoints) -> None:
        updated, inserted = split(changed)
        write_named(self.source, self.copied, updated, self.spaces)
        write_named(self.source, self.copied, inserted, self.spaces, append)


class CollectionCopy:
    """The copy of one collection. place: the collection of the target that is the copy; is_level:
    whether the copy was already complete; alike: the id of a collection in the target that has the
    same content but isn't a copy."""

    def __init__(
        self,
        source: Session,
        target: Session,
        record: CollectionRecord,
        journal: Journal,
        shown: bool,
    ) -> None:
        self.place = CopyPlace(target, record, journal)
        self.is_level = True
        self.alike: str | None = None
        self._source = source
        self._target = target
        self._journal = journal
        self._shown = shown
        self._settled: Payload | None = None
        self._changes: ChangesCopy | None = None
        # For a cluster, the points that existed when they were copied, and their number.
        self._there: tuple[PointsBackend, int] | None = None
        self._again = 0  # points of a cluster that were missing or different in an earlier copy

    @property
    def id(self) -> str:
        """The collection's id in the source."""
        return self.place.record.id

    @property
    def name(self) -> str:
        """The collection's name in the source."""
        return self.place.record.name

    @property
    def copied_id(self) -> str:
        """The id of the copy, if there is one."""
        return self.alike or self.place.known.target

    @property
    def is_gone(self) -> bool:
        """Whether the source has deleted the collection."""
        try:
            self._source.store.record(self.id)
        except NotFoundError:
            return True
        return False

    @property
    def _points(self) -> PointsBackend:
        """The points of the source; raises NotFoundError if the collection was deleted."""
        return self._source.store.points(self.id)

    @property
    def _copied(self) -> PointsBackend:
        return self._target.store.points(self.copied_id)

    @property
    def _by_files(self) -> bool:
        """Whether both stores are on disk."""
        return None not in (self._source.store.directory, self._target.store.directory)

    @property
    def _spaces(self) -> Mapping[str, NewSpace]:
        """The vector spaces of the source."""
        points = self._points.engine
        if points is None:
            return spaces_in(self.place.record)
        return {space.name: pages.as_new(space) for space in points.spaces()}

    def refuse(self, if_exists: bool) -> None:
        """Raise an error if the target cannot store the collection, before anything is copied.
        if_exists: whether to raise an error even if the target's collection of this name is equal,
        or is a complete copy from an earlier call."""
        place = self.place
        place.refuse_unfit(self._points)
        foreign = None if place.is_there else place.there()
        if if_exists and (foreign or (place.is_there and place.known.finished)):
            place.refuse()
        if foreign and not self._adopt_equal(foreign):
            place.refuse(", and holds something else")
        if place.is_there and place.is_written():
            place.refuse_written()
        self._refuse_changed()

    def _adopt_equal(self, existing: CollectionRecord) -> bool:
        """Whether the target's collection of this name has the same content and settings. If so,
        nothing has to be copied, and `alike` is set to its id."""
        if existing.settings != self.place.settings.settings:
            return False
        target, rounds = self._target.store.points(existing.id), True
        source_points, target_points = self._points.engine, target.engine
        if source_points is not None and target_points is not None:
            rounds = False
            if pages.steps(source_points.spaces(), None, target_points.spaces()):
                return False
        if not holds_the_same(self._points, target, [*self._spaces], rounds):
            return False
        self.alike = existing.id
        return True

    def copy(self) -> None:
        """Copy the collection, or the points that earlier calls have not copied."""
        if self.alike is not None:
            return
        self._look_again()
        if not self.place.is_there:
            self.place.begin()
        try:
            self._copy_rest()
            if self._look_again():  # it may have new settings and vector spaces meanwhile
                self._settle()
                if None not in (self._source.store.engine, self._target.store.engine):
                    self._copy_changes()
        finally:  # also after an interruption
            if self.place.known.kept is None:
                with suppress(RetrievalStoreError):
                    note_left(self._journal, self.id, self._copied)

    def _look_again(self) -> bool:
        """Read the source's settings again, and return whether they differ from the copy's
        settings. A new name is ignored, since the next run handles it."""
        self.place.record = replace(self._source.store.record(self.id), name=self.name)
        return self.place.record.settings != self._settled

    def _copy_rest(self) -> None:
        """Start the copy, resume an interrupted copy, or update a complete copy, whichever
        applies."""
        entry, is_there = self.place.known, self.place.is_there
        if not is_there and self._by_files:
            self._copy_files()
        elif not is_there or (entry.paged and not entry.whole):
            self._copy_points()
        else:
            if not entry.whole:  # files exist completely or not at all
                self._journal.advance(self.id, whole=True)
            self._copy_changes()

    def _copy_changes(self) -> None:
        """Update the copy with the source's changes since the last run."""
        changed = self._settle()
        points = self._points.engine
        if points is None:  # a cluster has no change log, so everything is compared
            self._copy_points()
            return
        if self._changes is None:
            self._changes = ChangesCopy(points, self._copied, self._journal, self.id)
        try:
            changed = self._changes.run() or changed
        except TooFarError:  # its log was truncated
            self._journal.advance(self.id, done=0, whole=False, paged=True, position=None)
            self._copy_points()
            changed = True
        self.is_level = self.is_level and not changed

    def _settle(self) -> bool:
        """Give the copy the source's settings; returns whether they differed. Raises ConflictError
        if the settings of word search differ and the target is a cluster, where they can't
        change."""
        if self._settled == self.place.record.settings:
            return False
        self.place.refuse_unfit(self._points)
        expected = self.place.settings.settings
        # Compared with the copy, not with the earlier source: an interrupted copy may have older
        # settings.
        old = self._target.store.record(self.copied_id).settings
        if old != expected:
            self.is_level = False
            begin_writing(self._journal, self.id)
            if self._target.on_cluster and old.get("text") != expected.get("text"):
                raise ConflictError(
                    f"the words of collection {self.name!r} are split otherwise since it was "
                    "copied, which a cluster can't change: delete its copy there, and copy it anew"
                )
            self._target.store.change(
                self.copied_id, lambda there: replace(there, settings=expected)
            )
        self._settled = self.place.record.settings
        return old != expected

    def _copy_files(self) -> None:
        """Create a collection in the target from the source's files."""
        points, self.is_level = self._points.engine, False
        source, target = self._source.store.embedded, self._target.store.embedded
        assert points is not None and source is not None and target is not None  # both are on disk
        with progress_bar(self.name, points.count(), "point", self._shown) as bar:
            # In this order: everything that new vector spaces will hold is written after the
            # position.
            entry = self._journal.advance(self.id, position=points.position())
            entry = self._journal.advance(self.id, spaces=pages.numbers(points.spaces()))
            target.adopt_collection(source, self.id, replace(self.place.settings, id=entry.target))
            self._journal.advance(self.id, whole=True)
            self._settled, self.place.is_there = self.place.record.settings, True
            bar.update(self._copied.count())

    def _copy_points(self) -> None:
        """Copy the points in pages, beginning where an earlier copy was interrupted."""
        begin_writing(self._journal, self.id)
        resumed = self.place.is_there
        if not resumed:
            self._make()
        points = self._points.engine
        position = None if points is None else points.position()
        with self._frozen() as frozen:
            if points is None:
                self._there = frozen, frozen.count()
            moved = Transfer(
                frozen,
                self._copied,
                self._level_spaces(frozen),
                self._journal,
                self.id,
                position,
                resumed,
                self.name,
                self._shown,
            ).run()
        # The compared points of a cluster may have been up to date all the time.
        self.is_level = self.is_level and resumed and position is None and not moved
        self._again = moved if resumed and position is None else 0
        self._journal.advance(self.id, whole=True, paged=False, position=position)

    def _make(self) -> None:
        """Create the empty copy."""
        entry = self._journal.advance(self.id, paged=True)
        settings = self.place.settings
        self._target.store.create(settings.name, settings.settings, self._spaces, entry.target)
        self.place.is_there, self._settled = True, self.place.record.settings

    def _frozen(self) -> AbstractContextManager[PointsBackend]:
        """A context manager that yields the points to copy, in one fixed state. On a cluster it
        yields the points that exist now."""
        return self._source.store.open_copy(self.id)

    def _level_spaces(self, points: PointsBackend) -> list[str]:
        """Give the copy the source's vector spaces; returns their names."""
        source, target = points.engine, self._copied.engine
        if source is None or target is None:
            return [*self._spaces]
        source_spaces = source.spaces()
        pages.steps(source_spaces, self.place.known.spaces, target.spaces()).take(target)
        numbers = pages.numbers(source_spaces)
        self._journal.advance(self.id, spaces=numbers)
        return [*numbers]

    def _refuse_changed(self) -> None:
        """Raise AlreadyExistsError if a complete copy on a cluster differs from its source. Since a
        cluster has no change log, it is unknown which program changed the copy."""
        entry = self.place.entry
        if not self.place.is_there or entry is None or entry.position is None:
            return
        if entry.finished and self._target.on_cluster:
            try:
                self._compare()
            except StorageError:
                self.place.refuse_written()

    def _compare(self) -> int:
        spaces, rounds = [*self._spaces], self._target.on_cluster
        return compare(self._points, self._copied, spaces, self._since, rounds, self.name)

    def _cluster_rests(self) -> bool:
        """Whether the number of points on a source cluster has stayed the same since this run
        copied the points. True if this run copied no points from a cluster."""
        if self._there is None:
            return True
        points, count = self._there
        return points.count() == self._points.count() == count

    @property
    def meanwhile(self) -> int:
        """How many points of a source cluster were added or deleted since copying began."""
        if self._there is None:
            return 0
        points, count = self._there
        left = points.count()
        return count - left + max(0, self._points.count() - left)

    def _compare_with_cluster(self) -> int:
        """Compare the copy with its source, which is on a cluster. Points that the source changed
        during the copy are copied again. Returns the number of compared points."""
        begin_writing(self._journal, self.id)
        compared = self._compare()
        note_left(self._journal, self.id, self._copied)
        return compared

    def _since(self) -> Since:
        """The changes of the source since the copy was made, as far as they are known."""
        entry, points = self.place.entry, self._points.engine
        if points is None:
            return Since(frozenset(), rests=self._cluster_rests())
        if entry is None or entry.position is None:
            return Since(frozenset(), rests=True)
        changed = points.changes_since(entry.position)
        # A dropped vector space is gone from all points, without being a change of the points.
        same_spaces = entry.spaces is None or pages.numbers(points.spaces()) == entry.spaces
        ids = None if changed.ids is None or not same_spaces else frozenset(changed.ids)
        return Since(ids, same_spaces and changed.position == entry.position)

    def compare(self) -> tuple[int, int, int]:
        """Compare the copy with the source. Returns how many points the copy has, how many were
        copied again, and how many were compared."""
        if self._points.engine is None and self.alike is None:
            compared = self._compare_with_cluster()
        else:
            compared = self._compare()
        changed = self._again if self._changes is None else self._changes.copied
        return self._copied.count(), changed, compared
