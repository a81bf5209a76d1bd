"""Measures the planner's constants: the cost of scans and of an index's candidates.

    python benchmarks/calibrate.py [--points 50000] [--dimension 256]

Costs are microseconds per row, and per number of a row, for scans of vectors and of codes, and per
candidate of an index. It also measures how many candidates a filter needs. The vectors are normally
distributed around 2,000 centres, so they are neither uniform nor well separated, like real
embeddings. Prints a table for each instruction set of the processor.
`retrieval_store/engine/search/planner.py` has the constants.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from retrieval_store.indexes.exact import length_of, nearest, norms_of
from retrieval_store.indexes.hnsw import HNSWIndex
from retrieval_store.indexes.native import kernel
from retrieval_store.indexes.quantized import (
    CodeSegments,
    SearchGoal,
    allocate_codes,
    best_frame,
    encode_into,
    first_of,
    nearest_by_codes,
)

QUERIES = 100
K = 10
ERRORS = 2.5  # that searches by signs allow for


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
    """Microseconds of a scan of vectors, for contiguous and for scattered rows, by the number of
    matching rows."""
    random = np.random.default_rng(1)
    print("rows allowed  together (us, ns/row)  scattered (us, ns/row)")
    for share in (0.005, 0.02, 0.05, 0.12, 0.27, 0.5, 1.0):
        slots = np.flatnonzero(random.random(len(vectors)) < share)

        def search(i: int, rows: np.ndarray, slots: np.ndarray | None) -> object:
            norms = partial(norms_of, rows)
            near = nearest(queries[i : i + 1], rows, norms, "cosine", K, slots)
            return list(near)

        one = median_us(partial(search, rows=vectors[slots], slots=None))
        other = median_us(partial(search, rows=vectors, slots=slots))
        rows = len(slots) / 1e3
        print(f"{len(slots):12,}  {one:10.0f} {one / rows:8.1f}  {other:12.0f} {other / rows:8.1f}")


def code_costs(vectors: np.ndarray, queries: np.ndarray) -> None:
    """Microseconds of a scan of codes, of all rows and with a filter."""
    lengths = [length_of(query) for query in queries]
    codes = allocate_codes(len(vectors), best_frame(vectors, "cosine", 1))
    start = time.perf_counter()
    encode_into(codes, 0, vectors)
    spent = (time.perf_counter() - start) / len(vectors) * 1e6
    pieces = CodeSegments.of([first_of(codes, len(vectors))], [0])
    random = np.random.default_rng(1)
    print(f"codes are made in {spent:.1f} us a row")
    print("rows allowed  a pass (us, ns/row of all)  by signs (us, ns/row of all)")
    for share in (0.005, 0.02, 0.12, 1.0):
        allowed = random.random(-(-len(vectors) // 32) * 32) < share
        bits = np.packbits(allowed, bitorder="little").view("<u4")

        def search(i: int, sought: SearchGoal) -> object:
            one = slice(i, i + 1)
            return nearest_by_codes(queries[one], lengths[one], pieces, sought, vectors)

        cells = f"{np.count_nonzero(allowed):12,}"
        for errors in (None, ERRORS):
            sought = SearchGoal(K, len(vectors) // 20, bits, None, errors)
            cost = median_us(partial(search, sought=sought))
            cells += f"  {cost:10.0f} {cost / len(vectors) * 1e3:8.2f}"
        print(cells)


def index_costs(vectors: np.ndarray, queries: np.ndarray) -> None:
    """Microseconds per candidate, and recall with filters by the number of candidates per rank."""
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
    compiled = kernel()
    assert compiled is not None
    for instructions in compiled.names:
        compiled.use(instructions)
        print(instructions)
        exact_costs(vectors, queries)
        code_costs(vectors, queries)
    index_costs(vectors, queries)


if __name__ == "__main__":
    main()
