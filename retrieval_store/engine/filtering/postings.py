"""Postings: which rows have which scalar, as sorted arrays that a value or a range cuts a slice of.

Rows here are whatever integers the caller numbers its points with. Equality is that of JSON values:
1 equals 1.0, but true is not 1, and "1" is a string.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Ints, ranges
from retrieval_store.filters.expression import Range, Scalar

Number: TypeAlias = int | float


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows by string: those of the string with code c are rows[offsets[c]:offsets[c + 1]]."""

    codes: dict[str, int]
    offsets: Ints
    rows: Ints

    def equal(self, texts: Iterable[str]) -> Ints:
        """The rows of any of the strings."""
        codes = np.array([self.codes[text] for text in texts if text in self.codes], np.int64)
        return _runs(self.rows, self.offsets[codes], self.offsets[codes + 1])

    def containing(self, piece: str, ignore_case: bool) -> Ints:
        """The rows of all strings that have the piece in them."""
        if ignore_case:
            piece = piece.casefold()
            found = [code for text, code in self.codes.items() if piece in text.casefold()]
        else:
            found = [code for text, code in self.codes.items() if piece in text]
        codes = np.array(found, np.int64)
        return _runs(self.rows, self.offsets[codes], self.offsets[codes + 1])


@dataclass(frozen=True, slots=True)
class Numbers:
    """Rows by number: `values` ascending, all of one dtype; rows[i] has values[i].

    Python's integers reach further than float64 is exact, so int64, uint64 and float64 values stand
    apart, and a bound is brought into each dtype in such a way that comparing stays exact.
    """

    values: npt.NDArray[Any]
    rows: Ints

    def between(self, bounds: Range) -> Ints:
        """The rows with numbers inside the bounds."""
        start, stop = 0, len(self.values)
        if bounds.gt is not None:
            start = max(start, self._count_below(bounds.gt, or_equal=True))
        if bounds.gte is not None:
            start = max(start, self._count_below(bounds.gte, or_equal=False))
        if bounds.lt is not None:
            stop = min(stop, self._count_below(bounds.lt, or_equal=False))
        if bounds.lte is not None:
            stop = min(stop, self._count_below(bounds.lte, or_equal=True))
        return self.rows[start:stop]

    def equal(self, numbers: Iterable[Number]) -> Ints:
        """The rows of any of the numbers."""
        dtype = self.values.dtype
        wanted = np.array([number for number in numbers if _is_held(number, dtype)], dtype)
        starts = np.searchsorted(self.values, wanted, side="left")
        return _runs(self.rows, starts, np.searchsorted(self.values, wanted, side="right"))

    def _count_below(self, bound: Number, or_equal: bool) -> int:
        if self.values.dtype.kind == "f":
            key, or_equal = _nearest_float(bound, or_equal)
            return int(np.searchsorted(self.values, key, side="right" if or_equal else "left"))
        # For integers, x <= 2.5 says x < 3, and x < 2.5 does too.
        whole = math.floor(bound) + 1 if or_equal else math.ceil(bound)
        limits = np.iinfo(self.values.dtype)
        if whole > limits.max:
            return len(self.values)
        key = self.values.dtype.type(max(whole, int(limits.min)))
        return int(np.searchsorted(self.values, key, side="left"))


@dataclass(frozen=True, slots=True)
class Postings:
    """Rows by scalar of any kind."""

    texts: Texts
    numbers: tuple[Numbers, ...]
    true: Ints
    false: Ints

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        numbers = sum(part.values.nbytes + part.rows.nbytes for part in self.numbers)
        texts = self.texts.offsets.nbytes + self.texts.rows.nbytes
        return texts + numbers + self.true.nbytes + self.false.nbytes

    def equal(self, values: Sequence[Scalar]) -> list[Ints]:
        """The rows of any of the values, in several arrays."""
        found = [self.true] if any(value is True for value in values) else []
        if any(value is False for value in values):
            found.append(self.false)
        texts = [value for value in values if isinstance(value, str)]
        if texts:
            found.append(self.texts.equal(texts))
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if numbers:
            found += [part.equal(numbers) for part in self.numbers]
        return found

    def between(self, bounds: Range) -> list[Ints]:
        """The rows of numbers inside the bounds, in several arrays."""
        return [part.between(bounds) for part in self.numbers]

    def containing(self, text: str, ignore_case: bool) -> list[Ints]:
        """The rows of strings that have the text in them."""
        return [self.texts.containing(text, ignore_case)]


def build(rows: Ints, values: Sequence[Any]) -> Postings:
    """Postings for values[i] at rows[i]; what isn't a scalar is left out."""
    kinds = np.fromiter((_KINDS.get(type(value), 0) for value in values), np.int8, len(values))

    def of_kind(kind: type) -> tuple[Ints, list[Any]]:
        places = np.flatnonzero(kinds == _KINDS[kind])
        return rows[places], [values[i] for i in places.tolist()]

    bool_rows, bools = of_kind(bool)
    is_true = np.array(bools, np.bool_)
    return Postings(
        _texts(*of_kind(str)),
        (*_integers(*of_kind(int)), *_numbers(*of_kind(float), np.float64)),
        bool_rows[is_true],
        bool_rows[~is_true],
    )


_KINDS: dict[type, int] = {str: 1, int: 2, float: 3, bool: 4}


def _texts(rows: Ints, texts: list[str]) -> Texts:
    codes: dict[str, int] = {}
    coded = np.array([codes.setdefault(text, len(codes)) for text in texts], np.int64)
    offsets = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(np.bincount(coded, minlength=len(codes)), out=offsets[1:])
    return Texts(codes, offsets, rows[np.argsort(coded, kind="stable")])


def _integers(rows: Ints, integers: list[int]) -> Iterable[Numbers]:
    try:
        yield from _numbers(rows, integers, np.int64)
    except OverflowError:
        small = np.array([integer < 2**63 for integer in integers])
        yield from _numbers(rows[small], [i for i in integers if i < 2**63], np.int64)
        yield from _numbers(rows[~small], [i for i in integers if i >= 2**63], np.uint64)


def _numbers(rows: Ints, numbers: list[Any], dtype: type) -> Iterable[Numbers]:
    if numbers:
        values: npt.NDArray[Any] = np.array(numbers, dtype)
        order = np.argsort(values, kind="stable")
        yield Numbers(values[order], rows[order])


def _runs(rows: Ints, starts: Ints, stops: Ints) -> Ints:
    """The rows in all of the runs starts[i] … stops[i]-1."""
    return rows[starts[0] : stops[0]] if len(starts) == 1 else rows[ranges(starts, stops)]


def _nearest_float(bound: Number, or_equal: bool) -> tuple[float, bool]:
    """The float64 f, and whether to count f itself, such that the floats below (or equal to) f are
    those below (or equal to) `bound`, which may be an integer that float64 can't hold."""
    try:
        nearest = float(bound)
    except OverflowError:
        return (math.inf if bound > 0 else -math.inf), bound > 0
    return nearest, or_equal if nearest == bound else nearest < bound


def _is_held(number: Number, dtype: np.dtype[Any]) -> bool:
    """Whether the dtype can hold exactly this number."""
    if dtype.kind == "f":
        return _nearest_float(number, False) == (number, False)
    limits = np.iinfo(dtype)
    return int(limits.min) <= number <= int(limits.max) and number == int(number)
