"""How much memory of this process may hold what can be worked out again.

There is one budget for all stores of a process. Whatever is kept between calls lies in a `Cache`,
which says how large it is. When a call ends and all caches together hold more than they may, those
entries go that were unused for longest. The state of the collection that was just used never does:
what may be held is what is held besides.

No thread waits here: there is no lock, since garbage may be collected at any step, and what is
collected may close a store, which waits for others. Each step is one operation of a dict or a
deque, which can't be split.
"""

import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from retrieval_store.base import system

USUAL = 4 << 30  # bytes of memory, where the system doesn't tell how much there is
SHARE = 4  # of the memory that the process may use: one part in so many
KEPT = 0.9  # what is left when something is let go of, so that it isn't done at each call
COUNTED_EVERY = 1_024  # calls: then all that is held is counted anew
K = TypeVar("K")
V = TypeVar("V")
Evict = Callable[[], object]


class Budget:
    """limit: bytes that may be held."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now, self._settled = count().__next__, 0
        self.ledger: deque[int] = deque([0])  # bytes that came and went; their sum is what is held
        self.caches: dict[int, weakref.ref[Cache[Any, Any]]] = {}

    @property
    def held(self) -> int:
        """Bytes that are held."""
        return sum(cache.nbytes for cache in self._there())

    @property
    def told(self) -> dict[str, int]:
        """What is told of it."""
        return {"limit": self.limit, "held": self.held}

    def settle(self, in_use: "Cache[Any, Any]") -> None:
        """Let go of what was unused for longest, if too much is held besides what is in use. To be
        called where no lock is held."""
        self._settled += 1
        if self._settled % COUNTED_EVERY == 0:  # an interrupt may have come while adding up
            self.ledger = deque([self.held])
        held = self._added_up()
        if held > self.limit and held - in_use.nbytes > self.limit:
            for evict in self._over(in_use):
                evict()

    def _added_up(self) -> int:
        """What is held, by the ledger, which is left with one entry."""
        ledger = self.ledger
        try:
            total = ledger.popleft()
        except IndexError:  # another thread is at it
            total = 0
        try:
            while ledger:
                total += ledger.popleft()
        except IndexError:
            pass
        finally:
            ledger.append(total)
        return total

    def _there(self) -> "list[Cache[Any, Any]]":
        caches = [reference() for reference in self.caches.copy().values()]
        return [cache for cache in caches if cache is not None]

    def _over(self, in_use: "Cache[Any, Any]") -> list[Evict]:
        """Forget entries until enough room is left; what is to be called for them."""
        others = [cache for cache in self._there() if cache is not in_use]
        every = [(used, cache, key) for cache in others for key, used in cache.uses()]
        over, calls = self.held - in_use.nbytes - KEPT * self.limit, []
        for _, cache, key in sorted(every, key=itemgetter(0)):
            if over <= 0:
                break
            over -= cache.drop(key)
            if cache.evict is not None:
                calls.append(cache.evict)
        return calls


def usual_limit() -> int:
    """Bytes: a quarter of the memory that this process may use."""
    most = system.memory_bytes(otherwise=USUAL)
    with suppress(OSError, ValueError):  # there may be no such file, or no limit in it
        most = min(most, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return most // SHARE


BUDGET = Budget(usual_limit())


class _Entry(Generic[V]):
    """A value, its bytes, and when it was used last. What it counts for goes with it."""

    __slots__ = ("_budget", "nbytes", "used", "value")

    def __init__(self, value: V, nbytes: int, budget: Budget) -> None:
        self.value, self.nbytes, self.used = value, nbytes, budget.now()
        self._budget = budget  # from here on it counts
        budget.ledger.append(nbytes)

    def __del__(self) -> None:
        budget: Budget | None = getattr(self, "_budget", None)  # None after an early interrupt
        if budget is not None:
            budget.ledger.append(-self.nbytes)


class Cache(Generic[K, V]):
    """Values by key, which may go at the end of any call. evict: called when one has gone."""

    def __init__(self, evict: Evict | None = None, budget: Budget = BUDGET) -> None:
        self.evict, self._budget = evict, budget
        self._entries: dict[K, _Entry[V]] = {}
        budget.caches[id(self)] = weakref.ref(self)

    def __del__(self) -> None:
        self._budget.caches.pop(id(self), None)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """The value, which is used by that."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.used = self._budget.now()
        return entry.value

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Keep a value of so many bytes."""
        self._entries[key] = _Entry(value, nbytes, self._budget)

    def drop(self, key: K) -> int:
        """Forget one, if it is there; how many bytes it had."""
        entry = self._entries.pop(key, None)
        return 0 if entry is None else entry.nbytes

    def keys(self) -> list[K]:
        """What there is, the last used last."""
        return [key for key, _ in sorted(self.uses(), key=itemgetter(1))]

    def items(self) -> list[tuple[K, V]]:
        """All there is, none of which is used by that."""
        return [(key, entry.value) for key, entry in self._entries.copy().items()]

    def uses(self) -> list[tuple[K, int]]:
        """When each was used last."""
        return [(key, entry.used) for key, entry in self._entries.copy().items()]

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        return sum(entry.nbytes for entry in self._entries.copy().values())
