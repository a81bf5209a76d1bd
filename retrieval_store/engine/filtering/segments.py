"""Segments of columns: for some rows, an index from the values of a column to the rows that have
them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.filtering.groups import Chosen
from retrieval_store.engine.filtering.postings import NO_POSTINGS, Postings, build, constant
from retrieval_store.filters.columns import (
    NOTHING,
    Column,
    ElementsAt,
    PlacesAt,
    TokensAt,
    ValuesAt,
    places,
    read,
)
from retrieval_store.filters.leaves import ColumnLeaf, Interval, column_of
from retrieval_store.filters.nodes import Expression, Scalar, fulfilled
from retrieval_store.filters.paths import Found, Step, Steps, found_in

if TYPE_CHECKING:
    from retrieval_store.engine.filtering.token_segments import TokenSegment


@dataclass(frozen=True, slots=True)
class Rows:
    """A set of rows, in any order."""

    rows: Ints

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""
        mask[self.rows] = True


@dataclass(frozen=True, slots=True)
class ValueSegment:
    """Rows by value.

    rows: all that the segment covers; values: postings by value; loose: whether 1 equals 1.0;
    others: rows with a value that is no scalar, for readings where these count; shares: whether
    `rows` is also the array of a sibling column, which counts its bytes; is_empty: whether no row
    has anything but null.
    """

    rows: Ints
    values: Postings
    loose: bool
    others: Ints
    shares: bool
    is_empty: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        rows = 0 if self.shares else self.rows.nbytes
        return rows + self.values.nbytes + self.others.nbytes

    def equal(self, values: Sequence[Scalar]) -> Chosen:
        """The rows of any of the values."""
        return self.values.equal(values, self.loose)

    def other_than(self, values: Sequence[Scalar]) -> "Either":
        """The rows of any other value."""
        return Either((self.values.other_than(values, self.loose), Rows(self.others)))

    def between(self, bounds: Interval) -> Chosen:
        """The rows of numbers inside the bounds."""
        return self.values.between(bounds)

    def texts_that(self, fulfil: Callable[[Sequence[str]], Sequence[bool]]) -> Chosen:
        """The rows of the strings that fulfil something, which is asked of all at once."""
        return self.values.texts_that(fulfil)


@dataclass(frozen=True, slots=True)
class PlaceSegment:
    """Rows by geographic place. at: (n, 2) float64, longitudes and latitudes; owners: (n,) the row
    of each place."""

    rows: Ints
    owners: Ints
    at: Floats

    @property
    def is_empty(self) -> bool:
        """Whether no row has a place."""
        return not len(self.owners)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        return self.rows.nbytes + self.owners.nbytes + self.at.nbytes

    def where(self, inside: Callable[[Floats, Floats], Bools]) -> Rows:
        """The rows with a place for which `inside`, called with all longitudes and latitudes, is
        True."""
        return Rows(self.owners[inside(self.at[:, 0], self.at[:, 1])])


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """Rows by the objects in their lists. owners: (objects,) the row of each object; asked: for
    each column within objects a segment, whose rows are the numbers of the objects."""

    rows: Ints
    owners: Ints
    asked: "dict[Column, Segment]"

    @property
    def is_empty(self) -> bool:
        """Whether no row has an object."""
        return not len(self.owners)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        inner = sum(segment.nbytes for segment in self.asked.values())
        return self.rows.nbytes + self.owners.nbytes + inner

    def fulfilling(self, expression: Expression) -> Rows:
        """The rows with an object that fulfils the expression."""
        every = np.ones(len(self.owners), np.bool_)
        return Rows(self.owners[fulfilled(expression, every, self._answer)])

    def _answer(self, leaf: Expression, asked: Bools) -> Bools:
        """(objects,) bool: which of the candidate objects fulfil a leaf."""
        found = np.zeros(len(asked), np.bool_)
        if isinstance(leaf, ColumnLeaf):
            rows = leaf.found_in(self.asked[column_of(leaf)])
            if rows is not None:
                rows.mark(found)
                return found & asked
        raise TypeError(f"no mask is defined for {leaf!r} in an element")


@dataclass(frozen=True, slots=True)
class Either:
    """The union of several sets of rows."""

    found: tuple[Chosen | Rows, ...]

    def mark(self, mask: Bools) -> None:
        """Set the mask, over rows, at these."""
        for one in self.found:
            one.mark(mask)


Segment: TypeAlias = "ValueSegment | PlaceSegment | TokenSegment | ElementSegment"


def build_segment(
    column: Column,
    rows: Ints,
    values: Sequence[Any],
    owners: Ints | None = None,
    types: set[type] | None = None,
) -> Segment:
    """The segment of a column for some rows. values: those of payloads at the keys that the path
    begins with; None for null or a missing value, NOTHING for a missing value where the column
    distinguishes them; owners: the row of each value, by default one value for each row; types: a
    superset of the values' types, if known."""
    owners = rows if owners is None else owners
    if isinstance(column.path, Steps) and column.path.beyond:
        (owners, values), types = _found(column, column.path.beyond, owners, values), None
    match column:
        case ValuesAt():
            types = set(map(type, values)) if types is None else types
            return _values(column, rows, owners, values, types)
        case PlacesAt(kind=kind):
            owners, items = _items(owners, values)
            return _places(rows, owners, places(kind, items))
        case TokensAt():
            from retrieval_store.engine.filtering.token_segments import build_tokens

            return build_tokens(column, rows, *_items(owners, values))
        case ElementsAt(asked=asked):
            return _elements(asked, rows, owners, values)


def _found(
    column: Column, beyond: Sequence[Step], owners: Ints, values: Sequence[Any]
) -> tuple[Ints, Sequence[Any]]:
    """The values at the end of the path, and the row of each."""
    groups = [found_in(value, beyond) for value in values]
    if isinstance(column, ValuesAt) and column.sees_nothing:
        groups = [found or [NOTHING] for found in groups]
    return _joined(owners, groups)


def _items(owners: Ints, values: Sequence[Any]) -> tuple[Ints, Sequence[Any]]:
    """The values, lists replaced by their elements, and the row of each."""
    if list not in set(map(type, values)):
        return owners, values
    return _joined(owners, [value if type(value) is list else [value] for value in values])


def _joined(owners: Ints, groups: Sequence[Found]) -> tuple[Ints, list[Any]]:
    """The values of all groups, and for each the row of its group."""
    sizes = np.fromiter(map(len, groups), np.int64, len(groups))
    return np.repeat(owners, sizes), [value for group in groups for value in group]


def _values(
    column: ValuesAt, rows: Ints, owners: Ints, values: Sequence[Any], types: set[type]
) -> ValueSegment:
    counts, items = read(column.kind, values, types)
    if counts is not None and items:
        owners = np.repeat(owners, counts)
    if not items:
        postings = NO_POSTINGS
    elif column.kind == "count" and items.count(1) == len(items):  # as when no value is a list
        postings = constant(owners, 1)
    else:
        postings = build(owners, items)
    others = owners[:0]
    if column.kind == "anything" and not _NO_SCALARS.isdisjoint(map(type, items)):
        others = owners[[type(item) in _NO_SCALARS for item in items]]
    is_sibling = column.siblings[0] != column
    return ValueSegment(rows, postings, column.loose, others, is_sibling, types <= _OF_NOTHING)


def _places(rows: Ints, owners: Ints, found: Sequence[Any]) -> PlaceSegment:
    some = np.array([place is not None for place in found], np.bool_)
    at = np.array([place for place in found if place is not None], np.float64).reshape(-1, 2)
    return PlaceSegment(rows, owners[some], at)


def _elements(
    asked: tuple[Column, ...], rows: Ints, owners: Ints, found: Sequence[Any]
) -> ElementSegment:
    objects = [type(one) is dict for one in found]
    elements = [one for one in found if type(one) is dict]
    inner = {column: _within(column, elements) for column in asked}
    return ElementSegment(rows, owners[np.array(objects, np.bool_)], inner)


def _within(column: Column, elements: Sequence[Any]) -> Segment:
    """The segment of a column within objects, whose rows are the numbers of the objects."""
    keys = keys_of(column)
    groups = [found_in(element, keys) for element in elements]
    values = [found[0] if found else NOTHING for found in groups]
    return build_segment(column, np.arange(len(elements)), values)


def keys_of(column: Column) -> tuple[str, ...]:
    """The keys at the beginning of the column's path: what must be read from payloads."""
    return column.path.keys if isinstance(column.path, Steps) else column.path


_NO_SCALARS, _OF_NOTHING = {dict, list}, {type(None), type(NOTHING)}
