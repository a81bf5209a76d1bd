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
        """The names of these collections."""

    def open(self, name: str) -> Collection:
        """A collection by its name; raises NotFoundError where it doesn't exist."""

    def create(self, name: str, forgets: bool) -> Collection:
        """The collection of this name; created if it doesn't exist. Raises NotFoundError if it may
        not be created. forgets: whether its records must expire; raises InvalidArgumentError if a
        new collection doesn't support that."""

    def allowed_names(self) -> tuple[str, ...]:
        """The names of the permitted collections, existing or not; None for all."""


@dataclass(frozen=True, slots=True)
class ClientSource:
    """The collections of a client: all but those of the Qdrant front, or only those with the given
    names. client: returns the client; called when a tool first needs it. opened: the collections in
    use, by their ids and functions, whose models stay loaded."""

    client: Callable[[], Client]
    only: tuple[str, ...] = ()
    opened: dict[tuple[str, str], Collection] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The names of these collections."""
        existing = self.client().collection_names()
        return [name for name in existing if not self.only or name in self.only]

    def open(self, name: str) -> Collection:
        """A collection by its name."""
        self._check(name)
        collection = self.client().get_collection(name)
        key = str(collection.id), repr(collection.configuration["embedding_function"])
        return self.opened.setdefault(key, collection)

    def create(self, name: str, forgets: bool) -> Collection:
        """The collection of this name; created if it doesn't exist. On a cluster records can't
        expire."""
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
        """The names that were given."""
        return self.only

    def _check(self, name: str) -> None:
        if self.only and name not in self.only:
            raise NotFoundError(f"the tools may use {list_ids(self.only)} alone, not {name!r}")


@dataclass(frozen=True, slots=True)
class CollectionSource:
    """A single collection."""

    collection: Collection

    def names(self) -> list[str]:
        """Its name."""
        return [self.collection.name]

    def open(self, name: str) -> Collection:
        """The collection."""
        if name != self.collection.name:
            raise NotFoundError(f"there is {self.collection.name!r} alone, and no {name!r}")
        return self.collection

    def create(self, name: str, forgets: bool) -> Collection:
        """The collection."""
        return self.open(name)

    def allowed_names(self) -> tuple[str, ...]:
        """Its name."""
        return (self.collection.name,)
