"""The points of one collection on a cluster."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.json_values import Payload
from retrieval_store.filters.expression import Expression
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
from retrieval_store.interface.queries import AnyQuery
from retrieval_store.remote import writing
from retrieval_store.remote.conditions import as_filter, necessary
from retrieval_store.remote.payloads import ORDER, Held, decoded, point_id
from retrieval_store.remote.searching import Asked, Trace, search
from retrieval_store.remote.space import QdrantCollection, vector_of

PAGE = 1_000  # points in one answer


class RemotePoints:
    """A `PointsBackend`: the points of a Qdrant collection.

    Each call is one or more requests. A batch is checked as a whole before anything is sent; what
    is sent is durable when the call returns, but a failure in the middle may leave a part of it.
    """

    def __init__(self, collection: QdrantCollection) -> None:
        self._collection = collection

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points."""
        held = {one.id: one for one in self._named(batch.ids)}
        return writing.put(self._collection, batch, rules, held)

    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that are named and match; returns how many."""
        found = [one.id for one, _ in islice(self._matching(ids, expression), limit)]
        writing.delete(self._collection, found)
        return len(found)

    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that are named and match: in the order of `ids`, or of first insertion."""
        stop = None if limit is None else min(offset + limit, sys.maxsize)
        matching = self._matching(ids, expression, fields.vectors is not None)
        found = list(islice(matching, offset, stop))
        return self._points([one for one, _ in found], [vector for _, vector in found], fields)

    def count(self) -> int:
        """How many points there are."""
        found: int = self._collection.call("count", exact=True).count
        return found

    def search(self, query: AnyQuery, fields: Fields) -> list[Hits]:
        """For each of the queries the best matching points, best first."""
        return self._searched(query, fields, Trace())

    def explain(self, query: AnyQuery, fields: Fields) -> Payload:
        """What a search asks of the cluster: its filter, the requests, and how many hits each side
        of a hybrid query gave. What Qdrant does with them is for Qdrant to say."""
        trace = Trace()
        self._searched(query, fields, trace)
        sent = None if trace.filter is None else trace.filter.model_dump(exclude_none=True)
        return {
            "points": self.count(),
            "place": self._collection.place,
            "filter": sent,
            "requests": trace.requests,
            "refused": trace.refused,
            "legs": dict(trace.legs),
        }

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

    def configure_index(self, space: str, index: Payload) -> None:
        """The number of candidates is sent with each query, so there is nothing to do here."""

    def _searched(self, query: AnyQuery, fields: Fields, trace: Trace) -> list[Hits]:
        answers = search(Asked(self._collection, fields.vectors is not None, trace), query)
        return [
            Hits(self._points(a.held, a.vectors, fields), a.distances, a.scores) for a in answers
        ]

    def _points(self, held: Sequence[Held], vectors: Sequence[Any], fields: Fields) -> Points:
        """Points as the caller wants them."""
        return Points(
            [one.id for one in held],
            [one.payload for one in held] if fields.payload else None,
            [one.document for one in held] if fields.document else None,
            [one.uri for one in held] if fields.uri else None,
            self._matrix(vectors) if fields.vectors is not None else None,
        )

    def _matrix(self, vectors: Sequence[Any]) -> Matrix:
        matrix = np.full(
            (len(vectors), self._collection.known_dimension() or 0), np.nan, np.float32
        )
        for i, vector in enumerate(vectors):
            if vector is not None:
                matrix[i] = vector
        return matrix

    def _named(self, ids: Sequence[PointId]) -> list[Held]:
        return [one for one, _ in self._by_id(ids, False)]

    def _matching(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        with_vectors: bool = False,
    ) -> Iterator[tuple[Held, Any]]:
        if ids is not None:
            found = self._by_id(ids, with_vectors)
        else:
            bound = necessary(expression)
            found = iter(()) if bound is False else self._pages(as_filter(bound), with_vectors)
        return (pair for pair in found if fulfils(pair[0].candidate, expression))

    def _by_id(self, ids: Sequence[PointId], with_vectors: bool) -> Iterator[tuple[Held, Any]]:
        for start in range(0, len(ids), PAGE):
            wanted = [point_id(one) for one in ids[start : start + PAGE]]
            records = self._collection.call(
                "retrieve",
                ids=wanted,
                with_payload=True,
                with_vectors=self._collection.vectors_wanted(with_vectors),
            )
            found = {record.id: record for record in records}
            for one in wanted:
                if one in found:
                    held = decoded(found[one].payload)
                    yield held, vector_of(found[one], held, self._collection)

    def _pages(
        self, condition: models.Filter | None, with_vectors: bool
    ) -> Iterator[tuple[Held, Any]]:
        """All points that fulfil the condition, in the order of first insertion."""
        start: int | None = None
        seen: set[Any] = set()  # of those whose order is `start`
        while True:
            records, _ = self._collection.call(
                "scroll",
                scroll_filter=condition,
                limit=PAGE,
                order_by=models.OrderBy(key=ORDER, start_from=start),
                with_payload=True,
                with_vectors=self._collection.vectors_wanted(with_vectors),
            )
            for record in records:
                held = decoded(record.payload)
                if record.id not in seen:
                    yield held, vector_of(record, held, self._collection)
                if held.order != start:
                    start, seen = held.order, set()
                seen.add(record.id)
            if len(records) < PAGE:
                return
            if len(seen) == PAGE and start is not None:  # a whole page of one number
                start, seen = start + 1, set()
