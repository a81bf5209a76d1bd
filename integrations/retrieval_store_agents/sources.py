"""The collections that tools may use: those of a client, or one alone."""

from collections.abc import Callable
from typing import Protocol

from retrieval_store.api.client import Client
from retrieval_store.api.collection import Collection
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import list_ids
from retrieval_store.errors import NotFoundError


class ToolSource(Protocol):
    """The collections that the tools may use."""

    def names(self) -> list[str]:
        """Their names."""

    def open(self, name: str) -> Collection:
        """One of them; NotFoundError where it doesn't exist."""

    def create(self, name: str) -> Collection:
        """The same, made if it doesn't exist; NotFoundError where it may not be made."""

    def allowed_names(self) -> tuple[str, ...]:
        """The names of those that may be used, existing or not; none for all."""


@dataclass(frozen=True, slots=True)
class ClientSource:
    """The collections of a client: all of them, or those of these names alone. client: returns it,
    and is called when a tool needs it first."""

    client: Callable[[], Client]
    only: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Their names."""
        existing = [collection.name for collection in self.client().list_collections()]
        return [name for name in existing if not self.only or name in self.only]

    def open(self, name: str) -> Collection:
        """One of them."""
        self._check(name)
        return self.client().get_collection(name)

    def create(self, name: str) -> Collection:
        """The same, made if it doesn't exist."""
        self._check(name)
        if name in self.names():  # also one of the Qdrant front, whose name may be no other's
            return self.client().get_collection(name)
        return self.client().get_or_create_collection(name)

    def allowed_names(self) -> tuple[str, ...]:
        """The names that were given."""
        return self.only

    def _check(self, name: str) -> None:
        if self.only and name not in self.only:
            raise NotFoundError(f"the tools may use {list_ids(self.only)} alone, not {name!r}")


@dataclass(frozen=True, slots=True)
class CollectionSource:
    """One collection alone."""

    collection: Collection

    def names(self) -> list[str]:
        """Its name."""
        return [self.collection.name]

    def open(self, name: str) -> Collection:
        """The collection."""
        if name != self.collection.name:
            raise NotFoundError(f"there is {self.collection.name!r} alone, and no {name!r}")
        return self.collection

    create = open

    def allowed_names(self) -> tuple[str, ...]:
        """Its name."""
        return (self.collection.name,)
