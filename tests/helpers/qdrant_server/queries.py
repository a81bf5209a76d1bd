"""Queries in the engine's form, with the vectors of the points that they name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client.http import models

from tests.helpers.qdrant_server.edge_models import (
    condition,
    filter_of,
    geo_point,
    listed,
    named,
    point_id,
    vector_of,
    with_payload,
)
from tests.helpers.qdrant_server.refusals import bad, invalid

Find = Callable[[int | str, str, Any], Any]  # the vector of a point: id, name, where to look
LIMIT = 10
NAMED = (int, str)  # a point, in the place of a vector
VECTORS = (*NAMED, list, models.SparseVector, models.Document)


def request_of(asked: models.QueryRequest, find: Find, limit: int) -> Any:
    """A whole query. limit: the number of points, including those skipped by an offset."""
    return edge.QueryRequest(
        limit,
        prefetches=[_prefetch(one, find) for one in listed(asked.prefetch)],
        with_payload=with_payload(asked.with_payload, False),
        with_vector=asked.with_vector or False,
        **_common(asked, find),
    )


def _prefetch(asked: models.Prefetch, find: Find) -> Any:
    inner = [_prefetch(one, find) for one in listed(asked.prefetch)]
    limit = LIMIT if asked.limit is None else asked.limit
    return edge.Prefetch(limit, prefetches=inner, **_common(asked, find))


def _common(asked: Any, find: Find) -> dict[str, Any]:
    resolved = _Resolved(asked.using or "", asked.lookup_from, find)
    query = None if asked.query is None else resolved.query(asked)
    return {
        "query": query,
        "filter": _without(filter_of(asked.filter), resolved.ids),
        "score_threshold": asked.score_threshold,
        "params": _params(asked.params),
    }


def _without(found: Any, ids: set[int | str]) -> Any:
    """The filter, combined with the exclusion of the points that the query names."""
    if not ids:
        return found
    return edge.Filter(must=found and [found], must_not=[edge.HasIdCondition(set(ids))])


def _params(given: models.SearchParams | None) -> Any:
    if given is None:
        return None
    return edge.SearchParams(hnsw_ef=given.hnsw_ef, exact=bool(given.exact))


@dataclass
class _Resolved:
    """One query's vectors, and the points that it names."""

    using: str
    lookup: Any
    find: Find

    def __post_init__(self) -> None:
        self.ids: set[int | str] = set()

    def vector(self, given: Any) -> Any:
        if not isinstance(given, NAMED):
            return vector_of(given, "embed_query")
        if self.lookup is None:
            self.ids.add(point_id(given))
        return self.find(point_id(given), self.using, self.lookup)

    def vectors(self, given: Any) -> list[Any]:
        return [self.vector(one) for one in listed(given)]

    def pairs(self, given: Any) -> list[Any]:
        return [
            edge.ContextPair(self.vector(one.positive), self.vector(one.negative))
            for one in listed(given)
        ]

    def query(self, asked: Any) -> Any:
        given = plain(asked.query)
        if isinstance(given, VECTORS):
            return edge.Query.Nearest(self.vector(given), self.using)
        match given:
            case models.NearestQuery(nearest=given, mmr=models.Mmr() as mmr):
                return self.mmr(given, mmr, asked)
            case models.RecommendQuery(recommend=given):
                return self.recommend(given)
            case models.DiscoverQuery(discover=given):
                pairs = self.pairs(given.context)
                return edge.Query.Discover(
                    edge.DiscoverQuery(self.vector(given.target), pairs), self.using
                )
            case models.ContextQuery(context=given):
                return edge.Query.Context(edge.ContextQuery(self.pairs(given)), self.using)
            case models.RelevanceFeedbackQuery(relevance_feedback=given):
                return self.feedback(given)
        return _without_vectors(asked)

    def mmr(self, given: Any, mmr: models.Mmr, asked: Any) -> Any:
        diversity = 0.5 if mmr.diversity is None else mmr.diversity
        candidates = mmr.candidates_limit or asked.limit or LIMIT
        return edge.Mmr(self.vector(given), 1 - diversity, candidates, self.using)

    def recommend(self, given: models.RecommendInput) -> Any:
        positive, negative = self.vectors(given.positive), self.vectors(given.negative)
        if not positive and not negative:
            raise invalid("recommend: at least one positive or negative vector is needed")
        strategy = given.strategy or models.RecommendStrategy.AVERAGE_VECTOR
        if strategy == models.RecommendStrategy.AVERAGE_VECTOR:
            return edge.Query.Nearest(_average(positive, negative), self.using)
        query = edge.RecommendQuery(positive, negative)
        if strategy == models.RecommendStrategy.BEST_SCORE:
            return edge.Query.RecommendBestScore(query, self.using)
        return edge.Query.RecommendSumScores(query, self.using)

    def feedback(self, given: models.RelevanceFeedbackInput) -> Any:
        items = [edge.FeedbackItem(self.vector(i.example), i.score) for i in given.feedback]
        naive = given.strategy.naive
        strategy = edge.NaiveFeedbackStrategy(naive.a, naive.b, naive.c)
        query = edge.FeedbackNaiveQuery(self.vector(given.target), items, strategy)
        return edge.Query.FeedbackNaive(query, self.using)


def plain(query: Any) -> Any:
    """The vector of a plain query for the nearest."""
    if isinstance(query, models.NearestQuery) and query.mmr is None:
        return query.nearest
    return query


def _average(positive: list[Any], negative: list[Any]) -> Any:
    """The average of positive examples, moved away from that of negative ones."""
    if not positive:
        raise bad("At least one positive vector is required for the average_vector strategy")
    if any(not isinstance(one, list) or isinstance(one[0], list) for one in positive + negative):
        raise NotImplementedError("averages of sparse vectors and of matrices")
    middle = np.mean(np.array(positive, np.float32), axis=0)
    if negative:
        middle = middle + middle - np.mean(np.array(negative, np.float32), axis=0)
    return [float(one) for one in middle]


def _without_vectors(asked: Any) -> Any:
    match asked.query:
        case models.OrderByQuery(order_by=given):
            return order_by(given)
        case models.FusionQuery() | models.RrfQuery():
            return _fusion(asked)
        case models.SampleQuery():
            return edge.Sample.Random
        case models.FormulaQuery(formula=given, defaults=defaults):
            if not asked.prefetch:
                raise bad("A formula query needs a prefetch")
            return edge.Formula(expression(given), defaults or {})
    raise NotImplementedError(f"the engine can't be asked {asked.query!r}")


def _fusion(asked: Any) -> Any:
    if not asked.prefetch:
        raise bad("Fusion query requires at least one prefetch")
    match asked.query:
        case models.FusionQuery(fusion=models.Fusion.DBSF):
            return edge.Fusion.Dbsf()
        case models.RrfQuery(rrf=given):
            return edge.Fusion.Rrf(2 if given.k is None else given.k, given.weights)
    return edge.Fusion.Rrf(2)


def order_by(given: Any) -> Any:
    """An order by the values of a key, starting at one of them."""
    if given is None:
        return None
    if isinstance(given, str):
        return edge.OrderBy(given)
    start = given.start_from
    if hasattr(start, "isoformat"):
        start = start.isoformat()
    return edge.OrderBy(given.key, named(edge.Direction, given.direction), start)


def expression(given: Any) -> Any:
    """A formula, or a part of one."""
    kinds = edge.Expression
    match given:
        case int() | float():
            return kinds.Constant(float(given))
        case str():
            return kinds.Variable(given)
        case models.GeoDistance(geo_distance=params):
            return kinds.GeoDistance(geo_point(params.origin), params.to)
        case models.DatetimeExpression(datetime=said):
            return kinds.Datetime(said)
        case models.DatetimeKeyExpression(datetime_key=key):
            return kinds.DatetimeKey(key)
        case models.DivExpression(div=params):
            by_zero = params.by_zero_default
            return kinds.Div(expression(params.left), expression(params.right), by_zero)
        case models.PowExpression(pow=params):
            return kinds.Pow(expression(params.base), expression(params.exponent))
    return _of_one_kind(given)


DECAYS = {"LinDecayExpression": "Lin", "ExpDecayExpression": "Exp", "GaussDecayExpression": "Gauss"}


def _of_one_kind(given: Any) -> Any:
    kind = type(given).__name__
    if not kind.endswith("Expression"):
        return edge.Expression.Condition(condition(given))
    ((_, inside),) = given
    if kind in DECAYS:
        target = None if inside.target is None else expression(inside.target)
        return edge.Expression.Decay(
            getattr(edge.DecayKind, DECAYS[kind]),
            expression(inside.x),
            target,
            inside.midpoint,
            inside.scale,
        )
    made = getattr(edge.Expression, kind.removesuffix("Expression"))
    parts = [expression(one) for one in inside] if isinstance(inside, list) else expression(inside)
    return made(parts)
