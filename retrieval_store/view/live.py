"""Changes of a store, told as they come: what collections there are, how many records each has, and
the number of its last operation.

All pages share what is looked at, so that a hundred of them cost a store no more than one.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from retrieval_store.errors import NotFoundError

if TYPE_CHECKING:
    from retrieval_store.view.views import Views

EVERY, EVERY_OF_ONE = 5.0, 0.4  # seconds between two looks at all collections, and at one
EMPTY = b"\n"


class Watching:
    """What is known of a store's collections, looked at anew when it is too old. clock: seconds."""

    def __init__(self, views: "Views", clock: Callable[[], float] = time.monotonic) -> None:
        self._views, self._clock = views, clock
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._looked: float | None = None
        self._looked_at: dict[str, float] = {}

    def now(self, collection: str | None) -> dict[str, dict[str, Any]]:
        """What is known of all collections, of one of them as it is just now."""
        with self._lock:
            now = self._clock()
            if self._looked is None or now - self._looked >= EVERY:
                self._look()
                self._looked = self._clock()
            if collection in self._known and now - self._looked_at.get(collection, 0) >= (
                EVERY_OF_ONE
            ):
                self._look_at(collection)
                self._looked_at[collection] = self._clock()
            return {name: dict(one) for name, one in self._known.items()}

    def _look(self) -> None:
        store = self._views.store
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
            points = self._views.store.points(collection)
            if points.engine is not None:
                known = self._known[collection]
                known["seq"] = points.engine.position().operation
                known["points"] = points.count()


class Lines:
    """What one page is told: a line at once, and one at each change."""

    def __init__(self, views: "Views", collection: str | None) -> None:
        self._watching, self._collection = views.watching, collection
        self._told: dict[str, dict[str, Any]] | None = None

    def __call__(self) -> bytes | None:
        """The next line; None where nothing has changed since the last."""
        now = self._watching.now(self._collection)
        if now == self._told:
            return None
        self._told = now
        return orjson.dumps({"collections": now}) + b"\n"


def live(views: "Views", collection: str | None = None) -> Lines:
    """The lines that tell of changes; of one collection sooner than of others."""
    return Lines(views, collection)
