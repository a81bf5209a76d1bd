"""Numbers by which points are listed in the order of first insertion.

They are microseconds since 1970. Servers compare `order_by.start_from`, and ranges over integers,
as float64, which holds no integer beyond 2**53: microseconds are exact until the year 2255, of
nanoseconds only every 256th would be told apart.
"""

import threading
import time

MICROSECONDS = "us"  # what is kept with a collection of the unit of its numbers


class Orders:
    """Gives out the numbers for new points of one collection: by the clock, since processes on
    other machines give them out too. Two may give out the same ones."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def next(self, count: int) -> range:
        """So many numbers, greater than those before."""
        with self._lock:
            first = max(time.time_ns() // 1_000, self._last + 1)
            self._last = first + count - 1
        return range(first, first + count)
