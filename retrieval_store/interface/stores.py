"""What a store promises: the protocols of a store, of one collection, and of its points.

Implementations raise errors of ours only; what a front passes has been checked by it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, TypeVar, get_args

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.base.json_values import Payload
from retrieval_store.base.words import Analyzer
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.expression import Expression, PayloadPath, Scalar
from retrieval_store.interface.points import (
    Changed,
    Content,
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    Position,
    PutResult,
    WriteRules,
)
from retrieval_store.interface.questions import Question
from retrieval_store.interface.records import CollectionRecord, FileReport, Gauges, Progress
from retrieval_store.interface.spaces import NewSpace, SpaceRecord

IndexKind: TypeAlias = Literal["keyword", "float", "bool"]
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)
T = TypeVar("T")


class PointsBackend(Protocol):
    """The points of one collection. Every method sees, or makes, one state of it; all raise
    NotFoundError once the collection has been deleted."""

    @property
    def embedded(self) -> "EmbeddedPoints | None":
        """The same points, with what those of a store in this process can do besides; None on a
        cluster."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points as the rules say."""

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Insert and update points, batch by batch in this order; no point stands in two of them,
        and no other process inserts any meanwhile. What is said of a batch is said when it is
        durable, and the next ones may be made ready meanwhile. After an error none of those that
        come later is written."""

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

    def ask(self, question: Question) -> list[Hits]:
        """The hits of each query of each step, or of each group, best first, all of one state.
        InvalidArgumentError for a question that the store can't answer."""

    def explain(self, question: Question) -> Payload:
        """How `ask` finds what it finds."""

    def stats(self) -> Payload:
        """What takes how much room, by part."""

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space, of which only those that tell how to search
        can change."""

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Make filters on a key of the metadata fast where that needs an index to be made."""

    def number(self, expression: Expression | None) -> int:
        """How many points match."""

    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The points that match and have a number or a date at the path, in the order of these,
        numbers first, or all that backwards; each once. InvalidArgumentError where that can't be.
        """

    def resolve_ids(self, ids: Sequence[str]) -> Sequence[PointId]:
        """The ids that points have which show as these strings: where no point has "7", but one the
        integer 7, that."""

    def count(self) -> int:
        """How many points there are."""


class Changes(Protocol):
    """Operations of one transaction. Each sees what those before it have written; no reader sees
    any of it before all of them are committed."""

    @property
    def operation(self) -> int:
        """The number of the last operation; each that changes anything has its own."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points as the rules say."""

    def delete(self, ids: Sequence[PointId] | None, expression: Expression | None) -> int:
        """Delete the points that are named and match; returns how many."""

    def edit(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        edit: Callable[[Content], Content],
        strict: bool,
    ) -> int:
        """Make of each point that is named and matches what `edit` says; returns how many there
        are. strict: an id that isn't there is a NotFoundError."""

    def delete_vectors(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        spaces: Sequence[str],
        strict: bool,
    ) -> int:
        """Take the vectors in these spaces from points that are named and match; returns how many
        points these are. NotFoundError for a space that isn't there; strict: as for `edit`."""


class EmbeddedPoints(PointsBackend, Protocol):
    """What the points of a store in this process can do besides."""

    @property
    def operation(self) -> int:
        """The number of the last operation."""

    def transact(self, change: Callable[[Changes], T]) -> T:
        """What `change` returns, given one transaction: all that it does is written, or when it
        raises nothing."""

    def page(
        self,
        expression: Expression | None,
        start: PointId | None,
        limit: int | None,
        fields: Fields,
    ) -> Points:
        """The points that match in the order of their ids, from `start` on: integers, ascending,
        and then strings, by their bytes."""

    def position(self) -> Position:
        """How far the log has come."""

    def changed_since(self, position: Position) -> Changed:
        """What was inserted or changed since the log had come so far. Of what was deleted since
        nothing is said."""

    def spaces(self) -> list[SpaceRecord]:
        """The vector spaces, in the order in which they were added."""

    def add_space(self, name: str, space: NewSpace) -> None:
        """A new vector space, in which no point has a vector; raises AlreadyExistsError."""

    def drop_space(self, name: str) -> None:
        """Delete a vector space with all vectors in it; raises NotFoundError."""

    def pairs(
        self, space: str, expression: Expression | None, sample: int, limit: int
    ) -> tuple[list[PointId], Ints, Ints, Floats]:
        """For each of some points chosen at random so many others among them that are nearest to
        it: the ids of all, the places of both of a pair among these, and the scores."""

    def facet(self, values: ValuesAt, expression: Expression | None) -> list[tuple[Scalar, int]]:
        """Each value with how many of the points that match have it, the most frequent ones
        first, and of these the least."""

    def ordered(
        self,
        values: ValuesAt,
        expression: Expression | None,
        limit: int | None,
        descending: bool,
        start: int | float | None,
        fields: Fields,
    ) -> tuple[Points, list[int | float]]:
        """The points that match in the order of their numbers, from `start` on, and these
        numbers; a point with several comes several times."""


class Backend(Protocol):
    """One collection: its record in the catalog, and its points."""

    @property
    def id(self) -> str:
        """The id, which stays when the name changes."""

    @property
    def on_cluster(self) -> bool:
        """Whether it is on a cluster, where `change` is no transaction."""

    @property
    def points(self) -> PointsBackend:
        """The points; raises NotFoundError or ClientClosedError."""

    def record(self) -> CollectionRecord:
        """Name and settings as they are now; raises NotFoundError."""

    def change(self, edit: Callable[[CollectionRecord], CollectionRecord]) -> CollectionRecord:
        """Replace name and settings; in one transaction, where it isn't on a cluster."""

    def optimize(self, progress: Progress) -> None:
        """Compact the collection and let go of all that was deleted."""

    def snapshot(self, target: Path) -> None:
        """Write a snapshot into a file that isn't there; InvalidArgumentError on a cluster."""

    def fork(self, name: str) -> "Backend":
        """A copy of the collection under another name; InvalidArgumentError on a cluster."""

    def copied(self) -> AbstractContextManager[PointsBackend]:
        """The points as they are now, in a copy that goes afterwards; InvalidArgumentError on a
        cluster."""


class CollectionStore(Protocol):
    """Collections by name and by id."""

    @property
    def embedded(self) -> "EmbeddedStore | None":
        """The same store, with what one in this process can do besides; None for a cluster."""

    @property
    def directory(self) -> Path | None:
        """Where the store lies; None for one in memory or elsewhere."""

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """A new collection with these vector spaces; raises AlreadyExistsError. collection_id: a
        UUID that nothing has had yet, for who wants to know it before; None for any."""

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

    def gauges(self) -> Iterable[tuple[str, Gauges]]:
        """What is watched of each collection, by their names; loads nothing."""

    def own_bytes(self) -> int:
        """What the store takes on disk besides its collections."""

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Compact a collection and let go of all that was deleted."""

    def verify(self, analyzer_of: Callable[[CollectionRecord], Analyzer]) -> Iterable[FileReport]:
        """Look at every byte; a report for each file. analyzer_of: how a collection finds words."""


class EmbeddedStore(CollectionStore, Protocol):
    """What a store in this process can do besides."""

    def points(self, collection_id: str) -> EmbeddedPoints:
        """The points of a collection; raises NotFoundError."""

    def resolved(self, name: str) -> CollectionRecord:
        """The collection of this name, or that an alias of this name leads to; NotFoundError."""

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """A copy of a collection under another name; AlreadyExistsError for one that is taken."""

    def copied(self, collection_id: str) -> AbstractContextManager[EmbeddedPoints]:
        """The points of a collection as they are now, in a copy that goes afterwards."""

    def adopt_collection(
        self, source: "EmbeddedStore", collection_id: str, record: CollectionRecord
    ) -> None:
        """Make, under this record, a collection that holds what one of another store on disk, or of
        this one, holds at one moment; AlreadyExistsError for a name that is taken."""

    def snapshot(self, target: Path, collection_id: str | None = None) -> None:
        """Write a snapshot of a collection, or of the whole store, into a file that isn't there."""

    def restore(
        self, snapshot: Path, name: str | None = None, replace: bool = False
    ) -> CollectionRecord:
        """Add the collection of a snapshot, by the name that it had or another; AlreadyExistsError
        for one that is taken, unless the collection of that name is to be replaced."""

    def aliases(self) -> dict[str, str]:
        """The name of the collection that each alias leads to, in the order of aliases."""

    def change_aliases(self, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the aliases by what `edit` makes of them, in one transaction. NotFoundError for a
        collection that isn't there, AlreadyExistsError for an alias that is a collection's name."""
