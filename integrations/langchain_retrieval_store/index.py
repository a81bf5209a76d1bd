"""A store as LangChain's `DocumentIndex`: a retriever to which documents can be given."""

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun as AsyncRun
from langchain_core.callbacks import CallbackManagerForRetrieverRun as Run
from langchain_core.documents import Document
from langchain_core.indexing.base import DeleteResponse, DocumentIndex, UpsertResponse
from pydantic import ConfigDict, Field

from langchain_retrieval_store.vectorstore import RetrievalStore
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.frameworks.collection import refuse_unknown


class RetrievalStoreIndex(DocumentIndex):
    """Documents in a store, to be upserted, read, deleted and retrieved.

    store: a RetrievalStore; search_kwargs: the arguments of its `similarity_search`, which keywords
    of a call overrule.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    store: RetrievalStore
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    def upsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """Add documents, or replace those whose ids exist: all or none."""
        return UpsertResponse(succeeded=self.store.add_documents(items, **kwargs), failed=[])

    async def aupsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """`upsert`, with the embedding's `aembed_documents`."""
        return UpsertResponse(succeeded=await self.store.aadd_documents(items, **kwargs), failed=[])

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """Delete documents by their ids; tells which were there. Raises InvalidArgumentError where
        no ids are given: `store.delete()` deletes everything."""
        if ids is None:
            raise InvalidArgumentError("delete needs ids")
        refuse_unknown(kwargs, ("ids",), "delete")
        there = [document.id or "" for document in self.store.get_by_ids(ids)]
        self.store.delete(there)
        return DeleteResponse(num_deleted=len(there), succeeded=there, failed=[], num_failed=0)

    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """`delete`, on a thread."""
        return await asyncio.to_thread(self.delete, ids, **kwargs)

    def get(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """The documents that exist, in the order of their ids."""
        refuse_unknown(kwargs, (), "get")
        return self.store.get_by_ids(ids)

    async def aget(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """`get`, on a thread."""
        return await asyncio.to_thread(self.get, ids, **kwargs)

    def _get_relevant_documents(
        self, query: str, *, run_manager: Run, **kwargs: Any
    ) -> list[Document]:
        return self.store.similarity_search(query, **{**self.search_kwargs, **kwargs})

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncRun, **kwargs: Any
    ) -> list[Document]:
        return await self.store.asimilarity_search(query, **{**self.search_kwargs, **kwargs})
