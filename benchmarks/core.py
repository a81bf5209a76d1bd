"""Figures of the core, each beside the minimal work it needs, measured in one run.

    python benchmarks/core.py [--points 100000] [--dimension 384] [--folder PATH] [--calls]

Calls: whole calls of a Collection of 2,000 points of 64 numbers, with documents and metadata,
alternating with the minimal work (see `Bare`). Each figure is a median of CPU time over 400 calls,
with its ratio. With --calls, only these are measured. Ingest: durable batches of 1,000 with
documents and four metadata fields. Query: exact, k = 10, beside the matrix product by numpy.
Filters: the time to evaluate a filter as a mask, once its columns exist. Prints JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import apsw
import numpy as np
import orjson
from qdrant_client import models

import retrieval_store
from retrieval_store.engine.filtering.evaluate import matching
from retrieval_store.filters.where import parse_where
from retrieval_store.qdrant import QdrantClient

CALLS_POINTS, CALLS_DIMENSION, CALLS_TURNS = 2_000, 64, 400
LANGUAGES = ("en", "de", "fr", "it")
FILTERS = {
    "equality, 25 %": {"lang": "de"},
    "range, 25 %": {"year": {"$gte": 1990}},
    "range, 96 %": {"year": {"$gte": 1905}},
    "three fields, 6 %": {"year": {"$gte": 1950}, "score": {"$lt": 2000.5}, "lang": {"$ne": "en"}},
}


def median_ms(call: Callable[[], object], runs: int = 15) -> float:
    """Median wall time of a call in milliseconds, after one that isn't counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) * 1e3


def ingest(collection: retrieval_store.Collection, vectors: np.ndarray) -> dict[str, float]:
    """Add everything in batches of 1,000 and check that it is there."""
    points = len(vectors)
    metadatas = [
        {"lang": LANGUAGES[i % 4], "year": 1900 + i % 120, "score": i / 7, "flag": i % 2 == 0}
        for i in range(points)
    ]
    documents = [f"document number {i} about {LANGUAGES[i % 4]} and more" for i in range(points)]
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, points, 1000):
        stop = start + 1000
        collection.add(
            ids=[f"id-{i}" for i in range(start, min(stop, points))],
            embeddings=vectors[start:stop],
            metadatas=metadatas[start:stop],
            documents=documents[start:stop],
        )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert collection.count() == points
    return {
        "points per second of CPU time": points / cpu,
        "points per second of wall time": points / wall,
    }


def masks(view):
    """The time of each filter's mask alone, in one view."""
    expressions = {name: parse_where(where) for name, where in FILTERS.items()}
    return {
        f"mask, {name}, ms": median_ms(lambda e=expression: matching(view, e), 99)
        for name, expression in expressions.items()
    }


class Bare:
    """The minimal work of each call of a collection, by the same libraries on the files of a closed
    store. For a query: BEGIN, the products and the ten best by numpy, their ten rows by number,
    their JSON, COMMIT. For `get`: one row. For `count`: an empty read. For an upsert: its rows and
    its syncs. Filters are left out, because a cached filter needs no work."""

    TEN = "SELECT id, payload, document FROM carray(?) CROSS JOIN points ON pk = value"

    def __init__(self, directory: Path, vectors: np.ndarray) -> None:
        self.connection = apsw.Connection(str(directory / "points.sqlite"), vfs="cksmvfs")
        # As the store sets its own connections.
        self.connection.execute("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000")
        self.vectors, self.file = vectors, directory / "1.0.vectors"
        self.seq = count(1_000_000).__next__

    def query(self, query: np.ndarray) -> list[Any]:
        """The ten points with the greatest products."""
        self.connection.execute("BEGIN")
        products = self.vectors @ query
        best = np.argpartition(products, -10)[-10:]
        best = best[np.argsort(products[best])[::-1]]
        rows = self.connection.execute(self.TEN, (apsw.carray(best),)).fetchall()
        found = [(key, orjson.loads(payload), document) for key, payload, document in rows]
        self.connection.execute("COMMIT")
        return found

    def get(self, ids: tuple[str, ...]) -> list[Any]:
        """Points by their ids."""
        self.connection.execute("BEGIN")
        marks = "?" + ", ?" * (len(ids) - 1)
        query = f"SELECT id, payload, document FROM points WHERE id IN ({marks})"
        rows = self.connection.execute(query, ids).fetchall()
        found = [(key, orjson.loads(payload), document) for key, payload, document in rows]
        self.connection.execute("COMMIT")
        return found

    def empty(self) -> None:
        """A read transaction that reads one number."""
        self.connection.execute("BEGIN")
        self.connection.execute("SELECT seq FROM head").fetchall()
        self.connection.execute("COMMIT")

    def upsert(self, row: int, vector: np.ndarray) -> None:
        """Write one point's row and append its vector. The statements and syncs are those that make
        both durable and visible to readers."""
        seq, connection = self.seq(), self.connection
        connection.execute("BEGIN IMMEDIATE")
        descriptor = os.open(self.file, os.O_RDWR)
        os.pwrite(descriptor, vector.tobytes(), CALLS_POINTS * 4 * CALLS_DIMENSION)
        os.fdatasync(descriptor)
        os.close(descriptor)
        payload = orjson.dumps({"lang": "de", "year": seq})
        query = "UPDATE points SET payload = ?, document = ?, version = ? WHERE id = ?"
        connection.execute(query, (payload, f"document {seq}", seq, f"id-{row}"))
        connection.execute("UPDATE blocks SET checksum = ? WHERE space = 1 AND block = 0", (seq,))
        connection.execute("INSERT INTO changes VALUES (?, ?, 3, NULL)", (seq, seq.to_bytes(8)))
        connection.execute("UPDATE head SET seq = ?", (seq,))
        connection.execute("COMMIT")


class Way:
    """Counts the functions that a call runs: Python functions, those plus C functions, and the
    project's files that contain them. The call has run once before."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.files: set[str] = set()
        self.calls = self.with_c = 0
        call()
        sys.setprofile(self._note)
        try:
            call()
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        self.with_c += event in ("call", "c_call")
        if event == "call":
            self.calls += 1
            if "retrieval_store" in frame.f_code.co_filename:
                self.files.add(frame.f_code.co_filename)


def in_turns(pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]]) -> dict[str, Any]:
    """Median CPU microseconds of our calls and of the minimal work, which alternate, with the
    counts of our calls."""
    figures: dict[str, Any] = {}
    for name, pair in pairs.items():
        times: tuple[list[float], list[float]] = [], []
        for turn in range(CALLS_TURNS + 20):
            for call, taken in zip(pair, times, strict=True):
                start = time.thread_time()
                call()
                if turn >= 20:
                    taken.append(time.thread_time() - start)
        ours, bare = (statistics.median(taken) * 1e6 for taken in times)
        way = Way(pair[0])
        figures[name] = {
            "us": round(ours, 1),
            "bare": round(bare, 1),
            "ratio": round(ours / bare, 2),
            "calls": way.calls,
            "with C": way.with_c - 1,  # the call that ends the count
            "files": len(way.files),
        }
    return figures


def calls(folder: str) -> dict[str, Any]:
    """The figures of whole calls."""
    vectors = np.random.default_rng(1).standard_normal(
        (CALLS_POINTS, CALLS_DIMENSION), dtype=np.float32
    )
    directories = [Path(folder, name) for name in ("calls", "bare")]
    for directory in directories:
        with retrieval_store.Client(directory) as client:
            collection = client.create_collection("bench-calls", embedding_function=None)
            ingest(collection, vectors)
    (points,) = directories[1].glob("*/points.sqlite")
    ten = tuple(f"id-{i}" for i in range(7, 17))
    bare, query, new = Bare(points.parent, vectors), vectors[5] + np.float32(0.01), count()
    with retrieval_store.Client(directories[0]) as client:
        collection, rows = client.get_collection("bench-calls"), count()

        def row_of(row: int) -> dict[str, Any]:
            return {
                "ids": [f"id-{row}"],
                "embeddings": vectors[row % CALLS_POINTS][None],
                "metadatas": [{"lang": "de", "year": row}],
                "documents": [f"document {row}"],
            }

        def upsert() -> None:
            collection.upsert(**row_of(next(rows) % CALLS_POINTS))

        def add() -> None:
            collection.add(**row_of(CALLS_POINTS + next(rows)))

        def ask(where: Any = None) -> Callable[[], object]:
            return lambda: collection.query(query_embeddings=query, where=where)

        def new_filter(least: int) -> Callable[[], object]:
            def ask_anew() -> object:
                where = {"year": {"$gte": least + next(new) / 1e6}}
                return collection.query(query_embeddings=query, where=where)

            return ask_anew

        def bare_query() -> object:
            return bare.query(query)

        def bare_upsert() -> None:
            bare.upsert(next(rows) % CALLS_POINTS, vectors[0])

        figures = in_turns(
            {
                "query": (ask(), bare_query),
                "query, kept filter": (ask({"lang": "de"}), bare_query),
                "query, new filter, 25 %": (new_filter(1990), bare_query),
                "query, new filter, 70 %": (new_filter(1936), bare_query),
                "get of one id": (lambda: collection.get(ids="id-7"), lambda: bare.get(("id-7",))),
                "get of ten ids": (lambda: collection.get(ids=ten), lambda: bare.get(ten)),
                "count": (collection.count, bare.empty),
            }
        )
        # Last, since points that are written change what is asked.
        writes = in_turns(
            {"upsert of one": (upsert, bare_upsert), "add of one": (add, bare_upsert)}
        )
    return {**figures, **by_qdrant_client(vectors, query, bare_query), **writes}


def by_qdrant_client(
    vectors: np.ndarray, query: np.ndarray, bare_query: Callable[[], object]
) -> dict[str, Any]:
    """The figures of a filtered query of a QdrantClient in memory."""
    with QdrantClient(":memory:") as client:
        settings = models.VectorParams(size=CALLS_DIMENSION, distance=models.Distance.COSINE)
        client.create_collection("bench", settings)
        client.upload_collection(
            "bench",
            vectors,
            [
                {"lang": LANGUAGES[i % 4], "document": f"document number {i}"}
                for i in range(CALLS_POINTS)
            ],
            range(CALLS_POINTS),
        )
        match = models.MatchValue(value="de")
        german = models.Filter(must=[models.FieldCondition(key="lang", match=match)])

        def ask() -> object:
            return client.query_points("bench", query, query_filter=german, limit=10)

        return in_turns({"query of QdrantClient, kept filter": (ask, bare_query)})


def shown(figures: dict[str, Any]) -> str:
    """One line for each call."""
    return "\n".join(
        f"{name:36} {one['us']:8.1f} µs  bare {one['bare']:7.1f} µs  {one['ratio']:5.2f} times  "
        f"{one['calls']:4} calls, {one['with C']:4} with C, in {one['files']:2} files"
        for name, one in figures.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--folder", help="where the store is made (default: a temporary folder)")
    parser.add_argument("--calls", action="store_true", help="only the figures of whole calls")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures: dict[str, Any] = {"calls": calls(folder)}
    if options.calls:
        print(shown(figures["calls"]))
        return
    random = np.random.default_rng(0)
    vectors = random.standard_normal((options.points, options.dimension), dtype=np.float32)
    query = vectors[5] + np.float32(0.01)
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        retrieval_store.Client(folder) as client,
    ):
        for space in ("l2", "ip", "cosine"):
            collection = client.create_collection(
                f"bench-{space}", {"hnsw": {"space": space}}, embedding_function=None
            )
            figures[f"ingest, {space}"] = ingest(collection, vectors)
            bare = median_ms(lambda: vectors @ query)
            ours = median_ms(lambda c=collection: c.query(query_embeddings=query))
            figures[f"exact query, {space}"] = {
                "ms": ours,
                "bare matrix product, ms": bare,
                "ratio": ours / bare,
            }
        figures |= collection._backend.points.access.read(masks)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
