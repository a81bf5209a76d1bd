"""The ASGI application: how a request passes through the server.

The event loop finds the route, checks the key (`Gate`), receives the body, and parses small JSON. A
thread parses large JSON, calls the method, and writes the response's JSON. Then the response is
sent on the event loop, so that a slow client occupies no thread.
"""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

from retrieval_store import Client
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, ReadOnlyError
from retrieval_store.extension import Session, embedded_store, log_of, session_of, set_memory_budget
from retrieval_store.frameworks import quote, store_path
from retrieval_store.qdrant import Refused
from retrieval_store_server.http import answers, snapshots
from retrieval_store_server.http.answers import Accepted, FileAnswer, Response, Streamed
from retrieval_store_server.http.auth import NO_ACCESS, Gate
from retrieval_store_server.http.inference import MARK, Inference
from retrieval_store_server.http.pool import BusyError, Pool, Turn, WaitedTooLongError
from retrieval_store_server.http.receiving import (
    BodyBudget,
    ClientGoneError,
    PlainRefusedError,
    Receive,
    Take,
    nothing_yet,
    whole_body,
)
from retrieval_store_server.http.request import RequestContext, Served, parameters
from retrieval_store_server.http.routes import EVERY, UPLOAD, Route, Table
from retrieval_store_server.http.sending import (
    HttpRequest,
    Scope,
    Send,
    refusal_of,
    send_answer,
    send_stream,
)
from retrieval_store_server.http.settings import (
    RpcListening,
    ServerSettings,
    check_cors,
    check_keys,
    check_names,
)
from retrieval_store_server.http.shapes import cost_class_of
from retrieval_store_server.http.uploads import boundary_of, stream_to_file
from retrieval_store_server.view.live import Views

Job: TypeAlias = Callable[[], object]
_log, _access = log_of("server"), log_of("access")
MAX_JOBS_LEFT = 16  # jobs that continue after their responses
MAX_STREAMS = 64
OWN_SECONDS = 86_400.0  # for a read by `Client(url=)`, while it waits
OK = int(HTTPStatus.OK)
Answer: TypeAlias = Response | FileAnswer | Streamed


def app(
    store: Any,
    *,
    api_keys: Any = (),
    read_only_api_keys: Any = (),
    allow_hosts: Any = (),
    cors: Any = (),
    read_only: bool = False,
    trust: bool = False,
    image_root: Any = None,
    durability: str = "full",
    memory_budget: int | None = None,
) -> "Application":
    """An ASGI application that serves a store. A server can run it, or another application can
    mount it. It ends with `close()`, or with the end of the ASGI lifespan.

    Args:
        store: the path of a directory, which is created if it doesn't exist; ":memory:"; or a
            client of this package, which the caller closes.
        api_keys: a request needs one of these keys. If there are no keys, the application answers
            only requests to loopback's host names and to those in allow_hosts.
        read_only_api_keys: keys that only permit reading.
        allow_hosts: further host names to which the application answers if there are no keys.
        cors: the origins of web pages that may send requests. "*" means all origins, and is only
            accepted if there are keys.
        read_only: refuse all writes.
        trust: whether embedding functions may be used that access hosts or files.
        image_root: the only folder from which images that requests name are read.
        durability: as in `Client`.
        memory_budget: as in `Client`: bytes.

    Raises:
        InvalidArgumentError: an invalid argument, or arguments that don't fit together.
        InvalidTypeError: a switch that isn't a bool. Errors of opening a store are raised too.
    """
    for name, switch in (("read_only", read_only), ("trust", trust)):
        if type(switch) is not bool:
            raise InvalidTypeError(f"{name} is {quote(switch)}, expected a bool")
    settings = ServerSettings(
        keys=check_keys("api_keys", api_keys),
        reader_keys=check_keys("read_only_api_keys", read_only_api_keys),
        allow_hosts=check_names("allow_hosts", allow_hosts),
        cors=check_names("cors", cors),
        read_only=read_only,
        trust=trust,
        image_root=None if image_root is None else store_path(image_root, "image_root"),
        durability=durability,
        memory_budget=memory_budget,
    )
    check_cors(settings.cors, settings.has_keys)
    return Application(store, settings)


class Application:
    """Serves one store; see `app`. store: a path, or a client whose store the table of routes
    supports. The attribute `rpc`, which must be set before the start, says where gRPC listens; None
    for no gRPC."""

    rpc: RpcListening | None = None

    def __init__(self, store: Any, settings: ServerSettings, table: Table = EVERY) -> None:
        self._page = _page(settings.dashboard)
        inference = Inference(settings.trust, settings.image_root)
        session, close = _open_store(store, settings)
        if table is EVERY:
            embedded_store(session)
        views = Views(session, settings.trust, settings.image_root)
        self.served = Served(session, close, inference, views)
        self._table = table
        self._settings, self._limits = settings, settings.limits
        self._gate = Gate(settings)
        self._workers = self._limits.workers()
        # So that readiness is reported even while all threads are busy.
        self._aside = Pool(1, self._limits.queue)
        self._jobs = ThreadPoolExecutor(1, "server-jobs")  # jobs after their responses
        self._left = 0  # their number
        self._bodies = BodyBudget(self._limits.bodies)
        self._calls: Any = None  # answers calls over gRPC
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams = 0  # streamed responses in progress
        self._ends = self._closed = False

    def close(self) -> None:
        """Wait for the running requests, and close the store."""
        if not self._closed:
            self._ends = self._closed = True
            self._workers.close()
            self._aside.close()
            self._jobs.shutdown()
            self.served.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(HttpRequest.of(scope, receive, self._table), send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._start_rpc()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._calls is not None:
                    await self._calls.wait_until_ended()
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _start_rpc(self) -> None:
        """Start to serve gRPC, if `rpc` is set."""
        if self.rpc is None:
            return
        from retrieval_store_server.grpc.calls import RpcServer, Shared

        shared = Shared(self.served, self._settings, self._gate, self._workers, self._bodies)
        self._calls = RpcServer(shared, self.rpc)
        await self._calls.start()
        self._hear_of_end()

    def _hear_of_end(self) -> None:
        """Install a signal handler that calls `begin_end`. The HTTP server waits for its running
        requests before it ends the application. So `begin_end` must end streams and gRPC calls
        before that."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    _call_too(number, self.begin_end)

    def begin_end(self) -> None:
        """Accept no more gRPC calls, and end the streams, since the server is about to end. Any
        thread can call this."""
        self._ends = True
        if self._loop is not None and self._calls is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._calls.begin_end)

    async def _answer(self, request: HttpRequest, send: Send) -> None:
        """Respond to one request."""
        try:
            answer = await self._answer_request(request)
        except ClientGoneError:
            return
        if answer is None:
            await self._page(request.scope, request.receive, send)
            return
        if isinstance(answer, Streamed):
            await self._stream(request, send, answer)
        else:
            await send_answer(request, send, answer, self._gate.cors(request.headers))
        self._note(request, answer.status if isinstance(answer, Response) else OK)

    async def _stream(self, request: HttpRequest, send: Send, answer: Streamed) -> None:
        """Send a streamed response until the client has disconnected or the server ends."""

        async def following(gone: Callable[[], Awaitable[object]]) -> bytes | None:
            with suppress(BusyError, WaitedTooLongError):
                # It writes nothing: after a call of `run` no read counts as quick.
                part: bytes | None = await self._workers.pool.run(
                    answer.following, gone, self._limits.queue_seconds
                )
                return part
            return None

        self._hear_of_end()
        self._streams += 1
        try:
            more = self._gate.cors(request.headers)
            await send_stream(request, send, answer, more, following, lambda: self._ends)
        finally:
            self._streams -= 1

    def _note(self, request: HttpRequest, status: int) -> None:
        """Count a response, and log it if there is an access log."""
        seconds, name = request.seconds, request.name
        # Routes of points fail where there is no such collection; others may not.
        is_there = status == OK and "/points" in name
        named = request.names.get("collection_name", "") if is_there else ""
        self.served.monitor.count(name, status, seconds, named)
        if self._settings.access_log:
            _access.info("%s %s %d %.1f ms", request.method, request.logged, status, seconds * 1e3)

    async def _answer_request(self, request: HttpRequest) -> Answer | None:
        """The response to a request; None if the application that serves the files of the web page
        responds."""
        preflight = request.method == "OPTIONS" and self._gate.preflight(request.headers)
        if preflight:
            return Response(204, b"", None, headers=tuple(preflight))
        route, is_page = request.route, self._page is not None and request.is_of_page
        refused = self._gate.refusal(request.headers, "open" if is_page else request.access)
        if refused is not None:
            return refused
        if is_page and request.method in ("GET", "HEAD"):
            return None
        if route is None:
            return answers.nothing(HTTPStatus.NOT_FOUND)
        try:
            return await self._answer_route(request, route)
        except ClientGoneError:
            raise
        except Exception as error:
            return refusal_of(error, route, self.served.hide_paths)

    async def _answer_route(self, request: HttpRequest, route: Route) -> Answer:
        _check_names(request)
        query = parameters(request.scope["query_string"], route.access in ("open", "read"))
        call = RequestContext(self.served, request.names, query, headers=request.headers)
        if request.exchange is not None:
            call.hold = request.exchange.hold
        if route.streams and self._streams >= MAX_STREAMS:
            return answers.refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages are open")
        if route.body == UPLOAD:
            return await self._with_file(request, route, call)
        if route.body is not None:
            with self._bodies.account() as take, self._workers.turns.turn() as turn:
                in_turn = turn if route.access == "read" else None
                return await self._with_body(request, route, call, take, in_turn)
        self._check_may(request.headers, route)
        if route.at_once:
            return _work(request, route, call)[0]
        return await self._in_thread(request, route, call, partial(_work, request, route, call))

    async def _with_body(
        self,
        request: HttpRequest,
        route: Route,
        call: RequestContext,
        take: Take,
        turn: Turn | None,
    ) -> Answer:
        """The response to a request with a JSON body. A small body is parsed here, on the event
        loop."""
        limits = self._limits
        most = limits.bodies if route.is_own else limits.body
        take_body = nothing_yet if request.exchange is None else request.exchange.take_body
        body = await whole_body(
            request.receive, request.headers, most, limits.body_seconds, take, turn, take_body
        )
        is_escaped = b"\\" in body and b"\\u" in body  # one byte is found 20 times as fast as two
        call.infers = not route.is_own and (is_escaped or MARK in body)

        def read_and_work() -> Any:
            self._parse_and_authorize(request, route, call, body)
            return _work(request, route, call)

        if len(body) > limits.parsed_at_once:
            return await self._in_thread(request, route, call, read_and_work, is_large=True)
        self._parse_and_authorize(request, route, call, body)
        work = partial(_work, request, route, call)
        return await self._in_thread(request, route, call, work, size=len(body))

    def _parse_and_authorize(
        self, request: HttpRequest, route: Route, call: RequestContext, body: bytes
    ) -> None:
        """Parse the body of a request, and refuse the request if the client's key does not permit
        it."""
        call.body = route.read(body, call.strings)
        self._check_may(request.headers, route)

    async def _with_file(self, request: HttpRequest, route: Route, call: RequestContext) -> Answer:
        """The response to a request that uploads a file."""
        self._check_may(request.headers, route)
        boundary_of(request.headers)
        path: Path = await asyncio.to_thread(snapshots.upload_path, call)
        call.body = path
        try:
            seconds = self._limits.upload_seconds
            await stream_to_file(request.receive, request.headers, path, seconds)
            work = partial(_work, request, route, call)
            return await self._in_thread(request, route, call, work)
        except BaseException:  # work that has begun removes it itself, too
            path.unlink(missing_ok=True)
            raise

    async def _in_thread(
        self,
        request: HttpRequest,
        route: Route,
        call: RequestContext,
        work: Callable[[], Any],
        is_large: bool = False,
        size: int = 0,
    ) -> Answer:
        """Call `work` in a thread, and return the response that `work` makes. If `work` also
        returns a job, run the job after the response was sent. size: the size of the body in
        bytes."""
        longest, workers = self._limits.queue_seconds, self._workers
        timeout: float | None = call.timeout
        seconds = min(timeout or longest, longest)
        match route.access:
            case "open":
                answer, job = await self._aside.run(work, request.wait_for_disconnect, seconds)
            case "read":
                # `Client(url=)` sets its own timeout, and may request whole collections.
                timeout = OWN_SECONDS if route.is_own else timeout
                # The duration of these, and of models, can't be predicted from earlier ones.
                is_varied = is_large or route.is_own or call.infers
                shape = None if is_varied else cost_class_of(call.body, size)
                named = request.names.get("collection_name")
                kind = None if shape is None else (route.name, named, shape)
                pending = workers.read(
                    work, request.wait_for_disconnect, seconds, timeout, is_large, kind
                )
                answer, job = await pending
            case _:
                answer, job = await workers.run(work, request.wait_for_disconnect, seconds)
        if job is not None:
            self._do_later(job)
        return answer  # type: ignore[no-any-return]

    def _do_later(self, job: Job) -> None:
        """Run a job in the background, after the response was sent. Raises BusyError if too many
        jobs are waiting."""
        if self._left >= MAX_JOBS_LEFT:
            raise BusyError

        def ended(_: Any) -> None:
            self._left -= 1

        self._left += 1
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._jobs, _done_later, job).add_done_callback(ended)

    def _check_may(self, headers: dict[bytes, bytes], route: Route) -> None:
        """Refuse a request that the client's key does not permit."""
        if self._gate.may(headers, route.access):
            return
        if route.is_own and self._settings.read_only:
            raise ReadOnlyError("the store is served read-only")
        if route.moves_file:
            raise PlainRefusedError(HTTPStatus.FORBIDDEN, NO_ACCESS)
        raise Refused(HTTPStatus.FORBIDDEN, NO_ACCESS)


def _call_too(number: int, call: Callable[[], object]) -> None:
    """Replace the handler of a signal by a function that calls the old handler, and then `call`. A
    signal without a handler is left unchanged."""
    before = signal.getsignal(number)
    if not callable(before):  # it ends the process, or is ignored
        return

    def handle(number: int, frame: Any) -> None:
        before(number, frame)
        call()

    signal.signal(number, handle)


def _open_store(store: Any, settings: ServerSettings) -> tuple[Session, Callable[[], object]]:
    """The session of the store, and a function that closes it."""
    if settings.memory_budget is not None:
        set_memory_budget(settings.memory_budget)
    given = session_of(store)
    if given is not None:  # the caller's, which stays open
        return given, lambda: None
    path = store_path(store, "store")
    if path is None and store != ":memory:":
        raise InvalidTypeError(f"store is {quote(store)}, expected a path, ':memory:' or a client")
    if path is None:
        client = Client()
    elif settings.read_only:
        client = Client(path, read_only=True)
    else:
        durability: Any = settings.durability
        client = Client(path, durability=durability)
    own = session_of(client)
    assert own is not None
    return own, own.close


def _check_names(request: HttpRequest) -> None:
    name = request.names.get("collection_name", "")
    if len(name) > 255 or "\0" in name:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Validation error in path parameters: collection_name: expected 1 to 255 characters, "
            "none of them NUL",
        )


def _work(request: HttpRequest, route: Route, call: RequestContext) -> tuple[Answer, Job | None]:
    """The response to a request, and the job to run after it was sent, if any. Called in a thread,
    in which the JSON of the response is made, too."""
    result = route.answer(call)
    if isinstance(result, FileAnswer | Streamed):
        return result, None
    if isinstance(result, Accepted):
        return answers.accepted_answer(request.seconds), result.job
    return answers.answer_of(result, request.seconds), None


def _done_later(job: Job) -> None:
    try:
        job()
    except Exception as error:
        _log.warning("what was accepted failed: %s", error)


def _page(folder: Path | None) -> Any:
    """The ASGI application that serves the files of Qdrant's web page; None without a folder."""
    if folder is None:
        return None
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    if not folder.is_dir():
        raise InvalidArgumentError(f"--dashboard {folder} is no folder")
    return Starlette(routes=[Mount("/dashboard", StaticFiles(directory=folder, html=True))])
