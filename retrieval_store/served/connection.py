"""Requests to a server, over connections that are kept open."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any, Protocol, TypeVar

from retrieval_store.base.bridge import aside, is_on_loop, wait_for
from retrieval_store.base.dataclasses import replace
from retrieval_store.errors import ClientClosedError, ClusterError, InvalidArgumentError
from retrieval_store.served.attempts import (
    Attempts,
    FailedError,
    Failure,
    Request,
    garbled,
    not_ready,
    unreached,
)
from retrieval_store.served.lines import Line, body_of, connected, connected_own
from retrieval_store.served.opening import LOOKED_WITHIN, Address, is_ours
from retrieval_store.wire import frames
from retrieval_store.wire.api import ROOT, Method
from retrieval_store.wire.message import LARGEST, Buffer, MalformedError, size_of

KEPT = 32  # idle connections of each kind
ASKED_AGAIN = 60.0  # seconds after which a server that took none is asked for one of our own again
MANY = 256  # records of which a message is made aside
LARGE = 1 << 20  # bytes of an answer that is read aside
T = TypeVar("T")


class Answers(Protocol):
    """What an event loop waits for."""

    async def answer(self, request: Request) -> Buffer:
        """The answer to a request; raises what `Attempts` says."""


class Connection:
    """Connections to one server, for any number of threads: of our own for what is short, by HTTP
    for all else, and where the server, or what stands before it, knows no other. on_loops: what is
    asked instead where an event loop waits."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: dict[bool, list[Line]] = {True: [], False: []}  # by whether it is our own
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._by_http_until = 0.0 if address.context is None else float("inf")
        self._closed = False
        self.on_loops: Answers | None = None

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        return self.address.place

    def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method."""
        if _holds_many(given):
            request = aside(requested, method, path, given, doing)
        else:
            request = requested(method, path, given, doing)
        if self.on_loops is not None and is_on_loop():
            body = wait_for(self.on_loops.answer(request))
        else:
            body = tried(request, self.place, lambda: self._body(request))
        if len(body) > LARGE:
            return aside(understood, method, body, self.place, doing)
        return understood(method, body, self.place, doing)

    def received(self, request: Request, read: Callable[[HTTPResponse], T]) -> T:
        """What `read` makes of an answer as it comes."""
        return tried(request, self.place, lambda: self.by_http(request, read))

    def _body(self, request: Request) -> Buffer:
        is_short = not request.long and size_of(request.message) <= frames.LARGEST
        own = self._own() if is_short else None
        if own is None:
            return self.by_http(request, body_of)
        try:
            return own.exchange_alone(request)
        finally:
            self._give_back(own)

    def by_http(self, request: Request, read: Callable[[HTTPResponse], T]) -> T:
        """What `read` makes of an answer, in one attempt; raises FailedError."""
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
        line = connected_own(self.address)
        if line.is_own:
            return line
        self._by_http_until = time.monotonic() + ASKED_AGAIN
        self._give_back(line)
        return None

    def _kept(self, is_own: bool) -> Line | None:
        """One that was used before."""
        if self._closed:
            raise ClientClosedError(f"the client of the server {self.place} has been closed")
        if self._process != os.getpid():
            self._begin_in_child()
        with self._lock:
            idle = self._idle[is_own]
            while idle:
                line = idle.pop()
                if line.is_fresh:
                    return line
                line.close()
        return None

    def _begin_in_child(self) -> None:
        """After a fork: the connections are the parent's, whose lock may have been held just
        then."""
        self._process, self._lock = os.getpid(), threading.Lock()
        idle, self._idle = [*self._idle[True], *self._idle[False]], {True: [], False: []}
        for line in idle:
            line.close()  # which ends the child's part in it alone

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
        alone = Alone(self.address)
        try:
            yield alone
        finally:
            alone.close()

    def close(self) -> None:
        """Close all connections; calls raise ClientClosedError from here on."""
        self._closed = True
        with self._lock:
            idle, self._idle = [*self._idle[True], *self._idle[False]], {True: [], False: []}
        for line in idle:
            line.close()


class Alone:
    """One connection. Where it is cut another takes its place, which leads to the same process
    where the server has but one."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._line: Line | None = None

    def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method that only reads; raises what `Attempts` says."""
        request = requested(method, path, given, doing)
        body = tried(request, self._address.place, lambda: self._body(request))
        return understood(method, body, self._address.place, doing)

    def _body(self, request: Request) -> Buffer:
        if self._line is None or self._line.sock is None:
            may_be_own = self._address.context is None
            self._line = (connected_own if may_be_own else connected)(self._address)
            if self._line.sock is None:
                self._line = connected(self._address)
        if self._line.is_own:
            return self._line.exchange_alone(request)
        return self._line.exchange(request, body_of)

    def close(self) -> None:
        """Close it."""
        if self._line is not None:
            self._line.close()


def tried(request: Request, place: str, attempt: Callable[[], T]) -> T:
    """What an attempt at a request gives; raises what `Attempts` says."""
    attempts = Attempts(request)
    while True:
        try:
            return attempt()
        except FailedError as failed:
            pause = attempts.pause_after(failed.failure)
        time.sleep(pause)


def _holds_many(given: Mapping[str, Any]) -> bool:
    """Whether making a message of it takes milliseconds."""
    batch = given.get("batch")
    ids = given.get("ids") if batch is None else batch.ids
    return ids is not None and len(ids) > MANY


def requested(method: Method, path: str, given: Mapping[str, Any], doing: str) -> Request:
    """The request for a method; raises InvalidArgumentError for one that is too large."""
    message = method.asked(given)
    if size_of(message) > LARGEST:
        raise InvalidArgumentError(
            f"{doing} takes {size_of(message):,} bytes at once; a server takes {LARGEST:,}: divide "
            "it into several calls"
        )
    return Request(f"{ROOT}{path}", message, doing, method.access != "read", method.long)


def understood(method: Method, body: Buffer, place: str, doing: str) -> Any:
    """The result in an answer; raises ClusterError where it can't be read."""
    try:
        return method.result(body)
    except MalformedError as error:
        raise garbled(place, doing) from error


def is_ours_at(address: Address) -> bool | None:
    """Whether there is a server of ours, rather than a Qdrant; None where neither answers now."""
    try:
        return _looked_at(address)
    except (OSError, HTTPException):  # errors of ours too, which are told when it is used
        return None


def is_ours_in_time(address: Address) -> bool:
    """The same, of one that may be just starting; raises UnavailableError where nothing answers,
    and ClusterError for what is neither."""
    attempts = Attempts(Request("/", (), "looking what is there"))
    while True:
        try:
            found = _looked_at(address)
            if found is not None:
                return found
            failure = Failure(not_ready(address.place), again=True, begun=False)
        except ClusterError:
            raise
        except (OSError, HTTPException) as error:
            failure = unreached(error, address.place)
        time.sleep(attempts.pause_after(failure))


def _looked_at(address: Address) -> bool | None:
    """What `is_ours` says of what answers; raises OSError or HTTPException where nothing does."""
    within = min(LOOKED_WITHIN, address.timeout or LOOKED_WITHIN)
    line = Line(replace(address, timeout=within))
    try:
        line.connect()
        response = line.asked("GET", "/", None)
        return is_ours(response.status, response.read(), address.place)
    finally:
        line.close()
