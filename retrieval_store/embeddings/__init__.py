"""Embedding functions: what turns texts (and images) into vectors.

An embedding function is any callable that takes a list of inputs and returns as many vectors. If
its class is registered as a plugin (see `plugins`) and has `settings()`, a collection remembers it
by name and settings and makes it again when opened. The protocols are here. `wordllama` is the
default, `sentence_transformers` and `open_clip` run models in this process, `openai` asks servers;
`bm25` and `splade` make sparse vectors; `frameworks` wraps those of LangChain and LlamaIndex. It
may use `base` and `errors`.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from retrieval_store.base.arrays import SparseVector


class EmbeddingFunction(Protocol):
    """Turns a list of n inputs into n vectors of one length."""

    def __call__(self, input: Any, /) -> Any:
        """(n, dim) numbers for a list of n strings, or images as arrays if the function takes
        them.
        """


class SparseEmbeddingFunction(Protocol):
    """Turns a list of n texts into n sparse vectors; those of documents and of queries differ."""

    def __call__(self, input: Sequence[str], /) -> list[SparseVector]:
        """Vectors of documents."""

    def embed_query(self, input: Sequence[str], /) -> list[SparseVector]:
        """Vectors of queries."""


@runtime_checkable
class QueryEmbedding(Protocol):
    """An embedding function that embeds queries in another way than documents."""

    def embed_query(self, input: Any, /) -> Any:
        """(n, dim) numbers for a list of n queries."""


@runtime_checkable
class RestorableEmbedding(Protocol):
    """An embedding function that can be made again from its settings.

    Settings in a store may be someone else's. A class attribute `self_contained = True` says: made
    with any settings, it reaches no network, no environment variable and no file outside of its own
    package, and refuses what it can't be made with by a TypeError or ValueError. Only such a class
    is made of what a store says. Others, also subclasses that don't say it again, are made again
    only with settings that the user gave in this process, or by a client with `trust=True`.
    """

    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the constructor, as JSON: all that decides the embeddings, nothing
        secret, and nothing about where it runs (device, batch size)."""


class Default(Enum):
    """Stands for "the embedding function was left out"."""

    DEFAULT = "default"


DEFAULT = Default.DEFAULT
