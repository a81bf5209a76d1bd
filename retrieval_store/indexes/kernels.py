"""Products of int8 codes, by numkong.

A kernel is fastest when it multiplies each row with four others at once, and with long rows. So for
fewer than four queries several rows are taken for one, as many times longer, and each query stands
in as many places of a row of zeros: [q 0 0 0], [0 q 0 0], … That takes two thirds of the time at
256 dimensions, and a quarter at 32. No byte of the codes is moved for it.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Int8s: TypeAlias = npt.NDArray[np.int8]
Int32s: TypeAlias = npt.NDArray[np.int32]

COLUMNS = 4  # that cost as much as one
MOST_DIMENSIONS = 133_143  # 127² times as many is the largest sum that an int32 holds


@dataclass(frozen=True, slots=True)
class Packed:
    """Codes of queries, made ready. queries: how many; rows: how many rows are taken for one."""

    queries: int
    rows: int
    packed: Any


@cache
def has_products() -> bool:
    """Whether there are products of int8 at all."""
    try:
        import numkong  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def has_kernels() -> bool:
    """Whether there are products of int8 that are faster than those of floats: serial ones aren't,
    nor are numpy's."""
    if not has_products():
        return False
    import numkong

    return any(there for name, there in numkong.get_capabilities().items() if name != "serial")


def packed(codes: Int8s) -> Packed:
    """(q, dim) codes of queries, made ready for `products`."""
    import numkong

    queries, dimension = codes.shape
    rows = max(1, COLUMNS // queries)
    places = np.zeros((rows, queries, rows, dimension), np.int8)
    for i in range(rows):
        places[i, :, i] = codes
    return Packed(
        queries, rows, numkong.dots_pack(places.reshape(rows * queries, rows * dimension))
    )


def products(codes: Int8s, queries: Packed) -> Int32s:
    """(n, q) int32 products of (n, dim) codes, n a multiple of `COLUMNS`, with packed queries. Lets
    go of the interpreter."""
    import numkong

    together = codes.reshape(len(codes) // queries.rows, -1)
    found: Int32s = np.asarray(numkong.dots_packed(together, queries.packed))
    return found.reshape(len(codes), queries.queries)
