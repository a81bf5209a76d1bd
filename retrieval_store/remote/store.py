"""The collections of a cluster that are ours: Qdrant collections with our settings as metadata."""

import threading
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from qdrant_client import models

from retrieval_store.base.json_values import Payload
from retrieval_store.base.words import Analyzer
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
)
from retrieval_store.indexes import EXACT, HNSW
from retrieval_store.indexes.hnsw import DEFAULTS
from retrieval_store.interface.records import CollectionRecord, FileReport, Progress
from retrieval_store.interface.spaces import NewSpace, index_name, index_settings
from retrieval_store.remote.cluster import Cluster
from retrieval_store.remote.payloads import ORDER
from retrieval_store.remote.points import RemotePoints
from retrieval_store.remote.space import SETTINGS, WORDS, QdrantCollection

OURS = ("id", "name", "qdrant_name")  # beside the settings
LONGEST_NAME = 255
LEAST_EF_CONSTRUCT = 4  # that Qdrant takes
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
        self._refuse_taken(name, ())
        record = CollectionRecord(str(uuid.uuid4()), name, settings)
        try:
            self.cluster.call(
                "create_collection",
                name,
                vectors_config={},  # the first write says of which dimension they are
                sparse_vectors_config={
                    WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)
                },
                hnsw_config=_graph_of(space),
                metadata={SETTINGS: _stored(record, name)},
            )
        except AlreadyExistsError:
            made = self._read(name)
            if made is None or made.id != record.id:
                raise  # else it was ours, and the answer was lost
        try:
            self._keep_order(name)
        except StorageError:
            self.cluster.call("delete_collection", name)
            raise
        return record

    def _keep_order(self, name: str) -> None:
        """Have Qdrant index what points are listed by."""
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
        """The collection of this name; raises NotFoundError."""
        record = self._read(name)
        if record is None or record.name != name:
            # A change of names that was broken off may have left it without the alias.
            record = next((one for one in self.page(None, 0) if one.name == name), None)
        if record is None:
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
        aliases = [a for a, of in self.cluster.aliases().items() if of == held.name]
        if new.name != old.name:
            self._refuse_taken(new.name, [held.name, *aliases])
        # In this order: broken off anywhere, the collection is found by the name that it records.
        if new.name not in (held.name, *aliases):
            made = models.CreateAlias(collection_name=held.name, alias_name=new.name)
            self.cluster.change_aliases(held.name, [models.CreateAliasOperation(create_alias=made)])
        stored = {SETTINGS: _stored(new, held.name)}
        self.cluster.call("update_collection", held.name, metadata=stored)
        if old.name != new.name and old.name in aliases:  # others' aliases are theirs
            gone = models.DeleteAlias(alias_name=old.name)
            self.cluster.change_aliases(held.name, [models.DeleteAliasOperation(delete_alias=gone)])
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
        """Delete a collection, and with it its aliases; raises NotFoundError."""
        record = self.named(name)
        self.cluster.call("delete_collection", self._opened(record.id).name)
        self._forget(record.id)

    def points(self, collection_id: str) -> RemotePoints:
        """The points of a collection; raises NotFoundError."""
        return RemotePoints(self._opened(collection_id))

    def verify(self, analyzer_of: Callable[[CollectionRecord], Analyzer]) -> Iterator[FileReport]:
        """Its files are Qdrant's to look at."""
        return iter(())

    def optimize(self, collection_id: str, progress: Progress) -> None:
        """Qdrant does so by itself."""
        self._opened(collection_id)

    def _opened(self, collection_id: str) -> QdrantCollection:
        """What is known of a collection; looked for when nothing is."""
        if collection_id not in self._open:
            self.page(None, 0)
        held = self._open.get(collection_id)
        if held is None:
            raise NotFoundError(f"the collection has been deleted {self.cluster.place}")
        return held

    def _read(self, name: str) -> CollectionRecord | None:
        """Our record of a Qdrant collection, by its name or an alias; None when there is none."""
        try:
            info = self.cluster.call("get_collection", name)
        except NotFoundError:
            return None
        stored: Any = (info.config.metadata or {}).get(SETTINGS)
        match stored:
            case {"id": str(own), "name": str(called), "qdrant_name": str(real)}:
                settings = {key: stored[key] for key in stored if key not in OURS}
            case _:
                return None
        record = CollectionRecord(own, called, settings)
        with self._lock:
            held = self._open.setdefault(own, _collection(self.cluster, real, record))
            held.ef = _ef_of(record.settings)  # another process may have changed it
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
        cluster, record.id, name, settings["hnsw"]["space"], _ef_of(settings), settings["text"]
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
        m=settings["max_neighbors"],
        ef_construct=max(LEAST_EF_CONSTRUCT, settings["ef_construction"]),
    )
