"""The same requests for an event loop, on which nothing waits: over connections of our own; and by
httpx where the server, or what stands before it, knows no other, or, where there is no httpx, by a
thread that waits."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

from retrieval_store.base.threads import Threads
from retrieval_store.errors import ClientClosedError
from retrieval_store.served.attempts import (
    Attempts,
    FailedError,
    Request,
    answered,
    broken,
    unreached,
)
from retrieval_store.served.connection import ASKED_AGAIN, KEPT, Connection
from retrieval_store.served.lines import KEPT_SECONDS, body_of
from retrieval_store.wire import frames
from retrieval_store.wire.api import ROOT
from retrieval_store.wire.message import MEDIA_TYPE, Buffer, size_of

_Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_HEAD_AT_MOST = 64 * 1024  # bytes of an answer's head


class AsyncConnection:
    """Connections to one server, for any number of tasks of one event loop; then of another. A call
    that is cancelled closes its connection; what it asked for may be done all the same. threads:
    in which `connection` is asked where there is no other way."""

    def __init__(self, connection: Connection, threads: Threads) -> None:
        self.address = connection.address
        self._connection, self._threads = connection, threads
        self._idle: list[tuple[float, _Streams]] = []  # and since when
        self._by_http_until = 0.0 if self.address.context is None else float("inf")
        self._http: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(KEPT)  # of more, some would be closed after each call
        self._process = os.getpid()
        self._closed = False

    @property
    def place(self) -> str:
        """Where it leads, for messages."""
        return self.address.place

    async def answer(self, request: Request) -> Buffer:
        """The answer to a request; raises what `Attempts` says."""
        attempts = Attempts(request)
        while True:
            self._refuse_closed()
            try:
                return await self._tried(request)
            except FailedError as failed:
                pause = attempts.pause_after(failed.failure)
            await asyncio.sleep(pause)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClientClosedError(f"the client of the server {self.place} has been closed")

    async def close(self) -> None:
        """Close all connections; calls raise ClientClosedError from here on."""
        self._closed = True
        self._drop_those_of_another_loop()
        idle, self._idle = self._idle, []
        for _, (_, writer) in idle:
            writer.close()
        if self._http is not None:
            await self._http.aclose()

    async def _tried(self, request: Request) -> Buffer:
        if not request.long and size_of(request.message) <= frames.LARGEST:
            self._drop_those_of_another_loop()
            async with self._turns:
                streams = await self._own()
                if streams is not None:
                    return await self._over(streams, request)
        return await self._by_http(request)

    async def _over(self, streams: _Streams, request: Request) -> Buffer:
        """The answer that comes over a connection of our own."""
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
                if writer.transport.get_write_buffer_size():
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
        while self._idle:
            since, streams = self._idle.pop()
            reader, writer = streams
            if time.monotonic() - since < KEPT_SECONDS and not reader.at_eof():
                return streams
            writer.close()
        if time.monotonic() < self._by_http_until:
            return None
        streams = await self._connected()
        agreed = False
        try:
            agreed = await self._agreed(*streams)
        finally:
            if not agreed:
                streams[1].close()
        if agreed:
            return streams
        self._by_http_until = time.monotonic() + ASKED_AGAIN
        return None

    def _drop_those_of_another_loop(self) -> None:
        """A client that is used in a second event loop begins anew there: the first can't be asked
        any more. After a fork the first is the parent's, and isn't touched."""
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        for _, (_, writer) in self._idle if self._process == os.getpid() else ():
            with suppress(RuntimeError):  # it is closed
                writer.close()
        self._process = os.getpid()
        self._loop, self._idle, self._http = loop, [], None
        self._turns = asyncio.Semaphore(KEPT)

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
        if httpx is None:
            return await self._threads.run(
                partial(self._connection.by_http, request, body_of), is_long=request.long
            )
        self._refuse_closed()
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


def _cause_of(error: BaseException) -> Exception:
    """What the system said, as far as it is known."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return cause if isinstance(cause, OSError) else ConnectionError(str(error))


def _httpx() -> Any:
    """The library, if it is there."""
    try:
        import httpx
    except ImportError:
        return None
    return httpx
