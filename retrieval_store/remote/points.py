"""The points of one collection on a cluster."""

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from retrieval_store.answering.executor import answer
from retrieval_store.answering.why import why
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.json_values import JSONValue, Payload, shown
from retrieval_store.base.projection import projected
from retrieval_store.base.tracing import note, returned, traced
from retrieval_store.errors import ClusterError, InvalidArgumentError
from retrieval_store.filters.expression import Expression, PayloadPath, value_at
from retrieval_store.filters.predicate import fulfils
from retrieval_store.interface.points import (
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    PutResult,
    WriteRules,
)
from retrieval_store.interface.projections import (
    Projection,
    nothing_in,
    refuse_other_kind,
    scalar,
)
from retrieval_store.interface.questions import Question
from retrieval_store.interface.reasons import Findings, Inquiry
from retrieval_store.interface.records import Gauges
from retrieval_store.interface.stores import INDEX_KINDS, IndexKind
from retrieval_store.remote import writing
from retrieval_store.remote.calls.cluster import IndexMissing
from retrieval_store.remote.conditions import as_filter, necessary
from retrieval_store.remote.indexes import is_written, kinds_of, parsed
from retrieval_store.remote.kept.payloads import RESERVED, Held
from retrieval_store.remote.leaves import RemoteLeaves
from retrieval_store.remote.limits import within
from retrieval_store.remote.listing import PAGE, ListedPoint, Listing, by_id
from retrieval_store.remote.making import SPARSE
from retrieval_store.remote.sending import Sending
from retrieval_store.remote.space import QdrantCollection, Spaces, points_of
from retrieval_store.remote.verified import Trace

if TYPE_CHECKING:
    from retrieval_store.base.words import Analyzer

RANKED = 10_000  # points of a ranking in which records are looked for
PROJECTED = 10_000  # points whose vectors are read to be drawn
ATTEMPTS = 3  # at a filter for which indexes are wanted
T = TypeVar("T")
_traced = partial(traced, system="qdrant")


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch that is being sent."""

    result: PutResult
    requests: Sequence[Future[None]]

    @property
    def is_done(self) -> bool:
        return all(one.done() for one in self.requests)

    def outcome(self) -> PutResult:
        """Waits for it; raises the error of the first request that failed."""
        for one in self.requests:
            one.result()
        return self.result


class RemotePoints:
    """A `PointsBackend`: the points of a Qdrant collection.

    Each call is one or more requests. A batch is checked as a whole before anything is sent; what
    is sent is durable when the call returns, but a failure in the middle may leave a part of it.
    """

    def __init__(self, collection: QdrantCollection) -> None:
        self._collection = collection

    @property
    def embedded(self) -> None:
        """They aren't in this process."""
        return None

    @property
    def engine(self) -> None:
        """Nor in our engine."""
        return None

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._collection.settings.record.name

    @_traced("put")
    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points."""
        note(lambda: {"retrieval_store.written": len(batch.ids)})
        self._collection.refuse_replaced()
        batch_prepared = self._prepared(batch, rules)
        for request in batch_prepared.requests:
            writing.send(self._collection, request)
        return batch_prepared.result

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Insert and update points, batch by batch: while one is on its way, the next is made
        ready. What is said of a batch is said when it is durable."""
        written: deque[_UnderWay] = deque()
        is_new = self.count() == 0  # so that nothing is there that would have to be looked for
        self._collection.refuse_replaced()
        with Sending(self._sent) as sending:
            for batch in batches:
                made = self._prepared(batch, rules, is_new)
                requests = [sending.add(one) for one in made.requests]
                written.append(_UnderWay(made.result, requests))
                while written and written[0].is_done:
                    yield written.popleft().outcome()
            while written:
                yield written.popleft().outcome()

    def _sent(self, request: writing.Request) -> None:
        self._collection.refuse_replaced()  # in the sender's turn: servers answer one by one
        writing.send(self._collection, request)

    def _prepared(
        self, batch: PointBatch, rules: WriteRules, is_new: bool = False
    ) -> writing.Prepared:
        held = {} if is_new else {one.id: one for one in self._named(batch.ids)}
        return writing.prepared(self._collection, batch, rules, held)

    @_traced("delete")
    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that are named and match; returns how many."""
        found = self._indexed(lambda: self._found(ids, expression, limit, 0))
        writing.delete(self._collection, [one.held.id for one in found])
        return len(found)

    @_traced("get", returned)
    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that are named and match: in the order of `ids`, or of first insertion."""
        spaces = fields.vectors
        found = self._indexed(lambda: self._found(ids, expression, limit, offset, spaces))
        if found and ids is None:
            self._collection.hint = found[-1].held.order + 1
        held, vectors = [one.held for one in found], [one.vectors for one in found]
        return points_of(self._collection, held, vectors, fields)

    def number(self, expression: Expression | None) -> int:
        """How many points match: they are asked again here, so they are read."""
        return len(self.get(None, expression, None, 0, Fields()).ids)

    @_traced("number")
    def counted(self, expression: Expression, seconds: float) -> tuple[int, bool]:
        """The same, for as long as that may take."""
        ends = time.monotonic() + seconds

        def ask() -> tuple[int, bool]:
            count, listing = 0, self._listing(expression)
            for one in () if listing is None else listing.points():
                if time.monotonic() >= ends:
                    return count, False
                count += fulfils(one.held.candidate, expression)
            return count, True

        return self._indexed(ask)

    @_traced("get")
    def projected(
        self,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> Projection:
        """The first points that match, in the plane in which their vectors differ most: drawing
        some of them would mean to read all."""
        if space not in ("", SPARSE):
            raise InvalidArgumentError(f"there is no vector space {space!r}")
        refuse_other_kind(space, "sparse" if space == SPARSE else "dense")
        most = min(sample, PROJECTED)
        fields = Fields(payload=path is not None, vectors=(space,))
        found = self.get(None, expression, most, 0, fields)
        vectors = (found.vectors or {}).get(space)
        if not isinstance(vectors, np.ndarray) or not vectors.shape[1]:
            return nothing_in(path)
        there = np.flatnonzero(~np.isnan(vectors[:, 0]))
        vectors, ids = vectors[there], [found.ids[i] for i in there.tolist()]
        total = len(ids)
        if len(found.ids) == most:  # there may be more
            total = max(total, self.count() if expression is None else 0)
        unit = self._collection.metric == "cosine"
        places, plane = projected(lambda some: vectors[some], len(ids), seed, unit)
        values = None
        if path is not None and found.payloads is not None:
            values = [scalar(value_at(found.payloads[i], path)) for i in there.tolist()]
        return Projection(ids, places, plane.axes, plane.explained, total, values)

    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """A cluster lists points in the order of insertion alone."""
        raise InvalidArgumentError("order_by isn't supported on a cluster")

    def count(self) -> int:
        """How many points there are."""
        return self._indexed(self._collection.count)

    def warm(self, paths: Sequence[PayloadPath], analyzer: "Analyzer | None") -> Payload:
        """Nothing is loaded, and no request is made: what queries need is kept by Qdrant."""
        return {"spaces": {}, "keys": {}, "lists": {}, "milliseconds": {}}

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Have Qdrant index a key of the metadata; raises InvalidArgumentError for one that Qdrant
        can't write, or where no kind is given and there is nothing to tell it by."""
        if not is_written(path):
            raise InvalidArgumentError(
                f"key is {shown('.'.join(path))}, expected one without quotation marks, "
                "backslashes and lone surrogates, which indexes on a cluster can't be named by"
            )
        self._collection.indexes.create(path, kind or self._kind_of(path))

    def _kind_of(self, path: PayloadPath) -> IndexKind:
        """The kind that most of the first points want."""
        listing = Listing(self._collection, None)
        values = (value_at(one.held.payload, path) for one in islice(listing.points(), PAGE))
        kinds = Counter(kind for value in values for kind in kinds_of(value))
        if not kinds:
            raise InvalidArgumentError(
                f"kind is None, and none of the first {PAGE} points has a string, number or "
                f"boolean under {'.'.join(path)!r} to tell it by; expected one of {INDEX_KINDS}"
            )
        return kinds.most_common(1)[0][0]

    @_traced("query", lambda found: returned(*(hits.points for hits in found)))
    def ask(self, question: Question) -> list[Hits]:
        """The hits of each query, best first; InvalidArgumentError for what a cluster can't
        answer."""
        return self._answer(question, Trace())

    def explain(self, question: Question) -> Payload:
        """What a search asks of the cluster: its filter, the requests, and how many hits each side
        of a hybrid query gave. What Qdrant does with them is for Qdrant to say."""
        trace = Trace()
        self._answer(question, trace)
        sent = None if trace.filter is None else trace.filter.model_dump(exclude_none=True)
        return {
            "points": self.count(),
            "place": self._collection.place,
            "filter": sent,
            "requests": trace.requests,
            "refused": trace.refused,
            "legs": {name: list[JSONValue](counts) for name, counts in trace.legs.items()},
            "alphas": [round(alpha, 4) for alpha in trace.alphas],
        }

    @_traced("why")
    def why(self, inquiry: Inquiry) -> Findings:
        """Where records stand among the first hits of each ranking: a cluster tells of no places
        beyond. Its indexes are passed by, and what words weigh isn't known."""

        def ask() -> Findings:
            leaves = RemoteLeaves(self._collection, (), Trace())
            return why(leaves, inquiry, max(1, min(RANKED, self._collection.count())))

        return self._indexed(ask)

    def stats(self) -> Payload:
        """What the cluster says of the collection."""
        info = self._collection.call("get_collection")
        return {
            "points": self.count(),
            "place": self._collection.place,
            "status": str(info.status.value),
            "indexed_vectors": info.indexed_vectors_count or 0,
            "segments": info.segments_count or 0,
        }

    def gauges(self) -> Gauges:
        """What is watched of it, as far as a cluster tells."""
        told = self.stats()
        bad = told["status"] == "red"
        problem = f"{told['place']} says that the status is red" if bad else None
        return Gauges(points=self.count(), problem=problem)

    def configure_index(self, space: str, index: Payload) -> None:
        """The number of candidates is sent with each query, so there is nothing to do here."""

    def _answer(self, question: Question, trace: Trace) -> list[Hits]:
        spaces = question.fields.vectors
        return self._indexed(
            lambda: answer(RemoteLeaves(self._collection, spaces, trace), question)
        )

    def _indexed(self, ask: Callable[[], T]) -> T:
        """What `ask` returns; asked again when the server wants payload indexes for the filter,
        which are made then, or has got other limits."""
        left = ATTEMPTS
        while True:
            try:
                return ask()
            except IndexMissing as error:
                left -= 1
                if not (self._collection.indexes.demanded() and left):
                    raise ClusterError(f"{error}: {_maker_of(error.key)} makes it") from error
            except ClusterError as error:  # perhaps by limits that have been set since
                left -= 1
                if not (left and self._collection.has_changed(error)):
                    raise

    def _named(self, ids: Sequence[PointId]) -> list[Held]:
        return [one.held for one in by_id(self._collection, ids)]

    def _found(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        spaces: Spaces = (),
    ) -> list[ListedPoint]:
        """The points that are named and match, but for those before the offset and the limit."""
        if ids is not None:
            points = by_id(self._collection, ids, spaces)
        else:
            listing = self._listing(expression, spaces, PAGE if limit is None else limit)
            if listing is None:
                return []
            points = listing.points()
            if expression is None:
                points, offset = listing.at(offset), 0
        matching = (one for one in points if fulfils(one.held.candidate, expression))
        stop = None if limit is None else min(offset + limit, sys.maxsize)
        return list(islice(matching, offset, stop))

    def _listing(
        self, expression: Expression | None, spaces: Spaces = (), wanted: int = PAGE
    ) -> Listing | None:
        """The points that may match, as the server knows; None where none can."""
        bound = necessary(expression, self._collection.indexes)
        if bound is False:
            return None
        condition = within(as_filter(bound), self._collection.limits)
        return Listing(self._collection, condition, spaces, min(PAGE, wanted))


def _maker_of(key: str) -> str:
    """What a user can call for an index on a key as Qdrant writes it."""
    match parsed(key):
        case (str(name),) if name not in RESERVED:
            return f"Collection.create_index({name!r})"
    return "a Client with create_indexes=True"
