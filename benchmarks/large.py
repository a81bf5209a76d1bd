"""A large collection: times of queries while it grows, afterwards, and after opening it.

    python benchmarks/large.py [--points 1000000] [--dimension 128] [--index codes]
                               [--output docs/benchmarks]

Clustered vectors in a directory, each with a number and a word for filters. Saves JSON: during
growth, points per second, the first query after ingest, and the process's own memory; at the end,
queries without a filter and with filters of several selectivities; after opening in a new process,
the times of opening, of the first query, and of the first query with a filter on each key. Then, in
another collection, a query every 50 ms during an ingest, timed from when it was due.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
from runs import save

import retrieval_store

BATCH = 5_000
EVERY = 0.05
QUERIES = 60
EXACT = 3  # queries that are compared with all vectors, of each filter
SHARES = (1.0, 0.7, 0.27, 0.12, 0.03, 0.007)
STAGES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
CENTRES, WORDS = 2_000, 100


def batches(points: int, dimension: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Batches of vectors around the same centres. They are never all in memory at once."""
    centres = np.random.default_rng(7).standard_normal((CENTRES, dimension), np.float32)
    random = np.random.default_rng(seed)
    for at in range(0, points, BATCH):
        count = min(BATCH, points - at)
        own = centres[random.integers(0, CENTRES, count)]
        yield own + np.float32(0.9) * random.standard_normal((count, dimension), np.float32)


def near(dimension: int) -> np.ndarray:
    """Queries from the same distribution as the vectors."""
    return next(batches(QUERIES, dimension, 1))


def own_megabytes() -> float:
    """Megabytes of this process's memory that don't belong to mapped files."""
    memory = psutil.Process().memory_info()
    return (memory.rss - memory.shared) / 1e6


def opened(folder: Path) -> retrieval_store.Collection:
    """The collection in this folder."""
    return retrieval_store.Client(folder).get_collection("things", embedding_function=None)


def created(folder: Path, index: str) -> retrieval_store.Collection:
    """A new collection in this folder."""
    configuration = {"hnsw": {"space": "cosine"}, "index": index}
    client = retrieval_store.Client(folder)
    return client.create_collection("things", configuration, embedding_function=None)


def ingest(things: retrieval_store.Collection, points: int, dimension: int) -> Iterator[int]:
    """Add the vectors; yields the number of points after each batch."""
    random, at = np.random.default_rng(0), 0
    for some in batches(points, dimension):
        ids = [str(i) for i in range(at, at + len(some))]
        words = random.integers(0, WORDS, len(some)).tolist()
        numbers = random.random(len(some)).tolist()
        metadatas = [{"r": r, "word": f"w{w}"} for r, w in zip(numbers, words, strict=True)]
        things.add(ids=ids, embeddings=some, metadatas=metadatas)
        at += len(some)
        yield at


def milliseconds(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def queries(things: retrieval_store.Collection, vectors: np.ndarray) -> dict[str, float]:
    """Median milliseconds, and recall, by the share of points that a filter selects."""
    found = {}
    for share in SHARES:
        where = None if share == 1 else {"r": {"$lt": share}}

        def query(i: int, where: dict | None = where, exact: bool = False) -> list[str]:
            asked = things.query(query_embeddings=vectors[i], where=where, exact=exact)
            return asked["ids"][0]

        times = [milliseconds(lambda i=i: query(i)) for i in range(QUERIES)]
        found[f"{share:.1%} ms"] = float(np.median(times[5:]))
        same = [len(set(query(i)) & set(query(i, exact=True))) for i in range(EXACT)]
        found[f"{share:.1%} recall"] = float(np.mean(same)) / 10
    times = [milliseconds(lambda i=i: things.query(vectors[i], exact=True)) for i in range(EXACT)]
    found["exact ms"] = float(np.median(times))
    return found


def growing(things: retrieval_store.Collection, points: int, dimension: int) -> dict[str, object]:
    """Figures of each stage of an ingest."""
    stages: dict[str, object] = {}
    began, asked = time.perf_counter(), near(dimension)
    for count in ingest(things, points, dimension):
        if count in STAGES or count == points:
            spent = time.perf_counter() - began
            first = milliseconds(lambda: things.query(asked[0]))
            later = [milliseconds(lambda i=i: things.query(asked[i])) for i in range(10)]
            stages[f"{count:,}"] = {
                "points/s": count / spent,
                "first ms": first,
                "later ms": float(np.median(later)),
                "own MB": own_megabytes(),
            }
            print(count, stages[f"{count:,}"], file=sys.stderr, flush=True)
    return stages


def first_after_opening(folder: Path, dimension: int) -> None:
    """Print the first times of a process that opens the store, and its memory."""
    asked, before = near(dimension), own_megabytes()
    start = time.perf_counter()
    things = opened(folder)
    count = things.count()
    figures: dict[str, float] = {"open and count ms": (time.perf_counter() - start) * 1e3}
    figures["points"] = count
    figures["first ms"] = milliseconds(lambda: things.query(asked[0]))
    figures["second ms"] = milliseconds(lambda: things.query(asked[1]))
    figures["first filter of numbers ms"] = milliseconds(
        lambda: things.query(asked[2], where={"r": {"$lt": 0.27}})
    )
    figures["first filter of words ms"] = milliseconds(
        lambda: things.query(asked[3], where={"word": "w7"})
    )
    figures["own MB"] = own_megabytes() - before
    over, longest = time.monotonic() + 6, 0.0
    while time.monotonic() < over:
        longest = max(longest, milliseconds(lambda: things.query(asked[1])))
        time.sleep(0.02)
    figures["longest of those that follow ms"] = longest
    print(json.dumps(figures))


def beside(folder: Path, index: str, points: int, dimension: int) -> dict[str, float]:
    """Queries every 50 ms while this many points are added."""
    things = created(folder, index)
    asked, done, times = near(dimension), threading.Event(), []

    def ask() -> None:
        due = time.perf_counter()
        while not done.is_set():
            things.query(query_embeddings=asked[len(times) % QUERIES])
            times.append((time.perf_counter() - due) * 1e3)
            due = max(due + EVERY, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))

    asking, began = threading.Thread(target=ask), time.perf_counter()
    asking.start()
    for _ in ingest(things, points, dimension):
        pass
    rate = points / (time.perf_counter() - began)
    time.sleep(1)
    done.set()
    asking.join()
    return {"points/s": rate, "median ms": float(np.median(times)), "longest ms": max(times)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--index", choices=["codes", "exact", "hnsw"], default="codes")
    parser.add_argument("--beside", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the store is made, and stays")
    parser.add_argument("--first", type=Path, help="only open the store in this folder")
    parser.add_argument("--output", type=Path, help="folder for the results")
    arguments = parser.parse_args()
    points, dimension = arguments.points, arguments.dimension
    if arguments.first:
        first_after_opening(arguments.first, dimension)
        return
    figures: dict[str, object] = {"points": points, "dimension": dimension}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        figures["beside an ingest"] = beside(
            Path(name) / "beside", arguments.index, arguments.beside, dimension
        )
        folder = (arguments.folder or Path(name)) / "large"
        things = created(folder, arguments.index)
        figures["as it grows"] = growing(things, points, dimension)
        figures["optimize s"] = milliseconds(things.optimize) / 1e3
        figures["queries"] = queries(things, near(dimension))
        command = [sys.executable, __file__, "--first", str(folder), "--dimension", str(dimension)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        figures["after opening"] = json.loads(printed)
        figures["disk MB"] = sum(f.stat().st_blocks for f in folder.rglob("*")) * 512 / 1e6
    print(json.dumps(figures, indent=1))
    if arguments.output:
        save(arguments.output, "large", figures, (), points=points, dimension=dimension)


if __name__ == "__main__":
    main()
