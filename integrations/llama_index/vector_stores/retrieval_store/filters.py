"""LlamaIndex's metadata filters as expressions of retrieval-store."""

from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from retrieval_store.base.json_values import shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    And,
    Exists,
    Expression,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    TextIn,
)


def to_expression(filters: MetadataFilters | None, depth: int = 1) -> Expression | None:
    """The filters as one expression; None when there is no restriction. depth: how many filters
    they lie in, themselves included."""
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"the filters are nested deeper than {MAX_DEPTH} levels")
    found = [] if filters is None else [_one(item, depth) for item in filters.filters]
    terms = tuple(term for term in found if term is not None)
    if filters is None or not terms:
        return None
    match filters.condition:
        case FilterCondition.OR:
            return Or(terms)
        case FilterCondition.NOT:  # as LlamaIndex's own store has it: none of them
            return Not(Or(terms))
        case _:
            return And(terms)


def _one(item: Any, depth: int) -> Expression | None:
    if isinstance(item, MetadataFilters):
        return to_expression(item, depth + 1)
    return _comparison(item)


def _comparison(item: MetadataFilter) -> Expression:  # noqa: PLR0912 (one case an operator)
    path = (item.key,)
    match item.operator:
        case FilterOperator.EQ:
            return _equal(item)
        case FilterOperator.NE:
            return Not(_equal(item))
        case FilterOperator.GT:
            return Range(path, gt=_number(item))
        case FilterOperator.GTE:
            return Range(path, gte=_number(item))
        case FilterOperator.LT:
            return Range(path, lt=_number(item))
        case FilterOperator.LTE:
            return Range(path, lte=_number(item))
        case FilterOperator.IN:
            return OneOf(path, _several(item))
        case FilterOperator.NIN:
            return Not(OneOf(path, _several(item)))
        case FilterOperator.ANY:
            return Or(tuple(_has(path, value) for value in _several(item)))
        case FilterOperator.ALL:
            return And(tuple(_has(path, value) for value in _several(item)))
        case FilterOperator.CONTAINS:
            return _has(path, _single(item))
        case FilterOperator.TEXT_MATCH:
            return TextIn(path, _text(item))
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return TextIn(path, _text(item), ignore_case=True)
        case FilterOperator.IS_EMPTY:
            return Or((Not(Exists(path)), OneOf(path, ("",))))
    raise _refused(item, "an operator that is known")


def _equal(item: MetadataFilter) -> Expression:
    if item.value is None:
        return Not(Exists((item.key,)))
    return OneOf((item.key,), (_single(item),))


def _has(path: tuple[str, ...], value: Any) -> Expression:
    """A list that has the value, or a string that has it in it."""
    has = ListHas(path, (value,))
    return Or((has, TextIn(path, value))) if isinstance(value, str) else has


def _single(item: MetadataFilter) -> Any:
    if item.value is None or isinstance(item.value, list):
        raise _refused(item, "one string or number")
    return item.value


def _several(item: MetadataFilter) -> tuple[Any, ...]:
    if item.value is None:
        raise _refused(item, "a list")
    return tuple(item.value) if isinstance(item.value, list) else (item.value,)


def _number(item: MetadataFilter) -> Any:
    if not isinstance(item.value, int | float):
        raise _refused(item, "a number")
    return item.value


def _text(item: MetadataFilter) -> str:
    if not isinstance(item.value, str):
        raise _refused(item, "a string")
    return item.value


def _refused(item: MetadataFilter, expected: str) -> InvalidFilterError:
    return InvalidFilterError(
        f"the filter {item.key!r} {item.operator.value} has the value {shown(item.value)}, "
        f"expected {expected}"
    )
