"""Heads of HTTP/1.1: those of requests to a server, and those of its answers.

The standard library reads the head of an answer as that of a mail, which takes longer than all else
that a client does for a short query.
"""

from collections.abc import Mapping
from http.client import HTTPException

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.served.opening import Address
from retrieval_store.wire.message import COPIED, MEDIA_TYPE, Parts, size_of

LONGEST = 64 * 1024  # bytes of an answer's head
END = b"\r\n\r\n"
_HEX = frozenset(b"0123456789abcdefABCDEF")


class Heads:
    """Those of requests to an address."""

    def __init__(self, address: Address) -> None:
        host = f"[{address.host}]" if ":" in address.host else address.host
        said = {
            "host": f"{host}:{address.port}",
            "accept-encoding": "identity",
            "content-type": MEDIA_TYPE,
            **address.headers,
        }
        self._prefix = address.prefix
        self._said = "".join(f"{name}: {value}\r\n" for name, value in said.items())

    def before(self, method: str, path: str, body: Parts) -> Parts:
        """A request in parts, of which the first is its head, with a short body behind it: one
        after the other they would wake the server twice."""
        first = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._said}"
        head = f"{first}content-length: {size_of(body)}\r\n\r\n".encode("ascii")
        if len(body) == 1 and len(body[0]) <= COPIED:
            return [head + body[0]]
        return [head, *body]


@dataclass(frozen=True, slots=True)
class Head:
    """That of an answer. headers: by their names in lower case; length: of its body, None where
    only the body's end tells it; chunked: whether the body comes in pieces that say their
    lengths; stays: whether the connection may be used again."""

    status: int
    headers: Mapping[str, str]
    length: int | None
    chunked: bool
    stays: bool


def head_of(raw: bytes) -> Head:
    """What a head says, whose lines end with an empty one; HTTPException for what is none."""
    first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not (status.isascii() and status.isdigit()):
        raise HTTPException(f"this isn't the head of an answer: {first[:80]!r}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    length = None if chunked else _length(int(status), headers)
    connection = headers.get("connection", "").lower()
    ends = "close" in connection or (version == "HTTP/1.0" and "keep-alive" not in connection)
    return Head(int(status), headers, length, chunked, not ends and (chunked or length is not None))


def _length(status: int, headers: Mapping[str, str]) -> int | None:
    given = headers.get("content-length")
    if given is None:
        return 0 if status < 200 or status in (204, 304) else None
    if not (given.isascii() and given.isdigit()):
        raise HTTPException(f"content-length is {given!r}, expected a number of bytes")
    return int(given)


def piece_size(line: bytes) -> int:
    """How long the next piece of a body in chunks is; HTTPException where that isn't said."""
    size = line.partition(b";")[0].strip()
    if not size or not _HEX.issuperset(size):  # else Python would take signs, "0x" and "_", too
        raise HTTPException(f"a piece of a body begins with {line[:80]!r}")
    return int(size, 16)
