"""Products of float32, of which one at a time is split among threads.

BLAS splits a product among threads of its own, which wait for each other without letting go of
their cores. When several threads ask it at once, or other processes keep the cores busy, all of
these are in each other's way: a product took ten to a hundred times as long.
"""

import os
import threading

import numpy as np

from retrieval_store.base.arrays import Matrix

UNSPLIT_CELLS = 9_000  # OpenBLAS splits products with a vector from 9,216 numbers on

# … and products of matrices from so many multiplications on; larger parts leave the cache, too.
UNSPLIT_PRODUCTS, PART_CELLS = 262_144, 32_768


class _Turn:
    """The lock that a thread holds while BLAS splits its product."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def forget_after_fork(self) -> None:
        """In a child: no thread holds it."""
        self.lock = threading.Lock()


_turn = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.forget_after_fork)


def dot_products(queries: Matrix, rows: Matrix, out: Matrix) -> None:
    """Write the products of (q, dim) queries and (n, dim) rows to `out`, (q, n)."""
    if len(queries) == 1:
        _unsplit(queries[0], rows, out[0])
        return
    with _turn.lock:
        np.matmul(queries, rows.T, out=out)


def _unsplit(query: Matrix, rows: Matrix, out: Matrix) -> None:
    """For one query, in parts too small to be split: that takes as long as in one thread, which is
    nearly as fast as in several, since memory is what it waits for."""
    dimension = max(1, rows.shape[1])
    part = max(1, UNSPLIT_CELLS // dimension)
    parts = len(rows) // part
    cut = parts * part
    np.matmul(rows[:cut].reshape(parts, part, dimension), query, out=out[:cut].reshape(parts, part))
    np.matmul(rows[cut:], query, out=out[cut:])


def products_of_few(queries: Matrix, rows: Matrix) -> Matrix:
    """(n, q) products of (n, dim) rows and a few queries, in parts too small to be split: the rows
    are read once for all queries."""
    dimension = max(1, rows.shape[1])
    part = max(1, min(PART_CELLS, UNSPLIT_PRODUCTS // max(1, len(queries))) // dimension)
    parts = len(rows) // part
    cut, columns = parts * part, np.ascontiguousarray(queries.T)
    found = np.empty((len(rows), len(queries)), np.float32)
    together = found[:cut].reshape(parts, part, len(queries))
    np.matmul(rows[:cut].reshape(parts, part, rows.shape[1]), columns, out=together)
    np.matmul(rows[cut:], columns, out=found[cut:])
    return found
