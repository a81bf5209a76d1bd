"""Self-query: LangChain's structured queries as filters of retrieval-store."""

from typing import Any, ClassVar

from langchain_core.structured_query import (
    Comparator,
    Comparison,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)

from retrieval_store.base.json_values import shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    And,
    Expression,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    TextIn,
)


class RetrievalStoreTranslator(Visitor):
    """Translates every comparator and operator; what comes out goes into `filter=`.

    "contain": a list that has the value, or a string with the value in it; "like": a string with
    the value in it, whatever the case, per-cent signs at its ends left out. "ne" and "nin" match
    documents without the attribute.
    """

    allowed_comparators: ClassVar[Any] = tuple(Comparator)
    allowed_operators: ClassVar[Any] = tuple(Operator)

    def visit_operation(self, operation: Operation) -> Expression:
        return self._operation(operation, 1)

    def _operation(self, operation: Operation, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
        terms = tuple(
            [
                self._operation(argument, depth + 1)
                if isinstance(argument, Operation)
                else argument.accept(self)
                for argument in operation.arguments
            ]
        )
        match operation.operator:
            case Operator.AND:
                return And(terms)
            case Operator.OR:
                return Or(terms)
            case _:
                return Not(And(terms))

    def visit_comparison(self, comparison: Comparison) -> Expression:
        path, value = (comparison.attribute,), comparison.value
        match comparison.comparator:
            case Comparator.EQ:
                return OneOf(path, (_scalar(comparison, value),))
            case Comparator.NE:
                return Not(OneOf(path, (_scalar(comparison, value),)))
            case Comparator.IN:
                return OneOf(path, _scalars(comparison))
            case Comparator.NIN:
                return Not(OneOf(path, _scalars(comparison)))
            case Comparator.CONTAIN:
                has = ListHas(path, (_scalar(comparison, value),))
                return Or((has, TextIn(path, value))) if isinstance(value, str) else has
            case Comparator.LIKE:
                return TextIn(path, _text(comparison).strip("%"), ignore_case=True)
            case Comparator.GT:
                return Range(path, gt=_number(comparison))
            case Comparator.GTE:
                return Range(path, gte=_number(comparison))
            case Comparator.LT:
                return Range(path, lt=_number(comparison))
            case Comparator.LTE:
                return Range(path, lte=_number(comparison))
        raise _refused(comparison, "a comparator that is known")

    def visit_structured_query(
        self, structured_query: StructuredQuery
    ) -> tuple[str, dict[str, Any]]:
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}


def _scalar(comparison: Comparison, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"date", "type"}:  # how a date is written there
        return value["date"]
    if not isinstance(value, str | int | float | bool):
        raise _refused(comparison, "a string, a number or a bool")
    return value


def _scalars(comparison: Comparison) -> tuple[Any, ...]:
    values = comparison.value
    if not isinstance(values, list | tuple):
        values = [values]
    return tuple(_scalar(comparison, value) for value in values)


def _number(comparison: Comparison) -> Any:
    value = comparison.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(comparison, "a number")
    return value


def _text(comparison: Comparison) -> str:
    if not isinstance(comparison.value, str):
        raise _refused(comparison, "a string")
    return comparison.value


def _refused(comparison: Comparison, expected: str) -> InvalidFilterError:
    return InvalidFilterError(
        f"{comparison.attribute!r} is compared by {comparison.comparator.value!r} with "
        f"{shown(comparison.value)}, expected {expected}"
    )
