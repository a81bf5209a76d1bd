"""A large collection: what a query waits for while it grows, after it has, and after opening it.

    python benchmarks/large.py [--points 1000000] [--dimension 128] [--index exact]

Clustered vectors in a directory, with a number each to filter by. Prints JSON: points a second; the
first query after ingest, and after opening in a new process, also while the index loads; queries
without a filter and under filters of several shares, beside the bare product of codes that the same
machine does in the same run; megabytes in memory. Then, in a collection of its own, a query every
50 ms beside an ingest: from when it was due to its answer.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from calibrate import clustered

import retrieval_store
from retrieval_store.indexes.kernels import packed, products

BATCH = 5_000
EVERY = 0.05
QUERIES = 60
SHARES = (1.0, 0.7, 0.27, 0.12, 0.03, 0.007)


def opened(folder: Path) -> retrieval_store.Collection:
    """The collection in this folder."""
    return retrieval_store.Client(folder).get_collection("things", embedding_function=None)


def created(folder: Path, index: str) -> retrieval_store.Collection:
    """A new one."""
    configuration = {"index": "exact"} if index == "exact" else None
    client = retrieval_store.Client(folder)
    return client.create_collection("things", configuration, embedding_function=None)


def ingest(things: retrieval_store.Collection, vectors: np.ndarray) -> float:
    """Add all of them; points a second."""
    random, start = np.random.default_rng(0), time.perf_counter()
    for at in range(0, len(vectors), BATCH):
        some = vectors[at : at + BATCH]
        ids = [str(i) for i in range(at, at + len(some))]
        metadatas = [{"r": r} for r in random.random(len(some)).tolist()]
        things.add(ids=ids, embeddings=some, metadatas=metadatas)
    return len(vectors) / (time.perf_counter() - start)


def milliseconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def queries(things: retrieval_store.Collection, vectors: np.ndarray) -> dict[str, float]:
    """Milliseconds in the median, and recall, by the share that a filter allows."""
    found = {}
    for share in SHARES:
        where = None if share == 1 else {"r": {"$lt": share}}

        def query(i: int, where: dict | None = where, exact: bool = False) -> list[str]:
            asked = things.query(query_embeddings=vectors[i], where=where, exact=exact)
            return asked["ids"][0]

        times = [milliseconds(lambda i=i: query(i)) for i in range(QUERIES)]
        found[f"{share:.1%} ms"] = float(np.median(times[5:]))
        same = [len(set(query(i)) & set(query(i, exact=True))) for i in range(0, QUERIES, 3)]
        found[f"{share:.1%} recall"] = float(np.mean(same)) / 10
    return found


def bare_product(points: int, dimension: int) -> float:
    """Milliseconds of the product of so many codes, and nothing else; in a file that is mapped, as
    they are: memory of a process's own may be faster to read."""
    codes = np.random.default_rng(0).integers(-127, 128, (points // 64 * 64, dimension), np.int8)
    with tempfile.TemporaryFile() as file:
        codes.tofile(file)
        file.flush()
        mapped = np.memmap(file, np.int8, "r", shape=codes.shape)
        query = packed(codes[:1].copy())
        return float(np.median([milliseconds(lambda: products(mapped, query)) for _ in range(15)]))


def near(points: int, dimension: int) -> np.ndarray:
    """Queries like the vectors of a collection of that size: around the same centres."""
    return clustered(points + QUERIES, dimension)[points:]


def first_after_opening(folder: Path, points: int, dimension: int) -> None:
    """Print the milliseconds of the first query in this process, and the longest of those that
    follow for some seconds, while the index loads; and the megabytes in memory then."""
    asked = near(points, dimension)
    before, things = psutil.Process().memory_info().rss, opened(folder)
    first = milliseconds(lambda: things.query(query_embeddings=asked[0]))
    over, longest = time.monotonic() + 6, 0.0
    while time.monotonic() < over:
        longest = max(longest, milliseconds(lambda: things.query(query_embeddings=asked[1])))
        time.sleep(0.02)
    memory = (psutil.Process().memory_info().rss - before) / 1e6
    print(json.dumps({"first ms": first, "longest ms": longest, "memory MB": memory}))


def beside(folder: Path, index: str, points: int, dimension: int) -> dict[str, float]:
    """Queries every 50 ms while so many points come in."""
    things, vectors = created(folder, index), clustered(points, dimension)
    asked, done, times = near(points, dimension), threading.Event(), []

    def ask() -> None:
        due = time.perf_counter()
        while not done.is_set():
            things.query(query_embeddings=asked[len(times) % QUERIES])
            times.append((time.perf_counter() - due) * 1e3)
            due = max(due + EVERY, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))

    asking = threading.Thread(target=ask)
    asking.start()
    rate = ingest(things, vectors)
    time.sleep(1)
    done.set()
    asking.join()
    return {"points/s": rate, "median ms": float(np.median(times)), "longest ms": max(times)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--index", choices=["exact", "hnsw"], default="exact")
    parser.add_argument("--beside", type=int, default=100_000)
    parser.add_argument("--first", type=Path, help="only open the store in this folder")
    arguments = parser.parse_args()
    points, dimension = arguments.points, arguments.dimension
    if arguments.first:
        first_after_opening(arguments.first, points, dimension)
        return
    figures: dict[str, object] = {"points": points, "dimension": dimension}
    with tempfile.TemporaryDirectory() as name:
        figures["beside an ingest"] = beside(
            Path(name) / "beside", arguments.index, arguments.beside, dimension
        )
        folder = Path(name) / "large"
        things, asked = created(folder, arguments.index), near(points, dimension)
        figures["points/s"] = ingest(things, clustered(points, dimension))
        figures["first after ingest ms"] = milliseconds(lambda: things.query(asked[0]))
        figures["optimize s"] = milliseconds(things.optimize) / 1e3
        figures["bare product ms"] = bare_product(points, dimension)
        figures["queries"] = queries(things, asked)
        sizes = ["--points", str(points), "--dimension", str(dimension)]
        command = [sys.executable, __file__, "--first", str(folder), *sizes]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        figures["after opening"] = json.loads(told)
        figures["disk MB"] = sum(f.stat().st_blocks for f in folder.rglob("*")) * 512 / 1e6
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
