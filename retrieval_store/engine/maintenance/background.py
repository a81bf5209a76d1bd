"""Maintenance in the background. One thread maintains all collections of this process; it runs only
while there is work.

The thread never keeps the process alive: it is a daemon thread, and is stopped at exit within
milliseconds. The next process does the remaining maintenance. In a forked child maintenance starts
with an empty schedule. A process that never needs maintenance doesn't import this module.
"""

import atexit
import math
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue

from retrieval_store.base.locks import ReentrantLock
from retrieval_store.base.system import is_interpreter_ending
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.access import Access
from retrieval_store.engine.locks import collect_deferred, reset_after_fork, unforkable
from retrieval_store.errors import NotFoundError, RetrievalStoreError
from retrieval_store.query.types import Progress

AGAIN_AFTER = 1.0  # seconds until the next attempt, if work was left
EXIT_WAITS = 1.0  # seconds that the end of the process waits for the thread
_log = log_of("maintenance")


class _Stop(Exception):  # noqa: N818 (it isn't an error)
    """Raised to stop maintenance because the collection is being closed, or the process ends."""


class BackgroundMaintenance:
    """The schedule of maintenance: collections, each with the time at which its maintenance is
    due."""

    def __init__(self) -> None:
        # Reentrant, because a signal's handler may use a collection too.
        self._lock = ReentrantLock()
        # Wakes the thread, so that it checks again what is due.
        self._calls: SimpleQueue[None] = SimpleQueue()
        self._due: dict[weakref.ref[Access], float] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False
        reset_after_fork(self)

    def want(self, access: Access, delay: float = 0.0) -> None:
        """Schedule maintenance of a collection after `delay` seconds. The call costs next to
        nothing if maintenance is already scheduled for the same time or earlier."""
        key, due = weakref.ref(access), time.monotonic() + delay
        if self._stopping or (self._due.get(key, math.inf) <= due and self._is_running()):
            return
        if is_interpreter_ending():
            return
        with self._lock:
            self._due[key] = min(due, self._due.get(key, due))
            if not self._is_running():
                self._start()
        self._calls.put(None)

    def _is_running(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._run, name="retrieval-store-maintenance", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:  # no thread can be started, now or later
            self._thread = None
            self._due.clear()

    def stop(self) -> None:
        """Stop the maintenance thread, and wait for its end for a short time."""
        self._stopping = True
        with self._lock:
            self._due.clear()
            thread = self._thread
        self._calls.put(None)
        if thread is not None and thread.is_alive():
            thread.join(EXIT_WAITS)

    def forget_after_fork(self) -> None:
        """Called in a forked child: start with an empty schedule, because the child has no
        maintenance thread."""
        self._lock, self._calls = ReentrantLock(), SimpleQueue()
        self._due, self._thread = {}, None

    def _run(self) -> None:
        later = collect_deferred()
        while True:
            points = self._next()
            if points is not None and self._maintain(points):
                self.want(points, AGAIN_AFTER)
            ended = points is None
            del points  # so that it can be collected while this thread waits
            while later:
                later.pop()()
            if ended:
                return

    def _next(self) -> Access | None:
        """Wait until maintenance of a collection is due, and return the collection. None if nothing
        is scheduled; the thread then ends."""
        while True:
            with self._lock:
                if not self._due:
                    self._thread = None
                    return None
                key = min(self._due, key=self._due.__getitem__)
                wait = self._due[key] - time.monotonic()
                points = key() if wait <= 0 else None
                if wait <= 0:
                    del self._due[key]
            if points is not None:
                return points
            if wait > 0:
                with suppress(Empty):
                    self._calls.get(timeout=wait)

    def _maintain(self, access: Access) -> bool:
        try:
            return unforkable(_load_run_once)(access, partial(self._stop_early, access))
        except _Stop:
            return False
        except RetrievalStoreError as error:
            is_gone = isinstance(error, NotFoundError) or access.dropped or _is_gone(access)
            if not (access.closing or is_gone):
                _log.warning("maintenance of collection %r failed: %s", access.name, error)
            return False
        except Exception as error:
            is_gone = isinstance(error, FileNotFoundError) and _is_gone(access)
            if not (is_gone or is_interpreter_ending()):
                _log.exception("maintenance of collection %r failed", access.name)
            return False
        finally:
            access.account_memory()  # an index or codes may have grown

    def _stop_early(self, access: Access, done: int, total: int) -> None:
        """Called with the progress of maintenance. Raises `_Stop` if the collection is being closed
        or the thread must end."""
        if access.closing or self._stopping:
            raise _Stop


def _is_gone(access: Access) -> bool:
    """Whether another process has deleted the collection."""
    return access.directory is not None and not access.directory.exists()


def _load_run_once() -> Callable[[Access, Progress], bool]:
    """Import the maintenance modules only when they are needed, and return `run_once`. Forks wait
    meanwhile, because a child forked during the import would wait for the import's lock forever."""
    from retrieval_store.engine.maintenance.run import run_once

    return run_once


_maintenance = BackgroundMaintenance()
want = _maintenance.want
atexit.register(_maintenance.stop)
