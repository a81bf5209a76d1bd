"""Queries of qdrant-client's models, converted into steps of `interface.questions`."""

import itertools
from collections.abc import Sequence
from http import HTTPStatus
from itertools import chain
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import SparseVector
from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.base.validation import shown
from retrieval_store.errors import RetrievalStoreError
from retrieval_store.filters.expression import Expression, HasId, Not, all_of
from retrieval_store.filters.nodes import MAX_DEPTH
from retrieval_store.qdrant.collections.configuration import UNNAMED
from retrieval_store.qdrant.collections.opened import Collections, Opened
from retrieval_store.qdrant.collections.strict import (
    check_filter,
    check_limit,
    check_scan,
    check_search,
)
from retrieval_store.qdrant.filters.indexes import parse_order, parse_scored
from retrieval_store.qdrant.filters.parsing import merged
from retrieval_store.qdrant.points.reading import expression_of
from retrieval_store.qdrant.queries.formulas import formula_of
from retrieval_store.qdrant.queries.inputs import Inputs, average, nothing_given
from retrieval_store.qdrant.refusals import Refused, malformed, wrong
from retrieval_store.query.query import (
    Computed,
    Discovered,
    Diverse,
    Example,
    Fused,
    Near,
    Ordered,
    PayloadText,
    Recommended,
    RelevanceFeedback,
    Scoring,
    Sparse,
    Step,
    Unranked,
)
from retrieval_store.query.types import PointId

LIMIT, RRF_K = 10, 2
K1, B, MOST_K1 = 1.2, 0.75, 1e6
MOST_CANDIDATES = 16_384  # of MMR
INTEGERS, NUMBERS = (int, np.integer), (int, float, np.number)
NO_PARAMS = models.SearchParams()
NEEDS_SOURCES = (models.FusionQuery, models.RrfQuery, models.FormulaQuery)


def step_of(collections: Collections, opened: Opened, request: Any) -> Step:
    """What a request asks for: a QueryRequest, or what has its fields."""
    parser = _Parser(collections, opened)
    try:
        parsed = parser.parsed(request, None, 1)
    except RetrievalStoreError:
        parser.refuse_unreadable(request)  # which a server comes upon before all else
        raise
    _check_sources(request)
    return _joined(parsed, None)


def named_by(collections: Collections, opened: Opened, request: Any) -> tuple[PointId, ...]:
    """The points of this collection whose vectors a request looks for, and which it doesn't find,
    by itself and by its prefetches."""
    return _Parser(collections, opened).parsed(request, None, 1).named


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A step and those before it, each as it stands. named: the points of this collection that they
    name, whose vectors they look for."""

    step: Step
    named: tuple[PointId, ...]
    prefetch: tuple["_Parsed", ...]


def _joined(parsed: _Parsed, above: Expression | None) -> Step:
    """The step with those before it. No step finds the points that it or those before it have
    named, nor those that the steps behind it have: above, which is asked where points are first
    looked for."""
    if above is None and not parsed.named and not parsed.prefetch:
        return parsed.step
    named = Not(HasId(tuple(dict.fromkeys(parsed.named)))) if parsed.named else None
    unnamed = all_of(above, named)
    prefetch = tuple(_joined(one, unnamed) for one in parsed.prefetch)
    asked = None if prefetch else all_of(parsed.step.expression, unnamed)
    return replace(parsed.step, prefetch=prefetch, expression=asked)


class _Parser:
    """Parses one request, with its prefetches, to any depth that there may be."""

    def __init__(self, collections: Collections, opened: Opened) -> None:
        self._collections, self._opened = collections, opened

    def parsed(self, given: Any, above: models.Filter | None, depth: int) -> _Parsed:
        """A step, and those before it. above: the filters of the steps behind it, which are asked
        where points are first looked for."""
        if depth > MAX_DEPTH:
            raise wrong(f"prefetches are nested deeper than {MAX_DEPTH} levels")
        step, own = self._step(given)
        sources = _sources(given)
        if above is None and not sources:
            return _Parsed(step, tuple(own), ())
        filter_ = merged(above, given.filter)
        if not sources:
            step = replace(step, expression=expression_of(self._opened, filter_))
        prefetch = tuple(self.parsed(one, filter_, depth + 1) for one in sources)
        return _Parsed(step, (*own, *chain.from_iterable(one.named for one in prefetch)), prefetch)

    def refuse_unreadable(self, given: Any) -> None:
        """Refuse a request of which a step can't be read, whatever else is wrong with others."""
        pending = [given]
        while pending:
            one = pending.pop()
            pending.extend(_sources(one))
            try:
                self._step(one)
            except Refused as refused:
                if refused.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise
            except RetrievalStoreError:
                continue

    def _step(self, given: Any) -> tuple[Step, list[PointId]]:
        """One step without those before it, and the points that it names."""
        check_filter(self._opened, given.filter)
        if given.params is not None and given.params.hnsw_ef is not None:
            _number("hnsw_ef", given.params.hnsw_ef, 1)
        check_search(self._opened, given.params)
        limit = _number("limit", LIMIT if given.limit is None else given.limit, 1)
        check_limit(self._opened, limit)
        offset = _number("offset", getattr(given, "offset", None) or 0, 0)
        threshold = given.score_threshold
        if threshold is not None and not isinstance(threshold, NUMBERS):
            raise malformed(f"score_threshold is {shown(threshold)}, expected a number")
        query, sources = given.query, _sources(given)
        if isinstance(query, models.SampleQuery) and not sources:
            offset = 0  # which of them come first is left to chance, so servers skip none
        scoring, named = self._scoring(query, given, len(sources), limit)
        if threshold is not None and isinstance(scoring, Ordered | Unranked):
            raise wrong("score_threshold is given, but the query gives no scores to compare")
        expression = expression_of(self._opened, given.filter)
        least = None if threshold is None else float(threshold)
        return Step(scoring, limit, expression, (), least, offset), named

    def _scoring(
        self, query: Any, given: Any, sources: int, limit: int
    ) -> tuple[Scoring, list[PointId]]:
        """How a step ranks, and which points it names."""
        match query:
            case models.NearestQuery():  # the most frequent
                pass
            case None:
                return Unranked(), []
            case models.SampleQuery():
                return Unranked(at_random=True), []
            case models.FusionQuery(fusion=models.Fusion.DBSF):
                return Fused("dbsf"), []
            case models.FusionQuery():
                return Fused("server_rrf", k=RRF_K), []
            case models.RrfQuery(rrf=rrf):
                return _weighted(rrf, sources), []
            case models.FormulaQuery():
                return Computed(formula_of(self._opened, query)), []
            case models.OrderByQuery(order_by=order):
                found = parse_order(order, self._opened.configuration.indexes_by_path)
                return Ordered(found.at, found.descending, found.start), []
            case models.TextQuery(text=text):
                return self._payload_text(text, given), []
        if not sources:
            check_scan(self._opened, given.using or UNNAMED, given.filter)
        inputs = Inputs.of(self._collections, self._opened, given.using, given.lookup_from)
        scoring = self._by_vectors(query, given, inputs, limit)
        return scoring, inputs.named

    def _payload_text(self, text: Any, given: Any) -> PayloadText:
        """By the words of a key that has an index of texts with scoring."""
        asked = text if hasattr(text, "query") else models.TextQueryInput(query=text)
        scoring = asked.scoring.bm25 if asked.scoring is not None else models.Bm25Params()
        k1, b = K1 if scoring.k is None else scoring.k, B if scoring.b is None else scoring.b
        if not 0.0 <= k1 <= MOST_K1 or not 0.0 <= b <= 1.0:
            raise malformed(f"k is {k1} and b is {b}, expected 0 or more, and 0 to 1")
        at = parse_scored(given.using, self._opened.configuration.indexes_by_path)
        tokens = tuple(at.tokens.of_query(asked.query))
        return PayloadText(at, tokens, k1, b, self._corpus(given.params))

    def _corpus(self, params: models.SearchParams | None) -> Expression | None:
        """The points among which idf is counted."""
        idf = None if params is None else params.idf
        if not isinstance(idf, models.IdfCorpusParams):
            return None
        check_filter(self._opened, idf.corpus)
        return expression_of(self._opened, idf.corpus)

    def _by_vectors(self, query: Any, given: Any, inputs: Inputs, limit: int) -> Scoring:
        params = given.params or NO_PARAMS
        if params.idf is not None and not inputs.using.idf:
            raise wrong(
                f"params.idf is given, which needs sparse vectors with the modifier idf, and "
                f"{inputs.using.name!r} aren't such"
            )
        match query:
            case models.NearestQuery(nearest=nearest, mmr=None):
                return self._near(inputs, nearest, params)
            case models.NearestQuery(nearest=nearest, mmr=mmr):
                near = self._near(inputs, nearest, params)
                return _diverse(near, mmr, limit)
            case models.RecommendQuery(recommend=recommend):
                return _recommended(inputs, recommend, params)
            case models.DiscoverQuery(discover=discover):
                target = inputs.example(discover.target)
                return Discovered(inputs.using.name, target, _pairs(inputs, discover.context))
            case models.ContextQuery(context=context):
                return Discovered(inputs.using.name, None, _pairs(inputs, context))
            case models.RelevanceFeedbackQuery(relevance_feedback=feedback):
                return _feedback(inputs, feedback)
        return self._near(inputs, query, params)

    def _near(self, inputs: Inputs, given: Any, params: models.SearchParams) -> Near | Sparse:
        return _near(inputs, inputs.example(given), params, self._corpus(params))


def _near(
    inputs: Inputs,
    vector: Example,
    params: models.SearchParams,
    corpus: Expression | None = None,
) -> Near | Sparse:
    """By nearness to one vector."""
    name = inputs.using.name
    if isinstance(vector, SparseVector):
        return Sparse(name, (vector,), corpus)
    vectors = (vector,) if inputs.using.kind == "multi" else vector[None]
    return Near(name, vectors, "server", bool(params.exact), params.hnsw_ef)


def _number(name: str, given: Any, least: int) -> int:
    if not isinstance(given, INTEGERS) or given < least:
        raise malformed(f"{name} is {shown(given)}, expected {least} or more")
    return int(given)


def _check_sources(given: Any) -> None:
    """Refuse a step that needs others before it, or has some and doesn't rank what they find."""
    query, sources = given.query, _sources(given)
    if sources and query is None:
        raise wrong("a prefetch needs a query that ranks what it finds")
    if isinstance(query, NEEDS_SOURCES) and not sources:
        raise wrong(f"{type(query).__name__} needs a prefetch")
    for one in sources:
        _check_sources(one)


def _sources(given: Any) -> Sequence[Any]:
    """The prefetches of a step."""
    sources = given.prefetch
    if not sources:
        return ()
    return sources if isinstance(sources, Sequence) else [sources]


def _diverse(near: Near | Sparse, mmr: Any, wanted: int) -> Diverse:
    diversity = 0.5 if mmr.diversity is None else mmr.diversity
    candidates = wanted if mmr.candidates_limit is None else mmr.candidates_limit
    if not 0.0 <= diversity <= 1.0:
        raise malformed(f"mmr.diversity is {diversity}, expected 0 to 1")
    if not 0 <= candidates <= MOST_CANDIDATES:
        raise malformed(f"mmr.candidates_limit is {candidates}, expected up to {MOST_CANDIDATES}")
    return Diverse(near, diversity, candidates)


def _weighted(rrf: models.Rrf, sources: int) -> Fused:
    k = RRF_K if rrf.k is None else rrf.k
    if k < 1:
        raise malformed(f"rrf.k is {k}, expected 1 or more")
    if rrf.weights is None:
        return Fused("server_rrf", k=k)
    if len(rrf.weights) != sources:
        raise wrong(f"rrf has {len(rrf.weights)} weights for {sources} prefetches")
    return Fused("server_rrf", tuple(rrf.weights), k)


def _recommended(
    inputs: Inputs, given: models.RecommendInput, params: models.SearchParams
) -> Scoring:
    if not given.positive and not given.negative:
        raise nothing_given()
    strategy = given.strategy or models.RecommendStrategy.AVERAGE_VECTOR
    examples = inputs.examples([*(given.positive or []), *(given.negative or [])])
    if strategy == models.RecommendStrategy.AVERAGE_VECTOR and not given.positive:
        raise wrong("the strategy 'average_vector' needs a positive example")
    count, name = len(given.positive or []), inputs.using.name
    positives, negatives = examples[:count], examples[count:]
    if strategy == models.RecommendStrategy.AVERAGE_VECTOR:
        return _near(inputs, average(inputs.using, positives, negatives), params)
    best = strategy == models.RecommendStrategy.BEST_SCORE
    return Recommended(name, tuple(positives), tuple(negatives), best)


def _pairs(inputs: Inputs, given: Any) -> tuple[tuple[Any, Any], ...]:
    pairs = given if isinstance(given, Sequence) else [given] if given else []
    examples = inputs.examples(side for one in pairs for side in (one.positive, one.negative))
    return tuple(zip(examples[0::2], examples[1::2], strict=True))


def _feedback(inputs: Inputs, given: models.RelevanceFeedbackInput) -> RelevanceFeedback:
    """Each pair of examples of which one got more than the other counts by how much more."""
    naive = given.strategy.naive
    target = inputs.example(given.target)
    vectors = inputs.examples(one.example for one in given.feedback)
    examples = zip(vectors, [one.score for one in given.feedback], strict=True)
    pairs = [
        (near, far, float(np.float_power(more - less, naive.b)) * naive.c)
        for (near, more), (far, less) in itertools.permutations(examples, 2)
        if more > less
    ]
    return RelevanceFeedback(inputs.using.name, target, naive.a, tuple(pairs))
