"""The queries that a caller can send to the points of a collection.

A `Query` is data, the same for every public API and every store. It has *steps*, and names the
fields of a point that the hits contain. A step ranks the points that fulfil its filter.
*Prefetches* are steps that run before a step; a step with prefetches ranks only the points that any
of them has found. `executor` executes queries.

An `ExplainRequest` asks a store why a query finds records, or doesn't find them. The store returns
a `RankReport`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from retrieval_store.base.arrays import RRF_K, Bools, Floats, FusionKind, Ints, Matrix, SparseVector
from retrieval_store.filters.columns import TokensAt, ValuesAt
from retrieval_store.filters.nodes import And, Expression, all_of
from retrieval_store.filters.paths import JsonPath, PayloadPath
from retrieval_store.query.types import Fields, PointId, Points

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.query.formulas import Formula

Example: TypeAlias = Matrix | SparseVector
"""What a vector space holds for a point: (dim,) float32 in a dense space, (m, dim) float32 in a
multivector space, a sparse vector in a sparse one."""
Scale: TypeAlias = Literal["distance", "server"]


# The classes of which a plain query consists are never changed. They aren't frozen, because
# creating them would take three times as long.


@dataclass(slots=True, eq=False)
class NearestDense:
    """Ranks points by their nearness to query vectors. Each query vector gets a ranking of its own.
    In a dense space, `vectors` is (q, dim) float32. In a multivector space, it is q matrices, (m,
    dim) each, which are compared by late interaction.

    scale: the scale of scores and thresholds. "distance": hits have distances: squared L2, L1, or 1
    minus the dot product or cosine. A threshold is the greatest distance of a hit. The score is 1 -
    distance for dot product and cosine, -distance for L2 and L1; greater is better. "server":
    scores in the scale of a Qdrant server: the dot product or cosine (greater is better), or the L2
    or L1 distance (less is better). exact: return the exact nearest points. ef: the number of
    candidates to request from an index, None for the index's default. recall: the share of the true
    nearest points that must be found, None for the space's setting.
    """

    space: str
    vectors: Matrix | tuple[Matrix, ...]
    scale: Scale = "distance"
    exact: bool = False
    ef: int | None = None
    recall: float | None = None


@dataclass(slots=True, eq=False)
class NearestSparse:
    """Ranks points by their dot product with sparse query vectors. Each query vector gets a ranking
    of its own. corpus: a filter; in a space with idf, the idf is computed over the points that
    fulfil it, or over all points if it is None."""

    space: str
    vectors: tuple[SparseVector, ...]
    corpus: Expression | None = None


@dataclass(slots=True, eq=False)
class Bm25:
    """Ranks documents by BM25 for query texts; each text gets a ranking of its own.
    weighs_identifiers: words that look like identifiers get a greater weight. Each ranking then
    also reports which share of the text one of the best documents contains, for adaptive fusion."""

    texts: tuple[str, ...]
    analyzer: "Analyzer"
    weighs_identifiers: bool = False

    @property
    def identifier_weight(self) -> float:
        """The factor by which the idf of words that look like identifiers is multiplied."""
        from retrieval_store.base.fusion import IDENTIFIER_WEIGHT

        return IDENTIFIER_WEIGHT if self.weighs_identifiers else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Recommend:
    """Ranks by similarity to positive examples and dissimilarity to negative examples. best:
    whether only the most similar example decides the score; otherwise the score is the sum over all
    examples."""

    space: str
    positives: tuple[Example, ...]
    negatives: tuple[Example, ...]
    best: bool
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Discover:
    """Ranks by pairs of examples. The more pairs have a first example that is nearer to a point
    than their second example, the higher the point ranks. Points with equal numbers of such pairs
    are ranked by nearness to the target. Without a target, the score sums up how far the point is
    on the wrong side of each pair, and less is better."""

    space: str
    target: Example | None
    pairs: tuple[tuple[Example, Example], ...]
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RelevanceFeedback:
    """Ranks by the sum of two terms. The first term is the nearness to a target, times `own`. The
    second term is a sum over pairs of examples. Each pair adds its weight times how much nearer the
    point is to the pair's first example than to its second example."""

    space: str
    target: Example
    own: float
    pairs: tuple[tuple[Example, Example, float], ...]
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mmr:
    """Ranks by maximal marginal relevance (MMR): nearness to one vector, and dissimilarity to the
    hits chosen before. Only the `candidates` nearest points are ranked. diversity: from 0 (only
    nearness counts) to 1 (only dissimilarity counts)."""

    near: NearestDense | NearestSparse
    diversity: float
    candidates: int


@dataclass(slots=True, eq=False)
class FuseRankings:
    """Fuses the rankings of the prefetches; see `base.fusion.fuse`. weights: one weight for each
    prefetch, or None for equal weights. k: the constant of reciprocal rank fusion.
    has_fixed_limits: whether the caller has set the limits of the prefetches. Such limits aren't
    raised when more hits are needed to fill groups."""

    kind: FusionKind
    weights: tuple[float, ...] | None = None
    k: float = RRF_K
    has_fixed_limits: bool = False


@dataclass(frozen=True, slots=True)
class PayloadText:
    """Ranks by BM25 over the tokens of texts in the payload. corpus: a filter; the statistics are
    computed over the points that fulfil it, or over all points if it is None."""

    at: TokensAt
    tokens: tuple[str, ...]
    k1: float
    b: float
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True)
class OrderBy:
    """Sorts by a number in the payload, beginning with the number `start`."""

    values: ValuesAt
    descending: bool = False
    start: int | float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FormulaScore:
    """Ranks by the value of a formula, which can use the scores of the prefetches."""

    formula: "Formula"


@dataclass(frozen=True, slots=True)
class Unranked:
    """Returns points in the order of their ids, or in random order if `at_random`."""

    at_random: bool = False


ByExamples: TypeAlias = Recommend | Discover | RelevanceFeedback
Scoring: TypeAlias = (
    NearestDense
    | NearestSparse
    | Bm25
    | ByExamples
    | Mmr
    | FuseRankings
    | PayloadText
    | OrderBy
    | FormulaScore
    | Unranked
)


@dataclass(slots=True, eq=False)
class QueryStep:
    """One step of a query. offset: how many of the best hits to skip. limit: how many hits to
    return after them. expression: the filter. threshold: hits with a worse score or distance are
    dropped."""

    scoring: Scoring
    limit: int
    expression: Expression | None = None
    prefetch: tuple["QueryStep", ...] = ()
    threshold: float | None = None
    offset: int = 0

    @property
    def depth(self) -> int:
        """The number of best hits that must be found: the skipped hits and the returned hits."""
        return self.offset + self.limit

    @property
    def leaves(self) -> "list[QueryStep]":
        """All steps below this step that have no prefetches, or the step itself if it has no
        prefetches."""
        return [leaf for before in self.prefetch for leaf in before.leaves] or [self]


def with_limit(step: QueryStep, limit: int) -> QueryStep:
    """The same step with this limit and no offset. The limits of its prefetches are raised to at
    least this limit, unless they are fixed (`FuseRankings.has_fixed_limits`)."""
    prefetch = step.prefetch
    if not (isinstance(step.scoring, FuseRankings) and step.scoring.has_fixed_limits):
        prefetch = tuple(
            with_limit(prefetch_step, max(prefetch_step.limit, limit)) for prefetch_step in prefetch
        )
    return replace(step, limit=limit, offset=0, prefetch=prefetch)


def restrict_query(question: "Query", expression: Expression | None) -> "Query":
    """The same query, restricted to the points that fulfil the expression."""
    if expression is None:
        return question
    return replace(question, steps=tuple(step_among(step, expression) for step in question.steps))


def step_among(step: QueryStep, *terms: Expression | None) -> QueryStep:
    """The same step, restricted to the points that fulfil all terms. If it has prefetches, the
    innermost prefetches are restricted instead, because they choose the candidates."""
    if step.prefetch:
        return replace(step, prefetch=tuple(step_among(part, *terms) for part in step.prefetch))
    return replace(step, expression=all_of(step.expression, *terms))


GroupValue: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class BestOfEach:
    """Requests one ranking with at most the best `size` hits of each value at a path. Hits without
    a value at the path are dropped. The step's limit and offset then apply to the remaining
    hits."""

    path: PayloadPath
    size: int


@dataclass(frozen=True, slots=True)
class GroupSearch:
    """Requests hits grouped by the strings and integers that points have at a path. The best
    `count` groups are returned, with at most `size` points each. among: a function that takes
    values, and returns the filter for points in the groups of these values. besides: a function
    that takes values, and returns the filter for points in groups of other values."""

    path: JsonPath
    count: int
    size: int
    among: Callable[[Sequence[GroupValue]], Expression]
    besides: Callable[[Sequence[GroupValue]], Expression]


@dataclass(slots=True, eq=False)
class Query:
    """A query: one or more steps, all executed on one state of the collection. fields: the parts of
    a point that the hits contain. groups: how to group the hits; only a query with a single step
    can have groups. measured: a dense prefetch of a step that fuses rankings. If `measured` is set,
    each hit contains its distance from that prefetch's query vector, NaN for a point without a
    vector."""

    steps: tuple[QueryStep, ...]
    fields: Fields
    groups: BestOfEach | GroupSearch | None = None
    measured: NearestDense | None = None


def query_of(near: NearestDense, place: int) -> NearestDense:
    """The same scoring with only the query vector at position `place`."""
    return replace(near, vectors=cast(Matrix, near.vectors[place : place + 1]))


def queries_of(steps: Sequence[QueryStep]) -> int:
    """The number of query vectors and texts in all these steps."""
    count = 0
    for step in steps:
        scoring = step.leaves[0].scoring
        near = scoring.near if isinstance(scoring, Mmr) else scoring
        match near:
            case (
                NearestDense(vectors=queries) | NearestSparse(vectors=queries) | Bm25(texts=queries)
            ):
                count += len(queries)
            case _:
                count += 1
    return count


MAX_RECORDS, MAX_AHEAD, MAX_CONDITIONS = 1_000, 100, 500


@dataclass(slots=True, eq=False)
class ExplainRequest:
    """A query with one step and one query vector or text, and the records to explain: the first
    `limit` records that fulfil the filter `records`.

    beside: further steps, which are not in the query and have no prefetches, by which the records
    are ranked, too. conditions: for each condition the report says which records fulfil it. same: a
    path; for each record the report lists the hits with the same value at this path. ahead: the
    maximum number of hits before a record whose ids are reported.
    """

    question: Query
    records: Expression
    limit: int
    beside: tuple[QueryStep, ...] = ()
    conditions: tuple[Expression, ...] = ()
    same: PayloadPath | None = None
    ahead: int = MAX_AHEAD

    def among(self, expression: Expression) -> "ExplainRequest":
        """The same request, restricted to the points that fulfil the expression."""
        return replace(
            self,
            question=restrict_query(self.question, expression),
            records=And((self.records, expression)),
            beside=tuple(step_among(step, expression) for step in self.beside),
        )


@dataclass(slots=True, eq=False)
class LegReport:
    """The exact ranks of the records in one kind of search (a "leg", such as dense or text search),
    among all points that fulfil its filter.

    asked: how many hits the query requests from this search; None if the query has no such step.
    ranked: how many points the search ranks. ranks: (n,) from 1. The rank is 0 if the search can't
    rank the record (which has no vector, or no word of the query), or if the record is beyond the
    store's limit. A record that the filter excludes gets the rank that it would have without the
    filter. scores, distances: (n,), NaN where unknown. beyond: (n,) bool, whether the record is
    worse than the threshold of the step.
    """

    name: str
    asked: int | None
    ranked: int
    ranks: Ints
    scores: Floats
    distances: Floats
    beyond: Bools


@dataclass(slots=True, eq=False)
class WordReport:
    """A word of a query text, after analysis. weight: its idf, NaN if unknown. shares: (n,) the
    word's contribution to the score of each record. A share is 0 if the record lacks the word, and
    NaN if it has the word and the contribution is unknown."""

    word: str
    weight: float
    shares: Floats


@dataclass(slots=True, eq=False)
class RankReport:
    """A store's report on n records, in the order of insertion. All its parts are read from one
    state.

    points: the records with payload, document and uri. found: the ids of the query's hits.
    matching: how many points fulfil the query's filter, None if they aren't counted. ranks: (n,)
    the ranks, from 1, in the query's exact ranking of all matching points; 0 for a record that
    isn't in the ranking. ahead: for each record, the ids before it in that ranking. beyond: (n,)
    bool, whether a record's score in that ranking is worse than the query's threshold. legs: a
    report for each leg. words: a report for each word of the query texts. fulfilled: (conditions,
    n) bool, whether each record fulfils each condition. same: for each record, the hits that have
    the record's value at the path.
    """

    points: Points
    found: list[PointId]
    matching: int | None
    ranks: Ints
    ahead: list[list[PointId]]
    beyond: Bools
    legs: list[LegReport]
    words: list[WordReport]
    fulfilled: Bools
    same: list[list[PointId]]
