"""RetrievalStore: a collection as a vector store of LangChain."""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from langchain_retrieval_store.documents import (
    FIELDS,
    Batch,
    documents_of,
    texts_and_metadatas,
    with_ids,
)
from langchain_retrieval_store.embeddings import as_function
from langchain_retrieval_store.scores import by_distance, needs_vector, relevance_of_words
from langchain_retrieval_store.searching import Filter, search, search_diverse
from retrieval_store import Client, Collection
from retrieval_store.adapters.arguments import refuse_text
from retrieval_store.adapters.opening import Opened, open_collection
from retrieval_store.adapters.relevance import relevance_of
from retrieval_store.errors import EmbeddingFunctionError, InvalidArgumentError


class RetrievalStore(VectorStore):
    """A collection of retrieval-store for LangChain.

    embedding: turns texts into vectors; needed to add and to search by meaning. path: the store's
    directory; url: of a Qdrant cluster; client, collection: an open one; with none of them, in
    memory. Stores opened on one path share it. distance: "cosine" (the default), "l2" or "ip", of a
    collection that is made here, as are configuration and collection_metadata; distances and
    settings that contradict those of one that exists are a ConflictError, None contradicts nothing.
    relevance_score_fn: how a distance becomes a relevance, instead of the usual way. A collection
    remembers the embedding's model; with another one it is a ConflictError, unless `check_model` is
    False.

    Every search takes `filter`: a dict in the shape of Chroma's `where`, or an expression of
    `retrieval_store.filters`; None and {} restrict nothing. `search_mode="text" | "hybrid"`
    searches by words too, with `alpha` and `fusion`; `exact` and `ef` are those of
    `Collection.query`. What a search doesn't know it refuses. Scores are distances, smaller is
    nearer; those of text and hybrid searches are negative scores. Relevance is from 0 to 1, 1 best.

    The async methods await the embedding's own; all else they do on a thread.
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
        check_model: bool = True,
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
            embedding_function=as_function(embedding),
            check_model=check_model,
        )
        self._relevance_score_fn = relevance_score_fn

    @property
    def collection(self) -> Collection:
        """The collection below, for all that LangChain has no name for."""
        return self._opened.collection

    @property
    def embeddings(self) -> Embeddings | None:
        """What turns texts into vectors; None when the store was made without."""
        return self._embedding

    def close(self) -> None:
        """Let go of a store that was opened here, by path, by url or in memory, which is gone then.
        A client or collection that was given stays open."""
        self._opened.close()

    def __enter__(self) -> "RetrievalStore":
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
        """Add texts, or replace those whose ids exist; all or none. Returns an id for each,
        made where it is None or left out; of texts with one id the last counts. Raises
        InvalidArgumentError when metadatas or ids are of another number than the texts, and
        EmbeddingFunctionError without an embedding."""
        batch = Batch(texts, metadatas, ids)
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
        """`add_texts`, with the embedding's `aembed_documents`."""
        batch = Batch(texts, metadatas, ids)
        embedding = self._needed_embedding()
        vectors = await embedding.aembed_documents(batch.texts) if batch.texts else []
        return await asyncio.to_thread(self._put, batch, vectors)

    def add_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """Add documents, as `add_texts` does; `ids=` beats their own. Returns the ids."""
        documents = list(documents)
        return self.add_texts(*texts_and_metadatas(documents), **with_ids(documents, kwargs))

    async def aadd_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """`add_documents`, with the embedding's `aembed_documents`."""
        documents = list(documents)
        return await self.aadd_texts(*texts_and_metadatas(documents), **with_ids(documents, kwargs))

    def add_images(
        self,
        uris: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
    ) -> list[str]:
        """Add images by uri, embedded by the embedding's `embed_image`; what a search finds of them
        has the uri as its text. Returns the ids, as `add_texts` does; raises EmbeddingFunctionError
        when the embedding has no `embed_image`."""
        batch = Batch(uris, metadatas, ids)
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
        """`add_images`, on a thread."""
        return await asyncio.to_thread(self.add_images, uris, metadatas, ids=ids)

    def delete(
        self, ids: Sequence[str] | None = None, *, filter: Filter | None = None, **kwargs: Any
    ) -> bool:
        """Delete by ids, by a filter, or what both mean. With neither everything is deleted; an
        empty list of ids means nothing, and ids that don't exist are passed over. Returns True;
        raises InvalidArgumentError for other arguments."""
        refuse_text(ids)
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
        """`delete`, on a thread; it takes `filter=` too."""
        return await asyncio.to_thread(self.delete, ids, **kwargs)

    # reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents that exist, each once; ids that don't are left out."""
        refuse_text(ids)
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return []
        return documents_of(self.collection.get(ids=wanted, include=FIELDS))

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """`get_by_ids`, on a thread."""
        return await asyncio.to_thread(self.get_by_ids, ids)

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to the query, nearest first; fewer only when fewer match. Other
        arguments are those of every search."""
        return [d for d, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """`similarity_search`, with the embedding's `aembed_query`."""
        found = await self.asimilarity_search_with_score(query, k, filter, **kwargs)
        return [document for document, _ in found]

    def similarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a vector, nearest first; nothing is embedded."""
        return [d for d, _ in self._nearest(embedding, k, filter, **kwargs)]

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """`similarity_search_by_vector`, on a thread."""
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
        """The k best documents with their scores, smaller is better: distances, or the negative
        scores of text and hybrid searches. A text search needs no embedding; the others raise
        EmbeddingFunctionError without one."""
        vector = None
        if needs_vector(kwargs):
            vector = self._needed_embedding().embed_query(query)
        return search(self.collection, query, vector, k, filter, **kwargs)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """`similarity_search_with_score`, with the embedding's `aembed_query`."""
        vector = None
        if needs_vector(kwargs):
            vector = await self._needed_embedding().aembed_query(query)
        call = partial(search, self.collection, query, vector, k, filter, **kwargs)
        return await asyncio.to_thread(call)

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
        is relevance alone, 0 variety alone. Of the arguments of searches it takes `filter`, `exact`
        and `ef`."""
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
        """`max_marginal_relevance_search`, with the embedding's `aembed_query`."""
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
        """`max_marginal_relevance_search` for a vector; nothing is embedded."""
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
        """`max_marginal_relevance_search_by_vector`, on a thread."""
        call = partial(self._diverse, embedding, k, fetch_k, lambda_mult, filter, **kwargs)
        return await asyncio.to_thread(call)

    def similarity_search_by_image(
        self, uri: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents and images nearest to an image, by the embedding's `embed_image`; raises
        EmbeddingFunctionError when it has none."""
        return [d for d, _ in self._nearest(self._embed_images([uri])[0], k, filter, **kwargs)]

    async def asimilarity_search_by_image(
        self, uri: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """`similarity_search_by_image`, on a thread."""
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
    ) -> "RetrievalStore":
        """A store with these texts; other arguments are the constructor's. When they can't be
        added, what was opened is closed."""
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
    ) -> "RetrievalStore":
        """`from_texts`, with the embedding's `aembed_documents`."""
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
    ) -> "RetrievalStore":
        """A store with these documents; other arguments are the constructor's, and `ids`, which
        beat their own."""
        documents = list(documents)
        texts, metadatas = texts_and_metadatas(documents)
        return cls.from_texts(texts, embedding, metadatas, **with_ids(documents, kwargs))

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **kwargs: Any
    ) -> "RetrievalStore":
        """`from_documents`, with the embedding's `aembed_documents`."""
        documents = list(documents)
        texts, metadatas = texts_and_metadatas(documents)
        return await cls.afrom_texts(texts, embedding, metadatas, **with_ids(documents, kwargs))

    # below

    def _put(self, batch: Batch, vectors: Any) -> list[str]:
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
        return search(self.collection, None, vector, k, filter, **kwargs)

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
        return search_diverse(
            self.collection, vector, k, fetch_k, lambda_mult, filter, exact=exact, ef=ef
        )

    def _with_relevance(
        self, found: list[tuple[Document, float]], kwargs: Mapping[str, Any]
    ) -> list[tuple[Document, float]]:
        relevance = (
            self._select_relevance_score_fn() if by_distance(kwargs) else relevance_of_words(kwargs)
        )
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
