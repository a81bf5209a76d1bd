"""What filter translators share: the values of comparisons checked, and what "contains" means.

A translator gives each operator of its framework an expression. Which values an operator takes, and
how a refusal begins, is the framework's; that a refusal names what would be right is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from retrieval_store.base.json_values import shown
from retrieval_store.errors import InvalidFilterError, InvalidTypeError
from retrieval_store.filters.expression import (
    MAX_DEPTH,
    And,
    AtLeast,
    Expression,
    ListHas,
    Not,
    Or,
    PayloadPath,
    Scalar,
    TextIn,
    ValueLeaf,
    every,
    walk,
)
from retrieval_store.filters.limits import Parsed, checked_expression
from retrieval_store.filters.where import parse_where


@dataclass(frozen=True, slots=True)
class Operand:
    """What a framework's filter compares the field at `path` with.

    said: the comparison in the framework's words, which end where the value comes.
    """

    path: PayloadPath
    value: Any
    said: str

    def refused(self, expected: str) -> InvalidFilterError:
        """The error that says what was expected instead of the value."""
        return InvalidFilterError(f"{self.said} {shown(self.value)}, expected {expected}")

    def one(self, expected: str) -> Scalar:
        """The value, which must be a string, a number or a bool; expected: how it is refused."""
        if not isinstance(self.value, str | int | float):
            raise self.refused(expected)
        return self.value

    def several(self) -> list[Any]:
        """The values of a list, unchecked, or the only one."""
        return list(self.value) if isinstance(self.value, list | tuple) else [self.value]

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


def all_of(given: Mapping[str, Any]) -> Expression | None:
    """All of the filters at once, in the form that `where` of a Collection takes; None when none of
    them restricts anything. given: by the names of the arguments, each one that `native` takes."""
    expression = every(*(_checked(one, name) for name, one in given.items()))
    return None if expression is None else Parsed(expression)


def _checked(given: Any, name: str) -> Expression | None:
    found = native(given, name)
    if found is None:
        return None
    return checked_expression(found) if isinstance(found, Expression) else parse_where(found)


def native(given: Any, name: str = "filter") -> Any:
    """What `where` of a Collection takes for a filter that a user gives as the store's own: a dict
    in the shape of Chroma's, an expression, or a `Filter` of qdrant-client's models; None where it
    restricts nothing. Raises InvalidTypeError for anything else."""
    if given is None or isinstance(given, Expression):
        return given
    if isinstance(given, Mapping):
        return given or None
    if type(given).__module__.startswith("qdrant_client."):
        return _of_qdrant(given, name)
    raise InvalidTypeError(
        f"{name} is {shown(given)}, expected a dict such as {{'year': {{'$gte': 2020}}}}, an "
        "expression of retrieval_store.filters, or a Filter of qdrant_client.models"
    )


def below(key: str, given: Any) -> Any:
    """A filter as `native` returns it, asked of what stands under a key of the metadata; one of
    Qdrant's stays as it is, since it names its way from the top."""
    if given is None or isinstance(given, Parsed):
        return given
    if isinstance(given, Mapping):
        given = parse_where(given)
    return _below(key, checked_expression(given))


def _below(key: str, node: Expression) -> Expression:
    match node:
        case And(terms) | Or(terms):
            return type(node)(tuple(_below(key, term) for term in terms))
        case AtLeast(terms, count):
            return AtLeast(tuple(_below(key, term) for term in terms), count)
        case Not(term):
            return Not(_below(key, term))
        case ValueLeaf(path=path):
            # A name with dots leads through several keys, if it is alone.
            dotted = len(path) == 1 and "." in path[0]
            leaf: Any = node
            moved: Expression = replace(
                leaf, path=(f"{key}.{path[0]}",) if dotted else (key, *path)
            )
            return moved
    return node  # of a document, or of ids


def _of_qdrant(given: Any, name: str) -> Expression | None:
    """As a server means it for a key without an index."""
    from qdrant_client import models

    from retrieval_store.qdrant.filters import parse_filter

    if not isinstance(given, models.Filter):
        raise InvalidTypeError(f"{name} is {shown(given)}, expected a Filter that has it in it")
    found = parse_filter(given, {})
    # One that is empty restricts nothing, so that nothing is deleted by it either.
    if found is None or all(isinstance(node, And) for node in walk(found)):
        return None
    return Parsed(found)


def refuse_depth(depth: int, nested: str) -> None:
    """Raise InvalidFilterError when a term lies deeper than can be evaluated, before what is below
    it is looked at. nested: what is so deep, and its verb."""
    if depth > MAX_DEPTH:
        raise InvalidFilterError(f"{nested} nested deeper than {MAX_DEPTH} levels")
