"""Selects the points of a call by ids, filter, limit and offset, without expired points.

A point has expired once the time under a certain key of its payload is in the past. From then on
every call leaves it out, until maintenance deletes it. The filter for expired points doesn't
compare with the present time, but with the latest expiry time that has already passed. So the
filter stays the same, and its result stays cached, until the next point expires.
"""

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.filtering import evaluate
from retrieval_store.engine.filtering.cache import (
    FOLLOWED,
    Expiry,
    FilterResult,
    FilterView,
    current_result,
    filter_result,
    key_of,
)
from retrieval_store.engine.filtering.columns import (
    KeptColumn,
    column_count,
    columns_at,
    current_columns,
    note_use,
)
from retrieval_store.engine.filtering.evaluate import filter_rows, matching, scan_rows, split
from retrieval_store.engine.filtering.segments import ValueSegment
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.schema import pks_of_ids
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.dates import SECOND
from retrieval_store.filters.leaves import ColumnLeaf, column_of
from retrieval_store.filters.nodes import Expression, Not, Or
from retrieval_store.filters.paths import JsonPath
from retrieval_store.filters.values import Between
from retrieval_store.query.types import PointId

FIRST_LOOK = 1024  # rows in the first piece, if only the first few matches are wanted
LOOKED_AT_WHOLE = 20_000  # up to this many points, all are scanned quickly
LOOKED_AT_ONCE = 1_024  # rows whose payloads are read between two checks of the clock
SORTED = 64  # listed rows are sorted if they are at most one row in this many
COUNTED = 65_536  # rows of a mask that are counted at the same time


def select(
    view: FilterView,
    ids: Sequence[PointId] | None,
    expression: Expression | None,
    limit: int | None = None,
    offset: int = 0,
) -> Ints:
    """The rows of the points that have one of these ids (None: any id) and fulfil the expression.
    They are in the order of `ids`, or of first insertion if `ids` is None. At most `limit` rows are
    returned, after `offset` rows are skipped."""
    if ids is not None:
        rows = _rows_of_ids(view, ids)
        chosen = rows if expression is None else rows[_allows(view, expression, rows)]
        return chosen[offset:][:limit]
    if expression is None and not view.state.has_dead_rows:
        all_rows = range(view.state.count)[offset:][:limit]
        return np.arange(all_rows.start, all_rows.stop)
    if expression is None:
        return rows_of_mask(view.state.alive, limit, offset)
    if limit is None or _is_cached(view, expression) or evaluate.is_testable(view, expression):
        return _rows_of(filter_result(view, expression, evaluate), limit, offset)
    return _first_rows(view, expression, offset + limit)[offset:]


def select_spread(view: FilterView, expression: Expression | None, size: int) -> Ints:
    """At most `size` rows of points that fulfil the expression, spread evenly over all such rows.
    The first and the last row are included. The rows ascend, and repeated calls return the same
    rows."""
    rows = select(view, None, expression)
    places = evaluate.spread_rows(len(rows), size)
    if len(places) > 1:
        # The sample already begins with the first row.
        places = np.append(places[:-1], len(rows) - 1)
    return rows[places]


def count_matching(view: FilterView, expression: Expression | None) -> int:
    """How many points fulfil the expression. For a condition on one column in memory, the postings
    give the number, and no row is read."""
    if expression is None:
        return view.state.count
    count = None if _is_cached(view, expression) else _count_by_postings(view, expression)
    return filter_result(view, expression, evaluate).count if count is None else count


def _count_by_postings(view: FilterView, expression: Expression) -> int | None:
    leaf = expression.term if isinstance(expression, Not) else expression
    if not isinstance(leaf, ColumnLeaf):
        return None
    state, column = view.state, column_of(leaf)
    layers = columns_at(view, [column])[column]
    count = column_count(layers, leaf, state.dead_rows, len(state.pks))
    if count is not None and not layers.is_empty:
        note_use(view, column.path)
    return state.count - count if count is not None and leaf is not expression else count


def _rows_of_ids(view: FilterView, ids: Sequence[PointId]) -> Ints:
    pks = pks_of_ids(view.connection, ids)
    named = np.array([pks[point_id] for point_id in ids if point_id in pks], np.int64)
    return rows_of(view.state.pks, named)


def _allows(view: FilterView, expression: Expression, rows: Ints) -> Bools:
    """Which of the rows have a point that fulfils the expression: (n,) bool. The rows can be in any
    order."""
    cached = current_result(view, key_of(expression), expression, evaluate)
    if cached is not None:
        return cached.allows(rows)
    distinct_rows, places = np.unique(rows, return_inverse=True)
    return filter_rows(view, expression, distinct_rows)[places]


def _is_cached(view: FilterView, expression: Expression) -> bool:
    cached, stale = view.caches.allowed.at(key_of(expression), view.state)
    return cached is not None and len(stale) <= FOLLOWED


def _first_rows(view: FilterView, expression: Expression, limit: int) -> Ints:
    """The first `limit` rows that fulfil the expression, or all if there are fewer. Terms on
    columns in memory are evaluated for all points. Terms for which points must be read are then
    evaluated batch by batch, until enough rows are found."""
    column_filter, point_filter = split(view, expression)
    candidates = matching(view, column_filter)
    if point_filter is None:
        mask, rows = candidates, rows_of_mask(candidates, limit, 0)
    else:
        pieces = _in_growing_pieces(candidates)
        rows = gather((piece[filter_rows(view, point_filter, piece)] for piece in pieces), limit)
        if len(rows) == limit:  # there may be more
            return rows
        mask = _mask_of(rows, candidates)
    _keep_result(view, expression, mask)
    return rows


def _mask_of(rows: Ints, like: Bools) -> Bools:
    mask = np.zeros_like(like)
    mask[rows] = True
    return mask


def _keep_result(view: FilterView, expression: Expression, mask: Bools) -> FilterResult:
    allowed = FilterResult(mask, int(np.count_nonzero(mask)), key_of(expression))
    view.caches.allowed.keep(allowed, view.state)
    return allowed


def count_within(
    view: FilterView, expression: Expression | None, seconds: float
) -> tuple[int, bool]:
    """The number of points that fulfil the expression, and whether the count is complete. After
    this number of seconds, the count so far is returned. Terms on columns in memory are evaluated
    at once. Points that must be read are read in batches, because building columns for all points
    might take longer."""
    if expression is None or view.state.count <= LOOKED_AT_WHOLE or _is_cached(view, expression):
        return filter_result(view, expression, evaluate).count, True
    ends = time.monotonic() + seconds
    column_filter, point_filter = split(view, expression)
    candidates = matching(view, column_filter)
    if point_filter is None:
        return _keep_result(view, expression, candidates).count, True
    rows, matches = np.flatnonzero(candidates), [np.empty(0, np.int64)]
    for start in range(0, len(rows), LOOKED_AT_ONCE):
        if time.monotonic() >= ends:
            return sum(map(len, matches)), False
        piece = rows[start : start + LOOKED_AT_ONCE]
        matches.append(piece[scan_rows(view, point_filter, piece)])
    return _keep_result(view, expression, _mask_of(np.concatenate(matches), candidates)).count, True


def gather(pieces: Iterator[Ints], limit: int) -> Ints:
    """The first `limit` rows of all pieces. The iterator is consumed no further than necessary."""
    gathered, count = [np.empty(0, np.int64)], 0
    while count < limit and (rows := next(pieces, None)) is not None:
        gathered.append(rows)
        count += len(rows)
    return np.concatenate(gathered)[:limit]


def _in_growing_pieces(mask: Bools) -> Iterator[Ints]:
    """Yield the rows of a mask in pieces. Each piece covers as much of the mask as all pieces
    before it."""
    start, stop = 0, FIRST_LOOK
    while start < len(mask):
        yield start + np.flatnonzero(mask[start:stop])
        start, stop = stop, 2 * stop


def _rows_of(result: FilterResult, limit: int | None, offset: int) -> Ints:
    """The rows that fulfil a filter, at most `limit` of them after `offset` rows are skipped. If
    the filter can list its rows and they are few, they are sorted. Otherwise rows are tested only
    as far as needed."""
    tested = result.tested
    if tested is not None and tested.count * SORTED <= tested.height:
        rows = tested.list_rows()
        if rows is not None:
            return np.sort(rows)[offset:][:limit]
    if tested is None or limit is None:
        mask = result.mask
        assert mask is not None
        return rows_of_mask(mask, limit, offset)
    return _rows_of_pieces(tested.height, tested.test.has, limit, offset)


def rows_of_mask(mask: Bools, limit: int | None, offset: int) -> Ints:
    """The rows of a mask, at most `limit` of them after `offset` rows are skipped. The mask is
    scanned only as far as needed."""
    if limit is None:
        return np.flatnonzero(mask)[offset:]
    return _rows_of_pieces(len(mask), lambda rows: mask[rows.start : rows.stop], limit, offset)


def _rows_of_pieces(
    height: int, flags_of: Callable[[range], Bools], limit: int, offset: int
) -> Ints:
    """The first rows with a flag, at most `limit` of them after `offset` rows are skipped.
    flags_of: returns the flags of a range of rows."""
    rows, start = [np.empty(0, np.int64)], 0
    while start < height and limit > 0:
        flags = flags_of(range(start, min(start + COUNTED, height)))
        count = int(np.count_nonzero(flags))
        if offset < count:
            rows.append(start + np.flatnonzero(flags)[offset:][:limit])
            limit -= len(rows[-1])
        offset, start = max(0, offset - count), start + COUNTED
    return np.concatenate(rows)


now = time.time  # seconds since 1970, by this machine's clock


def expired_filter(view: FilterView, path: JsonPath) -> Expression | None:
    """The filter for expired points; None if no point has expired. path: the path of the expiry
    time, in seconds since 1970 or as an ISO 8601 time."""
    moment, expiry = now(), view.caches.expiry.get(path)
    if expiry is None or not expiry.holds(view.state.head.seq, moment):
        expiry = view.caches.expiry[path] = _expiry(view, path, moment)
    return expiry.condition


def expired_by_now(path: JsonPath) -> Expression:
    """The filter for points that have expired by now. It is returned even if no point has
    expired."""
    moment, units = now(), _units(path)
    return Or(tuple(Between(values, lte=moment * unit) for values, unit in units.items()))


def _units(path: JsonPath) -> dict[ValuesAt, int]:
    """The columns that contain expiry times, each with the number of its units in a second."""
    return {ValuesAt(path, "float"): 1, ValuesAt(path, "time"): SECOND}


def not_expired(view: FilterView, path: JsonPath) -> Expression | None:
    """The filter for points that haven't expired; None if no point has expired."""
    expired = expired_filter(view, path)
    return None if expired is None else Not(expired)


def _expiry(view: FilterView, path: JsonPath, moment: float) -> Expiry:
    """The filter for points that have expired at the time `moment`, and until when the filter is
    valid."""
    units = _units(path)
    columns, terms = current_columns(view, units), list[Expression]()
    until = math.inf
    for values, unit in units.items():
        last, following = _around(moment * unit, columns[values])
        until = min(until, following / unit)
        if last is not None:
            terms.append(Between(values, lte=last))
    expired = Or(tuple(terms)) if len(terms) > 1 else terms[0] if terms else None
    # A column may contain values of points that were changed or deleted.
    if expired is not None and not filter_result(view, expired, evaluate).count:
        expired = None
    return Expiry(view.state.head.seq, moment, until, expired)


def _around(bound: float, column: KeptColumn) -> tuple[int | float | None, float]:
    """The greatest number of a column that is at most `bound` (None if there is none), and the
    least number above it (inf if there is none)."""
    last, following = None, math.inf
    for segment in column.segments:
        assert isinstance(segment, ValueSegment)
        for part in segment.values.numbers:
            count = bisect_right(part.values, bound)
            if count and (last is None or part.values[count - 1] > last):
                last = part.values[count - 1].item()
            if count < len(part.values):
                following = min(following, float(part.values[count]))
    return last, following
