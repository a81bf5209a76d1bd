"""Getting at a collection: in a directory, on a cluster, of a client, or in memory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retrieval_store.base.json_values import shown
from retrieval_store.direct.client import ATTEMPTS, Client
from retrieval_store.direct.collection import Collection
from retrieval_store.direct.embedder import is_told_apart, space_for
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
)


@dataclass(slots=True)
class Opened:
    """A collection, and the client that was opened for it, if one was."""

    collection: Collection
    client: Client | None

    def close(self) -> None:
        """Close the client that was opened for the collection; one that was given stays open."""
        if self.client is not None:
            self.client.close()


def open_collection(
    name: str,
    *,
    path: str | os.PathLike[str] | None = None,
    url: str | None = None,
    client: Client | None = None,
    collection: Collection | None = None,
    distance: str | None = None,
    configuration: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    embedding_function: Any = None,
    check_model: bool = True,
) -> Opened:
    """The collection that one of `path`, `url`, `client` and `collection` leads to, made if there
    is none; with none of them, in memory. distance: of a collection that is made here, cosine if it
    isn't said; one that exists must have it, if it is. embedding_function: what its vectors are
    made by; a collection that is made remembers its model, and one that exists is checked against
    it, unless `check_model` is False."""
    given = {"path": path, "url": url, "client": client, "collection": collection}
    named = [key for key, value in given.items() if value is not None]
    if len(named) > 1:
        raise InvalidArgumentError(
            f"expected at most one of {', '.join(given)}, got {' and '.join(named)}"
        )
    if client is not None and not isinstance(client, Client):
        raise InvalidTypeError(
            f"client is {shown(client)}, expected a retrieval_store.Client; a "
            "QdrantClient goes into one: Client(qdrant_client=…)"
        )
    if collection is not None:
        return Opened(collection, None)
    opened = Client(path, url=url) if client is None else None
    try:
        made = _got_or_made(
            client or opened,
            name,
            distance,
            configuration,
            metadata,
            embedding_function=embedding_function,
            check_model=check_model,
        )
    except BaseException:
        if opened is not None:
            opened.close()
        raise
    return Opened(made, opened)


def _got_or_made(
    client: Any,
    name: str,
    distance: str | None,
    configuration: Mapping[str, Any] | None,
    metadata: Mapping[str, Any] | None,
    **using: Any,
) -> Collection:
    given = dict((configuration or {}).get("hnsw") or {})
    usual = space_for(using["embedding_function"], None) or "cosine"
    if not is_told_apart(using["embedding_function"]):
        using["embedding_function"] = None
    if distance is not None:
        given.setdefault("space", distance)
    refused = 0
    while True:  # another process may create or delete it between the two
        try:
            existing: Collection = client.get_collection(name, **{**using, "check_model": False})
        except NotFoundError:
            hnsw = {"space": usual, **given}
            try:
                made: Collection = client.create_collection(
                    name, {**(configuration or {}), "hnsw": hnsw}, metadata, **using
                )
            except AlreadyExistsError:
                refused += 1
                if refused == ATTEMPTS:  # on a cluster it may be the name of something else
                    raise
                continue
            return made
        if not existing.count():  # whose vectors come from nowhere yet
            using["check_model"] = False
        wanted = {**(configuration or {}), "hnsw": given}
        checked: Collection = client.get_or_create_collection(existing.name, wanted, **using)
        return checked
