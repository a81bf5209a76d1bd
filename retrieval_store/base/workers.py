"""Threads that make calls, for as long as the interpreter starts any.

At its end `concurrent.futures` takes no calls and can't be imported. Work at that time, as in a
function registered for the exit or in a thread that outlives the main one, is still done. A thread
knows the event loop that it works for.
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
    """The event loop for which this thread works, as by a call of an `AsyncClient`'s; None where
    there is none."""
    return CALLING.get()


class WorkerPool(Executor):
    """A `ThreadPoolExecutor`; where no thread can be started, the submitting thread makes the call.

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
        """The future result of a call. RuntimeError after `shutdown`."""
        if self._is_closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        pending = [call]  # taken by the one that makes it: a refused call may have been queued

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
        """Take no more calls; wait for those that were submitted, or cancel those that haven't
        begun."""
        self._is_closed = True
        if self._threads is not None:
            self._threads.shutdown(wait, cancel_futures=cancel_futures)
