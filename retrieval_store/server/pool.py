"""The threads in which requests are answered, so that the loop never waits for a disk, a lock or a
computation.

So many requests as there are threads are under way at once; others wait for one, in the order in
which they came, and those that would wait behind too many are refused at once. One whose client has
gone while it waited isn't begun.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from retrieval_store.errors import ClientClosedError


class BusyError(Exception):
    """Too many requests wait."""


class WaitedTooLongError(Exception):
    """A request waited for a thread for as long as it may, and wasn't begun."""


class GoneError(Exception):
    """The client of a request that waited has gone, and it wasn't begun."""


class Pool:
    """Threads that wait for calls; they end with `close`. waiting: how many calls may wait."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads, self._most = threads, threads + waiting
        self._executor = ThreadPoolExecutor(threads, "server")
        self._lock = threading.Lock()
        self._under_way = 0
        self._closed = False

    async def run(
        self, call: Callable[[], Any], gone: Callable[[], Awaitable[object]], seconds: float
    ) -> Any:
        """What the call returns or raises, in a thread. gone: returns once the client has gone; it
        is called where the call doesn't begin at once; seconds: for how long it may wait then.
        Raises BusyError, WaitedTooLongError, GoneError, or ClientClosedError after `close`, for a
        call that is never begun."""
        if self._closed:
            raise ClientClosedError("the server has ended")
        held = [call]  # the executor keeps what it was given, also of a call that was given up

        def begun() -> Any:
            return held.pop()()

        with self._lock:
            if self._under_way >= self._most:
                raise BusyError
            waits = self._under_way >= self._threads
            future = self._executor.submit(copy_context().run, begun)
            self._under_way += 1
        future.add_done_callback(self._ended)
        answer = asyncio.wrap_future(future)
        try:
            if waits:
                await _until_begun(future, answer, gone, seconds)
            return await answer
        finally:
            if future.cancel():  # which a call that has begun can't be
                held.clear()

    def _ended(self, _: "Future[Any]") -> None:
        """One call less. One that has begun counts until it is done, awaited or not."""
        with self._lock:
            self._under_way -= 1

    def close(self) -> None:
        """End the threads, once they have done what was begun or waits."""
        self._closed = True
        self._executor.shutdown()


async def _until_begun(
    future: "Future[Any]",
    answer: "asyncio.Future[Any]",
    gone: Callable[[], Awaitable[object]],
    seconds: float,
) -> None:
    """Wait until a call is done, or give it up if it hasn't begun when its client has gone or it
    has waited too long."""
    watch = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answer, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if future.cancel():  # which a call that has begun can't be
            raise GoneError if watch.done() else WaitedTooLongError
    finally:
        watch.cancel()
