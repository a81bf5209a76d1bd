"""What happens to an open store when the process forks.

SQLite's connections must not be used, nor even closed, in a child that inherited them. And SQLite
notes for each file which locks this process holds, and a child that inherits such a note takes no
locks of its own. So a fork waits until no thread is inside SQLite, and closes all connections
first; the child opens stores anew by path. A store in memory can't be opened so: there its use is
an error.
"""

import os
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from retrieval_store.engine.concurrency.locking import SharedLock

T = TypeVar("T")


class ForkAware(Protocol):
    """Something that holds what a child must not inherit."""

    def forget_after_fork(self) -> None:
        """In the child, which has one thread: drop what threads of the parent may hold."""


class ClosesBeforeFork(Protocol):
    """Something that can close what is idle."""

    def close_before_fork(self) -> None:
        """Close it."""


_aware: "weakref.WeakSet[Any]" = weakref.WeakSet()
_closing: "weakref.WeakSet[Any]" = weakref.WeakSet()
_gate = SharedLock()


def reset_after_fork(holder: ForkAware) -> None:
    """From here on, tell `holder` in the child after each fork."""
    _aware.add(holder)


def closes_before_fork(holder: ClosesBeforeFork) -> None:
    """From here on, let `holder` close what it can before each fork."""
    _closing.add(holder)


def unforkable(work: Callable[[], T]) -> T:
    """What `work` returns, which is inside SQLite or changes an index: other threads' forks wait
    for it."""
    return _gate.share(work)


def is_unforkable() -> bool:
    """Whether this thread is in `unforkable`, and forks nevertheless."""
    return _gate.is_mine()


def _before() -> None:
    interrupt = None
    while True:
        try:
            _gate.wait_for_others()
            break
        except BaseException as error:  # Python goes on with the fork, so this must too
            interrupt = error
    for holder in list(_closing):
        with suppress(Exception):
            holder.close_before_fork()
    if interrupt is not None:
        raise interrupt


def _in_child() -> None:
    _gate.forget_others()
    for holder in list(_aware):
        holder.forget_after_fork()


if hasattr(os, "register_at_fork"):
    # Python calls `before` in the reverse of this order, the others in this order. The locks' own
    # methods, since an interrupt can't come before their first step; and _before twice, since it
    # can come before that of one of them.
    os.register_at_fork(before=_before, after_in_child=_in_child)
    os.register_at_fork(before=_before)
    for _lock in (_gate.excluding, _gate.barrier):
        os.register_at_fork(
            before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
        )
