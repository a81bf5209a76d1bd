"""Reads URIs from web servers, each before a deadline. Servers with private addresses are refused
unless they are allowed.

An untrusted URI may lead to public addresses only (`refuse_private`). IANA's special-purpose
registries for IPv4 and IPv6 define which addresses are public: an entry counts as private if it
isn't globally reachable or was withdrawn. The tables are copied here, since those of the standard
library differ between versions of Python.
"""

import http.client
import io
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeVar

from retrieval_store.errors import DataLoaderError

NOT_PUBLIC_4 = [
    IPv4Network("0.0.0.0/8"),  # this network
    IPv4Network("10.0.0.0/8"),  # private use
    IPv4Network("100.64.0.0/10"),  # shared by a provider's customers
    IPv4Network("127.0.0.0/8"),  # loopback
    IPv4Network("169.254.0.0/16"),  # link-local, with the servers that tell clouds' secrets
    IPv4Network("172.16.0.0/12"),  # private use
    IPv4Network("192.0.0.0/24"),  # protocols of the IETF: 192.0.0.0/29 and .8, .170 and .171
    IPv4Network("192.0.2.0/24"),  # documentation
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, withdrawn; in it 192.88.99.2, of 6a44
    IPv4Network("192.168.0.0/16"),  # private use
    IPv4Network("198.18.0.0/15"),  # benchmarks
    IPv4Network("198.51.100.0/24"),  # documentation
    IPv4Network("203.0.113.0/24"),  # documentation
    IPv4Network("224.0.0.0/4"),  # multicast
    IPv4Network("240.0.0.0/4"),  # reserved; in it 255.255.255.255, broadcast
]
PUBLIC_4 = [  # … within these
    IPv4Network("192.0.0.9/32"),  # anycast of the Port Control Protocol
    IPv4Network("192.0.0.10/32"),  # anycast of TURN
]

# Only this range of IPv6 is assigned to the internet. Outside lie, among others, ::1 and ::, IPv4
# in its old guises (::/96, ::ffff:0:0:0/96), 64:ff9b:1::/48 (local NAT64), 100::/64 and
# 100:0:0:1::/64 (discard, dummy), 5f00::/16 (segment routing), fc00::/7 (unique local), fe80::/10
# and fec0::/10 (link and site-local), ff00::/8 (multicast).
GIVEN_OUT_6 = IPv6Network("2000::/3")
NOT_PUBLIC_6 = [
    IPv6Network("2001::/23"),  # protocols of the IETF: Teredo, 2001:2::/48 (benchmarks), 2001:10::
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4, which leads to an IPv4
    IPv6Network("3fff::/20"),  # documentation
]
PUBLIC_6 = [  # … within these
    IPv6Network("2001:1::1/128"),  # anycast of the Port Control Protocol
    IPv6Network("2001:1::2/128"),  # anycast of TURN
    IPv6Network("2001:1::3/128"),  # anycast of DNS-SD registration
    IPv6Network("2001:3::/32"),  # multicast tunnelled (AMT)
    IPv6Network("2001:4:112::/48"),  # AS112
    IPv6Network("2001:20::/28"),  # ORCHIDv2
    IPv6Network("2001:30::/28"),  # drones' identities
]
NAT64 = IPv6Network("64:ff9b::/96")  # the IPv4 in it counts


def refuse_private(text: str) -> None:
    """Raise DataLoaderError for an IP address that is not public. An IPv4 address inside an IPv6
    address is checked, too."""
    address = ip_address(text.partition("%")[0])
    if not _is_public(address):
        raise DataLoaderError(f"its server has the address {address}, which isn't public")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return _is_in_networks(PUBLIC_4, address) or not _is_in_networks(NOT_PUBLIC_4, address)
    if address.ipv4_mapped is not None or address in NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if _is_in_networks(PUBLIC_6, address):
        return True
    return address in GIVEN_OUT_6 and not _is_in_networks(NOT_PUBLIC_6, address)


def _is_in_networks(
    networks: list[IPv4Network] | list[IPv6Network], address: IPv4Address | IPv6Address
) -> bool:
    return any(address in network for network in networks)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A time limit. `end` is its end by time.monotonic()."""

    seconds: float
    end: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """A deadline that ends in this many seconds."""
        return cls(seconds, time.monotonic() + seconds)

    def seconds_left(self) -> float:
        """The number of seconds left, which is positive. Raises DataLoaderError if the deadline has
        passed."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise self._timeout_error()
        return left

    def wait_for(self, work: Callable[[], T]) -> T:
        """The result of `work`, for calls that cannot be interrupted, such as a name lookup. A
        thread makes the call, and is abandoned at the deadline."""
        promised: Future[T] = Future()
        try:
            threading.Thread(target=_keep, args=(promised, work), daemon=True).start()
        except RuntimeError:  # the interpreter ends, and starts no threads
            return work()
        wait([promised], self.seconds_left())
        if not promised.done():
            raise self._timeout_error()
        return promised.result()

    def _timeout_error(self) -> DataLoaderError:
        return DataLoaderError(f"it took longer than timeout, {self.seconds} s")


def _keep(promised: "Future[T]", work: Callable[[], T]) -> None:
    try:
        promised.set_result(work())
    except BaseException as error:
        promised.set_exception(error)


WEB = ("http", "https")
LONGEST = 16_000  # fits into one record of TLS, so that one timeout bounds its sending


@dataclass(frozen=True, slots=True)
class Web:
    """Reads URIs within limits: the allowed schemes, the deadline, and whether servers can have
    private addresses."""

    schemes: tuple[str, ...]
    private_addresses: bool
    deadline: Deadline

    def open(self, uri: str) -> Any:
        """The server's response, which the caller reads and closes."""
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
        try:
            return opener.open(request)
        except urllib.error.HTTPError as error:  # which is a response too
            error.close()
            raise

    def connection(self, kind: Any, *arguments: Any, **named: Any) -> Any:
        """An http.client connection that keeps these limits."""
        connection = kind(*arguments, **named)
        connection._create_connection = self.connect
        connection.response_class = partial(_Response, self.deadline)
        return connection

    def connect(self, address: tuple[str, int], *_: Any) -> socket.socket:
        """Like `socket.create_connection`. The name is looked up once. The addresses that were
        found are checked and then used, so that no second lookup can lead elsewhere. All attempts
        share the remaining time."""
        host, port = address
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        addresses = [str(place[0]) for *_, place in self.deadline.wait_for(look_up)]
        error = OSError(f"{host} has no address")
        for i, text in enumerate(addresses):
            if not self.private_addresses:
                refuse_private(text)
            share = self.deadline.seconds_left() / (len(addresses) - i)
            try:
                connected = socket.create_connection((text, port), share)
            except OSError as failed:
                error = failed
                continue
            # This limits the time before the response: the handshake and the request. Each is one
            # call into C, which counts the time over all that it waits for.
            connected.settimeout(self.deadline.seconds_left())
            return connected
        raise error


class _Timely(io.RawIOBase):
    """A stream that reads from a socket, and waits at most until the deadline."""

    def __init__(self, received: Any, connected: socket.socket, deadline: Deadline) -> None:
        self._received, self._connected, self._deadline = received, connected, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        self._connected.settimeout(self._deadline.seconds_left())
        return self._received.readinto(buffer)

    def close(self) -> None:
        self._received.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response, all of which must be read before the deadline: status line, headers, `100
    Continue`, body, trailers."""

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
    """Follows redirects to allowed schemes only. Each redirect opens a new connection, which is
    checked like the first one."""

    def __init__(self, web: Web) -> None:
        self._schemes = set(web.schemes) & set(WEB)

    def redirect_request(self, request: Any, response: Any, *rest: Any) -> Any:
        target = rest[-1]
        if urllib.parse.urlsplit(target).scheme not in self._schemes:
            raise DataLoaderError(f"it redirects to {target!r}, whose scheme isn't allowed")
        response.close()  # else urllib reads all of its body, and keeps it
        return super().redirect_request(request, response, *rest)
