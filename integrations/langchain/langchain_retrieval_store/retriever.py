"""`RetrievalStoreRetriever` retrieves documents by any kind of search that a store has.

`AsLangChain` wraps an embedding function of retrieval-store as LangChain's `Embeddings`.
"""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun as AsyncRun
from langchain_core.callbacks import CallbackManagerForRetrieverRun as Run
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import BaseModel

from langchain_retrieval_store.searches import KNOWN, in_mode
from retrieval_store import Hybrid, ImageLoader
from retrieval_store.embeddings.frameworks import FromLangChain, FromLlamaIndex
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.frameworks import WrappedFunction, quote, refuse_unknown

BY_WORDS = ("text", "sparse", "hybrid")  # search types that are modes of search
_OF_SEARCHES, _OF_MMR = ("k", *KNOWN), ("fetch_k", "lambda_mult")


def with_search_kwargs(kind: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a retriever, with all other keywords moved into `search_kwargs`. Raises
    InvalidTypeError for a keyword that no search takes, and InvalidArgumentError for a keyword that
    is given twice with different values."""
    if "search_kwargs" in arguments and not isinstance(arguments["search_kwargs"], Mapping):
        raise InvalidTypeError(
            f"search_kwargs is {quote(arguments['search_kwargs'])}, expected a dict"
        )
    how = dict(arguments.get("search_kwargs", {}))
    beside = {name: value for name, value in arguments.items() if name not in kind.model_fields}
    search_type = arguments.get("search_type", "similarity")
    known = (*_OF_SEARCHES, *_OF_MMR) if search_type == "mmr" else _OF_SEARCHES
    refuse_unknown({**how, **beside}, known, f"a retriever with search_type {search_type!r}")
    for name, value in beside.items():
        if how.setdefault(name, value) is not value and how[name] != value:
            raise InvalidArgumentError(
                f"{name} is {quote(value)}, but search_kwargs say {quote(how[name])}"
            )
    if search_type in BY_WORDS:
        in_mode(search_type, how)
    Hybrid(how.get("fusion"), how.get("alpha"), how.get("depth"))  # which refuses invalid arguments
    fields = {name: value for name, value in arguments.items() if name not in beside}
    return {**fields, "search_kwargs": how}


class RetrievalStoreRetriever(VectorStoreRetriever):
    """LangChain's retriever, with the additional search types "text", "sparse" and "hybrid".
    Constructor keywords that aren't fields are arguments of the search, like those in
    `search_kwargs`. Keywords of a call override both."""

    allowed_search_types: ClassVar[Collection[str]] = (
        *VectorStoreRetriever.allowed_search_types,
        *BY_WORDS,
    )

    def __init__(self, **arguments: Any) -> None:
        """arguments: LangChain's fields vectorstore, search_type, search_kwargs, tags, metadata and
        name, and arguments of the search. Raises InvalidTypeError for an argument that the search
        doesn't take."""
        super().__init__(**with_search_kwargs(type(self), arguments))

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
        return in_mode(self.search_type, {**self.search_kwargs, **kwargs})


class AsLangChain(Embeddings):
    """An embedding function as a LangChain `Embeddings` object."""

    hands_on = "function"  # collections store the function, not this object

    def __init__(self, function: Any) -> None:
        """Wrap an embedding function. The async methods run on a thread.

        Args:
            function: a function that takes a list and returns a vector for each item, or its
                registered name. Its `embed_query`, if it has one, embeds queries. Its exceptions
                are raised unchanged.
        """
        self._wrapped = WrappedFunction(function)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text; without texts the function isn't called."""
        return self._wrapped.embed(texts) if texts else []

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self._wrapped.embed_query(text)

    def embed_image(self, uris: list[str]) -> list[list[float]]:
        """A vector for each image, loaded from its uri. The function must embed images. Raises
        DataLoaderError for an image that can't be loaded."""
        return self._wrapped.embed(ImageLoader()(uris))

    @property
    def function(self) -> Any:
        """The embedding function."""
        return self._wrapped.function


class _Alike(Embeddings):
    """Any object with the methods of `Embeddings`, with or without the async methods."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedding.embed_documents(texts)  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return self._embedding.embed_query(text)  # type: ignore[no-any-return]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        own = getattr(self._embedding, "aembed_documents", None)
        return await (super().aembed_documents(texts) if own is None else own(texts))

    async def aembed_query(self, text: str) -> list[float]:
        own = getattr(self._embedding, "aembed_query", None)
        return await (super().aembed_query(text) if own is None else own(text))

    def __getattr__(self, name: str) -> Any:
        if name == "_embedding":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self._embedding, name)


def as_embeddings(embedding: Any, name: str = "embedding") -> Embeddings | None:
    """The argument as an `Embeddings` object. An `Embeddings` object, or an object with its
    methods, is returned unchanged. An embedding function, or its registered name, is wrapped.
    Raises InvalidTypeError for any other argument."""
    if isinstance(embedding, str):
        return AsLangChain(WrappedFunction(embedding, name).function)
    if embedding is None or isinstance(embedding, Embeddings):
        return embedding
    if isinstance(embedding, type):
        raise InvalidTypeError(f"{name} is the class {embedding.__name__}; pass an instance")
    if hasattr(embedding, "embed_documents") and hasattr(embedding, "embed_query"):
        return _Alike(embedding)
    if hasattr(embedding, "get_text_embedding_batch"):  # LlamaIndex's, which can be called too
        return AsLangChain(FromLlamaIndex(embedding))
    if callable(embedding):
        return AsLangChain(embedding)
    raise InvalidTypeError(
        f"{name} is {quote(embedding)}, expected an Embeddings object, an embedding function or "
        "the name of one"
    )


def as_function(embedding: Embeddings | None) -> Any:
    """The embedding function that a collection uses for an `Embeddings` object: the function inside
    an `AsLangChain`, or else a function that wraps the object."""
    if isinstance(embedding, AsLangChain):
        inner = embedding.function
        return as_function(inner) if isinstance(inner, Embeddings) else inner
    return None if embedding is None else FromLangChain(embedding)
