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

from retrieval_store.base.arrays import Floats, Matrix
from retrieval_store.base.ranking import (
    FIRST,
    FUSIONS,
    IDENTIFIER_WEIGHT,
    adaptive_alpha,
)
from retrieval_store.errors import ClusterError, InvalidArgumentError
from retrieval_store.filters.expression import Expression, HasId
from retrieval_store.filters.predicate import fulfils
from retrieval_store.indexes.exact import Metric, exact_distances, length_of
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
from retrieval_store.remote.limits import Limits, spared, within, without
from retrieval_store.remote.listing import by_id
from retrieval_store.remote.making import DENSE, NO_GRAPH, SPARSE, WORDS
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
    many hits each leg of a hybrid query gave, and what the vectors of each weighed."""

    filter: models.Filter | None = None
    requests: int = 0
    refused: int = 0
    legs: dict[str, Any] = field(default_factory=dict)
    alphas: list[float] = field(default_factory=list)


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
    """How Qdrant is to search; raises ClusterError where it may not look at all vectors."""
    rescored = models.QuantizationSearchParams(rescore=True)  # distances are those of the vectors
    limits = collection.limits
    wanted = query.ef or collection.settings.ef
    if not limits.exact and (query.exact or collection.settings.graph().m == NO_GRAPH):
        raise ClusterError(
            f"{collection.place} allows no searches without an index (search_allow_exact of its "
            "strict mode), which exact=True asks for, or the collection's index 'exact'"
        )
    return models.SearchParams(
        exact=query.exact,
        hnsw_ef=wanted if limits.ef is None else min(wanted, limits.ef),
        quantization=rescored if collection.settings.storage.get("quantization") else None,
    )


def _measured(answer: Answer, metric: Metric) -> Answer:
    """With distances for Qdrant's scores, which for Euclid are distances themselves."""
    distances = answer.scores**2 if metric == "l2" else 1.0 - answer.scores
    return replace(answer, scores=scores_of(distances, metric), distances=distances)


def _by_words(
    asked: Asked, query: TextQuery | SparseQuery, identifiers: float = 1.0
) -> list[Answer]:
    """By the sparse vectors of words, where identifiers count so many times, or by those that are
    given."""
    if isinstance(query, SparseQuery):
        vectors, using = list(query.vectors), SPARSE
    else:
        vectors, using = asked.collection.word_model().embed_query(query.texts, identifiers), WORDS
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
    dense = _by_vectors(asked, query.dense)
    words, asked.trace.alphas = _words_and_alphas(asked, query)
    asked.trace.legs["dense"] = [len(answer.held) for answer in dense]
    legs = zip(dense, words, asked.trace.alphas, strict=True)
    return [
        _measured_from(asked, query.dense, i, near, _fused(near, worded, query, alpha))
        for i, (near, worded, alpha) in enumerate(legs)
    ]


def _words_and_alphas(asked: Asked, query: HybridQuery) -> tuple[list[Answer], list[float]]:
    """What the words find, and what the vectors weigh beside it, for each query."""
    words = query.words
    if query.fusion != "adaptive" or not isinstance(words, TextQuery):
        found = _by_words(asked, words)
        return found, [query.alpha] * len(found)
    found = _by_words(asked, words, IDENTIFIER_WEIGHT)
    # Only the logarithm of the count matters; for the exact one all ids are read under strict mode.
    model, count = asked.collection.word_model(), asked.collection.about()
    asked.trace.requests += 1
    vectors = model.embed_query(words.texts, IDENTIFIER_WEIGHT)
    shares = []
    for vector, one in zip(vectors, found, strict=True):
        documents = [held.document or "" for held in one.held[:FIRST]]
        shares.append(model.held_share(vector, documents, one.scores[:FIRST], count))
    return found, [adaptive_alpha(share, query.alpha) for share in shares]


def _fused(near: Answer, worded: Answer, query: HybridQuery, alpha: float) -> Answer:
    """The k best of both, without distances; equally good ones in the order of first insertion."""
    pairs = list(zip(near.held + worded.held, near.vectors + worded.vectors, strict=True))
    by_id = {held.id: (held, vector) for held, vector in reversed(pairs)}
    both = sorted(by_id.values(), key=lambda pair: (pair[0].order, point_id(pair[0].id)))
    place = {held.id: i for i, (held, _) in enumerate(both)}
    places = np.array([place[held.id] for held, _ in pairs], np.int64)
    legs = [(places[: len(near.held)], near.scores), (places[len(near.held) :], worded.scores)]
    order, scores = FUSIONS[query.fusion](legs, [alpha, 1 - alpha])
    best = order[: query.k].tolist()
    return Answer([both[i][0] for i in best], [both[i][1] for i in best], scores[: query.k])


def _measured_from(asked: Asked, query: Query, i: int, near: Answer, found: Answer) -> Answer:
    """What was found, with distances from the i-th query vector: those that are known, and those
    that are asked for; NaN for points without a vector."""
    distances = _distances(near)
    others = tuple(one.id for one in found.held if one.id not in distances)
    if others and not _is_asked_whole(asked.collection.limits, len(others)):
        distances |= _read_distances(asked.collection, query.vectors[i], others)
        asked.trace.requests += 1
    elif others:
        named = Query(query.space, query.vectors[i : i + 1], len(others), HasId(others), exact=True)
        trace = Trace()
        distances |= _distances(_by_vectors(replace(asked, trace=trace), named)[0])
        asked.trace.requests += trace.requests
    return replace(found, distances=np.array([distances.get(one.id, np.nan) for one in found.held]))


def _is_asked_whole(limits: Limits, ids: int) -> bool:
    """Whether a server tells how near so many points are that are named."""
    return limits.exact and (limits.values is None or ids <= limits.values)


def _read_distances(
    collection: QdrantCollection, query: Matrix, ids: Sequence[PointId]
) -> dict[PointId, float]:
    """The same, of their vectors that are read."""
    found = [(one.held.id, one.vectors[""]) for one in by_id(collection, ids, ("",)) if one.vectors]
    if not found:
        return {}
    rows = np.array([vector for _, vector in found], np.float32)
    measured = exact_distances(query, length_of(query), rows, None, collection.metric)
    return dict(zip((one for one, _ in found), measured.tolist(), strict=True))


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
    asked.trace.filter = within(as_filter(bound), asked.collection.limits)
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
        if lacking and asked.collection.count(_condition(asked, limit)) > limit:
            raise ClusterError(
                f"{asked.collection.place} finds the best {limit} points only, by the limits of "
                "its strict mode, and fewer of these will do than are wanted; ask for fewer "
                "(n_results, depth), or by a simpler filter"
            )
        short.clear()  # there may be others as good, which can't be asked for
    return wider


def _allowed(asked: Asked, limit: int) -> int:
    return min(limit, asked.collection.limits.reach)


def _ranked(pairs: list[Pair]) -> list[Pair]:
    """As they came, best first, but equally good ones in the order of first insertion."""
    ranked: list[Pair] = []
    for _, equal in groupby(pairs, key=lambda pair: pair[0].score):
        ranked += sorted(equal, key=lambda pair: (pair[1].order, pair[0].id))
    return ranked


def _condition(asked: Asked, limit: int) -> models.Filter | None:
    """What is said of the filter where so many points are asked for: where the server answers with
    fewer at once, less of it, to have room for those that are left out."""
    limits = asked.collection.limits
    if limits.query is None or limit <= limits.query:
        return asked.trace.filter
    return within(asked.trace.filter, limits, spared(limit, limits.query, limits))


def _limited(
    asked: Asked, requests: list[models.QueryRequest], places: list[int], limit: int
) -> Iterator[list[Any]]:
    """The points that are found for some of the requests, so many for each."""
    limits = asked.collection.limits
    if limits.query is None or limit <= limits.query:
        made = [_sized(asked, requests[i], asked.trace.filter, limit) for i in places]
        yield from (response.points for response in _responses(asked, made))
    else:
        yield from _in_rounds(asked, [requests[i] for i in places], limit, limits.query)


def _in_rounds(
    asked: Asked, requests: list[models.QueryRequest], limit: int, most: int
) -> list[list[Any]]:
    """The same, where the server answers with fewer at once: each request leaves out what those
    before it have found. The filter has room for that from the first one on, so that all go by the
    same one, and scores descend."""
    limits, condition = asked.collection.limits, _condition(asked, limit)
    found: list[list[Any]] = [[] for _ in requests]
    left = list(range(len(requests)))
    while left:
        sizes = [min(most, limit - len(found[i])) for i in left]
        made = [
            _sized(asked, requests[i], without(condition, _ids(found[i]), limits), size)
            for i, size in zip(left, sizes, strict=True)
        ]
        full = []
        for i, size, response in zip(left, sizes, _responses(asked, made), strict=True):
            found[i] += response.points
            if len(response.points) == size and len(found[i]) < limit:
                full.append(i)
        left = full
    return found


def _ids(points: Sequence[Any]) -> list[Any]:
    return [point.id for point in points]


def _sized(
    asked: Asked, request: models.QueryRequest, condition: models.Filter | None, limit: int
) -> models.QueryRequest:
    return request.model_copy(
        update={
            "filter": condition,
            "limit": limit,
            "with_payload": True,
            "with_vector": asked.collection.vectors_wanted(asked.spaces),
        }
    )


def _responses(asked: Asked, requests: list[models.QueryRequest]) -> Iterator[Any]:
    """The answers to the requests, as many at once as Qdrant takes."""
    dimension = asked.collection.known_dimension() or 0
    # Filters are one for all, or the same and what each leaves out.
    filters = {id(one.filter): one.filter for one in requests if one.filter}
    said = max((len(one.model_dump_json()) for one in filters.values()), default=0)
    most = max(1, REQUEST_BYTES // (NUMBER_BYTES * dimension + said + 500))
    step = min(most, asked.collection.limits.searches or most)
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
