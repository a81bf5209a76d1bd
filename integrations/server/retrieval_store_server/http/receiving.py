"""Reads request bodies completely, and inflates them. The size of each body, the time in which it
must arrive, and the size of all bodies together are limited.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeAlias

from retrieval_store.extension import Lock
from retrieval_store.qdrant import Refused
from retrieval_store_server.http.pool import BusyError, Turn
from retrieval_store_server.http.refusals import wrong

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Take: TypeAlias = Callable[[int], None]
# zlib's wbits for each Content-Encoding.
ENCODINGS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 47, b"identity": None, b"": None}
SLOWEST = 2_000_000  # the lowest rate for a large body in bytes a second
INFLATES = 1_032  # the greatest expansion factor of DEFLATE
INFLATED_AT_ONCE = 64 * 1024  # bytes
MAX_STREAMS = 10_000  # of gzip in one body


class ClientGoneError(Exception):
    """A client closed its connection before the body of its request had arrived."""


class PlainRefusedError(Exception):
    """A request was refused, and the response must be plain text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class BodyBudget:
    """Limits the memory of the bodies of all requests together. most: the limit in bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._lock = Lock()

    def take(self, size: int) -> None:
        """Add a number, which can be negative, to the bytes in use. Raises BusyError if that would
        exceed the limit."""
        with self._lock:
            if size > 0 and self._bytes + size > self._most:
                raise BusyError
            self._bytes += size

    def account(self) -> "AccountedBody":
        """A context manager that counts the bytes of one body while it is in memory."""
        return AccountedBody(self)


class AccountedBody:
    """A context manager that counts the bytes of one body. It yields a function `take(n)`, which
    adds n bytes to the bytes in use. A declared length is not counted, since a client could declare
    a large body and send nothing."""

    __slots__ = ("_budget", "_taken")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget, self._taken = budget, 0

    def _take(self, size: int) -> None:
        self._budget.take(size)
        self._taken += size

    def __enter__(self) -> Take:
        return self._take

    def __exit__(self, *error: object) -> None:
        self._budget.take(-self._taken)


LARGE_BODY = 1 << 20  # bytes; larger ones are received a few at a time, see `Turns`


def nothing_yet() -> None:
    """Returns None. Used for servers that do not report how much of a body has arrived."""


async def whole_body(
    receive: Receive,
    headers: dict[bytes, bytes],
    most: int,
    seconds: float,
    take: Take,
    turn: Turn | None = None,
    take_body: Callable[[], bytes | None] = nothing_yet,
) -> bytes:
    """The bytes of a body, inflated. most: the maximum size in bytes; seconds: the time limit for a
    small body; take: counts bytes, see `BodyBudget.account`; turn: waits for a turn, see
    `Turns.turn`; take_body: returns the body if all of it has arrived. Raises Refused for a body
    that is too large (413), cannot be inflated (400, 415) or arrives too late (408), and BusyError
    from `take`."""
    length = headers.get(b"content-length", b"")
    if length.isdigit():
        if int(length) > most:
            raise too_large(most)
        seconds += int(length) / SLOWEST
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding not in ENCODINGS:
        raise Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the encoding {encoding!r} isn't known; send gzip"
        )
    body = take_body()
    if body is None:
        body = await _receive_body(receive, most, seconds, take, turn)
    elif len(body) > most:
        raise too_large(most)
    else:
        take(len(body))
    window = ENCODINGS[encoding]
    if window is None or not body:
        return body
    take(min(most, INFLATES * len(body)))
    return await asyncio.to_thread(_inflate, body, window, most)


async def _receive_body(
    receive: Receive, most: int, seconds: float, take: Take, turn: Turn | None
) -> bytes:
    """The bytes of a body as they were sent, returned when all of them have arrived."""
    parts: list[bytes] = []
    size, more = 0, True
    async with deadline(seconds):
        while more:
            message = await receive_part(receive)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_large(most)
            take(len(parts[-1]))
            if size > LARGE_BODY and turn is not None:
                await turn()
                turn = None
            more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def receive_part(receive: Receive) -> Any:
    """The next part of a body."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """A context manager that raises Refused (408) if its `with` block takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        message = "timed out waiting for the request body"
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, message) from None


def too_large(most: int) -> Refused:
    """The refusal of a body that has too many bytes."""
    return Refused(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"Payload error: JSON payload is larger than allowed (limit: {most} bytes)",
    )


def _inflate(body: bytes, window: int, most: int) -> bytes:
    """The inflated bytes of a body. The body is one compressed stream, or several in a row, as gzip
    allows. Even a short stream takes time, so the number of streams is limited to MAX_STREAMS."""
    inflated, sent, at = bytearray(), memoryview(body), 0
    for _ in range(MAX_STREAMS):
        inflater = zlib.decompressobj(window)
        while not inflater.eof:
            piece = sent[at : at + INFLATED_AT_ONCE]
            if not piece:
                raise wrong("Payload error: the inflated body isn't complete")
            try:
                inflated += inflater.decompress(piece, most + 1 - len(inflated))
            except zlib.error as error:
                raise wrong(f"Payload error: the body can't be inflated: {error}") from None
            if len(inflated) > most:
                raise too_large(most)
            at += len(piece) - len(inflater.unused_data)
        if at == len(sent):
            return bytes(inflated)
    raise wrong(f"Payload error: the body consists of more than {MAX_STREAMS} compressed streams")
