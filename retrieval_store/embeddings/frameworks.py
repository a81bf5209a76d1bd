"""Embeddings of LangChain and LlamaIndex as embedding functions here. (The other way round:
`langchain_retrieval_store.AsLangChain`, `llama_index.vector_stores.retrieval_store.AsLlamaIndex`.)

The embeddings are used unchanged. If an embedding wraps a function of this package (`innermost`), a
collection stores that function, which computes the vectors, and can create it again. Any other
embedding must be passed again when the collection is opened: of such an embedding, the collection
stores only the class, the name of the model and the settings that decide the vectors.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from retrieval_store.embeddings import MODEL_NAMES, ComparedByCosine

UNKNOWN = "unknown"  # what LlamaIndex calls a model without a name
# Embeddings of frameworks that only hand on, or keep, what another makes: package and class, and
# the attribute that has the other. Ours say so by a class attribute `hands_on`.
_HAND_ON = {
    ("llama_index", "LangchainEmbedding"): "_langchain_embedding",
    ("langchain", "CacheBackedEmbeddings"): "underlying_embeddings",
    ("langchain_classic", "CacheBackedEmbeddings"): "underlying_embeddings",
}


def innermost(function: Any) -> Any:
    """The embedding function that computes the vectors: the function itself, or the function inside
    adapters of this package and of frameworks, in any order. An embedding of a framework is
    returned in a `FromLangChain` or `FromLlamaIndex`. A subclass of an adapter isn't unwrapped,
    since it may behave differently."""
    outer, inner = None, function
    while (attribute := _handing_on(type(inner))) is not None:
        within = getattr(inner, attribute, None)
        if within is None:
            break
        outer, inner = inner, within
    if outer is None:
        return function
    if isinstance(outer, FromLangChain | FromLlamaIndex):
        return outer
    return adapted(inner)


def adapted(embedding: Any) -> Any:
    """An embedding of LangChain or LlamaIndex as an embedding function; anything else is returned
    unchanged."""
    kind = type(embedding)
    if hasattr(kind, "get_text_embedding_batch"):  # it can be called, but with nodes
        return FromLlamaIndex(embedding)
    is_langchains = hasattr(kind, "embed_documents") and hasattr(kind, "embed_query")
    return FromLangChain(embedding) if is_langchains and not callable(embedding) else embedding


def _handing_on(kind: type) -> str | None:
    """The name of the attribute that contains the embedding whose vectors an adapter class returns;
    None if the class computes its own vectors."""
    attribute = vars(kind).get("hands_on")
    package = kind.__module__.partition(".")[0]
    return attribute if isinstance(attribute, str) else _HAND_ON.get((package, kind.__name__))


class FromLangChain(ComparedByCosine):
    """A LangChain `Embeddings` object as an embedding function."""

    hands_on = "_embeddings"

    def __init__(self, embeddings: Any) -> None:
        self._embeddings = embeddings
        self.model_name = _model_of(embeddings)
        self.model_settings = _settings_of(embeddings)
        self.__qualname__ = f"FromLangChain({type(embeddings).__qualname__})"  # for messages

    @property
    def max_tokens(self) -> Any:
        """How many tokens of a text the embedding reads; raises AttributeError if the embedding
        does not report that."""
        return self._embeddings.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> Any:
        """The number of tokens of each text; raises AttributeError if the embedding can't count
        them."""
        return self._embeddings.count_tokens(texts)

    def __call__(self, input: Sequence[str]) -> Any:
        """(n, dim) for n documents."""
        return self._embeddings.embed_documents(list(input))

    def embed_query(self, input: Sequence[str]) -> Any:
        """(n, dim) for n queries."""
        return [self._embeddings.embed_query(text) for text in input]


class FromLlamaIndex(ComparedByCosine):
    """A LlamaIndex `BaseEmbedding` as an embedding function."""

    hands_on = "_embedding"

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding
        self.model_name = _model_of(embedding)
        self.model_settings = _settings_of(embedding)
        self.__qualname__ = f"FromLlamaIndex({type(embedding).__qualname__})"  # what it is called

    @property
    def max_tokens(self) -> Any:
        """How many tokens of a text the embedding reads; raises AttributeError if the embedding
        does not report that."""
        return self._embedding.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> Any:
        """The number of tokens of each text; raises AttributeError if the embedding can't count
        them."""
        return self._embedding.count_tokens(texts)

    def __call__(self, input: Sequence[str]) -> Any:
        """(n, dim) for n documents."""
        return self._embedding.get_text_embedding_batch(list(input))

    def embed_query(self, input: Sequence[str]) -> Any:
        """(n, dim) for n queries."""
        return [self._embedding.get_query_embedding(text) for text in input]


def _model_of(wrapped: Any) -> str | None:
    """The name of an embedding's model, from the attributes that most embeddings use. A collection
    recognises the model by this name."""
    models = (_at(wrapped, name) for name in MODEL_NAMES)
    return next((m for m in models if isinstance(m, str) and m and m != UNKNOWN), None)


def _settings_of(wrapped: Any) -> dict[str, Any]:
    """The settings that decide the vectors, as far as the embedding has attributes for them: the
    settings of models of sentence-transformers, and the length of vectors. Their names are those
    that functions of this package use."""
    documents = _mapping_at(wrapped, "encode_kwargs")  # of LangChain's
    queries = _mapping_at(wrapped, "query_encode_kwargs") or documents
    attributes = {
        "normalize": (_at(wrapped, "normalize"), documents.get("normalize_embeddings")),
        "document_prompt": (_at(wrapped, "text_instruction"), documents.get("prompt")),
        "query_prompt": (_at(wrapped, "query_instruction"), queries.get("prompt")),
        "dimensions": (_at(wrapped, "dimensions"), documents.get("truncate_dim")),
    }
    kinds = {"normalize": bool, "dimensions": int}
    return {
        name: value
        for name, values in attributes.items()
        for value in values
        if type(value) is kinds.get(name, str) and value != ""
    }


def _mapping_at(wrapped: Any, name: str) -> Mapping[Any, Any]:
    found = _at(wrapped, name)
    return found if isinstance(found, Mapping) else {}


def _at(wrapped: Any, name: str) -> Any:
    with suppress(Exception):  # a property may want what isn't there yet
        return getattr(wrapped, name, None)
    return None
