"""What a server refuses: each with the status and in the words of a Qdrant."""

import itertools
import json
from http import HTTPStatus
from typing import Any

from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from retrieval_store.frameworks import quote
from retrieval_store.qdrant import Refused
from retrieval_store_server.values import cut_text

INVALID = "Validation error in JSON body"
PARTS, CHARACTERS = 4, 60  # of a value that are shown in a message


class RateLimited(Refused, ResourceExhaustedResponse):
    """The call was refused, since there were too many in this minute. retry_after_s: seconds until
    it would be accepted."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        Refused.__init__(self, HTTPStatus.TOO_MANY_REQUESTS, message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        return RateLimited, (self.message, self.retry_after_s)


def invalid(reason: str) -> Refused:
    """The refusal of a body that can be parsed, and is invalid."""
    return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{INVALID}: {reason}")


def wrong(message: str) -> Refused:
    """The refusal of a request that can't be carried out as it is."""
    return Refused(HTTPStatus.BAD_REQUEST, message)


def not_found(message: str) -> Refused:
    """The refusal of a request for something that doesn't exist."""
    return Refused(HTTPStatus.NOT_FOUND, message)


def describe(value: Any, depth: int = 3) -> str:
    """A value of a request as JSON, as its sender wrote it, shortened for a message; as Python has
    it where it is none."""
    if isinstance(value, dict | list | tuple) and not depth:
        return "…"
    if isinstance(value, dict):
        items = itertools.islice(value.items(), PARTS + 1)
        parts = [f"{describe(name)}: {describe(part, depth - 1)}" for name, part in items]
        return f"{{{_abbreviate(parts)}}}"
    if isinstance(value, list | tuple):
        return f"[{_abbreviate([describe(part, depth - 1) for part in value[: PARTS + 1]])}]"
    if isinstance(value, str):
        value = cut_text(value, CHARACTERS)
    if value is None or isinstance(value, str | int | float):
        return json.dumps(value, ensure_ascii=False)
    return quote(value)


def _abbreviate(parts: list[str]) -> str:
    """The first of the parts, and a mark where there are more."""
    return ", ".join([*parts[:PARTS], *(["…"] if len(parts) > PARTS else [])])
