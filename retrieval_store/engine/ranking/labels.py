"""Labels: the groups that points are in, by the values at a path of their payloads, cached as
`state.layers`."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import kind_of
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.state.layers import current
from retrieval_store.engine.storage.records import read_exactly, read_values
from retrieval_store.filters.paths import PayloadPath, Steps, found_in, items_of
from retrieval_store.query.executor import Label

LOOKED_AT = 8  # labels are cached once calls have read one payload in so many, taken together
DISTINCT_BYTES = 128  # about the size of a tuple with its values


@dataclass(frozen=True, slots=True)
class LabelsAt:
    """Labels for `Groups`: the strings and integers at a path, the elements of lists one by one. A
    point with any other value there has no label."""

    path: Steps

    def read(self, view: SearchView, rows: Ints) -> list[Label]:
        """The labels of some rows."""
        (values,) = read_exactly(view.connection, view.state.pks[rows], [self.path.keys])
        beyond = self.path.beyond
        return [_label(items_of(found_in(value, beyond))) for value in values]


@dataclass(frozen=True, slots=True)
class Kinds:
    """Labels for `BestOfEach`: the whole value that `value_at` finds at a path, made hashable by
    `kind_of`."""

    path: PayloadPath

    def read(self, view: SearchView, rows: Ints) -> list[Label]:
        """The labels of some rows."""
        (values,) = read_values(view.connection, view.state.pks[rows], [self.path])
        return [() if kind is None else (kind,) for kind in map(kind_of, values)]


@dataclass(frozen=True, slots=True)
class Labels:
    """A segment of cached labels. rows: (n,) ascending; labels: (n,) tuples, equal ones the same
    object; counts: the number of rows with each value."""

    rows: Ints
    labels: npt.NDArray[np.object_]
    counts: dict[str | int, int]

    @property
    def is_empty(self) -> bool:
        """Whether no row has a label."""
        return not self.counts

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays, and about the size of the labels."""
        return self.rows.nbytes + self.labels.nbytes + len(self.counts) * DISTINCT_BYTES


class RowLabels:
    """The labels of points; see `answering.leaves.Labelling`. asked: about how many points the call
    will look at, which decides whether labels of all points are cached."""

    def __init__(self, view: SearchView, key: LabelsAt | Kinds, asked: int) -> None:
        self._view, self._key = view, key
        self._layers: tuple[Labels, ...] | None = None
        cache = view.kept.columns
        if key in cache or self._is_much(cache.demand.ask(key) * asked):
            self._layers = self._current()

    def _is_much(self, rows: int) -> bool:
        return rows * LOOKED_AT >= self._view.state.count

    def _current(self) -> tuple[Labels, ...]:
        def build(rows: Ints) -> Labels:
            known: dict[Label, Label] = {}
            labels = np.empty(len(rows), np.object_)
            found = self._key.read(self._view, rows)
            labels[:] = [known.setdefault(label, label) for label in found]
            return Labels(rows, labels, Counter(chain.from_iterable(found)))

        cache, state = self._view.kept.columns, self._view.state
        return current(cache, self._key, state.head.seq, state.alive, build, lambda: None).segments

    def of(self, rows: Ints) -> Sequence[Label]:
        """The labels of some rows, in any order."""
        if self._layers is None and self._is_much(len(rows)):  # no less work than caching all
            self._layers = self._current()
        if self._layers is None:
            return self._key.read(self._view, rows)
        found = np.empty(len(rows), np.object_)
        for one in self._layers:
            places = np.minimum(np.searchsorted(one.rows, rows), max(0, len(one.rows) - 1))
            its = np.flatnonzero(one.rows[places] == rows) if len(one.rows) else places[:0]
            found[its] = one.labels[places[its]]  # later segments override earlier ones
        labels: list[Label] = found.tolist()
        return labels

    @property
    def kinds(self) -> int | None:
        """An upper bound of the number of different values; None if unknown."""
        if self._layers is None:
            return None
        return len(set().union(*(one.counts for one in self._layers)))

    def most(self, value: str | int) -> int:
        """An upper bound of the number of points with this value."""
        if self._layers is None:
            return self._view.state.count
        return sum(one.counts.get(value, 0) for one in self._layers)

    @property
    def apart(self) -> int:
        """The average number of points per occurrence of one value; 0 if unknown."""
        if not self._layers:
            return 0
        largest = max(self._layers, key=lambda one: len(one.rows))
        total = sum(largest.counts.values())
        return len(largest.rows) * len(largest.counts) // max(1, total)


def _label(items: list[Any]) -> Label:
    if all(type(item) in (str, int) for item in items):
        return tuple(dict.fromkeys(items))
    return ()
