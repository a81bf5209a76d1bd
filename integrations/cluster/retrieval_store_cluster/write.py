"""Writes points to a cluster: checks a batch as a whole, then sends it in bounded requests.

`Sending` sends requests while the next ones are prepared.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from threading import Event
from typing import Any, Generic, TypeVar

import numpy as np
import orjson
from qdrant_client import models

from retrieval_store import SparseVector
from retrieval_store.errors import (
    ClusterError,
    IDAlreadyExistsError,
    InvalidArgumentError,
    StorageError,
)
from retrieval_store.extension import (
    UNSET,
    Matrix,
    NonDenseVectors,
    Payload,
    PointBatch,
    PointId,
    PutResult,
    Vectors,
    WorkerPool,
    WriteRules,
    existing_ids,
    list_ids,
    merge_payload,
)
from retrieval_store.filters.expression import fulfils
from retrieval_store_cluster.filters import Bound, Parts, all_of, any_of, fits, none_of
from retrieval_store_cluster.payload import (
    BESIDE,
    EXACT,
    HELD,
    LISTS,
    ODD_TIMES,
    StoredPoint,
    encode_point,
    encode_value,
    exact_text,
    has_odd_times,
    point_id,
    refuse_reserved,
)
from retrieval_store_cluster.schema import DENSE, SPARSE, WORDS, is_expressible, quote_path
from retrieval_store_cluster.space import (
    NUMBER_BYTES,
    REQUEST_BYTES,
    QdrantCollection,
    sparse,
    vectors_to_send,
)

OPERATION_BYTES = 400  # of the JSON around a point
IDS_AT_ONCE = 10_000
NO_POINT = "No point with id"  # in a server's message about a missing point
MANY = 32  # operations in a request, which are queued if each changes a payload
MANY_MATCHING = 10_000  # points that one operation changes, from which on it is queued
SLOWEST = 250  # points that a server changes in a second, at least


@dataclass(frozen=True, slots=True)
class _Vector:
    """A vector in the form in which it is sent to Qdrant, and its original length."""

    sent: Matrix
    length: float


@dataclass(frozen=True, slots=True)
class _Change:
    """The new state of one point. vector: the new vector, None to keep the old vector; words:
    whether the sparse vector of the point's words is computed again; whole: whether the whole point
    is replaced; sparse: the new sparse vector; old: the existing point, None if the point is
    new."""

    point: StoredPoint
    vector: _Vector | None
    words: bool
    whole: bool
    sparse: models.SparseVector | None = None
    old: StoredPoint | None = None


@dataclass(frozen=True, slots=True)
class SentBatch:
    """A request with a part of a batch. number: the request's position among the requests of the
    batch."""

    operations: list[Any]
    number: int


@dataclass(frozen=True, slots=True)
class PreparedWrite:
    """A batch after its checks. requests: generates the requests one by one; result: the result to
    report when all requests are done."""

    requests: Iterator[SentBatch]
    result: PutResult


def prepare_write(
    collection: QdrantCollection,
    batch: PointBatch,
    rules: WriteRules,
    known: Mapping[PointId, StoredPoint],
) -> PreparedWrite:
    """Check a batch, and prepare the requests that insert and update its points, as the rules say.
    known: those points of the batch that exist already."""
    refuse_reserved(batch.payloads or ())
    if known and rules.on_existing == "refuse":
        existing = sorted(known.values(), key=lambda point: point.order)
        ids = [point.id for point in existing]
        raise IDAlreadyExistsError(existing_ids(ids))
    left = _left_alone(rules, known)
    vectors, others = _vectors(collection, batch), _sparse_vectors(batch)
    keeps = collection.settings.sparse is not None
    new = [i for i, own_id in enumerate(batch.ids) if own_id not in known]
    inserted = new if rules.on_missing == "insert" else []
    lacking = [batch.ids[i] for i in inserted if i not in vectors]
    if lacking and rules.needs_vector is not None:
        raise InvalidArgumentError(f"no embedding is given for new ids: {list_ids(lacking)}")
    orders = dict(zip(inserted, collection.orders.next(len(inserted)), strict=True))
    is_written = [
        i in orders or (own_id in known and own_id not in left)
        for i, own_id in enumerate(batch.ids)
    ]
    changes = [
        _change(
            batch,
            i,
            known.get(own_id),
            orders.get(i, 0),
            vectors.get(i),
            others.get(i),
            keeps,
            rules,
        )
        for i, own_id in enumerate(batch.ids)
        if is_written[i]
    ]
    words = _words(collection, [c.point.document if c.words else None for c in changes])
    _refuse_long(collection, changes, words)
    collection.indexes.make_room(change.point.payload for change in changes)
    if vectors and changes:
        collection.fix_dimension(len(next(iter(vectors.values())).sent))
    ignored = [own_id for i, own_id in enumerate(batch.ids) if not is_written[i]]
    cleared = tuple(_cleared_ids(changes)) if rules.on_existing == "update" else ()
    requests = map(SentBatch, _batches(collection, changes, words), count())
    updated = len(known) - len(left)
    return PreparedWrite(requests, PutResult(len(inserted), updated, ignored, cleared))


def _left_alone(
    rules: WriteRules, known: Mapping[PointId, StoredPoint]
) -> dict[PointId, StoredPoint]:
    """The existing points that the rules do not allow to be changed."""
    if rules.on_existing == "ignore":
        return {**known}
    return {
        own_id: point
        for own_id, point in known.items()
        if not fulfils(point.candidate, rules.where)
    }


def _cleared_ids(changes: Sequence[_Change]) -> Iterator[PointId]:
    """Yield the ids of existing points that lose their document or uri."""
    for change in changes:
        new, old = change.point, change.old
        if old is not None and (
            (new.document is None and old.document is not None)
            or (new.uri is None and old.uri is not None)
        ):
            yield new.id


def delete(collection: QdrantCollection, ids: Sequence[PointId]) -> None:
    """Delete points by their ids."""
    collection.refuse_replaced()
    for start in range(0, len(ids), IDS_AT_ONCE):
        points: list[Any] = [point_id(own_id) for own_id in ids[start : start + IDS_AT_ONCE]]
        collection.call("delete", points_selector=models.PointIdsList(points=points), wait=True)


def delete_matching(
    collection: QdrantCollection, condition: models.Filter | None, count: int
) -> None:
    """Delete the points that fulfil a condition; if `condition` is None, delete all points. count:
    the number of points to delete."""
    selector = models.FilterSelector(filter=condition or models.Filter())
    _change_matching(collection, "delete", count, points_selector=selector)


def parts_to_merge(collection: QdrantCollection, bound: Bound, payload: Payload) -> Parts:
    """The points within `bound`, in two parts. certain: the points into whose metadata the server
    can merge the payload. doubtful: the points with exact values that the merge would change.
    (Exact values are stored in addition to the metadata.)"""
    values = payload.values()
    is_one_operation = len({value is None for value in values}) == 1
    is_plain = exact_text(payload) is None and not any(isinstance(v, list) for v in values)
    is_plain = is_plain and not has_odd_times(payload)
    can_be_sent = all(is_expressible((key,)) for key in payload)
    is_sent = is_one_operation and is_plain and can_be_sent
    noted = _condition_for_notes(collection, payload) if is_sent else None
    if noted is None:
        return Parts(False, bound)
    parts = Parts(all_of([bound, none_of(noted)]), all_of([bound, noted]))
    is_within = all(fits(part, collection.limits) for part in (parts.certain, parts.doubtful))
    return parts if is_within else Parts(False, bound)


def _condition_for_notes(collection: QdrantCollection, keys: Iterable[str]) -> Bound | None:
    """The condition that finds the points whose exact values a merge of these keys would change.
    (Exact values are stored in addition to the metadata.) None if the server cannot evaluate this
    condition."""
    names = models.MatchAny(any=[*keys, ODD_TIMES, BESIDE])
    listed = models.FieldCondition(key=quote_path(LISTS), match=names)
    if collection.settings.notes_beside:
        return listed if collection.indexes.serves_lists() else None
    if not collection.indexes.serves_notes():
        return None
    has_exact = none_of(
        models.IsEmptyCondition(is_empty=models.PayloadField(key=quote_path(EXACT)))
    )
    has_none = models.FieldCondition(key=quote_path(HELD), match=models.MatchValue(value=False))
    return any_of([listed, has_exact, has_none])


def merge_matching(
    collection: QdrantCollection, condition: models.Filter | None, payload: Payload, count: int
) -> None:
    """Merge a payload into the metadata of the points that fulfil a condition. This must be a
    single operation, because after a first operation other points might fulfil the condition.
    count: the number of points that fulfil the condition."""
    where = condition or models.Filter()
    if None in payload.values():
        keys = [quote_path((key,)) for key in payload]
        _change_matching(collection, "delete_payload", count, keys=keys, points=where)
    else:
        kept = {key: encode_value(value) for key, value in payload.items()}
        _change_matching(collection, "set_payload", count, payload=kept, points=where)


def _change_matching(
    collection: QdrantCollection, method: str, count: int, **arguments: Any
) -> None:
    """Let the server change `count` points in one operation. The operation is queued, because it
    may take longer than a request's timeout if there are many points. The request would then be
    sent again, and executed twice."""
    seconds = count / SLOWEST if count >= MANY_MATCHING else None
    collection.apply(method, seconds, **arguments)


def _vectors(collection: QdrantCollection, batch: PointBatch) -> dict[int, _Vector]:
    """A dict from a position in the batch to the vector at this position. Raises
    DimensionMismatchError for a vector of another dimension."""
    by_place: dict[int, _Vector] = {}
    for column in batch.vectors.values():
        if isinstance(column, Vectors):
            collection.refuse_other(column.matrix.shape[1], "embeddings")
            lengths = np.linalg.norm(column.matrix.astype(np.float64), axis=1).tolist()
            made = map(_Vector, vectors_to_send(column.matrix, collection.metric), lengths)
            by_place.update(zip(_places(batch, column), made, strict=True))
    return by_place


def _refuse_long(
    collection: QdrantCollection,
    changes: Sequence[_Change],
    words: Sequence[models.SparseVector | None],
) -> None:
    """Raise ClusterError for a text with more distinct words, or a sparse vector with more numbers,
    than the server allows."""
    lengths = collection.limits.lengths
    if not lengths:
        return
    for change, word_vector in zip(changes, words, strict=True):
        made = ((WORDS, word_vector, "different words"), (SPARSE, change.sparse, "sparse numbers"))
        for name, vector, what in made:
            if vector is not None and len(vector.indices) > lengths.get(name, sys.maxsize):
                raise ClusterError(
                    f"the point {change.point.id!r} has {len(vector.indices)} {what}, and "
                    f"{collection.place} takes {lengths[name]}, by sparse_config of its strict mode"
                )


def _sparse_vectors(batch: PointBatch) -> dict[int, models.SparseVector]:
    """A dict from a position in the batch to the sparse vector at this position."""
    by_place: dict[int, models.SparseVector] = {}
    for column in batch.vectors.values():
        if isinstance(column, NonDenseVectors):
            vectors = [
                sparse(vector) for vector in column.items if isinstance(vector, SparseVector)
            ]
            by_place.update(zip(_places(batch, column), vectors, strict=True))
    return by_place


def _places(batch: PointBatch, column: Vectors | NonDenseVectors) -> Sequence[int]:
    return range(len(batch.ids)) if column.positions is None else column.positions.tolist()


def _change(
    batch: PointBatch,
    i: int,
    old: StoredPoint | None,
    order: int,
    vector: _Vector | None,
    other: models.SparseVector | None,
    keeps: bool,
    rules: WriteRules,
) -> _Change:
    """The change of one point of a batch, at position `i`. old: the existing point, None for a new
    point; order: the order number of a new point; vector, other: the new vector and the new sparse
    vector, None if there is none; keeps: whether an existing point keeps its sparse vector if
    `other` is None."""
    payload: Any = _value_at(batch.payloads, i)
    document: Any = _value_at(batch.documents, i)
    uri: Any = _value_at(batch.uris, i)
    length = 1.0 if vector is None else vector.length
    if old is None:
        payload, document, uri = (None if v is UNSET else v for v in (payload, document, uri))
        point = StoredPoint(batch.ids[i], payload, document, uri, order, length)
        return _Change(point, vector, True, True, other)
    if payload is UNSET:
        payload = old.payload
    elif rules.merge_payloads:
        payload = merge_payload(old.payload, payload)
    point = StoredPoint(
        old.id,
        payload,
        old.document if document is UNSET else document,
        old.uri if uri is UNSET else uri,
        old.order,
        old.length if vector is None else length,
    )
    is_complete = vector is not None and (other is not None or not keeps)
    whole = is_complete or rules.on_existing == "replace"
    return _Change(point, vector, whole or point.document != old.document, whole, other, old)


def _value_at(values: Sequence[Any] | None, i: int) -> Any:
    return UNSET if values is None else values[i]


def send(collection: QdrantCollection, request: SentBatch) -> None:
    """Send a request. When the function returns, the points of the request are as durable as Qdrant
    makes them."""
    try:
        _send_operations(collection, request.operations)
    except StorageError as error:
        if request.number == 0:
            raise
        raise type(error)(
            f"{error}; {request.number} requests, with the first points, were done before; upsert "
            "or update with all of them completes it"
        ) from error


def send_all(collection: QdrantCollection, requests: Iterable[SentBatch]) -> None:
    """Send requests in order. Each request is generated while the one before it is being sent."""
    left = iter(requests)
    first, second = next(left, None), next(left, None)
    if first is None:
        return
    if second is None:
        send(collection, first)
        return
    with Sending(partial(send, collection)) as sending:
        for request in chain((first, second), left):
            sending.add(request)
        sending.wait()


def _send_operations(collection: QdrantCollection, operations: list[Any]) -> None:
    """Send operations in one request. If the server's limits have changed, smaller requests are
    sent. Operations on points that another program has deleted meanwhile are left out."""
    try:
        _batch(collection, operations)
    except ClusterError as error:
        left = _on_existing_points(collection, operations) if NO_POINT in str(error) else operations
        if len(left) < len(operations):
            _send_operations(collection, left)
            return
        if not collection.has_changed(error):
            raise
        most = collection.limits.batch or len(operations)
        for start in range(0, len(operations), most):
            _batch(collection, operations[start : start + most])


def _on_existing_points(collection: QdrantCollection, operations: list[Any]) -> list[Any]:
    """The operations, except operations that change a point that does not exist."""
    changed = [_changed_id(operation) for operation in operations]
    asked = [own_id for own_id in dict.fromkeys(changed) if own_id is not None]
    records = collection.call(
        "retrieve", ids=asked, with_payload=False, with_vectors=False, **collection.consistency
    )
    existing = {record.id for record in records}
    return [
        operation
        for operation, own_id in zip(operations, changed, strict=True)
        if own_id is None or own_id in existing
    ]


def _changed_id(operation: Any) -> Any:
    """The id in Qdrant of the point that must exist for an operation; None for an operation that
    writes a whole point."""
    match operation:
        case models.OverwritePayloadOperation(overwrite_payload=payload) if payload.points:
            return payload.points[0]
        case models.UpdateVectorsOperation(update_vectors=vectors):
            return vectors.points[0].id
        case models.DeleteVectorsOperation(delete_vectors=gone) if gone.points:
            return gone.points[0]
    return None


def _batches(
    collection: QdrantCollection,
    changes: list[_Change],
    words: list[models.SparseVector | None],
) -> Iterator[list[Any]]:
    """The operations that make all changes, in batches of limited size."""
    operations: list[Any] = []
    size, points = 0, 0
    most = collection.limits.batch or len(changes)
    for change, word_vector in zip(changes, words, strict=True):
        payload = encode_point(change.point)
        bytes_of = _size_of(change, payload, word_vector)
        if operations and (size + bytes_of > REQUEST_BYTES or points == most):
            yield operations
            operations, size, points = [], 0, 0
        operations += _operations(change, payload, word_vector, collection.cluster.takes_arrays)
        size += bytes_of
        points += 1
    if operations:
        yield operations


def _size_of(change: _Change, payload: Any, words: models.SparseVector | None) -> int:
    """An upper estimate of the bytes that a change takes as JSON."""
    numbers = 0 if change.vector is None else len(change.vector.sent)
    entries = sum(len(vector.indices) for vector in (words, change.sparse) if vector is not None)
    return len(orjson.dumps(payload)) + NUMBER_BYTES * (numbers + 2 * entries) + OPERATION_BYTES


def _operations(
    change: _Change, payload: Any, words: models.SparseVector | None, takes_arrays: bool
) -> Iterator[Any]:
    """The operations that change one point: one operation that writes the whole point, or several
    that keep the point's vector. Whole points skip pydantic's validation, which checks each number
    and would take a third of the time of a write. takes_arrays: whether the client accepts vectors
    as arrays."""
    point = point_id(change.point.id)
    named = {WORDS: words, SPARSE: change.sparse}
    vectors: dict[str, Any] = {name: vector for name, vector in named.items() if vector is not None}
    if change.vector is not None:
        sent = change.vector.sent
        vectors[DENSE] = sent if takes_arrays and change.whole else sent.tolist()
    if change.whole:
        yield models.PointStruct.model_construct(id=point, vector=vectors, payload=payload)
        return
    yield models.OverwritePayloadOperation(
        overwrite_payload=models.SetPayload(payload=payload, points=[point])
    )
    if vectors:
        changed = models.PointVectors(id=point, vector=vectors)
        yield models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=[changed]))
    if change.words and words is None:
        yield models.DeleteVectorsOperation(
            delete_vectors=models.DeleteVectors(points=[point], vector=[WORDS])
        )


def _batch(collection: QdrantCollection, operations: list[Any]) -> None:
    """Send the operations in one request. Operations that write whole points are merged into one
    operation. If there are many operations, and all of them change payloads, they are queued and
    awaited together. A server takes a millisecond to confirm a single operation."""
    points = [operation for operation in operations if isinstance(operation, models.PointStruct)]
    others = [
        operation for operation in operations if not isinstance(operation, models.PointStruct)
    ]
    if points:
        listed_points = models.PointsList.model_construct(points=points)
        others.insert(0, models.UpsertOperation.model_construct(upsert=listed_points))
    are_queued = len(others) >= MANY and all(
        isinstance(operation, models.OverwritePayloadOperation) for operation in others
    )
    queued_for = 0 if are_queued else None
    collection.apply("batch_update_points", queued_for, update_operations=others)


def _words(
    collection: QdrantCollection, documents: Sequence[str | None]
) -> list[models.SparseVector | None]:
    """For each document, the sparse vector of its words. It is None for a missing document, or a
    document without words."""
    places = [i for i, document in enumerate(documents) if document is not None]
    vectors: list[models.SparseVector | None] = [None] * len(documents)
    if places:
        made = collection.word_model()([documents[i] or "" for i in places])
        for i, vector in zip(places, made, strict=True):
            if len(vector.indices):
                vectors[i] = sparse(vector)
    return vectors


AHEAD = 2  # requests under way or queued; each is a few megabytes
RequestT = TypeVar("RequestT")


class NotSentError(Exception):
    """A request was not sent because an earlier request failed. The error of the earlier request is
    raised first."""


class Sending(Generic[RequestT]):
    """Sends requests in a separate thread, in order. After a failure no more requests are sent, so
    nothing is written that comes after the failed request. At its end the `with` block waits for
    the request in progress. One connection is enough, since the client needs most of its time to
    generate the next request."""

    def __init__(self, send: Callable[[RequestT], None]) -> None:
        self._send = send
        self._thread = WorkerPool(1, "retrieval-store-sending")
        self._ended = Event()
        self._under_way: deque[Future[None]] = deque()

    def __enter__(self) -> "Sending[RequestT]":
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.shutdown()

    def add(self, request: RequestT) -> Future[None]:
        """Queue a request. If too many requests are queued, wait for the first one, and raise its
        error if it failed. Returns a future of the request."""
        while len(self._under_way) >= AHEAD:
            self._under_way.popleft().result()
        self._under_way.append(self._thread.submit(self._send_next, request))
        return self._under_way[-1]

    def wait(self) -> None:
        """Wait until all requests are done; raises the first error."""
        while self._under_way:
            self._under_way.popleft().result()

    def _send_next(self, request: RequestT) -> None:
        if self._ended.is_set():
            raise NotSentError
        try:
            self._send(request)
        except BaseException:
            self._ended.set()
            raise
