"""Columns: for one payload path, which points have which value, kept current as `layers`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import compress
from typing import Any, TypeAlias, cast

import apsw
import numpy as np

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.filtering.column_files import saved
from retrieval_store.engine.filtering.groups import Chosen, grouped
from retrieval_store.engine.filtering.kept import KEYS_NOTED, FilterView
from retrieval_store.engine.filtering.postings import NO_POSTINGS, Postings, build
from retrieval_store.engine.filtering.typed import TypedSegment, build_typed
from retrieval_store.engine.state.layers import (
    NOTHING_STALE,
    Layers,
    plan_refresh,
    refreshed,
    united,
)
from retrieval_store.engine.storage.records import (
    has_anything,
    read_exactly,
    read_sparsely,
    read_values,
)
from retrieval_store.filters.expression import PayloadPath, TypedLeaf, ValueLeaf
from retrieval_store.filters.typed.columns import Column as TypedColumn
from retrieval_store.filters.typed.columns import SizesAt, keys_of
from retrieval_store.filters.values import Found


@dataclass(frozen=True, slots=True)
class Segment:
    """The values of some rows: those that are scalars, and the scalars in those that are lists.

    rows: ascending, (n,); present: those of them with a value that is neither null nor []; lengths:
    of those that are lists.
    """

    rows: Ints
    present: Chosen
    scalars: Postings
    elements: Postings
    lengths: Postings

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        held = self.scalars.nbytes + self.elements.nbytes + self.lengths.nbytes
        return self.rows.nbytes + self.present.groups.nbytes + held


ColumnKey: TypeAlias = PayloadPath | TypedColumn
COLUMNS_WORTH, USES_WORTH = 20_000, 2  # points and uses from which on columns are saved
AnySegment: TypeAlias = Segment | TypedSegment
Column: TypeAlias = Layers[AnySegment]
Columns: TypeAlias = dict[ColumnKey, Column]


def columns_at(view: FilterView, paths: Iterable[ColumnKey]) -> Columns:
    """The columns of these paths as they are kept, with what is stale in them."""
    seq, rows = view.state.head.seq, len(view.state.pks)
    return {path: view.kept.columns.at(path, seq, rows) for path in paths}


def current_columns(view: FilterView, paths: Iterable[ColumnKey]) -> Columns:
    """The columns of these paths with nothing stale; of those that had something."""
    cache, seq, rows = view.kept.columns, view.state.head.seq, len(view.state.pks)
    with cache.refreshing:  # the threads that wait for it find the columns made
        columns = {
            path: column if column.segments else _saved(view, path) or column
            for path, column in columns_at(view, paths).items()
        }
        plans = {path: plan_refresh(c, rows) for path, c in columns.items() if len(c.stale)}
        lacking = {path: rows_of_path for path, (_, rows_of_path) in plans.items()}
        for path, segment in _read_segments(view, lacking):
            columns[path] = refreshed(columns[path], plans[path][0], segment)
            view.kept.spent.pop(path, None)
        for path, column in columns.items():
            cache.keep(path, seq, column)
    return columns


def _read_segments(
    view: FilterView, lacking: Mapping[ColumnKey, Ints]
) -> Iterator[tuple[ColumnKey, AnySegment]]:
    """For each column a segment of the rows that it lacks. Payloads are read once for all of them:
    to look for one key more is next to nothing."""
    every = reduce(_either, lacking.values(), NOTHING_STALE)
    every = every[view.state.alive[every]]
    read = _Read(view.connection, view.state.pks[every], [*lacking])
    for key, wanted in lacking.items():
        if len(wanted) < len(every):
            its = np.isin(every, wanted)
            yield key, read.segment(key, every[its], its)
        else:
            yield key, read.segment(key, every)


class _Read:
    """What the payloads of some points have at the paths of some columns. Of columns whose paths
    begin with the same keys it is read once."""

    def __init__(
        self, connection: apsw.Connection, pks: Ints, columns: Sequence[ColumnKey]
    ) -> None:
        self._connection, self._pks = connection, pks
        plain = [column for column in columns if isinstance(column, tuple)]
        many = len(plain) > MANY_KEYS
        few, sparse = ([], plain) if many else (plain, [])
        self._plain = dict(zip(few, read_values(connection, pks, few), strict=True))
        self._sparse = dict(zip(sparse, read_sparsely(connection, pks, sparse), strict=True))
        typed = [*dict.fromkeys(keys_of(one) for one in columns if not isinstance(one, tuple))]
        self._typed = dict(zip(typed, read_exactly(connection, pks, typed), strict=True))

    def segment(self, key: ColumnKey, rows: Ints, its: Bools | None = None) -> AnySegment:
        """The segment of a column. its: which of the points have these rows, by default all."""
        if key in self._sparse:
            places, found = self._sparse[key]
            if its is not None:
                kept = its[places]
                places, found = (np.cumsum(its) - 1)[places[kept]], [*compress(found, kept)]
            return build_segment(rows, found, rows[places])
        values = self._plain[key] if isinstance(key, tuple) else self._typed[keys_of(key)]
        there = self._there(key, values)
        if its is not None:
            values, there = [*compress(values, its)], None if there is None else there[its]
        if isinstance(key, tuple):
            return build_segment(rows, values)
        return build_typed(key, rows, values, there)

    def _there(self, key: ColumnKey, values: Sequence[Any]) -> Bools | None:
        """Where there is something, for who tells null from nothing."""
        if not isinstance(key, SizesAt) or key.path.beyond or None not in values:
            return None
        return has_anything(self._connection, self._pks, key.path.keys)


def _either(rows: Ints, others: Ints) -> Ints:
    """The rows of both. Mostly they are the same, and to sort as many as there are takes longer
    than to see that."""
    if not len(rows) or np.array_equal(rows, others):
        return others
    return united(rows, others)


def _saved(view: FilterView, path: ColumnKey) -> Column | None:
    found = saved(view, path) if isinstance(path, tuple) else None
    if found is None:
        return None
    return Layers((build_segment(found.rows, found.values),), found.stale)


def note_use(view: FilterView, path: PayloadPath) -> None:
    """Note that a column was of use, and the second time that it may be worth a file."""
    uses = view.kept.uses
    if len(uses) > KEYS_NOTED:
        uses.clear()
    uses[path] = times = uses.get(path, 0) + 1
    if times == USES_WORTH and view.state.count >= COLUMNS_WORTH:
        view.kept.unsaved.add(path)


def columns_of_few(view: FilterView, rows: Ints, paths: Sequence[ColumnKey]) -> Columns:
    """Columns of these rows alone, which count from 0 there; nobody keeps them."""
    read, places = _Read(view.connection, view.state.pks[rows], paths), np.arange(len(rows))
    return {path: Layers((read.segment(path, places),), NOTHING_STALE) for path in paths}


def column_mask(column: Column, leaf: ValueLeaf | TypedLeaf, rows: int) -> Bools | None:
    """(rows,) True where the leaf holds; right for rows that aren't stale. None for a leaf that
    can't be looked up."""
    height = max([rows, *(int(s.rows[-1]) + 1 for s in column.segments if len(s.rows))])
    mask = np.zeros(height, np.bool_)
    for i, segment in enumerate(column.segments):
        found: Found | None = leaf.found_in(cast(Any, segment))
        if found is None:
            return None
        if i:
            mask[_together(segment.rows)] = False
        found.mark(mask)
    return mask[:rows]


def _together(rows: Ints) -> slice | Ints:
    """The rows as one piece where they are."""
    if len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def build_segment(rows: Ints, values: Sequence[Any], owners: Ints | None = None) -> Segment:
    """The values of some rows, one for each; or of the `owners` among them alone."""
    owners = rows if owners is None else owners
    if not values:
        return Segment(rows, _NOBODY, NO_POSTINGS, NO_POSTINGS, NO_POSTINGS)
    kinds = set(map(type, values))
    lists = [(i, v) for i, v in enumerate(values) if type(v) is list] if list in kinds else []
    places = np.array([i for i, _ in lists], np.int64)
    lengths = np.array([len(value) for _, value in lists], np.int64)
    items = [item for _, value in lists for item in value]
    there = owners
    if not kinds.isdisjoint(_PERHAPS_NOTHING):
        present = np.fromiter((v is not None and v != [] for v in values), np.bool_, len(values))
        there = owners[present]
    present_rows = Chosen(grouped(there, np.zeros(len(there), np.int64), 1), [(0, 1)])
    elements = build(owners[np.repeat(places, lengths)], items) if items else NO_POSTINGS
    of_lists = build(owners[places], lengths.tolist()) if lists else NO_POSTINGS
    return Segment(rows, present_rows, build(owners, values), elements, of_lists)


MANY_KEYS = 16  # from where on payloads are parsed, instead of being searched for each key
_NOBODY = Chosen(NO_POSTINGS.groups, [])
_PERHAPS_NOTHING = {type(None), list}
