"""usearch as an index for retrieval-store.

    pip install ./examples/index_plugin
    index = {"name": "usearch", "settings": {"expansion": 96}}
    client.create_collection("things", configuration={"index": index})

The class implements the protocol `retrieval_store.indexes.VectorIndex`, without inheriting from it.
"""

from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

METRICS = {"l2": "l2sq", "ip": "ip", "cosine": "cos"}
DEFAULTS = {"connectivity": 16, "expansion": 128}
LIMITS = {"connectivity": 1_024, "expansion": 100_000}


class UsearchIndex:
    """settings: connectivity (links per vector) and expansion (number of candidates)."""

    # Settings come from a store that someone else may have written. They are checked numbers.
    self_contained = True

    def __init__(self, dimension: int, metric: str, settings: dict[str, Any]) -> None:
        if not set(settings) <= set(DEFAULTS):
            raise ValueError(f"usearch takes the settings {sorted(DEFAULTS)}, not {settings}")
        for name, value in settings.items():
            if type(value) is not int or not 2 <= value <= LIMITS[name]:
                raise ValueError(f"{name} is {value!r:.50}, expected 2 to {LIMITS[name]}")
        self._settings = {**DEFAULTS, **settings}
        self._index = Index(
            ndim=dimension,
            metric=METRICS[metric],
            dtype="f32",
            connectivity=self._settings["connectivity"],
            expansion_add=self._settings["expansion"],
            expansion_search=self._settings["expansion"],
        )

    def __len__(self) -> int:
        return len(self._index)

    def add(self, rows: np.ndarray) -> None:
        self._index.add(np.arange(len(self), len(self) + len(rows)), rows)

    def search(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        found = self._index.search(queries, min(count, len(self)))
        shape = (len(queries), -1)
        return found.keys.reshape(shape).astype(np.int64), found.distances.reshape(shape)

    def save(self, path: Path) -> None:
        # usearch doesn't check the links in its files. So the file contains only the vectors, and
        # `load` builds the graph anew.
        vectors = self._index.get(np.arange(len(self)))
        with path.open("wb") as file:
            np.save(file, vectors, allow_pickle=False)

    def load(self, path: Path, count: int) -> None:
        with path.open("rb") as file:
            try:
                vectors = np.load(file, allow_pickle=False)
            except EOFError as error:
                raise ValueError(f"{path} is empty") from error
        if vectors.dtype != np.float32 or vectors.shape != (count, self._index.ndim):
            raise ValueError(f"{path} holds {vectors.dtype} {vectors.shape}")
        self.add(vectors)

    @property
    def ef_search(self) -> int:
        return self._settings["expansion"]

    @property
    def nbytes(self) -> int:
        return int(self._index.memory_usage)
