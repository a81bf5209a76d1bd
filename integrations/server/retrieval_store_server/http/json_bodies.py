"""Parses JSON bodies. The depth of nesting, and the number of lists and objects, are checked
against limits.
"""

from http import HTTPStatus
from typing import Any

import orjson

from retrieval_store.qdrant import Refused
from retrieval_store_server.http.refusals import wrong
from retrieval_store_server.native.codec import has_many_containers

DEEPEST = 128  # levels of JSON: serde_json's limit, and so Qdrant's
# Lists and objects in a body; each takes some 100 bytes. Bodies of reads are checked as a whole,
# which takes some microseconds for each and blocks other threads, so their limit is lower.
MAX_CONTAINERS, MAX_CHECKED = 2_000_000, 100_000
_NESTING = {dict, list}


def as_json(body: bytes, most: int = MAX_CONTAINERS) -> Any:
    """A body, parsed as JSON. Raises Refused (400) if the body is invalid or nested too deeply, and
    Refused (413) if it has more than `most` lists and objects."""
    if not body:
        raise wrong("Format error in JSON body: EOF while parsing a value at line 1 column 0")
    refuse_many(body, most)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise wrong(f"Format error in JSON body: {error}") from None
    refuse_deep(body, parsed)
    return parsed


def refuse_deep(body: bytes, parsed: Any) -> None:
    """Refuse a body if its parsed value is nested too deeply."""
    if _may_be_deep(body) and _is_deeper(parsed):
        raise wrong(f"Format error in JSON body: it is nested deeper than {DEEPEST} levels")


def refuse_many(body: bytes, most: int) -> None:
    """Refuse a body with more than `most` lists and objects."""
    if has_many_containers(body, most):
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"Payload error: the JSON has more than {most:,} lists and objects",
        )


def _may_be_deep(body: bytes) -> bool:
    """Whether a body may be nested more deeply than allowed, judged by the number of its brackets.
    The brackets are searched with `find`: if there are only a few, this is faster than counting
    them with `count`."""
    left = DEEPEST
    for bracket in (b"[", b"{"):
        place = body.find(bracket)
        while place >= 0:
            left -= 1
            if left < 0:
                return True
            place = body.find(bracket, place + 1)
    return False


def _is_deeper(value: Any) -> bool:
    """Whether lists and objects are nested more deeply than a Qdrant server accepts. The time that
    parsing takes grows with the square of the depth."""
    level = [value]
    for _ in range(DEEPEST):
        within = [
            container.values() if type(container) is dict else container for container in level
        ]
        deeper = [several for several in within if not _NESTING.isdisjoint(map(type, several))]
        level = [element for several in deeper for element in several if type(element) in _NESTING]
        if not level:
            return False
    return True
