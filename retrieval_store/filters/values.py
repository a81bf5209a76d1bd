"""Conditions on what a payload has at a path.

Each is one class, and a new one is one class more, in a file of its own if it is large. What it
means is said once, by `holds`. That is enough: whoever evaluates expressions can ask it of each
point. Who has something faster asks the leaf how to use it: `found_in` finds rows in the values of
many points, `bound` is what a store elsewhere can say of it.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, final

from retrieval_store.base.arrays import Bools, plain_scalar
from retrieval_store.base.json_values import is_unicode, shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.dates import time_in
from retrieval_store.filters.nodes import Expression, PayloadPath, Scalar

Bound: TypeAlias = Any  # what a store elsewhere is told


class ValueLeaf(Expression):
    """A condition on the value at `path`; None stands for nothing and for null, which no leaf
    matches. in_lists: whether it is lists that fulfil it, for what their elements are; None for
    values of any kind."""

    __slots__ = ()
    path: PayloadPath
    in_lists: ClassVar[bool | None] = False

    def holds(self, value: Any) -> bool:
        """Whether the condition is true of the value."""
        raise NotImplementedError

    def found_in(self, values: "Values") -> "Found | None":
        """Rows of points whose values fulfil it; None when it can't be looked up."""
        return None

    def bound(self, says: "Says") -> Bound:
        """What a store elsewhere can say of it."""
        return says.nothing()


class Found(Protocol):
    """Rows that were found; how they are held is left to whoever has the values."""

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""


class Values(Protocol):
    """The values of many points at one path. present: the rows with one that is neither null nor
    an empty list."""

    @property
    def present(self) -> Found: ...
    @property
    def scalars(self) -> "Scalars":
        """Values that are scalars."""

    @property
    def elements(self) -> "Scalars":
        """Scalars in values that are lists."""

    @property
    def lengths(self) -> "Scalars":
        """How long values are that are lists."""


class Scalars(Protocol):
    """Rows by scalar."""

    def equal(self, values: Sequence[Scalar]) -> Found:
        """The rows of any of the values."""

    def between(self, bounds: "Range") -> Found:
        """The rows of numbers inside the bounds."""

    def containing(self, text: str, ignore_case: bool) -> Found:
        """The rows of strings that have the text in them."""

    def texts_that(self, holds: Callable[[str], bool]) -> Found:
        """The rows of strings of which something holds."""


class Says(Protocol):
    """What a store elsewhere can say of a value, or of one of its elements if it is a list: either
    what is necessary for a condition, or what is enough for it, which a negation needs. A leaf
    isn't told which, so what it returns must be true of both; what is only necessary is a method
    here of its own, that says nothing where enough is asked for."""

    def equal(self, values: Sequence[Scalar]) -> Bound:
        """That it equals one of the values."""

    def between(self, bounds: "Range") -> Bound:
        """That it is a number inside the bounds."""

    def containing(self, text: str) -> Bound:
        """That it is a string that has the text in it."""

    def present(self) -> Bound:
        """That there is one."""

    def nothing(self) -> Bound:
        """Nothing but that there must be one."""

    def anything(self) -> Bound:
        """Not even that."""


@final
@dataclass(frozen=True, slots=True)
class OneOf(ValueLeaf):
    """Points with a scalar at `path` equal to one of `values`.

    Numbers compare by exact value (1 equals 1.0), a bool equals only that bool.
    """

    path: PayloadPath
    values: tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
        return any(_same(value, one) for one in self.values)

    def found_in(self, values: Values) -> Found:
        return values.scalars.equal(self.values)

    def bound(self, says: Says) -> Bound:
        return says.equal(self.values)


@final
@dataclass(frozen=True, slots=True)
class ListHas(ValueLeaf):
    """Points with a list at `path` that has an element equal to one of `values`."""

    path: PayloadPath
    values: tuple[Scalar, ...]
    in_lists: ClassVar[bool | None] = True

    def holds(self, value: Any) -> bool:
        return isinstance(value, list) and any(_same(v, w) for v in value for w in self.values)

    def found_in(self, values: Values) -> Found:
        return values.elements.equal(self.values)

    def bound(self, says: Says) -> Bound:
        return says.equal(self.values)


@final
@dataclass(frozen=True, slots=True)
class Range(ValueLeaf):
    """Points with a number at `path` in the bounds, compared exactly; None leaves a side open."""

    path: PayloadPath
    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None

    def check(self) -> None:
        for name in ("gt", "gte", "lt", "lte"):
            bound = plain_scalar(getattr(self, name))
            if not (bound is None or isinstance(bound, int) or _is_finite(bound)):
                raise InvalidFilterError(
                    f"the range on {self.path!r} has {name}={shown(bound)}, expected a finite "
                    "number, or None for a side that is open"
                )

    def holds(self, value: Any) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (self.gt is None or value > self.gt)
            and (self.gte is None or value >= self.gte)
            and (self.lt is None or value < self.lt)
            and (self.lte is None or value <= self.lte)
        )

    def found_in(self, values: Values) -> Found:
        return values.scalars.between(self)

    def bound(self, says: Says) -> Bound:
        return says.between(self)


@final
@dataclass(frozen=True, slots=True)
class TextIn(ValueLeaf):
    """Points with a string at `path` that has `text` in it; ignore_case: as `str.casefold` says."""

    path: PayloadPath
    text: str
    ignore_case: bool = False

    def holds(self, value: Any) -> bool:
        if self.ignore_case:
            return isinstance(value, str) and self.text.casefold() in value.casefold()
        return isinstance(value, str) and self.text in value

    def found_in(self, values: Values) -> Found:
        return values.scalars.containing(self.text, self.ignore_case)

    def bound(self, says: Says) -> Bound:
        return says.containing(self.text) if self.text and not self.ignore_case else says.nothing()


@final
@dataclass(frozen=True, slots=True)
class TextRange(ValueLeaf):
    """Points with a string at `path` in the bounds; None leaves a side open. A bound and a string
    that are both times (`dates`) compare as such, and else by their characters' numbers, unless it
    is `times` alone that are meant."""

    path: PayloadPath
    gt: str | None = None
    gte: str | None = None
    lt: str | None = None
    lte: str | None = None
    times: bool = False

    def check(self) -> None:
        for name in ("gt", "gte", "lt", "lte"):
            bound = getattr(self, name)
            if not (bound is None or (isinstance(bound, str) and is_unicode(bound))):
                raise InvalidFilterError(
                    f"the range of strings on {self.path!r} has {name}={shown(bound)}, expected a "
                    "string without lone surrogates, or None for a side that is open"
                )
            if self.times and bound is not None and time_in(bound) is None:
                raise InvalidFilterError(
                    f"the range of times on {self.path!r} has {name}={bound!r}, which is no time"
                )

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and self._ready()(value)

    def found_in(self, values: Values) -> Found:
        return values.scalars.texts_that(self._ready())

    def bound(self, says: Says) -> Bound:
        return says.nothing()

    def _ready(self) -> Callable[[str], bool]:
        """Whether a string is in the bounds, which are read once."""
        bounds = (
            (bound, time_in(bound), compare)
            for bound, compare in zip(self._bounds(), _COMPARED, strict=True)
            if bound is not None
        )
        ready = tuple(bounds)

        def within(text: str) -> bool:
            time = time_in(text)
            return all(
                compare(time, at)
                if time is not None and at is not None
                else not self.times and compare(text, bound)
                for bound, at, compare in ready
            )

        return within

    def _bounds(self) -> tuple[str | None, ...]:
        return self.gt, self.gte, self.lt, self.lte


@final
@dataclass(frozen=True, slots=True)
class HasLength(ValueLeaf):
    """Points with a list of so many elements at `path`."""

    path: PayloadPath
    length: int
    in_lists: ClassVar[bool | None] = True

    def holds(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) == self.length

    def found_in(self, values: Values) -> Found:
        return values.lengths.equal([self.length])

    def bound(self, says: Says) -> Bound:
        # An empty list is as good as nothing there.
        return says.nothing() if self.length else says.anything()


@final
@dataclass(frozen=True, slots=True)
class Exists(ValueLeaf):
    """Points with something at `path`: neither nothing, nor null, nor an empty list."""

    path: PayloadPath
    in_lists: ClassVar[bool | None] = None

    def holds(self, value: Any) -> bool:
        return value is not None and value != []

    def found_in(self, values: Values) -> Found:
        return values.present

    def bound(self, says: Says) -> Bound:
        return says.present()


_COMPARED = (operator.gt, operator.ge, operator.lt, operator.le)


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _same(value: Any, wanted: Scalar) -> bool:
    """Equality of scalars: numbers by value, a bool only to that bool."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(wanted, str):
        return isinstance(value, str) and value == wanted
    return isinstance(value, int | float) and value == wanted
