"""Reports changes of a store to the pages that display it, as soon as they happen.

`Views` has the store, and the objects for viewing it. `Watching` has the recent state of the
collections: their names, the number of records in each, and the number of its last operation. All
pages share this state, so that a hundred pages cost a store no more than one page.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from retrieval_store.errors import InvalidArgumentError, NotFoundError
from retrieval_store.extension import (
    CollectionRecord,
    CollectionStore,
    Lock,
    PointsBackend,
    Session,
    SpaceRecord,
    embedder_of,
    spaces_in,
)
from retrieval_store.frameworks import quote

MAX_FUNCTIONS = 8  # cached embedding functions, which may hold models


@dataclass(frozen=True, slots=True)
class ViewedCollection:
    """A collection that the page displays. spaces: the collection's vector spaces, in the order in
    which they were added."""

    record: CollectionRecord
    points: PointsBackend
    spaces: tuple[SpaceRecord, ...]

    def space(self, name: str | None, kinds: tuple[str, ...], argument: str) -> SpaceRecord:
        """The vector space of this name and of one of these kinds. Without a name, the result is
        the unnamed space, or the first space if all have names. argument: the name of the field,
        for messages."""
        spaces = {space.name: space for space in self.spaces if space.kind in kinds}
        if name is None and spaces:
            return spaces.get("") or next(iter(spaces.values()))
        record = spaces.get(name or "")
        if record is None:
            expected = " or ".join(kinds)
            if name is None:
                raise InvalidArgumentError(f"the collection has no {expected} vector space")
            known = ", ".join(map(repr, spaces)) or "none"
            raise InvalidArgumentError(
                f"{argument} is {quote(name)}, which is no {expected} vector space of the "
                f"collection; there are {known}"
            )
        return record


class Views:
    """Reads a store for the pages that show it. session: the session of the store, which the
    caller closes. trust: whether stored embedding functions can be created that access hosts and
    files. image_root: the folder with the files that the page can show, None to show no file."""

    def __init__(
        self, session: Session, trust: bool = False, image_root: Path | None = None
    ) -> None:
        self.session, self.trust, self.image_root = session, trust, image_root
        self._functions: OrderedDict[tuple[str, bytes], Any] = OrderedDict()
        self._lock = Lock()
        self._watching: Watching | None = None

    @property
    def store(self) -> CollectionStore:
        """The store; raises ClientClosedError if it is closed."""
        return self.session.store

    def collection(self, collection_id: str) -> ViewedCollection:
        """The collection with this id; raises NotFoundError if there is none."""
        record = self.store.record(collection_id)
        points = self.store.points(collection_id)
        return ViewedCollection(record, points, tuple(_spaces(record, points)))

    def embedder(self, record: CollectionRecord) -> Any:
        """The object that embeds queries for a collection, by the embedding function that is stored
        with the collection. The last few of these objects are cached."""
        spec = record.settings.get("embedding_function")
        key = (record.id, orjson.dumps(spec, option=orjson.OPT_SORT_KEYS))
        with self._lock:
            kept = self._functions.get(key)
            if kept is None:
                kept = self._functions[key] = embedder_of(record, self.trust)
            self._functions.move_to_end(key)
            if len(self._functions) > MAX_FUNCTIONS:
                self._functions.popitem(last=False)
        return kept

    @property
    def watching(self) -> "Watching":
        """The object that detects changes. All pages share it."""
        with self._lock:
            if self._watching is None:
                self._watching = Watching(lambda: self.store)
            return self._watching


def _spaces(record: CollectionRecord, points: PointsBackend) -> list[SpaceRecord]:
    """The vector spaces of a collection. A cluster does not list vector spaces, so its spaces are
    derived from the collection's settings."""
    if points.engine is not None:
        return points.engine.spaces()
    count = points.count()
    return [
        SpaceRecord(
            name, space.metric, space.kind, space.datatype, space.dimension, space.index, count
        )
        for name, space in spaces_in(record).items()
    ]


EMPTY = b"\n"


class Lines:
    """The lines that one page receives: the first line immediately, and a further line after each
    change."""

    def __init__(self, views: Views, collection: str | None) -> None:
        self._watching, self._collection = views.watching, collection
        self._sent: dict[str, dict[str, Any]] | None = None

    def __call__(self) -> bytes | None:
        """The next line; None if nothing has changed."""
        now = self._watching.now(self._collection)
        if now == self._sent:
            return None
        self._sent = now
        return orjson.dumps({"collections": now}) + b"\n"


def live(views: Views, collection: str | None = None) -> Lines:
    """The lines by which a page learns of changes in the store. Changes of `collection` are
    reported sooner than changes of other collections."""
    return Lines(views, collection)


ALL_PERIOD, ONE_PERIOD = 5.0, 0.4  # seconds between two reads of all collections, and of one
PAUSE_PER_LOOK = 20.0  # factor of a full read's duration, as a pause before the next


class Watching:
    """The cached state of a store's collections. The state is read again when it is too old. clock:
    a function that returns the time in seconds."""

    def __init__(
        self,
        store: Callable[[], CollectionStore],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._clock = store, clock
        self._lock = Lock()
        self._known: dict[str, dict[str, Any]] = {}
        self._has_looked = False  # whether it has been read, since a store may have no collections
        self._next = 0.0  # the next read of all collections
        self._looked_at: dict[str, float] = {}

    def now(self, collection: str | None) -> dict[str, dict[str, Any]]:
        """The state of all collections. The state of `collection` is read again first, unless it
        was read a moment ago. If another caller is reading states, the previous states are
        returned, so that the call doesn't wait."""
        if self._lock.acquire(blocking=not self._has_looked):
            try:
                self._look_if_due(collection)
            finally:
                self._lock.release()
        return {name: dict(state) for name, state in self._known.items()}

    def _look_if_due(self, collection: str | None) -> None:
        now = self._clock()
        if now >= self._next:
            self._look()
            took = self._clock() - now
            self._next = self._clock() + max(ALL_PERIOD, PAUSE_PER_LOOK * took)
        if collection in self._known and now - self._looked_at.get(collection, 0) >= ONE_PERIOD:
            self._look_at(collection)
            self._looked_at[collection] = self._clock()

    def _look(self) -> None:
        store = self._store()
        gauges = dict(store.gauges())
        known = {}
        for record in store.page(None, 0):
            gauge = gauges.get(record.name)
            seq, points = (None, None) if gauge is None else (gauge.seq, gauge.points)
            known[record.id] = {"seq": seq, "points": points, "name": record.name}
        self._known, self._has_looked = known, True
        self._looked_at = {
            collection_id: at
            for collection_id, at in self._looked_at.items()
            if collection_id in known
        }

    def _look_at(self, collection: str) -> None:
        """Read the state of one collection. For a cluster, which does not report changes, do
        nothing: all its states are read together."""
        with suppress(NotFoundError):
            points = self._store().points(collection)
            if points.engine is not None:
                change = {"seq": points.engine.position().operation, "points": points.count()}
                self._known = {**self._known, collection: {**self._known[collection], **change}}
