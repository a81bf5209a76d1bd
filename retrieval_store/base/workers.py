"""Thread pools that also work while the interpreter ends.

When the interpreter ends, `concurrent.futures` accepts no calls and can't be imported. A
`WorkerPool` still makes calls then, for example for an `atexit` function, or for a thread that
outlives the main thread. Each thread of the pool also records the event loop for which it works.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

P = ParamSpec("P")
T = TypeVar("T")
# The event loop for which a thread works.
CALLING: "ContextVar[AbstractEventLoop | None]" = ContextVar("retrieval_store_loop", default=None)


def calling_loop() -> "AbstractEventLoop | None":
    """The event loop for which this thread works, for example in a call of an `AsyncClient`; None
    if there is no such loop."""
    return CALLING.get()


class WorkerPool(Executor):
    """Like `ThreadPoolExecutor`, but if no thread can be started, the submitting thread makes the
    call itself.

    threads: the greatest number of threads; name: the prefix of their names.
    """

    def __init__(self, threads: int, name: str = "") -> None:
        self._is_closed = False
        self._threads: Executor | None = None
        try:
            from concurrent.futures import ThreadPoolExecutor
        except RuntimeError:  # the interpreter ends
            return
        self._threads = ThreadPoolExecutor(threads, name)

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a call, and return its future result. Raises RuntimeError after `shutdown`."""
        if self._is_closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        # Taken by the thread that makes the call, because a rejected call may have been queued.
        pending = [call]

        def make() -> T:
            return pending.pop()(*args, **kwargs)

        if self._threads is not None:
            try:
                return self._threads.submit(make)
            except RuntimeError:
                if self._is_closed:
                    raise
        made: Future[T] = Future()
        try:
            made.set_result(make())
        except BaseException as error:
            made.set_exception(error)
        return made

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls. wait: whether to wait for the submitted calls. cancel_futures:
        whether to cancel calls that haven't begun."""
        self._is_closed = True
        if self._threads is not None:
            self._threads.shutdown(wait, cancel_futures=cancel_futures)
