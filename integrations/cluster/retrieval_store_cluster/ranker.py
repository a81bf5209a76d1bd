"""`ClusterRanker`: a `Ranker` on Qdrant. It ranks by dense vectors, words and sparse vectors, with
hits that fulfil the filter exactly.

Qdrant's conditions can't express every filter. So the query is sent with a weaker filter, which all
matching points fulfil (`filters.necessary`), and the client checks the hits against the whole
filter. If too few hits pass, the query is repeated with a greater limit, until enough hits pass or
the server has no more hits.

Items are numbers assigned to points when a search first finds them. Qdrant sends payloads and
vectors with the hits, and they stay in memory until the query is answered, so `fetch` needs no
request.
"""

import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
from qdrant_client import models

from retrieval_store import SparseVector
from retrieval_store.errors import ClusterError, InvalidArgumentError
from retrieval_store.extension import (
    GREATEST_RECALL,
    BestOfEach,
    Bm25,
    Fields,
    Floats,
    GroupSearch,
    Ints,
    Matrix,
    Metric,
    NearestDense,
    NearestSparse,
    PointId,
    Points,
    Query,
    QueryStep,
    Ranked,
    ShownIds,
    Trace,
    WordReport,
    check_budget,
    distances_from,
    ef_of,
    kind_of,
)
from retrieval_store.filters.expression import (
    Exists,
    Expression,
    HasId,
    Not,
    OneOf,
    PayloadPath,
    Scalar,
    fulfils,
    value_at,
)
from retrieval_store.filters.expression import all_of as conjunction
from retrieval_store_cluster.client import VectorMissing
from retrieval_store_cluster.filters import (
    all_of,
    as_filter,
    condition_within_limits,
    conditions_to_exclude,
    fits,
    is_list,
    necessary,
    payload_for,
    without,
)
from retrieval_store_cluster.links import needs_acorn
from retrieval_store_cluster.payload import PayloadWanted, StoredPoint, decode_point, point_id
from retrieval_store_cluster.recall import search_for
from retrieval_store_cluster.schema import DENSE, NO_GRAPH, SPARSE, WORDS, is_plain
from retrieval_store_cluster.space import (
    NUMBER_BYTES,
    REQUEST_BYTES,
    Listing,
    QdrantCollection,
    Spaces,
    VectorsBySpace,
    by_id,
    points_of,
    points_within,
    sparse,
    vectors_of,
    vectors_to_send,
)

WIDER = 4  # factor by which the limit grows when a query is repeated
PAGE = 1_000  # up to this limit the points aren't counted first
TIES = 1_000  # equally good hits that are requested beyond the wanted ones
AT_ONCE = 32  # requests of several steps: with more, saving one doesn't matter
HITS_AT_ONCE = 10_000  # in the response to a request of several queries
COMPARED_AT_ONCE = 8_000_000  # points, in a request of several exact searches
MOST_READ = 10_000  # hits that are requested before the matching points are searched …
READ_FOR_A_HIT = 32  # … if these may be at most this many times as many,
MOST_HITS = 50_000  # or if there would be more hits than that
MOST_NAMED = 20_000  # points that are named in a request
OTHERS_READ = 1_000  # points that may have another value than those found
GROUPS_AFTER = 1_000  # found points after which other groups are searched
Pair: TypeAlias = tuple[Any, StoredPoint]  # a point with Qdrant's score, and its decoded payload


@dataclass(slots=True)
class ClusterTrace(Trace):
    """A trace with further facts: the filter that was sent, the parameters of a nearest-neighbour
    search, and the number of requests. `refused` is the number of hits that were dropped because
    they do not fulfil the whole filter."""

    filter: models.Filter | None = None
    params: models.SearchParams | None = None
    requests: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class ClusterSearch:
    """The context of a search: the collection, the vector spaces to return with hits, the payload
    keys to read, and the trace to fill. named: for each expression the ids of the points that
    fulfil it; None if there are too many."""

    collection: QdrantCollection
    spaces: Spaces
    payload: PayloadWanted
    trace: ClusterTrace
    named: list[tuple[Expression | None, tuple[PointId, ...] | None]] = field(default_factory=list)


def payload_for_query(query: Query, *others: Expression | None) -> PayloadWanted:
    """The payload keys to read with the hits: keys for the query's result, for the conditions of
    the query's steps, and for other expressions."""
    leaves = [leaf for step in query.steps for leaf in step.leaves]
    expressions = [*others, *(step.expression for step in (*query.steps, *leaves))]
    if isinstance(query.groups, BestOfEach):
        expressions.append(Exists(query.groups.path))
    fields = query.fields
    if any(isinstance(leaf.scoring, Bm25) and leaf.scoring.weighs_identifiers for leaf in leaves):
        fields = replace(fields, document=True)
    return payload_for(fields, *expressions)


@dataclass(frozen=True, slots=True)
class RankedPoints:
    """Points, best first, with Qdrant's scores."""

    points: list[StoredPoint]
    vectors: list[VectorsBySpace]
    scores: Floats


NOTHING = RankedPoints([], [], np.empty(0))


@dataclass(frozen=True, slots=True)
class StepSearch:
    """The requests of one step, one for each query of the step. The result of a request is the k
    best hits that fulfil the expression. less_is_better: whether lower scores are better; vectors:
    the sparse vectors of the queries, where an empty vector needs no request; is_by_id: whether the
    expression names all its points by id."""

    requests: list[models.QueryRequest]
    expression: Expression | None
    k: int
    less_is_better: bool = False
    vectors: Sequence[SparseVector] = ()
    is_by_id: bool = False


def verified_hits(
    context: ClusterSearch, search: StepSearch, asked_before: Sequence[list[Any]] | None = None
) -> list[RankedPoints]:
    """For each request, the k best points that fulfil the whole expression. Points with equal
    scores are in the order of first insertion. asked_before: the hits of the requests that
    `first_pages` returns, if those requests were sent before.

    Qdrant returns points with equal scores in an order that changes from call to call. So one more
    hit is requested. If its score equals that of the k-th hit, all points with that score are
    requested, TIES at most. Those that were inserted first are then chosen.
    """
    requests, expression = search.requests, search.expression
    answers: list[RankedPoints] = [NOTHING] * len(requests)
    first = _first_round(context, search)
    if first is None:
        return answers
    context.trace.filter, needed, limit = first
    left = list(range(len(requests)))
    asked, worse = [*requests], np.float32(np.inf if search.less_is_better else -np.inf)
    pages: Iterable[list[Any]] | None = asked_before
    while left:
        short = []
        if pages is None:
            pages = _hits_in_pages(context, asked, left, limit)
        for i, points in zip(left, pages, strict=True):
            pairs = [(point, decode_point(point.payload)) for point in points]
            passing = [p for p in pairs if fulfils(p[1].candidate, expression)]
            context.trace.refused += len(pairs) - len(passing)
            if len(pairs) == limit and not _are_hits_certain(pairs, passing, needed):
                short.append(i)
                if len(passing) >= needed > 0:  # those as good as the last one remain to be checked
                    bound = np.nextafter(np.float32(passing[needed - 1][0].score), worse)
                    asked[i] = requests[i].model_copy(update={"score_threshold": float(bound)})
            answers[i] = _answer(context.collection, _in_order(passing)[: search.k])
        pages = None
        is_lacking = any(len(answers[i].points) < needed for i in short)
        if is_lacking and _is_worth_naming(context, search, limit * WIDER * len(short)):
            ids = _ids_of_matching(context, expression)
            if ids is not None:
                found = verified_hits(context, _among_named(context, search, short, ids))
                for i, answer in zip(short, found, strict=True):
                    answers[i] = answer
                context.trace.filter = first[0]  # without ids
                return answers
        left, limit = short, _wider(context, limit, short, needed, is_lacking)
    return answers


def _is_worth_naming(context: ClusterSearch, search: StepSearch, hits: int) -> bool:
    """Whether reading the ids of all points that may match costs less than requesting this many
    hits."""
    if search.is_by_id or hits <= MOST_READ:
        return False
    collection, condition = context.collection, context.trace.filter
    if hits > MOST_HITS or (condition is not None and not collection.limits.exact):
        return hits > MOST_HITS
    number = collection.about()[0] if condition is None else collection.count(condition)
    return number <= READ_FOR_A_HIT * hits


def _among_named(
    context: ClusterSearch, search: StepSearch, places: list[int], ids: tuple[PointId, ...]
) -> StepSearch:
    """A search among points that the requests name by id. The server compares the vectors of all
    these points, since the graph has no links for them. places: the requests to repeat."""
    requests = [search.requests[i] for i in places]
    if context.collection.limits.exact:
        exact = {"params": models.SearchParams(exact=True)}
        requests = [r.model_copy(update=exact) if r.using == DENSE else r for r in requests]
    expression = conjunction(HasId(ids), search.expression)
    return replace(search, requests=requests, expression=expression, is_by_id=True)


def _ids_of_matching(
    context: ClusterSearch, expression: Expression | None
) -> tuple[PointId, ...] | None:
    """The ids of all points that fulfil an expression; None if there are too many to name them in a
    request."""
    for known, ids in context.named:
        if known is expression:
            return ids
    context.named.append((expression, _read_ids(context, expression)))
    return context.named[-1][1]


def _read_ids(context: ClusterSearch, expression: Expression | None) -> tuple[PointId, ...] | None:
    collection = context.collection
    most = min(MOST_NAMED, collection.limits.values or MOST_NAMED)
    payload = payload_for(Fields(), expression)
    listing = Listing(collection, context.trace.filter, payload=payload)
    ids: list[PointId] = []
    for listed in listing.in_any_order():
        check_budget()
        if fulfils(listed.point.candidate, expression):
            ids.append(listed.point.id)
            if len(ids) > most:
                return None
    return tuple(ids)


def first_pages(context: ClusterSearch, search: StepSearch) -> list[models.QueryRequest]:
    """The first requests that `verified_hits` would send. Empty if no request is needed, or if
    points must be counted first."""
    most, first = context.collection.limits.query, None
    if search.k <= PAGE:
        first = _first_round(context, search)
    if first is None or (most is not None and first[2] > most):
        return []
    condition, _, limit = first
    return [_request_page(context, request, condition, limit) for request in search.requests]


def _first_round(
    context: ClusterSearch, search: StepSearch
) -> tuple[models.Filter | None, int, int] | None:
    """The filter to send, the number of hits that are needed, and the number to request. None if no
    point can match."""
    collection, k = context.collection, search.k
    bound = necessary(search.expression, collection.indexes)
    if bound is False:
        return None
    needed = k if k <= PAGE else min(k, collection.count())
    condition = condition_within_limits(as_filter(bound), collection.limits)
    return condition, needed, _max_limit(context, needed + 1)


def _are_hits_certain(pairs: list[Pair], passing: list[Pair], needed: int) -> bool:
    """Whether the k best hits are certain. Enough hits must fulfil the filter, and no hit with the
    same score as the last needed hit may be missing. Missing hits are accepted once TIES more hits
    than needed were read."""
    if len(passing) < needed:
        return False
    cut = passing[needed - 1][0].score if needed else None
    return cut != pairs[-1][0].score or len(pairs) >= needed + TIES


def _wider(
    context: ClusterSearch, limit: int, short: list[int], needed: int, is_lacking: bool
) -> int:
    """The limit of hits for the next request. short: the positions of the requests that need more
    hits; needed: how many hits each of these requests needs. is_lacking: whether too few hits
    match; otherwise only hits with equal scores may be missing. If the server allows no greater
    limit, `short` is emptied; if more points may match, ClusterError is raised instead."""
    wider = _max_limit(context, limit * WIDER if is_lacking else needed + TIES)
    if wider <= limit:
        if is_lacking and context.collection.count(_condition(context, limit)) > limit:
            raise ClusterError(
                f"{context.collection.place} returns at most {limit} points, by the limits of its "
                "strict mode, and too few of these match; ask for fewer (n_results, depth), or "
                "by a simpler filter"
            )
        short.clear()  # equally good ones may be missing, which the server doesn't return
    return wider


def _max_limit(context: ClusterSearch, limit: int) -> int:
    return min(limit, context.collection.limits.reach)


def _in_order(pairs: list[Pair]) -> list[Pair]:
    """The hits, best first. Hits with equal scores are in the order of first insertion."""
    ranked: list[Pair] = []
    for _, equal in groupby(pairs, key=lambda pair: pair[0].score):
        ranked += sorted(equal, key=lambda pair: (pair[1].order, pair[0].id))
    return ranked


def _condition(context: ClusterSearch, limit: int) -> models.Filter | None:
    """The filter to send if `limit` hits are needed. If the server allows fewer hits in one
    response, some conditions are left out. So there is room for a condition that excludes earlier
    hits."""
    limits = context.collection.limits
    if limits.query is None or limit <= limits.query:
        return context.trace.filter
    return condition_within_limits(
        context.trace.filter, limits, conditions_to_exclude(limit, limits.query, limits)
    )


def _hits_in_pages(
    context: ClusterSearch, requests: list[models.QueryRequest], places: list[int], limit: int
) -> Iterator[list[Any]]:
    """The hits of the requests, `limit` hits for each."""
    limits = context.collection.limits
    if limits.query is None or limit <= limits.query:
        made = [_request_page(context, requests[i], context.trace.filter, limit) for i in places]
        yield from (response.points for response in _responses(context, made))
    else:
        yield from _in_rounds(context, [requests[i] for i in places], limit, limits.query)


def _in_rounds(
    context: ClusterSearch, requests: list[models.QueryRequest], limit: int, most: int
) -> list[list[Any]]:
    """The hits of requests, if a response can contain only `most` hits. Each further request
    excludes the hits that were found before. Otherwise its filter is the same, so that scores
    descend over all responses."""
    limits, condition = context.collection.limits, _condition(context, limit)
    hits: list[list[Any]] = [[] for _ in requests]
    left = list(range(len(requests)))
    while left:
        sizes = [min(most, limit - len(hits[i])) for i in left]
        made = [
            _request_page(context, requests[i], without(condition, _ids(hits[i]), limits), size)
            for i, size in zip(left, sizes, strict=True)
        ]
        full = []
        for i, size, response in zip(left, sizes, _responses(context, made), strict=True):
            hits[i] += response.points
            if len(response.points) == size and len(hits[i]) < limit:
                full.append(i)
        left = full
    return hits


def _ids(points: Sequence[Any]) -> list[Any]:
    return [point.id for point in points]


def _request_page(
    context: ClusterSearch,
    request: models.QueryRequest,
    condition: models.Filter | None,
    limit: int,
) -> models.QueryRequest:
    return request.model_copy(
        update={
            "filter": condition,
            "limit": limit,
            "with_payload": context.payload,
            "with_vector": context.collection.vectors_wanted(context.spaces),
        }
    )


def _responses(context: ClusterSearch, requests: list[models.QueryRequest]) -> Iterator[Any]:
    """The responses to the requests, sent in batches as large as Qdrant accepts."""
    dimension = context.collection.known_dimension() or 0
    # All have the same filter object, or the same filter with ids that each excludes.
    filters = {id(request.filter): request.filter for request in requests if request.filter}
    filter_bytes = max((len(request.model_dump_json()) for request in filters.values()), default=0)
    most = max(1, REQUEST_BYTES // (NUMBER_BYTES * dimension + filter_bytes + 500))
    step = min(most, context.collection.limits.searches or most, _most_at_once(context, requests))
    for start in range(0, len(requests), step):
        batch = requests[start : start + step]
        yield from context.collection.query_batch(batch)
        context.trace.requests += 1


def _most_at_once(context: ClusterSearch, requests: list[models.QueryRequest]) -> int:
    """How many of the requests to send in one batch, so that the server responds soon and the
    response is not too large."""
    most = max(1, HITS_AT_ONCE // max((request.limit or 1 for request in requests), default=1))
    if len(requests) > 1 and any(_looks_at_all(context, request) for request in requests):
        count, was_asked = context.collection.about()
        context.trace.requests += was_asked
        most = min(most, max(1, COMPARED_AT_ONCE // max(1, count)))
    return most


def _looks_at_all(context: ClusterSearch, request: models.QueryRequest) -> bool:
    has_no_graph = context.collection.settings.graph().m == NO_GRAPH
    is_exact = has_no_graph or (request.params is not None and request.params.exact)
    return request.using == DENSE and bool(is_exact)


def _answer(collection: QdrantCollection, pairs: Sequence[Pair]) -> RankedPoints:
    return RankedPoints(
        [stored for _, stored in pairs],
        [vectors_of(point, stored, collection) for point, stored in pairs],
        np.array([point.score for point, _ in pairs], np.float64),
    )


class ClusterRanker:
    """The points of one collection, as a `Ranker`. spaces: the vector spaces whose vectors are
    returned with hits; payload: the payload keys to read."""

    def __init__(
        self,
        collection: QdrantCollection,
        spaces: Spaces,
        payload: PayloadWanted,
        trace: ClusterTrace,
    ) -> None:
        self._collection, self.trace = collection, trace
        self._context = ClusterSearch(collection, spaces, payload, trace)
        self._items: dict[PointId, int] = {}
        self._points_found: list[StoredPoint] = []
        self._vectors: list[VectorsBySpace] = []
        self._far: dict[tuple[NearestDense, int], dict[PointId, float]] = {}
        # By the id of a step of the query: its search, and the hits that were requested ahead.
        self._ahead: dict[int, tuple[StepSearch, list[list[Any]] | None]] = {}

    def ask_at_once(self, steps: Sequence[QueryStep]) -> None:
        """Send the first requests of all steps together. `rank` then uses their responses. Nothing
        is sent if the responses would be too large to keep."""
        searches = {id(step): self._search_of(step) for step in steps}
        self._ahead = {key: (search, None) for key, search in searches.items() if search}
        pages = {
            key: first_pages(self._context, search) for key, (search, _) in self._ahead.items()
        }
        made = [request for page in pages.values() for request in page]
        if len(made) > AT_ONCE:
            return
        with suppress(VectorMissing):
            hits = iter([response.points for response in _responses(self._context, made)])
            for key, page in pages.items():
                if page:
                    self._ahead[key] = self._ahead[key][0], [*islice(hits, len(page))]

    def _prepare_search(self, step: QueryStep) -> tuple[StepSearch | None, list[list[Any]] | None]:
        """The search of a step, and the hits of its first requests, if `ask_at_once` has sent
        them."""
        return self._ahead.pop(id(step), None) or (self._search_of(step), None)

    def _search_of(self, step: QueryStep) -> StepSearch | None:
        """The search of a step; None if it needs no request."""
        match step.scoring:
            case NearestDense() as near:
                return self._near_search(step, near)
            case Bm25() as text:
                model = self._collection.word_model()
                words = model.embed_query(text.texts, text.identifier_weight)
                return _sparse_search(step, WORDS, words)
            case NearestSparse(vectors=vectors):
                return _sparse_search(step, SPARSE, vectors)
        return None

    def rank(self, step: QueryStep) -> list[Ranked]:
        """For each query of a step, the query's best points among all points that the step's filter
        allows."""
        match step.scoring:
            case NearestDense() as near:
                return self._near(step, near)
            case Bm25() as text:
                return self._text(step, text)
            case NearestSparse():
                return self._by_sparse_vectors(*self._prepare_search(step))
        return _refuse(step)

    def rank_among(self, step: QueryStep, rankings: Sequence[Ranked]) -> Ranked:
        """Raise InvalidArgumentError: ranking the hits of a cluster again is not supported."""
        _refuse(step)

    def batch_key(self, step: QueryStep) -> Hashable:
        """None, since steps are not merged. (The queries of one step are always sent in one
        batch.)"""
        return None

    def metric(self, space: str) -> Metric:
        """The metric of the vectors."""
        return self._collection.metric

    def distances(self, near: NearestDense, lists: Sequence[Ints]) -> list[Floats]:
        """For each query vector, its distances from the items in its list, as (n,) float64. The
        distance is NaN for a point without a vector. Distances that are known from searches are
        used, and one request fetches all other distances."""
        known = [self._far.get((near, place), {}) for place in range(len(lists))]
        ids = [[self._points_found[item].id for item in items.tolist()] for items in lists]
        others = [
            [own_id for own_id in ids_of_list if own_id not in known_of_list]
            for ids_of_list, known_of_list in zip(ids, known, strict=True)
        ]
        asked = self._ask_distances(near, others)
        every = [before | now for before, now in zip(known, asked, strict=True)]
        return [
            np.array([distances.get(own_id, np.nan) for own_id in ids_of_list])
            for ids_of_list, distances in zip(ids, every, strict=True)
        ]

    def order(self, items: Ints) -> Ints:
        """(n,) int64: a number for each item. Items that were inserted later have greater
        numbers."""
        points = [self._points_found[item] for item in items.tolist()]
        numbers = np.array([point.order for point in points], np.int64)
        order = np.argsort(numbers)
        if (np.diff(numbers[order]) == 0).any():  # two writers may get the same at one moment
            order = np.lexsort((np.array([point_id(point.id) for point in points]), numbers))
        return np.argsort(order)

    def labelling(
        self, groups: BestOfEach | GroupSearch, expected: int, expression: Expression | None
    ) -> "PointLabels":
        """The labels of the points found so far. Only `BestOfEach` is supported."""
        if not isinstance(groups, BestOfEach):
            raise InvalidArgumentError("a cluster's points aren't put into groups here")
        return PointLabels(self._collection, self._points_found, groups.path, expression)

    def fetch(self, each: Sequence[Ints], fields: Fields) -> list[Points]:
        """The points of each list of items. The points must be in memory. The returned lists share
        no objects."""
        seen: set[int] = set()
        return [self._points(items.tolist(), fields, seen) for items in each]

    def matching(self, expression: Expression, limit: int) -> Ints:
        """The first `limit` points, in the order of insertion, that fulfil an expression."""
        collection = self._collection
        if isinstance(expression, HasId):
            ids = ShownIds(map(str, expression.ids)) if expression.are_shown else expression.ids
            points = by_id(collection, ids)
            matches = sorted(points, key=lambda listed: (listed.point.order, listed.id))[:limit]
        else:
            bound = necessary(expression, collection.indexes)
            if bound is False:
                return np.empty(0, np.int64)
            listing = Listing(
                collection, condition_within_limits(as_filter(bound), collection.limits)
            )
            passing = (
                listed for listed in listing.points() if fulfils(listed.point.candidate, expression)
            )
            matches = list(islice(passing, limit))
        return self._items_of(
            [listed.point for listed in matches], [listed.vectors for listed in matches]
        )

    def fulfilling(self, expression: Expression, items: Ints) -> npt.NDArray[np.bool_]:
        """(n,) bool: which of these items fulfil an expression."""
        points = (self._points_found[item] for item in items.tolist())
        return np.array([fulfils(point.candidate, expression) for point in points], np.bool_)

    def words(self, text: Bm25, items: Ints) -> list[WordReport]:
        """A report on each distinct word of the first text. The contributions of words to scores
        are unknown on a cluster."""
        analyzer = text.analyzer
        documents = (self._points_found[item].document or "" for item in items.tolist())
        words_of_documents = [set(analyzer.words([document]).vocabulary) for document in documents]
        return [
            WordReport(
                word,
                np.nan,
                np.array(
                    [np.nan if word in vocabulary else 0.0 for vocabulary in words_of_documents]
                ),
            )
            for word in analyzer.words([text.texts[0]], is_query=True).vocabulary
        ]

    def _points(self, items: list[int], fields: Fields, seen: set[int]) -> Points:
        """The points of one list of items. If an earlier list contains a point, the point is
        copied. seen: the items of earlier lists, to which this list's items are added."""
        pairs = [(self._points_found[i], self._vectors[i]) for i in items]
        own = [deepcopy(pair) if i in seen else pair for i, pair in zip(items, pairs, strict=True)]
        seen.update(items)
        return points_of(
            self._collection, [point for point, _ in own], [vectors for _, vectors in own], fields
        )

    def _near(self, step: QueryStep, near: NearestDense) -> list[Ranked]:
        search, hits = self._prepare_search(step)
        answers = [NOTHING] * len(near.vectors)
        if search is not None:
            with suppress(VectorMissing):  # a node that doesn't know of the first write
                answers = verified_hits(self._context, search, hits)
        return [self._measure_distances(answer, near, i) for i, answer in enumerate(answers)]

    def _near_search(self, step: QueryStep, near: NearestDense) -> StepSearch | None:
        """The search for the nearest points; None if the collection has no vectors."""
        if near.scale != "distance" or near.space:
            _refuse(step)
        collection, vectors = self._collection, np.asarray(near.vectors)
        collection.refuse_other(vectors.shape[1], "query vectors")
        if collection.known_dimension() is None:
            return None
        self.trace.params = params = _params(near, collection, step)
        requests = [
            models.QueryRequest(query=vector.tolist(), using=DENSE, params=params)
            for vector in vectors_to_send(vectors, collection.metric)
        ]
        return StepSearch(requests, step.expression, step.depth, collection.metric == "l2")

    def _measure_distances(self, answer: RankedPoints, near: NearestDense, place: int) -> Ranked:
        """The points of a response as a ranking, with distances computed from Qdrant's scores."""
        metric, ranked = self._collection.metric, self._ranking_of(answer)
        distances = _distances_of(answer.scores, metric)
        ids = (point.id for point in answer.points)
        self._far[near, place] = dict(zip(ids, distances.tolist(), strict=True))
        ranked.distances, ranked.scores = distances, -distances if metric == "l2" else answer.scores
        return ranked

    def _ranking_of(self, answer: RankedPoints) -> Ranked:
        """The points of a response as a ranking of items."""
        return Ranked(self._items_of(answer.points, answer.vectors), answer.scores)

    def _items_of(self, points: Sequence[StoredPoint], vectors: Sequence[VectorsBySpace]) -> Ints:
        """The item number of each point. Points that have no item number yet are stored, and get
        new numbers."""
        for point, point_vectors in zip(points, vectors, strict=True):
            if point.id not in self._items:
                self._items[point.id] = len(self._points_found)
                self._points_found.append(point)
                self._vectors.append(point_vectors)
        return np.array([self._items[point.id] for point in points], np.int64)

    def _text(self, step: QueryStep, text: Bm25) -> list[Ranked]:
        """The rankings by BM25, from searches with sparse vectors of words."""
        search, hits = self._prepare_search(step)
        rankings = self._by_sparse_vectors(search, hits)
        if search is None or not text.weighs_identifiers:
            return rankings
        model = self._collection.word_model()
        # Only the logarithm of the count matters; in strict mode an exact count reads all ids.
        count, was_asked = self._collection.about()
        self.trace.requests += was_asked
        for vector, ranking in zip(search.vectors, rankings, strict=True):
            documents = [self._points_found[i].document or "" for i in ranking.items.tolist()]
            ranking.share = model.contained_share(vector, documents, ranking.scores, count)
        return rankings

    def _by_sparse_vectors(
        self, search: StepSearch | None, hits: list[list[Any]] | None
    ) -> list[Ranked]:
        if search is None:
            return []
        try:
            answers = verified_hits(self._context, search, hits)
        except VectorMissing:  # as above, if vectors are returned with the hits
            answers = verified_hits(replace(self._context, spaces=()), search)
        asked = (i for i, vector in enumerate(search.vectors) if len(vector.indices))
        by_place = dict(zip(asked, answers, strict=True))
        return [self._ranking_of(by_place.get(i, NOTHING)) for i in range(len(search.vectors))]

    def _ask_distances(
        self, near: NearestDense, ids: Sequence[list[PointId]]
    ) -> list[dict[PointId, float]]:
        """For each query vector, the distances from it to the points with these ids, requested from
        the server."""
        collection, vectors = self._collection, np.asarray(near.vectors)
        found: list[dict[PointId, float]] = [{} for _ in ids]
        places = [place for place, wanted in enumerate(ids) if wanted]
        if not places or collection.known_dimension() is None:
            return found
        limits = collection.limits
        most = min(limits.values or sys.maxsize, limits.query or sys.maxsize)
        if not limits.exact or any(len(ids[place]) > most for place in places):
            self.trace.requests += len(places)
            for place in places:
                found[place] = _read_distances(collection, vectors[place], ids[place])
            return found
        sent = vectors_to_send(vectors[places], collection.metric)
        requests = [
            models.QueryRequest(
                query=vector.tolist(),
                using=DENSE,
                params=models.SearchParams(exact=True),
                filter=as_filter(necessary(HasId(tuple(ids[place])), collection.indexes)),
                limit=len(ids[place]),
                with_payload=payload_for(Fields()),
            )
            for vector, place in zip(sent, places, strict=True)
        ]
        with suppress(VectorMissing):  # a node that doesn't know of the first write
            for place, response in zip(places, _responses(self._context, requests), strict=True):
                scores = np.array([point.score for point in response.points], np.float64)
                found_ids = [decode_point(point.payload).id for point in response.points]
                distances = _distances_of(scores, collection.metric).tolist()
                found[place] = dict(zip(found_ids, distances, strict=True))
        return found


class PointLabels:
    """The values of one key for the points found so far; see `Ranker.labelling`. Once many points
    were found, the server is asked whether a matching point has another value."""

    points_per_occurrence = 0

    def __init__(
        self,
        collection: QdrantCollection,
        points: Sequence[StoredPoint],
        path: PayloadPath,
        expression: Expression | None,
    ) -> None:
        self._collection, self._points, self._path = collection, points, path
        self._expression = expression
        self._looked_at = 0  # found points whose values are known …
        self._values: (
            dict[str | int, Scalar] | None
        ) = {}  # … by group; None with other than scalars
        self._count: int | None = None
        self._sizes: dict[str | int, int] = {}

    def of(self, items: Ints) -> list[tuple[str | int, ...]]:
        """The labels of each item."""
        values = (value_at(self._points[item].payload, self._path) for item in items.tolist())
        return [() if kind is None else (kind,) for kind in map(kind_of, values)]

    @property
    def group_count(self) -> int | None:
        """The number of groups, if the points found so far include a point of every group;
        otherwise None."""
        if len(self._points) < GROUPS_AFTER or not is_plain(self._path):
            return None
        if len(self._points) > self._looked_at:
            self._values = self._values_of_all()
            self._looked_at, self._count = len(self._points), None
            if self._values is not None and not self._may_have_others(self._values):
                self._count = len(self._values)
        return self._count

    def max_points_in(self, value: str | int) -> int:
        """The number of matching points with this value, counted by the server; the largest integer
        if it cannot count them."""
        values, limits = self._values or {}, self._collection.limits
        if value not in values or not limits.exact:
            return sys.maxsize
        if value not in self._sizes:
            meant = conjunction(self._expression, OneOf(self._path, (values[value],)))
            bound = necessary(meant, self._collection.indexes)
            size = self._collection.number(bound) if fits(bound, limits) else sys.maxsize
            self._sizes[value] = size
        return self._sizes[value]

    def _values_of_all(self) -> dict[str | int, Scalar] | None:
        if self._values is None:
            return None
        values = dict(self._values)
        for point in self._points[self._looked_at :]:
            value = value_at(point.payload, self._path)
            kind = kind_of(value)
            if kind is not None and not isinstance(value, bool | int | float | str):
                return None
            if kind is not None:
                values[kind] = value
        return values

    def _may_have_others(self, values: Mapping[str | int, Scalar]) -> bool:
        collection = self._collection
        has_list = is_list(self._path[0], collection.indexes)
        bound = necessary(self._expression, collection.indexes)
        if has_list is None or not fits(all_of([bound, has_list]), collection.limits):
            return True
        others = conjunction(
            self._expression, Exists(self._path), Not(OneOf(self._path, tuple(values.values())))
        )
        with_list = points_within(collection, all_of([bound, has_list]), payload_for(Fields()))
        if next(with_list, None) is not None:
            return True
        others_bound = necessary(others, collection.indexes)
        if not fits(others_bound, collection.limits):
            return True
        points = points_within(collection, others_bound, payload_for(Fields(), others))
        read = [*islice(points, OTHERS_READ)]
        found = any(fulfils(listed.point.candidate, others) for listed in read)
        return found or len(read) == OTHERS_READ


def _refuse(step: QueryStep) -> NoReturn:
    what = type(step.scoring).__name__
    raise InvalidArgumentError(f"a cluster can't answer a question with a step {what!r} like this")


def _sparse_search(step: QueryStep, using: str, vectors: Sequence[SparseVector]) -> StepSearch:
    """A search with one request for each vector that isn't empty."""
    requests = [
        models.QueryRequest(query=sparse(vector), using=using)
        for vector in vectors
        if len(vector.indices)
    ]
    return StepSearch(requests, step.expression, step.depth, vectors=vectors)


def _params(
    near: NearestDense, collection: QdrantCollection, step: QueryStep
) -> models.SearchParams:
    """Qdrant's search parameters. Raises ClusterError if an exact search is needed and not
    allowed."""
    limits = collection.limits
    if not limits.exact and (near.exact or collection.settings.graph().m == NO_GRAPH):
        raise ClusterError(
            f"{collection.place} allows no searches without an index (search_allow_exact of its "
            "strict mode), which exact=True asks for, or the collection's index 'exact'"
        )
    recall = collection.settings.recall if near.recall is None else near.recall
    ef = near.ef or collection.settings.ef
    if recall is not None and near.ef is None and not near.exact:
        if recall > GREATEST_RECALL and limits.exact:
            return models.SearchParams(exact=True)
        measured = search_for(collection, recall, step.depth)
        if measured is not None and (limits.exact or not measured.exact):
            return measured
        ef = ef_of(recall)
    rescored = models.QuantizationSearchParams(rescore=True)  # by the unquantized vectors
    return models.SearchParams(
        exact=near.exact,
        hnsw_ef=ef if limits.ef is None else min(ef, limits.ef),
        acorn=None if near.exact else needs_acorn(collection, step.expression),
        quantization=rescored if collection.settings.storage.get("quantization") else None,
    )


def _distances_of(scores: Floats, metric: Metric) -> Floats:
    """Distances from Qdrant's scores."""
    return scores**2 if metric == "l2" else 1.0 - scores


def _read_distances(
    collection: QdrantCollection, query: Matrix, ids: Sequence[PointId]
) -> dict[PointId, float]:
    """The distances of points from a vector. The client reads the vectors of the points, and
    computes the distances."""
    read = [
        (listed.point.id, listed.vectors[""])
        for listed in by_id(collection, ids, ("",), payload_for(Fields()))
        if listed.vectors
    ]
    if not read:
        return {}
    rows = np.array([vector for _, vector in read], np.float32)
    distances = distances_from(query, rows, collection.metric)
    return dict(zip((own_id for own_id, _ in read), distances.tolist(), strict=True))
