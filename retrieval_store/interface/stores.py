"""TODO DOC."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from retrieval_store.base.json_values import Payload
from retrieval_store.base.words import Analyzer
from retrieval_store.filters.expression import Expression
from retrieval_store.interface.points import (
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    PutResult,
    WriteRules,
)
from retrieval_store.interface.queries import AnyQuery
from retrieval_store.interface.records import CollectionRecord, FileReport, Progress
from retrieval_store.interface.spaces import NewSpace


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
