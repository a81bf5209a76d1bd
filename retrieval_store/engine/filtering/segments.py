"""Segments of columns: each is an index from the values of a column to the rows that have them.

A row here is any integer with which the caller numbers its points. The classes build on each other:

- `RowGroups` has the rows of each value number, and builds masks of the rows that have some of
  these numbers. To mark a few rows, it sets each in the mask, at a nanosecond a row. To mark many,
  it compares the numbers of all rows, at a tenth of a nanosecond a row.
- `Postings` has the rows of each scalar, and finds the numbers of a value or a range. Values are
  equal as JSON values: 1 equals 1.0, but true is not 1, and "1" is a string.
- `ValueSegment`, `PlaceSegment` and `ElementSegment` are the segments of values, of geographic
  locations and of objects in lists.
- `TokenSegment` has inverted lists of the tokens of texts in payloads: which texts contain which
  token, and at which positions.
"""

import math
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from heapq import nsmallest
from itertools import chain, compress, pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base import budget
from retrieval_store.base.arrays import (
    Bools,
    Bytes,
    Floats,
    Ints,
    Ints32,
    Unsigned,
    bits_of,
    in_range,
    own_bytes,
    ranges,
    stable_order,
    union,
)
from retrieval_store.filters.columns import (
    NOTHING,
    Column,
    ElementsAt,
    PlacesAt,
    TokensAt,
    ValuesAt,
    places,
    read_items,
)
from retrieval_store.filters.leaves import ColumnLeaf, Interval, column_of
from retrieval_store.filters.nodes import Expression, Scalar, evaluate_expression
from retrieval_store.filters.paths import JsonPath, Step, Values, values_at_end
from retrieval_store.filters.values import TextOrder, TextRange
from retrieval_store.indexes.native import Numbered, address

Run: TypeAlias = tuple[int, int]  # a range of numbers: the first, and the one after the last
Whole: TypeAlias = npt.NDArray[np.integer[Any]]
_Part: TypeAlias = tuple[Ints, npt.NDArray[Any]]  # rows, and a value or number of each row
SPREAD = 2  # rows are dense if at least one row in this many is present
# If more rows have changed since a column's lowest segment, rows aren't tested one by one.
MOST_CHANGED = 4_096
MOST_AMONG = 65_536  # the widest span of value numbers that is kept as bits
NO_ROWS, NO_INTS = np.empty(0, np.int32), np.empty(0, np.int64)
MANY_RUNS = 64  # if the strings' numbers form more runs than this, their rows are listed
# This many bytes of numbers are compared in the time of setting one row (measured: 12 to 29).
COMPARED = 16


@dataclass(frozen=True, slots=True)
class RowGroups:
    """The rows of each value number: rows[offsets[c]:offsets[c + 1]] are the rows with number c.

    dense: the number of each row, beginning with the row `first`; a row without a number has the
    last number + 1. None if rows are far apart or may have several numbers. packed: for the
    compiled part, the address of `dense`, the size of a number in bytes, the first row, and the
    count of rows.
    """

    rows: Ints32
    offsets: Ints32
    first: int
    dense: Unsigned | None
    packed: tuple[int, int, int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        dense = NO_ROWS if self.dense is None else self.dense
        packed = address(dense), dense.itemsize, self.first, len(dense)
        object.__setattr__(self, "packed", packed)

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes, without arrays in a mapped file."""
        dense = 0 if self.dense is None else self.dense.nbytes
        return own_bytes(self.rows, self.offsets) + dense

    def numbers_at(self, rows: Ints) -> Unsigned | None:
        """The value numbers of these rows, which must be in ascending order. Rows outside this
        segment are left out. None if a row may have several numbers."""
        if self.dense is None:
            return None
        first, last = np.searchsorted(rows, (self.first, self.first + len(self.dense))).tolist()
        return self.dense[rows[first:last] - self.first]

    def counts(self, mask: Bools | None, without: Ints | None) -> Ints | None:
        """How many rows of a mask have each number; without a mask, all rows are counted. without:
        rows that aren't counted. None if rows may have several numbers."""
        if self.dense is None:
            return None
        if mask is None and without is None:
            return np.diff(self.offsets).astype(np.int64)
        good = np.ones(len(self.dense), np.bool_)
        if mask is not None:
            part = mask[self.first : self.first + len(good)]
            good[: len(part)], good[len(part) :] = part, False
        if without is not None:
            first, last = np.searchsorted(without, (self.first, self.first + len(good))).tolist()
            good[without[first:last] - self.first] = False
        count = len(self.offsets) - 1
        return np.bincount(self.dense[good], minlength=count)[:count]

    def mark(self, mask: Bools, runs: Sequence[Run]) -> None:
        """Set the mask to True for the rows whose number is in one of these runs (ranges of
        numbers)."""
        cuts = [(int(self.offsets[start]), int(self.offsets[stop])) for start, stop in runs]
        count = sum(stop - start for start, stop in cuts)
        if self.dense is not None and count * COMPARED >= len(runs) * self.dense.nbytes:
            part = mask[self.first : self.first + len(self.dense)]
            for start, stop in runs:
                part |= in_range(self.dense, start, stop)
        elif count:
            parts = [self.rows[start:stop] for start, stop in cuts]
            rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
            # intp is numpy's own index type; other types take three times as long.
            mask[rows.astype(np.intp)] = True


@dataclass(frozen=True, slots=True)
class RowsInRuns:
    """The rows whose numbers are in one of several runs (ranges of numbers)."""

    groups: RowGroups
    runs: Sequence[Run]

    def mark(self, mask: Bools) -> None:
        """Set the mask to True at these rows."""
        self.groups.mark(mask, self.runs)

    def count(self, without: Ints) -> int | None:
        """How many rows there are, computed from the ends of the runs. without: rows that aren't
        counted, ascending. None if rows may have several numbers."""
        offsets, total = self.groups.offsets, 0
        for start, stop in self.runs:
            total += offsets.item(stop) - offsets.item(start)
        if not len(without) and self.groups.dense is not None:
            return total
        numbers = self.groups.numbers_at(without)
        if numbers is None:
            return None
        # Ascending, so a number lies in a run if it is between the two ends of the run.
        ends = np.array(self.runs, np.int64).ravel()
        return total - int(np.count_nonzero(np.searchsorted(ends, numbers, side="right") & 1))

    def list_rows(self) -> Ints:
        """The rows, sorted by value number. A row with several numbers may be repeated."""
        offsets = self.groups.offsets
        parts = [self.groups.rows[offsets[start] : offsets[stop]] for start, stop in self.runs]
        return np.concatenate([NO_ROWS, *parts]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class FoundRows:
    """The rows of a column that fulfil a condition. The column's lowest segment can return the
    value of a row, so rows can be tested one by one, and listed, without a scan of all rows. count:
    how many rows fulfil the condition. numbered: the same condition, as a test of rows."""

    lowest: RowsInRuns
    numbered: Numbered
    count: int

    def list_rows(self) -> Ints:
        """The rows that fulfil the condition, in any order."""
        rows, over = self.lowest.list_rows(), self.numbered.over
        if len(over):
            rows = np.concatenate([rows[~np.isin(rows, over)], self.numbered.held])
        return rows


def intersection(left: FoundRows, right: FoundRows) -> FoundRows | None:
    """The rows that fulfil two conditions on the same column, such as a lower and an upper bound.
    None if a condition isn't a single range, or if the ranges are in different arrays of sorted
    values."""
    left_rows, right_rows = left.numbered, right.numbered
    groups = left.lowest.groups
    if (
        groups is not right.lowest.groups
        or left_rows.among is not None
        or right_rows.among is not None
    ):
        return None
    start = max(left_rows.run[0], right_rows.run[0])
    run = start, max(start, min(left_rows.run[1], right_rows.run[1]))
    held = _intersection(left_rows.held, right_rows.held) if len(left_rows.over) else left_rows.held
    lowest = RowsInRuns(groups, [run])
    count = lowest.count(left_rows.over)
    assert count is not None
    return FoundRows(lowest, left_rows._replace(run=run, held=held), count + len(held))


def rows_found_in_segments(
    row_sets: Sequence[object], rows: Sequence[Ints], dead_rows: Ints, height: int
) -> FoundRows | None:
    """The rows that a condition finds in the segments of a column, beginning with the lowest
    segment. rows: the rows of each segment. dead_rows: rows without a point, ascending. None if the
    lowest segment can't return the value of a row, or if many rows have changed. height: the number
    of rows of the state."""
    in_runs = [as_runs for row_set in row_sets if (as_runs := _as_runs(row_set)) is not None]
    changed = len(dead_rows) + sum(map(len, rows[1:]))
    if len(in_runs) < len(row_sets) or changed > MOST_CHANGED:
        return None
    lowest = in_runs[0]
    dense, base = lowest.groups.dense, lowest.groups.first
    runs = [run for run in lowest.runs if run[0] < run[1]]
    if dense is None or base + len(dense) > height or _span(runs) > MOST_AMONG:
        return None
    over, held = dead_rows, NO_INTS
    if changed:
        for upper, segment_rows in zip(in_runs[1:], rows[1:], strict=True):
            over = union(over, segment_rows)
            held = union(held[~np.isin(held, segment_rows)], upper.list_rows())
        over, held = over[over < height], held[(held < height) & ~np.isin(held, dead_rows)]
    count = lowest.count(over)
    assert count is not None
    run = (runs[0][0], runs[-1][1]) if runs else (0, 0)
    among = _bits_of_runs(runs) if len(runs) > 1 else None
    numbered = Numbered(dense, lowest.groups.packed, run, among, over, held)
    return FoundRows(lowest, numbered, count + len(held))


def _span(runs: Sequence[Run]) -> int:
    """How many numbers lie between the first run's start and the last run's end. The result is 0
    for a single run, which can have any length."""
    return runs[-1][1] - runs[0][0] if len(runs) > 1 else 0


def _as_runs(row_set: object) -> RowsInRuns | None:
    if isinstance(row_set, Either):
        first, *other_sets = row_set.row_sets
        row_set = (
            None if any(isinstance(o, RowsInRuns) or len(o.rows) for o in other_sets) else first
        )
    return row_set if isinstance(row_set, RowsInRuns) else None


def _bits_of_runs(runs: Sequence[Run]) -> Bytes:
    """A bit for each number from the start of the first run to the end of the last run: 1 if one of
    the runs contains the number; see `Numbered.among`."""
    base = runs[0][0] & ~7
    flags = np.zeros(runs[-1][1] - base, np.bool_)
    for start, stop in runs:
        flags[start - base : stop - base] = True
    return bits_of(flags)


def group_rows(rows: Ints, numbers: Ints, count: int) -> RowGroups:
    """Groups of rows by value number. The row rows[i] has the number numbers[i]. `rows` must be in
    ascending order, and all numbers below `count`."""
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(numbers, minlength=count), out=offsets[1:])
    in_order = rows[stable_order(numbers)].astype(np.int32)
    return RowGroups(in_order, offsets, *_dense(rows, numbers, count))


def groups_of_file(rows: Ints32, offsets: Ints32) -> RowGroups:
    """Groups of rows from the arrays `rows` and `offsets` of a file, which `refuse_disorder` must
    have checked."""
    count = len(offsets) - 1
    sizes, least = np.diff(offsets), np.min_scalar_type(count)
    # True for example if floats are all different; this gives the same result in a tenth of the
    # time.
    if (sizes <= 1).all():
        numbers = np.flatnonzero(sizes).astype(least)
    else:
        numbers = np.repeat(np.arange(count, dtype=least), sizes)
    return RowGroups(rows, offsets, *_dense(rows, numbers, count))


def refuse_disorder(rows: Ints32, offsets: Ints32, height: int) -> None:
    """Raise ValueError unless these arrays are groups of ascending rows, all of them below
    `height`."""
    follow = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == len(rows)
    if not follow or (offsets[1:] < offsets[:-1]).any():
        raise ValueError("its groups don't follow one another")
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < height:
        raise ValueError("it has rows that aren't there")
    ascending = np.ones(len(rows) + 1, np.bool_)
    ascending[1:-1] = rows[1:] >= rows[:-1]
    ascending[offsets] = True
    if not ascending.all():
        raise ValueError("its rows are out of order")


def runs_of(numbers: Sequence[int]) -> list[Run]:
    """The numbers as runs of consecutive numbers: (start, stop) pairs."""
    runs: list[Run] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


def _dense(rows: Whole, numbers: Whole, count: int) -> tuple[int, Unsigned | None]:
    """The lowest row, and an array with the value number of each row, beginning with the lowest;
    see `RowGroups`."""
    if not len(rows):
        return 0, np.empty(0, np.min_scalar_type(count))
    first, last = int(rows.min()), int(rows.max())
    if last - first + 1 > SPREAD * len(rows):
        return first, None
    dense = np.full(last - first + 1, count, np.min_scalar_type(count))
    dense[rows - first if first else rows] = numbers
    # Whether a row has several numbers.
    has_several = int(np.count_nonzero(dense != count)) < len(rows)
    return first, None if has_several else dense


Number: TypeAlias = int | float
CLOSE = 4  # integers are dense where their span is less than this many times their number
_LIMITS = {np.dtype(np.int64): (-(2**63), 2**63 - 1), np.dtype(np.uint64): (0, 2**64 - 1)}


@dataclass(frozen=True, slots=True)
class DistinctNumbers:
    """Distinct numeric values, ascending, all of one dtype: values[i] is the scalar with the scalar
    number first + i.

    Python's integers exceed the exact range of float64. So int64, uint64 and float64 values are
    kept apart, and a bound is converted to each dtype so that comparisons stay exact.
    """

    values: npt.NDArray[Any]
    first: int

    def between(self, bounds: Interval) -> Run:
        """The run of the scalars inside the bounds: the number of the first scalar, and the number
        after the last scalar's number."""
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
        """The scalar numbers of the values that equal any of these numbers."""
        dtype = self.values.dtype
        exact = np.array([number for number in numbers if _is_representable(number, dtype)], dtype)
        starts = self.values.searchsorted(exact, side="left")
        stops = self.values.searchsorted(exact, side="right")
        equal_numbers: list[int] = (self.first + starts[starts < stops]).tolist()
        return equal_numbers

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
    """The rows of each scalar of any type. Distinct scalars are numbered. texts: the number of each
    string. numbers: the numeric scalars of each type; each array knows the number of its first
    scalar. false: the number of False; True has the next number. text_bytes: the memory for the
    strings in bytes."""

    texts: dict[str, int]
    numbers: tuple[DistinctNumbers, ...]
    false: int
    groups: RowGroups
    text_bytes: int = 0
    order: TextOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", TextOrder(self.texts.keys()))

    @property
    def nbytes(self) -> int:
        """The size of strings and arrays in bytes, without arrays in a mapped file."""
        arrays = own_bytes(*(part.values for part in self.numbers))
        return self.text_bytes + self.groups.nbytes + arrays

    def other_than(self, values: Sequence[Scalar], loose: bool) -> RowsInRuns:
        """The rows that have any value that isn't among these values. loose: whether an integer can
        equal a float."""
        left_out = [(n, n + 1) for n in sorted(set(self.numbers_of(values, loose)))]
        # The ends of the runs between these.
        edges = [0, *chain.from_iterable(left_out), self.false + 2]
        runs = [(edges[i], edges[i + 1]) for i in range(0, len(edges), 2)]
        return RowsInRuns(self.groups, [run for run in runs if run[0] < run[1]])

    def numbers_of(self, values: Sequence[Scalar], loose: bool) -> list[int]:
        """The scalar numbers of these values; values that don't occur here are left out. loose:
        whether an integer can equal a float."""
        scalar_numbers = [self.false + value for value in values if isinstance(value, bool)]
        scalar_numbers += [self.texts[v] for v in values if isinstance(v, str) and v in self.texts]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        for part in self.numbers if numbers else ():
            is_float = part.values.dtype.kind == "f"
            alike = [n for n in numbers if loose or isinstance(n, float) is is_float]
            scalar_numbers += part.equal(alike)
        return scalar_numbers

    def distinct(self) -> list[Scalar]:
        """All scalars, sorted by their scalar numbers."""
        numbers = [number for part in self.numbers for number in part.values.tolist()]
        return [*self.texts, *numbers, False, True]

    def scalars(self, numbers: Ints) -> list[Scalar]:
        """The scalars with these numbers; the numbers must be in ascending order."""
        strings, number_codes, bools = np.split(
            numbers, numbers.searchsorted((len(self.texts), self.false))
        )
        texts = [*self.texts] if len(strings) else []
        scalars: list[Scalar] = [texts[number] for number in strings.tolist()]
        for part in self.numbers:
            first, last = number_codes.searchsorted((part.first, part.first + len(part.values)))
            scalars += part.values[number_codes[first:last] - part.first].tolist()
        return scalars + [bool(number > self.false) for number in bools.tolist()]

    def numbers_of_most_frequent(self, counts: Ints, limit: int) -> Ints:
        """The numbers of the `limit` most frequent scalars, and possibly of some more scalars.
        counts: for each scalar number, how many rows have the scalar. Of equally frequent scalars,
        lower scalars come first: bools, then numbers, then strings. All numeric scalars must have
        the same type."""
        present = np.flatnonzero(counts)
        if not 0 < limit < len(present):
            return present
        present_counts = counts[present]
        least = np.partition(present_counts, -limit)[-limit]
        sure, tied = present[present_counts > least], present[present_counts == least]
        room = limit - len(sure)
        edges = np.searchsorted(tied, (len(self.texts), self.false))
        strings, numbers, bools = np.split(tied, edges)
        texts = [*self.texts] if len(strings) > room else []
        if texts:
            least_texts = nsmallest(room, [texts[number] for number in strings.tolist()])
            strings = np.array([self.texts[text] for text in least_texts], np.int64)
        return np.sort(np.concatenate([sure, bools, numbers[:room], strings]))

    def rows_of_texts(self, chosen: Bools) -> "RowsInRuns | Rows":
        """The rows of the chosen strings. chosen: a bool for each string number."""
        edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
        if len(edges) <= 2 * MANY_RUNS:
            return RowsInRuns(self.groups, [(a, b) for a, b in edges.reshape(-1, 2).tolist()])
        sizes = np.diff(self.groups.offsets[: len(chosen) + 1])
        return Rows(self.groups.rows[: sizes.sum()][np.repeat(chosen, sizes)].astype(np.int64))


class PostingsBuilder:
    """Builds postings from batches of values. It stores only arrays."""

    def __init__(self) -> None:
        self._texts: dict[str, int] = {}
        self._text_numbers: list[_Part] = []  # rows, and the numbers of their strings
        self._numbers: dict[np.dtype[Any], list[_Part]] = {}  # rows, and their numbers, by type
        self._bools: list[_Part] = []

    def add(self, rows: Ints, values: Sequence[Any]) -> None:
        """Add a batch: rows[i] has values[i]; values that aren't scalars are skipped. Rows must
        ascend, also from one batch to the next."""
        kinds = set(map(type, values))
        for kind in kinds & {str, int, float, bool}:
            kind_rows, kind_values = rows, values
            if len(kinds) > 1:
                are_of_kind = [type(value) is kind for value in values]
                kind_rows, kind_values = rows[are_of_kind], [*compress(values, are_of_kind)]
            if kind is str:
                texts = self._texts
                numbers = [texts.setdefault(text, len(texts)) for text in kind_values]
                self._text_numbers.append((kind_rows, np.array(numbers, np.int64)))
            elif kind is bool:
                self._bools.append((kind_rows, np.array(kind_values, np.int64)))
            else:
                for part in (
                    _integers(kind_rows, kind_values)
                    if kind is int
                    else _array(kind_rows, kind_values, np.float64)
                ):
                    self._numbers.setdefault(part[1].dtype, []).append(part)

    def postings(self) -> Postings:
        """The postings of all batches."""
        numbered_rows, parts, count = [*self._text_numbers], [], len(self._texts)
        for dtype in (np.dtype(number_type) for number_type in (np.int64, np.uint64, np.float64)):
            pieces = self._numbers.get(dtype, [])
            if pieces:
                distinct, inverse = _number_values(
                    np.concatenate([numbers for _, numbers in pieces])
                )
                numbered_rows.append(
                    (np.concatenate([rows for rows, _ in pieces]), count + inverse)
                )
                parts.append(DistinctNumbers(distinct, count))
                count += len(distinct)
        numbered_rows += [(rows, count + numbers) for rows, numbers in self._bools]
        rows = np.concatenate([NO_INTS, *(rows for rows, _ in numbered_rows)])
        numbers = np.concatenate([NO_INTS, *(numbers for _, numbers in numbered_rows)])
        if len(rows) and (rows[1:] < rows[:-1]).any():  # numbers of several types
            order = np.argsort(rows, kind="stable")
            rows, numbers = rows[order], numbers[order]
        groups = group_rows(rows, numbers, count + 2)
        return Postings(self._texts, tuple(parts), count, groups, bytes_of_texts(self._texts))


def bytes_of_texts(texts: dict[str, int]) -> int:
    """How many bytes of memory numbered strings and their sort order take."""
    order = len(texts) * TextOrder.BYTES_EACH
    return sys.getsizeof(texts) + sum(map(sys.getsizeof, texts)) + order


def constant(rows: Ints, number: int) -> Postings:
    """Postings for rows (ascending) that all have the number `number`. It takes a fifth of the time
    of `PostingsBuilder`."""
    numbers = DistinctNumbers(np.array([number], np.int64), 0)
    return Postings({}, (numbers,), 1, group_rows(rows, np.zeros(len(rows), np.int64), 3))


NO_POSTINGS = Postings({}, (), 0, group_rows(NO_INTS, NO_INTS, 2))


def _integers(rows: Ints, integers: Sequence[int]) -> Iterator[_Part]:
    try:
        yield from _array(rows, integers, np.int64)
    except OverflowError:
        small = np.array([integer < 2**63 for integer in integers])
        yield from _array(rows[small], [i for i in integers if i < 2**63], np.int64)
        yield from _array(rows[~small], [i for i in integers if i >= 2**63], np.uint64)


def _array(rows: Ints, numbers: Sequence[Any], dtype: type) -> Iterator[_Part]:
    if len(numbers):
        yield rows, np.array(numbers, dtype)


def _number_values(numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Ints]:
    """The distinct numbers, ascending, and for each input number its position among them. Integers
    that are close together are sorted by counting, because counting takes a tenth of the time."""
    if numbers.dtype.kind == "i":
        least, most = int(numbers.min()), int(numbers.max())
        if most - least < CLOSE * len(numbers):
            places = numbers - least
            is_used = np.bincount(places) > 0
            return np.flatnonzero(is_used) + least, (np.cumsum(is_used) - 1)[places]
    distinct, inverse = np.unique(numbers, return_inverse=True)
    return distinct, inverse


def _nearest_float(bound: Number, or_equal: bool) -> tuple[float, bool]:
    """A float64 number f to use in comparisons instead of `bound`, and whether f itself is
    included. `bound` may be an integer that float64 can't represent. A float is below (or equal to)
    f exactly if it is below (or equal to) `bound`."""
    try:
        nearest = float(bound)
    except OverflowError:
        return (math.inf if bound > 0 else -math.inf), bound > 0
    return nearest, or_equal if nearest == bound else nearest < bound


def _is_representable(number: Number, dtype: np.dtype[Any]) -> bool:
    """Whether the dtype can represent exactly this number."""
    if dtype.kind == "f":
        return _nearest_float(number, False) == (number, False)
    least, most = _LIMITS[dtype]
    return least <= number <= most and number == int(number)


@dataclass(frozen=True, slots=True)
class Rows:
    """A set of rows, in any order."""

    rows: Ints

    def mark(self, mask: Bools) -> None:
        """Set the mask to True at these rows."""
        mask[self.rows] = True


@dataclass(frozen=True, slots=True)
class ValueSegment:
    """A segment of a column of values: the rows of each value.

    rows: all rows that the segment covers. values: the postings of their values. loose: whether 1
    equals 1.0. others: the rows with a value that isn't a scalar, if the column includes such
    values. shares: whether `rows` is the array of a sibling column, which already counts its bytes.
    is_empty: whether all rows have only null.
    """

    rows: Ints
    values: Postings
    loose: bool
    others: Ints
    shares: bool
    is_empty: bool = False

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes."""
        rows = 0 if self.shares else self.rows.nbytes
        return rows + self.values.nbytes + self.others.nbytes

    def equal(self, values: Sequence[Scalar]) -> RowsInRuns:
        """The rows that have any of these values."""
        numbers = self.values.numbers_of(values, self.loose)
        return RowsInRuns(self.values.groups, runs_of(numbers))

    def other_than(self, values: Sequence[Scalar]) -> "Either":
        """The rows that have any value that isn't among these values."""
        return Either((self.values.other_than(values, self.loose), Rows(self.others)))

    def between(self, bounds: Interval) -> RowsInRuns:
        """The rows that have a number inside the bounds."""
        return RowsInRuns(
            self.values.groups, [part.between(bounds) for part in self.values.numbers]
        )

    def rows_of_matching_texts(
        self, fulfil: Callable[[Sequence[str]], Sequence[bool]]
    ) -> "RowsInRuns | Rows":
        """The rows of the strings that fulfil a condition. The function `fulfil` is called once
        with all strings."""
        return self.values.rows_of_texts(np.array(fulfil([*self.values.texts]), np.bool_))

    def texts_between(self, bounds: TextRange) -> "RowsInRuns | Rows":
        """The rows that have a string inside the bounds."""
        return self.values.rows_of_texts(self.values.order.among(bounds))


@dataclass(frozen=True, slots=True)
class PlaceSegment:
    """The geographic locations of rows. at: (n, 2) float64, longitudes and latitudes; owners: (n,)
    the row of each location."""

    rows: Ints
    owners: Ints
    at: Floats

    @property
    def is_empty(self) -> bool:
        """Whether no row has a location."""
        return not len(self.owners)

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes."""
        return self.rows.nbytes + self.owners.nbytes + self.at.nbytes

    def where(self, inside: Callable[[Floats, Floats], Bools]) -> Rows:
        """The rows that have a location that fulfils `inside`. This function is called with all
        longitudes and latitudes, and returns bools."""
        return Rows(self.owners[inside(self.at[:, 0], self.at[:, 1])])


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """The objects in the lists of rows. owners: (objects,) the row of each object. segments: a
    segment for each column within the objects. In these segments the "rows" are the numbers of the
    objects."""

    rows: Ints
    owners: Ints
    segments: "dict[Column, Segment]"

    @property
    def is_empty(self) -> bool:
        """Whether no row has an object."""
        return not len(self.owners)

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes."""
        inner = sum(segment.nbytes for segment in self.segments.values())
        return self.rows.nbytes + self.owners.nbytes + inner

    def fulfilling(self, expression: Expression) -> Rows:
        """The rows that have an object that fulfils the expression."""
        all_objects = np.ones(len(self.owners), np.bool_)
        return Rows(self.owners[evaluate_expression(expression, all_objects, self._answer)])

    def _answer(self, leaf: Expression, candidates: Bools) -> Bools:
        """Which of the candidate objects fulfil a leaf: (objects,) bool."""
        mask = np.zeros(len(candidates), np.bool_)
        if isinstance(leaf, ColumnLeaf):
            rows = leaf.find_rows(self.segments[column_of(leaf)])
            if rows is not None:
                rows.mark(mask)
                return mask & candidates
        raise TypeError(f"no mask is defined for {leaf!r} in an element")


@dataclass(frozen=True, slots=True)
class Either:
    """The union of several sets of rows."""

    row_sets: tuple[RowsInRuns | Rows, ...]

    def mark(self, mask: Bools) -> None:
        """Set the mask to True at the rows of all these sets."""
        for row_set in self.row_sets:
            row_set.mark(mask)


# Positions in texts at which a phrase may begin, checked at the same time.
PHRASE_STARTS_AT_ONCE = 1_000_000
RARE = 16  # only the texts of a token are scanned if they are at most one text in this many
Segment: TypeAlias = "ValueSegment | PlaceSegment | TokenSegment | ElementSegment"


def build_segment(
    column: Column,
    rows: Ints,
    values: Sequence[Any],
    owners: Ints | None = None,
    types: set[type] | None = None,
) -> Segment:
    """The segment of a column for some rows. values: payload values at the keys with which the path
    begins. They are None for null or a missing value, or NOTHING for a missing value if the column
    distinguishes it from null. owners: the row of each value; by default each row has one value.
    types: the types of the values or a superset, None if unknown."""
    owners = rows if owners is None else owners
    if isinstance(column.path, JsonPath) and column.path.beyond:
        (owners, values), types = _values_at_end(column, column.path.beyond, owners, values), None
    match column:
        case ValuesAt():
            types = set(map(type, values)) if types is None else types
            return _values(column, rows, owners, values, types)
        case PlacesAt(kind=kind):
            owners, items = _items(owners, values)
            return _places(rows, owners, places(kind, items))
        case TokensAt():
            return build_tokens(column, rows, *_items(owners, values))
        case ElementsAt(asked=columns):
            return _elements(columns, rows, owners, values)


def _values_at_end(
    column: Column, beyond: Sequence[Step], owners: Ints, values: Sequence[Any]
) -> tuple[Ints, Sequence[Any]]:
    """The values at the end of the column's path, with the row of each value. owners: the row of
    each of `values`, which were found by the keys at the beginning of the path. beyond: the steps
    of the path after these keys."""
    groups = [values_at_end(value, beyond) for value in values]
    if isinstance(column, ValuesAt) and column.sees_nothing:
        groups = [group or [NOTHING] for group in groups]
    return _join_groups(owners, groups)


def _items(owners: Ints, values: Sequence[Any]) -> tuple[Ints, Sequence[Any]]:
    """The values, with lists replaced by their elements, and the row of each resulting value.
    owners: the row of each of `values`."""
    if list not in set(map(type, values)):
        return owners, values
    return _join_groups(owners, [value if type(value) is list else [value] for value in values])


def _join_groups(owners: Ints, groups: Sequence[Values]) -> tuple[Ints, list[Any]]:
    """The values of all groups in one list, and for each value the row of its group. owners: the
    row of each group."""
    sizes = np.fromiter(map(len, groups), np.int64, len(groups))
    return np.repeat(owners, sizes), [value for group in groups for value in group]


def _values(
    column: ValuesAt, rows: Ints, owners: Ints, values: Sequence[Any], types: set[type]
) -> ValueSegment:
    counts, items = read_items(column.kind, values, types)
    if counts is not None and items:
        owners = np.repeat(owners, counts)
    if not items:
        postings = NO_POSTINGS
    # True for example if no value is a list.
    elif column.kind == "count" and items.count(1) == len(items):
        postings = constant(owners, 1)
    else:
        builder = PostingsBuilder()
        builder.add(owners, items)
        postings = builder.postings()
    others = owners[:0]
    if column.kind == "anything" and not _NO_SCALARS.isdisjoint(map(type, items)):
        others = owners[[type(item) in _NO_SCALARS for item in items]]
    is_sibling = column.siblings[0] != column
    return ValueSegment(rows, postings, column.loose, others, is_sibling, types <= _OF_NOTHING)


def _places(rows: Ints, owners: Ints, coordinates: Sequence[Any]) -> PlaceSegment:
    are_places = np.array([place is not None for place in coordinates], np.bool_)
    positions = np.array([place for place in coordinates if place is not None], np.float64).reshape(
        -1, 2
    )
    return PlaceSegment(rows, owners[are_places], positions)


def _elements(
    columns: tuple[Column, ...], rows: Ints, owners: Ints, items: Sequence[Any]
) -> ElementSegment:
    are_objects = [type(item) is dict for item in items]
    elements = [item for item in items if type(item) is dict]
    inner = {column: _inner_segment(column, elements) for column in columns}
    return ElementSegment(rows, owners[np.array(are_objects, np.bool_)], inner)


def _inner_segment(column: Column, elements: Sequence[Any]) -> Segment:
    """The segment of a column within objects. Its "rows" are the numbers of the objects."""
    keys = keys_of(column)
    groups = [values_at_end(element, keys) for element in elements]
    values = [group[0] if group else NOTHING for group in groups]
    return build_segment(column, np.arange(len(elements)), values)


def keys_of(column: Column) -> tuple[str, ...]:
    """The keys with which the column's path begins; their values must be read from payloads."""
    return column.path.keys if isinstance(column.path, JsonPath) else column.path


_NO_SCALARS, _OF_NOTHING = {dict, list}, {type(None), type(NOTHING)}


@dataclass(frozen=True, slots=True)
class TokenSegment:
    """An inverted index of the distinct texts of some rows. owners: rows with a text; text_of[i] is
    the number of a text of owners[i]. numbers: the number of each token. codes[starts[t]:starts[t +
    1]]: the token numbers of text t, in text order. texts[offsets[n]:offsets[n + 1]]: the texts
    that contain token n, ascending."""

    rows: Ints
    owners: Ints
    text_of: Ints
    numbers: dict[str, int]
    codes: Ints32
    starts: Ints
    texts: Ints32
    offsets: Ints

    @property
    def is_empty(self) -> bool:
        """Whether no row has a text."""
        return not len(self.owners)

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes, with an estimate for the tokens."""
        arrays = (self.rows, self.owners, self.text_of, self.codes, self.starts)
        size = sum(array.nbytes for array in (*arrays, self.texts, self.offsets))
        return size + 100 * len(self.numbers)

    def with_tokens(self, tokens: Sequence[str], every: bool) -> "Texts":
        """The rows of the texts that contain any of the tokens, or all tokens if `every` is
        True."""
        token_numbers = {self.numbers[token] for token in tokens if token in self.numbers}
        if not token_numbers or (every and len(token_numbers) < len(set(tokens))):
            return Texts(self, np.empty(0, np.int64))
        lists = sorted((self._with(number) for number in token_numbers), key=len)
        join = _intersection if every else union
        return Texts(self, reduce(join, lists))

    def with_phrase(self, tokens: Sequence[str]) -> "Texts":
        """The rows of the texts that contain the tokens in this order, next to each other."""
        texts = self.with_tokens(tokens, every=True)
        if not len(texts.texts):
            return texts
        numbers = [self.numbers[token] for token in tokens]
        # The positions at which the first token can be in these texts, so that the other tokens fit
        # after it.
        first, stop = self.starts[texts.texts], self.starts[texts.texts + 1] - len(numbers) + 1
        ends = np.cumsum(np.maximum(0, stop - first))
        cuts = np.searchsorted(
            ends, np.arange(PHRASE_STARTS_AT_ONCE, ends[-1], PHRASE_STARTS_AT_ONCE)
        )
        having = [np.empty(0, np.int64)]
        for begin, end in pairwise(np.unique([0, *cuts, len(ends)]).tolist()):
            budget.check()
            places = ranges(first[begin:end], np.maximum(first, stop)[begin:end])
            for i, number in enumerate(numbers):
                places = places[self.codes[places + i] == number]
            having.append(np.unique(np.searchsorted(self.starts, places, "right") - 1))
        return Texts(self, np.concatenate(having))

    def counts(self, token: str) -> Ints | None:
        """How often each text contains the token: (texts,); None if no text contains it."""
        number = self.numbers.get(token)
        if number is None:
            return None
        texts = self._with(number)
        if len(texts) * RARE > len(self.starts):
            places = np.flatnonzero(self.codes == number)
        else:
            places = ranges(self.starts[texts], self.starts[texts + 1])
            places = places[self.codes[places] == number]
        owners = np.searchsorted(self.starts, places, "right") - 1
        return np.bincount(owners, minlength=len(self.starts) - 1)

    def _with(self, number: int) -> Ints:
        return self.texts[self.offsets[number] : self.offsets[number + 1]].astype(np.int64)


@dataclass(frozen=True, slots=True)
class Texts:
    """The rows that have one of some texts."""

    segment: TokenSegment
    texts: Ints

    def mark(self, mask: Bools) -> None:
        """Set the mask to True at these rows."""
        if not len(self.texts):
            return
        is_sought = np.zeros(len(self.segment.starts) - 1, np.bool_)
        is_sought[self.texts] = True
        mask[self.segment.owners[is_sought[self.segment.text_of]]] = True


def build_tokens(column: TokensAt, rows: Ints, owners: Ints, items: Sequence[Any]) -> TokenSegment:
    """The segment for the tokens of texts: items[i] belongs to owners[i], and owners must ascend.
    Items that aren't strings have no tokens."""
    are_texts = np.array([type(item) is str for item in items], np.bool_)
    owners = owners[are_texts]
    texts: list[tuple[str, ...]] = [(item,) for item in items if type(item) is str]
    if column.together and (owners[1:] == owners[:-1]).any():
        owners, texts = _join_texts(owners, texts)
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    numbers, codes, starts = _number_tokens(column.tokens.tokenize_text, distinct)
    listed, offsets = _invert(
        codes, np.repeat(np.arange(len(distinct), dtype=np.int32), np.diff(starts)), len(numbers)
    )
    text_of = np.fromiter(map(distinct.__getitem__, texts), np.int64, len(texts))
    return TokenSegment(rows, owners, text_of, numbers, codes, starts, listed, offsets)


def _number_tokens(
    tokenize: Callable[[str], list[str]], texts: Collection[tuple[str, ...]]
) -> tuple[dict[str, int], Ints32, Ints]:
    """The number of each distinct token; the token numbers of all texts, concatenated; and the
    start of each text in that array, followed by the end of the last text. Only the tokens of one
    text are in memory at the same time."""
    numbers: dict[str, int] = {}
    codes, starts = array("i"), array("q", [0])
    for text in texts:
        for token in chain.from_iterable(map(tokenize, text)):
            codes.append(numbers.setdefault(token, len(numbers)))
        starts.append(len(codes))
    return numbers, np.frombuffer(codes, np.int32), np.frombuffer(starts, np.int64)


def _join_texts(
    owners: Ints, texts: Sequence[tuple[str, ...]]
) -> tuple[Ints, list[tuple[str, ...]]]:
    """Join the texts of each owner into one text."""
    distinct_owners, starts = np.unique(owners, return_index=True)
    stops = [*starts.tolist()[1:], len(owners)]
    joined = [
        tuple(chain.from_iterable(texts[start:stop]))
        for start, stop in zip(starts.tolist(), stops, strict=True)
    ]
    return distinct_owners, joined


def _invert(codes: Ints32, texts: Ints32, count: int) -> tuple[Ints32, Ints]:
    """For each token, the distinct texts that contain it, ascending. The texts of all tokens are
    concatenated, with the offset of each token's texts. codes: token numbers; texts: the text of
    each of `codes`; count: the number of tokens."""
    order = stable_order(codes)
    codes, texts = codes[order], texts[order]
    first = np.ones(len(codes), np.bool_)
    first[1:] = (codes[1:] != codes[:-1]) | (texts[1:] != texts[:-1])
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(codes[first], minlength=count), out=offsets[1:])
    return texts[first], offsets


def _intersection(rows: Ints, other_rows: Ints) -> Ints:
    return np.intersect1d(rows, other_rows, assume_unique=True)
