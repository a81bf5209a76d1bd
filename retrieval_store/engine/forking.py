"""What happens to an open store when the process forks.

SQLite's connections must not be used, nor even closed, in a child that inherited them. So a fork
waits until no thread is inside SQLite, and in the child everything open is dropped as it is and
opened anew by path when it is needed. A store in memory can't be: there its use is an error.
"""

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class ForkAware(Protocol):
    """Something that holds what a child must not inherit."""

    def forget_after_fork(self) -> None:
        """In the child, which has one thread: drop locks and files, without closing them."""


_aware: "weakref.WeakSet[Any]" = weakref.WeakSet()


class _Gate:
    """Counts the threads that are inside SQLite, in all and of the thread that asks."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._inside = 0
        self._mine = threading.local()

    def count(self, change: int) -> None:
        with self.changed:
            self._inside += change
            self._mine.inside = self.mine() + change
            self.changed.notify_all()

    def mine(self) -> int:
        return getattr(self._mine, "inside", 0)

    def close(self) -> None:
        self.changed.acquire()
        while self._inside > self.mine():
            self.changed.wait()

    def open(self) -> None:
        self.changed.release()

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


_gate = _Gate()


def aware(holder: ForkAware) -> None:
    """From here on, tell `holder` in the child after each fork."""
    _aware.add(holder)


@contextmanager
def inside_sqlite() -> Iterator[None]:
    """While a thread is in here, other threads' forks wait."""
    _gate.count(1)
    try:
        yield
    finally:
        _gate.count(-1)


def abandon(holder: Any) -> None:
    """Keep an object for ever, so that nothing closes it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(holder))


def _in_child() -> None:
    _gate.reset()
    for holder in list(_aware):
        holder.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_in_child)
