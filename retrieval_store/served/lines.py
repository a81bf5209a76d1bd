"""One connection to a server, by HTTP."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
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
from retrieval_store.served.heads import END, LONGEST, Head, Heads, head_of, piece_size
from retrieval_store.served.opening import Address
from retrieval_store.wire.message import Buffer, Parts

KEPT_SECONDS = 60.0  # that a connection may be idle; the server closes it after 75
PIECE = 1 << 18  # bytes
_AT_ONCE = 64 * 1024  # bytes that are looked for first
_ASKED_AFTER = 30  # seconds
# What an exchange ends with where the other side is gone, or says what can't be, such as a length
# for which there is no memory.
_BROKEN = (OSError, HTTPException, ValueError, OverflowError, MemoryError)
T = TypeVar("T")


class Incoming:
    """What comes over a socket, of which more may have come than was read."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._have = bytearray()

    def __bool__(self) -> bool:
        return bool(self._have)

    def until(self, end: bytes) -> bytes:
        """What comes up to these bytes, and with them."""
        while (at := self._have.find(end)) < 0:
            if len(self._have) > LONGEST:
                raise HTTPException("the head of an answer is too long")
            more = self._sock.recv(_AT_ONCE)
            if not more:
                raise ConnectionResetError("the connection was closed")
            self._have += more
        return self._taken(at + len(end))

    def some(self, most: int) -> bytes:
        """Some bytes, and none at the end."""
        return self._taken(most) if self._have else self._sock.recv(most)

    def fill(self, view: memoryview) -> None:
        """As many bytes as there is room for; OSError where the body is cut off."""
        first = self._taken(len(view))
        view[: len(first)] = first
        have = len(first)
        while have < len(view):
            count = self._sock.recv_into(view[have:])
            if not count:
                raise _cut_off()
            have += count

    def _taken(self, most: int) -> bytes:
        found = bytes(self._have[:most])
        del self._have[:most]
        return found


class Answer:
    """An answer whose head has come, and whose body is to be read, once."""

    def __init__(self, head: Head, incoming: Incoming) -> None:
        self.status, self.headers, self.stays = head.status, head.headers, head.stays
        self._head, self._incoming = head, incoming

    def whole(self) -> Buffer:
        """The body, in memory of its own that can be written to; OSError where it was cut off."""
        if self._head.length is None:
            return bytearray().join(self.pieces())
        body: Any = np.empty(self._head.length, np.uint8)  # which isn't filled with zeros first
        view = memoryview(body)
        self._incoming.fill(view)
        return view

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; OSError where it was cut off."""
        if not self._head.chunked:
            yield from self._piece_by_piece(self._head.length)
            return
        while size := piece_size(self._incoming.until(b"\r\n")):
            yield from self._piece_by_piece(size)
            self._incoming.until(b"\r\n")
        while self._incoming.until(b"\r\n") != b"\r\n":  # more headers
            pass

    def _piece_by_piece(self, left: int | None) -> Iterator[bytes]:
        while left is None or left > 0:
            piece = self._incoming.some(PIECE if left is None else min(PIECE, left))
            if not piece and left is None:
                return
            if not piece:
                raise _cut_off()
            left = None if left is None else left - len(piece)
            yield piece


class Line:
    """A connection. sock: None where it is closed."""

    def __init__(self, address: Address) -> None:
        self.sock: Any = None
        self._address, self._heads = address, Heads(address)
        self._incoming: Any = None
        self._used = time.monotonic()
        self._poll: Any = None

    def connect(self) -> None:
        """Begin it; raises OSError."""
        address = self._address
        self.sock = socket.create_connection((address.host, address.port), address.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(self.sock)
        if address.context is not None:
            self.sock = address.context.wrap_socket(self.sock, server_hostname=address.host)
        self._incoming = Incoming(self.sock)

    def close(self) -> None:
        """End it."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def asked(self, method: str, path: str, body: Parts) -> Answer:
        """The answer to a request, whose body is to be read."""
        for part in self._heads.before(method, path, body):
            _send(self.sock, part)
        while True:
            head = head_of(self._incoming.until(END))
            if head.status >= HTTPStatus.OK:  # others announce that one will come
                return Answer(head, self._incoming)

    def exchange(self, request: Request, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer to a request; raises FailedError. The connection is
        closed unless the whole answer came."""
        place, doing = self._address.place, request.doing
        try:
            self.sock.settimeout(None if request.long else self._address.timeout)
            answer = self.asked("POST", request.path, request.message)
            if answer.status == HTTPStatus.OK:
                result = read(answer)
            else:
                refusal = answer.whole()
        except RetrievalStoreError:  # of who reads; some of these are errors of the system, too
            self.close()
            raise
        except _BROKEN as error:
            self.close()
            raise FailedError(broken(error, place, doing)) from error
        except BaseException:
            self.close()
            raise
        if not answer.stays:
            self.close()
        if answer.status == HTTPStatus.OK:
            return result
        raise FailedError(answered(answer.status, answer.headers, refusal, place, doing))

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
        if self._incoming:
            return True
        if not hasattr(select, "poll"):
            return bool(select.select([self.sock], [], [], 0)[0])
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.sock, select.POLLIN)
        return bool(self._poll.poll(0))


def _send(sock: Any, part: Buffer) -> None:
    """Send piece by piece: a connection's time limit is for each, not for all, since what is large
    may take long."""
    if len(part) <= PIECE:
        sock.sendall(part)
        return
    view = memoryview(part)
    while view:
        view = view[sock.send(view[:PIECE]) :]


def _keep_alive(sock: socket.socket) -> None:
    """Have the system find out, within minutes, whether the other side of a connection that rests
    is still there."""
    with suppress(OSError, AttributeError):  # which not every system has
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ASKED_AFTER)


def _cut_off() -> ConnectionResetError:
    return ConnectionResetError("the answer was cut off")


def connected(address: Address) -> Line:
    """A new connection; raises FailedError."""
    line = Line(address)
    try:
        line.connect()
    except OSError as error:
        line.close()
        raise FailedError(unreached(error, address.place)) from error
    return line
