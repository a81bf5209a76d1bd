"""Code that isn't asynchronous, where an event loop waits for it.

`run` has it run on the loop's own thread, in a greenlet: where it would wait for an answer it hands
the loop something to await (`wait_for`), and goes on with the result. So there is one description
of what is asked, for threads and for loops. What would keep the loop from its other tasks meanwhile
goes to a thread by `aside`. Everywhere else `aside` and `sleep` are plain calls: `aside` takes a
fifth of a microsecond.

Such code holds no lock of `threading` where it waits: another greenlet of the same thread would
wait for it for ever.
"""

import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from retrieval_store.base.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

_greenlet: Any = None  # the class, once an event loop has asked for it
_current: Callable[[], Any] | None = None


def is_available() -> bool:
    """Whether there are greenlets; they are loaded here."""
    global _greenlet, _current
    try:
        from greenlet import getcurrent, greenlet
    except ImportError:
        return False
    _greenlet, _current = greenlet, getcurrent
    return True


async def run(call: Callable[[], T], threads: "Threads") -> T:
    """What a call returns that may wait by `wait_for`; threads: where it works aside. Cancelled, it
    is raised where the call waits, which unwinds from there."""
    assert _current is not None
    worker: Any = _greenlet(call)
    worker.retrieval_store_threads = threads
    worker.gr_context = _current().gr_context  # one context, so that spans nest in both directions
    asked: Any = worker.switch()
    while not worker.dead:
        try:
            answer = await asked
        except GeneratorExit:  # the loop has ended: nothing can be awaited any more
            _end(worker)
            raise
        except BaseException as error:
            asked = worker.throw(error)
        else:
            asked = worker.switch(answer)
    result: T = asked
    return result


def _end(worker: Any) -> None:
    while not worker.dead:
        with suppress(GeneratorExit):
            asked = worker.throw(GeneratorExit)
            if isinstance(asked, Coroutine):
                asked.close()


def is_on_loop() -> bool:
    """Whether who calls runs by `run`, and so can use `wait_for`."""
    return _threads() is not None


def wait_for(awaitable: Awaitable[T]) -> T:
    """What an awaitable gives, for which the loop waits."""
    assert _current is not None
    result: T = _current().parent.switch(awaitable)
    return result


def aside(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a call returns: made in a thread where a loop would have to wait for it, else here."""
    threads = _threads()
    if threads is None:
        return call(*args, **kwargs)
    return wait_for(threads.run(partial(call, *args, **kwargs)))


def made_aside(function: Callable[P, T]) -> Callable[P, T]:
    """A function each call of which is made aside, and may take long."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        threads = _threads()
        if threads is None:
            return function(*args, **kwargs)
        return wait_for(threads.run(partial(function, *args, **kwargs), is_long=True))

    return call


def sleep(seconds: float) -> None:
    """Go on later."""
    if not is_on_loop():
        time.sleep(seconds)
        return
    import asyncio  # which takes longer than opening a store

    wait_for(asyncio.sleep(seconds))


def _threads() -> "Threads | None":
    """Those of the greenlet that runs just now; None where it is none of ours."""
    if _current is None:
        return None
    return getattr(_current(), "retrieval_store_threads", None)
