"""How frameworks embed: functions of ours as theirs, models of sparse vectors, and a check of texts
that an adapter embeds itself."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from retrieval_store.api.embedding_functions import check_ready, function_of
from retrieval_store.base.validation import quote
from retrieval_store.embeddings._common import blank_of_zeros
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)


class WrappedFunction:
    """An embedding function as frameworks call embeddings: for lists of floats, of one text or of
    several."""

    def __init__(self, function: Any, argument: str = "function") -> None:
        """Take a function, or make it.

        Args:
            function: any that takes a list and returns a vector for each item, or the name of one
                that is registered.
            argument: what it was given as, for messages.

        Raises:
            InvalidArgumentError: a name that isn't registered, or whose class needs settings.
            RetrievalStoreError: what the function's own `check` raises, where it lacks something.
        """
        is_name = isinstance(function, str)
        self.function = function_of(function, argument) if is_name else function
        check_ready(self.function)

    def embed(self, inputs: Sequence[Any]) -> list[list[float]]:
        """A vector for each input; the function sees a list, and of texts plain strings. What it
        raises is raised as it is."""
        return _lists_of(self.function, inputs)

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query, by the function's `embed_query` if it has one."""
        return _lists_of(getattr(self.function, "embed_query", self.function), [text])[0]


def _lists_of(function: Any, inputs: Sequence[Any]) -> list[list[float]]:
    plain = [str.__str__(item) if isinstance(item, str) else item for item in inputs]
    vectors: list[list[float]] = np.asarray(function(plain), np.float64).tolist()
    return vectors


def refuse_blank(ids: Sequence[str], texts: Sequence[str], vectors: Iterable[Any]) -> None:
    """Refuse texts that an adapter has embedded itself, before it writes them with their vectors.

    Args:
        ids: of the records, as many as texts.
        texts: what was embedded.
        vectors: one for each text.

    Raises:
        InvalidArgumentError: a text with nothing in it to embed, of which zeros were made.
    """
    place = blank_of_zeros(texts, vectors)
    if place is not None:
        raise InvalidArgumentError(
            f"the text of id {ids[place]!r} is {quote(texts[place])}, with nothing in it to embed: "
            "leave it out"
        )


def check_sparse_model(model: Any, name: str) -> Any:
    """A model of sparse vectors as it was given, or None.

    Args:
        model: an embedding function of ours that makes sparse vectors, an object with
            `embed_documents` and `embed_query`, as LangChain's have them, or a function of
            LlamaIndex's.
        name: of the argument, for the message.

    Raises:
        InvalidTypeError: anything else.
    """
    alike = hasattr(model, "embed_documents") or callable(model)
    if model is None or (alike and not isinstance(model, type)):
        return model
    raise InvalidTypeError(f"{name} is {quote(model)}, expected a model of sparse vectors")


def sparse_vectors(model: Any, texts: Sequence[str], *, queries: bool = False) -> list[Any]:
    """A sparse vector for each text, as `sparse_embeddings` and `query_sparse` of a Collection take
    them.

    Args:
        model: as of `check_sparse_model`. A function of LlamaIndex's gives lists of indices and
            lists of values.
        texts: what to embed.
        queries: whether they are queries, which some models embed in another way.

    Raises:
        EmbeddingFunctionError: another number of vectors than texts, or of lists of values than of
            indices.
    """
    output = _call_sparse_model(model, list(texts), queries)
    if _is_columns(output):
        indices, values = map(list, output)
        if len(indices) != len(values):
            raise EmbeddingFunctionError(
                f"the sparse model gave {len(indices)} lists of indices and {len(values)} of "
                "values, expected as many of each"
            )
        output = [{"indices": i, "values": v} for i, v in zip(indices, values, strict=True)]
    vectors = list(output) if isinstance(output, Iterable) else []
    if len(vectors) != len(texts):
        raise EmbeddingFunctionError(
            f"the sparse model gave {len(vectors)} vectors for {len(texts)} texts"
        )
    return vectors


def _is_columns(output: Any) -> bool:
    """Whether the result is lists of indices and lists of values, not vectors."""
    if not isinstance(output, tuple) or len(output) != 2:
        return False
    return not any(isinstance(part, Mapping) or hasattr(part, "indices") for part in output)


def _call_sparse_model(model: Any, texts: list[str], queries: bool) -> Any:
    if hasattr(model, "embed_documents"):
        if queries:
            return [model.embed_query(text) for text in texts]
        return model.embed_documents(texts)
    if queries and hasattr(model, "embed_query"):
        return model.embed_query(texts)
    return model(texts)
