"""`QdrantCollection` is the Qdrant collection that a Collection uses. The functions of this module
convert the vectors of the collection.

`Listing` returns the points of the collection in the order of first insertion, in pages.
"""

import time
from collections.abc import Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store import SparseVector
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    ClusterError,
    ClusterTimeoutError,
    DimensionMismatchError,
    NotFoundError,
)
from retrieval_store.extension import (
    Fields,
    Floats,
    Lock,
    Matrix,
    Metric,
    PointId,
    Points,
    ShownIds,
    VectorsRead,
    WorkerPool,
)
from retrieval_store.filters.expression import PayloadPath, value_at
from retrieval_store_cluster import schema
from retrieval_store_cluster.client import CONTENT, Cluster, VectorMissing, was_refused
from retrieval_store_cluster.filters import (
    Bound,
    StrictLimits,
    as_filter,
    condition_within_limits,
    fits,
    is_list,
    limits_of,
    none_of,
)
from retrieval_store_cluster.payload import (
    ORDER,
    Orders,
    PayloadWanted,
    StoredPoint,
    decode_point,
    ids_meant,
    payload_bytes,
    payload_wanted,
    reads_documents,
)
from retrieval_store_cluster.schema import (
    DENSE,
    SPARSE,
    CollectionSettings,
    PayloadIndexes,
    is_plain,
    kind_for,
    quote_path,
)

Spaces: TypeAlias = tuple[str, ...]  # by their names in the front
VectorsBySpace: TypeAlias = dict[str, Matrix | SparseVector]
REQUEST_BYTES = 8_000_000  # Qdrant takes 32 MB
SAMPLED = 100  # points whose values decide the kind of index
IDS_READ = 10_000  # at once
ABOUT_FOR = 2.0  # seconds in which others may have written more
NUMBER_BYTES = 24  # of one number of a vector, as JSON
FEW = 64  # points in a response with documents whose size isn't known yet


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options of a client. consistency: how many replicas a read queries, as in `Client`;
    creates_indexes: whether to create payload indexes."""

    consistency: Any = None
    creates_indexes: bool = True


class QdrantCollection:
    """A collection on a cluster. dimension: the dimension of the vectors, None until it is known;
    hint: the order number at which the next page probably begins; limits: the limits of the server.
    measured: the recall of searches, when it expires (by time.monotonic), and a lock for the thread
    that measures it; links: for each key, whether the graph has links for its values; indexed: how
    many vectors are in the graph. point_bytes: the mean size of payloads with documents, by the
    last read; None before the first read."""

    def __init__(
        self, cluster: Cluster, options: ReadOptions, settings: CollectionSettings
    ) -> None:
        self.cluster = cluster
        self.settings = settings
        self.dimension: int | None = None
        self.hint = 0
        self.orders = Orders()
        self.limits = StrictLimits()
        self.indexes = PayloadIndexes(
            self.apply,
            self.look,
            self._kind_at,
            self._has_integers,
            lambda: cluster.version,
            options.creates_indexes,
        )
        self.indexes.notes_times = settings.notes_times
        self.measured: schema.IndexRecall | None = None
        self.measured_until, self.measuring = 0.0, Lock()
        self.links: dict[PayloadPath, schema.KeyLinks] = {}
        self.indexed = 0
        self.point_bytes: float | None = None
        self._about, self._about_until = 0, 0.0
        self.consistency = _consistency(options.consistency)

    @property
    def metric(self) -> Metric:
        """The metric of the collection's vectors."""
        return self.settings.metric

    @property
    def place(self) -> str:
        """The name and the location of the collection, for messages."""
        return f"{self.settings.name} {self.cluster.place}"

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the client for this collection."""
        if method in CONTENT:
            self._about_until = 0.0
        return self.cluster.call(method, self.settings.name, **arguments)

    def apply(self, method: str, queued_for: float | None, **arguments: Any) -> None:
        """Run an operation on the server. queued_for: None to wait until the request is done.
        Otherwise the operation is queued, and the method waits at least that many seconds for all
        queued operations. If a queued operation has failed, this operation is sent again without
        queueing, to get the server's error."""
        if queued_for is not None:
            self.call(method, **arguments, wait=False)
            if self._has_done_all(queued_for):
                return
        self.call(method, **arguments, wait=True)

    def _has_done_all(self, seconds: float) -> bool:
        """Wait until the server has executed all queued operations, and return whether none has
        failed, now or long ago. This method sends an empty operation, which each shard executes
        after all operations that were queued before. Raises ClusterTimeoutError if the empty
        operation isn't done in `seconds`. To learn why an operation has failed, a client sends it
        again and waits for it."""
        nothing = models.Filter(must=[models.HasIdCondition(has_id=[])])
        ends = time.monotonic() + seconds
        while True:
            try:
                self.call("set_payload", payload={}, points=nothing, wait=True)
                break
            except ClusterTimeoutError:
                if time.monotonic() >= ends:
                    raise
        return self.call("get_collection").status is not models.CollectionStatus.RED

    def read(self, method: str, spaces: Spaces, payload: PayloadWanted, **arguments: Any) -> Any:
        """The response of `retrieve` or `scroll`: points with the payload keys in `payload`, and
        with their vectors in `spaces`."""
        options = {**self.consistency, **arguments, "with_payload": payload}
        try:
            return self.call(method, with_vectors=self.vectors_wanted(spaces), **options)
        except VectorMissing:  # a node that doesn't know of the first write has no dense ones
            return self.call(method, with_vectors=self._names_of(spaces) or False, **options)

    def note_bytes(self, records: Sequence[Any]) -> None:
        """Store the mean size, in bytes, of the payloads of these records. The payloads include
        documents."""
        if records:
            self.point_bytes = payload_bytes(records) / len(records)

    def query_batch(self, requests: list[models.QueryRequest]) -> list[Any]:
        """The responses to queries."""
        answers: list[Any] = self.call("query_batch_points", requests=requests, **self.consistency)
        return answers

    def count(self, condition: models.Filter | None = None) -> int:
        """The number of points, or of points that fulfil the condition. If the server doesn't count
        exactly, the client reads and counts ids."""
        if not self.limits.exact:
            return self._number_read(condition)
        number: int = self.call("count", count_filter=condition, exact=True).count
        return number

    def number(self, bound: Bound) -> int:
        """The number of points that fulfil a condition; 0 for the condition False."""
        return 0 if bound is False else self.count(as_filter(bound))

    def about(self) -> tuple[int, bool]:
        """The approximate number of points, which the server knows without counting, and whether
        this number was read now. The number is cached for a few seconds, or until a write."""
        is_old = time.monotonic() >= self._about_until
        if is_old:
            self._about = self.call("count", exact=False).count
            self._about_until = time.monotonic() + ABOUT_FOR
        return self._about, is_old

    def _number_read(self, condition: models.Filter | None) -> int:
        most = min(IDS_READ, self.limits.query or IDS_READ)
        number, offset = 0, None
        while True:
            records, offset = self.call(
                "scroll", scroll_filter=condition, limit=most, offset=offset, with_payload=False
            )
            number += len(records)
            if offset is None:
                return number

    def look(self) -> None:
        """Read the information about the collection now."""
        self.note(self.call("get_collection"))

    def _kind_at(self, path: PayloadPath) -> str | None:
        """The kind of index that suits most of the values at a path, from a sample of points with a
        value there."""
        has_value = none_of(
            models.IsEmptyCondition(is_empty=models.PayloadField(key=quote_path(path)))
        )
        records, _ = self.read(
            "scroll",
            (),
            payload_wanted(path[:1], False, False),
            scroll_filter=has_value,
            limit=min(SAMPLED, self.limits.query or SAMPLED),
        )
        return kind_for(path, (value_at(decode_point(r.payload).payload, path) for r in records))

    def _has_integers(self, path: PayloadPath) -> bool:
        """Whether all values at a path with an integer index are integers, and no value is a list.
        Strings and other types also count as non-integers, since a server cannot distinguish
        them."""
        lists = is_list(path[0], self.indexes)
        if lists is None or not is_plain(path) or not self.limits.exact:
            return False
        key = quote_path(path)
        absent = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        integer = models.FieldCondition(key=key, range=models.Range(gte=-1e308))
        others = models.Filter(should=[models.Filter(must_not=[absent, integer]), lists])
        return fits(others, self.limits) and not self.count(others)

    def has_changed(self, error: ClusterError) -> bool:
        """After the server has refused a request, read its limits again. Returns whether the limits
        have changed, so that it is worth sending the request again."""
        if not was_refused(error):
            return False
        before = (self.limits, self.indexes.kinds_last_read)
        self.look()
        return before != (self.limits, self.indexes.kinds_last_read)

    def note(self, info: models.CollectionInfo) -> None:
        """Store the information about the collection. Raises NotFoundError if another process has
        replaced the collection by another one of the same name."""
        settings = schema.settings_in(info.config.metadata)
        if settings is None or settings.record.id != self.settings.record.id:
            called = self.settings.record.name
            raise NotFoundError.of_deleted(f"Collection {called!r} {self.cluster.place}")
        self.settings = settings
        self.indexed = info.indexed_vectors_count or 0
        strict = info.config.strict_mode_config
        if strict is not None and not strict.enabled:
            strict = None
        self.limits = limits_of(strict)
        refuses = strict is not None and strict.unindexed_filtering_retrieve is False
        most = None if strict is None else strict.max_payload_index_count
        self.indexes.note(info.payload_schema, refuses, most)

    def refuse_replaced(self, since: float = 0.0) -> None:
        """Raise NotFoundError if the Qdrant collection was replaced by another one of the same
        name. since: if the last check is less than this many seconds old, no new check is made."""
        if time.monotonic() >= self.indexes.read_at + since:
            self.look()

    def known_dimension(self) -> int | None:
        """The dimension of the vectors; None until the first write of any process has fixed it."""
        if self.dimension is None:
            vectors = self._vectors()
            if DENSE in vectors:
                self.dimension = vectors[DENSE].size
        return self.dimension

    def _vectors(self) -> Any:
        """The configuration of the dense vectors of the Qdrant collection."""
        info = self.call("get_collection")
        self.note(info)
        schema.complete(self.cluster, self.settings, info)
        return info.config.params.vectors or {}

    def refuse_other(self, dimension: int, what: str) -> None:
        """Raise DimensionMismatchError if the dimension differs from the collection's. what: names
        the vectors in the message."""
        known = self.known_dimension()
        if known not in (None, dimension):
            raise DimensionMismatchError(
                f"the {what} have {dimension} numbers, but the collection holds vectors of {known} "
                "(its dimension)"
            )

    def fix_dimension(self, dimension: int) -> None:
        """Create the vector space, if there is none. Raises DimensionMismatchError if another
        process has chosen another dimension first."""
        if self.known_dimension() is None:
            self.dimension = schema.make_room(self.cluster, self.settings, dimension)
        self.refuse_other(dimension, "embeddings")

    def vectors_wanted(self, spaces: Spaces) -> list[str] | bool:
        """The value of the argument `with_vectors` with which Qdrant returns the vectors in these
        spaces."""
        dense = [DENSE] if "" in spaces and self.known_dimension() is not None else []
        return [*dense, *self._names_of(spaces)] or False

    def _names_of(self, spaces: Spaces) -> list[str]:
        """The names in Qdrant of those spaces that a Qdrant collection has from its creation. Only
        the space of sparse vectors can be among them."""
        return [SPARSE] if SPARSE in spaces and self.settings.sparse is not None else []

    def word_model(self) -> BM25Embedding:
        """The model that computes sparse vectors of words."""
        return BM25Embedding(**self.settings.text)


def _consistency(level: Any) -> dict[str, Any]:
    """The consistency level as a keyword argument for the client's methods. A string is converted,
    because the methods accept no string over gRPC."""
    if isinstance(level, str):
        level = models.ReadConsistencyType(level)
    return {} if level is None else {"consistency": level}


def vectors_of(record: Any, point: StoredPoint, collection: QdrantCollection) -> VectorsBySpace:
    """The requested vectors of a point, in the form in which they were written."""
    vectors: VectorsBySpace = {}
    known = record.vector or {}
    if known.get(DENSE) is not None:
        vector = np.array(known[DENSE], np.float32)
        if collection.metric == "cosine":  # Qdrant keeps the direction
            vector = (vector.astype(np.float64) * point.length).astype(np.float32)
        vectors[""] = vector
    if known.get(SPARSE) is not None:
        indices = np.array(known[SPARSE].indices, np.uint32)
        order = np.argsort(indices)
        values = np.array(known[SPARSE].values, np.float32)
        vectors[SPARSE] = SparseVector(indices[order], values[order])
    return vectors


def vectors_to_send(vectors: Matrix, metric: Metric) -> Matrix:
    """The vectors in the form in which they are sent to Qdrant. For cosine, the client scales them
    to length 1. Qdrant would scale them in float32, where long vectors become infinite and short
    vectors zero."""
    if metric != "cosine":
        return vectors
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return unit.astype(np.float32)


def sparse(vector: SparseVector) -> models.SparseVector:
    """A sparse vector as an instance of qdrant-client's model class. The vector must not be
    empty."""
    indices, values = vector.indices.tolist(), vector.values.tolist()
    return models.SparseVector.model_construct(indices=indices, values=values)


def points_of(
    collection: QdrantCollection,
    points: Sequence[StoredPoint],
    vectors: Sequence[VectorsBySpace],
    fields: Fields,
) -> Points:
    """Convert points to the `Points` that callers get, with the requested fields. vectors: the
    requested vectors of each point."""
    return Points(
        [point.id for point in points],
        [point.payload for point in points] if fields.payload else None,
        [point.document for point in points] if fields.document else None,
        [point.uri for point in points] if fields.uri else None,
        {name: _column(collection, vectors, name) for name in fields.vectors} or None,
    )


def _column(
    collection: QdrantCollection, vectors: Sequence[VectorsBySpace], space: str
) -> VectorsRead:
    if space:
        return [by_space.get(space) for by_space in vectors]
    matrix = np.full((len(vectors), collection.known_dimension() or 0), np.nan, np.float32)
    for i, by_space in enumerate(vectors):
        vector = by_space.get(space)
        if isinstance(vector, np.ndarray):
            matrix[i] = vector
    return matrix


PAGE = 1_000  # points in one answer
SMALLEST_PAGE = 16


class ListedPoint(NamedTuple):
    """A listed point: its id in Qdrant, its content, and the requested vectors."""

    id: str
    point: StoredPoint
    vectors: VectorsBySpace


class ListPosition(NamedTuple):
    """A position in a list: an order number, and the number of points with smaller order
    numbers."""

    order: int
    before: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Lists the points that fulfil a condition. spaces: the vector spaces to read; expected: how
    many points the caller probably reads, which sets the size of the first page. payload: the
    payload keys to read."""

    collection: QdrantCollection
    condition: models.Filter | None
    spaces: Spaces = ()
    expected: int = PAGE
    payload: PayloadWanted = True

    def points(self, start: int = 0, ahead: bool = False) -> Iterator[ListedPoint]:
        """The points from the order number `start` on. ahead: whether the next page is read while
        the caller uses the current one, for callers that read all points."""
        pages = self._pages(start)
        for page in _read_ahead(pages) if ahead else pages:
            yield from page

    def _pages(self, start: int) -> Iterator[list[ListedPoint]]:
        """The points from the order number `start` on, in pages. A server's response may end
        between points with the same order number. The next page then contains all of these
        points."""
        size = min(self.page_size(), self._slack + 1)  # the last one may be left to the next page
        while True:
            page = self._page(start, size)
            if len(page) < size:
                yield page
                return
            last = page[-1].point.order
            if page[0].point.order == last:  # there may be more of this number than a page holds
                yield self._points_of_order(last)
                start = last + 1
            else:
                yield [listed for listed in page if listed.point.order < last]
                start = last
            size = self.page_size()

    def by_value(self, key: str, descending: bool, size: int) -> list[ListedPoint]:
        """The first `size` points in the order of an index of numbers. The order of points with
        equal numbers varies."""
        direction = models.Direction.DESC if descending else models.Direction.ASC
        records, _ = self._scroll(size, models.OrderBy(key=key, direction=direction))
        return [self._parse_record(record) for record in records]

    def sample(self, size: int) -> list[ListedPoint]:
        """The first points in the order of their ids in Qdrant. These ids are hashes, so the points
        are as good as a random sample."""
        return list(islice(replace(self, expected=size).in_any_order(), size))

    def last_order(self) -> int:
        """The greatest order number; 0 if there are no points."""
        return self._end(models.Direction.DESC)

    def at(self, offset: int) -> Iterator[ListedPoint]:
        """All points after the first `offset` points. If Qdrant can count the first points, they
        aren't read."""
        countable = self.collection.limits.exact  # otherwise the counted points are read anyway
        start, before = self._place_of(offset) if countable and offset else (0, 0)
        reach = min(PAGE, self.expected + offset - before)
        return islice(replace(self, expected=reach).points(start), offset - before, None)

    def _place_of(self, offset: int) -> ListPosition:
        """A position in the list with `offset` points before it, or somewhat fewer. The end of the
        last page is tried first, since pages are mostly read in sequence."""
        hint = self.collection.hint
        before = self._count_before(hint)
        near = before <= offset <= before + self._slack
        return ListPosition(hint, before) if near else self._search_place(offset)

    def _search_place(self, offset: int) -> ListPosition:
        """A position with `offset` points before it, or somewhat fewer, found by a search between
        the first and the last order number. Interpolation and bisection alternate, since order
        numbers come in bursts."""
        low = ListPosition(self._end(models.Direction.ASC), 0)
        count = self.collection.count(self.condition)
        high = ListPosition(self._end(models.Direction.DESC) + 1, count)
        if offset >= high.before:
            return high
        evenly = True
        while high.order - low.order > 1 and offset - low.before > self._slack:
            share = 0.5
            if evenly:
                share = (offset - self._slack / 2 - low.before) / (high.before - low.before)
            step = int((high.order - low.order) * share)
            guess = min(max(low.order + step, low.order + 1), high.order - 1)
            place = ListPosition(guess, self._count_before(guess))
            low, high = (place, high) if place.before <= offset else (low, place)
            evenly = not evenly
        return low

    def page_size(self) -> int:
        """The maximum number of points per page. If vectors or documents are read, this is the
        number of points that fits into a response. The size of documents is estimated from earlier
        pages."""
        most, bytes_of_point = min(PAGE, self.collection.limits.query or PAGE), 1.0
        if "" in self.spaces:
            bytes_of_point += NUMBER_BYTES * (self.collection.dimension or 0)
        if reads_documents(self.payload):
            known = self.collection.point_bytes
            most, bytes_of_point = min(most, PAGE if known else FEW), bytes_of_point + (known or 0)
        return min(most, max(2, int(REQUEST_BYTES / bytes_of_point)))

    @property
    def _slack(self) -> int:
        """The number of unneeded points that may be read. Reading them saves the requests that
        would find an exact position."""
        return max(self.expected, SMALLEST_PAGE)

    def _count_before(self, order: int) -> int:
        return self.collection.count(self._within(orders_within(lt=order))) if order else 0

    def _end(self, direction: models.Direction) -> int:
        """The first or the last order number; 0 if there are no points."""
        bare = replace(self, spaces=(), payload=payload_wanted((), False, False))
        records = bare._scroll(1, models.OrderBy(key=ORDER, direction=direction))[0]
        return decode_point(records[0].payload).order if records else 0

    def _page(self, start: int, size: int) -> list[ListedPoint]:
        """The first `size` points from the order number `start` on, sorted. Qdrant itself returns
        points with the same order number in varying order."""
        records, _ = self._scroll(size, models.OrderBy(key=ORDER, start_from=start))
        return sorted(map(self._parse_record, records), key=_place)

    def _points_of_order(self, order: int) -> list[ListedPoint]:
        """All points with this order number."""
        same_order = self._within(orders_within(gte=order, lte=order))
        return sorted(replace(self, condition=same_order).in_any_order(), key=_place)

    def _within(self, orders: models.Filter) -> models.Filter:
        """The listing's condition, combined with bounds on order numbers."""
        condition = condition_within_limits(self.condition, self.collection.limits, 1)
        return orders if condition is None else models.Filter(must=[condition, orders])

    def all_from(self, start: str) -> Iterator[ListedPoint]:
        """All points in the order of their ids in Qdrant: first the points from an id on, then the
        points before that id. This is as good as a random order, since the ids in Qdrant are
        hashes."""
        yield from self.in_any_order(start)
        yield from takewhile(lambda listed: listed.id < start, self.in_any_order())

    def in_any_order(self, start: str | None = None) -> Iterator[ListedPoint]:
        """All points in the order of their ids in Qdrant, beginning at the id `start` if it is
        given. This order costs the server least."""
        offset: Any = start
        while True:
            size = min(self.page_size(), self._slack)
            records, offset = self._scroll(size, offset=offset)
            yield from map(self._parse_record, records)
            if offset is None:
                return

    def _scroll(
        self, size: int, order_by: models.OrderBy | None = None, offset: Any = None
    ) -> tuple[list[Any], Any]:
        answer: tuple[list[Any], Any] = self.collection.read(
            "scroll",
            self.spaces,
            self.payload,
            scroll_filter=self.condition,
            limit=size,
            order_by=order_by,
            offset=offset,
        )
        if reads_documents(self.payload):
            self.collection.note_bytes(answer[0])
        return answer

    def _parse_record(self, record: Any) -> ListedPoint:
        point = decode_point(record.payload)
        return ListedPoint(record.id, point, vectors_of(record, point, self.collection))


def points_within(
    collection: QdrantCollection, bound: Bound, payload: PayloadWanted
) -> Iterator[ListedPoint]:
    """The points within a bound, in any order."""
    if bound is not False:
        yield from Listing(collection, as_filter(bound), payload=payload).in_any_order()


def by_id(
    collection: QdrantCollection,
    ids: Sequence[PointId],
    spaces: Spaces = (),
    payload: PayloadWanted = True,
) -> Iterator[ListedPoint]:
    """The existing points with these ids, in the order of the ids."""
    are_shown = isinstance(ids, ShownIds)
    for start in range(0, len(ids), PAGE):
        meant = [ids_meant(own_id, are_shown) for own_id in ids[start : start + PAGE]]
        qdrant_ids = [qdrant_id for several in meant for qdrant_id in several]
        answer = collection.read("retrieve", spaces, payload, ids=qdrant_ids)
        records = {record.id: record for record in answer}
        for several in meant:
            record = next((records[each] for each in several if each in records), None)
            if record is not None:
                point = decode_point(record.payload)
                yield ListedPoint(record.id, point, vectors_of(record, point, collection))


def _read_ahead(pages: Iterator[list[ListedPoint]]) -> Iterator[list[ListedPoint]]:
    """Yield the pages. Each page is read while the caller uses the page before it."""

    def read() -> list[ListedPoint] | None:
        return next(pages, None)

    page = read()
    thread = WorkerPool(1, "retrieval-store-reading")
    try:
        while page is not None:
            following = thread.submit(copy_context().run, read)
            yield page
            page = following.result()
    finally:
        # No waiting: the thread that garbage-collects this closes it, and that may be the reading
        # thread, too.
        thread.shutdown(wait=False)


def _place(listed: ListedPoint) -> tuple[int, str]:
    return listed.point.order, listed.id


def orders_within(**bounds: int) -> models.Filter:
    """A filter for order numbers within the bounds."""
    condition = models.FieldCondition(key=ORDER, range=models.Range(**bounds))
    return models.Filter(must=[condition])
