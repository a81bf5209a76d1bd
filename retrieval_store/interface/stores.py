"""What a store promises: the protocols of a store, of one collection, and of its points.

Whoever implements them raises errors of ours only; what a front passes has been checked by it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, get_args

from retrieval_store.base.json_values import Payload
from retrieval_store.base.words import Analyzer
from retrieval_store.filters.expression import Expression, PayloadPath
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

IndexKind: TypeAlias = Literal["keyword", "float", "bool"]
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)


class PointsBackend(Protocol):
    """The points of one collection. Every method sees, or makes, one state of it; all raise
    NotFoundError once the collection has been deleted."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points as the rules say."""

    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that are named and match; returns how many."""

    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that are named and match: in the order of `ids`, or of first insertion."""

    def search(self, query: AnyQuery, fields: Fields) -> list[Hits]:
        """For each of the queries the best matching points, best first."""

    def explain(self, query: AnyQuery, fields: Fields) -> Payload:
        """How `search` finds what it finds."""

    def stats(self) -> Payload:
        """What takes how much room, by part."""

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space, of which only those that tell how to search
        can change."""

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Make filters on a key of the metadata fast where that needs an index to be made."""

    def count(self) -> int:
        """How many points there are."""


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
    """Collections by name and by id."""

    @property
    def directory(self) -> Path | None:
        """Where the store lies; None for one in memory or elsewhere."""

    def create(
        self, name: str, settings: Payload, spaces: Mapping[str, NewSpace]
    ) -> CollectionRecord:
        """A new collection with these vector spaces; raises AlreadyExistsError."""

    def named(self, name: str) -> CollectionRecord:
        """The collection of this name; raises NotFoundError."""

    def record(self, collection_id: str) -> CollectionRecord:
        """Name and settings of a collection; raises NotFoundError."""

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace name and settings by what `edit` makes of them; raises AlreadyExistsError."""

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """Collections in the order of their names."""

    def count(self) -> int:
        """How many collections there are."""

    def drop(self, name: str) -> None:
        """Delete a collection with all that is in it; raises NotFoundError."""

    def points(self, collection_id: str) -> PointsBackend:
        """The points of a collection; raises NotFoundError."""

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Compact a collection and let go of all that was deleted."""

    def verify(self, analyzer_of: Callable[[CollectionRecord], Analyzer]) -> Iterable[FileReport]:
        """Look at every byte; a report for each file. analyzer_of: how a collection finds words."""
