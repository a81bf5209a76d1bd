"""What is refused, as those who know Qdrant's client expect it: one class that is what a server's
client raises and what local mode does, with the status that a server answers.

What our own errors say stays as it is said; only their class changes, here and nowhere else.
"""

import functools
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar, cast

from httpx import Headers
from qdrant_client.http.exceptions import UnexpectedResponse

from retrieval_store.errors import (
    AlreadyExistsError,
    ClientClosedError,
    ConflictError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    NotFoundError,
    RetrievalStoreError,
)

STATUSES: tuple[tuple[type[RetrievalStoreError], HTTPStatus], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (AlreadyExistsError, HTTPStatus.CONFLICT),
    (ConflictError, HTTPStatus.CONFLICT),
    (InvalidArgumentError, HTTPStatus.BAD_REQUEST),
    (EmbeddingFunctionError, HTTPStatus.BAD_REQUEST),
)
Method = TypeVar("Method", bound=Callable[..., Any])


class Refused(RetrievalStoreError, UnexpectedResponse, ValueError):  # noqa: N818  as servers say
    """The call was refused, and nothing was written. status_code: what a server answers then."""

    def __init__(self, status: int, message: str) -> None:
        content = json.dumps({"status": {"error": message}, "time": 0.0}).encode()
        UnexpectedResponse.__init__(
            self, int(status), HTTPStatus(status).phrase, content, Headers()
        )
        self.message = message

    def __str__(self) -> str:
        return f"{self.status_code} ({self.reason_phrase}): {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return Refused, (self.status_code, self.message)


def malformed(message: str) -> Refused:
    """For what a server can't read as a request at all."""
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, message)


def wrong(message: str) -> Refused:
    """For a request that can't be carried out as it is."""
    return Refused(HTTPStatus.BAD_REQUEST, message)


def missing(message: str) -> Refused:
    """For what isn't there."""
    return Refused(HTTPStatus.NOT_FOUND, message)


def answering(method: Method) -> Method:
    """A method of which errors of ours come out as `Refused`; those of files and of a closed
    client stay what they are."""

    @functools.wraps(method)
    def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (Refused, ClientClosedError):
            raise
        except RetrievalStoreError as error:
            for kind, status in STATUSES:
                if isinstance(error, kind):
                    raise Refused(status, str(error)) from error
            raise

    return cast(Method, answered)
