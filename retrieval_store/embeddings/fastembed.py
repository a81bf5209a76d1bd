"""Embeds texts with a model of fastembed, which runs in onnxruntime, without torch."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.system import needing, require_installed, telemetry_off
from retrieval_store.base.validation import quote
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings._common import (
    LoadsModel,
    add_prefix,
    at_least,
    counter_of,
    cut_to_tokens,
    known_tokens,
    numbers_of_tokens,
    prefixes,
    warn_of_truncation,
)
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
)

_WITHOUT_NETWORK = (
    "Where it can't be downloaded, copy its files from a machine that has them: give their "
    "directory as specific_model_path=, or a whole cache as cache_dir= and set HF_HUB_OFFLINE=1"
)


class FastEmbedEmbeddingFunction(LoadsModel, ComparedByCosine):
    """Embeds texts with a TextEmbedding of fastembed."""

    def __init__(
        self,
        model_name: str = "BAAI/bge-small-en-v1.5",
        *,
        specific_model_path: str | os.PathLike[str] | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        batch_size: int = 64,
    ) -> None:
        """Choose a model, which is loaded at the first use. `close` frees it, and the next use
        loads it again. Tokens beyond the model's limit are ignored.

        Args:
            model_name: a model of fastembed's list, which is downloaded if necessary.
            specific_model_path: a directory with the model's files; the model is then loaded from
                there.
            query_prefix: a text put before queries; "" for none. None: for known families of
                models, the prefix that their authors document; otherwise none.
            document_prefix: a text put before documents; see `query_prefix`.
            cache_dir: the directory for downloads; not stored in collections.
            threads: the number of threads of onnxruntime; not stored.
            providers: the execution providers of onnxruntime; not stored.
            batch_size: texts per batch; not stored.

        Raises:
            MissingDependencyError: at the first use, if fastembed isn't installed.
            EmbeddingFunctionError: the model can't be loaded.
        """
        if not isinstance(model_name, str) or not model_name:
            raise InvalidArgumentError(
                f"model_name is {quote(model_name)}, expected a name that fastembed lists"
            )
        path = None if specific_model_path is None else os.fspath(specific_model_path)
        self._settings: dict[str, Any] = {
            "model_name": model_name,
            "specific_model_path": path,
            **prefixes(model_name, query_prefix, document_prefix),
        }
        self._options: dict[str, Any] = {
            "cache_dir": None if cache_dir is None else os.fspath(cache_dir),
            "threads": None if threads is None else at_least(1, "threads", threads),
            "providers": None if providers is None else list(providers),
        }
        self._batch_size = at_least(1, "batch_size", batch_size)
        super().__init__()

    def settings(self) -> dict[str, Any]:
        """The settings that decide the embeddings."""
        return self._settings

    def check(self) -> None:
        """Raise MissingDependencyError if fastembed isn't installed."""
        require_installed("FastEmbedEmbeddingFunction", "fastembed", "fastembed")

    @property
    def max_tokens(self) -> int | None:
        """How many tokens of a text, including its prefix, the model reads: the limit of its
        tokenizer. To find that out, the model is loaded; None if the tokenizer has no limit."""
        return _cut_by(self._load_once())

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """The number of tokens of each text, as a document, with the prefix and the model's special
        tokens."""
        count = counter_of(self._counter.of(_tokenizer_of(self._load_once())))
        return count(add_prefix(texts, self._settings["document_prefix"]))

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n documents."""
        return self._embed_by("passage_embed", input, self._settings["document_prefix"])

    def embed_query(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n queries."""
        return self._embed_by("query_embed", input, self._settings["query_prefix"])

    def _embed_by(self, method: str, input: Sequence[str], prefix: str) -> Matrix:
        texts = add_prefix(input, prefix)
        if not texts:
            return np.empty((0, 0), np.float32)
        model = self._load_once()
        limit = _cut_by(model)
        short = cut_to_tokens(texts, limit)
        vectors = list(getattr(model, method)(short, batch_size=self._batch_size))
        if limit is not None:
            seen = numbers_of_tokens(short, limit, self._counter.of(_tokenizer_of(model)))
            warn_of_truncation(self._settings["model_name"], limit, texts, seen)
        return np.array(vectors, np.float32)

    def _load(self) -> Any:
        needed = needing("FastEmbedEmbeddingFunction", "fastembed", "[fastembed]")
        with needed, telemetry_off():
            from fastembed import TextEmbedding
        return self._build_model(TextEmbedding)

    def _build_model(self, kind: Any) -> Any:
        name, path = self._settings["model_name"], self._settings["specific_model_path"]
        known = {str(model["model"]).casefold() for model in kind.list_supported_models()}
        if name.casefold() not in known:
            raise EmbeddingFunctionError(
                f"fastembed has no model {name!r}; TextEmbedding.list_supported_models() lists "
                "those that it has, and TextEmbedding.add_custom_model() adds one"
            )
        if path is not None and not os.path.isdir(path):
            raise EmbeddingFunctionError(f"specific_model_path {path!r} is no directory")
        options = {**self._options, "specific_model_path": path}
        try:
            return kind(name, **{key: value for key, value in options.items() if value is not None})
        except Exception as error:  # of the network, the hub, the disk or onnxruntime
            reason = str(error).rstrip(".")
            raise EmbeddingFunctionError(
                f"fastembed can't load the model {name!r}: {reason}. "
                + (_WITHOUT_NETWORK if path is None else f"Are all of its files in {path!r}?")
            ) from error


def _cut_by(model: Any) -> int | None:
    """The number of tokens to which the tokenizer of a TextEmbedding truncates."""
    truncation = getattr(_tokenizer_of(model), "truncation", None)
    return known_tokens(truncation.get("max_length")) if isinstance(truncation, dict) else None


def _tokenizer_of(model: Any) -> Any:
    """The tokenizer of a TextEmbedding; None if it isn't in its usual attribute."""
    return getattr(getattr(model, "model", None), "tokenizer", None)
