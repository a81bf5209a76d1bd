"""The client and the collection for an event loop: the methods of `Client` and `Collection`, to be
awaited. Each call runs in a thread of the client. A client of a remote store has more threads,
since most of them only wait for the store.
"""

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial, wraps
from inspect import signature
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeAlias, TypeVar
from uuid import UUID

from retrieval_store.api.arguments import DEFAULT_DATABASE, DEFAULT_TENANT
from retrieval_store.api.client import Client, HttpClient
from retrieval_store.api.collection import Collection
from retrieval_store.base.argument_names import OF_CLIENTS, hint_at_argument
from retrieval_store.base.locks import Lock
from retrieval_store.base.threads import WAITING, WORKING, Threads
from retrieval_store.base.validation import Payload, store_path, whole_number
from retrieval_store.errors import ClientClosedError, InvalidTypeError
from retrieval_store.query.types import UnknownKeys

if TYPE_CHECKING:
    from retrieval_store.api.chroma.settings import Settings
    from retrieval_store.embeddings import Embeds
    from retrieval_store.loaders import DataLoader

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Async: TypeAlias = Coroutine[Any, Any, R]
CallKind: TypeAlias = Literal["read", "long"]  # of these at most half of the threads
PIECE = 256  # records that a thread hands over at once


def async_method(
    method: Callable[Concatenate[Any, P], R], kind: CallKind = "read"
) -> Callable[Concatenate[Any, P], Async[R]]:
    """Make an asynchronous method from a synchronous one. kind: the kind of call, such as "long"
    for a method that can take long."""

    @wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        bound_call = partial(method, await self._own(), *args, **kwargs)
        result: R = await self._calls.make(bound_call, kind)
        return result

    return _with_metadata_of(call, method)


def collection(
    method: Callable[Concatenate[Any, P], Collection], kind: CallKind = "read"
) -> Callable[Concatenate[Any, P], "Async[AsyncCollection]"]:
    """Make an asynchronous method from a method that returns a collection."""
    wrapped = async_method(method, kind)

    @wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> "AsyncCollection":
        return AsyncCollection(await wrapped(self, *args, **kwargs), self._calls)

    return _with_metadata_of(call, method, "AsyncCollection")


def collections(
    method: Callable[Concatenate[Any, P], list[Collection]],
) -> Callable[Concatenate[Any, P], "Async[list[AsyncCollection]]"]:
    """Make an asynchronous method from a method that returns a list of collections."""
    wrapped = async_method(method)

    @wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> "list[AsyncCollection]":
        return [
            AsyncCollection(collection, self._calls)
            for collection in await wrapped(self, *args, **kwargs)
        ]

    return _with_metadata_of(call, method, "list[AsyncCollection]")


def to_another(
    method: Callable[Concatenate[Any, Any, P], R],
) -> Callable[Concatenate[Any, "AsyncClient | Client", P], Async[R]]:
    """Make an asynchronous method from a method whose first argument is another client. Its callers
    can pass a `Client` or an `AsyncClient`."""

    @wraps(method)
    async def call(
        self: Any, other: "AsyncClient | Client", *args: P.args, **kwargs: P.kwargs
    ) -> R:
        to = await other._own() if isinstance(other, AsyncClient) else other
        bound_call = partial(method, await self._own(), to, *args, **kwargs)
        result: R = await self._calls.make(bound_call, "long")
        return result

    return _with_metadata_of(call, method)  # type: ignore[return-value]


def async_iterator(
    method: Callable[Concatenate[Any, P], Any],
) -> Callable[Concatenate[Any, P], AsyncGenerator[dict[str, Any], None]]:
    """Make an asynchronous iterator from a method that returns an iterator. The iterator is read in
    batches of `batch` records."""
    parameters = signature(method)

    @wraps(method)
    async def call(
        self: Any, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[dict[str, Any], None]:
        instance = await self._own()
        bound = parameters.bind(instance, *args, **kwargs)
        bound.apply_defaults()
        rows = _Pieces(partial(method, instance, *args, **kwargs), bound.arguments["batch"])
        try:
            while piece := await self._calls.make(rows.next, "long"):
                for row in piece:
                    yield row
        finally:
            await self._calls.release(rows.close)

    return _with_metadata_of(call, method, "AsyncGenerator[dict[str, Any], None]")


def _with_metadata_of(call: T, method: Any, returned: str | None = None) -> T:
    """Give the function `call` the name, docstring and signature of `method`. returned: the return
    type, if it differs."""
    function: Any = call
    function.__module__, function.__qualname__ = __name__, f"Async{method.__qualname__}"
    if returned is not None:
        function.__signature__ = signature(method).replace(return_annotation=returned)
        function.__annotations__ = {**method.__annotations__, "return": returned}
    return call


class _Pieces:
    """Reads an iterator in batches, in any thread. A lock lets only one thread read at a time: if a
    caller is cancelled, its thread may still be reading a batch."""

    def __init__(self, make: Callable[[], Iterator[dict[str, Any]]], batch: Any) -> None:
        self._make = make
        self._batch = batch
        self._rows: Iterator[dict[str, Any]] | None = None
        self._lock = Lock()

    def next(self) -> list[dict[str, Any]]:
        """The next batch of records; an empty list at the end of the iterator."""
        with self._lock:
            if self._rows is None:
                self._rows = self._make()  # which has looked at the batch
            return list(islice(self._rows, min(PIECE, int(self._batch))))

    def close(self) -> None:
        """Close the iterator."""
        with self._lock:
            rows, self._rows = self._rows, iter(())
        if isinstance(rows, Generator):
            rows.close()


class _Calls:
    """Runs the calls of one client in threads. The first call creates the client by `make`."""

    def __init__(self, make: Callable[[], Client], threads: int) -> None:
        self.threads = Threads(whole_number(threads, "threads", 1))
        self.client: Client | None = None  # once it is open
        self._make = make
        self._process, self._opening = os.getpid(), Lock()
        self.closed = False

    async def open(self) -> Client:
        """The client, which is created if this is the first call."""
        if self.client is None:
            if self.closed:
                raise ClientClosedError("the client has been closed")
            if self._process != os.getpid():  # a thread of the parent's may have held it
                self._process, self._opening = os.getpid(), Lock()
            return await self.threads.run(self._open, is_long=True)
        return self.client

    def _open(self) -> Client:
        with self._opening:  # cancelled or not, what was opened is there for the next call
            if self.client is None:
                client = self._make()
                try:
                    _ = client._session.store  # where nothing has answered yet, it has to by now
                except BaseException:
                    client.close()
                    raise
                self.client = client
        return self.client

    async def make(self, call: Callable[[], T], kind: CallKind) -> T:
        """The result of a call, which runs in a thread, with the open client."""
        if self.closed:
            place = "" if self.client is None else f" of the store {self.client._session.place}"
            raise ClientClosedError(f"the client{place} has been closed")
        return await self.threads.run(call, is_long=kind == "long")

    async def release(self, call: Callable[[], object]) -> None:
        """Run a call that releases resources. It also runs after the client was closed."""
        if self.closed:
            await asyncio.to_thread(call)
        else:
            await self.threads.run(call, is_long=True)

    async def close(self) -> None:
        """Wait until the running calls are done, and close the client."""
        self.closed = True
        await self.threads.settle()
        if self.client is not None and not self.client._session.closed:
            await self.threads.run(self.client.close)
        self.threads.end()


class AsyncCollection:
    """A `Collection` for an event loop, returned by the methods of `AsyncClient`. It has the
    methods of `Collection` except `write_behind`; they must be awaited. `metadata` and
    `configuration` are methods here, since they query the store. Two collections are equal if their
    ids are equal."""

    def __init__(self, collection: Collection, calls: _Calls) -> None:
        """Called by the methods of `AsyncClient`. collection: the collection whose methods are
        awaited; calls: runs them in threads."""
        self._sync = collection
        self._calls = calls

    async def _own(self) -> Collection:
        return self._sync

    @property
    def id(self) -> UUID:
        """The id, which stays the same when the name changes."""
        return self._sync.id

    @property
    def name(self) -> str:
        """The name as last known: from opening the collection, or from a renaming by this
        object."""
        return self._sync._opened_as

    async def metadata(self) -> Payload | None:
        """The metadata of the collection itself."""
        return await self._calls.make(lambda: self._sync.metadata, "read")

    async def configuration(self) -> dict[str, Any]:
        """The settings; see `Collection.configuration`."""
        return await self._calls.make(lambda: self._sync.configuration, "read")

    async def configuration_json(self) -> dict[str, Any]:
        """The settings, as `configuration` returns them. Users of Chroma know this name."""
        return await self.configuration()

    @property
    def data_loader(self) -> "DataLoader | None":
        """The data loader that was passed when the collection was opened; None if there was
        none."""
        return self._sync.data_loader

    async def embedding_function(self) -> "Embeds | None":
        """The embedding function; see `Collection.embedding_function`."""
        return await self._calls.make(lambda: self._sync.embedding_function, "read")

    count = async_method(Collection.count)
    add = async_method(Collection.add, "long")
    upsert = async_method(Collection.upsert, "long")
    add_from = async_method(Collection.add_from, "long")
    replace_own = async_method(Collection.replace_own, "long")
    update = async_method(Collection.update, "long")
    get = async_method(Collection.get)
    facet = async_method(Collection.facet)
    peek = async_method(Collection.peek)
    sample = async_method(Collection.sample)
    unknown_keys = async_method(Collection.unknown_keys)
    query = async_method(Collection.query)
    search = async_method(Collection.search)
    explain = async_method(Collection.explain)
    why = async_method(Collection.why)
    stats = async_method(Collection.stats)
    map = async_method(Collection.map, "long")
    warm = async_method(Collection.warm, "long")
    delete = async_method(Collection.delete, "long")
    modify = async_method(Collection.modify, "long")
    optimize = async_method(Collection.optimize, "long")
    snapshot = async_method(Collection.snapshot, "long")
    fork = collection(Collection.fork, "long")
    iterate = async_iterator(Collection.iterate)
    create_index = async_method(Collection.create_index, "long")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncCollection) and other._sync == self._sync

    def __hash__(self) -> int:
        return hash(self._sync)

    def __repr__(self) -> str:
        return f"<AsyncCollection {self.name!r}, id {self.id}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._sync.__reduce_ex__(protocol)  # which says why not


class AsyncClient:
    """A `Client` for an event loop, with the same arguments and methods. The methods must be
    awaited. Use the client in an `async with` statement, or close it."""

    def __init__(
        self,
        path: "str | os.PathLike[str] | Settings | None" = None,
        *,
        threads: int | None = None,
        create: bool = True,
        durability: Literal["full", "relaxed"] = "full",
        read_only: bool = False,
        allow_reset: bool = False,
        trust: bool = False,
        rebuild: bool = False,
        memory_budget: int | None = None,
        unknown_keys: UnknownKeys = "warn",
        url: str | Sequence[str] | None = None,
        qdrant_client: Any = None,
        consistency: int | Literal["majority", "quorum", "all"] | None = None,
        create_indexes: bool = True,
        settings: Any = None,
        tenant: str = DEFAULT_TENANT,
        database: str = DEFAULT_DATABASE,
        **options: Any,
    ) -> None:
        """The first call, or `async with`, opens the store and raises the errors of opening.
        threads: the maximum number of threads. A thread runs one call; long calls, such as writes,
        use at most half of the threads. The default is two for each processor, at least 4 and at
        most 16; for a remote store it is 64. qdrant_client: can also be an AsyncQdrantClient, which
        only one event loop may use. The other arguments are those of `Client`."""
        if options and url is None:
            hint = hint_at_argument(min(options), OF_CLIENTS) or ", without url"
            raise InvalidTypeError(f"{min(options)!r} is no argument of AsyncClient{hint}")

        make = partial(
            Client, path, create=create, durability=durability, read_only=read_only,
            allow_reset=allow_reset, trust=trust, rebuild=rebuild, memory_budget=memory_budget,
            unknown_keys=unknown_keys, url=url, qdrant_client=qdrant_client,
            consistency=consistency, create_indexes=create_indexes, settings=settings,
            tenant=tenant, database=database, **options,
        )  # fmt: skip
        self._path = store_path(path) if isinstance(path, str | os.PathLike) else None
        usual = WORKING if url is None and qdrant_client is None else WAITING
        self._calls = _Calls(make, usual if threads is None else threads)

    async def _own(self) -> Client:
        return await self._calls.open()

    @property
    def path(self) -> Path | None:
        """The directory of the store; None if the store is in memory or remote."""
        client = self._calls.client
        return self._path if client is None or self._calls.closed else client.path

    @property
    def tenant(self) -> str:
        """Chroma's default tenant; a store has no tenants."""
        return DEFAULT_TENANT

    @property
    def database(self) -> str:
        """Chroma's default database; a store has no databases."""
        return DEFAULT_DATABASE

    create_collection = collection(Client.create_collection, "long")
    get_or_create_collection = collection(Client.get_or_create_collection, "long")
    get_collection = collection(Client.get_collection)
    get_collection_by_id = collection(Client.get_collection_by_id)
    list_collections = collections(Client.list_collections)
    collection_names = async_method(Client.collection_names)
    count_collections = async_method(Client.count_collections)
    delete_collection = async_method(Client.delete_collection, "long")
    verify = async_method(Client.verify, "long")
    stats = async_method(Client.stats)
    snapshot = async_method(Client.snapshot, "long")
    copy_to = to_another(Client.copy_to)
    heartbeat = async_method(Client.heartbeat)
    get_version = async_method(Client.get_version)
    get_max_batch_size = async_method(Client.get_max_batch_size)
    get_settings = async_method(Client.get_settings)
    reset = async_method(Client.reset, "long")

    async def close(self) -> None:
        """Wait for cancelled calls that still run, and close the store. Its collections cannot be
        used afterwards. Closing a closed client does nothing."""
        await self._calls.close()

    async def __aenter__(self) -> "AsyncClient":
        await self._calls.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        client = self._calls.client
        where = ", not open yet" if client is None else f" of the store {client._session.place}"
        return f"<AsyncClient{where}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise InvalidTypeError(
            "a client can't be copied, pickled or sent to another process: open the store by its "
            "path there; any number of processes may"
        )


async def AsyncHttpClient(
    host: str = "localhost",
    port: int = 6333,
    ssl: bool = False,
    headers: Mapping[str, str] | None = None,
    settings: Any = None,
    tenant: str = DEFAULT_TENANT,
    database: str = DEFAULT_DATABASE,
    *,
    threads: int | None = None,
    trust: bool = False,
    **options: Any,
) -> AsyncClient:
    """A client for an event loop, for the store or cluster that a server at a host and a port
    serves. Users of Chroma know this name. The arguments are those of `HttpClient`."""
    client = AsyncClient()
    make = partial(HttpClient, host, port, ssl, headers, settings, tenant, database, trust=trust)
    client._calls = _Calls(partial(make, **options), WAITING if threads is None else threads)
    await client._own()
    return client
