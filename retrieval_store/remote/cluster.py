"""Calls of qdrant-client: repeated when the connection fails, with errors that are ours."""

import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
import httpx
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

from retrieval_store.base.json_values import shown
from retrieval_store.errors import (
    AlreadyExistsError,
    ClientClosedError,
    ClusterError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    StorageError,
)

PAUSES = (0.1, 0.5, 2.5)  # seconds before each further attempt
FAILURES = (
    ApiException,
    QdrantException,
    httpx.TransportError,
    grpc.RpcError,
    ValueError,
    RuntimeError,
)
CONNECTION = (ResponseHandlingException, QdrantException, httpx.TransportError)
TRANSIENT = (429, 502, 503, 504, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
MISSING = (404, grpc.StatusCode.NOT_FOUND)
TAKEN = (409, grpc.StatusCode.ALREADY_EXISTS)
_log = logging.getLogger("retrieval_store")


class IndexMissing(ClusterError):
    """shim"""


class VectorMissing(ClusterError):
    """shim"""


class Cluster:
    """A qdrant-client, and what to call the place where it leads.

    All calls that are made through it may be made twice: what is written is written under ids that
    are ours, and says all of what it replaces.
    """

    def __init__(self, client: Any, place: str) -> None:
        whole = callable(getattr(client, "query_batch_points", None))
        if not whole or isinstance(client, AsyncQdrantClient):
            raise InvalidTypeError(f"qdrant_client is {shown(client)}, expected a QdrantClient")
        self._client = client
        self.place = place

    @classmethod
    def at(cls, url: str, options: dict[str, Any]) -> "Cluster":
        """The one at a URL, with further arguments of QdrantClient's; raises
        InvalidArgumentError."""
        if not isinstance(url, str) or not url:
            raise InvalidTypeError(f"url is {shown(url)}, expected the URL of a Qdrant server")
        try:
            return cls(QdrantClient(url=url, **options), f"at {url}")
        except (ValueError, TypeError, AssertionError) as error:
            given = ", ".join(["url", *options])
            raise InvalidArgumentError(
                f"QdrantClient can't be made with {given}: {error}"
            ) from error

    def call(self, method: str, collection: str, **arguments: Any) -> Any:
        """Call a method of the client's for a collection. Raises NotFoundError,
        AlreadyExistsError, or StorageError for all else."""
        return self._retried(
            lambda: getattr(self._client, method)(collection_name=collection, **arguments),
            collection,
        )

    def collections(self) -> list[str]:
        """The names of all collections."""
        found = self._retried(self._client.get_collections, "")
        return sorted(one.name for one in found.collections)

    def aliases(self) -> dict[str, str]:
        """Other names of collections: alias → collection."""
        found = self._retried(self._client.get_aliases, "")
        return {one.alias_name: one.collection_name for one in found.aliases}

    def change_aliases(self, collection: str, operations: list[Any]) -> None:
        """Several changes at once."""
        self._retried(
            lambda: self._client.update_collection_aliases(operations),
            collection,
        )

    @property
    def version(self) -> Any:
        v = self._client.info().version.split(".")
        return int(v[0]), int(v[1])

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _retried(self, call: Callable[[], Any], collection: str) -> Any:
        for pause in (*PAUSES, None):
            try:
                return call()
            except FAILURES as error:
                if pause is None or not _may_pass(error):
                    raise self._translated(error, collection) from error
                _log.warning("the cluster %s can't be reached, trying again: %s", self.place, error)
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _translated(self, error: Exception, collection: str) -> Exception:
        said, status = str(error), _status(error)
        if "Index required" in said:
            return IndexMissing(said)
        if "Not existing vector" in said:
            return VectorMissing(said)
        if _may_pass(error):
            return StorageError(f"the cluster {self.place} can't be reached: {said}")
        if status in MISSING and not collection:
            return StorageError(f"there is no Qdrant {self.place}: {said}")
        if status in MISSING or (status is None and "not found" in said):
            return NotFoundError(f"there is no collection {collection!r} on the cluster (any more)")
        if status in TAKEN or (status in (None, 400) and "already exists" in said):
            return AlreadyExistsError(f"there is a Qdrant collection {collection!r} already")
        if isinstance(error, RuntimeError) and "closed" in said:
            return ClientClosedError(f"the cluster {self.place}: {said}")
        return StorageError(f"the cluster {self.place} refuses: {said}")


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    return isinstance(error, CONNECTION) or _status(error) in TRANSIENT


def _status(error: Exception) -> Any:
    """What the server answered: a status of HTTP or of gRPC; None when there was no answer."""
    if isinstance(error, grpc.RpcError):
        return error.code()
    return getattr(error, "status_code", None)
