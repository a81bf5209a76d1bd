"""What typed conditions have in common, and what they may ask of the values of many points."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from retrieval_store.base.arrays import Bools, Floats
from retrieval_store.filters.nodes import Expression, Scalar
from retrieval_store.filters.typed.columns import Column
from retrieval_store.filters.typed.paths import Found as Values
from retrieval_store.filters.values import Found


class TypedLeaf(Expression):
    """A condition on what `at` names."""

    __slots__ = ()
    at: Column

    def holds(self, values: Values) -> bool:
        """Whether it is true of what a payload has at the path; of nothing if there is nothing."""
        raise NotImplementedError

    def found_in(self, kept: Any) -> Found:
        """The rows of points for which it is true, in what is kept of `at`: what fits the kind of
        column among the protocols below."""
        raise NotImplementedError


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


def is_inside(value: int | float, bounds: Interval) -> bool:
    """Whether a number is inside the bounds."""
    return (
        (bounds.gt is None or value > bounds.gt)
        and (bounds.gte is None or value >= bounds.gte)
        and (bounds.lt is None or value < bounds.lt)
        and (bounds.lte is None or value <= bounds.lte)
    )


class KeptValues(Protocol):
    """Rows by value."""

    def same(self, values: Sequence[Scalar]) -> Found:
        """The rows of any of the values, type and all."""

    def but(self, values: Sequence[Scalar]) -> Found:
        """The rows of any other value."""

    def between(self, bounds: Interval) -> Found:
        """The rows of numbers inside the bounds."""

    def texts_that(self, holds: Callable[[str], bool]) -> Found:
        """The rows of strings of which something holds."""


class KeptPlaces(Protocol):
    """Rows by place."""

    def where(self, inside: Callable[[Floats, Floats], Bools]) -> Found:
        """The rows of places of whose longitudes and latitudes something holds."""


class KeptSizes(Protocol):
    """Rows by how many values they have."""

    def counted(self, bounds: Interval) -> Found:
        """The rows with a value of so many elements; one that is no list counts as one, null and
        nothing as none."""

    def with_null(self, wanted: bool) -> Found:
        """The rows with a value that is null or has it in a list; or unless `wanted`, with one that
        isn't so, or with none."""


class KeptTokens(Protocol):
    """Rows by token."""

    def with_tokens(self, tokens: Sequence[str], every: bool) -> Found:
        """The rows of texts with any of the tokens, or with every one."""

    def with_phrase(self, tokens: Sequence[str]) -> Found:
        """The rows of texts with the tokens one after the other."""


class KeptElements(Protocol):
    """Rows by the objects in their lists."""

    def fulfilling(self, expression: Expression) -> Found:
        """The rows with an object that fulfils the expression."""
