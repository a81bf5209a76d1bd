"""Models of sparse vectors as frameworks call them: whatever they return becomes what a Collection
takes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from retrieval_store.base.validation import shown
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import EmbeddingFunctionError, InvalidTypeError


def checked_model(model: Any, name: str) -> Any:
    """A model, or None; raises InvalidTypeError for what can't be one."""
    alike = hasattr(model, "embed_documents") or callable(model)
    if model is None or (alike and not isinstance(model, type)):
        return model
    raise InvalidTypeError(f"{name} is {shown(model)}, expected a model of sparse vectors")


def sparse_of(model: Any, texts: Sequence[str], is_query: bool) -> list[Any]:
    """A sparse vector for each text. model: an embedding function of ours that gives such; an
    object with `embed_documents` and `embed_query`, as LangChain's have them; or a function of
    LlamaIndex's, which gives lists of indices and lists of values. Raises EmbeddingFunctionError
    for another number of vectors than texts."""
    found = _asked(model, list(texts), is_query)
    if _is_columns(found):
        found = [{"indices": i, "values": v} for i, v in zip(*found, strict=False)]
    vectors = list(found) if isinstance(found, Iterable) else []
    if len(vectors) != len(texts):
        raise EmbeddingFunctionError(
            f"the sparse model gave {len(vectors)} vectors for {len(texts)} texts"
        )
    return vectors


def _is_columns(found: Any) -> bool:
    """Whether these are lists of indices and lists of values, rather than vectors."""
    if not isinstance(found, tuple) or len(found) != 2:
        return False
    return not any(isinstance(one, Mapping) or hasattr(one, "indices") for one in found)


def _asked(model: Any, texts: list[str], is_query: bool) -> Any:
    if hasattr(model, "embed_documents"):
        return (
            [model.embed_query(text) for text in texts]
            if is_query
            else model.embed_documents(texts)
        )
    if is_query and hasattr(model, "embed_query"):
        return model.embed_query(texts)
    return model(texts)


def sparse_settings(model: Any) -> dict[str, Any]:
    """The configuration of the sparse vectors of a collection that is made for a model: BM25's want
    the idf of each word."""
    return {"idf": isinstance(model, BM25Embedding)}
