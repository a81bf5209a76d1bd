"""Finding the nearest vectors: exactly (`exact`), and by indexes that are nearly right and faster.

An index is a class under a registered name; `hnsw` is the one that collections use by default. It
knows vectors by their numbers and nothing of points, filters or files other than its own.
"""

from pathlib import Path
from typing import Protocol

from retrieval_store.arrays import Ints, Matrix
from retrieval_store.indexes.exact import Metric
from retrieval_store.json_values import Payload

HNSW = "hnsw"
EXACT = "exact"  # the name that stands for no index at all


class VectorIndex(Protocol):
    """Vectors numbered 0, 1, … in the order in which they were added; none is ever taken out.

    Any number of threads may search at once. While one adds or saves, the engine lets nobody else
    in. settings: the user's, JSON values; the class refuses those that it doesn't know with a
    ValueError.
    """

    def __init__(self, dimension: int, metric: Metric, settings: Payload) -> None: ...

    def __len__(self) -> int:
        """How many vectors there are."""

    def add(self, rows: Matrix) -> None:
        """Take (n, dim) float32 rows in, with the next numbers."""

    def search(self, queries: Matrix, count: int) -> tuple[Ints, Matrix]:
        """Numbers, int64 (q, m), and distances, float32 (q, m), of the nearest of each query, (q,
        dim) float32, nearest first; m is `count`, or less where less can be found. The larger
        `count`, the surer are the first of them."""

    def save(self, path: Path) -> None:
        """Write everything to a new file."""

    def load(self, path: Path, count: int) -> None:
        """Read what `save` wrote into an index without vectors; it should hold `count` of them.

        The file may have been made by someone who means harm: whatever in it could crash the
        process is checked first, and is a ValueError."""

    @property
    def ef_search(self) -> int:
        """The `count` that finds the nearest ten well enough, when nothing is filtered."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
