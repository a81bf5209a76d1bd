"""Bringing a copy level with what was written to its source since it was taken."""

import time
from collections.abc import Callable, Sequence

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.copying import spaces
from retrieval_store.copying.journal import Entry, Journal
from retrieval_store.copying.pages import append, delete_others, write_named
from retrieval_store.errors import RetrievalStoreError
from retrieval_store.query.protocols import EnginePoints, PointsBackend
from retrieval_store.query.types import Changed, PointId, SpaceRecord

PAUSE = 0.05  # seconds between two looks at a source that rests


class TooFarError(Exception):
    """The log of the source doesn't reach back to where the copy stands."""


@dataclass(slots=True)
class Follower:
    """One collection and its copy. followed: how many points were copied again since; looked:
    whether the vector spaces of both have been compared."""

    source: EnginePoints
    target: PointsBackend
    journal: Journal
    collection_id: str
    followed: int = 0
    looked: bool = False

    @property
    def _entry(self) -> Entry:
        return self.journal.entries[self.collection_id]

    def catch_up(self) -> bool:
        """Copy again what has changed; returns whether anything has. TooFarError when that isn't
        known any more."""
        since = self._entry.position
        if self.looked and self.source.position() == since:
            return False
        while True:
            there = self.source.spaces()
            changed = self._changed()
            stepped = self._level_spaces(there)
            self.looked = True
            if changed.position == since and not stepped:
                return False
            if self._copied(changed, there):
                break
        self.journal.advance(self.collection_id, position=changed.position)
        note_left(self.journal, self.collection_id, self.target)
        self.followed += len(changed.ids or ())
        return True

    def _changed(self) -> Changed:
        since = self._entry.position
        changed = None if since is None else self.source.changed_since(since)
        if changed is None or changed.ids is None:
            raise TooFarError
        return changed

    def _level_spaces(self, there: Sequence[SpaceRecord]) -> bool:
        """Before any points: these may have vectors in new spaces."""
        target, numbers = self.target.engine, spaces.numbers(there)
        if target is None:  # a cluster has those that it was made with
            return False
        if steps := spaces.steps(there, self._entry.spaces, target.spaces()):
            begin_writing(self.journal, self.collection_id)
            steps.take(target)
        if self._entry.spaces != numbers:
            self.journal.advance(self.collection_id, spaces=numbers)
        return bool(steps)

    def _copied(self, changed: Changed, there: Sequence[SpaceRecord]) -> bool:
        """Whether it was copied what has changed. Not if a vector space came or went meanwhile: the
        name of one may stand for another then, so all of that is copied again."""
        begin_writing(self.journal, self.collection_id)
        names = [one.name for one in there]
        updated, inserted = split(changed)
        try:
            write_named(self.source, self.target, updated, names)
            write_named(self.source, self.target, inserted, names, append)
            if self.target.count() > self.source.count():
                delete_others(self.source, self.target)
        except RetrievalStoreError:  # a vector of another dimension than the space had
            if self._has_spaces(there):
                raise
            return False
        return self._has_spaces(there)

    def _has_spaces(self, there: Sequence[SpaceRecord]) -> bool:
        return spaces.numbers(self.source.spaces()) == spaces.numbers(there)


def split(changed: Changed) -> tuple[Sequence[PointId], Sequence[PointId]]:
    """The points that were changed, and those that are new. Among the latter are those that were
    deleted and added again, whose place is the last now."""
    ids = changed.ids or ()
    place = len(ids) - changed.inserted
    return ids[:place], ids[place:]


def begin_writing(journal: Journal, collection_id: str) -> None:
    """Note, before the first write, that the copy isn't what it was left as."""
    entry = journal.entries[collection_id]
    if entry.kept is not None or entry.finished:
        journal.advance(collection_id, kept=None, left=None, finished=False)


def note_left(journal: Journal, collection_id: str, copied: PointsBackend) -> None:
    """Note what the copy is, so that it is seen whether others write to it."""
    engine = copied.engine
    left = None if engine is None else engine.position()
    journal.advance(collection_id, left=left, kept=copied.count())


def follow(
    level: Callable[[], bool],
    quiet: float,
    goes_on: Callable[[], bool],
    on_level: Callable[[], object],
) -> None:
    """Bring all level until nothing has changed for so many seconds, and nothing else is a reason
    to go on. level: returns whether anything had changed; on_level: called when nothing is left to
    copy for the first time."""
    rested, is_level = time.monotonic(), False
    while True:
        if level():
            rested = time.monotonic()
            continue
        if not is_level:
            is_level = True
            on_level()
        if time.monotonic() - rested < quiet or goes_on():
            time.sleep(PAUSE)
        elif not level():  # what was written between the look before and the answer
            return
        else:
            rested = time.monotonic()
