"""Backend: what a Collection needs from the place where its points live.

`EmbeddedBackend` is the one in this process: the engine, on disk or in memory.
"""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from retrieval_store import plugins
from retrieval_store.engine import registry
from retrieval_store.engine.catalog import CollectionRecord
from retrieval_store.engine.database import Mode
from retrieval_store.engine.hybrid import AnyQuery
from retrieval_store.engine.maintenance import Progress
from retrieval_store.engine.points import PointStore
from retrieval_store.engine.store import Store
from retrieval_store.engine.types import (
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    PutResult,
    WriteRules,
)
from retrieval_store.errors import ClientClosedError
from retrieval_store.filters.expression import Expression
from retrieval_store.json_values import Payload


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


class Session:
    """A client's share in a store; when it is closed, or collected, the store may close."""

    def __init__(self, path: Path | None, mode: Mode) -> None:
        self._store = (
            Store(None, mode, plugins.find_index)
            if path is None
            else registry.acquire(path, mode, plugins.find_index)
        )
        self._finalizer = weakref.finalize(self, registry.release, self._store)
        self.place = "in memory" if path is None else f"at {path}"

    @property
    def store(self) -> Store:
        """The store; raises ClientClosedError after `close`."""
        if not self._finalizer.alive:
            raise ClientClosedError(f"the client of the store {self.place} has been closed")
        return self._store

    def close(self) -> None:
        """Give the store back; a second call does nothing."""
        self._finalizer()


class EmbeddedBackend:
    """A collection in a store of this process."""

    def __init__(self, session: Session, collection_id: str) -> None:
        self._session = session
        self._id = collection_id

    @property
    def id(self) -> str:
        return self._id

    @property
    def points(self) -> PointStore:
        return self._session.store.points(self._id)

    def record(self) -> CollectionRecord:
        return self._session.store.record(self._id)

    def change(self, edit: Callable[[CollectionRecord], CollectionRecord]) -> CollectionRecord:
        return self._session.store.change(self._id, edit)

    def optimize(self, progress: Progress) -> None:
        self._session.store.optimize(self._id, progress)
