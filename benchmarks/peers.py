"""Runs the benchmark's work in one system, in its own process; see `compare.py`.

    python benchmarks/peers.py NAME FOLDER [cold]

FOLDER has vectors.npy, queries.npy and records.json. Prints JSON. With `cold`, it only opens the
store of an earlier run and runs one query.
"""

import json
import operator
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

K = 10
BATCH = 1_000
Condition = tuple[str, str, Any]  # field, "lt" | "gte" | "eq", value
Filter = list[Condition]
COMPARE = {"lt": operator.lt, "gte": operator.ge, "eq": operator.eq}
FILTERS: dict[str, Filter] = {
    "none": [],
    "70 %": [("share", "lt", 0.7)],
    "27 %, two ranges": [("share", "lt", 0.6), ("year", "gte", 1960)],
    "12 %": [("year", "lt", 1913)],
    "0.7 %": [("topic", "eq", "t7")],
}
# The same with values that no query before had, so that no cache helps.
FRESH: dict[str, Callable[[int], Filter]] = {
    "70 %": lambda i: [("share", "lt", 0.7 + i * 1e-6)],
    "27 %, two ranges": lambda i: [("share", "lt", 0.6 + i * 1e-6), ("year", "gte", 1960)],
    "12 %": lambda i: [("year", "lt", 1913), ("share", "lt", 2.0 + i)],
    "0.7 %": lambda i: [("topic", "eq", f"t{i % 143}")],
}


class Ours:
    """retrieval-store."""

    packages: tuple[str, ...] = ("retrieval-store",)
    configuration: ClassVar[dict[str, Any]] = {"hnsw": {"space": "cosine"}}

    def __init__(self, folder: Path, dimension: int) -> None:
        import retrieval_store

        self._client = retrieval_store.Client(folder / "store")
        self._things = self._client.get_or_create_collection(
            "things", self.configuration, embedding_function=None
        )

    def add(self, ids: list[int], vectors: np.ndarray, records: list[dict[str, Any]]) -> None:
        self._things.add(
            ids=[str(i) for i in ids],
            embeddings=vectors,
            documents=[record["document"] for record in records],
            metadatas=[record["metadata"] for record in records],
        )

    def build(self) -> None:
        self._things.optimize()

    def where(self, conditions: Filter) -> Any:
        terms = [{field: {f"${op}": value}} for field, op, value in conditions]
        return None if not terms else terms[0] if len(terms) == 1 else {"$and": terms}

    def query(self, vector: np.ndarray, where: Any) -> list[int]:
        found = self._things.query(query_embeddings=vector, n_results=K, where=where)
        return [int(i) for i in found["ids"][0]]

    def batch(self, vectors: np.ndarray) -> object:
        return self._things.query(query_embeddings=vectors, n_results=K)

    def close(self) -> None:
        self._client.close()


class WithRecall(Ours):
    """retrieval-store with a requested recall of .98, which is about the recall of graphs."""

    configuration: ClassVar[dict[str, Any]] = {**Ours.configuration, "recall": 0.98}


class Chroma(Ours):
    """chromadb, with the same calls."""

    packages = ("chromadb",)

    def __init__(self, folder: Path, dimension: int) -> None:
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(str(folder / "store"), settings)
        self._things = self._client.get_or_create_collection(
            "things", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )

    def build(self) -> None:
        self._things.query(query_embeddings=np.ones((1, self._dimension)), n_results=1)

    def add(self, ids: list[int], vectors: np.ndarray, records: list[dict[str, Any]]) -> None:
        self._dimension = vectors.shape[1]
        super().add(ids, vectors, records)

    def close(self) -> None:
        """Does nothing."""


class QdrantLocal:
    """qdrant-client's local mode."""

    packages = ("qdrant-client",)

    def __init__(self, folder: Path, dimension: int) -> None:
        import warnings

        from qdrant_client import QdrantClient, models

        warnings.simplefilter("ignore")
        self._models = models
        self._client = QdrantClient(path=str(folder / "store"))
        if not self._client.collection_exists("things"):
            size = models.VectorParams(size=dimension, distance=models.Distance.COSINE)
            self._client.create_collection("things", size)

    def add(self, ids: list[int], vectors: np.ndarray, records: list[dict[str, Any]]) -> None:
        points = [
            self._models.PointStruct(
                id=i, vector=vector.tolist(), payload={**r["metadata"], "document": r["document"]}
            )
            for i, vector, r in zip(ids, vectors, records, strict=True)
        ]
        self._client.upsert("things", points)

    def build(self) -> None:
        """Builds nothing, since local mode scans all points."""

    def where(self, conditions: Filter) -> Any:
        m = self._models
        return m.Filter(
            must=[
                m.FieldCondition(key=field, match=m.MatchValue(value=value))
                if op == "eq"
                else m.FieldCondition(key=field, range=m.Range(**{op: value}))
                for field, op, value in conditions
            ]
        )

    def query(self, vector: np.ndarray, where: Any) -> list[int]:
        found = self._client.query_points(
            "things", vector.tolist(), limit=K, query_filter=where, with_payload=True
        )
        return [point.id for point in found.points]

    def batch(self, vectors: np.ndarray) -> object:
        return [self.query(vector, None) for vector in vectors]

    def close(self) -> None:
        self._client.close()


class QdrantEdge:
    """qdrant-edge-py, with an index on each field of the payload."""

    packages = ("qdrant-edge-py",)

    def __init__(self, folder: Path, dimension: int) -> None:
        import qdrant_edge as edge

        self._edge = edge
        place = folder / "store"
        if place.exists():
            self._shard = edge.EdgeShard.load(str(place))
            return
        place.mkdir()
        vector = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)
        self._shard = edge.EdgeShard.create(str(place), edge.EdgeConfig(vectors={"": vector}))
        kinds = edge.PayloadSchemaType
        for field, kind in {
            "share": kinds.Float,
            "year": kinds.Integer,
            "topic": kinds.Keyword,
        }.items():
            self._shard.update(edge.UpdateOperation.create_field_index(field, kind))

    def add(self, ids: list[int], vectors: np.ndarray, records: list[dict[str, Any]]) -> None:
        points = [
            self._edge.Point(i, vector.tolist(), {**r["metadata"], "document": r["document"]})
            for i, vector, r in zip(ids, vectors, records, strict=True)
        ]
        self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def build(self) -> None:
        self._shard.optimize()
        self._shard.flush()

    def where(self, conditions: Filter) -> Any:
        e = self._edge
        return e.Filter(
            must=[
                e.FieldCondition(field, match=e.MatchValue(value))
                if op == "eq"
                else e.FieldCondition(field, range=e.RangeFloat(**{op: value}))
                for field, op, value in conditions
            ]
        )

    def query(self, vector: np.ndarray, where: Any) -> list[int]:
        request = self._edge.QueryRequest(
            limit=K,
            query=self._edge.Query.Nearest(vector.tolist()),
            filter=where,
            with_payload=True,
        )
        return [p.id for p in self._shard.query(request) if p.payload is not None]

    def batch(self, vectors: np.ndarray) -> object:
        return [self.query(vector, None) for vector in vectors]

    def close(self) -> None:
        self._shard.close()


class LanceDB:
    """lancedb, with its IVF-HNSW index and scalar indexes."""

    packages = ("lancedb", "pyarrow")

    def __init__(self, folder: Path, dimension: int) -> None:
        import lancedb

        self._database = lancedb.connect(str(folder / "store"))
        names = self._database.table_names()
        self._table = self._database.open_table("things") if "things" in names else None

    def add(self, ids: list[int], vectors: np.ndarray, records: list[dict[str, Any]]) -> None:
        import pyarrow as pa

        flat = pa.FixedSizeListArray.from_arrays(vectors.ravel(), vectors.shape[1])
        columns = {
            name: [r["metadata"][name] for r in records] for name in ("share", "year", "topic")
        }
        documents = [record["document"] for record in records]
        rows = pa.table({"id": ids, "vector": flat, "document": documents, **columns})
        if self._table is None:
            self._table = self._database.create_table("things", rows)
        else:
            self._table.add(rows)

    def build(self) -> None:
        self._table.optimize()
        self._table.create_index(metric="cosine", index_type="IVF_HNSW_SQ", num_partitions=1)
        for field, kind in {"share": "BTREE", "year": "BTREE", "topic": "BITMAP"}.items():
            self._table.create_scalar_index(field, index_type=kind)

    def where(self, conditions: Filter) -> Any:
        signs = {"lt": "<", "gte": ">=", "eq": "="}
        return " AND ".join(f"{field} {signs[op]} {value!r}" for field, op, value in conditions)

    def query(self, vector: np.ndarray, where: Any) -> list[int]:
        search = self._table.search(vector).metric("cosine").limit(K)
        if where:
            search = search.where(where, prefilter=True)
        return search.to_arrow()["id"].to_pylist()

    def batch(self, vectors: np.ndarray) -> object:
        return [self.query(vector, None) for vector in vectors]

    def close(self) -> None:
        """Does nothing."""


class HNSWLib:
    """hnswlib alone: no documents, no durability; filters by a callback."""

    packages = ("hnswlib", "numpy")

    def __init__(self, folder: Path, dimension: int) -> None:
        import hnswlib

        self._file = folder / "store" / "index"
        self._index = hnswlib.Index("cosine", dimension)
        if self._file.exists():
            self._index.load_index(str(self._file))
        else:
            self._index.init_index(2_000_000, M=16, ef_construction=200)
        self._index.set_ef(140)

    def add(self, ids: list[int], vectors: np.ndarray, records: list[dict[str, Any]]) -> None:
        self._index.add_items(vectors, ids, num_threads=os.cpu_count())

    def build(self) -> None:
        self._file.parent.mkdir(exist_ok=True)
        self._index.resize_index(self._index.get_current_count())
        self._index.save_index(str(self._file))

    def where(self, conditions: Filter) -> Any:
        return conditions or None

    def query(self, vector: np.ndarray, where: Any) -> list[int]:
        if where is not None:
            raise NotImplementedError
        return self._index.knn_query(vector, k=K, num_threads=1)[0][0].tolist()

    def batch(self, vectors: np.ndarray) -> object:
        return self._index.knn_query(vectors, k=K)

    def close(self) -> None:
        """Does nothing."""


class Faiss(HNSWLib):
    """faiss' HNSW alone."""

    packages = ("faiss-cpu", "numpy")

    def __init__(self, folder: Path, dimension: int) -> None:
        import faiss

        self._faiss = faiss
        self._file = folder / "store" / "index"
        if self._file.exists():
            self._index = faiss.read_index(str(self._file))
        else:
            self._index = faiss.IndexHNSWFlat(dimension, 16, faiss.METRIC_INNER_PRODUCT)
            self._index.hnsw.efConstruction = 200
        self._index.hnsw.efSearch = 140

    def add(self, ids: list[int], vectors: np.ndarray, records: list[dict[str, Any]]) -> None:
        self._index.add(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def build(self) -> None:
        self._file.parent.mkdir(exist_ok=True)
        self._faiss.write_index(self._index, str(self._file))

    def query(self, vector: np.ndarray, where: Any) -> list[int]:
        if where is not None:
            raise NotImplementedError
        return self._index.search(vector[None] / np.linalg.norm(vector), K)[1][0].tolist()

    def batch(self, vectors: np.ndarray) -> object:
        return self._index.search(vectors, K)


PEERS: dict[str, Any] = {
    "retrieval-store": Ours,
    "retrieval-store, recall=0.98": WithRecall,
    "chromadb": Chroma,
    "qdrant-client local": QdrantLocal,
    "qdrant-edge": QdrantEdge,
    "lancedb": LanceDB,
    "hnswlib alone": HNSWLib,
    "faiss alone": Faiss,
}


def mask_of(conditions: Filter, metadatas: list[dict[str, Any]]) -> np.ndarray:
    """(points,) which points fulfil the conditions."""
    mask = np.ones(len(metadatas), bool)
    for field, op, value in conditions:
        values = np.array([metadata[field] for metadata in metadatas])
        mask &= COMPARE[op](values, value)
    return mask


def measured(query: Callable[[int], list[int]], count: int) -> tuple[float, list[list[int]]]:
    """Median microseconds of a query, and the hits of each."""
    times, found = [], []
    for i in range(count):
        start = time.perf_counter()
        found.append(query(i))
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6, found


def recall_of(found: Sequence[Sequence[int]], similarity: np.ndarray, mask: np.ndarray) -> float:
    """recall@10; a tie with the last true hit counts."""
    allowed = np.where(mask, similarity, -np.inf)
    last = -np.partition(-allowed, K - 1, axis=1)[:, K - 1]
    hits = sum(
        int((similarity[i, list(ids)] >= last[i] - 1e-6).sum()) for i, ids in enumerate(found)
    )
    return hits / (K * len(found))


def resident() -> int:
    """Bytes of this process's memory."""
    import psutil

    return psutil.Process().memory_info().rss


def installed(packages: Sequence[str]) -> int:
    """Bytes on disk of the packages and their dependencies."""
    from packaging.requirements import Requirement

    seen, left, total = set(), list(packages), 0
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        for file in found.files or ():
            path = Path(str(found.locate_file(file)))
            total += path.stat().st_size if path.is_file() else 0
        for text in found.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return total


def warm(name: str, folder: Path, queries: int) -> dict[str, Any]:
    """Ingest, build and search."""
    vectors, wanted = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")[:queries]
    records = json.loads((folder / "records.json").read_text())
    wall, cpu = time.perf_counter(), time.process_time()
    peer = PEERS[name](folder, vectors.shape[1])
    for start in range(0, len(vectors), BATCH):
        stop = min(start + BATCH, len(vectors))
        peer.add(list(range(start, stop)), vectors[start:stop], records[start:stop])
    ingested = time.perf_counter() - wall
    peer.build()
    result: dict[str, Any] = {
        "ingest s": ingested,
        "ingest and build s": time.perf_counter() - wall,
        "ingest and build, CPU s": time.process_time() - cpu,
    }
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = (wanted / np.linalg.norm(wanted, axis=1, keepdims=True)) @ unit.T
    metadatas = [record["metadata"] for record in records]
    slow = False
    for label, conditions in FILTERS.items():
        try:
            where = peer.where(conditions)
            peer.query(wanted[0], where)
        except NotImplementedError:
            continue
        few = 20 if slow else len(wanted)
        took, found = measured(lambda i, where=where: peer.query(wanted[i], where), few)  # type: ignore[misc]
        slow = took > 20_000
        result[f"query us, {label}"] = took
        result[f"recall, {label}"] = recall_of(
            found, similarity[:few], mask_of(conditions, metadatas)
        )
        if label in FRESH:
            make = FRESH[label]
            took, _ = measured(lambda i, make=make: peer.query(wanted[i], peer.where(make(i))), few)  # type: ignore[misc]
            result[f"fresh filter us, {label}"] = took
    start = time.perf_counter()
    peer.batch(wanted)
    result["batch us per query"] = (time.perf_counter() - start) / len(wanted) * 1e6
    peer.close()
    files = [file for file in (folder / "store").rglob("*") if file.is_file()]
    result["disk MB"] = sum(512 * file.stat().st_blocks for file in files) / 1e6
    result["installed MB"] = installed(PEERS[name].packages) / 1e6
    return result


def cold(name: str, folder: Path) -> dict[str, Any]:
    """Open the store and run one query; imports aren't counted."""
    wanted = np.load(folder / "queries.npy")
    dimension = wanted.shape[1]
    modules = {
        "retrieval-store": ("retrieval_store.api.client", "re2"),
        "retrieval-store, recall=0.98": ("retrieval_store.api.client", "re2"),
        "qdrant-client local": ("qdrant_client",),
    }
    for module in modules.get(name, (name.split(maxsplit=1)[0].replace("-", "_"),)):
        __import__(module)
    before = resident()
    start = time.perf_counter()
    peer = PEERS[name](folder, dimension)
    peer.query(wanted[0], peer.where([]))
    took = time.perf_counter() - start
    return {"cold open to first answer ms": took * 1e3, "memory MB": (resident() - before) / 1e6}


if __name__ == "__main__":
    chosen, place = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(cold(chosen, place) if "cold" in sys.argv else warm(chosen, place, 400)))
