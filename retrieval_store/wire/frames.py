"""Requests and answers on a connection that carries nothing else, once both sides have agreed on it
by HTTP's `Upgrade`: one after the other, each behind eight bytes that say how long it is.

It saves the parsing of HTTP on both sides, and lets the server answer in a thread that waits for
nothing but this connection. What is larger, or may take long, goes by a POST instead.
"""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from retrieval_store.wire.message import COPIED, Buffer, Parts, size_of

PATH = "/line"  # below the root of the routes
UPGRADE = "retrieval-store-1"
LARGEST = 16 << 20  # bytes of a message that is sent so; answers may be longer
LONGEST_PATH = 4_096
_REQUEST = struct.Struct("<HHI")  # bytes of the path, nothing yet, bytes of the message
_ANSWER = struct.Struct("<HHI")  # status, nothing yet, bytes of the body
HEAD = _ANSWER.size
_ASKED_AFTER = 30  # seconds
PIECE = 1 << 18  # bytes
_AT_ONCE = 64 * 1024  # bytes that are looked for first


def keep_alive(line: socket.socket) -> None:
    """Have the system find out, within minutes, whether the other side of a connection that rests
    is still there."""
    with suppress(OSError, AttributeError):  # which not every system has
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _ASKED_AFTER)


def request_of(path: str, message: Parts) -> Parts:
    """A request, in parts that are sent one after the other."""
    where = path.encode()
    return _behind(_REQUEST.pack(len(where), 0, size_of(message)) + where, message)


def answer_of(status: int, body: Parts) -> Parts:
    """An answer, in parts."""
    return _behind(_ANSWER.pack(status, 0, size_of(body)), body)


def answer_head(head: bytes) -> tuple[int, int]:
    """The status, and the bytes of the body, of an answer that begins so."""
    status, _, size = _ANSWER.unpack_from(head)
    return status, size


def _behind(head: bytes, body: Parts) -> Parts:
    if len(body) == 1 and len(body[0]) <= COPIED:
        return [head + body[0]]
    return [head, *body]


def send(line: socket.socket, parts: Parts) -> None:
    """Send a request or an answer, piece by piece: a connection's time limit is for each, not for
    all, since what is large may take long."""
    for part in parts:
        if len(part) <= PIECE:
            line.sendall(part)
            continue
        view = memoryview(part)
        while view:
            view = view[line.send(view[:PIECE]) :]


def receive_request(
    line: socket.socket, take: Callable[[int], None], seconds: float
) -> tuple[str, Buffer] | None:
    """Path and message of the next request; None at the end of the connection. take: called with
    numbers of bytes as they come; what it raises is raised once all of the request has come. What
    has begun must have come in so many seconds. ConnectionError for a request that is cut off, or
    too long."""
    head = _start(line, _REQUEST.size)
    if not head:
        return None
    length, _, size = _REQUEST.unpack_from(head)
    if length > LONGEST_PATH or size > LARGEST:
        raise ConnectionError("a request is too long")
    here = head[_REQUEST.size :]
    if len(here) == length + size:
        take(len(here))
        body: Buffer = bytearray(here)
    else:
        body = _in_time(line, here, length + size, take, seconds)
    return bytes(body[:length]).decode("utf-8", "replace"), body[length:]


def _in_time(
    line: socket.socket, have: bytes, size: int, take: Callable[[int], None], seconds: float
) -> Buffer:
    """The rest of a request, and what of it has come, as `receive_request` has it."""
    usual, until = line.gettimeout(), time.monotonic() + seconds
    refused: list[Exception] = []

    def came(count: int) -> None:
        line.settimeout(max(0.001, until - time.monotonic()))
        if not refused:
            try:
                take(count)
            except Exception as error:  # so that what follows is no other request
                refused.append(error)

    came(len(have))
    body = _rest(line, have, size, came)
    line.settimeout(usual)
    if refused:
        raise refused[0]
    return body


def receive_answer(line: socket.socket) -> tuple[int, Buffer]:
    """Status and body of an answer; ConnectionError where it is cut off."""
    head = _start(line, HEAD)
    if not head:
        raise ConnectionResetError("the connection was closed")
    status, size = answer_head(head)
    return status, _rest(line, head[HEAD:], size)


def _start(line: socket.socket, least: int) -> bytes:
    """What comes first, at least so many bytes; nothing at the end of the connection."""
    data = line.recv(_AT_ONCE)
    while data and len(data) < least:
        more = line.recv(_AT_ONCE)
        if not more:
            raise ConnectionResetError("the connection was cut")
        data += more
    return data


def _rest(
    line: socket.socket, have: bytes, size: int, came: Callable[[int], None] = lambda count: None
) -> Buffer:
    """So many bytes, of which some have come already, in memory of their own. came: told of more
    that have."""
    if len(have) == size:
        return bytearray(have)
    if len(have) > size:
        raise ConnectionError("there is more than was said")
    body: Any = np.empty(size, np.uint8)  # which isn't filled with zeros first
    view, filled = memoryview(body), len(have)
    view[:filled] = have
    while filled < size:
        count = line.recv_into(view[filled:])
        if not count:
            raise ConnectionResetError("the connection was cut")
        filled += count
        came(count)
    return view
