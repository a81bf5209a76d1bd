"""Conditions on values: what they equal, between which bounds they lie, how many there are."""

from dataclasses import dataclass
from typing import final

from retrieval_store.filters.nodes import Scalar
from retrieval_store.filters.typed.columns import SizesAt, ValuesAt
from retrieval_store.filters.typed.leaf import KeptSizes, KeptValues, TypedLeaf, is_inside
from retrieval_store.filters.typed.paths import Found as Values
from retrieval_store.filters.values import Found


@final
@dataclass(frozen=True, slots=True)
class Equals(TypedLeaf):
    """Points with a value that is one of these, type and all: 1 is neither 1.0 nor true."""

    at: ValuesAt
    values: tuple[Scalar, ...]

    def holds(self, values: Values) -> bool:
        return any(_is_one_of(value, self.values) for value in self.at.within(values))

    def found_in(self, kept: KeptValues) -> Found:
        return kept.same(self.values)


@final
@dataclass(frozen=True, slots=True)
class Differs(TypedLeaf):
    """Points with a value that is none of these."""

    at: ValuesAt
    values: tuple[Scalar, ...]

    def holds(self, values: Values) -> bool:
        return any(not _is_one_of(value, self.values) for value in self.at.within(values))

    def found_in(self, kept: KeptValues) -> Found:
        return kept.but(self.values)


@final
@dataclass(frozen=True, slots=True)
class Between(TypedLeaf):
    """Points with a number inside the bounds; times are numbers of microseconds."""

    at: ValuesAt
    gt: int | float | None = None
    gte: int | float | None = None
    lt: int | float | None = None
    lte: int | float | None = None

    def holds(self, values: Values) -> bool:
        return any(is_inside(value, self) for value in self.at.within(values))

    def found_in(self, kept: KeptValues) -> Found:
        return kept.between(self)


@final
@dataclass(frozen=True, slots=True)
class Counted(TypedLeaf):
    """Points with a value of so many elements; null and nothing have none, what is no list one."""

    at: SizesAt
    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None

    def holds(self, values: Values) -> bool:
        return any(is_inside(size, self) for size in sizes_of(values))

    def found_in(self, kept: KeptSizes) -> Found:
        return kept.counted(self)


@final
@dataclass(frozen=True, slots=True)
class HasNull(TypedLeaf):
    """Points with a value that is null, or has it in a list; unless `wanted`, those with a value
    that isn't so, or with none."""

    at: SizesAt
    wanted: bool = True

    def holds(self, values: Values) -> bool:
        return any(has is self.wanted for has in nulls_of(values))

    def found_in(self, kept: KeptSizes) -> Found:
        return kept.with_null(self.wanted)


def sizes_of(values: Values) -> list[int]:
    """How many elements each value has; of nothing, one 0."""
    return [_size(value) for value in values] or [0]


def nulls_of(values: Values) -> list[bool]:
    """For each value whether it is null or has it in a list; of nothing, one False."""
    return [_has_null(value) for value in values] or [False]


def _size(value: object) -> int:
    return len(value) if isinstance(value, list) else int(value is not None)


def _has_null(value: object) -> bool:
    return value is None or (isinstance(value, list) and None in value)


def _is_one_of(value: object, values: tuple[Scalar, ...]) -> bool:
    return any(type(value) is type(one) and value == one for one in values)
