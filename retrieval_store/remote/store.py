"""The collections of a cluster that are ours: Qdrant collections with our settings as metadata."""

import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qdrant_client import models

from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.engine.catalog import CollectionRecord
from retrieval_store.engine.indexing import index_name, index_settings
from retrieval_store.engine.maintenance import Progress
from retrieval_store.engine.types import NewSpace
from retrieval_store.engine.verify import FileReport
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
)
from retrieval_store.indexes import EXACT, HNSW
from retrieval_store.indexes.hnsw import DEFAULTS
from retrieval_store.json_values import Payload
from retrieval_store.remote.cluster import Cluster
from retrieval_store.remote.payloads import ORDER
from retrieval_store.remote.points import RemotePoints
from retrieval_store.remote.space import WORDS, QdrantCollection

KEY = "retrieval_store"  # in the metadata of a Qdrant collection
OURS = ("id", "name", "qdrant_name")  # beside the settings
LONGEST_NAME = 255
NO_GRAPH = 0  # links of a vector for which Qdrant makes no index


class RemoteStore:
    """A cluster. Each collection is a Qdrant collection of the name that it was created with; what
    it is called since is an alias.

    Settings lie in its metadata, its id among them: where another process has deleted a collection
    and made one of the same name, a Collection of the old one is told so when it asks for them.
    """

    directory: Path | None = None

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._open: dict[str, QdrantCollection] = {}
        self._lock = threading.Lock()

    def create(
        self, name: str, settings: Payload, spaces: Mapping[str, NewSpace]
    ) -> CollectionRecord:
        """A new, empty collection with one vector space; raises AlreadyExistsError."""
        (space,) = spaces.values()
        BM25Embedding(None, False)  # words can be found, or the packages that are missing are named
        if len(name) > LONGEST_NAME:
            raise InvalidArgumentError(
                f"name has {len(name)} characters; on a cluster it may have {LONGEST_NAME}"
            )
        record = CollectionRecord(str(uuid.uuid4()), name, settings)
        if name in self._names():  # an alias, of which Qdrant would say so in its own words
            raise AlreadyExistsError(f"collection {name!r} already exists {self.cluster.place}")
        self.cluster.call(
            "create_collection",
            name,
            vectors_config={},  # the first write says of which dimension they are
            sparse_vectors_config={WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            hnsw_config=_graph_of(space),
            metadata={KEY: _stored(record, name)},
        )
        with warnings.catch_warnings():
            # In its local mode qdrant-client has no indexes of payloads, and needs none.
            warnings.filterwarnings("ignore", message="Payload indexes have no effect")
            self.cluster.call(
                "create_payload_index",
                name,
                field_name=ORDER,
                field_schema=models.IntegerIndexParams(
                    type=models.IntegerIndexType.INTEGER, lookup=False, range=True
                ),
                wait=True,
            )
        return record

    def named(self, name: str) -> CollectionRecord:
        """The collection of this name; raises NotFoundError."""
        record = self._read(name)
        if record is None or record.name != name:
            raise NotFoundError(f"there is no collection {name!r} {self.cluster.place}")
        return record

    def record(self, collection_id: str) -> CollectionRecord:
        """Name and settings of a collection; raises NotFoundError."""
        record = self._read(self._opened(collection_id).name)
        if record is None or record.id != collection_id:
            self._forget(collection_id)
            raise NotFoundError(f"the collection has been deleted {self.cluster.place}")
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
        if new.name != old.name:
            if new.name != held.name and new.name in self._names():
                raise AlreadyExistsError(
                    f"collection {new.name!r} already exists {self.cluster.place}"
                )
            self._rename(held.name, old.name, new.name)
        self.cluster.call("update_collection", held.name, metadata={KEY: _stored(new, held.name)})
        held.ef = _ef_of(new.settings)
        return new

    def page(self, limit: int | None, offset: int) -> list[CollectionRecord]:
        """Collections in the order of their names."""
        records = [self._read(name) for name in self.cluster.collections()]
        ours = sorted((r for r in records if r is not None), key=lambda record: record.name)
        return ours[offset : None if limit is None else offset + limit]

    def count(self) -> int:
        """How many collections there are."""
        return len(self.page(None, 0))

    def drop(self, name: str) -> None:
        """Delete a collection; raises NotFoundError."""
        record = self.named(name)
        held = self._opened(record.id)
        if name != held.name:
            self._rename(held.name, name, held.name)
        self._forget(record.id)
        self.cluster.call("delete_collection", held.name)

    def points(self, collection_id: str) -> RemotePoints:
        """The points of a collection; raises NotFoundError."""
        return RemotePoints(self._opened(collection_id))

    def verify(self) -> Iterator[FileReport]:
        """Its files are Qdrant's to look at."""
        return iter(())

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Qdrant does so by itself."""
        self._opened(collection_id)

    def _names(self) -> set[str]:
        """All that a Qdrant collection is called by."""
        names = set(self.cluster.collections())
        return names.union(*(self.cluster.aliases(name) for name in names))

    def _rename(self, collection: str, old: str, new: str) -> None:
        """Change the alias in one step; the name it was created with stays a name without one."""
        changes: list[Any] = []
        if old != collection:
            changes.append(
                models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=old))
            )
        if new != collection:
            made = models.CreateAlias(collection_name=collection, alias_name=new)
            changes.append(models.CreateAliasOperation(create_alias=made))
        self.cluster.change_aliases(collection, changes)

    def _opened(self, collection_id: str) -> QdrantCollection:
        """What is known of a collection; looked for when nothing is."""
        held = self._open.get(collection_id)
        if held is None:
            for record in self.page(None, 0):
                if record.id == collection_id:
                    return self._open[collection_id]
            raise NotFoundError(f"the collection has been deleted {self.cluster.place}")
        return held

    def _read(self, name: str) -> CollectionRecord | None:
        """Our record of a Qdrant collection, by its name or an alias; None when there is none."""
        try:
            info = self.cluster.call("get_collection", name)
        except NotFoundError:
            return None
        held: Any = (info.config.metadata or {}).get(KEY)
        match held:
            case {"id": str(own), "name": str(called), "qdrant_name": str(real)}:
                settings = {key: held[key] for key in held if key not in OURS}
            case _:
                return None
        record = CollectionRecord(own, called, settings)
        with self._lock:
            if own not in self._open:
                self._open[own] = _collection(self.cluster, real, record)
        return record

    def _forget(self, collection_id: str) -> None:
        with self._lock:
            self._open.pop(collection_id, None)


def _stored(record: CollectionRecord, qdrant_name: str) -> Payload:
    return {
        "id": record.id,
        "name": record.name,
        "qdrant_name": qdrant_name,
        **record.settings,
    }


def _collection(cluster: Cluster, name: str, record: CollectionRecord) -> QdrantCollection:
    settings: dict[str, Any] = record.settings
    return QdrantCollection(
        cluster, name, settings["hnsw"]["space"], _ef_of(settings), settings["text"]
    )


def _ef_of(settings: Any) -> int:
    ef: int = settings["hnsw"]["ef_search"]
    return ef


def _graph_of(space: NewSpace) -> models.HnswConfigDiff:
    """The settings of Qdrant's graph; raises InvalidArgumentError for an index that isn't one."""
    name = index_name(space)
    if name == EXACT:
        return models.HnswConfigDiff(m=NO_GRAPH)
    if name != HNSW:
        raise InvalidArgumentError(f"index {name!r} can't be used on a cluster, which has its own")
    settings: dict[str, Any] = {**DEFAULTS, **index_settings(space)}
    return models.HnswConfigDiff(
        m=settings["max_neighbors"], ef_construct=settings["ef_construction"]
    )
