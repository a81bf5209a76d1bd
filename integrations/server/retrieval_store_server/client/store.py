"""A served store as its clients see it: collections (`ServedStore`) and points (`ServedPoints`)."""

import errno
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial, wraps
from http.client import HTTPResponse
from inspect import signature
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from retrieval_store.errors import (
    ConflictError,
    RetrievalStoreError,
    StorageError,
    StorageFullError,
)
from retrieval_store.extension import (
    CollectionRecord,
    EnginePoints,
    EngineStore,
    FileReport,
    Hits,
    IndexKind,
    PointBatch,
    Progress,
    PutResult,
    WriteRules,
    check_new_file,
    counts_of_results,
    traced,
)
from retrieval_store.filters.expression import PayloadPath
from retrieval_store.loaders.files import new_file
from retrieval_store_server.client.connection import (
    Address,
    ConnectionPool,
    read_pieces,
    request_of,
)
from retrieval_store_server.native.methods import POINTS, STORE, Calls

if TYPE_CHECKING:
    from retrieval_store.extension import Analyzer

ATTEMPTS = 100  # at a change, while others are faster
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Asking(Protocol):
    """An object whose methods call the server."""

    def ask_server(self, method: str, doing: str, arguments: Mapping[str, Any]) -> Any:
        """The result of the server's method of this name. doing: the action, for error messages."""


def forward(
    method: Callable[Concatenate[Any, P], R], doing: str | None = None
) -> Callable[Concatenate[Any, P], R]:
    """Make a method that calls the method of the same name on the server. doing: the action, for
    error messages, by default the method's name."""
    name, parameters = method.__name__, signature(method)

    @wraps(method)
    def call(self: Asking, /, *args: P.args, **kwargs: P.kwargs) -> R:
        bound = parameters.bind(self, *args, **kwargs)
        bound.apply_defaults()
        _, *arguments = bound.arguments.items()
        return cast(R, self.ask_server(name, doing or name, dict(arguments)))

    return call


def _counts_of_all(results: list[Hits]) -> Any:
    return counts_of_results(*(hits.points for hits in results))


LOOKING = "looking at a collection"


class ServedPoints:
    """The points of a collection in a served store. Each call is one request. The server executes a
    write in one transaction, and answers a read from one state of the collection. copy: the name of
    a private copy, which is read instead of the collection; name: the collection's name, for
    tracing spans."""

    reusable = False  # the name may change

    def __init__(
        self, connection: ConnectionPool, collection_id: str, name: str, copy: str | None = None
    ) -> None:
        self._connection = connection
        self._id = collection_id
        self._query = "" if copy is None else f"?copy={copy}"
        self.name = name

    @property
    def engine(self) -> "ServedPoints":
        """The object itself, since the server runs this project's engine and offers the engine's
        methods."""
        return self

    def ask_server(self, method: str, doing: str, arguments: Mapping[str, Any]) -> Any:
        """Call a method of the collection's points on the server, and return its result. doing: the
        action, for error messages."""
        path = f"/points/{self._id}/{method}{self._query}"
        return self._connection.call(POINTS[method], path, arguments, doing)

    put = traced("put")(forward(EnginePoints.put, "writing points"))
    append = traced("append")(forward(EnginePoints.append, "writing points"))
    delete = traced("delete")(forward(EnginePoints.delete, "deleting points"))
    merge_payload = traced("put")(forward(EnginePoints.merge_payload, "writing points"))
    get = traced("get", counts_of_results)(forward(EnginePoints.get, "reading points"))
    sample = traced("get", counts_of_results)(forward(EnginePoints.sample, "reading points"))
    in_order = traced("get", counts_of_results)(forward(EnginePoints.in_order, "reading points"))
    project = traced("get")(forward(EnginePoints.project, "reading points"))
    ask = traced("query", _counts_of_all)(forward(EnginePoints.ask, "searching"))
    explain = traced("explain")(forward(EnginePoints.explain, "searching"))
    why = traced("why")(forward(EnginePoints.why, "searching"))
    warm = traced("warm")(forward(EnginePoints.warm, "loading"))
    number = traced("number")(forward(EnginePoints.number, "counting points"))
    count_within = traced("number")(forward(EnginePoints.count_within, "counting points"))
    count = forward(EnginePoints.count, "counting points")
    kinds = forward(EnginePoints.kinds, LOOKING)
    facet = traced("facet")(forward(EnginePoints.facet, "counting values"))
    stats = forward(EnginePoints.stats)
    configure_index = forward(EnginePoints.configure_index, "changing settings")
    position = forward(EnginePoints.position)
    changes_since = forward(EnginePoints.changes_since, "looking for changes")
    spaces = forward(EnginePoints.spaces)
    add_space = forward(EnginePoints.add_space)
    drop_space = forward(EnginePoints.drop_space)

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Like `put`, for several batches. Each batch is written in its own transaction."""
        for batch in batches:
            yield self.put(batch, rules)

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Do nothing, since no index needs to be created: the first filter on a key builds the
        column of the key."""


class ServedStore:
    """A store that another process serves."""

    directory: Path | None = None
    embedded = None  # it isn't in this process

    def __init__(self, connection: ConnectionPool) -> None:
        self._connection = connection
        self._names: dict[str, str] = {}  # by ids, as last seen

    @property
    def address(self) -> Address:
        """The server's address."""
        return self._connection.address

    @property
    def connection(self) -> ConnectionPool:
        """The connections to the server."""
        return self._connection

    @property
    def engine(self) -> "ServedStore":
        """The object itself, since the server runs this project's engine and offers the engine's
        methods."""
        return self

    def ask_server(self, method: str, doing: str, arguments: Mapping[str, Any]) -> Any:
        """The result of the store's method of this name on the server. If the result contains
        collections, their names are cached."""
        result = self._connection.call(STORE[method], f"/store/{method}", arguments, doing)
        for record in result if isinstance(result, list) else [result]:
            if isinstance(record, CollectionRecord):
                self._names[record.id] = record.name
        return result

    create = forward(EngineStore.create, "creating a collection")
    by_name = forward(EngineStore.by_name, LOOKING)
    resolve = forward(EngineStore.resolve, LOOKING)
    record = forward(EngineStore.record, LOOKING)
    page = forward(EngineStore.page, "listing collections")
    count = forward(EngineStore.count, "counting collections")
    drop = forward(EngineStore.drop, "deleting a collection")
    fork = forward(EngineStore.fork, "copying a collection")
    gauges = forward(EngineStore.gauges, LOOKING)
    own_bytes = forward(EngineStore.own_bytes, LOOKING)
    aliases = forward(EngineStore.aliases, "reading aliases")
    budget = forward(Calls.budget, LOOKING)
    _exchange = forward(Calls.exchange, "changing a collection")
    _exchange_aliases = forward(Calls.exchange_aliases, "changing aliases")
    _compact = forward(Calls.compact, "compacting")
    _verified = forward(Calls.verified, "verifying")

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace the name and settings of a collection by those that `edit` returns. Raises
        AlreadyExistsError if the new name is taken."""
        look, exchange = partial(self.record, collection_id), partial(self._exchange, collection_id)
        after = _compare_and_set(look, edit, exchange)
        self._names[collection_id] = after.name
        return after

    def change_aliases(self, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the aliases by those that `edit` returns, in one transaction."""
        _compare_and_set(self.aliases, edit, self._exchange_aliases)

    def points(self, collection_id: str) -> ServedPoints:
        """The points of a collection. A collection that doesn't exist causes an error only when a
        method of the result is called."""
        name = self._names.get(collection_id, collection_id)
        return ServedPoints(self._connection, collection_id, name)

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Compact a collection on the server."""
        self._compact(collection_id)

    def verify(self, analyzer_of: "Callable[[CollectionRecord], Analyzer]") -> Iterator[FileReport]:
        """Check every byte on the server. Yields a report for each file, with its path in the
        store."""
        analyzers = {record.id: analyzer_of(record) for record in self.page(None, 0)}
        for file, size, problem in self._verified(analyzers):
            yield FileReport(Path(file), size, problem)

    @contextmanager
    def open_copy(self, collection_id: str) -> Iterator[ServedPoints]:
        """A context manager that yields the points of a collection in their present state. The
        points are a private copy on the server, which is deleted at the end of the context, or when
        it was not read for ten minutes. The copy belongs to one of the server's processes, so all
        calls use one connection. A forked process leaves the copy to its parent."""
        owner = os.getpid()
        with closing(ConnectionPool(self.address, kept_seconds=math.inf)) as line:
            arguments = {"collection_id": collection_id}
            copy = line.call(STORE["copy"], "/store/copy", arguments, "copying points")
            try:
                yield ServedPoints(line, collection_id, collection_id, copy)
            finally:
                if os.getpid() == owner:
                    with suppress(RetrievalStoreError):  # it is deleted after a while anyway
                        ended = {"name": copy}
                        line.call(STORE["forget_copy"], "/store/forget_copy", ended, "ending")

    def snapshot(self, target: Path, collection_id: str | None = None) -> None:
        """Let the server make a snapshot, and write it into a file on this machine."""
        check_new_file(target)
        arguments = {"collection_id": collection_id}
        request = request_of(STORE["saved"], "/store/saved", arguments, "taking a snapshot")
        with _translate_errors(target), new_file(target) as (_, file):
            self._connection.receive(request, partial(_write_file, file, target))


def _compare_and_set(
    look: Callable[[], T], edit: Callable[[T], T], exchange: Callable[[T, T], bool]
) -> T:
    """Replace a value by the result of `edit`, which is called with the value. If another client
    has changed the value meanwhile, `edit` is called again with the new value. look: returns the
    value; exchange: replaces an old value by a new value, and returns whether that succeeded."""
    for _ in range(ATTEMPTS):
        before = look()
        after = edit(before)
        if after == before or exchange(before, after):
            return after
    raise ConflictError(f"gave up after {ATTEMPTS} attempts: the collection kept changing")


def _write_file(file: IO[bytes], target: Path, answer: HTTPResponse) -> None:
    """Write the body of a response into a file. Raises HTTPException if the response is incomplete,
    and StorageError if the file cannot be written."""
    with _translate_errors(target):
        file.seek(0)
        file.truncate()
    for piece in read_pieces(answer):
        with _translate_errors(target):
            file.write(piece)


@contextmanager
def _translate_errors(target: Path) -> Iterator[None]:
    """A context manager that converts the system's errors about a file to errors of this
    package."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RetrievalStoreError):
            raise
        kind = StorageFullError if error.errno == errno.ENOSPC else StorageError
        raise kind(f"{target}: {error.strerror}") from error
