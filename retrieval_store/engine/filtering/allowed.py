"""What a filter lets through, kept for the queries that use it again.

A filter that comes again while nothing has been written is not evaluated again; from its second use
on what is searched of the points it allows is kept together, if it is little enough, so that a
search reads it in order: codes of their vectors, or the vectors where there are no codes.
"""

import threading
from typing import Protocol, TypeAlias

import numpy as np
import orjson

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.state.budget import Cache
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.filters.expression import NODES, Expression, walk

Key: TypeAlias = tuple[tuple[type, ...], bytes]


class Together(Protocol):
    """What is kept together of the points that a filter allows; to this room it is nothing more."""

    @property
    def nbytes(self) -> int: ...


class Allowed:
    """The points that a filter allows, in one state.

    mask: over rows, None when nothing is filtered; count: how many there are; key: of the filter,
    see `key_of`.
    """

    def __init__(self, mask: Bools | None, count: int, key: Key | None = None) -> None:
        self.key = key
        self.mask = mask
        self.count = count
        self.uses = 0
        self._slots: dict[str, Ints | None] = {}
        self._together: dict[str, Together] = {}

    def slots(self, space: SpaceState) -> Ints | None:
        """The slots of those that have a vector in the space, in the order of rows; None for all
        there are."""
        name = space.space.name
        if name not in self._slots:
            slots = None
            if self.mask is not None:
                slots = space.slot_of_row[np.flatnonzero(self.mask)]
                slots = slots[slots >= 0] if len(slots) and slots.min() < 0 else slots
            elif space.dead:
                slots = np.flatnonzero(space.row_of_slot.whole() >= 0)
            self._slots[name] = slots
        return self._slots[name]

    def together(self, space: str) -> Together | None:
        """What is kept together of their vectors."""
        return self._together.get(space)

    def keep_together(self, space: str, together: Together) -> None:
        """Keep it."""
        self._together[space] = together

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use, or soon to be: slots are worked out when they are needed."""
        mask = 0 if self.mask is None else self.mask.nbytes + 8 * self.count
        return mask + sum(kept.nbytes for kept in list(self._together.values()))


class AllowedCache:
    """The filters used last in one state."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: Cache[Key, Allowed] = Cache()

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return self._kept.nbytes

    def get(self, key: Key) -> Allowed | None:
        """What was kept under the key."""
        found = self._kept.get(key)
        if found is not None:
            found.uses += 1
        return found

    def has(self, key: Key) -> bool:
        """Whether something is kept under the key."""
        return key in self._kept

    def keep(self, allowed: Allowed) -> None:
        """Keep it."""
        if allowed.key is not None:
            self._kept.put(allowed.key, allowed, allowed.nbytes)

    def keep_together(self, allowed: Allowed, space: str, together: Together) -> None:
        """Keep that too, if what is allowed is still kept."""
        with self._lock:
            kept = allowed.key is not None and self._kept.get(allowed.key) is allowed
            before = allowed.together(space)
            if kept and type(before) is not type(together):  # codes may have come meanwhile
                allowed.keep_together(space, together)
                self.keep(allowed)


def key_of(expression: Expression | None) -> Key | None:
    """What tells filters apart: their nodes' types and contents, since True equals 1 to Python but
    not to a filter. None for one that has no such form, or has nodes of the user's own, of which
    nobody knows what they hold."""
    if expression is None:
        return (), b""
    types = tuple(map(type, walk(expression)))
    try:
        return (types, orjson.dumps(expression)) if NODES.issuperset(types) else None
    except TypeError:
        return None
