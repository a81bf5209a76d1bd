"""One Qdrant collection as a Collection uses it: its vectors, and what is known of them here."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import Floats, Matrix, SparseVector
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import DimensionMismatchError, NotFoundError, RetrievalStoreError
from retrieval_store.indexes.exact import Metric
from retrieval_store.remote.cluster import Cluster
from retrieval_store.remote.payloads import Held

DENSE, WORDS = "embedding", "words"  # the names of the vectors in Qdrant
SETTINGS = "retrieval_store"  # in the metadata of a Qdrant collection
REQUEST_BYTES = 8_000_000  # Qdrant takes 32 MB
NUMBER_BYTES = 24  # of one number of a vector, as JSON
DISTANCES: dict[Metric, models.Distance] = {
    "l2": models.Distance.EUCLID,
    "ip": models.Distance.DOT,
    "cosine": models.Distance.COSINE,
}


@dataclass(slots=True, eq=False)
class QdrantCollection:
    """id: ours; name: of the Qdrant collection, which stays when ours changes; ef: candidates that
    a query asks for; text: the settings of word search; dimension: of the vectors, None until it is
    known."""

    cluster: Cluster
    id: str
    name: str
    metric: Metric
    ef: int
    text: dict[str, Any]
    dimension: int | None = None
    _last: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def place(self) -> str:
        """Where it is, to be shown."""
        return f"{self.name} {self.cluster.place}"

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the client's for the collection."""
        return self.cluster.call(method, self.name, **arguments)

    def refuse_replaced(self) -> None:
        """Raise NotFoundError when the Qdrant collection of this name isn't the one it was."""
        metadata: Any = self.call("get_collection").config.metadata or {}
        if metadata.get(SETTINGS, {}).get("id") != self.id:
            raise NotFoundError(f"the collection has been deleted {self.cluster.place}")

    def known_dimension(self) -> int | None:
        """Of the vectors; None until the first write, by whomever, has fixed it."""
        if self.dimension is None:
            vectors = self.call("get_collection").config.params.vectors or {}
            if DENSE in vectors:
                self.dimension = vectors[DENSE].size
        return self.dimension

    def refuse_other(self, dimension: int, what: str) -> None:
        """Raise DimensionMismatchError for vectors of another dimension."""
        known = self.known_dimension()
        if known not in (None, dimension):
            raise DimensionMismatchError(
                f"the {what} have {dimension} numbers, but the collection holds vectors of {known}"
            )

    def fix_dimension(self, dimension: int) -> None:
        """Make room for vectors, if there is none. Qdrant refuses it when another process was first
        and has chosen another dimension."""
        if self.known_dimension() is None:
            made = models.DenseVectorConfig(size=dimension, distance=DISTANCES[self.metric])
            try:
                self.call(
                    "create_vector_name",
                    vector_name=DENSE,
                    vector_name_config=models.DenseVectorNameConfig(dense=made),
                )
            except RetrievalStoreError:  # another process may have been first
                self.refuse_other(dimension, "embeddings")
                if self.known_dimension() is None:
                    raise
            self.dimension = dimension

    def vectors_wanted(self, wanted: bool) -> list[str] | bool:
        """What to ask Qdrant for."""
        return [DENSE] if wanted and self.known_dimension() is not None else False

    def orders(self, count: int) -> range:
        """So many numbers for new points, greater than those before: by the clock, since processes
        on other machines give them out too."""
        with self._lock:
            first = max(time.time_ns(), self._last + 1)
            self._last = first + count - 1
        return range(first, first + count)

    def word_model(self) -> BM25Embedding:
        """What makes sparse vectors of words."""
        return BM25Embedding(**self.text)


def vector_of(record: Any, held: Held, collection: QdrantCollection) -> Matrix | None:
    """The vector of a point as it was given; None when it has none or none was asked for."""
    numbers = (record.vector or {}).get(DENSE)
    if numbers is None:
        return None
    vector = np.array(numbers, np.float32)
    if collection.metric == "cosine":  # Qdrant keeps the direction
        vector = (vector.astype(np.float64) * held.length).astype(np.float32)
    return vector


def sent(vectors: Matrix, metric: Metric) -> Matrix:
    """Vectors as Qdrant gets them: for the cosine of length 1, which Qdrant would make them too,
    but in float32, where long ones are infinite and short ones nothing."""
    if metric != "cosine":
        return vectors
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: Floats = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return unit.astype(np.float32)


def sparse(vector: SparseVector) -> models.SparseVector:
    """A sparse vector as Qdrant gets it."""
    return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())
