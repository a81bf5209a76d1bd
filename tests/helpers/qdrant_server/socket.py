"""A server behind a real socket."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from tests.helpers.qdrant_server.faults import through
from tests.helpers.qdrant_server.server import Server


class Handler(BaseHTTPRequestHandler):
    """Forwards requests. If the response is to be lost, it closes the connection."""

    served: Server

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        request = httpx.Request(
            self.command,
            f"http://qdrant{self.path}",
            headers=dict(self.headers.items()),
            content=self.rfile.read(length),
        )
        try:
            response = through(self.served, request)
        except httpx.TransportError:
            self.close_connection = True
            return
        self.send_response(response.status_code)
        self.send_header("Content-Type", response.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        self.wfile.write(response.content)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def serving(server: Server | None = None) -> Iterator[str]:
    """A server on a free port of this machine; yields its URL. A server passed as an argument stays
    open."""
    served = server or Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), type("Serving", (Handler,), {"served": served}))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        if server is None:
            served.close()
