"""The store that a server serves (`Served`), and the parts of one request (`RequestContext`).

A `Monitor` counts the requests of each route, and their durations. `Copies` has private copies of
collections. A client reads a copy page by page, while the collection can change. `parameters` reads
the parameters in a URL, as a Qdrant server with one node does.
"""

import math
import os
import re
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Container, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl
from uuid import uuid4

from retrieval_store.errors import RetrievalStoreError, StorageError
from retrieval_store.extension import (
    IN_STORE,
    EmbeddedStore,
    EnginePoints,
    Lock,
    Session,
    embedded_store,
    private_folder,
)
from retrieval_store.qdrant import QdrantService, Refused
from retrieval_store_server.http.inference import Inference
from retrieval_store_server.http.pool import BusyError
from retrieval_store_server.http.refusals import wrong
from retrieval_store_server.values import INT_MAX
from retrieval_store_server.view.live import Views

MAX_KINDS = 10_000  # kinds of responses that are counted
BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)  # seconds


@dataclass(slots=True)
class Count:
    """Statistics about the responses of one route with one status: their number, their total
    seconds, and the time of the last response."""

    times: int = 0
    seconds: float = 0.0
    least: float = math.inf
    most: float = 0.0
    last: float = 0.0
    _by_bucket: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))

    @property
    def within(self) -> list[int]:
        """For each bucket in `BUCKETS`, the number of responses that took at most that many
        seconds."""
        return [*accumulate(self._by_bucket[:-1])]

    def add(self, seconds: float) -> None:
        """Add a response that took this many seconds."""
        self.times += 1
        self.seconds += seconds
        self.least = min(self.least, seconds)
        self.most = max(self.most, seconds)
        self.last = time.time()
        self._by_bucket[bisect_left(BUCKETS, seconds)] += 1


class Monitor:
    """Counts responses. All threads share one lock, which is held for a microsecond."""

    def __init__(self) -> None:
        self.id = str(uuid4())
        self.started = datetime.now(UTC)
        self._lock = Lock()
        self._counts: dict[tuple[str, int], Count] = {}
        self._by_collection: dict[tuple[str, int, str], Count] = {}

    def count(self, route: str, status: int, seconds: float, collection: str = "") -> None:
        """Count a response; also for a collection, if the collection's name is given."""
        with self._lock:
            count = self._counts.get((route, status))
            if count is None and len(self._counts) < MAX_KINDS:
                count = self._counts[route, status] = Count()
            if count is not None:
                count.add(seconds)
            if not collection:
                return
            count = self._by_collection.get((route, status, collection))
            if count is None and len(self._by_collection) < MAX_KINDS:
                count = self._by_collection[route, status, collection] = Count()
            if count is not None:
                count.add(seconds)

    def counts(self) -> list[tuple[str, int, Count]]:
        """The counts so far, as tuples of route, status and count."""
        with self._lock:
            return [(route, status, count) for (route, status), count in self._counts.items()]

    def by_collection(self, existing: Container[str]) -> list[tuple[str, int, str, Count]]:
        """The counts by collection. existing: the names of existing collections; other names are
        dropped."""
        with self._lock:
            for key in [key for key in self._by_collection if key[2] not in existing]:
                del self._by_collection[key]
            return [(*key, count) for key, count in self._by_collection.items()]


MAX_COPIES = 16  # at a time; each is as large as its collection
KEPT_SECONDS = 600.0  # how long one may be unused


@dataclass(slots=True)
class _Copy:
    points: EnginePoints
    ending: ExitStack
    used: float
    is_left: bool = False  # its connection is closed


class Copies:
    """The private copies of this process, by names that cannot be guessed."""

    def __init__(self) -> None:
        self._copies: dict[str, _Copy] = {}
        self._making = 0
        self._lock = Lock()
        self._timer: threading.Timer | None = None

    def begin(self, make: "Callable[[], AbstractContextManager[EnginePoints]]") -> str:
        """Make a copy and return its name. If there are too many copies, a copy whose connection
        has closed is deleted. Raises BusyError if no connection of a copy has closed."""
        with self._lock:
            left = [name for name, copy in self._copies.items() if copy.is_left]
            is_full = len(self._copies) + self._making >= MAX_COPIES
            if is_full and not left:
                raise BusyError
            self._making += 1
        if is_full:
            self.end(left[0])
        ending = ExitStack()
        try:
            points = ending.enter_context(make())
        finally:
            with self._lock:
                self._making -= 1
        name = uuid4().hex
        with self._lock:
            self._copies[name] = _Copy(points, ending, time.monotonic())
            self._look_later()
        return name

    def points(self, name: str) -> EnginePoints:
        """The points of a copy; raises StorageError if the copy was deleted."""
        with self._lock:
            copy = self._copies.get(name)
            if copy is None:
                raise StorageError("the copy that was read is gone: begin again")
            copy.used, copy.is_left = time.monotonic(), False
            return copy.points

    def leave(self, name: str) -> None:
        """Record that the connection for which a copy was made has closed. The copy can still be
        read over another connection, since a proxy may have closed the connection, and not the
        client."""
        with self._lock:
            if name in self._copies:
                self._copies[name].is_left = True

    def end(self, name: str) -> None:
        """Delete a copy, if it exists."""
        with self._lock:
            copy = self._copies.pop(name, None)
        if copy is not None:
            copy.ending.close()

    def close(self) -> None:
        """Delete all copies."""
        with self._lock:
            names = [*self._copies]
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for name in names:
            self.end(name)

    def _look_later(self) -> None:
        """Start a timer that looks for abandoned copies. The caller must hold the lock."""
        if self._timer is None:
            self._timer = threading.Timer(KEPT_SECONDS / 10, self._look)
            self._timer.daemon = True
            self._timer.start()

    def _look(self) -> None:
        before = time.monotonic() - KEPT_SECONDS
        with self._lock:
            self._timer = None
            forgotten = [name for name, copy in self._copies.items() if copy.used < before]
            if len(forgotten) < len(self._copies):
                self._look_later()
        for name in forgotten:
            self.end(name)


UPLOADS = "uploads"
_ENDS = r"(?![\w~/\\-]|\.\w)"  # the next character isn't part of the same path


@lru_cache(maxsize=16)
def _path_pattern(folder: str, end: str) -> re.Pattern[str]:
    """A pattern that finds a folder's path in a text. end: a pattern for the text that must follow
    the path."""
    return re.compile(rf"(?<![\w~/\\.-]){re.escape(folder.rstrip(os.sep))}{end}")


class Served:
    """A store, and the objects that handle requests for it. session: the session of the store;
    close: closes the session, or does nothing if the caller owns the client. A remote store is only
    allowed if nothing but the page of `view` is served. In that case, only the attribute `views`
    can be used."""

    def __init__(
        self, session: Session, close: Callable[[], object], inference: Inference, views: Views
    ) -> None:
        self._session, self._close = session, close
        self.views = views
        self.embedded = QdrantService(session)
        self.inference = inference
        self.monitor = Monitor()
        self.copies = Copies()
        self._folder: Path | None = None  # for temporary files
        self._folders, self._making = ExitStack(), Lock()
        self.rpc_monitor = Monitor()  # of gRPC calls

    @property
    def store(self) -> EmbeddedStore:
        """The store; raises ClientClosedError if it is closed."""
        return embedded_store(self._session)

    @property
    def is_read_only(self) -> bool:
        """Whether the store refuses writes."""
        return self._session.read_only

    @property
    def closed(self) -> bool:
        """Whether the store is closed."""
        return self._session.closed

    def hide_paths(self, message: str) -> str:
        """The message of an error, without the paths of this machine, which mean nothing to
        clients. The store's directory is called "the store", and paths in it are written without
        the directory. Only paths that the store itself creates are changed, since names that users
        chose may look like other paths."""
        folders = [tempfile.gettempdir()]
        with suppress(RetrievalStoreError):  # closed
            directory = self._session.store.directory
            if directory not in (None, Path(os.sep)):
                folders.append(str(directory))
                message = _path_pattern(str(directory), _ENDS).sub("the store", message)
        for folder in folders:
            message = _path_pattern(folder, rf"{re.escape(os.sep)}(?={IN_STORE})").sub("", message)
        return message

    def temporary_path(self) -> Path:
        """A path for a new temporary file. The file is in a folder of this process, in the store's
        directory for snapshots if that is writable. If the process dies, the folder is deleted when
        the store is next opened."""
        with self._making:
            if self._folder is None:
                uploads = None
                if not self.is_read_only and self.store.directory is not None:
                    uploads = self.embedded.snapshots(None).root / UPLOADS
                    uploads.mkdir(parents=True, exist_ok=True)
                self._folder = self._folders.enter_context(private_folder(uploads))
        return self._folder / f"{uuid4().hex}.part"

    def close(self) -> None:
        """Close the session, and delete temporary files and private copies."""
        self.copies.close()
        self._folders.close()
        self._close()


Hold: TypeAlias = Callable[[float, Callable[[], object]], object]


@dataclass(slots=True)
class RequestContext:
    """A parsed request. names: the variable parts of the path, by their names in the route; query:
    the parameters of the URL; headers: by lower-case name. body: of the type that the route
    declares; if `infers`, it may contain texts and images to embed. hold: a function that keeps the
    connection open for some seconds without a request, and calls a callback when the connection
    closes; it does nothing if the server does not support that. strings: ids in the body that are
    neither integers nor UUIDs. is_counted: whether the collection's rate limits have counted the
    request. is_message: whether the request was sent over gRPC, where a missing limit is 0."""

    served: Served
    names: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    infers: bool = False
    hold: Hold = lambda seconds, at_end: None
    strings: list[str] = field(default_factory=list)
    is_counted: bool = False
    is_message: bool = False

    @property
    def embedded(self) -> QdrantService:
        """Qdrant's methods on this store."""
        return self.served.embedded

    @property
    def collection(self) -> str:
        """The name of the collection in the path."""
        return self.names["collection_name"]

    def embed(self, is_query: bool) -> None:
        """Embed the texts and images in the body, if it may contain any."""
        if self.infers:
            self.served.inference.embed(self.body, is_query)

    @property
    def waits(self) -> bool:
        """Whether the client wants to wait until a write is completed."""
        return self.query.get("wait") == "true"

    @property
    def timeout(self) -> int | None:
        """The timeout of the request in seconds; None if the request has no timeout."""
        text = self.query.get("timeout")
        return None if text is None else int(text)


DIGITS = len(str(INT_MAX))  # Python can't parse longer ones
DIGEST, DIGEST_DIGITS = 64, frozenset("0123456789abcdef")  # of SHA-256
ORDERINGS, CONSISTENCIES = ("weak", "medium", "strong"), ("majority", "quorum", "all")


def parameters(query_string: bytes, reads: bool) -> dict[str, str]:
    """The parameters of a URL; raises Refused if one is invalid. If a name occurs several times,
    its last value is used. reads: whether the route only reads, since the valid parameters of
    routes that read and routes that write differ."""
    if not query_string:
        return {}
    try:
        values = dict(parse_qsl(query_string.decode(), keep_blank_values=True, errors="strict"))
    except (UnicodeDecodeError, ValueError) as error:
        raise _unreadable(str(error)) from None
    checks = _OF_READS if reads else _OF_WRITES
    for name, value in values.items():
        check = checks.get(name)
        if check is not None:
            check(name, value)
    return values


def _unreadable(reason: str) -> Refused:
    return wrong(f"Deserialize error in query parameters: {reason}")


def _boolean(name: str, value: str) -> None:
    if value not in ("true", "false"):
        raise _unreadable(f"{name} is {value!r}, expected `true` or `false`")


def is_unsigned(value: str) -> bool:
    """Whether a string is an unsigned 64-bit integer."""
    return len(value) <= DIGITS and value.isascii() and value.isdigit() and int(value) <= INT_MAX


def _number(name: str, value: str) -> None:
    if not is_unsigned(value):
        raise _unreadable(f"{name} is {value!r}, expected an unsigned integer")


def _ordering(name: str, value: str) -> None:
    if value not in ORDERINGS:
        raise _unreadable(f"{name} is {value!r}, expected one of {', '.join(ORDERINGS)}")


def _positive(name: str, value: str) -> None:
    _number(name, value)
    if int(value) == 0:
        raise _unreadable(f"{name} is 0, expected 1 or more")


def _checksum(name: str, value: str) -> None:
    if len(value) != DIGEST or not DIGEST_DIGITS.issuperset(value.lower()):
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Validation error in query parameters: [{name}: Validation error: "
            "invalid_sha256_hash [{}]]",
        )


def _consistency(name: str, value: str) -> None:
    if value in CONSISTENCIES or value == "":
        return
    if not is_unsigned(value) or int(value) == 0:
        raise _unreadable(f"{name} is {value!r}, expected {', '.join(CONSISTENCIES)} or a number")


_OF_READS: Mapping[str, Callable[[str, str], None]] = {
    "anonymize": _boolean,
    "consistency": _consistency,
    "details_level": _number,
    "per_collection": _boolean,
    "timeout": _positive,
}
_OF_WRITES: Mapping[str, Callable[[str, str], None]] = {
    "checksum": _checksum,
    "force": _boolean,
    "ordering": _ordering,
    "timeout": _number,
    "wait": _boolean,
}


def refuse_dots(name: str) -> None:
    """Refuse "." and ".." as names of collections, since most clients remove them from a path."""
    if name in (".", ".."):
        raise wrong(f"Validation error in path parameters: collection_name is {name!r}")
