"""Numbers by which points are listed in the order of first insertion.

Servers compare `order_by.start_from`, and ranges over integers, as float64, which holds no integer
beyond 2**53: of nanoseconds since 1970, some 1.8e18, it tells apart only every 256th. Microseconds
are exact until the year 2255. Collections that were made with nanoseconds keep them, since numbers
of two kinds would mix up the order; they are listed by point id and sorted here.
"""

import threading
import time
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["us", "ns"]
MICROSECONDS: Unit = "us"
NANOSECONDS: Unit = "ns"
_LENGTH = {MICROSECONDS: 1_000, NANOSECONDS: 1}  # in nanoseconds


class Orders:
    """Gives out the numbers for new points of one collection: by the clock, since processes on
    other machines give them out too. Two may give out the same ones."""

    def __init__(self, unit: Unit) -> None:
        self._length = _LENGTH[unit]
        self._last = 0
        self._lock = threading.Lock()

    def next(self, count: int) -> range:
        """So many numbers, greater than those before."""
        with self._lock:
            first = max(time.time_ns() // self._length, self._last + 1)
            self._last = first + count - 1
        return range(first, first + count)
