"""Postings: which rows have which scalar, by numbers that a value or a range says.

Rows here are whatever integers the caller numbers its points with. Equality is that of JSON values:
1 equals 1.0, but true is not 1, and "1" is a string.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Ints, own_bytes
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.filtering.groups import Chosen, Groups, Run, grouped, runs_of
from retrieval_store.filters.leaves import Interval
from retrieval_store.filters.nodes import Scalar

Number: TypeAlias = int | float
CLOSE = 4  # integers lie close together where their span is less than so many times their number
_LIMITS = {np.dtype(np.int64): (-(2**63), 2**63 - 1), np.dtype(np.uint64): (0, 2**64 - 1)}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Distinct numbers, ascending, all of one dtype: values[i] has number first + i among all
    scalars.

    Python's integers reach further than float64 is exact, so int64, uint64 and float64 values stand
    apart, and a bound is brought into each dtype in such a way that comparing stays exact.
    """

    values: npt.NDArray[Any]
    first: int

    def between(self, bounds: Interval) -> Run:
        """Those inside the bounds."""
        start, stop = 0, len(self.values)
        if bounds.gt is not None:
            start = max(start, self._count_below(bounds.gt, or_equal=True))
        if bounds.gte is not None:
            start = max(start, self._count_below(bounds.gte, or_equal=False))
        if bounds.lt is not None:
            stop = min(stop, self._count_below(bounds.lt, or_equal=False))
        if bounds.lte is not None:
            stop = min(stop, self._count_below(bounds.lte, or_equal=True))
        return self.first + start, self.first + max(start, stop)

    def equal(self, numbers: Iterable[Number]) -> list[int]:
        """Those that equal any of the numbers."""
        dtype = self.values.dtype
        wanted = np.array([number for number in numbers if _is_held(number, dtype)], dtype)
        starts = self.values.searchsorted(wanted, side="left")
        stops = self.values.searchsorted(wanted, side="right")
        found: list[int] = (self.first + starts[starts < stops]).tolist()
        return found

    def _count_below(self, bound: Number, or_equal: bool) -> int:
        if self.values.dtype.kind == "f":
            key, or_equal = _nearest_float(bound, or_equal)
            return int(self.values.searchsorted(key, side="right" if or_equal else "left"))
        # For integers, x <= 2.5 says x < 3, and x < 2.5 does too.
        whole = math.floor(bound) + 1 if or_equal else math.ceil(bound)
        least, most = _LIMITS[self.values.dtype]
        if whole > most:
            return len(self.values)
        key = self.values.dtype.type(max(whole, least))
        return int(self.values.searchsorted(key))


@dataclass(frozen=True, slots=True)
class Postings:
    """Rows by scalar of any kind. Distinct scalars are numbered: texts says which number each
    string has, numbers which the numbers have; false is `false`, and true the one after it.
    text_bytes: of memory, in the strings."""

    texts: dict[str, int]
    numbers: tuple[Numbers, ...]
    false: int
    groups: Groups
    text_bytes: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory in strings and arrays, without arrays in a mapped file."""
        arrays = own_bytes(*(part.values for part in self.numbers))
        return self.text_bytes + self.groups.nbytes + arrays

    def equal(self, values: Sequence[Scalar], loose: bool) -> Chosen:
        """The rows of any of the values; unless `loose`, integers equal no floats."""
        return Chosen(self.groups, runs_of(self._numbers_of(values, loose)))

    def other_than(self, values: Sequence[Scalar], loose: bool) -> Chosen:
        """The rows of any other value."""
        stops = [(n, n + 1) for n in sorted(set(self._numbers_of(values, loose)))]
        edges = [0, *chain.from_iterable(stops), self.false + 2]
        runs = [(edges[i], edges[i + 1]) for i in range(0, len(edges), 2)]
        return Chosen(self.groups, [run for run in runs if run[0] < run[1]])

    def _numbers_of(self, values: Sequence[Scalar], loose: bool) -> list[int]:
        """The numbers of those of the values that are there."""
        found = [self.false + value for value in values if isinstance(value, bool)]
        found += [self.texts[v] for v in values if isinstance(v, str) and v in self.texts]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        for part in self.numbers if numbers else ():
            is_float = part.values.dtype.kind == "f"
            alike = [n for n in numbers if loose or isinstance(n, float) is is_float]
            found += part.equal(alike)
        return found

    def distinct(self) -> list[Scalar]:
        """The scalars by number."""
        numbers = [number for part in self.numbers for number in part.values.tolist()]
        return [*self.texts, *numbers, False, True]

    def between(self, bounds: Interval) -> Chosen:
        """The rows of numbers inside the bounds."""
        return Chosen(self.groups, [part.between(bounds) for part in self.numbers])

    def texts_that(self, fulfil: Callable[[Sequence[str]], Sequence[bool]]) -> Chosen:
        """The rows of the strings that fulfil something, which is asked of all at once."""
        chosen = compress(self.texts.values(), fulfil([*self.texts]))
        return Chosen(self.groups, runs_of([*chosen]))


def build(rows: Ints, values: Sequence[Any]) -> Postings:
    """Postings for values[i] at rows[i], rows ascending; what isn't a scalar is left out."""
    kinds = set(map(type, values))
    numbers = np.empty(len(values), np.int64)  # of the value of each, where it is a scalar
    held = np.zeros(len(values), np.bool_)

    def of_kind(kind: type) -> tuple[Ints, Sequence[Any]]:
        if kinds == {kind}:
            held[:] = True
            return np.arange(len(values)), values
        places = np.flatnonzero([type(v) is kind for v in values]) if kind in kinds else _NO_PLACES
        held[places] = True
        return places, [values[i] for i in places.tolist()]

    places, strings = of_kind(str)
    texts = {text: number for number, text in enumerate(dict.fromkeys(strings))}
    numbers[places] = np.fromiter(map(texts.__getitem__, strings), np.int64, len(strings))
    parts, count = [], len(texts)
    for places, array in (*_integers(*of_kind(int)), *_array(*of_kind(float), np.float64)):
        distinct, which = _numbered(array)
        numbers[places] = count + which
        parts.append(Numbers(distinct, count))
        count += len(distinct)
    places, bools = of_kind(bool)
    numbers[places] = count + np.array(bools, np.int64)
    if not held.all():
        rows, numbers = rows[held], numbers[held]
    groups = grouped(rows, numbers, count + 2)
    return Postings(texts, tuple(parts), count, groups, bytes_of_texts(texts))


def bytes_of_texts(texts: dict[str, int]) -> int:
    """The bytes of memory that numbered strings take."""
    return sys.getsizeof(texts) + sum(map(sys.getsizeof, texts))


def constant(rows: Ints, number: int) -> Postings:
    """Postings for one number at all of the rows, ascending: in a fifth of the time."""
    numbers = Numbers(np.array([number], np.int64), 0)
    return Postings({}, (numbers,), 1, grouped(rows, np.zeros(len(rows), np.int64), 3))


_NO_PLACES = np.empty(0, np.int64)
NO_POSTINGS = Postings({}, (), 0, grouped(_NO_PLACES, _NO_PLACES, 2))
_Part: TypeAlias = tuple[Ints, npt.NDArray[Any]]


def _integers(places: Ints, integers: Sequence[int]) -> Iterator[_Part]:
    try:
        yield from _array(places, integers, np.int64)
    except OverflowError:
        small = np.array([integer < 2**63 for integer in integers])
        yield from _array(places[small], [i for i in integers if i < 2**63], np.int64)
        yield from _array(places[~small], [i for i in integers if i >= 2**63], np.uint64)


def _array(places: Ints, numbers: Sequence[Any], dtype: type) -> Iterator[_Part]:
    if len(numbers):
        yield places, np.array(numbers, dtype)


def _numbered(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Ints]:
    """The distinct numbers, ascending, and for each number which of them it is. Integers that lie
    close together are counted, which takes a tenth of the time of sorting them."""
    if array.dtype.kind == "i":
        least, most = int(array.min()), int(array.max())
        if most - least < CLOSE * len(array):
            places = array - least
            there = np.bincount(places) > 0
            return np.flatnonzero(there) + least, (np.cumsum(there) - 1)[places]
    distinct, which = np.unique(array, return_inverse=True)
    return distinct, which


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
    least, most = _LIMITS[dtype]
    return least <= number <= most and number == int(number)
