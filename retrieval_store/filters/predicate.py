"""Expressions asked of one point at a time, for points that come from elsewhere than the engine.

The engine never does this: it evaluates an expression to a mask over all points at once.
"""

from dataclasses import dataclass
from typing import Any

from retrieval_store.base.json_values import Payload
from retrieval_store.filters.expression import (
    And,
    DocumentContains,
    DocumentMatches,
    Exists,
    Expression,
    HasId,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    Scalar,
    TextIn,
    value_at,
)
from retrieval_store.filters.where import compile_pattern


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a filter looks at of a point."""

    id: str | int
    payload: Payload | None
    document: str | None


def fulfils(point: Candidate, expression: Expression | None) -> bool:
    """Whether the point fulfils the expression; all do when it is None."""
    match expression:
        case None:
            return True
        case And(terms) | Or(terms):
            wanted = isinstance(expression, Or)
            for term in terms:  # no generator, which would be a second call for each level
                if fulfils(point, term) is wanted:
                    return wanted
            return not wanted
        case Not(term):
            return not fulfils(point, term)
        case HasId(ids):
            return point.id in ids
        case DocumentContains(text):
            return point.document is not None and text in point.document
        case DocumentMatches(pattern):
            document = point.document
            return document is not None and compile_pattern(pattern).search(document) is not None
        case OneOf(path) | ListHas(path) | Range(path) | TextIn(path) | Exists(path):
            return _holds(value_at(point.payload, path), expression)
    raise TypeError(f"nothing is defined for {expression!r}")


def _holds(value: Any, leaf: OneOf | ListHas | Range | TextIn | Exists) -> bool:
    match leaf:
        case OneOf(_, values):
            return any(_same(value, one) for one in values)
        case ListHas(_, values):
            return isinstance(value, list) and any(_same(v, w) for v in value for w in values)
        case Range(_, gt, gte, lt, lte):
            return (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and (gt is None or value > gt)
                and (gte is None or value >= gte)
                and (lt is None or value < lt)
                and (lte is None or value <= lte)
            )
        case TextIn(_, text, ignore_case):
            if ignore_case:
                return isinstance(value, str) and text.casefold() in value.casefold()
            return isinstance(value, str) and text in value
        case Exists():
            return value is not None and value != []


def _same(value: Any, wanted: Scalar) -> bool:
    """Equality of scalars: numbers by value, a bool only to that bool."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(wanted, str):
        return isinstance(value, str) and value == wanted
    return isinstance(value, int | float) and value == wanted
