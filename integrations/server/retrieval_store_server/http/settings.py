"""The settings of a server: its keys, the addresses from which it can be reached, and its limits.
The functions check the settings.
"""

import ipaddress
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval_store.errors import InvalidArgumentError
from retrieval_store.extension import host_in_url, memory_bytes
from retrieval_store.frameworks import quote
from retrieval_store_server.http.pool import Workers
from retrieval_store_server.native.codec import MAX_BYTES

KEY_VARIABLES = ("RETRIEVAL_STORE_API_KEYS", "QDRANT__SERVICE__API_KEY")
READER_VARIABLES = (
    "RETRIEVAL_STORE_READ_ONLY_API_KEYS",
    "QDRANT__SERVICE__READ_ONLY_API_KEY",
)
READ_ONLY = "read-only"  # the prefix of readers' keys in a file
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
STEPS = 100_000_000  # steps of Python or SQL, of some 100 ns each, that a request may need
END_WITHIN = 30  # seconds for running requests when the server ends
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of a server. body: the maximum size of one body in bytes, inflated; bodies: the
    maximum size of all bodies in memory. body_seconds: the seconds in which a body must arrive,
    plus one second for each 2 MB of its declared length; upload_seconds: the same for an uploaded
    snapshot. parsed_at_once: the size of the largest body that is parsed on the event loop.
    threads: the number of threads that work in the store; queue: how many requests can wait for a
    thread; queue_seconds: how long a request can wait. request_seconds: the time limit of a read
    that sets no timeout. request_memory, request_steps: the limits of a read in bytes, and in steps
    of Python or SQL, as estimated before the read runs; memory: the limit of all reads together in
    bytes."""

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
        per_request = self.request_seconds, self.request_memory, self.request_steps
        return Workers(self.threads, self.queue, *per_request, self.memory)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The settings of a server. keys: keys that permit everything; reader_keys: keys that only
    permit reading; allow_hosts: host names, besides those of loopback, for which requests are
    admitted if there are no keys. cors: origins whose web pages can send requests; read_only:
    whether to refuse all writes. trust: whether embedding functions are allowed that access hosts
    and files; image_root: the folder for images that requests name. dashboard: the folder of
    Qdrant's web page; access_log: whether to log each request. local: whether to accept only
    loopback's host names and the server's own page, even with a key. memory_budget: the bytes that
    the caches of a process can use, None for the default."""

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
    memory_budget: int | None = None
    limits: ServerLimits = field(default_factory=ServerLimits)

    @property
    def has_keys(self) -> bool:
        """Whether there are keys, so that each request needs a key."""
        return bool(self.keys or self.reader_keys)


@dataclass(frozen=True, slots=True)
class RpcListening:
    """Where gRPC listens. host: an IP address; shared: whether other processes listen at the same
    port; tls_cert, tls_key: paths of PEM files."""

    host: str
    port: int
    shared: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def address(self) -> str:
        """The host and the port as one string."""
        return f"{host_in_url(self.host)}:{self.port}"


def keys_of(
    environment: Mapping[str, str], file: Path | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys that permit everything, and the keys that only permit reading. They come from
    environment variables, where commas separate them, and from a file with one key in each line. In
    the file, "read-only " precedes a key that only permits reading. Raises InvalidArgumentError if
    the file can't be read or has no key, and for a line "read-only" without a key. (Without this
    check, the line would be a key that permits everything.)"""
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
    return check_keys("keys", full), check_keys("keys for reading", readers)


def check_keys(what: str, values: Iterable[Any]) -> tuple[str, ...]:
    """The keys without duplicates; raises InvalidArgumentError for a key that a header cannot
    contain. what: the name of the argument."""
    if isinstance(values, str) or not isinstance(values, Iterable):  # the value isn't shown
        kind = type(values).__name__
        raise InvalidArgumentError(f"{what} is one {kind}, expected several texts, as in [key]")
    keys = tuple(values)  # an iterator can be read only once; without keys all would be admitted
    for key in keys:
        if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
            raise InvalidArgumentError(f"{what} has one that isn't printable ASCII")
        if key != key.strip():
            raise InvalidArgumentError(f"{what} has one with spaces around it")
    return tuple(dict.fromkeys(keys))


def check_names(what: str, value: Any) -> tuple[str, ...]:
    """Host names or origins as a tuple. Raises InvalidArgumentError for a single string, and for
    items that are not strings. what: the name of the argument."""
    is_one = isinstance(value, str) or not isinstance(value, Iterable)
    names = () if is_one else tuple(value)
    if is_one or not all(isinstance(name, str) for name in names):
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
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise InvalidArgumentError(f"--api-key-file {file} holds no key")
    return keys


def is_loopback(host: str) -> bool:
    """Whether an address or a host name means only this machine."""
    name = host.strip("[]").lower()
    if name in LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_reach(host: str, has_keys: bool, no_auth: bool) -> None:
    """Raise InvalidArgumentError if other machines could reach a store without a key."""
    if has_keys or no_auth or is_loopback(host):
        return
    raise InvalidArgumentError(
        f"--host is {quote(host)}, which others reach, and there is no key: set "
        f"{KEY_VARIABLES[0]} or --api-key-file, or say --no-auth to let anyone read and write"
    )


def check_cors(cors: Iterable[str], has_keys: bool, no_auth: bool = False) -> None:
    """Raise InvalidArgumentError if any web page could reach a store without a key. The origins "*"
    and "null" allow that; pages without an origin send "null"."""
    open_to_all = [origin for origin in cors if origin in ("*", "null")]
    if open_to_all and not (has_keys or no_auth):
        raise InvalidArgumentError(
            f"cors has {open_to_all[0]!r}, by which every page that a browser shows may read and "
            "write, and there is no key: name the origins of your pages, or set a key "
            f"({KEY_VARIABLES[0]}, --api-key-file, api_keys=), or say --no-auth"
        )
