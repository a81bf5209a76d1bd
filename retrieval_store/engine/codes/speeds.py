"""How fast this machine is at what the planner chooses between; measured once in a process.

That takes some milliseconds, in the background, once there is a collection large enough for it to
matter. What is compared are products of float32 and of int8, and copies; what else a search does is
taken to be as fast as it was where the planner's other figures were measured.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from retrieval_store.indexes.blas import dot_products
from retrieval_store.indexes.kernels import has_kernels, packed, products

SHORT, LONG = 64, 512  # dimensions
CELLS = 1_048_576  # more than a core's own cache holds
RUNS = 7


@dataclass(frozen=True, slots=True)
class Speeds:
    """Microseconds. number: for one number of a row of float32 that a cache holds; code,
    code_number: for a row of int8, and for each of its numbers; infinite where there is no fast
    product of int8. copy, copy_byte: for copying a row, one of four, and for each of its bytes."""

    number: float
    code: float
    code_number: float
    copy: float
    copy_byte: float

    def of_code(self, dimension: int) -> float:
        """For a row of int8."""
        return self.code + dimension * self.code_number

    def of_copy(self, row_bytes: int) -> float:
        """For a row of so many bytes that is copied from somewhere among others."""
        return self.copy + row_bytes * self.copy_byte


# What is taken for true before it is measured, and where there is too little for it to matter.
USUAL = Speeds(1e-4, 2e-3, 4e-5, 2e-3, 5e-5)
# Instead of what is measured: where a way of searching is to be taken whatever the machine is.
ASSUMED: Speeds | None = None
_measured: list[Speeds] = []


def speeds() -> Speeds:
    """The speeds here, as far as they are known, or those that are assumed."""
    if ASSUMED is not None:
        return ASSUMED
    if _measured:
        return _measured[0]
    return USUAL if has_kernels() else replace(USUAL, code=np.inf)


def measure() -> None:
    """Measure them, unless that has been done or some are assumed."""
    if not _measured and ASSUMED is None:
        # While all cores are busy, a product in several threads may take a hundred times as long.
        number = min(_fastest(_floats()) / CELLS, 2 * USUAL.number)
        code = _line(_codes) if has_kernels() else (np.inf, 0.0)
        _measured.append(Speeds(number, *code, *_line(_copies)))


def _line(calls: Callable[[int], Callable[[], object]]) -> tuple[float, float]:
    """What a row costs, and what each of its bytes does, by rows of two lengths."""
    short, long = (_fastest(calls(length)) / (CELLS // length) for length in (SHORT, LONG))
    each = max(0.0, (long - short) / (LONG - SHORT))
    return max(0.0, short - SHORT * each), each


def codes_are_fast() -> bool:
    """Whether there is any dimension at which codes are faster than floats."""
    return speeds().of_code(LONG) < LONG * speeds().number


def _floats() -> Callable[[], object]:
    rows, query = np.ones((CELLS // LONG, LONG), np.float32), np.ones((1, LONG), np.float32)
    found = np.empty((1, len(rows)), np.float32)
    return lambda: dot_products(query, rows, found)


def _codes(dimension: int) -> Callable[[], object]:
    rows = np.ones((CELLS // dimension, dimension), np.int8)
    query = packed(np.ones((1, dimension), np.int8))
    return lambda: products(rows, query)


def _copies(length: int) -> Callable[[], object]:
    rows = np.ones((4 * CELLS // length, length), np.int8)
    every, into = np.arange(0, len(rows), 4), np.empty((CELLS // length, length), np.int8)
    return lambda: np.take(rows, every, axis=0, out=into, mode="clip")


def _fastest(call: Callable[[], object]) -> float:
    """Microseconds of the fastest of some runs; the first brings the memory in."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6
