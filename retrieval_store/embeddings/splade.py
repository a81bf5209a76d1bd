"""Sparse vectors by a SPLADE model of sentence-transformers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import SparseVector
from retrieval_store.base.system import needing
from retrieval_store.embeddings._common import (
    LoadsModel,
    at_least,
    cut_to_tokens,
    known_tokens,
    numbers_of_tokens,
    tell_of_lengths,
)


class SpladeEmbedding(LoadsModel):
    """Embeds texts with a SparseEncoder of sentence-transformers: an index for each entry of its
    vocabulary."""

    def __init__(self, model_name: str, *, device: str | None = None, batch_size: int = 16) -> None:
        """Say which model is used, which is loaded at the first use. `close` lets go of it, and the
        next use loads it again.

        Args:
            model_name: a name, which sentence-transformers may have to download, or a path.
            device: where it runs; not remembered by collections.
            batch_size: how many texts at once; not remembered.

        Raises:
            MissingDependencyError: at the first use, without the package.
        """
        self._model_name = str(model_name)
        self._device, self._batch_size = device, at_least(1, "batch_size", batch_size)
        super().__init__()

    def settings(self) -> dict[str, Any]:
        """What decides the embeddings."""
        return {"model_name": self._model_name}

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text count, with the model's own marks. The model is loaded to tell;
        None where it doesn't."""
        return known_tokens(getattr(self._load_once(), "max_seq_length", None))

    def __call__(self, input: Sequence[str]) -> list[SparseVector]:
        """Vectors of documents."""
        return self._encode("encode_document", input)

    def embed_query(self, input: Sequence[str]) -> list[SparseVector]:
        """Vectors of queries."""
        return self._encode("encode_query", input)

    def _encode(self, method: str, input: Sequence[str]) -> list[SparseVector]:
        model = self._load_once()
        length = known_tokens(getattr(model, "max_seq_length", None))
        texts = cut_to_tokens(input, length)
        rows = getattr(model, method)(
            texts,
            batch_size=self._batch_size,
            convert_to_tensor=False,
            convert_to_sparse_tensor=False,
            save_to_cpu=True,
            show_progress_bar=False,
        )
        if length is not None:
            count = self._counter.of(getattr(model, "tokenizer", None))
            seen = numbers_of_tokens(texts, length, count)
            tell_of_lengths(self._model_name, length, input, seen)
        return [_sparse(np.asarray(row, np.float32)) for row in rows]

    def _load(self) -> Any:
        needed = "sentence-transformers"
        with needing("SpladeEmbedding", f"{needed} 5 or newer", f"[{needed}]"):
            from sentence_transformers import SparseEncoder
        return SparseEncoder(self._model_name, device=self._device)


def _sparse(row: Any) -> SparseVector:
    indices = np.flatnonzero(row)
    return SparseVector(indices.astype(np.uint32), row[indices])
