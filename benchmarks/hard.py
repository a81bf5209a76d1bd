"""Vectors that codes hardly distinguish: how many rows remain, and the time of a query.

    python benchmarks/hard.py [--points 100000] [--dimension 384]

For each kind of data and each instruction set: the rows left for float64 (median and maximum), and
milliseconds of a query by codes and of a scan of the vectors, both including float64. If codes are
ineffective, the scan of vectors follows, and both are counted. A store remembers this and skips
codes.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from retrieval_store.base.arrays import Metric
from retrieval_store.indexes.exact import exact_distances, length_of, nearest, norms_of
from retrieval_store.indexes.native import kernel
from retrieval_store.indexes.quantized import (
    CodeSegments,
    SearchGoal,
    allocate_codes,
    best_frame,
    candidates,
    encode_into,
    first_of,
)

QUERIES = 15
K = 10
MOST_SHARE = 20  # one row in so many may be left
Made = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def few_large(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Four numbers fifty times as large as the others."""
    return random.standard_normal(shape) * np.where(np.arange(shape[1]) < 4, 50, 1)


def windows(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Means of fifty consecutive vectors, as in sliding windows over a text, in their order."""
    sums = np.cumsum(random.standard_normal((shape[0] + 50, shape[1])), axis=0)
    return sums[50:] - sums[:-50]


def duplicates(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """About a hundred near duplicates of each vector, group by group."""
    each = random.standard_normal((shape[0] // 100 + 1, shape[1]))
    return np.repeat(each, 100, axis=0)[: shape[0]] + 0.05 * random.standard_normal(shape)


KINDS: dict[str, tuple[Made, Metric]] = {
    "gauss": (lambda random, shape: random.standard_normal(shape), "cosine"),
    "far from the origin": (lambda random, shape: random.standard_normal(shape) + 30, "cosine"),
    "far, l2": (lambda random, shape: random.standard_normal(shape) + 30, "l2"),
    "a few large": (few_large, "cosine"),
    "sparse, 2 %": (
        lambda random, shape: random.standard_normal(shape) * (random.random(shape) < 0.02),
        "cosine",
    ),
    "binary": (lambda random, shape: random.integers(0, 2, shape), "l2"),
    "sliding windows": (windows, "cosine"),
    "near duplicates, by group": (duplicates, "cosine"),
    "heavy tails": (
        lambda random, shape: (
            random.standard_normal(shape) * np.exp(random.standard_normal((shape[0], 1)))
        ),
        "l2",
    ),
    "all the same": (lambda random, shape: np.ones(shape), "cosine"),
}


def milliseconds(call: Callable[[int], object]) -> float:
    """Median milliseconds of a query."""
    times = []
    for i in range(QUERIES):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:])) * 1e3


def measure(kind: str, points: int, dimension: int) -> float:
    """Print a line for each instruction set; returns the worst ratio to floats."""
    make, metric = KINDS[kind]
    every = make(np.random.default_rng(0), (points + QUERIES, dimension)).astype(np.float32)
    random = np.random.default_rng(1)
    order = np.arange(len(every))
    asked = random.choice(len(every), QUERIES, replace=False)
    rows, queries = every[np.delete(order, asked)], every[asked]
    lengths = [length_of(query) for query in queries]
    codes = allocate_codes(points, best_frame(rows, metric, 1))
    encode_into(codes, 0, rows)
    pieces, most = CodeSegments.of([first_of(codes, points)], [0]), points // MOST_SHARE

    def by_codes(i: int) -> object:
        (found,) = candidates(queries[i : i + 1], lengths[i : i + 1], pieces, SearchGoal(K, most))
        return by_floats(i) if found is None else exact(i, found)

    def exact(i: int, found: np.ndarray) -> object:
        return exact_distances(queries[i], lengths[i], rows, found, metric)

    def by_floats(i: int) -> object:
        norms, one = partial(norms_of, rows), slice(i, i + 1)
        return list(nearest(queries[one], rows, norms, metric, K, None))

    left = candidates(queries, lengths, pieces, SearchGoal(K, most))
    counts = [points if slots is None else len(slots) for slots in left]
    compiled, worst = kernel(), 0.0
    assert compiled is not None
    for instructions in compiled.names:
        compiled.use(instructions)
        one, other = milliseconds(by_codes), milliseconds(by_floats)
        worst = max(worst, one / other)
        print(
            f"{kind:26} {metric:6} {instructions:7} left {np.median(counts):7.0f} {max(counts):7}"
            f"   codes {one:7.2f} ms   floats {other:7.2f}   x {one / other:.2f}",
            flush=True,
        )
    compiled.use(compiled.names[0])
    return worst


def main() -> None:
    """Measure all kinds of data."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    chosen = parser.parse_args()
    worst = max(measure(kind, chosen.points, chosen.dimension) for kind in KINDS)
    print(f"at worst {worst:.2f} times as long as floats")


if __name__ == "__main__":
    main()
