"""How long calls wait during compaction, and while an index is updated.

    python benchmarks/maintenance.py [--points 100000] [--dimension 384]

Half of the points are replaced first. Then one thread compacts (and rebuilds the index), one writes
single points, one reads and one searches; each records the times of its calls. Then a tenth more
points are added, which the index takes in during searches. Prints the longest times, and those
without maintenance.
"""

import argparse
import json
import tempfile
import threading
import time

import numpy as np

import retrieval_store


def waits(call, until):
    """Milliseconds of each call, until the event."""
    times = []
    while not until.is_set():
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def measured(collection, dimension, work):
    """The waits of a reader and a writer while `work` runs in this thread."""
    done, results = threading.Event(), {}
    calls = {
        "reader": lambda: collection.get(ids=["5", "77"]),
        "writer": lambda: collection.upsert(ids="new", embeddings=np.ones(dimension)),
        "searcher": lambda: collection.query(query_embeddings=np.ones(dimension), n_results=10),
    }

    def note(name):
        results[name] = waits(calls[name], done)

    threads = [threading.Thread(target=note, args=(name,)) for name in calls]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    done.set()
    for thread in threads:
        thread.join()
    figures = {
        f"{name}, longest of {len(times)} calls, ms": max(times) for name, times in results.items()
    }
    return {"seconds": seconds, **figures}


def until_indexed(collection):
    """Wait until the index contains nearly all points."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        space = collection.stats()["spaces"][""]
        if space["vectors"] + space["dead_slots"] - space["indexed_slots"] < 1_000:
            return
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    options = parser.parse_args()
    vectors = np.random.default_rng(0).random((options.points, options.dimension), dtype=np.float32)
    ids = [str(i) for i in range(options.points)]
    documents = [f"document {i}" for i in range(options.points)]
    with tempfile.TemporaryDirectory() as folder, retrieval_store.Client(folder) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=ids, embeddings=vectors, documents=documents)
        things.update(ids=ids[::2], embeddings=vectors[::2], documents=documents[::2])
        things.query(query_embeddings=vectors[0])
        figures = {
            "quiet": measured(things, options.dimension, lambda: time.sleep(1)),
            "while compacting": measured(things, options.dimension, things.optimize),
        }
        more = [f"more {i}" for i in range(options.points // 10)]
        things.add(ids=more, embeddings=vectors[: len(more)] + 0.5)
        figures["while the index follows"] = measured(
            things, options.dimension, lambda: until_indexed(things)
        )
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
