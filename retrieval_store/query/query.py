"""Questions: the queries that a caller can make about the points of a collection.

A question is data, the same for every front and every store: *steps*, and the parts of a point that
the hits carry. A step ranks the points that its filter allows. A step with *prefetches* (steps that
run before it) ranks only the points that any of them has found. `executor` executes questions.

An `ExplainRequest` asks a store why records are found by a question, or aren't; its response is a
`RankReport`.
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


# None of the classes that a plain query is made of is ever changed; but frozen, they would take
# three times as long to make.


@dataclass(slots=True, eq=False)
class NearestDense:
    """Ranks by nearness to vectors, each of which is a query: (q, dim) float32 in a dense space. In
    a multivector space they are q matrices, (m, dim) each, compared by late interaction.

    scale: the unit of scores and thresholds. "distance": hits carry distances (squared L2, L1, or 1
    - the dot product or cosine), and a threshold is the greatest distance allowed; the score is 1 -
    distance for dot product and cosine, -distance for L2 and L1, so greater is better. "server":
    scores as a Qdrant server gives them: the dot product or cosine (greater is better), or the L2
    or L1 distance (less is better).
    exact: leave nothing out without a proof; ef: the number of candidates to request from an index,
    None for its default; recall: the share of the true nearest that suffices, None for the space's
    setting.
    """

    space: str
    vectors: Matrix | tuple[Matrix, ...]
    scale: Scale = "distance"
    exact: bool = False
    ef: int | None = None
    recall: float | None = None


@dataclass(slots=True, eq=False)
class NearestSparse:
    """Ranks by the dot product with sparse vectors, each of which is a query. corpus, here and
    below: the filter of the points among which idf is counted, in a space with idf; all points if
    None."""

    space: str
    vectors: tuple[SparseVector, ...]
    corpus: Expression | None = None


@dataclass(slots=True, eq=False)
class Bm25:
    """Ranks documents by BM25, by the words of texts, each of which is a query. weighs_identifiers:
    words that look like identifiers weigh more. The rankings then carry the share of the text that
    the best documents hold, which adaptive fusion needs."""

    texts: tuple[str, ...]
    analyzer: "Analyzer"
    weighs_identifiers: bool = False

    @property
    def identifier_weight(self) -> float:
        """The factor of the idf of words that look like identifiers."""
        from retrieval_store.base.fusion import IDENTIFIER_WEIGHT

        return IDENTIFIER_WEIGHT if self.weighs_identifiers else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Recommend:
    """Ranks by similarity to positive examples and dissimilarity to negative examples. best: score
    by the single most similar example; otherwise by the sum over all examples."""

    space: str
    positives: tuple[Example, ...]
    negatives: tuple[Example, ...]
    best: bool
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Discover:
    """Ranks by the number of pairs for which a point is nearer to the first example than to the
    second, and points with equal numbers by nearness to the target. Without a target, ranks by how
    far the point is on the wrong side of the pairs, summed (the less the better)."""

    space: str
    target: Example | None
    pairs: tuple[tuple[Example, Example], ...]
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RelevanceFeedback:
    """Ranks by nearness to a target, times `own`, plus, for each pair, how much nearer a point is
    to the first than to the second, times the pair's weight."""

    space: str
    target: Example
    own: float
    pairs: tuple[tuple[Example, Example, float], ...]
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mmr:
    """Ranks by maximal marginal relevance (MMR): nearness to one vector, and dissimilarity to hits
    chosen before, among the `candidates` nearest points. diversity: from 0 (only nearness counts)
    to 1 (only dissimilarity counts)."""

    near: NearestDense | NearestSparse
    diversity: float
    candidates: int


@dataclass(slots=True, eq=False)
class FuseRankings:
    """Ranks by fusion of the rankings of the prefetches; see `base.fusion.fuse`. weights: one for
    each prefetch, equal if None; k: the constant of reciprocal rank fusion. has_fixed_limits:
    whether the caller has set the limits of the prefetches; then they aren't raised when more hits
    are needed to fill groups."""

    kind: FusionKind
    weights: tuple[float, ...] | None = None
    k: float = RRF_K
    has_fixed_limits: bool = False


@dataclass(frozen=True, slots=True)
class PayloadText:
    """Ranks by BM25 over the tokens of texts in the payload. corpus: the filter of the points from
    whose texts the statistics are computed; all points if None."""

    at: TokensAt
    tokens: tuple[str, ...]
    k1: float
    b: float
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True)
class OrderBy:
    """Sorts by a number in the payload, from the number `start` on."""

    values: ValuesAt
    descending: bool = False
    start: int | float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FormulaScore:
    """Ranks by a formula, over the results of the prefetches."""

    formula: "Formula"


@dataclass(frozen=True, slots=True)
class Unranked:
    """Returns points in the order of ids, or at random."""

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
    """One step of a question. limit: how many of the best hits to return, after `offset` hits are
    skipped; expression: the filter; threshold: hits that are worse than this are dropped."""

    scoring: Scoring
    limit: int
    expression: Expression | None = None
    prefetch: tuple["QueryStep", ...] = ()
    threshold: float | None = None
    offset: int = 0

    @property
    def depth(self) -> int:
        """How many of the best hits are needed: the skipped and the returned hits."""
        return self.offset + self.limit

    @property
    def leaves(self) -> "list[QueryStep]":
        """All steps without prefetches below this step, or the step itself if it has no
        prefetches."""
        return [leaf for before in self.prefetch for leaf in before.leaves] or [self]


def with_limit(step: QueryStep, limit: int) -> QueryStep:
    """The same step with this limit and no offset; limits of prefetches are raised to at least as
    many, unless they are fixed (`FuseRankings.has_fixed_limits`)."""
    prefetch = step.prefetch
    if not (isinstance(step.scoring, FuseRankings) and step.scoring.has_fixed_limits):
        prefetch = tuple(
            with_limit(prefetch_step, max(prefetch_step.limit, limit)) for prefetch_step in prefetch
        )
    return replace(step, limit=limit, offset=0, prefetch=prefetch)


def restrict_query(question: "Query", expression: Expression | None) -> "Query":
    """The same question, restricted to the points that fulfil the expression."""
    if expression is None:
        return question
    return replace(question, steps=tuple(step_among(step, expression) for step in question.steps))


def step_among(step: QueryStep, *terms: Expression | None) -> QueryStep:
    """The same step, restricted to the points that fulfil the terms. If it has prefetches, the
    innermost prefetches are restricted, since they choose the candidates."""
    if step.prefetch:
        return replace(step, prefetch=tuple(step_among(part, *terms) for part in step.prefetch))
    return replace(step, expression=all_of(step.expression, *terms))


GroupValue: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class BestOfEach:
    """One ranking with at most the best `size` hits of each value at a path. Hits without a value
    there are dropped. The step's limit and offset count the remaining hits."""

    path: PayloadPath
    size: int


@dataclass(frozen=True, slots=True)
class GroupSearch:
    """Hits grouped by the strings and integers that points have at a path: the best `count` groups,
    with at most `size` points each. among: makes the filter for points in a group of these values;
    besides: makes the filter for points in a group of any other value."""

    path: JsonPath
    count: int
    size: int
    among: Callable[[Sequence[GroupValue]], Expression]
    besides: Callable[[Sequence[GroupValue]], Expression]


@dataclass(slots=True, eq=False)
class Query:
    """Steps, all answered in one state of the collection. fields: the parts of a point that the
    hits carry; groups: allowed for a single step only. measured: the dense prefetch of a step that
    fuses rankings, if its distances are wanted. Each hit then also carries its distance from that
    prefetch's query vector, NaN for a point without a vector."""

    steps: tuple[QueryStep, ...]
    fields: Fields
    groups: BestOfEach | GroupSearch | None = None
    measured: NearestDense | None = None


def query_of(near: NearestDense, place: int) -> NearestDense:
    """The same scoring with only the query at this position."""
    return replace(near, vectors=cast(Matrix, near.vectors[place : place + 1]))


def queries_of(steps: Sequence[QueryStep]) -> int:
    """How many queries steps have."""
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
    """A question of one step and one query, and the records to explain: the first `limit` that
    fulfil `records`.

    beside: steps without prefetches that the question doesn't have; they rank the records too.
    conditions: for each, the report says which records fulfil it. same: a path; the report has the
    hits with the same value there as a record. ahead: the greatest number of ids that are reported
    before a record.
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
    """The exact ranks of the records in one way of searching (a "leg", such as dense or text
    search), among all points that its filter allows.

    asked: how many hits the question requests from this way; None if the question has no such step.
    ranked: how many points it ranks. ranks: (n,) from 1. 0 for a record that it can't rank (without
    a vector, or without a word of the query), or that is beyond the store's limit. A record that
    the filter excludes has the rank that it would have among the allowed ones. scores, distances:
    (n,), NaN for records without one. beyond: (n,) bool, whether a record is worse than the
    threshold of the step.
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
    """A word of a query, after analysis. weight: its idf, NaN if unknown. shares: (n,) its
    contribution to the score of each record, 0 where the record lacks it, NaN where it has it and
    the contribution isn't known."""

    word: str
    weight: float
    shares: Floats


@dataclass(slots=True, eq=False)
class RankReport:
    """A store's report on the records, all of one state: n of them, in the order of insertion.

    points: with payload, document and uri. found: the hits of the question. matching: how many
    points its filter allows, None where that isn't counted. ranks: (n,) the ranks, from 1, in the
    question's exact ranking of all points that match, 0 for a record that isn't in it. ahead: the
    ids before each record in that ranking; beyond: (n,) bool, whether a record's score in it is
    worse than the question's threshold. legs: the ways of searching; words: of the texts of the
    query; fulfilled: (conditions, n); same: for each record the hits with its value at the path.
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
