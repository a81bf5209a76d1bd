"""Layers: something built for each row of the state from one read of it, kept current by rereading.

A *row* is a point's place in the in-memory state. `Layers` are a stack of segments, each built from
one read of some rows; of a row that stands in several, the uppermost counts. Rows that may be
another by now are *stale*: they are read again as a new segment when the layers are used, and small
segments are merged into it, so that keeping up with writes costs O(log n) reads of a row.
"""

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools, Ints, distinct
from retrieval_store.engine.state.budget import Cache

CHANGES_KEPT = 1024  # steps, and rows in them, before they are made one
NOTED_KEPT = 1_000_000
NOTHING_STALE = np.empty(0, np.int64)
WANTED_AFTER = 30  # uses that had to do without


class Segment(Protocol):
    """What was built from one read of some rows, ascending."""

    @property
    def rows(self) -> Ints: ...
    @property
    def nbytes(self) -> int: ...


S = TypeVar("S", bound=Segment)


@dataclass(frozen=True, slots=True)
class Layers(Generic[S]):
    """Segments from the bottom up, right for all rows but the stale ones."""

    segments: tuple[S, ...]
    stale: Ints

    def above(self) -> list[Ints | None]:
        """For each segment the rows that those above it decide about, ascending; None for none."""
        found: list[Ints | None] = [None] * len(self.segments)
        for i in range(len(self.segments) - 1, 0, -1):
            over, rows = found[i], self.segments[i].rows
            found[i - 1] = rows if over is None else united(over, rows)
        return found


def united(rows: Ints, others: Ints) -> Ints:
    """Those of both, ascending, each once."""
    return distinct(np.concatenate([rows, others]))


def outside(rows: npt.NDArray[np.integer[Any]], others: Ints) -> Bools:
    """(n,) which of the rows aren't among the others; both ascending, each once."""
    good = np.ones(len(rows), np.bool_)
    if not len(rows) or not len(others):
        return good
    if len(others) < len(rows):  # the fewer are looked up
        near = np.minimum(np.searchsorted(rows, others), len(rows) - 1)
        good[near[rows[near] == others]] = False
    else:
        near = np.minimum(np.searchsorted(others, rows), len(others) - 1)
        good[others[near] == rows] = False
    return good


def plan_refresh(layers: Layers[S], height: int) -> tuple[int, Ints]:
    """How many segments, from the bottom, stay as they are, and the rows that a new one above them
    must cover: the stale ones and those of segments not more than twice as large. height: how many
    rows the reader has; a segment may have more, when it was built for a later state."""
    kept, rows = len(layers.segments), layers.stale
    while kept and len(layers.segments[kept - 1].rows) <= 2 * len(rows):
        kept -= 1
        rows = united(rows, layers.segments[kept].rows)
    return kept, rows[rows < height]


def refreshed(layers: Layers[S], kept: int, segment: S) -> Layers[S]:
    """The layers as planned, given the new segment."""
    return Layers((*layers.segments[:kept], segment), np.empty(0, np.int64))


class ChangeLog:
    """Which rows the steps from state to state have changed, back to the state at `floor`. It isn't
    locked: its owner does that."""

    def __init__(self, seq: int) -> None:
        self.floor = seq
        self._steps: list[tuple[int, Ints]] = []  # (seq after the step, rows)
        self._noted = 0  # rows in all of them
        self._most_noted = NOTED_KEPT

    def note(self, seq: int, rows: Ints) -> None:
        """The step to the state at `seq` added or changed these rows."""
        self._steps.append((seq, rows))
        self._noted += len(rows)
        if len(self._steps) > CHANGES_KEPT or self._noted > self._most_noted:
            self._merge()

    def _merge(self) -> None:
        """Make one step of all. A reader in the middle of it sees rows as stale that aren't for it,
        and rereads a few more than it would have to."""
        merged = distinct(np.concatenate([rows for _, rows in self._steps]))
        self._steps, self._noted = [(self._steps[-1][0], merged)], len(merged)
        self._most_noted = max(NOTED_KEPT, 2 * self._noted)

    def forget(self, seq: int) -> None:
        """Begin anew with the state at `seq`."""
        self._steps, self._noted, self.floor = [], 0, seq

    def between(self, first: int, last: int) -> Ints:
        """The rows that differ between the states at `first`, not before the floor, and `last`."""
        changed, before = [NOTHING_STALE], self.floor
        for seq, rows in self._steps:  # rows changed after `before`, up to `seq`
            if before < last and first < seq:
                changed.append(rows)
            before = seq
        return distinct(np.concatenate(changed))


class Demand:
    """Which layers would be of use that aren't there, and which aren't worth looking for in files.
    rejected: the keys of which what was saved is of no use."""

    def __init__(self) -> None:
        self.rejected: set[Hashable] = set()
        self._asked: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def ask(self, key: Hashable) -> int:
        """Note that layers of this key, which aren't there, would have been of use; how often."""
        with self._lock:
            self._asked[key] = times = self._asked.get(key, 0) + 1
            return times

    def meet(self, key: Hashable) -> None:
        """Note that there are layers of this key now."""
        with self._lock:
            self._asked.pop(key, None)

    def wanted(self) -> list[Hashable]:
        """Keys whose layers would have been of use so often that they should be built."""
        if not self._asked:
            return []
        with self._lock:
            return [key for key, times in self._asked.items() if times >= WANTED_AFTER]

    def reject(self, key: Hashable) -> None:
        """Note that what was saved of this key is of no use."""
        with self._lock:
            self.rejected.add(key)


class LayerCache:
    """The newest layers of each key, for all states that number their rows alike. refreshing: a
    lock for who builds several keys' layers at once; demand: what is wanted of it.

    A reader may be behind or ahead of layers that another thread has built. Either way the two
    differ only in rows that writes between them changed, which the log tells, and those are what
    `at` calls stale.
    """

    def __init__(self, seq: int) -> None:
        self.refreshing = threading.Lock()
        self.demand = Demand()
        self._lock = threading.Lock()  # of all that follows
        self._locks: dict[Hashable, threading.Lock] = {}
        self._layers: Cache[Hashable, tuple[int, Layers[Any]]] = Cache()
        self._log = ChangeLog(seq)

    def note(self, seq: int, rows: Ints) -> None:
        """The step to the state at `seq` added or changed these rows."""
        with self._lock:
            if len(self._layers):
                self._log.note(seq, rows)
            else:
                self._log.forget(seq)

    def at(self, key: Hashable, seq: int, height: int) -> Layers[Any]:
        """The layers for a state with so many rows at `seq`, with what is stale in them."""
        with self._lock:
            built, layers = self._layers.get(key) or (-1, None)
            first, last = min(built, seq), max(built, seq)
            if layers is None or first < self._log.floor:
                return Layers((), np.arange(height))
            if first == last:
                return Layers(layers.segments, NOTHING_STALE)
            stale = self._log.between(first, last)
        return Layers(layers.segments, stale[stale < height])

    def holds(self, key: Hashable) -> bool:
        """Whether there are layers of this key, however old; where there are none, `at` names all
        rows."""
        with self._lock:
            return self._layers.get(key) is not None

    def has(self, key: Hashable, seq: int, height: int) -> bool:
        """Whether there are layers of this key that need little to be current."""
        return len(self.at(key, seq, height).stale) * 8 <= height

    def keep(self, key: Hashable, seq: int, layers: Layers[Any]) -> None:
        """Offer layers without stale rows, built at `seq`."""
        with self._lock:
            before = self._layers.get(key)
            if before is not None and seq < before[0]:
                return
            self._layers.put(key, (seq, layers), sum(part.nbytes for part in layers.segments))
        self.demand.meet(key)

    def refreshing_of(self, key: Hashable) -> threading.Lock:
        """A lock for one key, where building the layers of one should not hold up others."""
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

    def held(self) -> list[Any]:
        """Of what there are layers, the last used last."""
        return self._layers.keys()

    @property
    def nbytes(self) -> int:
        """Bytes of memory in the arrays of all of them."""
        return self._layers.nbytes


def current(
    cache: LayerCache,
    key: Hashable,
    seq: int,
    alive: Bools,
    build: Callable[[Ints], S],
    begin: Callable[[], Layers[S] | None],
) -> Layers[S]:
    """The layers of a key with nothing stale, for a reader at `seq` whose living rows are `alive`.
    `build` makes a segment of some living rows; `begin` gives what there may be to begin with,
    stale rows and all, when there are no layers yet."""
    height = len(alive)
    layers: Layers[S] = cache.at(key, seq, height)
    if len(layers.stale):
        with cache.refreshing_of(key):  # the threads that wait for it find the layers made
            layers = cache.at(key, seq, height)
            if not layers.segments:
                layers = begin() or layers
            if len(layers.stale):
                kept, wanted = plan_refresh(layers, height)
                layers = refreshed(layers, kept, build(wanted[alive[wanted]]))
            cache.keep(key, seq, layers)
    return layers
