"""What `why` asks: the case of a query, with its filters taken apart."""

from collections.abc import Iterator, Sequence
from typing import Any

from qdrant_client import models

from retrieval_store.explaining.advice import Terms
from retrieval_store.explaining.conditions import Condition, Kind
from retrieval_store.explaining.inquiring import Case, check_asked
from retrieval_store.filters.nodes import And, Expression, HasId, Not, Or
from retrieval_store.interface.questions import Question, Step, leaves_of
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.filters.parsing import parse_id
from retrieval_store.qdrant.points.reading import expression_of

TERMS = Terms(
    count="limit",
    threshold="score_threshold",
    exact="search_params with exact=True",
    candidates="hnsw_ef",
    depth="limit of the prefetch",
    by_words="a prefetch",
)


def case_of(
    opened: Opened,
    request: Any,
    question: Question,
    records: Sequence[Any] | None,
    containing: str | None,
    same: str | None,
) -> Case:
    """The case of a request, which asks this question."""
    ids = None if records is None else [parse_id(one) for one in records]
    check_asked(ids, containing, "records")
    (step,) = question.steps
    return Case(
        question,
        ids,
        containing,
        (*_of_filter(opened, "query_filter", request.filter), *_others(opened, request, step)),
        same=None if same is None else (same,),
        terms=TERMS,
    )


def _others(opened: Opened, request: Any, step: Step) -> Iterator[Condition]:
    """What leaves records out besides the filter: those of the prefetches, of which one that a
    record fulfils is enough, and that no query finds the points that it names."""
    given = request.prefetch or ()
    legs = given if isinstance(given, Sequence) else [given]
    if legs and all(one.filter is not None for one in legs):
        filters = ((f"prefetch[{i}].filter", one.filter) for i, one in enumerate(legs))
        terms = [_all_of(name, one, _of_filter(opened, name, one)) for name, one in filters]
        expression = Or(tuple(one.expression for one in terms))
        yield Condition("prefetch", None, expression, "any", tuple(terms))
    named = dict.fromkeys(one for leaf in leaves_of(step) for one in _named_in(leaf.expression))
    for ids in named:
        yield Condition("query", list(ids.ids), Not(ids))


def _named_in(expression: Expression | None) -> Iterator[HasId]:
    """The points in a filter that the query names."""
    for one in expression.terms if isinstance(expression, And) else (expression,):
        if isinstance(one, Not) and isinstance(one.term, HasId):
            yield one.term


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
        return _all_of(argument, given, _of_filter(opened, argument, given))
    return Condition(argument, _written(given), _meaning(opened, {"must": [given]}))


def _negated(opened: Opened, argument: str, given: Any) -> Condition:
    written = {"must_not": _written(given)}
    return Condition(argument, written, _meaning(opened, {"must_not": [given]}))


def _several(
    opened: Opened, argument: str, asked: dict[str, Any], conditions: Sequence[Any]
) -> Condition:
    terms = tuple(_one(opened, argument, one) for one in conditions)
    (name,) = asked
    return Condition(argument, {name: None}, _meaning(opened, asked), "any", terms)


def _all_of(argument: str, given: models.Filter, parts: Sequence[Condition]) -> Condition:
    kind: Kind = "all" if parts else "one"
    expression = And(tuple(one.expression for one in parts))
    return Condition(argument, _written(given), expression, kind, tuple(parts))


def _meaning(opened: Opened, asked: dict[str, Any]) -> Expression:
    expression = expression_of(opened, models.Filter(**asked))
    return And(()) if expression is None else expression


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list) else [given]


def _written(given: Any) -> Any:
    return given.model_dump(mode="json", exclude_none=True)
