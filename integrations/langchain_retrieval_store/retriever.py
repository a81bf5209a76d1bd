"""Retrievers by every kind of search that a store has."""

from collections.abc import Collection
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun as AsyncRun
from langchain_core.callbacks import CallbackManagerForRetrieverRun as Run
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStoreRetriever

BY_WORDS = ("text", "sparse", "hybrid")  # search types that are modes of search


class RetrievalStoreRetriever(VectorStoreRetriever):
    """LangChain's retriever, with the search types "text", "sparse" and "hybrid" besides. Keywords
    of a call are arguments of the search, over `search_kwargs`."""

    allowed_search_types: ClassVar[Collection[str]] = (
        *VectorStoreRetriever.allowed_search_types,
        *BY_WORDS,
    )

    def _get_relevant_documents(
        self, query: str, *, run_manager: Run, **kwargs: Any
    ) -> list[Document]:
        if self.search_type not in BY_WORDS:
            return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)
        return self.vectorstore.similarity_search(query, **self._how(kwargs))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type not in BY_WORDS:
            return await super()._aget_relevant_documents(query, run_manager=run_manager, **kwargs)
        return await self.vectorstore.asimilarity_search(query, **self._how(kwargs))

    def _how(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**self.search_kwargs, **kwargs, "search_mode": self.search_type}
