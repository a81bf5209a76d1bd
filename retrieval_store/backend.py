"""Backend: what a Collection needs from the place where its points live.

There are two places: the engine in this process, on disk or in memory, and a Qdrant cluster. Both
keep collections by name and by id, so one `StoredCollection` serves both.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from retrieval_store import plugins
from retrieval_store.engine import registry
from retrieval_store.engine.catalog import CollectionRecord
from retrieval_store.engine.database import Mode
from retrieval_store.engine.hybrid import AnyQuery
from retrieval_store.engine.maintenance import Progress
from retrieval_store.engine.store import Store
from retrieval_store.engine.types import (
    Fields,
    Hits,
    NewSpace,
    PointBatch,
    PointId,
    Points,
    PutResult,
    WriteRules,
)
from retrieval_store.engine.verify import FileReport
from retrieval_store.errors import ClientClosedError, MissingDependencyError
from retrieval_store.filters.expression import Expression
from retrieval_store.json_values import Payload
from retrieval_store.words import Analyzer


class PointsBackend(Protocol):
    """The points of one collection; `engine.points.PointStore` says what the methods mean."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult: ...
    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int: ...
    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points: ...
    def search(self, query: AnyQuery, fields: Fields) -> list[Hits]: ...
    def explain(self, query: AnyQuery, fields: Fields) -> Payload: ...
    def stats(self) -> Payload: ...
    def configure_index(self, space: str, index: Payload) -> None: ...
    def count(self) -> int: ...


class Backend(Protocol):
    """One collection: its record in the catalog, and its points."""

    @property
    def id(self) -> str:
        """The id, which stays when the name changes."""

    @property
    def points(self) -> PointsBackend:
        """The points; raises NotFoundError or ClientClosedError."""

    def record(self) -> CollectionRecord:
        """Name and settings as they are now; raises NotFoundError."""

    def change(self, edit: Callable[[CollectionRecord], CollectionRecord]) -> CollectionRecord:
        """Replace name and settings, in one transaction."""

    def optimize(self, progress: Progress) -> None:
        """Compact the collection and let go of all that was deleted."""


class CollectionStore(Protocol):
    """Collections by name and by id; `engine.store.Store` says what the methods mean."""

    @property
    def directory(self) -> Path | None: ...
    def create(
        self, name: str, settings: Payload, spaces: Mapping[str, NewSpace]
    ) -> CollectionRecord: ...
    def named(self, name: str) -> CollectionRecord: ...
    def record(self, collection_id: str) -> CollectionRecord: ...
    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord: ...
    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]: ...
    def count(self) -> int: ...
    def drop(self, name: str) -> None: ...
    def points(self, collection_id: str) -> PointsBackend: ...
    def optimize(self, collection_id: str, progress: Progress) -> None: ...
    def verify(
        self, analyzer_of: Callable[[CollectionRecord], Analyzer]
    ) -> Iterable[FileReport]: ...


class Session:
    """A client's share in a store; when it is closed, or collected, `release` is called."""

    def __init__(self, store: CollectionStore, release: Callable[[], object], place: str) -> None:
        self._store = store
        self._finalizer = weakref.finalize(self, release)
        self.place = place

    @property
    def store(self) -> CollectionStore:
        """The store; raises ClientClosedError after `close`."""
        if not self._finalizer.alive:
            raise ClientClosedError(f"the client of the store {self.place} has been closed")
        return self._store

    def close(self) -> None:
        """Give the store back; a second call does nothing."""
        self._finalizer()


def in_memory(mode: Mode) -> Session:
    """A new store in memory."""
    share = registry.Share(Store(None, mode, plugins.find_index))
    return Session(share.store, partial(registry.release, share), "in memory")


def embedded(path: Path, mode: Mode, rebuild: bool) -> Session:
    """A share in the store of a directory. rebuild: without the derived files that are there, which
    are forgotten; where nothing can be written, they aren't used."""
    ignored = rebuild and mode == "read-only"
    share = registry.acquire(path, mode, plugins.find_index, uses_derived=not ignored)
    session = Session(share.store, partial(registry.release, share), f"at {path}")
    if rebuild and not ignored:
        try:
            share.store.forget_derived()
        except BaseException:
            session.close()
            raise
    return session


def remote(url: str | None, qdrant_client: Any, options: dict[str, Any]) -> Session:
    """A cluster: the one at a URL, or that of a client which stays the caller's to close."""
    try:
        from retrieval_store.remote.cluster import Cluster
        from retrieval_store.remote.store import RemoteStore
    except ImportError as error:
        raise MissingDependencyError(
            'a cluster needs qdrant-client: pip install "retrieval-store[qdrant]"'
        ) from error
    if url is None:
        cluster = Cluster(qdrant_client, "behind qdrant_client")
        return Session(RemoteStore(cluster), _leave_open, cluster.place)
    cluster = Cluster.at(url, options)
    return Session(RemoteStore(cluster), cluster.close, cluster.place)


def _leave_open() -> None:
    """What is done to a client that isn't ours."""


class StoredCollection:
    """A `Backend`: a collection in a store, by its id."""

    def __init__(self, session: Session, collection_id: str) -> None:
        self._session = session
        self._id = collection_id

    @property
    def id(self) -> str:
        return self._id

    @property
    def points(self) -> PointsBackend:
        return self._session.store.points(self._id)

    def record(self) -> CollectionRecord:
        return self._session.store.record(self._id)

    def change(self, edit: Callable[[CollectionRecord], CollectionRecord]) -> CollectionRecord:
        return self._session.store.change(self._id, edit)

    def optimize(self, progress: Progress) -> None:
        self._session.store.optimize(self._id, progress)
