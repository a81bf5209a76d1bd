"""The server that listens for calls: its port, TLS, health, start and end."""

import asyncio
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from retrieval_store.errors import StorageError
from retrieval_store.server.rpc.calls import Calls, Shared
from retrieval_store.server.settings import END_WITHIN, RpcListening

HEALTH = "/grpc.health.v1.Health/"
SERVICES = ("", "qdrant.Points", "qdrant.Collections", "qdrant.Snapshots", "qdrant.Qdrant")
MOST_CALLS = 2  # times as many calls as there may be requests under way and waiting
READ_AT_ONCE, READ_WITHIN = 4, 5.0  # messages that ask for health, and seconds for one to come
HANDSHAKE_MS, IDLE_MS, PING_MS = 60_000, 600_000, 120_000
STREAMS = 1_024  # calls at once of one connection


class RpcServer:
    """Answers calls on the loop that it is started on."""

    def __init__(self, shared: Shared, listening: RpcListening) -> None:
        limits = shared.settings.limits
        self._server = grpc.aio.server(
            options=_options(limits.body, listening.shared),
            maximum_concurrent_rpcs=MOST_CALLS * (limits.threads + limits.queue),
        )
        self._health = health.aio.HealthServicer()
        calls = Calls(shared)
        self._server.add_generic_rpc_handlers((_Health(self._health, calls), calls))
        self._listening = listening
        self._ending: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Listen; StorageError where that can't be."""
        address = self._listening.address
        try:
            credentials = _credentials(self._listening)
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise StorageError(f"{address} can't be listened at for gRPC: {error}") from error
        for name in SERVICES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    def begin_end(self) -> None:
        """Take no more calls; those under way have 30 seconds."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(END_WITHIN)

    async def ended(self) -> None:
        """Returns once no call is under way."""
        self.begin_end()
        assert self._ending is not None
        await self._ending


class _Health(grpc.GenericRpcHandler):  # type: ignore[misc]  # which has no types
    """grpc.health.v1: a check needs no key, as /readyz doesn't; to be told of changes needs one,
    since that holds a call open."""

    def __init__(self, servicer: Any, calls: Calls) -> None:
        self._calls, self._servicer = calls, servicer
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._check = grpc.stream_unary_rpc_method_handler(
            self._checked, None, health_pb2.HealthCheckResponse.SerializeToString
        )
        self._watch = grpc.unary_stream_rpc_method_handler(
            servicer.Watch,
            health_pb2.HealthCheckRequest.FromString,
            health_pb2.HealthCheckResponse.SerializeToString,
        )

    async def _checked(self, _: Any, context: Any) -> Any:
        """How a service is. While as many messages as may be wait to be read, which those without
        a key can bring about, and for one that doesn't come: how the server is."""
        sent = b""
        if not self._reading.locked():
            async with self._reading:
                with suppress(TimeoutError):
                    sent = await asyncio.wait_for(context.read(), READ_WITHIN)
        try:
            asked = health_pb2.HealthCheckRequest.FromString(sent or b"")
        except Exception:  # google.protobuf's, of which there is one class
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "failed to decode the message")
        return await self._servicer.Check(asked, context)

    def service(self, details: Any) -> Any:
        """What answers a call."""
        if details.method == f"{HEALTH}Check":
            return self._check
        if details.method != f"{HEALTH}Watch":
            return None
        refused = self._calls.refused(details.invocation_metadata, "read")
        return self._calls.refusing if refused else self._watch


def _options(body: int, shared: bool) -> list[tuple[str, Any]]:
    """How gRPC is to behave. Pings of clients are taken as often as they come: those for Go send
    one every ten seconds."""
    return [
        ("grpc.max_receive_message_length", body),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", STREAMS),
        ("grpc.so_reuseport", int(shared)),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.keepalive_time_ms", PING_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _credentials(listening: RpcListening) -> Any:
    """The certificate, if there is one."""
    if listening.tls_cert is None or listening.tls_key is None:
        return None
    pair = (listening.tls_key.read_bytes(), listening.tls_cert.read_bytes())
    return grpc.ssl_server_credentials([pair])
