"""Products of float32, of which one at a time is split among threads.

BLAS splits a product among threads of its own, which wait for each other without letting go of
their cores. When several threads ask it at once, all of these are in each other's way: eight did a
tenth of what one does.
"""

import os
import threading

import numpy as np

from retrieval_store.base.arrays import Matrix


class _Turn:
    """The lock of whoever has a product split."""

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
    lock = _turn.lock
    # Row by row nothing is split. That is nearly as fast for one query, since memory is what it
    # waits for; several would read all rows again for each.
    if len(queries) == 1 and lock.locked():
        np.matmul(rows[:, None], queries[0][:, None], out=out[0][:, None, None])
        return
    with lock:
        np.matmul(queries, rows.T, out=out)
