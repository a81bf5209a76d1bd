"""Embedding functions of retrieval-store as LlamaIndex's."""

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from retrieval_store.api.embedding import function_of
from retrieval_store.frameworks.collection import embedded, query_embedded


class AsLlamaIndex(BaseEmbedding):
    """An embedding function as a LlamaIndex `BaseEmbedding`.

    function: any that takes a list of texts and returns a vector for each, or the name of one that
    is registered; its `embed_query`, if it has one, embeds queries. What it raises is raised as it
    is. Other arguments are the base's; `model_name` is the function's class and settings unless it
    is given, so that caches tell functions apart. The async methods run on a thread.
    """

    _function: Any = PrivateAttr()

    def __init__(self, function: Any, **kwargs: Any) -> None:
        function = function_of(function, "function") if isinstance(function, str) else function
        kwargs.setdefault("model_name", _named(function))
        super().__init__(**kwargs)
        self._function = function

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return embedded(self._function, list(texts))

    def _get_query_embedding(self, query: str) -> list[float]:
        return query_embedded(self._function, query)

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
