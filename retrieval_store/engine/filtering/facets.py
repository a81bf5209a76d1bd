"""What values points have at a path: how many have which, and the points in their order."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.filtering.columns import current_columns
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.filtering.postings import Postings
from retrieval_store.engine.filtering.segments import ValueSegment
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.filters.columns import ScalarKind, ValuesAt
from retrieval_store.filters.nodes import Expression, Scalar, all_of
from retrieval_store.filters.paths import PayloadPath, Steps, dotted
from retrieval_store.filters.values import Between

ORDERED: tuple[ScalarKind, ...] = ("float", "time")
_Part: TypeAlias = tuple[Ints, npt.NDArray[Any]]  # rows and their numbers
_NOTHING: _Part = (np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Values and the rows that have them, each pair once, by the numbers of the values and then by
    row: rows[i] has the value numbers[i]."""

    postings: Postings
    numbers: Ints
    rows: Ints


def facet(
    view: FilterView, values: ValuesAt, expression: Expression | None
) -> list[tuple[Scalar, int]]:
    """Each value with how many of the points that fulfil the expression have it, the most frequent
    ones first, and of these the least."""
    totals: dict[Scalar, int] = {}
    for pairs in _pairs(view, values, expression):
        counts = np.bincount(pairs.numbers, minlength=pairs.postings.false + 2).tolist()
        for value, count in zip(pairs.postings.distinct(), counts, strict=True):
            if count:
                totals[value] = totals.get(value, 0) + count
    return sorted(totals.items(), key=lambda pair: (-pair[1], pair[0]))


def ordered(
    view: FilterView,
    values: ValuesAt,
    expression: Expression | None,
    limit: int | None,
    descending: bool,
    start: int | float | None,
) -> tuple[Ints, list[int | float]]:
    """The rows that fulfil the expression, in the order of their numbers from `start` on, and these
    numbers; a row with several comes several times."""
    bounds = Between(values, lte=start) if descending else Between(values, gte=start)
    parts = [_ends(pairs, bounds, limit, descending) for pairs in _pairs(view, values, expression)]
    rows, numbers = _sorted(parts, descending)
    return rows[:limit], numbers[:limit].tolist()


def in_order(
    view: FilterView, path: PayloadPath, expression: Expression | None, descending: bool
) -> Ints:
    """The rows that fulfil the expression in the order of their numbers at the path, and after
    these in the order of their dates there, or all that backwards; each once. One key with dots
    leads through several, too."""
    asked = [(Steps(path), expression)]
    others = dotted(path)
    if others is not None:  # of points with nothing under a key of that very name
        nothing = Between(ValuesAt(Steps(path), "size"), lte=0)
        asked.append((Steps(others), all_of(expression, nothing)))
    current_columns(view, [ValuesAt(one, kind) for one, _ in asked for kind in ORDERED])  # at once
    found = []
    for kind in ORDERED:
        parts = [
            _ends(pairs, Between(values), None, descending)
            for values, allowed in ((ValuesAt(one, kind), allowed) for one, allowed in asked)
            for pairs in _pairs(view, values, allowed)
        ]
        found.append(_sorted(parts, descending)[0])
    rows = np.concatenate(found[::-1] if descending else found)
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)]


def _sorted(parts: list[_Part], descending: bool) -> _Part:
    """Rows and their numbers in the order of these, and then of the rows."""
    parts = [part for part in parts if len(part[0])] or [_NOTHING]
    rows = np.concatenate([rows for rows, _ in parts])
    numbers = np.concatenate([numbers for _, numbers in parts])
    order = np.lexsort((rows, numbers))
    order = order[::-1] if descending else order
    return rows[order], numbers[order]


def _ends(pairs: _Pairs, bounds: Between, limit: int | None, descending: bool) -> _Part:
    """The rows and numbers inside the bounds, but of many only those at the end that is wanted."""
    if not pairs.postings.numbers:
        return _NOTHING
    (part,) = pairs.postings.numbers  # an index holds numbers of one type
    first, last = np.searchsorted(pairs.numbers, part.between(bounds)).tolist()
    if limit is not None and descending:
        first = max(first, last - limit)
    elif limit is not None:
        last = min(last, first + limit)
    return pairs.rows[first:last], part.values[pairs.numbers[first:last] - part.first]


def _pairs(view: FilterView, values: ValuesAt, expression: Expression | None) -> Iterator[_Pairs]:
    """The pairs of each segment of the column, of rows that fulfil the expression."""
    allowed = allowed_by(view, expression).mask
    mask = view.state.alive if allowed is None else allowed
    column = current_columns(view, [values])[values]
    for segment, above in zip(column.segments, column.above(), strict=True):
        assert isinstance(segment, ValueSegment)
        postings = segment.values
        rows = postings.groups.rows.astype(np.int64)
        counts = np.diff(postings.groups.offsets)
        numbers = np.repeat(np.arange(len(counts)), counts)
        good = rows < len(mask)
        good[good] = mask[rows[good]]
        if above is not None:
            good &= ~np.isin(rows, above)
        # The rows of a number are ascending, so those that have it twice stand side by side.
        good[1:] &= (rows[1:] != rows[:-1]) | (numbers[1:] != numbers[:-1])
        yield _Pairs(postings, numbers[good], rows[good])
