"""Stores as commands open them. What is heavy is imported here, once a store is opened."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from retrieval_store.base.system import users_of
from retrieval_store.errors import (
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
    RetrievalStoreError,
)

if TYPE_CHECKING:
    from retrieval_store.api.client import Client
    from retrieval_store.api.collection import Collection
    from retrieval_store.places import Session
    from retrieval_store.query.types import CollectionRecord, Mode

KEYS = ("RETRIEVAL_STORE_API_KEY", "QDRANT_API_KEY")  # of a server; the first that is set
LOOKED_EVERY = 0.3  # seconds
CATALOG = "catalog.sqlite"  # which makes a directory a store


def is_url(store: str) -> bool:
    """Whether it is the URL of a server or a cluster, rather than a directory."""
    return store.startswith(("http://", "https://"))


def has_catalog(store: str) -> bool:
    """Whether there is a store in a directory."""
    return os.path.lexists(os.path.join(store, CATALOG))


@contextmanager
def opened(
    store: str, *, writes: bool = False, creates: bool = False, trust: bool = False
) -> Iterator["Client"]:
    """A client of a store; one that only reads can't write, and makes no store."""
    from retrieval_store.api.client import Client

    if not creates:
        _refuse_missing(store)
    if is_url(store):
        client = Client(url=store, trust=trust, **_key())
    else:
        client = Client(store, create=creates, read_only=not writes, trust=trust)
    with client:
        yield client


@contextmanager
def opened_local_mode(directory: str) -> Iterator["Client"]:
    """A client of the collections that qdrant-client's local mode keeps in a directory."""
    from retrieval_store.api.client import Client

    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise MissingDependencyError(
            'local mode needs qdrant-client: pip install "retrieval-store[qdrant]"'
        ) from error
    with closing(QdrantClient(path=directory)) as local, Client(qdrant_client=local) as client:
        yield client


@contextmanager
def looked_at(store: str, *, writes: bool = False, rebuild: bool = False) -> Iterator["Session"]:
    """A store below both fronts, so that the collections of both are seen. rebuild:
    without what is derived of the points."""
    from retrieval_store import places

    _refuse_missing(store)
    if is_url(store):
        session = places.elsewhere(store, None, True, _key())
    else:
        mode: Mode = "full" if writes else "read-only"
        session = places.embedded(Path(store).resolve(), mode, rebuild=rebuild, create=False)
    try:
        yield session
    finally:
        session.close()


def _refuse_missing(store: str) -> None:
    """Raise NotFoundError for a directory where no store is."""
    if not is_url(store) and not has_catalog(store):
        raise NotFoundError(f"there is no store at {store}")


def _key() -> dict[str, Any]:
    keys = (os.environ.get(name) for name in KEYS)
    key = next((one for one in keys if one), None)
    return {"api_key": key} if key else {}


def collection_of(client: "Client", name: str, *, embeds: bool = False) -> "Collection":
    """A collection; with the embedding function that it remembers only where it `embeds`."""
    try:
        if embeds:
            return client.get_collection(name)
        return client.get_collection(name, embedding_function=None)
    except (NotFoundError, InvalidArgumentError):  # which may say what names there can be
        refuse_unknown(client.stats()["by_collection"], name)
        raise


def refuse_unknown(names: Iterable[str], name: str) -> None:
    """Raise NotFoundError for a collection that is none of those."""
    there = sorted(names)
    if name not in there:
        from retrieval_store.base.validation import listed

        those = f"these are there: {listed(there)}" if there else "nor is any other"
        raise NotFoundError(f"there is no collection {name!r}; {those}")


def record_of(session: "Session", name: str) -> "CollectionRecord":
    """A collection below both fronts, whichever made it."""
    records = {record.name: record for record in session.store.page(None, 0)}
    refuse_unknown(records, name)
    return records[name]


def names_completed(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of collections that begin so, in the store that is named already: in a directory,
    and of names that are printable, since they reach a terminal."""
    store = str(ctx.params.get("store"))
    if is_url(store):
        return []
    with suppress(RetrievalStoreError, OSError), looked_at(store) as session:
        names = [record.name for record in session.store.page(None, 0)]
        return [
            CompletionItem(name)
            for name in names
            if name.startswith(incomplete) and name.isprintable()
        ]
    return []


def is_used(store: str) -> bool:
    """Whether another process has a store open, as far as the system tells."""
    time.sleep(LOOKED_EVERY)  # to look takes as long as some hundred reads
    return not is_url(store) and bool(users_of(Path(store)))
