"""Requests on their way to a cluster, while the next ones are made ready."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import Generic, TypeVar

AHEAD = 2  # requests that are under way, or wait for those; each is a few megabytes
Request = TypeVar("Request")


class NotSentError(Exception):
    """A request that wasn't sent, since one before it failed, whose error is told first."""


class Sending(Generic[Request]):
    """Sends requests in a thread of its own, one after the other, in the order in which they are
    given, so that what is written is always the first part of it. When one has failed, those after
    it aren't sent; on leaving, the one that is under way is waited for.

    One connection is enough: what takes time beside the server's work is making the next request.
    """

    def __init__(self, send: Callable[[Request], None]) -> None:
        self._send = send
        self._thread = ThreadPoolExecutor(1, "retrieval-store-sending")
        self._ended = Event()
        self._under_way: deque[Future[None]] = deque()

    def __enter__(self) -> "Sending[Request]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.shutdown()

    def add(self, request: Request) -> Future[None]:
        """Have a request sent when those before it are done. Waits while there are too many; raises
        the error of the one that it waits for."""
        while len(self._under_way) >= AHEAD:
            self._under_way.popleft().result()
        self._under_way.append(self._thread.submit(self._sent, request))
        return self._under_way[-1]

    def wait(self) -> None:
        """Until all that were given are done; raises the first error."""
        while self._under_way:
            self._under_way.popleft().result()

    def _sent(self, request: Request) -> None:
        if self._ended.is_set():
            raise NotSentError
        try:
            self._send(request)
        except BaseException:
            self._ended.set()
            raise
