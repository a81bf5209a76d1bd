"""`RetrievalStore`: a collection as a vector store of LangChain.

`RetrievalStoreIndex` is a `DocumentIndex` on a `RetrievalStore`: a retriever to which documents can
be added.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun as AsyncRun
from langchain_core.callbacks import CallbackManagerForRetrieverRun as Run
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing.base import DeleteResponse, DocumentIndex, UpsertResponse
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from langchain_retrieval_store.documents import (
    FIELDS,
    DocumentBatch,
    PointLayout,
    batches,
    document_batches,
    documents_in,
)
from langchain_retrieval_store.retriever import (
    BY_WORDS,
    AsLangChain,
    RetrievalStoreRetriever,
    as_embeddings,
    as_function,
    with_search_kwargs,
)
from langchain_retrieval_store.searches import Filter, Searches, SearchMode, in_mode, mode_of
from retrieval_store import Client, Collection
from retrieval_store.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    StorageError,
)
from retrieval_store.filters.expression import And
from retrieval_store.frameworks import (
    OTHER_NAMES,
    OpenedCollection,
    async_twin,
    check_sparse_model,
    items_of,
    needing,
    open_collection,
    progress_bar,
    quote,
    refuse_blank,
    refuse_unknown,
    sparse_vectors,
    store_path,
    suggests_argument,
)

if TYPE_CHECKING:
    from retrieval_store_agents import StoreTools

_OTHER_NAMES = {**OTHER_NAMES, "create": ("create_collection_if_not_exists", "force_recreate")}
_ADD, _DELETE = ("metadatas", "ids", "batch_size", "show_progress"), ("ids", "filter")
_NOT_GIVEN: Any = object()  # no filter, as an explicit None is an error


class RetrievalStore(Searches, VectorStore):
    """A collection of retrieval-store for LangChain.

    Every search takes `filter` and `where_document`. `filter` is a dict in the form of Chroma's
    `where`, an expression of `retrieval_store.filters`, or a `Filter` of qdrant-client; None and {}
    restrict nothing. `search_mode` overrides the retrieval mode; `alpha`, `fusion` and `depth`
    apply to hybrid searches. `exact`, `recall`, `ef`, `offset`, `max_distance`, `min_score`,
    `group_by`, `group_size`, `rerank`, `rerank_from` and `rerank_query` (by default the query) mean
    the same as in `Collection.query`. `search_params` takes Qdrant's `hnsw_ef` and `exact`;
    `score_threshold` is the least relevance. Unknown arguments are refused.

    Searches by vectors alone return distances, smaller is nearer; other modes and re-rankers return
    scores, greater is better. Relevance is 1 at best: for distances it follows LangChain's own
    helpers (cosine 1 - d), for words and hybrids it lies between 0 and 1.

    The async methods await the embedding's own async methods, and do everything else on a thread. A
    store that was made with `path` or `url` can be pickled if its embeddings can; unpickling opens
    it again.
    """

    @suggests_argument(_OTHER_NAMES)
    def __init__(
        self,
        embedding: Embeddings | Callable[..., Any] | str | None = None,
        *,
        collection_name: str = "langchain",
        path: str | os.PathLike[str] | None = None,
        url: str | Sequence[str] | None = None,
        client: Client | None = None,
        collection: Collection | None = None,
        distance: str | None = None,
        configuration: Mapping[str, Any] | None = None,
        collection_metadata: Mapping[str, Any] | None = None,
        create: bool = True,
        relevance_score_fn: Callable[[float], float] | None = None,
        check_model: bool = True,
        retrieval_mode: SearchMode = "dense",
        sparse_embedding: Any = None,
        content_payload_key: str | None = None,
        metadata_payload_key: str | None = None,
    ) -> None:
        """Open a collection, or create it. Stores that are opened on one path share it.

        Args:
            embedding: turns texts into vectors: an `Embeddings` object of LangChain, an embedding
                function of retrieval-store, or the registered name of a function ("minilm"). It can
                be left out if the collection stores an embedding that can be rebuilt, or if no text
                is embedded. A collection stores which model it uses.
            collection_name: the name of the collection.
            path: the store's directory.
            url: the URL of a served store or a Qdrant cluster; a list names several nodes of a
                cluster.
            client: an open client; without path, url and client the store is in memory.
            collection: an open collection, instead of the arguments above.
            distance: "cosine" (the default), "l2" or "ip", for a collection that is created here;
                None accepts the distance of any existing collection.
            configuration: as in `Client.create_collection`, for a collection that is created here.
            collection_metadata: the metadata of a collection that is created here.
            create: whether a missing store or collection is created.
            relevance_score_fn: a function that converts a distance to a relevance, instead of the
                default.
            check_model: False to use another model than the one that the collection stores.
            retrieval_mode: the default mode of searches by text: "dense", "text" (BM25), "sparse"
                or "hybrid".
            sparse_embedding: a model of sparse vectors: one of retrieval-store, or an object with
                `embed_documents` and `embed_query`. Each text gets a sparse vector too, which
                replaces BM25 in hybrid searches.
            content_payload_key: a metadata key under which the text is also stored, such as
                "page_content" in points written by LangChain's store for Qdrant.
            metadata_payload_key: a key under which all metadata are stored, such as "metadata" in
                those points.

        Raises:
            ConflictError: distance, settings or model contradict the existing collection.
            NotFoundError: the collection doesn't exist, and `create` is False.
        """
        directory = store_path(path)
        self._arguments: dict[str, Any] = {
            "embedding": embedding,
            "collection_name": collection_name,
            "path": None if directory is None else str(directory),
            "url": url,
            "client": client,
            "collection": collection,
            "distance": distance,
            "configuration": configuration,
            "collection_metadata": collection_metadata,
            "create": create,
            "relevance_score_fn": relevance_score_fn,
            "check_model": check_model,
            "retrieval_mode": retrieval_mode,
            "sparse_embedding": sparse_embedding,
            "content_payload_key": content_payload_key,
            "metadata_payload_key": metadata_payload_key,
        }
        self._embedding = as_embeddings(embedding)
        self._sparse = check_sparse_model(sparse_embedding, "sparse_embedding")
        if relevance_score_fn is not None and not callable(relevance_score_fn):
            raise InvalidTypeError(
                f"relevance_score_fn is {quote(relevance_score_fn)}, expected a function"
            )
        self._mode = mode_of(retrieval_mode, "retrieval_mode")
        self._layout = PointLayout(content_payload_key, metadata_payload_key)
        self._relevance_score_fn = relevance_score_fn
        self._opened: OpenedCollection = self._open(
            path=path, url=url, client=client, collection=collection
        )

    def _open(self, **place: Any) -> OpenedCollection:
        arguments = self._arguments
        names = ("distance", "configuration", "create", "check_model")
        as_made = {name: arguments[name] for name in names}
        return open_collection(
            arguments["collection_name"],
            **{**as_made, "metadata": arguments["collection_metadata"], **place},
            embedding_function=as_function(self._embedding),
            sparse_model=self._sparse,
        )

    @property
    def collection(self) -> Collection:
        """The underlying collection, for everything that LangChain has no method for."""
        return self._opened.collection

    @property
    def embeddings(self) -> Embeddings | None:
        """The model that turns texts into vectors; None when the store was made without one."""
        return self._embedding

    def _embedding_of_collection(self) -> Embeddings | None:
        function = self.collection.embedding_function
        return None if function is None else AsLangChain(function)

    @property
    def sparse_embedding(self) -> Any:
        """The model that turns texts into sparse vectors; None when the store was made without
        one."""
        return self._sparse

    def close(self) -> None:
        """Close a store that this object has opened by path or url, or discard its store in memory.
        A client or collection that was passed in stays open."""
        self._opened.close()

    def __repr__(self) -> str:
        return f"<RetrievalStore of {self.collection!r}>"

    def __enter__(self) -> "RetrievalStore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        if self._arguments["path"] is None and self._arguments["url"] is None:
            raise StorageError(
                "only a store that was made with path= or url= can be pickled or copied, which "
                "opens it again"
            )
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    # writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, and replace texts whose ids exist: either all are written, or none. Returns an
        id for each text. If several texts have the same id, the last text wins.

        Args:
            texts: the texts.
            metadatas: a dict for each text, or None.
            ids: an id for each text; missing ids, and ids that are None, are generated.
            batch_size: read, embed and write this many texts at once. Each batch is atomic; batches
                before a failed one stay written.
            show_progress: whether to show a progress bar.
            **kwargs: none; an unknown argument is refused.

        Raises:
            InvalidArgumentError: the number of metadatas or ids differs from the number of texts.
            EmbeddingFunctionError: there is no embedding.
        """
        refuse_unknown(kwargs, _ADD, "add_texts")
        embedding, returned = self._require_embedding(), []
        total = len(texts) if isinstance(texts, Sequence) else None
        with progress_bar("adding", total, "text", show_progress) as bar:
            for batch in batches(texts, metadatas, ids, batch_size):
                vectors = embedding.embed_documents(batch.contents) if batch.contents else []
                returned += self._put(batch, vectors)
                bar.update(len(batch.returned))
        return returned

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> list[str]:
        """`add_texts`, with the embedding's `aembed_documents`."""
        refuse_unknown(kwargs, _ADD, "aadd_texts")
        embedding, returned = self._require_embedding(), []
        total = len(texts) if isinstance(texts, Sequence) else None
        pending = batches(texts, metadatas, ids, batch_size)
        with progress_bar("adding", total, "text", show_progress) as bar:
            while batch := await asyncio.to_thread(next, pending, None):
                texts = batch.contents
                vectors = await embedding.aembed_documents(texts) if texts else []
                returned += await asyncio.to_thread(self._put, batch, vectors)
                bar.update(len(batch.returned))
        return returned

    def add_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """Add documents, as `add_texts` does. `ids=` replaces the documents' own ids. Returns the
        ids."""
        returned: list[str] = []
        for batch in document_batches(documents, kwargs):
            returned += self.add_texts(**batch)
        return returned

    async def aadd_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """`add_documents`, with the embedding's `aembed_documents`."""
        returned: list[str] = []
        pending = document_batches(documents, kwargs)
        while batch := await asyncio.to_thread(next, pending, None):
            returned += await self.aadd_texts(**batch)
        return returned

    def add_images(
        self,
        uris: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        captions: Iterable[str | None] | None = None,
    ) -> list[str]:
        """Add images by uri. The embedding's `embed_image` embeds them; in search results the text
        of an image is its uri. Returns the ids, as `add_texts` does.

        Args:
            uris: the images' addresses.
            metadatas: a dict for each image, or None.
            ids: an id for each image; missing ids, and ids that are None, are generated.
            captions: texts for searches by words. A caption is then the document's text, and the
                uri is in the metadata under "uri", unless that key is set.

        Raises:
            EmbeddingFunctionError: the embedding has no `embed_image`.
            InvalidArgumentError: the number of metadatas, ids or captions differs from the number
                of uris.
        """
        batch = DocumentBatch(uris, metadatas, ids, captions)
        if batch.contents:
            self.collection.upsert(
                batch.ids,
                embeddings=self._embed_images(batch.contents),
                documents=batch.captions,
                uris=batch.contents,
                metadatas=[*map(self._layout.payload_of_image, *batch.images)],
                replace=True,
            )
        return batch.returned

    aadd_images = async_twin(add_images)

    def update_document(self, document_id: str, document: Document) -> None:
        """Change a document; see `update_documents`."""
        self.update_documents([document_id], [document])

    async def aupdate_document(self, document_id: str, document: Document) -> None:
        """`update_document`, with the embedding's `aembed_documents`."""
        await self.aupdate_documents([document_id], [document])

    def update_documents(self, ids: Sequence[str], documents: Sequence[Document]) -> None:
        """Replace the text, and merge the metadata, of documents: either all are changed, or none.
        Ids that don't exist are skipped with a logged warning; `add_documents` adds them.

        Args:
            ids: the ids of the documents to change.
            documents: one for each id; their metadata are merged key by key, and a None deletes the
                key.
        """
        batch = self._batch_of(ids, documents)
        if batch.contents:
            self._update(batch, self._require_embedding().embed_documents(batch.contents))

    async def aupdate_documents(self, ids: Sequence[str], documents: Sequence[Document]) -> None:
        """`update_documents`, with the embedding's `aembed_documents`."""
        batch = self._batch_of(ids, documents)
        if batch.contents:
            vectors = await self._require_embedding().aembed_documents(batch.contents)
            await asyncio.to_thread(self._update, batch, vectors)

    def delete(
        self, ids: Sequence[str] | None = None, *, filter: Filter | None = _NOT_GIVEN, **kwargs: Any
    ) -> bool:
        """Delete the documents that match ids, a filter, or both. Returns True.

        Args:
            ids: the ids of documents. Without ids and filter everything is deleted. An empty
                list deletes nothing, and ids that don't exist are skipped.
            filter: as in searches.
            **kwargs: none; an unknown argument is refused.

        Raises:
            InvalidTypeError: an unknown argument.
            InvalidArgumentError: a filter that restricts nothing, such as None.
        """
        refuse_unknown(kwargs, _DELETE, "delete")
        named = None if ids is None else list(dict.fromkeys(items_of(ids, "ids", str)))
        where = None if filter is _NOT_GIVEN else self._layout.where(filter)
        if filter is not _NOT_GIVEN and where is None and named is None:
            raise InvalidArgumentError(
                f"filter is {quote(filter)}, which restricts nothing; delete() deletes everything"
            )
        if where is None and named is None:
            where = And(())  # which every document fulfils
        if named != []:
            self.collection.delete(ids=named, where=where)
        return True

    async def adelete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        """`delete`, on a thread; it takes `filter=` too."""
        return await asyncio.to_thread(self.delete, ids, **kwargs)

    def delete_collection(self) -> None:
        """Delete the collection with everything in it. Raises InvalidArgumentError for a store that
        was made with `collection=`; delete it through its client."""
        self._opened = self._opened.delete_collection()

    adelete_collection = async_twin(delete_collection)

    def reset_collection(self) -> None:
        """Delete the collection and create it again with the same settings and metadata. If this
        store has already deleted the collection, it is only created again."""
        with suppress(NotFoundError):
            self.delete_collection()
        self._opened = self._opened.again(self._open)

    areset_collection = async_twin(reset_collection)

    # reading

    def get(
        self,
        ids: str | Sequence[str] | None = None,
        where: Filter = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: Mapping[str, Any] | None = None,
        include: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """Records of the collection, as `Collection.get` returns them: a dict of lists.

        Args:
            ids: as of `Collection.get`.
            where: a filter, as in searches.
            limit: the maximum number of records; None for all.
            offset: how many records to skip.
            where_document: a filter on documents.
            include: as of `Collection.get`; metadatas and documents by default.
        """
        result: Any = self.collection.get(
            ids,
            self._layout.where(where),
            limit,
            offset,
            where_document,
            ("metadatas", "documents") if include is None else include,  # type: ignore[arg-type]
        )
        return dict(result)

    aget = async_twin(get)

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The existing documents, each once; ids that don't exist are left out."""
        requested = list(dict.fromkeys(items_of(ids, "ids", str)))
        if not requested:
            return []
        return self._layout.documents(self.collection.get(ids=requested, include=FIELDS))

    aget_by_ids = async_twin(get_by_ids)

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """The best documents by a search type: one of LangChain's search types, "text", "sparse" or
        "hybrid"."""
        if search_type in BY_WORDS:
            return self.similarity_search(query, **in_mode(search_type, kwargs))
        _refuse_other_type(search_type)
        return super().search(query, search_type, **kwargs)

    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """`search`, with the embedding's `aembed_query`."""
        if search_type in BY_WORDS:
            return await self.asimilarity_search(query, **in_mode(search_type, kwargs))
        _refuse_other_type(search_type)
        return await super().asearch(query, search_type, **kwargs)

    def as_retriever(self, **kwargs: Any) -> RetrievalStoreRetriever:
        """A retriever over the store.

        Args:
            **kwargs: search_type: "similarity" (the default), "similarity_score_threshold", "mmr",
                "text", "sparse" or "hybrid"; search_kwargs: the arguments of the search, which may
                also be passed directly: `as_retriever(k=3, filter=…)`.

        Raises:
            InvalidTypeError: an argument that the search doesn't take.
        """
        tags = kwargs.pop("tags", None) or [*self._get_retriever_tags()]
        return RetrievalStoreRetriever(vectorstore=self, tags=tags, **kwargs)

    def as_tool(self, name: str = "search", *, write: bool = False) -> BaseTool:
        """The tool of `as_tools` with this name; raises InvalidArgumentError if there is none."""
        tools = self._tools(write)
        return _tool_of(tools, tools.tool(name))

    def _tools(self, write: bool) -> "StoreTools":
        with needing("as_tools", "retrieval-store-agents", "retrieval-store-agents"):
            from retrieval_store_agents import CollectionSource, StoreTools

        return StoreTools(CollectionSource(self._opened.collection), writes=write)

    def as_tools(self, *, write: bool = False) -> list[BaseTool]:
        """Tools for an agent: collections, search, get and why, and with `write` also add, update
        and delete. They are the tools of `retrieval-store mcp`, with the same descriptions. Each
        returns a text, with the same result as data in its artifact. After an invalid call, the
        text says what would be right."""
        tools = self._tools(write)
        return [_tool_of(tools, tool) for tool in tools.tools]

    # made from texts

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | Callable[..., Any] | str | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> "RetrievalStore":
        """A store with these texts, added as by `add_texts`; other arguments are passed to the
        constructor. If adding fails, the store is closed; a collection that was created stays."""
        store = cls(embedding, **kwargs)
        with _close_on_failure(store):
            store.add_texts(
                texts, metadatas, ids=ids, batch_size=batch_size, show_progress=show_progress
            )
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | Callable[..., Any] | str | None = None,
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[str | None] | None = None,
        batch_size: int | None = None,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> "RetrievalStore":
        """`from_texts`, with the embedding's `aembed_documents`."""
        store = await asyncio.to_thread(cls, embedding, **kwargs)
        async with _aclose_on_failure(store):
            await store.aadd_texts(
                texts, metadatas, ids=ids, batch_size=batch_size, show_progress=show_progress
            )
        return store

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | Callable[..., Any] | str | None = None,
        **kwargs: Any,
    ) -> "RetrievalStore":
        """A store with these documents. `ids`, which replaces the documents' own ids, `batch_size`
        and `show_progress` are passed to `add_documents`, other arguments to the constructor."""
        adding = _pop_adding(kwargs)
        store = cls(embedding, **kwargs)
        with _close_on_failure(store):
            store.add_documents(documents, **adding)
        return store

    @classmethod
    async def afrom_documents(
        cls,
        documents: Iterable[Document],
        embedding: Embeddings | Callable[..., Any] | str | None = None,
        **kwargs: Any,
    ) -> "RetrievalStore":
        """`from_documents`, with the embedding's `aembed_documents`."""
        adding = _pop_adding(kwargs)
        store = await asyncio.to_thread(cls, embedding, **kwargs)
        async with _aclose_on_failure(store):
            await store.aadd_documents(documents, **adding)
        return store

    @classmethod
    def from_existing_collection(
        cls,
        collection_name: str,
        embedding: Embeddings | Callable[..., Any] | str | None = None,
        *,
        validate: bool = False,
        **kwargs: Any,
    ) -> "RetrievalStore":
        """A store on an existing collection.

        Args:
            collection_name: the name of the collection.
            embedding: as in the constructor.
            validate: whether to embed a test text at once, to check that the embedding's dimension
                is that of the collection. If False, the first use checks the dimension.
            **kwargs: other arguments of the constructor.

        Raises:
            NotFoundError: the collection doesn't exist; nothing is created.
            DimensionMismatchError: the embedding's vectors have another dimension.
        """
        store = cls(embedding, collection_name=collection_name, **{**kwargs, "create": False})
        with _close_on_failure(store):
            if validate and store.embeddings is not None:
                _refuse_other_dimension(store.collection, store.embeddings)
        return store

    # helpers

    def _put(self, batch: DocumentBatch, vectors: Any) -> list[str]:
        if batch.contents:
            refuse_blank(batch.ids, batch.contents, vectors)
            self.collection.upsert(
                *self._records(batch, vectors), replace=True, **self._sparse_of(batch)
            )
        return batch.returned

    def _update(self, batch: DocumentBatch, vectors: Any) -> None:
        refuse_blank(batch.ids, batch.contents, vectors)
        if self._layout.metadata_key is not None:
            got = self.collection.get(ids=batch.ids, include=("metadatas",))
            old = dict(zip(got["ids"], got["metadatas"], strict=True))
            pairs = zip(batch.ids, batch.metadatas, strict=True)
            batch.metadatas = [self._layout.merge_metadata(old.get(i), new) for i, new in pairs]
        self.collection.update(*self._records(batch, vectors), **self._sparse_of(batch))

    def _records(self, batch: DocumentBatch, vectors: Any) -> tuple[Any, ...]:
        """The ids, embeddings, metadatas and documents of a batch, for a collection."""
        pairs = zip(batch.contents, batch.metadatas, strict=True)
        return batch.ids, vectors, [self._layout.payload(*pair) for pair in pairs], batch.contents

    def _sparse_of(self, batch: DocumentBatch) -> dict[str, Any]:
        if self._sparse is None:
            return {}
        return {"sparse_embeddings": sparse_vectors(self._sparse, batch.contents)}

    def _batch_of(self, ids: Sequence[str], documents: Sequence[Document]) -> DocumentBatch:
        named, listed = items_of(ids, "ids", str), documents_in(documents)
        if len(named) != len(listed):
            raise InvalidArgumentError(
                f"ids has {len(named)} items, but there are {len(listed)} documents"
            )
        return DocumentBatch([d.page_content for d in listed], [d.metadata for d in listed], named)


@contextmanager
def _close_on_failure(store: RetrievalStore) -> Iterator[None]:
    try:
        yield
    except BaseException:
        store.close()
        raise


def _refuse_other_dimension(collection: Collection, embedding: Embeddings) -> None:
    """Raise DimensionMismatchError if the embedding's vectors do not have the collection's
    dimension."""
    stored = collection.get(limit=1, include=("embeddings",))["embeddings"]
    if stored is None or not len(stored):
        return
    dimension = len(embedding.embed_query("dimension"))
    if dimension != stored.shape[1]:
        raise DimensionMismatchError(
            f"the embedding makes vectors of {dimension} numbers, but collection "
            f"{collection.name!r} holds vectors of {stored.shape[1]} (its dimension)"
        )


def _pop_adding(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Remove the arguments of `add_documents` from `kwargs`, and return them."""
    names = ("ids", "batch_size", "show_progress")
    return {name: kwargs.pop(name) for name in names if name in kwargs}


@asynccontextmanager
async def _aclose_on_failure(store: RetrievalStore) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await asyncio.to_thread(store.close)
        raise


def _refuse_other_type(search_type: Any) -> None:
    known = RetrievalStoreRetriever.allowed_search_types
    if search_type not in known:
        raise InvalidArgumentError(
            f"search_type is {quote(search_type)}, expected one of {', '.join(known)}"
        )


def _tool_of(tools: "StoreTools", tool: Any) -> BaseTool:
    def call(**arguments: Any) -> tuple[str, Any]:
        answer = tools.call(tool.name, arguments)
        if answer.is_error:
            raise ToolException(answer.text)
        return answer.text, answer.data

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.schema,
        func=call,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


class RetrievalStoreIndex(DocumentIndex):
    """Documents in a store that can be upserted, read, deleted and retrieved."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    store: RetrievalStore
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    def __init__(self, **arguments: Any) -> None:
        """store: a RetrievalStore; search_kwargs: the arguments of the store's `similarity_search`,
        which may also be passed directly. Keywords of a call override these arguments."""
        super().__init__(**with_search_kwargs(type(self), arguments))

    def upsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """Add documents, and replace documents whose ids exist: either all are written, or none."""
        return UpsertResponse(succeeded=self.store.add_documents(items, **kwargs), failed=[])

    async def aupsert(self, items: Sequence[Document], /, **kwargs: Any) -> UpsertResponse:
        """`upsert`, with the embedding's `aembed_documents`."""
        return UpsertResponse(succeeded=await self.store.aadd_documents(items, **kwargs), failed=[])

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> DeleteResponse:
        """Delete documents by their ids; returns which of them existed. Raises InvalidArgumentError
        without ids; `store.delete()` deletes everything."""
        if ids is None:
            raise InvalidArgumentError("delete needs ids")
        refuse_unknown(kwargs, ("ids",), "delete")
        existing = [document.id or "" for document in self.store.get_by_ids(ids)]
        self.store.delete(existing)
        return DeleteResponse(
            num_deleted=len(existing), succeeded=existing, failed=[], num_failed=0
        )

    adelete = async_twin(delete)

    def get(self, ids: Sequence[str], /, **kwargs: Any) -> list[Document]:
        """The existing documents, in the order of their ids."""
        refuse_unknown(kwargs, (), "get")
        return self.store.get_by_ids(ids)

    aget = async_twin(get)

    def _get_relevant_documents(
        self, query: str, *, run_manager: Run, **kwargs: Any
    ) -> list[Document]:
        return self.store.similarity_search(query, **{**self.search_kwargs, **kwargs})

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncRun, **kwargs: Any
    ) -> list[Document]:
        return await self.store.asimilarity_search(query, **{**self.search_kwargs, **kwargs})
