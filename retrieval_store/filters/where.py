"""Chroma's dialects: `where` (on metadata) and `where_document` → filter expressions.

    {"lang": "en"}                                   equality
    {"year": {"$gte": 2000, "$lt": 2010}}            several operators on a key mean "and"
    {"tags": {"$contains": "new"}}                   inside list values, and inside strings
    {"title": {"$prefix": "The "}}, {"title": {"$regex": "^[A-Z]"}}                 of strings
    {"author.name": "Jane"}                          inside objects
    {"$or": [{"lang": "en"}, {"$and": [...]}]}
    {"$not": {...}}, {"$nor": [...]}, {"tags": {"$exists": True, "$size": 2}}       of our own

    {"$contains": "text"}, {"$regex": "ti[dm]e"}, {"$or": [...]}     on documents

A malformed part raises an InvalidFilterError that names its place, for example
`where['$or'][1]['year']`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.validation import as_stored, is_unicode, shorten
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.dates import time_in
from retrieval_store.filters.leaves import DocumentContains, DocumentMatches
from retrieval_store.filters.nodes import MAX_DEPTH, And, Expression, Not, Or, Scalar
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.filters.values import (
    Exists,
    HasLength,
    OneOf,
    Range,
    TextBegins,
    TextMatches,
    TextRange,
    contains,
)

DOCUMENT_KEY = "#document"  # Chroma's key for the document within `where`
OPERATORS = (
    "$eq $ne $gt $gte $lt $lte $in $nin $contains $not_contains $prefix $regex $not_regex $exists "
    "$size $not"
)
DOCUMENT_OPERATORS = "$contains $not_contains $regex $not_regex $and $or $nor $not"
JUNCTIONS: dict[Any, Callable[[tuple[Expression, ...]], Expression]] = {
    "$and": And,
    "$or": Or,
    "$nor": lambda terms: Not(Or(terms)),
}
MAPPINGS = (dict, Mapping)  # dict first, because isinstance is fast for it
SCALARS = {str, int, bool}  # types of values that need no further check; most values have them
ErrorPath: TypeAlias = tuple[Any, ...]  # the argument, and the steps into it; used only for errors
Leaf: TypeAlias = Callable[[str, Any, ErrorPath, int], Expression]  # the last argument is the depth


def parse_where(where: Any) -> Expression:
    """The expression for a `where` dict. Raises InvalidFilterError if the dict is malformed."""
    return _parse(where, ("where",), _metadata_leaf, 1)


def parse_where_document(where_document: Any) -> Expression:
    """The expression for a `where_document` dict. Raises InvalidFilterError if the dict is
    malformed."""
    return _parse(where_document, ("where_document",), _document_leaf, 1)


def _parse(node: Any, place: ErrorPath, leaf: Leaf, depth: int) -> Expression:
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    if not isinstance(node, MAPPINGS) or not node:
        raise _invalid(place, node, "expected a dict with at least one condition")
    terms: list[Expression] = []
    for key, operand in node.items():
        key_place = (*place, key)
        if key in JUNCTIONS:
            children = [
                _parse(child, (*key_place, i), leaf, depth + 1)
                for i, child in enumerate(_nonempty_list(operand, key_place))
            ]
            terms.append(JUNCTIONS[key](tuple(children)))
        elif key == "$not":
            terms.append(Not(_parse(operand, key_place, leaf, depth + 1)))
        elif not isinstance(key, str):
            named = f"{_written_place(place)} has the key {shorten(key)}"
            raise InvalidFilterError(f"{named}; keys must be strings")
        else:
            terms.append(leaf(key, operand, key_place, depth))
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _metadata_leaf(key: str, operand: Any, place: ErrorPath, depth: int) -> Expression:
    if key == DOCUMENT_KEY:
        return _parse(operand, place, _document_leaf, depth)
    if not key or key.startswith("$"):
        raise InvalidFilterError(
            f"{_written_place(place)}: {shorten(key)} is neither a metadata key nor one of '$and', "
            "'$or', '$nor' and '$not'"
        )
    if type(operand) in SCALARS:
        return OneOf((key,), (operand,))
    if isinstance(operand, list | tuple):
        operator = f"${key.lower()}"  # {"or": […]} was written instead of {"$or": […]}
        is_meant = operator in JUNCTIONS and all(isinstance(term, MAPPINGS) for term in operand)
        expected = "expected a scalar, or {'$in': […]} for one of several"
        raise _invalid(place, operand, f"did you mean {operator!r}?" if is_meant else expected)
    if not isinstance(operand, MAPPINGS):
        return _one_of((key,), [operand], [place])
    return _comparisons((key,), operand, place, depth)


def _comparisons(path: PayloadPath, operand: Any, place: ErrorPath, depth: int) -> Expression:
    if not isinstance(operand, MAPPINGS) or not operand:
        raise _invalid(place, operand, "expected at least one operator")
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
    terms = [
        Not(_comparisons(path, value, (*place, operator), depth + 1))
        if operator == "$not"
        else _comparison(path, operator, value, (*place, operator))
        for operator, value in operand.items()
    ]
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _comparison(path: PayloadPath, operator: Any, value: Any, place: ErrorPath) -> Expression:
    match operator:
        case "$eq":
            return _one_of(path, [value], [place])
        case "$ne":
            return Not(_one_of(path, [value], [place]))
        case "$in":
            return _one_of_list(path, value, place)
        case "$nin":
            return Not(_one_of_list(path, value, place))
        case "$exists":
            return Exists(path) if _truth(value, place) else Not(Exists(path))
        case "$size":
            return HasLength(path, _length(value, place))
        case "$contains":
            return contains(path, _scalar(value, place))
        case "$not_contains":
            return Not(contains(path, _scalar(value, place)))
        case "$prefix":
            return TextBegins(path, _text(value, place))
        case "$regex":
            return TextMatches(path, _pattern(value, place))
        case "$not_regex":
            return Not(TextMatches(path, _pattern(value, place)))
        case "$gt" | "$gte" | "$lt" | "$lte":
            return _range_condition(path, operator[1:], value, place)
    raise _unknown(operator, OPERATORS, place)


def _one_of_list(path: PayloadPath, value: Any, place: ErrorPath) -> Expression:
    items = _nonempty_list(value, place)
    return _one_of(path, items, [(*place, i) for i in range(len(items))])


def _one_of(path: PayloadPath, values: Sequence[Any], places: Sequence[ErrorPath]) -> Expression:
    """The condition that a value equals one of these values. Values that are times also match
    strings that represent the same time."""
    scalars = tuple(
        _scalar(value, place)
        for value, place in zip(values, places, strict=True)
        if not isinstance(value, date)
    )
    times = [
        _time(value, place)
        for value, place in zip(values, places, strict=True)
        if isinstance(value, date)
    ]
    terms: list[Expression] = [OneOf(path, scalars)] if scalars else []
    terms += [TextRange(path, gte=time, lte=time, times=True) for time in times]
    return terms[0] if len(terms) == 1 else Or(tuple(terms))


def _time(value: date, place: ErrorPath) -> str:
    """A time as text. Raises an error for an invalid time, such as pandas' NaT, or a time whose UTC
    offset has seconds."""
    text = value.isoformat()
    if time_in(text) is None:
        raise _invalid(place, value, "it is no moment in time")
    return text


def _range_condition(path: PayloadPath, side: str, value: Any, place: ErrorPath) -> Expression:
    if isinstance(value, date):
        time: dict[str, Any] = {side: _time(value, place)}
        return TextRange(path, **time, times=True)
    bound = _scalar(value, place)
    if isinstance(bound, bool):
        raise _invalid(place, value, "order comparisons are for numbers, strings and times")
    if isinstance(bound, str):
        text: dict[str, Any] = {side: _unicode(bound, place)}
        return TextRange(path, **text)
    return Range(path, **{side: bound})


def _document_leaf(operator: str, value: Any, place: ErrorPath, _depth: int) -> Expression:
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


def _unknown(operator: Any, known: str, place: ErrorPath) -> InvalidFilterError:
    word = operator if isinstance(operator, str) else ""
    hint = f"; did you mean '${word}'?" if f"${word}" in known.split() else ""
    return InvalidFilterError(
        f"{_written_place(place)}: unknown operator {shorten(operator)}; known are {known}{hint}"
    )


def _scalar(value: Any, place: ErrorPath) -> Scalar:
    if type(value) in SCALARS:
        return value  # type: ignore[no-any-return]
    value = value if isinstance(value, MAPPINGS) else as_stored(value)
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    hint = "; a None counts as missing" if value is None else ""
    raise _invalid(place, value, f"expected a str, bool, int or finite float{hint}")


def _truth(value: Any, place: ErrorPath) -> bool:
    truth = plain_scalar(value)
    if not isinstance(truth, bool):
        raise _invalid(place, value, "expected True or False")
    return truth


def _length(value: Any, place: ErrorPath) -> int:
    length = plain_scalar(value)
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise _invalid(place, value, "expected how many elements a list has, 0 or more")
    return length


def _nonempty_list(value: Any, place: ErrorPath) -> list[Any] | tuple[Any, ...]:
    if (isinstance(value, np.ndarray) and value.ndim == 1) or isinstance(value, set | frozenset):
        value = list(value)
    if not isinstance(value, list | tuple) or not value:
        raise _invalid(place, value, "expected a list with at least one item")
    return value


def _text(value: Any, place: ErrorPath) -> str:
    if not isinstance(value, str) or not value:
        raise _invalid(place, value, "expected a string that isn't empty")
    return _unicode(value, place)


def _unicode(text: str, place: ErrorPath) -> str:
    if not is_unicode(text):
        raise _invalid(place, text, "the string holds a lone surrogate")
    return text


def _pattern(value: Any, place: ErrorPath) -> str:
    pattern = _text(value, place)
    try:
        DocumentMatches(pattern).check()
    except InvalidFilterError as error:
        raise _invalid(place, value, str(error)) from None
    return pattern


def _invalid(place: ErrorPath, value: Any, expected: str) -> InvalidFilterError:
    return InvalidFilterError(f"{_written_place(place)} is {shorten(value)}: {expected}")


def _written_place(place: ErrorPath) -> str:
    """The position in the filter, written as a Python expression."""
    argument, *steps = place
    return f"{argument}{''.join(f'[{shorten(step)}]' for step in steps)}"
