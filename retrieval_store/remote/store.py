"""The collections of a cluster that are ours: Qdrant collections with our settings as metadata."""

import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from qdrant_client import models

from retrieval_store.base.dataclasses import replace
from retrieval_store.base.json_values import Payload
from retrieval_store.base.words import Analyzer
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    FormatError,
    InvalidArgumentError,
    NotFoundError,
)
from retrieval_store.interface.records import CollectionRecord, FileReport, Gauges, Progress
from retrieval_store.interface.spaces import NewSpace
from retrieval_store.remote import making
from retrieval_store.remote.calls.cluster import Cluster
from retrieval_store.remote.points import RemotePoints
from retrieval_store.remote.space import Options, QdrantCollection

LONGEST_NAME = 255


class RemoteStore:
    """A cluster. Each collection is a Qdrant collection of the name that it was created with; what
    it is called since is an alias.

    Settings lie in its metadata, its id among them: where another process has deleted a collection
    and made one of the same name, a Collection of the old one is told so when it asks for them.
    """

    directory: Path | None = None
    embedded = engine = None  # it isn't in this process, nor of our engine

    def __init__(self, cluster: Cluster, options: Options) -> None:
        self.cluster = cluster
        self._options = options
        self._open: dict[str, QdrantCollection] = {}
        self._lock = threading.Lock()

    def create(
        self,
        name: str,
        settings: Payload,
        spaces: Mapping[str, NewSpace],
        collection_id: str | None = None,
    ) -> CollectionRecord:
        """A new, empty collection with one vector space, under this id, or any; raises
        AlreadyExistsError."""
        BM25Embedding(None, False)  # words can be found, or the packages that are missing are named
        self._refuse_taken(name, ())
        record = CollectionRecord(collection_id or str(uuid.uuid4()), name, settings)
        making.refuse_unusable(settings)
        making.make(self.cluster, making.Settings(record, name))
        return record

    def _refuse_taken(self, name: str, own: Collection[str]) -> None:
        """Raise for a name that a collection can't have; `own`: those that it has already."""
        if len(name) > LONGEST_NAME:
            raise InvalidArgumentError(
                f"name has {len(name)} characters; on a cluster it may have {LONGEST_NAME}"
            )
        if name in own or name not in {*self.cluster.collections(), *self.cluster.aliases()}:
            return
        record = self._read(name)
        if record is None:
            why = "is the name of one that retrieval-store didn't make"
        elif record.name != name:
            why = f"is what the collection {record.name!r} was called first, which stays with it"
        else:
            why = "already exists"
        raise AlreadyExistsError(f"collection {name!r} {why}, {self.cluster.place}")

    def named(self, name: str) -> CollectionRecord:
        """The collection of this name; raises NotFoundError, or FormatError for one that only older
        releases can read."""
        record = self._read(name)
        if record is not None and record.name == name:
            return record
        why = ""
        if record is not None:
            why = f"; what was called so is {record.name!r} now"
        elif name in self.cluster.collections():
            why = ", only one that retrieval-store didn't make"
        raise NotFoundError(f"there is no collection {name!r} {self.cluster.place}{why}")

    def record(self, collection_id: str) -> CollectionRecord:
        """Name and settings of a collection; raises NotFoundError."""
        record = self._read(self._opened(collection_id).settings.name)
        if record is None or record.id != collection_id:
            self._forget(collection_id)
            raise NotFoundError.of_deleted(f"Collection {self.cluster.place}")
        return record

    def change(
        self, collection_id: str, edit: Callable[[CollectionRecord], CollectionRecord]
    ) -> CollectionRecord:
        """Replace name and settings by what `edit` makes of them; raises AlreadyExistsError, or
        ConflictError for new settings of word search: the words are with the points already."""
        old = self.record(collection_id)
        new = edit(old)
        if new.settings.get("text") != old.settings.get("text"):
            raise ConflictError("the settings of word search can't be changed on a cluster")
        held = self._opened(collection_id)
        name, settings = held.settings.name, replace(held.settings, record=new)
        aliases = [a for a, of in self.cluster.aliases().items() if of == name]
        if new.name != old.name:
            self._refuse_taken(new.name, [name, *aliases])
        # In this order: broken off anywhere, the collection is found by the name that it records.
        if new.name not in (name, *aliases):
            made = models.CreateAlias(collection_name=name, alias_name=new.name)
            self.cluster.change_aliases(name, [models.CreateAliasOperation(create_alias=made)])
        self.cluster.call("update_collection", name, metadata=settings.kept())
        if old.name != new.name and old.name in aliases:  # others' aliases are theirs
            gone = models.DeleteAlias(alias_name=old.name)
            self.cluster.change_aliases(name, [models.DeleteAliasOperation(delete_alias=gone)])
        held.settings = settings
        return new

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """Collections in the order of their names: those that are ours. Raises FormatError where
        there is one that only older releases can read, rather than leave it out."""
        records = [self._read(name) for name in self.cluster.collections()]
        ours = sorted((r for r in records if r is not None), key=lambda record: record.name)
        return ours[offset : None if limit is None else offset + limit]

    def count(self) -> int:
        """How many collections there are."""
        return len(self.page(None, 0))

    def drop(self, name: str) -> None:
        """Delete a collection, and with it its aliases; raises NotFoundError."""
        record = self.named(name)
        settings = self._opened(record.id).settings
        self.cluster.call("delete_collection", settings.name)
        self._forget(record.id)

    def points(self, collection_id: str) -> RemotePoints:
        """The points of a collection; raises NotFoundError."""
        return RemotePoints(self._opened(collection_id))

    def verify(self, analyzer_of: Callable[[CollectionRecord], Analyzer]) -> Iterator[FileReport]:
        """Its files are Qdrant's to look at."""
        return iter(())

    def gauges(self) -> Iterator[tuple[str, Gauges]]:
        """What a cluster says of each collection."""
        for record in self.page(None, 0):
            with suppress(NotFoundError):  # deleted meanwhile
                yield record.name, self.points(record.id).gauges()

    def own_bytes(self) -> int:
        """Its files are Qdrant's."""
        return 0

    def budget(self) -> dict[str, int]:
        """What it holds in memory is Qdrant's."""
        return {}

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Qdrant does so by itself."""
        self._opened(collection_id)

    def _opened(self, collection_id: str) -> QdrantCollection:
        """What is known of a collection; looked for when nothing is."""
        if collection_id not in self._open:
            for name in self.cluster.collections():
                with suppress(FormatError):  # another collection, made by an older release
                    self._read(name)
        held = self._open.get(collection_id)
        if held is None:
            raise NotFoundError.of_deleted(f"Collection {self.cluster.place}")
        return held

    def _read(self, name: str) -> CollectionRecord | None:
        """Our record of a Qdrant collection, by its name or an alias; None when there is none.
        Raises FormatError for one that only older releases can read."""
        try:
            info = self.cluster.call("get_collection", name)
        except NotFoundError:
            return None
        settings = making.settings_in(info.config.metadata)
        if settings is None:
            return None
        making.complete(self.cluster, settings.name, info)
        record = settings.record
        with self._lock:
            held = self._open.setdefault(
                record.id, QdrantCollection(self.cluster, self._options, settings)
            )
            held.settings = settings  # which another process may have changed
            held.note(info)
        return record

    def _forget(self, collection_id: str) -> None:
        with self._lock:
            self._open.pop(collection_id, None)
