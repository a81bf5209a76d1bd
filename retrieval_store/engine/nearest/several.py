"""Points with several vectors each, in memory: one matrix for each space, in layers that follow
what is written."""

from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints, Matrix
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.state.budget import BUDGET
from retrieval_store.engine.state.layers import Layers, current, outside
from retrieval_store.engine.storage.non_dense import read_blobs
from retrieval_store.engine.storage.schema import Space

MOST = 2  # one part of the budget in so many, for the vectors of one space
LOOKED_AT = 8  # points are read instead while they are fewer than one in so many, taken together


@dataclass(frozen=True, slots=True)
class Several:
    """The vectors of some points. rows: of all that were read, ascending; holders: of those that
    have vectors; starts: (holders + 1,) where those of each begin; matrix: (n, dim) float32;
    lengths: (n,) float32."""

    rows: Ints
    holders: Ints
    starts: Ints
    matrix: Matrix
    lengths: Matrix

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        numbers = self.matrix.nbytes + self.lengths.nbytes
        return self.rows.nbytes + self.holders.nbytes + self.starts.nbytes + numbers

    def of(self, places: Ints) -> tuple[Matrix, Ints]:
        """The vectors of the holders at these places, and where those of each begin."""
        counts = np.diff(self.starts)[places]
        starts = np.cumsum(counts) - counts
        at = np.arange(int(counts.sum())) + np.repeat(self.starts[places] - starts, counts)
        return self.matrix[at], starts


def several_in_memory(view: SearchView, space: Space, asked: int) -> Layers[Several] | None:
    """The vectors of all points in a space, for a call that wants those of so many; None where they
    would take too much of memory, or so few are wanted, and so rarely, that reading these is
    cheaper."""
    cache, key, state = view.kept.several, space.number, view.state
    if key not in cache.held():
        if cache.demand.ask(key) * asked * LOOKED_AT < state.count:
            return None
        if _bytes_of(view, space) > BUDGET.limit // MOST:
            return None

    def build(rows: Ints) -> Several:
        return read_several(view, space, rows)

    return current(cache, key, state.head.seq, state.alive, build, lambda: None)


def _bytes_of(view: SearchView, space: Space) -> int:
    query = "SELECT total(length(content)) FROM blobs WHERE space = ?"
    ((total,),) = select(view.connection, query, space.number)
    return int(total)


def read_several(view: SearchView, space: Space, rows: Ints) -> Several:
    """The vectors of the points at these rows, ascending, as they are stored."""
    assert space.dimension is not None
    pks = view.state.pks[rows]
    found = list(read_blobs(view.connection, space, pks))
    holders = rows[np.searchsorted(pks, np.array([pk for pk, _ in found], np.int64))]
    counts = [len(blob) // (4 * space.dimension) for _, blob in found]
    joined = b"".join([blob for _, blob in found])
    matrix = np.frombuffer(joined, "<f4").reshape(-1, space.dimension)
    starts = np.cumsum([0, *counts])
    lengths: Floats = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    return Several(rows, holders, starts, matrix, lengths.astype(np.float32))


def counting(one: Several, above: Ints | None, mask: Bools) -> Ints:
    """The places of the holders in a layer that are among those of the mask, and of which no layer
    above says anything else."""
    holders = one.holders[: np.searchsorted(one.holders, len(mask))]
    good = mask[holders]
    if above is not None:
        good &= outside(holders, above)
    return np.flatnonzero(good)
