"""How large collections are, as strict mode compares them with its limits before each write.

As on a server, they are measured when a collection is made, or first written to by this process,
and again at every 32nd write that is compared: counting for each would cost more than the writes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval_store.qdrant.collections.opened import Opened

MEASURED_EACH = 32
KEPT = 1024  # collections


@dataclass(frozen=True, slots=True)
class Size:
    """Points, and bytes of vectors and of the file that holds payloads."""

    points: int = 0
    vectors: int = 0
    payloads: int = 0


class _Sizes:
    """What this process has measured, by the ids of collections, and how often it was asked. There
    is no lock: of two threads that ask at once, one may not be counted."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Size]] = {}

    def begin(self, collection: str) -> None:
        """A collection was made, and is empty."""
        self._keep(collection, 1, Size())

    def of(self, opened: Opened) -> Size:
        """The size of a collection, as it was when it was last measured."""
        asked, size = self._known.get(opened.record.id, (0, Size()))
        if asked % MEASURED_EACH == 0:
            size = _measured(opened)
        self._keep(opened.record.id, asked + 1, size)
        return size

    def _keep(self, collection: str, asked: int, size: Size) -> None:
        if len(self._known) >= KEPT and collection not in self._known:
            self._known.clear()
        self._known[collection] = asked, size


SIZES = _Sizes()


def _measured(opened: Opened) -> Size:
    disk: Any = opened.points.stats().get("disk") or {}
    vectors = sum(_bytes(space) for space in opened.points.spaces())
    return Size(opened.points.number(None), vectors, disk.get("points", 0))


def _bytes(space: Any) -> int:
    return int(space.count * (space.dimension or 0) * np.dtype(space.datatype).itemsize)
