"""Segments of typed columns: for what a condition names of payloads, which rows have what of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.engine.filtering.groups import Chosen
from retrieval_store.engine.filtering.postings import Postings, build
from retrieval_store.engine.filtering.tokens import TokenSegment, build_tokens
from retrieval_store.filters.expression import And, AtLeast, Expression, Not, Or, Scalar
from retrieval_store.filters.typed.columns import (
    Column,
    ElementsAt,
    PlacesAt,
    SizesAt,
    TokensAt,
    ValuesAt,
)
from retrieval_store.filters.typed.kinds import held, places
from retrieval_store.filters.typed.leaf import Interval, TypedLeaf
from retrieval_store.filters.typed.matches import nulls_of, sizes_of
from retrieval_store.filters.typed.paths import Found, Step, found_in


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that were found one by one, in any order."""

    rows: Ints

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""
        mask[self.rows] = True


@dataclass(frozen=True, slots=True)
class ValueSegment:
    """Rows by value. others: rows with a value that is no scalar."""

    rows: Ints
    values: Postings
    others: Ints

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        return self.rows.nbytes + self.values.nbytes + self.others.nbytes

    def same(self, values: Sequence[Scalar]) -> Chosen:
        """The rows of any of the values, type and all."""
        return self.values.same(values)

    def but(self, values: Sequence[Scalar]) -> "Either":
        """The rows of any other value."""
        return Either((self.values.but(values), Rows(self.others)))

    def between(self, bounds: Interval) -> Chosen:
        """The rows of numbers inside the bounds."""
        return self.values.between(bounds)

    def texts_that(self, holds: Callable[[str], bool]) -> Chosen:
        """The rows of strings of which something holds."""
        return self.values.texts_that(holds)


@dataclass(frozen=True, slots=True)
class PlaceSegment:
    """Rows by place: at[i], longitude and latitude, is one of owners[i]'s."""

    rows: Ints
    owners: Ints
    at: Floats

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        return self.rows.nbytes + self.owners.nbytes + self.at.nbytes

    def where(self, inside: Callable[[Floats, Floats], Bools]) -> Rows:
        """The rows of places of whose longitudes and latitudes something holds."""
        return Rows(self.owners[inside(self.at[:, 0], self.at[:, 1])])


@dataclass(frozen=True, slots=True)
class SizeSegment:
    """Rows by how many elements their values have, and by whether null is among them."""

    rows: Ints
    sizes: Postings
    nulls: Postings

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        return self.rows.nbytes + self.sizes.nbytes + self.nulls.nbytes

    def counted(self, bounds: Interval) -> Chosen:
        """The rows with a value of so many elements."""
        return self.sizes.between(bounds)

    def with_null(self, wanted: bool) -> Chosen:
        """The rows with a value that is null or has it in a list, or one that isn't so."""
        return self.nulls.same([wanted])


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """Rows by the objects in their lists: `owners` of each object, and for what is asked of objects
    a segment whose rows are the objects' numbers."""

    rows: Ints
    owners: Ints
    asked: "dict[Column, TypedSegment]"

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        inner = sum(segment.nbytes for segment in self.asked.values())
        return self.rows.nbytes + self.owners.nbytes + inner

    def fulfilling(self, expression: Expression) -> Rows:
        """The rows with an object that fulfils the expression."""
        return Rows(self.owners[self._mask(expression)])

    def _mask(self, expression: Expression) -> Bools:
        """(objects,) which of them do."""
        every = np.ones(len(self.owners), np.bool_)
        match expression:
            case And(terms):
                return reduce(np.logical_and, map(self._mask, terms), every)
            case Or(terms):
                return reduce(np.logical_or, map(self._mask, terms), ~every)
            case AtLeast(terms, count):
                votes = sum((self._mask(term).astype(np.int32) for term in terms), start=0 * every)
                return np.asarray(votes >= count)
            case Not(term):
                return ~self._mask(term)
            case TypedLeaf():
                found = ~every
                expression.found_in(self.asked[expression.at]).mark(found)
                return found
        raise TypeError(f"no mask is defined for {expression!r} in an element")


@dataclass(frozen=True, slots=True)
class Either:
    """The rows of any of what was found."""

    found: tuple[Chosen | Rows, ...]

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""
        for one in self.found:
            one.mark(mask)


TypedSegment: TypeAlias = ValueSegment | PlaceSegment | SizeSegment | TokenSegment | ElementSegment


def build_typed(
    column: Column, rows: Ints, values: Sequence[Any], there: Bools | None = None
) -> TypedSegment:
    """What is asked of the values that payloads have where the keys of the path lead; None stands
    for null, and for nothing too, unless `there` says where something is."""
    beyond = column.path.beyond
    match column:
        case SizesAt():
            return _sizes(rows, [*_found(beyond, values, there)])
        case ElementsAt(asked=asked):
            return _elements(asked, rows, [*_found(beyond, values, there)])
    owners, items = _items(beyond, rows, values)
    match column:
        case ValuesAt(kind=kind):
            return _values(rows, owners, held(kind, items))
        case PlacesAt(kind=kind):
            return _places(rows, owners, places(kind, items))
        case TokensAt():
            return build_tokens(column, rows, owners, items)


def _found(beyond: Sequence[Step], values: Sequence[Any], there: Bools | None) -> list[Found]:
    """For each value what lies beyond it."""
    if beyond:
        return [found_in(value, beyond) for value in values]
    if there is None:
        return [[value] for value in values]
    return [[value] if is_there else [] for value, is_there in zip(values, there, strict=True)]


def _items(beyond: Sequence[Step], rows: Ints, values: Sequence[Any]) -> tuple[Ints, Sequence[Any]]:
    """All values, with the elements of lists instead of these, and the row of each."""
    if beyond:
        rows, values = _joined(rows, _found(beyond, values, None))
    if list not in set(map(type, values)):
        return rows, values
    return _joined(rows, [value if type(value) is list else [value] for value in values])


def _joined(rows: Ints, groups: Sequence[Found]) -> tuple[Ints, list[Any]]:
    """The values of all groups, and for each the row of its group."""
    sizes = np.fromiter(map(len, groups), np.int64, len(groups))
    return np.repeat(rows, sizes), [value for group in groups for value in group]


def _values(rows: Ints, owners: Ints, values: list[Any]) -> ValueSegment:
    kinds = set(map(type, values))
    others = owners[:0]
    if not kinds.isdisjoint(_NO_SCALARS):
        others = owners[[type(value) in _NO_SCALARS for value in values]]
    return ValueSegment(rows, build(owners, values), others)


def _places(rows: Ints, owners: Ints, found: Sequence[Any]) -> PlaceSegment:
    some = np.array([place is not None for place in found], np.bool_)
    at = np.array([place for place in found if place is not None], np.float64).reshape(-1, 2)
    return PlaceSegment(rows, owners[some], at)


def _sizes(rows: Ints, found: list[Found]) -> SizeSegment:
    owners, sizes = _joined(rows, [sizes_of(values) for values in found])
    _, nulls = _joined(rows, [nulls_of(values) for values in found])
    return SizeSegment(rows, build(owners, sizes), build(owners, nulls))


def _elements(asked: tuple[Column, ...], rows: Ints, found: list[Found]) -> ElementSegment:
    owners, elements = _joined(
        rows, [[one for one in values if type(one) is dict] for values in found]
    )
    numbers = np.arange(len(elements))
    inner = {column: _within(column, numbers, elements) for column in asked}
    return ElementSegment(rows, owners, inner)


def _within(column: Column, numbers: Ints, elements: Sequence[Any]) -> TypedSegment:
    keys = column.path.keys
    found = [found_in(element, keys) for element in elements]
    there = np.array([bool(one) for one in found], np.bool_)
    return build_typed(column, numbers, [one[0] if one else None for one in found], there)


_NO_SCALARS = {dict, list}
