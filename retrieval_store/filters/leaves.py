"""Leaves: conditions on what payloads have, and what evaluators may be asked by them.

A leaf is a condition on a *column* (`columns`). What it means is said once, by `holds`, of one
value of its column; a point fulfils it if it holds of any. That is enough: any evaluator can ask it
of each point. One that has something faster asks the leaf how to use it: `found_in` finds rows in
what is kept of a column, `bound` is what a store elsewhere can say of it.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Protocol, TypeAlias

from retrieval_store.base.arrays import Bools, Floats
from retrieval_store.base.validation import Payload
from retrieval_store.filters.columns import Column, ValuesAt, found_at
from retrieval_store.filters.nodes import Expression, Scalar
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.filters.readings import Reading

Bound: TypeAlias = Any  # what a store elsewhere is told


class ColumnLeaf(Expression):
    """A condition on the values of the column `at`."""

    __slots__ = ()
    at: Column

    def holds(self, value: Any) -> bool:
        """Whether the condition is true of one value of the column."""
        raise NotImplementedError

    def found_in(self, kept: Any) -> "RowSet | None":
        """Rows of points that fulfil it, in what is kept of the column: what fits it among the
        protocols below. None when they can't be looked up."""
        return None

    def bound(self, pushdown: "Pushdown") -> Bound:
        """What a store elsewhere can say of it."""
        return pushdown.nothing()


class ValueLeaf(ColumnLeaf):
    """A condition on what payloads have at `path`, as `reading` sees it: by default the value as it
    is, of which None stands for nothing and for null. Those that the language has match neither."""

    __slots__ = ()
    path: PayloadPath
    reading: ClassVar[Reading] = "as it is"


def column_of(leaf: ColumnLeaf) -> Column:
    """The column that a leaf is asked of."""
    return _values_at(leaf.path, leaf.reading) if isinstance(leaf, ValueLeaf) else leaf.at


_values_at = lru_cache(maxsize=1024)(ValuesAt)  # a filter is asked for its columns several times


def is_fulfilled(leaf: ColumnLeaf, payload: Payload | None) -> bool:
    """Whether the payload of one point fulfils a leaf."""
    column = column_of(leaf)
    return any(leaf.holds(value) for value in column.within(found_at(payload, column)))


class RowSet(Protocol):
    """Rows that were found; how they are held is left to the engine."""

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""


class Interval(Protocol):
    """Bounds of numbers; None leaves a side open."""

    @property
    def gt(self) -> int | float | None: ...
    @property
    def gte(self) -> int | float | None: ...
    @property
    def lt(self) -> int | float | None: ...
    @property
    def lte(self) -> int | float | None: ...


class KeptValues(Protocol):
    """Rows by value."""

    def equal(self, values: Sequence[Scalar]) -> RowSet:
        """The rows of any of the values, compared as the column compares them."""

    def other_than(self, values: Sequence[Scalar]) -> RowSet:
        """The rows of any other value."""

    def between(self, bounds: Interval) -> RowSet:
        """The rows of numbers inside the bounds."""

    def texts_that(self, fulfil: Callable[[Sequence[str]], Sequence[bool]]) -> RowSet:
        """The rows of the strings that fulfil something, which is asked of all at once."""


class KeptPlaces(Protocol):
    """Rows by place."""

    def where(self, inside: Callable[[Floats, Floats], Bools]) -> RowSet:
        """The rows of places of whose longitudes and latitudes something holds."""


class KeptTokens(Protocol):
    """Rows by token."""

    def with_tokens(self, tokens: Sequence[str], every: bool) -> RowSet:
        """The rows of texts with any of the tokens, or with every one."""

    def with_phrase(self, tokens: Sequence[str]) -> RowSet:
        """The rows of texts with the tokens one after the other."""


class KeptElements(Protocol):
    """Rows by the objects in their lists."""

    def fulfilling(self, expression: Expression) -> RowSet:
        """The rows with an object that fulfils the expression."""


class Pushdown(Protocol):
    """What a store elsewhere can say of the values of a column at a path of keys: either a superset
    of what fulfils a condition, or a subset, which a negation needs. A leaf isn't told which, so
    what it returns must be true of both."""

    def equal(self, values: Sequence[Scalar]) -> Bound:
        """That one equals any of the values."""

    def between(self, bounds: Interval) -> Bound:
        """That one is a number inside the bounds."""

    def containing(self, text: str) -> Bound:
        """That one is a string that has the text in it."""

    def nothing(self) -> Bound:
        """Nothing but that there must be one."""
