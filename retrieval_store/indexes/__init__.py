"""Finding nearest vectors: exactly (`exact`), by quantized codes (`quantized`), or by an index
(`hnsw`). The bounds of codes are proven, or standard errors where a recall below 1 is wanted.

The scans are compiled (`native`). An index is a class under a registered name. It knows vectors by
their numbers, and nothing of points, filters, or files other than its own. It may use `base` and
`errors`.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

from retrieval_store.base.arrays import Bools, Ints, Matrix, Metric
from retrieval_store.base.validation import Payload

HNSW = "hnsw"
# With these, recall@10 on real embeddings of 256 dimensions is .993 over 50,000 points. More links
# (max_neighbors = 24) and a smaller ef_construction build faster, but search a quarter slower.
HNSW_DEFAULTS: Payload = {"ef_construction": 200, "max_neighbors": 16, "ef_search": 140}
EXACT = "exact"  # the name that means no index at all
CODES = "codes"  # … and the engine's own codes: see `quantized`
CODES_BEFORE = "clusters"  # as stores call it that were made before there were signs
DEFAULT_RECALL = 0.98  # of searches by signs
# The recall that a number of candidates of a graph (`ef`) corresponds to, in steps.
GREATEST_RECALL = 0.995  # above, nothing is left out without a proof
RECALL_OF_EF = ((16, 0.8), (32, 0.9), (64, 0.95), (120, 0.97), (160, DEFAULT_RECALL), (320, 0.99))
# Looked for once, here: an interrupt while Python looks for a module would leave its import lock
# taken, for which every other thread would wait for ever.
_HAS_HNSWLIB = find_spec("hnswlib") is not None


def is_installed(name: str) -> bool:
    """Whether the packages that an index of this name needs are installed. The names are of
    `VectorIndex`es; the needs of plugins aren't known here."""
    return name != HNSW or _HAS_HNSWLIB


def recall_of(ef: int | None) -> float:
    """The recall that a number of candidates corresponds to."""
    if ef is None:
        return DEFAULT_RECALL
    return next((recall for most, recall in RECALL_OF_EF if ef <= most), GREATEST_RECALL)


def ef_of(recall: float) -> int:
    """The number of candidates of a graph that a recall corresponds to."""
    return next(
        (most for most, graph_recall in RECALL_OF_EF if graph_recall >= recall),
        2 * RECALL_OF_EF[-1][0],
    )


class VectorIndex(Protocol):
    """Vectors numbered 0, 1, … in the order in which they were added; none is ever removed.

    Any number of threads may search at once, and one save meanwhile. While a thread adds, the
    engine lets no other thread in. settings: the user's, JSON values; the class refuses unknown
    ones with a ValueError. They come from the store, which others may have made. So a class of a
    package must promise by `self_contained = True` that with any settings it reaches no host,
    environment or file but those that it is called to save and to load; otherwise it isn't used.

    If a package that the class needs isn't installed, only `add` and `load` fail, with a
    PluginError that says what to install: settings are checked and stored anywhere.
    """

    def __init__(self, dimension: int, metric: Metric, settings: Payload) -> None: ...

    def __len__(self) -> int:
        """How many vectors there are."""

    def add(self, rows: Matrix) -> None:
        """Take (n, dim) float32 rows in, with the next numbers."""

    def search(self, queries: Matrix, count: int) -> tuple[Ints, Matrix]:
        """Numbers, int64 (q, m), and distances, float32 (q, m), of the nearest of each query, (q,
        dim) float32, nearest first; m is `count`, or less where less can be found. A larger `count`
        raises the recall of the first of them. Distances are "l2" squared, "ip" 1 - dot, "cosine" 1
        - cos, up to float32 rounding."""

    def save(self, path: Path) -> None:
        """Write everything to a new file."""

    def load(self, path: Path, count: int) -> None:
        """Read a file of `save` into an index without vectors; it should hold `count` of them.

        The file may have been made by someone who means harm: whatever in it could crash the
        process is checked first, and is a ValueError."""

    @property
    def ef_search(self) -> int:
        """The `count` that finds the nearest ten well enough, when nothing is filtered."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""


@runtime_checkable
class KnowsVectors(Protocol):
    """An optional interface of an index, for comparing its vectors with the stored ones. Without it
    the index is searched for each vector, and compared by the results."""

    def holds(self, first: int, rows: Matrix) -> Bools:
        """(n,) whether the vectors with the numbers from `first` on, as they are searched, are
        these (n, dim) float32 rows."""
