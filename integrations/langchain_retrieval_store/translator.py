"""Self-query: LangChain's structured queries as filters of retrieval-store."""

from dataclasses import replace
from typing import Any

from langchain_core.structured_query import (
    Comparator,
    Comparison,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)

from retrieval_store.adapters.filters import Operand, contains, refuse_depth
from retrieval_store.filters.expression import (
    And,
    Expression,
    ListHas,
    Not,
    OneOf,
    Or,
    Range,
    Scalar,
    TextIn,
    TextRange,
)


class RetrievalStoreTranslator(Visitor):
    """Translates every comparator and operator; what comes out goes into `filter=`.

    "eq", "ne", "in" and "nin" take strings, numbers and bools, and dates and times, which are
    compared as the strings that they are written as. "gt", "gte", "lt" and "lte" take numbers, and
    dates and times, with which the times that strings say are compared. "contain": a list that has
    the value, or a string with the value in it; "like": a string with the value in it, whatever the
    case, per-cent signs at its ends left out. "ne" and "nin" match documents without the attribute.
    """

    allowed_comparators = tuple(Comparator)
    allowed_operators = tuple(Operator)

    def visit_operation(self, operation: Operation) -> Expression:
        """The expression of an operation and all below it; "not" of several arguments means that
        not all of them hold. Raises InvalidFilterError for one too deep, and for a value that its
        comparator can't use."""
        return self._operation(operation, 1)

    def _operation(self, operation: Operation, depth: int) -> Expression:
        refuse_depth(depth, "the filter is")
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
        """The expression of one comparison; raises InvalidFilterError, which names the attribute,
        the comparator and the value, when these don't go together."""
        path, value = (comparison.attribute,), comparison.value
        compared = f"{comparison.attribute!r} is compared by {comparison.comparator.value!r} with"
        operand = Operand(path, value, compared)
        match comparison.comparator:
            case Comparator.EQ:
                return OneOf(path, (_scalar(operand),))
            case Comparator.NE:
                return Not(OneOf(path, (_scalar(operand),)))
            case Comparator.IN:
                return OneOf(path, _scalars(operand))
            case Comparator.NIN:
                return Not(OneOf(path, _scalars(operand)))
            case Comparator.CONTAIN if isinstance(value, dict):  # a date is no part of a text
                return ListHas(path, (_scalar(operand),))
            case Comparator.CONTAIN:
                return contains(path, _scalar(operand))
            case Comparator.LIKE:
                return TextIn(path, operand.text().strip("%"), ignore_case=True)
            case Comparator.GT:
                return _ordered(operand, "gt")
            case Comparator.GTE:
                return _ordered(operand, "gte")
            case Comparator.LT:
                return _ordered(operand, "lt")
            case Comparator.LTE:
                return _ordered(operand, "lte")
        raise operand.refused("a comparator that is known")

    def visit_structured_query(
        self, structured_query: StructuredQuery
    ) -> tuple[str, dict[str, Any]]:
        """The text to search for, and the arguments of a search with it: `filter`, or none where
        nothing is restricted."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}


def _scalar(operand: Operand) -> Scalar:
    date = _date(operand.value)
    return operand.one("a string, a number or a bool") if date is None else date


def _scalars(operand: Operand) -> tuple[Scalar, ...]:
    return tuple(_scalar(replace(operand, value=value)) for value in operand.several())


def _ordered(operand: Operand, side: str) -> Expression:
    """What lies on one side of a number, or of a date, as `where` has it."""
    date = _date(operand.value)
    if date is not None:
        bound: dict[str, Any] = {side: date}
        return TextRange(operand.path, **bound, times=True)
    if isinstance(operand.value, bool) or not isinstance(operand.value, int | float):
        raise operand.refused("a number or a date")
    return Range(operand.path, **{side: operand.value})


def _date(value: Any) -> str | None:
    """The text of a date or of a time in the form that they have there; None for what is none."""
    match value:
        case {"type": "date", "date": str() as text} | {
            "type": "datetime",
            "datetime": str() as text,
        }:
            return text if len(value) == 2 else None
    return None
