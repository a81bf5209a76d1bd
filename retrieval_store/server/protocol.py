"""HTTP as a server's connections read it: uvicorn's protocol, with bounds."""

import asyncio
from collections.abc import Callable
from typing import Any

from httptools import HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from retrieval_store.server.requests import HOLD

HEAD_WITHIN = 60.0  # seconds in which a connection's first request, and each once begun, has a head
LONGEST_HEAD = 128 * 1024  # bytes of a request before its body, whose parts all are kept


class _Parser(HttpRequestParser):
    """Ignores what a connection is asked to become, as HTTP allows. The parser itself would end a
    request with its head then, and take its body for the next request."""

    def __init__(self, protocol: "Protocol") -> None:
        super().__init__(protocol)
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self._protocol = protocol

    def feed_data(self, data: Any) -> None:
        """Read what came. A request with an upgrade is begun again without it."""
        parser: HttpRequestParser = self
        left = memoryview(data)
        while True:
            try:
                HttpRequestParser.feed_data(parser, left)
                return
            except HttpParserUpgrade as upgrade:
                left = left[upgrade.args[0] :]
                parser = self._protocol.begun_again()


class Protocol(HttpToolsProtocol):
    """Bounds what comes of a request besides its body (URL, headers and trailers) and for how long
    a head is waited for. uvicorn keeps all of it, and waits for ever, before the application is
    asked whether there is a key."""

    _unended = 0  # bytes since a head was complete, or a part of a body came
    _waiting: asyncio.TimerHandle | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
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
        """The client sends no more, and may wait for the answer to what it has sent."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete or self.scheme == "https":
            return None
        self._wait_no_more()
        cycle.keep_alive = False
        cycle.message_event.set()
        return True

    def hold(self, seconds: float, at_end: Callable[[], object]) -> None:
        """Keep the connection open for so long where nothing is asked over it. at_end: called on
        the loop once it is closed. May be called in any thread."""
        self.timeout_keep_alive = int(seconds)
        self._at_end.append(at_end)

    def data_received(self, data: bytes) -> None:
        self._unended += len(data)
        super().data_received(data)
        if self._unended > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")
        if self.parser.should_upgrade():
            return
        self._check_host()
        self.scope["extensions"] = {HOLD: self.hold}  # type: ignore[dict-item]
        super().on_headers_complete()
        self._unended = 0
        self._wait_no_more()

    def _check_host(self) -> None:
        """Refuse what doesn't say by one name which server is meant: what stands before this one
        may have understood another."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if self.url[:1] not in (b"/", b"*"):  # an address in full, as it is sent to a proxy
            hosts.append(self.url.partition(b"://")[2].partition(b"/")[0].partition(b"?")[0])
            if len(hosts) == 2 and hosts[0].lower() == hosts[1].lower():
                hosts.pop()
        if len(hosts) > 1:
            raise ValueError("the server is named twice")

    def begun_again(self) -> HttpRequestParser:
        """Another parser, which has read the same head without the header that asks for an
        upgrade."""
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
