"""Labels: which groups points are in by what their payloads have at a path, kept as layers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from retrieval_store.answering.leaves import Label
from retrieval_store.base.arrays import Ints
from retrieval_store.base.json_values import kind_of
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.state.layers import current
from retrieval_store.engine.storage.records import read_exactly, read_values
from retrieval_store.filters.paths import PayloadPath, Steps, found_in, items_of

LOOKED_AT = 8  # payloads are read instead while they are fewer than one in so many, taken together
DISTINCT_BYTES = 128  # that a tuple takes with what is in it, about


@dataclass(frozen=True, slots=True)
class LabelsAt:
    """The strings and integers at a path, elements of lists one by one. A point with any other
    value there has no label."""

    path: Steps

    def read(self, view: SearchView, rows: Ints) -> list[Label]:
        """The labels of some rows."""
        (values,) = read_exactly(view.connection, view.state.pks[rows], [self.path.keys])
        beyond = self.path.beyond
        return [_label(items_of(found_in(value, beyond))) for value in values]


@dataclass(frozen=True, slots=True)
class Kinds:
    """What `value_at` finds at a path, as a whole: see `kind_of`."""

    path: PayloadPath

    def read(self, view: SearchView, rows: Ints) -> list[Label]:
        """The labels of some rows."""
        (values,) = read_values(view.connection, view.state.pks[rows], [self.path])
        return [() if kind is None else (kind,) for kind in map(kind_of, values)]


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of some rows, ascending: (n,) tuples, of which equal ones are one. counts: how
    many rows have each value."""

    rows: Ints
    labels: npt.NDArray[np.object_]
    counts: dict[str | int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays, and about those of what is in them."""
        return self.rows.nbytes + self.labels.nbytes + len(self.counts) * DISTINCT_BYTES


class RowLabels:
    """The labels of points, for a call that wants those of about so many; see
    `answering.leaves.Labelling`."""

    def __init__(self, view: SearchView, key: LabelsAt | Kinds, asked: int) -> None:
        self._view, self._key = view, key
        self._layers: tuple[Labels, ...] | None = None
        cache = view.kept.columns
        if key in cache.held() or self._is_much(cache.demand.ask(key) * asked):
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
        if self._layers is None and self._is_much(len(rows)):  # as much work as all of them
            self._layers = self._current()
        if self._layers is None:
            return self._key.read(self._view, rows)
        found = np.empty(len(rows), np.object_)
        for one in self._layers:
            places = np.minimum(np.searchsorted(one.rows, rows), max(0, len(one.rows) - 1))
            its = np.flatnonzero(one.rows[places] == rows) if len(one.rows) else places[:0]
            found[its] = one.labels[places[its]]  # of layers above in place of those below
        labels: list[Label] = found.tolist()
        return labels

    @property
    def kinds(self) -> int | None:
        """How many different values there may be: no more are there; None where that isn't
        known."""
        if self._layers is None:
            return None
        return len(set().union(*(one.counts for one in self._layers)))

    def most(self, value: str | int) -> int:
        """How many points may have a value: no fewer do."""
        if self._layers is None:
            return self._view.state.count
        return sum(one.counts.get(value, 0) for one in self._layers)

    @property
    def apart(self) -> int:
        """Among how many points each value comes once, on average; 0 where that isn't known."""
        if not self._layers:
            return 0
        largest = max(self._layers, key=lambda one: len(one.rows))
        total = sum(largest.counts.values())
        return len(largest.rows) * len(largest.counts) // max(1, total)


def _label(items: list[Any]) -> Label:
    if all(type(item) in (str, int) for item in items):
        return tuple(dict.fromkeys(items))
    return ()
