"""The arguments of a query, checked and converted to the form that a store takes."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from retrieval_store.api.arguments import complete_texts_of, images_of, matrix_of, sparse_of
from retrieval_store.api.results import SPACE, SPARSE, QueryField
from retrieval_store.base.arrays import Floats, Fusion, Matrix, Metric, SparseVector, plain_scalar
from retrieval_store.base.validation import fraction, list_ids, quote, shorten, whole_number
from retrieval_store.errors import DataLoaderError, InvalidArgumentError, InvalidTypeError
from retrieval_store.filters.nodes import Expression, Where
from retrieval_store.query.query import (
    BestOfEach,
    Bm25,
    FuseRankings,
    NearestDense,
    NearestSparse,
    Query,
    QueryStep,
)
from retrieval_store.query.types import Fields, PointId

if TYPE_CHECKING:
    from retrieval_store.api.embedder import Embedder
    from retrieval_store.backends import StoredCollection
    from retrieval_store.base.analysis import Analyzer

# Each side of a hybrid query is asked for 100, 400, 1,600 … hits, the least of these that is 4 k:
# in steps, so that most pages of hits are of one ranking.
DEPTH, DEPTH_STEP, DEPTH_OF_K = 100, 4, 4
Mode: TypeAlias = Literal["dense", "text", "sparse", "hybrid"]
MODES, FUSIONS = get_args(Mode), get_args(Fusion)


@dataclass(frozen=True, slots=True)
class Hybrid:
    """The hybrid mode of a query: it ranks by vectors and by words, and fuses both rankings.

    fusion: "rrf": reciprocal rank fusion; "weighted": a sum of scaled scores, with the weight
    `alpha` for vectors and 1 - alpha for words; "adaptive": the same sum, with weights that are
    computed for each query: words weigh more if one document contains more of the query's rare
    words. None is "adaptive", or "rrf" if `alpha` or `query_sparse` is given. alpha: 0 to 1; None
    is 0.5. depth: how many candidates are ranked by (vectors, words); None is the least of 100,
    400, 1,600 … that is at least four times `offset` + `n_results`. With a fixed depth, pages by
    `offset` are parts of one ranking. Raises InvalidArgumentError for invalid values.
    """

    fusion: Fusion | None = None
    alpha: float | None = None
    depth: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.fusion is not None and self.fusion not in FUSIONS:
            raise InvalidArgumentError(f"fusion is {quote(self.fusion)}, expected one of {FUSIONS}")
        if self.alpha is not None:
            fraction(self.alpha, "alpha")
        if self.depth is not None:
            if not isinstance(self.depth, tuple | list) or len(self.depth) != 2:
                raise InvalidArgumentError(
                    f"depth is {quote(self.depth)}, expected (vectors, words)"
                )
            for number in self.depth:
                whole_number(number, "depth", 1)

    def fusion_and_weight(self, by_words: bool) -> tuple[Fusion, float]:
        """The fusion, and the weight of the vectors. by_words: True if vectors are fused with
        words, which adaptive fusion analyses; False if they are fused with sparse vectors."""
        from retrieval_store.base.fusion import usual_fusion

        alpha = 0.5 if self.alpha is None else float(self.alpha)
        if self.fusion == "adaptive" and not by_words:
            raise InvalidArgumentError(
                "fusion 'adaptive' goes by the words of query_texts; with query_sparse it is 'rrf' "
                "or 'weighted'"
            )
        return self.fusion or usual_fusion(by_words, self.alpha), alpha

    def depths(self, k: int) -> tuple[int, int]:
        """The numbers of candidates by vectors and by words, if k hits are needed."""
        if self.depth is None:
            deep = DEPTH
            while deep < DEPTH_OF_K * k:
                deep *= DEPTH_STEP
            return deep, deep
        vectors, words = self.depth
        return int(vectors), int(words)


@dataclass(frozen=True, slots=True)
class Groups:
    """Hits grouped by their value under a metadata key: the best `size` of each value. Raises
    InvalidArgumentError for an invalid key, or a size below 1."""

    key: str
    size: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not self.key:
            raise InvalidTypeError(
                f"group_by is {quote(self.key)}, expected a metadata key, or Groups(key, size)"
            )
        whole_number(self.size, "the size of group_by", 1)


@dataclass(frozen=True, slots=True)
class Rerank:
    """A re-ranker for the best hits of a query, with its options.

    reranker: a `retrieval_store.Reranker`, or the name of a registered one. candidates: the number
    of hits that the re-ranker reads; None is 50, or `offset` + `n_results` if that is more. query:
    the text to compare documents with, or one for each query; None takes `query_texts`. weight: the
    weight of the re-ranker's scores, from 0 to 1; the query's own scores have the weight 1 -
    `weight`. Both kinds of scores are scaled to 0 … 1 over the hits. None is the re-ranker's
    `usual_weight`, or 1; with the weight 1, the re-ranker's scores stay unscaled. Raises
    InvalidArgumentError for invalid values and unknown names.
    """

    reranker: Any
    candidates: int | None = None
    query: str | Sequence[str] | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.reranker, str):
            _refuse_unregistered(self.reranker)
        else:
            from retrieval_store.rerankers import scorer_of

            scorer_of(self.reranker, "rerank")
        if self.candidates is not None:
            whole_number(self.candidates, "candidates of rerank", 1)
        if not (self.query is None or isinstance(self.query, str | Sequence | np.ndarray)):
            raise InvalidTypeError(
                f"query of rerank is {quote(self.query)}, expected a text, or a list of them"
            )
        if self.weight is not None:
            fraction(self.weight, "weight of rerank")

    @classmethod
    def comparing(cls, rerank: "Rerank | Any", texts: str | Sequence[str] | None) -> "Rerank":
        """The argument `rerank` as a `Rerank` that has a query: its own, or else these texts."""
        whole = rerank if isinstance(rerank, cls) else cls(rerank)
        return replace(whole, query=texts) if whole.query is None else whole


def _refuse_unregistered(reranker: str) -> None:
    """Raise InvalidArgumentError if no re-ranker has this name."""
    from retrieval_store import plugins

    if not plugins.is_known(plugins.RERANKERS, reranker):
        raise InvalidArgumentError(
            f"rerank is {quote(reranker)}; there are re-rankers of the names "
            f"{', '.join(plugins.names(plugins.RERANKERS))}. Is the package installed that "
            "registers it?"
        )


class Exactness(NamedTuple):
    """How exactly vectors are searched; see `NearestDense`."""

    exact: bool
    ef: int | None
    recall: float | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QueryRequest:
    """A request to a collection: the arguments of `Collection.query` as a caller passed them.
    `QueryBuilder.query` and `filter_of` check them and make a `Query`."""

    query_embeddings: Any = None
    query_texts: str | Sequence[str] | None = None
    query_images: Any = None
    query_uris: str | Sequence[str] | None = None
    query_sparse: Any = None
    ids: str | Sequence[str] | None = None
    n_results: int = 10
    where: Where | None = None
    where_document: Mapping[str, Any] | None = None
    include: Sequence[QueryField] = ("metadatas", "documents", "distances")
    mode: Mode | Hybrid = "dense"
    exact: bool = False
    ef: int | None = None
    recall: float | None = None
    like: str | Sequence[str] | None = None
    unlike: str | Sequence[str] | None = None
    offset: int | None = None
    max_distance: float | None = None
    min_score: float | None = None
    group_by: str | Groups | None = None
    rerank: Any = None

    def __repr__(self) -> str:
        """The request without default values."""
        values = ((field, getattr(self, field.name)) for field in fields(self))
        given = (f"{f.name}={shorten(v)}" for f, v in values if v is not f.default)
        return f"QueryRequest({', '.join(given)})"

    def queries(self) -> dict[str, Any]:
        """The passed arguments that contain queries, by name."""
        queries = {
            "query_embeddings": self.query_embeddings,
            "query_texts": self.query_texts,
            "query_images": self.query_images,
            "query_uris": self.query_uris,
            "query_sparse": self.query_sparse,
        }
        return {name: value for name, value in queries.items() if value is not None}

    def exactness(self) -> Exactness:
        """How exactly vectors are searched."""
        if not isinstance(self.exact, bool | np.bool_):
            raise InvalidTypeError(f"exact is {quote(self.exact)}, expected a bool")
        ef = None if self.ef is None else whole_number(self.ef, "ef", 1)
        recall = None if self.recall is None else fraction(self.recall, "recall")
        return Exactness(self.exact, ef, recall)

    def threshold(self, mode: Mode) -> float | None:
        """The threshold for hits: the greatest distance in mode "dense", the least score in other
        modes; None if no threshold was passed."""
        if self.max_distance is None and self.min_score is None:
            return None
        if self.max_distance is not None and mode != "dense":
            raise InvalidArgumentError(
                f"max_distance goes with mode 'dense', not {mode!r}, for which there is min_score"
            )
        if self.min_score is not None and mode == "dense":
            raise InvalidArgumentError(
                "min_score goes with other modes, or with rerank; for mode 'dense' there is "
                "max_distance"
            )
        if mode == "dense":
            return bound_of(self.max_distance, "max_distance")
        return bound_of(self.min_score, "min_score")

    def window(self) -> tuple[int, int]:
        """How many hits to return, and how many of the best hits to skip."""
        count = whole_number(self.n_results, "n_results", 1)
        if self.offset is None:
            return count, 0
        return count, whole_number(self.offset, "offset", 0, sys.maxsize - count)


_USUAL = Hybrid()
_OF_DENSE = ("query_embeddings", "query_texts", "query_images", "query_uris")
_SIDES: dict[Mode, tuple[set[str], ...]] = {
    "text": ({"query_texts"},),
    "sparse": ({"query_sparse"},),
    "hybrid": (
        {"query_texts"},
        {"query_texts", "query_embeddings"},
        {"query_texts", "query_sparse"},
        {"query_sparse", "query_embeddings"},
        {"query_texts", "query_sparse", "query_embeddings"},
    ),
}


class _Source(NamedTuple):
    """The source of query vectors: an argument of `Collection.query`, and its value."""

    argument: str
    values: Any


def _dense_source(request: QueryRequest) -> _Source:
    """The source of the vectors of a query in mode "dense". Raises InvalidArgumentError unless
    exactly one argument with queries was passed."""
    queries = request.queries()
    if "query_sparse" in queries:
        raise InvalidArgumentError("query_sparse goes with mode 'sparse' or 'hybrid'")
    if len(queries) != 1:
        raise InvalidArgumentError(
            f"expected exactly one of {', '.join(_OF_DENSE)}, got {' and '.join(queries) or 'none'}"
        )
    return _Source(*queries.popitem())


def _sides(request: QueryRequest, mode: Mode) -> tuple[list[Any] | None, list[SparseVector] | None]:
    """The texts and sparse vectors of the request; raises InvalidArgumentError if they do not fit
    the mode. Mode "text" takes only texts, and mode "sparse" only sparse vectors. In mode "hybrid"
    vectors can be passed in addition to texts, and must be passed if there are sparse vectors
    without texts."""
    names = set(request.queries())
    if names not in _SIDES[mode]:
        allowed = ", or ".join(" and ".join(sorted(side)) for side in _SIDES[mode])
        raise InvalidArgumentError(
            f"mode {mode!r} takes {allowed}, but got {' and '.join(sorted(names)) or 'none'}"
        )
    texts: list[Any] | None = None
    sparse: list[SparseVector] | None = None
    if "query_texts" in names:
        texts = complete_texts_of(request.query_texts, "query_texts")
    if "query_sparse" in names:
        sparse = [_not_none(vector) for vector in sparse_of(request.query_sparse, "query_sparse")]
    for name, values in (("query_texts", texts), ("query_sparse", sparse)):
        if values is not None and not values:
            raise InvalidArgumentError(f"{name} is empty, expected at least one query")
    if texts is not None and sparse is not None and len(texts) != len(sparse):
        raise InvalidArgumentError(
            f"query_sparse has {len(sparse)} vectors, query_texts {len(texts)} texts"
        )
    return texts, sparse


def _dense_side(embeddings: Any, texts: list[Any] | None, number: int | None) -> _Source:
    """The source of the vectors of a hybrid query: the passed embeddings, or else the texts.
    number: the required number of embeddings."""
    if embeddings is None:
        return _Source("query_texts", texts)
    vectors = vectors_of(embeddings)
    if number is not None and len(vectors) != number:
        argument = "query_sparse" if texts is None else "query_texts"
        noun = "vectors" if texts is None else "texts"
        raise InvalidArgumentError(
            f"query_embeddings has {len(vectors)} vectors, {argument} {number} {noun}"
        )
    return _Source("query_embeddings", vectors)


def _not_none(vector: SparseVector | None) -> SparseVector:
    if vector is None:
        raise InvalidTypeError("query_sparse has None in it, expected sparse vectors")
    return vector


def vectors_of(embeddings: Any) -> Matrix:
    """The passed query vectors as (q, dim) float32."""
    has_items = isinstance(embeddings, list | tuple) and len(embeddings) > 0
    if isinstance(embeddings, str) or (has_items and isinstance(embeddings[0], str)):
        raise InvalidTypeError("query_embeddings holds texts; pass them as query_texts")
    return matrix_of(embeddings, "query_embeddings")


@dataclass(slots=True)
class QueryBuilder:
    """Makes queries from requests to a collection. embedder: calls the collection's embedding
    function; load: loads URIs by the collection's data loader; analyzer: returns the analyzer of
    its documents; space, sparse: the names of the vector spaces to search; holds_several: whether
    `space` is a multivector space, in which all passed vectors together are one query."""

    embedder: "Embedder"
    load: Callable[[list[str | None]], list[Any]]
    analyzer: "Callable[[], Analyzer]"
    space: str = SPACE
    sparse: str = SPARSE
    holds_several: bool = False

    def query(self, request: QueryRequest, expression: Expression | None, fields: Fields) -> Query:
        """The query that a request describes, in the form for the store. Raises the errors of
        `Collection.query`. expression: the request's parsed filters; fields: the fields of hits to
        read."""
        mode: Any = "hybrid" if isinstance(request.mode, Hybrid) else request.mode
        if mode not in MODES:
            raise InvalidArgumentError(
                f"mode is {quote(mode)}, expected one of {MODES}, or a Hybrid"
            )
        threshold, exactness = request.threshold(mode), request.exactness()
        count, skipped = request.window()
        measured = None
        if mode == "dense":
            step = QueryStep(self._near(_dense_source(request), exactness), count, expression)
        elif mode == "hybrid":
            step, measured = self._hybrid(request, exactness, count, skipped, expression)
        else:
            step = QueryStep(self._words(*_sides(request, mode), False), count, expression)
        if mode == "hybrid" and threshold is not None and isinstance(step.scoring, NearestDense):
            raise InvalidArgumentError(
                "min_score goes with words, or with both sides of a hybrid query; this one goes by "
                "vectors alone, for which there is max_distance in mode 'dense'"
            )
        step.offset, step.threshold = skipped, threshold
        groups = None if request.group_by is None else _groups_of(request.group_by)
        return Query((step,), fields, groups, measured)

    def _hybrid(
        self,
        request: QueryRequest,
        exactness: Exactness,
        count: int,
        skipped: int,
        expression: Expression | None,
    ) -> tuple[QueryStep, NearestDense | None]:
        """The step of a hybrid query, and the ranking by vectors from which the hits get their
        distances; None if the query ranks by words alone."""
        hybrid = request.mode if isinstance(request.mode, Hybrid) else _USUAL
        texts, sparse = _sides(request, "hybrid")
        fusion, alpha = hybrid.fusion_and_weight(sparse is None)
        if alpha == 0:
            return QueryStep(self._words(texts, sparse, False), count, expression), None
        number = None if self.holds_several else len(sparse or texts or ())
        near = self._near(_dense_side(request.query_embeddings, texts, number), exactness)
        if alpha == 1:
            return QueryStep(near, count, expression), None
        deep, wide = hybrid.depths(skipped + count)
        words = self._words(texts, sparse, fusion == "adaptive")
        legs = QueryStep(near, deep, expression), QueryStep(words, wide, expression)
        weights, is_fixed = (alpha, 1.0 - alpha), hybrid.depth is not None
        fused = FuseRankings(fusion, weights, has_fixed_limits=is_fixed)
        return QueryStep(fused, count, prefetch=legs), near

    def _words(
        self, texts: list[Any] | None, sparse: list[SparseVector] | None, tells_share: bool
    ) -> Bm25 | NearestSparse:
        """The ranking by words; if there are sparse vectors, by these instead. tells_share: whether
        the ranking also returns the share of the query's words that the best documents contain, for
        adaptive fusion."""
        if sparse is not None:
            return NearestSparse(self.sparse, tuple(sparse))
        return Bm25(tuple(texts or ()), self.analyzer(), tells_share)

    def _near(self, source: _Source, exactness: Exactness) -> NearestDense:
        vectors = self._vectors(source)
        query_vectors = (vectors,) if self.holds_several else vectors
        return NearestDense(self.space, query_vectors, "distance", *exactness)

    def _vectors(self, source: _Source) -> Matrix:
        """(q, dim) float32: the query vectors. They are the values of the source, or computed from
        these values if the source has texts, images or URIs."""
        name, values = source
        match name:
            case "query_embeddings":
                return vectors_of(values)
            case "query_texts":
                inputs: list[Any] = complete_texts_of(values, name)
            case "query_images":
                inputs = images_of(values, name)
            case _:
                uris = complete_texts_of(values, name)
                inputs = self.load(uris)
                if skipped := [i for i, item in enumerate(inputs) if item is None]:
                    raise DataLoaderError(
                        f"{name}[{skipped[0]}] is {shorten(uris[skipped[0]])}, which the data "
                        "loader left out; one that doesn't skip (on_error='raise') says why"
                    )
        if not inputs:
            raise InvalidArgumentError(f"{name} is empty, expected at least one query")
        return self.embedder.embed_query(inputs)


def vector_like(
    backend: "StoredCollection", metric: Metric, like: Sequence[PointId], unlike: Sequence[PointId]
) -> Matrix:
    """(1, dim) float32: the query vector p + (p - u), where p is the average vector of `like`, and
    u the average vector of `unlike`. Without `unlike` the query vector is p. For cosine, all
    vectors are scaled to length 1 first. This is Qdrant's recommendation with the strategy
    "average_vector"."""
    if not like:
        raise InvalidArgumentError("like is empty, expected ids of points to be like")
    near = _average(backend, metric, like, "like")
    if not unlike:
        return near[None].astype(np.float32)
    far = _average(backend, metric, unlike, "unlike")
    return (near + near - far)[None].astype(np.float32)


def _average(
    backend: "StoredCollection", metric: Metric, ids: Sequence[PointId], name: str
) -> Floats:
    points = backend.points.get(ids, None, None, 0, Fields(vectors=(SPACE,)))
    column: Any = (points.vectors or {}).get(SPACE)
    ids_with_vector = _with_vector(points.ids, column)
    found = set(map(str, ids_with_vector))
    lacking = [point_id for point_id in ids if str(point_id) not in found]
    if lacking:
        raise InvalidArgumentError(f"{name} names points without an embedding: {list_ids(lacking)}")
    wide = column.astype(np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        wide = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    average: Floats = wide.mean(axis=0)
    return average


def _with_vector(ids: Sequence[PointId], column: Matrix | None) -> list[PointId]:
    if column is None or not column.shape[1]:
        return []
    return [
        point_id for point_id, lacks in zip(ids, np.isnan(column[:, 0]), strict=True) if not lacks
    ]


def _groups_of(group_by: Any) -> BestOfEach:
    groups = group_by if isinstance(group_by, Groups) else Groups(group_by)
    return BestOfEach((groups.key,), int(groups.size))


def bound_of(value: Any, name: str) -> float | None:
    """The value as a float, which must be finite; None stays None."""
    if value is None:
        return None
    value = plain_scalar(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:  # NaN isn't, either
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected a number")
    return float(value)
