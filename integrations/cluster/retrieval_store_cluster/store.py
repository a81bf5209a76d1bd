"""A store on a cluster: its collections (`ClusterStore`) and the points of each (`ClusterPoints`).

A Qdrant collection is a collection of this store if its metadata contain this package's settings.
"""

import random
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial, wraps
from itertools import islice
from typing import Any, Concatenate, ParamSpec, TypeVar, get_args

from qdrant_client import models

from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    AlreadyExistsError,
    ClusterError,
    ConflictError,
    FormatError,
    InvalidArgumentError,
    NotFoundError,
)
from retrieval_store.extension import (
    BaseStore,
    CollectionRecord,
    ExplainRequest,
    Fields,
    Gauges,
    Hits,
    IndexKind,
    JSONValue,
    Lock,
    NewSpace,
    Payload,
    PointBatch,
    PointId,
    Points,
    Projection,
    PutResult,
    Query,
    RankReport,
    ShownIds,
    WorkerPool,
    WriteRules,
    answer,
    counts_of_results,
    most_frequent,
    note,
    projection_of,
    traced,
    why,
)
from retrieval_store.filters.expression import (
    Exists,
    Expression,
    PayloadPath,
    Scalar,
    fulfils,
    value_at,
)
from retrieval_store.filters.expression import all_of as conjunction
from retrieval_store.frameworks import quote
from retrieval_store_cluster import schema, write
from retrieval_store_cluster.client import Cluster, IndexMissing
from retrieval_store_cluster.facets import count_by_server
from retrieval_store_cluster.filters import (
    Bound,
    Parts,
    all_of,
    as_filter,
    condition_within_limits,
    fits,
    necessary,
    parts_of,
    payload_for,
)
from retrieval_store_cluster.forking import fork
from retrieval_store_cluster.ordering import KeyOrder, ids_in_order
from retrieval_store_cluster.payload import (
    LISTS,
    RESERVED,
    PayloadWanted,
    StoredPoint,
    refuse_reserved,
)
from retrieval_store_cluster.ranker import ClusterRanker, ClusterTrace, payload_for_query
from retrieval_store_cluster.schema import SPARSE, is_expressible, kind_for, parse_key
from retrieval_store_cluster.space import (
    PAGE,
    ListedPoint,
    Listing,
    QdrantCollection,
    ReadOptions,
    Spaces,
    by_id,
    orders_within,
    points_of,
    points_within,
)
from retrieval_store_cluster.write import Sending

READ_AT_ONCE = 8  # collections whose settings are read at the same time
RANKED = 100_000  # points of a ranking in which records are searched
PROJECTED = 10_000  # points whose vectors are read for a projection
MANY_TO_INDEX = 1_000_000  # points from which on a requested index is queued
INDEXED_A_SECOND = 1_000  # points that a server indexes in a second, at least
WHOLE = Fields(payload=True, document=True, uri=True)
MERGE = WriteRules(on_existing="update", on_missing="ignore")
INDEX_KINDS: tuple[IndexKind, ...] = get_args(IndexKind)
ATTEMPTS = 3  # at a filter that needs indexes
P = ParamSpec("P")
S = TypeVar("S", bound="ClusterPoints")
T = TypeVar("T")
_traced = partial(traced, system="qdrant")


def _retried(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A decorator for a method that reads. If the server requires payload indexes for the filter,
    they are created, and the method is called again. The method is also called again if the
    server's limits have changed. Raises NotFoundError if another process has replaced the
    collection some seconds ago."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        left, collection = ATTEMPTS, self._collection
        collection.refuse_replaced(schema.AGE)
        while True:
            try:
                return method(self, *args, **kwargs)
            except IndexMissing as error:
                left -= 1
                if not (collection.indexes.note_demand() and left):
                    raise ClusterError(f"{error}: {_maker_of(error.key)} makes it") from error
            except ClusterError as error:  # perhaps because of new limits
                left -= 1
                if not (left and collection.has_changed(error)):
                    raise

    return call


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch whose requests are being sent."""

    result: PutResult
    requests: Sequence[Future[None]]

    @property
    def is_done(self) -> bool:
        return all(request.done() for request in self.requests)

    def outcome(self) -> PutResult:
        """Wait for the batch; raises the error of the first request that failed."""
        for request in self.requests:
            request.result()
        return self.result


class ClusterPoints:
    """The points of a Qdrant collection, as a `PointsBackend`. Each call is one or more requests. A
    batch is checked as a whole before anything is sent. All sent data is durable when the call
    returns, but after a failure only a part of a batch may be stored."""

    reusable = False  # the cluster's description of the collection may change

    def __init__(self, collection: QdrantCollection) -> None:
        self._collection = collection

    @property
    def engine(self) -> None:
        """None, since this project's engine doesn't store the points."""
        return None

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._collection.settings.record.name

    @_traced("put")
    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert the new points of a batch, and update the existing points, as the rules say."""
        note(lambda: {"retrieval_store.written": len(batch.ids)})
        self._collection.refuse_replaced()
        batch_prepared = self._prepare_write(batch, rules)
        write.send_all(self._collection, batch_prepared.requests)
        return batch_prepared.result

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Insert and update points, batch by batch. While one batch is being sent, the next one is
        prepared. The result of a batch is yielded once the batch is durable."""
        written: deque[_UnderWay] = deque()
        is_new = self.count() == 0  # then no existing points must be looked up
        self._collection.refuse_replaced()
        with Sending(self._send) as sending:
            for batch in batches:
                made = self._prepare_write(batch, rules, is_new)
                requests = [sending.add(request) for request in made.requests]
                written.append(_UnderWay(made.result, requests))
                while written and written[0].is_done:
                    yield written.popleft().outcome()
            while written:
                yield written.popleft().outcome()

    def _send(self, request: write.SentBatch) -> None:
        self._collection.refuse_replaced()  # in the sender's turn: servers answer one by one
        write.send(self._collection, request)

    def _prepare_write(
        self, batch: PointBatch, rules: WriteRules, is_new: bool = False
    ) -> write.PreparedWrite:
        known: dict[PointId, StoredPoint] = {}
        if not is_new:
            wanted = payload_for(Fields()) if rules.on_existing == "refuse" else True
            points = by_id(self._collection, batch.ids, payload=wanted)
            are_shown = isinstance(batch.ids, ShownIds)
            known = {
                str(listed.point.id) if are_shown else listed.point.id: listed.point
                for listed in points
            }
        return write.prepare_write(self._collection, batch, rules, known)

    @_traced("delete")
    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that match both the ids and the filter. Returns the
        number of deleted points."""
        if ids is None and limit is None:
            return self._delete_matching(expression)
        matches = self._matches(ids, expression, limit, 0, Fields())
        write.delete(self._collection, [listed.point.id for listed in matches])
        return len(matches)

    @_retried
    def _delete_matching(self, expression: Expression | None) -> int:
        """Delete all points that match `expression`. If the server can evaluate the expression for
        a point, the point is deleted by a filter on the server. The other points are checked by the
        client, and deleted by their ids."""
        parts = self._parts(expression)
        others = [
            listed.point.id for listed in self._judge_points(parts.doubtful, expression, Fields())
        ]
        number = self._collection.number(parts.certain)
        if number:
            self._collection.refuse_replaced()
            write.delete_matching(self._collection, as_filter(parts.certain), number)
        if others:
            write.delete(self._collection, others)
        return number + len(others)

    @_traced("put")
    def merge_payload(self, expression: Expression, payload: Payload) -> int:
        """Merge `payload` into the payload of each point that matches the expression; returns the
        number of matching points."""
        refuse_reserved([payload])
        return self._merge_matching(expression, payload)

    @_retried
    def _merge_matching(self, expression: Expression, payload: Payload) -> int:
        """Merge a payload into the points that match `expression`. If the server can evaluate the
        expression for a point, the point is changed by a filter on the server. The client changes
        the other matching points one by one. It also changes the matching points whose exact
        values, stored in addition to the metadata, the merge would change."""
        parts = self._parts(expression)
        merged = write.parts_to_merge(self._collection, parts.certain, payload)
        # Points with exact values are read anyway, and counting all costs less than counting only
        # the others.
        within = 0 if merged.certain is False else self._collection.number(parts.certain)
        self._collection.refuse_replaced()
        doubtful = self._merge_each(parts.doubtful, expression, payload)
        noted = self._merge_each(merged.doubtful, expression, payload)
        if within:
            self._collection.indexes.make_room([payload])
            write.merge_matching(self._collection, as_filter(merged.certain), payload, within)
        return max(0, within - len(noted)) + len(doubtful | noted)

    def _merge_each(self, bound: Bound, expression: Expression, payload: Payload) -> set[PointId]:
        """Merge a payload into the points that match both `bound` and `expression`, page by page.
        Returns the ids of these points."""
        points = self._judge_points(bound, expression, WHOLE)
        merged: set[PointId] = set()
        while page := [listed.point for listed in islice(points, PAGE)]:
            known: dict[PointId, StoredPoint] = {point.id: point for point in page}
            batch = PointBatch([*known], {}, [payload] * len(known))
            prepared = write.prepare_write(self._collection, batch, MERGE, known)
            write.send_all(self._collection, prepared.requests)
            merged.update(known)
        return merged

    @_traced("get", counts_of_results)
    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that match the ids and the filter. They are in the order of `ids`, or, if
        `ids` is None, in the order of their first insertion."""
        matches = self._matches(ids, expression, limit, offset, fields)
        if matches and ids is None:
            self._collection.hint = matches[-1].point.order + 1
        return self._show(matches, fields)

    @_traced("number")
    @_retried
    def number(self, expression: Expression | None) -> int:
        """The number of points that match. The server counts them, except for points that only the
        client can check; these are read."""
        parts = self._parts(expression)
        doubtful = sum(1 for _ in self._judge_points(parts.doubtful, expression, Fields()))
        return self._collection.number(parts.certain) + doubtful

    @_traced("number")
    def count_within(self, expression: Expression, seconds: float) -> tuple[int, bool]:
        """The number of points that match, and whether the count was completed within this many
        seconds."""
        return self._count_until(expression, time.monotonic() + seconds)

    @_retried
    def _count_until(self, expression: Expression, ends: float) -> tuple[int, bool]:
        parts = self._parts(expression)
        count = self._collection.number(parts.certain)
        payload = payload_for(Fields(), expression)
        for listed in points_within(self._collection, parts.doubtful, payload):
            if time.monotonic() >= ends:
                return count, False
            count += fulfils(listed.point.candidate, expression)
        return count, True

    @_traced("get")
    def project(
        self,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> Projection:
        """A sample of the points that match, projected to the plane in which their vectors vary
        most."""
        if space not in ("", SPARSE):
            raise InvalidArgumentError(f"there is no vector space {space!r}")
        if space == SPARSE:
            raise InvalidArgumentError(
                f"space is {space!r}, whose vectors are sparse; only dense ones can be projected"
            )
        most = min(sample, PROJECTED)
        fields = Fields(payload=path is not None, vectors=(space,))
        points = self._sample(expression, most, seed, fields)
        drawn = projection_of(points, space, self._collection.metric, seed, path)
        if drawn.ids and len(points.ids) == most:  # there may be more
            return replace(drawn, total=max(drawn.total, self.number(expression)))
        return drawn

    @_traced("get", counts_of_results)
    def sample(self, expression: Expression | None, size: int, fields: Fields) -> Points:
        """A sample of at most `size` points that match. It consists of the first points in the
        order of their ids in Qdrant. These ids are hashes, so this sample is as good as a random
        sample."""
        return self._sample(expression, size, 0, fields)

    @_retried
    def _sample(
        self, expression: Expression | None, size: int, seed: int, fields: Fields
    ) -> Points:
        """A random sample of `size` points that match, in the order of `get`. seed: the seed of the
        random generator that selects the points."""
        payload = payload_for(fields, expression)
        listing = self._listing(expression, fields.vectors, size, payload)
        if listing is None:
            return self._show([], fields)
        start = uuid.UUID(int=random.Random(seed).getrandbits(128))
        matching = (
            listed
            for listed in listing.all_from(str(start))
            if fulfils(listed.point.candidate, expression)
        )
        drawn = sorted(islice(matching, size), key=lambda listed: (listed.point.order, listed.id))
        return self._show(drawn, fields)

    @_traced("get", counts_of_results)
    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The points that match and have a number or a date at the path, each once. Points with
        numbers come first, ascending, then points with dates; `descending` reverses the whole
        order. Points that are deleted meanwhile may be missing."""
        stop = None if limit is None else min(offset + limit, sys.maxsize)
        order = KeyOrder(self._collection, path, expression, descending, stop)
        ids = self._ids_in_order(order)[offset:]
        payload = payload_for(fields)
        return self._show(list(by_id(self._collection, ids, fields.vectors, payload)), fields)

    @_retried
    def _ids_in_order(self, order: KeyOrder) -> list[PointId]:
        return ids_in_order(order)

    @_traced("facet")
    @_retried
    def facet(
        self, path: PayloadPath, expression: Expression | None, limit: int | None
    ) -> list[tuple[Scalar, int]]:
        """The values at the path, each with the number of points that have it. The server counts
        the points, except for points that only the client can check; these are read."""
        having = conjunction(expression, Exists(path))
        parts, collection = self._parts(expression), self._collection
        presence = necessary(Exists(path), collection.indexes)
        counts, rest = count_by_server(collection, path, parts.certain, presence)
        for bound in (rest, parts.doubtful):
            read = all_of([bound, presence])
            read = read if fits(read, collection.limits) else bound
            for listed in self._judge_points(read, having, Fields()):
                value = value_at(listed.point.payload, path)
                items = value if isinstance(value, list) else [value]
                scalars = [item for item in items if isinstance(item, bool | int | float | str)]
                counts.update({(isinstance(item, bool), item) for item in scalars})
        return most_frequent(counts, limit)

    @_retried
    def count(self) -> int:
        """The number of points."""
        return self._collection.count()

    def warm(self, paths: Sequence[PayloadPath], analyzer: object) -> Payload:
        """Do nothing, since Qdrant itself keeps the data in memory that queries need."""
        return {"spaces": {}, "keys": {}, "lists": {}, "milliseconds": {}}

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Create a payload index on a metadata key. Raises InvalidArgumentError for a key that
        Qdrant's notation cannot express, and if `kind` is None and no point has the key."""
        if not is_expressible(path):
            raise InvalidArgumentError(f"key is {quote('.'.join(path))}, {schema.UNWRITTEN}")
        points, _ = self._collection.about()
        queued_for = points / INDEXED_A_SECOND if points >= MANY_TO_INDEX else None
        self._collection.indexes.create(path, kind or self._kind_of(path), queued_for)

    def _kind_of(self, path: PayloadPath) -> str:
        """The kind of index that suits the values of most of the first points. Raises
        InvalidArgumentError if none of these points has a value that can be indexed."""
        listing = Listing(self._collection, None)
        values = (value_at(listed.point.payload, path) for listed in islice(listing.points(), PAGE))
        kind = kind_for(path, values)
        if kind is None:
            raise InvalidArgumentError(
                f"kind is None, and none of the first {PAGE} points has a string, number or "
                f"boolean under {'.'.join(path)!r} to tell it by; expected one of {INDEX_KINDS}"
            )
        return kind

    @_traced("query", lambda results: counts_of_results(*(hits.points for hits in results)))
    def ask(self, question: Query) -> list[Hits]:
        """The hits of each query, best first; raises InvalidArgumentError for a query that a
        cluster can't answer."""
        return self._answer(question, ClusterTrace())

    def explain(self, question: Query) -> Payload:
        """A description of the requests that a query sends to the cluster: the filter, the
        parameters, the number of requests, and for a hybrid query the number of hits of each
        ranking. Qdrant does not report how it executes the requests."""
        trace = ClusterTrace()
        self._answer(question, trace)
        condition, params = (
            None if sent is None else sent.model_dump(exclude_none=True)
            for sent in (trace.filter, trace.params)
        )
        return {
            "points": self.count(),
            "place": self._collection.place,
            "filter": condition,
            "search": params,
            "requests": trace.requests,
            "refused": trace.refused,
            "legs": {name: list[JSONValue](counts) for name, counts in trace.legs.items()},
            "alphas": [round(alpha, 4) for alpha in trace.alphas],
        }

    @_traced("why")
    @_retried
    def why(self, inquiry: ExplainRequest) -> RankReport:
        """The ranks of records among the first hits of each ranking. Only fields that affect the
        order are read. Records beyond these hits have no rank. Searches are exact, and the weights
        of words are unknown."""
        looked_at = [inquiry.records, *(step.expression for step in inquiry.beside)]
        if inquiry.same is not None:
            looked_at.append(Exists(inquiry.same))
        payload = payload_for_query(replace(inquiry.question, fields=Fields()), *looked_at)
        ranker = ClusterRanker(self._collection, (), payload, ClusterTrace())
        return why(ranker, inquiry, max(1, min(RANKED, self._collection.count())))

    def stats(self) -> Payload:
        """The cluster's report about the collection."""
        info = self._collection.call("get_collection")
        measured = schema.IndexRecall.of(info.config.metadata)
        return {
            "points": self.count(),
            "place": self._collection.place,
            "status": str(info.status.value),
            "indexed_vectors": info.indexed_vectors_count or 0,
            "segments": info.segments_count or 0,
            "recall": None if measured is None else measured.as_payload(),
        }

    def gauges(self) -> Gauges:
        """The metrics of the collection that a cluster reports."""
        stats: Any = self.stats()
        bad = stats["status"] == "red"
        problem = f"{stats['place']} says that the status is red" if bad else None
        return Gauges(points=stats["points"], problem=problem)

    def configure_index(self, space: str, index: Payload) -> None:
        """Do nothing, since the number of candidates of a search is sent with each query."""

    @_retried
    def _answer(self, question: Query, trace: ClusterTrace) -> list[Hits]:
        spaces, payload = question.fields.vectors, payload_for_query(question)
        leaves = [leaf for step in question.steps for leaf in step.leaves]
        ranker = ClusterRanker(self._collection, spaces, payload, trace)
        if len(leaves) > 1 and question.groups is None:  # whose steps need other requests
            ranker.ask_at_once(leaves)
        return answer(ranker, question)

    def _parts(self, expression: Expression | None) -> Parts:
        collection = self._collection
        return parts_of(expression, collection.indexes, lambda: collection.limits)

    def _show(self, listed: Sequence[ListedPoint], fields: Fields) -> Points:
        """Convert listed points to the `Points` that callers get, with the requested fields."""
        points, vectors = [read.point for read in listed], [read.vectors for read in listed]
        return points_of(self._collection, points, vectors, fields)

    def _judge_points(
        self, bound: Bound, expression: Expression | None, fields: Fields
    ) -> Iterator[ListedPoint]:
        """The points within a bound that fulfil an expression, in any order."""
        payload = payload_for(fields, expression)
        for listed in points_within(self._collection, bound, payload):
            if fulfils(listed.point.candidate, expression):
                yield listed

    @_retried
    def _matches(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> list[ListedPoint]:
        """The points that match both the ids and the expression: at most `limit` points after the
        first `offset` points. ids: None for all ids."""
        payload = payload_for(fields, expression)
        if ids is not None:
            points = by_id(self._collection, ids, fields.vectors, payload)
        else:
            listing = self._listing(
                expression, fields.vectors, PAGE if limit is None else limit, payload
            )
            if listing is None:
                return []
            points = listing.points()
            counted = self._counted(expression) if offset else None
            if counted is not None:
                listing = replace(listing, condition=as_filter(counted))
                points, offset = listing.at(offset), 0
        matching = (listed for listed in points if fulfils(listed.point.candidate, expression))
        stop = None if limit is None else min(offset + limit, sys.maxsize)
        return list(islice(matching, offset, stop))

    def _counted(self, expression: Expression | None) -> Bound | None:
        """A bound that contains exactly the matching points, if the server can use indexes to count
        the points before a position; otherwise None."""
        if expression is None:
            return True
        if not self._collection.indexes.has_or_makes(LISTS):
            return None
        parts, limits = self._parts(expression), self._collection.limits
        placed = all_of([parts.certain, orders_within(lt=0)])
        is_counted = parts.doubtful is False and fits(placed, limits)
        return parts.certain if is_counted else None

    def _listing(
        self,
        expression: Expression | None,
        spaces: Spaces,
        expected: int,
        payload: PayloadWanted,
    ) -> Listing | None:
        """A listing of the points that may match `expression`. These points fulfil all conditions
        that the server can check. None if no point can match."""
        bound = necessary(expression, self._collection.indexes)
        if bound is False:
            return None
        condition = condition_within_limits(as_filter(bound), self._collection.limits)
        return Listing(self._collection, condition, spaces, min(PAGE, expected), payload)


class CreatingClusterPoints(ClusterPoints):
    """The points that exist when this object is created, to be read in pages while other programs
    write. A page continues after the last point of the previous page, instead of at an offset. So
    each point that is not deleted is returned exactly once. Points that are added later are not
    included."""

    def __init__(self, collection: QdrantCollection) -> None:
        super().__init__(collection)
        self._last_order = Listing(collection, None).last_order()
        self._start()

    def _start(self) -> None:
        self._passed = 0  # points on the pages before
        self._order = 0  # of the last of them
        self._before: set[str] = set()  # the points with that number
        self._page_read: list[tuple[int, str]] = []  # orders and ids of the last page …
        self._earlier = self._order, self._before  # … and the same as before it
        self._wanted: tuple[Expression | None, Fields] | None = None
        self._reading: Iterator[ListedPoint] = iter(())  # the next points, as requested

    @_retried
    def count(self) -> int:
        """How many of the points that existed when this object was created still exist."""
        return self._collection.number(orders_within(lte=self._last_order))

    @_traced("get", counts_of_results)
    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """A page of points. The page continues after the previous page, if that ended at `offset`.
        Otherwise reading starts at the first point, and skips `offset` points."""
        if ids is not None:
            return super().get(ids, expression, limit, offset, fields)
        if offset < self._passed:
            self._go_back(offset)
        while self._passed < offset:
            if not self._page(expression, min(PAGE, offset - self._passed), Fields()):
                break
        return self._show(self._page(expression, limit, fields), fields)

    def _go_back(self, offset: int) -> None:
        """Return to the position after `offset` points. A position on the last page is found even
        if other programs have deleted points meanwhile. Otherwise reading starts again at the first
        point."""
        page = self._page_read[: offset - self._passed]
        if not page:
            self._start()
            return
        last, (earlier, before) = page[-1][0], self._earlier
        self._before = before if earlier == last else set()
        self._before = self._before | {point for order, point in page if order == last}
        self._passed, self._order, self._page_read, self._wanted = offset, last, page, None

    def _page(
        self, expression: Expression | None, limit: int | None, fields: Fields
    ) -> list[ListedPoint]:
        page = self._read(expression, limit, fields)
        if page:
            self._earlier = self._order, self._before
            last = page[-1].point.order
            before = self._before if last == self._order else set()
            self._before = before | {listed.id for listed in page if listed.point.order == last}
            self._order = last
        self._page_read = [(listed.point.order, listed.id) for listed in page]
        self._passed += len(page)
        return page

    @_retried
    def _read(
        self, expression: Expression | None, limit: int | None, fields: Fields
    ) -> list[ListedPoint]:
        """The next points, beginning with the points of the last response that were not returned
        yet."""
        if self._wanted != (expression, fields):
            self._reading = self._rest_of_points(expression, fields)
        self._wanted = None  # until reading has succeeded
        page = list(islice(self._reading, limit))
        self._wanted = expression, fields
        return page

    def _rest_of_points(
        self, expression: Expression | None, fields: Fields
    ) -> Iterator[ListedPoint]:
        """The points that follow those of earlier pages."""
        payload, before = payload_for(fields, expression), self._before
        listing = self._listing(expression, fields.vectors, PAGE, payload)
        for listed in () if listing is None else listing.points(self._order, ahead=True):
            if listed.point.order > self._last_order:
                return
            if listed.id not in before and fulfils(listed.point.candidate, expression):
                yield listed


def _maker_of(key: str) -> str:
    """The call with which a user creates an index on a key, for messages. key: in Qdrant's
    notation."""
    match parse_key(key):
        case (str(name),) if name not in RESERVED:
            return f"Collection.create_index({name!r})"
    return "a Client with create_indexes=True"


LONGEST_NAME = 255


def refuse_long(name: str) -> None:
    """Raise InvalidArgumentError for a name that is too long for Qdrant."""
    if len(name) > LONGEST_NAME:
        raise InvalidArgumentError(
            f"name has {len(name)} characters; on a cluster it may have {LONGEST_NAME}"
        )


class ClusterStore(BaseStore):
    """A store on a cluster. Each collection is a Qdrant collection under the first name of the
    collection. If the collection is renamed, the new name is an alias of the Qdrant collection. The
    settings and the id are in the metadata of the Qdrant collection. Another process can replace a
    collection by another collection of the same name. A `Collection` object for the replaced
    collection detects this when it reads the metadata."""

    def __init__(self, cluster: Cluster, options: ReadOptions) -> None:
        self.cluster = cluster
        self._options = options
        self._open: dict[str, QdrantCollection] = {}
        self._read_again: dict[str, float] = {}  # names, and until when their collections are known
        self._lock = Lock()

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """Create an empty collection with one vector space. collection_id: the id of the
        collection; None for a new id. Raises AlreadyExistsError if the name is taken."""
        BM25Embedding(None, False)  # words can be found, or the error names the missing packages
        self._refuse_taken(name, ())
        record = CollectionRecord(collection_id or str(uuid.uuid4()), name, settings)
        schema.refuse_unusable(settings)
        settings_stored = schema.CollectionSettings(record, name)
        schema.make(self.cluster, settings_stored)
        with self._lock:
            made = QdrantCollection(self.cluster, self._options, settings_stored)
            self._open[record.id] = made
        return record

    def _refuse_taken(self, name: str, own: Collection[str]) -> None:
        """Raise AlreadyExistsError if the name is taken. own: names that belong to the collection
        itself, and are therefore allowed."""
        refuse_long(name)
        if name in own or name not in {*self.cluster.collections(), *self.cluster.aliases()}:
            return
        record = self._read(name)
        if record is None:
            why = self._why_not_ours(name)
        elif record.name != name:
            why = f"is what the collection {record.name!r} was called first, which stays with it"
        else:
            why = "already exists"
        raise AlreadyExistsError(f"collection {name!r} {why}, {self.cluster.place}")

    def _why_not_ours(self, name: str) -> str:
        with suppress(NotFoundError):  # deleted meanwhile
            info = self.cluster.call("get_collection", name)
            if schema.is_unfinished(info.config.metadata):
                return (
                    "is a fork that is under way, or was broken off: then delete it by the "
                    "delete_collection of a QdrantClient"
                )
        return "is the name of one that retrieval-store didn't make"

    def by_name(self, name: str) -> CollectionRecord:
        """The record of the collection with this name. Raises NotFoundError if there is none, and
        FormatError for a collection that only older releases can read."""
        record = self._read(name)
        if record is not None and record.name == name:
            return record
        why = ""
        if record is not None:
            why = f"; what was called so is {record.name!r} now"
        elif name in self.cluster.collections():
            why = ", only one that retrieval-store didn't make"
        raise NotFoundError(f"there is no collection {name!r} {self.cluster.place}{why}")

    def record(self, collection_id: str) -> CollectionRecord:
        """The record of the collection with this id; raises NotFoundError if there is none."""
        record = self._read(self._open_collection(collection_id).settings.name)
        if record is None or record.id != collection_id:
            self._forget(collection_id)
            raise NotFoundError.of_deleted(f"Collection {self.cluster.place}")
        return record

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace the record of a collection, with its name and its settings, by the record that
        `edit` returns. Raises AlreadyExistsError if the new name is taken. Raises ConflictError for
        new settings of word search, because the words of the existing points are stored by the old
        settings."""
        old = self.record(collection_id)
        new = edit(old)
        if new.settings.get("text") != old.settings.get("text"):
            raise ConflictError("the settings of word search can't be changed on a cluster")
        opened = self._open_collection(collection_id)
        name, settings = opened.settings.name, replace(opened.settings, record=new)
        aliases = [a for a, of in self.cluster.aliases().items() if of == name]
        if new.name != old.name:
            self._refuse_taken(new.name, [name, *aliases])
        is_new_alias = new.name not in (name, *aliases)
        # In this order: after an interruption anywhere, the collection is found by the name that it
        # records.
        if is_new_alias:
            made = models.CreateAlias(collection_name=name, alias_name=new.name)
            self.cluster.change_aliases(name, [models.CreateAliasOperation(create_alias=made)])
            self._refuse_lost(new.name, name)
        self.cluster.call("update_collection", name, metadata=settings.as_payload())
        if is_new_alias:
            try:
                self._refuse_lost(new.name, name)
            except AlreadyExistsError:
                before = replace(opened.settings, record=old).as_payload()
                self.cluster.call("update_collection", name, metadata=before)
                raise
        if old.name != new.name and old.name in aliases:  # others' aliases belong to them
            gone = models.DeleteAlias(alias_name=old.name)
            self.cluster.change_aliases(name, [models.DeleteAliasOperation(delete_alias=gone)])
        opened.settings = settings
        return new

    def _refuse_lost(self, alias: str, name: str) -> None:
        """Raise AlreadyExistsError if another client has set the alias at the same time. A server
        accepts both requests, and the last one counts."""
        if self.cluster.aliases().get(alias, name) != name:  # a node may not know it yet
            raise AlreadyExistsError(f"collection {alias!r} already exists, {self.cluster.place}")

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """A page of the records of this package's collections, sorted by name. Raises FormatError
        if only older releases can read one of the collections, because that collection must not be
        left out silently."""
        known_before = [*self._open]
        names = self.cluster.collections()
        with WorkerPool(READ_AT_ONCE, "retrieval-store-listing") as threads:
            records = [*threads.map(self._read, names)]  # a request for each
        ours = sorted((r for r in records if r is not None), key=lambda record: record.name)
        for own_id in {*known_before} - {record.id for record in ours}:
            self._forget(own_id)  # another process has deleted it
        return ours[offset : None if limit is None else offset + limit]

    def drop(self, name: str) -> None:
        """Delete a collection with its aliases; raises NotFoundError if it does not exist."""
        record = self.by_name(name)
        settings = self._open_collection(record.id).settings
        self.cluster.call("delete_collection", settings.name)
        self._forget(record.id)

    def points(self, collection_id: str) -> ClusterPoints:
        """The points of a collection; raises NotFoundError if it does not exist."""
        return ClusterPoints(self._open_collection(collection_id))

    def copy_note(self, collection_id: str) -> tuple[Any, int]:
        """The progress of a collection that is a copy from another cluster, and the number of
        points in the collection. The progress is None if the collection isn't such a copy. Raises
        NotFoundError if the collection does not exist."""
        name = self._open_collection(collection_id).settings.name
        info = self.cluster.call("get_collection", name)
        return (info.config.metadata or {}).get(schema.COPY), self.points(collection_id).count()

    def note_copy(self, collection_id: str, note: Payload) -> None:
        """Store `note`, the progress of a collection that is a copy from another cluster. Raises
        NotFoundError if the collection does not exist."""
        name = self._open_collection(collection_id).settings.name
        self.cluster.call("update_collection", name, metadata={schema.COPY: note})

    @contextmanager
    def open_copy(self, collection_id: str) -> Iterator[CreatingClusterPoints]:
        """A context manager that yields the points of a collection that exist now, to be read in
        pages. A cluster has no snapshots: points that other programs change meanwhile are returned
        in the old or the new state, and deleted points may be missing."""
        yield CreatingClusterPoints(self._open_collection(collection_id))

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """Copy a collection within the cluster under another name, with its settings. Raises
        AlreadyExistsError if the name is taken. Points that other programs change meanwhile are
        copied in the old or the new state."""
        source = self._open_collection(collection_id)
        self._refuse_taken(name, ())
        record = CollectionRecord(str(uuid.uuid4()), name, self.record(collection_id).settings)
        fork(source, replace(source.settings, record=record, name=name))
        return self.by_name(name)

    def gauges(self) -> Iterator[tuple[str, Gauges]]:
        """Yield the name of each collection, and the metrics that the cluster reports for it."""
        for record in self.page(None, 0):
            with suppress(NotFoundError):  # deleted meanwhile
                yield record.name, self.points(record.id).gauges()

    def optimize(self, collection_id: str, progress: object) -> None:
        """Do nothing, since Qdrant optimizes by itself. Raises NotFoundError if the collection does
        not exist."""
        self._open_collection(collection_id)

    def _open_collection(self, collection_id: str) -> QdrantCollection:
        """The cached state of the collection with this id. If the state is not cached, the Qdrant
        collections are read one after the other, until the collection is found. Qdrant collections
        that were read a moment ago are skipped."""
        if collection_id not in self._open:
            names, now = self.cluster.collections(), time.monotonic()
            for name in names:
                if collection_id not in self._open and now >= self._read_again.get(name, 0.0):
                    with suppress(FormatError):  # another collection, made by an older release
                        self._read(name)
            known = self._read_again.copy()
            self._read_again = {name: known[name] for name in names if name in known}
        collection = self._open.get(collection_id)
        if collection is None:
            raise NotFoundError.of_deleted(f"Collection {self.cluster.place}")
        return collection

    def _read(self, name: str) -> CollectionRecord | None:
        """The record of a Qdrant collection, found by its name or an alias. None if there is no
        such Qdrant collection, or if another program created it. Raises FormatError for a
        collection that only older releases can read."""
        try:
            info = self.cluster.call("get_collection", name)
        except NotFoundError:
            return None
        settings = schema.settings_in(info.config.metadata)
        self._read_again[name] = time.monotonic() + schema.AGE
        if settings is None:
            return None
        schema.complete(self.cluster, settings, info)
        record = settings.record
        with self._lock:
            collection = self._open.setdefault(
                record.id, QdrantCollection(self.cluster, self._options, settings)
            )
            collection.note(info)
        return record

    def _forget(self, collection_id: str) -> None:
        with self._lock:
            self._open.pop(collection_id, None)
