"""A served store for an event loop: its answers are waited for on the loop, and what takes a
processor's time, such as embedding, is done in threads."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from uuid import UUID

from retrieval_store.direct.arguments import DEFAULT_DATABASE, DEFAULT_TENANT
from retrieval_store.direct.client import Client, HttpClient
from retrieval_store.direct.collection import Collection, counting, deleting, getting
from retrieval_store.direct.results import DeleteResult, GetResult, QueryResult, WriteResult
from retrieval_store.direct.writing import Write, Writer
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.interface.points import Hits
from retrieval_store.places import asynchronous

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
Async = Coroutine[Any, Any, R]


def like(
    method: Callable[Concatenate[Any, P], Any],
) -> Callable[[Callable[..., Async[R]]], Callable[Concatenate[Any, P], Async[R]]]:
    """Gives a method the parameters, and what is said, of one that isn't asynchronous."""

    def decorate(own: Callable[..., Async[R]]) -> Callable[Concatenate[Any, P], Async[R]]:
        @wraps(method)
        async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return await own(self, *args, **kwargs)

        return call

    return decorate


class AsyncCollection:
    """A `Collection` for an event loop; made by an `AsyncClient`."""

    def __init__(self, collection: Collection, calls: Any) -> None:
        self._sync = collection
        self._calls = calls

    @property
    def id(self) -> UUID:
        """The id, which stays when the name changes."""
        return self._sync.id

    @property
    def name(self) -> str:
        """The name, as it was when the collection was got."""
        return self._sync._opened_as

    def __repr__(self) -> str:
        return f"<AsyncCollection {self.name!r}, id {self.id}>"

    @like(Collection.count)
    async def count(self, where: Any = None, where_document: Any = None) -> int:
        return cast(int, await self._call(*counting(where, where_document)))

    @like(Collection.get)
    async def get(
        self,
        ids: Any = None,
        where: Any = None,
        limit: Any = None,
        offset: Any = None,
        where_document: Any = None,
        include: Any = ("metadatas", "documents"),
        *,
        order_by: Any = None,
        descending: Any = False,
    ) -> GetResult:
        call, wanted = getting(
            ids, where, limit, offset, where_document, include, order_by, descending
        )
        points = await self._call(*call)
        return await _aside(self._sync._shown, points, wanted)

    @like(Collection.peek)
    async def peek(self, limit: int = 10) -> GetResult:
        return await self.get(limit=limit, include=("embeddings", "metadatas", "documents"))

    @like(Collection.query)
    async def query(self, *args: Any, **kwargs: Any) -> QueryResult:
        question, wanted = await _aside(self._sync._question, *args, **kwargs)
        hits = cast(list[Hits], await self._call("ask", {"question": question}))
        return await _aside(self._sync._found, hits, wanted)

    @like(Collection.delete)
    async def delete(
        self, ids: Any = None, where: Any = None, where_document: Any = None, limit: Any = None
    ) -> DeleteResult:
        call = deleting(ids, where, where_document, limit)
        return DeleteResult(deleted=await self._call(*call))

    @like(Collection.add)
    async def add(
        self, *given: Any, sparse_embeddings: Any = None, show_progress: bool = False, **named: Any
    ) -> WriteResult:
        records = _records(given, named, sparse_embeddings)
        return await self._written(lambda writer: writer.add(records, show_progress))

    @like(Collection.upsert)
    async def upsert(
        self,
        *given: Any,
        sparse_embeddings: Any = None,
        replace_metadata: bool = False,
        replace: bool = False,
        show_progress: bool = False,
        **named: Any,
    ) -> WriteResult:
        records = _records(given, named, sparse_embeddings)
        return await self._written(
            lambda writer: writer.upsert(records, show_progress, replace_metadata, replace)
        )

    @like(Collection.update)
    async def update(
        self, *given: Any, sparse_embeddings: Any = None, show_progress: bool = False, **named: Any
    ) -> WriteResult:
        records = _records(given, named, sparse_embeddings)
        return await self._written(lambda writer: writer.update(records, show_progress))

    async def _written(self, make: Callable[[Writer], Write]) -> WriteResult:
        writer = self._sync._writer()
        made, rules = await _aside(make, writer)
        result = None
        if made.batch.ids:
            result = await self._call("put", {"batch": made.batch, "rules": rules})
        return await _aside(writer.told, made, result)

    async def _call(self, name: str, given: dict[str, Any]) -> Any:
        return await self._calls.points(str(self.id), name, given)


class AsyncClient:
    """A client of a served store for an event loop; made by `AsyncHttpClient`. Use it in an
    `async with` statement, or close it."""

    def __init__(self, client: Client, calls: Any) -> None:
        self._sync = client
        self._calls = calls

    def __repr__(self) -> str:
        return f"<AsyncClient of the store {self._sync._session.place}>"

    @like(Client.create_collection)
    async def create_collection(self, *args: Any, **kwargs: Any) -> AsyncCollection:
        return self._got(await _aside(self._sync.create_collection, *args, **kwargs))

    @like(Client.get_or_create_collection)
    async def get_or_create_collection(self, *args: Any, **kwargs: Any) -> AsyncCollection:
        return self._got(await _aside(self._sync.get_or_create_collection, *args, **kwargs))

    @like(Client.get_collection)
    async def get_collection(self, *args: Any, **kwargs: Any) -> AsyncCollection:
        return self._got(await _aside(self._sync.get_collection, *args, **kwargs))

    @like(Client.list_collections)
    async def list_collections(self, *args: Any, **kwargs: Any) -> list[AsyncCollection]:
        return [*map(self._got, await _aside(self._sync.list_collections, *args, **kwargs))]

    @like(Client.delete_collection)
    async def delete_collection(self, name: str) -> None:
        await _aside(self._sync.delete_collection, name)

    @like(Client.count_collections)
    async def count_collections(self) -> int:
        return cast(int, await self._calls.store("count", {}))

    @like(Client.heartbeat)
    async def heartbeat(self) -> int:
        await self.count_collections()
        return time.time_ns()

    @like(Client.get_version)
    async def get_version(self) -> str:
        return self._sync.get_version()

    async def close(self) -> None:
        """Let go of the server; a second call does nothing."""
        await self._calls.close()
        self._sync.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _got(self, collection: Collection) -> AsyncCollection:
        return AsyncCollection(collection, self._calls)


async def AsyncHttpClient(
    host: str = "localhost",
    port: int = 6333,
    ssl: bool = False,
    headers: Any = None,
    settings: Any = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
    **options: Any,
) -> AsyncClient:
    """A client for an event loop of a store that is served, with the arguments of `HttpClient`;
    InvalidArgumentError where a cluster is."""
    client = await _aside(
        HttpClient, host, port, ssl, headers, settings, tenant, database, **options
    )
    calls = await _aside(asynchronous, client._session)
    if calls is None:
        client.close()
        raise InvalidArgumentError(f"the store {client._session.place} is a cluster, none served")
    return AsyncClient(client, calls)


_NAMES = ("ids", "embeddings", "metadatas", "documents", "images", "uris")


def _records(given: tuple[Any, ...], named: dict[str, Any], sparse: Any) -> tuple[Any, ...]:
    """The arguments of a write in their order."""
    every = {**dict(zip(_NAMES, given, strict=False)), **named}
    unknown = every.keys() - set(_NAMES)
    if unknown or len(given) > len(_NAMES) or set(_NAMES[: len(given)]) & named.keys():
        raise TypeError(f"unexpected arguments: {sorted(unknown) or list(given)}")
    return (*(every.get(name) for name in _NAMES), sparse)


async def _aside(call: Callable[..., S], *args: Any, **kwargs: Any) -> S:
    """What a call returns, made in a thread."""
    return await asyncio.to_thread(partial(call, *args, **kwargs))
