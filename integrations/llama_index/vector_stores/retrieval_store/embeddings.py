"""Embedding functions of retrieval-store as LlamaIndex's."""

import asyncio
from typing import Any

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr


class AsLlamaIndex(BaseEmbedding):
    """An embedding function as a LlamaIndex `BaseEmbedding`."""

    _function: Any = PrivateAttr()

    def __init__(self, function: Any, **kwargs: Any) -> None:
        kwargs.setdefault("model_name", _named(function))
        super().__init__(**kwargs)
        self._function = function

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return np.asarray(self._function(list(texts)), np.float64).tolist()

    def _get_query_embedding(self, query: str) -> list[float]:
        embed = getattr(self._function, "embed_query", self._function)
        return np.asarray(embed([query]), np.float64)[0].tolist()

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


def _named(function: Any) -> str:
    """What tells functions apart in LlamaIndex's caches: the class, and its settings if any."""
    kind = type(function)
    settings = function.settings() if hasattr(function, "settings") else id(function)
    return f"{kind.__module__}.{kind.__qualname__} {settings}"
