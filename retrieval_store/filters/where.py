"""Chroma's dialects: `where` (on metadata) and `where_document` → filter expressions.

    {"lang": "en"}                                   equality
    {"year": {"$gte": 2000, "$lt": 2010}}            several operators on a key mean "and"
    {"tags": {"$contains": "new"}}                   inside list values
    {"$or": [{"lang": "en"}, {"$and": [...]}]}

    {"$contains": "text"}, {"$regex": "ti[dm]e"}, {"$or": [...]}     on documents

Anything malformed is an InvalidFilterError that names its place, as in `where['$or'][1]['year']`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.json_values import shortened
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    And,
    DocumentContains,
    DocumentMatches,
    Expression,
    ListHas,
    Not,
    OneOf,
    Or,
    PayloadPath,
    Range,
    Scalar,
)
from retrieval_store.filters.patterns import compile_pattern

OPERATORS = "$eq $ne $gt $gte $lt $lte $in $nin $contains $not_contains"
DOCUMENT_OPERATORS = "$contains $not_contains $regex $not_regex $and $or"
MAPPINGS = (dict, Mapping)  # a dict is seen at once, whatever else is a mapping takes longer
Place: TypeAlias = tuple[Any, ...]  # the argument, and the steps into it; named in errors alone
Leaf: TypeAlias = Callable[[str, Any, Place], Expression]


def parse_where(where: Any) -> Expression:
    """The expression for a `where` dict; raises InvalidFilterError."""
    return _parse(where, ("where",), _metadata_leaf, 1)


def parse_where_document(where_document: Any) -> Expression:
    """The expression for a `where_document` dict; raises InvalidFilterError."""
    return _parse(where_document, ("where_document",), _document_leaf, 1)


def _parse(node: Any, place: Place, leaf: Leaf, depth: int) -> Expression:
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(node, MAPPINGS) or not node:
        raise _invalid(place, node, "expected a dict with at least one condition")
    terms: list[Expression] = []
    for key, operand in node.items():
        here = (*place, key)
        if key == "$and" or key == "$or":
            children = [
                _parse(child, (*here, i), leaf, depth + 1)
                for i, child in enumerate(_nonempty_list(operand, here))
            ]
            terms.append(And(tuple(children)) if key == "$and" else Or(tuple(children)))
        elif not isinstance(key, str):
            named = f"{_named(place)} has the key {shortened(key)}"
            raise InvalidFilterError(f"{named}; keys must be strings")
        else:
            terms.append(leaf(key, operand, here))
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _metadata_leaf(key: str, operand: Any, place: Place) -> Expression:
    if not key or key.startswith("$"):
        raise InvalidFilterError(
            f"{_named(place)}: {shortened(key)} is neither a metadata key nor one of '$and' and "
            "'$or'"
        )
    if isinstance(operand, list | tuple):
        raise _invalid(place, operand, "expected a scalar, or {'$in': […]} for one of several")
    if not isinstance(operand, MAPPINGS):
        return OneOf((key,), (_scalar(operand, place),))
    if not operand:
        raise _invalid(place, operand, "expected at least one operator")
    terms = [
        _comparison((key,), operator, value, (*place, operator))
        for operator, value in operand.items()
    ]
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _comparison(path: PayloadPath, operator: Any, value: Any, place: Place) -> Expression:
    match operator:
        case "$eq":
            return OneOf(path, (_scalar(value, place),))
        case "$ne":
            return Not(OneOf(path, (_scalar(value, place),)))
        case "$in":
            return OneOf(path, _scalars(value, place))
        case "$nin":
            return Not(OneOf(path, _scalars(value, place)))
        case "$contains":
            return ListHas(path, (_scalar(value, place),))
        case "$not_contains":
            return Not(ListHas(path, (_scalar(value, place),)))
        case "$gt":
            return Range(path, gt=_number(value, place))
        case "$gte":
            return Range(path, gte=_number(value, place))
        case "$lt":
            return Range(path, lt=_number(value, place))
        case "$lte":
            return Range(path, lte=_number(value, place))
    raise _unknown(operator, OPERATORS, place)


def _document_leaf(operator: str, value: Any, place: Place) -> Expression:
    match operator:
        case "$contains":
            return DocumentContains(_text(value, place))
        case "$not_contains":
            return Not(DocumentContains(_text(value, place)))
        case "$regex":
            return DocumentMatches(_pattern(value, place))
        case "$not_regex":
            return Not(DocumentMatches(_pattern(value, place)))
    raise _unknown(operator, DOCUMENT_OPERATORS, place)


def _unknown(operator: Any, known: str, place: Place) -> InvalidFilterError:
    word = operator if isinstance(operator, str) else ""
    meant = f"; is '${word}' meant?" if f"${word}" in known.split() else ""
    return InvalidFilterError(
        f"{_named(place)}: unknown operator {shortened(operator)}; known are {known}{meant}"
    )


def _scalar(value: Any, place: Place) -> Scalar:
    if type(value) is str or type(value) is int:  # most are
        return value
    value = plain_scalar(value)
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    hint = "; a None counts as missing" if value is None else ""
    raise _invalid(place, value, f"expected a str, bool, int or finite float{hint}")


def _scalars(value: Any, place: Place) -> tuple[Scalar, ...]:
    items = _nonempty_list(value, place)
    return tuple([_scalar(item, (*place, i)) for i, item in enumerate(items)])


def _number(value: Any, place: Place) -> int | float:
    number = _scalar(value, place)
    if isinstance(number, bool | str):
        raise _invalid(place, value, "order comparisons are for numbers")
    return number


def _nonempty_list(value: Any, place: Place) -> list[Any] | tuple[Any, ...]:
    if (isinstance(value, np.ndarray) and value.ndim == 1) or isinstance(value, set | frozenset):
        value = list(value)
    if not isinstance(value, list | tuple) or not value:
        raise _invalid(place, value, "expected a list with at least one item")
    return value


def _text(value: Any, place: Place) -> str:
    if not isinstance(value, str) or not value:
        raise _invalid(place, value, "expected a string that isn't empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _invalid(place, value, "the string holds a lone surrogate") from None
    return value


def _pattern(value: Any, place: Place) -> str:
    pattern = _text(value, place)
    try:
        compile_pattern(pattern)
    except InvalidFilterError as error:
        raise _invalid(place, value, str(error)) from None
    return pattern


def _invalid(place: Place, value: Any, expected: str) -> InvalidFilterError:
    return InvalidFilterError(f"{_named(place)} is {shortened(value)}: {expected}")


def _named(place: Place) -> str:
    """The place as it is written in Python."""
    argument, *steps = place
    return f"{argument}{''.join(f'[{shortened(step)}]' for step in steps)}"
