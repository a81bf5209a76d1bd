"""Requests to a server, over connections that are kept open."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, TypeVar

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
from retrieval_store.served.lines import Answer, Line, connected
from retrieval_store.served.opening import LOOKED_WITHIN, Address, is_ours
from retrieval_store.wire.api import ROOT, Method
from retrieval_store.wire.message import LARGEST, Buffer, MalformedError, size_of

KEPT = 64  # idle connections, one for each thread of an event loop's client
T = TypeVar("T")


class Connection:
    """Connections to one server, for any number of threads."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[Line] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        return self.address.place

    def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method."""
        request = requested(method, path, given, doing)
        body = tried(request, self.place, lambda: self._attempt(request, Answer.whole))
        return understood(method, body, self.place, doing)

    def received(self, request: Request, read: Callable[[Answer], T]) -> T:
        """What `read` makes of an answer as it comes."""
        return tried(request, self.place, lambda: self._attempt(request, read))

    def _attempt(self, request: Request, read: Callable[[Answer], T]) -> T:
        """What `read` makes of an answer, in one attempt; raises FailedError."""
        line = self._kept() or connected(self.address)
        try:
            return line.exchange(request, read)
        finally:
            self._give_back(line)

    def _kept(self) -> Line | None:
        """One that was used before."""
        if self._closed:
            raise ClientClosedError(f"the client of the server {self.place} has been closed")
        if self._process != os.getpid():
            self._begin_in_child()
        with self._lock:
            while self._idle:
                line = self._idle.pop()
                if line.is_fresh:
                    return line
                line.close()
        return None

    def _begin_in_child(self) -> None:
        """After a fork: the connections are the parent's, whose lock may have been held just
        then."""
        self._process, self._lock = os.getpid(), threading.Lock()
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()  # which ends the child's part in it alone

    def _give_back(self, line: Line) -> None:
        with self._lock:
            if line.rest() and not self._closed and len(self._idle) < KEPT:
                self._idle.append(line)
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
            idle, self._idle = self._idle, []
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
            self._line = connected(self._address)
        return self._line.exchange(request, Answer.whole)

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
        return _looked_at(address, min(LOOKED_WITHIN, address.timeout or LOOKED_WITHIN))
    except (OSError, HTTPException):  # errors of ours too, which are told when it is used
        return None


def is_ours_in_time(address: Address) -> bool:
    """The same, of one that may be just starting, and listens before it answers; raises
    UnavailableError where nothing answers, and ClusterError for what is neither."""
    attempts = Attempts(Request("/", (), "looking what is there"))
    while True:
        try:
            found = _looked_at(address, address.timeout)
            if found is not None:
                return found
            failure = Failure(not_ready(address.place), again=True, begun=False)
        except ClusterError:
            raise
        except (OSError, HTTPException) as error:
            failure = unreached(error, address.place)
        time.sleep(attempts.pause_after(failure))


def _looked_at(address: Address, within: float | None) -> bool | None:
    """What `is_ours` says of what answers; raises OSError or HTTPException where nothing does.
    within: seconds."""
    line = Line(replace(address, timeout=within))
    try:
        line.connect()
        answer = line.asked("GET", "/", ())
        return is_ours(answer.status, bytes(answer.whole()), address.place)
    finally:
        line.close()
