"""Embeds texts with a model of sentence-transformers, given by its name on a model hub or by a
path. SPLADE models, which compute sparse vectors, are supported too."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix, SparseVector
from retrieval_store.base.system import needing, require_installed
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import (
    LoadsModel,
    at_least,
    counter_of,
    cut_to_tokens,
    known_tokens,
    numbers_of_tokens,
    require_strings,
    warn_of_truncation,
)

USUAL_BATCH, LARGEST_BATCH, OF_A_GIB = 32, 256, 16  # texts; of each GiB of a GPU's memory
BATCHES_AT_ONCE = 16
# How many tokens a call of the model has read of each text.
_read: ContextVar[dict[str, int] | None] = ContextVar("retrieval_store_tokens_read", default=None)


class SentenceTransformerEmbeddingFunction(LoadsModel, ComparedByCosine):
    """Embeds texts with a SentenceTransformer."""

    def __init__(
        self,
        model_name: str = "all-MiniLM-L6-v2",
        *,
        normalize: bool = True,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Choose a model, which is loaded at the first use. `close` frees it, and the next use
        loads it again. Tokens beyond the model's limit are ignored.

        Args:
            model_name: a path, or a name, which sentence-transformers downloads if necessary.
            normalize: whether vectors are scaled to length 1.
            query_prompt: a text put before queries, which some models need; None leaves it to the
                model.
            document_prompt: a text put before documents; None leaves it to the model.
            device: the device on which the model runs; None for a GPU, if any; not stored in
                collections.
            batch_size: texts per batch; None for 32, or on a CUDA GPU 16 per GiB of its memory, at
                most 256; not stored.

        Raises:
            MissingDependencyError: at the first use, if sentence-transformers isn't installed.
        """
        self._settings: dict[str, Any] = {
            "model_name": str(model_name),
            "normalize": normalize,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
        }
        self._device = device
        self._batch_size = None if batch_size is None else at_least(1, "batch_size", batch_size)
        super().__init__()

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings."""
        return self._settings

    def check(self) -> None:
        """Raise MissingDependencyError if sentence-transformers isn't installed."""
        require_installed(
            "SentenceTransformerEmbeddingFunction", "sentence-transformers", "sentence_transformers"
        )

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads, including a prompt and special tokens. To find
        that out, the model is loaded; None if it has no limit."""
        return known_tokens(getattr(self._load_once(), "max_seq_length", None))

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """The number of tokens of each text, as a document, with the prompt and the model's special
        tokens."""
        count = counter_of(self._counter.of(getattr(self._load_once(), "tokenizer", None)))
        prompt = self._settings["document_prompt"] or ""
        return count([prompt + text for text in texts])

    @property
    def inputs_per_call(self) -> int:
        """The best number of texts in one call. Within a call texts are sorted by length, so that
        the texts of a batch have similar lengths. This loads the model."""
        return BATCHES_AT_ONCE * self._batch_for(self._load_once())

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n documents."""
        return self._encode("encode_document", input, self._settings["document_prompt"])

    def embed_query(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n queries."""
        return self._encode("encode_query", input, self._settings["query_prompt"])

    def _encode(self, method: str, input: Sequence[str], prompt: str | None) -> Matrix:
        require_strings(input, "the model")
        model = self._load_once()
        encode = getattr(model, method, model.encode)
        more = {} if prompt is None else {"prompt": prompt}
        length = known_tokens(getattr(model, "max_seq_length", None))
        texts = cut_to_tokens(input, length)
        read: dict[str, int] = {}
        noting = _read.set(read)
        try:
            vectors = encode(
                texts,
                batch_size=self._batch_for(model),
                normalize_embeddings=self._settings["normalize"],
                convert_to_numpy=True,
                show_progress_bar=False,
                **more,
            )
        finally:
            _read.reset(noting)
        if length is not None:
            seen = self._tokens_of(model, prompt or "", texts, length, read)
            warn_of_truncation(self._settings["model_name"], length, input, seen)
        return np.asarray(vectors, np.float32)

    def _tokens_of(
        self, model: Any, prompt: str, texts: Sequence[str], length: int, read: Mapping[str, int]
    ) -> Ints:
        """(n,): the number of tokens of each text with its prompt; 0 for a text that is certainly
        within the limit. read: how many tokens of each text the model has read, if it reports
        that."""
        most = max(read.values(), default=0)  # all truncated texts have the same number
        places = [i for i, text in enumerate(texts) if read.get(text, most) == most]
        count = self._counter.of(getattr(model, "tokenizer", None))
        counts = np.zeros(len(texts), np.int64)
        counts[places] = numbers_of_tokens([prompt + texts[i] for i in places], length, count)
        return counts

    def _batch_for(self, model: Any) -> int:
        """How many texts the model processes in one batch."""
        if self._batch_size is not None:
            return self._batch_size
        device = getattr(model, "device", None)
        if getattr(device, "type", None) != "cuda":
            return USUAL_BATCH
        import torch

        memory = torch.cuda.get_device_properties(device).total_memory
        return int(min(LARGEST_BATCH, max(USUAL_BATCH, OF_A_GIB * memory // 2**30)))

    def _load(self) -> Any:
        needed = "sentence-transformers"
        with needing("SentenceTransformerEmbeddingFunction", needed, f"[{needed}]"):
            from sentence_transformers import SentenceTransformer

        class Noting(SentenceTransformer):
            """The model, extended to record how many tokens of each text it reads. Tokenizing the
            texts again would take a twentieth of the time that a GPU needs. Older versions don't
            have the method that is overridden here."""

            def preprocess(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
                features = super().preprocess(inputs, *args, **kwargs)
                _note_read(inputs, features)
                return features

        return Noting(self._settings["model_name"], device=self._device)


def _note_read(texts: Sequence[Any], features: Any) -> None:
    """Record the number of tokens of each text, if the features contain it."""
    read = _read.get()
    mask: Any = features.get("attention_mask") if isinstance(features, Mapping) else None
    if read is not None and getattr(mask, "shape", ())[:1] == (len(texts),):
        pairs = zip(texts, mask.reshape(len(texts), -1).sum(1).tolist(), strict=True)
        read.update((text, tokens) for text, tokens in pairs if isinstance(text, str))


class SpladeEmbedding(LoadsModel):
    """Embeds texts as sparse vectors with a SparseEncoder of sentence-transformers. Each index is
    an entry of the model's vocabulary."""

    def __init__(self, model_name: str, *, device: str | None = None, batch_size: int = 16) -> None:
        """Choose a model, which is loaded at the first use. `close` frees it, and the next use
        loads it again.

        Args:
            model_name: a path, or a name, which sentence-transformers downloads if necessary.
            device: the device on which the model runs; not stored in collections.
            batch_size: texts per batch; not stored.

        Raises:
            MissingDependencyError: at the first use, if sentence-transformers isn't installed.
        """
        self._model_name = str(model_name)
        self._device, self._batch_size = device, at_least(1, "batch_size", batch_size)
        super().__init__()

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings."""
        return {"model_name": self._model_name}

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text the model reads, including special tokens. To find that out,
        the model is loaded; None if it has no limit."""
        return known_tokens(getattr(self._load_once(), "max_seq_length", None))

    def __call__(self, input: Sequence[str]) -> list[SparseVector]:
        """A sparse vector for each document."""
        return self._encode("encode_document", input)

    def embed_query(self, input: Sequence[str]) -> list[SparseVector]:
        """A sparse vector for each query."""
        return self._encode("encode_query", input)

    def _encode(self, method: str, input: Sequence[str]) -> list[SparseVector]:
        require_strings(input, "the model")
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
            warn_of_truncation(self._model_name, length, input, seen)
        return [_sparse(np.asarray(row, np.float32)) for row in rows]

    def _load(self) -> Any:
        needed = "sentence-transformers"
        with needing("SpladeEmbedding", f"{needed} 5 or newer", f"[{needed}]"):
            from sentence_transformers import SparseEncoder
        return SparseEncoder(self._model_name, device=self._device)


def _sparse(row: Any) -> SparseVector:
    indices = np.flatnonzero(row)
    return SparseVector(indices.astype(np.uint32), row[indices])
