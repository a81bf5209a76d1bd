"""WordLlama: small static text embeddings with their weights in the package, so nothing is
downloaded.

They embed tens of thousands of short texts a second on one core.
"""

import importlib.util
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.json_values import shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, MissingDependencyError

DIMENSIONS = (64, 128, 256)


class WordLlamaEmbedding:
    """Embeds texts with the WordLlama model "l2_supercat".

    dimensions: 64, 128 or 256. Vectors are float32 of length 1, or all zeros for a text in which
    the model finds no token. Raises MissingDependencyError at the first use when the package
    wordllama isn't installed.
    """

    self_contained = True

    def __init__(self, dimensions: int = 256) -> None:
        if not isinstance(dimensions, int | np.integer) or dimensions not in DIMENSIONS:
            raise InvalidArgumentError(
                f"dimensions is {shown(dimensions)}, expected one of {DIMENSIONS}"
            )
        self._dimensions = int(dimensions)
        self._model: Any = None
        self._loading = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._dimensions,)  # the model is loaded again, where it is used

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"dimensions": self._dimensions}

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dimensions) float32 for n texts."""
        for i, text in enumerate(input):
            if not isinstance(text, str):
                raise InvalidTypeError(
                    f"input[{i}] is of type {type(text).__name__}; WordLlama embeds only str"
                )
        # Normalised here, since the model's own way makes NaN of a text without tokens.
        vectors: Matrix = self._loaded().embed(list(input), norm=False)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors

    def _loaded(self) -> Any:
        with self._loading:
            if self._model is None:
                self._model = _load(self._dimensions)
        return self._model


def _load(dimensions: int) -> Any:
    spec = importlib.util.find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the default embedding function needs the package wordllama: "
            'pip install "retrieval-store[standard]", or pass embedding_function= of your own'
        )
    # The package configures the root logger when it is imported; that is the application's to do.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        from wordllama import WordLlama
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    folder = Path(spec.origin).parent
    return WordLlama.load(cache_dir=folder, trunc_dim=dimensions, disable_download=True)
