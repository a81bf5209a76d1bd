"""A limited number of threads for calls that an event loop can't make itself.

Long calls, such as writes, use at most half of the threads, so short calls never queue behind
writers.
"""

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial, wraps
from types import CoroutineType
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from retrieval_store.base.locks import Lock
from retrieval_store.base.workers import CALLING, WorkerPool

P = ParamSpec("P")
T = TypeVar("T")
_Call: TypeAlias = Callable[[], Any]
_Long: TypeAlias = tuple[Future[Any], _Call]
WORKING = max(4, min(16, 2 * (os.cpu_count() or 1)))  # threads for calls that take the processor
WAITING = 64  # threads for calls that wait for another process


def async_twin(method: Callable[P, T]) -> "Callable[P, CoroutineType[Any, Any, T]]":
    """The asynchronous twin of a method. It has the method's name with an "a" before it and the
    same parameters, and runs the method in a thread. If a framework's base class declares fewer
    parameters, editors would show only those; in such classes the twin is written out instead.

    Args:
        method: a method of the class in whose body this function is called. If a subclass overrides
            the method, its twin calls the overriding method.
    """
    name = method.__name__
    shown = re.sub(r"^(_*)", r"\1a", name)

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        result: T = await asyncio.to_thread(getattr(args[0], name), *args[1:], **kwargs)
        return result

    call.__name__, call.__doc__ = shown, f"`{name}`, on a thread."
    call.__qualname__ = method.__qualname__.removesuffix(name) + shown
    return cast("Callable[P, CoroutineType[Any, Any, T]]", call)


class Threads:
    """Threads for calls from any event loop, started with the first call. They keep a process alive
    only while calls are running. After a fork the child starts its own threads."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._pool = WorkerPool(self._number, "retrieval-store-calls")
        self._lock = Lock()
        self._futures: set[Future[Any]] = set()
        self._taken = 0  # threads that long calls use
        self._long: deque[_Long] = deque()  # long calls that wait for other long calls to end

    async def run(self, call: Callable[[], T], is_long: bool = False) -> T:
        """Make a call in a thread, in the context of the awaiting task, and return its result. A
        call that is cancelled before it has begun is never made. A call that is cancelled later
        runs to its end. is_long: whether the call may take long. At most half of the threads make
        long calls at the same time."""
        if self._process != os.getpid():
            self._begin()
        context = copy_context()
        context.run(CALLING.set, asyncio.get_running_loop())
        bound_call = partial(context.run, _without_stop_iteration, call)
        future = self._queue(bound_call) if is_long else self._pool.submit(bound_call)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        try:
            return await asyncio.wrap_future(future)
        finally:
            del future  # the traceback of an error would keep it alive

    async def settle(self) -> None:
        """Wait for all calls, including those that are no longer awaited."""
        while self._process == os.getpid() and self._futures:
            futures = map(asyncio.wrap_future, tuple(self._futures))
            # Shielded, because cancelling this wait must not cancel the calls of others.
            await asyncio.shield(asyncio.gather(*futures, return_exceptions=True))

    def end(self) -> None:
        """Stop the threads; no more calls are accepted."""
        if self._process == os.getpid():
            self._pool.shutdown(wait=False)

    def _queue(self, call: _Call) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._taken >= max(1, self._number // 2):
                self._long.append((future, call))
                return future
            self._taken += 1
        self._pool.submit(self._work, future, call)
        return future

    def _work(self, future: Future[Any], call: _Call) -> None:
        """Make a long call. Its thread then makes the next long call in the queue, or is
        released."""
        _settle(future, call)
        del future, call
        with self._lock:
            if not self._long:
                self._taken -= 1
                return
            following = self._long.popleft()
        self._pool.submit(self._work, *following)


def _without_stop_iteration(call: Callable[[], T]) -> T:
    """Make a call and return its result. StopIteration is replaced by RuntimeError, because it
    can't be raised into a coroutine."""
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError("a function that was called has raised StopIteration") from error


def _settle(future: Future[Any], call: _Call) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)
    finally:
        del future, call
