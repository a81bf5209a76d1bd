"""What a request is, what its failures mean, and whether it is tried again.

A read may always be tried again. A write may where it is certain that nothing was done: there was
no connection, or the server said so. Else the error says that it may have been done, as a whole or
not at all: what the server does, it does in one transaction.
"""

import socket
import ssl
import time
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.logs import log_of
from retrieval_store.errors import (
    AccessDeniedError,
    ClientClosedError,
    ClusterError,
    ClusterTimeoutError,
    RetrievalStoreError,
    UnavailableError,
)
from retrieval_store.wire.failures import understood
from retrieval_store.wire.message import Buffer, Parts

PATIENCE = 10.0  # seconds in which a server that is started anew is waited for
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
_log = log_of("server")
# That say that a request wasn't begun.
_NOT_BEGUN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
# Of what stands between alone, which may have passed a request on.
_BETWEEN = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_IN_TIME = "in time (timeout= of Client says how long)"


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: a POST with a message. doing: what it does, in words; writes: whether it may
    not be done twice; long: whether an answer may take minutes."""

    path: str
    message: Parts
    doing: str
    writes: bool = False
    long: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Of one attempt. again: whether another may help; begun: whether it may have been done; pause:
    seconds that the server asks to wait."""

    error: RetrievalStoreError
    again: bool
    begun: bool
    pause: float | None = None


class FailedError(Exception):
    """An attempt failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


class Attempts:
    """The attempts at one request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._until = time.monotonic() + PATIENCE
        self._pause = FIRST_PAUSE
        self._was_begun = False

    def pause_after(self, failure: Failure) -> float:
        """The seconds until the next attempt; raises the error where there is none."""
        self._was_begun |= failure.begun
        pause = self._pause if failure.pause is None else failure.pause
        may = failure.again and not (failure.begun and self._request.writes)
        if not may or time.monotonic() + pause > self._until:
            raise self._told(failure.error)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        _log.info("%s; trying again", failure.error)
        return pause

    def _told(self, error: RetrievalStoreError) -> RetrievalStoreError:
        """The error, with what came of a write whose outcome isn't told by its class."""
        if not (isinstance(error, ClusterError) and self._request.writes):
            return error
        outcome = "nothing was written"
        if self._was_begun:
            outcome = f"{self._request.doing} may have been done, as a whole or not at all"
        return type(error)(f"{error}; {outcome}")


def unreached(error: Exception, place: str) -> Failure:
    """No connection came about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"its certificate isn't trusted here: {error.verify_message}"
        return Failure(UnavailableError(_cannot(place, said)), again=False, begun=False)
    if isinstance(error, ssl.SSLError):
        said = "TLS isn't spoken there: is it http:// instead of https://?"
        return Failure(UnavailableError(_cannot(place, said)), again=False, begun=False)
    if isinstance(error, socket.gaierror):
        said = "no host of this name is known here"
        return Failure(UnavailableError(_cannot(place, said)), again=False, begun=False)
    if isinstance(error, TimeoutError):
        said = f"nothing answers there {_IN_TIME}"
        return Failure(ClusterTimeoutError(_cannot(place, said)), again=False, begun=False)
    said = "nothing answers there"
    if isinstance(error, ConnectionResetError):
        said = "connections are closed there: is it https:// instead of http://?"
    return Failure(UnavailableError(_cannot(place, said)), again=True, begun=False)


def broken(error: Exception, place: str, doing: str) -> Failure:
    """A connection was cut, or nothing came, after something had been sent."""
    if isinstance(error, TimeoutError):
        said = f"the server {place} didn't finish {doing} {_IN_TIME}"
        return Failure(ClusterTimeoutError(said), again=False, begun=True)
    said = f"the connection to the server {place} was cut while {doing}"
    return Failure(UnavailableError(said), again=True, begun=True)


def answered(
    status: int, headers: Mapping[str, str], body: Buffer, place: str, doing: str
) -> Failure:
    """What an answer means that isn't the one that was asked for."""
    said = _said(body)
    if status == HTTPStatus.UNAUTHORIZED:
        told = f"the server {place} wants a key, or another one: give it as api_key= of Client"
        return Failure(AccessDeniedError(told), again=False, begun=False)
    if status in _NOT_BEGUN:
        told = f"the server {place} takes no more requests just now, {doing} neither"
        return Failure(UnavailableError(told), True, begun=False, pause=_seconds(headers))
    error = understood(said)
    if isinstance(error, ClientClosedError):  # of the store, which is closed with its server
        told = f"the server {place} is ending"
        return Failure(UnavailableError(told), again=True, begun=False)
    if error is not None:
        return Failure(error, again=False, begun=False)
    if status == HTTPStatus.FORBIDDEN:
        told = f"the key that is given as api_key= of Client has no right to {doing} {place}"
        return Failure(AccessDeniedError(told), again=False, begun=False)
    if status in _BETWEEN:
        told = f"what stands before the server {place} can't reach it ({status})"
        return Failure(UnavailableError(told), again=True, begun=True)
    told = f"the server {place} answers {status} when {doing}{_sentence(said)}"
    return Failure(ClusterError(told), again=False, begun=status >= 500)


def not_ready(place: str) -> UnavailableError:
    """Where something answers that isn't what was there, or will be."""
    return UnavailableError(f"what is {place} isn't ready: something else answers in its place")


def garbled(place: str, doing: str) -> ClusterError:
    """Where an answer can't be read."""
    return ClusterError(f"what the server {place} answers when {doing} can't be understood")


def _cannot(place: str, why: str) -> str:
    return f"the server {place} can't be reached: {why}"


def _said(body: Buffer) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _sentence(said: object) -> str:
    """Why a request was refused, as far as that is said."""
    status = said.get("status") if isinstance(said, dict) else None
    why = status.get("error") if isinstance(status, dict) else None
    return f": {why}" if isinstance(why, str) else ""


def _seconds(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait; None where it doesn't say."""
    given = headers.get("retry-after", "")
    return float(given) if given.isdecimal() and len(given) < 5 else None
