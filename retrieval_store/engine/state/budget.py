"""How much memory of this process may hold what can be worked out again.

There is one budget for all stores of a process. Whatever is kept between calls lies in a `Cache`,
which says how large it is. When a call ends and all caches together hold more than they may, those
entries go that were unused for longest. The state of the collection that was just used never does:
what may be held is what is held besides.
"""

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

from retrieval_store.engine.concurrency.forking import aware

SHARE = 4  # of the memory that the process may use: one part in so many
KEPT = 0.9  # what is left when something is let go of, so that it isn't done at each call
K = TypeVar("K")
V = TypeVar("V")
LetGo = Callable[[], object]


class _Entry(Generic[V]):
    """A value, its bytes, and when it was used last."""

    __slots__ = ("nbytes", "used", "value")

    def __init__(self, value: V, nbytes: int, used: int) -> None:
        self.value, self.nbytes, self.used = value, nbytes, used


class Budget:
    """limit: bytes that may be held; held: that are."""

    def __init__(self, limit: int) -> None:
        self.limit, self.held = limit, 0
        self._new_lock()
        self._caches: weakref.WeakSet[Cache[Any, Any]] = weakref.WeakSet()
        self.now = count().__next__
        aware(self)

    def _new_lock(self) -> None:
        self.lock = threading.RLock()  # collecting garbage may come in between

    def add(self, cache: "Cache[Any, Any]") -> None:
        """Count a new cache."""
        with self.lock:
            self._caches.add(cache)

    def settle(self, in_use: "Cache[Any, Any]") -> None:
        """Let go of what was unused for longest, if too much is held besides what is in use. To be
        called where no lock is held."""
        if self.held - in_use.nbytes > self.limit:
            for let_go in self._over(in_use):
                let_go()

    def _over(self, in_use: "Cache[Any, Any]") -> list[LetGo]:
        """Forget entries until enough room is left; what is to be called for them."""
        calls: list[LetGo] = []
        with self.lock:
            others = [cache for cache in self._caches if cache is not in_use]
            every = [(used, cache, key) for cache in others for key, used in cache.uses()]
            every.sort(key=lambda one: one[0])
            for _, cache, key in every:
                if self.held - in_use.nbytes <= KEPT * self.limit:
                    break
                cache.drop(key)
                if cache.let_go is not None:
                    calls.append(cache.let_go)
        return calls

    def forget_after_fork(self) -> None:
        """In a child: no thread holds the lock."""
        self._new_lock()


def usual_limit() -> int:
    """Bytes: a quarter of the memory that this process may use."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # there may be no such file, or no limit in it
        most = min(most, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return most // SHARE


BUDGET = Budget(usual_limit())


class Cache(Generic[K, V]):
    """Values by key, which may go at the end of any call. let_go: called when one has gone."""

    def __init__(self, let_go: LetGo | None = None, budget: Budget = BUDGET) -> None:
        self.nbytes, self.let_go = 0, let_go
        self._budget = budget
        self._entries: dict[K, _Entry[V]] = {}
        budget.add(self)

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
        with self._budget.lock:
            self.drop(key)
            self._entries[key] = _Entry(value, nbytes, self._budget.now())
            self._grow(nbytes)

    def drop(self, key: K) -> None:
        """Forget one, if it is there."""
        with self._budget.lock:
            entry = self._entries.pop(key, None)
            if entry is not None:
                self._grow(-entry.nbytes)

    def keys(self) -> list[K]:
        """What there is, the last used last."""
        with self._budget.lock:
            return sorted(self._entries, key=lambda key: self._entries[key].used)

    def uses(self) -> Iterator[tuple[K, int]]:
        """When each was used last."""
        return ((key, entry.used) for key, entry in self._entries.items())

    def _grow(self, by: int) -> None:
        self.nbytes += by
        self._budget.held += by

    def __del__(self) -> None:
        with self._budget.lock:
            self._budget.held -= self.nbytes
