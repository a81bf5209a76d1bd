"""RetrievalStore: a collection as a vector store of LangChain."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from retrieval_store.adapters.opening import Opened, open_collection
from retrieval_store.adapters.relevance import relevance_of
from retrieval_store.errors import (
    DamagedError,
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.json_values import shown
from retrieval_store.ranking import RRF_K, maximal_marginal_relevance

if TYPE_CHECKING:
    import os
    from types import TracebackType

    from langchain_core.embeddings import Embeddings

    from retrieval_store import Client, Collection
    from retrieval_store.filters.expression import Expression

Filter: TypeAlias = "Mapping[str, Any] | Expression | None"
SearchMode: TypeAlias = Literal["dense", "text", "hybrid"]
EVERYTHING = ("metadatas", "documents", "uris", "distances")


class RetrievalStore(VectorStore):
    """A collection of retrieval-store for LangChain.

    embedding: turns texts into vectors; needed to add and to search by meaning. path: the store's
    directory; url: of a Qdrant cluster; client, collection: an open one; with none of them, in
    memory. Stores opened on one
    path share it. distance: "cosine" (the default), "l2" or "ip", of a collection that is made
    here; another than that of one that exists is an error.
    relevance_score_fn: how a distance becomes a relevance, instead of the usual way.

    Every search takes `filter`: a dict in the shape of Chroma's `where`, or an expression of
    `retrieval_store.filters`; and `search_mode="text" | "hybrid"` searches by words too. Scores are
    distances, smaller is nearer; those of text and hybrid searches are negative scores.
    """

    def __init__(
        self,
        embedding: Embeddings | None = None,
        *,
        collection_name: str = "langchain",
        path: str | os.PathLike[str] | None = None,
        url: str | None = None,
        client: Client | None = None,
        collection: Collection | None = None,
        distance: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        collection_metadata: Mapping[str, Any] | None = None,
        relevance_score_fn: Callable[[float], float] | None = None,
    ) -> None:
        self._embedding = embedding
        self._opened: Opened = open_collection(
            collection_name,
            path=path,
            url=url,
            client=client,
            collection=collection,
            distance=distance,
            configuration=configuration,
            metadata=collection_metadata,
        )
        self._relevance_score_fn = relevance_score_fn

    @property
    def collection(self) -> Collection:
        """The collection below."""
        return self._opened.collection

    @property
    def embeddings(self) -> Embeddings | None:
        return self._embedding

    def close(self) -> None:
        """Let go of a store that was opened here, by path, by url or in memory."""
        self._opened.close()

    def __enter__(self) -> RetrievalStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, or replace those whose ids exist; all or none. Returns the ids, which are made
        where they are None or left out."""
        batch = _Batch(texts, metadatas, ids)
        vectors = self._needed_embedding().embed_documents(batch.texts) if batch.texts else []
        return self._put(batch, vectors)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        batch = _Batch(texts, metadatas, ids)
        embedding = self._needed_embedding()
        vectors = await embedding.aembed_documents(batch.texts) if batch.texts else []
        return await asyncio.to_thread(self._put, batch, vectors)

    def add_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """Add documents; `ids=` beats their own."""
        documents = list(documents)
        return self.add_texts(*_of_documents(documents), **_with_ids(documents, kwargs))

    async def aadd_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        documents = list(documents)
        return await self.aadd_texts(*_of_documents(documents), **_with_ids(documents, kwargs))

    def add_images(
        self,
        uris: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
    ) -> list[str]:
        """Add images by uri, embedded by the embedding's `embed_image`; what a search finds of them
        has the uri as its text."""
        batch = _Batch(uris, metadatas, ids)
        if batch.texts:
            vectors = self._embed_images(batch.texts)
            self.collection.upsert(
                batch.ids,
                embeddings=vectors,
                uris=batch.texts,
                metadatas=batch.metadatas,
                replace=True,
            )
        return batch.returned

    async def aadd_images(
        self,
        uris: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
    ) -> list[str]:
        return await asyncio.to_thread(self.add_images, uris, metadatas, ids=ids)

    def delete(
        self, ids: Sequence[str] | None = None, *, filter: Filter | None = None, **kwargs: Any
    ) -> bool:
        """Delete by ids, by a filter, or what both mean. With neither everything is deleted; an
        empty list of ids means nothing."""
        _refuse_text(ids)
        if kwargs:
            raise InvalidArgumentError(
                f"there is no argument {min(kwargs)!r}; delete takes ids and filter"
            )
        named = None if ids is None else list(dict.fromkeys(ids))
        if filter is not None and named != []:
            self.collection.delete(ids=named, where=filter)  # type: ignore[arg-type]
        elif filter is None:
            every = self.collection.get(include=())["ids"] if named is None else named
            if every:
                self.collection.delete(ids=every)
        return True

    async def adelete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        return await asyncio.to_thread(self.delete, ids, **kwargs)

    # reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents that exist, each once."""
        _refuse_text(ids)
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return []
        got = self.collection.get(ids=wanted, include=("metadatas", "documents", "uris"))
        return [_document(got, i) for i in range(len(got["ids"]))]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return await asyncio.to_thread(self.get_by_ids, ids)

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to the query, nearest first."""
        return [d for d, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        found = await self.asimilarity_search_with_score(query, k, filter, **kwargs)
        return [document for document, _ in found]

    def similarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a vector."""
        return [d for d, _ in self._nearest(embedding, k, filter, **kwargs)]

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        found = await asyncio.to_thread(self._nearest, embedding, k, filter, **kwargs)
        return [document for document, _ in found]

    def similarity_search_by_vector_with_score(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k documents nearest to a vector, with their distances."""
        return self._nearest(embedding, k, filter, **kwargs)

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k best documents with their scores: distances, smaller is nearer."""
        vector = None
        if _needs_vector(kwargs):
            vector = self._needed_embedding().embed_query(query)
        return self._search(query, vector, k, filter, **kwargs)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        vector = None
        if _needs_vector(kwargs):
            vector = await self._needed_embedding().aembed_query(query)
        return await asyncio.to_thread(self._search, query, vector, k, filter, **kwargs)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        found = self.similarity_search_with_score(query, k, **kwargs)
        return self._with_relevance(found, kwargs)

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        found = await self.asimilarity_search_with_score(query, k, **kwargs)
        return await asyncio.to_thread(self._with_relevance, found, kwargs)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """k of the `fetch_k` nearest documents, near the query and unlike each other; lambda_mult 1
        is relevance alone."""
        vector = self._needed_embedding().embed_query(query)
        return self._diverse(vector, k, fetch_k, lambda_mult, filter, **kwargs)

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        vector = await self._needed_embedding().aembed_query(query)
        call = partial(self._diverse, vector, k, fetch_k, lambda_mult, filter, **kwargs)
        return await asyncio.to_thread(call)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same for a vector."""
        return self._diverse(embedding, k, fetch_k, lambda_mult, filter, **kwargs)

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        call = partial(self._diverse, embedding, k, fetch_k, lambda_mult, filter, **kwargs)
        return await asyncio.to_thread(call)

    def similarity_search_by_image(
        self, uri: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents and images nearest to an image."""
        return [d for d, _ in self._nearest(self._embed_images([uri])[0], k, filter, **kwargs)]

    async def asimilarity_search_by_image(
        self, uri: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        return await asyncio.to_thread(self.similarity_search_by_image, uri, k, filter, **kwargs)

    # made from texts

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> RetrievalStore:
        """A store with these texts; other arguments are the constructor's."""
        store = cls(embedding, **kwargs)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> RetrievalStore:
        store = await asyncio.to_thread(cls, embedding, **kwargs)
        try:
            await store.aadd_texts(texts, metadatas, ids=ids)
        except BaseException:
            await asyncio.to_thread(store.close)
            raise
        return store

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **kwargs: Any
    ) -> RetrievalStore:
        """A store with these documents; other arguments are the constructor's."""
        documents = list(documents)
        texts, metadatas = _of_documents(documents)
        return cls.from_texts(texts, embedding, metadatas, **_with_ids(documents, kwargs))

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **kwargs: Any
    ) -> RetrievalStore:
        documents = list(documents)
        texts, metadatas = _of_documents(documents)
        return await cls.afrom_texts(texts, embedding, metadatas, **_with_ids(documents, kwargs))

    # below

    def _put(self, batch: _Batch, vectors: Any) -> list[str]:
        if batch.texts:
            self.collection.upsert(
                batch.ids,
                embeddings=vectors,
                documents=batch.texts,
                metadatas=batch.metadatas,
                replace=True,
            )
        return batch.returned

    def _nearest(
        self, vector: Sequence[float], k: int, filter: Filter, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        return self._search(None, vector, k, filter, **kwargs)

    def _search(
        self,
        query: str | None,
        vector: Sequence[float] | None,
        k: int,
        filter: Filter,
        *,
        search_mode: SearchMode = "dense",
        alpha: float = 0.5,
        fusion: Literal["rrf", "weighted"] = "rrf",
        exact: bool = False,
        ef: int | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        if k < 1:
            return []
        dense = search_mode == "dense"
        if kwargs:
            raise InvalidArgumentError(
                f"there is no argument {min(kwargs)!r}; searches take filter, search_mode, alpha, "
                "fusion, exact and ef"
            )
        found = self.collection.query(
            query_embeddings=None if vector is None else [vector],
            query_texts=None if dense else query,
            n_results=k,
            where=filter or None,
            include=EVERYTHING,
            mode=search_mode,
            alpha=alpha,
            fusion=fusion,
            exact=exact,
            ef=ef,
        )
        one = {key: value[0] for key, value in found.items() if key != "included" and value}
        by_distance = dense or (search_mode == "hybrid" and alpha == 1)
        scores = one["distances"] if by_distance else [-score for score in one["scores"]]
        return [(_document(one, i), float(score)) for i, score in enumerate(scores)]

    def _diverse(
        self,
        vector: Sequence[float],
        k: int,
        fetch_k: int,
        lambda_mult: float,
        filter: Filter,
        *,
        exact: bool = False,
        ef: int | None = None,
    ) -> list[Document]:
        if k < 1:
            return []
        found = self.collection.query(
            query_embeddings=[vector],
            n_results=max(k, fetch_k),
            where=filter or None,
            include=("metadatas", "documents", "uris", "embeddings"),
            exact=exact,
            ef=ef,
        )
        one = {key: value[0] for key, value in found.items() if key != "included" and value}
        if not one["ids"]:
            return []
        near = np.stack(one["embeddings"])
        if lambda_mult == 1:  # by the store's own distance
            order = list(range(min(k, len(near))))
        else:
            chosen = maximal_marginal_relevance(
                np.asarray(vector, np.float32), near, k, lambda_mult
            )
            order = chosen.tolist()
        return [_document(one, i) for i in order]

    def _with_relevance(
        self, found: list[tuple[Document, float]], kwargs: Mapping[str, Any]
    ) -> list[tuple[Document, float]]:
        mode, alpha = kwargs.get("search_mode", "dense"), kwargs.get("alpha", 0.5)
        if mode == "dense" or (mode == "hybrid" and alpha == 1):
            relevance = self._select_relevance_score_fn()
        elif mode == "text" or alpha == 0:
            relevance = _of_bm25
        else:
            relevance = _of_weighted if kwargs.get("fusion") == "weighted" else _of_rrf
        return [(document, relevance(score)) for document, score in found]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self._relevance_score_fn is not None:
            return self._relevance_score_fn
        return relevance_of(self.collection.configuration["hnsw"]["space"])

    def _needed_embedding(self) -> Embeddings:
        if self._embedding is None:
            raise EmbeddingFunctionError(
                "the store was made without embedding=, which is needed to add texts and to search "
                "by meaning; search by vector, or with search_mode='text'"
            )
        return self._embedding

    def _embed_images(self, uris: list[str]) -> Any:
        embed_image = getattr(self._embedding, "embed_image", None)
        if embed_image is None:
            raise EmbeddingFunctionError("the embedding can't embed images: it has no embed_image")
        return embed_image(uris)


class _Batch:
    """Texts with as many metadatas and ids, checked; nothing of the caller's is changed."""

    def __init__(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None,
        ids: Iterable[str | None] | None,
    ) -> None:
        self.texts = [texts] if isinstance(texts, str) else list(texts)
        given = [None] * len(self.texts) if metadatas is None else list(metadatas)
        named = [None] * len(self.texts) if ids is None else list(ids)
        for name, values in (("metadatas", given), ("ids", named)):
            if len(values) != len(self.texts):
                raise InvalidArgumentError(
                    f"{name} has {len(values)} items, but there are {len(self.texts)} texts"
                )
        self.metadatas = [dict(metadata or {}) for metadata in given]
        self.ids = [str(uuid.uuid4()) if one is None else one for one in named]
        self.returned = self.ids
        self._keep_last_of_equal_ids()

    def _keep_last_of_equal_ids(self) -> None:
        """Of texts with one id the last counts, as if they had been added one by one."""
        if len(set(self.ids)) < len(self.ids):
            last = {point_id: i for i, point_id in enumerate(self.ids)}
            places = sorted(last.values())
            self.texts = [self.texts[i] for i in places]
            self.metadatas = [self.metadatas[i] for i in places]
            self.ids = [self.ids[i] for i in places]


def _refuse_text(ids: Any) -> None:
    if isinstance(ids, str):
        raise InvalidTypeError(f"ids is the str {ids!r}, expected a list of them")


def _of_documents(
    documents: Iterable[Document],
) -> tuple[list[str], list[Mapping[str, Any] | None]]:
    documents = list(documents)
    return [d.page_content for d in documents], [d.metadata for d in documents]


def _with_ids(documents: Iterable[Document], kwargs: dict[str, Any]) -> dict[str, Any]:
    if kwargs.get("ids") is not None:
        return kwargs
    return {**kwargs, "ids": [document.id for document in documents]}


def _needs_vector(kwargs: Mapping[str, Any]) -> bool:
    mode = kwargs.get("search_mode", "dense")
    return mode == "dense" or (mode == "hybrid" and kwargs.get("alpha", 0.5) != 0)


def _document(found: Mapping[str, Any], i: int) -> Document:
    text = found["documents"][i]
    if text is None:
        text = (found.get("uris") or {i: None})[i] or ""
    point_id, metadata = found["ids"][i], found["metadatas"][i] or {}
    try:
        return Document(id=point_id, page_content=text, metadata=metadata)
    except ValueError as error:  # a store that someone has changed may hold anything
        raise DamagedError(
            f"point {shown(point_id)} is no document of LangChain: its text is {shown(text)}, its "
            f"metadata {shown(metadata)}"
        ) from error


def _of_bm25(score: float) -> float:
    """BM25 has no bound: s / (1 + s)."""
    return -score / (1.0 - score)


def _of_rrf(score: float) -> float:
    """The first of both rankings has 1 / (k + 1)."""
    return -score * (RRF_K + 1)


def _of_weighted(score: float) -> float:
    return -score
