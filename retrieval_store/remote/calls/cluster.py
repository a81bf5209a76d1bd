"""Calls of qdrant-client: made again where that may help, with errors that are ours."""

import asyncio
import math
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from qdrant_client import AsyncQdrantClient, QdrantClient

from retrieval_store.base.json_values import shown
from retrieval_store.base.logs import log_of
from retrieval_store.base.threads import CALLING
from retrieval_store.errors import (
    ClusterError,
    InvalidArgumentError,
    InvalidTypeError,
    UnavailableError,
)
from retrieval_store.remote.calls.failures import FAILURES, failure_of
from retrieval_store.remote.calls.meanings import (
    Done,
    IndexMissing,
    Understood,
    VectorMissing,
    understood,
)

__all__ = ["Cluster", "IndexMissing", "VectorMissing", "was_refused"]

PAUSES = (0.1, 0.5, 2.5)  # seconds before each further attempt
LONGEST_PAUSE = 10  # that a server may ask for
TIMEOUT = 30  # seconds
REFUSED_STATUS = 400  # of a request that the server could read
OLDEST = (1, 18)  # since then vectors can be added to a collection that is there
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
    "delete": "deleting points of {!r}",
}
INSTEAD = {  # of what a user has called, if that refuses what is there
    "create_collection": " (get_or_create_collection, where it was create_collection)",
    "batch_update_points": " (upsert, where it was add)",
    "upsert": " (upsert, where it was add)",
}
_log = log_of("cluster")


class Cluster:
    """A qdrant-client, and what to call the place where it leads.

    All calls that are made through it may be made twice: what is written is written under ids that
    are ours, and says all of what it replaces. The first one asks for the server's version, and
    raises ClusterError for one before 1.18.
    """

    def __init__(self, client: Any, place: str, words: Mapping[str, str] = GIVEN) -> None:
        whole = callable(getattr(client, "query_batch_points", None))
        if not whole or isinstance(client, AsyncQdrantClient):
            raise InvalidTypeError(f"qdrant_client is {shown(client)}, expected a QdrantClient")
        self._client = client
        self._words = words
        self._version: tuple[int, int] | None = None
        self.place = place

    @classmethod
    def at(cls, url: str, options: dict[str, Any]) -> "Cluster":
        """The one at a URL, with further arguments of QdrantClient's; raises InvalidArgumentError.

        timeout is 30 seconds unless it is given: qdrant-client's own 5 are too few to create a
        collection while a node is down."""
        if not isinstance(url, str) or not url:
            raise InvalidTypeError(f"url is {shown(url)}, expected the URL of a Qdrant server")
        timeout = options.get("timeout")
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise InvalidArgumentError(
                f"timeout is {shown(timeout)}, expected seconds, more than 0, or None"
            )
        all_options = {"timeout": TIMEOUT, "check_compatibility": False, **options}
        try:
            client = QdrantClient(url=url, **all_options)
        except (ValueError, TypeError, AssertionError) as error:
            given = ", ".join(["url", *options])
            raise InvalidArgumentError(
                f"QdrantClient can't be made with {given}: {error}"
            ) from error
        return cls(client, f"at {url}", _words_for(all_options["timeout"]))

    @property
    def version(self) -> tuple[int, int]:
        """Of the server, asked for once; raises ClusterError for one that is too old."""
        if self._version is None:  # two threads may both ask, and learn the same
            self._version = self._served(
                self._retried(lambda: self._asked("info"), "info", "").version
            )
        return self._version

    def call(self, method: str, collection: str, **arguments: Any) -> Any:
        """Call a method of the client's for a collection. Raises NotFoundError,
        AlreadyExistsError, or ClusterError for all else."""
        return self._called(method, collection, collection_name=collection, **arguments)

    def collections(self) -> list[str]:
        """The names of all collections."""
        found = self._called("get_collections", "")
        return sorted(one.name for one in found.collections)

    def aliases(self) -> dict[str, str]:
        """Other names of collections: alias → collection."""
        found = self._called("get_aliases", "")
        return {one.alias_name: one.collection_name for one in found.aliases}

    def change_aliases(self, collection: str, operations: list[Any]) -> None:
        """Several changes at once."""
        method = "update_collection_aliases"
        self._called(method, collection, change_aliases_operations=operations)

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _served(self, version: str) -> tuple[int, int]:
        match = re.match(r"v?(\d+)\.(\d+)", version)
        if match is None:
            raise ClusterError(f"there is no Qdrant {self.place}")
        found = (int(match[1]), int(match[2]))
        if found < OLDEST:
            raise ClusterError(
                f"the cluster {self.place} is a Qdrant {version}; "
                f"{'.'.join(map(str, OLDEST))} or newer is needed"
            )
        return found

    def _called(self, method: str, collection: str, **arguments: Any) -> Any:
        _ = self.version
        return self._retried(lambda: self._asked(method, **arguments), method, collection)

    def _asked(self, method: str, **arguments: Any) -> Any:
        """What the client answers at once."""
        return getattr(self._client, method)(**arguments)

    def _retried(self, call: Callable[[], Any], method: str, collection: str) -> Any:
        doing = _words_of(method).format(collection)
        words = {**self._words, "place": self.place, "doing": doing, "collection": collection}
        met: list[Understood] = []
        while True:
            try:
                return call()
            except FAILURES as error:
                met.append(understood(failure_of(error), method, words))
                pause = _pause_after(met)
                if pause is None:
                    raise met[-1].error(_outcome(method, met)) from error
            _log.warning("%s; trying again", met[-1].message)
            time.sleep(pause)


class Waited:
    """An AsyncQdrantClient of the caller's, whose calls are made on the loop that the client is
    used by; threads of an `AsyncClient` wait for them."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client
        self._loop = CALLING.get()

    def __getattr__(self, name: str) -> Any:
        return partial(self._asked, getattr(self._client, name))

    def _asked(self, method: Callable[..., Coroutine[Any, Any, Any]], **arguments: Any) -> Any:
        self._loop = CALLING.get() or self._loop  # threads that others start aren't told of it
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(method(**arguments), self._loop).result()


def waited(client: Any) -> Any:
    """A client whose calls wait; one that is none of the asynchronous ones as it is."""
    return Waited(client) if isinstance(client, AsyncQdrantClient) else client


def was_refused(error: ClusterError) -> bool:
    """Whether the server refused what was asked, as it was asked."""
    cause = error.__cause__
    return cause is not None and failure_of(cause).status == REFUSED_STATUS


def _words_for(timeout: float | None) -> Mapping[str, str]:
    """What errors say of a client that was made here."""
    within = "in time" if timeout is None else f"within {math.ceil(timeout)} s"
    limit = f"{within} (timeout= of Client says how long)"
    return {"credential": "api_key= of Client", "limit": limit}


def _words_of(method: str) -> str:
    return {**READS, **SETTINGS, **CONTENT}.get(method, method.replace("_", " ") + " of {!r}")


def _pause_after(met: Sequence[Understood]) -> float | None:
    """The seconds until the next attempt; None when there is none."""
    last = met[-1]
    alike = sum(one.meaning.error is last.meaning.error for one in met)
    if len(met) > len(PAUSES) or alike > last.meaning.again:
        return None
    if last.pause is None:
        return PAUSES[len(met) - 1]
    return last.pause if last.pause <= LONGEST_PAUSE else None


def _outcome(method: str, met: Sequence[Understood]) -> str:
    """What came of a call all of whose attempts failed."""
    if method in READS:
        return ""
    certain = (Done.NOTHING, Done.PART) if method in SETTINGS else (Done.NOTHING,)
    if all(one.meaning.done in certain for one in met):
        return "; nothing was written by this request"
    last = met[-1].meaning
    if last.done is Done.PART and not issubclass(last.error, UnavailableError):
        return "; a part of it may have been done all the same"  # and it would be refused again
    again = INSTEAD.get(method, "")
    return f"; it may have been done or not, in part too: the same call again completes it{again}"
