"""The protocols that a store implements: for the store itself, and for the points of one
collection.

Implementations raise only errors of `retrieval_store.errors`. The front (public API) checks
arguments before it passes them to a store.

In all methods, `ids` restricts a call to the points with these ids, and the filter `expression`
restricts the call to points that fulfil it. None means no restriction.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar, get_args

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.base.validation import Payload
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.nodes import Expression, Scalar
from retrieval_store.filters.paths import FieldPath, PayloadPath
from retrieval_store.query.query import Query
from retrieval_store.query.types import (
    ChangedPoints,
    CollectionRecord,
    Content,
    Fields,
    FileReport,
    Gauges,
    Hits,
    NewSpace,
    PointBatch,
    PointId,
    Points,
    Position,
    Progress,
    PutResult,
    SpaceRecord,
    WriteRules,
)

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.query.query import ExplainRequest, RankReport
    from retrieval_store.query.types import Projection

# The part of a key's values that a payload index of a cluster contains.
IndexKind: TypeAlias = Literal["keyword", "float", "bool", "datetime"]
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)
T = TypeVar("T")


class PointsBackend(Protocol):
    """The points of one collection. Every method either reads one consistent state or writes the
    next. All methods raise NotFoundError once the collection has been deleted."""

    @property
    def reusable(self) -> bool:
        """Whether the caller can keep this object for later calls, instead of getting it from the
        store again."""

    @property
    def engine(self) -> "EnginePoints | None":
        """The same points with the methods that only the engine of this project has. The engine can
        run in this process or in a server; None on a cluster."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points. `rules` decides how existing and missing points are treated."""

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Insert and update points batch by batch, in this order. The caller makes sure that no two
        batches have a point in common, and that no other process inserts points meanwhile. Each
        result is yielded once its batch is durable; later batches may be prepared earlier. After an
        error, no later batch is written."""

    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that have one of these ids and match; returns the number
        of deleted points."""

    def merge_payload(self, expression: Expression, payload: Payload) -> int:
        """Merge these keys into the payloads of all matching points. A value of None deletes the
        key. Returns the number of matching points."""

    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that have one of these ids and match. They are in the order of `ids`, or of
        first insertion if `ids` is None."""

    def sample(self, expression: Expression | None, size: int, fields: Fields) -> Points:
        """At most `size` of the matching points, in the order of first insertion. Repeated calls
        return the same points. The returned points are spread evenly over all matching points, and
        include the first and the last matching point. On a cluster the returned points are
        practically random."""

    def ask(self, question: Query) -> list[Hits]:
        """Execute a query against one state. Returns one `Hits` for each query vector or text of
        each step, or for each group, with the best hits first. Raises InvalidArgumentError if the
        store can't execute the query."""

    def explain(self, question: Query) -> Payload:
        """Execute the query like `ask`, and return how it was executed instead of the hits."""

    def why(self, inquiry: "ExplainRequest") -> "RankReport":
        """The ranks of records in the rankings of a query, and the conditions that the records
        fulfil. All is read from one state. Raises InvalidArgumentError if the store can't execute
        the query."""

    def stats(self) -> Payload:
        """The number of vectors, and the sizes of the collection's parts in bytes."""

    def warm(self, paths: Sequence[PayloadPath], analyzer: "Analyzer | None") -> Payload:
        """Load the data that the first queries would load: vector spaces, the columns of these
        paths, and, if an analyzer is passed, the posting lists of its words. Returns a description
        of the loaded data. On a cluster nothing is loaded, and the description is empty."""

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space. The new settings can differ from the old
        ones only in settings for searching."""

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Create an index for filters on a metadata key, if the store needs such an index."""

    def number(self, expression: Expression | None) -> int:
        """The number of points that match."""

    def count_within(self, expression: Expression, seconds: float) -> tuple[int, bool]:
        """The number of matching points, and whether the count is complete. If counting takes
        longer than `seconds`, the count so far is returned."""

    def project(
        self,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> "Projection":
        """Project the matching points that have a vector in a dense space to the plane in which
        these vectors differ most. The result includes the points' values at the path. If more than
        `sample` points match, a random sample of that size is drawn with `seed`. Raises
        InvalidArgumentError if the space isn't dense."""

    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The matching points that have a number or a date at the path, sorted by it; each point is
        returned once. Numbers come first, ascending, then dates; `descending` reverses the whole
        order."""

    def facet(
        self, path: PayloadPath, expression: Expression | None, limit: int | None
    ) -> list[tuple[Scalar, int]]:
        """The first `limit` distinct values that matching points have at the path, each with its
        number of points. For a list, the elements count as values. The most frequent values come
        first; equally frequent values ascend (see `most_frequent`)."""

    def count(self) -> int:
        """The number of points."""


class Changes(Protocol):
    """The operations of one transaction. Each operation sees the writes of the operations before
    it. Readers see none of these writes until the transaction is committed."""

    @property
    def operation(self) -> int:
        """The number of the last operation. Operations are numbered consecutively."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points. `rules` decides how existing and missing points are treated."""

    def delete(self, ids: Sequence[PointId] | None, expression: Expression | None) -> int:
        """Delete the points that have one of these ids and match; returns the number of deleted
        points."""

    def edit(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        edit: Callable[[Content], Content],
        strict: bool,
    ) -> int:
        """Replace the content of each point that has one of these ids and matches. `edit` computes
        the new content from the old content. Returns the number of points. strict: raise
        NotFoundError for an id that doesn't exist."""

    def delete_vectors(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        spaces: Sequence[str],
        strict: bool,
    ) -> int:
        """Delete the vectors in these spaces from the points that have one of these ids and match.
        Returns the number of points. Raises NotFoundError for a space that doesn't exist. strict:
        also raise NotFoundError for an id that doesn't exist."""


class EnginePoints(PointsBackend, Protocol):
    """The points of one collection in our engine, with methods that a cluster doesn't have."""

    def append(self, batch: PointBatch) -> None:
        """Insert points at the end, in this order, with only the data of the batch. In the same
        transaction, existing points with the same ids are deleted first."""

    def position(self) -> Position:
        """The current position of the change log."""

    def changes_since(self, position: Position) -> ChangedPoints:
        """The points inserted or changed since this position of the change log. Deleted points
        aren't included."""

    def kinds(self, path: FieldPath) -> list[str]:
        """The kinds of values that points have at the path: "strings" ("times" if all strings are
        times), "numbers" and "bools". Values in lists have separate kinds, with " in lists" added.
        The list is ["others"] if there are only values of other kinds, and empty if there are no
        values."""

    def spaces(self) -> list[SpaceRecord]:
        """The vector spaces, in the order in which they were added."""

    def add_space(self, name: str, space: NewSpace) -> None:
        """Create a vector space in which no point has a vector. Raises AlreadyExistsError if the
        name is taken."""

    def drop_space(self, name: str) -> None:
        """Delete a vector space with all vectors in it. Raises NotFoundError if the space doesn't
        exist."""


class EmbeddedPoints(EnginePoints, Protocol):
    """The points of one collection of a store in this process, with methods that a server doesn't
    have."""

    @property
    def operation(self) -> int:
        """The number of the last operation."""

    def transact(self, change: Callable[[Changes], T], most: int | None = None) -> T:
        """Call `change` with one transaction, and return its result. All its changes are committed
        together; if `change` raises, none of them is committed. most: the greatest number of points
        that `change` changes. If `most` isn't None, `change` may be called in another thread, and
        is called once more after a failure."""

    def page(
        self,
        expression: Expression | None,
        start: PointId | None,
        limit: int | None,
        fields: Fields,
    ) -> Points:
        """The matching points in the order of their ids, starting at the id `start`. Integer ids
        come first, in ascending order, and then strings, sorted by their bytes."""

    def pairs(
        self, space: str, expression: Expression | None, sample: int, limit: int
    ) -> tuple[list[PointId], Ints, Ints, Floats]:
        """For each point of a random sample of `sample` matching points, find the `limit` nearest
        other points of the sample. Returns the ids of the sample, and one row for each pair: the
        position of the point, the position of its neighbour, and the score of the pair. Scores are
        in the scale of a Qdrant server."""

    def facet_of(
        self, columns: Sequence[ValuesAt], expression: Expression | None, limit: int | None
    ) -> list[tuple[Scalar, int]]:
        """Like `facet`, but counts the values of these columns."""

    def list_in_order(
        self,
        values: ValuesAt,
        expression: Expression | None,
        limit: int | None,
        descending: bool,
        start: int | float | None,
        fields: Fields,
    ) -> tuple[Points, list[int | float]]:
        """The matching points, sorted by their numbers in the column, beginning with the number
        `start`. A point with several numbers is repeated. Also returns the number of each returned
        point."""


class CollectionStore(Protocol):
    """A store of collections, which are found by name and by id."""

    @property
    def engine(self) -> "EngineStore | None":
        """The same store with the methods that only the engine of this project has. The engine can
        run in this process or in a server; None for a cluster."""

    @property
    def embedded(self) -> "EmbeddedStore | None":
        """The same store with the methods that only a store in this process has; None for other
        stores."""

    @property
    def directory(self) -> Path | None:
        """The directory of the store; None for a store in memory or on another machine."""

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """Create a collection with these vector spaces. Raises AlreadyExistsError if the name is
        taken. collection_id: a UUID that was never used, for a caller who must know the id in
        advance; None generates an id."""

    def by_name(self, name: str) -> CollectionRecord:
        """The collection with this name. Raises NotFoundError if there is no such collection."""

    def record(self, collection_id: str) -> CollectionRecord:
        """The name and settings of a collection. Raises NotFoundError if there is no such
        collection."""

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace the name and settings of a collection by the result of `edit`. Raises
        AlreadyExistsError if another collection has the new name."""

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """At most `limit` collections, sorted by name, after `offset` of them are skipped."""

    def count(self) -> int:
        """The number of collections."""

    def drop(self, name: str) -> None:
        """Delete a collection with all its points. Raises NotFoundError if there is no such
        collection."""

    def points(self, collection_id: str) -> PointsBackend:
        """The points of a collection. Raises NotFoundError if there is no such collection."""

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """Copy a collection under another name, and return the record of the copy. Raises
        AlreadyExistsError if the name is taken."""

    def open_copy(self, collection_id: str) -> AbstractContextManager[PointsBackend]:
        """Context manager: a snapshot of a collection's points, which can be read page after page.
        On a cluster, the points are no snapshot: other clients may change or delete points
        meanwhile."""

    def gauges(self) -> Iterable[tuple[str, Gauges]]:
        """The name and the gauges of each collection. Loads nothing into memory."""

    def own_bytes(self) -> int:
        """The size of the store on disk in bytes, without its collections."""

    def budget(self) -> Mapping[str, int]:
        """The memory limit on all stores of this process, and their present memory use, in bytes.
        The result is empty for a cluster."""

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Compact a collection, so that its files contain no deleted data."""

    def verify(self, analyzer_of: "Callable[[CollectionRecord], Analyzer]") -> Iterable[FileReport]:
        """Verify every byte of the store. Yields a report for each file. analyzer_of: returns the
        analyzer of a collection's words."""


class EngineStore(CollectionStore, Protocol):
    """A store of our engine, with methods that a cluster doesn't have."""

    def points(self, collection_id: str) -> EnginePoints:
        """The points of a collection. Raises NotFoundError if there is no such collection."""

    def resolve(self, name: str) -> CollectionRecord:
        """The collection with this name or alias. Raises NotFoundError if there is no such
        collection."""

    def open_copy(self, collection_id: str) -> AbstractContextManager[EnginePoints]:
        """Context manager: the present points of a collection in a temporary copy, which is deleted
        at the end of the context."""

    def snapshot(self, target: Path, collection_id: str | None = None) -> None:
        """Write a snapshot to the file `target`, which must not exist yet. The snapshot contains
        one collection, or the whole store if `collection_id` is None."""

    def aliases(self) -> dict[str, str]:
        """The aliases in sorted order, each with the name of its collection."""

    def change_aliases(self, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the aliases by the result of `edit`, in one transaction. Raises NotFoundError if
        an alias leads to a missing collection, and AlreadyExistsError if an alias is the name of a
        collection."""


class EmbeddedStore(EngineStore, Protocol):
    """A store in this process, with methods that a server's store doesn't have."""

    def points(self, collection_id: str) -> EmbeddedPoints:
        """The points of a collection. Raises NotFoundError if there is no such collection."""

    def adopt_collection(
        self, source: "EmbeddedStore", collection_id: str, record: CollectionRecord
    ) -> None:
        """Create a collection with this record, and copy the contents of another collection into
        it. The other collection can be in this store or in another store on disk. Its contents are
        read in one state. Raises AlreadyExistsError if the name is taken."""

    def restore(
        self, snapshot: Path, name: str | None = None, replace: bool = False
    ) -> CollectionRecord:
        """Add the collection of a snapshot under the name `name`, or under its own name if `name`
        is None. If a collection has this name, `replace` replaces it; without `replace`,
        AlreadyExistsError is raised."""
