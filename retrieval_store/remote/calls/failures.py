"""What an attempt at a call met: exceptions of REST, of gRPC and of local mode, made alike.

Qdrant gives the same sentences over REST and gRPC; its statuses over gRPC are taken for those of
HTTP that it gives over REST. Where nothing was answered, a word stands in the place of a status.
"""

import json
import re
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
import httpx
from pydantic import ValidationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from retrieval_store.base.dataclasses import dataclass

FAILURES = (
    ApiException,
    QdrantException,
    httpx.TransportError,
    grpc.RpcError,
    AssertionError,  # an answer without what was asked for
    ValueError,
    RuntimeError,
)
UNREACHABLE = "unreachable"  # no connection came about, so nothing was sent
UNCONNECTED = "unconnected"  # the same, after the whole timeout
TIMED_OUT = "timed out"
BROKEN = "broken"  # the connection was lost before the answer was there
FOREIGN = "foreign"  # an answer, but not Qdrant's
LOCAL = "local"  # qdrant-client itself refuses, before sending anything or in its local mode
Status: TypeAlias = "int | str"

OF_GRPC: dict[Any, Status] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: TIMED_OUT,
}
UNSENT = re.compile("failed to connect|DNS resolution failed|errors resolving")
OF_HTTPX: tuple[tuple[type[Exception], Status], ...] = (
    (httpx.ConnectTimeout, UNCONNECTED),
    (httpx.TimeoutException, TIMED_OUT),
    (httpx.ConnectError, UNREACHABLE),
    (httpx.LocalProtocolError, LOCAL),
    (httpx.UnsupportedProtocol, LOCAL),
    (httpx.RequestError, BROKEN),
)
LONGEST = 200  # characters of a sentence that are shown
KINDS = re.compile(
    "(Service (internal|runtime) error|Wrong input|Bad request|Not found|Forbidden): *"
)
INNER = re.compile(r"(Tonic status error|status: \w+, message:).*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Failure:
    """status: as HTTP has it, or a word; said: what the server says of it, as it came; pause: the
    seconds that it asks to wait."""

    status: Status
    said: str = ""
    pause: float | None = None

    @property
    def sentence(self) -> str:
        """What may be shown of it: without the names of Qdrant's own errors, in one line."""
        whole = " ".join(INNER.sub("", KINDS.sub("", self.said)).split()).strip(" :")
        return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}…"


def failure_of(error: BaseException) -> Failure:
    """What an exception of the client's says."""
    match error:
        case UnexpectedResponse():
            pause = _seconds(error.headers.get("retry-after"))
            return Failure(error.status_code or FOREIGN, _said(error.content), pause)
        case ResourceExhaustedResponse():
            return Failure(429, error.message, error.retry_after_s)
        case QdrantException():  # it couldn't read the pause that it was asked for
            return Failure(429)
        case ResponseHandlingException(source=ValidationError()):
            return Failure(FOREIGN)
        case ResponseHandlingException():
            return failure_of(error.source)
        case grpc.RpcError():
            return _of_grpc(error)
        case json.JSONDecodeError():  # an object that ends too early was Qdrant's
            return Failure(BROKEN if error.doc.startswith("{") else FOREIGN)
        case AssertionError() | UnicodeDecodeError():
            return Failure(FOREIGN)
    status = next((status for kind, status in OF_HTTPX if isinstance(error, kind)), LOCAL)
    return Failure(status, str(error))


def _of_grpc(error: Any) -> Failure:
    said = error.details() or ""
    status = OF_GRPC.get(error.code(), 500)
    return Failure(UNREACHABLE if status == 503 and UNSENT.search(said) else status, said)


def _said(content: bytes) -> str:
    """The sentence in an answer: Qdrant's is JSON, and of plain text for a key that is wrong; what
    others say, in HTML or otherwise, is left out."""
    text = content.decode(errors="replace").strip()
    with suppress(ValueError, TypeError, LookupError):
        return str(json.loads(text)["status"]["error"])
    return "" if text.startswith(("<", "{", "[")) else text


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdecimal() else None
