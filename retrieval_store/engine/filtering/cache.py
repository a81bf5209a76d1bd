"""The caches for filtering. The main one holds the results of filters, for queries that repeat a
filter.

A result is stored as bits, one for each row. To update a result, the filter is evaluated only for
points that have changed since. Searches store derived data with a result: a bit for each slot, a
list of slots if few points match, and a copy of the codes of these points once that saves time.
"""

import math
import weakref
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import orjson

from retrieval_store.base.arrays import Bools, Bytes, Ints, bits_at, bits_of, words_of
from retrieval_store.base.locks import Lock
from retrieval_store.engine.state.caches import (
    NOTHING_STALE,
    LayerCache,
    Layers,
    Payback,
    SeenLately,
    outside,
)
from retrieval_store.engine.state.state import SpaceState, State, View
from retrieval_store.engine.text.inverted import KeptLists
from retrieval_store.filters.nodes import NODES, Expression, HasId, walk
from retrieval_store.filters.paths import JsonPath
from retrieval_store.indexes.native import BLOCK, RowFilter, RowTest

if TYPE_CHECKING:
    from retrieval_store.indexes.quantized import Bits

FEW = 16  # if at most this many rows have changed, copies of codes are checked for reuse
FOLLOWED = 1_024  # a cached result is updated while at most this many rows have changed since
# This many searches of one state by rows lose as much time as building the bits of slots takes.
SLOT_BITS_AFTER = 50
FEW_SLOTS = 200_000  # bits for this many slots are built in half a millisecond
# A filter is broad if one row in this many fulfils it: then few blocks of codes have no match.
BROAD = 25
# A filter of at most this many bytes is its own key; the key of a longer filter is a digest.
SHORT = 150
# Estimated bytes of a result's own objects, and of the searches that are kept for it.
OBJECTS = 5_000
Key: TypeAlias = bytes


class Packed(Protocol):
    """Copied codes of the points that fulfil a filter, in one block. This module uses only the size
    of the block, and the slots of the codes, ascending."""

    @property
    def slots(self) -> Ints: ...
    @property
    def nbytes(self) -> int: ...


_NONE = weakref.WeakValueDictionary[int, Bytes]()


def _no_bits(height: int) -> Bytes:
    """A bit for each row, all 0: no row fulfils the filter. height: the number of rows. All filter
    results without matching rows share this array."""
    bits = _NONE.get(height)
    if bits is None:
        bits = np.zeros(-(-height // 8), np.uint8)
        bits.flags.writeable = False
        _NONE[height] = bits
    return bits


class FilterResult:
    """The points that fulfil a filter, in one state.

    restricts: whether there is a filter. about_count: how many points fulfil the filter, exactly or
    estimated. key: the cache key of the filter, see `key_of`. uses: how often the cached result was
    reused. counted: the bytes that the cache counts for the result. copies: for each vector space,
    the copied codes of these points. lost: for each vector space, the extra cost of past queries
    that had no copy.

    A result has a bit for each row, or a test that is applied to single rows until the bits are
    needed. A result with a test isn't cached, because the test refers to columns.
    """

    __slots__ = (  # slots, because many results are kept
        "__weakref__", "_bits", "_by_rows", "_count", "_height", "_slot_bits", "_slots", "_tested",
        "about_count", "copies", "counted", "key", "lost", "restricts", "uses",
    )  # fmt: skip
    rows = NOTHING_STALE  # results of filters are never merged
    is_empty = False  # it is worth caching that no point fulfils a filter

    def __init__(
        self,
        mask: Bools | None,
        count: int,
        key: Key | None = None,
        tested: "TestedRows | None" = None,
    ) -> None:
        self.key, self.about_count, self.uses, self.counted = key, count, 0, 0
        self.restricts = mask is not None or tested is not None
        self._count = count if tested is None or tested.is_exact else None
        self._tested = tested
        self._bits = None if mask is None else bits_of(mask) if count else _no_bits(len(mask))
        self._height = tested.height if tested is not None else 0 if mask is None else len(mask)
        self._slots: dict[str, Ints] = {}
        self._slot_bits: dict[str, Bits] = {}
        self._by_rows: dict[str, int] = {}  # how often each space was searched by rows
        self.copies: dict[str, Packed] = {}
        self.lost: dict[str, float] = {}

    @property
    def count(self) -> int:
        """How many points fulfil the filter."""
        if self._count is None:
            assert self._tested is not None
            self.about_count = self._count = self._tested.test.count(range(self._height))
        return self._count

    @property
    def mask(self) -> Bools | None:
        """Which rows fulfil the filter: (rows,) bool; None if there is no filter."""
        if self._bits is None:
            if self._tested is None:
                return None
            self._bits = self._tested.bits()
        return np.unpackbits(self._bits, count=self._height, bitorder="little").view(np.bool_)

    def counts_beyond(self, height: int, count: int) -> bool:
        """Whether this result belongs to a later state than one with `height` rows and `count`
        points, because rows were added. Changes in rows that both states have are tracked
        elsewhere."""
        return self._height > height if self.restricts else self.about_count != count

    def allows(self, rows: Ints) -> Bools:
        """Which of these rows fulfil the filter: (n,) bool; False for negative row numbers."""
        if self._bits is not None:
            return (rows >= 0) & bits_at(self._bits, rows)
        has_row: Bools = rows >= 0
        if self._tested is not None:
            has_row[has_row] = self._tested.has(rows[has_row])
        return has_row

    @property
    def tested(self) -> "TestedRows | None":
        """The test of rows; None if there are bits instead."""
        return self._tested if self._bits is None else None

    def _rows(self) -> Ints:
        """The rows that fulfil the filter, in any order. Must be called only if there is a
        filter."""
        listed = None if self._tested is None else self._tested.list_rows()
        if listed is None:
            mask = self.mask
            assert mask is not None
            return np.flatnonzero(mask)
        return listed

    def slots(self, space: SpaceState) -> Ints | None:
        """The slots of matching points that have a vector in the space, ascending; None means all
        slots."""
        name = space.space.name
        if not self.restricts and not space.dead:
            # Not cached: a point that is added and deleted within one step leaves a dead slot.
            return None
        slots = self._slots.get(name)
        if slots is None:
            if not self.restricts:
                slots = np.flatnonzero(space.row_of_slot.whole() >= 0)
            else:
                slots = np.sort(space.slot_of_row[self._rows()])
                slots = slots[np.searchsorted(slots, 0) :]
            if self.uses > 0:
                self._slots[name] = slots
        return slots

    def slot_bits(self, space: SpaceState, stop: int) -> "Bits":
        """A bit for each slot below `stop`, packed into 32-bit words, the last of which is padded.
        A bit is 1 for the vector of a point that fulfils the filter. It is 0 for other points, dead
        slots, and slots newer than the state."""
        name, words = space.space.name, -(-stop // BLOCK)
        cached_bits = self._slot_bits.get(name)
        if cached_bits is not None and len(cached_bits) >= words:
            return cached_bits
        # Including the whole last word, because codes may be added there.
        count = min(space.space.slots, words * BLOCK)
        flags, mask = space.row_of_slot.not_negative(count), self.mask
        if mask is not None:
            flags &= mask[space.row_of_slot.whole(0, count)]
        bits = words_of(flags, words)
        self._slot_bits[name] = bits  # if two threads store bits, either is right
        return bits

    @property
    def _is_broad(self) -> bool:
        return self.about_count * BROAD >= self._height

    def lacks_bits(self, space: SpaceState) -> bool:
        """Whether a scan of codes must first build the bitmap of slots, because it isn't cached
        yet."""
        return self.restricts and not self._is_broad and space.space.name not in self._slot_bits

    def filter_for_codes(self, space: SpaceState, stop: int) -> "Bits | RowFilter":
        """A filter of the slots below `stop` for a scan of codes. With a bit for each slot, the
        scan skips blocks without a matching slot. If it could skip few blocks, the filter tests the
        row of each slot instead, by the result's test or its bits of rows. Building a bit for each
        slot takes longer than most searches, so it pays only after several searches."""
        name = space.space.name
        self._by_rows[name] = times = self._by_rows.get(name, 0) + 1
        few = self._bits is not None and space.space.slots <= FEW_SLOTS
        if name in self._slot_bits or times > SLOT_BITS_AFTER or few or not self._is_broad:
            return self.slot_bits(space, stop)
        return RowFilter(
            space.row_of_slot, self._bits, None if self.tested is None else self.tested.test
        )

    def with_mask(
        self, mask: Bools, changed: Ints, spaces: Mapping[str, SpaceState]
    ) -> "FilterResult":
        """The result with a new mask, which differs from the old one only in changed rows. Copies
        and lists whose vectors aren't affected are kept."""
        allowed_before, allowed_now = self.allows(changed[changed < self._height]), mask[changed]
        difference = int(np.count_nonzero(allowed_now)) - int(np.count_nonzero(allowed_before))
        result = FilterResult(mask, self.count + difference, self.key)
        result.uses, result.lost = self.uses, self.lost
        if len(changed) <= FEW and np.array_equal(allowed_before, allowed_now):
            rows = changed[allowed_now]
            result.copies = {
                name: copy
                for name, copy in self.copies.items()
                if name in spaces and _has_all(copy.slots, rows, spaces[name])
            }
            result._slots = {
                name: slots
                for name, slots in self._slots.items()
                if name in spaces and _has_all(slots, rows, spaces[name])
            }
        return result

    @property
    def nbytes(self) -> int:
        """The size of the result's arrays in bytes, including the bits of slots, even if they
        aren't built yet."""
        rows = 0 if self._bits is None or not self._count else 2 * self._bits.nbytes
        slots = sum(rows_of_space.nbytes for rows_of_space in [*self._slots.values()])
        return OBJECTS + rows + slots + sum(packed.nbytes for packed in [*self.copies.values()])


def _has_all(slots: Ints, rows: Ints, space: SpaceState) -> bool:
    """Whether the slots contain the vectors of all these rows. The slots must ascend. (A slot is
    never reused for another vector.)"""
    return not outside(np.sort(space.slot_of_row[rows]), slots).any()


class FilterCache:
    """The cache of filter results, for all states with the same row numbers."""

    def __init__(self, seq: int) -> None:
        self._lock = Lock()
        self._layers = LayerCache(seq)

    @property
    def nbytes(self) -> int:
        """The size of the cached results in bytes."""
        return self._layers.nbytes

    def note(self, seq: int, rows: Ints) -> None:
        """Record that these rows were added or changed by the write that led to the state at
        `seq`."""
        self._layers.note(seq, {None: rows})

    def at(self, key: Key | None, state: State) -> tuple[FilterResult | None, Ints]:
        """The cached result of the filter with this key (or None), and the stale rows: those for
        which the result may be wrong in this state."""
        if key is None:
            return None, NOTHING_STALE
        layers: Layers[FilterResult] | None
        layers = self._layers.find(key, state.head.seq, len(state.pks))
        return (None, NOTHING_STALE) if layers is None else (layers.segments[0], layers.stale)

    def keep(self, allowed: FilterResult, state: State) -> None:
        """Cache the result of a filter in this state."""
        if allowed.key is not None:
            allowed.counted = allowed.nbytes
            self._layers.keep(allowed.key, state.head.seq, Layers((allowed,), NOTHING_STALE))

    def count_again(self, allowed: FilterResult, state: State) -> None:
        """If a result is still cached, update its size, because a search has added data to it."""
        if allowed.nbytes == allowed.counted:
            return
        with self._lock:
            if self.at(allowed.key, state)[0] is allowed:
                self.keep(allowed, state)


def key_of(expression: Expression | None) -> Key | None:
    """The cache key of a filter: the types and contents of its nodes, or a digest of these, because
    a filter can have any length. (Contents alone aren't enough, because True equals 1 in Python but
    not in a filter.)

    The key is None for three kinds of filters: those with nodes of the user's own classes, which
    may contain anything; those with ids that may mean either an integer or a string, because
    whether a point matches then depends on other points; and those with NaN or infinite numbers,
    which orjson writes like None.
    """
    if expression is None:
        return b""
    nodes = [*walk(expression, within=True)]
    types = tuple(map(type, nodes))
    if not NODES.issuperset(types) or (HasId in types and any(map(_may_mean_integers, nodes))):
        return None
    try:
        contents = orjson.dumps(expression)
    except TypeError:
        return None
    if b"null" in contents and any(map(_has_infinite, nodes)):
        return None
    # Our classes live as long as the process, so their addresses identify them.
    whole = contents + array("Q", map(id, types)).tobytes()
    if len(whole) <= SHORT:
        return whole
    from hashlib import blake2b

    return blake2b(whole, digest_size=16).digest()


def _has_infinite(node: Any) -> bool:
    """Whether a number in a node is infinite or NaN. The result is also True if the sum of the
    node's numbers overflows."""
    return _are_infinite([getattr(node, name) for name in node.__dataclass_fields__])


def _are_infinite(values: Sequence[Any]) -> bool:
    if not math.isfinite(sum([value for value in values if type(value) is float])):
        return True
    lists = [value for value in values if isinstance(value, tuple | list)]
    return any(map(_are_infinite, lists))


def _may_mean_integers(node: Expression) -> bool:
    if not isinstance(node, HasId) or not node.are_shown:
        return False
    return any(str(point_id).isdigit() for point_id in node.ids)


@dataclass(frozen=True, slots=True)
class Expiry:
    """The filter for expired points, and the period in which it is valid. condition: the filter,
    None if no point has expired. It is valid for the state as of the write `seq`, from the time
    `since` until just before `until`, in seconds since 1970."""

    seq: int
    since: float
    until: float
    condition: Expression | None

    def holds(self, seq: int, moment: float) -> bool:
        """Whether the filter is valid for the state as of this write, at this time."""
        return seq == self.seq and self.since <= moment < self.until


@dataclass(frozen=True, slots=True)
class KeptFilters(KeptLists):
    """The caches of this package. columns: the columns of values in payloads, for all states with
    the same row numbers. answers: the results of conditions on documents, for the same states.
    allowed: the results of whole filters, for one state.

    uses: how often the columns of a path were used, until they are saved. condition_uses: recent
    uses of conditions on documents, by their keys. seen: the filters that were used. expiry:
    filters for expired points, by the path of the expiry time. living: the rows of all points, an
    array that columns share; empty until a column needs it. without_room: by the key of a column's
    file, the number of points when there was no room for the file.
    """

    columns: LayerCache
    answers: LayerCache
    allowed: FilterCache
    uses: Payback = field(default_factory=Payback, kw_only=True)
    condition_uses: Payback = field(default_factory=Payback, kw_only=True)
    seen: SeenLately = field(default_factory=SeenLately, kw_only=True)
    expiry: dict[JsonPath, Expiry] = field(default_factory=dict, kw_only=True)
    living: list[Ints] = field(default_factory=list, kw_only=True)
    without_room: dict[str, int] = field(default_factory=dict, kw_only=True)


FilterView: TypeAlias = View[KeptFilters]


class TestedRows:
    """The rows that fulfil a filter, as a test that is applied to each row during a scan. count:
    the number of these rows, exact or estimated from a sample. list_rows: returns these rows, in
    any order; None if that would need a scan over all rows."""

    def __init__(
        self,
        test: RowTest,
        height: int,
        count: int,
        is_exact: bool,
        list_rows: Callable[[], Ints] | None,
    ) -> None:
        self.test, self.height, self.count, self.is_exact = test, height, count, is_exact
        self._list_rows = list_rows

    def has(self, rows: Ints) -> Bools:
        """Which of these rows fulfil the filter: (n,) bool. Row numbers must not be negative."""
        return self.test.has(rows)

    def bits(self) -> Bytes:
        """A bit for each row, packed 8 to a byte; it is 1 if the row fulfils the filter."""
        return self.test.bits(self.height)

    def list_rows(self) -> Ints | None:
        """The rows that fulfil the filter, in any order; None if listing them would need a scan of
        all rows."""
        return None if self._list_rows is None else self._list_rows()


class Evaluator(Protocol):
    """Evaluates filters; the module `evaluate` implements this protocol."""

    def test_or_mask(self, view: FilterView, expression: Expression, /) -> TestedRows | Bools:
        """The points that match, either as a test of rows or as a (rows,) bool mask."""
        ...

    def filter_rows(self, view: FilterView, expression: Expression, rows: Ints, /) -> Bools:
        """Which of the rows match: (n,) bool."""
        ...


def filter_result(
    view: FilterView, expression: Expression | None, evaluator: Evaluator
) -> FilterResult:
    """The result of a filter, either from the cache or evaluated now."""
    key = key_of(expression)
    cached = current_result(view, key, expression, evaluator)
    if cached is not None:
        cached.uses += 1
        return cached
    if expression is None:
        result = FilterResult(None, view.state.count, key)
    else:
        matches = evaluator.test_or_mask(view, expression)
        if isinstance(matches, TestedRows):
            if key is None or not view.caches.seen.was_seen(key):
                return FilterResult(None, matches.count, key, matches)
            matches = matches.test.has(range(matches.height))
        result = FilterResult(matches, int(np.count_nonzero(matches)), key)
    view.caches.allowed.keep(result, view.state)
    return result


def current_result(
    view: FilterView, key: Key | None, expression: Expression | None, evaluator: Evaluator
) -> FilterResult | None:
    """The cached result of a filter, updated by evaluating the filter for the rows that have
    changed since. None if there is no result, or if too many rows have changed (FOLLOWED)."""
    cached, stale = view.caches.allowed.at(key, view.state)
    if cached is None:
        return None
    height = len(view.state.pks)
    is_later = cached.counts_beyond(height, view.state.count)  # this reader began before a write
    if not len(stale) and not is_later:
        return cached
    old_mask = cached.mask
    if expression is None or old_mask is None or len(stale) > FOLLOWED:
        return None
    alive = stale[view.state.alive[stale]]
    mask = np.zeros(height, np.bool_)
    mask[: len(old_mask)] = old_mask[:height]
    mask[stale] = False
    mask[alive] = evaluator.filter_rows(view, expression, alive)
    if is_later:
        return FilterResult(mask, int(np.count_nonzero(mask)), cached.key)
    result = cached.with_mask(mask, stale, view.state.spaces)
    view.caches.allowed.keep(result, view.state)
    return result
