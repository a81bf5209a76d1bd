"""Calls servers that embed texts, by JSON over HTTP, in batches.

Temporary failures are retried. Texts and keys are sent only to the host that the user named, so
redirects aren't followed. Requests to other machines use the proxy that an environment variable
names, if there is one. Only the standard library is needed.
"""

import http.client
import ipaddress
import json
import math
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix, plain_scalar
from retrieval_store.base.validation import quote
from retrieval_store.embeddings._common import at_least, utf8_length
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError

RETRIED = (408, 409, 429, 500, 502, 503, 504)
REQUEST_BYTES = 300_000  # OpenAI's limit of tokens in a request; each has a byte at least
FIRST_PAUSE = 0.5  # seconds; doubled each time
LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Manner:
    """How to call a server. batch_size: the number of texts in a request; timeout: the seconds
    without data after which a request fails; retries: how often a failed request is repeated."""

    batch_size: int
    timeout: float
    retries: int


def check_manner(batch_size: Any, timeout: Any, retries: Any) -> Manner:
    """The arguments as a Manner; raises InvalidArgumentError for an invalid number."""
    seconds = plain_scalar(timeout)
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds < threading.TIMEOUT_MAX:
        raise InvalidArgumentError(
            f"timeout is {quote(timeout)}, expected a number of seconds above 0"
        )
    return Manner(
        at_least(1, "batch_size", batch_size), float(seconds), at_least(0, "retries", retries)
    )


def check_url(base_url: Any) -> str:
    """The URL of a server without a slash at its end. Raises InvalidArgumentError for a URL that
    cannot be called, or that must not be stored, for example because it contains a password."""
    try:
        parts = urllib.parse.urlsplit(base_url if isinstance(base_url, str) else "")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    is_bare = usable and not (parts.username or parts.password or {*"?#"}.intersection(base_url))
    if not is_bare:  # it isn't shown, for it may have a password
        raise InvalidArgumentError(
            "base_url must be an http or https URL without a user's name or password, and without "
            'a query behind "?": it is stored and shown, and paths are added to it'
        )
    return str(base_url).rstrip("/")


def in_batches(texts: list[str], size: int, embed: Callable[[list[str]], Matrix]) -> Matrix:
    """(n, dim) float32: the vectors of n texts, which `embed` computes in batches; (0, 0) if there
    are no texts."""
    if not texts:
        return np.empty((0, 0), np.float32)
    parts = [embed(batch) for batch in batches(texts, size)]
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:
        raise EmbeddingFunctionError(
            f"the server answered vectors of {' and of '.join(map(str, widths))} numbers to texts "
            "of one call"
        )
    return np.concatenate(parts)


def batches(texts: list[str], size: int) -> Iterator[list[str]]:
    """The texts in batches, each small enough for one request, by the number of texts and by their
    total length."""
    batch: list[str] = []
    room = REQUEST_BYTES
    for text in texts:
        length = utf8_length(text)
        if batch and (len(batch) == size or length > room):
            yield batch
            batch, room = [], REQUEST_BYTES
        batch.append(text)
        room -= length
    yield batch


def matrix(rows: Any, count: int) -> Matrix:
    """(count, dim) float32 from the response of a server; raises TypeError or ValueError if the
    response isn't such a matrix."""
    try:
        with np.errstate(over="ignore"):  # too large numbers become infinite
            vectors = np.array(rows, np.float32)
    except OverflowError as error:  # an int that no float holds
        raise ValueError(str(error)) from error
    if vectors.ndim != 2 or len(vectors) != count or not vectors.shape[1]:
        raise ValueError(f"an array of shape {vectors.shape} for {count} texts")
    if not np.isfinite(vectors).all():
        raise ValueError("numbers that aren't finite")
    return vectors


def refuse_other_length(vectors: Matrix, dimensions: int | None, who: str, why: str) -> None:
    """Raise EmbeddingFunctionError if the vectors do not have the requested length. dimensions: the
    requested length, None for any length. who: the server; why: a possible reason, for the
    message."""
    if dimensions is not None and vectors.shape[1] != dimensions:
        raise EmbeddingFunctionError(
            f"dimensions is {dimensions}, but {who} answered vectors of {vectors.shape[1]} "
            f"numbers: {why}"
        )


def no_embeddings(url: str, answer: Any) -> EmbeddingFunctionError:
    """The error for a response without embeddings."""
    return EmbeddingFunctionError(
        f"{url} answered something else than embeddings: {str(answer)[:200]}"
    )


def ask(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    manner: Manner,
    message_of: Callable[[int | None, str], str],
) -> Any:
    """A server's response to a JSON body, parsed as JSON. Raises EmbeddingFunctionError for any
    failure. message_of: makes the error's text from the status and the beginning of the response.
    If the server can't be reached, it is called with None and the reason."""
    pause, waiting = FIRST_PAUSE, threading.Event()
    for left in range(manner.retries, -1, -1):
        try:
            return _answer(url, body, headers, manner.timeout)
        except urllib.error.HTTPError as error:
            body_start = _beginning_of(error)
            if error.code not in RETRIED or not left:
                raise EmbeddingFunctionError(message_of(error.code, body_start)) from error
            pause = _retry_after(error) or pause
        except UnicodeError as error:  # of a URL; bytes that aren't UTF-8 aren't JSON
            raise EmbeddingFunctionError(message_of(None, str(error))) from error
        except (OSError, http.client.HTTPException) as error:
            if not left:
                raise EmbeddingFunctionError(message_of(None, str(error))) from error
        waiting.wait(min(pause, LONGEST_PAUSE))
        pause *= 2
    raise AssertionError("unreachable")


def _answer(url: str, body: bytes, headers: Mapping[str, str], timeout: float) -> Any:
    request = urllib.request.Request(
        url, body, {"Content-Type": "application/json", **headers}, method="POST"
    )
    # A proxy is another machine, and what runs on this one is never asked through it.
    proxies: dict[str, str] | None = {} if _is_local(url) else None
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler(proxies))
    with opener.open(request, timeout=timeout) as response:
        try:
            return json.load(response)
        except (ValueError, RecursionError) as error:
            raise EmbeddingFunctionError(f"{url} didn't answer JSON") from error


def _is_local(url: str) -> bool:
    """Whether the host of a URL is this machine."""
    host = (urllib.parse.urlsplit(url).hostname or "").rstrip(".")
    with suppress(ValueError, OSError):
        address = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _beginning_of(error: urllib.error.HTTPError) -> str:
    """The beginning of the response to a failed request; an empty string if it cannot be read."""
    with error, suppress(OSError, http.client.HTTPException):
        return error.read(500).decode(errors="replace")
    return ""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, so that a redirect is reported as a response without embeddings."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    """The number of seconds that the server asks to wait, from a number or a date in its header;
    None if there is neither."""
    header = error.headers.get("Retry-After", "").strip()
    wait = math.nan
    with suppress(ValueError, OverflowError):
        wait = float(header)
    if not math.isfinite(wait):
        with suppress(ValueError, OverflowError):
            wait = parsedate_to_datetime(header).timestamp() - time.time()
    return wait if math.isfinite(wait) and wait >= 0 else None
