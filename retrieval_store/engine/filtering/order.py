"""Counts points by their values at a path, and sorts points by such values or by their ids.

`facet` counts how many points have which value, and `in_order` sorts points by their numbers and
dates at a path. `page` sorts points by id: integers ascending, then strings by their bytes.
SQLite's index of ids has the same order, and is traversed if a large share of all points belongs to
the result. Otherwise the ids of the result's points are read and sorted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import apsw
import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools, Ints, union
from retrieval_store.engine.filtering import evaluate
from retrieval_store.engine.filtering.cache import (
    FOLLOWED,
    FilterResult,
    FilterView,
    filter_result,
    key_of,
)
from retrieval_store.engine.filtering.columns import current_columns
from retrieval_store.engine.filtering.evaluate import filter_rows, matching, split
from retrieval_store.engine.filtering.segments import Postings, ValueSegment
from retrieval_store.engine.filtering.select import gather
from retrieval_store.engine.sqlite import select
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.schema import to_key
from retrieval_store.filters.columns import Reading, ScalarKind, ValuesAt
from retrieval_store.filters.nodes import Expression, Scalar, all_of
from retrieval_store.filters.paths import FieldPath, JsonPath, PayloadPath, split_dotted
from retrieval_store.filters.values import Between
from retrieval_store.query.types import PointId, most_frequent

ORDERED: tuple[ScalarKind, ...] = ("float", "time")
_Ordered: TypeAlias = tuple[Ints, npt.NDArray[Any]]  # rows and their numbers
_Part: TypeAlias = tuple[Postings, Ints]  # postings of a column, and how often each value occurs
FIRST_PAIRS = 4_096  # pairs of a column that are scanned at the same time
_NOTHING: _Ordered = (np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Distinct pairs of a value and a row that has the value. rows[i] has the value with the number
    numbers[i]. Pairs are sorted by value number, then by row."""

    postings: Postings
    numbers: Ints
    rows: Ints


def facet(
    view: FilterView,
    columns: Sequence[ValuesAt],
    expression: Expression | None,
    limit: int | None,
) -> list[tuple[Scalar, int]]:
    """The values in the columns, each with the number of points that have it and fulfil the
    expression; see `most_frequent`. No value of a point is allowed to be in two of the columns."""
    totals: Counter[tuple[bool, Scalar]] = Counter()
    parts = [part for values in columns for part in _count_by_segment(view, values, expression)]
    numbers_of_parts = [np.flatnonzero(counts) for _, counts in parts]
    if parts and limit is not None:
        _leave_foremost(parts, numbers_of_parts, limit)
    for (postings, counts), numbers in zip(parts, numbers_of_parts, strict=True):
        for value, count in zip(postings.scalars(numbers), counts[numbers].tolist(), strict=True):
            totals[type(value) is bool, value] += count
    return most_frequent(totals, limit)


def _leave_foremost(parts: Sequence[_Part], numbers_of_parts: list[Ints], limit: int) -> None:
    """Remove values from the largest part that can't be among the `limit` most frequent values of
    all parts. The part keeps its own most frequent values, and the values that other parts also
    have."""
    largest = max(range(len(parts)), key=lambda i: len(numbers_of_parts[i]))
    postings, counts = parts[largest]
    if len(postings.numbers) > 1:  # numbers of different types may be equal
        return
    other_values = [
        value
        for i, (other_postings, _) in enumerate(parts)
        if i != largest
        for value in other_postings.scalars(numbers_of_parts[i])
    ]
    foremost = postings.numbers_of_most_frequent(counts, limit + len(other_values))
    numbers = np.array(postings.numbers_of(other_values, loose=True), np.int64)
    numbers_of_parts[largest] = union(foremost, numbers)


def _count_by_segment(
    view: FilterView, values: ValuesAt, expression: Expression | None
) -> Iterator[_Part]:
    """For each segment of the column that contains values, yield how many points have each value.
    Only points that fulfil the expression are counted."""
    mask = filter_result(view, expression, evaluate).mask
    height, has_dead_rows = len(view.state.pks), view.state.has_dead_rows
    column = current_columns(view, [values])[values]
    for i, (segment, above) in enumerate(zip(column.segments, column.above(), strict=True)):
        assert isinstance(segment, ValueSegment)
        among = mask
        if mask is None and (has_dead_rows or (len(segment.rows) and segment.rows[-1] >= height)):
            among = view.state.alive
        counts = segment.values.groups.counts(among, above)
        if counts is None:
            pairs = [*_pairs(view, values, expression)][i]
            counts = _distinct_counts(pairs)
        if counts.any():
            yield segment.values, counts


def _distinct_counts(pairs: _Pairs) -> Ints:
    """How many rows have each value; a row can have several values. Equal numbers of different
    types count as one value. Their common count is stored for the first of them."""
    numbers, count = pairs.numbers, len(pairs.postings.groups.offsets) - 1
    if len(pairs.postings.numbers) > 1:
        first: dict[tuple[bool, Scalar], int] = {}
        values = [(type(value) is bool, value) for value in pairs.postings.distinct()]
        equal = np.array([first.setdefault(value, i) for i, value in enumerate(values)])
        numbers, _ = np.unique(np.stack([equal[numbers], pairs.rows]), axis=1)
    return np.bincount(numbers, minlength=count)


def kinds(view: FilterView, path: FieldPath, expression: Expression | None) -> list[str]:
    """The kinds of values that matching points have at the path: "strings", "numbers" and "bools".
    Values in lists have separate kinds, with " in lists" added. "times" replaces "strings" if a
    sample of the strings contains only times. The list is ["others"] if there are only values of
    other kinds."""
    names: dict[str, None] = {}
    for reading, suffix in _KINDS_IN.items():
        for pairs in _pairs(view, ValuesAt(path, reading), expression):
            edges = [len(pairs.postings.texts), pairs.postings.false]
            for kind in np.unique(np.searchsorted(edges, pairs.numbers, "right")).tolist():
                name = ("strings", "numbers", "bools")[kind] + suffix
                names["times" if name == "strings" and _are_times(pairs) else name] = None
    if "strings" in names:
        names.pop("times", None)
    if not names:
        counted_pairs = _pairs(view, ValuesAt(path, "count"), expression)
        return ["others"] if any(len(pairs.rows) for pairs in counted_pairs) else []
    return [*names]


SAMPLED_TIMES = 1_000  # distinct strings


def _are_times(pairs: "_Pairs") -> bool:
    """Whether the strings of a column are times, judged by a sample."""
    from retrieval_store.filters.dates import time_in

    sample = islice(pairs.postings.texts, SAMPLED_TIMES)
    return all(time_in(text) is not None for text in sample)


_KINDS_IN: dict[Reading, str] = {"whole": "", "element": " in lists"}


def rows_in_order(
    view: FilterView,
    values: ValuesAt,
    expression: Expression | None,
    limit: int | None,
    descending: bool,
    start: int | float | None,
) -> tuple[Ints, list[int | float]]:
    """The rows that fulfil the expression, sorted by their numbers in the column, beginning with
    the number `start`. A row with several numbers is repeated. Also returns the number of each
    returned row."""
    bounds = Between(values, lte=start) if descending else Between(values, gte=start)
    parts = _ends(view, values, expression, bounds, limit, descending)
    rows, numbers = _sort_parts(parts, descending)
    return rows[:limit], numbers[:limit].tolist()


def in_order(
    view: FilterView,
    path: PayloadPath,
    expression: Expression | None,
    limit: int | None,
    descending: bool,
) -> Ints:
    """The first rows that fulfil the expression, without repetitions. Rows with numbers at the path
    come first, sorted by number; then rows with dates, sorted by date; `descending` reverses the
    whole order. If the path is a single key with dots, it may also mean nested keys."""
    filtered_paths = [(JsonPath(path), expression)]
    dotted_path = split_dotted(path)
    if dotted_path is not None:  # for points that have nothing under the key with dots itself
        nothing = Between(ValuesAt(JsonPath(path), "size"), lte=0)
        filtered_paths.append((JsonPath(dotted_path), all_of(expression, nothing)))
    # All columns are built together.
    current_columns(
        view, [ValuesAt(json_path, kind) for json_path, _ in filtered_paths for kind in ORDERED]
    )

    def rows_of(kind: ScalarKind, most: int | None) -> Ints:
        parts = [
            part
            for json_path, allowed in filtered_paths
            for values in (ValuesAt(json_path, kind),)
            for part in _ends(view, values, allowed, Between(values), most, descending)
        ]
        return _sort_parts(parts, descending)[0][:most]

    most = limit
    while True:  # several values of a row count as one row, so there may be fewer rows than values
        rows, is_cut = np.empty(0, np.int64), False
        for kind in ORDERED[::-1] if descending else ORDERED:
            rows_of_kind = rows_of(kind, most)
            is_cut = most is not None and len(rows_of_kind) == most
            rows = _each_once(np.concatenate([rows, rows_of_kind]))
            if is_cut or (limit is not None and len(rows) >= limit):
                break
        if most is None or not is_cut or len(rows) >= (limit or 0):
            return rows[:limit]
        most *= 4


def _each_once(rows: Ints) -> Ints:
    """The rows without repetitions. Each row is at the position of its first occurrence."""
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]


def _sort_parts(parts: list[_Ordered], descending: bool) -> _Ordered:
    """The rows and numbers of all parts, sorted by number and then by row."""
    parts = [part for part in parts if len(part[0])] or [_NOTHING]
    rows = np.concatenate([rows for rows, _ in parts])
    numbers = np.concatenate([numbers for _, numbers in parts])
    order = np.lexsort((rows, numbers))
    order = order[::-1] if descending else order
    return rows[order], numbers[order]


def _ends(
    view: FilterView,
    values: ValuesAt,
    expression: Expression | None,
    bounds: Between,
    limit: int | None,
    descending: bool,
) -> list[_Ordered]:
    """For each segment of the column, the rows that fulfil the expression and have numbers within
    the bounds, with these numbers. If there are many such rows, only the first rows in the sort
    order are returned."""
    allowed = _allowed(view, expression)
    return [
        _end_of(segment.values, allowed, above, bounds, limit, descending)
        for segment, above in _segments(view, values)
        if segment.values.numbers
    ]


def _end_of(
    postings: Postings,
    allowed: Bools,
    above: Ints | None,
    bounds: Between,
    limit: int | None,
    descending: bool,
) -> _Ordered:
    """For one segment, the rows that are allowed and have numbers within the bounds, with these
    numbers. The pairs are scanned in pieces, from the lowest number up or from the highest down.
    Each piece is four times as large as the piece before. above: the rows that segments above this
    segment contain; they are left out."""
    (part,) = postings.numbers  # an index contains numbers of one type
    offsets = postings.groups.offsets
    first, stop = part.between(bounds)
    most = len(postings.groups.rows)
    size = most if limit is None else min(most, max(FIRST_PAIRS, 2 * limit))
    all_pairs, found = [], 0
    while first < stop and (limit is None or found < limit):
        begin, end = first, stop
        if limit is not None and descending:
            begin = max(first, min(stop - 1, int(offsets.searchsorted(int(offsets[stop]) - size))))
        elif limit is not None:
            end = int(offsets.searchsorted(int(offsets[first]) + size, "right")) - 1
            end = min(stop, max(first + 1, end))
        all_pairs.append(_pairs_of(postings, allowed, above, begin, end))
        first, stop = (first, begin) if descending else (end, stop)
        found, size = found + len(all_pairs[-1].rows), min(most, 4 * size)
    if not all_pairs:
        return _NOTHING
    numbers = np.concatenate([pairs.numbers for pairs in all_pairs])
    return np.concatenate([pairs.rows for pairs in all_pairs]), part.values[numbers - part.first]


def _pairs(view: FilterView, values: ValuesAt, expression: Expression | None) -> Iterator[_Pairs]:
    """For each segment of the column, yield the pairs whose rows fulfil the expression."""
    allowed = _allowed(view, expression)
    for segment, above in _segments(view, values):
        stop = len(segment.values.groups.offsets) - 1
        yield _pairs_of(segment.values, allowed, above, 0, stop)


def _allowed(view: FilterView, expression: Expression | None) -> Bools:
    mask = filter_result(view, expression, evaluate).mask
    return view.state.alive if mask is None else mask


def _segments(view: FilterView, values: ValuesAt) -> Iterator[tuple[ValueSegment, Ints | None]]:
    """Yield the segments of a column, each with the rows that segments above it also have."""
    column = current_columns(view, [values])[values]
    for segment, above in zip(column.segments, column.above(), strict=True):
        assert isinstance(segment, ValueSegment)
        yield segment, above


def _pairs_of(
    postings: Postings, allowed: Bools, above: Ints | None, first: int, stop: int
) -> _Pairs:
    """The pairs of the values with the numbers first … stop-1. Only rows that are allowed and that
    no segment above contains are included."""
    offsets = postings.groups.offsets[first : stop + 1]
    rows = postings.groups.rows[offsets[0] : offsets[-1]].astype(np.int64)
    numbers = np.repeat(np.arange(first, stop), np.diff(offsets))
    good = rows < len(allowed)
    good[good] = allowed[rows[good]]
    if above is not None:
        good &= ~np.isin(rows, above)
    # The rows of a number ascend, so repetitions of a row are adjacent.
    good[1:] &= (rows[1:] != rows[:-1]) | (numbers[1:] != numbers[:-1])
    return _Pairs(postings, numbers[good], rows[good])


FIRST_STEPS, MAX_STEPS = 256, 65_536  # entries of the index that are read at the same time
MAX_LIMIT = 2**63 - 1  # the greatest LIMIT in SQLite
READ = 4.0  # the cost of reading an id and sorting it, relative to reading one entry of the index


def page(
    view: FilterView, expression: Expression | None, start: PointId | None, limit: int | None
) -> Ints:
    """At most `limit` rows of points that fulfil the expression, in the order of their ids,
    beginning with the id `start`."""
    limit = None if limit is None else min(limit, MAX_LIMIT)
    if expression is None:
        return _rows(view, _ids_from(view.connection, start, limit))
    if limit is None or _is_known(view, expression):
        allowed = filter_result(view, expression, evaluate)
        return _first_rows(view, allowed, start, limit)
    column_filter, point_filter = split(view, expression)
    return _first_matching(view, matching(view, column_filter), point_filter, start, limit)


def _is_known(view: FilterView, expression: Expression) -> bool:
    """Whether the result of the filter is cached, or columns in memory can evaluate the filter."""
    cached, stale = view.caches.allowed.at(key_of(expression), view.state)
    return (cached is not None and len(stale) <= FOLLOWED) or split(view, expression)[1] is None


def _first_rows(
    view: FilterView, allowed: FilterResult, start: PointId | None, limit: int | None
) -> Ints:
    """At most `limit` rows that fulfil a filter, in the order of their ids, beginning with the id
    `start`. allowed: the result of the filter."""
    count = allowed.count
    most = count if limit is None else min(limit, count)
    steps = most * view.state.count // max(1, count)
    if steps > READ * count:
        return _rows(view, _sort_pks(view.connection, view.state.pks[allowed.mask], start, limit))
    return gather((rows[allowed.allows(rows)] for rows in _walk(view, start, steps)), most)


def _first_matching(
    view: FilterView,
    candidates: Bools,
    point_filter: Expression | None,
    start: PointId | None,
    limit: int,
) -> Ints:
    """The first of the candidates, in the order of their ids, that also fulfil the rest of the
    filter: the terms for which points must be read."""

    def fulfilling(rows: Ints) -> Ints:
        rows = rows[candidates[rows]]
        if point_filter is None or not len(rows):
            return rows
        order = np.argsort(rows)
        holds = np.empty(len(rows), np.bool_)
        holds[order] = filter_rows(view, point_filter, rows[order])
        return rows[holds]

    return gather(map(fulfilling, _walk(view, start, limit)), limit)


def _walk(view: FilterView, start: PointId | None, steps: int) -> Iterator[Ints]:
    """Yield the rows of all points in the order of their ids, beginning with the id `start`, in
    pieces. Each piece is twice as large as the piece before. steps: the wanted size of the first
    piece."""
    steps = max(FIRST_STEPS, min(steps, MAX_STEPS))
    pks = _ids_from(view.connection, start, steps)
    while len(pks):
        yield _rows(view, pks)
        steps = min(2 * steps, MAX_STEPS)
        query = """SELECT pk FROM points WHERE id > (SELECT id FROM points WHERE pk = ?)
                   ORDER BY id LIMIT ?"""
        pks = _pks(select(view.connection, query, int(pks[-1]), steps))


def _ids_from(connection: apsw.Connection, start: PointId | None, limit: int | None) -> Ints:
    """At most `limit` pks of points in the order of their ids, beginning with the id `start`."""
    limit = -1 if limit is None else limit
    if start is None:
        return _pks(select(connection, "SELECT pk FROM points ORDER BY id LIMIT ?", limit))
    query = "SELECT pk FROM points WHERE id >= ? ORDER BY id LIMIT ?"
    return _pks(select(connection, query, to_key(start), limit))


def _sort_pks(
    connection: apsw.Connection, pks: Ints, start: PointId | None, limit: int | None
) -> Ints:
    """At most `limit` of these pks, in the order of the points' ids, beginning with the id
    `start`."""
    query = "SELECT pk FROM carray(?) CROSS JOIN points ON pk = value"
    begin = () if start is None else (to_key(start),)
    condition = "" if start is None else "WHERE id >= ?"
    most = -1 if limit is None else limit
    pk_array = apsw.carray(np.ascontiguousarray(pks))
    return _pks(
        select(connection, f"{query} {condition} ORDER BY id LIMIT ?", pk_array, *begin, most)
    )


def _pks(records: list[tuple[int]]) -> Ints:
    return np.fromiter((pk for (pk,) in records), np.int64, len(records))


def _rows(view: FilterView, pks: Ints) -> Ints:
    return rows_of(view.state.pks, pks)
