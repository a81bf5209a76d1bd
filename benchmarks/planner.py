"""Whether the planner chooses the fastest method: each method, forced, beside the choice.

    python benchmarks/planner.py [--points 20000 100000] [--dimensions 64 256 768]

Clustered vectors in memory, filters of several selectivities, new and cached, with and without an
index. Prints a line for each combination: microseconds by method, the choice, and how much slower
it is than the best; at the end the worst of all. Methods alternate, so that other load affects them
equally.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from calibrate import clustered

import retrieval_store
from retrieval_store.engine.search import ranker
from retrieval_store.engine.search.planner import CostInputs, SearchPlan, candidates, choose

SHARES = (1.0, 0.7, 0.27, 0.12, 0.03, 0.007)
METHODS = ("exact", "codes", "over-fetch")
RUNS = 15
K = 10


@contextmanager
def forced(method: str | None) -> Iterator[list[str]]:
    """Make every search use this method where possible; yields the methods that were used."""
    used: list[str] = []

    def choice(at: CostInputs, wider: int = 1) -> SearchPlan:
        plan = choose(at, wider)
        if method == "over-fetch" and at.indexed:
            plan = SearchPlan("over-fetch", candidates(at) * wider, plan.costs)
        elif method in ("exact", "codes"):
            coded = at.coded if method == "codes" else 0
            plan = choose(replace(at, indexed=0, coded=coded))
            plan = replace(plan, method=method) if coded or method == "exact" else plan
        used.append(plan.method)
        return plan

    ranker.choose = choice
    try:
        yield used
    finally:
        ranker.choose = choose


def where(share: float, number: int) -> dict | None:
    """A filter with that selectivity, different for each number."""
    return None if share == 1 else {"r": {"$lt": share + number * 1e-9}}


def measured(things: retrieval_store.Collection, share: float, fresh: bool) -> dict[str, float]:
    """Microseconds of each method, the median of alternating runs. The key "" is the planner's
    choice."""
    queries = clustered(RUNS + 3, things.stats()["spaces"][""]["dimension"], 9)
    times: dict[str, list[float]] = {method: [] for method in ("", *METHODS)}
    for i, query in enumerate(queries):
        for j, (method, taken) in enumerate(times.items()):
            # What is kept of a filter is kept for one way: each has a filter of its own.
            condition = where(share, j + (len(times) * i if fresh else 0))
            with forced(method or None) as used:
                start = time.perf_counter()
                things.query(query_embeddings=query, n_results=K, where=condition)
                elapsed = (time.perf_counter() - start) * 1e6
            if not method or used[0] == method:
                taken.append(elapsed)
    return {method: float(np.median(t[3:])) for method, t in times.items() if len(t) > 3}


def situations(points: int, dimension: int, index: str) -> Iterator[float]:
    """Measure all filters on one collection; yields how much slower each choice was than the best
    method."""
    configuration = {"index": "exact"} if index == "exact" else None
    vectors, random = clustered(points, dimension), np.random.default_rng(0).random(points)
    with retrieval_store.Client() as client:
        things = client.create_collection("things", configuration, embedding_function=None)
        for start in range(0, points, 10_000):
            some = range(start, min(points, start + 10_000))
            things.add(
                ids=[str(i) for i in some],
                embeddings=vectors[start : start + 10_000],
                metadatas=[{"r": float(random[i])} for i in some],
            )
        things.optimize()
        for share in SHARES:
            for fresh in (False, True):
                found = measured(things, share, fresh)
                chosen, best = found.pop(""), min(found.values())
                shown = "  ".join(f"{name} {value:7.0f}" for name, value in found.items())
                kind = "new " if fresh else "kept"
                print(
                    f"{points:8} x {dimension:4} {index:5} {share:6.1%} {kind}  {shown}"
                    f"  chosen {chosen:7.0f}  x {chosen / best:.2f}",
                    flush=True,
                )
                yield chosen / best


def main() -> None:
    """Measure the grid."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[64, 256, 768])
    arguments = parser.parse_args()
    ratios = [
        ratio
        for points in arguments.points
        for dimension in arguments.dimensions
        for index in ("exact", "hnsw")
        for ratio in situations(points, dimension, index)
    ]
    print(
        f"{len(ratios)} situations; the choice was {max(ratios):.2f} times the best at worst, ",
        end="",
    )
    print(f"{np.median(ratios):.2f} in the middle")


if __name__ == "__main__":
    main()
