"""Caches of derived data: how they are updated after writes, and how much memory they use.

`Layers` contain data derived from the rows of a state (a *row* is a point's position in the state).
Like a log-structured merge tree, they are a stack of immutable segments, each built by reading some
rows. If several segments contain a row, the uppermost segment is valid for it. Rows that may have
changed since they were read are *stale*. When the layers are used next, these rows are read into a
new segment, and small segments below are merged into it. So updates after writes cost O(log n)
reads of a row.

One `MemoryBudget` limits the memory of all stores of a process. All data that is kept between calls
is in a `Cache`, which knows its size. When a call ends and all caches together exceed the limit,
the least recently used entries are evicted. The state of the collection that was just used is never
evicted: the limit applies to all other data.

The budget has no lock, and no thread waits for it. With a lock, garbage that is collected inside it
could close a store, which waits for other threads. Instead, each step is one atomic operation of a
dict or a deque.
"""

import mmap
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from retrieval_store.base import budget, system
from retrieval_store.base.arrays import Bools, Ints, distinct, is_whole, union
from retrieval_store.base.locks import Lock

# The limit is this many bytes, or the machine's memory divided by SHARE if that is less.
USUAL, SHARE = 256_000_000, 8
KEPT = 0.9  # the share of the limit that is left after an eviction, so that not every call evicts
COUNTED_EVERY = 1_024  # calls after which the size of all caches is counted again
K = TypeVar("K")
V = TypeVar("V")
Evict = Callable[[], object]


class MemoryBudget:
    """Limits the total size of all caches to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now, self._settled = count().__next__, 0
        # Bytes that were added and removed; their sum is in use.
        self.ledger: deque[int] = deque([0])
        self.caches: dict[int, weakref.ref[Cache[Any, Any]]] = {}

    @property
    def cached_bytes(self) -> int:
        """The total size of all caches in bytes."""
        return sum(cache.nbytes for cache in self._living_caches())

    def has_room(self, nbytes: int, parts: int) -> bool:
        """Whether a single object is allowed to have this size: at most the limit divided by
        `parts`."""
        return nbytes * parts <= self.limit

    @property
    def usage(self) -> dict[str, int]:
        """The limit and the present size of all caches in bytes, as shown to users."""
        return {"limit": self.limit, "held": self.cached_bytes}

    def settle(self, in_use: "Cache[Any, Any]") -> None:
        """Evict the least recently used entries if all caches except the one in use exceed the
        limit. The caller must not hold any lock."""
        self._settled += 1
        if self._settled % COUNTED_EVERY == 0:  # an interrupt may have come during an addition
            self.ledger = deque([self.cached_bytes])
        total = self._sum_ledger()
        if total > self.limit and total - in_use.nbytes > self.limit:
            for evict in self._evictions(in_use):
                evict()

    def _sum_ledger(self) -> int:
        """The size of all caches: the sum of `ledger`, a list of added and removed bytes. The
        entries of `ledger` are replaced by their sum."""
        ledger = self.ledger
        try:
            total = ledger.popleft()
        except IndexError:  # another thread is adding up the ledger
            total = 0
        try:
            while ledger:
                total += ledger.popleft()
        except IndexError:
            pass
        finally:
            ledger.append(total)
        return total

    def _living_caches(self) -> "list[Cache[Any, Any]]":
        caches = [reference() for reference in self.caches.copy().values()]
        return [cache for cache in caches if cache is not None]

    def _evictions(self, in_use: "Cache[Any, Any]") -> list[Evict]:
        """Drop entries until there is enough room. Returns the callbacks that must be called for
        them."""
        other_caches = [cache for cache in self._living_caches() if cache is not in_use]
        all_uses = [(used, cache, key) for cache in other_caches for key, used in cache.uses()]
        excess, calls = self.cached_bytes - in_use.nbytes - KEPT * self.limit, []
        for _, cache, key in sorted(all_uses, key=itemgetter(0)):
            if excess <= 0:
                break
            excess -= cache.drop(key)
            if cache.evict is not None:
                calls.append(cache.evict)
        return calls


def usual_limit() -> int:
    """The default limit in bytes. It is small, because each of several processes may use this
    amount."""
    return min(USUAL, system.memory_bytes(otherwise=USUAL * SHARE) // SHARE)


CACHE_BUDGET = MemoryBudget(usual_limit())


class _CacheEntry(Generic[V]):
    """A value, its size in bytes, and when it was last used. When the entry is deleted, its size is
    subtracted from the budget."""

    __slots__ = ("_budget", "nbytes", "used", "value")

    def __init__(self, value: V, nbytes: int, budget: MemoryBudget) -> None:
        self.value, self.nbytes, self.used = value, nbytes, budget.now()
        self._budget = budget  # from now on, the entry's size is counted
        budget.ledger.append(nbytes)

    def __del__(self) -> None:
        budget: MemoryBudget | None = getattr(
            self, "_budget", None
        )  # None after an early interrupt
        if budget is not None:
            budget.ledger.append(-self.nbytes)


class Cache(Generic[K, V]):
    """Values by key, which can be evicted at the end of any call. evict: called after a value was
    evicted."""

    def __init__(self, evict: Evict | None = None, budget: MemoryBudget = CACHE_BUDGET) -> None:
        self.evict, self._budget = evict, budget
        self._entries: dict[K, _CacheEntry[V]] = {}
        budget.caches[id(self)] = weakref.ref(self)

    def __del__(self) -> None:
        self._budget.caches.pop(id(self), None)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """The value of a key, None if the key has no value. This counts as a use."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used = self._budget.now()
        return entry.value

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Store a value of this size."""
        self._entries[key] = _CacheEntry(value, nbytes, self._budget)

    def drop(self, key: K) -> int:
        """Remove the value of a key, if there is one; returns its size in bytes."""
        entry = self._entries.pop(key, None)
        return 0 if entry is None else entry.nbytes

    def keys(self) -> list[K]:
        """The keys, in the order of their last use."""
        return [key for key, _ in sorted(self.uses(), key=itemgetter(1))]

    def items(self) -> list[tuple[K, V]]:
        """All keys and values. This doesn't count as a use."""
        return [(key, entry.value) for key, entry in self._entries.copy().items()]

    def uses(self) -> list[tuple[K, int]]:
        """All keys, each with the number of its last use; later uses have greater numbers."""
        return [(key, entry.used) for key, entry in self._entries.copy().items()]

    @property
    def nbytes(self) -> int:
        """The total size of all entries in bytes."""
        return sum(entry.nbytes for entry in self._entries.copy().values())


CHANGES_KEPT = 1024  # steps in the log before they are merged into one
NOTED_KEPT = 1_000_000  # rows in the log before its steps are merged
NAMES_KEPT = 64  # kinds of changes that are still distinguished when steps are merged
NOTHING_STALE = np.empty(0, np.int64)
WANTED_AFTER = 30  # layers are built once this many calls would have used them
OBJECTS = 800  # bytes of the objects of one entry, including its key
# Limits on entries that contain no row: their number and their bytes. The last EMPTY_FEW entries
# stay, whatever their size.
EMPTY_KEPT, EMPTY_BYTES, EMPTY_FEW = 256, 16 << 20, 8
SEEN_KEYS = 1_024  # positions in the table of recently seen keys
KEYS_NOTED = 10_000  # keys for which a cost is recorded


class Segment(Protocol):
    """Data built by reading some rows once. rows: the rows, ascending; is_empty: whether none of
    these rows has data."""

    @property
    def rows(self) -> Ints: ...
    @property
    def is_empty(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...


S = TypeVar("S", bound=Segment)


@dataclass(frozen=True, slots=True)
class Layers(Generic[S]):
    """Segments from the lowest to the uppermost, valid for all rows except stale rows. memory: if
    the arrays of the lowest segment are in a file, the map of this file."""

    segments: tuple[S, ...]
    stale: Ints
    memory: mmap.mmap | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no row has any data."""
        return all(segment.is_empty for segment in self.segments)

    @property
    def is_whole(self) -> bool:
        """Whether the arrays of the layers can still be read."""
        return self.memory is None or is_whole(self.memory)

    def above(self) -> list[Ints | None]:
        """For each segment, the rows that segments above it contain, ascending. None if no segment
        is above it."""
        rows_above: list[Ints | None] = [None] * len(self.segments)
        for i in range(len(self.segments) - 1, 0, -1):
            rows_over, rows = rows_above[i], self.segments[i].rows
            rows_above[i - 1] = rows if rows_over is None else union(rows_over, rows)
        return rows_above


_EVERY = weakref.WeakValueDictionary[int, Ints]()


def every_row(height: int) -> Ints:
    """The numbers of all rows: (height,). Callers at the same time share the array."""
    rows = _EVERY.get(height)
    if rows is None:
        rows = np.arange(height)
        rows.flags.writeable = False
        _EVERY[height] = rows
    return rows


def outside(rows: npt.NDArray[np.integer[Any]], others: Ints) -> Bools:
    """Which of the rows aren't among `others`: (n,) bool. Both arrays must ascend and have no
    repetitions."""
    good = np.ones(len(rows), np.bool_)
    if not len(rows) or not len(others):
        return good
    if len(others) < len(rows):  # the smaller array is looked up in the larger one
        near = np.minimum(np.searchsorted(rows, others), len(rows) - 1)
        good[near[rows[near] == others]] = False
    else:
        near = np.minimum(np.searchsorted(others, rows), len(others) - 1)
        good[others[near] == rows] = False
    return good


def plan_refresh(layers: Layers[S], height: int) -> tuple[int, Ints]:
    """How many of the lowest segments are kept, and the rows that the new segment above them must
    cover. These rows are the stale rows and the rows of the segments that are merged into it. A
    segment is merged if it has at most twice as many rows as the new segment so far. height: how
    many rows the reader has; a segment built for a later state may have more."""
    lowest, rows = len(layers.segments), layers.stale
    while lowest and len(layers.segments[lowest - 1].rows) <= 2 * len(rows):
        lowest -= 1
        rows = union(rows, layers.segments[lowest].rows)
    return lowest, rows[rows < height]


def refresh_layers(layers: Layers[S], lowest: int, segment: S) -> Layers[S]:
    """Layers that consist of the lowest `lowest` segments and a new segment above them, without
    stale rows."""
    memory = layers.memory if lowest else None
    return Layers((*layers.segments[:lowest], segment), np.empty(0, np.int64), memory)


Names: TypeAlias = frozenset[Any] | None
"""What a change has changed, or a layer is made of; None for anything."""


def _meet(names: Names, others: Names) -> bool:
    return names is None or others is None or not names.isdisjoint(others)


class ChangeLog:
    """For each step from one state to the next, the changed rows, by the names of the changed
    parts. The log reaches back to the state at `floor`. Not thread-safe: its owner must hold a
    lock."""

    def __init__(self, seq: int) -> None:
        self.floor = seq
        self._steps: list[tuple[int, Mapping[Names, Ints]]] = []  # (seq after the step, rows)
        self._noted = 0  # the number of rows in all steps
        self._most_noted = NOTED_KEPT

    def note(self, seq: int, changed: Mapping[Names, Ints]) -> None:
        """Record that the step to the state at `seq` added or changed these rows."""
        self._steps.append((seq, changed))
        self._noted += sum(map(len, changed.values()))
        if len(self._steps) > CHANGES_KEPT or self._noted > self._most_noted:
            self._merge()

    def _merge(self) -> None:
        """Merge all steps into one. For a reader whose state is between these steps, some rows are
        then unnecessarily stale, and are read again."""
        lists: dict[Names, list[Ints]] = {}
        for _, changed in self._steps:
            for names, rows in changed.items():
                lists.setdefault(names, []).append(rows)
        if len(lists) > NAMES_KEPT:
            lists = {None: [*chain.from_iterable(lists.values())]}
        merged = {names: distinct(np.concatenate(row_lists)) for names, row_lists in lists.items()}
        self._steps, self._noted = [(self._steps[-1][0], merged)], sum(map(len, merged.values()))
        self._most_noted = max(NOTED_KEPT, 2 * self._noted)

    def forget(self, seq: int) -> None:
        """Drop all steps, and begin with the state at `seq`."""
        self._steps, self._noted, self.floor = [], 0, seq

    def between(self, first: int, last: int, names: Names) -> Ints:
        """The rows that differ between the states at `first` and `last` in any of the parts with
        these names. `first` must not be before the floor."""
        changed, before = [NOTHING_STALE], self.floor
        for seq, by_names in self._steps:  # rows changed after `before`, up to `seq`
            if before < last and first < seq:
                changed += [
                    rows for changed_names, rows in by_names.items() if _meet(changed_names, names)
                ]
            before = seq
        return distinct(np.concatenate(changed))


class Payback(dict[Hashable, float]):
    """For each key, the total cost so far because its data isn't built, for example how often calls
    needed the data. The data is built once the total equals the cost of building it. Not
    synchronized: if several threads add a cost at the same moment, one may be lost."""

    def spend(self, key: Hashable, cost: float = 1) -> float:
        """Record a cost; returns the total cost of this key."""
        if len(self) > KEYS_NOTED:
            self.clear()
        self[key] = total = self.get(key, 0) + cost
        return total

    def wanted_keys(self) -> list[Hashable]:
        """The keys of layers that queries have wanted at least WANTED_AFTER times while the layers
        weren't cached."""
        return [key for key, times in [*self.items()] if times >= WANTED_AFTER] if self else []


class SeenLately:
    """Records which keys were seen recently, in a table of fixed size. A key replaces another key
    with the same position, so that many different keys need no more memory."""

    def __init__(self) -> None:
        self._places = array("q", bytes(8 * SEEN_KEYS))

    def was_seen(self, key: Hashable) -> bool:
        """Whether the key was seen recently. The key is recorded as seen."""
        key_hash = hash(key)
        last_hash = self._places[key_hash % SEEN_KEYS]
        self._places[key_hash % SEEN_KEYS] = key_hash
        return last_hash == key_hash


class LayerCache:
    """The newest layers of each key, for all states with the same row numbers. refreshing: a lock
    for callers that build layers of several keys together. demand: the cost of missing layers so
    far. ahead: keys of layers that were built in advance, and that no call has used yet. made_of:
    returns the parts of points from which a key's layers are built.

    Layers may have been built by another thread for a state before or after a reader's state. In
    both cases they differ from the reader's state only in rows that were changed by writes between
    the two states. The change log lists these rows, and `at` returns them as stale.

    A caller can request any key, even a key without data in any row. Of layers without data, only
    the most recently used few are kept, so that many different keys take no memory.
    """

    def __init__(self, seq: int, made_of: Callable[[Any], Names] = lambda key: None) -> None:
        self.refreshing = Lock()
        self._made_of = made_of
        self.demand = Payback()
        self.ahead: set[Hashable] = set()
        self._lock = Lock()  # protects all following attributes
        self._locks = weakref.WeakValueDictionary[Hashable, Lock]()
        self._layers: Cache[Hashable, tuple[int, Layers[Any]]] = Cache()
        self._empty: Cache[Hashable, tuple[int, Layers[Any]]] = Cache()
        self._log = ChangeLog(seq)
        self._is_awaited = False

    def await_layers(self) -> None:
        """Record changes from now on, even if there are no layers yet. This is for layers that are
        built in several steps from successive states."""
        self._is_awaited = True

    def changed_rows(self, key: Hashable, first: int, last: int) -> Ints | None:
        """The rows that differ between two states in the parts from which a key's layers are built.
        None if the change log no longer reaches back to the first state."""
        with self._lock:
            is_known = first >= self._log.floor
            return self._log.between(first, last, self._made_of(key)) if is_known else None

    def note(self, seq: int, changed: Mapping[Names, Ints]) -> None:
        """Record that the step to the state at `seq` added or changed these rows, by the changed
        parts."""
        with self._lock:
            if len(self._layers) or len(self._empty) or self._is_awaited:
                self._log.note(seq, changed)
            else:
                self._log.forget(seq)

    def at(self, key: Hashable, seq: int, height: int) -> Layers[Any]:
        """The layers for a state at `seq` with `height` rows, including their stale rows. If there
        are no layers, all rows are stale."""
        return self.find(key, seq, height) or Layers((), every_row(height))

    def find(self, key: Hashable, seq: int, height: int) -> Layers[Any] | None:
        """Like `at`, but None if there are no layers."""
        with self._lock:
            entry = self._layers.get(key) or self._empty.get(key)
            if entry is None:
                return None
            built, layers = entry
            if layers.memory is not None and not layers.is_whole:  # its file was truncated
                self._layers.drop(key)
                return None
            if built == seq:
                return layers
            first, last = min(built, seq), max(built, seq)
            if first < self._log.floor:
                return None
            stale = self._log.between(first, last, self._made_of(key))
            stale = union(stale, layers.stale) if len(layers.stale) else stale
            if not len(stale) and seq > built:  # so that the next lookup has fewer steps to read
                self._put(key, seq, layers)
        return Layers(layers.segments, stale[stale < height], layers.memory)

    def has(self, key: Hashable, seq: int, height: int) -> bool:
        """Whether there are layers of this key with few stale rows: at most one in eight."""
        return len(self.at(key, seq, height).stale) * 8 <= height

    def keep(self, key: Hashable, seq: int, layers: Layers[Any]) -> None:
        """Store layers built for the state at `seq`, unless the cache already has newer layers.
        Stale rows of the layers stay stale."""
        with self._lock:
            before = self._layers.get(key) or self._empty.get(key)
            if before is not None and seq < before[0]:
                return
            self._put(key, seq, layers)
        self.demand.pop(key, None)

    def _put(self, key: Hashable, seq: int, layers: Layers[Any]) -> None:
        nbytes = OBJECTS + sum(part.nbytes for part in layers.segments)
        if layers.is_empty:
            self._layers.drop(key)
            self._empty.put(key, (seq, layers), nbytes)
            if len(self._empty) > EMPTY_KEPT or self._empty.nbytes > EMPTY_BYTES:
                few = max(EMPTY_FEW, len(self._empty) * 3 // 4)
                self.forget(self._empty.keys()[:-few])
        else:
            self._layers.put(key, (seq, layers), nbytes)
            self._empty.drop(key)

    def refreshing_of(self, key: Hashable) -> Lock:
        """A lock for one key, so that building the layers of one key doesn't block other keys. The
        lock exists while a caller holds a reference to it."""
        with self._lock:
            return self._locks.setdefault(key, Lock())

    def __contains__(self, key: Hashable) -> bool:
        return key in self._layers or key in self._empty

    def nonempty_keys(self) -> list[Any]:
        """The keys of all layers that aren't empty, in the order of their last use."""
        return self._layers.keys()

    def used_keys(self) -> list[Any]:
        """The keys of layers that calls have used."""
        return [key for key in self.nonempty_keys() if key not in self.ahead]

    @property
    def files(self) -> int:
        """How many mapped files the layers use."""
        # Most collections have none, and all are asked for this number together.
        if not len(self._layers):
            return 0
        maps = (layers.memory for _, (_, layers) in self._layers.items())
        return len({id(memory) for memory in maps if memory is not None})

    def unmap(self, keys: Collection[Hashable] | None = None) -> None:
        """Release layers that are mapped from files. keys: the keys of the layers to release, None
        for all layers. They are loaded again when needed."""
        for key, (_, layers) in self._layers.items():
            if layers.memory is not None and (keys is None or key in keys):
                self._layers.drop(key)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Release the layers of these keys, if there are any."""
        for key in keys:
            self._layers.drop(key)
            self._empty.drop(key)

    @property
    def nbytes(self) -> int:
        """The total size of all layers in bytes."""
        return self._layers.nbytes + self._empty.nbytes


def current(
    cache: LayerCache,
    key: Hashable,
    seq: int,
    alive: Bools,
    build: Callable[[Ints], S],
    begin: Callable[[], Layers[S] | None],
    merge: Callable[[Sequence[S], Bools], S] | None = None,
) -> Layers[S]:
    """The layers of a key without stale rows, for a reader at `seq`. alive: (rows,) bool, the rows
    that have an existing point. build: builds a segment by reading some of these rows. begin:
    called if there are no layers yet; returns saved layers, with their stale rows, or None. merge:
    merges several segments (from the lowest to the uppermost) into one segment with only the rows
    of existing points; if None, the rows of these segments are read again."""
    height = len(alive)
    layers: Layers[S] = cache.at(key, seq, height)
    if len(layers.stale):
        budget.may_block()
        # Assigned to a name, because the lock exists only while it is referenced.
        refreshing = cache.refreshing_of(key)
        with refreshing:  # threads that wait for this lock find the layers built
            layers = cache.at(key, seq, height)
            if not layers.segments:
                layers = begin() or layers
            layers = refresh(layers, alive, build, merge)
            cache.keep(key, seq, layers)
    return layers


def refresh(
    layers: Layers[S],
    alive: Bools,
    build: Callable[[Ints], S],
    merge: Callable[[Sequence[S], Bools], S] | None = None,
) -> Layers[S]:
    """The layers, updated so that they have no stale rows. The arguments are the same as those of
    `current`."""
    if not len(layers.stale):
        return layers
    lowest, rows = plan_refresh(layers, len(alive))
    merged, stale = layers.segments[lowest:], layers.stale
    if merge is None or not merged:
        segment = build(rows[alive[rows]])
    else:
        segment = merge([*merged, build(stale[alive[stale]])], alive)
    return refresh_layers(layers, lowest, segment)
