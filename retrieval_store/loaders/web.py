"""What web servers send: within one deadline for all of it, and not from where a stranger's uri
shouldn't lead.
"""

import http.client
import io
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import Any

from retrieval_store.errors import DataLoaderError
from retrieval_store.loaders.addresses import refuse_private
from retrieval_store.loaders.deadline import Deadline

WEB = ("http", "https")
LONGEST = 16_000  # fits into one record of TLS, so that one timeout bounds its sending


@dataclass(frozen=True, slots=True)
class Web:
    """How far to go for one uri: by which of the schemes http and https, until when, and whether
    to servers with private addresses."""

    schemes: tuple[str, ...]
    private_addresses: bool
    deadline: Deadline

    def opened(self, uri: str) -> Any:
        """The server's response, to be read and closed."""
        opener = urllib.request.OpenerDirector()  # with none of the usual ways to ftp or files
        for handler in (
            _HTTP(self),
            _HTTPS(self),
            _Redirects(self),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            opener.add_handler(handler)
        request = urllib.request.Request(uri, headers={"User-Agent": "retrieval-store"})
        return opener.open(request)

    def connection(self, kind: Any, *arguments: Any, **named: Any) -> Any:
        """A connection of http.client that keeps to all this."""
        connection = kind(*arguments, **named)
        connection._create_connection = self.connected
        connection.response_class = partial(_Response, self.deadline)
        return connection

    def connected(self, address: tuple[str, int], *_: Any) -> socket.socket:
        """Like `socket.create_connection`. Addresses are looked up once, checked, and connected to
        as looked up, so that no name can lead elsewhere in between; they share the time."""
        host, port = address
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = [str(place[0]) for *_, place in self.deadline.wait_for(look_up)]
        error = OSError(f"{host} has no address")
        for i, text in enumerate(found):
            if not self.private_addresses:
                refuse_private(text)
            share = self.deadline.left() / (len(found) - i)
            try:
                connected = socket.create_connection((text, port), share)
            except OSError as failed:
                error = failed
                continue
            # What comes before the response, a handshake and the request, is bounded by this; each
            # is one call into C, which counts the time over all that it waits for.
            connected.settimeout(self.deadline.left())
            return connected
        raise error


class _Timely(io.RawIOBase):
    """Bytes from a socket, each wait for some of them no longer than the time left."""

    def __init__(self, received: Any, connected: socket.socket, deadline: Deadline) -> None:
        self._received, self._connected, self._deadline = received, connected, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._connected.settimeout(self._deadline.left())
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """One whose every byte comes in time: status line, headers, `100 Continue`, body, trailers."""

    def __init__(self, deadline: Deadline, connected: socket.socket, *rest: Any, **named: Any):
        super().__init__(connected, *rest, **named)
        received: Any = self.fp
        self.fp = io.BufferedReader(_Timely(received.detach(), connected, deadline))


class _HTTP(urllib.request.HTTPHandler):
    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    def http_open(self, request: Any) -> Any:
        _refuse_long(request)
        return self.do_open(partial(self._web.connection, http.client.HTTPConnection), request)


class _HTTPS(urllib.request.HTTPSHandler):
    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    def https_open(self, request: Any) -> Any:
        _refuse_long(request)
        make: Any = partial(self._web.connection, http.client.HTTPSConnection)
        return self.do_open(make, request)


def _refuse_long(request: Any) -> None:
    if len(request.full_url) > LONGEST:
        raise DataLoaderError(
            f"its address has {len(request.full_url):,} characters, more than {LONGEST:,}"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Only to the web, by schemes that are listed; each hop connects anew, and is checked like the
    first."""

    def __init__(self, web: Web) -> None:
        self._schemes = set(web.schemes) & set(WEB)

    def redirect_request(self, request: Any, response: Any, *rest: Any) -> Any:
        target = rest[-1]
        if urllib.parse.urlsplit(target).scheme not in self._schemes:
            raise DataLoaderError(f"it redirects to {target!r}, whose scheme isn't allowed")
        response.close()  # else urllib reads all of its body, and keeps it
        return super().redirect_request(request, response, *rest)
