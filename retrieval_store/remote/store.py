"""A served store as its clients see it: collections (`ServedStore`) and points (`ServedPoints`)."""

import errno
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar, cast

from retrieval_store.base.system import sync_directory
from retrieval_store.base.tracing import returned, traced
from retrieval_store.base.validation import Payload
from retrieval_store.errors import (
    ConflictError,
    InvalidArgumentError,
    RetrievalStoreError,
    StorageError,
    StorageFullError,
)
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.protocol.methods import POINTS, STORE, Method
from retrieval_store.query.protocols import IndexKind
from retrieval_store.query.query import Findings, Inquiry, Question
from retrieval_store.query.types import (
    Changed,
    CollectionRecord,
    Fields,
    FileReport,
    Gauges,
    Hits,
    NewSpace,
    PointBatch,
    PointId,
    Points,
    Position,
    Progress,
    Projection,
    PutResult,
    SpaceRecord,
    WriteRules,
)
from retrieval_store.remote.connection import Address, Answer, Connection, requested

if TYPE_CHECKING:
    from collections.abc import Mapping

    from retrieval_store.base.analysis import Analyzer

POINTS_ACTIONS = {
    "append": "writing points",
    "ask": "searching",
    "changed_since": "looking for changes",
    "configure_index": "changing settings",
    "count": "counting points",
    "counted": "counting points",
    "delete": "deleting points",
    "explain": "searching",
    "get": "reading points",
    "in_order": "reading points",
    "number": "counting points",
    "projected": "reading points",
    "put": "writing points",
    "warm": "loading",
    "why": "searching",
}


class Caller(Protocol):
    """What sends requests."""

    def call(self, method: Method, path: str, given: "Mapping[str, Any]", doing: str) -> Any:
        """The result of a method."""


class ServedPoints:
    """`EnginePoints` of a served store: each call is one request, which the server answers in one
    state, or carries out in one transaction. copy: the name of a private copy, whose points are
    meant; name: of the collection, for spans."""

    def __init__(
        self, caller: Caller, collection_id: str, name: str, copy: str | None = None
    ) -> None:
        self._caller = caller
        self._id = collection_id
        self._query = "" if copy is None else f"?copy={copy}"
        self.name = name

    @property
    def embedded(self) -> None:
        """They aren't in this process."""
        return None

    @property
    def engine(self) -> "ServedPoints":
        """The object itself: they are in our engine."""
        return self

    def _call(self, method: str, **given: Any) -> Any:
        path = f"/points/{self._id}/{method}{self._query}"
        return self._caller.call(POINTS[method], path, given, POINTS_ACTIONS.get(method, method))

    @traced("put")
    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points in one durable transaction."""
        return cast(PutResult, self._call("put", batch=batch, rules=rules))

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """The same, one batch after the other, each in a transaction of its own."""
        for batch in batches:
            yield self.put(batch, rules)

    @traced("append")
    def append(self, batch: PointBatch) -> None:
        """Make these the last points; those that exist are deleted first, in one transaction."""
        self._call("append", batch=batch)

    @traced("delete")
    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points with these ids that match; returns how many."""
        return cast(int, self._call("delete", ids=ids, expression=expression, limit=limit))

    @traced("get", returned)
    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points with these ids that match: in the order of `ids`, or of first insertion."""
        found = self._call(
            "get", ids=ids, expression=expression, limit=limit, offset=offset, fields=fields
        )
        return cast(Points, found)

    @traced("query", lambda found: returned(*(hits.points for hits in found)))
    def ask(self, question: Question) -> list[Hits]:
        """The hits of each query of each step, or of each group, best first."""
        return cast(list[Hits], self._call("ask", question=question))

    @traced("explain")
    def explain(self, question: Question) -> Payload:
        """How the server finds what it finds."""
        return cast(Payload, self._call("explain", question=question))

    @traced("why")
    def why(self, inquiry: Inquiry) -> Findings:
        """Where records stand in the rankings of a question."""
        return cast(Findings, self._call("why", inquiry=inquiry))

    def stats(self) -> Payload:
        """Sizes by part, of the server's process and its files."""
        return cast(Payload, self._call("stats"))

    @traced("warm")
    def warm(self, paths: Sequence[PayloadPath], analyzer: "Analyzer | None") -> Payload:
        """Have the server load what the first queries would load."""
        return cast(Payload, self._call("warm", paths=paths, analyzer=analyzer))

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space; only settings for searching may differ."""
        self._call("configure_index", space=space, index=index)

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Does nothing: the first filter on a key builds its column."""

    @traced("number")
    def number(self, expression: Expression | None) -> int:
        """How many points match."""
        return cast(int, self._call("number", expression=expression))

    @traced("number")
    def counted(self, expression: Expression, seconds: float) -> tuple[int, bool]:
        """How many points match, or as many as are found in so many seconds."""
        found = self._call("counted", expression=expression, seconds=seconds)
        return cast(tuple[int, bool], found)

    @traced("get")
    def projected(
        self,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> Projection:
        """Points in the plane in which their vectors differ most."""
        found = self._call(
            "projected", space=space, expression=expression, sample=sample, seed=seed, path=path
        )
        return cast(Projection, found)

    @traced("get", returned)
    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The points that match and have a number or a date at the path, in the order of these."""
        found = self._call(
            "in_order",
            path=path,
            expression=expression,
            limit=limit,
            offset=offset,
            descending=descending,
            fields=fields,
        )
        return cast(Points, found)

    def count(self) -> int:
        """How many points there are."""
        return cast(int, self._call("count"))

    def position(self) -> Position:
        """The present position of the change log."""
        return cast(Position, self._call("position"))

    def changed_since(self, position: Position) -> Changed:
        """The points inserted or changed since this position of the change log."""
        return cast(Changed, self._call("changed_since", position=position))

    def spaces(self) -> list[SpaceRecord]:
        """The vector spaces, in the order in which they were added."""
        return cast(list[SpaceRecord], self._call("spaces"))

    def add_space(self, name: str, space: NewSpace) -> None:
        """A new vector space, in which no point has a vector; raises AlreadyExistsError."""
        self._call("add_space", name=name, space=space)

    def drop_space(self, name: str) -> None:
        """Delete a vector space with all vectors in it; raises NotFoundError."""
        self._call("drop_space", name=name)


ATTEMPTS = 100  # at a change that others are faster with
T = TypeVar("T")
STORE_ACTIONS = {
    "aliases": "reading aliases",
    "compact": "compacting",
    "copy": "copying points",
    "count": "counting collections",
    "create": "creating a collection",
    "drop": "deleting a collection",
    "exchange": "changing a collection",
    "exchange_aliases": "changing aliases",
    "fork": "copying a collection",
    "page": "listing collections",
    "record": "looking at a collection",
    "saved": "taking a snapshot",
    "verified": "verifying",
}


class ServedStore:
    """An `EngineStore` that another process serves."""

    directory: Path | None = None
    embedded = None  # it isn't in this process

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names: dict[str, str] = {}  # by ids, as they were seen last

    @property
    def address(self) -> Address:
        """Where the server is."""
        return self._connection.address

    @property
    def connection(self) -> Connection:
        """How it is reached."""
        return self._connection

    @property
    def engine(self) -> "ServedStore":
        """The object itself: it is our engine's."""
        return self

    def _call(self, method: str, **given: Any) -> Any:
        doing = STORE_ACTIONS.get(method, "looking at a collection")
        return self._connection.call(STORE[method], f"/store/{method}", given, doing)

    def _seen(self, record: CollectionRecord) -> CollectionRecord:
        self._names[record.id] = record.name
        return record

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """A new collection with these vector spaces; raises AlreadyExistsError."""
        given = {"name": name, "settings": settings, "spaces": spaces}
        return self._seen(self._call("create", **given, collection_id=collection_id))

    def named(self, name: str) -> CollectionRecord:
        """The collection of this name; raises NotFoundError."""
        return self._seen(self._call("named", name=name))

    def resolved(self, name: str) -> CollectionRecord:
        """The collection of this name, or that an alias of this name leads to; NotFoundError."""
        return self._seen(self._call("resolved", name=name))

    def record(self, collection_id: str) -> CollectionRecord:
        """Name and settings of a collection; raises NotFoundError."""
        return self._seen(self._call("record", collection_id=collection_id))

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace name and settings by what `edit` makes of them; raises AlreadyExistsError."""

        def exchange(before: CollectionRecord, after: CollectionRecord) -> bool:
            given = {"collection_id": collection_id, "before": before, "after": after}
            return cast(bool, self._call("exchange", **given))

        return self._seen(_changed(partial(self.record, collection_id), edit, exchange))

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """Collections in the order of their names."""
        found = cast(list[CollectionRecord], self._call("page", limit=limit, offset=offset))
        return [self._seen(record) for record in found]

    def count(self) -> int:
        """How many collections there are."""
        return cast(int, self._call("count"))

    def drop(self, name: str) -> None:
        """Delete a collection with all that is in it; raises NotFoundError."""
        self._call("drop", name=name)

    def points(self, collection_id: str) -> ServedPoints:
        """The points of a collection. Whether it is there is found out with the first call."""
        name = self._names.get(collection_id, collection_id)
        return ServedPoints(self._connection, collection_id, name)

    def gauges(self) -> Iterator[tuple[str, Gauges]]:
        """What is watched of each collection, by their names."""
        return iter(self._call("gauges"))

    def own_bytes(self) -> int:
        """The bytes that the store takes on the server's disk, without its collections."""
        return cast(int, self._call("own_bytes"))

    def budget(self) -> Mapping[str, int]:
        """The bytes that stores of the server's process may hold in memory, and hold."""
        return cast(Mapping[str, int], self._call("budget"))

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Have the server compact a collection."""
        self._call("compact", collection_id=collection_id)

    def verify(self, analyzer_of: "Callable[[CollectionRecord], Analyzer]") -> Iterator[FileReport]:
        """Have the server look at every byte. Files are named by their paths in the store."""
        analyzers = {record.id: analyzer_of(record) for record in self.page(None, 0)}
        for file, size, problem in self._call("verified", analyzers=analyzers):
            yield FileReport(Path(file), size, problem)

    def fork(self, collection_id: str, name: str) -> CollectionRecord:
        """A copy of a collection under another name; AlreadyExistsError for one that is taken."""
        return self._seen(self._call("fork", collection_id=collection_id, name=name))

    @contextmanager
    def copied(self, collection_id: str) -> Iterator[ServedPoints]:
        """The points of a collection as they are now, in a copy on the server, which goes at the
        end, or when nothing is asked of it for ten minutes. It is that of one of its processes, and
        so all is asked on one connection."""
        with self._connection.alone() as line:
            given = {"collection_id": collection_id}
            copy = line.call(STORE["copy"], "/store/copy", given, STORE_ACTIONS["copy"])
            try:
                yield ServedPoints(line, collection_id, collection_id, copy)
            finally:
                with suppress(RetrievalStoreError):  # it goes by itself
                    line.call(STORE["forget_copy"], "/store/forget_copy", {"name": copy}, "ending")

    def snapshot(self, target: Path, collection_id: str | None = None) -> None:
        """Write a snapshot, which the server takes, into a file of this process."""
        if os.path.lexists(target):
            raise _taken(target)
        if not target.parent.is_dir():
            raise InvalidArgumentError(f"there is no directory {target.parent}")
        given = {"collection_id": collection_id}
        request = requested(STORE["saved"], "/store/saved", given, STORE_ACTIONS["saved"])
        with _new_file(target) as file:
            self._connection.received(request, partial(_written, file, target))

    def aliases(self) -> dict[str, str]:
        """The name of each alias' collection, by alias, in the order of aliases."""
        return cast(dict[str, str], self._call("aliases"))

    def change_aliases(self, edit: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the aliases by what `edit` makes of them, in one transaction."""

        def exchange(before: dict[str, str], after: dict[str, str]) -> bool:
            return cast(bool, self._call("exchange_aliases", before=before, after=after))

        _changed(self.aliases, edit, exchange)


def _changed(look: Callable[[], T], edit: Callable[[T], T], exchange: Callable[[T, T], bool]) -> T:
    """What `edit` makes of what is there, put in its place unless that has changed meanwhile: then
    it is edited again."""
    for _ in range(ATTEMPTS):
        before = look()
        after = edit(before)
        if after == before or exchange(before, after):
            return after
    raise ConflictError(f"others change the same all the time: {ATTEMPTS} attempts were in vain")


@contextmanager
def _new_file(target: Path) -> Iterator[BinaryIO]:
    """A file that takes its place when it is whole and durable."""
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with _told_of(target), part.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            _give_name(part, target)
    finally:
        part.unlink(missing_ok=True)


def _give_name(part: Path, target: Path) -> None:
    try:
        os.link(part, target)
    except FileExistsError:
        raise _taken(target) from None
    sync_directory(target.parent)


def _taken(target: Path) -> InvalidArgumentError:
    return InvalidArgumentError(f"{target} is there already; a snapshot replaces nothing")


def _written(file: BinaryIO, target: Path, answer: Answer) -> None:
    """Write what comes into a file, from its beginning; raises OSError where it is cut off, and
    StorageError where the file can't be written to."""
    with _told_of(target):
        file.seek(0)
        file.truncate()
    for piece in answer.pieces():
        with _told_of(target):
            file.write(piece)


@contextmanager
def _told_of(target: Path) -> Iterator[None]:
    """Errors of the system with a file of the caller's, as ours."""
    try:
        yield
    except OSError as error:
        if isinstance(error, RetrievalStoreError):
            raise
        kind = StorageFullError if error.errno == errno.ENOSPC else StorageError
        raise kind(f"{target}: {error.strerror}") from error
