"""Texts by a model of sentence-transformers: any name of a model hub, or a path."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.system import needing, require_installed
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import (
    LoadsModel,
    counted_by,
    cut_to_tokens,
    known_tokens,
    numbers_of_tokens,
    tell_of_lengths,
)


class SentenceTransformerEmbeddingFunction(LoadsModel, ComparedByCosine):
    """Embeds texts with a SentenceTransformer."""

    tells_of_cuts = True

    def __init__(
        self,
        model_name: str = "all-MiniLM-L6-v2",
        *,
        normalize: bool = True,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        device: str | None = None,
        batch_size: int = 32,
    ) -> None:
        """model_name: a name, which sentence-transformers may have to download, or a path;
        normalize: whether vectors get the length 1; query_prompt, document_prompt: texts put before
        queries and documents, as some models want it; None leaves that to the model. device,
        batch_size: where and how much at once; they aren't remembered by collections. Without a
        device it is a GPU where there is one. Of a text as many tokens count as the model takes in.
        Raises MissingDependencyError at the first use without the package. `close` lets go of the
        model, which the next use loads again."""
        self._settings: dict[str, Any] = {
            "model_name": str(model_name),
            "normalize": normalize,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
        }
        self._device, self._batch_size = device, batch_size
        super().__init__()

    def settings(self) -> dict[str, Any]:
        """What decides the embeddings."""
        return self._settings

    def check(self) -> None:
        """Raise MissingDependencyError without the package."""
        require_installed(
            "SentenceTransformerEmbeddingFunction", "sentence-transformers", "sentence_transformers"
        )

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text count, with a prompt and the model's own marks. The model is
        loaded to tell; None where it doesn't."""
        return known_tokens(getattr(self._loaded(), "max_seq_length", None))

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens each of the texts has, as a document with its prompt and the model's own
        marks."""
        count = counted_by(self._counter.of(getattr(self._loaded(), "tokenizer", None)))
        prompt = self._settings["document_prompt"] or ""
        return count([prompt + text for text in texts])

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n documents."""
        return self._encoded("encode_document", input, self._settings["document_prompt"])

    def embed_query(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n queries."""
        return self._encoded("encode_query", input, self._settings["query_prompt"])

    def _encoded(self, method: str, input: Sequence[str], prompt: str | None) -> Matrix:
        model = self._loaded()
        encode = getattr(model, method, model.encode)
        more = {} if prompt is None else {"prompt": prompt}
        length = known_tokens(getattr(model, "max_seq_length", None))
        texts = cut_to_tokens(input, length)
        vectors = encode(
            texts,
            batch_size=self._batch_size,
            normalize_embeddings=self._settings["normalize"],
            convert_to_numpy=True,
            show_progress_bar=False,
            **more,
        )
        if length is not None:
            count = self._counter.of(getattr(model, "tokenizer", None))
            seen = numbers_of_tokens([(prompt or "") + text for text in texts], length, count)
            tell_of_lengths(self._settings["model_name"], length, input, seen)
        return np.asarray(vectors, np.float32)

    def _load(self) -> Any:
        needed = "sentence-transformers"
        with needing("SentenceTransformerEmbeddingFunction", needed, f"[{needed}]"):
            from sentence_transformers import SentenceTransformer
        return SentenceTransformer(self._settings["model_name"], device=self._device)
