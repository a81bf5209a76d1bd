"""Calls a cluster through qdrant-client. Failed calls are retried if that may help; other failures
become this project's errors.

`failure_of` converts the exceptions of REST, gRPC and local mode to one form. Qdrant uses the same
messages over REST and gRPC; a gRPC status is converted to the HTTP status of the same failure. If
there was no response, a word replaces the status.

`understand` interprets a failure: the error class and message, whether another attempt may help,
and how much of the call the server may have executed.

If there are several addresses, calls go to one of them until its node is down or isn't ready. Then
they go to the next address.
"""

import asyncio
import json
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import grpc
import httpx
from pydantic import ValidationError
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import (
    ApiException,
    ResponseHandlingException,
    UnexpectedResponse,
)

from retrieval_store.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ClientClosedError,
    ClusterError,
    ClusterTimeoutError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    RetrievalStoreError,
    UnavailableError,
)
from retrieval_store.extension import calling_loop
from retrieval_store.frameworks import quote
from retrieval_store_cluster.rest import RestClient, rest_client_of

FAILURES = (
    ApiException,
    QdrantException,
    httpx.TransportError,
    grpc.RpcError,
    AssertionError,  # a response without the requested data
    ValueError,
    RuntimeError,
)
UNREACHABLE = "unreachable"  # no connection was made, so nothing was sent
UNCONNECTED = "unconnected"  # the same, after the whole timeout
TIMED_OUT = "timed out"
BROKEN = "broken"  # the connection was lost before the response arrived
FOREIGN = "foreign"  # a response, but not Qdrant's
LOCAL = "local"  # qdrant-client itself refuses, before sending or in its local mode
Status: TypeAlias = "int | str"

OF_GRPC: dict[Any, Status] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: TIMED_OUT,
}
UNSENT = re.compile("failed to connect|DNS resolution failed|errors resolving")
OF_HTTPX: tuple[tuple[type[Exception], Status], ...] = (
    (httpx.ConnectTimeout, UNCONNECTED),
    (httpx.TimeoutException, TIMED_OUT),
    (httpx.ConnectError, UNREACHABLE),
    (httpx.LocalProtocolError, LOCAL),
    (httpx.UnsupportedProtocol, LOCAL),
    (httpx.RequestError, BROKEN),
)
LONGEST = 200  # characters of a message that are shown
KINDS = re.compile(
    "(Service (internal|runtime) error|Wrong input|Bad request|Not found|Forbidden): *"
)
INNER = re.compile(r"(Tonic status error|status: \w+, message:).*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ServerFailure:
    """A failed call. status: the HTTP status, or a word if there is none; message: the server's
    message; pause: the seconds that the server asks to wait."""

    status: Status
    message: str = ""
    pause: float | None = None

    @property
    def sentence(self) -> str:
        """The message in one line, without the names of Qdrant's error types."""
        whole = " ".join(INNER.sub("", KINDS.sub("", self.message)).split()).strip(" :")
        return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}…"


def failure_of(error: BaseException) -> ServerFailure:
    """The failure that an exception of qdrant-client represents."""
    match error:
        case UnexpectedResponse():
            pause = _seconds(error.headers.get("retry-after"))
            return ServerFailure(error.status_code or FOREIGN, _text_of(error.content), pause)
        case ResourceExhaustedResponse():
            return ServerFailure(429, error.message, error.retry_after_s)
        case QdrantException():  # it couldn't parse the requested pause
            return ServerFailure(429)
        case ResponseHandlingException(source=ValidationError()):
            return ServerFailure(FOREIGN)
        case ResponseHandlingException():
            return failure_of(error.source)
        case grpc.RpcError():
            return _grpc_failure(error)
        case json.JSONDecodeError():  # a truncated object was Qdrant's
            return ServerFailure(BROKEN if error.doc.startswith("{") else FOREIGN)
        case AssertionError() | UnicodeDecodeError():
            return ServerFailure(FOREIGN)
    status = next((status for kind, status in OF_HTTPX if isinstance(error, kind)), LOCAL)
    return ServerFailure(status, str(error))


def _grpc_failure(error: Any) -> ServerFailure:
    text = error.details() or ""
    status = OF_GRPC.get(error.code(), 500)
    return ServerFailure(UNREACHABLE if status == 503 and UNSENT.search(text) else status, text)


def _text_of(content: bytes) -> str:
    """The error message in a response. Qdrant sends JSON, or plain text for a wrong key. HTML and
    other text from proxies is left out."""
    text = content.decode(errors="replace").strip()
    with suppress(ValueError, TypeError, LookupError):
        return str(json.loads(text)["status"]["error"])
    return "" if text.startswith(("<", "{", "[")) else text


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isdecimal() else None


ALWAYS = 9  # more attempts than are made


class IndexMissing(ClusterError):  # noqa: N818 - a signal between modules of this room
    """A filter needs a payload index that does not exist. key: the key in Qdrant's notation; kinds:
    the kinds of index, any one of which is enough."""

    def __init__(self, message: str, key: str = "", kinds: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.kinds = tuple(kinds.replace(",", " ").split())


class VectorMissing(ClusterError):  # noqa: N818 - the same
    """The Qdrant collection has no vectors of this name, or does not have them yet."""


class FacetIndexMissing(ClusterError):  # noqa: N818 - the same
    """A server has no index with which it can count values."""


class Done(Enum):
    """How much of a failed call the server may have executed."""

    NOTHING = "nothing"
    PART = "part"  # of points, which go to several shards; of other data nothing
    PERHAPS = "perhaps"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a failure. message: a template, with placeholders for the caller's words, the
    server's message ({said}), and named groups of the rule's pattern. again: how many further
    attempts may help."""

    error: type[RetrievalStoreError]
    message: str
    again: int = 0
    done: Done = Done.NOTHING


@dataclass(frozen=True, slots=True)
class Understood:
    """A failure of one attempt, with its meaning. details: fields of the error besides its message;
    pause: the seconds that the server asks to wait."""

    meaning: Meaning
    message: str
    details: Mapping[str, str]
    pause: float | None

    @property
    def is_of_node(self) -> bool:
        """Whether the node is down, lost or not ready, so that another node may succeed."""
        is_down = issubclass(self.meaning.error, UnavailableError | ClusterTimeoutError)
        return is_down and self.meaning.message != BUSY

    def error(self, outcome: str) -> RetrievalStoreError:
        """The error to raise. outcome: a sentence about what the call may have changed."""
        made: Any = self.meaning.error
        about = outcome if issubclass(made, ClusterError) else ""
        error: RetrievalStoreError = made(self.message + about, **self.details)
        return error


def understand(failure: ServerFailure, method: str, words: Mapping[str, str]) -> Understood:
    """The failure of a call of this method, with the meaning that the first matching rule gives it.
    words: the caller's words for the message."""
    fitting = (
        (meaning, match.groupdict())
        for statuses, pattern, meaning in (*OF_METHOD.get(method, ()), *RULES)
        if failure.status in statuses and (match := re.search(pattern, failure.message))
    )
    meaning, details = next(fitting, (OTHERWISE, {}))
    message = meaning.message.format(**words, **details, said=_reason(failure))
    return Understood(meaning, message, details, failure.pause)


def _reason(failure: ServerFailure) -> str:
    return (
        f": {failure.sentence}" if failure.sentence else f", without saying why ({failure.status})"
    )


NO_ANSWER = "the cluster {place} can't be reached: nothing answers there"
SILENT = "the cluster {place} can't be reached {limit}"
UNKNOWN = "the cluster {place} can't be reached: no host of this name is known here"
UNTRUSTED = "the cluster {place} can't be reached: its certificate isn't trusted here"
PLAIN = "the cluster {place} can't be reached by TLS: is it http:// instead of https://?"
LATE = "the cluster {place} didn't finish {doing} {limit}"
LOST = "the connection to the cluster {place} was lost while {doing}"
CLOSED = "the client of the cluster {place} was closed"
NO_KEY = "the cluster {place} wants a key: give it as {credential}"
WRONG_KEY = "the cluster {place} doesn't know the key that is given as {credential}"
UNSENDABLE = "{credential} can't be sent: it holds the end of a line, or another control character"
NO_RIGHT = "the key that is given as {credential} has no right to this, {doing} {place}{said}"
DENIED = "the cluster {place} denies {doing}: {credential} is wrong, or has no right to this"
ABSENT = "there is no collection {collection!r} on the cluster (any more)"
TAKEN = "there is a Qdrant collection {collection!r} already"
NO_INDEX = (
    "the cluster {place} filters {collection!r} by {key!r} only with an index, of one of the kinds "
    "{kinds}"
)
NO_VECTOR = "the collection {collection!r} has no such vectors{said}"
NO_METHOD = "the cluster {place} is of a version that doesn't know {doing}"
GAVE_UP = "the cluster {place} stopped {doing} at its own time limit{said}"
BUSY = "the cluster {place} accepts no more requests at the moment{said}"
NOT_READY = "the cluster {place} isn't ready for {doing} yet"
FULL = "the cluster {place} failed when {doing}: the disk of a node is full"
DISAGREED = (
    "the nodes of the cluster {place} didn't agree in time on {doing}: too many are down, or busy"
)
NO_REPLICA = (
    "the cluster {place} failed when {doing}: a node with a shard of {collection!r} is down or "
    "failing, and no other has a replica of it; a replication_factor of 2 or more prevents that"
)
GARBLED = "the response of the cluster {place} when {doing} can't be parsed"
REFUSED = "the cluster {place} refuses {doing}{said}"
FAILED = "the cluster {place} failed when {doing}{said}"

# The messages are those of Qdrant 1.18 to 1.20, of its local mode, of OpenSSL and of gRPC.
NAMELESS = "(?i)name or service|nodename nor|getaddrinfo|name resolution|DNS|no address|resolving"
ENCRYPTED = "WRONG_VERSION_NUMBER|(?i:record.layer.failure)"
WAS_CLOSED = "[Cc]lient (was|has been) closed|instance is closed|closed channel"
NO_COLLECTION = "Collection .*(does(n't| not) exist|not found)"
COLLECTION_THERE = "(Collection|Alias) .*already exists"
INDEX_REQUIRED = (
    r'(?s)Index required but not found for "(?P<key>.*)" of one of the following types: '
    r"\[(?P<kinds>[^\]]*)\]"
)
VECTOR_UNKNOWN = r"Not existing vector name|ector \S+ is not found in the collection"
DISAGREEMENT = "consensus operation|leader is not established|propose operation"
REPLICAS_DOWN = (
    "(?i)read operations failed|active replica|not active on peer|failed to apply operation|"
    "failed to connect|error trying to connect|transport error|dns error|status: Unavailable"
)
SENT_ON = range(300, 400)
REFUSALS = range(400, 500)
ON_ITS_WAY = frozenset({401, 403, 408, 429})  # Qdrant uses these too
Rules = tuple[tuple[Container[Status], str, Meaning], ...]

NO_QDRANT = Meaning(ClusterError, "there is no Qdrant {place}")
AT_THE_DOOR: Rules = (  # responses of every Qdrant
    ({*SENT_ON, *REFUSALS, 501, FOREIGN} - ON_ITS_WAY, "", NO_QDRANT),
    ({UNREACHABLE}, "http1|HTTP/2", NO_QDRANT),
)
UNHEARD_OF: Rules = (  # by a node, for a moment after the first write has created the vector
    ({400, LOCAL}, VECTOR_UNKNOWN, Meaning(VectorMissing, NO_VECTOR, ALWAYS, Done.PART)),
)
OF_METHOD: Mapping[str, Rules] = {
    **dict.fromkeys(("info", "get_collections", "get_aliases"), AT_THE_DOOR),
    **dict.fromkeys(("batch_update_points", "upsert"), UNHEARD_OF),
}
RULES: Rules = (
    ({UNREACHABLE}, "CERTIFICATE", Meaning(UnavailableError, UNTRUSTED)),
    ({UNREACHABLE}, ENCRYPTED, Meaning(UnavailableError, PLAIN)),
    ({UNREACHABLE}, NAMELESS, Meaning(UnavailableError, UNKNOWN, ALWAYS)),
    ({UNREACHABLE}, "", Meaning(UnavailableError, NO_ANSWER, ALWAYS)),
    ({UNCONNECTED}, "", Meaning(ClusterTimeoutError, SILENT, 1)),
    ({TIMED_OUT}, "", Meaning(ClusterTimeoutError, LATE, 1, Done.PERHAPS)),
    ({BROKEN}, "", Meaning(UnavailableError, LOST, ALWAYS, Done.PERHAPS)),
    ({500}, "RST_STREAM|GOAWAY", Meaning(UnavailableError, LOST, ALWAYS, Done.PERHAPS)),
    (SENT_ON, "", NO_QDRANT),
    ({FOREIGN}, "", Meaning(ClusterError, GARBLED, 0, Done.PERHAPS)),
    ({LOCAL}, WAS_CLOSED, Meaning(ClientClosedError, CLOSED)),
    ({LOCAL}, "header value", Meaning(AccessDeniedError, UNSENDABLE)),
    ({401}, "Must provide", Meaning(AccessDeniedError, NO_KEY)),
    ({401}, "", Meaning(AccessDeniedError, WRONG_KEY)),
    ({403}, "is required", Meaning(AccessDeniedError, NO_RIGHT)),
    ({403}, "", Meaning(AccessDeniedError, DENIED)),
    ({404, LOCAL}, NO_COLLECTION, Meaning(NotFoundError, ABSENT)),
    ({400, 409, LOCAL}, COLLECTION_THERE, Meaning(AlreadyExistsError, TAKEN)),
    ({404, 405}, "^$", Meaning(ClusterError, NO_METHOD)),
    ({501}, "", Meaning(ClusterError, NO_METHOD)),
    ({400}, INDEX_REQUIRED, Meaning(IndexMissing, NO_INDEX)),
    ({400}, "No appropriate index for faceting", Meaning(FacetIndexMissing, REFUSED)),
    ({400, LOCAL}, VECTOR_UNKNOWN, Meaning(VectorMissing, NO_VECTOR, 0, Done.PART)),
    ({408}, "", Meaning(ClusterTimeoutError, GAVE_UP, 1, Done.PERHAPS)),
    ({413, 422}, "", Meaning(ClusterError, REFUSED)),
    ({429}, "", Meaning(UnavailableError, BUSY, ALWAYS, Done.PART)),
    ({LOCAL, *REFUSALS}, "", Meaning(ClusterError, REFUSED, 0, Done.PART)),
    ({502, 503, 504}, "", Meaning(UnavailableError, NOT_READY, ALWAYS, Done.PERHAPS)),
    ({500}, "No space left", Meaning(ClusterError, FULL, 0, Done.PERHAPS)),
    ({500}, DISAGREEMENT, Meaning(ClusterTimeoutError, DISAGREED, 1, Done.PERHAPS)),
    ({500}, REPLICAS_DOWN, Meaning(UnavailableError, NO_REPLICA, ALWAYS, Done.PERHAPS)),
)
OTHERWISE = Meaning(ClusterError, FAILED, 0, Done.PERHAPS)


__all__ = ["Cluster", "FacetIndexMissing", "IndexMissing", "VectorMissing", "was_refused"]

PAUSES = (0.1, 0.5, 2.5)  # seconds before each further attempt
LONGEST_PAUSE = 10  # the longest that a server may request
TIMEOUT = 30  # seconds
REFUSED_STATUS = 400  # the request was readable
ENCODING = "accept-encoding"
OLDEST = (1, 18)  # since then vectors can be added to an existing collection
GIVEN: Mapping[str, str] = MappingProxyType(
    {
        "credential": "api_key of the QdrantClient that is qdrant_client",
        "limit": "in time (timeout of the QdrantClient that is qdrant_client says how long)",
    }
)
READS = {
    "info": "asking for its version",
    "get_collections": "listing collections",
    "get_aliases": "listing names of collections",
    "get_collection": "looking at {!r}",
    "collection_exists": "looking for {!r}",
    "retrieve": "reading points of {!r}",
    "scroll": "reading points of {!r}",
    "count": "counting points of {!r}",
    "facet": "counting values of {!r}",
    "query_points": "searching {!r}",
    "query_batch_points": "searching {!r}",
}
SETTINGS = {  # written as a whole or not at all
    "create_collection": "creating {!r}",
    "delete_collection": "deleting {!r}",
    "update_collection": "changing the settings of {!r}",
    "update_collection_aliases": "changing names of {!r}",
    "create_payload_index": "making an index for {!r}",
    "delete_payload_index": "deleting an index of {!r}",
    "create_vector_name": "making room for vectors in {!r}",
}
CONTENT = {
    "batch_update_points": "writing points to {!r}",
    "upsert": "writing points to {!r}",
    "set_payload": "writing points to {!r}",
    "delete_payload": "writing points to {!r}",
    "delete": "deleting points of {!r}",
}
INSTEAD = {  # of a user's call, if it refuses the collection's state
    "create_collection": " (get_or_create_collection, where it was create_collection)",
    "batch_update_points": " (upsert, where it was add)",
    "upsert": " (upsert, where it was add)",
}
_log = logging.getLogger("retrieval_store.cluster")


class Nodes:
    """The clients of a cluster: a QdrantClient for each node. One client is called until it fails;
    then the next client is called. places: the address of each client, for messages. make: a
    function that creates new clients in a forked process; None if the caller owns the clients.
    takes_arrays: whether the clients accept vectors as arrays."""

    def __init__(
        self,
        clients: Sequence[Any],
        places: Sequence[str],
        make: Callable[[], Sequence[Any]] | None = None,
    ) -> None:
        for client in clients:
            whole = callable(getattr(client, "query_batch_points", None))
            if not whole or isinstance(client, AsyncQdrantClient):
                raise InvalidTypeError(f"qdrant_client is {quote(client)}, expected a QdrantClient")
        self._clients, self._places = [*map(rest_client_of, clients)], places
        self._turn, self._make, self._process = 0, make, os.getpid()
        self._of_parent: Sequence[Any] = ()
        self.takes_arrays = all(isinstance(client, RestClient) for client in self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def present(self) -> tuple[int, Any, str]:
        """The number of the client in use, the client, and its address."""
        if self._make is not None and os.getpid() != self._process:
            self._begin_in_child(self._make)
        turn = self._turn
        of_several = f" (one of {len(self)} addresses)" if len(self) > 1 else ""
        return turn, self._clients[turn], self._places[turn] + of_several

    def _begin_in_child(self, make: Callable[[], Sequence[Any]]) -> None:
        """Replace the clients by new ones in a forked process. On the parent's connections, a
        response could reach the wrong process. The parent's connections stay open, since the parent
        uses them."""
        self._of_parent = self._clients
        self._clients, self._process = [*map(rest_client_of, make())], os.getpid()

    def leave(self, number: int) -> None:
        """Switch from the client of this number to the next client, unless another thread has
        already done so."""
        if self._turn == number:
            self._turn = (number + 1) % len(self)

    def close(self) -> None:
        """Close all clients."""
        for client in self._clients:
            client.close()


class Cluster:
    """Calls a cluster, and names the cluster in error messages. Every call can be repeated: ids of
    new points come from this package, and a write contains all data that it replaces. The first
    call checks the server's version, and raises ClusterError if it is older than 1.18. leads_to: a
    value that distinguishes a caller's client from clients of other servers; messages never contain
    this value."""

    def __init__(self, nodes: Nodes, words: Mapping[str, str] = GIVEN, leads_to: str = "") -> None:
        self._nodes, self._words, self.leads_to = nodes, words, leads_to
        self._version: tuple[int, int] | None = None
        self.place = nodes.present[2]
        self.takes_arrays = nodes.takes_arrays

    @classmethod
    def at(cls, url: str | Sequence[str], options: dict[str, Any]) -> "Cluster":
        """A cluster at a URL, or at the URLs of several of its nodes. options: arguments of
        QdrantClient; raises InvalidArgumentError for invalid ones. The timeout is 30 seconds by
        default, since the 5 seconds of qdrant-client are too few to create a collection while a
        node is down."""
        urls = [url] if isinstance(url, str) else [*url]
        for address in urls:
            if not isinstance(address, str) or not address:
                raise InvalidTypeError(
                    f"url is {quote(address)}, expected the URL of a Qdrant server"
                )
        timeout = options.get("timeout")
        if timeout is not None and not (
            isinstance(timeout, int | float) and 0 < timeout <= threading.TIMEOUT_MAX
        ):
            raise InvalidArgumentError(
                f"timeout is {quote(timeout)}, expected seconds, more than 0, or None"
            )
        headers = options.get("headers")
        if headers is not None and not isinstance(headers, Mapping):
            raise InvalidTypeError(f"headers is {quote(headers)}, expected a dict of strings")
        all_options = {"timeout": TIMEOUT, "check_compatibility": False, **options}
        if not options.get("prefer_grpc"):
            all_options["headers"] = _uncompressed(headers)

        make = partial(_make_clients, urls, all_options)
        try:
            clients = make()
        except (ValueError, TypeError, AssertionError) as error:
            arguments = ", ".join(["url", *options])
            raise InvalidArgumentError(
                f"QdrantClient can't be made with {arguments}: {error}"
            ) from error
        nodes = Nodes(clients, [f"at {address}" for address in urls], make)
        return cls(nodes, _words_for(all_options["timeout"]))

    @property
    def version(self) -> tuple[int, int]:
        """The server's version, which is read once. Raises ClusterError if it is too old."""
        if self._version is None:  # two threads may both read it, with the same result
            self._version = self._check_version(self._call_with_retries("info", "", {}).version)
        return self._version

    def call(self, method: str, collection: str, **arguments: Any) -> Any:
        """Call a method of the client for a collection. Raises NotFoundError if the collection
        doesn't exist, AlreadyExistsError if its name is taken, and ClusterError for every other
        failure."""
        return self._call_checked(method, collection, collection_name=collection, **arguments)

    def collections(self) -> list[str]:
        """The names of all collections."""
        response = self._call_checked("get_collections", "")
        return sorted(collection.name for collection in response.collections)

    def aliases(self) -> dict[str, str]:
        """The aliases of all collections: alias → collection."""
        response = self._call_checked("get_aliases", "")
        return {alias.alias_name: alias.collection_name for alias in response.aliases}

    def change_aliases(self, collection: str, operations: list[Any]) -> None:
        """Change several aliases in one request."""
        method = "update_collection_aliases"
        self._call_checked(method, collection, change_aliases_operations=operations)

    def close(self) -> None:
        """Close the clients."""
        self._nodes.close()

    def _check_version(self, version: str) -> tuple[int, int]:
        match = re.match(r"v?(\d+)\.(\d+)", version)
        if match is None:
            raise ClusterError(f"there is no Qdrant {self.place}")
        release = (int(match[1]), int(match[2]))
        if release < OLDEST:
            raise ClusterError(
                f"the cluster {self.place} is a Qdrant {version}; "
                f"{'.'.join(map(str, OLDEST))} or newer is needed"
            )
        return release

    def _call_checked(self, method: str, collection: str, **arguments: Any) -> Any:
        _ = self.version
        return self._call_with_retries(method, collection, arguments)

    def _call_with_retries(self, method: str, collection: str, arguments: Mapping[str, Any]) -> Any:
        doing = _words_of(method).format(collection)
        met: list[Understood] = []
        while True:
            number, client, place = self._nodes.present
            try:
                return getattr(client, method)(**arguments)
            except FAILURES as error:
                words = {**self._words, "place": place, "doing": doing, "collection": collection}
                met.append(understand(failure_of(error), method, words))
                pause = _pause_after(met, len(self._nodes))
                if pause is None:
                    raise met[-1].error(_outcome(method, met)) from error
            if met[-1].is_of_node:
                self._nodes.leave(number)
            _log.warning("%s; trying again", met[-1].message)
            time.sleep(pause)


class BlockingClient:
    """Makes the methods of a caller's AsyncQdrantClient callable from the threads of an
    `AsyncClient`. Each call runs on the event loop of that client, while the thread waits."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client
        self._loop = calling_loop()

    def __getattr__(self, name: str) -> Any:
        return partial(self._run, getattr(self._client, name))

    def _run(self, method: Callable[..., Coroutine[Any, Any, Any]], **arguments: Any) -> Any:
        self._loop = calling_loop() or self._loop  # threads that others start don't inherit it
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(method(**arguments), self._loop).result()


def blocking_client(client: Any) -> Any:
    """A blocking client that wraps an asynchronous client, if the current thread works for an event
    loop that awaits its result. Otherwise the client itself."""
    is_for_a_loop = isinstance(client, AsyncQdrantClient) and calling_loop() is not None
    return BlockingClient(client) if is_for_a_loop else client


def was_refused(error: ClusterError) -> bool:
    """Whether the server refused the request because of its content."""
    cause = error.__cause__
    return cause is not None and failure_of(cause).status == REFUSED_STATUS


def _make_clients(urls: Sequence[str], options: Mapping[str, Any]) -> list[QdrantClient]:
    return [QdrantClient(url=address, **options) for address in urls]


def _uncompressed(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The headers, extended so that responses are not compressed, unless the given headers set this
    themselves. A server takes two to five times as long to compress vectors as to read and send
    them."""
    given = dict(headers or {})
    is_said = any(name.lower() == ENCODING for name in given)
    return given if is_said else {ENCODING: "identity", **given}


def _words_for(timeout: float | None) -> Mapping[str, str]:
    """The words with which error messages describe the API key and the timeout of a client that
    this package has created."""
    within = "in time" if timeout is None else f"within {math.ceil(timeout)} s"
    limit = f"{within} (timeout= of Client says how long)"
    return {"credential": "api_key= of Client", "limit": limit}


def _words_of(method: str) -> str:
    return {**READS, **SETTINGS, **CONTENT}.get(method, method.replace("_", " ") + " of {!r}")


def _pause_after(met: Sequence[Understood], nodes: int) -> float | None:
    """The seconds until the next attempt; None if there is no further attempt. If a node is down,
    the next node is tried without a pause, until all nodes have been tried."""
    last = met[-1]
    alike = sum(failure.meaning.error is last.meaning.error for failure in met)
    if len(met) >= (len(PAUSES) + 1) * nodes or alike > last.meaning.again * nodes:
        return None
    rounds, others = divmod(len(met), nodes)
    if others and last.is_of_node:
        return 0.0
    if last.pause is None:
        return PAUSES[max(rounds, 1) - 1]
    return last.pause if last.pause <= LONGEST_PAUSE else None


def _outcome(method: str, met: Sequence[Understood]) -> str:
    """The end of the error message for a call whose attempts have all failed: what the call may
    have changed on the server. Empty for a read."""
    if method in READS:
        return ""
    certain = (Done.NOTHING, Done.PART) if method in SETTINGS else (Done.NOTHING,)
    if all(failure.meaning.done in certain for failure in met):
        return "; nothing was written by this request"
    last = met[-1].meaning
    if last.done is Done.PART and not issubclass(last.error, UnavailableError):
        return "; a part of it may have been done all the same"  # and it would be refused again
    again = INSTEAD.get(method, "")
    return f"; it may have been applied, wholly or in part: repeat the call to complete it{again}"
