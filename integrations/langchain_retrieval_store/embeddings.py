"""Embedding functions of retrieval-store as LangChain's."""

from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings


class AsLangChain(Embeddings):
    """An embedding function as a LangChain `Embeddings` object."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        return np.asarray(self._function(list(texts)), np.float64).tolist() if texts else []

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        embed = getattr(self._function, "embed_query", self._function)
        return np.asarray(embed([text]), np.float64)[0].tolist()

    def embed_image(self, uris: list[str]) -> list[list[float]]:
        """A vector for each image, loaded from its uri; of a function that embeds images."""
        from retrieval_store.loaders.images import ImageLoader

        return np.asarray(self._function(ImageLoader()(uris)), np.float64).tolist()
