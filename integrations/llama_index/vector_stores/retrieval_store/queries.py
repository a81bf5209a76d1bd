"""LlamaIndex's queries put to a collection: what it is asked in each mode, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from llama_index.core.vector_stores.types import (
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.retrieval_store.options import (
    RERANKED,
    Options,
    options_of,
    prefetched,
    threshold_of,
)
from llama_index.vector_stores.retrieval_store.reading import first, result_of
from llama_index.vector_stores.retrieval_store.sparse import SparseModel

from retrieval_store import Collection
from retrieval_store.base.validation import fraction, shown, whole_number
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.frameworks.filters import diverse

MODES = "default, mmr, sparse, text_search or hybrid"


@dataclass(frozen=True, slots=True)
class QueryAnswerer:
    """Where queries are put. text_key: as of `to_node`; fusion: of hybrid queries that don't say
    one; sparse: a model, or None where words stand for it."""

    collection: Collection
    text_key: str | None
    fusion: Any
    sparse: SparseModel | None

    def answer(self, query: VectorStoreQuery, kwargs: Mapping[str, Any]) -> VectorStoreQueryResult:
        """The best nodes, with greater similarities for better ones. Raises InvalidArgumentError
        for other modes, and when a mode lacks something."""
        query = _checked(query)
        options = options_of(query, kwargs)
        if _is_listing(query):
            return self._listed(query, options)
        fusion = self._fusion(query, options)
        if callable(fusion):
            return self._fused(query, options, fusion)
        if query.mode == VectorStoreQueryMode.MMR:
            return self._diverse(query, options)
        question = self._question(query, options)
        return result_of(first(self.collection.query(**question)), self.text_key)

    def explain(self, query: VectorStoreQuery, kwargs: Mapping[str, Any]) -> Any:
        """How the collection answers what `answer` asks it."""
        query = _checked(query)
        options = options_of(query, kwargs)
        if _is_listing(query):
            raise InvalidArgumentError(
                "without query_embedding nodes are listed: nothing to explain"
            )
        if callable(self._fusion(query, options)):
            raise InvalidArgumentError(
                "a fusion function puts two queries, of the modes default and sparse; explain those"
            )
        return self.collection.explain(**self._question(query, options))

    def _question(self, query: VectorStoreQuery, options: Options) -> dict[str, Any]:
        """The arguments of `Collection.query`."""
        mode = query.mode
        match mode:
            case VectorStoreQueryMode.DEFAULT:
                asked = {"query_embeddings": [query.query_embedding], "n_results": _count(query)}
            case VectorStoreQueryMode.MMR:
                asked = _of_mmr(query, options)
            case VectorStoreQueryMode.SPARSE | VectorStoreQueryMode.TEXT_SEARCH:
                by_words = mode == VectorStoreQueryMode.TEXT_SEARCH
                asked = self._words(query, by_words, _count(query, query.sparse_top_k))
            case VectorStoreQueryMode.HYBRID:
                asked = self._hybrid(query, options)
            case _:
                raise InvalidArgumentError(f"mode {mode.value!r} isn't supported; use {MODES}")
        if "rerank" in options.how:
            asked.setdefault("rerank_query", options.how.get("rerank_query") or query.query_str)
        return {**options.how, **asked, **options.among, "include": options.fields}

    def _words(self, query: VectorStoreQuery, by_words: bool, count: int) -> dict[str, Any]:
        if query.query_str is None:
            raise InvalidArgumentError(f"mode {query.mode.value!r} needs query_str")
        if by_words or self.sparse is None:
            return {"query_texts": query.query_str, "n_results": count, "mode": "text"}
        vectors = [self.sparse.of_query(query.query_str)]
        return {"query_sparse": vectors, "n_results": count, "mode": "sparse"}

    def _hybrid(self, query: VectorStoreQuery, options: Options) -> dict[str, Any]:
        alpha, top = _alpha(query), query.similarity_top_k
        words = self._words(query, False, _count(query, query.hybrid_top_k))
        if alpha == 0 and self.sparse is not None:
            return words
        return {
            **words,
            "query_embeddings": None if alpha == 0 else [query.query_embedding],
            "mode": "hybrid",
            "alpha": alpha,
            "fusion": self._fusion(query, options) or self._usual(query),
            "depth": (top, query.sparse_top_k) if query.sparse_top_k else None,
        }

    def _usual(self, query: VectorStoreQuery) -> str:
        """Where the user says nothing, adaptive; where vectors are to weigh so much, or sparse
        vectors stand for words, the weighted sum, as in LlamaIndex's other stores."""
        told = query.alpha is not None or self.sparse is not None
        return "weighted" if told else "adaptive"

    def _fusion(self, query: VectorStoreQuery, options: Options) -> Any:
        return (options.fusion or self.fusion) if _is_hybrid(query) else None

    def _listed(self, query: VectorStoreQuery, options: Options) -> VectorStoreQueryResult:
        for name in ("max_distance", "min_score", "group_by", "group_size", *RERANKED):
            if name in options.how:
                raise InvalidArgumentError(f"{name} needs query_embedding")
        limit, offset = query.similarity_top_k, options.offset
        found = self.collection.get(
            **options.among, limit=limit, offset=offset, include=options.fields
        )
        return result_of(found, self.text_key)

    def _diverse(self, query: VectorStoreQuery, options: Options) -> VectorStoreQueryResult:
        _refuse_rerank(options, "mode 'mmr'")
        threshold = threshold_of(query, options.mmr)
        question = self._question(query, options)
        question["include"] = tuple({*options.fields, "embeddings"})
        found = first(self.collection.query(**question))
        vectors = [] if found["embeddings"] is None else found["embeddings"]
        top = query.similarity_top_k + options.offset
        order = diverse(query.query_embedding, vectors, top, threshold)
        if "embeddings" not in options.fields:
            found["embeddings"] = None
        return result_of(found, self.text_key, order[options.offset :])

    def _fused(
        self, query: VectorStoreQuery, options: Options, fusion: Any
    ) -> VectorStoreQueryResult:
        """What a function makes of the results by vectors and by words."""
        alpha, top = _alpha(query), query.similarity_top_k
        _refuse_rerank(options, "a fusion function")
        if options.offset:
            raise InvalidArgumentError("offset goes with fusion 'rrf' or 'weighted'")
        results = [VectorStoreQueryResult(nodes=[], similarities=[], ids=[])]
        if query.query_embedding is not None:
            dense = self._question(replace(query, mode=VectorStoreQueryMode.DEFAULT), options)
            results = [result_of(first(self.collection.query(**dense)), self.text_key)]
        sparse = self._question(replace(query, mode=VectorStoreQueryMode.SPARSE), options)
        results.append(result_of(first(self.collection.query(**sparse)), self.text_key))
        fused = fusion(*results, alpha=alpha, top_k=query.hybrid_top_k or top)
        if not isinstance(fused, VectorStoreQueryResult):
            raise InvalidTypeError(
                f"the fusion function returned {shown(fused)}, expected a VectorStoreQueryResult"
            )
        return fused


def _refuse_rerank(options: Options, other: str) -> None:
    if "rerank" in options.how:
        raise InvalidArgumentError(f"rerank doesn't go with {other}, which orders nodes itself")


def _checked(query: VectorStoreQuery) -> VectorStoreQuery:
    """The query with a mode that LlamaIndex has, which may be said by its name, and with a number
    of nodes."""
    if not isinstance(query, VectorStoreQuery):
        raise InvalidTypeError(f"query is {shown(query)}, expected a VectorStoreQuery")
    for name in ("similarity_top_k", "sparse_top_k", "hybrid_top_k"):
        count = getattr(query, name)
        if count is not None or name == "similarity_top_k":
            whole_number(count, name, 0)
    try:
        return replace(query, mode=VectorStoreQueryMode(query.mode))
    except ValueError:
        raise InvalidArgumentError(f"mode is {shown(query.mode)}; use {MODES}") from None


def _is_listing(query: VectorStoreQuery) -> bool:
    return query.mode == VectorStoreQueryMode.DEFAULT and query.query_embedding is None


def _is_hybrid(query: VectorStoreQuery) -> bool:
    return query.mode == VectorStoreQueryMode.HYBRID


def _count(query: VectorStoreQuery, other: int | None = None) -> int:
    """How many nodes are asked for; other: of this mode, where it says a number."""
    return other or whole_number(query.similarity_top_k, "similarity_top_k", 1)


def _of_mmr(query: VectorStoreQuery, options: Options) -> dict[str, Any]:
    if query.query_embedding is None:
        raise InvalidArgumentError("mode 'mmr' needs query_embedding")
    count = prefetched(_count(query) + options.offset, options.mmr)
    return {"query_embeddings": [query.query_embedding], "n_results": count, "offset": None}


def _alpha(query: VectorStoreQuery) -> float:
    """What vectors weigh; raises InvalidArgumentError when they weigh something and are missing."""
    alpha = 0.5 if query.alpha is None else fraction(query.alpha, "alpha")
    if query.query_embedding is None and alpha != 0:
        raise InvalidArgumentError("mode 'hybrid' needs query_embedding, unless alpha is 0")
    return alpha
