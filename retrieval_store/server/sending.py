"""What goes out: answers, files, and what is said of errors."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeAlias

from retrieval_store.base.logs import log_of
from retrieval_store.errors import (
    ClientClosedError,
    InvalidArgumentError,
    LockTimeoutError,
    ReadOnlyError,
    RetrievalStoreError,
    StorageFullError,
)
from retrieval_store.qdrant.refusals import RateLimited, Refused
from retrieval_store.server.answers import Answer, FileAnswer, refusal, text
from retrieval_store.server.pool import BusyError, WaitedTooLongError
from retrieval_store.server.receiving import PlainRefusedError
from retrieval_store.server.requests import Request
from retrieval_store.server.routes import Route

Send: TypeAlias = Callable[[Any], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]
_log = log_of("server")
RETRY_AFTER = 1  # seconds, when all threads are busy
STATUSES: tuple[tuple[type[RetrievalStoreError], HTTPStatus], ...] = (
    (ReadOnlyError, HTTPStatus.FORBIDDEN),
    (StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (LockTimeoutError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ClientClosedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (InvalidArgumentError, HTTPStatus.BAD_REQUEST),
)


async def send_answer(
    request: Request, send: Send, answer: Answer | FileAnswer, more: Headers
) -> None:
    """Send an answer, with more headers."""
    if isinstance(answer, FileAnswer):
        await _send_file(request, send, answer, more)
        return
    headers = [(b"content-length", b"%d" % len(answer.body)), *more, *answer.headers]
    if answer.media_type is not None:
        headers.append((b"content-type", answer.media_type.encode()))
    if answer.retry_after is not None:
        headers.append((b"retry-after", b"%d" % answer.retry_after))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _send_file(request: Request, send: Send, answer: FileAnswer, more: Headers) -> None:
    from starlette.responses import FileResponse

    response = FileResponse(answer.path, filename=answer.name)
    response.raw_headers.extend(more)
    try:
        await response(request.scope, request.receive, send)
    finally:
        if answer.temporary:
            answer.path.unlink(missing_ok=True)


def refusal_of(error: Exception, route: Route) -> Answer:
    """What is answered for an error."""
    match error:
        case RateLimited():
            return refusal(error.status_code or 429, error.message, error.retry_after_s)
        case Refused() if route.sends_file and _is_of_file(error):
            return text(HTTPStatus.NOT_FOUND, error.message)
        case Refused():
            return refusal(error.status_code or 400, error.message)
        case PlainRefusedError():
            return text(error.status, error.said)
        case BusyError():
            return refusal(429, "too many requests are under way", RETRY_AFTER)
        case WaitedTooLongError():
            return refusal(408, "no thread became free in time; nothing was done")
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return refusal(status, str(error))
    if isinstance(error, RetrievalStoreError):
        _log.error("%s failed: %s", route.name, error)
        return refusal(500, f"Service internal error: {error}")
    _log.exception("%s failed", route.name, exc_info=error)
    return refusal(500, f"Service internal error: {type(error).__name__}, see the server's log")


def _is_of_file(error: Refused) -> bool:
    """Whether it is said of a file that it isn't there, and not of a collection."""
    return error.status_code == HTTPStatus.NOT_FOUND and "Collection" not in error.message
