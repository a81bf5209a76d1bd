"""Times of a process's first calls after opening a store, and what `warm` saves.

    python benchmarks/opening.py [--points 200000] [--dimension 64] [--times 5]

Creates a store with a document and four metadata keys per point: few distinct strings, integers,
distinct floats, and lists of strings. Filters on each key and searches for words run until all
derived data is saved. Then new processes open the store, and each times the first and the second
call of each kind. Prints JSON: the best milliseconds over these processes, without and after
`warm`, and the time of `warm` itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import retrieval_store

BATCH = 10_000
WORDS, LENGTH = 100_000, 24  # of which documents are made, by Zipf's law, and how many words each
FILTERS: dict[str, dict[str, Any]] = {
    "lang": {"lang": "de"},
    "year": {"year": {"$gte": 1990}},
    "score": {"score": {"$lt": 5000}},
    "tags": {"tags": {"$contains": "t3"}},
}
TEXT = {"query_texts": ["w12 w70"], "mode": "text"}


def make(folder: Path, points: int, dimension: int) -> None:
    """Create a store and save all derived data."""
    random = np.random.default_rng(0)
    with retrieval_store.Client(folder) as client:
        things = client.create_collection("things", embedding_function=None)
        for first in range(0, points, BATCH):
            numbers = range(first, min(points, first + BATCH))
            ranks = np.minimum(random.zipf(1.3, (len(numbers), LENGTH)), WORDS)
            things.add(
                ids=[f"id-{n}" for n in numbers],
                embeddings=random.standard_normal((len(numbers), dimension), np.float32),
                metadatas=[metadata(n) for n in numbers],
                documents=[" ".join(f"w{rank}" for rank in some) for some in ranks.tolist()],
            )
        things.warm([*FILTERS], text=True)  # so they are known, and saved
        things.optimize()


def metadata(n: int) -> dict[str, Any]:
    """The metadata of one point."""
    return {
        "lang": ("de", "en", "fr")[n % 3],
        "year": 1900 + n % 120,
        "score": n / 7,
        "tags": [f"t{n % 50}", f"u{n % 7}"],
    }


def calls(folder: Path, dimension: int, is_warmed: bool) -> None:
    """Open the store in this process, and print the times of its first calls."""
    measured: dict[str, list[float]] = {}

    def twice(name: str, call: Callable[[], object]) -> None:
        measured[name] = [milliseconds(call), milliseconds(call)]

    begun = time.perf_counter()
    with retrieval_store.Client(folder) as client:
        things = client.get_collection("things", embedding_function=None)
        vector = [0.1] * dimension
        measured["open"] = [(time.perf_counter() - begun) * 1e3]
        if is_warmed:
            twice("warm", lambda: things.warm([*FILTERS], text=True))
        twice("query", lambda: things.query(query_embeddings=vector))
        for name, where in FILTERS.items():
            twice(name, lambda where=where: things.query(query_embeddings=vector, where=where))
        twice("text", lambda: things.query(**TEXT))
    print(json.dumps(measured))


def milliseconds(call: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def best_of(folder: Path, dimension: int, times: int, *options: str) -> dict[str, list[float]]:
    """The best times of this many new processes."""
    command = [sys.executable, __file__, "--calls", str(folder), "--dimension", str(dimension)]
    command += options
    measured = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(times)
    ]
    names = measured[0].keys()
    return {
        name: np.round(np.min([one[name] for one in measured], axis=0), 2).tolist()
        for name in names
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument(
        "--calls", type=Path, help="only time the calls on the store in this folder"
    )
    parser.add_argument("--warmed", action="store_true", help="after `warm`")
    arguments = parser.parse_args()
    if arguments.calls:
        calls(arguments.calls, arguments.dimension, arguments.warmed)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "store"
        make(folder, arguments.points, arguments.dimension)
        figures = {
            "points": arguments.points,
            "dimension": arguments.dimension,
            "first and second ms": best_of(folder, arguments.dimension, arguments.times),
            "warmed, first and second ms": best_of(
                folder, arguments.dimension, arguments.times, "--warmed"
            ),
        }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
