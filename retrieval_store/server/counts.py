"""How often a server was asked what, and how long it took."""

import threading
from datetime import UTC, datetime
from uuid import uuid4

from retrieval_store.base.dataclasses import dataclass

KEPT = 10_000  # kinds of answers that are counted
BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)  # seconds


@dataclass(slots=True)
class Count:
    """How often a route gave answers of one status, and how many seconds all of them took; at most
    so many seconds as each of `BUCKETS` took `within` of them."""

    times: int
    seconds: float
    least: float
    most: float
    within: list[int]


class Monitor:
    """Counts answers. One lock, held for a microsecond, for all threads."""

    def __init__(self) -> None:
        self.id = str(uuid4())
        self.started = datetime.now(UTC)
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], Count] = {}

    def count(self, route: str, status: int, seconds: float) -> None:
        """One more answer."""
        with self._lock:
            found = self._counts.get((route, status))
            if found is None:
                if len(self._counts) >= KEPT:
                    return
                found = Count(0, 0.0, seconds, seconds, [0] * len(BUCKETS))
                self._counts[route, status] = found
            found.times += 1
            found.seconds += seconds
            found.least, found.most = min(found.least, seconds), max(found.most, seconds)
            for i, bound in enumerate(BUCKETS):
                found.within[i] += seconds <= bound

    def counts(self) -> list[tuple[str, int, Count]]:
        """What was counted so far: route, status and count."""
        with self._lock:
            return [(route, status, one) for (route, status), one in self._counts.items()]
