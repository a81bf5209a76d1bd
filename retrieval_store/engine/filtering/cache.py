"""The caches of filtering, above all that of the results of filters, for queries that repeat them.

A cached result is brought up to date by evaluating the filter only for the points that have changed
since. From the second use of a filter on, the codes of the points that it allows (or their vectors,
where there are no codes) are copied together, if they are small enough, so that a search reads them
sequentially.
"""

import threading
from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import orjson

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.engine.state.caches import NOTHING_STALE, LayerCache, Layers, Payback
from retrieval_store.engine.state.state import SpaceState, State, View
from retrieval_store.engine.text.inverted import KeptLists
from retrieval_store.filters.nodes import NODES, Expression, HasId, walk
from retrieval_store.filters.paths import JsonPath
from retrieval_store.indexes.native import BLOCK

if TYPE_CHECKING:
    from retrieval_store.indexes.clusters import RowFilter
    from retrieval_store.indexes.quantized import Bits

FEW = 16  # up to so many changed rows are checked for whether copies of vectors can be kept
FOLLOWED = 1_024  # a cached result is updated while at most so many rows have changed since
SHORT = 150  # a filter of up to so many bytes is its own key; of a longer one a digest is
OBJECTS = 1_000  # estimated bytes of a result's own dicts, with the pass that is usually there
Key: TypeAlias = bytes


class Packed(Protocol):
    """Codes or vectors of the points that a filter allows, copied together. Filtering needs only
    their size."""

    @property
    def nbytes(self) -> int: ...


class FilterResult:
    """The points that a filter allows, in one state.

    mask: (rows,) bool, None when there is no filter; count: how many points are allowed; key: of
    the filter, see `key_of`; uses: how often the cached result was used again; slots are
    kept from the first time on; passes: for each vector space the last search, prepared for reuse.
    """

    rows = NOTHING_STALE  # results of filters are never merged
    is_empty = False  # that a filter lets nothing through is worth knowing

    def __init__(self, mask: Bools | None, count: int, key: Key | None = None) -> None:
        self.key = key
        self.mask = mask
        self.count = count
        self.uses = 0
        self._slots: dict[str, Ints] = {}
        self._bits: dict[str, Bits] = {}
        self._packed: dict[str, Packed] = {}
        self.passes: dict[str, Any] = {}

    def slots(self, space: SpaceState) -> Ints | None:
        """The slots of allowed points that have a vector in the space, in the order of rows; None
        for all slots."""
        name = space.space.name
        if self.mask is None and not space.dead:
            return None  # not kept: a point that comes and goes within one step leaves a dead slot
        if name not in self._slots:
            if self.mask is not None:
                slots = space.slot_of_row[np.flatnonzero(self.mask)]
                slots = slots[slots >= 0] if len(slots) and slots.min() < 0 else slots
            else:
                slots = np.flatnonzero(space.row_of_slot.whole() >= 0)
            if self.uses < 1:
                return slots
            self._slots[name] = slots
        return self._slots[name]

    def bits(self, space: SpaceState, stop: int) -> "Bits":
        """A bit for each slot below `stop`, and for the rest of the last word, 32 to a number: 1
        for vectors of allowed points, 0 for others, dead slots and slots newer than the state."""
        name, words = space.space.name, -(-stop // BLOCK)
        known = self._bits.get(name)
        if known is not None and len(known) >= words:
            return known
        count = min(space.space.slots, words * BLOCK)  # all of the last word: codes may grow in it
        found = space.row_of_slot.not_negative(count)
        if self.mask is not None:
            found &= self.mask[space.row_of_slot.whole(0, count)]
        bits = np.zeros(words, "<u4")
        packed = np.packbits(found, bitorder="little")
        bits.view(np.uint8)[: len(packed)] = packed
        self._bits[name] = bits  # if two threads store bits, either is right
        return bits

    def slot_filter(self, space: SpaceState, stop: int) -> "Bits | RowFilter":
        """Which slots below `stop` are allowed: as bits, where these are known or will be used
        again, or else by rows, since a pass over all slots takes longer than most searches."""
        from retrieval_store.indexes.clusters import RowFilter

        known = self._bits.get(space.space.name)
        if self.uses > 0 or len(space.row_of_slot.at) or known is not None:
            return self.bits(space, stop)
        return RowFilter(space.row_of_slot.base, self.mask)

    def followed_by(
        self, mask: Bools, changed: Ints, spaces: Mapping[str, SpaceState]
    ) -> "FilterResult":
        """The result with a new mask, which differs in the changed rows at most. Copies of vectors
        are kept where the change affects none of the copied vectors."""
        assert self.mask is not None
        before, now = self.mask[changed[changed < len(self.mask)]], mask[changed]
        difference = int(np.count_nonzero(now)) - int(np.count_nonzero(before))
        after = FilterResult(mask, self.count + difference, self.key)
        after.uses = self.uses
        if len(changed) <= FEW and np.array_equal(before, now):
            for name, slots in self._slots.items():
                if name in spaces and self._has_slots(slots, changed[now], spaces[name]):
                    after._slots[name] = slots
                    if name in self._packed:
                        after._packed[name] = self._packed[name]
        if len(after._packed) < len(self._packed):  # then copied again at the second use from now
            after.uses = -1
        return after

    def _has_slots(self, slots: Ints, rows: Ints, space: SpaceState) -> bool:
        """Whether the vectors of these rows, which are allowed, are still in the same slots."""
        if self.mask is None or len(slots) != self.count:
            return False
        places = [int(np.count_nonzero(self.mask[:row])) for row in rows.tolist()]
        return np.array_equal(slots[places], space.slot_of_row[rows])

    def packed(self, space: str) -> Packed | None:
        """The copy of the allowed points' codes or vectors in this space; None without one."""
        return self._packed.get(space)

    def keep_packed(self, space: str, packed: Packed) -> None:
        """Keep a copy of the allowed points' codes or vectors in this space."""
        self._packed[space] = packed

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use, or soon to be: slots and bits come when they are needed."""
        masks = 0 if self.mask is None else self.mask.nbytes + self.mask.nbytes // 8
        slots = 8 * self.count if self.uses > 0 and self.mask is not None else 0
        packed = sum(one.nbytes for one in list(self._packed.values()))
        return OBJECTS + masks + slots + packed


class FilterCache:
    """The cache of filters' results, for all states that number their rows alike."""

    def __init__(self, seq: int) -> None:
        self._lock = threading.Lock()
        self._layers = LayerCache(seq)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return self._layers.nbytes

    def note(self, seq: int, rows: Ints) -> None:
        """Note that the step to the state at `seq` added or changed these rows."""
        self._layers.note(seq, rows)

    def at(self, key: Key | None, state: State) -> tuple[FilterResult | None, Ints]:
        """The cached result, None without one, and the stale rows: those for which it may be wrong
        in this state."""
        if key is None:
            return None, NOTHING_STALE
        layers: Layers[FilterResult] | None
        layers = self._layers.there(key, state.head.seq, len(state.pks))
        return (None, NOTHING_STALE) if layers is None else (layers.segments[0], layers.stale)

    def keep(self, allowed: FilterResult, state: State) -> None:
        """Cache the result of a filter in a state."""
        if allowed.key is not None:
            self._layers.keep(allowed.key, state.head.seq, Layers((allowed,), NOTHING_STALE))

    def keep_packed(self, allowed: FilterResult, space: str, packed: Packed, state: State) -> None:
        """Keep a copy of codes or vectors with a result, if the result is still cached."""
        with self._lock:
            if self._is_kept(allowed, state):
                allowed.keep_packed(space, packed)
                self.keep(allowed, state)

    def count_again(self, allowed: FilterResult, state: State) -> None:
        """Count the bytes of a result that is used again, if it is still cached: they are more from
        then on."""
        with self._lock:
            if self._is_kept(allowed, state):
                self.keep(allowed, state)

    def _is_kept(self, allowed: FilterResult, state: State) -> bool:
        return self.at(allowed.key, state)[0] is allowed


def key_of(expression: Expression | None) -> Key | None:
    """The cache key of a filter: the types and contents of its nodes, or a digest of these, since a
    filter may be of any length. (Contents alone won't do, as True equals 1 in Python but not in a
    filter.) None for a filter that can't be a key; that has nodes of the user's own classes, which
    may hold anything; or that names points by how integers are shown, of which a point fulfils it
    or not as another one comes or goes."""
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
    # Our classes live as long as the process, so that their addresses stand for them.
    whole = contents + array("Q", map(id, types)).tobytes()
    if len(whole) <= SHORT:
        return whole
    from hashlib import blake2b

    return blake2b(whole, digest_size=16).digest()


def _may_mean_integers(node: Expression) -> bool:
    if not isinstance(node, HasId) or not node.are_shown:
        return False
    return any(str(one).isdigit() for one in node.ids)


@dataclass(frozen=True, slots=True)
class Expiry:
    """What points fulfil that have expired, None if none has: as of the write `seq`, from `since`
    on, before `until`, in seconds since 1970."""

    seq: int
    since: float
    until: float
    gone: Expression | None

    def holds(self, seq: int, moment: float) -> bool:
        """Whether it is so as of this write, at this moment."""
        return seq == self.seq and self.since <= moment < self.until


@dataclass(frozen=True, slots=True)
class KeptFilters(KeptLists):
    """What this room keeps, and the lists of words that it asks. columns: payloads by value,
    answers: what conditions say of documents, for all states that number their rows alike; allowed:
    what filters let through, in one state; uses: how often columns of a path were of use before
    they are saved; asked: how often conditions on documents were asked lately, by their keys;
    expiry: what has expired, by where its moment is; living: no or one array, the rows of all
    points as columns hold them."""

    columns: LayerCache
    answers: LayerCache
    allowed: FilterCache
    uses: Payback = field(default_factory=Payback, kw_only=True)
    asked: Payback = field(default_factory=Payback, kw_only=True)
    expiry: dict[JsonPath, Expiry] = field(default_factory=dict, kw_only=True)
    living: list[Ints] = field(default_factory=list, kw_only=True)


FilterView: TypeAlias = View[KeptFilters]


class Evaluator(Protocol):
    """What evaluates filters: the module `evaluate`."""

    def matching(self, view: FilterView, expression: Expression, /) -> Bools:
        """(rows,) bool: which points match."""
        ...

    def filter_rows(self, view: FilterView, expression: Expression, rows: Ints, /) -> Bools:
        """(n,) bool: which of these rows match."""
        ...


def filter_result(
    view: FilterView, expression: Expression | None, evaluator: Evaluator
) -> FilterResult:
    """The result of a filter, from the cache or evaluated now."""
    key = key_of(expression)
    cached = current_result(view, key, expression, evaluator)
    if cached is not None:
        cached.uses += 1
        if cached.uses == 1:
            view.caches.allowed.count_again(cached, view.state)
        return cached
    if expression is None:
        result = FilterResult(None, view.state.count, key)
    else:
        mask = evaluator.matching(view, expression)
        result = FilterResult(mask, int(np.count_nonzero(mask)), key)
    view.caches.allowed.keep(result, view.state)
    return result


def current_result(
    view: FilterView, key: Key | None, expression: Expression | None, evaluator: Evaluator
) -> FilterResult | None:
    """The cached result of a filter, brought up to date by evaluating it for the rows that have
    changed since; None where there is no result, or too many rows have changed (FOLLOWED)."""
    cached, stale = view.caches.allowed.at(key, view.state)
    if cached is None or not len(stale):
        return cached
    if expression is None or cached.mask is None or len(stale) > FOLLOWED:
        return None
    height, alive = len(view.state.pks), stale[view.state.alive[stale]]
    mask = np.zeros(height, np.bool_)
    mask[: len(cached.mask)] = cached.mask[:height]
    mask[stale] = False
    mask[alive] = evaluator.filter_rows(view, expression, alive)
    after = cached.followed_by(mask, stale, view.state.spaces)
    view.caches.allowed.keep(after, view.state)
    return after
