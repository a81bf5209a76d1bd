"""Making the Qdrant collection of a Collection, by the settings that are kept with it.

It is made without dense vectors, since of which dimension they are is known with the first write
only, which adds them (`make_room`).
"""

import warnings
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from qdrant_client import models

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.json_values import Payload, shown
from retrieval_store.base.metrics import Metric
from retrieval_store.errors import (
    AlreadyExistsError,
    FormatError,
    InvalidArgumentError,
    StorageError,
)
from retrieval_store.indexes import EXACT, HNSW
from retrieval_store.interface.records import EXPIRES, CollectionRecord
from retrieval_store.remote.calls.cluster import Cluster
from retrieval_store.remote.kept.numbers import exact_text, kept, restored
from retrieval_store.remote.kept.orders import MICROSECONDS
from retrieval_store.remote.kept.payloads import ORDER

DENSE, WORDS, SPARSE = "embedding", "words", "sparse"  # the names of the vectors in Qdrant
SETTINGS = "retrieval_store"  # in the metadata of a Qdrant collection
LEAST_EF_CONSTRUCT = 4  # that Qdrant takes
NO_GRAPH = 0  # links of a vector for which Qdrant makes no index
OURS = ("id", "name", "qdrant_name", "apart", "order", "exact")  # beside the settings of the record
SHARDS = ("shard_number", "replication_factor", "write_consistency_factor")
SHORT: dict[str, Any] = {
    "scalar": {"scalar": {"type": "int8"}},
    "binary": {"binary": {}},
    "product": {"product": {"compression": "x16"}},
}
DISTANCES: dict[Metric, models.Distance] = {
    "l2": models.Distance.EUCLID,
    "ip": models.Distance.DOT,
    "cosine": models.Distance.COSINE,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What is kept of a collection in the metadata of its Qdrant collection. Of this only the
    record's name changes, and in its settings what tells how to search. name: of the Qdrant
    collection."""

    record: CollectionRecord
    name: str

    @property
    def metric(self) -> Metric:
        """The distance of its vectors."""
        metric: Metric = self._of("hnsw")["space"]
        return metric

    @property
    def ef(self) -> int:
        """Candidates that a query asks for."""
        ef: int = self._of("hnsw")["ef_search"]
        return ef

    @property
    def text(self) -> dict[str, Any]:
        """The settings of word search."""
        return self._of("text")

    @property
    def storage(self) -> dict[str, Any]:
        """What was asked of Qdrant's shards and files."""
        return self._of("qdrant")

    @property
    def sparse(self) -> dict[str, Any] | None:
        """The settings of sparse vectors; None where there are none."""
        return self._of("sparse") or None

    def graph(self) -> models.HnswConfigDiff:
        """The settings of Qdrant's graph; raises InvalidArgumentError for an index that isn't
        one."""
        name = self._of("index").get("name", HNSW)
        if name == EXACT:
            return models.HnswConfigDiff(m=NO_GRAPH)
        if name != HNSW:
            raise InvalidArgumentError(
                f"index {name!r} can't be used on a cluster, which has its own"
            )
        hnsw = self._of("hnsw")
        return models.HnswConfigDiff(
            m=hnsw["max_neighbors"],
            ef_construct=max(LEAST_EF_CONSTRUCT, hnsw["ef_construction"]),
        )

    def kept(self) -> Payload:
        """As it is kept: with floats as those of points, since Qdrant moves these too."""
        settings = self.record.settings
        exact = exact_text(settings)
        return {
            SETTINGS: {
                "id": self.record.id,
                "name": self.record.name,
                "qdrant_name": self.name,
                "order": MICROSECONDS,
                **({} if exact is None else {"exact": exact}),
                **{name: kept(value) for name, value in settings.items()},
            }
        }

    def _of(self, part: str) -> dict[str, Any]:
        found: Any = self.record.settings.get(part, {})
        return dict(found)


def refuse_unusable(settings: Payload) -> None:
    """Raise InvalidArgumentError for a datatype that Qdrant can't keep as it is meant: of float16
    it rounds the queries too; and for points that expire, which it doesn't know."""
    if settings.get(EXPIRES) is not None:
        raise InvalidArgumentError(
            f"configuration['expires'] is {shown(settings[EXPIRES])}, but on a cluster nothing "
            "expires: leave it out, and delete by a filter what is too old"
        )
    match settings.get("vectors"):
        case {"datatype": str(datatype)} if datatype != "float32":
            raise InvalidArgumentError(
                f"configuration['vectors']['datatype'] is {datatype!r}, expected 'float32' on a "
                "cluster; configuration['qdrant']['quantization'] makes vectors smaller there"
            )


def settings_in(metadata: Mapping[str, Any] | None) -> Settings | None:
    """The settings that were kept; None when the Qdrant collection isn't one of ours. Raises
    FormatError for a collection whose points are kept as only older releases read them: in a second
    Qdrant collection, or in an order of nanoseconds."""
    found: Any = (metadata or {}).get(SETTINGS)
    match found:
        case {"id": str(own), "name": str(called), "qdrant_name": str(name)}:
            others: dict[str, Any] = found
            if others.get("apart") is not None or others.get("order") != MICROSECONDS:
                raise FormatError(
                    f"collection {called!r} was made by an older release, which kept its points in "
                    "another way on the cluster, and can't be read any more; release 0.2 can still "
                    "copy it, to a directory or another cluster, and delete it"
                )
            record = {key: value for key, value in others.items() if key not in OURS}
            if "exact" in others:
                record = restored(record, others["exact"])
            return Settings(CollectionRecord(own, called, record), name)
    return None


def make(cluster: Cluster, settings: Settings) -> None:
    """Make the Qdrant collection, without vectors; raises AlreadyExistsError."""
    try:
        _make(cluster, settings)
    except AlreadyExistsError:
        made = settings_in(cluster.call("get_collection", settings.name).config.metadata)
        if made is None or made.record.id != settings.record.id:
            raise  # else it was ours, and the answer was lost
    try:
        keep_order(cluster, settings.name)
    except StorageError:
        cluster.call("delete_collection", settings.name)
        raise


def _make(cluster: Cluster, settings: Settings) -> None:
    sparse = {WORDS: _sparse_vectors(settings, by_idf=True)}
    if settings.sparse is not None:
        sparse[SPARSE] = _sparse_vectors(settings, settings.sparse["idf"])
    cluster.call(
        "create_collection",
        settings.name,
        vectors_config={},
        sparse_vectors_config=sparse,
        hnsw_config=settings.graph(),
        metadata=settings.kept(),
        quantization_config=quantization(settings.storage.get("quantization")),
        **{key: settings.storage[key] for key in SHARDS if key in settings.storage},
    )


def make_room(cluster: Cluster, settings: Settings, dimension: int) -> None:
    """Make room for vectors; an error when there is some, of this dimension or another."""
    dense = models.DenseVectorConfig(size=dimension, distance=DISTANCES[settings.metric])
    made = models.DenseVectorNameConfig(dense=dense)
    cluster.call("create_vector_name", settings.name, vector_name=DENSE, vector_name_config=made)
    on_disk = settings.storage.get("on_disk")
    if on_disk is not None:
        changed = {DENSE: models.VectorParamsDiff(on_disk=on_disk)}
        cluster.call("update_collection", settings.name, vectors_config=changed)


def quantization(given: Any) -> Any:
    """How Qdrant compresses vectors, as its client takes it; raises InvalidArgumentError."""
    if given is None:
        return None
    try:
        return TypeAdapter(models.QuantizationConfig).validate_python(SHORT.get(str(given), given))
    except ValidationError as error:
        raise InvalidArgumentError(
            f"configuration['qdrant']['quantization'] is {shown(given)}, expected one of "
            f"{', '.join(map(repr, SHORT))}, or what Qdrant takes as a quantization_config"
        ) from error


def complete(cluster: Cluster, name: str, info: Any) -> None:
    """Make what is missing of a Qdrant collection, whose maker may have been broken off."""
    if ORDER not in (info.payload_schema or {}):
        keep_order(cluster, name)


def keep_order(cluster: Cluster, name: str) -> None:
    """Have Qdrant index what points are listed by."""
    with warnings.catch_warnings():
        # In its local mode qdrant-client has no indexes of payloads, and needs none.
        warnings.filterwarnings("ignore", message="Payload indexes have no effect")
        cluster.call(
            "create_payload_index",
            name,
            field_name=ORDER,
            field_schema=models.IntegerIndexParams(
                type=models.IntegerIndexType.INTEGER, lookup=False, range=True
            ),
            wait=True,
        )


def _sparse_vectors(settings: Settings, by_idf: bool) -> models.SparseVectorParams:
    on_disk = settings.storage.get("on_disk")
    return models.SparseVectorParams(
        modifier=models.Modifier.IDF if by_idf else None,
        index=None if on_disk is None else models.SparseIndexParams(on_disk=on_disk),
    )
