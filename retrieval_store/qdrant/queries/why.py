"""What `why` asks: the case of a query, with its filters taken apart."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from qdrant_client import models

from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.nodes import And, Expression, HasId, Not, Or
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.filters.parsing import parse_id
from retrieval_store.qdrant.points.reading import expression_of
from retrieval_store.qdrant.queries.answers import Asked
from retrieval_store.qdrant.queries.steps import named_by
from retrieval_store.query.reasons import Case, Condition, Kind, Terms, check_asked

TERMS = Terms(
    count="limit",
    threshold="score_threshold",
    exact="search_params with exact=True",
    candidates="hnsw_ef",
    depth="limit of the prefetch",
    depth_grows=False,
)


def case_of(asked: Asked, records: Any, containing: str | None, same: str | None) -> Case:
    """The case of a query of one request. records: an id, or several."""
    opened, request = asked.opened, asked.request
    ids = None if records is None else _ids_in(records)
    check_asked(ids, containing, "records")
    assert asked.collections is not None
    named = named_by(asked.collections, opened, request)
    return Case(
        asked.question,
        ids,
        containing,
        (
            *_of_filter(opened, "query_filter", request.filter),
            *_of_prefetches(opened, "prefetch", request),
            *([Condition("query", list(named), Not(HasId(named)))] if named else []),
        ),
        same=None if same is None else (same,),
        terms=TERMS,
    )


def _ids_in(records: Any) -> list[int | str]:
    if isinstance(records, str | int | UUID):
        records = [records]
    if not isinstance(records, Iterable):
        raise InvalidArgumentError(f"records is {shown(records)}, expected ids of points")
    return [parse_id(one) for one in records]


def _of_prefetches(opened: Opened, argument: str, request: Any) -> list[Condition]:
    """What leaves a record out by prefetches, of which one that finds it is enough."""
    given = request.prefetch or ()
    legs = given if isinstance(given, Sequence) else [given]
    terms = []
    for i, one in enumerate(legs):
        named = f"{argument}[{i}]"
        parts = _of_filter(opened, f"{named}.filter", one.filter)
        parts += _of_prefetches(opened, f"{named}.prefetch", one)
        terms.append(_all_of(named, parts))
    if not terms:
        return []
    expression = Or(tuple(one.expression for one in terms))
    return [Condition(argument, None, expression, "any", tuple(terms))]


def _of_filter(opened: Opened, argument: str, given: models.Filter | None) -> list[Condition]:
    """The parts of a filter, all of which are asked."""
    if given is None:
        return []
    parts = [_one(opened, argument, one) for one in _listed(given.must)]
    parts += [_negated(opened, argument, one) for one in _listed(given.must_not)]
    if should := _listed(given.should):
        parts.append(_several(opened, argument, {"should": should}, should))
    if given.min_should is not None:
        conditions = given.min_should.conditions
        parts.append(_several(opened, argument, {"min_should": given.min_should}, conditions))
    return parts


def _one(opened: Opened, argument: str, given: Any) -> Condition:
    if isinstance(given, models.Filter):
        return _all_of(argument, _of_filter(opened, argument, given), _written(given))
    return Condition(argument, _written(given), _meaning(opened, {"must": [given]}))


def _negated(opened: Opened, argument: str, given: Any) -> Condition:
    written = {"must_not": _written(given)}
    return Condition(argument, written, _meaning(opened, {"must_not": [given]}))


def _several(
    opened: Opened, argument: str, asked: dict[str, Any], conditions: Sequence[Any]
) -> Condition:
    terms = tuple(_one(opened, argument, one) for one in conditions)
    written = _written(models.Filter(**asked))
    return Condition(argument, written, _meaning(opened, asked), "any", terms)


def _all_of(argument: str, parts: Sequence[Condition], written: Any = None) -> Condition:
    kind: Kind = "all" if parts else "one"
    expression = And(tuple(one.expression for one in parts))
    return Condition(argument, written, expression, kind, tuple(parts))


def _meaning(opened: Opened, asked: dict[str, Any]) -> Expression:
    expression = expression_of(opened, models.Filter(**asked))
    return And(()) if expression is None else expression


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list) else [given]


def _written(given: Any) -> Any:
    return given.model_dump(mode="json", exclude_none=True)
