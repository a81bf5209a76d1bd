"""Durable writes of one record each, beside a plain SQLite commit of the same bytes.

    python benchmarks/small_writes.py [--folder PATH] [--seconds 5]

One: `add` of a record with a vector of 384 numbers, a document and metadata, alternating with a
SQLite commit (write-ahead log, synchronous = FULL) that inserts the same bytes into one table; the
median of both, and their ratio. Threads: writes per second of one thread and of 16; each call
writes one record. Processes: two with four threads each, on one collection; the number of writes of
each, and the longest time of a write. Prints JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import orjson

import retrieval_store

DIMENSION, TURNS, FILLED = 384, 400, 1_000
THREADS, PROCESSES, THREADS_EACH = 16, 2, 4
VECTORS = np.random.default_rng(0).standard_normal((FILLED, DIMENSION)).astype(np.float32)
DOCUMENT = "A document as long as a short paragraph of a text on tea, and how it is made. " * 3
NAME = "bench-small-writes"


def add(collection: retrieval_store.Collection, name: str, number: int) -> None:
    """Add one record."""
    collection.add(
        ids=f"{name}-{number}",
        embeddings=VECTORS[number % FILLED],
        documents=DOCUMENT,
        metadatas={"n": number},
    )


def filled(client: retrieval_store.Client) -> retrieval_store.Collection:
    """A collection with a few records."""
    collection = client.create_collection(NAME, embedding_function=None)
    collection.add(ids=[f"id-{i}" for i in range(FILLED)], embeddings=VECTORS)
    return collection


def bare(path: Path) -> apsw.Connection:
    """A database with the bytes of as many records, and nothing else."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE records (id TEXT PRIMARY KEY, text, payload, vector)")
    rows = [(f"id-{i}", None, None, VECTORS[i].tobytes()) for i in range(FILLED)]
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    return connection


def insert(connection: apsw.Connection, number: int) -> None:
    """Insert the data of one `add`."""
    row = (f"one-{number}", DOCUMENT, orjson.dumps({"n": number}), VECTORS[number % FILLED])
    connection.execute("INSERT INTO records VALUES (?, ?, ?, ?)", row)


def one(folder: Path) -> dict[str, float]:
    """Writes of one record each, alternating with the bare insert."""
    times: tuple[list[float], list[float]] = [], []
    connection = bare(folder / "bare.sqlite")
    with retrieval_store.Client(folder / "one") as client:
        collection = filled(client)
        for turn in range(TURNS):
            start = time.perf_counter()
            add(collection, "one", turn)
            between = time.perf_counter()
            insert(connection, turn)
            times[0].append(between - start)
            times[1].append(time.perf_counter() - between)
    connection.close()
    ours, theirs = (statistics.median(taken) * 1e6 for taken in times)
    return {"add, us": round(ours), "bare commit, us": round(theirs), "ratio": ours / theirs}


def busy(collection: retrieval_store.Collection, name: str, threads: int, seconds: float) -> Any:
    """How many writes this many threads complete in that time, and the longest time of one."""
    done, longest, end = [0] * threads, [0.0] * threads, time.perf_counter() + seconds

    def work(thread: int) -> None:
        numbers = count()
        while (start := time.perf_counter()) < end:
            add(collection, f"{name}-{thread}", next(numbers))
            longest[thread] = max(longest[thread], time.perf_counter() - start)
            done[thread] += 1

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"writes": sum(done), "longest, ms": max(longest) * 1e3, "of threads": done}


def several_threads(folder: Path, seconds: float) -> dict[str, Any]:
    """Writes per second of one thread and of several."""
    figures = {}
    with retrieval_store.Client(folder / "threads") as client:
        collection = filled(client)
        for threads in (1, THREADS):
            found = busy(collection, f"of-{threads}", threads, seconds)
            figures[f"{threads} threads, writes a second"] = found["writes"] / seconds
            figures[f"{threads} threads, longest, ms"] = found["longest, ms"]
    first, last = (figures[f"{threads} threads, writes a second"] for threads in (1, THREADS))
    return {**figures, "ratio": last / first}


def several_processes(folder: Path, seconds: float) -> list[dict[str, Any]]:
    """How many writes each of several concurrent processes completes."""
    with retrieval_store.Client(folder / "processes") as client:
        filled(client)
    command = [sys.executable, __file__, "--seconds", str(seconds), "--worker"]
    workers = [
        subprocess.Popen(
            [*command, str(folder / "processes"), f"process-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for worker in workers:  # ready, all of them, before any begins
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("begin\n")
        worker.stdin.flush()
    return [json.loads(worker.communicate()[0]) for worker in workers]


def worker(path: str, name: str, seconds: float) -> None:
    """One of several processes."""
    with retrieval_store.Client(path) as client:
        collection = client.get_collection(NAME, embedding_function=None)
        add(collection, name, 0)
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(busy(collection, name, THREADS_EACH, seconds)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="where the stores are made (default: a temporary folder)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker, options.seconds)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        figures = {
            "one": one(folder),
            "threads": several_threads(folder, options.seconds),
            "processes": several_processes(folder, options.seconds),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
