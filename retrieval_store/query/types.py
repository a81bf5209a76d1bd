"""The data that stores and their callers exchange.

Points are passed in columns, rather than one by one (`PointBatch`, `Points`, `Hits`). A vector
space defines the vectors of points, their metric, and their index (`NewSpace`, `SpaceRecord`). A
store describes its collections and the state of its files (`CollectionRecord`, `FileReport`,
`Gauges`). A `Projection` shows vectors in a plane, along the two directions in which they differ
most.
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
# The reaction to a filter that finds nothing because no record can fulfil a condition.
UnknownKeys: TypeAlias = Literal["warn", "error", "ignore"]


class ShownIds(tuple[str, ...]):
    """Ids from a caller who sees all ids as strings. "7" means the point with the integer id 7 if
    that point exists and no point has the string "7" as id. Otherwise "7" means the string. A store
    decides this in the same state in which it uses the ids."""

    __slots__ = ()


NonDenseVector: TypeAlias = SparseVector | Matrix  # a matrix is a multivector


class Unset(Enum):
    """The type of UNSET. In an update, this value leaves a field unchanged."""

    UNSET = "unset"


UNSET = Unset.UNSET  # the only value of the type Unset
MaybeText: TypeAlias = str | None | Unset
MaybePayload: TypeAlias = Payload | None | Unset


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors for some points of a batch.

    matrix: (m, dim) float32, C-contiguous. positions: the positions of the vectors' points in the
    batch, ascending int64 (m,); None if all points have a vector.
    """

    matrix: Matrix
    positions: Ints | None = None


@dataclass(frozen=True, slots=True)
class NonDenseVectors:
    """Vectors for some points of a batch, in a space that isn't dense.

    items: for each point a SparseVector, or an (m, dim) float32 matrix of its m vectors. positions:
    as in `Vectors`.
    """

    items: Sequence[NonDenseVector]
    positions: Ints | None = None


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Points to write. A column that is None leaves this field of existing points unchanged; the
    item UNSET in a column leaves it unchanged for one point. In both cases new points get null."""

    ids: Sequence[PointId]
    vectors: Mapping[str, Vectors | NonDenseVectors] = field(default_factory=dict)
    payloads: Sequence[MaybePayload] | None = None
    documents: Sequence[MaybeText] | None = None
    uris: Sequence[MaybeText] | None = None


def with_nulls(batch: PointBatch) -> PointBatch:
    """The same batch, in which every missing payload, document and uri is null."""

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

    on_existing: "update" changes the fields in the batch. "replace" also removes all fields that
    the batch doesn't contain, including vectors. "ignore" leaves the point unchanged. "refuse"
    raises IDAlreadyExistsError. on_missing: "insert" and "ignore" insert or skip the point;
    "refuse" raises NotFoundError. merge_payloads: keys of the new payload replace keys of the old
    payload, and None deletes a key; otherwise the new payload replaces the whole old payload.
    needs_vector: the space in which each new point must have a vector, None if points don't need a
    vector. where: a filter; existing points that don't fulfil it are ignored.
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
    """All fields of a point except its vectors."""

    payload: Payload | None
    document: str | None
    uri: str | None


def merge_payload(old: Payload | None, new: Payload | None) -> Payload | None:
    """A copy of `old`, with the keys of `new` added. For a key in both, the value in `new` is used;
    None deletes the key. If `new` is None, `old` is returned."""
    if new is None:
        return old
    merged = {**(old or {}), **new}
    return {key: value for key, value in merged.items() if key not in new or value is not None}


@dataclass(frozen=True, slots=True)
class PutResult:
    """The result of `put`. inserted, updated: numbers of points. ignored: ids of the ignored
    points. cleared: ids of updated points that lost a document or uri because the batch has null
    for it."""

    inserted: int
    updated: int
    ignored: Sequence[PointId]
    cleared: Sequence[PointId] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a collection's change log. operation: the number of the last operation.
    inserted: how many points had ever been inserted up to that operation."""

    operation: int
    inserted: int


@dataclass(frozen=True, slots=True)
class ChangedPoints:
    """The changes since an earlier position. position: the new position. ids: the ids of existing
    points that were inserted or changed since the earlier position, in the order of insertion; ids
    is None if the log doesn't reach back to the earlier position. inserted: how many of these
    points are new."""

    position: Position
    ids: Sequence[PointId] | None
    inserted: int = 0


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of points to fetch, in addition to their ids. vectors: the names of vector
    spaces. version: the number of the last operation that changed the point."""

    payload: bool = False
    document: bool = False
    uri: bool = False
    vectors: tuple[str, ...] = ()
    version: bool = False

    @property
    def nbytes(self) -> int:
        """The approximate size in bytes of a hit with these fields, without vectors."""
        return 300 + 500 * (self.payload + self.document)


VectorsRead: TypeAlias = Matrix | list[NonDenseVector | None]


# Not frozen, though it never changes, because creating it would take three times as long.
@dataclass(slots=True)
class Points:
    """Points that were read from a store. Fields that weren't requested are None.

    vectors: the vectors by the name of the space. For a dense space: (n, dim) float32, with rows of
    NaN for points without a vector. For other spaces: a list, with None for points without a
    vector. versions: (n,) integers, for each point the number of the last operation that changed
    it.
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
        """The point at position `place`, as an object on which filters can be evaluated."""

        def of(column: Any) -> Any:
            return None if column is None else column[place]

        return Candidate(self.ids[place], of(self.payloads), of(self.documents), of(self.uris))


# Not frozen, though it never changes, because creating it would take three times as long.
@dataclass(slots=True)
class Hits:
    """The hits of one query vector or text, or of one group. points: best first. distances: float64
    (n,), or None if no distances are computed. scores: float64 (n,), in the scale that the query
    requests. values: the sort keys, if the query sorts points. group: the value that the points of
    a group share."""

    points: Points
    distances: Floats | None
    scores: Floats
    values: list[int | float] | None = None
    group: str | int | None = None


VectorKind: TypeAlias = Literal["dense", "sparse", "multi"]
KINDS: tuple[VectorKind, ...] = get_args(VectorKind)


@dataclass(frozen=True, slots=True)
class NewSpace:
    """A vector space to be created: its metric, and the name and settings of its index. kind:
    whether a point has one dense vector ("dense"), one sparse vector ("sparse"), or several dense
    vectors ("multi"). A sparse space ranks by the dot product; {"idf": true} in its settings
    multiplies by the idf of each index. The other kinds store numbers in the datatype; "uint8"
    truncates numbers to integers from 0 to 255. dimension: None if the first write sets it."""

    metric: Metric
    index: Payload = field(default_factory=dict)
    kind: VectorKind = "dense"
    datatype: Datatype = "float32"
    dimension: int | None = None


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """An existing vector space. dimension: None until the first write sets it. count: how many
    existing points have a vector in the space. number: identifies the space. Numbers are never
    reused, so a deleted space of the same name has another number."""

    name: str
    metric: Metric
    kind: VectorKind
    datatype: Datatype
    dimension: int | None
    index: Payload
    count: int
    number: int = field(default=0, compare=False)


class Indexed(Protocol):
    """A vector space with an index, either new or existing. index: the name and settings of the
    index."""

    @property
    def index(self) -> Payload: ...


RECALL = "recall"  # stored with the settings of an index, but not passed to its class


def index_name(space: Indexed) -> str:
    """The name under which a space's index is registered."""
    name = str(space.index.get("name", HNSW))
    return CODES if name == CODES_BEFORE else name


def index_settings(space: Indexed) -> Payload:
    """The settings for creating an index of the space."""
    settings = space.index.get("settings")
    if not isinstance(settings, dict):
        return {}
    return {name: value for name, value in settings.items() if name != RECALL}


def uses_codes(space: Indexed) -> bool:
    """Whether quantized codes are a space's only index. They are the default, and replace a graph
    index whose package isn't installed."""
    name = index_name(space)
    return name == CODES or (name == HNSW and not is_installed(HNSW))


def recall_wanted(space: Indexed) -> float | None:
    """The recall in a space's settings; None if the settings contain no recall."""
    settings = space.index.get("settings")
    recall = settings.get(RECALL) if isinstance(settings, dict) else None
    return float(recall) if isinstance(recall, (int, float)) else None


def usual_recall(space: Indexed) -> float:
    """The recall for a search in this space that doesn't specify a recall."""
    recall, ef = recall_wanted(space), index_settings(space).get("ef_search")
    return recall_of(ef if isinstance(ef, int) else None) if recall is None else recall


EXPIRES = "expires"  # in settings, the key of `CollectionRecord.expires`


# The settings of a collection that doesn't specify how words are found.
TEXT_DEFAULTS: Payload = {"language": None, "stemming": True, "stopwords": False}


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection's entry in the catalog. The engine stores all settings for its callers, but
    reads only those of `is_qdrant_only`, `expires` and `text_settings`."""

    id: str
    name: str
    settings: Payload

    @property
    def is_qdrant_only(self) -> bool:
        """Whether only QdrantClient can use the collection, because it has no unnamed vectors, or
        has unnamed vectors that `Collection` can't use."""
        settings: object = self.settings  # a damaged catalog may contain other types
        return isinstance(settings, dict) and "qdrant_front" in settings and "hnsw" not in settings

    @property
    def expires(self) -> str | None:
        """The payload key under which points have their expiry time: an ISO 8601 time, or seconds
        since 1970. None if points don't expire."""
        settings: object = self.settings
        key = settings.get(EXPIRES) if isinstance(settings, dict) else None
        return key if isinstance(key, str) and key else None

    @property
    def text_settings(self) -> Payload:
        """The settings for splitting documents into words; see `TEXT_DEFAULTS`."""
        settings: object = self.settings
        given = settings.get("text") if isinstance(settings, dict) else None
        return given if isinstance(given, dict) else TEXT_DEFAULTS


@dataclass(frozen=True, slots=True)
class FileReport:
    """The result of verifying one file. bytes: its size. problem: a description of the damage, None
    if the file is undamaged."""

    file: Path
    bytes: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Gauges:
    """Metrics of a collection. A metric is None if it is unknown, or if data would have to be
    loaded to compute it.

    points: the number of points. seq: the number of the last operation. in_memory: whether this
    process has the collection's state in memory; if not, the following metrics are unknown.
    index_lag: how many vectors neither the index in memory nor the index file contains. uncoded:
    how many vectors have no codes. dead_slots: how many slots hold vectors that were deleted or
    replaced; compaction removes them. memory, disk: bytes by part. problem: why the collection
    can't be read, None if it can.
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
# Called with the number of new vectors, and the total.
Progress: TypeAlias = Callable[[int, int], object]
Shown: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Projection:
    """Points in a plane, in the order of insertion.

    places: (n, 2) float32, the positions in the plane. axes: (3, d) float32, the mean and the first
    two principal axes; `base.pca.places_of` projects other vectors to the same plane. explained:
    (2,) the share of the variance along each axis. total: the number of points from which the
    sample was drawn. values: the value of each point at the path, None without a path.
    """

    ids: list[PointId]
    places: Matrix
    axes: Matrix
    explained: Floats
    total: int
    values: list[Shown] | None = None


def nothing_in(path: PayloadPath | None) -> Projection:
    """The projection of a space that contains no vectors."""
    none = np.empty((0, 2), np.float32)
    axes = np.zeros((3, 0), np.float32)
    return Projection([], none, axes, np.zeros(2), 0, None if path is None else [])


def refuse_other_kind(space: str, kind: str) -> None:
    """Raise InvalidArgumentError if the space isn't dense, because only dense vectors can be
    projected."""
    if kind != "dense":
        raise InvalidArgumentError(
            f"space is {space!r}, whose vectors are {kind}; only dense ones can be projected"
        )


def scalar(value: Any) -> Shown:
    """The part of a value that is displayed: of a list the first item that isn't null, of an object
    None, of any other value the value itself."""
    if isinstance(value, list):
        value = next((element for element in value if element is not None), None)
    return None if isinstance(value, list | dict) else value


COUNTED = 200  # bytes of a value and its count in a list


def most_frequent(
    counts: Mapping[tuple[bool, Scalar], int], limit: int | None
) -> list[tuple[Scalar, int]]:
    """The first `limit` values with their counts, sorted from most to least frequent. Equally
    frequent values ascend: bools, then numbers, then strings. counts: the key is (whether the value
    is a bool, the value), because True equals 1 in Python."""

    def place(pair: tuple[tuple[bool, Scalar], int]) -> Any:
        (is_bool, value), count = pair
        return -count, not is_bool, isinstance(value, str), value

    number = len(counts) if limit is None else min(limit, len(counts))
    budget.take(COUNTED * number, "values", number)
    return [(value, count) for (_, value), count in sorted(counts.items(), key=place)[:limit]]
