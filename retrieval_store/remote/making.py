"""Making the Qdrant collections of a Collection, by the settings that are kept with them.

Servers before 1.18 can't add vectors to a collection that is there, and of which dimension they are
is known with the first write only. There a second Qdrant collection is made then, named by the id,
and the points are in that.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from qdrant_client import models

from retrieval_store.base.json_values import Payload, shown
from retrieval_store.base.metrics import Metric
from retrieval_store.errors import AlreadyExistsError, InvalidArgumentError, StorageError
from retrieval_store.indexes import EXACT, HNSW
from retrieval_store.interface.records import CollectionRecord
from retrieval_store.remote.calls.cluster import Cluster
from retrieval_store.remote.kept.numbers import exact_text, kept, restored
from retrieval_store.remote.kept.orders import MICROSECONDS, NANOSECONDS, Unit
from retrieval_store.remote.kept.payloads import ORDER

DENSE, WORDS, SPARSE = "embedding", "words", "sparse"  # the names of the vectors in Qdrant
SETTINGS = "retrieval_store"  # in the metadata of a Qdrant collection
NEW_VECTORS = (1, 18)  # servers that can add vectors to a collection
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
    record's name changes, and in its settings what tells how to search.

    name: of the Qdrant collection; apart: of the one with its points, or None where they are in the
    first; unit: of the numbers that give points their order.
    """

    record: CollectionRecord
    name: str
    apart: str | None
    unit: Unit

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
                "order": self.unit,
                **({} if self.apart is None else {"apart": self.apart}),
                **({} if exact is None else {"exact": exact}),
                **{name: kept(value) for name, value in settings.items()},
            }
        }

    def _of(self, part: str) -> dict[str, Any]:
        found: Any = self.record.settings.get(part, {})
        return dict(found)


def new_settings(cluster: Cluster, record: CollectionRecord) -> Settings:
    """Those of a collection to be made; raises InvalidArgumentError for a datatype that Qdrant
    can't keep as it is meant: of float16 it rounds the queries too."""
    match record.settings.get("vectors"):
        case {"datatype": str(datatype)} if datatype != "float32":
            raise InvalidArgumentError(
                f"configuration['vectors']['datatype'] is {datatype!r}, expected 'float32' on a "
                "cluster; configuration['qdrant']['quantization'] makes vectors smaller there"
            )
    apart = None if cluster.version >= NEW_VECTORS else f"{record.id}-points"
    return Settings(record, record.name, apart, MICROSECONDS)


def settings_in(metadata: Mapping[str, Any] | None) -> Settings | None:
    """The settings that were kept; None when the Qdrant collection isn't one of ours."""
    found: Any = (metadata or {}).get(SETTINGS)
    match found:
        case {"id": str(own), "name": str(called), "qdrant_name": str(name)}:
            rest: dict[str, Any] = dict(found)
            others = {key: value for key, value in rest.items() if key not in OURS}
            if "exact" in rest:
                others = restored(others, rest["exact"])
            unit = rest.get("order", NANOSECONDS)  # of which collections made before are
            return Settings(CollectionRecord(own, called, others), name, rest.get("apart"), unit)
    return None


def make(cluster: Cluster, settings: Settings) -> None:
    """Make the Qdrant collection, without vectors; raises AlreadyExistsError."""
    try:
        _make(cluster, settings, settings.name, settings.kept(), {})
    except AlreadyExistsError:
        made = settings_in(cluster.call("get_collection", settings.name).config.metadata)
        if made is None or made.record.id != settings.record.id:
            raise  # else it was ours, and the answer was lost
    try:
        keep_order(cluster, settings.name)
    except StorageError:
        cluster.call("delete_collection", settings.name)
        raise


def make_room(cluster: Cluster, settings: Settings, dimension: int) -> None:
    """Make room for vectors; an error when there is some, of this dimension or another."""
    on_disk = settings.storage.get("on_disk")
    size: dict[str, Any] = {"size": dimension, "distance": DISTANCES[settings.metric]}
    if settings.apart is not None:
        vectors = {DENSE: models.VectorParams(**size, on_disk=on_disk)}
        _make(cluster, settings, settings.apart, {SETTINGS: {"points_of": settings.name}}, vectors)
        keep_order(cluster, settings.apart)
        _copy_indexes(cluster, settings.name, settings.apart)
        return
    made = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(**size))
    cluster.call("create_vector_name", settings.name, vector_name=DENSE, vector_name_config=made)
    if on_disk is not None:
        changed = {DENSE: models.VectorParamsDiff(on_disk=on_disk)}
        cluster.call("update_collection", settings.name, vectors_config=changed)


def _copy_indexes(cluster: Cluster, source: str, target: str) -> None:
    """Make the payload indexes that were asked for before there was a place for points."""
    schema = cluster.call("get_collection", source).payload_schema or {}
    for key, one in schema.items():
        if key != ORDER:
            kind = one.data_type
            cluster.call(
                "create_payload_index", target, field_name=key, field_schema=kind, wait=True
            )


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


def _make(cluster: Cluster, settings: Settings, name: str, metadata: Payload, vectors: Any) -> None:
    sparse = {WORDS: _sparse_vectors(settings, by_idf=True)}
    if settings.sparse is not None:
        sparse[SPARSE] = _sparse_vectors(settings, settings.sparse["idf"])
    cluster.call(
        "create_collection",
        name,
        vectors_config=vectors,
        sparse_vectors_config=sparse,
        hnsw_config=settings.graph(),
        metadata=metadata,
        quantization_config=quantization(settings.storage.get("quantization")),
        **{key: settings.storage[key] for key in SHARDS if key in settings.storage},
    )


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
