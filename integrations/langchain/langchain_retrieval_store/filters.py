"""Self-query: LangChain's structured queries as filters of retrieval-store."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from langchain_core.structured_query import (
    Comparator,
    Comparison,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)

from retrieval_store.errors import InvalidFilterError
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
    contains,
)
from retrieval_store.frameworks import Operand, refuse_depth


class RetrievalStoreTranslator(Visitor):
    """Translates LangChain's structured queries, with every comparator and operator. Pass the
    result as `filter=` to a search.

    "eq", "ne", "in" and "nin" take strings, numbers, bools, dates and times; "gt", "gte", "lt" and
    "lte" take numbers, dates and times. Dates and times are compared with strings that contain
    times; a date stands for its midnight in UTC. "contain" matches a list that has the value, or a
    string that contains the value. "like" matches a string that contains the value, ignoring case
    and per-cent signs at its ends. "ne" and "nin" match documents without the attribute.
    """

    allowed_comparators = tuple(Comparator)
    allowed_operators = tuple(Operator)

    def visit_operation(self, operation: Operation) -> Expression:
        """The expression of an operation and its arguments. "not" of several arguments means that
        at least one of them doesn't hold. Raises InvalidFilterError for nesting that is too deep,
        and for a value that its comparator can't use."""
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
        """The expression of one comparison. Raises InvalidFilterError, with the attribute, the
        comparator and the value, when these don't fit together."""
        path, value = (comparison.attribute,), comparison.value
        compared = f"{comparison.attribute!r} is compared by {comparison.comparator.value!r} with"
        operand = Operand(path, value, compared)
        match comparison.comparator:
            case Comparator.EQ:
                return _one_of(operand, (value,))
            case Comparator.NE:
                return Not(_one_of(operand, (value,)))
            case Comparator.IN:
                return _one_of(operand, operand.several())
            case Comparator.NIN:
                return Not(_one_of(operand, operand.several()))
            case Comparator.CONTAIN if isinstance(value, dict):  # a date isn't part of a text
                return ListHas(path, (_scalar(operand),))
            case Comparator.CONTAIN:
                return contains(path, _scalar(operand))
            case Comparator.LIKE:
                return TextIn(path, _pattern(operand), ignore_case=True)
            case Comparator.GT:
                return _comparison(operand, "gt")
            case Comparator.GTE:
                return _comparison(operand, "gte")
            case Comparator.LT:
                return _comparison(operand, "lt")
            case Comparator.LTE:
                return _comparison(operand, "lte")
        raise operand.error("a comparator that is known")

    def visit_structured_query(
        self, structured_query: StructuredQuery
    ) -> tuple[str, dict[str, Any]]:
        """The text to search for, and the search's arguments: a dict with `filter`, or an empty
        dict if nothing is restricted."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}


def _pattern(operand: Operand) -> str:
    """The text of a "like" pattern, without per-cent signs at its ends. Any string that contains
    the text matches."""
    text = operand.text().strip("%")
    if "%" in text:
        raise operand.error("a text with per-cent signs at its ends alone")
    return text


def _scalar(operand: Operand) -> Scalar:
    time = _time(operand.value)
    return operand.scalar("a string, a number or a bool") if time is None else time


def _one_of(operand: Operand, values: Sequence[Any]) -> Expression:
    """A condition that a field equals one of the values. Dates and times equal strings with the
    same time."""
    texts = [_time(value) for value in values]
    times = [text for text in texts if text is not None and _is_time(text)]
    scalars = tuple(
        _scalar(replace(operand, value=value))
        for value, text in zip(values, texts, strict=True)
        if text not in times or text is None
    )
    terms: list[Expression] = [TextRange(operand.path, gte=t, lte=t, times=True) for t in times]
    if scalars or not terms:
        terms.insert(0, OneOf(operand.path, scalars))
    return terms[0] if len(terms) == 1 else Or(tuple(terms))


def _comparison(operand: Operand, side: str) -> Expression:
    """A condition that compares a field with a number, or with a date in the form that `where`
    accepts. side: "gt", "gte", "lt" or "lte"."""
    value = operand.value
    time = value if isinstance(value, str) and _is_time(value) else _time(value)
    if time is not None:
        bound: dict[str, Any] = {side: time}
        return TextRange(operand.path, **bound, times=True)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise operand.error("a number or a date")
    return Range(operand.path, **{side: value})


def _is_time(text: str) -> bool:
    """Whether filters would read the string as a timestamp."""
    try:
        TextRange(("time",), gte=text, times=True).check()
    except InvalidFilterError:
        return False
    return True


def _time(value: Any) -> str | None:
    """A date or time as a string; None for any other value. value: a `date` or `datetime`, or a
    dict in the form that LangChain uses for dates."""
    match value:
        case date():
            return value.isoformat()
        case {"type": "date", "date": str() as text} | {
            "type": "datetime",
            "datetime": str() as text,
        }:
            return text if len(value) == 2 else None
    return None
