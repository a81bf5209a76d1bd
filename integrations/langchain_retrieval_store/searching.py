"""A collection searched for LangChain: documents, best first, with scores or unlike each other."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from langchain_core.documents import Document

from langchain_retrieval_store.documents import FIELDS, document_of, documents_of
from langchain_retrieval_store.scores import by_distance
from retrieval_store import Collection
from retrieval_store.adapters.diversity import diverse
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import Expression

Filter: TypeAlias = Mapping[str, Any] | Expression | None
SearchMode: TypeAlias = Literal["dense", "text", "hybrid"]


def search(
    collection: Collection,
    /,
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
    **unknown: Any,
) -> list[tuple[Document, float]]:
    """The k best documents with their scores, smaller is better; none when k is less than 1.
    query: the words, where the mode asks for some; vector: None where it asks for none."""
    if k < 1:
        return []
    if unknown:
        raise InvalidArgumentError(
            f"there is no argument {min(unknown)!r}; searches take filter, search_mode, alpha, "
            "fusion, exact and ef"
        )
    found = _asked(
        collection,
        filter,
        query_embeddings=None if vector is None else [vector],
        query_texts=None if search_mode == "dense" else query,
        n_results=k,
        include=(*FIELDS, "distances"),
        mode=search_mode,
        alpha=alpha,
        fusion=fusion,
        exact=exact,
        ef=ef,
    )
    distances = by_distance({"search_mode": search_mode, "alpha": alpha})
    scores = found["distances"] if distances else [-score for score in found["scores"]]
    return list(zip(documents_of(found), map(float, scores), strict=True))


def search_diverse(
    collection: Collection,
    vector: Sequence[float],
    k: int,
    fetch_k: int,
    lambda_mult: float,
    filter: Filter,
    **how: Any,
) -> list[Document]:
    """k of the `fetch_k` documents nearest to the vector, unlike each other; none when k is less
    than 1. lambda_mult 1: the nearest by the store's own distance. how: `exact` and `ef`."""
    if k < 1:
        return []
    found = _asked(
        collection,
        filter,
        query_embeddings=[vector],
        n_results=max(k, fetch_k),
        include=(*FIELDS, "embeddings"),
        **how,
    )
    if lambda_mult == 1:
        order = list(range(min(k, len(found["ids"]))))
    else:
        order = diverse(vector, found["embeddings"], k, lambda_mult)
    return [document_of(found, i) for i in order]


def _asked(collection: Collection, filter: Filter, **query: Any) -> dict[str, Any]:
    """What one query found. An empty filter is none."""
    where: Any = filter or None
    found: Mapping[str, Any] = collection.query(where=where, **query)
    return {key: value[0] for key, value in found.items() if key != "included" and value}
