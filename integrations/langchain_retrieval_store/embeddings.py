"""Embedding functions of retrieval-store as LangChain's."""

from typing import Any

from langchain_core.embeddings import Embeddings

from retrieval_store.api.embedding import function_of
from retrieval_store.base.validation import shown
from retrieval_store.embeddings.frameworks import FromLangChain
from retrieval_store.errors import InvalidTypeError
from retrieval_store.frameworks.collection import embedded, query_embedded


class AsLangChain(Embeddings):
    """An embedding function as a LangChain `Embeddings` object.

    function: any that takes a list and returns a vector for each item, or the name of one that is
    registered; its `embed_query`, if it has one, embeds queries. What it raises is raised as it is.
    The async methods run on a thread.
    """

    def __init__(self, function: Any) -> None:
        self._function = (
            function_of(function, "function") if isinstance(function, str) else function
        )

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text; for none the function isn't called."""
        return embedded(self._function, list(texts)) if texts else []

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return query_embedded(self._function, text)

    def embed_image(self, uris: list[str]) -> list[list[float]]:
        """A vector for each image, loaded from its uri; of a function that embeds images. Raises
        DataLoaderError for an image that can't be loaded."""
        from retrieval_store.loaders.images import ImageLoader

        return embedded(self._function, ImageLoader()(uris))

    @property
    def function(self) -> Any:
        """The embedding function."""
        return self._function


class _Alike(Embeddings):
    """An object with the methods of `Embeddings`, of which it may lack the async ones."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedding.embed_documents(texts)  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return self._embedding.embed_query(text)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        if name == "_embedding":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self._embedding, name)


def as_embeddings(embedding: Any) -> Embeddings | None:
    """What LangChain calls: an `Embeddings` object, or what has its methods, as it is; an embedding
    function of ours, or the one of a registered name, as one. Raises InvalidTypeError for anything
    else."""
    if isinstance(embedding, str):
        return AsLangChain(function_of(embedding, "embedding"))
    if embedding is None or isinstance(embedding, Embeddings):
        return embedding
    if isinstance(embedding, type):
        raise InvalidTypeError(f"embedding is the class {embedding.__name__}; pass an instance")
    if hasattr(embedding, "embed_documents") and hasattr(embedding, "embed_query"):
        return _Alike(embedding)
    if callable(embedding):
        return AsLangChain(embedding)
    raise InvalidTypeError(
        f"embedding is {shown(embedding)}, expected an Embeddings object, an embedding function or "
        "the name of one"
    )


def as_function(embedding: Embeddings | None) -> Any:
    """What a collection knows an `Embeddings` object by: the embedding function in it, or itself as
    one."""
    if isinstance(embedding, AsLangChain):
        inner = embedding.function
        return as_function(inner) if isinstance(inner, Embeddings) else inner
    return None if embedding is None else FromLangChain(embedding)
