"""Cross-encoders of sentence-transformers: models that read a query and a document at once."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.errors import MissingDependencyError


class CrossEncoderReranker:
    """Scores documents with a CrossEncoder.

    model_name: a name, which sentence-transformers may have to download, or a path; device: where
    it runs, a GPU if None and there is one; batch_size: how many documents are read at once;
    max_length: how many tokens of a query and a document together count, as the model has it if
    None. The model is loaded with the first call. Raises MissingDependencyError then, without the
    package. `close` lets go of the model, which the next use loads again.
    """

    def __init__(
        self,
        model_name: str = "cross-encoder/ms-marco-MiniLM-L6-v2",
        *,
        device: str | None = None,
        batch_size: int = 32,
        max_length: int | None = None,
    ) -> None:
        self.model_name = str(model_name)
        self._device, self._batch_size, self._max_length = device, batch_size, max_length
        self._model: Any = None
        self._loading = threading.Lock()

    def __call__(self, query: str, documents: Sequence[str]) -> Floats:
        """(n,) float64 for n documents, greater for a better one, in the scale of the model."""
        model = self._loaded()
        pairs = [(query, one) for one in documents]
        scores = model.predict(pairs, batch_size=self._batch_size, show_progress_bar=False)
        return np.asarray(scores, np.float64)

    def close(self) -> None:
        """Let go of the model, and of the memory that it takes."""
        with self._loading:
            self._model = None

    def _loaded(self) -> Any:
        with self._loading:
            if self._model is None:
                try:
                    from sentence_transformers import CrossEncoder
                except ImportError as error:
                    raise MissingDependencyError(
                        "CrossEncoderReranker needs sentence-transformers: "
                        'pip install "retrieval-store[sentence-transformers]"'
                    ) from error
                more = {} if self._max_length is None else {"max_length": self._max_length}
                self._model = CrossEncoder(self.model_name, device=self._device, **more)
        return self._model
