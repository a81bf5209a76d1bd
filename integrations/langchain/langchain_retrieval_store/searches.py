"""`Searches`: all search methods of LangChain's vector stores, each sync and async.

Every method runs one query on the collection (`Ask`). The methods differ in what they search for
and in which part of the result they return.

A search by vectors alone returns distances, where smaller is nearer, as in Chroma's store. A search
by words, or by words and vectors, returns scores, where greater is better, as in Qdrant's store and
`Collection.query`. Some kinds of distances and scores can be converted to a relevance, each kind by
its own formula.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from math import inf, sqrt
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_retrieval_store.documents import FIELDS, PointLayout
from retrieval_store import Collection, Groups, Hybrid, Rerank
from retrieval_store.errors import (
    EmbeddingFunctionError,
    InvalidArgumentError,
    InvalidTypeError,
)
from retrieval_store.filters.expression import Expression
from retrieval_store.frameworks import (
    async_twin,
    diversify,
    fraction,
    query_options,
    quote,
    refuse_unknown,
    sparse_vectors,
    whole_number,
)

Filter: TypeAlias = Any  # a dict, an expression, or a Filter of qdrant-client's models
SearchMode: TypeAlias = Literal["dense", "text", "sparse", "hybrid"]
MODES = get_args(SearchMode)
_OF_HYBRID = ("alpha", "fusion", "depth")
KNOWN = (
    *("filter", "where_document", "search_mode", *_OF_HYBRID, "exact", "ef", "recall"),
    *("search_params", "offset", "max_distance", "min_score", "score_threshold"),
    *("group_by", "group_size", "rerank", "rerank_from", "rerank_query"),
)
_PASSED = (
    *("exact", "ef", "recall", "search_params", "offset", "max_distance", "min_score"),
    *("group_by", "group_size"),
    *("rerank", "rerank_from", "rerank_query"),
)
_DIVERSE = ("offset", "group_by", "rerank")  # which don't combine with diversity


@dataclass(frozen=True, slots=True)
class Ask:
    """How to search. mode: one of MODES; mode is "hybrid" only if vectors and words both have a
    weight above 0. threshold: the least relevance; how: the other arguments of
    `Collection.query`."""

    where: Expression | None
    where_document: Mapping[str, Any] | None
    mode: SearchMode
    fusion: Any
    threshold: float | None
    how: dict[str, Any]

    @property
    def by_distance(self) -> bool:
        """Whether the scores are distances, so that smaller is better."""
        return self.mode == "dense" and not self.is_reranked

    @property
    def is_reranked(self) -> bool:
        """Whether a re-ranker sorts the hits."""
        return "rerank" in self.how

    @property
    def embeds_query(self) -> bool:
        """Whether the query must be embedded."""
        return self.mode in ("dense", "hybrid")

    def by_sparse(self, has_model: bool) -> bool:
        """Whether the search compares sparse vectors. has_model: whether there is a sparse model
        for hybrid searches."""
        return self.mode == "sparse" or (self.mode == "hybrid" and has_model)


def parse_search(
    layout: PointLayout,
    filter: Filter,
    options: Mapping[str, Any],
    usual: SearchMode,
    has_sparse: bool,
) -> Ask:
    """The search that the arguments describe. usual: the default mode; has_sparse: whether there is
    a sparse model, which replaces BM25 in hybrid searches."""
    refuse_unknown(options, KNOWN, "a search")
    requested, alpha = mode_of(options.get("search_mode") or usual), options.get("alpha")
    alpha = None if alpha is None else fraction(alpha, "alpha")
    mode = requested if requested != "hybrid" else _mode_by_weight(alpha, has_sparse)
    threshold = options.get("score_threshold")
    how = {name: options[name] for name in _PASSED if options.get(name) is not None}
    if threshold is not None and "rerank" in how:
        raise _no_relevance()
    if "group_by" in how:
        how["group_by"] = _groups(layout, how["group_by"])
    search_mode: SearchMode | Hybrid = mode
    fusion = None
    if requested != "hybrid":
        _refuse_outside_of_hybrid(options, requested)
    else:  # which refuses invalid arguments
        both = Hybrid(options.get("fusion"), alpha, options.get("depth"))
        if mode == "hybrid":
            search_mode, (fusion, _) = both, both.fusion_and_weight(not has_sparse)
    return Ask(
        layout.where(filter),
        options.get("where_document") or None,
        mode,
        fusion,
        None if threshold is None else fraction(threshold, "score_threshold"),
        query_options({"mode": search_mode, **how}),
    )


def _no_relevance() -> InvalidArgumentError:
    return InvalidArgumentError(
        "what a re-ranker's scores say of relevance isn't known: ask for scores instead, and cut "
        "them by min_score rather than score_threshold"
    )


def _mode_by_weight(alpha: float | None, has_sparse: bool) -> SearchMode:
    """The mode of a hybrid search whose vectors have the weight `alpha`. If the weight is 0 or 1,
    it is the mode that searches only by words or only by vectors."""
    if alpha == 1:
        return "dense"
    if alpha == 0:
        return "sparse" if has_sparse else "text"
    return "hybrid"


def _refuse_outside_of_hybrid(options: Mapping[str, Any], mode: str) -> None:
    for name in _OF_HYBRID:
        if options.get(name) is not None:
            raise InvalidArgumentError(
                f"{name} is {quote(options[name])}, but goes with search_mode='hybrid' alone, and "
                f"this search is {mode!r}"
            )


def _groups(layout: PointLayout, group_by: Any) -> Any:
    """`group_by` in the form that the collection takes, where the metadata key is replaced by the
    key under which points store it."""
    if isinstance(group_by, Groups):
        return replace(group_by, key=layout.key(group_by.key))
    return layout.key(group_by)


def mode_of(value: Any, name: str = "search_mode") -> SearchMode:
    """The search mode, from its name or from a member of a string enum. Raises InvalidArgumentError
    for other values."""
    mode: Any = value.value if isinstance(value, Enum) else value
    if mode not in MODES:
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected one of {MODES}")
    return mode  # type: ignore[no-any-return]


def in_mode(mode: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a search in this mode. Raises InvalidArgumentError if they name another
    mode."""
    search_mode = options.get("search_mode")
    if search_mode is not None and mode_of(search_mode) != mode:
        raise InvalidArgumentError(
            f"search_mode is {quote(search_mode)}, but this search is {mode!r}: leave search_mode "
            "out"
        )
    return {**options, "search_mode": mode}


def count_of(value: Any, name: str = "k") -> int:
    """The value as a number of documents, which can be less than 1. Raises InvalidTypeError for a
    value that isn't an integer."""
    return whole_number(value, name, -sys.maxsize)


def arguments(ask: Ask, k: int, sources: Mapping[str, Any], *include: str) -> dict[str, Any]:
    """The arguments of `Collection.query`. sources: the query's texts or vectors, by argument
    name."""
    filters = {"where": ask.where, "where_document": ask.where_document}
    return {**ask.how, **sources, **filters, "n_results": k, "include": (*FIELDS, *include)}


def find_hits(
    collection: Collection, ask: Ask, k: int, sources: Mapping[str, Any], *include: str
) -> dict[str, Any]:
    """The hits of one query as lists by field. "scores" are distances if the search ranks by
    distance."""
    result: Mapping[str, Any] = collection.query(
        **arguments(ask, k, sources, "distances", *include)
    )
    hits = {key: value[0] for key, value in result.items() if key != "included" and value}
    scores = hits["distances"] if ask.by_distance else hits["scores"]
    # Documents without a text for the re-ranker come last.
    return {**hits, "scores": [-inf if score is None else float(score) for score in scores]}


def choose_diverse(
    collection: Collection,
    ask: Ask,
    k: int,
    fetch_k: int,
    lambda_mult: float,
    sources: Mapping[str, Any],
    vector: Sequence[float],
    relevant: Callable[[Mapping[str, Any], Sequence[int]], Sequence[int]],
) -> tuple[dict[str, Any], list[int]]:
    """The `fetch_k` best hits, and the positions of k of them that are near the vector and differ
    from each other. relevant: a function that returns the positions of hits that are relevant
    enough to be chosen. With lambda_mult 1 the best hits are chosen, in their own order."""
    weight = fraction(lambda_mult, "lambda_mult")
    for name in _DIVERSE:
        if ask.how.get(name):
            raise InvalidArgumentError(f"{name} doesn't go with maximal marginal relevance")
    count = max(k, count_of(fetch_k, "fetch_k"))
    hits = find_hits(collection, ask, count, sources, "embeddings")
    places = [*relevant(hits, range(len(hits["ids"])))]
    if weight == 1 or not places:
        return hits, places[:k]
    chosen = diversify(vector, hits["embeddings"][places], k, weight)
    return hits, [places[i] for i in chosen]


def explain(collection: Collection, ask: Ask, k: int, sources: Mapping[str, Any]) -> Any:
    """The result of `Collection.explain` for a search."""
    return collection.explain(**arguments(ask, k, sources, "distances"))


def relevance_of(distance: str) -> Callable[[float], float]:
    """A function that converts a distance to a relevance; 1 is best. It follows LangChain's own
    helpers for vector stores, so that a threshold means the same as in other stores. Cosine: 1 - d;
    squared L2: 1 - d / √2; inner product: 1 - d, or -d if the product is above 1. The relevance of
    opposite or distant vectors is below 0."""
    return _RELEVANCE[distance]


_NO_EMBEDDING = (
    "the store was made without embedding=, which is needed to add texts and to search by meaning; "
    "search by vector, or with search_mode='text'"
)
_ROUNDING = 1e-5  # by which rounding may lift a product of unit vectors above 1


def _cosine_relevance(distance: float) -> float:
    return 1.0 - max(distance, 0.0)


def _inner_product_relevance(distance: float) -> float:
    if distance > -_ROUNDING:  # LangChain's helper returns nearly 0 for equal vectors
        return 1.0 - max(distance, 0.0)
    return -distance


_RELEVANCE: dict[str, Callable[[float], float]] = {
    "cosine": _cosine_relevance,
    "l2": lambda distance: 1.0 - distance / sqrt(2),
    "ip": _inner_product_relevance,
}


def relevance_of_words(mode: str, fusion: str | None) -> Callable[[float], float]:
    """A function that converts a score to a relevance from 0 to 1; 1 is best."""
    if mode == "text":
        return _bm25_relevance
    if mode == "sparse":
        return _product_relevance
    return _rrf_relevance if fusion == "rrf" else lambda score: score


def _bm25_relevance(score: float) -> float:
    """The relevance s / (1 + s), since BM25 scores have no upper bound."""
    return score / (1.0 + score)


def _product_relevance(score: float) -> float:
    """The relevance (1 + s / (1 + |s|)) / 2, since a dot product has no bound and can be
    negative."""
    return (1.0 + score / (1.0 + abs(score))) / 2.0


def _rrf_relevance(score: float) -> float:
    """The relevance of a score of reciprocal rank fusion: its share of the greatest possible score.
    A document that is first in both rankings has that score, 1 / (k + 1), where k is 60."""
    return score * 61


Scored = list[tuple[Document, float]]


class Searches:
    """The search methods of a store. A subclass provides the collection and the models."""

    _embedding: Embeddings | None
    _sparse: Any
    _mode: SearchMode
    _layout: PointLayout
    _relevance_score_fn: Callable[[float], float] | None

    @property
    def collection(self) -> Collection:
        """The collection that is searched."""
        raise NotImplementedError

    def _embedding_of_collection(self) -> Embeddings | None:
        """The stored embedding of the collection, for a store that was created without an
        embedding. None if the collection stores no embedding. Raises EmbeddingFunctionError if it
        cannot be rebuilt."""
        raise NotImplementedError

    # by a text

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k best documents for the query, best first; fewer only when fewer match. kwargs: the
        arguments that all searches take; see `RetrievalStore`."""
        return [d for d, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """`similarity_search`, with the embedding's `aembed_query`."""
        scored = await self.asimilarity_search_with_score(query, k, filter, **kwargs)
        return [document for document, _ in scored]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> Scored:
        """The k best documents with their scores, best first. The mode "dense" gives distances,
        smaller is nearer. Other modes and re-rankers give scores, greater is better. A text search
        needs no embedding; other modes raise EmbeddingFunctionError without one."""
        ask, sources = self._prepare(query, k, filter, kwargs)
        return self._score(ask, k, sources)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> Scored:
        """`similarity_search_with_score`, with the embedding's `aembed_query`."""
        ask, sources = await self._aprepare(query, k, filter, kwargs)
        return await asyncio.to_thread(self._score, ask, k, sources)

    def similarity_search_with_vectors(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, np.ndarray[Any, Any]]]:
        """The k best documents with their embeddings, (dim,) float32."""
        ask, sources = self._prepare(query, k, filter, kwargs)
        return self._with_vectors(ask, k, sources)

    async def asimilarity_search_with_vectors(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, np.ndarray[Any, Any]]]:
        """`similarity_search_with_vectors`, with the embedding's `aembed_query`."""
        ask, sources = await self._aprepare(query, k, filter, kwargs)
        return await asyncio.to_thread(self._with_vectors, ask, k, sources)

    def hybrid_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k best documents by meaning and by words, fused: `similarity_search` in the mode
        "hybrid"."""
        return self.similarity_search(query, k, filter, **in_mode("hybrid", kwargs))

    async def ahybrid_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """`hybrid_search`, with the embedding's `aembed_query`."""
        return await self.asimilarity_search(query, k, filter, **in_mode("hybrid", kwargs))

    def explain(self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any) -> Any:
        """How `similarity_search` answers the query: the result of `Collection.explain`."""
        ask = self._parse(filter, kwargs)
        return explain(self.collection, ask, k, self._sources(ask, query))

    async def aexplain(self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any) -> Any:
        """`explain`, with the embedding's `aembed_query`."""
        ask = self._parse(filter, kwargs)
        sources = await self._asources(ask, query)
        return await asyncio.to_thread(explain, self.collection, ask, k, sources)

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> Scored:
        ask, sources = self._prepare(query, k, filter, kwargs)
        return self._with_relevance(ask, k, sources)

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> Scored:
        ask, sources = await self._aprepare(query, k, filter, kwargs)
        return await asyncio.to_thread(self._with_relevance, ask, k, sources)

    # by a vector

    def similarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a vector, nearest first; nothing is embedded."""
        return [d for d, _ in self._nearest(embedding, k, filter, **kwargs)]

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """`similarity_search_by_vector`, on a thread."""
        call = partial(self.similarity_search_by_vector, embedding, k, filter, **kwargs)
        return await asyncio.to_thread(call)

    def similarity_search_by_vector_with_score(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> Scored:
        """The k documents nearest to a vector, with their distances."""
        return self._nearest(embedding, k, filter, **kwargs)

    asimilarity_search_by_vector_with_score = async_twin(similarity_search_by_vector_with_score)
    # The name of this method in Qdrant's store.
    similarity_search_with_score_by_vector = similarity_search_by_vector_with_score
    asimilarity_search_with_score_by_vector = asimilarity_search_by_vector_with_score

    def similarity_search_by_vector_with_relevance_scores(
        self, embedding: Sequence[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> Scored:
        """The k documents nearest to a vector, each with its relevance; 1 is best."""
        ask, sources = self._parse_by_vector(filter, kwargs), {"query_embeddings": [embedding]}
        return self._with_relevance(ask, k, sources)

    asimilarity_search_by_vector_with_relevance_scores = async_twin(
        similarity_search_by_vector_with_relevance_scores
    )

    # by an image

    def similarity_search_by_image(
        self, uri: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents and images nearest to an image. Raises EmbeddingFunctionError when the
        embedding has no `embed_image`."""
        return self.similarity_search_by_vector(self._image_vector(uri), k, filter, **kwargs)

    asimilarity_search_by_image = async_twin(similarity_search_by_image)

    def similarity_search_by_image_with_relevance_score(
        self, uri: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> Scored:
        """The k documents and images nearest to an image, each with its relevance; 1 is best."""
        search = self.similarity_search_by_vector_with_relevance_scores
        return search(self._image_vector(uri), k, filter, **kwargs)

    asimilarity_search_by_image_with_relevance_score = async_twin(
        similarity_search_by_image_with_relevance_score
    )

    # unlike each other

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Choose k of the `fetch_k` best documents that are near the query and differ from each
        other. lambda_mult: 1 for relevance alone, 0 for variety alone. kwargs: the arguments that
        all searches take. In every mode, relevance for this choice is computed from the vectors."""
        ask = self._parse(filter, kwargs)
        if count_of(k) < 1:
            return []
        vector = self._require_embedding().embed_query(query)
        sources = self._sources(ask, query, vector)
        return [d for d, _ in self._diverse(ask, k, fetch_k, lambda_mult, sources, vector)]

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`max_marginal_relevance_search`, with the embedding's `aembed_query`."""
        ask = self._parse(filter, kwargs)
        if count_of(k) < 1:
            return []
        vector = await self._require_embedding().aembed_query(query)
        sources = await self._asources(ask, query, vector)
        call = partial(self._diverse, ask, k, fetch_k, lambda_mult, sources, vector)
        return [document for document, _ in await asyncio.to_thread(call)]

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`max_marginal_relevance_search` for a vector; nothing is embedded."""
        search = self.max_marginal_relevance_search_with_score_by_vector
        return [d for d, _ in search(embedding, k, fetch_k, lambda_mult, filter, **kwargs)]

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`max_marginal_relevance_search_by_vector`, on a thread."""
        search = self.max_marginal_relevance_search_by_vector
        call = partial(search, embedding, k, fetch_k, lambda_mult, filter, **kwargs)
        return await asyncio.to_thread(call)

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: Sequence[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> Scored:
        """`max_marginal_relevance_search_by_vector` with the distances, in the order of
        selection."""
        ask, sources = self._parse_by_vector(filter, kwargs), {"query_embeddings": [embedding]}
        return self._diverse(ask, k, fetch_k, lambda_mult, sources, embedding)

    amax_marginal_relevance_search_with_score_by_vector = async_twin(
        max_marginal_relevance_search_with_score_by_vector
    )

    # helpers: the query

    def _parse(self, filter: Filter, kwargs: Mapping[str, Any]) -> Ask:
        return parse_search(self._layout, filter, kwargs, self._mode, self._sparse is not None)

    def _parse_by_vector(self, filter: Filter, kwargs: Mapping[str, Any]) -> Ask:
        ask = parse_search(self._layout, filter, kwargs, "dense", False)
        if ask.mode != "dense":
            raise InvalidArgumentError(
                f"search_mode is {kwargs['search_mode']!r}, but a search by a vector has no words: "
                "search by a text, or with search_mode='dense'"
            )
        return ask

    def _prepare(
        self, query: str, k: int, filter: Filter, kwargs: Mapping[str, Any]
    ) -> tuple[Ask, dict[str, Any]]:
        """The parsed search, and the texts or vectors that it passes to the collection. Nothing is
        embedded if k is less than 1."""
        ask = self._parse(filter, kwargs)
        return ask, self._sources(ask, query) if count_of(k) > 0 else {}

    async def _aprepare(
        self, query: str, k: int, filter: Filter, kwargs: Mapping[str, Any]
    ) -> tuple[Ask, dict[str, Any]]:
        ask = self._parse(filter, kwargs)
        return ask, await self._asources(ask, query) if count_of(k) > 0 else {}

    def _sources(self, ask: Ask, query: str, vector: Any = None) -> dict[str, Any]:
        """The keyword arguments with texts or vectors that a search passes to the collection.
        vector: the text's embedding, if it is known."""
        if ask.embeds_query and vector is None:
            vector = self._require_embedding().embed_query(query)
        return self._all_sources(ask, query, vector)

    async def _asources(self, ask: Ask, query: str, vector: Any = None) -> dict[str, Any]:
        if ask.embeds_query and vector is None:
            vector = await self._require_embedding().aembed_query(query)
        return await asyncio.to_thread(self._all_sources, ask, query, vector)

    def _all_sources(self, ask: Ask, query: str, vector: Any) -> dict[str, Any]:
        sources: dict[str, Any] = {}
        if ask.embeds_query:
            sources["query_embeddings"] = [vector]
        if ask.by_sparse(self._sparse is not None):
            sources["query_sparse"] = sparse_vectors(self._require_sparse(), [query], queries=True)
        elif ask.mode != "dense":
            sources["query_texts"] = query
        if ask.is_reranked:
            sources["rerank"] = Rerank.comparing(ask.how["rerank"], query)
        return sources

    def _require_embedding(self) -> Embeddings:
        if self._embedding is not None:
            return self._embedding
        try:
            own = self._embedding_of_collection()
        except EmbeddingFunctionError as error:
            raise EmbeddingFunctionError(f"{_NO_EMBEDDING}; {error}") from error
        if own is None:
            raise EmbeddingFunctionError(_NO_EMBEDDING)
        return own

    def _require_sparse(self) -> Any:
        if self._sparse is None:
            raise EmbeddingFunctionError(
                "the store was made without sparse_embedding=, which search_mode='sparse' needs; "
                "search_mode='text' finds words without a model"
            )
        return self._sparse

    def _image_vector(self, uri: str) -> Any:
        if not isinstance(uri, str):
            raise InvalidTypeError(f"uri is {quote(uri)}, expected a str")
        vectors = self._embed_images([uri])
        if len(vectors) != 1:
            raise EmbeddingFunctionError(
                f"the embedding's embed_image gave {len(vectors)} vectors for an image"
            )
        return vectors[0]

    def _embed_images(self, uris: list[str]) -> Any:
        embed_image = getattr(self._embedding, "embed_image", None)
        if embed_image is None:
            raise EmbeddingFunctionError("the embedding can't embed images: it has no embed_image")
        return embed_image(uris)

    # helpers: the results

    def _nearest(self, vector: Sequence[float], k: int, filter: Filter, **kwargs: Any) -> Scored:
        ask = self._parse_by_vector(filter, kwargs)
        return self._score(ask, k, {"query_embeddings": [vector]})

    def _score(self, ask: Ask, k: int, sources: Mapping[str, Any]) -> Scored:
        """The k best documents with their scores; none when k is less than 1."""
        if count_of(k) < 1:
            return []
        hits = find_hits(self.collection, ask, k, sources)
        return self._scored(hits, self._relevant(ask, hits, range(len(hits["ids"]))))

    def _with_vectors(
        self, ask: Ask, k: int, sources: Mapping[str, Any]
    ) -> list[tuple[Document, np.ndarray[Any, Any]]]:
        if count_of(k) < 1:
            return []
        hits = find_hits(self.collection, ask, k, sources, "embeddings")
        places = self._relevant(ask, hits, range(len(hits["ids"])))
        return [(self._layout.document(hits, i), hits["embeddings"][i]) for i in places]

    def _diverse(
        self,
        ask: Ask,
        k: int,
        fetch_k: int,
        lambda_mult: float,
        sources: Mapping[str, Any],
        vector: Any,
    ) -> Scored:
        if count_of(k) < 1:
            return []
        relevant = partial(self._relevant, ask)
        hits, places = choose_diverse(
            self.collection, ask, k, fetch_k, lambda_mult, sources, vector, relevant
        )
        return self._scored(hits, places)

    def _scored(self, hits: Mapping[str, Any], places: Sequence[int]) -> Scored:
        """The documents at these positions with their scores."""
        return [(self._layout.document(hits, i), hits["scores"][i]) for i in places]

    def _relevant(self, ask: Ask, hits: Mapping[str, Any], order: Sequence[int]) -> Sequence[int]:
        if ask.threshold is None:
            return order
        relevance, least = self._relevance(ask), ask.threshold
        return [i for i in order if relevance(hits["scores"][i]) >= least]

    def _with_relevance(self, ask: Ask, k: int, sources: Mapping[str, Any]) -> Scored:
        relevance = self._relevance(ask)  # this may raise before the search
        return [(document, relevance(score)) for document, score in self._score(ask, k, sources)]

    def _relevance(self, ask: Ask) -> Callable[[float], float]:
        if ask.is_reranked:
            raise _no_relevance()
        if ask.by_distance:
            return self._select_relevance_score_fn()
        return relevance_of_words(ask.mode, ask.fusion)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self._relevance_score_fn is not None:
            return self._relevance_score_fn
        return relevance_of(self.collection.configuration["hnsw"]["space"])
