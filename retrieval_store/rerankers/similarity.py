"""Re-ranking by an embedding function: a model that is too slow to embed all documents with reads
those that were found."""

from collections.abc import Sequence

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.embeddings import Embeds, QueryEmbedding


class SimilarityReranker:
    """Scores documents by the cosine of their vectors with the query's, from -1 to 1.

    embedding_function: what makes the vectors, of queries by its `embed_query` where it has one;
    MiniLM if None, which "retrieval-store[minilm]" brings.
    """

    def __init__(self, embedding_function: Embeds | None = None) -> None:
        if embedding_function is None:
            from retrieval_store.embeddings.onnx.functions import MiniLMEmbedding

            embedding_function = MiniLMEmbedding()
        self._embed = embedding_function

    def __call__(self, query: str, documents: Sequence[str]) -> Floats:
        """(n,) float64 for n documents; 0 for a vector of zeros."""
        asked = self._embed.embed_query if isinstance(self._embed, QueryEmbedding) else self._embed
        of_query = np.asarray(asked([query]), np.float64)[0]
        of_documents = np.asarray(self._embed(list(documents)), np.float64)
        lengths = np.linalg.norm(of_documents, axis=1) * np.linalg.norm(of_query)
        products = of_documents @ of_query
        scores: Floats = np.divide(products, lengths, np.zeros_like(products), where=lengths > 0)
        return scores
