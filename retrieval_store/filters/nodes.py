"""The nodes of expressions that need no value: combinations, and ids.

A filter is a tree of frozen nodes. They say what matches, not how it is found. A *path* leads into
a payload, one key a step. Conditions on what lies there are in `values`, on documents in
`documents`.
"""

from dataclasses import dataclass
from typing import TypeAlias

from retrieval_store.base.json_values import INT_MAX, is_unicode, shown
from retrieval_store.errors import InvalidFilterError

Scalar: TypeAlias = bool | int | float | str
PayloadPath: TypeAlias = tuple[str, ...]
MAX_DEPTH = 200  # levels of terms in terms: who evaluates them calls itself for each


class Expression:
    """A condition that a point fulfils or doesn't."""

    __slots__ = ()

    def check(self) -> None:
        """Raise InvalidFilterError for what can't be evaluated, whatever its terms are."""


@dataclass(frozen=True, slots=True)
class And(Expression):
    """Points that fulfil all terms; with no terms, every point."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Expression):
    """Points that fulfil at least one term; with no terms, none."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AtLeast(Expression):
    """Points that fulfil at least `count` of the terms."""

    terms: tuple[Expression, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Not(Expression):
    """Points that don't fulfil the term."""

    term: Expression


@dataclass(frozen=True, slots=True)
class HasId(Expression):
    """Points with one of these ids."""

    ids: tuple[str | int, ...]

    def check(self) -> None:
        for one in self.ids:
            if not (is_unicode(one) if isinstance(one, str) else _is_number(one)):
                raise InvalidFilterError(
                    f"the filter has the id {shown(one)}, expected a string without lone "
                    "surrogates or an integer from 0 to 2**64 - 1"
                )


def _is_number(one: object) -> bool:
    return isinstance(one, int) and 0 <= one <= INT_MAX
