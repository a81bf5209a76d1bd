"""What a collection needs: memory, disk and time, by its number of points.

    python benchmarks/sizing.py [--points 10000 100000 1000000] [--dimension 384] [--index codes]
                                [--output FOLDER]

Clustered vectors in a directory, each with a text of twelve words and a number for filters. Prints
a table in Markdown with a column for each number of points: points added per second, megabytes on
disk by part after `optimize`, and, in a new process, the time of the first query, the median of
each kind of query, and megabytes: those that `stats` reports, the process's memory, and mapped
files, which the system can reclaim (on Linux). `--index exact` builds no index.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from calibrate import clustered
from compare import table
from runs import processor, save

import retrieval_store

BATCH, WORDS, LONG = 10_000, 20_000, 12
QUERIES, WARM = 40, 4
MEGA = 1e6


def texts(count: int, random: np.random.Generator) -> list[str]:
    """Texts whose words are the rarer the higher their numbers are."""
    words = np.minimum(random.zipf(1.3, (count, LONG)), WORDS)
    return [" ".join(f"w{word}" for word in row) for row in words.tolist()]


def fill(folder: Path, vectors: np.ndarray, index: str) -> dict[str, float]:
    """Create and fill a collection; returns its speed of ingestion and size on disk."""
    random, spent = np.random.default_rng(0), 0.0
    with retrieval_store.Client(folder) as client:
        things = client.create_collection("things", {"index": index}, embedding_function=None)
        for at in range(0, len(vectors), BATCH):
            some = vectors[at : at + BATCH]
            documents = texts(len(some), random)
            metadatas = [{"n": n} for n in random.integers(0, 100, len(some)).tolist()]
            ids = [str(i) for i in range(at, at + len(some))]
            start = time.perf_counter()
            things.add(ids=ids, embeddings=some, documents=documents, metadatas=metadatas)
            spent += time.perf_counter() - start
        things.query(query_texts="w7", mode="text")  # lists of words are saved, too
        start = time.perf_counter()
        things.optimize()
        optimized = time.perf_counter() - start
    with retrieval_store.Client(folder, read_only=True) as client:
        disk = client.stats()["disk"]
    return {
        "points added a second": len(vectors) / spent,
        "optimize, s": optimized,
        **{f"on disk, {part}, MB": size / MEGA for part, size in disk.items()},
        "on disk together, MB": sum(disk.values()) / MEGA,
    }


def median(call: Callable[[int], object]) -> float:
    """Median milliseconds of a call, which gets a running number."""
    times = []
    for i in range(WARM + QUERIES):
        start = time.perf_counter()
        call(i)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[WARM:])


def ask(folder: Path) -> dict[str, float]:
    """The times of queries in a process that has just opened the collection."""
    vectors = np.load(folder.with_name("queries.npy"))
    open_client = retrieval_store.Client  # which imports what it needs
    start = time.perf_counter()
    client = open_client(folder)
    things = client.get_collection("things", embedding_function=None)
    things.query(query_embeddings=vectors[0])
    figures = {"open and first query, ms": (time.perf_counter() - start) * 1e3}
    words = [f"w{i % 50 + 2} w{i % 700 + 60}" for i in range(len(vectors))]
    figures["query, ms"] = median(lambda i: things.query(query_embeddings=vectors[i]))
    figures["query of a tenth by a filter, ms"] = median(
        lambda i: things.query(query_embeddings=vectors[i], where={"n": {"$lt": 10}})
    )
    figures["query by words, ms"] = median(
        lambda i: things.query(query_texts=words[i], mode="text")
    )
    figures["get by id, ms"] = median(lambda i: things.get(ids=str(i)))
    figures["add one, ms"] = median(lambda i: things.add(ids=f"new{i}", embeddings=vectors[i]))
    figures["held in memory, MB"] = sum(client.stats()["memory"].values()) / MEGA
    memory = psutil.Process().memory_info()
    figures["memory of the process, MB"] = (memory.rss - memory.shared) / MEGA
    figures["and mapped from files, MB"] = memory.shared / MEGA
    client.close()
    return figures


def measure(points: int, dimension: int, index: str) -> dict[str, float]:
    """All figures for this many points."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "store"
        vectors = clustered(points + WARM + QUERIES, dimension)
        np.save(folder.with_name("queries.npy"), vectors[points:])
        figures = fill(folder, vectors[:points], index)
        del vectors
        command = [sys.executable, __file__, "--ask", str(folder)]
        return {**figures, **json.loads(subprocess.check_output(command))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--index", default="codes")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(options.ask)))
        return
    found = {f"{n:,}": measure(n, options.dimension, options.index) for n in options.points}
    print(f"{processor()}; {options.dimension} dimensions, index {options.index}\n")
    print(table(found))
    save(options.output, "sizing", found, [], dimension=options.dimension, index=options.index)


if __name__ == "__main__":
    main()
