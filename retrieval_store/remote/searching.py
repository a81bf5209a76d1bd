"""Queries to a cluster: by vectors, by words, or by both, fused here.

Qdrant is asked for the k best that fulfil what it can say of the filter. What comes back is checked
against the whole filter; where too few are left, it is asked for more, until there are enough or no
more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import Floats
from retrieval_store.base.ranking import reciprocal_rank_fusion, weighted_sum
from retrieval_store.errors import ClusterError, InvalidArgumentError
from retrieval_store.filters.expression import Expression, HasId
from retrieval_store.filters.predicate import fulfils
from retrieval_store.indexes.exact import Metric
from retrieval_store.interface.points import PointId
from retrieval_store.interface.queries import (
    AnyQuery,
    HybridQuery,
    Query,
    SparseQuery,
    TextQuery,
    scores_of,
)
from retrieval_store.remote.calls.cluster import VectorMissing
from retrieval_store.remote.conditions import as_filter, necessary
from retrieval_store.remote.kept.payloads import Held, decoded, point_id
from retrieval_store.remote.making import DENSE, SPARSE, WORDS
from retrieval_store.remote.space import (
    NUMBER_BYTES,
    REQUEST_BYTES,
    QdrantCollection,
    Spaces,
    VectorsHeld,
    sent,
    sparse,
    vectors_of,
)

WIDER = 4
PAGE = 1_000  # hits that are asked for without looking how many points there are
TIES = 1_000  # equally good hits that are looked at beyond what is wanted
Pair: TypeAlias = tuple[Any, Held]  # a point as Qdrant scores it, and what it holds


@dataclass(slots=True)
class Trace:
    """What was sent: the filter, how many requests, and how many hits were refused here; and how
    many hits each leg of a hybrid query gave."""

    filter: models.Filter | None = None
    requests: int = 0
    refused: int = 0
    legs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to search, what to bring, and where to note how."""

    collection: QdrantCollection
    spaces: Spaces
    trace: Trace


@dataclass(frozen=True, slots=True)
class Answer:
    """Points, best first, with descending scores, and with distances where there is a vector to
    measure from."""

    held: list[Held]
    vectors: list[VectorsHeld]
    scores: Floats
    distances: Floats | None = None


def search(asked: Asked, query: AnyQuery) -> list[Answer]:
    """For each of the queries the best points."""
    match query:
        case Query():
            return _by_vectors(asked, query)
        case TextQuery() | SparseQuery():
            return _by_words(asked, query)
        case HybridQuery(alpha=1, k=k):
            return _by_vectors(asked, replace(query.dense, k=k))
        case HybridQuery(alpha=0, k=k):
            return _by_words(asked, replace(query.words, k=k))
        case HybridQuery():
            return _by_both(asked, query)
    raise InvalidArgumentError(f"a cluster can't answer a {type(query).__name__}")


def _by_vectors(asked: Asked, query: Query) -> list[Answer]:
    collection = asked.collection
    collection.refuse_other(query.vectors.shape[1], "query vectors")
    if collection.known_dimension() is None:
        return [replace(_nothing(), distances=np.empty(0)) for _ in query.vectors]
    made = [
        models.QueryRequest(query=vector.tolist(), using=DENSE, params=_params(query, collection))
        for vector in sent(query.vectors, collection.metric)
    ]
    try:
        found = _verified(asked, made, query.expression, query.k)
    except VectorMissing:  # on a node that hasn't heard of the first write there is nothing to find
        found = [_nothing() for _ in made]
    return [_measured(answer, collection.metric) for answer in found]


def _params(query: Query, collection: QdrantCollection) -> models.SearchParams:
    rescored = models.QuantizationSearchParams(rescore=True)  # distances are those of the vectors
    return models.SearchParams(
        exact=query.exact,
        hnsw_ef=query.ef or collection.settings.ef,
        quantization=rescored if collection.settings.storage.get("quantization") else None,
    )


def _measured(answer: Answer, metric: Metric) -> Answer:
    """With distances for Qdrant's scores, which for Euclid are distances themselves."""
    distances = answer.scores**2 if metric == "l2" else 1.0 - answer.scores
    return replace(answer, scores=scores_of(distances, metric), distances=distances)


def _by_words(asked: Asked, query: TextQuery | SparseQuery) -> list[Answer]:
    """By the sparse vectors of words, or by those that are given."""
    if isinstance(query, SparseQuery):
        vectors, using = list(query.vectors), SPARSE
    else:
        vectors, using = asked.collection.word_model().embed_query(query.texts), WORDS
    made: dict[int, models.QueryRequest] = {}
    for i, words in enumerate(vectors):
        if len(words.indices):
            made[i] = models.QueryRequest(query=sparse(words), using=using)
    try:
        found = _verified(asked, list(made.values()), query.expression, query.k)
    except VectorMissing:  # as above, if vectors are wanted with what is found
        plain = replace(asked, spaces=())
        found = _verified(plain, list(made.values()), query.expression, query.k)
    by_place = dict(zip(made, found, strict=True))
    answers = [by_place.get(i, _nothing()) for i in range(len(vectors))]
    leg = "sparse" if isinstance(query, SparseQuery) else "text"
    asked.trace.legs[leg] = [len(answer.held) for answer in answers]
    return answers


def _by_both(asked: Asked, query: HybridQuery) -> list[Answer]:
    dense, words = _by_vectors(asked, query.dense), _by_words(asked, query.words)
    asked.trace.legs["dense"] = [len(answer.held) for answer in dense]
    return [
        _measured_from(asked, query.dense, i, near, _fused(near, worded, query))
        for i, (near, worded) in enumerate(zip(dense, words, strict=True))
    ]


def _fused(near: Answer, worded: Answer, query: HybridQuery) -> Answer:
    """The k best of both, without distances; equally good ones in the order of first insertion."""
    pairs = list(zip(near.held + worded.held, near.vectors + worded.vectors, strict=True))
    by_id = {held.id: (held, vector) for held, vector in reversed(pairs)}
    both = sorted(by_id.values(), key=lambda pair: (pair[0].order, point_id(pair[0].id)))
    place = {held.id: i for i, (held, _) in enumerate(both)}
    places = np.array([place[held.id] for held, _ in pairs], np.int64)
    legs = [(places[: len(near.held)], near.scores), (places[len(near.held) :], worded.scores)]
    fuse = reciprocal_rank_fusion if query.fusion == "rrf" else weighted_sum
    order, scores = fuse(legs, [query.alpha, 1 - query.alpha])
    best = order[: query.k].tolist()
    return Answer([both[i][0] for i in best], [both[i][1] for i in best], scores[: query.k])


def _measured_from(asked: Asked, query: Query, i: int, near: Answer, found: Answer) -> Answer:
    """What was found, with distances from the i-th query vector: those that are known, and those
    that are asked for; NaN for points without a vector."""
    distances = _distances(near)
    others = tuple(one.id for one in found.held if one.id not in distances)
    if others:
        named = Query(query.space, query.vectors[i : i + 1], len(others), HasId(others), exact=True)
        trace = Trace()
        distances |= _distances(_by_vectors(replace(asked, trace=trace), named)[0])
        asked.trace.requests += trace.requests
    return replace(found, distances=np.array([distances.get(one.id, np.nan) for one in found.held]))


def _distances(answer: Answer) -> dict[PointId, float]:
    if answer.distances is None:
        return {}
    ids = [one.id for one in answer.held]
    return dict(zip(ids, answer.distances.tolist(), strict=True))


def _verified(
    asked: Asked, requests: list[models.QueryRequest], expression: Expression | None, k: int
) -> list[Answer]:
    """The k best points for each request that fulfil the whole expression, equally good ones in the
    order of first insertion.

    One more is asked for, to see whether equally good ones are cut off, which come in an order that
    changes from call to call; if so, more, but no more than TIES.
    """
    bound = necessary(expression, asked.collection.indexes)
    answers: list[Answer] = [_nothing() for _ in requests]
    if bound is False:
        return answers
    asked.trace.filter = as_filter(bound)
    wanted = k if k <= PAGE else min(k, asked.collection.count())
    left, limit = list(range(len(requests))), _allowed(asked, wanted + 1)
    while left:
        short = []
        for i, points in zip(left, _limited(asked, requests, left, limit), strict=True):
            pairs = [(point, decoded(point.payload)) for point in points]
            passing = [p for p in pairs if fulfils(p[1].candidate, expression)]
            asked.trace.refused += len(pairs) - len(passing)
            if len(pairs) == limit and not _settled(pairs, passing, wanted):
                short.append(i)
            answers[i] = _answer(asked.collection, _ranked(passing)[:k])
        left, limit = short, _wider(asked, limit, short, answers, wanted)
    return answers


def _settled(pairs: list[Pair], passing: list[Pair], wanted: int) -> bool:
    """Whether the best that are wanted are among those that pass, whatever else there may be."""
    if len(passing) < wanted:
        return False
    cut = passing[wanted - 1][0].score if wanted else None
    return cut != pairs[-1][0].score or len(pairs) >= wanted + TIES


def _wider(asked: Asked, limit: int, short: list[int], answers: list[Answer], wanted: int) -> int:
    """How many to ask for next; raises ClusterError where the server allows no more, and what was
    found isn't enough."""
    lacking = any(len(answers[i].held) < wanted for i in short)
    wider = _allowed(asked, limit * WIDER if lacking else wanted + TIES)
    if wider <= limit:
        if lacking and asked.collection.count(asked.trace.filter) > limit:
            raise ClusterError(
                f"{asked.collection.place} allows queries for {limit} points, and fewer of these "
                "will do than are wanted; ask for fewer (n_results, depth), or by a simpler filter"
            )
        short.clear()  # there may be others as good, which can't be asked for
    return wider


def _allowed(asked: Asked, limit: int) -> int:
    most = asked.collection.limits.query
    return limit if most is None else min(limit, most)


def _ranked(pairs: list[Pair]) -> list[Pair]:
    """As they came, best first, but equally good ones in the order of first insertion."""
    ranked: list[Pair] = []
    for _, equal in groupby(pairs, key=lambda pair: pair[0].score):
        ranked += sorted(equal, key=lambda pair: (pair[1].order, pair[0].id))
    return ranked


def _limited(
    asked: Asked, requests: list[models.QueryRequest], places: list[int], limit: int
) -> Iterator[Any]:
    """The points that are found for some of the requests, so many for each."""
    shared = {
        "filter": asked.trace.filter,
        "limit": limit,
        "with_payload": True,
        "with_vector": asked.collection.vectors_wanted(asked.spaces),
    }
    made = [requests[i].model_copy(update=shared) for i in places]
    for response in _responses(asked, made):
        yield response.points


def _responses(asked: Asked, requests: list[models.QueryRequest]) -> Iterator[Any]:
    """The answers to the requests, as many at once as Qdrant takes."""
    dimension = asked.collection.known_dimension() or 0
    said = asked.trace.filter
    size = NUMBER_BYTES * dimension + (0 if said is None else len(said.model_dump_json())) + 500
    step = max(1, REQUEST_BYTES // size)
    for start in range(0, len(requests), step):
        some = requests[start : start + step]
        yield from asked.collection.queried(some)
        asked.trace.requests += 1


def _answer(collection: QdrantCollection, pairs: Sequence[tuple[Any, Held]]) -> Answer:
    return Answer(
        [held for _, held in pairs],
        [vectors_of(point, held, collection) for point, held in pairs],
        np.array([point.score for point, _ in pairs], np.float64),
    )


def _nothing() -> Answer:
    return Answer([], [], np.empty(0))
