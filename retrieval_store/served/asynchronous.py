"""The same requests for an event loop, on which nothing waits: over connections of our own, and by
httpx where the server, or what stands before it, knows no other."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeAlias

from retrieval_store.errors import ClientClosedError, MissingDependencyError
from retrieval_store.served.attempts import (
    Attempts,
    FailedError,
    Request,
    answered,
    broken,
    unreached,
)
from retrieval_store.served.connection import ASKED_AGAIN, KEPT, requested, understood
from retrieval_store.served.lines import KEPT_SECONDS
from retrieval_store.served.opening import Address
from retrieval_store.served.points import DOING as OF_POINTS
from retrieval_store.served.store import DOING as OF_STORE
from retrieval_store.wire import frames
from retrieval_store.wire.api import POINTS, ROOT, STORE, Method
from retrieval_store.wire.message import MEDIA_TYPE, Buffer, size_of

_Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_HEAD_AT_MOST = 64 * 1024  # bytes of an answer's head


class AsyncConnection:
    """Connections to one server, for any number of tasks of one event loop. A call that is
    cancelled closes its connection; what it asked for may be done all the same."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[tuple[float, _Streams]] = []  # and since when
        self._by_http_until = 0.0 if address.context is None else float("inf")
        self._http: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        return self.address.place

    async def call(self, method: Method, path: str, given: Mapping[str, Any], doing: str) -> Any:
        """The result of a method; raises as `Connection.call`."""
        request = requested(method, path, given, doing)
        attempts = Attempts(request)
        while True:
            if self._closed:
                raise ClientClosedError(f"the client of the server {self.place} has been closed")
            try:
                body = await self._tried(request)
                return understood(method, body, self.place, doing)
            except FailedError as failed:
                pause = attempts.pause_after(failed.failure)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections; calls raise ClientClosedError from here on."""
        self._closed = True
        idle, self._idle = self._idle, []
        for _, (_, writer) in idle:
            writer.close()
        if self._http is not None:
            await self._http.aclose()

    async def _tried(self, request: Request) -> Buffer:
        is_short = not request.long and size_of(request.message) <= frames.LARGEST
        streams = await self._own() if is_short else None
        if streams is None:
            return await self._by_http(request)
        whole = False
        try:
            status, body = await self._exchanged(*streams, request)
            whole = True
        except (OSError, asyncio.IncompleteReadError, MemoryError) as error:
            raise FailedError(broken(error, self.place, request.doing)) from error
        finally:
            self._give_back(streams, whole)
        return self._taken(status, {}, body, request)

    async def _exchanged(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
    ) -> tuple[int, Buffer]:
        """Status and body of the answer to a request, which move piece by piece: the time limit is
        for each of these."""
        for part in frames.request_of(request.path, request.message):
            view = memoryview(part)
            for start in range(0, len(view), frames.PIECE):
                writer.write(view[start : start + frames.PIECE])
                async with asyncio.timeout(self.address.timeout):
                    await writer.drain()
        async with asyncio.timeout(self.address.timeout):
            status, size = frames.answer_head(await reader.readexactly(frames.HEAD))
        body = bytearray()
        while len(body) < size:
            async with asyncio.timeout(self.address.timeout):
                piece = await reader.read(min(frames.PIECE, size - len(body)))
            if not piece:
                raise ConnectionResetError("the answer was cut off")
            body += piece
        return status, body

    def _taken(
        self, status: int, headers: Mapping[str, str], body: Buffer, request: Request
    ) -> Buffer:
        if status == HTTPStatus.OK:
            return body
        raise FailedError(answered(status, headers, body, self.place, request.doing))

    async def _own(self) -> _Streams | None:
        """A connection of our own; None where the server gives none."""
        self._drop_those_of_another_loop()
        while self._idle:
            since, streams = self._idle.pop()
            reader, writer = streams
            if time.monotonic() - since < KEPT_SECONDS and not reader.at_eof():
                return streams
            writer.close()
        if time.monotonic() < self._by_http_until:
            return None
        streams = await self._connected()
        if await self._agreed(*streams):
            return streams
        streams[1].close()
        self._by_http_until = time.monotonic() + ASKED_AGAIN
        return None

    def _drop_those_of_another_loop(self) -> None:
        """A client that is used in a second event loop begins anew there: the first can't be asked
        any more."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            for _, (_, writer) in self._idle:
                with suppress(RuntimeError):  # it is closed
                    writer.close()
            self._loop, self._idle, self._http = loop, [], None

    async def _connected(self) -> _Streams:
        try:
            async with asyncio.timeout(self.address.timeout):
                return await asyncio.open_connection(
                    self.address.host, self.address.port, limit=_HEAD_AT_MOST
                )
        except OSError as error:
            raise FailedError(unreached(error, self.place)) from error

    async def _agreed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether messages alone may go over a connection from here on."""
        name = self.address.host
        host = f"[{name}]" if ":" in name else name
        asked = {"connection": "Upgrade", "upgrade": frames.UPGRADE}
        said = {"host": f"{host}:{self.address.port}", **self.address.headers, **asked}
        lines = [f"GET {self.address.prefix}{ROOT}{frames.PATH} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in said.items()]
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            async with asyncio.timeout(self.address.timeout):
                head = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return False  # what is wrong is found out by HTTP
        return head.startswith(b"HTTP/1.1 101 ")

    def _give_back(self, streams: _Streams, whole: bool) -> None:
        if whole and not self._closed and len(self._idle) < KEPT:
            self._idle.append((time.monotonic(), streams))
        else:
            streams[1].close()

    async def _by_http(self, request: Request) -> Buffer:
        httpx = _httpx()
        if self._closed:
            raise ClientClosedError(f"the client of the server {self.place} has been closed")
        if self._http is None:
            verify = True if self.address.context is None else self.address.context
            self._http = httpx.AsyncClient(
                verify=verify, timeout=self.address.timeout, trust_env=False
            )
        url = f"{self.address.url}{request.path}"
        try:
            response = await self._http.post(
                url,
                content=b"".join(request.message),
                headers={**self.address.headers, "content-type": MEDIA_TYPE},
                timeout=None if request.long else self.address.timeout,
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise FailedError(unreached(_cause_of(error), self.place)) from error
        except httpx.TransportError as error:
            cause = TimeoutError() if isinstance(error, httpx.TimeoutException) else error
            raise FailedError(broken(cause, self.place, request.doing)) from error
        return self._taken(response.status_code, response.headers, response.content, request)


class AsyncCalls:
    """The methods that `wire.api` names, of one server."""

    def __init__(self, address: Address) -> None:
        self._connection = AsyncConnection(address)

    async def points(self, collection_id: str, name: str, given: Mapping[str, Any]) -> Any:
        """What a method of a collection's points returns."""
        path = f"/points/{collection_id}/{name}"
        doing = OF_POINTS.get(name, name)
        return await self._connection.call(POINTS[name], path, given, doing)

    async def store(self, name: str, given: Mapping[str, Any]) -> Any:
        """What a method of the store returns."""
        doing = OF_STORE.get(name, name)
        return await self._connection.call(STORE[name], f"/store/{name}", given, doing)

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()


def _cause_of(error: BaseException) -> Exception:
    """What the system said, as far as it is known."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, OSError) else ConnectionError(str(error))


def _httpx() -> Any:
    try:
        import httpx
    except ImportError as error:
        raise MissingDependencyError(
            'an asynchronous client needs httpx here: pip install "retrieval-store[http]"'
        ) from error
    return httpx
