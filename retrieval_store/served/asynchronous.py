"""The same requests for an event loop, on which nothing waits."""

import asyncio
import os
import time
from contextlib import nullcontext, suppress
from http import HTTPStatus
from http.client import HTTPException
from typing import TypeAlias

from retrieval_store.errors import ClientClosedError
from retrieval_store.served.attempts import (
    Attempts,
    FailedError,
    Request,
    answered,
    broken,
    unreached,
)
from retrieval_store.served.connection import KEPT
from retrieval_store.served.heads import END, LONGEST, Head, Heads, head_of, piece_size
from retrieval_store.served.lines import KEPT_SECONDS, PIECE
from retrieval_store.served.opening import Address
from retrieval_store.wire.message import Buffer

_Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_BROKEN = (OSError, EOFError, asyncio.LimitOverrunError, HTTPException, MemoryError)


class AsyncConnection:
    """Connections to one server, for any number of tasks of one event loop; then of another. A call
    that is cancelled closes its connection; what it asked for may be done all the same."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._heads = Heads(address)
        self._idle: list[tuple[float, _Streams]] = []  # and since when
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
            if self._closed:
                raise ClientClosedError(f"the client of the server {self.place} has been closed")
            self._drop_those_of_another_loop()
            try:
                async with nullcontext() if request.long else self._turns:
                    return await self._over(await self._connected(), request)
            except FailedError as failed:
                pause = attempts.pause_after(failed.failure)
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close all connections; calls raise ClientClosedError from here on."""
        self._closed = True
        self._drop_those_of_another_loop()
        idle, self._idle = self._idle, []
        for _, (_, writer) in idle:
            writer.close()

    async def _over(self, streams: _Streams, request: Request) -> Buffer:
        """The answer that comes over a connection."""
        stays = False
        try:
            head, body = await self._exchanged(*streams, request)
            stays = head.stays
        except _BROKEN as error:
            raise FailedError(broken(error, self.place, request.doing)) from error
        finally:
            self._give_back(streams, stays)
        if head.status == HTTPStatus.OK:
            return body
        raise FailedError(answered(head.status, head.headers, body, self.place, request.doing))

    async def _exchanged(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request
    ) -> tuple[Head, bytearray]:
        """Head and body of the answer to a request, which move piece by piece: the time limit is
        for each of these."""
        seconds = None if request.long else self.address.timeout
        for part in self._heads.before("POST", request.path, request.message):
            view = memoryview(part)
            for start in range(0, len(view), PIECE):
                writer.write(view[start : start + PIECE])
                if writer.transport.get_write_buffer_size():
                    async with asyncio.timeout(seconds):
                        await writer.drain()
        while True:
            async with asyncio.timeout(seconds):
                head = head_of(await reader.readuntil(END))
            if head.status >= HTTPStatus.OK:  # others announce that one will come
                return head, await _body(reader, head, seconds)

    async def _connected(self) -> _Streams:
        """A connection, if need be a new one; raises FailedError."""
        while self._idle:
            since, streams = self._idle.pop()
            reader, writer = streams
            if time.monotonic() - since < KEPT_SECONDS and not reader.at_eof():
                return streams
            writer.close()
        address = self.address
        try:
            async with asyncio.timeout(address.timeout):
                return await asyncio.open_connection(
                    address.host, address.port, limit=LONGEST, ssl=address.context
                )
        except OSError as error:
            raise FailedError(unreached(error, self.place)) from error

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
        self._loop, self._idle = loop, []
        self._turns = asyncio.Semaphore(KEPT)

    def _give_back(self, streams: _Streams, stays: bool) -> None:
        if stays and not self._closed and len(self._idle) < KEPT:
            self._idle.append((time.monotonic(), streams))
        else:
            streams[1].close()


async def _body(reader: asyncio.StreamReader, head: Head, seconds: float | None) -> bytearray:
    """The body of an answer; OSError where it was cut off."""
    body = bytearray()
    if not head.chunked:
        await _read(reader, body, head.length, seconds)
        return body
    async with asyncio.timeout(seconds):
        size = piece_size(await reader.readuntil(b"\r\n"))
    while size:
        await _read(reader, body, size, seconds)
        async with asyncio.timeout(seconds):
            await reader.readuntil(b"\r\n")
            size = piece_size(await reader.readuntil(b"\r\n"))
    async with asyncio.timeout(seconds):
        while await reader.readuntil(b"\r\n") != b"\r\n":  # more headers
            pass
    return body


async def _read(
    reader: asyncio.StreamReader, into: bytearray, left: int | None, seconds: float | None
) -> None:
    """Append so many bytes, or, where that is None, all until the end."""
    while left is None or left > 0:
        async with asyncio.timeout(seconds):
            piece = await reader.read(PIECE if left is None else min(PIECE, left))
        if not piece and left is None:
            return
        if not piece:
            raise ConnectionResetError("the answer was cut off")
        into += piece
        left = None if left is None else left - len(piece)
