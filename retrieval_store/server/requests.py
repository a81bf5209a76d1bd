"""One request, as it is known before its body is read."""

import time
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.server.receiving import Receive
from retrieval_store.server.routes import Access, Route, Table

Scope: TypeAlias = Any  # a request as ASGI describes it
HOLD = "retrieval-store.hold"  # among the extensions of a scope: that of `Asked`
LONGEST_PATH = 16_384


@dataclass(frozen=True, slots=True)
class Request:
    """parts: of the path, decoded; None where one isn't UTF-8. route: None where there is none;
    names: what its names stand for; began: when it came, by time.perf_counter."""

    scope: Scope
    receive: Receive
    headers: dict[bytes, bytes]
    parts: list[str] | None
    route: Route | None
    names: Mapping[str, str]
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, scope: Scope, receive: Receive, table: Table) -> "Request":
        """What is known of a request at first, for a route of a table."""
        parts = _parts(scope)
        found = None if parts is None else table.found(scope["method"], parts)
        route, names = found or (None, {})
        return cls(scope, receive, _headers(scope), parts, route, names)

    @property
    def method(self) -> str:
        """GET, POST and so on."""
        return str(self.scope["method"])

    @property
    def access(self) -> Access | None:
        """What its route does; None where there is none."""
        return None if self.route is None else self.route.access

    @property
    def name(self) -> str:
        """As what it is counted."""
        return f"{self.method} unknown" if self.route is None else self.route.name

    @property
    def logged(self) -> str:
        """The path as it was sent, in which nothing can pass for a line of its own."""
        raw: bytes = self.scope.get("raw_path") or b""
        return ascii(raw.decode("ascii", "backslashreplace"))[1:-1]

    @property
    def seconds(self) -> float:
        """Since it came."""
        return time.perf_counter() - self.began

    async def gone(self) -> None:
        """Returns once the client has closed its connection, or its half of it: both look the same
        from here. What comes after the end of a body says so."""
        was_read = self.route is not None and self.route.body is not None
        while (message := await self.receive())["type"] != "http.disconnect" and not was_read:
            was_read = not message.get("more_body", False)


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """Headers by name; of those that stand there twice the first."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, value)
    return headers


def _parts(scope: Scope) -> list[str] | None:
    """The parts of a path, decoded one by one; None where one isn't UTF-8, or it is too long."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    raw = raw.partition(b"?")[0].removeprefix(scope.get("root_path", "").encode())
    if len(raw) > LONGEST_PATH or not raw.startswith(b"/"):
        return None
    parts = raw.split(b"/")[1:]
    try:
        return [(unquote_to_bytes(part) if b"%" in part else part).decode() for part in parts]
    except UnicodeDecodeError:
        return None
