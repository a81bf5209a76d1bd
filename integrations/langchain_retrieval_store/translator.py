"""Self-query: LangChain's structured queries as filters of retrieval-store."""

from functools import partial
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
from retrieval_store.base.json_values import shown
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
)


class RetrievalStoreTranslator(Visitor):
    """Translates every comparator and operator; what comes out goes into `filter=`.

    "eq", "ne", "in" and "nin" take strings, numbers, bools and dates, which are compared as the
    strings that they are written as; "gt", "gte", "lt" and "lte" numbers. "contain": a list that
    has the value, or a string with the value in it; "like": a string with the value in it, whatever
    the case, per-cent signs at its ends left out. "ne" and "nin" match documents without the
    attribute.
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
        operand = Operand(path, value, partial(_described, comparison))
        match comparison.comparator:
            case Comparator.EQ:
                return OneOf(path, (_scalar(operand, value),))
            case Comparator.NE:
                return Not(OneOf(path, (_scalar(operand, value),)))
            case Comparator.IN:
                return OneOf(path, _scalars(operand))
            case Comparator.NIN:
                return Not(OneOf(path, _scalars(operand)))
            case Comparator.CONTAIN if isinstance(value, dict):  # a date is no part of a text
                return ListHas(path, (_scalar(operand, value),))
            case Comparator.CONTAIN:
                return contains(path, _scalar(operand, value))
            case Comparator.LIKE:
                return TextIn(path, operand.text().strip("%"), ignore_case=True)
            case Comparator.GT:
                return Range(path, gt=_number(operand))
            case Comparator.GTE:
                return Range(path, gte=_number(operand))
            case Comparator.LT:
                return Range(path, lt=_number(operand))
            case Comparator.LTE:
                return Range(path, lte=_number(operand))
        raise operand.refused("a comparator that is known")

    def visit_structured_query(
        self, structured_query: StructuredQuery
    ) -> tuple[str, dict[str, Any]]:
        """The text to search for, and the arguments of a search with it: `filter`, or none where
        nothing is restricted."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}


def _scalar(operand: Operand, value: Any) -> Scalar:
    if isinstance(value, dict) and set(value) == {"date", "type"}:  # how a date is written there
        date: Scalar = value["date"]
        return date
    if not isinstance(value, str | int | float | bool):
        raise operand.refused("a string, a number or a bool")
    return value


def _scalars(operand: Operand) -> tuple[Scalar, ...]:
    values = operand.value
    if not isinstance(values, list | tuple):
        values = [values]
    return tuple(_scalar(operand, value) for value in values)


def _number(operand: Operand) -> int | float:
    if isinstance(operand.value, bool):
        raise operand.refused("a number")
    return operand.number()


def _described(comparison: Comparison) -> str:
    return (
        f"{comparison.attribute!r} is compared by {comparison.comparator.value!r} with "
        f"{shown(comparison.value)}"
    )
