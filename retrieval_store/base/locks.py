"""Locks, and other context managers written in C, that are released even if an interrupt occurs at
any moment."""

import threading
from collections.abc import Callable
from typing import Any


class UninterruptibleContext:
    """Wraps a context manager written in C for use in a `with` block. Ctrl-C can't raise
    KeyboardInterrupt outside the block while the context is held.

    `with` alone didn't guarantee that until Python 3.14, because Python checked for signals after
    `__enter__` had returned and before execution was inside the block. So the context was never
    left. Python doesn't check for signals when a `for` statement has got its next item from C code,
    nor when a Python function returns. But Python checks at the first step of a Python function, so
    `__exit__` must be that of the C type itself.
    """

    __slots__ = ("__exit__", "__weakref__", "_entering")
    __exit__: Callable[..., None]

    def __init__(self, inner: Any) -> None:
        self.__exit__ = inner.__exit__
        self._entering = iter(inner.__enter__, None)  # getting the next item makes one call

    def __enter__(self) -> None:
        for _ in self._entering:
            return


class Lock(UninterruptibleContext):
    """threading.Lock in a form that an interrupt can't leave held."""

    __slots__ = ("acquire", "locked", "release")

    def __init__(self) -> None:
        lock = threading.Lock()
        super().__init__(lock)
        self.acquire, self.locked, self.release = lock.acquire, lock.locked, lock.release


class ReentrantLock(UninterruptibleContext):
    """threading.RLock in a form that an interrupt can't leave held. `is_mine()` returns whether the
    calling thread holds it."""

    __slots__ = ("is_mine",)

    def __init__(self) -> None:
        lock = threading.RLock()
        super().__init__(lock)
        self.is_mine: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
