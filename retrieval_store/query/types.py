"""The data that passes between stores and their callers.

Points go in and come out in columns, rather than one by one (`PointBatch`, `Points`, `Hits`).
Vector spaces define the vectors of points, their distance, and their index
(`NewSpace`, `SpaceRecord`). A store describes its collections and the state of its files
(`CollectionRecord`, `FileReport`, `Gauges`). A `Projection` draws vectors in a plane: points lie
along the two directions in which they differ most.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from retrieval_store.base import budget
from retrieval_store.base.arrays import Datatype, Floats, Ints, Matrix, Metric, SparseVector
from retrieval_store.base.validation import Payload
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.leaves import Candidate
from retrieval_store.filters.nodes import Expression, Scalar
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.indexes import CODES, CODES_BEFORE, HNSW, is_installed, recall_of

PointId: TypeAlias = str | int  # integers from 0 to 2^64-1, and strings that aren't empty
# What comes of a filter that finds nothing since no record can fulfil a condition.
UnknownKeys: TypeAlias = Literal["warn", "error", "ignore"]


class ShownIds(tuple[str, ...]):
    """Ids from a caller who sees all ids as strings. "7" means the point with the integer id 7, if
    that exists and no point has the string "7" as id; otherwise it means the string. A store
    decides that in the same state in which it uses the ids."""

    __slots__ = ()


NonDenseVector: TypeAlias = SparseVector | Matrix  # a matrix is a multivector


class Unset(Enum):
    """The type of UNSET, which means "leave it unchanged" in an update."""

    UNSET = "unset"


UNSET = Unset.UNSET  # the only one
MaybeText: TypeAlias = str | None | Unset
MaybePayload: TypeAlias = Payload | None | Unset


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors for some points of a batch.

    matrix: (m, dim) float32, C-contiguous; positions: which points of the batch they belong to,
    ascending int64 (m,), None for all of them.
    """

    matrix: Matrix
    positions: Ints | None = None


@dataclass(frozen=True, slots=True)
class NonDenseVectors:
    """Vectors for some points of a batch, in a space that isn't dense.

    items: for each point a SparseVector, or a (m, dim) float32 matrix of its several vectors;
    positions: as in `Vectors`.
    """

    items: Sequence[NonDenseVector]
    positions: Ints | None = None


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Points to write. A field that is None as a whole leaves existing points unchanged, and so
    does UNSET as an item; new points get null."""

    ids: Sequence[PointId]
    vectors: Mapping[str, Vectors | NonDenseVectors] = field(default_factory=dict)
    payloads: Sequence[MaybePayload] | None = None
    documents: Sequence[MaybeText] | None = None
    uris: Sequence[MaybeText] | None = None


def with_nulls(batch: PointBatch) -> PointBatch:
    """The batch, with null in all fields that aren't given."""

    def fill_nulls(values: Sequence[Any] | None) -> list[Any]:
        items = [UNSET] * len(batch.ids) if values is None else values
        return [None if item is UNSET else item for item in items]

    return replace(
        batch,
        payloads=fill_nulls(batch.payloads),
        documents=fill_nulls(batch.documents),
        uris=fill_nulls(batch.uris),
    )


@dataclass(frozen=True, slots=True)
class WriteRules:
    """How `put` treats existing points, missing points, and payloads.

    on_existing: "update" changes the given fields of a point. "replace" removes all fields that
    aren't given, vectors too. "ignore" leaves it unchanged, "refuse" is an IDAlreadyExistsError.
    on_missing: "refuse" is a NotFoundError. merge_payloads: keys of the new payload replace those
    of the old, a None deletes the key; otherwise the new payload replaces the old. needs_vector:
    the space in which each new point must have a vector, None if points may have no vector. where:
    a filter; existing points that don't fulfil it are ignored.
    """

    on_existing: Literal["refuse", "update", "replace", "ignore"]
    on_missing: Literal["insert", "ignore", "refuse"]
    merge_payloads: bool = True
    needs_vector: str | None = None
    where: Expression | None = None


# Points get exactly the data of the batch.
WHOLE = WriteRules(on_existing="replace", on_missing="insert", merge_payloads=False)


@dataclass(frozen=True, slots=True)
class Content:
    """The fields of a point besides its vectors."""

    payload: Payload | None
    document: str | None
    uri: str | None


def merge_payload(old: Payload | None, new: Payload | None) -> Payload | None:
    """`old` with the keys of `new`; a None deletes the key."""
    if new is None:
        return old
    merged = {**(old or {}), **new}
    return {key: value for key, value in merged.items() if key not in new or value is not None}


@dataclass(frozen=True, slots=True)
class PutResult:
    """The result of `put`: how many points it inserted and updated, which ids it ignored, and which
    updated points lost a document or uri because the batch has null for it."""

    inserted: int
    updated: int
    ignored: Sequence[PointId]
    cleared: Sequence[PointId] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """How far a collection's log has come: the number of its last operation, and how many points
    have ever been inserted."""

    operation: int
    inserted: int


@dataclass(frozen=True, slots=True)
class ChangedPoints:
    """Changes since an earlier position. ids: the ids of existing points that were inserted or
    changed since that position, in the order of insertion; None if the log doesn't reach back that
    far. inserted: how many of them are new."""

    position: Position
    ids: Sequence[PointId] | None
    inserted: int = 0


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of points to fetch, besides their ids. vectors: names of spaces; version: the
    number of the operation that changed a point last."""

    payload: bool = False
    document: bool = False
    uri: bool = False
    vectors: tuple[str, ...] = ()
    version: bool = False

    @property
    def nbytes(self) -> int:
        """About how many bytes a hit with these fields takes, without vectors."""
        return 300 + 500 * (self.payload + self.document)


VectorsRead: TypeAlias = Matrix | list[NonDenseVector | None]


@dataclass(slots=True)  # never changed; frozen, it would take three times as long to make
class Points:
    """Points read; fields that weren't requested are None.

    vectors: by the names of spaces. For a dense space: (n, dim) float32, with rows of NaN for
    points without a vector. For other spaces: a list, with None for points without a vector.
    versions: (n,) integers.
    """

    ids: list[PointId]
    payloads: list[Payload | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    vectors: dict[str, VectorsRead] | None = None
    versions: Ints | None = None

    def at(self, places: Ints | slice) -> "Points":
        """The points at these positions."""

        def take(column: Any) -> Any:
            if column is None:
                return None
            if isinstance(places, slice) or isinstance(column, np.ndarray):
                return column[places]
            return [column[place] for place in places.tolist()]

        vectors = self.vectors
        return Points(
            take(self.ids),
            take(self.payloads),
            take(self.documents),
            take(self.uris),
            None if vectors is None else {name: take(column) for name, column in vectors.items()},
            take(self.versions),
        )

    def only(self, fields: Fields) -> "Points":
        """The same points with only these fields."""
        vectors = self.vectors or {}
        return Points(
            self.ids,
            self.payloads if fields.payload else None,
            self.documents if fields.document else None,
            self.uris if fields.uri else None,
            {name: vectors[name] for name in fields.vectors} or None,
            self.versions if fields.version else None,
        )

    def candidate(self, place: int) -> Candidate:
        """The point at a position, as filters see it."""

        def of(column: Any) -> Any:
            return None if column is None else column[place]

        return Candidate(self.ids[place], of(self.payloads), of(self.documents), of(self.uris))


@dataclass(slots=True)  # never changed; frozen, it would take three times as long to make
class Hits:
    """The hits of one query, or of one group: points, best first; their distances, float64 (n,), or
    None if no distances are measured; and their scores, float64 (n,), in the scale of the question.
    values: the sort keys of an order; group: the common value of a group."""

    points: Points
    distances: Floats | None
    scores: Floats
    values: list[int | float] | None = None
    group: str | int | None = None


VectorKind: TypeAlias = Literal["dense", "sparse", "multi"]
KINDS: tuple[VectorKind, ...] = get_args(VectorKind)


@dataclass(frozen=True, slots=True)
class NewSpace:
    """A vector space to be created: its metric, the name and settings of its index, and the kind of
    a point's vectors: one dense, one sparse, or several dense ones ("multi"). A sparse space ranks
    by the dot product; {"idf": true} in its settings multiplies by the idf of each index. The
    numbers of other spaces are stored in the datatype; "uint8" truncates them to integers from 0 to
    255. dimension: None leaves it to the first write."""

    metric: Metric
    index: Payload = field(default_factory=dict)
    kind: VectorKind = "dense"
    datatype: Datatype = "float32"
    dimension: int | None = None


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """An existing vector space. dimension: None until it is fixed; count: how many living points
    have a vector in the space; number: unique for ever, so it distinguishes the space from a
    dropped space of the same name."""

    name: str
    metric: Metric
    kind: VectorKind
    datatype: Datatype
    dimension: int | None
    index: Payload
    count: int
    number: int = field(default=0, compare=False)


class Indexed(Protocol):
    """Protocol of a space with an index, new or existing. index: the name and settings of the
    index."""

    @property
    def index(self) -> Payload: ...


RECALL = "recall"  # beside the settings of an index; its class doesn't get it


def index_name(space: Indexed) -> str:
    """The registered name of a space's index."""
    name = str(space.index.get("name", HNSW))
    return CODES if name == CODES_BEFORE else name


def index_settings(space: Indexed) -> Payload:
    """The settings with which the class of the space's index is made."""
    settings = space.index.get("settings")
    if not isinstance(settings, dict):
        return {}
    return {name: value for name, value in settings.items() if name != RECALL}


def uses_codes(space: Indexed) -> bool:
    """Whether a space has only codes as its index: by default, and instead of a graph whose package
    isn't installed."""
    name = index_name(space)
    return name == CODES or (name == HNSW and not is_installed(HNSW))


def recall_wanted(space: Indexed) -> float | None:
    """The recall that a space's settings set; None if they set no recall."""
    settings = space.index.get("settings")
    recall = settings.get(RECALL) if isinstance(settings, dict) else None
    return float(recall) if isinstance(recall, (int, float)) else None


def usual_recall(space: Indexed) -> float:
    """The recall of a search that sets no recall."""
    recall, ef = recall_wanted(space), index_settings(space).get("ef_search")
    return recall_of(ef if isinstance(ef, int) else None) if recall is None else recall


EXPIRES = "expires"  # in settings, the key of `CollectionRecord.expires`


# Where a collection doesn't say how its words are found.
TEXT_DEFAULTS: Payload = {"language": None, "stemming": True, "stopwords": False}


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection as the catalog knows it; the engine keeps the settings, and reads no more of
    them than `is_qdrant_only`, `expires` and `text_settings`."""

    id: str
    name: str
    settings: Payload

    @property
    def is_qdrant_only(self) -> bool:
        """Whether only QdrantClient can use the collection: it has no unnamed vectors, or ones that
        `Collection` can't use."""
        settings: object = self.settings  # which a damaged catalog may have otherwise
        return isinstance(settings, dict) and "qdrant_front" in settings and "hnsw" not in settings

    @property
    def expires(self) -> str | None:
        """The key of payloads under which points have their time of expiry: an ISO 8601 time, or
        seconds since 1970. None if there is no such key."""
        settings: object = self.settings
        key = settings.get(EXPIRES) if isinstance(settings, dict) else None
        return key if isinstance(key, str) and key else None

    @property
    def text_settings(self) -> Payload:
        """How the words of documents are found; see `TEXT_DEFAULTS`."""
        settings: object = self.settings
        given = settings.get("text") if isinstance(settings, dict) else None
        return given if isinstance(given, dict) else TEXT_DEFAULTS


@dataclass(frozen=True, slots=True)
class FileReport:
    """The verification of one file: its size in bytes, and the problem, None for none."""

    file: Path
    bytes: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Gauges:
    """Metrics of a collection; None for a value that isn't known, or that would have to be loaded
    first.

    points: how many; seq: the number of the last operation; in_memory: whether this process has the
    collection's state in memory; if not, the following values aren't known; index_lag: vectors that
    neither the index in memory nor its file has; uncoded: vectors without codes; dead_slots: of
    vectors that were deleted or replaced, until compaction; memory, disk: bytes by part; problem:
    why it can't be read, None when it can.
    """

    points: int | None = None
    seq: int | None = None
    in_memory: bool = False
    index_lag: int | None = None
    uncoded: int | None = None
    dead_slots: int | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    disk: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None


Mode: TypeAlias = Literal["full", "relaxed", "read-only"]
Progress: TypeAlias = Callable[[int, int], object]  # called with new vectors, and the total
Shown: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Projection:
    """Points in a plane, in the order of insertion.

    places: (n, 2) float32; axes: (3, d) float32, the mean and the first two principal axes, with
    which `base.pca.places_of` projects other vectors; explained: (2,) the share of the variance
    along each; total: the number of points that this is a sample of; values: of each at the path,
    None without a path.
    """

    ids: list[PointId]
    places: Matrix
    axes: Matrix
    explained: Floats
    total: int
    values: list[Shown] | None = None


def nothing_in(path: PayloadPath | None) -> Projection:
    """The projection of a space without any vectors."""
    none = np.empty((0, 2), np.float32)
    axes = np.zeros((3, 0), np.float32)
    return Projection([], none, axes, np.zeros(2), 0, None if path is None else [])


def refuse_other_kind(space: str, kind: str) -> None:
    """Raise InvalidArgumentError for a space in which points don't have one dense vector."""
    if kind != "dense":
        raise InvalidArgumentError(
            f"space is {space!r}, whose vectors are {kind}; only dense ones can be projected"
        )


def scalar(value: Any) -> Shown:
    """The part of a value that is shown: of a list, its first item; of an object, None."""
    if isinstance(value, list):
        value = next((element for element in value if element is not None), None)
    return None if isinstance(value, list | dict) else value


COUNTED = 200  # bytes of a value and its count in a list


def most_frequent(
    counts: Mapping[tuple[bool, Scalar], int], limit: int | None
) -> list[tuple[Scalar, int]]:
    """The first `limit` values with their counts: the most frequent first; equally frequent values
    ascend, bools before numbers before strings. counts: the key is (whether the value is a bool,
    the value), since True equals 1 in Python."""

    def place(pair: tuple[tuple[bool, Scalar], int]) -> Any:
        (is_bool, value), count = pair
        return -count, not is_bool, isinstance(value, str), value

    number = len(counts) if limit is None else min(limit, len(counts))
    budget.take(COUNTED * number, "values", number)
    return [(value, count) for (_, value), count in sorted(counts.items(), key=place)[:limit]]
