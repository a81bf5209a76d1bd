"""Scores by the expressions of a `Search`: which rankings they are made of, and their numbers.

The store ranks, one step for each `Knn`; what is left here is arithmetic on the distances of what
was found, a column for each. A record counts that any `Knn` has found, and that each one without a
default has.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Floats, plain_scalar
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import shown, whole_number
from retrieval_store.direct.chroma.expressions import EMBEDDING, KNN_LIMIT, Form
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.filters.nodes import MAX_DEPTH

_KNN = ("query", "key", "limit", "default", "return_rank")
_UNARY: dict[str, Callable[[Floats], Floats]] = {"$abs": np.abs, "$exp": np.exp, "$log": np.log}
_PAIRS: dict[str, Callable[[Floats, Floats], Floats]] = {"$sub": np.subtract, "$div": np.divide}
_SEVERAL: dict[str, Callable[[Floats, Floats], Floats]] = {
    "$sum": np.add,
    "$mul": np.multiply,
    "$max": np.maximum,
    "$min": np.minimum,
}
OPERATORS = ("$knn", "$val", *_SEVERAL, *_PAIRS, *_UNARY)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What one `Knn` asks; place: where it stands in the expression, for messages."""

    query: Any
    key: str
    limit: int
    default: float | None
    return_rank: bool
    place: str


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Which of the records that were found count, as (ranking, place in it), and their scores, the
    least first, float64 (n,)."""

    places: list[tuple[int, int]]
    scores: Floats


def rankings_of(form: Any, place: str = "rank", depth: int = 1) -> list[Ranking]:
    """The rankings in an expression, in its order; InvalidArgumentError for one that can't be."""
    if depth > MAX_DEPTH:
        raise InvalidArgumentError(f"rank is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(form, Mapping) or len(form) != 1:
        raise InvalidTypeError(f"{place} is {shown(form)}, expected a dict with one operator")
    ((operator, operand),) = form.items()
    here = f"{place}[{operator!r}]"
    if operator == "$knn":
        return [_ranking(operand, here)]
    if operator == "$val":
        _number(operand, here)
        return []
    found: list[Ranking] = []
    for name, term in _terms(operator, operand, here):
        found += rankings_of(term, name, depth + 1)
    return found


def _terms(operator: Any, operand: Any, place: str) -> list[tuple[str, Any]]:
    """What an operator is applied to, with the places."""
    if operator in _UNARY:
        return [(place, operand)]
    if operator in _SEVERAL:
        if not isinstance(operand, list | tuple) or not operand:
            raise InvalidTypeError(f"{place} is {shown(operand)}, expected a list of ranks")
        return [(f"{place}[{i}]", term) for i, term in enumerate(operand)]
    if operator in _PAIRS:
        if not isinstance(operand, Mapping) or {*operand} != {"left", "right"}:
            raise InvalidTypeError(f"{place} is {shown(operand)}, expected left and right")
        return [(f"{place}[{side!r}]", operand[side]) for side in ("left", "right")]
    raise InvalidArgumentError(f"{place}: expected one of {', '.join(OPERATORS)}")


def _ranking(operand: Any, place: str) -> Ranking:
    if not isinstance(operand, Mapping) or "query" not in operand:
        raise InvalidTypeError(f"{place} is {shown(operand)}, expected a dict with a query")
    if unknown := [name for name in operand if name not in _KNN]:
        raise InvalidArgumentError(f"{place} has {shown(unknown[0])}, expected {', '.join(_KNN)}")
    key, default = operand.get("key", EMBEDDING), operand.get("default")
    return_rank = operand.get("return_rank", False)
    if not isinstance(key, str) or not key:
        raise InvalidTypeError(f"{place}['key'] is {shown(key)}, expected a key")
    if not isinstance(return_rank, bool):
        raise InvalidTypeError(f"{place}['return_rank'] is {shown(return_rank)}, expected a bool")
    return Ranking(
        operand["query"],
        key,
        whole_number(operand.get("limit", KNN_LIMIT), f"{place}['limit']", 1),
        None if default is None else _number(default, f"{place}['default']"),
        return_rank,
        place,
    )


def _number(value: Any, place: str) -> float:
    number = plain_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or math.isnan(number):
        raise InvalidTypeError(f"{place} is {shown(value)}, expected a number")
    return float(number)


def scored(
    form: Form,
    rankings: Sequence[Ranking],
    ids: Sequence[Sequence[Any]],
    distances: Sequence[Floats],
) -> Scored:
    """The records that count, by the expression. ids, distances: what each ranking has found, the
    nearest first. Equal scores are in the order in which records were first found."""
    rows: dict[Any, int] = {}
    for some in ids:
        for one in some:
            rows.setdefault(one, len(rows))
    first = np.full((len(rows), 2), -1)
    counts = np.ones(len(rows), np.bool_)
    columns: list[Floats] = []
    for i, (ranking, some, far) in enumerate(zip(rankings, ids, distances, strict=True)):
        at = np.fromiter(map(rows.__getitem__, some), np.int64, len(some))
        column = np.full(len(rows), np.nan if ranking.default is None else ranking.default)
        column[at] = np.arange(len(some)) if ranking.return_rank else far
        columns.append(column)
        new = first[at, 0] < 0
        first[at[new], 0], first[at[new], 1] = i, np.flatnonzero(new)
        if ranking.default is None:
            counts &= np.isin(np.arange(len(rows)), at)
    with np.errstate(all="ignore"):  # what isn't a number is told apart below
        scores = _value(form, iter([column[counts] for column in columns]), int(counts.sum()))
    if np.isnan(scores).any():
        raise InvalidArgumentError("rank: the score isn't a number for some record")
    order = np.argsort(scores, kind="stable")
    places = [(i, place) for i, place in first[counts][order].tolist()]
    return Scored(places, scores[order])


def _value(form: Form, columns: Iterator[Floats], count: int) -> Floats:
    """(count,) the numbers of an expression that has been checked. columns: of its rankings, in the
    order of `rankings_of`."""
    ((operator, operand),) = form.items()
    if operator == "$knn":
        return next(columns)
    if operator == "$val":
        return np.full(count, float(operand))
    each = [_value(term, columns, count) for _, term in _terms(operator, operand, "rank")]
    if operator in _UNARY:
        return _UNARY[operator](each[0])
    return reduce({**_PAIRS, **_SEVERAL}[operator], each)
