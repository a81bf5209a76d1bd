"""A million texts: this store by signs, beside zvec, hnswlib and Qdrant Edge, in one run.

    python benchmarks/million.py [--count 1000000] [--cache FOLDER] [--systems ours zvec hnswlib]
                                [--data texts|clusters] [--output FOLDER] [--keep]

Texts are WordNet's glosses and the entries of two dictionaries (Debian's packages wordnet-base,
dict-gcide and dict-foldoc), by sentence, and then windows of their words until there are enough.
Embeddings are by wordllama, and are cached. All systems have default settings. Each gets 300 other
texts as queries, one at a time: without a filter, and with filters on a number. A filter's value is
either known from the 500 queries before, or new. `Found` is recall@10 beside brute force. Each
system runs in its own process. With --data clusters, the vectors are those of large.py, of 128
numbers each. --keep queries the stores of an earlier run. Prints a table, and saves JSON.
"""

import argparse
import gzip
import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from large import batches
from runs import save

WORDNET, DICTIONARIES = Path("/usr/share/wordnet"), Path("/usr/share/dictd")
QUERIES, WARMING, K, BATCH = 300, 500, 10, 1_000
DIMENSIONS = {"texts": 256, "clusters": 128}
SHARES = (None, 0.7, 0.27, 0.12, 0.007)
Ask = Callable[[np.ndarray, float | None], list[int]]


def sentences() -> Iterator[str]:
    """The sentences of all installed dictionaries."""
    for part in ("noun", "verb", "adj", "adv"):
        if (file := WORDNET / f"data.{part}").exists():
            for line in file.read_text("latin-1").splitlines():
                yield from () if line[:1] == " " else line.partition(" | ")[2].split(";")
    for name in ("gcide", "foldoc"):
        if (file := DICTIONARIES / f"{name}.dict.dz").exists():
            with gzip.open(file, "rt", encoding="utf-8", errors="replace") as lines:
                yield from re.split(r"\n\s*\n|(?<=[.;:])\s", lines.read())


def texts(count: int) -> list[str]:
    """`count` different texts, in random order."""
    cleaned = (re.sub(r"[{}\[\]\\\s]+|<[^>]*>", " ", one).strip() for one in sentences())
    found = dict.fromkeys(one for one in cleaned if 25 <= len(one) <= 400)
    chance, long = random.Random(0), [words for one in found if len(words := one.split()) >= 12]
    while len(found) < count:
        words = chance.choice(long)
        size = chance.randint(6, min(20, len(words) - 3))
        at = chance.randint(0, len(words) - size)
        found[" ".join(words[at : at + size])] = None
    every = list(found)
    chance.shuffle(every)
    return every[:count]


def embedded(count: int) -> np.ndarray:
    """The embeddings of `count` texts, (count, 256)."""
    from retrieval_store.embeddings.wordllama import WordLlamaEmbedding

    embed, every = WordLlamaEmbedding(), texts(count)
    parts = [np.asarray(embed(every[i : i + 4_096])) for i in range(0, len(every), 4_096)]
    return np.concatenate(parts).astype(np.float32)


def clustered(count: int) -> np.ndarray:
    """`count` vectors around common centres, (count, 128)."""
    return np.concatenate(list(batches(count, DIMENSIONS["clusters"])))


def vectors_of(data: str, count: int, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """The points, (count, dimension), and the queries, (300, dimension), all of length 1."""
    file = cache / f"{data}-{count}.npy"
    if not file.exists():
        make = embedded if data == "texts" else clustered
        whole = make(count + QUERIES)
        whole /= np.linalg.norm(whole, axis=1, keepdims=True)
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, whole)
    whole = np.load(file, mmap_mode="r")
    return whole[:count], np.array(whole[count:])


def numbers(count: int) -> np.ndarray:
    """The number of each point, from 0 to 1, that filters compare."""
    return np.random.default_rng(0).random(count)


class Ours:
    """Our store, in a directory."""

    def __init__(self, folder: Path, dimension: int, settings: dict[str, Any]) -> None:
        import retrieval_store

        self._settings = settings
        self._client = retrieval_store.Client(folder / "ours")
        self._made = "texts" not in [one.name for one in self._client.list_collections()]
        self._things = self._client.get_or_create_collection(
            "texts", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )

    def fill(self, vectors: np.ndarray) -> None:
        """Add all vectors, and wait until maintenance is done."""
        of = numbers(len(vectors))
        for at in range(0, len(vectors), BATCH):
            some = range(at, min(at + BATCH, len(vectors)))
            self._things.add(
                ids=[str(i) for i in some],
                embeddings=vectors[some.start : some.stop],
                metadatas=[{"number": float(of[i])} for i in some],
            )
        self._things.optimize()

    def ask(self, vector: np.ndarray, below: float | None) -> list[int]:
        """The ids of the hits."""
        where = None if below is None else {"number": {"$lt": below}}
        found = self._things.query(
            query_embeddings=vector, n_results=K, where=where, include=[], **self._settings
        )
        return [int(one) for one in found["ids"][0]]


class Zvec:
    """zvec with its graph."""

    def __init__(self, folder: Path, dimension: int, settings: dict[str, Any]) -> None:
        import zvec

        self._zvec, place = zvec, folder / "zvec"
        ef = settings.get("ef")
        self._param = None if ef is None else zvec.HnswQueryParam(ef=ef)
        graph = zvec.HnswIndexParam(metric_type=zvec.MetricType.COSINE)
        vector = zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, dimension, index_param=graph)
        index = zvec.InvertIndexParam(enable_range_optimization=True)
        number = zvec.FieldSchema("number", zvec.DataType.DOUBLE, index_param=index)
        schema = zvec.CollectionSchema(name="texts", vectors=vector, fields=[number])
        there = place.exists()
        self._things = (
            zvec.open(path=str(place))
            if there
            else zvec.create_and_open(path=str(place), schema=schema)
        )

    def fill(self, vectors: np.ndarray) -> None:
        """Add all, and build the graph."""
        of, doc = numbers(len(vectors)), self._zvec.Doc
        for at in range(0, len(vectors), BATCH):
            some = range(at, min(at + BATCH, len(vectors)))
            self._things.insert(
                [
                    doc(
                        id=str(i),
                        vectors={"v": vectors[i].tolist()},
                        fields={"number": float(of[i])},
                    )
                    for i in some
                ]
            )
        self._things.optimize()

    def ask(self, vector: np.ndarray, below: float | None) -> list[int]:
        """The ids of the hits."""
        query = self._zvec.Query("v", vector=vector.tolist(), param=self._param)
        where = None if below is None else f"number < {below!r}"
        found = self._things.query(query, topk=K, filter=where, output_fields=[])
        return [int(one.id) for one in found]


class Edge:
    """qdrant-edge-py, with an index on the number."""

    def __init__(self, folder: Path, dimension: int, settings: dict[str, Any]) -> None:
        import qdrant_edge as edge

        self._edge, place = edge, folder / "edge"
        if place.exists():
            self._shard = edge.EdgeShard.load(str(place))
            return
        place.mkdir(parents=True)
        vector = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)
        self._shard = edge.EdgeShard.create(str(place), edge.EdgeConfig(vectors={"": vector}))
        index = edge.UpdateOperation.create_field_index("number", edge.PayloadSchemaType.Float)
        self._shard.update(index)

    def fill(self, vectors: np.ndarray) -> None:
        """Add all, and build the graph."""
        of, edge = numbers(len(vectors)), self._edge
        for at in range(0, len(vectors), BATCH):
            some = range(at, min(at + BATCH, len(vectors)))
            points = [edge.Point(i, vectors[i].tolist(), {"number": float(of[i])}) for i in some]
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        self._shard.optimize()
        self._shard.flush()
        self._shard.close()

    def ask(self, vector: np.ndarray, below: float | None) -> list[int]:
        """The ids of the hits."""
        edge = self._edge
        where = None
        if below is not None:
            where = edge.Filter(
                must=[edge.FieldCondition("number", range=edge.RangeFloat(lt=below))]
            )
        query = edge.Query.Nearest(vector.tolist())
        request = edge.QueryRequest(limit=K, query=query, filter=where)
        return [point.id for point in self._shard.query(request)]


class Hnswlib:
    """The bare graph: ids only, no filter. Its ef is as large as a recall of about .95 needs."""

    def __init__(self, folder: Path, dimension: int, settings: dict[str, Any]) -> None:
        import hnswlib

        self._index, self._file = hnswlib.Index("cosine", dimension), folder / "hnswlib"
        if self._file.exists():
            self._index.load_index(str(self._file))
        self._index.set_ef(int(settings.get("ef", 140)))

    def fill(self, vectors: np.ndarray) -> None:
        """Build the graph."""
        self._index.init_index(len(vectors), M=16, ef_construction=200)
        for at in range(0, len(vectors), 10 * BATCH):
            self._index.add_items(vectors[at : at + 10 * BATCH])
        self._index.save_index(str(self._file))

    def ask(self, vector: np.ndarray, below: float | None) -> list[int]:
        """The ids of the hits."""
        return [] if below is not None else self._index.knn_query(vector, K)[0][0].tolist()


SYSTEMS: dict[str, Any] = {"ours": Ours, "zvec": Zvec, "edge": Edge, "hnswlib": Hnswlib}
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ours": [{}, {"recall": 0.95}, {"recall": 0.99}, {"exact": True}],
    "zvec": [{}, {"ef": 100}],
    "edge": [{}],
    "hnswlib": [{"ef": 80}, {"ef": 100}, {"ef": 150}, {"ef": 200}, {"ef": 400}],
}


def timed(
    ask: Ask, queries: np.ndarray, below: list[float | None]
) -> tuple[float, list[list[int]]]:
    """Median microseconds of a query, and the hits of each."""
    spent, found = [], []
    for query, bound in zip(queries, below, strict=True):
        start = time.perf_counter()
        found.append(ask(query, bound))
        spent.append(time.perf_counter() - start)
    return round(1e6 * float(np.median(spent)), 1), found


def true_ones(
    vectors: np.ndarray, queries: np.ndarray, below: list[float | None]
) -> list[set[int]]:
    """The ten nearest points that fulfil each filter."""
    of, best = numbers(len(vectors)), []
    for query, bound in zip(queries, below, strict=True):
        near = vectors @ query
        near[of >= (2 if bound is None else bound)] = -2
        best.append(set(np.argpartition(-near, K)[:K].tolist()))
    return best


def measured(
    name: str, settings: dict[str, Any], data: str, count: int, cache: Path
) -> dict[str, Any]:
    """All figures of one system, measured in this process."""
    vectors, queries = vectors_of(data, count, cache)
    whole, row = np.asarray(vectors), {"system": name, "settings": settings, "queries": {}}
    for file in files_of(cache / name):  # so that no query waits for the disk
        with file.open("rb") as opened:
            while opened.read(1 << 24):
                pass
    system = SYSTEMS[name](cache, vectors.shape[1], settings)
    fresh: list[float] = np.random.default_rng(1).random(QUERIES).tolist()
    others = whole[np.random.default_rng(2).choice(count, WARMING)]  # before anything is measured
    for share in SHARES:
        known: list[float | None] = [share] * QUERIES
        timed(system.ask, others, [share] * len(others))
        cases = {"known": known}
        if share is not None:
            cases["new"] = [share * (1 + 1e-6 * one) for one in fresh]
        for kind, below in cases.items():
            spent, found = timed(system.ask, queries, below)
            if not any(found):
                continue
            true = true_ones(whole, queries, below)
            right = np.mean([len(t & set(f)) / K for t, f in zip(true, found, strict=True)])
            row["queries"][f"{share} {kind}"] = {"us": spent, "found": round(float(right), 4)}
            print(name, settings, share, kind, spent, round(float(right), 4), file=sys.stderr)
    row["rss_mb"] = round(psutil.Process().memory_info().rss / 1e6 - whole.nbytes / 1e6)
    return row


def files_of(place: Path) -> list[Path]:
    """A file, or all files in a folder."""
    return [place] if place.is_file() else [one for one in place.rglob("*") if one.is_file()]


def in_a_process(*arguments: Any) -> Any:
    """The output of this program, run in a new process with these arguments."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run all systems, or one step of one system."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--cache", type=Path, default=Path("million"))
    parser.add_argument("--data", choices=list(DIMENSIONS), default="texts")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=["ours", "zvec"])
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--keep", action="store_true", help="ask what an earlier run has made")
    parser.add_argument("--step", nargs=3, metavar=("SYSTEM", "fill|ask", "SETTINGS"))
    asked = parser.parse_args()
    common = ("--count", asked.count, "--cache", asked.cache, "--data", asked.data)
    if asked.step is not None:
        name, step, settings = asked.step
        if step == "fill":
            vectors, _ = vectors_of(asked.data, asked.count, asked.cache)
            system = SYSTEMS[name](asked.cache, vectors.shape[1], {})
            start = time.process_time()
            system.fill(vectors)
            print(json.dumps({"cpu_s": round(time.process_time() - start, 1)}))
        else:
            settings = json.loads(settings)
            print(json.dumps(measured(name, settings, asked.data, asked.count, asked.cache)))
        return
    vectors_of(asked.data, asked.count, asked.cache)
    rows: list[Any] = []
    for name in asked.systems:
        before, note = asked.cache / name, asked.cache / f"{name}.json"
        if not (asked.keep and note.exists()):
            before.unlink() if before.is_file() else shutil.rmtree(before, ignore_errors=True)
            note.write_text(json.dumps(in_a_process(*common, "--step", name, "fill", "{}")))
        size = round(sum(file.stat().st_size for file in files_of(before)) / 1e6)
        made = json.loads(note.read_text()) | {"disk_mb": size}
        for settings in SETTINGS[name]:
            row = in_a_process(*common, "--step", name, "ask", json.dumps(settings))
            rows.append(row | made)
    peers = ("zvec", "hnswlib", "qdrant-edge-py")
    name = "million" if asked.data == "texts" else asked.data
    save(asked.output, name, rows, peers, count=asked.count)
    for row in rows:
        print(row["system"], row["settings"], f"ready {row['cpu_s']} CPU s, {row['rss_mb']} MB")
        for case, one in row["queries"].items():
            print(f"    {case:12} {one['us']:10} µs  found {one['found']}")


if __name__ == "__main__":
    main()
