"""Locks, and other context managers written in C, that are released even if an interrupt comes at
any moment."""

import threading
from collections.abc import Callable
from typing import Any


class UninterruptibleContext:
    """Enters a context manager written in C by a `with` block, and leaves it, so that Ctrl-C can't
    raise KeyboardInterrupt outside the block while it is held.

    `with` alone allowed that until Python 3.14, which checks for signals after `__enter__` has
    returned and before it is inside the block. So the context was never left. Python doesn't check
    when a `for` statement has got its next item from C code, nor when a Python function returns.
    But it checks at the first step of a Python function, so the exit must be `__exit__` of the C
    type itself.
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
    """threading.Lock, which an interrupt can't leave held."""

    __slots__ = ("acquire", "locked", "release")

    def __init__(self) -> None:
        lock = threading.Lock()
        super().__init__(lock)
        self.acquire, self.locked, self.release = lock.acquire, lock.locked, lock.release


class ReentrantLock(UninterruptibleContext):
    """threading.RLock, which an interrupt can't leave held; `is_mine()` returns whether the calling
    thread holds it."""

    __slots__ = ("is_mine",)

    def __init__(self) -> None:
        lock = threading.RLock()
        super().__init__(lock)
        self.is_mine: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
