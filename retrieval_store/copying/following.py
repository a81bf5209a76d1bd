"""Bringing a copy level with what was written to its source since it was taken."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from retrieval_store.copying.journal import Journal
from retrieval_store.copying.points import Spaces, delete_others, write_named
from retrieval_store.interface.stores import EmbeddedPoints, PointsBackend

PAUSE = 0.05  # seconds between two looks at a source that rests


class TooFarError(Exception):
    """The log of the source doesn't reach back to where the copy stands."""


@dataclass(slots=True)
class Follower:
    """One collection and its copy. tells: whether the copy tells its position; followed: how many
    points were copied again since."""

    source: EmbeddedPoints
    target: PointsBackend
    spaces: Spaces
    journal: Journal
    collection_id: str
    tells: bool
    followed: int = 0

    def catch_up(self) -> bool:
        """Copy again what has changed; returns whether anything has. TooFarError when that isn't
        known any more."""
        since = self.journal.entries[self.collection_id].position
        changed = None if since is None else self.source.changed_since(since)
        if changed is None or changed.ids is None:
            raise TooFarError
        if changed.position == since:
            return False
        self.journal.advance(self.collection_id, kept=None, left=None)
        write_named(self.source, self.target, changed.ids, self.spaces)
        if self.target.count() > self.source.count():
            delete_others(self.source, self.target)
        self.journal.advance(self.collection_id, position=changed.position)
        self.leave()
        self.followed += len(changed.ids)
        return True

    def leave(self) -> None:
        """Note what the copy is, so that it is seen whether others write to it."""
        left = cast(EmbeddedPoints, self.target).position() if self.tells else None
        self.journal.advance(self.collection_id, left=left, kept=self.target.count())


def follow(
    followers: Sequence[Follower],
    quiet: float,
    goes_on: Callable[[], bool],
    on_level: Callable[[], object],
) -> None:
    """Catch up with all sources until none of them has been written to for so many seconds, and
    nothing else is a reason to go on. on_level: called when there is nothing left to copy for the
    first time."""
    rested, is_level = time.monotonic(), False
    while True:
        changed = [one.catch_up() for one in followers]
        if any(changed):
            rested = time.monotonic()
            continue
        if not is_level:
            is_level = True
            on_level()
        if time.monotonic() - rested >= quiet and not goes_on():
            return
        time.sleep(PAUSE)
