"""Limits on one request: memory and time, counted before they are used.

A server runs each request with a `Budget`. Before code allocates much memory, it reports the size
(`take`). Between pieces of work it checks whether to continue (`check`). Calls that an application
makes in its own process have no budget and no limits.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar, Token

from retrieval_store.base.locks import Lock
from retrieval_store.errors import (
    RequestStoppedError,
    RequestTimeoutError,
    RequestTooLargeError,
    UnavailableError,
)

MEGABYTE = 1_000_000
LARGE, LARGE_TIME = 20 * MEGABYTE, 0.1  # a request that uses more bytes or seconds is large
SHORT, SHORT_TIME = MEGABYTE, 0.005  # the same for work that blocks all other requests
# Steps of Python or SQL, of some 100 ns each, that a request is allowed to need.
STEPS = 100_000_000


class RequestMemory:
    """Counts the memory that all requests use together. most: the limit in bytes."""

    def __init__(self, most: int) -> None:
        self.most, self._taken, self._lock = most, 0, Lock()

    def take(self, size: int) -> None:
        """Count `size` bytes, which can be negative. Raises UnavailableError if there is no room
        for them."""
        with self._lock:
            if size > 0 and self._taken + size > self.most:
                raise UnavailableError(
                    f"the requests under way need all of the {self.most // MEGABYTE:,} MB for them;"
                    " try again later"
                )
            self._taken += size


class LargeRequestError(Exception):
    """Raised if a request turns out to be large while other requests wait behind it. The class
    doesn't derive from RetrievalStoreError, because code below the handler of this error might
    catch errors of that class."""


class Budget:
    """The limits on a request. seconds: its time limit, from now on. memory: its memory limit in
    bytes. together: the memory of all requests. steps: its limit on steps of Python or SQL.
    is_awaited: returns whether other requests wait for this thread; if they do, LargeRequestError
    is raised once this request turns out to be large. None if the request is allowed to be
    large."""

    __slots__ = (
        "_began", "_cpu", "_is_awaited", "_memory", "_seconds", "_steps", "_taken", "_together",
        "_token", "is_stopped",
    )  # fmt: skip

    def __init__(
        self,
        seconds: float,
        memory: int,
        together: RequestMemory,
        is_awaited: Callable[[], bool] | None = None,
        steps: int = STEPS,
    ) -> None:
        self._steps = steps
        self._seconds, self._began = seconds, time.monotonic()
        self._memory, self._taken, self._together = memory, 0, together
        self._is_awaited, self._cpu = is_awaited, 0.0
        self._token: Token[Budget | None]
        self.is_stopped = False  # another thread sets it once nobody waits for the answer

    def __enter__(self) -> None:
        """Make this the current budget until the `with` body ends."""
        self._token = _CURRENT.set(self)
        if self._is_awaited is not None:
            self._cpu = time.thread_time()

    @staticmethod
    def current() -> "Budget | None":
        """The budget of the request that this thread is executing; None without a request."""
        return _CURRENT.get()

    def __exit__(self, *error: object) -> None:
        _CURRENT.reset(self._token)
        if self._taken:
            self._together.take(-self._taken)
            self._taken = 0

    def check(self) -> None:
        """Raise an error if the time is over, or if the client has gone."""
        if self.is_stopped:
            raise RequestStoppedError("the client has gone; the request was given up")
        seconds = time.monotonic() - self._began
        if self._is_awaited is not None and self._is_large(seconds) and self._is_awaited():
            raise LargeRequestError
        if seconds > self._seconds:
            raise RequestTimeoutError(
                f"Timeout: Timeout error: Operation 'Search' timed out after {self._seconds:g} "
                "seconds"
            )

    def _is_large(self, seconds: float) -> bool:
        """Whether the request has used much memory, or much processor time of its own (without the
        time of other threads)."""
        its_own = seconds > LARGE_TIME and time.thread_time() - self._cpu > LARGE_TIME
        return its_own or self._taken > LARGE

    def end_after(self, seconds: float) -> None:
        """Set the time limit of the request to this number of seconds after its beginning."""
        self._seconds = seconds

    def take(self, size: int, noun: str, count: int) -> None:
        """Count bytes that are about to be allocated. noun, count: the kind and the number of
        objects that need them, for the error message."""
        if self._taken + size > self._memory:
            allowed = max(0, self._memory - self._taken) * count // max(1, size)
            raise RequestTooLargeError(
                f"the request needs {count:,} {noun}, of which a request may have some "
                f"{allowed:,}: it has {self._memory // MEGABYTE:,} MB"
            )
        self._together.take(size)
        self._taken += size
        self.check()

    def may_block(self) -> None:
        """Announce that the following code may take long or wait for other threads."""
        self.check()

    def check_steps(self, steps: int, noun: str, count: int) -> None:
        """Raise RequestTooLargeError if this number of steps would take too long on any machine.
        noun, count: the kind and the number of objects that need the steps, for the error
        message."""
        self.check()
        if steps > self._steps:
            raise RequestTooLargeError(
                f"the request needs {count:,} {noun}, of which a request may have some "
                f"{self._steps * count // steps:,} here"
            )


class WriteBudget(Budget):
    """The budget of a request that writes. Once the request has begun, nothing ends it: its memory
    is counted, but its time isn't limited, and it continues if its client has gone."""

    __slots__ = ()

    def check(self) -> None:
        """Do nothing, because a write is never interrupted."""


class ShortBudget(Budget):
    """The budget of a request that blocks all other requests. LargeRequestError is raised once the
    request has taken some milliseconds, or if it needs more than a megabyte."""

    __slots__ = ()

    def check(self) -> None:
        """Raise LargeRequestError if the request isn't short."""
        if self._taken > SHORT or time.monotonic() - self._began > SHORT_TIME:
            raise LargeRequestError

    def may_block(self) -> None:
        """Raise LargeRequestError, because no other request could be answered meanwhile."""
        raise LargeRequestError


_CURRENT: ContextVar[Budget | None] = ContextVar("budget", default=None)


def check() -> None:
    """Check whether to continue. Raises RequestTimeoutError once the time of the request is over,
    and RequestStoppedError once its client has gone."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.check()


def may_wait() -> bool:
    """Whether the current request is allowed to wait for other requests. Also True if this thread
    executes no request."""
    return not isinstance(_CURRENT.get(), ShortBudget)


def may_block() -> None:
    """Announce that the following code may take long or wait for other threads, for example for a
    cache that is filled from files. A request that must be short is then restarted in a thread in
    which it can take long."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.may_block()


def take(size: int, noun: str, count: int = 1) -> None:
    """Count bytes that are about to be allocated. noun, count: the kind and the number of objects
    that need them, for the error message. Raises RequestTooLargeError if the bytes exceed the
    request's limit, and UnavailableError if other requests leave too few bytes."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.take(size, noun, count)


def check_steps(steps: int, noun: str, count: int = 1) -> None:
    """Raise RequestTooLargeError if this number of steps exceeds the limit on a request. noun,
    count: the kind and the number of objects that need the steps, for the error message."""
    budget = _CURRENT.get()
    if budget is not None:
        budget.check_steps(steps, noun, count)
