"""The threads that answer requests.

Requests are answered in threads (`Pool`), so that the event loop never waits for a disk, a lock or
a computation. As many requests run at once as there are threads. Further requests queue in order of
arrival; when the queue is full, requests are refused. A queued request whose client has
disconnected isn't started. A read runs on the event loop instead if recent reads of its kind were
quick (`QuickReads`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import Any, TypeAlias

from retrieval_store.errors import ClientClosedError
from retrieval_store.extension import (
    Budget,
    LargeRequestError,
    Lock,
    RequestMemory,
    ShortBudget,
    WriteBudget,
    give_back_memory,
)


class BusyError(Exception):
    """A request was refused because too many requests are waiting."""


class WaitedTooLongError(Exception):
    """A request waited too long for a thread, and was not started."""


class GoneBeforeBegunError(Exception):
    """A client closed its connection while its request was queued."""


WATCHED_AFTER = 0.05  # seconds
LONG_CALL = 0.2  # seconds; after such a call memory is returned to the system, …
TRIM_DELAY = 0.3  # … this many seconds later, since that takes milliseconds


class Pool:
    """Threads that run calls; `close` ends them. waiting: how many calls can be queued."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._threads, self._most = threads, threads + waiting
        self._executor = ThreadPoolExecutor(threads, "server")
        self._lock = Lock()
        self.under_way = 0
        self.is_closed = self._tidies = False

    async def run(
        self,
        call: Callable[[], Any],
        gone: Callable[[], Awaitable[object]],
        seconds: float,
        budget: Budget | None = None,
    ) -> Any:
        """Run a call in a thread; returns its result or raises its error. gone: a coroutine
        function that returns once the client has disconnected. seconds: how long the call can be
        queued. budget: the budget of the call; the call is stopped when no client waits for the
        result any longer. A call that is not started raises BusyError, WaitedTooLongError,
        GoneBeforeBegunError, or, after `close`, ClientClosedError."""
        if self.is_closed:
            raise ClientClosedError("the server has ended")
        pending = [call]  # the executor keeps its arguments, even if the call was cancelled

        def begun() -> Any:
            return _within(budget, pending.pop())

        with self._lock:
            if self.under_way >= self._most:
                raise BusyError
            waits = self.under_way >= self._threads
            future = self._executor.submit(copy_context().run, begun)
            self.under_way += 1
        future.add_done_callback(self._end_call)
        answer, start = asyncio.wrap_future(future), time.monotonic()
        watch = None
        try:
            if waits:
                await _wait_in_queue(future, answer, gone, seconds)
            if budget is not None and not future.done():
                watch = _Watch(budget, gone)
            return await answer
        finally:
            if watch is not None:
                watch.end()
            if budget is not None and not future.done():  # nobody waits for it any longer
                budget.is_stopped = True
            if time.monotonic() - start > LONG_CALL:
                self._tidy_soon()
            if future.cancel():  # impossible for a running call
                pending.clear()
            # An error keeps its frames, and this frame both; that is a cycle that keeps the whole
            # call alive.
            del future, answer

    def is_awaited(self) -> bool:
        """Whether any call is waiting for a thread."""
        return self.under_way > self._threads

    def is_busy(self) -> bool:
        """Whether at least half of the threads are busy."""
        return 2 * self.under_way >= self._threads

    def _tidy_soon(self) -> None:
        """Return the memory that a large call has freed to the system, after its response was
        sent."""
        if not self._tidies and not self.is_closed:
            self._tidies = True
            asyncio.get_running_loop().call_later(TRIM_DELAY, self._tidy)

    def _tidy(self) -> None:
        self._tidies = False
        if not self.is_closed:
            self._executor.submit(give_back_memory)

    def _end_call(self, _: "Future[Any]") -> None:
        """Decrement the number of calls. A call that has started counts until it ends, even if no
        client waits for its result."""
        with self._lock:
            self.under_way -= 1

    def close(self) -> None:
        """End the threads once they have finished the running and queued calls."""
        self.is_closed = True
        self._executor.shutdown()


QUICK, QUICK_TIMES = 0.003, 4  # seconds of a quick read, and how many in a row make a kind quick
MAX_KINDS = 1_000
ReadKind: TypeAlias = Hashable


class QuickReads:
    """Kinds of reads that were quick recently. A read of such a kind runs on the event loop, since
    passing a call to a thread and back takes longer than many queries. A kind is a route, a
    collection, and the cost class of the request (`shapes.cost_class_of`). After a write, a kind
    counts as quick only when several of its reads were quick again, since reads may first have to
    load the changes."""

    def __init__(self) -> None:
        self._times: dict[ReadKind, int] = {}
        self._writes, self._lock = 0, Lock()  # running writes; a read may have to wait for them

    def include(self, kind: ReadKind) -> bool:
        """Whether reads of this kind are quick."""
        return not self._writes and self._times.get(kind, 0) >= QUICK_TIMES

    def note(self, kind: ReadKind, seconds: float) -> None:
        """Record how long a read of a kind took."""
        if seconds > QUICK:
            self._times.pop(kind, None)
            return
        if kind not in self._times and len(self._times) >= MAX_KINDS:
            self._times.clear()
        self._times[kind] = self._times.get(kind, 0) + 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A context manager: during its `with` block, and right after it, no kind counts as
        quick."""
        with self._lock:
            self._writes += 1
        try:
            yield
        finally:
            with self._lock:
                self._writes -= 1
            self._times.clear()


class Workers:
    """The threads that handle requests: a main pool, and a small pool for large reads, so that
    large reads do not block small requests. Quick kinds of reads need no thread. threads, waiting:
    the sizes of the main pool and of its queue; seconds, memory, steps: the budget of a read, where
    `seconds` is used if the request sets no timeout; together: the number of bytes that all reads
    together can use."""

    def __init__(
        self,
        threads: int,
        waiting: int,
        seconds: float,
        memory: int,
        steps: int,
        together: int,
    ) -> None:
        few = max(1, threads // 4)
        self.pool, self._large = Pool(threads, waiting), Pool(few, waiting)
        self.turns, self._quick = Turns(2 * few), QuickReads()
        self._steps = steps
        self._seconds, self._memory, self._together = seconds, memory, RequestMemory(together)

    async def run(
        self,
        call: Callable[[], Any],
        gone: Callable[[], Awaitable[object]],
        seconds: float,
    ) -> Any:
        """Run a call that writes; see `Pool.run`. The call is never stopped, since other threads
        may wait for it. The call's estimated memory counts towards the limit for all calls
        together."""
        budget = WriteBudget(self._seconds, self._memory, self._together, None, self._steps)
        with self._quick.writing():
            return await self.pool.run(partial(_within, budget, call), gone, seconds)

    async def read(
        self,
        call: Callable[[], Any],
        gone: Callable[[], Awaitable[object]],
        seconds: float,
        timeout: float | None,
        is_large: bool = False,
        kind: ReadKind | None = None,
    ) -> Any:
        """Run a call that reads, within a budget. timeout: the request's own timeout in seconds, if
        any. is_large: whether the call is known to be large; such calls use at most half of the
        threads. kind: the kind of read, if other reads of that kind predict how long it takes. If a
        call turns out to be large while other calls wait, it is stopped, and runs again in the pool
        for large reads."""
        if kind is not None and self._quick.include(kind):
            try:
                return self._read_on_loop(call, kind)
            except LargeRequestError:
                pass
        if not (is_large and self.pool.is_busy()):
            with suppress(LargeRequestError):
                budget = self._budget(timeout, self.pool.is_awaited)
                return await self._read_in_thread(call, gone, seconds, budget, kind)
        return await self._large.run(call, gone, seconds, self._budget(timeout, None))

    def _read_on_loop(self, call: Callable[[], Any], kind: ReadKind) -> Any:
        """Run a call on the event loop. Raises LargeRequestError if it takes longer than other
        calls of its kind."""
        if self.pool.is_closed:
            raise ClientClosedError("the server has ended")
        budget = ShortBudget(self._seconds, self._memory, self._together, None, self._steps)
        began, took = time.perf_counter(), QUICK_TIMES * QUICK
        try:
            with budget:
                result = call()
            took = time.perf_counter() - began
        finally:
            self._quick.note(kind, took)
        return result

    async def _read_in_thread(
        self,
        call: Callable[[], Any],
        gone: Callable[[], Awaitable[object]],
        seconds: float,
        budget: Budget,
        kind: ReadKind | None,
    ) -> Any:
        """Run a call in a thread, and record how long it took."""
        took = 0.0

        def timed() -> Any:
            nonlocal took
            began = time.perf_counter()
            try:
                return call()
            finally:  # the time that it would have taken alone
                took = (time.perf_counter() - began) / max(1, self.pool.under_way)

        try:
            return await self.pool.run(timed, gone, seconds, budget)
        finally:
            if kind is not None and took:
                self._quick.note(kind, took)

    def _budget(self, timeout: float | None, is_awaited: Callable[[], bool] | None) -> Budget:
        seconds = timeout or self._seconds
        return Budget(seconds, self._memory, self._together, is_awaited, self._steps)

    def close(self) -> None:
        """End the threads, as `Pool.close` does."""
        self.pool.close()
        self._large.close()


def _within(budget: Budget | None, call: Callable[[], Any]) -> Any:
    """The result of a call that runs within a budget; None for no budget."""
    if budget is None:
        return call()
    with budget:
        return call()


class _Watch:
    """Stops a call when its client has disconnected. Watching begins 50 ms after the call, when
    most calls have already ended."""

    def __init__(self, budget: Budget, gone: Callable[[], Awaitable[object]]) -> None:
        self._budget, self._gone = budget, gone
        self._task: asyncio.Future[Any] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCHED_AFTER, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.ensure_future(self._gone())
        self._task.add_done_callback(self._note_end)

    def _note_end(self, task: "asyncio.Future[Any]") -> None:
        if not task.cancelled():
            task.exception()  # nothing to report for a closed connection
            self._budget.is_stopped = True

    def end(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


async def _wait_in_queue(
    future: "Future[Any]",
    answer: "asyncio.Future[Any]",
    gone: Callable[[], Awaitable[object]],
    seconds: float,
) -> None:
    """Wait until a call is done. If the call has not started when its client disconnects, or after
    `seconds`, it is cancelled."""
    watch = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answer, watch}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if future.cancel():  # impossible for a running call
            raise GoneBeforeBegunError if watch.done() else WaitedTooLongError
    finally:
        watch.cancel()


Turn: TypeAlias = Callable[[], Awaitable[None]]
TURN = 2.0  # seconds


class Turns:
    """Limits how many large bodies are received and handled at the same time, since otherwise the
    event loop would have no time for other requests. A turn begins with the second megabyte of a
    body. It ends after two seconds, since a client that sends nothing would otherwise block other
    clients. count: how many bodies can have a turn at the same time."""

    def __init__(self, count: int) -> None:
        self.free = asyncio.Semaphore(count)

    def turn(self) -> "TurnOfBody":
        """A context manager that yields a function. That function waits for a turn, which ends at
        the end of the `with` block at the latest."""
        return TurnOfBody(self)


class TurnOfBody:
    """The turn of one body, if the body needs one; see `Turns.turn`."""

    __slots__ = ("_ending", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._ending: asyncio.TimerHandle | None = None

    async def _begin(self) -> None:
        await self._turns.free.acquire()
        self._ending = asyncio.get_running_loop().call_later(TURN, self._end)

    def _end(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
            self._turns.free.release()

    def __enter__(self) -> Turn:
        return self._begin

    def __exit__(self, *error: object) -> None:
        self._end()
