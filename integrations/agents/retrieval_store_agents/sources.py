"""The collections that tools may use: those in a client, or a single one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from retrieval_store import Client, Collection
from retrieval_store.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from retrieval_store_agents.definitions import FORGOTTEN
from retrieval_store_agents.wording import list_ids


class ToolSource(Protocol):
    """The collections that the tools may use."""

    def names(self) -> list[str]:
        """The names of those permitted collections that exist."""

    def open(self, name: str) -> Collection:
        """The collection of this name; raises NotFoundError if it does not exist."""

    def create(self, name: str, forgets: bool) -> Collection:
        """The collection of this name, which is created if it does not exist. Raises NotFoundError
        if a collection of this name is not permitted. forgets: whether the collection's records
        must be able to expire; raises InvalidArgumentError if a new collection does not support
        that."""

    def allowed_names(self) -> tuple[str, ...]:
        """The names of the permitted collections, existing or not; empty if all are permitted."""


@dataclass(frozen=True, slots=True)
class ClientSource:
    """The collections of a client, without those that only QdrantClient can use. only: the names of
    the permitted collections, empty for all. client: a function that returns the client, called
    when a tool first needs it. opened: the collections in use, by their ids and functions, so that
    their models stay loaded."""

    client: Callable[[], Client]
    only: tuple[str, ...] = ()
    opened: dict[tuple[str, str], Collection] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The names of those permitted collections that exist."""
        existing = self.client().collection_names()
        return [name for name in existing if not self.only or name in self.only]

    def open(self, name: str) -> Collection:
        """The collection of this name."""
        self._check(name)
        collection = self.client().get_collection(name)
        key = str(collection.id), repr(collection.configuration["embedding_function"])
        return self.opened.setdefault(key, collection)

    def create(self, name: str, forgets: bool) -> Collection:
        """The collection of this name, which is created if it does not exist. forgets: whether the
        collection's records must be able to expire, which is impossible on a cluster."""
        self._check(name)
        client = self.client()
        if name in client.collection_names():
            return self.open(name)
        try:
            try:
                return client.create_collection(name, {"expires": FORGOTTEN})
            except InvalidArgumentError:
                if forgets:
                    raise
                return client.create_collection(name)
        except AlreadyExistsError:  # another client was faster, or it is QdrantClient's
            return self.open(name)

    def allowed_names(self) -> tuple[str, ...]:
        """The names of the permitted collections, existing or not; empty if all are permitted."""
        return self.only

    def _check(self, name: str) -> None:
        if self.only and name not in self.only:
            raise NotFoundError(f"the tools may use {list_ids(self.only)} alone, not {name!r}")


@dataclass(frozen=True, slots=True)
class CollectionSource:
    """A source with a single collection."""

    collection: Collection

    def names(self) -> list[str]:
        """The name of the collection, in a list."""
        return [self.collection.name]

    def open(self, name: str) -> Collection:
        """The collection; raises NotFoundError if it has another name."""
        if name != self.collection.name:
            raise NotFoundError(f"there is {self.collection.name!r} alone, and no {name!r}")
        return self.collection

    def create(self, name: str, forgets: bool) -> Collection:
        """The collection, as returned by `open`: this source creates no collections. forgets:
        unused."""
        return self.open(name)

    def allowed_names(self) -> tuple[str, ...]:
        """The name of the collection, in a tuple."""
        return (self.collection.name,)
