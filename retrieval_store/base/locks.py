"""Locks, and other things of C, that an interrupt at any moment leaves released."""

import threading
from collections.abc import Callable
from typing import Any


class UninterruptibleContext:
    """Enters a context manager written in C by a `with` block, and leaves it, so that Ctrl-C can't
    raise KeyboardInterrupt outside the block while it is held.

    `with` alone allowed that until Python 3.14, which checks for signals after `__enter__` has
    returned and before it is inside the block. So the context was never left. It doesn't check when
    a `for` statement has called C for its next item, nor when a function of Python's returns. But
    it checks at the first step of each, so the exit must be C's own `__exit__`.
    """

    __slots__ = ("__exit__", "__weakref__", "_entering")
    __exit__: Callable[..., None]

    def __init__(self, inner: Any) -> None:
        self.__exit__ = inner.__exit__
        self._entering = iter(inner.__enter__, None)  # whose each item is one call

    def __enter__(self) -> None:
        for _ in self._entering:
            return


class Lock(UninterruptibleContext):
    """threading.Lock, undivided."""

    __slots__ = ("acquire", "locked", "release")

    def __init__(self) -> None:
        lock = threading.Lock()
        super().__init__(lock)
        self.acquire, self.locked, self.release = lock.acquire, lock.locked, lock.release


class ReentrantLock(UninterruptibleContext):
    """threading.RLock, undivided; `is_mine()` says whether the calling thread holds it."""

    __slots__ = ("is_mine",)

    def __init__(self) -> None:
        lock = threading.RLock()
        super().__init__(lock)
        self.is_mine: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
