"""The gRPC server (its port, TLS, health, start and end), and how it handles a call.

A call is handled like a request over HTTP in `application`. The event loop checks the key (`Gate`),
receives the message, and reads a short message. A thread reads a long message, calls the method,
and writes the response. Calls over HTTP and gRPC share the threads.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeAlias

import grpc
import orjson
from grpc import StatusCode
from grpc_health.v1 import health, health_pb2

from retrieval_store.errors import StorageError
from retrieval_store.extension import Budget, cut_text, log_of
from retrieval_store.qdrant import Refused
from retrieval_store_server.grpc.table import PROCEDURES, Procedure
from retrieval_store_server.http.answers import TEXT, Response
from retrieval_store_server.http.auth import NO_ACCESS, Gate
from retrieval_store_server.http.pool import ReadKind, Workers
from retrieval_store_server.http.receiving import BodyBudget
from retrieval_store_server.http.refusals import INVALID, wrong
from retrieval_store_server.http.request import RequestContext, Served
from retrieval_store_server.http.routes import ROUTES, Permission, Route
from retrieval_store_server.http.sending import refusal_of
from retrieval_store_server.http.settings import END_WITHIN, RpcListening, ServerSettings
from retrieval_store_server.http.shapes import cost_class_of

Context: TypeAlias = Any  # grpc.aio.ServicerContext
_access = log_of("access")
PACKAGE = "/qdrant."
# Words about JSON in a refusal, and a server's words for messages.
WORDINGS = {
    INVALID: "Validation error in body",
    "Format error in JSON body": "Format error in body",
    ".vector.?.": ".vectors.vectors_options.vectors.[].",
}
LONGEST_REFUSAL = 400  # characters of a refusal, which is sent in a header
CODES: Mapping[int, StatusCode] = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.ALREADY_EXISTS,
    413: StatusCode.RESOURCE_EXHAUSTED,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
    507: StatusCode.RESOURCE_EXHAUSTED,
}


@dataclass(frozen=True, slots=True)
class Shared:
    """The parts of a server that gRPC calls and HTTP requests use together: the store, the gate,
    the threads, and the budget for bodies."""

    served: Served
    settings: ServerSettings
    gate: Gate
    workers: Workers
    bodies: BodyBudget


class GrpcHandler(grpc.GenericRpcHandler):  # type: ignore[misc]  # which has no types
    """Handles the calls of all procedures."""

    def __init__(self, shared: Shared) -> None:
        self._shared, self._limits = shared, shared.settings.limits
        # A message arrives in one piece, and its size is known only at its end. This limits the
        # number of messages at once, so that the largest ones fit into memory together.
        self._reading = asyncio.Semaphore(max(1, self._limits.bodies // self._limits.body))
        self._handlers = {
            f"{PACKAGE}{route.rpc}": _handler(self._call_of(route, PROCEDURES[route.rpc]))
            for route in ROUTES
            if route.rpc
        }
        self.refusing = _handler(self._refuse)

    def service(self, details: Any) -> Any:
        """The handler of a call. If the procedure is unknown: None, so that gRPC reports this, or,
        for a client without a valid key, a handler that refuses the call."""
        handler = self._handlers.get(details.method)
        if handler is None and self.refusal(details.invocation_metadata, None):
            return self.refusing
        return handler

    def refusal(self, metadata: Any, access: Permission | None) -> Response | None:
        """The refusal of a call that is not admitted; None if the call is admitted."""
        return self._shared.gate.refused_call(_headers(metadata), access)

    async def _refuse(self, _: Any, context: Context) -> None:
        refused = self.refusal(context.invocation_metadata(), None)
        assert refused is not None  # it is used for nothing else
        await _abort(context, refused)

    def _call_of(self, route: Route, procedure: Procedure) -> Any:
        """The function that handles the calls of a procedure. gRPC inspects the handler at each
        call; for an object that is not a function this takes longer."""

        async def call(_: Any, context: Context) -> bytes:
            return await self._call(route, procedure, context)

        return call

    async def _call(self, route: Route, procedure: Procedure, context: Context) -> bytes:
        """The response to one call, in bytes."""
        began = time.perf_counter()
        try:
            answer = await self._answer_call(route, procedure, context, began)
        except asyncio.CancelledError:  # its client has disconnected, or its deadline has passed
            self._count(route, StatusCode.CANCELLED, began)
            raise
        except Exception as error:
            answer = refusal_of(error, route, self._shared.served.hide_paths)
        if isinstance(answer, Response):
            self._count(route, _code(answer), began)
            await _abort(context, answer)
            raise AssertionError("a call that was ended goes on")
        self._count(route, StatusCode.OK, began)
        return answer

    def _count(self, route: Route, code: StatusCode, began: float) -> None:
        seconds = time.perf_counter() - began
        self._shared.served.rpc_monitor.count(f"{PACKAGE}{route.rpc}", code.value[0], seconds)
        if self._shared.settings.access_log:
            name = f"{PACKAGE}{route.rpc}"
            _access.info("gRPC %s %s %.1f ms", name, code.name, seconds * 1e3)

    async def _answer_call(
        self, route: Route, procedure: Procedure, context: Context, began: float
    ) -> bytes | Response:
        """The response to a call as a serialised message, or the refusal of the call."""
        headers = _headers(context.invocation_metadata())
        refused = self._shared.gate.refused_call(headers, route.access)
        if refused is not None:
            return refused
        if route.at_once:
            return self._at_once(route, procedure, began)
        may = self._shared.gate.may(headers, route.access)
        async with self._reading:
            sent = await self._message(context)
        with self._shared.bodies.account() as take:
            take(len(sent))
            return await self._answer_message(route, procedure, began, sent, may)

    def _at_once(self, route: Route, procedure: Procedure, began: float) -> bytes:
        """The response to a call that needs neither a key nor the store. The call's message is not
        read: reading takes memory for which other calls may wait, and calls without a key must not
        delay other calls."""
        return _serialise(
            procedure, route.answer(RequestContext(self._shared.served, {}, {})), began
        )

    async def _message(self, context: Context) -> bytes:
        """The bytes of a call's message."""
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                sent = await context.read()
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "timed out waiting for the message") from None
        if sent is grpc.aio.EOF:
            raise wrong("the call has no message")
        return sent  # type: ignore[no-any-return]

    async def _answer_message(
        self,
        route: Route,
        procedure: Procedure,
        began: float,
        sent: bytes,
        may: bool,
    ) -> bytes:
        def read() -> RequestContext:
            message = procedure.parse(sent)
            call = procedure.request_of(message, self._shared.served, route.access == "read")
            if not may:
                raise Refused(HTTPStatus.FORBIDDEN, NO_ACCESS)
            return call

        def work(call: RequestContext) -> bytes:
            return _serialise(procedure, route.answer(call), began)

        def read_and_work() -> bytes:
            call = read()
            budget = Budget.current()
            if call.timeout is not None and budget is not None:
                budget.end_after(call.timeout)
            return work(call)

        if len(sent) > self._limits.parsed_at_once:
            return await self._done(route, None, read_and_work, is_large=True)
        call = read()
        shape = None if call.infers else cost_class_of(call.body, len(sent))
        kind = None if shape is None else (route.rpc, call.names.get("collection_name"), shape)
        return await self._done(route, call.timeout, partial(work, call), kind=kind)

    async def _done(
        self,
        route: Route,
        timeout: int | None,
        work: Any,
        is_large: bool = False,
        kind: ReadKind | None = None,
    ) -> bytes:
        """The result of some work, which runs in the worker threads. gRPC cancels the call when the
        client has disconnected or the deadline has passed. Work that is still queued at that time
        is not started."""
        longest = self._limits.queue_seconds
        seconds = min(timeout or longest, longest)
        workers = self._shared.workers
        if route.access == "read":
            answer = await workers.read(work, _never, seconds, timeout, is_large, kind)
        else:
            answer = await workers.run(work, _never, seconds)
        return answer  # type: ignore[no-any-return]


def _serialise(procedure: Procedure, result: Any, began: float) -> bytes:
    """A method's result as a serialised message. began: when the call began."""
    message = procedure.write(result, time.perf_counter() - began)
    return message.SerializeToString()  # type: ignore[no-any-return]


def _handler(call: Any) -> Any:
    """A gRPC handler for calls with one message. The handler is registered for a stream of
    messages, from which it reads one, so that it can refuse a call before the message has
    arrived."""
    return grpc.stream_unary_rpc_method_handler(call)


async def _never() -> None:
    """Wait until the task is cancelled. gRPC cancels the tasks of a call whose client has
    disconnected."""
    await asyncio.get_running_loop().create_future()


def _headers(metadata: Any) -> dict[bytes, bytes]:
    """The metadata of a call, by name. If a name occurs several times, its first value is used."""
    headers: dict[bytes, bytes] = {}
    for name, value in metadata:
        sent = value if isinstance(value, bytes) else value.encode()
        headers.setdefault(name.encode(), sent)
    return headers


def _code(refusal: Response) -> StatusCode:
    return CODES.get(refusal.status, StatusCode.INTERNAL)


async def _abort(context: Context, refusal: Response) -> None:
    """End a call with the refusal that an HTTP request would get, sent as a gRPC status and
    message."""
    is_text = refusal.media_type == TEXT
    message = refusal.body.decode() if is_text else orjson.loads(refusal.body)["status"]["error"]
    for wording, as_of_messages in WORDINGS.items():
        message = message.replace(wording, as_of_messages)
    after = () if refusal.retry_after is None else (("retry-after", str(refusal.retry_after)),)
    await context.abort(_code(refusal), cut_text(message, LONGEST_REFUSAL), after)


HEALTH = "/grpc.health.v1.Health/"
SERVICES = ("", "qdrant.Points", "qdrant.Collections", "qdrant.Snapshots", "qdrant.Qdrant")
MAX_CALLS = 2  # the factor by which calls may exceed running and waiting requests
READ_AT_ONCE, READ_WITHIN = 4, 5.0  # health messages at once, and seconds for one to arrive
HANDSHAKE_MS, IDLE_MS, PING_MS = 60_000, 600_000, 120_000
STREAMS = 1_024  # concurrent calls of one connection


class RpcServer:
    """Serves gRPC calls on the event loop on which it is started."""

    def __init__(self, shared: Shared, listening: RpcListening) -> None:
        limits = shared.settings.limits
        self._server = grpc.aio.server(
            options=_options(limits.body, listening.shared),
            maximum_concurrent_rpcs=MAX_CALLS * (limits.threads + limits.queue),
        )
        self._health = health.aio.HealthServicer()
        calls = GrpcHandler(shared)
        self._server.add_generic_rpc_handlers((_Health(self._health, calls), calls))
        self._listening = listening
        self._ending: asyncio.Future[Any] | None = None

    async def start(self) -> None:
        """Start listening; raises StorageError if that fails."""
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
        """Accept no more calls. Running calls get 30 seconds to end."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())

    async def _end(self) -> None:
        await self._health.enter_graceful_shutdown()
        await self._server.stop(END_WITHIN)

    async def wait_until_ended(self) -> None:
        """Wait until no call is running."""
        self.begin_end()
        assert self._ending is not None
        await self._ending


class _Health(grpc.GenericRpcHandler):  # type: ignore[misc]  # which has no types
    """The service grpc.health.v1. Its method Check needs no key, like the HTTP route /readyz. Its
    method Watch needs a key, since the call stays open."""

    def __init__(self, servicer: Any, calls: GrpcHandler) -> None:
        self._calls, self._servicer = calls, servicer
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._check = grpc.stream_unary_rpc_method_handler(
            self._check_health, None, health_pb2.HealthCheckResponse.SerializeToString
        )
        self._watch = grpc.unary_stream_rpc_method_handler(
            servicer.Watch,
            health_pb2.HealthCheckRequest.FromString,
            health_pb2.HealthCheckResponse.SerializeToString,
        )

    async def _check_health(self, _: Any, context: Any) -> Any:
        """The health of a service. The health of the whole server is returned if too many checks
        are being read, or if the message does not arrive in time. Clients without a key can cause
        both."""
        sent = b""
        if not self._reading.locked():
            async with self._reading:
                with suppress(TimeoutError):
                    sent = await asyncio.wait_for(context.read(), READ_WITHIN)
        try:
            check = health_pb2.HealthCheckRequest.FromString(sent or b"")
        except Exception:  # google.protobuf's; it has a single class
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "failed to decode the message")
        return await self._servicer.Check(check, context)

    def service(self, details: Any) -> Any:
        """The handler of a call to this service; None for calls to other services."""
        if details.method == f"{HEALTH}Check":
            return self._check
        if details.method != f"{HEALTH}Watch":
            return None
        refused = self._calls.refusal(details.invocation_metadata, "read")
        return self._calls.refusing if refused else self._watch


def _options(body: int, shared: bool) -> list[tuple[str, Any]]:
    """The options for gRPC. body: the maximum size of a message in bytes; shared: whether other
    processes can listen at the same port. A client may send pings at any interval, since Go clients
    send one every ten seconds."""
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
    """The TLS certificate and its key, in the form that gRPC takes; None without TLS."""
    if listening.tls_cert is None or listening.tls_key is None:
        return None
    pair = (listening.tls_key.read_bytes(), listening.tls_cert.read_bytes())
    return grpc.ssl_server_credentials([pair])
