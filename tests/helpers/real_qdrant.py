"""A real Qdrant server for tests, if the environment names one; otherwise the server with its
engine.

It uses QDRANT_URL, and QDRANT_API_KEY if it needs a key. Collections of tests get unique names
there and are deleted at the end. Others are invisible to tests, and stay.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qdrant_client import QdrantClient, models

from tests.helpers.qdrant_server import Server

URL = os.environ.get("QDRANT_URL")
LONGEST = 200


class Apart:
    """A QdrantClient that renames collections and their aliases on the server."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client
        self._prefix = f"test-{uuid.uuid4().hex[:12]}-"
        self._own: dict[str, str] = {}  # by the name on the server

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            if "collection_name" in kwargs:
                kwargs["collection_name"] = self._there(kwargs["collection_name"])
            elif args and isinstance(args[0], str):
                args = (self._there(args[0]), *args[1:])
            return method(*args, **kwargs)

        return call

    def get_collections(self) -> models.CollectionsResponse:
        found = self._client.get_collections().collections
        ours = [one for one in found if one.name in self._own]
        named = [models.CollectionDescription(name=self._own[one.name]) for one in ours]
        return models.CollectionsResponse(collections=named)

    def get_aliases(self) -> models.CollectionsAliasesResponse:
        found = self._client.get_aliases().aliases
        named = [
            models.AliasDescription(
                alias_name=self._own[one.alias_name], collection_name=self._own[one.collection_name]
            )
            for one in found
            if one.alias_name in self._own
        ]
        return models.CollectionsAliasesResponse(aliases=named)

    def update_collection_aliases(self, change_aliases_operations: list[Any]) -> bool:
        changed = []
        for operation in change_aliases_operations:
            dumped = operation.model_dump()
            (message,) = dumped.values()
            message.update({key: self._there(name) for key, name in message.items()})
            changed.append(type(operation)(**dumped))
        return self._client.update_collection_aliases(change_aliases_operations=changed)

    def close(self) -> None:
        """Delete the created collections, and close the client."""
        for one in self._client.get_collections().collections:
            if one.name in self._own:
                self._client.delete_collection(one.name)
        self._client.close()

    def _there(self, name: str) -> str:
        short = name if len(name) <= LONGEST else hashlib.sha256(name.encode()).hexdigest()
        there = self._prefix + short
        self._own[there] = name
        return there


@contextmanager
def qdrant() -> Iterator[Any]:
    """A client of an empty server."""
    if URL is not None:
        client = Apart(QdrantClient(URL, api_key=os.environ.get("QDRANT_API_KEY"), timeout=60))
        try:
            yield client
        finally:
            client.close()
        return
    server = Server()
    client = server.client()
    try:
        yield client
    finally:
        client.close()
        server.close()
