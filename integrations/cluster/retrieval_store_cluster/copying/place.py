"""Finds the copy in the target: whether it exists, which program owns it, and its name.

A collection of the target is the copy if the journal has its id and its name. Any other collection
belongs to other programs, and is never written to. If such a collection has the name of the copy,
an error is raised. A copy belongs to other programs once they have written to it. Nothing is
renamed or deleted.

`ChangesCopy` copies what was written to the source since the copy was made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NoReturn

from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    RetrievalStoreError,
)
from retrieval_store.extension import (
    ChangedPoints,
    CollectionRecord,
    EnginePoints,
    PointId,
    PointsBackend,
    Position,
    Session,
    SpaceRecord,
)
from retrieval_store.filters.expression import Exists, Or
from retrieval_store_cluster.copying import pages
from retrieval_store_cluster.copying.journal import Entry, Journal
from retrieval_store_cluster.copying.pages import append, delete_others, write_named


class TooFarError(Exception):
    """The source's change log no longer contains the changes since the copy was made."""


@dataclass(slots=True)
class ChangesCopy:
    """Copies the changes of a source collection to its copy. copied: the number of points that were
    copied again."""

    source: EnginePoints
    target: PointsBackend
    journal: Journal
    collection_id: str
    copied: int = 0

    @property
    def _entry(self) -> Entry:
        return self.journal.entries[self.collection_id]

    def run(self) -> bool:
        """Copy the changes; returns whether there were any. Raises TooFarError if the source's log
        no longer contains them."""
        since = self._entry.position
        while True:
            source_spaces = self.source.spaces()
            changed = self._changed_points()
            stepped = self._level_spaces(source_spaces)
            if changed.position == since and not stepped:
                return False
            if self._copy_changes(changed, source_spaces):
                break
        self.journal.advance(self.collection_id, position=changed.position)
        note_left(self.journal, self.collection_id, self.target)
        self.copied += len(changed.ids or ())
        return True

    def _changed_points(self) -> ChangedPoints:
        since = self._entry.position
        changed = None if since is None else self.source.changes_since(since)
        if changed is None or changed.ids is None:
            raise TooFarError
        return changed

    def _level_spaces(self, source_spaces: Sequence[SpaceRecord]) -> bool:
        """Give the copy the vector spaces of the source, before points are copied that have vectors
        in new spaces. Returns whether the copy's spaces were changed."""
        target, numbers = self.target.engine, pages.numbers(source_spaces)
        if target is None:  # a cluster has the ones that it was created with
            return False
        if steps := pages.steps(source_spaces, self._entry.spaces, target.spaces()):
            begin_writing(self.journal, self.collection_id)
            steps.take(target)
        if self._entry.spaces != numbers:
            self.journal.advance(self.collection_id, spaces=numbers)
        return bool(steps)

    def _copy_changes(self, changed: ChangedPoints, source_spaces: Sequence[SpaceRecord]) -> bool:
        """Copy the changed points. Returns False if a vector space was added or dropped meanwhile.
        A space's name may then mean another space, so the changes must be copied again."""
        begin_writing(self.journal, self.collection_id)
        names = [space.name for space in source_spaces]
        updated, inserted = split(changed)
        try:
            write_named(self.source, self.target, updated, names)
            write_named(self.source, self.target, inserted, names, append)
            if self.target.count() > self.source.count():
                delete_others(self.source, self.target)
        except RetrievalStoreError:  # a vector of another dimension than the space had
            if self._has_spaces(source_spaces):
                raise
            return False
        return self._has_spaces(source_spaces)

    def _has_spaces(self, source_spaces: Sequence[SpaceRecord]) -> bool:
        return pages.numbers(self.source.spaces()) == pages.numbers(source_spaces)


def split(changed: ChangedPoints) -> tuple[Sequence[PointId], Sequence[PointId]]:
    """Two lists: the changed points, and the new points. A point that was deleted and added again
    counts as new, since its position is now at the end."""
    ids = changed.ids or ()
    place = len(ids) - changed.inserted
    return ids[:place], ids[place:]


def begin_writing(journal: Journal, collection_id: str) -> None:
    """Before the first write to the copy, record in the journal that the copy is about to
    change."""
    entry = journal.entries[collection_id]
    if entry.kept is not None or entry.finished:
        journal.advance(collection_id, kept=None, left=None, finished=False)


def note_left(journal: Journal, collection_id: str, copied: PointsBackend) -> None:
    """Record the state of the copy in the journal, so that writes of other programs can be
    detected."""
    engine = copied.engine
    left = None if engine is None else engine.position()
    journal.advance(collection_id, left=left, kept=copied.count())


def _refuse_keys(source: PointsBackend, keys: Sequence[str]) -> None:
    """Raise InvalidArgumentError if a point has any of these metadata keys. One request searches
    for all keys."""
    terms = [Exists((key,)) for key in keys]
    if not source.number(Or(tuple(terms))):
        return
    key, count = next((k, n) for k, t in zip(keys, terms, strict=True) if (n := source.number(t)))
    raise InvalidArgumentError(
        f"{count} of its records have the metadata key {key!r}, which a cluster reserves: "
        "rename the key (update), or name other collections"
    )


@contextmanager
def _naming_collection(name: str) -> Iterator[None]:
    """A context manager that adds the collection's name to an error that refuses the collection."""
    try:
        yield
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"collection {name!r} can't be copied: {error}") from error


OF_CLUSTERS = "qdrant"  # settings of a cluster's shards and files


class CopyPlace:
    """Finds the copy of a collection in the target. record: the collection in the source; is_there:
    whether the copy has been started."""

    def __init__(self, target: Session, record: CollectionRecord, journal: Journal) -> None:
        self.record = record
        self.is_there = False
        self._target = target
        self._journal = journal
        self._find()

    def _find(self) -> None:
        """Find the copy by the journal. A copy that another program has renamed belongs to that
        program. Raises ConflictError if the source was renamed."""
        if self.entry is None:
            return
        try:
            existing = self._target.store.record(self.entry.target)
        except NotFoundError:
            return
        known, name = self.entry.name or self.record.name, self.record.name
        if existing.name == known != name:
            raise ConflictError(
                f"collection {name!r} was called {known!r} when it was copied: give its copy "
                f"{self._target.place} the new name too, or delete that copy"
            )
        self.is_there = existing.name == name
        if self.is_there and known != name:
            self._journal.advance(self.record.id, name=name)

    @property
    def entry(self) -> Entry | None:
        """The journal's entry for the collection; None if there is none."""
        return self._journal.entries.get(self.record.id)

    @property
    def known(self) -> Entry:
        """The journal's entry for the collection, whose copy must have been started."""
        return self._journal.entries[self.record.id]

    @property
    def points(self) -> PointsBackend:
        """The points of the copy; raises NotFoundError if the copy was deleted."""
        return self._target.store.points(self.known.target)

    @property
    def settings(self) -> CollectionRecord:
        """The collection's record, by which the copy is created. If the target is not a cluster,
        the settings for a cluster's servers are left out."""
        settings = self.record.settings
        if not self._target.on_cluster:
            settings = {key: value for key, value in settings.items() if key != OF_CLUSTERS}
        return replace(self.record, settings=settings)

    def there(self) -> CollectionRecord | None:
        """The target's collection that has the name of the collection to copy; None if there is
        none."""
        try:
            return self._target.store.by_name(self.record.name)
        except NotFoundError:
            return None

    def refuse_unfit(self, source: PointsBackend) -> None:
        """Raise InvalidArgumentError for a collection that a cluster can't store. source: the
        collection's points."""
        if not self._target.on_cluster:
            return
        if self.record.is_qdrant_only:
            raise InvalidArgumentError(
                f"collection {self.record.name!r} has vectors that only QdrantClient knows; copy "
                "it with QdrantClient.migrate, or name the others"
            )
        from retrieval_store_cluster.payload import RESERVED
        from retrieval_store_cluster.schema import refuse_unusable
        from retrieval_store_cluster.store import refuse_long

        with _naming_collection(self.record.name):
            refuse_long(self.record.name)
            refuse_unusable(self.record.settings)
            if source.engine is not None:
                _refuse_keys(source, sorted(RESERVED))

    def refuse(self, why: str = "") -> NoReturn:
        """Raise AlreadyExistsError, since the target has a collection with the name of the
        collection to copy. why: the rest of the message."""
        raise AlreadyExistsError(
            f"collection {self.record.name!r} exists already {self._target.place}{why}; a copy "
            "replaces nothing"
        )

    def refuse_written(self) -> None:
        """Raise an error if another program has written to the copy: AlreadyExistsError for a
        finished copy, ConflictError for an interrupted one."""
        if self.known.finished:
            self.refuse(", and was written to since it was copied")
        path = self._journal.path
        keep = "" if path is None else f"To keep it, delete {path}. "
        raise ConflictError(
            f"the copy of collection {self.record.name!r} {self._target.place} was written to by "
            f"others since. {keep}To copy the collection again, delete the copy"
        )

    def is_written(self) -> bool:
        """Whether another program has written to the copy since this program's last write, as far
        as that can be detected."""
        entry = self.known
        if entry.kept is None:
            return False
        count = self.points.count()
        has_expired = self.record.expires is not None and count < entry.kept
        has_changed = count != entry.kept and not has_expired  # expiry isn't others' write
        return has_changed or self._has_moved(entry.left)

    def _has_moved(self, left: Position | None) -> bool:
        """Whether the copy's change log has grown since this program's last write."""
        points = self.points.engine
        if points is None or left is None:
            return False
        return points.changes_since(left).ids != []

    def begin(self) -> Entry:
        """Record in the journal that the copy is about to be created."""
        target = self._journal.new_id(self.record.id)
        return self._journal.note(self.record.id, Entry(target, name=self.record.name))
