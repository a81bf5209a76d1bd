"""Finding nearest vectors: exactly (`exact`), by quantized codes (`quantized`), or by an index
(`hnsw`). Codes have proven error bounds; if a recall below 1 is wanted, standard errors are used
instead.

The scans are compiled (`native`). An index is a class under a registered name. It identifies
vectors by numbers, and knows nothing of points, filters, or files other than its own. It may use
`base` and `errors`.
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
    """Whether the packages that an index of this name needs are installed. name: of a built-in
    `VectorIndex`; which packages plugins need isn't known here."""
    return name != HNSW or _HAS_HNSWLIB


def recall_of(ef: int | None) -> float:
    """The recall that corresponds to a number of candidates of a graph."""
    if ef is None:
        return DEFAULT_RECALL
    return next((recall for most, recall in RECALL_OF_EF if ef <= most), GREATEST_RECALL)


def ef_of(recall: float) -> int:
    """The number of candidates of a graph that corresponds to a recall."""
    return next(
        (most for most, graph_recall in RECALL_OF_EF if graph_recall >= recall),
        2 * RECALL_OF_EF[-1][0],
    )


class VectorIndex(Protocol):
    """An index of vectors, which are numbered 0, 1, … in the order in which they were added;
    vectors are never removed.

    Any number of threads may search at the same time, while one thread may save. While a thread
    adds vectors, the engine lets no other thread use the index. settings: the user's, JSON values;
    the class refuses unknown ones with a ValueError. They come from the store, which a stranger may
    have made. So a class of a plugin must promise by `self_contained = True` that, whatever the
    settings, it accesses no host, environment variable or file, except for the files that it is
    called to save and to load. Otherwise it isn't used.

    If a package that the class needs isn't installed, only `add` and `load` fail, with a
    PluginError that says what to install: settings are checked and stored anywhere.
    """

    def __init__(self, dimension: int, metric: Metric, settings: Payload) -> None: ...

    def __len__(self) -> int:
        """How many vectors there are."""

    def add(self, rows: Matrix) -> None:
        """Add (n, dim) float32 rows, which get the next numbers."""

    def search(self, queries: Matrix, count: int) -> tuple[Ints, Matrix]:
        """The numbers, int64 (q, m), and distances, float32 (q, m), of the vectors nearest to each
        query, nearest first. queries: (q, dim) float32. m is `count`, or less if fewer can be
        found. A larger `count` raises the recall of the first results. Distances are "l2" squared,
        "ip" 1 - dot, "cosine" 1
        - cos, up to float32 rounding."""

    def save(self, path: Path) -> None:
        """Write the whole index to a new file."""

    def load(self, path: Path, count: int) -> None:
        """Read a file that `save` has written into an index without vectors; the file should have
        `count` vectors.

        The file may be malicious: content that could crash the process must be detected first, and
        raise a ValueError."""

    @property
    def ef_search(self) -> int:
        """The `count` with which the nearest ten are found with good recall, without a filter."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""


@runtime_checkable
class KnowsVectors(Protocol):
    """An optional interface of an index, by which verification compares its vectors with the stored
    vectors. An index without it is searched for each stored vector instead, and the results are
    checked."""

    def holds(self, first: int, rows: Matrix) -> Bools:
        """(n,) bool: whether the index's vectors with the numbers from `first` on are these (n,
        dim) float32 rows, in the form in which they are searched."""
