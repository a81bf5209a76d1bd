"""Figures of the core, each beside the bare work it can't do without, measured in one run.

    python benchmarks/core.py [--points 100000] [--dimension 384] [--folder PATH] [--calls]

Calls: whole calls of a Collection of 2,000 points of 64 numbers, with documents and metadata, each
as a multiple of the work that it can't do without, in turns with it, tenth percentile of 400 (see
`Bare`); with --calls nothing else. Ingest: durable batches of 1,000 with documents and four
metadata fields. Query: exact, k = 10, against the bare numpy matrix product. Filters: the time to
turn a filter into a mask, once its columns exist. Prints JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import orjson

import retrieval_store
from retrieval_store.engine.filtering.evaluate import matching
from retrieval_store.filters.where import parse_where

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
    """The mask of each filter alone, inside one snapshot."""
    expressions = {name: parse_where(where) for name, where in FILTERS.items()}
    return {
        f"mask, {name}, ms": median_ms(lambda e=expression: matching(view, e), 99)
        for name, expression in expressions.items()
    }


class Bare:
    """The work that a call of a collection can't do without, on the files of a closed store, by the
    same libraries: for a query BEGIN, the products and the ten best by numpy, their ten rows by
    number, their JSON, COMMIT; for `get` the one row; for `count` an empty read; for an upsert what
    it writes, and its syncs. Filters are left out: a kept one costs nothing that must be."""

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
        """Some points by their ids."""
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
        """One point's row, and a vector appended: the statements and syncs that make both durable
        and tell readers of it."""
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
        connection.execute("INSERT INTO changes VALUES (?, ?, 3)", (seq, seq.to_bytes(8)))
        connection.execute("UPDATE head SET seq = ?", (seq,))
        connection.execute("COMMIT")


def in_turns(pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]]) -> dict[str, Any]:
    """Tenth percentiles in microseconds of calls of ours and of the bare work, called in turns."""
    figures: dict[str, Any] = {}
    for name, pair in pairs.items():
        times: tuple[list[float], list[float]] = [], []
        for turn in range(CALLS_TURNS + 20):
            for call, taken in zip(pair, times, strict=True):
                start = time.perf_counter()
                call()
                if turn >= 20:
                    taken.append(time.perf_counter() - start)
        ours, bare = (sorted(taken)[CALLS_TURNS // 10] * 1e6 for taken in times)
        figures[name] = {"us": round(ours, 1), "bare": round(bare, 1), "ratio": ours / bare}
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

        def upsert() -> None:
            row = next(rows)
            collection.upsert(
                ids=[f"id-{row}"],
                embeddings=vectors[row : row + 1],
                metadatas=[{"lang": "de", "year": row}],
                documents=[f"document {row}"],
            )

        def ask(where: Any = None) -> Callable[[], object]:
            return lambda: collection.query(query_embeddings=query, where=where)

        def new_filter() -> object:
            where = {"year": {"$gte": 1990 + next(new) / 1e6}}
            return collection.query(query_embeddings=query, where=where)

        def bare_query() -> object:
            return bare.query(query)

        return in_turns(
            {
                "query": (ask(), bare_query),
                "query, kept filter": (ask({"lang": "de"}), bare_query),
                "query, new filter": (
                    new_filter,
                    bare_query,
                ),
                "get of one id": (lambda: collection.get(ids="id-7"), lambda: bare.get(("id-7",))),
                "get of ten ids": (lambda: collection.get(ids=ten), lambda: bare.get(ten)),
                "count": (collection.count, bare.empty),
                "upsert of one": (upsert, lambda: bare.upsert(next(rows), vectors[0])),
            }
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--folder", help="where the store is made (default: a temporary folder)")
    parser.add_argument("--calls", action="store_true", help="only the figures of whole calls")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        figures: dict[str, object] = {"calls": calls(folder)}
    if options.calls:
        print(json.dumps(figures, indent=1))
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
