"""Columns: for one payload path, which points have which value.

A *row* is a point's place in the in-memory state. A `Column` is a stack of `Segment`s, each built
from one read of some rows' payloads; of a row that stands in several, the uppermost counts. Rows
whose payload may be another by now are *stale*: they are read again as a new segment when the
column is used, and small segments are merged into it, so that keeping up with writes costs O(log n)
reads of a row.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.arrays import Bools, Ints
from retrieval_store.engine.postings import Postings, build
from retrieval_store.filters.expression import ListHas, OneOf, PayloadPath, Range
from retrieval_store.json_values import Payload

Lookup: TypeAlias = OneOf | ListHas | Range
CHANGES_KEPT = 1024  # steps, and rows in them, that a column may be behind
NOTED_KEPT = 1_000_000
COLUMNS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Segment:
    """The values of some rows: those that are scalars, and the scalars in those that are lists.

    rows: ascending, (n,).
    """

    rows: Ints
    scalars: Postings
    elements: Postings

    def find(self, lookup: Lookup) -> list[Ints]:
        """The segment's rows that match, in several arrays."""
        match lookup:
            case OneOf(_, values):
                return self.scalars.equal(values)
            case ListHas(_, values):
                return self.elements.equal(values)
            case Range():
                return [part.between(lookup) for part in self.scalars.numbers]


@dataclass(frozen=True, slots=True)
class Column:
    """The values at one path of all rows but the stale ones; segments from the bottom up."""

    segments: tuple[Segment, ...]
    stale: Ints

    def mask(self, lookup: Lookup, rows: int) -> Bools:
        """(rows,) True where the lookup matches; right for rows that aren't stale."""
        height = max([rows, *(int(s.rows[-1]) + 1 for s in self.segments if len(s.rows))])
        mask = np.zeros(height, np.bool_)
        for i, segment in enumerate(self.segments):
            if i:
                mask[segment.rows] = False
            for found in segment.find(lookup):
                mask[found] = True
        return mask[:rows]


def plan_refresh(column: Column, height: int) -> tuple[int, Ints]:
    """How many segments, from the bottom, stay as they are, and the rows that a new one above them
    must cover: the stale ones and those of segments not more than twice as large. height: how many
    rows the reader has; a segment may have more, when it was built for a later state."""
    kept, rows = len(column.segments), column.stale
    while kept and len(column.segments[kept - 1].rows) <= 2 * len(rows):
        kept -= 1
        rows = np.union1d(rows, column.segments[kept].rows)
    return kept, rows[rows < height]


def refreshed(column: Column, kept: int, rows: Ints, values: Sequence[Any]) -> Column:
    """The column as planned, given the values of `rows`."""
    return Column((*column.segments[:kept], _segment(rows, values)), np.empty(0, np.int64))


def value_at(payload: Payload | None, path: PayloadPath) -> Any:
    """What the payload has at the path; None when there is nothing."""
    value: Any = payload
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _segment(rows: Ints, values: Sequence[Any]) -> Segment:
    lists = [(i, value) for i, value in enumerate(values) if type(value) is list]
    places = np.array([i for i, _ in lists], np.int64)
    lengths = np.array([len(value) for _, value in lists], np.int64)
    items = [item for _, value in lists for item in value]
    return Segment(rows, build(rows, values), build(rows[np.repeat(places, lengths)], items))


class ColumnCache:
    """The newest column of each path, for all states that number their rows alike.

    A reader may be behind or ahead of a column that another thread has built. Either way the two
    differ only in rows that writes between them changed, and those are what `at` calls stale.
    """

    def __init__(self, seq: int) -> None:
        self.refreshing = threading.Lock()
        self._lock = threading.Lock()
        self._columns: dict[PayloadPath, tuple[int, Column]] = {}  # the last used last
        self._changes: list[tuple[int, Ints]] = []
        self._noted = 0
        self._floor = seq

    def note(self, seq: int, rows: Ints) -> None:
        """The step to the state at `seq` added or changed these rows."""
        with self._lock:
            self._changes.append((seq, rows))
            self._noted += len(rows)
            if not self._columns:
                self._forget(len(self._changes))
            elif len(self._changes) > CHANGES_KEPT or self._noted > NOTED_KEPT:
                self._forget(len(self._changes) // 2)

    def _forget(self, oldest: int) -> None:
        if oldest:
            self._floor = self._changes[oldest - 1][0]
            self._noted -= sum(len(rows) for _, rows in self._changes[:oldest])
            del self._changes[:oldest]

    def at(self, path: PayloadPath, seq: int, height: int) -> Column:
        """The column for a state with so many rows at `seq`, with what is stale in it."""
        with self._lock:
            built, column = self._columns.get(path, (-1, None))
            first, last = min(built, seq), max(built, seq)
            if column is None or first < self._floor:
                return Column((), np.arange(height))
            self._columns[path] = self._columns.pop(path)
            changed = [rows for s, rows in self._changes if first < s <= last]
        stale = np.unique(np.concatenate(changed)) if changed else np.empty(0, np.int64)
        return Column(column.segments, stale[stale < height])

    def keep(self, path: PayloadPath, seq: int, column: Column) -> None:
        """Offer a column without stale rows, built at `seq`."""
        with self._lock:
            if seq >= self._columns.get(path, (-1, None))[0]:
                self._columns.pop(path, None)
                self._columns[path] = (seq, column)
            if len(self._columns) > COLUMNS_KEPT:
                del self._columns[next(iter(self._columns))]
