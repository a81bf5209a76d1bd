"""Requests to a server, over connections that are kept open."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any, TypeVar

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.errors import ClientClosedError
from retrieval_store.served.attempts import Attempts, FailedError, Request, garbled, unreached
from retrieval_store.served.lines import Line, body_of, connected
from retrieval_store.served.opening import LOOKED_WITHIN, Address, is_ours
from retrieval_store.wire import frames
from retrieval_store.wire.api import ROOT, Method
from retrieval_store.wire.message import Buffer, MalformedError, size_of

KEPT = 32  # idle connections of each kind
ASKED_AGAIN = 60.0  # seconds after which a server that took none is asked for one of our own again
T = TypeVar("T")


class Connection:
    """Connections to one server, for any number of threads: of our own for what is short, by HTTP
    for all else, and where the server, or what stands before it, knows no other."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: dict[bool, list[Line]] = {True: [], False: []}  # by whether it is our own
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._by_http_until = 0.0 if address.context is None else float("inf")
        self._closed = False

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        return self.address.place

    def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method."""
        request = requested(method, path, given, doing)
        body = self._sent(request, lambda: self._body(request))
        return understood(method, body, self.place, doing)

    def received(self, request: Request, read: Callable[[HTTPResponse], T]) -> T:
        """What `read` makes of an answer as it comes."""
        return self._sent(request, lambda: self._by_http(request, read))

    def _sent(self, request: Request, attempt: Callable[[], T]) -> T:
        """What an attempt at a request gives; raises what `Attempts` says."""
        attempts = Attempts(request, self.place)
        while True:
            try:
                return attempt()
            except FailedError as failed:
                pause = attempts.pause_after(failed.failure)
            time.sleep(pause)

    def _body(self, request: Request) -> Buffer:
        is_short = not request.long and size_of(request.message) <= frames.LARGEST
        own = self._own() if is_short else None
        if own is None:
            return self._by_http(request, body_of)
        try:
            return own.exchange_alone(request)
        finally:
            self._give_back(own)

    def _by_http(self, request: Request, read: Callable[[HTTPResponse], T]) -> T:
        line = self._kept(is_own=False) or connected(self.address)
        try:
            return line.exchange(request, read)
        finally:
            self._give_back(line)

    def _own(self) -> Line | None:
        """A connection of our own; None where the server gives none."""
        kept = self._kept(is_own=True)
        if kept is not None or time.monotonic() < self._by_http_until:
            return kept
        line = connected(self.address)
        try:
            if line.become_own():
                return line
        except (OSError, HTTPException):  # what is wrong is found out by HTTP
            line.close()
        self._by_http_until = time.monotonic() + ASKED_AGAIN
        self._give_back(line)
        return None

    def _kept(self, is_own: bool) -> Line | None:
        """One that was used before."""
        if self._closed:
            raise ClientClosedError(f"the client of the server {self.place} has been closed")
        with self._lock:
            if self._process != os.getpid():  # those of the parent are the parent's
                self._process, self._idle = os.getpid(), {True: [], False: []}
            idle = self._idle[is_own]
            while idle:
                line = idle.pop()
                if line.is_fresh:
                    return line
                line.close()
        return None

    def _give_back(self, line: Line) -> None:
        with self._lock:
            idle = self._idle[line.is_own]
            if line.rest() and not self._closed and len(idle) < KEPT:
                idle.append(line)
                return
        line.close()

    @contextmanager
    def alone(self) -> Iterator["Alone"]:
        """One connection of the caller's, which leads to one process of the server."""
        try:
            line = connected(self.address)
        except FailedError as failed:
            raise failed.failure.error from failed.__cause__
        try:
            yield Alone(line, self.place)
        finally:
            line.close()

    def close(self) -> None:
        """Close all connections; calls raise ClientClosedError from here on."""
        self._closed = True
        with self._lock:
            idle, self._idle = [*self._idle[True], *self._idle[False]], {True: [], False: []}
        for line in idle:
            line.close()


@dataclass(frozen=True, slots=True)
class Alone:
    """One connection, on which nothing is tried again: who asks for one wants what is there."""

    line: Line
    place: str

    def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method."""
        request = requested(method, path, given, doing)
        try:
            body = self.line.exchange(request, body_of)
        except FailedError as failed:
            raise failed.failure.error from failed.__cause__
        return understood(method, body, self.place, doing)


def requested(method: Method, path: str, given: Mapping[str, Any], doing: str) -> Request:
    """The request for a method."""
    message = method.asked(given)
    return Request(f"{ROOT}{path}", message, doing, method.access != "read", method.long)


def understood(method: Method, body: Buffer, place: str, doing: str) -> Any:
    """The result in an answer; raises ClusterError where it can't be read."""
    try:
        return method.result(body)
    except MalformedError as error:
        raise garbled(place, doing) from error


def is_ours_at(address: Address) -> bool | None:
    """Whether there is a server of ours; None where nothing answers that could be one."""
    try:
        return _looked_at(address)
    except OSError:
        return None


def is_ours_in_time(address: Address) -> bool:
    """The same, of one that may be just starting; raises UnavailableError where nothing answers."""
    attempts = Attempts(Request("/", (), "looking what is there"), address.place)
    while True:
        try:
            return _looked_at(address)
        except OSError as error:
            pause = attempts.pause_after(unreached(error, address.place))
        time.sleep(pause)


def _looked_at(address: Address) -> bool:
    """Whether what answers is a server of ours; raises OSError where nothing does."""
    within = min(LOOKED_WITHIN, address.timeout or LOOKED_WITHIN)
    line = Line(replace(address, timeout=within))
    try:
        line.connect()
        response = line.asked("GET", "/", None)
        return is_ours(response.status, response.read())
    except HTTPException as error:
        if isinstance(error, OSError):  # it ended just then
            raise
        return False
    finally:
        line.close()
