"""Servers that run: from the command line, with several processes if need be, and in a thread of a
program or a test."""

import asyncio
import gc
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.logs import log_of
from retrieval_store.errors import InvalidArgumentError, StorageError
from retrieval_store.server.application import LINE, Application, app
from retrieval_store.server.lines import handed_over
from retrieval_store.server.settings import Settings

END_WITHIN = 30  # seconds that requests under way have
KEPT_OPEN = 75  # seconds that an idle connection stays; clients keep theirs for less
STARTS_WITHIN = 60.0
LAST_PORT = 65_535
HEAD_WITHIN = 60.0  # seconds in which a connection's first request, and each once begun, has a head
LONGEST_HEAD = 128 * 1024  # bytes of a request before its body, whose parts all are kept
BACKLOG = 2048  # connections that wait to be accepted, where the system allows so many


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server listens: port 0 for any that is free; tls_cert and tls_key: files in PEM."""

    host: str = "127.0.0.1"
    port: int = 6333
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """Makes the application, in each process its own."""

    store: str
    settings: Settings

    def __call__(self) -> Application:
        tune_collector()
        if self.settings.access_log:
            log_accesses()
        return Application(self.store, self.settings)


def tune_collector() -> None:
    """Let the garbage collector of a process that only serves look seldom at all objects: while a
    body with a thousand vectors is parsed it would do so several times, for a third of the time
    that parsing takes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def log_accesses() -> None:
    """Write a line for each request to the standard error."""
    logger = log_of("access")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


class _Protocol(HttpToolsProtocol):
    """Bounds what comes of a request besides its body (URL, headers and trailers) and for how long
    a head is waited for. uvicorn keeps all of it, and waits for ever, before the application is
    asked whether there is a key."""

    _unended = 0  # bytes since a head was complete, or a part of a body came
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unended += len(data)
        super().data_received(data)
        if self._unended > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        if self.scheme == "http":  # what is encrypted can't be handed to a thread
            self.scope["extensions"] = {LINE: self._hand_over}  # type: ignore[dict-item]
        super().on_headers_complete()
        self._unended = 0
        self._wait_no_more()

    def _unsupported_upgrade_warning(self) -> None:
        """What a connection is asked to become is said to the application."""

    def _hand_over(self) -> socket.socket:
        """The connection, which is no longer this server's."""
        self.cycle.disconnected = True  # so that no answer is missed
        return handed_over(self.transport)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._unended = 0

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Server(uvicorn.Server):
    """One that tells when it listens, and if it never will."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.listens.set()


def serve(
    store: str,
    settings: Settings,
    listening: Listening,
    workers: int,
    announce: Callable[[str], object],
) -> None:
    """Serve a store until the process is told to end (SIGINT, SIGTERM): requests under way have 30
    seconds, then the store is closed. announce: called with the URL once there is a socket.

    Raises InvalidArgumentError for what can't be served so, StorageError where nothing can listen,
    and what opening a store raises.
    """
    if workers > 1 and store == ":memory:":
        raise InvalidArgumentError("workers is more than 1: a store in memory has one process")
    _check_certificate(listening)
    config = _config(Made(store, settings), listening, workers)
    # Opened before anything is announced, so that what is wrong with the store is said at once, and
    # not by workers, which would be started again and again.
    made = Made(store, settings)()
    if workers == 1:
        config.app, config.factory = made, False
    else:
        made.close()
    with _bound(listening) as bound:
        announce(_url(bound, listening))
        if workers == 1:
            uvicorn.Server(config).run(sockets=[bound])
        else:
            Multiprocess(config, [bound]).run()


@contextmanager
def running(
    store: Any = None, *, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> Iterator[str]:
    """Serve a store in a thread of this process while the body runs; gives the URL.

    store: as for `app`; None for one in a temporary directory, which goes with it. port: 0 for any
    that is free. options: those of `app`. Raises what that raises, and StorageError where nothing
    can listen.
    """
    with ExitStack() as stack:
        if store is None:
            store = stack.enter_context(TemporaryDirectory(prefix="retrieval-store-"))
            options = {"durability": "relaxed", **options}
        made = app(store, **options)
        yield stack.enter_context(_in_thread(made, Listening(host, port)))


@contextmanager
def _in_thread(made: Application, listening: Listening) -> Iterator[str]:
    try:
        config = _config(made, listening, 1)
        with _bound(listening) as bound:
            server = _Server(config)
            thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
            thread.start()
            try:
                if not server.listens.wait(STARTS_WITHIN) or not server.started:
                    raise StorageError(f"the server at {_url(bound, listening)} didn't start")
                yield _url(bound, listening)
            finally:
                server.should_exit = True
                thread.join(END_WITHIN + STARTS_WITHIN)
    finally:
        made.close()


def _config(made: Any, listening: Listening, workers: int) -> uvicorn.Config:
    return uvicorn.Config(
        made,
        factory=isinstance(made, Made),
        host=listening.host,
        port=listening.port,
        workers=workers,
        http=_Protocol,
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
    """Raise InvalidArgumentError for files that TLS can't be spoken with."""
    cert, key = listening.tls_cert, listening.tls_key
    if cert is None:
        return
    try:  # without a passphrase, which OpenSSL would wait for on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:
        raise InvalidArgumentError(
            f"--tls-cert {cert} and --tls-key {key} are no certificate and its key, in PEM and "
            f"without a passphrase: {error}"
        ) from error


def _bound(listening: Listening) -> socket.socket:
    """A socket that listens, which processes may share. Who connects before one of them has started
    waits for it."""
    if not 0 <= listening.port <= LAST_PORT:  # of a larger one the system takes some of the bits
        raise InvalidArgumentError(f"port is {listening.port}, expected 0 to {LAST_PORT}")
    try:
        family, *_, address = socket.getaddrinfo(
            listening.host, listening.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise StorageError(f"there is no address {listening.host!r}: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
        bound.set_inheritable(True)
    except OSError as error:
        bound.close()
        raise StorageError(
            f"{listening.host}:{listening.port} can't be listened at: {error.strerror}"
        ) from error
    return bound


def _url(bound: socket.socket, listening: Listening) -> str:
    host, port = bound.getsockname()[:2]
    scheme = "http" if listening.tls_cert is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
