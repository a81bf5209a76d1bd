"""Requests to an application in this process, without a socket."""

import asyncio
import json
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from retrieval_store_server import Application


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str | None:
        return self.headers.get("content-type")


def scope_of(method: str, path: str, headers: dict[str, str]) -> dict[str, Any]:
    """A request's scope, as a server passes it to an application."""
    where, _, query = path.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": unquote_to_bytes(where).decode("utf-8", "replace"),
        "raw_path": where.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), one.encode("latin-1")) for name, one in headers.items()],
        "root_path": "",
    }


class Asking:
    """Sends requests to an application, one after another, on its own loop."""

    def __init__(self, application: Application, **headers: str) -> None:
        self.application = application
        self.headers = {"host": "localhost", **headers}
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.application.close()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def __call__(
        self, method: str, path: str, body: Any = None, /, raw: bytes | None = None, **headers: str
    ) -> Answered:
        sent = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return self.loop.run_until_complete(self.ask(method, path, sent, headers))

    async def ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str], leaves: bool = False
    ) -> Answered | None:
        """leaves: the client closes its connection after sending its request."""
        named = {name.replace("_", "-"): one for name, one in headers.items()}
        scope = scope_of(method, path, {**self.headers, **named})
        come = [{"type": "http.request", "body": body, "more_body": False}]
        went: list[Any] = []

        async def receive() -> Any:
            if come:
                return come.pop()
            if leaves:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
            raise AssertionError("nothing more comes")

        async def send(message: Any) -> None:
            went.append(message)

        await self.application(scope, receive, send)
        if not went:
            return None
        start, *parts = went
        reported = {name.decode().lower(): one.decode() for name, one in start["headers"]}
        return Answered(start["status"], reported, b"".join(one.get("body", b"") for one in parts))
