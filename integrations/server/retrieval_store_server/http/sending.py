"""Sends responses, files and errors to clients. An `HttpRequest` has the properties of a request
that are known before the body is read.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote_to_bytes

import orjson

from retrieval_store.errors import (
    ClientClosedError,
    InvalidArgumentError,
    LockTimeoutError,
    NotFoundError,
    ReadOnlyError,
    RequestStoppedError,
    RequestTimeoutError,
    RetrievalStoreError,
    StorageError,
    StorageFullError,
    UnavailableError,
)
from retrieval_store.extension import log_of
from retrieval_store.qdrant import Refused
from retrieval_store_server.http.answers import (
    PIECE,
    FileAnswer,
    Response,
    Streamed,
    refusal,
    text,
)
from retrieval_store_server.http.pool import BusyError, GoneBeforeBegunError, WaitedTooLongError
from retrieval_store_server.http.receiving import PlainRefusedError, Receive
from retrieval_store_server.http.refusals import RateLimited
from retrieval_store_server.http.request import Hold
from retrieval_store_server.http.routes import Permission, Route, Table
from retrieval_store_server.native import methods
from retrieval_store_server.native.codec import MalformedError

Scope: TypeAlias = Any  # a request as ASGI describes it
Headers: TypeAlias = list[tuple[bytes, bytes]]
EXCHANGE = "retrieval-store.exchange"  # among the extensions of a scope
LONGEST_PATH, LONGEST_KNOWN_PATH, KNOWN_PATHS = 16_384, 256, 1_024


class Exchange(Protocol):
    """Receives a whole request at once, and sends a whole response at once, instead of by ASGI's
    messages. The server of this package provides it; see `run.WholeExchange`."""

    hold: Hold

    def take_body(self) -> bytes | None:
        """The body, if all of it has arrived and no part of it was received by ASGI's messages;
        otherwise None."""

    def send(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send a response immediately, if possible. Returns whether it was sent."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request before its body is read. method: GET, POST and so on; route: None if no route
    matches; names: the variable parts of the path, by name. is_of_page: whether the path is below
    the path of Qdrant's web page. exchange: see `Exchange`; None if the server that runs the
    application isn't from this package. began: when the request arrived, by time.perf_counter."""

    scope: Scope
    receive: Receive
    method: str
    headers: dict[bytes, bytes]
    route: Route | None
    names: Mapping[str, str]
    is_of_page: bool
    exchange: Exchange | None = None
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, scope: Scope, receive: Receive, table: Table) -> "HttpRequest":
        """The request that an ASGI scope describes. Its route is looked up in the table."""
        method, path = scope["method"], _path(scope)
        find = _find_known if len(path) <= LONGEST_KNOWN_PATH else _find
        route, names, is_of_page = find(table, method, path)
        exchange = scope.get("extensions", {}).get(EXCHANGE)
        headers = headers_of(scope)
        return cls(scope, receive, method, headers, route, names, is_of_page, exchange)

    @property
    def access(self) -> Permission | None:
        """The permission that the route needs; None if no route matches."""
        return None if self.route is None else self.route.access

    @property
    def name(self) -> str:
        """The name under which the request is counted."""
        return f"{self.method} unknown" if self.route is None else self.route.name

    @property
    def logged(self) -> str:
        """The path as it was sent, escaped so that it cannot forge a line of the log."""
        raw: bytes = self.scope.get("raw_path") or b""
        return ascii(raw.decode("ascii", "backslashreplace"))[1:-1]

    @property
    def seconds(self) -> float:
        """The seconds since the request arrived."""
        return time.perf_counter() - self.began

    async def wait_for_disconnect(self) -> None:
        """Wait until the client has closed its connection, or the sending half of the connection; a
        server can't distinguish the two. ASGI reports this by the message that follows the end of
        the body."""
        was_read = self.route is not None and self.route.body is not None
        while (message := await self.receive())["type"] != "http.disconnect" and not was_read:
            was_read = not message.get("more_body", False)


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers by name. If a name occurs several times, its first value is used."""
    return dict(reversed(list(scope["headers"])))


def _path(scope: Scope) -> bytes:
    """The path as it was sent, without the prefix of the application."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    root = scope.get("root_path")
    return raw.partition(b"?")[0].removeprefix(root.encode() if root else b"")


def _find(table: Table, method: str, path: bytes) -> tuple[Route | None, Mapping[str, str], bool]:
    """The route of a path, None if no route matches; the variable parts of the path, by name; and
    whether the path is below the path of Qdrant's web page."""
    parts = _parts(path)
    if parts is None:
        return None, {}, False
    match = table.find(method, parts)
    return *(match or (None, {})), parts[0] == "dashboard"


_find_known = lru_cache(KNOWN_PATHS)(_find)  # clients request a few paths again and again


def _parts(path: bytes) -> list[str] | None:
    """The decoded parts of a path; None if a part is not valid UTF-8, or if the path is too
    long."""
    if len(path) > LONGEST_PATH or not path.startswith(b"/"):
        return None
    parts = path.split(b"/")[1:]
    try:
        return [(unquote_to_bytes(part) if b"%" in part else part).decode() for part in parts]
    except UnicodeDecodeError:
        return None


Send: TypeAlias = Callable[[Any], Awaitable[None]]
_log = log_of("server")
RETRY_AFTER = 1  # seconds, when all threads are busy
FOLLOWED_EVERY, IDLE_AFTER, STREAMED_FOR = 0.5, 10.0, 300.0  # seconds
Following: TypeAlias = Callable[[Callable[[], Awaitable[object]]], Awaitable[bytes | None]]
STATUSES: tuple[tuple[type[RetrievalStoreError], HTTPStatus], ...] = (
    (ReadOnlyError, HTTPStatus.FORBIDDEN),
    (StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (LockTimeoutError, HTTPStatus.SERVICE_UNAVAILABLE),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (RequestTimeoutError, HTTPStatus.REQUEST_TIMEOUT),
    (RequestStoppedError, HTTPStatus.REQUEST_TIMEOUT),
    (ClientClosedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (InvalidArgumentError, HTTPStatus.BAD_REQUEST),
)


async def send_answer(
    request: HttpRequest, send: Send, answer: Response | FileAnswer, more: Headers
) -> None:
    """Send a response, with further headers (`more`)."""
    if isinstance(answer, FileAnswer):
        await _send_file(request, send, answer, more)
        return
    headers = [*more, *answer.headers]
    if answer.status != HTTPStatus.NOT_MODIFIED:  # whose length would be the original's
        headers.insert(0, (b"content-length", b"%d" % answer.size))
    if answer.media_type is not None:
        headers.append((b"content-type", answer.media_type.encode()))
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    if not more and not answer.parts and len(answer.body) <= PIECE:
        exchange = request.exchange
        if exchange is not None and exchange.send(answer.status, headers, answer.body):
            return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    left = answer.size
    for piece in answer.pieces():
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": left > 0})


async def send_stream(
    request: HttpRequest,
    send: Send,
    answer: Streamed,
    more: Headers,
    following: Following,
    ends: Callable[[], bool],
) -> None:
    """Send a streamed response until the client has disconnected, some minutes have passed, or the
    server ends. following: a coroutine function that returns the next part, or None if there is no
    new part; while the function waits, it occupies no thread. ends: whether the server is about to
    end."""
    headers = [*more, *answer.headers, (b"content-type", answer.media_type.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer.first, "more_body": True})
    gone = asyncio.ensure_future(request.wait_for_disconnect())
    began = sent = time.monotonic()
    try:
        while time.monotonic() - began < STREAMED_FOR and not ends():
            await asyncio.wait({gone}, timeout=FOLLOWED_EVERY)
            if gone.done() or ends():
                break
            body = await following(lambda: asyncio.wait({gone}))
            if body is None and time.monotonic() - sent >= IDLE_AFTER:
                body = answer.idle
            if body is not None:
                await send({"type": "http.response.body", "body": body, "more_body": True})
                sent = time.monotonic()
        await send({"type": "http.response.body", "body": b""})
    except (
        RetrievalStoreError,
        GoneBeforeBegunError,
    ) as error:  # the client retries, and gets the error
        _log.info("%s ended: %s", request.name, error)
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _send_file(request: HttpRequest, send: Send, answer: FileAnswer, more: Headers) -> None:
    from starlette.responses import FileResponse

    response = FileResponse(answer.path, filename=answer.name)
    response.raw_headers.extend(more)
    try:
        await response(request.scope, request.receive, send)
    finally:
        if answer.temporary:
            answer.path.unlink(missing_ok=True)


def refusal_of(error: Exception, route: Route, named: Callable[[str], str]) -> Response:
    """The response to a request that raised this error. named: a function that replaces this
    machine's paths in a message."""
    match error:
        case RateLimited():
            return refusal(error.status_code or 429, error.message, error.retry_after_s)
        case Refused() if route.sends_file and _is_of_file(error):
            return text(HTTPStatus.NOT_FOUND, named(error.message))
        case Refused():
            return refusal(error.status_code or 400, named(error.message))
        case PlainRefusedError():
            return text(error.status, error.message)
        case BusyError():
            return refusal(429, "too many requests are under way", RETRY_AFTER)
        case GoneBeforeBegunError():  # it may have closed only its half of the connection
            return refusal(408, "the client closed the connection; nothing was done")
        case WaitedTooLongError():
            return refusal(408, "no thread became free in time; nothing was done")
        case MalformedError():
            error = InvalidArgumentError(f"the message can't be read: {error}")
    if isinstance(error, RetrievalStoreError):
        return _store_error_answer(error, route, named)
    _log.exception("%s failed", route.name, exc_info=error)
    return refusal(500, f"Service internal error: {type(error).__name__}, see the server's log")


def _store_error_answer(
    error: RetrievalStoreError, route: Route, named: Callable[[str], str]
) -> Response:
    """The response to a request that raised this error of the store. It contains the error's
    message. On routes of this package, it contains data from which `Client` raises the same
    error."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), None)
    if route.is_own:
        usual = HTTPStatus.BAD_REQUEST
        if isinstance(error, StorageError):
            usual = HTTPStatus.INTERNAL_SERVER_ERROR
        body = methods.encode_error(error)
        return Response(status or usual, orjson.dumps({**body, "message": named(body["message"])}))
    if route.is_of_view and not isinstance(error, StorageError):
        missing = isinstance(error, NotFoundError)
        status = status or (HTTPStatus.NOT_FOUND if missing else HTTPStatus.BAD_REQUEST)
    if status is not None:
        return refusal(status, named(str(error)))
    _log.error("%s failed: %s", route.name, error)
    return refusal(500, f"Service internal error: {named(str(error))}")


def _is_of_file(error: Refused) -> bool:
    """Whether the error is about a missing file, and not about a missing collection."""
    return error.status_code == HTTPStatus.NOT_FOUND and "Collection" not in error.message
