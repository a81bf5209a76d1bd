"""One connection to a server: by HTTP, or, once the server has agreed to it, by messages alone."""

import select
import time
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, TypeVar

import numpy as np

from retrieval_store.errors import RetrievalStoreError
from retrieval_store.served.attempts import (
    FailedError,
    Request,
    answered,
    broken,
    unreached,
)
from retrieval_store.served.opening import Address
from retrieval_store.wire import frames
from retrieval_store.wire.api import ROOT
from retrieval_store.wire.message import MEDIA_TYPE, Buffer

KEPT_SECONDS = 60.0  # that a connection may be idle; the server closes it after 75
# What an exchange ends with where the other side is gone, or says what can't be, such as a length
# for which there is no memory; AttributeError without a socket.
_BROKEN = (OSError, HTTPException, AttributeError, ValueError, OverflowError, MemoryError)
T = TypeVar("T")


class Line(HTTPConnection):
    """A connection. is_own: whether messages alone go over it."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.host, address.port, timeout=address.timeout)
        self.is_own = False
        self._address = address
        self._unsent: list[Any] = []
        self._used = time.monotonic()
        self._poll: Any = None

    def connect(self) -> None:
        super().connect()
        frames.keep_alive(self.sock)
        if self._address.context is not None:
            self.sock = self._address.context.wrap_socket(self.sock, server_hostname=self.host)

    def send(self, data: Any) -> None:
        """Keep what is to be sent: a head and its body go out together, since one after the other
        they would wake the server twice."""
        self._unsent.append(data)

    def asked(self, method: str, path: str, body: bytes | None, **headers: str) -> HTTPResponse:
        """The answer to a request by HTTP, whose body is to be read."""
        given = {**self._address.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.request(method, f"{self._address.prefix}{path}", body, given)
        data, self._unsent = b"".join(self._unsent), []
        frames.send(self.sock, [data])
        return self.getresponse()

    def become_own(self) -> bool:
        """Have messages alone go over it from here on, if the server agrees; whether it does."""
        response = self.asked(
            "GET", f"{ROOT}{frames.PATH}", None, connection="Upgrade", upgrade=frames.UPGRADE
        )
        response.read()
        self.is_own = response.status == HTTPStatus.SWITCHING_PROTOCOLS
        return self.is_own

    def exchange(self, request: Request, read: Callable[[HTTPResponse], T]) -> T:
        """What `read` makes of the answer to a request by HTTP; raises FailedError. The connection
        is closed unless the whole answer came."""
        place, doing = self._address.place, request.doing
        try:
            self.sock.settimeout(None if request.long else self._address.timeout)
            message = b"".join(request.message)
            response = self.asked("POST", request.path, message, content_type=MEDIA_TYPE)
            if response.status == HTTPStatus.OK:
                return read(response)
            refusal = response.read()
        except RetrievalStoreError:  # of who reads; some of these are errors of the system, too
            self.close()
            raise
        except _BROKEN as error:
            self.close()
            raise FailedError(broken(error, place, doing)) from error
        except BaseException:
            self.close()
            raise
        told = {name.lower(): value for name, value in response.headers.items()}
        raise FailedError(answered(response.status, told, refusal, place, doing))

    def exchange_alone(self, request: Request) -> Buffer:
        """The answer to a request by messages alone; raises as `exchange`."""
        place, doing = self._address.place, request.doing
        try:
            if request.long:
                self.sock.settimeout(None)
            frames.send(self.sock, frames.request_of(request.path, request.message))
            status, body = frames.receive_answer(self.sock)
            if request.long:
                self.sock.settimeout(self._address.timeout)
        except _BROKEN as error:
            self.close()
            raise FailedError(broken(error, place, doing)) from error
        except BaseException:
            self.close()
            raise
        if status == HTTPStatus.OK:
            return body
        raise FailedError(answered(status, {}, body, place, doing))

    def rest(self) -> bool:
        """Note that it isn't used for now; whether it can be again."""
        self._used = time.monotonic()
        return self.sock is not None

    @property
    def is_fresh(self) -> bool:
        """Whether it can be used once more: the server hasn't closed it, nor will just now. What
        comes unasked is no answer."""
        return time.monotonic() - self._used < KEPT_SECONDS and not self._has_something()

    def _has_something(self) -> bool:
        """Whether there is something to read, which an end is too."""
        if not hasattr(select, "poll"):
            return bool(select.select([self.sock], [], [], 0)[0])
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)
        return bool(self._poll.poll(0))


def connected(address: Address) -> Line:
    """A new connection; raises FailedError."""
    line = Line(address)
    try:
        line.connect()
    except OSError as error:
        line.close()
        raise FailedError(unreached(error, address.place)) from error
    return line


def connected_own(address: Address) -> Line:
    """A new connection, our own where the server agrees to it; closed where asking for it failed,
    the cause of which is found out by HTTP."""
    line = connected(address)
    try:
        line.become_own()
    except (OSError, HTTPException):
        line.close()
    return line


def body_of(response: HTTPResponse) -> Buffer:
    """The body of an answer, in memory of its own that can be written to; raises OSError where it
    was cut off."""
    if response.length is None:
        return bytearray(response.read())
    body: Any = np.empty(response.length, np.uint8)  # which isn't filled with zeros first
    view, have = memoryview(body), 0
    while have < len(view):
        count = response.readinto(view[have:])
        if not count:
            raise ConnectionResetError("the answer was cut off")
        have += count
    response.read()  # so that it knows that it is at its end
    return view
