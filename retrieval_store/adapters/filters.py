"""What filter translators share: the values of comparisons checked, and what "contains" means.

A translator gives each operator of its framework an expression. Which values an operator takes, and
how a refusal begins, is the framework's; that a refusal names what would be right is ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    Expression,
    ListHas,
    Or,
    PayloadPath,
    Scalar,
    TextIn,
)


@dataclass(frozen=True, slots=True)
class Operand:
    """What a framework's filter compares the field at `path` with.

    described: the comparison in the framework's words, with its value; asked for when it's refused.
    """

    path: PayloadPath
    value: Any
    described: Callable[[], str]

    def refused(self, expected: str) -> InvalidFilterError:
        """The error that says what was expected instead of the value."""
        return InvalidFilterError(f"{self.described()}, expected {expected}")

    def number(self) -> int | float:
        """The value, which must be a number; a bool is one here, as it is to Python."""
        if not isinstance(self.value, int | float):
            raise self.refused("a number")
        return self.value

    def text(self) -> str:
        """The value, which must be a string."""
        if not isinstance(self.value, str):
            raise self.refused("a string")
        return self.value


def contains(path: PayloadPath, value: Scalar) -> Expression:
    """Points with a list that has the value, or with a string that has it in it."""
    has = ListHas(path, (value,))
    return Or((has, TextIn(path, value))) if isinstance(value, str) else has


def refuse_depth(depth: int, nested: str) -> None:
    """Raise InvalidFilterError when a term lies deeper than can be evaluated, before what is below
    it is looked at. nested: what is so deep, and its verb."""
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"{nested} nested deeper than {MAX_DEPTH} levels")
