"""Embeddings of LangChain and LlamaIndex as embedding functions here. (The other way round:
`langchain_retrieval_store.AsLangChain`, `llama_index.vector_stores.retrieval_store.AsLlamaIndex`.)

They are used as they are, and pass them again when you get the collection: it remembers no more
than their class, the name of the model, and the vector of one text.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from retrieval_store.embeddings import MODEL_NAMES, ComparedByCosine

UNKNOWN = "unknown"  # what LlamaIndex calls a model without a name


class FromLangChain(ComparedByCosine):
    """A LangChain `Embeddings` object as an embedding function."""

    def __init__(self, embeddings: Any) -> None:
        self._embeddings = embeddings
        self.model_name = _model_of(embeddings)
        self.__qualname__ = f"FromLangChain({type(embeddings).__qualname__})"  # what it is called

    @property
    def max_tokens(self) -> Any:
        """How many tokens of a text count; AttributeError where the embedding doesn't say it."""
        return self._embeddings.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> Any:
        """How many tokens each of the texts has; AttributeError where the embedding can't tell."""
        return self._embeddings.count_tokens(texts)

    def __call__(self, input: Sequence[str]) -> Any:
        """(n, dim) for n documents."""
        return self._embeddings.embed_documents(list(input))

    def embed_query(self, input: Sequence[str]) -> Any:
        """(n, dim) for n queries."""
        return [self._embeddings.embed_query(text) for text in input]


class FromLlamaIndex(ComparedByCosine):
    """A LlamaIndex `BaseEmbedding` as an embedding function."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding
        self.model_name = _model_of(embedding)
        self.__qualname__ = f"FromLlamaIndex({type(embedding).__qualname__})"  # what it is called

    @property
    def max_tokens(self) -> Any:
        """How many tokens of a text count; AttributeError where the embedding doesn't say it."""
        return self._embedding.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> Any:
        """How many tokens each of the texts has; AttributeError where the embedding can't tell."""
        return self._embedding.count_tokens(texts)

    def __call__(self, input: Sequence[str]) -> Any:
        """(n, dim) for n documents."""
        return self._embedding.get_text_embedding_batch(list(input))

    def embed_query(self, input: Sequence[str]) -> Any:
        """(n, dim) for n queries."""
        return [self._embedding.get_query_embedding(text) for text in input]


def _model_of(wrapped: Any) -> str | None:
    """The name of its model, as most of them have it, by which a collection recognises it."""
    for name in MODEL_NAMES:
        with suppress(Exception):  # a property may want what isn't there yet
            model = getattr(wrapped, name, None)
            if isinstance(model, str) and model and model != UNKNOWN:
                return model
    return None
