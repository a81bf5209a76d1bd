"""The protocols that a store implements: for the store itself, and for the points of one
collection.

Implementations raise only errors of `retrieval_store.errors`. Arguments have been checked by the
front that passes them.

In all of them `ids` restricts a call to the points with these ids, and `expression`, a filter, to
the points that fulfil it; None restricts nothing.
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
    """The points of one collection. Every method reads one consistent state, or writes the next;
    all raise NotFoundError once the collection has been deleted."""

    @property
    def reusable(self) -> bool:
        """Whether the caller may use the object for the next call too, instead of getting it from
        the store again."""

    @property
    def engine(self) -> "EnginePoints | None":
        """The same points with the methods that only our engine has, in this process or a server;
        None on a cluster."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points as the rules say."""

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Insert and update points, batch by batch in this order. The caller makes sure that no
        point is in two batches, and that no other process inserts points meanwhile. The result of a
        batch is yielded once it is durable; later batches may be prepared before that. After an
        error no later batch is written."""

    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points with these ids that match; returns how many."""

    def merge_payload(self, expression: Expression, payload: Payload) -> int:
        """Merge these keys into the payloads of all points that match, where a None deletes the
        key; returns how many points these are."""

    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points with these ids that match: in the order of `ids`, or of first insertion."""

    def sample(self, expression: Expression | None, size: int, fields: Fields) -> Points:
        """At most `size` of the points that match, the same points each time, in the order of first
        insertion. They are spread evenly over all matching points, including the first and the
        last; on a cluster they are practically random."""

    def ask(self, question: Query) -> list[Hits]:
        """Answer a question in one state: the hits of each query of each step, or of each group,
        best first. InvalidArgumentError for a question that the store can't answer."""

    def explain(self, question: Query) -> Payload:
        """Answer the question like `ask`, and return how that was done instead of the hits."""

    def why(self, inquiry: "ExplainRequest") -> "RankReport":
        """The ranks of records in the rankings of a question, and the conditions that the records
        fulfil, all read from one state. InvalidArgumentError for a question that the store can't
        answer."""

    def stats(self) -> Payload:
        """Numbers of vectors, and sizes in bytes by part."""

    def warm(self, paths: Sequence[PayloadPath], analyzer: "Analyzer | None") -> Payload:
        """Load the data that the first queries would load: vector spaces, the columns of these
        paths, and, with an analyzer, the lists of its words. Returns a description of what was
        loaded; an empty one on a cluster, which loads nothing."""

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space; only settings for searching may differ."""

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Make an index for filters on a key of the metadata, if the store needs an index for
        that."""

    def number(self, expression: Expression | None) -> int:
        """How many points match."""

    def count_within(self, expression: Expression, seconds: float) -> tuple[int, bool]:
        """How many points match, and whether the count is complete: after this number of seconds it
        returns the count so far."""

    def project(
        self,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> "Projection":
        """The points that match and have a vector in a dense space, projected to the plane in which
        these vectors differ most, with their values at the path. If there are more than `sample`
        points, a random sample of that size is drawn by `seed`. InvalidArgumentError for another
        kind of space."""

    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The points that match and have a number or a date at the path, each once: numbers in
        ascending order, then dates; descending reverses the whole order."""

    def facet(
        self, path: PayloadPath, expression: Expression | None, limit: int | None
    ) -> list[tuple[Scalar, int]]:
        """The first `limit` distinct values that matching points have at the path (of a list, its
        elements), with the number of points for each. The most frequent values come first; equally
        frequent values ascend (see `most_frequent`)."""

    def count(self) -> int:
        """How many points there are."""


class Changes(Protocol):
    """The operations of one transaction. Each sees the writes of earlier ones; readers see nothing
    before all of them are committed."""

    @property
    def operation(self) -> int:
        """The number of the last operation; each operation gets the next number."""

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points as the rules say."""

    def delete(self, ids: Sequence[PointId] | None, expression: Expression | None) -> int:
        """Delete the points with these ids that match; returns how many."""

    def edit(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        edit: Callable[[Content], Content],
        strict: bool,
    ) -> int:
        """Replace the content of each point with these ids that matches by the result of `edit` for
        it; returns how many. strict: raise NotFoundError for an id that doesn't exist."""

    def delete_vectors(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        spaces: Sequence[str],
        strict: bool,
    ) -> int:
        """Delete the vectors in these spaces of the points with these ids that match; returns how
        many points these are. NotFoundError for a space that doesn't exist; strict: as for
        `edit`."""


class EnginePoints(PointsBackend, Protocol):
    """Points in our engine, with methods that points of a cluster don't have."""

    def append(self, batch: PointBatch) -> None:
        """Insert points at the end, in this order, with only the data of the batch; existing points
        with the same ids are deleted first, in the same transaction."""

    def position(self) -> Position:
        """The present position of the change log."""

    def changes_since(self, position: Position) -> ChangedPoints:
        """The points inserted or changed since this position of the change log; deleted points
        aren't reported."""

    def kinds(self, path: FieldPath) -> list[str]:
        """The kinds of values that points have at the path: "strings" ("times" if all strings are
        times), "numbers" and "bools", and each of these with "in lists". "others" if there are only
        values of other kinds; an empty list if there are no values."""

    def spaces(self) -> list[SpaceRecord]:
        """The vector spaces, in the order in which they were added."""

    def add_space(self, name: str, space: NewSpace) -> None:
        """A new vector space, in which no point has a vector; raises AlreadyExistsError."""

    def drop_space(self, name: str) -> None:
        """Delete a vector space with all vectors in it; raises NotFoundError."""


class EmbeddedPoints(EnginePoints, Protocol):
    """Points of a store in this process, with methods that points of a server don't have."""

    @property
    def operation(self) -> int:
        """The number of the last operation."""

    def transact(self, change: Callable[[Changes], T], most: int | None = None) -> T:
        """Call `change` with one transaction, and return its result. All its changes are committed
        together; if it raises, none are. most: how many points it changes at most, if it may be
        called in another thread, and once more after a failure; else None."""

    def page(
        self,
        expression: Expression | None,
        start: PointId | None,
        limit: int | None,
        fields: Fields,
    ) -> Points:
        """The points that match in the order of their ids, from `start` on: integers, ascending,
        and then strings, by their bytes."""

    def pairs(
        self, space: str, expression: Expression | None, sample: int, limit: int
    ) -> tuple[list[PointId], Ints, Ints, Floats]:
        """For each point of a random sample of `sample` matching points, the `limit` nearest other
        points of the sample. Returns the ids of the sample; for each pair, the positions in the
        sample of the point and of its neighbour; and the scores of the pairs, in the scale of a
        Qdrant server."""

    def facet_of(
        self, columns: Sequence[ValuesAt], expression: Expression | None, limit: int | None
    ) -> list[tuple[Scalar, int]]:
        """As `facet`, for the values in columns."""

    def list_in_order(
        self,
        values: ValuesAt,
        expression: Expression | None,
        limit: int | None,
        descending: bool,
        start: int | float | None,
        fields: Fields,
    ) -> tuple[Points, list[int | float]]:
        """The points that match, ordered by their numbers in the column, from the number `start`
        on; and these numbers. A point with several numbers comes several times."""


class CollectionStore(Protocol):
    """Collections by name and by id."""

    @property
    def engine(self) -> "EngineStore | None":
        """The same store with the methods that only our engine has, in this process or a server;
        None for a cluster."""

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
        """A new collection with these vector spaces; raises AlreadyExistsError. collection_id: a
        UUID that was never used, for a caller who must know it in advance; None for a new one."""

    def by_name(self, name: str) -> CollectionRecord:
        """The collection of this name; raises NotFoundError."""

    def record(self, collection_id: str) -> CollectionRecord:
        """Name and settings of a collection; raises NotFoundError."""

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace name and settings by the result of `edit`; raises AlreadyExistsError."""

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """Collections in the order of their names."""

    def count(self) -> int:
        """How many collections there are."""

    def drop(self, name: str) -> None:
        """Delete a collection with all that is in it; raises NotFoundError."""

    def points(self, collection_id: str) -> PointsBackend:
        """The points of a collection; raises NotFoundError."""

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """A copy of a collection under another name; AlreadyExistsError for a name that is
        taken."""

    def open_copy(self, collection_id: str) -> AbstractContextManager[PointsBackend]:
        """Context manager: a snapshot of the points of a collection, to be read page after page. On
        a cluster it isn't a snapshot: others may change or delete points meanwhile."""

    def gauges(self) -> Iterable[tuple[str, Gauges]]:
        """The gauges of each collection, with its name; loads nothing into memory."""

    def own_bytes(self) -> int:
        """The bytes that the store takes on disk, without its collections."""

    def budget(self) -> Mapping[str, int]:
        """How many bytes the stores of the process may hold in memory, and how many they hold;
        empty for a cluster."""

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Compact a collection, so that nothing deleted is left in its files."""

    def verify(self, analyzer_of: "Callable[[CollectionRecord], Analyzer]") -> Iterable[FileReport]:
        """Verify every byte of the store; a report for each file. analyzer_of: the analyzer of a
        collection's words."""


class EngineStore(CollectionStore, Protocol):
    """A store of our engine, with methods that a cluster doesn't have."""

    def points(self, collection_id: str) -> EnginePoints:
        """The points of a collection; raises NotFoundError."""

    def resolve(self, name: str) -> CollectionRecord:
        """The collection with this name, or with this alias; raises NotFoundError."""

    def open_copy(self, collection_id: str) -> AbstractContextManager[EnginePoints]:
        """The points of a collection as they are now, in a temporary copy, deleted at the end of
        the context."""

    def snapshot(self, target: Path, collection_id: str | None = None) -> None:
        """Write a snapshot of a collection, or of the whole store if None, to a file that doesn't
        exist yet."""

    def aliases(self) -> dict[str, str]:
        """The name of the collection that each alias leads to, in the order of aliases."""

    def change_aliases(self, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the aliases by the result of `edit`, in one transaction. NotFoundError for a
        collection that isn't there, AlreadyExistsError for an alias that is a collection's name."""


class EmbeddedStore(EngineStore, Protocol):
    """A store in this process, with methods that a server's store doesn't have."""

    def points(self, collection_id: str) -> EmbeddedPoints:
        """The points of a collection; raises NotFoundError."""

    def adopt_collection(
        self, source: "EmbeddedStore", collection_id: str, record: CollectionRecord
    ) -> None:
        """Create a collection with this record, and the contents that another collection, of this
        store or of another store on disk, has at one moment. AlreadyExistsError for a name that is
        taken."""

    def restore(
        self, snapshot: Path, name: str | None = None, replace: bool = False
    ) -> CollectionRecord:
        """Add the collection of a snapshot, under its own name or another. replace: replace the
        collection that has this name; else a name that is taken raises AlreadyExistsError."""
