"""Searches of a cluster whose answers fulfil the filter exactly.

Qdrant's conditions can't express every filter. So the query is sent with a weaker filter, which all
matching points fulfil (`conditions.necessary`), and the hits are checked here against the whole
filter. Where too few hits pass, the query is repeated with a greater limit, until enough pass or
the server has no more.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store.answering import leaves
from retrieval_store.base.arrays import Floats
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.errors import ClusterError
from retrieval_store.filters.expression import Expression
from retrieval_store.filters.predicate import fulfils
from retrieval_store.remote.conditions import as_filter, necessary
from retrieval_store.remote.kept.payloads import Held, decoded
from retrieval_store.remote.limits import spared, within, without
from retrieval_store.remote.space import (
    NUMBER_BYTES,
    REQUEST_BYTES,
    QdrantCollection,
    Spaces,
    VectorsHeld,
    vectors_of,
)

WIDER = 4  # factor by which the limit grows when a query is repeated
PAGE = 1_000  # up to this limit the points aren't counted first
TIES = 1_000  # equally good hits that are requested beyond the wanted ones
Pair: TypeAlias = tuple[Any, Held]  # a point with Qdrant's score, and its decoded payload


@dataclass(slots=True)
class Trace(leaves.Trace):
    """Adds to the trace: the filter that was sent, the number of requests, and the number of hits
    that were refused because they don't fulfil the whole filter."""

    filter: models.Filter | None = None
    requests: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class SearchContext:
    """The collection to search, the vector spaces to return with hits, and the trace to fill."""

    collection: QdrantCollection
    spaces: Spaces
    trace: Trace


@dataclass(frozen=True, slots=True)
class Answer:
    """Points, best first, with Qdrant's scores."""

    held: list[Held]
    vectors: list[VectorsHeld]
    scores: Floats


NOTHING = Answer([], [], np.empty(0))


def verified(
    context: SearchContext,
    requests: list[models.QueryRequest],
    expression: Expression | None,
    k: int,
) -> list[Answer]:
    """For each request the k best points that fulfil the whole expression, equally good ones in the
    order of first insertion.

    Qdrant returns equally good points in an order that changes from call to call. So one hit more
    is requested; if it is as good as the k-th, up to TIES more are, to find the first inserted.
    """
    bound = necessary(expression, context.collection.indexes)
    answers: list[Answer] = [NOTHING] * len(requests)
    if bound is False:
        return answers
    context.trace.filter = within(as_filter(bound), context.collection.limits)
    wanted = k if k <= PAGE else min(k, context.collection.count())
    left, limit = list(range(len(requests))), _allowed(context, wanted + 1)
    while left:
        short = []
        for i, points in zip(left, _limited(context, requests, left, limit), strict=True):
            pairs = [(point, decoded(point.payload)) for point in points]
            passing = [p for p in pairs if fulfils(p[1].candidate, expression)]
            context.trace.refused += len(pairs) - len(passing)
            if len(pairs) == limit and not _settled(pairs, passing, wanted):
                short.append(i)
            answers[i] = _answer(context.collection, _ranked(passing)[:k])
        left, limit = short, _wider(context, limit, short, answers, wanted)
    return answers


def _settled(pairs: list[Pair], passing: list[Pair], wanted: int) -> bool:
    """Whether the wanted hits are certain: enough pass, and no equally good ones are cut off (or
    TIES of them have been looked at)."""
    if len(passing) < wanted:
        return False
    cut = passing[wanted - 1][0].score if wanted else None
    return cut != pairs[-1][0].score or len(pairs) >= wanted + TIES


def _wider(
    context: SearchContext, limit: int, short: list[int], answers: list[Answer], wanted: int
) -> int:
    """The next limit; raises ClusterError where the server allows no more, and too few hits were
    found. If only equally good ones may be missing, `short` is emptied instead."""
    lacking = any(len(answers[i].held) < wanted for i in short)
    wider = _allowed(context, limit * WIDER if lacking else wanted + TIES)
    if wider <= limit:
        if lacking and context.collection.count(_condition(context, limit)) > limit:
            raise ClusterError(
                f"{context.collection.place} finds the best {limit} points only, by the limits of "
                "its strict mode, and fewer of these will do than are wanted; ask for fewer "
                "(n_results, depth), or by a simpler filter"
            )
        short.clear()  # equally good ones may be missing, which the server doesn't return
    return wider


def _allowed(context: SearchContext, limit: int) -> int:
    return min(limit, context.collection.limits.reach)


def _ranked(pairs: list[Pair]) -> list[Pair]:
    """The hits in their order, best first, but equal scores in the order of first insertion."""
    ranked: list[Pair] = []
    for _, equal in groupby(pairs, key=lambda pair: pair[0].score):
        ranked += sorted(equal, key=lambda pair: (pair[1].order, pair[0].id))
    return ranked


def _condition(context: SearchContext, limit: int) -> models.Filter | None:
    """The filter to send with this limit. Where the server allows fewer hits in one response,
    conditions are dropped, to leave room for the one that excludes the hits found before."""
    limits = context.collection.limits
    if limits.query is None or limit <= limits.query:
        return context.trace.filter
    return within(context.trace.filter, limits, spared(limit, limits.query, limits))


def _limited(
    context: SearchContext, requests: list[models.QueryRequest], places: list[int], limit: int
) -> Iterator[list[Any]]:
    """The hits of the requests at these places, `limit` for each."""
    limits = context.collection.limits
    if limits.query is None or limit <= limits.query:
        made = [_sized(context, requests[i], context.trace.filter, limit) for i in places]
        yield from (response.points for response in _responses(context, made))
    else:
        yield from _in_rounds(context, [requests[i] for i in places], limit, limits.query)


def _in_rounds(
    context: SearchContext, requests: list[models.QueryRequest], limit: int, most: int
) -> list[list[Any]]:
    """The same where a response holds `most` hits only: each request excludes the hits found by
    those before it. All requests have the same filter otherwise, with room for the exclusion from
    the first one on, so that scores descend over all responses."""
    limits, condition = context.collection.limits, _condition(context, limit)
    found: list[list[Any]] = [[] for _ in requests]
    left = list(range(len(requests)))
    while left:
        sizes = [min(most, limit - len(found[i])) for i in left]
        made = [
            _sized(context, requests[i], without(condition, _ids(found[i]), limits), size)
            for i, size in zip(left, sizes, strict=True)
        ]
        full = []
        for i, size, response in zip(left, sizes, _responses(context, made), strict=True):
            found[i] += response.points
            if len(response.points) == size and len(found[i]) < limit:
                full.append(i)
        left = full
    return found


def _ids(points: Sequence[Any]) -> list[Any]:
    return [point.id for point in points]


def _sized(
    context: SearchContext,
    request: models.QueryRequest,
    condition: models.Filter | None,
    limit: int,
) -> models.QueryRequest:
    return request.model_copy(
        update={
            "filter": condition,
            "limit": limit,
            "with_payload": True,
            "with_vector": context.collection.vectors_wanted(context.spaces),
        }
    )


def _responses(context: SearchContext, requests: list[models.QueryRequest]) -> Iterator[Any]:
    """The responses to the requests, sent in batches as large as Qdrant accepts."""
    dimension = context.collection.known_dimension() or 0
    # All have the same filter object, or the same filter with ids that each excludes.
    filters = {id(one.filter): one.filter for one in requests if one.filter}
    said = max((len(one.model_dump_json()) for one in filters.values()), default=0)
    most = max(1, REQUEST_BYTES // (NUMBER_BYTES * dimension + said + 500))
    step = min(most, context.collection.limits.searches or most)
    for start in range(0, len(requests), step):
        some = requests[start : start + step]
        yield from context.collection.queried(some)
        context.trace.requests += 1


def _answer(collection: QdrantCollection, pairs: Sequence[tuple[Any, Held]]) -> Answer:
    return Answer(
        [held for _, held in pairs],
        [vectors_of(point, held, collection) for point, held in pairs],
        np.array([point.score for point, _ in pairs], np.float64),
    )
