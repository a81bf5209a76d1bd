"""What the embedding functions that run models here have in common."""

import os
from collections.abc import Sequence
from typing import Any

from retrieval_store.base.arrays import Matrix
from retrieval_store.base.validation import is_unicode, shown
from retrieval_store.embeddings import ComparedByCosine
from retrieval_store.embeddings.arguments import refuse_no_text
from retrieval_store.embeddings.onnx.layouts import Layout
from retrieval_store.embeddings.onnx.running import RunningModel, loading, shared
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError

PRECISIONS = ("float32", "int8")
USUAL_THREADS = 8  # more make each text hardly faster, and take processors from others


class OnnxFunction(ComparedByCosine):
    """A function of texts by a model, which is found and loaded when it is first needed. name: what
    the model is called in messages; threads: how many compute, at most; None for `USUAL_THREADS`,
    and never more than there are processors."""

    tells_of_cuts = True
    comparable = ("precision",)  # settings: vectors of one precision and of another are alike

    def __init__(self, name: str, threads: int | None) -> None:
        self._name, self._threads = name, _checked_threads(threads)
        self._used: tuple[int, RunningModel, Layout] | None = None

    def _layout(self) -> Layout:
        raise NotImplementedError

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text count."""
        return self._ready()[1].max_tokens

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """How many tokens each of the texts has, as a document with its prompt and the model's own
        marks."""
        model, layout = self._ready()
        return model.count_tokens(texts, layout.document_prompt)

    def __call__(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n documents."""
        return self._vectors(input, is_query=False)

    def embed_query(self, input: Sequence[str]) -> Matrix:
        """(n, dim) float32 for n queries."""
        return self._vectors(input, is_query=True)

    def close(self) -> None:
        """Let go of the model, and of the memory that it takes if no other function uses it; the
        next use loads it again."""
        self._used = None

    def _vectors(self, input: Sequence[str], is_query: bool) -> Matrix:
        refuse_no_text(input, self._name)
        for i, text in enumerate(input):
            if not is_unicode(text):
                raise InvalidArgumentError(f"input[{i}] has a lone surrogate: {shown(text)}")
        model, layout = self._ready()
        prompt = layout.query_prompt if is_query else layout.document_prompt
        return model.vectors(input, prompt, layout.normalize)

    def _ready(self) -> tuple[RunningModel, Layout]:
        used = self._used
        if used is None or used[0] != os.getpid():
            try:
                with loading():
                    layout = self._layout()
                    used = os.getpid(), shared(layout, self._name, self._threads), layout
            except OSError as error:
                raise EmbeddingFunctionError(
                    f"the model {self._name} can't be read: {error}"
                ) from error
            self._used = used
        return used[1:]


def _checked_threads(threads: Any) -> int:
    if threads is None:
        return min(processors(), USUAL_THREADS)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise InvalidArgumentError(f"threads is {shown(threads)}, expected an int of at least 1")
    return min(threads, processors())  # a store may say a million


def checked_precision(precision: Any) -> str:
    """float32 or int8; InvalidArgumentError for others."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise InvalidArgumentError(f"precision is {shown(precision)}, expected one of {PRECISIONS}")
    return precision


def processors() -> int:
    """How many this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1
