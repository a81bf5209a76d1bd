"""What can be asked of a collection: by vectors, by words, or by both."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from retrieval_store.base.arrays import Floats, Matrix, SparseVector
from retrieval_store.base.words import Analyzer
from retrieval_store.filters.expression import Expression
from retrieval_store.indexes.exact import Metric

Fusion: TypeAlias = Literal["rrf", "weighted", "adaptive"]


@dataclass(slots=True)  # nobody changes it; frozen, it would take three times as long to make
class Query:
    """What to search for: (q, dim) float32 vectors in a space, the k nearest of each. exact: don't
    use an index; ef: candidates to ask of an index, where the usual number isn't wanted; within: a
    distance beyond which hits may be left out."""

    space: str
    vectors: Matrix
    k: int
    expression: Expression | None = None
    exact: bool = False
    ef: int | None = None
    within: float | None = None


@dataclass(frozen=True, slots=True)
class TextQuery:
    """Texts whose words are searched for; the k best documents of each."""

    texts: tuple[str, ...]
    analyzer: Analyzer
    k: int
    expression: Expression | None = None


@dataclass(frozen=True, slots=True)
class SparseQuery:
    """Sparse vectors to search for in a sparse space; the k with the greatest dot products."""

    space: str
    vectors: tuple[SparseVector, ...]
    k: int
    expression: Expression | None = None


@dataclass(frozen=True, slots=True)
class HybridQuery:
    """A vector query and one by words, which may stand in sparse vectors, of as many queries each,
    with the same expression, each with its own k; the k best of both. alpha: the weight of the
    vectors, from 0 to 1, 1 - alpha being that of the words; adaptive fusion, which is for texts,
    starts from it. fixed: whether the k of each is the user's wish, and part of what is asked."""

    dense: Query
    words: TextQuery | SparseQuery
    alpha: float
    fusion: Fusion
    k: int
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class MultiQuery:
    """Matrices of several query vectors each, in a space of several vectors a point; the k best by
    late interaction. candidates: a query by one vector each that chooses the points to look at;
    without it all that the expression allows are looked at."""

    space: str
    matrices: tuple[Matrix, ...]
    k: int
    expression: Expression | None = None
    candidates: Query | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Which of the hits of a query are shown, best first: `count` after the first `offset`; none
    that is farther than `max_distance`; of those with one value under the key `group_by` at most
    `group_size`, and none without a value there."""

    count: int
    offset: int = 0
    max_distance: float | None = None
    group_by: str | None = None
    group_size: int = 1

    @property
    def depth(self) -> int:
        """How many hits are needed at least."""
        return self.offset + self.count


AnyQuery: TypeAlias = Query | TextQuery | HybridQuery | SparseQuery | MultiQuery


def scores_of(distances: Floats, metric: Metric) -> Floats:
    """Greater is nearer: the cosine or the dot product; of squared L2 and of L1 the negative."""
    return -distances if metric in ("l2", "l1") else 1.0 - distances


def deeper(query: AnyQuery, k: int) -> AnyQuery:
    """The same query for more hits."""
    if isinstance(query, HybridQuery) and not query.fixed:
        dense = replace(query.dense, k=max(query.dense.k, k))
        words = replace(query.words, k=max(query.words.k, k))
        return replace(query, k=k, dense=dense, words=words)
    return replace(query, k=k)
