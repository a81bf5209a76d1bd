"""Runs servers: from the command line, in one or several processes, or in a thread of a program.

`Protocol` reads HTTP from a connection: uvicorn's protocol, with limits. `Guard` protects ASGI
applications that aren't from this package.
"""

import asyncio
import gc
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import uvicorn
from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

from retrieval_store import Client
from retrieval_store.cli.plugin import needing
from retrieval_store.errors import InvalidArgumentError, StorageError
from retrieval_store.extension import Budget, RequestMemory, log_of, usable_cores
from retrieval_store_server.application import Application, app
from retrieval_store_server.http.auth import Gate
from retrieval_store_server.http.browser import ROOT
from retrieval_store_server.http.request import Hold
from retrieval_store_server.http.routes import OF_VIEW
from retrieval_store_server.http.sending import EXCHANGE, headers_of
from retrieval_store_server.http.settings import (
    END_WITHIN,
    KEY_VARIABLES,
    READER_VARIABLES,
    RpcListening,
    ServerSettings,
    is_loopback,
    keys_of,
)
from retrieval_store_server.values import IN_MEMORY

Asgi: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

# Seconds within which the head of a connection's first request must be complete; for a later
# request they begin with its first byte.
HEAD_WITHIN = 60.0
LONGEST_HEAD = 128 * 1024  # bytes of a request before its body, all of which are kept


class _Parser(HttpRequestParser):
    """A parser that ignores upgrade headers, as HTTP allows. uvicorn's parser would end a request
    with an upgrade header after its head, and read the body as the next request."""

    def __init__(self, protocol: "Protocol") -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:
        """Parse received data. A request with an upgrade header is parsed again without this
        header."""
        parser: HttpRequestParser = self
        left = memoryview(data)
        while True:
            try:
                HttpRequestParser.feed_data(parser, left)
                return
            except HttpParserUpgrade as upgrade:
                left = left[upgrade.args[0] :]
                parser = self._protocol.parse_again()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with limits for the URL, headers and trailers of a request, and for the
    time in which the head must arrive. Without these limits, uvicorn stores any number of headers
    and waits forever, before the application can check a key."""

    _is_in_head = False
    _unended = 0  # bytes since a complete head, or a part of a body
    _waiting: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        self._at_end: list[Callable[[], object]] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)
        for call in self._at_end:
            call()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Called when the client has closed the sending half of the connection. The client may
        still wait for a response."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete or self.scheme == "https":
            return None
        self._wait_no_more()
        cycle.keep_alive = False
        cycle.message_event.set()
        return True

    def hold(self, seconds: float, at_end: Callable[[], object]) -> None:
        """Keep the connection open for `seconds` without a request. at_end: a function that is
        called on the loop once the connection is closed. Any thread can call this."""
        self.timeout_keep_alive = int(seconds)
        self._at_end.append(at_end)

    def data_received(self, data: bytes) -> None:
        self._unended += len(data)
        super().data_received(data)
        if self._unended > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")
        if self._is_in_head or self._is_idle():
            self._wait()

    def _is_idle(self) -> bool:
        """Whether no request is running, and no timer will close the connection. This happens after
        bytes that belong to no request, such as an empty line, because such bytes stop uvicorn's
        timer."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return not under_way and self.timeout_keep_alive_task is None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")
        if self.parser.should_upgrade():
            return
        self._check_host()
        super().on_headers_complete()
        if isinstance(self.app, Application):  # otherwise a wrapper wants to see the messages
            exchange = WholeExchange(self.cycle, self.hold)
            self.scope["extensions"] = {EXCHANGE: exchange}  # type: ignore[dict-item]
        self._is_in_head = False
        self._unended = 0
        self._wait_no_more()

    def _check_host(self) -> None:
        """Refuse a request that names several hosts, since a proxy in front of this server may have
        used another of these hosts."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if self.url[:1] not in (b"/", b"*"):  # an absolute URL, as sent to a proxy
            hosts.append(self.url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0])
            if len(hosts) == 2 and hosts[0].lower() == hosts[1].lower():
                hosts.pop()
        if len(hosts) > 1:
            raise ValueError("the server is named twice")

    def parse_again(self) -> HttpRequestParser:
        """A new parser, which has parsed the head of the current request without its upgrade
        header."""
        version = self.parser.get_http_version().encode()
        head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        head += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = _Parser(self)
        self.parser.feed_data(b"\r\n".join([*head, b"", b""]))
        return self.parser

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._unended = 0

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


_STATUS_LINES: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}
_OF_CYCLE = (
    *("access_log", "body", "default_headers", "disconnected", "flow", "keep_alive"),
    *("message_event", "more_body", "on_response", "response_complete", "response_started"),
    *("scope", "transport", "waiting_for_100_continue"),
)


class WholeExchange:
    """Receives a whole request, and sends a whole response, through the fields of uvicorn's
    `RequestResponseCycle`. ASGI's messages would take a system call for each part of a response. If
    a release of uvicorn has other fields, this class does nothing, and the server uses ASGI's
    messages. hold: see `Protocol.hold`."""

    __slots__ = ("_cycle", "_fits", "hold")

    def __init__(self, cycle: RequestResponseCycle, hold: Hold) -> None:
        self._cycle, self.hold = cycle, hold
        self._fits = all(hasattr(cycle, name) for name in _OF_CYCLE)

    def take_body(self) -> bytes | None:
        """The body. None if it has not arrived as a whole, or if the client waits for a "100
        Continue"."""
        cycle = self._cycle
        if not self._fits or cycle.more_body:
            return None
        if cycle.waiting_for_100_continue or cycle.disconnected:
            return None
        body = bytes(cycle.body)
        cycle.body = bytearray()
        cycle.message_event.clear()
        cycle.flow.resume_reading()
        return body

    def send(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a response immediately. Returns False, and sends nothing, if sending would have to
        wait, or if another response has begun. headers: must be valid, and include the length of
        the body."""
        cycle, status_line = self._cycle, _STATUS_LINES.get(status)
        if not self._fits or status_line is None:
            return False
        waits = cycle.disconnected or cycle.flow.write_paused
        if waits or cycle.access_log or cycle.scope["method"] == "HEAD":
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        head = [status_line]
        for name, value in (*cycle.default_headers, *headers):
            head += name, b": ", value, b"\r\n"
        if not cycle.keep_alive:
            head.append(b"connection: close\r\n")
        cycle.transport.write(b"".join((*head, b"\r\n", body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True


KEPT_OPEN = 75  # seconds that an idle connection stays open; clients keep theirs for less
STARTS_WITHIN = 60.0
LAST_PORT = 65_535
MOST_WORKERS = 8  # unless more are configured
BACKLOG = 2048  # connections in the accept queue, if the system allows that number


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens. port: 0 for any free port; grpc_port: the port for gRPC, 0 for any
    free port, None for no gRPC; tls_cert, tls_key: paths of PEM files."""

    host: str = "127.0.0.1"
    port: int = 6333
    grpc_port: int | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True, slots=True)
class ApplicationFactory:
    """Creates the application in each process."""

    store: str
    settings: ServerSettings
    rpc: RpcListening | None = None

    def __call__(self) -> Application:
        tune_collector()
        if self.settings.access_log:
            log_accesses()
        application = Application(self.store, self.settings)
        application.rpc = self.rpc
        return application


def tune_collector() -> None:
    """Make full garbage collections rare, for a process that only serves. Otherwise, parsing a body
    with a thousand vectors would cause several collections, which take a third of the parsing
    time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def log_accesses() -> None:
    """Write a line to the standard error for each request."""
    logger = log_of("access")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


class _Server(uvicorn.Server):
    """A uvicorn server that sets the event `has_begun` once it has started or has failed to start.
    on_listening: a function that is called once the server listens; if that function fails, the
    server shuts down normally."""

    def __init__(
        self, config: uvicorn.Config, on_listening: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(config)
        self.has_begun = threading.Event()
        self._on_listening = on_listening
        self._announce_error: OSError | None = None

    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
            if self.started:
                self._on_listening()
        except OSError as error:
            self._announce_error, self.should_exit = error, True
        finally:
            self.has_begun.set()

    def run(self, sockets: Any = None) -> None:
        super().run(sockets)
        if self._announce_error is not None:
            raise self._announce_error


def usual_workers(store: str, listening: Listening) -> int:
    """The default number of workers: one for each processor, up to eight. It is 1 if several
    workers cannot serve the store."""
    shares_port = listening.grpc_port is None or hasattr(socket, "SO_REUSEPORT")
    return 1 if store == IN_MEMORY or not shares_port else min(usable_cores(), MOST_WORKERS)


def serve(
    store: str,
    settings: ServerSettings,
    listening: Listening,
    workers: int,
    announce: Callable[[str, str | None], object],
) -> None:
    """Serve a store until SIGINT or SIGTERM ends the process. At the end, running requests get 30
    seconds to complete, and the store is closed. announce: a function that is called once the
    server accepts requests, with its URL, and with the address for gRPC if gRPC is served. Raises
    InvalidArgumentError for arguments that cannot be combined, StorageError if the server cannot
    listen, and the errors of opening a store."""
    if workers > 1 and store == IN_MEMORY:
        raise InvalidArgumentError("workers is more than 1: a store in memory has one process")
    _check_certificate(listening)
    with _reserve_rpc_port(listening, workers > 1) as rpc:
        make = ApplicationFactory(store, settings, rpc)
        # Opened before anything is announced, so that an error of the store is reported at once.
        # Workers would report it again and again, since they are restarted.
        application = make()
        if workers == 1:
            _run(
                application,
                listening,
                lambda url: announce(url, None if rpc is None else rpc.address),
            )
            return
        application.close()
        config = _config(make, listening, workers)
        with _bind_for_workers(listening) as bound:
            served = partial(announce, _url(bound, listening), None if rpc is None else rpc.address)
            if rpc is None and not isinstance(bound, PortOfWorkers):
                served()  # clients that connect before a worker has started wait for it
            else:
                address = bound.getsockname()[:2] if rpc is None else (rpc.host, rpc.port)
                waiting = threading.Thread(target=_once_listening, args=(*address, served))
                waiting.daemon = True
                waiting.start()
            Multiprocess(config, [bound]).run()


def view(
    client: Client, settings: ServerSettings, port: int, announce: Callable[[str], object]
) -> None:
    """Serve the page that displays a store, and nothing else, to this machine only, until the
    process ends. client: a client of the store, which the caller closes. announce: a function that
    is called with the URL of the page once the page can be opened. Raises the errors of `serve`."""
    application = Application(client, settings, OF_VIEW)
    _run(application, Listening(port=port), lambda url: announce(f"{url}{ROOT}"))


def _run(application: Application, listening: Listening, announce: Callable[[str], object]) -> None:
    """Serve an application in this process until the process is told to end, and close the
    application."""
    try:
        serve_asgi(application, listening, announce)
    finally:
        application.close()


def serve_asgi(application: Any, listening: Listening, announce: Callable[[str], object]) -> None:
    """Serve any ASGI application in this process, with the limits of this server, until the process
    ends. announce: a function that is called with the URL once the application accepts requests.
    Raises StorageError if the server cannot listen."""
    with _listening_socket(listening) as bound:
        url = _url(bound, listening)
        _Server(_config(application, listening, 1), lambda: announce(url)).run(sockets=[bound])


class Guard:
    """Serves another ASGI application, and protects it as `retrieval-store serve` protects a store.
    Requests need one of the keys in the environment variables. If there are no keys, requests are
    admitted by their host name and origin."""

    def __init__(self, host: str, *, read_only: bool = False) -> None:
        """Read the keys from the environment.

        Args:
            host: the address at which the server will listen.
            read_only: whether writes are forbidden for all keys.

        Raises:
            InvalidArgumentError: a host that other machines can reach, without a key.
        """
        keys, reader_keys = keys_of(os.environ, None)
        if not (keys or reader_keys or is_loopback(host)):
            raise InvalidArgumentError(
                f"others reach {host}, and there is no key: set {KEY_VARIABLES[0]} or "
                f"{READER_VARIABLES[0]}"
            )
        settings = ServerSettings(keys=keys, reader_keys=reader_keys, read_only=read_only)
        self._host, self._gate, self._limits = host, Gate(settings), settings.limits
        self._together = RequestMemory(self._limits.memory)

    def may_write(self, scope: Any) -> bool:
        """Whether the key of an admitted request permits writes.

        Args:
            scope: the ASGI scope of the request.
        """
        return self._gate.may(headers_of(scope), "write")

    def budget(self) -> Budget:
        """A budget of time and memory for one call that only reads; the call runs in the budget's
        `with` block. Once nobody waits for the result, another thread stops the call by setting the
        budget's attribute `is_stopped` to True."""
        limits = self._limits
        return Budget(
            limits.request_seconds,
            limits.request_memory,
            self._together,
            None,
            limits.request_steps,
        )

    def around(self, application: Asgi) -> Asgi:
        """An ASGI application that refuses requests without a valid key.

        Args:
            application: handles all other requests, each of which is permitted to read.
        """

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                refused = self._gate.refusal(headers_of(scope), "read")
                if refused is not None:
                    await _send(send, refused.status, refused.body, refused.media_type or "")
                    return
            await application(scope, receive, send)

        return guarded

    def serve(self, application: Asgi, port: int, announce: Callable[[str], object]) -> None:
        """Serve an application behind this guard until the process ends, with this server's limits
        for connections.

        Args:
            application: as in `around`.
            port: 0 for any free port.
            announce: called with the URL once it accepts requests.

        Raises:
            StorageError: the server can't listen at this address.
        """
        serve_asgi(self.around(application), Listening(self._host, port), announce)


async def _send(send: Any, status: int, body: bytes, kind: str) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _once_listening(host: str, port: int, call: Callable[[], object]) -> None:
    """Call `call` once a worker accepts connections, at the latest after STARTS_WITHIN. Before that
    nobody can connect, since the workers' shared socket does not listen."""
    ends = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < ends:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            break
        time.sleep(0.05)
    call()


class ServedUrl(str):
    """The URL of a server. grpc_port: the port for gRPC; None without gRPC."""

    grpc_port: int | None = None


@contextmanager
def running(
    store: Any = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    grpc_port: int | None = None,
    **options: Any,
) -> Iterator[ServedUrl]:
    """Serve a store in a thread of this process during a `with` block. Yields the URL, a str whose
    `grpc_port` is the port for gRPC.

    Args:
        store: as in `app`; None for a temporary directory, which is deleted afterwards.
        host: the address at which the server listens.
        port: the port; 0 for any free port.
        grpc_port: the port for gRPC; 0 for any free port, None for no gRPC.
        **options: as in `app`.

    Raises:
        StorageError: the server can't listen at this address.
        MissingDependencyError: gRPC is requested but not installed.
        InvalidArgumentError: as in `app`.
    """
    with ExitStack() as stack:
        if store is None:
            store = stack.enter_context(TemporaryDirectory(prefix="retrieval-store-"))
            options = {"durability": "relaxed", **options}
        application = app(store, **options)
        yield stack.enter_context(serve_in_thread(application, Listening(host, port, grpc_port)))


@contextmanager
def serve_in_thread(application: Application, listening: Listening) -> Iterator[ServedUrl]:
    """A context manager that serves an application in a thread of this process during its `with`
    block, and closes the application at the end."""
    with ExitStack() as stack:
        stack.callback(application.close)
        _check_certificate(listening)
        application.rpc = stack.enter_context(_reserve_rpc_port(listening, shared=False))
        bound = stack.enter_context(_listening_socket(listening))
        url, server = ServedUrl(_url(bound, listening)), _Server(_config(application, listening, 1))
        url.grpc_port = None if application.rpc is None else application.rpc.port
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        try:
            if not server.has_begun.wait(STARTS_WITHIN) or not server.started:
                raise StorageError(f"the server at {url} didn't start")
            yield url
        finally:
            server.should_exit = True
            application.begin_end()
            thread.join(END_WITHIN + STARTS_WITHIN)


def _config(application: Any, listening: Listening, workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        factory=isinstance(application, ApplicationFactory),
        host=listening.host,
        port=listening.port,
        workers=workers,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEPT_OPEN,
        timeout_graceful_shutdown=END_WITHIN,
        ssl_certfile=listening.tls_cert,
        ssl_keyfile=listening.tls_key,
    )


def _check_certificate(listening: Listening) -> None:
    """Raise InvalidArgumentError if TLS cannot use the files of the certificate and its key."""
    cert, key = listening.tls_cert, listening.tls_key
    if cert is None:
        return
    try:  # without a passphrase: OpenSSL would wait for it on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:
        raise InvalidArgumentError(
            f"--tls-cert {cert} and --tls-key {key} are no certificate and its key, in PEM and "
            f"without a passphrase: {error}"
        ) from error


def _listening_socket(listening: Listening) -> socket.socket:
    """A listening socket that processes can share. Connections that arrive before a process has
    started are queued."""
    bound = _bind_to(listening.host, listening.port, socket.SO_REUSEADDR)
    bound.listen(BACKLOG)
    bound.set_inheritable(True)
    return bound


class PortOfWorkers(socket.socket):
    """A bound socket that does not listen. A process that receives it opens its own listening
    socket at the same port, and Linux distributes connections among these sockets. With a single
    shared socket, connections that arrive together would all go to the first process that
    accepts."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _listen_on_same_port, (self.family, self.getsockname())


def _listen_on_same_port(family: int, address: Any) -> socket.socket:
    beside = socket.socket(family, socket.SOCK_STREAM)
    beside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    beside.bind(address)
    beside.listen(BACKLOG)
    return beside


def _bind_for_workers(listening: Listening) -> socket.socket:
    """The bound socket that several processes receive. SO_REUSEPORT lets any server of the same
    user bind the same port, so this function first checks that the port is free."""
    if sys.platform != "linux":  # elsewhere SO_REUSEPORT doesn't distribute connections
        return _listening_socket(listening)
    with _bind_to(listening.host, listening.port, socket.SO_REUSEADDR) as free:
        host, port = free.getsockname()[:2]
    bound = _bind_to(host, port, socket.SO_REUSEPORT)
    return PortOfWorkers(bound.family, bound.type, fileno=bound.detach())


def _bind_to(host: str, port: int, option: int) -> socket.socket:
    """A socket bound to an address."""
    if not 0 <= port <= LAST_PORT:  # the system truncates larger ones
        raise InvalidArgumentError(f"port is {port}, expected 0 to {LAST_PORT}")
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise StorageError(f"there is no address {host!r}: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise StorageError(f"{host}:{port} can't be listened at: {error.strerror}") from error
    return bound


@contextmanager
def _reserve_rpc_port(listening: Listening, shared: bool) -> Iterator[RpcListening | None]:
    """A context manager that reserves a port for gRPC, for this process and its workers; yields
    None if gRPC is not served. In each process, gRPC opens its own sockets. Through SO_REUSEPORT,
    these sockets share the port with a socket of this process, which does not listen. SO_REUSEPORT
    lets any server of the same user bind the port, so this function first checks that the port is
    free. shared: whether several processes listen at the port."""
    if listening.grpc_port is None:
        yield None
        return
    host, port = listening.host, listening.grpc_port
    option = getattr(socket, "SO_REUSEPORT", None)
    if option is None and shared:
        raise InvalidArgumentError(
            "workers is more than 1, and this system lets no processes share a port "
            "(SO_REUSEPORT), which gRPC needs: serve it by one, or not (--grpc-port 0)"
        )
    host, port = check_rpc(host, port, port != 0 or option is None)
    with ExitStack() as stack:
        if option is not None:
            bound = stack.enter_context(_bind_to(host, port, option))
            host, port = bound.getsockname()[:2]
        yield RpcListening(host, port, option is not None, listening.tls_cert, listening.tls_key)


def check_rpc(host: str, port: int, looks: bool = True) -> tuple[str, int]:
    """The IP address and port for gRPC. looks: whether to check that the port is free; unnecessary
    for port 0. Raises MissingDependencyError if gRPC is not installed, StorageError if the port is
    not free, and InvalidArgumentError for an invalid port."""
    with needing("gRPC", None, "retrieval-store-server"):
        import grpc_health.v1.health  # noqa: F401
    if not looks:
        return host, port
    with _bind_to(host, port, socket.SO_REUSEADDR) as free:
        address: tuple[str, int] = free.getsockname()[:2]
        return address


def _url(bound: socket.socket, listening: Listening) -> str:
    host, port = bound.getsockname()[:2]
    scheme = "http" if listening.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
