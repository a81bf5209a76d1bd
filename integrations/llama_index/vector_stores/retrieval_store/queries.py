"""LlamaIndex's queries put to a collection, one function a mode."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from llama_index.core.vector_stores.types import (
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.retrieval_store.filters import to_expression
from llama_index.vector_stores.retrieval_store.nodes import REF_DOC, to_node

from retrieval_store import Collection
from retrieval_store.adapters.diversity import diverse
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import OneOf, every

MMR_PREFETCH = 4  # times similarity_top_k
_WORDS = (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH)
_Among: TypeAlias = dict[str, Any]  # the `ids` and `where` that a query is restricted to


def answered(
    collection: Collection, query: VectorStoreQuery, kwargs: Mapping[str, Any]
) -> VectorStoreQueryResult:
    """The best nodes, with greater similarities for better ones. kwargs: what a caller says of mmr
    beside the query. Raises InvalidArgumentError for other modes, and when a mode lacks something.
    """
    among = _among(query)
    match query.mode:
        case VectorStoreQueryMode.DEFAULT if query.query_embedding is None:
            return _listed(collection, query, among)
        case VectorStoreQueryMode.DEFAULT:
            return _nearest(collection, query, among)
        case VectorStoreQueryMode.MMR:
            return _diverse(collection, query, among, kwargs)
        case VectorStoreQueryMode.HYBRID:
            return _hybrid(collection, query, among)
        case mode if mode in _WORDS:
            count = query.sparse_top_k or query.similarity_top_k
            return _ranked(collection, query, among, n_results=count, mode="text")
    raise InvalidArgumentError(
        f"mode {query.mode.value!r} isn't supported; use default, mmr, sparse, text_search or "
        "hybrid"
    )


def _among(query: VectorStoreQuery) -> _Among:
    documents = OneOf((REF_DOC,), tuple(query.doc_ids)) if query.doc_ids else None
    return {
        "ids": query.node_ids or None,
        "where": every(to_expression(query.filters), documents),
    }


def _listed(
    collection: Collection, query: VectorStoreQuery, among: _Among
) -> VectorStoreQueryResult:
    got = collection.get(**among, limit=query.similarity_top_k, include=("metadatas",))
    nodes = [to_node(payload) for payload in got["metadatas"] or []]
    return VectorStoreQueryResult(nodes=nodes, similarities=[1.0] * len(nodes), ids=got["ids"])


def _nearest(
    collection: Collection, query: VectorStoreQuery, among: _Among
) -> VectorStoreQueryResult:
    found = collection.query(
        **among,
        query_embeddings=[query.query_embedding],
        n_results=query.similarity_top_k,
        include=("metadatas",),
    )
    return _result(found)


def _diverse(
    collection: Collection, query: VectorStoreQuery, among: _Among, kwargs: Mapping[str, Any]
) -> VectorStoreQueryResult:
    if query.query_embedding is None:
        raise InvalidArgumentError("mode 'mmr' needs query_embedding")
    threshold = kwargs.get("mmr_threshold", query.mmr_threshold)
    factor = kwargs.get("mmr_prefetch_factor", MMR_PREFETCH)
    fetched = kwargs.get("mmr_prefetch_k") or int(factor * query.similarity_top_k)
    found = collection.query(
        **among,
        query_embeddings=[query.query_embedding],
        n_results=max(fetched, query.similarity_top_k),
        include=("metadatas", "embeddings"),
    )
    order = diverse(
        query.query_embedding,
        (found["embeddings"] or [[]])[0],
        query.similarity_top_k,
        0.5 if threshold is None else threshold,
    )
    return _result(found, order)


def _hybrid(
    collection: Collection, query: VectorStoreQuery, among: _Among
) -> VectorStoreQueryResult:
    alpha = 0.5 if query.alpha is None else query.alpha
    if query.query_embedding is None and alpha != 0:
        raise InvalidArgumentError("mode 'hybrid' needs query_embedding, unless alpha is 0")
    top = query.similarity_top_k
    return _ranked(
        collection,
        query,
        among,
        query_embeddings=None if alpha == 0 else [query.query_embedding],
        n_results=query.hybrid_top_k or top,
        mode="hybrid",
        alpha=alpha,
        fusion="weighted",
        depth=(top, query.sparse_top_k or top) if query.sparse_top_k else None,
    )


def _ranked(
    collection: Collection, query: VectorStoreQuery, among: _Among, **how: Any
) -> VectorStoreQueryResult:
    if query.query_str is None:
        raise InvalidArgumentError(f"mode {query.mode.value!r} needs query_str")
    found = collection.query(**among, query_texts=query.query_str, include=("metadatas",), **how)
    return _result(found)


def _result(found: Any, order: list[int] | None = None) -> VectorStoreQueryResult:
    """The answer to one query, or some of it in another order."""
    chosen = range(len(found["ids"][0])) if order is None else order
    return VectorStoreQueryResult(
        nodes=[to_node(found["metadatas"][0][i]) for i in chosen],
        similarities=[found["scores"][0][i] for i in chosen],
        ids=[found["ids"][0][i] for i in chosen],
    )
