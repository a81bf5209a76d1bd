"""Requests to a server, over connections that are kept open."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, TypeVar

from retrieval_store.base.dataclasses import dataclass, replace
from retrieval_store.errors import ClientClosedError, RetrievalStoreError
from retrieval_store.served.attempts import (
    Attempts,
    FailedError,
    Request,
    answered,
    broken,
    garbled,
    unreached,
)
from retrieval_store.served.opening import LOOKED_WITHIN, Address, is_ours
from retrieval_store.wire.api import ROOT, Method
from retrieval_store.wire.message import MEDIA_TYPE, MalformedError

KEPT_SECONDS = 60.0  # that a connection may be idle; the server closes it after 75
KEPT = 32  # idle connections
_ALIVE_AFTER = 30  # seconds after which the system asks whether the other side is still there
T = TypeVar("T")
Read = Callable[[HTTPResponse], T]


class _Line(HTTPConnection):
    """One connection. A request's head and its body go out together: sent one after the other they
    would wake the server twice."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.host, address.port, timeout=address.timeout)
        self._context = address.context
        self._unsent: list[Any] = []
        self.used = time.monotonic()

    def connect(self) -> None:
        super().connect()
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ALIVE_AFTER)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)

    def send(self, data: Any) -> None:
        self._unsent.append(data)

    def flush(self) -> None:
        """Send what was said so far."""
        data, self._unsent = b"".join(self._unsent), []
        self.sock.sendall(data)

    @property
    def is_fresh(self) -> bool:
        """Whether it can be used once more: the server hasn't closed it, nor will just now. What
        comes unasked is no answer."""
        return time.monotonic() - self.used < KEPT_SECONDS and not _has_something(self.sock)


class Connection:
    """Connections to one server, for any number of threads."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[_Line] = []
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        return self._address.place

    def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method."""
        request = requested(method, path, given, doing)
        return self.sent(request, partial_read(method, self.place, doing))

    def sent(self, request: Request, read: "Read[T]") -> T:
        """What `read` makes of the answer to a request; raises what `Attempts` says."""
        attempts = Attempts(request, self.place)
        while True:
            try:
                return self._tried(request, read)
            except FailedError as failed:
                pause = attempts.pause_after(failed.failure)
            time.sleep(pause)

    def _tried(self, request: Request, read: "Read[T]") -> T:
        line = self._taken()
        try:
            return exchanged(line, self._address, request, read)
        finally:
            self._given_back(line)

    @contextmanager
    def alone(self) -> Iterator["Line"]:
        """One connection of the caller's own, which leads to one process of the server."""
        line = _connected(self._address)
        try:
            yield Line(line, self._address)
        finally:
            line.close()

    def close(self) -> None:
        """Close all connections; calls raise ClientClosedError from here on."""
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def _taken(self) -> _Line:
        if self._closed:
            raise ClientClosedError(f"the client of the server {self.place} has been closed")
        with self._lock:
            if self._process != os.getpid():  # those of the parent are the parent's
                self._process, self._idle = os.getpid(), []
            while self._idle:
                line = self._idle.pop()
                if line.is_fresh:
                    return line
                line.close()
        return _connected(self._address)

    def _given_back(self, line: _Line) -> None:
        line.used = time.monotonic()
        with self._lock:
            if not self._closed and len(self._idle) < KEPT and line.sock is not None:
                self._idle.append(line)
                return
        line.close()


@dataclass(slots=True)
class Line:
    """One connection, on which nothing is tried again: who asks for one wants what is there."""

    line: _Line
    address: Address

    @property
    def place(self) -> str:
        """Where it leads."""
        return self.address.place

    def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method."""
        request = requested(method, path, given, doing)
        try:
            read = partial_read(method, self.place, doing)
            return exchanged(self.line, self.address, request, read)
        except FailedError as failed:
            raise failed.failure.error from failed.__cause__


def requested(method: Method, path: str, given: Mapping[str, Any], doing: str) -> Request:
    """The request for a method."""
    message = method.asked(given)
    return Request(f"{ROOT}{path}", message, doing, method.access != "read", method.long)


def partial_read(method: Method, place: str, doing: str) -> "Read[Any]":
    """Reads the result of a method."""

    def read(response: HTTPResponse) -> Any:
        body = body_of(response)
        try:
            return method.result(body)
        except MalformedError as error:
            raise garbled(place, doing) from error

    return read


def exchanged(line: _Line, address: Address, request: Request, read: "Read[T]") -> T:
    """Send a request and read the answer; raises FailedError. The line is closed unless the whole
    answer came."""
    headers = {**address.headers, "content-type": MEDIA_TYPE}
    try:
        line.sock.settimeout(None if request.long else address.timeout)
        line.request("POST", f"{address.prefix}{request.path}", request.message, headers)
        line.flush()
        response = line.getresponse()
        result = read(response) if response.status == HTTPStatus.OK else None
        refusal = b"" if response.status == HTTPStatus.OK else response.read()
    except RetrievalStoreError:  # of who reads; some of these are errors of the system, too
        line.close()
        raise
    except (OSError, HTTPException, AttributeError) as error:
        line.close()
        raise FailedError(broken(error, address.place, request.doing)) from error
    except BaseException:
        line.close()
        raise
    if response.status != HTTPStatus.OK:
        told = {name.lower(): value for name, value in response.headers.items()}
        raise FailedError(answered(response.status, told, refusal, address.place, request.doing))
    return result  # type: ignore[return-value]


def body_of(response: HTTPResponse) -> bytes | bytearray:
    """The body of an answer, in memory of its own that can be written to; raises OSError where it
    was cut off."""
    if response.length is None:
        return bytearray(response.read())
    body = bytearray(response.length)
    view, have = memoryview(body), 0
    while have < len(body):
        count = response.readinto(view[have:])
        if not count:
            raise ConnectionResetError("the answer was cut off")
        have += count
    response.read()  # so that it knows that it is at its end
    return body


def _connected(address: Address) -> _Line:
    line = _Line(address)
    try:
        line.connect()
    except OSError as error:
        line.close()
        raise FailedError(unreached(error, address.place)) from error
    return line


def is_ours_at(address: Address) -> bool | None:
    """Whether there is a server of ours; None where nothing answers that could be one."""
    within = min(LOOKED_WITHIN, address.timeout or LOOKED_WITHIN)
    line = _Line(replace(address, timeout=within))
    try:
        line.connect()
        line.request("GET", f"{address.prefix}/", headers=dict(address.headers))
        line.flush()
        response = line.getresponse()
        return is_ours(response.status, response.read())
    except OSError:
        return None
    except HTTPException:
        return False
    finally:
        line.close()


def _has_something(sock: socket.socket) -> bool:
    """Whether there is something to read, which an end is too."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])
