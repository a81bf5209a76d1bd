"""What a server is started with, checked: keys, who may ask, and limits."""

import ipaddress
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.protocol.codec import LARGEST

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
class Limits:
    """How much is taken at once. body: bytes of one, inflated; bodies: of all that are under way;
    body_seconds: in which one must have come; upload_seconds: the same of snapshots;
    parsed_at_once: bytes of a body that the loop reads itself; threads: that work in the store;
    queue: requests that wait for one; queue_seconds: for how long."""

    body: int = 32 * MEBIBYTE
    bodies: int = LARGEST
    body_seconds: float = 60.0
    upload_seconds: float = 3600.0
    parsed_at_once: int = 64 * 1024
    threads: int = field(default_factory=lambda: min(8, 2 + (os.cpu_count() or 1)))
    queue: int = 512
    queue_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Who may ask for what. keys: that may do everything; reader_keys: that may read; allow_hosts:
    names by which the server may be called without keys, besides those of loopback; cors: origins
    whose pages may ask; read_only: nothing is written; trust: texts may be embedded by functions
    that reach hosts and files; image_root: where images may be that bodies name; dashboard: a
    folder with Qdrant's web page; access_log: whether each request is logged; local: whether it is
    only called by loopback's names, and asked by no page but its own, with a key, too."""

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
    limits: Limits = field(default_factory=Limits)

    @property
    def has_keys(self) -> bool:
        """Whether a key is needed."""
        return bool(self.keys or self.reader_keys)


@dataclass(frozen=True, slots=True)
class RpcListening:
    """Where calls over gRPC are listened for. host: an address in numbers; shared: whether other
    processes listen at the same port; tls_cert and tls_key: files in PEM."""

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
    """The keys that may do everything, and those that may read: from variables, which may hold
    several with commas between them, and from a file with one a line, of which those for reading
    begin with "read-only ". InvalidArgumentError for a file that can't be read or has no key, and
    for a line "read-only" without one, which would else be a key that may do everything."""
    full = [key for name in KEY_VARIABLES for key in _several(environment.get(name, ""))]
    readers = [key for name in READER_VARIABLES for key in _several(environment.get(name, ""))]
    if file is not None:
        for line in _lines(file):
            if line == READ_ONLY:
                raise InvalidArgumentError(f"--api-key-file {file} has a {READ_ONLY!r} without key")
            key = line.removeprefix(f"{READ_ONLY} ").strip()
            (full if key == line else readers).append(key)
    return checked_keys("keys", full), checked_keys("keys for reading", readers)


def checked_keys(what: str, given: Iterable[Any]) -> tuple[str, ...]:
    """Keys, each once; InvalidArgumentError for one that no header could hold."""
    if isinstance(given, str):
        raise InvalidArgumentError(f"{what} is one str, expected several, as in [key]")
    keys = tuple(given)  # an iterator gives them once: without them all would be let in
    for key in keys:
        if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
            raise InvalidArgumentError(f"{what} has one that isn't printable ASCII")
        if key != key.strip():
            raise InvalidArgumentError(f"{what} has one with spaces around it")
    return tuple(dict.fromkeys(keys))


def checked_names(what: str, given: Any) -> tuple[str, ...]:
    """Names of hosts, or origins; InvalidArgumentError for one alone, and for what is no text."""
    names = () if isinstance(given, str) else tuple(given)
    if isinstance(given, str) or not all(isinstance(one, str) for one in names):
        raise InvalidArgumentError(f"{what} is {shown(given)}, expected several texts, as in [one]")
    return names


def _several(value: str) -> list[str]:
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
    """Whether an address, or a name, leads to this machine alone."""
    name = host.strip("[]").lower()
    if name in LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_reach(host: str, has_keys: bool, no_auth: bool) -> None:
    """Raise InvalidArgumentError where others would reach a store that needs no key."""
    if has_keys or no_auth or is_loopback(host):
        return
    raise InvalidArgumentError(
        f"--host is {shown(host)}, which others reach, and there is no key: set "
        f"{KEY_VARIABLES[0]} or --api-key-file, or say --no-auth to let anyone read and write"
    )
