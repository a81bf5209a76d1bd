"""The ASGI application: a request's way through the server.

On the loop: the route, the gate, the body, and small JSON. In a thread: large JSON, what is asked
for, and the answer's JSON. Then, on the loop again, the answer goes out, so that a slow client
holds no thread.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from retrieval_store import places
from retrieval_store.base.arguments import path_of
from retrieval_store.base.logs import log_of
from retrieval_store.errors import (
    ClientClosedError,
    InvalidArgumentError,
    LockTimeoutError,
    ReadOnlyError,
    RetrievalStoreError,
    StorageFullError,
)
from retrieval_store.qdrant.refusals import RateLimited, Refused
from retrieval_store.server import answers, snapshots
from retrieval_store.server.answers import Accepted, Answer, FileAnswer, refusal
from retrieval_store.server.gate import NO_ACCESS, Gate, headers_of
from retrieval_store.server.inference import MARK, Inference
from retrieval_store.server.parameters import parameters
from retrieval_store.server.pool import BusyError, GoneError, Pool, WaitedTooLongError
from retrieval_store.server.receiving import (
    BodyBudget,
    ClientGoneError,
    PlainRefusedError,
    Receive,
    boundary_of,
    streamed,
    whole_body,
)
from retrieval_store.server.routes import UPLOAD, Route, found
from retrieval_store.server.served import Asked, Served
from retrieval_store.server.settings import Settings, checked_keys

Send: TypeAlias = Callable[[Any], Awaitable[None]]
Scope: TypeAlias = Any
Work: TypeAlias = tuple[Answer | FileAnswer, Callable[[], object] | None]
_log, _access = log_of("server"), log_of("access")
STATUSES: tuple[tuple[type[RetrievalStoreError], HTTPStatus], ...] = (
    (ReadOnlyError, HTTPStatus.FORBIDDEN),
    (StorageFullError, HTTPStatus.INSUFFICIENT_STORAGE),
    (LockTimeoutError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ClientClosedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (InvalidArgumentError, HTTPStatus.BAD_REQUEST),
)
RETRY_AFTER = 1  # seconds, when all threads are busy
LONGEST_PATH = 16_384


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
) -> "Application":
    """An ASGI application that serves a store, to be run or mounted.

    store: the path of a directory, made if there is none; ":memory:"; or a client of this package,
    which stays the caller's to close. api_keys: those of which a request needs one;
    read_only_api_keys: those that may only read; without any of either the application answers to
    loopback's names, and those in allow_hosts. cors: origins whose pages may ask. read_only:
    nothing is written. trust: whether texts may be embedded by functions that reach hosts and
    files; image_root: a folder below which images may be that bodies name; durability: as for
    `Client`.

    `close()` ends it; an ASGI server's end of its lifespan does so too. Raises
    InvalidArgumentError, and what opening a store raises.
    """
    settings = Settings(
        keys=checked_keys("api_keys", api_keys),
        reader_keys=checked_keys("read_only_api_keys", read_only_api_keys),
        allow_hosts=tuple(allow_hosts),
        cors=tuple(cors),
        read_only=read_only,
        trust=trust,
        image_root=None if image_root is None else path_of(image_root, "image_root"),
        durability=durability,
    )
    return Application(store, settings)


class Application:
    """Serves one store; see `app`."""

    def __init__(self, store: Any, settings: Settings) -> None:
        inference = Inference(settings.trust, settings.image_root)
        self.served = Served(*_opened(store, settings), inference)
        self._settings, self._limits = settings, settings.limits
        self._gate = Gate(settings)
        self._pool = Pool(self._limits.threads, self._limits.queue)
        # Health answers while all threads are busy.
        self._aside = Pool(1, self._limits.queue)
        self._jobs = ThreadPoolExecutor(1, "server-jobs")  # what goes on after its answer
        self._bodies = BodyBudget(self._limits.bodies, self._limits.body)
        self._page = _page(settings.dashboard)
        self._closed = False

    def close(self) -> None:
        """End what is under way, and give the store back."""
        if not self._closed:
            self._closed = True
            self._pool.close()
            self._aside.close()
            self._jobs.shutdown()
            self.served.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await asyncio.to_thread(self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        began = time.perf_counter()
        headers, method = headers_of(scope), scope["method"]
        parts = _parts(scope)
        route, names = (None if parts is None else found(method, parts)) or (None, {})
        try:
            answer = await self._answered(scope, receive, headers, route, names, parts, began)
        except (ClientGoneError, GoneError):
            return
        if answer is None:
            await self._page(scope, receive, send)
            return
        status = answer.status if isinstance(answer, Answer) else 200
        await self._sent(scope, receive, send, answer, self._gate.cors(headers))
        seconds = time.perf_counter() - began
        self.served.monitor.count(route.name if route else f"{method} unknown", status, seconds)
        if self._settings.access_log:
            _access.info("%s %s %d %.1f ms", method, _logged(scope), status, seconds * 1e3)

    async def _answered(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        route: Route | None,
        names: Mapping[str, str],
        parts: list[str] | None,
        began: float,
    ) -> Answer | FileAnswer | None:
        """What is answered; None for what the folder of the page answers."""
        preflight = scope["method"] == "OPTIONS" and self._gate.preflight(headers)
        if preflight:
            return Answer(204, b"", None, headers=tuple(preflight))
        is_page = self._page is not None and parts is not None and parts[0] == "dashboard"
        access = route.access if route else None
        refused = self._gate.refused(headers, "open" if is_page else access)
        if refused is not None:
            return refused
        if is_page and scope["method"] in ("GET", "HEAD"):
            return None
        if parts is None or route is None:
            return answers.nothing(HTTPStatus.NOT_FOUND)
        try:
            return await self._of_route(scope, receive, headers, route, names, began)
        except (ClientGoneError, GoneError):
            raise
        except Exception as error:
            return _refusal(error, route)

    async def _of_route(
        self,
        scope: Scope,
        receive: Receive,
        headers: dict[bytes, bytes],
        route: Route,
        names: Mapping[str, str],
        began: float,
    ) -> Answer | FileAnswer:
        _check_names(names)
        query = parameters(scope["query_string"], route.access in ("open", "read"))
        asked = Asked(self.served, names, query)
        if route.body == UPLOAD:
            return await self._uploaded(receive, headers, route, asked, began)
        if route.body is not None:
            with self._bodies.held(headers):
                return await self._with_body(receive, headers, route, asked, began)
        _check_may(self._gate.may(headers, route.access), route)
        pool = self._aside if route.access == "open" else self._pool
        return await self._in_thread(pool, partial(_work, route, asked, began), receive)

    async def _with_body(
        self,
        receive: Receive,
        headers: dict[bytes, bytes],
        route: Route,
        asked: Asked,
        began: float,
    ) -> Answer | FileAnswer:
        """What is answered to JSON, which is read here where it is short."""
        limits = self._limits
        body = await whole_body(receive, headers, limits.body, limits.body_seconds)
        may = self._gate.may(headers, route.access)
        asked.infers = MARK in body or b"\\u" in body
        work = partial(_read_and_work, route, asked, body, may, began)
        if len(body) <= limits.parsed_at_once:
            asked.body = route.read(body, asked.strings)
            _check_may(may, route)
            work = partial(_work, route, asked, began)
        return await self._in_thread(self._pool, work, receive)

    async def _uploaded(
        self,
        receive: Receive,
        headers: dict[bytes, bytes],
        route: Route,
        asked: Asked,
        began: float,
    ) -> Answer | FileAnswer:
        """What becomes of a file that is sent."""
        _check_may(self._gate.may(headers, route.access), route)
        boundary_of(headers)
        path: Path = await asyncio.to_thread(snapshots.upload_path, asked)
        asked.body = path
        try:
            await streamed(receive, headers, path, self._limits.upload_seconds)
            work = partial(_work, route, asked, began)
            return await self._in_thread(self._pool, work, receive)
        except BaseException:  # what was begun removes it itself, too
            path.unlink(missing_ok=True)
            raise

    async def _in_thread(
        self, pool: Pool, work: Callable[[], Any], receive: Receive
    ) -> Answer | FileAnswer:
        """The answer that work in a thread gives; what it leaves to do is done afterwards."""
        answer, job = await pool.run(work, partial(_gone, receive), self._limits.queue_seconds)
        if job is not None:
            self._jobs.submit(_done_later, job)
        return answer  # type: ignore[no-any-return]

    async def _sent(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        answer: Answer | FileAnswer,
        more: list[tuple[bytes, bytes]],
    ) -> None:
        if isinstance(answer, FileAnswer):
            await _send_file(scope, receive, send, answer, more)
            return
        headers = [(b"content-length", b"%d" % len(answer.body)), *more, *answer.headers]
        if answer.media_type is not None:
            headers.append((b"content-type", answer.media_type.encode()))
        if answer.retry_after is not None:
            headers.append((b"retry-after", b"%d" % answer.retry_after))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _opened(store: Any, settings: Settings) -> tuple[places.Session, Callable[[], object]]:
    """A share in the store, and what gives it back."""
    session = getattr(store, "_session", None) or getattr(
        getattr(store, "_client", None), "_session", None
    )
    if isinstance(session, places.Session):
        places.embedded_store(session)
        return session, _leave_open
    if store == ":memory:":
        own = places.in_memory("full")
    else:
        mode: Any = "read-only" if settings.read_only else settings.durability
        own = places.embedded(path_of(store, "store"), mode, rebuild=False)
    return own, own.close


def _leave_open() -> None:
    """What is done to a client that isn't ours."""


def _parts(scope: Scope) -> list[str] | None:
    """The parts of a path, decoded one by one; None where one isn't UTF-8, or it is too long."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    raw = raw.partition(b"?")[0].removeprefix(scope.get("root_path", "").encode())
    if len(raw) > LONGEST_PATH or not raw.startswith(b"/"):
        return None
    if b"%" not in raw:
        try:
            return raw.decode().split("/")[1:]
        except UnicodeDecodeError:
            return None
    try:
        return [unquote_to_bytes(part).decode() for part in raw.split(b"/")[1:]]
    except UnicodeDecodeError:
        return None


def _logged(scope: Scope) -> str:
    """A path as it was sent, in which nothing can pass for a line of its own."""
    raw: bytes = scope.get("raw_path") or b""
    return ascii(raw.decode("ascii", "backslashreplace"))[1:-1]


def _check_names(names: Mapping[str, str]) -> None:
    name = names.get("collection_name", "")
    if len(name) > 255 or "\0" in name:
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Validation error in path parameters: collection_name: expected 1 to 255 characters, "
            "none of them NUL",
        )


def _check_may(may: bool, route: Route) -> None:
    if may:
        return
    if route.moves_file:
        raise PlainRefusedError(HTTPStatus.FORBIDDEN, NO_ACCESS)
    raise Refused(HTTPStatus.FORBIDDEN, NO_ACCESS)


def _work(route: Route, asked: Asked, began: float) -> Work:
    """In a thread: the answer, with its JSON written; and what is left to do, if something is."""
    result = route.answer(asked)
    if isinstance(result, FileAnswer):
        return result, None
    seconds = time.perf_counter() - began
    if isinstance(result, Accepted):
        return answers.accepted(seconds), result.job
    return answers.answer_of(result, seconds), None


def _read_and_work(route: Route, asked: Asked, body: bytes, may: bool, began: float) -> Work:
    """The same for a body that takes its time to read."""
    asked.body = route.read(body, asked.strings)
    _check_may(may, route)
    return _work(route, asked, began)


def _done_later(job: Callable[[], object]) -> None:
    try:
        job()
    except Exception as error:
        _log.warning("what was accepted failed: %s", error)


async def _gone(receive: Receive) -> None:
    """Wait until the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _refusal(error: Exception, route: Route) -> Answer:
    """What is answered for an error."""
    if isinstance(error, RateLimited):
        return refusal(error.status_code or 429, error.message, error.retry_after_s)
    if isinstance(error, Refused):
        plain = error.status_code == HTTPStatus.NOT_FOUND and route.sends_file
        if plain and "Collection" not in error.message:
            return answers.text(404, error.message)
        return refusal(error.status_code or 400, error.message)
    if isinstance(error, PlainRefusedError):
        return answers.text(error.status, error.said)
    if isinstance(error, BusyError):
        return refusal(429, "too many requests are under way", RETRY_AFTER)
    if isinstance(error, WaitedTooLongError):
        return refusal(408, "no thread became free in time; nothing was done")
    for kind, status in STATUSES:
        if isinstance(error, kind):
            return refusal(status, str(error))
    if isinstance(error, RetrievalStoreError):
        _log.error("%s failed: %s", route.name, error)
        return refusal(500, f"Service internal error: {error}")
    _log.exception("%s failed", route.name, exc_info=error)
    return refusal(500, f"Service internal error: {type(error).__name__}, see the server's log")


async def _send_file(
    scope: Scope,
    receive: Receive,
    send: Send,
    answer: FileAnswer,
    more: list[tuple[bytes, bytes]],
) -> None:
    from starlette.responses import FileResponse

    response = FileResponse(answer.path, filename=answer.name)
    response.raw_headers.extend(more)
    try:
        await response(scope, receive, send)
    finally:
        if answer.temporary:
            answer.path.unlink(missing_ok=True)


def _page(folder: Path | None) -> Any:
    """What answers with the files of Qdrant's web page; None without a folder."""
    if folder is None:
        return None
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    if not folder.is_dir():
        raise InvalidArgumentError(f"--dashboard {folder} is no folder")
    return Starlette(routes=[Mount("/dashboard", StaticFiles(directory=folder, html=True))])
