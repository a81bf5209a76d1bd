"""What happens to an open store when the process forks.

SQLite's connections must not be used, nor even closed, in a child that inherited them. And SQLite
notes for each file which locks this process holds, and a child that inherits such a note takes no
locks of its own. So a fork waits until no thread is inside SQLite, and closes all connections
first; the child opens stores anew by path. A store in memory can't be opened so: there its use is
an error.
"""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class ForkAware(Protocol):
    """Something that holds what a child must not inherit."""

    def forget_after_fork(self) -> None:
        """In the child, which has one thread: drop what threads of the parent may hold."""


class Rests(Protocol):
    """Something that can close what is idle."""

    def rest(self) -> None:
        """Close it."""


_aware: "weakref.WeakSet[Any]" = weakref.WeakSet()
_resting: "weakref.WeakSet[Any]" = weakref.WeakSet()


class _Gate:
    """Counts the threads that are inside SQLite, in all and of the thread that asks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closing = False
        self._inside = 0
        self._mine = threading.local()

    def enter(self) -> None:
        """Wait while a fork is under way, unless this thread is inside already."""
        with self._changed:
            while self._closing and not self._of_this_thread():
                self._changed.wait()
            self._count(1)

    def leave(self) -> None:
        """The opposite of `enter`."""
        with self._changed:
            self._count(-1)
            if self._closing:
                self._changed.notify_all()

    def close(self) -> None:
        """Wait until no other thread is inside, and keep them out."""
        self._changed.acquire()
        self._closing = True
        while self._inside > self._of_this_thread():
            self._changed.wait()

    def open(self) -> None:
        """Let them in again."""
        self._closing = False
        self._changed.notify_all()
        self._changed.release()

    def _of_this_thread(self) -> int:
        return getattr(self._mine, "inside", 0)

    def _count(self, change: int) -> None:
        self._inside += change
        self._mine.inside = self._of_this_thread() + change


_gates = [_Gate()]


def aware(holder: ForkAware) -> None:
    """From here on, tell `holder` in the child after each fork."""
    _aware.add(holder)


def rests_before_fork(holder: Rests) -> None:
    """From here on, let `holder` close what it can before each fork."""
    _resting.add(holder)


@contextmanager
def unforkable() -> Iterator[None]:
    """While a thread is in here, inside SQLite or changing an index, other threads' forks wait."""
    enter_unforkable()
    try:
        yield
    finally:
        leave_unforkable()


def enter_unforkable() -> None:
    """From here on other threads' forks wait."""
    _gates[0].enter()


def leave_unforkable() -> None:
    """The opposite of `enter_unforkable`."""
    _gates[0].leave()


def _before() -> None:
    _gates[0].close()
    for holder in list(_resting):
        holder.rest()


def _in_child() -> None:
    _gates[0] = _Gate()
    for holder in list(_aware):
        holder.forget_after_fork()


def _in_parent() -> None:
    _gates[0].open()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
