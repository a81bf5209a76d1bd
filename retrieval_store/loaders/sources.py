"""Bytes that URIs point at: local files, `data:` URIs, and, where the user lists their schemes,
what lies on a network; within limits of size and time, and not where a stranger's URI shouldn't
lead.
"""

import base64
import binascii
import http.client
import ipaddress
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from retrieval_store.errors import DataLoaderError, MissingDependencyError, RetrievalStoreError

PIECE = 1 << 16
WEB = ("http", "https")


@dataclass(frozen=True, slots=True)
class Sources:
    """What may be read, and how much.

    schemes: besides local files and `data:`, those that may be followed, such as "https" and "s3";
    root: a folder that local files must lie in; max_bytes; timeout: seconds for one URI;
    private_addresses: whether web servers may have addresses of private networks. Of other schemes
    fsspec decides where they lead.
    """

    schemes: tuple[str, ...] = ()
    root: Path | None = None
    max_bytes: int = 50_000_000
    timeout: float = 10.0
    private_addresses: bool = False

    def read(self, uri: str) -> bytes:
        """The bytes; DataLoaderError when they can't be had, or may not."""
        deadline = time.monotonic() + self.timeout
        try:
            return self._read(uri, deadline)
        except RetrievalStoreError:
            raise
        except Exception as error:  # of file systems' plugins, of many kinds
            raise DataLoaderError(str(error) or repr(error)) from error

    def _read(self, uri: str, deadline: float) -> bytes:
        scheme = urllib.parse.urlsplit(uri).scheme.lower() if ":" in uri else ""
        if scheme == "data":
            return self._checked(_of_data(uri))
        if scheme in ("", "file") or len(scheme) == 1:
            return self._of_file(_path_of(uri, scheme), deadline)
        if scheme not in self.schemes:
            raise DataLoaderError(
                f"the scheme {scheme!r} isn't allowed; list it in schemes= (or is it a file, "
                f"'./{uri}'?)"
            )
        return self._of_web(uri, deadline) if scheme in WEB else self._of_fsspec(uri, deadline)

    def _of_file(self, path: Path, deadline: float) -> bytes:
        if self.root is not None and not path.resolve().is_relative_to(self.root.resolve()):
            raise DataLoaderError(f"it lies outside of root {self.root}")
        if not path.is_file():  # a pipe would hang
            raise DataLoaderError("there is no such file")
        with path.open("rb") as file:
            return self._limited(file.read, deadline)

    def _of_web(self, uri: str, deadline: float) -> bytes:
        connect = socket.create_connection if self.private_addresses else _to_public_address
        opener = urllib.request.OpenerDirector()  # with none of the usual ways to ftp or files
        for handler in (
            _HTTP(connect),
            _HTTPS(connect),
            _Redirects(self.schemes, deadline),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            opener.add_handler(handler)
        request = urllib.request.Request(uri, headers={"User-Agent": "retrieval-store"})
        with opener.open(request, timeout=self.timeout) as response:
            return self._limited(response.read1, deadline)

    def _of_fsspec(self, uri: str, deadline: float) -> bytes:
        if "::" in uri:  # which leads to a second file system, by a scheme that isn't listed
            raise DataLoaderError("a chain of file systems isn't followed")
        try:
            import fsspec
        except ImportError as error:
            raise MissingDependencyError(
                f'{uri!r} needs fsspec: pip install "retrieval-store[remote-files]"'
            ) from error
        with fsspec.open(uri, "rb") as file:
            return self._limited(file.read, deadline)

    def _limited(self, read: Callable[[int], bytes], deadline: float) -> bytes:
        return b"".join(self._pieces(read, deadline))

    def _pieces(self, read: Callable[[int], bytes], deadline: float) -> Iterator[bytes]:
        left = self.max_bytes
        while piece := read(PIECE):
            left -= len(piece)
            if left < 0:
                raise DataLoaderError(f"it is larger than max_bytes, {self.max_bytes:,}")
            if time.monotonic() > deadline:
                raise DataLoaderError(f"it took longer than timeout, {self.timeout} s")
            yield piece

    def _checked(self, data: bytes) -> bytes:
        if len(data) > self.max_bytes:
            raise DataLoaderError(f"it is larger than max_bytes, {self.max_bytes:,}")
        return data


def _path_of(uri: str, scheme: str) -> Path:
    if "\0" in uri:
        raise DataLoaderError("it has a U+0000 in it")
    if scheme != "file":
        return Path(uri)
    parts = urllib.parse.urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise DataLoaderError(f"a file: URI of another machine, {parts.netloc!r}")
    return Path(urllib.request.url2pathname(parts.path))


def _of_data(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise DataLoaderError("a data: URI without a comma")
    raw = urllib.parse.unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return raw
    try:
        return base64.b64decode(b"".join(raw.split()), validate=True)
    except binascii.Error as error:
        raise DataLoaderError(f"a data: URI whose base64 is wrong: {error}") from error


def _to_public_address(address: tuple[str, int], *rest: Any, **named: Any) -> socket.socket:
    """Like `socket.create_connection`, but only to public addresses: looked up once, checked, and
    connected to as looked up, so that no name can lead elsewhere in between."""
    host, port = address
    error: OSError | None = None
    for *_, found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        refuse_private(str(found[0]))
        try:
            return socket.create_connection((str(found[0]), port), *rest, **named)
        except OSError as failed:
            error = failed
    raise error or OSError(f"{host} has no address")


def refuse_private(text: str) -> None:
    """Raise DataLoaderError unless the address is a public one, also where IPv6 embeds an IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    inner: ipaddress.IPv4Address | ipaddress.IPv6Address = address
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or address
        if any(address in network for network in _EMBEDDING):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.is_site_local or address in _LOCAL_NAT64:
            inner = ipaddress.IPv6Address("::1")
    if not inner.is_global or inner.is_multicast or address.is_multicast:
        raise DataLoaderError(f"its server has the address {address}, which isn't public")


_EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


class _HTTP(urllib.request.HTTPHandler):
    def __init__(self, connect: Any) -> None:
        super().__init__()
        self._connect = connect

    def http_open(self, request: Any) -> Any:
        return self.do_open(
            partial(_connection, http.client.HTTPConnection, self._connect), request
        )


class _HTTPS(urllib.request.HTTPSHandler):
    def __init__(self, connect: Any) -> None:
        super().__init__()
        self._connect = connect

    def https_open(self, request: Any) -> Any:
        make = partial(_connection, http.client.HTTPSConnection, self._connect)
        return self.do_open(make, request)


def _connection(kind: Any, connect: Any, *arguments: Any, **named: Any) -> Any:
    connection = kind(*arguments, **named)
    connection._create_connection = connect
    return connection


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Only to the web, by schemes that are listed, in time; each hop connects anew, and is checked
    like the first."""

    def __init__(self, schemes: Sequence[str], deadline: float) -> None:
        self._schemes = set(schemes) & set(WEB)
        self._deadline = deadline

    def redirect_request(self, *arguments: Any) -> Any:
        target = arguments[-1]
        if urllib.parse.urlsplit(target).scheme not in self._schemes:
            raise DataLoaderError(f"it redirects to {target!r}, whose scheme isn't allowed")
        if time.monotonic() > self._deadline:
            raise DataLoaderError("it redirected for longer than timeout")
        return super().redirect_request(*arguments)
