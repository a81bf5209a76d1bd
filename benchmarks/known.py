"""What cached filters gain and cost: the same filters again and again, and many filters.

    python benchmarks/known.py [--points 100000] [--dimension 384] [--store FOLDER]

A directory has clustered vectors, each with one of 25 years and a price; it is created if the
folder has no store. Two processes run the same queries, one with the default `memory_budget` and
one with 100 MB. The filters are 25 broad ones (`{"year": {"$ne": y}}`) in turn, 80 on a price,
which select from one record in 80 to nearly all, and six of several selectivities, each alone.
Prints a table in Markdown: median milliseconds of the query's thread for a filter's first use, its
second, its third, and later ones, and megabytes by which the process has grown.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from calibrate import clustered
from compare import table
from many import resident
from runs import processor

import retrieval_store

BATCH, YEARS, PRICES, QUERIES = 10_000, 25, 80, 64
ROUNDS, LAST = 48, 16
SHARES = (0.7, 0.27, 0.12, 0.03, 0.007, 0.001)
SMALL = 100_000_000


def fill(folder: Path, points: int, dimension: int) -> None:
    """Create a collection and fill it."""
    vectors, random = clustered(points + QUERIES, dimension), np.random.default_rng(0)
    np.save(folder / "queries.npy", vectors[points:])
    with retrieval_store.Client(folder / "store") as client:
        things = client.create_collection("things", {"index": "exact"}, embedding_function=None)
        for at in range(0, points, BATCH):
            some = range(at, min(points, at + BATCH))
            years = random.integers(0, YEARS, len(some)).tolist()
            prices = random.random(len(some)).tolist()
            metadatas = [
                {"year": 2000 + year, "price": price, "r": prices[-1 - i]}
                for i, (year, price) in enumerate(zip(years, prices, strict=True))
            ]
            ids = [str(i) for i in some]
            things.add(ids=ids, embeddings=vectors[some.start : some.stop], metadatas=metadatas)
        things.optimize()


def spent(work: Callable[[], object]) -> float:
    """Milliseconds of CPU of this thread."""
    start = time.thread_time()
    work()
    return (time.thread_time() - start) * 1e3


def rounds(ask: Callable[..., object], filters: Iterable[dict]) -> dict[str, float]:
    """The times of these filters' first, second and later uses; the filters are used in turn."""
    turns = [[spent(partial(ask, where=one)) for one in filters] for _ in range(ROUNDS)]
    first, second, *_ = medians = [*map(statistics.median, turns)]
    return {"first": first, "second": second, "later": statistics.median(medians[-LAST:])}


def ask(folder: Path, budget: int | None) -> dict[str, float]:
    """The figures of one process."""
    queries = iter([*np.load(folder / "queries.npy")] * 1_000)
    with retrieval_store.Client(folder / "store", memory_budget=budget) as client:
        things = client.get_collection("things", embedding_function=None)

        def one(where: dict | None) -> object:
            return things.query(query_embeddings=next(queries), where=where, include=["distances"])

        for where in (None, {"year": 1}, {"price": -1.0}, {"r": -1.0}):
            for _ in range(QUERIES):  # columns, and pages of files
                one(where)
        figures, before = {"no filter": spent(partial(one, None))}, resident()
        broad = [{"year": {"$ne": 2000 + year}} for year in range(YEARS)]
        for use, taken in rounds(one, broad).items():
            figures[f"25 broad filters, {use}"] = taken
        figures["MB gained by these"] = resident() - before
        prices = [{"price": {"$gte": i / PRICES}} for i in range(PRICES)]
        for use, taken in rounds(one, prices).items():
            figures[f"80 on a price, {use}"] = taken
        figures["MB gained by all 105"] = resident() - before
        for share in SHARES:
            for use, taken in rounds(one, [{"r": {"$lt": share}}]).items():
                figures[f"{share:.1%}, {use}"] = taken
        figures["MB held"] = client.stats()["budget"]["held"] / 1e6
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--ask", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ask is not None:
        print(json.dumps(ask(chosen.store, chosen.ask or None)))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = chosen.store or Path(made)
        if not (folder / "store").exists():
            folder.mkdir(parents=True, exist_ok=True)
            fill(folder, chosen.points, chosen.dimension)
        results = {}
        for name, budget in (("the usual budget", 0), ("100 MB", SMALL)):
            command = [sys.executable, __file__, "--store", str(folder), "--ask", str(budget)]
            results[name] = json.loads(subprocess.check_output(command))
    print(processor())
    print(table(results))


if __name__ == "__main__":
    main()
