"""What the planner's estimates are made of, measured: microseconds for each number of a vector, by
where it lies in memory, and for each candidate of an index; and how many candidates a filter needs.

    python benchmarks/calibrate.py [--points 50000] [--dimension 256]

The vectors are normal around 2,000 centres, like real embeddings neither uniform nor apart. Prints
a table; `retrieval_store/engine/planner.py` has the constants.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from retrieval_store.indexes.exact import Norms, length_of, nearest, norms_of, taken
from retrieval_store.indexes.hnsw import HNSWIndex

QUERIES = 100
K = 10


def clustered(points: int, dimension: int, seed: int = 0) -> np.ndarray:
    """(points, dimension) float32 around 2,000 centres."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((2_000, dimension))
    owners = random.integers(0, len(centres), points)
    return (centres[owners] + 0.9 * random.standard_normal((points, dimension))).astype(np.float32)


def median_us(call: Callable[[int], object]) -> float:
    """Median microseconds of a call for each of the queries."""
    times = []
    for i in range(QUERIES):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def exact_costs(vectors: np.ndarray, queries: np.ndarray) -> None:
    """Microseconds for each cell, over rows together and scattered, as many as are allowed."""
    lengths, norms = [length_of(query) for query in queries], norms_of(vectors)
    random = np.random.default_rng(1)
    print("rows allowed  together (us, ns/cell)  scattered (us, ns/cell)")
    for share in (0.005, 0.02, 0.05, 0.12, 0.27, 0.5, 1.0):
        slots = np.flatnonzero(random.random(len(vectors)) < share)
        rows, its_norms = vectors[slots], taken(norms, slots)

        def search(i: int, rows: np.ndarray, norms: Norms, slots: np.ndarray | None) -> object:
            near = nearest(queries[i : i + 1], lengths[i : i + 1], rows, norms, "cosine", K, slots)
            return list(near)

        one = median_us(partial(search, rows=rows, norms=its_norms, slots=None))
        other = median_us(partial(search, rows=vectors, norms=norms, slots=slots))
        cells = rows.size / 1e3
        print(
            f"{len(slots):12,}  {one:10.0f} {one / cells:8.3f}  {other:14.0f} {other / cells:8.3f}"
        )


def index_costs(vectors: np.ndarray, queries: np.ndarray) -> None:
    """Microseconds for each candidate, and recall under filters by candidates a rank."""
    index = HNSWIndex(vectors.shape[1], "cosine", {})
    index.add(vectors)

    def candidates(count: int, i: int) -> object:
        return index.search(queries[i : i + 1], count)

    print("candidates  us  us/candidate")
    for count in (60, 120, 250, 500, 1000):
        cost = median_us(partial(candidates, count))
        print(f"{count:10}  {cost:6.0f}  {cost / count:.2f}")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = queries @ unit.T
    random = np.random.default_rng(2)
    print("share  recall with 2, 3, 4, 6 candidates for each rank")
    for share in (1.0, 0.7, 0.27, 0.12, 0.05):
        mask = random.random(len(vectors)) < share
        allowed = np.where(mask, similarity, -np.inf)
        last = -np.partition(-allowed, K - 1, axis=1)[:, K - 1]
        recalls = []
        for per_rank in (2, 3, 4, 6):
            count = int(index.ef_search + per_rank * max(0.0, K / share - K))
            numbers, _ = index.search(queries, count)
            hits = [row[mask[row]][:K] for row in numbers]
            found = [(similarity[i, hit] >= last[i] - 1e-4).sum() for i, hit in enumerate(hits)]
            recalls.append(f"{sum(found) / (K * len(queries)):.4f}")
        print(f"{share:5}  {'  '.join(recalls)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--vectors", help="an .npy file to take them from instead")
    chosen = parser.parse_args()
    if chosen.vectors:
        every = np.load(chosen.vectors)
        every = every[np.random.default_rng(3).permutation(len(every))]
        every = every[: chosen.points + QUERIES]
    else:
        every = clustered(chosen.points + QUERIES, chosen.dimension)
    vectors, queries = every[QUERIES:], every[:QUERIES]
    exact_costs(vectors, queries)
    index_costs(vectors, queries)


if __name__ == "__main__":
    main()
