"""What a filter lets through, kept for the queries that use it again.

A filter that comes again while nothing has been written is not evaluated again; from its second use
on the rows it allows are kept together, if they are few enough, so that an exact search reads them
in order.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import orjson

from retrieval_store.arrays import Bools, Ints, Matrix
from retrieval_store.filters.expression import Expression, walk
from retrieval_store.indexes.exact import Norms

if TYPE_CHECKING:  # a state has a cache of these
    from retrieval_store.engine.state import SpaceState

FILTERS_KEPT = 64
BYTES_KEPT = 128 * 1024 * 1024
Key: TypeAlias = tuple[tuple[type, ...], bytes]


class Allowed:
    """The points that a filter allows, in one state.

    mask: over rows, None when nothing is filtered; count: how many there are.
    """

    def __init__(self, mask: Bools | None, count: int) -> None:
        self.mask = mask
        self.count = count
        self.uses = 0
        self._slots: dict[str, Ints | None] = {}
        self._together: dict[str, tuple[Matrix, Norms]] = {}

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
                slots = np.flatnonzero(space.row_of_slot >= 0)
            self._slots[name] = slots
        return self._slots[name]

    def together(self, space: str) -> tuple[Matrix, Norms] | None:
        """Copies of their vectors in the order of `slots`, if they are kept."""
        return self._together.get(space)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        held = [self.mask, *self._slots.values(), *(rows for rows, _ in self._together.values())]
        return sum(array.nbytes for array in list(held) if array is not None)


class AllowedCache:
    """The filters used last in one state; bounded in number and bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Allowed] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        with self._lock:
            return sum(allowed.nbytes for allowed in self._kept.values())

    def get(self, key: Key) -> Allowed | None:
        """What was kept under the key."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                found.uses += 1
            return found

    def keep(self, key: Key, allowed: Allowed) -> None:
        """Keep it, and let go of what hasn't been used for longest."""
        with self._lock:
            self._kept[key] = allowed
            self._shrink()

    def keep_together(self, allowed: Allowed, space: str, rows: Matrix, norms: Norms) -> None:
        """Keep the allowed vectors themselves too."""
        with self._lock:
            allowed._together[space] = rows, norms
            self._shrink()

    def _shrink(self) -> None:
        size = sum(allowed.nbytes for allowed in self._kept.values())
        while self._kept and (len(self._kept) > FILTERS_KEPT or size > BYTES_KEPT):
            size -= self._kept.popitem(last=False)[1].nbytes


def key_of(expression: Expression | None) -> Key | None:
    """What tells filters apart: their nodes' types and contents, since True equals 1 to Python but
    not to a filter. None for one that has no such form."""
    if expression is None:
        return (), b""
    try:
        content = orjson.dumps(expression)
    except TypeError:
        return None
    return tuple(type(node) for node in walk(expression)), content
