"""The collections that a store has open in this process."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from retrieval_store.base import system
from retrieval_store.engine.concurrency import reset_after_fork
from retrieval_store.engine.database.pools import Reason
from retrieval_store.engine.points import PointStore
from retrieval_store.errors import NotFoundError

SHARE = 4  # of the descriptors that the process may have, those of collections: one in so many;
# where several threads read at once, each may take more than twice as many for a while
ENDLESS = 65_536  # descriptors assumed where there is no limit
FEWEST_AWAKE = 8  # collections with open files, however few descriptors there may be


def descriptor_limit() -> int:
    """How many files this process may have open."""
    if system.resource is None:
        return ENDLESS
    soft: int = system.resource.getrlimit(system.resource.RLIMIT_NOFILE)[0]
    return ENDLESS if soft == system.resource.RLIM_INFINITY else min(soft, ENDLESS)


class OpenCollections:
    """PointStores by the ids of their collections. Where their files take too many descriptors,
    those that were unused for longest rest, without theirs; the next call wakes them."""

    def __init__(self) -> None:
        self._open: dict[str, PointStore] = {}
        self._awake: OrderedDict[str, PointStore] = OrderedDict()  # the last used last
        self._lock = threading.Lock()
        self._closed: Reason | None = None
        reset_after_fork(self)

    def get(self, collection_id: str) -> PointStore | None:
        """The one that is open; None when none is, or when it has been deleted."""
        points = self._open.get(collection_id)
        if points is not None and points.access.dropped:
            self.forget(collection_id, points)
            return None
        return points

    def add(self, collection_id: str, points: PointStore) -> None:
        """Keep one that was made just now; after `close`, close it and raise its reason."""
        with self._lock:
            closed = self._closed
            if closed is None:
                self._open[collection_id] = points
        if closed is not None:
            points.access.close(closed)
            raise closed()

    def renamed(self, collection_id: str, name: str) -> None:
        """Note its name, if it is open."""
        points = self._open.get(collection_id)
        if points is not None:
            points.access.label.name = name

    def opened(self, collection_id: str, opening: Callable[[], PointStore]) -> PointStore:
        """The one that is open, or what `opening` returns."""
        with self._lock:
            if self._closed is not None:
                raise self._closed()
            return self._open.setdefault(collection_id, opening())

    def mark_used(self, collection_id: str, points: PointStore) -> None:
        """Note that the collection is used."""
        try:
            self._awake.move_to_end(collection_id)
        except KeyError:
            with self._lock:
                if self._open.get(collection_id) is not points:  # forgotten meanwhile
                    return
                self._awake[collection_id] = points
                idle = self._too_many()
            for unused in idle:
                unused.access.close_idle()

    def _too_many(self) -> list[PointStore]:
        """Take those that were unused for longest from the awake ones, if they have too many
        descriptors; not the last few, nor those that are being maintained."""
        awake = list(self._awake.items())  # `mark_used` changes the order meanwhile
        taken = sum(points.access.descriptors for _, points in awake)
        most, idle = descriptor_limit() // SHARE, []
        for collection_id, points in awake[:-FEWEST_AWAKE]:
            if taken <= most:
                break
            if not points.access.maintaining.taken:
                taken -= points.access.descriptors
                idle.append(self._awake.pop(collection_id))
        return idle

    def forget(self, collection_id: str, points: PointStore | None = None) -> None:
        """Close the collection, or `points` if that is still what is open of it."""
        with self._lock:
            points = points or self._open.get(collection_id)
            if points is not None and self._open.get(collection_id) is points:
                del self._open[collection_id]
                self._awake.pop(collection_id, None)
        if points is not None:
            points.access.close(partial(NotFoundError.of_deleted, "the collection"))

    def close(self, reason: Reason, before: Callable[[PointStore], object]) -> None:
        """Close all, each when `before` has been called with it; from here on opening raises
        `reason`."""
        with self._lock:
            self._closed, every = reason, list(self._open.values())
        for points in every:
            points.access.closing = True
            before(points)
            points.access.close(reason)

    def forget_after_fork(self) -> None:
        """In a child: no thread holds the lock."""
        self._lock = threading.Lock()
