"""What a store's collections are at a moment: which there are, how many records each has, and the
number of its last operation.

All pages share what is looked at, so that a hundred of them cost a store no more than one.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from retrieval_store.errors import NotFoundError
from retrieval_store.query.protocols import CollectionStore

EVERY, EVERY_OF_ONE = 5.0, 0.4  # seconds between two looks at all collections, and at one
SHARE = 20.0  # times as long as a look at all took, until the next


class Watching:
    """What is known of a store's collections, looked at anew when it is too old. clock: seconds."""

    def __init__(
        self,
        store: Callable[[], CollectionStore],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._next = 0.0  # look at all of them
        self._looked_at: dict[str, float] = {}

    def now(self, collection: str | None) -> dict[str, dict[str, Any]]:
        """What is known of all collections, of one of them as it is just now. Who comes while
        another looks is told what was known before, and holds no thread."""
        if self._lock.acquire(blocking=not self._known):
            try:
                self._look_if_due(collection)
            finally:
                self._lock.release()
        return {name: dict(one) for name, one in self._known.items()}

    def _look_if_due(self, collection: str | None) -> None:
        now = self._clock()
        if now >= self._next:
            self._look()
            took = self._clock() - now
            self._next = self._clock() + max(EVERY, SHARE * took)
        if collection in self._known and now - self._looked_at.get(collection, 0) >= EVERY_OF_ONE:
            self._look_at(collection)
            self._looked_at[collection] = self._clock()

    def _look(self) -> None:
        store = self._store()
        gauges = dict(store.gauges())
        known = {}
        for record in store.page(None, 0):
            told = gauges.get(record.name)
            seq, points = (None, None) if told is None else (told.seq, told.points)
            known[record.id] = {"seq": seq, "points": points, "name": record.name}
        self._known = known
        self._looked_at = {one: at for one, at in self._looked_at.items() if one in known}

    def _look_at(self, collection: str) -> None:
        """On a cluster, where nothing tells of changes, one isn't looked at more often."""
        with suppress(NotFoundError):
            points = self._store().points(collection)
            if points.engine is not None:
                told = {"seq": points.engine.position().operation, "points": points.count()}
                self._known = {**self._known, collection: {**self._known[collection], **told}}
