"""RetrievalStoreVectorStore: a collection as a vector store of LlamaIndex."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.retrieval_store.filters import to_expression
from llama_index.vector_stores.retrieval_store.nodes import REF_DOC, text_of, to_node, to_payload
from llama_index.vector_stores.retrieval_store.queries import answered

from retrieval_store import Client, Collection
from retrieval_store.adapters.arguments import refuse_text
from retrieval_store.adapters.opening import Opened, open_collection
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, StorageError
from retrieval_store.filters.expression import Expression, OneOf


class RetrievalStoreVectorStore(BasePydanticVectorStore):
    """A collection of retrieval-store for LlamaIndex.

    path: the store's directory; url: of a Qdrant cluster; client, collection: an open one; with
    none of them, in memory. Stores opened on one path share it. distance: "cosine" (the default),
    "l2" or "ip", of a collection that is made here; another than that of one that exists is a
    ConflictError. Arguments that it doesn't know are an InvalidTypeError.

    Similarities are scores, greater is better: the cosine, the negative squared distance or the
    product; BM25 in text modes; the weighted sum in hybrid mode. A store that was made with `path`
    or `url` can be pickled, copied and made a dict, and is opened again from it.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    flat_metadata: bool = False
    collection_name: str = "llama_index"
    path: str | None = None
    url: str | None = None
    distance: str | None = None

    _opened: Opened = PrivateAttr()
    _reopens: bool = PrivateAttr(default=True)

    def __init__(
        self,
        *,
        collection_name: str = "llama_index",
        path: Any = None,
        url: str | None = None,
        client: Client | None = None,
        collection: Collection | None = None,
        distance: str | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = set(kwargs) - set(type(self).model_fields) - {"class_name"}
        if unknown:
            raise InvalidTypeError(
                f"{min(unknown)!r} is no argument of {type(self).__name__}; what a cluster wants "
                "to know, such as a key, goes to Client(url=…, …), and that in as client="
            )
        super().__init__(
            collection_name=collection.name if collection is not None else collection_name,
            path=None if path is None else os.path.abspath(path),
            url=url,
            distance=distance,
            **kwargs,
        )
        self._opened = open_collection(
            collection_name,
            path=path,
            url=url,
            client=client,
            collection=collection,
            distance=distance,
        )
        self._reopens = path is not None or url is not None

    @classmethod
    def class_name(cls) -> str:
        """The name by which LlamaIndex tells classes apart in what it writes."""
        return "RetrievalStoreVectorStore"

    @property
    def client(self) -> Collection:
        """The collection below, for all that LlamaIndex has no name for."""
        return self._opened.collection

    def close(self) -> None:
        """Let go of a store that was opened here, by path, by url or in memory, which is gone then.
        A client or collection that was given stays open."""
        self._opened.close()

    def __enter__(self) -> "RetrievalStoreVectorStore":
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        if not self._reopens:
            raise StorageError(
                "only a store that was made with path= or url= can be pickled or copied, which "
                "opens it again"
            )
        return {"arguments": self.model_dump(exclude={"class_name"})}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["arguments"])  # type: ignore[misc]

    def __copy__(self) -> "RetrievalStoreVectorStore":
        return type(self)(**self.__getstate__()["arguments"])

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> "RetrievalStoreVectorStore":
        return self.__copy__()

    # writing

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Add nodes with embeddings, or replace those whose ids exist; all or none. Returns their
        ids; of nodes with one id the last counts. Raises InvalidArgumentError for a node without
        an embedding, or with metadata or a template that can't be kept."""
        last = {node.node_id: node for node in nodes}
        for node in last.values():
            if node.embedding is None:
                raise InvalidArgumentError(f"node {node.node_id!r} has no embedding")
        if last:
            self.client.upsert(
                list(last),
                embeddings=[node.embedding for node in last.values()],
                documents=[text_of(node) for node in last.values()],
                metadatas=[to_payload(node) for node in last.values()],
                replace=True,
            )
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """`add`, on a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document; those of one that isn't there are none."""
        self._delete(OneOf((REF_DOC,), (ref_doc_id,)))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """`delete`, on a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete the nodes that are named and match; with nothing given, nothing. None doesn't
        restrict, an empty list of ids names no node."""
        refuse_text(node_ids, "node_ids")
        expression = to_expression(filters)
        if node_ids:
            self.client.delete(ids=list(dict.fromkeys(node_ids)), where=expression)
        elif node_ids is None and expression is not None:
            self._delete(expression)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """`delete_nodes`, on a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    def clear(self) -> None:
        """Delete all nodes; the collection stays."""
        ids = self.client.get(include=())["ids"]
        if ids:
            self.client.delete(ids=ids)

    async def aclear(self) -> None:
        """`clear`, on a thread."""
        await asyncio.to_thread(self.clear)

    def persist(self, persist_path: str = "", fs: Any = None) -> None:
        """Everything is on disk already, or in memory for good."""

    # reading

    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The nodes that are named, and match, without a cap; all when neither is given. They have
        no embeddings. Raises DamagedError for a point that isn't a node."""
        got = self.client.get(
            ids=None if node_ids is None else list(dict.fromkeys(node_ids)),
            where=to_expression(filters),
            include=("metadatas",),
        )
        return [to_node(payload) for payload in got["metadatas"] or []]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """`get_nodes`, on a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The best nodes for the query, best first, in one of the modes default, mmr, sparse,
        text_search and hybrid; others, and a mode that lacks something, are an
        InvalidArgumentError. Without an embedding the nodes that match are listed, each with
        similarity 1. Filters, `doc_ids` and `node_ids` restrict together; empty lists and None
        don't.

        kwargs: for mmr `mmr_threshold` (1 is relevance alone; 0.5 when nobody says it) and
        `mmr_prefetch_k` or `mmr_prefetch_factor`, how many are chosen from."""
        return answered(self.client, query, kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """`query`, on a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    # below

    def _delete(self, expression: Expression) -> None:
        self.client.delete(where=expression)
