"""`QdrantClient`: a subclass of qdrant-client's class of this name. If there is no server, its
calls go to the engine of this project.

`ClientOptions` recognizes the arguments that select a store in this process, and `open_store` opens
the store's directory. While the store is open, qdrant-client's local mode can't open the directory.
`explain` and `why` describe how queries are answered. `AsyncQdrantClient` is the client for
asyncio: calls run in threads and don't block the event loop.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import qdrant_client
from qdrant_client.async_client_base import AsyncQdrantBase

from retrieval_store.backends import Session, in_memory, open_path
from retrieval_store.base.argument_names import OF_QDRANT, hint_at_argument
from retrieval_store.base.platform import open_lock_file, try_lock
from retrieval_store.base.validation import Payload, path_of
from retrieval_store.base.workers import WorkerPool
from retrieval_store.errors import FormatError, InvalidArgumentError, InvalidTypeError
from retrieval_store.qdrant.answers import PendingQuery, looking
from retrieval_store.qdrant.embedded import Embedded
from retrieval_store.qdrant.inference import (
    InferenceEmbedder,
    NumbersInspector,
    ResolvesInPlace,
)
from retrieval_store.query.reasons import Reasons

LOCK, THEIRS, OURS = ".lock", "meta.json", "catalog.sqlite"


LOCATION_ARGUMENTS = ("location", "url", "host", "path")


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The arguments of a client, by name."""

    arguments: Mapping[str, Any]

    @classmethod
    def bound(
        cls, client: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> "ClientOptions":
        """The arguments of a client of this class, from those passed by position and by name."""
        bound = inspect.signature(client).bind(*args, **kwargs)
        arguments = {**bound.arguments, **bound.arguments.get("kwargs", {})}
        arguments.pop("kwargs", None)
        for name in arguments:
            if hint := hint_at_argument(name, OF_QDRANT):
                raise InvalidTypeError(f"{name!r} is no argument of {client.__name__}{hint}")
        return cls(arguments)

    @property
    def is_embedded(self) -> bool:
        """Whether the arguments select a store in this process."""
        return (
            self.arguments.get("path") is not None or self.arguments.get("location") == ":memory:"
        )

    @property
    def place(self) -> Any:
        """The store's directory, or ":memory:"."""
        path = self.arguments.get("path")
        return ":memory:" if path is None else path

    @property
    def others(self) -> dict[str, Any]:
        """The arguments that don't select the location of the store."""
        return {
            name: value for name, value in self.arguments.items() if name not in LOCATION_ARGUMENTS
        }

    def check(self) -> None:
        """Raise InvalidArgumentError for arguments that contradict each other."""
        places = [name for name in LOCATION_ARGUMENTS if self.arguments.get(name) is not None]
        if len(places) > 1:
            raise InvalidArgumentError(
                f"expected one of {', '.join(LOCATION_ARGUMENTS)}, got {places}"
            )
        if self.arguments.get("cloud_inference"):
            raise InvalidArgumentError("cloud_inference needs a server: give url")


def open_store(path: Any) -> tuple[Session, BinaryIO | None]:
    """Open the store in a directory, or a new store in memory if the path is ":memory:". Also
    returns a file that stays locked while the store is open; None for a store in memory."""
    if path == ":memory:":
        return in_memory("full"), None
    directory = path_of(path, "path")
    if (directory / THEIRS).exists() and not (directory / OURS).exists():
        raise FormatError(
            f"{directory} was made by qdrant-client's local mode: give it to "
            "retrieval_store_files.import_qdrant_local, with a client of another path, or open "
            "it with qdrant_client.QdrantClient(path=…) and call its migrate() with that client"
        )
    session = open_path(directory, "full", rebuild=False)
    try:
        return session, _lock_directory(directory)
    except BaseException:
        session.close()
        raise


def _lock_directory(directory: Path) -> BinaryIO:
    """Take a shared lock on a directory, which all processes of this package can hold together.
    qdrant-client's local mode needs an exclusive lock. So local mode reports that the directory is
    in use, instead of creating its own store there."""
    file = open_lock_file(directory / LOCK)
    with suppress(OSError):
        if try_lock(file, shared=True):
            return file
    file.close()
    raise FormatError(
        f"{directory} is in use by qdrant-client's local mode, which allows one client only"
    )


@contextmanager
def _open_embedded(options: ClientOptions) -> Iterator[Embedded]:
    """A context manager: opens the store that the arguments select, and yields its methods. If the
    `with` block fails, the store is closed."""
    options.check()
    embedded = Embedded(*open_store(options.place))
    try:
        yield embedded
    except BaseException:
        embedded.close()
        raise


class QdrantClient(ResolvesInPlace, qdrant_client.QdrantClient):
    """qdrant_client.QdrantClient, with the same arguments and methods. With ":memory:" or `path` it
    uses a store in this process, on our engine. With `url`, `host` or another `location` it is a
    client of a Qdrant server, like the original class.

    Any number of clients, threads and processes can use one path. Close the client, or use it in a
    `with` statement; acknowledged writes are on disk either way. Errors: `Refused` for requests
    that a server would refuse; it is a subclass of ValueError and of qdrant_client's
    UnexpectedResponse, with a status_code. RuntimeError after the client was closed.
    `retrieval_store.errors.StorageError` if files can't be read or written.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """The arguments are those of qdrant_client.QdrantClient: location (":memory:"), path, url,
        host, port, api_key, timeout and so on. A store in this process ignores settings of the
        connection. Raises InvalidArgumentError for several locations, and for cloud_inference."""
        options = ClientOptions.bound(qdrant_client.QdrantClient, args, kwargs)
        if not options.is_embedded:
            super().__init__(*args, **kwargs)
            return
        with _open_embedded(options) as embedded:
            super().__init__(":memory:", **options.others)
            self._client.close()
        self._init_options.update({"location": None, **options.arguments})
        self._client = embedded
        self._inference_inspector = NumbersInspector(self._inference_inspector.parser)
        self._model_embedder = InferenceEmbedder(self._inference_inspector.parser)

    def __enter__(self) -> "QdrantClient":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def explain(client: QdrantClient, collection_name: str, **arguments: Any) -> Payload:
    """Run a query of a client with `path=` or ":memory:", and return how it was answered instead of
    the hits, as `Collection.explain` does.

    arguments: those of `query_points`, or with `group_by` of `query_points_groups`. In the result,
    `legs` has the number of hits of each prefetch, by the name of the vector that the prefetch
    searches. Raises InvalidArgumentError for the client of a server, and the errors of the query.
    """
    _refuse_server(client)
    ask = client.query_points_groups if "group_by" in arguments else client.query_points
    explanations: list[Payload] = []

    def look(query: PendingQuery) -> None:
        explanations.append(query.opened.points.explain(query.question))

    with looking(look):
        ask(collection_name, **arguments)
    return explanations[0]


def why(
    client: QdrantClient,
    collection_name: str,
    *,
    ids: Any = None,
    containing: str | None = None,
    same: str | None = None,
    records: Any = None,
    **arguments: Any,
) -> Reasons:
    """Explain why a query of a client with `path=` or ":memory:" finds points, or doesn't, as
    `Collection.why` does.

    arguments: those of `query_points`. ids: the id of the point to explain, or several ids;
    containing: instead of ids, a text in documents that `Collection` has written; same: a payload
    key; each reason then names the hits that have the point's value under this key; records: an
    older name of ids. Raises InvalidArgumentError for the client of a server (`Client(url=)` can
    explain queries on a server of this package). InvalidArgumentError is also raised if neither or
    both of ids and containing are passed. The errors of the query are raised, too.
    """
    if ids is not None and records is not None:
        raise InvalidArgumentError("records is an older name of ids: give one of them")
    _refuse_server(client)
    from retrieval_store.qdrant.answers import case_of
    from retrieval_store.query.reasons import reasons_of

    reasons: list[Reasons] = []

    def look(query: PendingQuery) -> None:
        case = case_of(query, records if ids is None else ids, containing, same)
        reasons.append(reasons_of(query.opened.points, case))

    with looking(look):
        client.query_points(collection_name, **arguments)
    return reasons[0]


def _refuse_server(client: Any) -> None:
    """Raise InvalidArgumentError if this is a client of a server."""
    if not isinstance(client, QdrantClient) or not isinstance(client._client, Embedded):
        raise InvalidArgumentError(
            "client is that of a server, which doesn't tell how it answers; expected a "
            'retrieval_store.qdrant.QdrantClient made with path= or ":memory:"'
        )


THREADS = 4  # that calls of one client may take


def _in_a_thread(name: str) -> Callable[..., Any]:
    """A method that runs the method of this name in a thread. If the caller is cancelled, the call
    continues in its thread, and is completed or fails as a whole."""

    @functools.wraps(getattr(Embedded, name))
    async def call(self: "AsyncEmbedded", *args: Any, **kwargs: Any) -> Any:
        return await self.carry_out(
            functools.partial(getattr(self.embedded, name), *args, **kwargs)
        )

    return call


def _at_once(name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(Embedded, name))
    def call(self: "AsyncEmbedded", *args: Any, **kwargs: Any) -> Any:
        return getattr(self.embedded, name)(*args, **kwargs)

    return call


class AsyncEmbedded(AsyncQdrantBase):
    """The methods of `Embedded`. They are coroutines if the methods of qdrant-client's
    AsyncQdrantClient are."""

    def __init__(self, embedded: Embedded) -> None:
        super().__init__()
        self.embedded = embedded
        self._threads = WorkerPool(THREADS, "qdrant")

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.embedded.closed

    async def carry_out(self, call: Callable[[], Any]) -> Any:
        """The result of a call, which runs in a thread."""
        if self.closed:
            return call()  # which says so
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, copy_context().run, call
        )

    async def close(self, **kwargs: Any) -> None:
        if not self.closed:
            await self.carry_out(self.embedded.close)
            self._threads.shutdown(wait=False)


for _name, _method in vars(AsyncQdrantBase).items():
    if not _name.startswith("_") and _name not in vars(AsyncEmbedded):
        _make = _in_a_thread if inspect.iscoroutinefunction(_method) else _at_once
        setattr(AsyncEmbedded, _name, _make(_name))


class AsyncQdrantClient(ResolvesInPlace, qdrant_client.AsyncQdrantClient):
    """`QdrantClient` for asyncio, with the arguments and methods of
    qdrant_client.AsyncQdrantClient."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """The arguments are those of qdrant_client.AsyncQdrantClient; see `QdrantClient`."""
        options = ClientOptions.bound(qdrant_client.AsyncQdrantClient, args, kwargs)
        if not options.is_embedded:
            super().__init__(*args, **kwargs)
            return
        with _open_embedded(options) as embedded:
            super().__init__(":memory:", **options.others)
        self._init_options.update({"location": None, **options.arguments})
        self._client = AsyncEmbedded(embedded)
        self._model_embedder = InferenceEmbedder(self._inference_inspector.parser)

    async def __aenter__(self) -> "AsyncQdrantClient":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()
