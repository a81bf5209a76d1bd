"""Finding nearest vectors: exactly (`exact`), by quantized codes (`quantized`), or by an index
(`hnsw`). Codes have proven error bounds. If a recall below 1 is wanted, standard errors take the
place of these bounds.

The scans are compiled (`native`). An index is a class with a registered name, which identifies
vectors by numbers. An index has no access to points or filters, and uses only its own files. The
package is allowed to import `base` and `errors`.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

from retrieval_store.base.arrays import Bools, Ints, Matrix, Metric
from retrieval_store.base.validation import Payload

HNSW = "hnsw"
# With these settings, recall@10 on real embeddings of 256 dimensions is .993 over 50,000 points.
# More links (max_neighbors = 24) and a smaller ef_construction build faster, but searches take a
# quarter longer.
HNSW_DEFAULTS: Payload = {"ef_construction": 200, "max_neighbors": 16, "ef_search": 140}
EXACT = "exact"  # the name that means that there is no index
CODES = "codes"  # the name that means the engine's own codes: see `quantized`
CODES_BEFORE = "clusters"  # the name for codes in stores from before there were signs
DEFAULT_RECALL = 0.98  # the recall of searches by signs if none is set
# The recall that corresponds to a number of candidates of a graph (`ef`), in steps.
GREATEST_RECALL = 0.995  # above this recall, a search must prove that it misses no neighbour
RECALL_OF_EF = ((16, 0.8), (32, 0.9), (64, 0.95), (120, 0.97), (160, DEFAULT_RECALL), (320, 0.99))
# Determined once, at import. If an interrupt came while Python looks for a module, its import lock
# would stay held, and every other thread would wait for it forever.
_HAS_HNSWLIB = find_spec("hnswlib") is not None


def is_installed(name: str) -> bool:
    """Whether the packages that an index needs are installed. name: the name of the index. Only the
    requirements of the built-in index are known here; the result is True for plugins."""
    return name != HNSW or _HAS_HNSWLIB


def recall_of(ef: int | None) -> float:
    """The recall that corresponds to searching a graph with `ef` candidates. For None, the default
    recall is returned."""
    if ef is None:
        return DEFAULT_RECALL
    return next((recall for most, recall in RECALL_OF_EF if ef <= most), GREATEST_RECALL)


def ef_of(recall: float) -> int:
    """The number of candidates for searching a graph that corresponds to a recall."""
    return next(
        (most for most, graph_recall in RECALL_OF_EF if graph_recall >= recall),
        2 * RECALL_OF_EF[-1][0],
    )


class VectorIndex(Protocol):
    """An index of vectors, which are numbered 0, 1, … in the order in which they were added.
    Vectors are never removed.

    Any number of threads can search at the same time, while one thread saves. While a thread adds
    vectors, the engine lets no other thread use the index. settings: the user's settings, JSON
    values; the class rejects unknown settings with a ValueError. The settings come from the store,
    which may be from an untrusted source. So a class in a plugin must promise by `self_contained =
    True` that it accesses no host, environment variable or file, whatever the settings are. Only
    the files that `save` and `load` get are allowed. A class without this promise isn't used.

    If a package that the class needs isn't installed, only `add` and `load` fail, with a
    PluginError that says what to install. Settings can be checked and stored without the package.
    """

    def __init__(self, dimension: int, metric: Metric, settings: Payload) -> None: ...

    def __len__(self) -> int:
        """The number of vectors in the index."""

    def add(self, rows: Matrix) -> None:
        """Add (n, dim) float32 rows, which get the next numbers."""

    def search(self, queries: Matrix, count: int) -> tuple[Ints, Matrix]:
        """The numbers, int64 (q, m), and distances, float32 (q, m), of the vectors nearest to each
        query, nearest first. queries: (q, dim) float32. m is `count`, or less if the index finds
        fewer vectors. A larger `count` raises the recall of the first results. Distances are
        squared for "l2", 1 - dot for "ip", 1 - cos for "cosine", up to float32 rounding."""

    def save(self, path: Path) -> None:
        """Write the whole index to a new file."""

    def load(self, path: Path, count: int) -> None:
        """Read a file that `save` has written. This index must not have vectors yet. The file
        should contain `count` vectors.

        The file may be malicious. Content that could crash the process must be detected first, and
        raise a ValueError.
        """

    @property
    def ef_search(self) -> int:
        """The `count` with which a search without a filter finds the nearest ten vectors with good
        recall."""

    @property
    def nbytes(self) -> int:
        """The size of the index in memory, in bytes."""


@runtime_checkable
class KnowsVectors(Protocol):
    """An optional interface of an index, with which verification compares the index's vectors with
    the stored vectors. For an index without this interface, verification searches for each stored
    vector, and checks the results."""

    def holds(self, first: int, rows: Matrix) -> Bools:
        """Whether each of these (n, dim) float32 rows equals the index's vector: (n,) bool. The
        first row is compared with the vector of number `first`, and so on. Rows are compared in the
        form in which the index searches its vectors."""
