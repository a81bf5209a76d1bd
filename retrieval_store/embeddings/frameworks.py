"""Embeddings of LangChain and LlamaIndex as embedding functions here. (The other way round:
`langchain_retrieval_store.AsLangChain`, `llama_index.vector_stores.retrieval_store.AsLlamaIndex`.)

They are used as they are and not remembered: pass them again when you get the collection.
"""

from collections.abc import Sequence
from typing import Any


class FromLangChain:
    """A LangChain `Embeddings` object as an embedding function."""

    def __init__(self, embeddings: Any) -> None:
        self._embeddings = embeddings

    def __call__(self, input: Sequence[str]) -> Any:
        """(n, dim) for n documents."""
        return self._embeddings.embed_documents(list(input))

    def embed_query(self, input: Sequence[str]) -> Any:
        """(n, dim) for n queries."""
        return [self._embeddings.embed_query(text) for text in input]


class FromLlamaIndex:
    """A LlamaIndex `BaseEmbedding` as an embedding function."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding

    def __call__(self, input: Sequence[str]) -> Any:
        """(n, dim) for n documents."""
        return self._embedding.get_text_embedding_batch(list(input))

    def embed_query(self, input: Sequence[str]) -> Any:
        """(n, dim) for n queries."""
        return [self._embedding.get_query_embedding(text) for text in input]
