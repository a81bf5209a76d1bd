"""Figures of words and sparse vectors, on WordNet's glosses or a substitute.

    python benchmarks/words.py [--points 100000]

Text queries are whole texts of the collection, so they are as long as sentences. Prints JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from compare import texts

import retrieval_store
from retrieval_store.base.arrays import SparseVector
from retrieval_store.engine.store import Store
from retrieval_store.filters.expression import Range
from retrieval_store.query.query import NearestSparse, Query, QueryStep
from retrieval_store.query.types import Fields, NewSpace, NonDenseVectors, PointBatch, WriteRules

QUERIES = 100
NON_ZEROS = 64
TERMS = 30_000


def median_ms(call: Callable[[int], object]) -> float:
    """Median wall time in milliseconds over all queries, after one that isn't counted."""
    call(0)
    times = []
    for i in range(QUERIES):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def words(points: int, folder: Path) -> dict[str, float]:
    """Ingest with and without words, text and hybrid queries, substrings."""
    documents = texts(points)
    vectors = np.random.default_rng(0).standard_normal((points, 64)).astype(np.float32)
    with retrieval_store.Client(folder) as client:
        things = client.create_collection("things", {"index": "exact"}, embedding_function=None)
        start = time.perf_counter()
        for at in range(0, points, 1_000):
            stop = min(points, at + 1_000)
            things.add(
                ids=[str(i) for i in range(at, stop)],
                embeddings=vectors[at:stop],
                documents=documents[at:stop],
                metadatas=[{"n": i % 100} for i in range(at, stop)],
            )
        ingest = time.perf_counter() - start
        start = time.perf_counter()
        things.query(query_texts="first", mode="text")
        build = time.perf_counter() - start
        where = {"n": {"$lt": 12}}

        def text(i: int, where: dict | None = None) -> object:
            return things.query(query_texts=documents[i], mode="text", where=where)

        def hybrid(i: int) -> object:
            pair = {"query_texts": documents[i], "query_embeddings": vectors[i]}
            return things.query(**pair, mode="hybrid", where=where)

        def substring(i: int) -> object:
            return things.get(where_document={"$contains": documents[i][3:9]}, include=[])

        figures = {
            "ingest s": ingest,
            "words built s": build,
            "ingest with words / without": (ingest + build) / ingest,
            "text query ms": median_ms(text),
            "text query, 12 % filter ms": median_ms(lambda i: text(i, where)),
            "hybrid query, 12 % filter ms": median_ms(hybrid),
            "substring by scan ms": median_ms(substring),
        }
        deadline = time.monotonic() + 120
        while "trigrams" not in str(
            things._backend.points.access.memory.cached_state.caches.lists.nonempty_keys()
        ):
            assert time.monotonic() < deadline
            substring(0)
            time.sleep(0.1)
        figures["substring by trigrams ms"] = median_ms(substring)
        figures["memory of words and trigrams MB"] = things.stats()["memory"]["words"] / 1e6
    return figures


def sparse(points: int, folder: Path) -> dict[str, float]:
    """Sparse queries, with as many non-zeros as the points have. Indices are distributed like
    words."""
    numbers = np.random.default_rng(1)
    popular = 1 / np.arange(1, TERMS + 1) ** 0.8
    popular /= popular.sum()

    def vector() -> SparseVector:
        indices = np.unique(numbers.choice(TERMS, NON_ZEROS, p=popular)).astype(np.uint32)
        return SparseVector(indices, numbers.random(len(indices)).astype(np.float32))

    store = Store(folder, "full")
    new = {"s": NewSpace("ip", kind="sparse")}
    collection = store.points(store.create("things", {}, new).id)
    start = time.perf_counter()
    rules = WriteRules("update", "insert")
    for at in range(0, points, 5_000):
        ids = list(range(at, min(points, at + 5_000)))
        items = NonDenseVectors([vector() for _ in ids])
        collection.put(PointBatch(ids, {"s": items}, [{"n": i % 100} for i in ids]), rules)
    ingest = time.perf_counter() - start
    queries = [vector() for _ in range(QUERIES)]

    def search(i: int, expression: Range | None = None) -> object:
        step = QueryStep(NearestSparse("s", (queries[i],)), 10, expression)
        return collection.ask(Query((step,), Fields()))

    few = Range(("n",), lt=12)
    figures = {
        "sparse ingest s, making the vectors included": ingest,
        "sparse query ms": median_ms(search),
        "sparse query, 12 % filter ms": median_ms(lambda i: search(i, few)),
    }
    store.close()
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    points = parser.parse_args().points
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        print(json.dumps({**words(points, Path(one)), **sparse(points, Path(other))}, indent=1))


if __name__ == "__main__":
    main()
