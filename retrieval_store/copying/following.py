"""Bringing a copy level with what was written to its source since it was taken."""

import time
from dataclasses import dataclass

from retrieval_store.copying.journal import Journal
from retrieval_store.copying.points import Spaces, delete_others, write_named
from retrieval_store.interface.points import Position
from retrieval_store.interface.stores import EmbeddedPoints, PointsBackend

PAUSE = 0.05  # seconds between two looks at a source that rests


class TooFarError(Exception):
    """The log of the source doesn't reach back to where the copy stands."""


@dataclass(slots=True)
class Follower:
    """One collection and its copy. followed: how many points were copied again since."""

    source: EmbeddedPoints
    target: PointsBackend
    spaces: Spaces
    size: int
    journal: Journal
    collection_id: str
    followed: int = 0

    @property
    def _position(self) -> Position:
        position = self.journal.entries[self.collection_id].position
        if position is None:
            raise TooFarError
        return position

    def catch_up(self) -> bool:
        """Copy again what has changed; returns whether anything has. TooFarError when that isn't
        known any more."""
        since = self._position
        changed = self.source.changed_since(since)
        if changed.ids is None:
            raise TooFarError
        if changed.position == since:
            return False
        write_named(self.source, self.target, changed.ids, self.spaces, self.size)
        if self.target.count() > self.source.count():
            delete_others(self.source, self.target)
        self.journal.advance(self.collection_id, position=changed.position)
        self.followed += len(changed.ids)
        return True


def follow(followers: list[Follower], quiet: float) -> None:
    """Catch up with all sources until none of them has been written to for so many seconds."""
    rested = time.monotonic()
    while True:
        changed = [one.catch_up() for one in followers]
        if any(changed):
            rested = time.monotonic()
        elif time.monotonic() - rested >= quiet:
            return
        else:
            time.sleep(PAUSE)
