"""Decides who may use a server: by keys, and without keys by where a request comes from.

The settings of a server are checked here: its keys, the addresses it may be reached from, and its
limits.
"""

import hmac
import ipaddress
import os
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from retrieval_store.base.budget import STEPS
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.system import memory_bytes
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidArgumentError
from retrieval_store_server.http.answers import Response, refusal, text
from retrieval_store_server.http.limits import Workers
from retrieval_store_server.http.routes import Access
from retrieval_store_server.native.codec import MAX_BYTES

KEY_VARIABLES = ("RETRIEVAL_STORE_API_KEYS", "QDRANT__SERVICE__API_KEY")
READER_VARIABLES = (
    "RETRIEVAL_STORE_READ_ONLY_API_KEYS",
    "QDRANT__SERVICE__READ_ONLY_API_KEY",
)
READ_ONLY = "read-only"  # what lines of a file begin with whose keys may read
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MEBIBYTE = 1 << 20
END_WITHIN = 30  # seconds that requests under way have when the server is to end


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How much the server takes at once. body: bytes of one body, inflated; bodies: bytes of all
    bodies in memory; body_seconds: seconds in which a body must arrive; upload_seconds: the same
    for snapshots; parsed_at_once: bytes of a body that the loop parses itself; threads: threads
    that work in the store; queue: requests that may wait for one; queue_seconds: how long they may
    wait; request_seconds: seconds that reading may take, where the request doesn't say;
    request_memory, request_steps: bytes, and steps of Python or SQL, that it may need, as they are
    counted before it is done; memory: bytes of all such requests together."""

    body: int = 32 * MEBIBYTE
    bodies: int = MAX_BYTES
    body_seconds: float = 60.0
    upload_seconds: float = 3600.0
    parsed_at_once: int = 64 * 1024
    threads: int = field(default_factory=lambda: min(8, 2 + (os.cpu_count() or 1)))
    queue: int = 512
    queue_seconds: float = 60.0
    request_seconds: float = 60.0
    request_memory: int = 400_000_000
    request_steps: int = STEPS
    memory: int = field(default_factory=lambda: max(1 << 29, memory_bytes(1 << 32) // 4))

    def workers(self) -> Workers:
        """The threads that answer requests."""
        of_one = self.request_seconds, self.request_memory, self.request_steps
        return Workers(self.threads, self.queue, *of_one, self.memory)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Who may do what. keys: keys that may do everything; reader_keys: keys that may read;
    allow_hosts: host names that are answered without keys, besides those of loopback; cors: origins
    whose pages may send requests; read_only: refuse all writes; trust: allow embedding functions
    that reach hosts and files; image_root: the folder for images that requests name; dashboard: the
    folder of Qdrant's web page; access_log: log each request; local: answer only to loopback's host
    names and to the server's own page, even with a key."""

    keys: tuple[str, ...] = ()
    reader_keys: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    read_only: bool = False
    trust: bool = False
    image_root: Path | None = None
    dashboard: Path | None = None
    access_log: bool = False
    local: bool = False
    durability: str = "full"
    limits: ServerLimits = field(default_factory=ServerLimits)

    @property
    def has_keys(self) -> bool:
        """Whether requests need a key."""
        return bool(self.keys or self.reader_keys)


@dataclass(frozen=True, slots=True)
class RpcListening:
    """Where to listen for gRPC. host: an IP address; shared: whether other processes listen at the
    same port; tls_cert and tls_key: PEM files."""

    host: str
    port: int
    shared: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def address(self) -> str:
        """Host and port in one."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def keys_of(
    environment: Mapping[str, str], file: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys that may do everything, and those that may read: from variables, which hold several
    separated by commas, and from a file with one a line, in which a reader's key has "read-only "
    before it. InvalidArgumentError for a file that can't be read or has no key, and for a line
    "read-only" without a key, which would otherwise count as a key that may do everything."""
    full = [key for name in KEY_VARIABLES for key in _comma_separated(environment.get(name, ""))]
    readers = [
        key for name in READER_VARIABLES for key in _comma_separated(environment.get(name, ""))
    ]
    if file is not None:
        for line in _lines(file):
            if line == READ_ONLY:
                raise InvalidArgumentError(f"--api-key-file {file} has a {READ_ONLY!r} without key")
            key = line.removeprefix(f"{READ_ONLY} ").strip()
            (full if key == line else readers).append(key)
    return checked_keys("keys", full), checked_keys("keys for reading", readers)


def checked_keys(what: str, values: Iterable[Any]) -> tuple[str, ...]:
    """The keys without repetition; InvalidArgumentError for one that a header can't hold."""
    if isinstance(values, str):
        raise InvalidArgumentError(f"{what} is one str, expected several, as in [key]")
    keys = tuple(values)  # an iterator gives them once: without them all would be let in
    for key in keys:
        if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
            raise InvalidArgumentError(f"{what} has one that isn't printable ASCII")
        if key != key.strip():
            raise InvalidArgumentError(f"{what} has one with spaces around it")
    return tuple(dict.fromkeys(keys))


def checked_names(what: str, value: Any) -> tuple[str, ...]:
    """Host names, or origins; InvalidArgumentError for a single string, and for anything but
    strings."""
    names = () if isinstance(value, str) else tuple(value)
    if isinstance(value, str) or not all(isinstance(one, str) for one in names):
        raise InvalidArgumentError(f"{what} is {quote(value)}, expected several texts, as in [one]")
    return names


def _comma_separated(value: str) -> list[str]:
    return [key.strip() for key in value.split(",") if key.strip()]


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"--api-key-file {file} can't be read: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise InvalidArgumentError(f"--api-key-file {file} holds no key")
    return found


def is_loopback(host: str) -> bool:
    """Whether an address or a host name means this machine alone."""
    name = host.strip("[]").lower()
    if name in LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_reach(host: str, has_keys: bool, no_auth: bool) -> None:
    """Raise InvalidArgumentError where other machines would reach a store that needs no key."""
    if has_keys or no_auth or is_loopback(host):
        return
    raise InvalidArgumentError(
        f"--host is {quote(host)}, which others reach, and there is no key: set "
        f"{KEY_VARIABLES[0]} or --api-key-file, or say --no-auth to let anyone read and write"
    )


def check_cors(cors: Iterable[str], has_keys: bool, no_auth: bool = False) -> None:
    """Raise InvalidArgumentError where any page in a browser would reach a store that needs no
    key: by "*", or by "null", the origin of pages that have none."""
    open_to_all = [one for one in cors if one in ("*", "null")]
    if open_to_all and not (has_keys or no_auth):
        raise InvalidArgumentError(
            f"cors has {open_to_all[0]!r}, by which every page that a browser shows may read and "
            "write, and there is no key: name the origins of your pages, or set a key "
            f"({KEY_VARIABLES[0]}, --api-key-file, api_keys=), or say --no-auth"
        )


NO_KEY = "Must provide an API key or an Authorization bearer token"
WRONG_KEY = "Invalid API key or JWT"
NO_ACCESS = "Forbidden: Global manage access is required"
NEAR = (b"none", b"same-origin")  # Sec-Fetch-Site of a user, and of a page of the server's own
PREFLIGHT = b"access-control-request-method"


class Gate:
    """Decides by the headers of a request whether it is let in."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._full = [key.encode() for key in settings.keys]
        self._readers = [key.encode() for key in settings.reader_keys]
        self._hosts = {name.lower() for name in settings.allow_hosts}
        self._origins = set(settings.cors)

    def refused(self, headers: dict[bytes, bytes], access: Access | None) -> Response | None:
        """Why a request isn't let in; None if it is. access: that of its route, None where no route
        matches. What a reader's key may not do is refused by `may`, after the body was read."""
        if self._settings.local or not self._settings.has_keys:
            misled = self._misled(headers, access)
            if misled is not None or not self._settings.has_keys:
                return misled
        return self._without_key(headers, access)

    def refused_call(self, headers: dict[bytes, bytes], access: Access | None) -> Response | None:
        """The same for a gRPC call. Python doesn't see by which host name the server was called,
        but no page can make such a call: browsers speak no HTTP/2 without TLS, where the name must
        match the certificate, and send no `te: trailers`, without which gRPC refuses a call. If one
        ever could, it would send its origin."""
        if not self._settings.has_keys:
            return None if b"origin" not in headers or self.cors(headers) else _foreign()
        return self._without_key(headers, access)

    def _without_key(self, headers: dict[bytes, bytes], access: Access | None) -> Response | None:
        """Refuse a request without a valid key, where it needs one."""
        if access == "open":
            return None
        key = _key(headers)
        if key is None:
            return text(401, NO_KEY)
        if not (self._is_one_of(key, self._full) | self._is_one_of(key, self._readers)):
            return text(401, WRONG_KEY)
        return None

    def may(self, headers: dict[bytes, bytes], access: Access) -> bool:
        """Whether the key of a request that was let in allows what its route does."""
        if access in ("open", "read"):
            return True
        if self._settings.read_only:
            return False
        if not self._settings.has_keys:
            return True
        key = _key(headers)
        return key is not None and self._is_one_of(key, self._full)

    def cors(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Headers that allow the page of a permitted origin to read the answer."""
        origin = headers.get(b"origin", b"")
        if origin.decode("latin-1") not in self._origins and "*" not in self._origins:
            return []
        return [(b"access-control-allow-origin", origin or b"*"), (b"vary", b"Origin")]

    def preflight(self, headers: dict[bytes, bytes]) -> list[tuple[bytes, bytes]] | None:
        """Headers that say what a permitted origin may send, besides those of `cors`; None for a
        request that is no preflight."""
        if PREFLIGHT not in headers or not self.cors(headers):
            return None
        return [
            (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", b"api-key, authorization, content-type"),
            (b"access-control-max-age", b"600"),
        ]

    def _misled(self, headers: dict[bytes, bytes], access: Access | None) -> Response | None:
        """Refuse a request that a foreign page made a browser send. It shows by the host name,
        since a page's own name can be made to resolve to this machine, and by where the request
        comes from: browsers send an origin where an answer will be read, and otherwise, for links
        and pictures, only the site relation; a link may lead to what is open to all."""
        host = _name_in(headers.get(b"host", b""))
        if host is None or not (is_loopback(host) or host in self._hosts):
            return refusal(
                HTTPStatus.FORBIDDEN,
                "Forbidden: without keys, the server answers to loopback's names alone, and to "
                "those of --allow-host",
            )
        origin = headers.get(b"origin")
        if self.cors(headers):
            return None
        if access != "open" and headers.get(b"sec-fetch-site", b"none") not in NEAR:
            return _foreign()
        if origin is None:
            return None
        return None if origin.partition(b"://")[2] == headers[b"host"] else _foreign()

    @staticmethod
    def _is_one_of(given: bytes, keys: list[bytes]) -> bool:
        """Compare with each key, in constant time."""
        found = False
        for key in keys:
            found |= hmac.compare_digest(given, key)
        return found


def _foreign() -> Response:
    """The refusal of a page of another origin."""
    return refusal(
        HTTPStatus.FORBIDDEN, "Forbidden: pages of other origins may not ask, but for --cors"
    )


def _key(headers: dict[bytes, bytes]) -> bytes | None:
    """The key in the headers of a request."""
    key = headers.get(b"api-key")
    if key is not None:
        return key
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token if kind.lower() == b"bearer" else None


def _name_in(host: bytes) -> str | None:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host.decode('ascii')}").hostname
    except (UnicodeDecodeError, ValueError):
        return None
