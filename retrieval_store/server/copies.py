"""Private copies of collections, of which clients read page by page what they were at one
moment."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from uuid import uuid4

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.errors import StorageError
from retrieval_store.query.protocols import EnginePoints
from retrieval_store.server.pool import BusyError

MOST = 16  # at a time: each is as large as what it is of
KEPT_SECONDS = 600.0  # that one isn't asked for anything


@dataclass(slots=True)
class _Copy:
    points: EnginePoints
    ending: ExitStack
    used: float
    is_left: bool = False  # the connection that it was made for is closed


class Copies:
    """Those that this process holds, by names that can't be guessed."""

    def __init__(self) -> None:
        self._held: dict[str, _Copy] = {}
        self._making = 0
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def begin(self, make: "Callable[[], AbstractContextManager[EnginePoints]]") -> str:
        """Make one; its name. Where there are too many it takes the place of one that is left;
        BusyError where none is."""
        with self._lock:
            left = [name for name, copy in self._held.items() if copy.is_left]
            is_full = len(self._held) + self._making >= MOST
            if is_full and not left:
                raise BusyError
            self._making += 1
        if is_full:
            self.end(left[0])
        ending = ExitStack()
        try:
            points = ending.enter_context(make())
        finally:
            with self._lock:
                self._making -= 1
        name = uuid4().hex
        with self._lock:
            self._held[name] = _Copy(points, ending, time.monotonic())
            self._look_later()
        return name

    def points(self, name: str) -> EnginePoints:
        """The points of one; StorageError where it is gone."""
        with self._lock:
            copy = self._held.get(name)
            if copy is None:
                raise StorageError("the copy that was read is gone: begin again")
            copy.used, copy.is_left = time.monotonic(), False
            return copy.points

    def leave(self, name: str) -> None:
        """Note that the connection is closed for which one was made. It may be asked for on another
        all the same, if something between the client and the server has closed it."""
        with self._lock:
            if name in self._held:
                self._held[name].is_left = True

    def end(self, name: str) -> None:
        """Let go of one, if it is there."""
        with self._lock:
            copy = self._held.pop(name, None)
        if copy is not None:
            copy.ending.close()

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            names = [*self._held]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for name in names:
            self.end(name)

    def _look_later(self) -> None:
        """Look, once in a while, whether some are forgotten; called with the lock."""
        if self._timer is None:
            self._timer = threading.Timer(KEPT_SECONDS / 10, self._look)
            self._timer.daemon = True
            self._timer.start()

    def _look(self) -> None:
        before = time.monotonic() - KEPT_SECONDS
        with self._lock:
            self._timer = None
            forgotten = [name for name, copy in self._held.items() if copy.used < before]
            if len(forgotten) < len(self._held):
                self._look_later()
        for name in forgotten:
            self.end(name)
