"""Answers LlamaIndex's queries from a collection, in each mode, and builds nodes from the results.

`options_of` checks the keywords of queries and other calls, and translates them for a Collection.
`SparseModel` wraps a model of sparse vectors in any form that LlamaIndex's users pass.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any, Literal, TypeAlias

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.retrieval_store.filters import to_expression
from llama_index.vector_stores.retrieval_store.nodes import Point, points_of_documents, to_node

from retrieval_store import Collection, Hybrid, Rerank
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.filters.expression import Expression
from retrieval_store.frameworks import (
    check_sparse_model,
    diversify,
    fraction,
    items_of,
    parse_filters,
    query_options,
    quote,
    refuse_unknown,
    sparse_vectors,
    whole_number,
)

Field: TypeAlias = Literal["metadatas", "documents", "uris", "embeddings"]
FIELDS: tuple[Field, ...] = ("metadatas", "documents", "uris")  # from which a node is rebuilt
# Of these fields, which Chroma has too, only the embeddings are optional.
INCLUDED = ("embeddings", "documents", "metadatas", "distances", "uris")


def fields_of(include: Any) -> tuple[Field, ...]:
    """The fields of a collection's result to read for these names in `include`."""
    if include is None:
        return FIELDS
    names = [include] if isinstance(include, str) else include
    if not isinstance(names, Sequence | set | frozenset):
        raise InvalidArgumentError(f"include is {quote(include)}, expected a list of names")
    for name in names:
        if name not in INCLUDED:
            raise InvalidArgumentError(
                f"include has {quote(name)}, expected any of {', '.join(INCLUDED)}"
            )
    return (*FIELDS, "embeddings") if "embeddings" in names else FIELDS


def first(result: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a request with a single query, in the form of a result of `get`."""
    lists = (*FIELDS, "ids", "embeddings", "scores")
    return {name: result[name][0] if result.get(name) else None for name in lists}


def nodes_of(result: Mapping[str, Any], text_key: str | None) -> list[BaseNode]:
    """The nodes in a result of `get`, with embeddings if the result includes them."""
    nodes, vectors = [], result["embeddings"]
    fields = zip(result["ids"], *(result[name] for name in FIELDS), strict=True)
    for i, (point_id, *rest) in enumerate(fields):
        node = to_node(Point(point_id, *rest), text_key)
        if vectors is not None and not np.isnan(vectors[i]).any():  # NaN: it has no vector
            node.embedding = vectors[i].tolist()
        nodes.append(node)
    return nodes


def result_of(
    result: Mapping[str, Any], text_key: str | None, order: Sequence[int] | None = None
) -> VectorStoreQueryResult:
    """The result in the form of LlamaIndex. order: the positions of the records to return, in the
    order to return them; None for all. Records from `get` all have the same similarity."""
    chosen = range(len(result["ids"])) if order is None else order
    scores = result.get("scores") or [1.0] * len(result["ids"])
    nodes = nodes_of(result, text_key)
    return VectorStoreQueryResult(
        nodes=[nodes[i] for i in chosen],
        # Documents without a text for the re-ranker come last.
        similarities=[-inf if scores[i] is None else scores[i] for i in chosen],
        ids=[result["ids"][i] for i in chosen],
    )


RESTRICTIONS = ("where", "where_document", "filter", "qdrant_filters")
OF_MMR = ("mmr_threshold", "mmr_prefetch_k", "mmr_prefetch_factor")
OF_RANKINGS = (  # which listings don't have
    *("max_distance", "min_score", "group_by", "group_size"),
    *("rerank", "rerank_from", "rerank_query"),
)
SEARCHED = ("exact", "ef", "recall", "offset", *OF_RANKINGS)  # as in a Collection
FUSIONS = ("adaptive", "rrf", "weighted")
OF_QUERIES = (*RESTRICTIONS, "include", *SEARCHED, "search_params", "fusion", *OF_MMR)
_PREFETCH = 4  # factor of similarity_top_k


@dataclass(frozen=True, slots=True)
class VectorStoreOptions:
    """The keywords of a query, translated. among: the restrictions on nodes; fields: the
    collection's fields to return; fusion: the fusion that the caller chose, unchanged; mmr: the
    options of mode mmr; how: the other arguments of `Collection.query`."""

    among: dict[str, Any]
    fields: tuple[Field, ...]
    how: dict[str, Any]
    fusion: Any
    mmr: Mapping[str, Any]

    @property
    def offset(self) -> int:
        """How many of the best hits to skip."""
        offset = self.how.get("offset")
        return 0 if offset is None else whole_number(offset, "offset", 0)


def options_of(query: VectorStoreQuery, kwargs: Mapping[str, Any]) -> VectorStoreOptions:
    """The options that `kwargs` contain, the keyword arguments of the store's method `query`.
    Raises InvalidArgumentError for an argument that is unknown, invalid, or meaningless in the
    query's mode."""
    refuse_unknown(kwargs, OF_QUERIES, "query")
    options = {name: value for name, value in kwargs.items() if value is not None}
    if query.mode != VectorStoreQueryMode.MMR:
        _refuse_outside(options, OF_MMR, "mmr", query.mode)
    if query.mode != VectorStoreQueryMode.HYBRID:
        _refuse_outside(options, ("fusion",), "hybrid", query.mode)
    if _is_listing(query):
        for name in OF_RANKINGS:
            if name in options:
                raise InvalidArgumentError(f"{name} needs query_embedding")
    ids, documents = ids_of(query.node_ids, "node_ids"), ids_of(query.doc_ids, "doc_ids")
    return VectorStoreOptions(
        {
            "ids": ids or None,
            **filters_of_query(
                query.filters, options, points_of_documents(tuple(documents)) if documents else None
            ),
        },
        fields_of(options.get("include")),
        query_options({name: options.get(name) for name in (*SEARCHED, "search_params")}),
        None if options.get("fusion") is None else check_fusion(options["fusion"], "fusion"),
        {name: options[name] for name in OF_MMR if name in options},
    )


def ids_of(ids: Any, name: str) -> list[str] | None:
    """The ids, each once; None if there are none. Raises InvalidTypeError for anything but a list
    of ids."""
    return None if ids is None else list(dict.fromkeys(items_of(ids, name, str)))


def filters_of_query(
    filters: MetadataFilters | None, kwargs: Mapping[str, Any], documents: Expression | None = None
) -> dict[str, Any]:
    """The `where` and `where_document` of a Collection for all restrictions together."""
    restrictions = {
        "filters": to_expression(filters),
        "doc_ids": documents,
        **{name: kwargs.get(name) for name in RESTRICTIONS if name != "where_document"},
    }
    return {
        "where": parse_filters(restrictions),
        "where_document": kwargs.get("where_document") or None,
    }


def check_fusion(fusion: Any, name: str) -> Any:
    """The fusion of two results, if it is a known name or a function; otherwise raises
    InvalidArgumentError. name: the name of the argument."""
    if callable(fusion) or (isinstance(fusion, str) and fusion in FUSIONS):
        return fusion
    raise InvalidArgumentError(
        f"{name} is {quote(fusion)}, expected one of {FUSIONS}, or a function of two results"
    )


def threshold_of(query: VectorStoreQuery, options: Mapping[str, Any]) -> float:
    """The weight of relevance against diversity."""
    threshold = fraction(
        0.5 if query.mmr_threshold is None else query.mmr_threshold, "mmr_threshold"
    )
    return fraction(options.get("mmr_threshold", threshold), "mmr_threshold")


def count_candidates(top: int, options: Mapping[str, Any]) -> int:
    """The number of candidates from which the most diverse are chosen, at least `top`."""
    if "mmr_prefetch_k" in options:
        if "mmr_prefetch_factor" in options:
            raise InvalidArgumentError("give mmr_prefetch_k or mmr_prefetch_factor, not both")
        return max(top, whole_number(options["mmr_prefetch_k"], "mmr_prefetch_k", 1))
    factor = options.get("mmr_prefetch_factor", _PREFETCH)
    factor = factor.item() if isinstance(factor, np.number) else factor
    is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not is_number or not 0 < factor * top <= sys.maxsize:
        raise InvalidArgumentError(
            f"mmr_prefetch_factor is {quote(factor)}, expected a number above 0"
        )
    return max(top, int(factor * top))


def _refuse_outside(
    options: Mapping[str, Any], names: tuple[str, ...], mode: str, query_mode: VectorStoreQueryMode
) -> None:
    for name in names:
        if name in options:
            raise InvalidArgumentError(f"{name} goes with mode {mode!r}, not {query_mode.value!r}")


@dataclass(frozen=True, slots=True)
class SparseModel:
    """Embeds texts as sparse vectors. Nodes and queries are embedded by one function each, or by
    the same function."""

    documents: Any
    queries: Any

    def vectors_of_nodes(self, nodes: Sequence[BaseNode]) -> list[Any]:
        """A sparse vector for each node, computed from the same text as its dense vector."""
        return sparse_vectors(
            self.documents, [node.get_content(MetadataMode.EMBED) for node in nodes]
        )

    def vector_of_query(self, text: str) -> Any:
        """The sparse vector of a query."""
        return sparse_vectors(self.queries, [text], queries=True)[0]


def model_of(
    model: Any,
    doc_fn: Callable[..., Any] | None,
    query_fn: Callable[..., Any] | None,
    enable: bool | None,
) -> SparseModel | None:
    """The sparse model that the arguments describe; None if they describe none. Raises
    InvalidTypeError for an invalid model, and InvalidArgumentError for arguments that contradict
    each other."""
    arguments = {"sparse_model": model, "sparse_doc_fn": doc_fn, "sparse_query_fn": query_fn}
    for name, value in arguments.items():
        check_sparse_model(value, name)
    documents = model if doc_fn is None else doc_fn
    queries = model if query_fn is None else query_fn
    if documents is None and queries is None:
        return None
    if enable is False:
        named = min(name for name, value in arguments.items() if value is not None)
        raise InvalidArgumentError(f"{named} goes with enable_hybrid=True, or without it")
    if documents is None or queries is None:
        lacks = "sparse_doc_fn" if documents is None else "sparse_query_fn"
        raise InvalidArgumentError(f"{lacks} is missing; or give both as one sparse_model")
    return SparseModel(documents, queries)


MODES = "default, mmr, sparse, text_search or hybrid"


@dataclass(frozen=True, slots=True)
class QueryAnswerer:
    """Answers queries. text_key: as in `to_node`; fusion: the fusion of hybrid queries that don't
    choose one; sparse: the sparse model, or None to use BM25."""

    collection: Collection
    text_key: str | None
    fusion: Any
    sparse: SparseModel | None

    def answer(self, query: VectorStoreQuery, kwargs: Mapping[str, Any]) -> VectorStoreQueryResult:
        """The best nodes, with similarities, where greater is better. Raises InvalidArgumentError
        for an unsupported mode, and if a mode lacks an argument."""
        query = _check_query(query)
        options = options_of(query, kwargs)
        if _is_listing(query):
            return self._list_nodes(query, options)
        fusion = self._fusion(query, options)
        if callable(fusion):
            return self._fuse(query, options, fusion)
        if query.mode == VectorStoreQueryMode.MMR:
            return self._diverse(query, options)
        return result_of(self._ask(self._question(query, options)), self.text_key)

    def explain(self, query: VectorStoreQuery, kwargs: Mapping[str, Any]) -> Any:
        """How the collection answers the query of `answer`."""
        query = _check_query(query)
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

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a query. The similarities are those of LlamaIndex's own `similarity`: for
        "l2" the negative distance itself; a Collection's scores are the negative squared
        distance."""
        answer = first(self.collection.query(**question))
        by_vectors = question.keys().isdisjoint(("mode", "rerank"))
        if by_vectors and self.collection.configuration["hnsw"]["space"] == "l2":
            answer["scores"] = [0.0 - sqrt(max(0.0, -score)) for score in answer["scores"]]
        return answer

    def _question(self, query: VectorStoreQuery, options: VectorStoreOptions) -> dict[str, Any]:
        """The arguments of `Collection.query`."""
        mode = query.mode
        match mode:
            case VectorStoreQueryMode.DEFAULT:
                arguments = {
                    "query_embeddings": [query.query_embedding],
                    "n_results": _count(query),
                }
            case VectorStoreQueryMode.MMR:
                arguments = _mmr_arguments(query, options)
            case VectorStoreQueryMode.SPARSE | VectorStoreQueryMode.TEXT_SEARCH:
                by_words = mode == VectorStoreQueryMode.TEXT_SEARCH
                arguments = self._words(query, by_words, _count(query, query.sparse_top_k))
            case VectorStoreQueryMode.HYBRID:
                arguments = self._hybrid(query, options)
            case _:
                raise InvalidArgumentError(f"mode {mode.value!r} isn't supported; use {MODES}")
        how = {**options.how, **arguments}
        if "rerank" in how:
            how["rerank"] = Rerank.comparing(how["rerank"], query.query_str)
        return {**how, **options.among, "include": options.fields}

    def _words(self, query: VectorStoreQuery, by_words: bool, count: int) -> dict[str, Any]:
        if query.query_str is None:
            raise InvalidArgumentError(f"mode {query.mode.value!r} needs query_str")
        if by_words or self.sparse is None:
            return {"query_texts": query.query_str, "n_results": count, "mode": "text"}
        vectors = [self.sparse.vector_of_query(query.query_str)]
        return {"query_sparse": vectors, "n_results": count, "mode": "sparse"}

    def _hybrid(self, query: VectorStoreQuery, options: VectorStoreOptions) -> dict[str, Any]:
        alpha, count = _alpha(query), _count(query, query.hybrid_top_k)
        if alpha == 1:  # the words have no weight
            return {"query_embeddings": [query.query_embedding], "n_results": count}
        words = self._words(query, False, count)
        if alpha == 0 and self.sparse is not None:
            return words
        fusion = self._fusion(query, options) or self._default_fusion(query)
        depth = (_count(query), query.sparse_top_k) if query.sparse_top_k else None
        return {
            **words,
            "query_embeddings": None if alpha == 0 else [query.query_embedding],
            "mode": Hybrid(fusion, alpha, depth),
        }

    def _default_fusion(self, query: VectorStoreQuery) -> str:
        """The default fusion: "adaptive"; or "weighted", as in LlamaIndex's other stores, if the
        query sets alpha or sparse vectors replace BM25."""
        is_weighted = query.alpha is not None or self.sparse is not None
        return "weighted" if is_weighted else "adaptive"

    def _fusion(self, query: VectorStoreQuery, options: VectorStoreOptions) -> Any:
        return (options.fusion or self.fusion) if _is_hybrid(query) else None

    def _list_nodes(
        self, query: VectorStoreQuery, options: VectorStoreOptions
    ) -> VectorStoreQueryResult:
        limit, offset = query.similarity_top_k, options.offset
        result = self.collection.get(
            **options.among, limit=limit, offset=offset, include=options.fields
        )
        return result_of(result, self.text_key)

    def _diverse(
        self, query: VectorStoreQuery, options: VectorStoreOptions
    ) -> VectorStoreQueryResult:
        _refuse_rerank(options, "mode 'mmr'")
        threshold = threshold_of(query, options.mmr)
        question = self._question(query, options)
        question["include"] = tuple({*options.fields, "embeddings"})
        answer = self._ask(question)
        vectors = [] if answer["embeddings"] is None else answer["embeddings"]
        top = query.similarity_top_k + options.offset
        order = diversify(query.query_embedding, vectors, top, threshold)
        if "embeddings" not in options.fields:
            answer["embeddings"] = None
        return result_of(answer, self.text_key, order[options.offset :])

    def _fuse(
        self, query: VectorStoreQuery, options: VectorStoreOptions, fusion: Any
    ) -> VectorStoreQueryResult:
        """The result of a fusion function, called with the results by vectors and by words."""
        alpha, top = _alpha(query), query.similarity_top_k
        _refuse_rerank(options, "a fusion function")
        if options.offset:
            raise InvalidArgumentError("offset goes with fusion 'rrf' or 'weighted'")
        results = [VectorStoreQueryResult(nodes=[], similarities=[], ids=[])]
        if query.query_embedding is not None:
            dense = self._question(replace(query, mode=VectorStoreQueryMode.DEFAULT), options)
            results = [result_of(self._ask(dense), self.text_key)]
        sparse = self._question(replace(query, mode=VectorStoreQueryMode.SPARSE), options)
        results.append(result_of(self._ask(sparse), self.text_key))
        fused = fusion(*results, alpha=alpha, top_k=query.hybrid_top_k or top)
        if not isinstance(fused, VectorStoreQueryResult):
            raise InvalidTypeError(
                f"the fusion function returned {quote(fused)}, expected a VectorStoreQueryResult"
            )
        return fused


def _refuse_rerank(options: VectorStoreOptions, other: str) -> None:
    if "rerank" in options.how:
        raise InvalidArgumentError(f"rerank doesn't go with {other}, which orders nodes itself")


def _check_query(query: VectorStoreQuery) -> VectorStoreQuery:
    """The query, if it is valid; its mode may be a name instead of a member of LlamaIndex's enum.
    Raises InvalidArgumentError for another mode, an invalid number of nodes, or fields that have no
    meaning here."""
    if not isinstance(query, VectorStoreQuery):
        raise InvalidTypeError(f"query is {quote(query)}, expected a VectorStoreQuery")
    for name in ("similarity_top_k", "sparse_top_k", "hybrid_top_k"):
        count = getattr(query, name)
        if count is not None or name == "similarity_top_k":
            whole_number(count, name, 0)
    for name in ("embedding_field", "output_fields"):
        if getattr(query, name) is not None:
            raise InvalidArgumentError(
                f"{name} is {quote(getattr(query, name))}, but a store has one embedding, and "
                "nodes come whole: leave it out"
            )
    try:
        return replace(query, mode=VectorStoreQueryMode(query.mode))
    except ValueError:
        raise InvalidArgumentError(f"mode is {quote(query.mode)}; use {MODES}") from None


def _is_listing(query: VectorStoreQuery) -> bool:
    return query.mode == VectorStoreQueryMode.DEFAULT and query.query_embedding is None


def _is_hybrid(query: VectorStoreQuery) -> bool:
    return query.mode == VectorStoreQueryMode.HYBRID


def _count(query: VectorStoreQuery, other: int | None = None) -> int:
    """The number of nodes to return. other: a number that the query sets for its mode only, or
    None."""
    return other or whole_number(query.similarity_top_k, "similarity_top_k", 1)


def _mmr_arguments(query: VectorStoreQuery, options: VectorStoreOptions) -> dict[str, Any]:
    if query.query_embedding is None:
        raise InvalidArgumentError("mode 'mmr' needs query_embedding")
    count = count_candidates(_count(query) + options.offset, options.mmr)
    return {"query_embeddings": [query.query_embedding], "n_results": count, "offset": None}


def _alpha(query: VectorStoreQuery) -> float:
    """The weight of the vectors. Raises InvalidArgumentError if it isn't zero although the query
    has no vector."""
    alpha = 0.5 if query.alpha is None else fraction(query.alpha, "alpha")
    if query.query_embedding is None and alpha != 0:
        raise InvalidArgumentError("mode 'hybrid' needs query_embedding, unless alpha is 0")
    return alpha
