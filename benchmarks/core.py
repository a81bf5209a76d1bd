"""Figures of the core, each beside the bare work it can't do without, measured in one run.

    python benchmarks/core.py [--points 100000] [--dimension 384] [--folder PATH]

Ingest: durable batches of 1,000 with documents and four metadata fields. Query: exact, k = 10,
against the bare numpy matrix product. Filters: the time to turn a filter into a mask, once its
columns exist. Prints JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

import retrieval_store
from retrieval_store.engine.filtering.masks import matching
from retrieval_store.filters.where import parse_where

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--folder", help="where the store is made (default: a temporary folder)")
    options = parser.parse_args()
    random = np.random.default_rng(0)
    vectors = random.standard_normal((options.points, options.dimension), dtype=np.float32)
    query = vectors[5] + np.float32(0.01)
    figures: dict[str, object] = {}
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
