"""Answers the queries of a client by the engine. Requests and results are instances of
qdrant-client's model classes.

For `why`, `case_of` makes the request to explain a query, with its filters divided into conditions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from qdrant_client import models
from qdrant_client.http import models as rest

from retrieval_store.base import budget
from retrieval_store.base.arrays import Floats
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import And, Expression, HasId, Not, Or
from retrieval_store.qdrant.collections import CollectionHandle, Collections, check_shard_key
from retrieval_store.qdrant.config import UNNAMED
from retrieval_store.qdrant.filter_parser import grouping_by, parse_id
from retrieval_store.qdrant.query_parser import step_of, used_ids_of
from retrieval_store.qdrant.read import Selection, expression_of, make_model, retrieve
from retrieval_store.qdrant.refusals import bad_request, describe
from retrieval_store.qdrant.strict_mode import (
    check_filter,
    check_group_key,
    check_limit,
    check_searches,
)
from retrieval_store.query.query import Mmr, OrderBy, Query, QueryStep, Unranked
from retrieval_store.query.reasons import ArgumentNames, Condition, ReasonKind, WhyRequest
from retrieval_store.query.types import Hits, PointId

AT_ONCE = 10_000  # pairs
SEARCH = 10_000  # bytes that a search takes until it is answered
GROUPS, SAMPLE = 10, 10
UNSCORED = OrderBy, Unranked
_NOTHING_ASKED: dict[str, Any] = dict.fromkeys(models.QueryRequest.model_fields)


@dataclass(frozen=True, slots=True)
class PendingQuery:
    """A query that is about to be run. request: the request, if the call has only one."""

    collections: Collections | None
    opened: CollectionHandle
    question: Query
    request: Any = None


Look: TypeAlias = Callable[[PendingQuery], object]
_LOOK: ContextVar[Look | None] = ContextVar("look", default=None)


@contextmanager
def looking(look: Look) -> Iterator[None]:
    """A context manager: in its `with` block, `look` is called with each query before the query is
    run."""
    token = _LOOK.set(look)
    try:
        yield
    finally:
        _LOOK.reset(token)


def _ask(
    collections: Collections | None,
    opened: CollectionHandle,
    question: Query,
    request: Any = None,
) -> list[Hits]:
    look = _LOOK.get()
    if look is not None:
        look(PendingQuery(collections, opened, question, request))
    return opened.points.ask(question)


def request_of(**fields: Any) -> models.QueryRequest:
    """A `models.QueryRequest` with these fields, which aren't checked before they are used."""
    return make_model(models.QueryRequest, {**_NOTHING_ASKED, **fields})


class HitColumns(NamedTuple):
    """The hits of one query as columns, best first. A field that is not returned is None. scores:
    (n,) float64."""

    ids: Sequence[PointId]
    versions: Sequence[int]
    scores: Floats
    payloads: Sequence[Any]
    vectors: Sequence[Any]
    order_values: Sequence[Any]


Answering: TypeAlias = Callable[[HitColumns], Any]  # makes the answer to a query


def response_of(hits: HitColumns) -> rest.QueryResponse:
    """The hits of a query as a `QueryResponse`."""
    return make_model(rest.QueryResponse, {"points": models_of(hits)})


def query(
    collections: Collections,
    opened: CollectionHandle,
    request: Any,
    answering: Answering = response_of,
) -> Any:
    """Run a query and return its response, which `answering` makes from the hits, best first."""
    selection = Selection(opened, request.with_payload, request.with_vector)
    step = step_of(collections, opened, request)
    question = Query((step,), selection.fields(not isinstance(step.scoring, UNSCORED)))
    (hits,) = _ask(collections, opened, question, request)
    return answering(_columns(hits, selection, step))


def query_batch(
    collections: Collections,
    opened: CollectionHandle,
    requests: Sequence[Any],
    answering: Answering = response_of,
) -> list[Any]:
    """Run several queries on one state of the collection, and return their responses. A response is
    made before the hits of the next query are read."""
    for request in requests:
        check_shard_key(request.shard_key)
    check_searches(opened, len(requests))
    budget.take(SEARCH * len(requests), "searches", len(requests))
    selections = [
        Selection(opened, request.with_payload, request.with_vector) for request in requests
    ]
    steps = [step_of(collections, opened, request) for request in requests]
    if not requests:
        return []
    versions = any(not isinstance(step.scoring, UNSCORED) for step in steps)
    fields = selections[0].fields(versions)
    for selection in selections[1:]:
        fields = selection.merged_with(fields)
    hits_by_step: list[Hits | None] = [
        *_ask(collections, opened, Query(tuple(steps), fields), requests[0])
    ]
    responses = []
    for place, (selection, step) in enumerate(zip(selections, steps, strict=True)):
        hits, hits_by_step[place] = hits_by_step[place], None  # it may be large
        assert hits is not None
        responses.append(answering(_columns(hits, selection, step)))
    return responses


def _columns(hits: Hits, selection: Selection, step: QueryStep) -> HitColumns:
    """The hits of a step as columns, with the selected fields. Hits without a score have no
    version. For hits that were chosen for diversity, a missing vector is None instead of {}."""
    budget.check()
    points = hits.points
    count = len(points.ids)
    vectors = selection.vectors(points)
    if isinstance(step.scoring, Mmr):
        vectors = [vector or None for vector in vectors]
    known = None if isinstance(step.scoring, UNSCORED) else points.versions
    versions = [0] * count if known is None else known.tolist()
    values = [None] * count if hits.values is None else hits.values
    payloads = selection.payloads(points)
    return HitColumns(points.ids, versions, hits.scores, payloads, vectors, values)


def models_of(hits: HitColumns) -> list[models.ScoredPoint]:
    """The hits of a query as `models.ScoredPoint` objects."""
    ids, versions, scores, payloads, vectors, values = hits
    parts = zip(ids, versions, scores.tolist(), payloads, vectors, values, strict=True)
    return [
        make_model(
            models.ScoredPoint,
            {
                "id": point_id,
                "version": version,
                "score": score,
                "payload": payload,
                "vector": vector,
                "shard_key": None,
                "order_value": value,
            },
        )
        for point_id, version, score, payload, vector, value in parts
    ]


def query_groups(
    collections: Collections,
    opened: CollectionHandle,
    request: Any,
    group_by: str,
    group_size: Any,
    with_lookup: Any,
) -> models.GroupsResult:
    """The points that a query finds, grouped by the values of a payload key."""
    selection = Selection(opened, request.with_payload, request.with_vector)
    limit: Any = request.limit
    for name, number in (("limit", limit), ("group_size", group_size)):
        if not isinstance(number, int) or number < 1:
            raise bad_request(f"{name} is {describe(number)}, expected 1 or more")
    check_limit(opened, limit * group_size)
    check_group_key(opened, group_by)
    step = step_of(collections, opened, request)
    fields = selection.fields(not isinstance(step.scoring, UNSCORED))
    grouping = grouping_by(group_by, limit, group_size, opened.configuration.indexes_by_path)
    groups = [
        make_model(
            models.PointGroup,
            {
                "hits": models_of(_columns(hits, selection, step)),
                "id": hits.group,
                "lookup": None,
            },
        )
        for hits in _ask(None, opened, Query((step,), fields, grouping))
    ]
    if with_lookup is not None:
        _look_up(collections, groups, with_lookup)
    return make_model(models.GroupsResult, {"groups": groups})


def _look_up(
    collections: Collections, groups: Sequence[models.PointGroup], with_lookup: Any
) -> None:
    """Add to each group the point of another collection whose id equals the group's value."""
    if isinstance(with_lookup, str):
        with_lookup = models.WithLookup(collection=with_lookup)
    source = collections.look_up(with_lookup.collection)
    payload = True if with_lookup.with_payload is None else with_lookup.with_payload
    # A group of a negative number has none, as no id is negative.
    ids = [group.id for group in groups if isinstance(group.id, str) or group.id >= 0]
    records = retrieve(source, ids, payload, with_lookup.with_vectors or False)
    by_id = {record.id: record for record in records}
    for group in groups:
        group.lookup = by_id.get(group.id)


def matrix(
    opened: CollectionHandle,
    query_filter: Any = None,
    limit: Any = 3,
    sample: Any = 10,
    using: str | None = None,
) -> tuple[list[Any], list[int], list[int], list[float]]:
    """The similarities between some points: the ids of the points, and for each pair of points two
    indices into these ids, and a score. sample: the number of points; limit: for each point, the
    number of most similar points."""
    for name, number, least in (("sample", sample, 2), ("limit", limit, 1)):
        if not isinstance(number, int) or number < least:
            raise bad_request(f"{name} is {describe(number)}, expected {least} or more")
    check_limit(opened, sample * limit)
    check_filter(opened, query_filter)
    name, expression = opened.vector(using or UNNAMED).name, expression_of(opened, query_filter)
    ids, a, b, scores = opened.points.pairs(name, expression, sample, limit)
    return ids, a.tolist(), b.tolist(), scores.tolist()


def as_pairs(
    matrix: tuple[list[Any], list[int], list[int], list[float]],
) -> models.SearchMatrixPairsResponse:
    """A matrix of similarities as pairs of ids."""
    ids, a, b, scores = matrix
    parts, pairs = zip(a, b, scores, strict=True), []
    while batch := [*islice(parts, AT_ONCE)]:
        budget.check()
        pairs += [models.SearchMatrixPair(a=ids[i], b=ids[j], score=score) for i, j, score in batch]
    return models.SearchMatrixPairsResponse(pairs=pairs)


def as_offsets(
    matrix: tuple[list[Any], list[int], list[int], list[float]],
) -> models.SearchMatrixOffsetsResponse:
    """A matrix of similarities as offsets into a list of ids."""
    ids, a, b, scores = matrix
    return models.SearchMatrixOffsetsResponse(offsets_row=a, offsets_col=b, scores=scores, ids=ids)


TERMS = ArgumentNames(
    count="limit",
    threshold="score_threshold",
    exact="search_params with exact=True",
    candidates="hnsw_ef",
    depth="limit of the prefetch",
    depth_grows=False,
)


def case_of(
    query: PendingQuery, named: Any, containing: str | None, same: str | None
) -> WhyRequest:
    """The request to explain a query. named: the id of the point to explain, or several ids;
    containing: instead of ids, a text that occurs in the points' documents. same: a payload key;
    each reason then names the hits that have the point's value under this key."""
    opened, request = query.opened, query.request
    ids = None if named is None else _ids_in(named)
    assert query.collections is not None
    used_ids = used_ids_of(query.collections, opened, request)
    return WhyRequest(
        query.question,
        ids,
        containing,
        (
            *_conditions_of_filter(opened, "query_filter", request.filter),
            *_conditions_of_prefetches(opened, "prefetch", request),
            *([Condition("query", list(used_ids), Not(HasId(used_ids)))] if used_ids else []),
        ),
        same=None if same is None else (same,),
        names=TERMS,
    )


def _ids_in(ids: Any) -> list[int | str]:
    if isinstance(ids, str | int | UUID):
        ids = [ids]
    if not isinstance(ids, Iterable):
        raise InvalidArgumentError(f"ids is {quote(ids)}, expected ids of points")
    return [parse_id(point_id) for point_id in ids]


def _conditions_of_prefetches(
    opened: CollectionHandle, argument: str, request: Any
) -> list[Condition]:
    """A list with one condition, that at least one prefetch can find a point; empty if there are no
    prefetches. argument: the name of the argument with the prefetches, for the explanation."""
    prefetches = request.prefetch or ()
    legs = prefetches if isinstance(prefetches, Sequence) else [prefetches]
    terms = []
    for i, leg in enumerate(legs):
        leg_argument = f"{argument}[{i}]"
        parts = _conditions_of_filter(opened, f"{leg_argument}.filter", leg.filter)
        parts += _conditions_of_prefetches(opened, f"{leg_argument}.prefetch", leg)
        terms.append(_all_of(leg_argument, parts))
    if not terms:
        return []
    expression = Or(tuple(term.expression for term in terms))
    return [Condition(argument, None, expression, "any", tuple(terms))]


def _conditions_of_filter(
    opened: CollectionHandle, argument: str, filter_: models.Filter | None
) -> list[Condition]:
    """The conditions of a filter, all of which must hold."""
    if filter_ is None:
        return []
    parts = [_condition_of(opened, argument, condition) for condition in _as_list(filter_.must)]
    parts += [
        _negated_condition(opened, argument, condition) for condition in _as_list(filter_.must_not)
    ]
    if should := _as_list(filter_.should):
        parts.append(_combined_condition(opened, argument, {"should": should}, should))
    if filter_.min_should is not None:
        conditions = filter_.min_should.conditions
        parts.append(
            _combined_condition(opened, argument, {"min_should": filter_.min_should}, conditions)
        )
    return parts


def _condition_of(opened: CollectionHandle, argument: str, value: Any) -> Condition:
    if isinstance(value, models.Filter):
        return _all_of(argument, _conditions_of_filter(opened, argument, value), _dump(value))
    return Condition(argument, _dump(value), _meaning(opened, {"must": [value]}))


def _negated_condition(opened: CollectionHandle, argument: str, value: Any) -> Condition:
    written = {"must_not": _dump(value)}
    return Condition(argument, written, _meaning(opened, {"must_not": [value]}))


def _combined_condition(
    opened: CollectionHandle, argument: str, parts: dict[str, Any], conditions: Sequence[Any]
) -> Condition:
    terms = tuple(_condition_of(opened, argument, condition) for condition in conditions)
    written = _dump(models.Filter(**parts))
    return Condition(argument, written, _meaning(opened, parts), "any", terms)


def _all_of(argument: str, parts: Sequence[Condition], written: Any = None) -> Condition:
    kind: ReasonKind = "all" if parts else "one"
    expression = And(tuple(part.expression for part in parts))
    return Condition(argument, written, expression, kind, tuple(parts))


def _meaning(opened: CollectionHandle, parts: dict[str, Any]) -> Expression:
    expression = expression_of(opened, models.Filter(**parts))
    return And(()) if expression is None else expression


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _dump(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_none=True)
