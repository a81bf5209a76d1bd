"""Models inside embedding functions, and what these tell of texts that are cut."""

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
    """As where no test has loaded that model."""
    patch.setattr(wordllama, "_models", [])


def model_in(function: Any) -> Any:
    """The model that a function has loaded; None where it has let go of it."""
    return function._model


def fastembed_in(function: Any) -> Any:
    """The class of fastembed's that a function has made."""
    return function._load_once()


def note_counted(patch: pytest.MonkeyPatch, function: Any) -> list[str]:
    """The texts whose tokens a function counts from now on, besides what its model reads."""
    texts: list[str] = []
    model = function._load_once()
    count = function._counter.of(model.tokenizer)

    def noting(some: list[str]) -> Any:
        texts.extend(some)
        return count(some)

    patch.setattr(function._counter, "_made", (model.tokenizer, noting))
    return texts


def forget_what_is_read(patch: pytest.MonkeyPatch, function: Any) -> None:
    """As with versions of sentence-transformers whose models don't tell what they read."""
    model = function._load_once()
    patch.setattr(model, "preprocess", partial(type(model).__mro__[1].preprocess, model))


def note_tokenized(patch: pytest.MonkeyPatch, function: Any) -> list[str]:
    """The texts that the tokenizer of an ONNX model is given from now on."""
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
    """How many ONNX models this process has loaded, and not let go of."""
    return len(runtime._models)
