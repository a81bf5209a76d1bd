"""The results of `get`, `query` and `delete`: dicts in the shape that users of Chroma know.

Every key is always there. A field that wasn't included is None, and so is a value that a point
lacks. As in Chroma, the types don't mention None, because a caller reads the fields that it has
included.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NotRequired, Required, TypeAlias, TypedDict, cast, get_args

import numpy as np

from retrieval_store.base.arrays import Floats, Matrix, SparseVector
from retrieval_store.query.types import Fields, Gauges, Hits, Points

Metadata: TypeAlias = dict[str, Any]
GetField: TypeAlias = Literal[
    "documents", "embeddings", "metadatas", "uris", "data", "sparse_embeddings"
]
QueryField: TypeAlias = GetField | Literal["distances"]
GET_FIELDS: frozenset[str] = frozenset(get_args(GetField))
QUERY_FIELDS = GET_FIELDS | {"distances"}
SPACE, SPARSE = "", "sparse"  # the vector spaces of a Collection, of which it may lack the second
_SPACES = {"embeddings": SPACE, "sparse_embeddings": SPARSE}


class _WithSparse(TypedDict, total=False):
    sparse_embeddings: list[Any]


class GetResult(_WithSparse):
    """Points: each list has an item for each point. embeddings: (n, dim) float32. Fields that
    `include` doesn't name are None. Only `sparse_embeddings` is absent if it isn't named; its items
    are dicts with "indices" and "values", None for a point without a sparse vector."""

    ids: list[str]
    embeddings: Matrix
    documents: list[str]
    uris: list[str]
    data: list[Any]
    metadatas: list[Metadata]
    included: list[str]


class QueryResult(_WithSparse):
    """For each query a list of points, best first, with descending scores. embeddings: (n, dim)
    float32 for each query; distances: None if the query ranks by words alone. Fields that `include`
    does not name are None."""

    ids: list[list[str]]
    embeddings: list[Matrix]
    documents: list[list[str]]
    uris: list[list[str]]
    data: list[list[Any]]
    metadatas: list[list[Metadata]]
    distances: list[list[float]]
    scores: list[list[float]]
    included: list[str]


class Moved(TypedDict):
    """A hit that a re-ranker has read. It has the ranks before and after re-ranking, counted from
    1, and the new score, which is None for a hit without a document."""

    id: str
    before: int
    after: int
    score: float | None


class Plan(TypedDict):
    """How one query was answered: the method, the number of candidates requested from the index,
    and the estimated microseconds of each method."""

    method: str
    ef: int | None
    costs: dict[str, float]


class RecallOfKind(TypedDict):
    """The recall of searches for one kind of query under one filter: the share of the nearest `k`
    vectors that the searches found, on average (recall) and in the worst case (least)."""

    kind: str
    filter: str
    k: int
    recall: float
    least: float


class LookedAt(TypedDict):
    """Of how many vectors a search has read the signs, four bits of each number (codes), and all
    bits (distances). All are 0 if the call had several queries."""

    signs: int
    codes: int
    distances: int


class MeasuredRecall(TypedDict):
    """The recall of searches by signs. The keys are the target share of the true nearest; the
    number of standard errors by which searches widen their bounds, None if searches exclude only
    vectors that certainly can't be hits; and the last measurement: the recall of each kind of
    query, the worst first, the numbers of queries and vectors, and the time in seconds since
    1970."""

    target: float
    errors: float | None
    measured: list[RecallOfKind]
    questions: int | None
    vectors: int | None
    at: float | None


class RecallOfQuery(MeasuredRecall):
    """The recall of one query: how many vectors it read; an estimate of the share of the true
    nearest that it found; and the mean error of such estimates at the last measurement. For the
    estimate, a second search widens its bounds by one more standard error."""

    looked: LookedAt
    estimate: float | None
    estimate_error: float | None


class _ToldByClusters(TypedDict, total=False):
    place: str
    filter: dict[str, Any] | None
    requests: int
    refused: int


class Explanation(_ToldByClusters):
    """How a query was answered: see `Collection.explain`. On a cluster, the only keys are `place`,
    `filter`, `requests`, `refused`, `points`, `legs` and `alphas`."""

    points: int
    matching: int
    fresh: int
    uncoded: int
    legs: dict[str, list[int]]
    alphas: list[float]
    plans: list[Plan]
    remarks: list[str]
    steps: dict[str, float]
    recall: NotRequired["RecallOfQuery"]
    reranked: NotRequired[list[list[Moved]]]


class Maintenance(TypedDict, total=False):
    """The maintenance of a collection in this process: the current work, how many vectors are done,
    the number of all vectors (None if unknown), and the seconds so far. For maintenance in another
    process, the only keys are `doing` and `process` (its name, and its start time if the system
    reports it)."""

    doing: Required[str]
    done: int
    of: int | None
    seconds: float
    process: str


class _KnownOfClusters(TypedDict, total=False):
    place: str
    status: str
    indexed_vectors: int
    segments: int


class Stats(_KnownOfClusters):
    """The sizes of the parts of a collection: see `Collection.stats`. On a cluster, the only keys
    are `place`, `status`, `indexed_vectors`, `segments` and `points`."""

    points: int
    spaces: dict[str, dict[str, Any]]
    memory: dict[str, int]
    budget: Mapping[str, int]
    disk: dict[str, int]
    maintenance: Maintenance | None


HowLoaded: TypeAlias = Literal["kept", "loaded", "built"]


class WarmedSpace(TypedDict):
    """A dense vector space after `Collection.warm`. vectors: the number of vectors; coded_slots:
    how many slots have codes in memory; indexed_slots: how many slots the index in memory contains.
    Both numbers of slots include dead ones."""

    vectors: int
    coded_slots: int
    indexed_slots: int


class _CountedHere(TypedDict, total=False):
    points: int


class Warmed(_CountedHere):
    """The result of `Collection.warm`. spaces: the dense vector spaces by name; a Collection has
    one, "", once it has vectors. keys: for each requested key, where its column came from. lists:
    where the lists of "words" came from, if requested, and those of "sparse" vectors, if there are
    any. The values of keys and lists are "kept" (in memory already), "loaded" (from a file) and
    "built" (from the points). milliseconds: the time for each of "state", "spaces", "keys" and
    "lists". On a cluster all of these are empty, and there is no `points`."""

    spaces: dict[str, WarmedSpace]
    keys: dict[str, HowLoaded]
    lists: dict[str, HowLoaded]
    milliseconds: dict[str, float]


class CollectionGauges(TypedDict):
    """Metrics of a collection: see `Client.stats`."""

    points: int | None
    seq: int | None
    in_memory: bool
    index_lag: int | None
    uncoded: int | None
    dead_slots: int | None
    memory: int
    disk: int
    problem: str | None


class StoreStats(TypedDict):
    """Metrics of a store: see `Client.stats`."""

    collections: int
    points: int
    memory: dict[str, int]
    budget: Mapping[str, int]
    disk: dict[str, int]
    by_collection: dict[str, CollectionGauges]


class WriteResult(TypedDict):
    """The result of a write. left_out: the ids of records whose uris the data loader skipped, and
    the ids that `update` did not find. cleared: the ids of records that lost their document or uri,
    because another field was embedded; the key is absent if there are none. updated: the number of
    records that the filter selected; only for `update(where=)`."""

    left_out: list[str]
    cleared: NotRequired[list[str]]
    updated: NotRequired[int]


class DeleteResult(TypedDict):
    """The result of a deletion: how many points were deleted."""

    deleted: int


def store_stats(
    named_gauges: Iterable[tuple[str, Gauges]], catalog: int, budget: Mapping[str, int]
) -> StoreStats:
    """The metrics of a store: the sums of all collections' metrics, and the bytes of the store's
    catalog."""
    gauges = dict(named_gauges)
    disk = _sum(collection_gauges.disk for collection_gauges in gauges.values())
    if catalog:
        disk["catalog"] = catalog
    return StoreStats(
        collections=len(gauges),
        points=sum(collection_gauges.points or 0 for collection_gauges in gauges.values()),
        memory=_sum(collection_gauges.memory for collection_gauges in gauges.values()),
        budget=budget,
        disk=disk,
        by_collection={
            name: _collection_gauges(collection_gauges)
            for name, collection_gauges in gauges.items()
        },
    )


def _collection_gauges(gauges: Gauges) -> CollectionGauges:
    return CollectionGauges(
        points=gauges.points,
        seq=gauges.seq,
        in_memory=gauges.in_memory,
        index_lag=gauges.index_lag,
        uncoded=gauges.uncoded,
        dead_slots=gauges.dead_slots,
        memory=sum(gauges.memory.values()),
        disk=sum(gauges.disk.values()),
        problem=gauges.problem,
    )


def _sum(sizes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for parts in sizes:
        for part, size in parts.items():
            total[part] = total.get(part, 0) + size
    return total


@lru_cache(maxsize=128)
def fields_for(include: frozenset[str]) -> Fields:
    """The fields to read for the names in `include`."""
    return Fields(
        payload="metadatas" in include,
        document="documents" in include,
        uri="uris" in include or "data" in include,
        vectors=tuple(space for name, space in _SPACES.items() if name in include),
    )


class _Named(dict[str, Any]):
    """A dict that is displayed with the public name of its type. If a user reads an attribute, the
    error suggests a key. Notebooks show it as a table."""

    def __getattr__(self, name: str) -> Any:
        near = f"[{name!r}]" if name in self else f" of the keys {', '.join(map(repr, self))}"
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}: it is a dict, so use "
            f"result{near}",
            name=name,
            obj=self,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _result_of, (type(self).__name__, dict(self))

    def _repr_html_(self) -> str:
        from retrieval_store.api.frames import table_of_facts, table_of_result

        return table_of_result(self) if "ids" in self else table_of_facts(self)


_RESULT_CLASSES: dict[str, type[dict[str, Any]]] = {
    kind.__name__: type(kind.__name__, (_Named,), {"__module__": "retrieval_store"})
    for kind in (GetResult, QueryResult, Explanation, Stats)
}


def _result_of(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    return _RESULT_CLASSES[name](fields)


def explanation_of(fields: Mapping[str, Any]) -> Explanation:
    """The result of `explain`."""
    return cast(Explanation, _result_of("Explanation", fields))


def stats_of(points: Mapping[str, Any]) -> Stats:
    """The result of `stats`."""
    return cast(Stats, _result_of("Stats", points))


def get_result(points: Points, include: frozenset[str], data: list[Any] | None) -> GetResult:
    """The result of `get`."""
    result = _RESULT_CLASSES["GetResult"](
        ids=list(map(str, points.ids)),
        embeddings=_embeddings(points),
        documents=points.documents,
        uris=points.uris if "uris" in include else None,
        data=data,
        metadatas=points.payloads,
        included=sorted(include),
    )
    if "sparse_embeddings" in include:
        result["sparse_embeddings"] = _sparse(points)
    return cast(GetResult, result)


def query_result(
    hits: Sequence[Hits], include: frozenset[str], data: list[list[Any]] | None
) -> QueryResult:
    """The result of `query`."""
    batches = [hit.points for hit in hits]
    result: Any = _RESULT_CLASSES["QueryResult"](
        ids=[list(map(str, points.ids)) for points in batches],
        embeddings=[matrix for p in batches if (matrix := _embeddings(p)) is not None]
        if "embeddings" in include
        else None,
        documents=[p.documents for p in batches if p.documents is not None]
        if "documents" in include
        else None,
        uris=[p.uris for p in batches if p.uris is not None] if "uris" in include else None,
        data=data,
        metadatas=[p.payloads for p in batches if p.payloads is not None]
        if "metadatas" in include
        else None,
        distances=[_distances(hit) for hit in hits] if "distances" in include else None,
        scores=[_numbers(hit.scores) for hit in hits],
        included=sorted(include),
    )
    if "sparse_embeddings" in include:
        result["sparse_embeddings"] = [_sparse(points) for points in batches]
    return result  # type: ignore[no-any-return]


def _embeddings(points: Points) -> Matrix | None:
    vectors = (points.vectors or {}).get(SPACE)
    return vectors if isinstance(vectors, np.ndarray) else None


def _sparse(points: Points) -> list[dict[str, Any] | None]:
    """Sparse vectors with plain Python numbers, in the form that users pass."""
    return [
        {"indices": vector.indices.tolist(), "values": vector.values.tolist()}
        if isinstance(vector, SparseVector)
        else None
        for vector in (points.vectors or {})[SPARSE]
    ]


def _distances(hit: Hits) -> list[float | None] | None:
    return None if hit.distances is None else _numbers(hit.distances)


def _numbers(column: Floats) -> list[float | None]:
    """The numbers as a list, with None for NaN, which marks a point without a vector or
    document."""
    numbers: list[Any] = column.tolist()
    if math.isnan(sum(numbers)):
        return [None if math.isnan(number) else number for number in numbers]
    return numbers


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of copying a collection. points: the number of points of the copy; changed: how
    many points were copied again because they had changed; compared: how many points were read from
    both collections and found equal; level: whether the copy was already complete; meanwhile: on a
    cluster, how many points other programs added or deleted during the copy."""

    name: str
    points: int
    changed: int
    compared: int
    level: bool = False
    meanwhile: int = 0
