"""Models inside embedding functions, and their reports of truncated texts."""

from functools import partial
from typing import Any

import pytest

from retrieval_store.embeddings import wordllama
from retrieval_store.embeddings._common import (
    CHARACTERS_A_TOKEN,
    TokenCounter,
    numbers_of_tokens,
    warn_of_truncation,
)
from retrieval_store.embeddings.onnx import runtime

__all__ = [
    "CHARACTERS_A_TOKEN",
    "TokenCounter",
    "numbers_of_tokens",
    "warn_of_truncation",
]


def wordllama_model() -> Any:
    """The model of the default embedding function, loaded once."""
    return wordllama._load_model()


def forget_wordllama(patch: pytest.MonkeyPatch) -> None:
    """Reset the state in which no test has loaded that model."""
    patch.setattr(wordllama, "_models", [])


def model_in(function: Any) -> Any:
    """The model that a function has loaded; None after it was released."""
    return function._model


def fastembed_in(function: Any) -> Any:
    """The fastembed class that a function has created."""
    return function._load_once()


def note_counted(patch: pytest.MonkeyPatch, function: Any) -> list[str]:
    """The texts whose tokens a function counts from now on, besides those that its model reads."""
    texts: list[str] = []
    model = function._load_once()
    count = function._counter.of(model.tokenizer)

    def noting(some: list[str]) -> Any:
        texts.extend(some)
        return count(some)

    patch.setattr(function._counter, "_made", (model.tokenizer, noting))
    return texts


def forget_what_is_read(patch: pytest.MonkeyPatch, function: Any) -> None:
    """Like versions of sentence-transformers whose models don't report their length limit."""
    model = function._load_once()
    patch.setattr(model, "preprocess", partial(type(model).__mro__[1].preprocess, model))


def note_tokenized(patch: pytest.MonkeyPatch, function: Any) -> list[str]:
    """The texts that the tokenizer of an ONNX model gets from now on."""
    model, texts = function._ready()[0], []
    encode = model._tokenizer.encode_batch

    class Noting:
        def encode_batch(self, some: list[str]) -> Any:
            texts.extend(some)
            return encode(some)

    patch.setattr(model, "_tokenizer", Noting())
    return texts


def threads_of(function: Any) -> int:
    """How many threads a function's model may use."""
    return int(function._threads)


def number_of_onnx_models() -> int:
    """How many ONNX models this process has loaded and not released."""
    return len(runtime._models)
