"""How fast this machine is at what the planner chooses between; measured once in a process.

That takes some milliseconds, at the first search that is large enough for it to matter. What is
compared are products of float32 and of int8; what else a search does is taken to be as fast as it
was where the planner's other figures were measured.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from retrieval_store.indexes.kernels import has_kernels, packed, products

SHORT, LONG = 64, 512  # dimensions
CELLS = 2_097_152  # more than a core's own cache holds
RUNS = 7


@dataclass(frozen=True, slots=True)
class Speeds:
    """Microseconds. number: for one number of a row of float32 that a cache holds; code,
    code_number: for a row of int8, and for each of its numbers; infinite where there is no fast
    product of int8."""

    number: float
    code: float
    code_number: float

    def of_code(self, dimension: int) -> float:
        """For a row of int8."""
        return self.code + dimension * self.code_number


USUAL = Speeds(1.1e-4, np.inf, np.inf)  # where there is too little for it to matter


@cache
def speeds() -> Speeds:
    """The speeds here."""
    number = _fastest(_floats()) / CELLS
    if not has_kernels():
        return Speeds(number, np.inf, np.inf)
    short, long = (_fastest(_codes(dimension)) / (CELLS / dimension) for dimension in (SHORT, LONG))
    each = max(0.0, (long - short) / (LONG - SHORT))
    return Speeds(number, max(0.0, short - SHORT * each), each)


def codes_are_fast() -> bool:
    """Whether there is any dimension at which codes are faster than floats."""
    return has_kernels() and speeds().of_code(LONG) < LONG * speeds().number


def _floats() -> Callable[[], object]:
    rows, query = np.ones((CELLS // LONG, LONG), np.float32), np.ones((1, LONG), np.float32)
    return lambda: query @ rows.T


def _codes(dimension: int) -> Callable[[], object]:
    rows = np.ones((CELLS // dimension, dimension), np.int8)
    query = packed(np.ones((1, dimension), np.int8))
    return lambda: products(rows, query)


def _fastest(call: Callable[[], object]) -> float:
    """Microseconds of the fastest of some runs; the first brings the memory in."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6
