"""Searches of a cluster whose answers fulfil the filter exactly.

Qdrant is asked for the k best that fulfil what it can say of the filter. What comes back is checked
against the whole filter; where too few are left, it is asked for more, until there are enough or no
more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store.answering import leaves
from retrieval_store.base.arrays import Floats
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

WIDER = 4
PAGE = 1_000  # hits that are asked for without looking how many points there are
TIES = 1_000  # equally good hits that are looked at beyond what is wanted
Pair: TypeAlias = tuple[Any, Held]  # a point as Qdrant scores it, and what it holds


@dataclass(slots=True)
class Trace(leaves.Trace):
    """What was sent, besides: the filter, how many requests, and how many hits were refused
    here."""

    filter: models.Filter | None = None
    requests: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class SearchContext:
    """Where to search, what to bring, and where to note how."""

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
    """The k best points for each request that fulfil the whole expression, equally good ones in the
    order of first insertion.

    One more is asked for, to see whether equally good ones are cut off, which come in an order that
    changes from call to call; if so, more, but no more than TIES.
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
    """Whether the best that are wanted are among those that pass, whatever else there may be."""
    if len(passing) < wanted:
        return False
    cut = passing[wanted - 1][0].score if wanted else None
    return cut != pairs[-1][0].score or len(pairs) >= wanted + TIES


def _wider(
    context: SearchContext, limit: int, short: list[int], answers: list[Answer], wanted: int
) -> int:
    """How many to ask for next; raises ClusterError where the server allows no more, and what was
    found isn't enough."""
    lacking = any(len(answers[i].held) < wanted for i in short)
    wider = _allowed(context, limit * WIDER if lacking else wanted + TIES)
    if wider <= limit:
        if lacking and context.collection.count(_condition(context, limit)) > limit:
            raise ClusterError(
                f"{context.collection.place} finds the best {limit} points only, by the limits of "
                "its strict mode, and fewer of these will do than are wanted; ask for fewer "
                "(n_results, depth), or by a simpler filter"
            )
        short.clear()  # there may be others as good, which can't be asked for
    return wider


def _allowed(context: SearchContext, limit: int) -> int:
    return min(limit, context.collection.limits.reach)


def _ranked(pairs: list[Pair]) -> list[Pair]:
    """As they came, best first, but equally good ones in the order of first insertion."""
    ranked: list[Pair] = []
    for _, equal in groupby(pairs, key=lambda pair: pair[0].score):
        ranked += sorted(equal, key=lambda pair: (pair[1].order, pair[0].id))
    return ranked


def _condition(context: SearchContext, limit: int) -> models.Filter | None:
    """What is said of the filter where so many points are asked for: where the server answers with
    fewer at once, less of it, to have room for those that are left out."""
    limits = context.collection.limits
    if limits.query is None or limit <= limits.query:
        return context.trace.filter
    return within(context.trace.filter, limits, spared(limit, limits.query, limits))


def _limited(
    context: SearchContext, requests: list[models.QueryRequest], places: list[int], limit: int
) -> Iterator[list[Any]]:
    """The points that are found for some of the requests, so many for each."""
    limits = context.collection.limits
    if limits.query is None or limit <= limits.query:
        made = [_sized(context, requests[i], context.trace.filter, limit) for i in places]
        yield from (response.points for response in _responses(context, made))
    else:
        yield from _in_rounds(context, [requests[i] for i in places], limit, limits.query)


def _in_rounds(
    context: SearchContext, requests: list[models.QueryRequest], limit: int, most: int
) -> list[list[Any]]:
    """The same, where the server answers with fewer at once: each request leaves out what those
    before it have found. The filter has room for that from the first one on, so that all go by the
    same one, and scores descend."""
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
    """The answers to the requests, as many at once as Qdrant takes."""
    dimension = context.collection.known_dimension() or 0
    # Filters are one for all, or the same and what each leaves out.
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
