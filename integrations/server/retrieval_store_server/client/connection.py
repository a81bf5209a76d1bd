"""Sends requests to a server, over persistent HTTP connections, with retries.

A read may always be retried. A write may be retried if it certainly wasn't started: there was no
connection, or the server said so. Otherwise the error says that the write may have been executed.
The server runs each request in one transaction, so the write was executed completely or not at all.

`is_ours_at` finds out whether a server is one of this package.
"""

import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse, IncompleteRead
from threading import TIMEOUT_MAX
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

import numpy as np
import orjson

from retrieval_store.errors import (
    AccessDeniedError,
    ClientClosedError,
    ClusterError,
    ClusterTimeoutError,
    InvalidArgumentError,
    InvalidTypeError,
    RequestStoppedError,
    RequestTimeoutError,
    RetrievalStoreError,
    UnavailableError,
)
from retrieval_store.extension import Lock, host_in_url, log_of
from retrieval_store.frameworks import quote
from retrieval_store_server.native.codec import (
    COPIED,
    MAX_BYTES,
    MEDIA_TYPE,
    Buffer,
    MalformedError,
    Parts,
    size_of,
)
from retrieval_store_server.native.methods import OURS, ROOT, Method, decode_error

PATIENCE = 10.0  # seconds to wait for a server that is starting
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
_log = log_of("server")
# Statuses which mean, without an error of ours, that the request was not started.
_NOT_BEGUN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
# Statuses that only a proxy sends; it may have forwarded the request.
_PROXY_STATUSES = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.GATEWAY_TIMEOUT,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_TIMEOUT_HINT = "in time (timeout= of Client says how long)"


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """A POST request with a message. doing: the action, for error messages; writes: whether the
    request writes, so that it must not be repeated once begun; long: whether the response can take
    minutes."""

    path: str
    message: Parts
    doing: str
    writes: bool = False
    long: bool = False


@dataclass(frozen=True, slots=True)
class AttemptFailure:
    """The failure of one attempt. again: whether another attempt can help; begun: whether the
    server may have executed the request; pause: the seconds that the server asks to wait."""

    error: RetrievalStoreError
    again: bool
    begun: bool
    pause: float | None = None


class FailedError(Exception):
    """An attempt at a request failed."""

    def __init__(self, failure: AttemptFailure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


class Retry:
    """Decides whether, and after which pause, a failed request is attempted again."""

    def __init__(self, request: MessageRequest) -> None:
        self._request = request
        self._until = time.monotonic() + PATIENCE
        self._pause = FIRST_PAUSE
        self._was_begun = False

    def pause_after(self, failure: AttemptFailure) -> float:
        """The seconds until the next attempt. Raises the error of the failure if there is no
        further attempt."""
        self._was_begun |= failure.begun
        pause = self._pause if failure.pause is None else failure.pause
        may = failure.again and not (failure.begun and self._request.writes)
        if not may or time.monotonic() + pause > self._until:
            raise self._with_outcome(failure.error)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        _log.info("%s; trying again", failure.error)
        return pause

    def _with_outcome(self, error: RetrievalStoreError) -> RetrievalStoreError:
        """The error to raise. If a write failed with a ClusterError, this is a copy of the error,
        whose message adds whether the write may have been executed. Otherwise it is the error
        itself."""
        if not (isinstance(error, ClusterError) and self._request.writes):
            return error
        outcome = "nothing was written"
        if self._was_begun:
            outcome = f"{self._request.doing} may have been done, as a whole or not at all"
        return type(error)(f"{error}; {outcome}")


def not_connected(error: Exception, place: str) -> AttemptFailure:
    """The failure of an attempt in which no connection was made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate isn't trusted here: {error.verify_message}"
        return AttemptFailure(UnavailableError(_cannot(place, reason)), again=False, begun=False)
    if isinstance(error, ssl.SSLError):
        reason = "TLS isn't spoken there: is it http:// instead of https://?"
        return AttemptFailure(UnavailableError(_cannot(place, reason)), again=False, begun=False)
    if isinstance(error, socket.gaierror):
        reason = "no host of this name is known here"
        return AttemptFailure(UnavailableError(_cannot(place, reason)), again=False, begun=False)
    if isinstance(error, TimeoutError):
        reason = f"nothing answers there {_TIMEOUT_HINT}"
        return AttemptFailure(ClusterTimeoutError(_cannot(place, reason)), again=False, begun=False)
    reason = "nothing answers there"
    if isinstance(error, ConnectionResetError):
        reason = "connections are closed there: is it https:// instead of http://?"
    return AttemptFailure(UnavailableError(_cannot(place, reason)), again=True, begun=False)


def connection_lost(error: Exception, place: str, doing: str) -> AttemptFailure:
    """The failure of an attempt that sent something, and then lost the connection or got no
    response."""
    if isinstance(error, TimeoutError):
        message = f"the server {place} didn't finish {doing} {_TIMEOUT_HINT}"
        return AttemptFailure(ClusterTimeoutError(message), again=False, begun=True)
    message = f"the connection to the server {place} was cut while {doing}"
    return AttemptFailure(UnavailableError(message), again=True, begun=True)


def error_answer(
    status: int, headers: HTTPMessage, body: Buffer, place: str, doing: str
) -> AttemptFailure:
    """The failure of an attempt that got a response with an error status."""
    answer = _error_in_body(body)
    if status == HTTPStatus.UNAUTHORIZED:
        message = f"the server {place} wants a key, or another one: give it as api_key= of Client"
        return AttemptFailure(AccessDeniedError(message), again=False, begun=False)
    error = decode_error(answer)
    if isinstance(error, RequestTimeoutError | RequestStoppedError):
        return AttemptFailure(error, again=False, begun=True)
    if status in _NOT_BEGUN:
        message = f"the server {place} is busy; {doing} wasn't begun"
        return AttemptFailure(UnavailableError(message), True, begun=False, pause=_seconds(headers))
    if isinstance(error, ClientClosedError):  # of the store, which is closed with its server
        message = f"the server {place} is ending"
        return AttemptFailure(UnavailableError(message), again=True, begun=False)
    if error is not None:
        return AttemptFailure(error, again=False, begun=False)
    if status == HTTPStatus.FORBIDDEN:
        message = f"the key that is given as api_key= of Client doesn't allow {doing} {place}"
        return AttemptFailure(AccessDeniedError(message), again=False, begun=False)
    if status in _PROXY_STATUSES:
        message = f"a proxy in front of the server {place} can't reach it ({status})"
        return AttemptFailure(UnavailableError(message), again=True, begun=True)
    message = f"the server {place} answers {status} when {doing}{_sentence(answer)}"
    return AttemptFailure(ClusterError(message), again=False, begun=status >= 500)


def _cannot(place: str, why: str) -> str:
    return f"the server {place} can't be reached: {why}"


def _error_in_body(body: Buffer) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _sentence(answer: object) -> str:
    """The reason why a request was refused, as the end of an error message; empty if the response
    has no reason."""
    status = answer.get("status") if isinstance(answer, dict) else None
    why = status.get("error") if isinstance(status, dict) else None
    return f": {why}" if isinstance(why, str) else ""


def _seconds(headers: HTTPMessage) -> float | None:
    """The number of seconds that a server asks to wait; None if the response has no such number."""
    retry_after = headers.get("retry-after", "")
    return float(retry_after) if retry_after.isdecimal() and len(retry_after) < 5 else None


PORT = 6333  # the default of a URL, as in qdrant-client
MAX_PORT = 65_535
TIMEOUT = 30.0  # seconds
LOOKED_WITHIN = 5.0  # seconds for identifying the server
# Arguments of qdrant-client's about connections to a cluster, which have no meaning here.
_OF_QDRANT = (
    *("prefer_grpc", "grpc_port", "grpc_options", "check_compatibility", "pool_size", "https"),
)
_OURS = ("api_key", "headers", "port", "prefix", "timeout", "verify")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server, and how to connect to it. prefix: the beginning of all paths;
    headers: HTTP headers of each request; timeout: the seconds to wait for a response, None for no
    limit; context: the TLS context, None for no TLS."""

    url: str
    host: str
    port: int
    prefix: str
    headers: Mapping[str, str] = field(repr=False)
    timeout: float | None
    context: ssl.SSLContext | None

    @property
    def place(self) -> str:
        """The address for messages, without parts of the URL that may be secret."""
        return f"at {self.url}"


def address_of(url: Any, options: Mapping[str, Any]) -> Address | None:
    """The address of a server, from the arguments of `Client`. None if the options contain some
    that only a client of a cluster accepts. Raises InvalidArgumentError for invalid arguments."""
    if not isinstance(url, str) or not url:
        raise InvalidTypeError(f"url is {quote(url)}, expected the URL of a server")
    timeout = _timeout(options.get("timeout", TIMEOUT))
    if not options.keys() <= {*_OURS, *_OF_QDRANT}:
        return None
    parts = _parts_of(url)
    port, host = parts.port, parts.hostname or ""
    prefix = _prefix(options.get("prefix"))
    path = "/".join(part for part in (parts.path.strip("/"), prefix) if part)
    port = port or _port(options.get("port"))
    return Address(
        f"{parts.scheme}://{host_in_url(host)}:{port}{'/' if path else ''}{path}",
        host,
        port,
        f"/{path}" if path else "",
        _headers(options),
        timeout,
        _context(options.get("verify", True)) if parts.scheme == "https" else None,
    )


def _parts_of(url: str) -> SplitResult:
    """The parts of a URL; raises InvalidArgumentError if the URL cannot be used."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna") if parts.port != 0 else b""
    except ValueError:  # or its subclass UnicodeError
        parts, host = urlsplit(""), b""
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidArgumentError(f"url is {quote(url)}, expected http://HOST:PORT, or https://")
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise InvalidArgumentError(f"url is {quote(url)}, expected a path in ASCII, quoted")
    return parts


def is_ours(status: int, body: bytes | bytearray, place: str) -> bool | None:
    """Whether the response to `GET /` comes from a server of this package: True if it does, False
    if it comes from a Qdrant server. None if it may come from a proxy, or from a server that is
    starting. Raises ClusterError for any other response."""
    if status in _NOT_BEGUN or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return None
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise AccessDeniedError(
            f"access to the server {place} was denied ({status}). A retrieval-store server without "
            "keys answers only to host names that it knows (--allow-host); a proxy may want a key"
        )
    try:
        answer = orjson.loads(body) if status == HTTPStatus.OK else None
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict) or ("version" not in answer and OURS not in answer):
        raise ClusterError(
            f"there is neither a Qdrant nor a retrieval-store server {place} (it answers {status})"
        )
    return OURS in answer


def _timeout(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 < value <= TIMEOUT_MAX):
        raise InvalidArgumentError(
            f"timeout is {quote(value)}, expected seconds, more than 0, or None for no end"
        )
    return None if value is None else float(value)


def _port(value: Any) -> int:
    port = PORT if value is None else value
    if type(port) is not int or not 1 <= port <= MAX_PORT:
        raise InvalidArgumentError(f"port is {quote(value)}, expected 1 to {MAX_PORT}")
    return port


def _prefix(value: Any) -> str:
    """The prefix of all paths on a server, without slashes at its ends. A server behind a proxy may
    have a prefix; otherwise it is empty."""
    prefix = "" if value is None else value
    if not isinstance(prefix, str):
        raise InvalidTypeError(f"prefix is {quote(value)}, expected a str")
    if not (prefix.isascii() and prefix.isprintable()) or not {" ", "?", "#"}.isdisjoint(prefix):
        raise InvalidArgumentError(f"prefix is {quote(value)}, expected a path in ASCII, quoted")
    return prefix.strip("/")


def _headers(options: Mapping[str, Any]) -> dict[str, str]:
    custom = options.get("headers") or {}
    if not isinstance(custom, Mapping):
        raise InvalidTypeError(f"headers is {quote(custom)}, expected a dict of strings")
    headers = {str(name).lower(): value for name, value in custom.items()}
    if options.get("api_key") is not None:
        headers["api-key"] = options["api_key"]
    for name, value in headers.items():
        fits = isinstance(value, str) and value.isprintable() and value.isascii()
        if not fits or not name.isascii() or not name.replace("-", "").isalnum():
            what = "api_key" if name == "api-key" else f"headers[{name!r}]"
            raise InvalidArgumentError(f"{what} can't be sent: expected printable ASCII")
    return headers


def _context(verify: Any) -> ssl.SSLContext:
    """The TLS context. verify: whether to check certificates, the path of a file with trusted
    certificates, or a TLS context."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    context = ssl.create_default_context()
    if isinstance(verify, str):
        try:
            context.load_verify_locations(cafile=verify)
        except (OSError, ssl.SSLError) as error:
            raise InvalidArgumentError(
                f"verify is {verify!r}, which holds no certificates"
            ) from error
    elif verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif verify is not True:
        raise InvalidTypeError(f"verify is {quote(verify)}, expected True, False or a file")
    return context


KEPT_SECONDS = 60.0  # how long a connection may be idle; the server closes it after 75
PIECE = 1 << 18  # bytes
_KEEPALIVE_AFTER = 30  # seconds
# The errors of an exchange whose connection breaks, or whose response is invalid, such as a length
# that exceeds the memory.
_BROKEN = (OSError, HTTPException, ValueError, OverflowError, MemoryError)
T = TypeVar("T")


def read_whole(answer: HTTPResponse) -> Buffer:
    """The body of a response in new writable memory. Raises HTTPException if it is incomplete."""
    if answer.length is None:
        return bytearray(answer.read())
    body: Any = np.empty(answer.length, np.uint8)  # without filling it with zeros first
    view = memoryview(body)
    missing = len(view) - answer.readinto(view)
    if missing:
        raise IncompleteRead(b"", missing)
    return view


def read_pieces(answer: HTTPResponse) -> Iterator[bytes]:
    """Yield the body of a response in parts as they arrive. Raises HTTPException if it is
    incomplete."""
    while piece := answer.read(PIECE):
        yield piece
    if answer.length:
        raise IncompleteRead(b"", answer.length)


class HttpConnection:
    """A connection to a server. sock: its socket, None while it is closed.

    The standard library reads responses. Requests are written here, because the library sends the
    head and the body separately, which wakes the server twice.
    """

    def __init__(self, address: Address) -> None:
        self.sock: Any = None
        self.idle_since = 0.0
        self._address = address
        headers = {
            "host": f"{host_in_url(address.host)}:{address.port}",
            "content-type": MEDIA_TYPE,
            **address.headers,
            "accept-encoding": "identity",  # nothing here decompresses
        }
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def connect(self) -> None:
        """Open the connection; raises OSError."""
        address = self._address
        self.sock = socket.create_connection((address.host, address.port), address.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(self.sock)
        if address.context is not None:
            self.sock = address.context.wrap_socket(self.sock, server_hostname=address.host)

    def close(self) -> None:
        """Close the connection."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def send_request(self, method: str, path: str, body: Parts) -> HTTPResponse:
        """Send a request and return its response, whose body is still unread. The caller must close
        the response, since it keeps the connection open."""
        lines = f"{method} {self._address.prefix}{path} HTTP/1.1\r\n{self._headers}"
        head = f"{lines}content-length: {size_of(body)}\r\n\r\n".encode("ascii")
        if size_of(body) <= COPIED:
            self.sock.sendall(b"".join([head, *body]))
        else:
            # Piece by piece: a connection's timeout applies to each piece, and the whole may take
            # long.
            for part in (head, *body):
                view = memoryview(part)
                for start in range(0, len(view), PIECE):
                    self.sock.sendall(view[start : start + PIECE])
        answer: Any = HTTPResponse(self.sock, method=method)
        try:
            answer.begin()
            while answer.status < HTTPStatus.OK:  # 1xx announces another response
                answer.headers = None  # otherwise it isn't read
                answer.begin()
        except BaseException:
            answer.close()
            raise
        return cast(HTTPResponse, answer)

    def exchange(self, request: MessageRequest, read: Callable[[HTTPResponse], T]) -> T:
        """Send a request, and return the result of `read`. That function is called with the
        response, and must read all of it. Raises FailedError if the attempt failed. After any other
        error the connection is closed."""
        place, doing = self._address.place, request.doing
        try:
            self.sock.settimeout(None if request.long else self._address.timeout)
            with self.send_request("POST", request.path, request.message) as answer:
                if answer.status == HTTPStatus.OK:
                    result = read(answer)
                else:
                    refusal = read_whole(answer)
        except RetrievalStoreError:  # the reader's errors; some are errors of the system, too
            self.close()
            raise
        except _BROKEN as error:
            self.close()
            raise FailedError(connection_lost(error, place, doing)) from error
        except BaseException:
            self.close()
            raise
        if answer.will_close:
            self.close()
        if answer.status == HTTPStatus.OK:
            return result
        raise FailedError(error_answer(answer.status, answer.headers, refusal, place, doing))

    @property
    def has_something(self) -> bool:
        """Whether the socket has received data or has been closed by the server. While no request
        is running, data cannot be a response, so the connection is not used again."""
        if not hasattr(select, "poll"):
            return bool(select.select([self.sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))


def _keep_alive(sock: socket.socket) -> None:
    """Set options by which the system checks within minutes whether the server of an idle
    connection still exists."""
    with suppress(OSError, AttributeError):  # some systems lack it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_AFTER)


def connect(address: Address) -> HttpConnection:
    """A new, open connection to a server. Raises FailedError if the connection cannot be opened."""
    line = HttpConnection(address)
    try:
        line.connect()
    except OSError as error:
        line.close()
        raise FailedError(not_connected(error, address.place)) from error
    return line


MAX_IDLE = 64  # idle connections, one for each thread of an event loop's client


class ConnectionPool:
    """Connections to one server, which any number of threads can use. Calls that follow one another
    use the same connection. kept_seconds: a connection that was unused for longer is not used
    again."""

    def __init__(self, address: Address, kept_seconds: float = KEPT_SECONDS) -> None:
        self.address = address
        self._kept_seconds = kept_seconds
        self._idle: list[HttpConnection] = []
        self._lock = Lock()
        self._process = os.getpid()
        self._closed = False

    def call(self, method: Method, path: str, arguments: Mapping[str, Any], doing: str) -> Any:
        """The result of the server's method at this path, called with these arguments. doing: the
        action, for error messages."""
        request = request_of(method, path, arguments, doing)
        place = self.address.place
        body = with_retries(request, place, lambda: self._attempt(request, read_whole))
        return read_answer(method, body, place, doing)

    def receive(self, request: MessageRequest, read: Callable[[HTTPResponse], T]) -> T:
        """Send a request, and return the result of `read`. That function is called with the
        response as soon as its headers have arrived, and reads the body while it arrives."""
        return with_retries(request, self.address.place, lambda: self._attempt(request, read))

    def _attempt(self, request: MessageRequest, read: Callable[[HTTPResponse], T]) -> T:
        """Make one attempt at a request, and return the result of `read`, which is called with the
        response. Raises FailedError if the attempt failed."""
        line = self._idle_connection() or connect(self.address)
        try:
            return line.exchange(request, read)
        finally:
            self._give_back(line)

    def _idle_connection(self) -> HttpConnection | None:
        """A connection that no thread uses; None if there is none."""
        if self._closed:
            raise ClientClosedError(
                f"the client of the server {self.address.place} has been closed"
            )
        if self._process != os.getpid():
            self._begin_in_child()
        with self._lock:
            while self._idle:
                line = self._idle.pop()
                idle_seconds = time.monotonic() - line.idle_since
                if idle_seconds < self._kept_seconds and not line.has_something:
                    return line
                line.close()
        return None

    def _begin_in_child(self) -> None:
        """After a fork, drop the connections, which belong to the parent. The lock is replaced,
        since a thread of the parent may have held it during the fork."""
        self._process, self._lock = os.getpid(), Lock()
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()  # this closes only the child's copy

    def _give_back(self, line: HttpConnection) -> None:
        with self._lock:
            if line.sock is not None and not self._closed and len(self._idle) < MAX_IDLE:
                line.idle_since = time.monotonic()
                self._idle.append(line)
                return
        line.close()

    def close(self) -> None:
        """Close all connections; later calls raise ClientClosedError."""
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()


def with_retries(request: MessageRequest, place: str, attempt: Callable[[], T]) -> T:
    """The result of `attempt`. After a failure, `Retry` decides whether `attempt` is called again,
    and which error is raised."""
    attempts = Retry(request)
    while True:
        try:
            return attempt()
        except FailedError as failed:
            pause = attempts.pause_after(failed.failure)
        time.sleep(pause)


def request_of(
    method: Method, path: str, arguments: Mapping[str, Any], doing: str
) -> MessageRequest:
    """The request for a method; raises InvalidArgumentError if it is too large."""
    message = method.encode_arguments(arguments)
    if size_of(message) > MAX_BYTES:
        raise InvalidArgumentError(
            f"{doing} takes {size_of(message):,} bytes at once; a server takes {MAX_BYTES:,}: "
            "divide it into several calls"
        )
    return MessageRequest(f"{ROOT}{path}", message, doing, method.access != "read", method.long)


def read_answer(method: Method, body: Buffer, place: str, doing: str) -> Any:
    """A method's result from a response; raises ClusterError if the response is invalid."""
    try:
        return method.decode_result(body)
    except MalformedError as error:
        raise ClusterError(
            f"the response of the server {place} when {doing} can't be parsed"
        ) from error


def is_ours_at(address: Address) -> bool | None:
    """Whether the server at an address is one of this package: True if it is, False if it is a
    Qdrant server. None if no server responds at the moment."""
    try:
        return _look_at(address, min(LOOKED_WITHIN, address.timeout or LOOKED_WITHIN))
    except _BROKEN:  # ClusterError, too: the first use raises it again
        return None


def is_ours_in_time(address: Address) -> bool:
    """Whether the server at an address is one of this package. The server may be starting: it
    listens before it responds. Raises UnavailableError if no server responds in time, and
    ClusterError for another kind of server."""
    attempts = Retry(MessageRequest("/", (), "looking what is there"))
    while True:
        try:
            is_own_server = _look_at(address, address.timeout)
            if is_own_server is not None:
                return is_own_server
            message = f"the server {address.place} isn't ready: a proxy answers, or it is starting"
            failure = AttemptFailure(UnavailableError(message), again=True, begun=False)
        except ClusterError:
            raise
        except _BROKEN as error:
            failure = not_connected(error, address.place)
        time.sleep(attempts.pause_after(failure))


def _look_at(address: Address, within: float | None) -> bool | None:
    """The result of `is_ours` for the server at an address. Raises one of the errors in `_BROKEN`
    if no server responds. within: the timeout in seconds."""
    line = HttpConnection(replace(address, timeout=within))
    try:
        line.connect()
        with line.send_request("GET", "/", ()) as answer:
            return is_ours(answer.status, bytes(read_whole(answer)), address.place)
    finally:
        line.close()
