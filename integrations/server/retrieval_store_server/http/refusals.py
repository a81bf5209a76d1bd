"""The errors with which a server refuses requests, each with Qdrant's status and message."""

from http import HTTPStatus
from typing import Any

from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from retrieval_store.qdrant import Refused

INVALID = "Validation error in JSON body"


class RateLimited(Refused, ResourceExhaustedResponse):
    """A call was refused, since there were too many calls in this minute. retry_after_s: the
    seconds until the call would be accepted."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        Refused.__init__(self, HTTPStatus.TOO_MANY_REQUESTS, message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return RateLimited, (self.message, self.retry_after_s)


def invalid(reason: str) -> Refused:
    """The refusal of a body that can be parsed but is invalid."""
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{INVALID}: {reason}")


def wrong(message: str) -> Refused:
    """The refusal of a request that cannot be executed."""
    return Refused(HTTPStatus.BAD_REQUEST, message)


def not_found(message: str) -> Refused:
    """The refusal of a request for something that does not exist."""
    return Refused(HTTPStatus.NOT_FOUND, message)
