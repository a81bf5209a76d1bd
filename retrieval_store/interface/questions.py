"""What can be asked of the points of a collection.

A question is data, the same for every front and every store: *steps*, and what the answer shall
carry. A step ranks the points that its filter allows; where steps go before it, its prefetches, it
ranks those that any of them has found. `answering` carries questions out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, cast

from retrieval_store.base.arrays import Matrix, SparseVector
from retrieval_store.base.ranking import RRF_K, FusionKind
from retrieval_store.base.words import Analyzer
from retrieval_store.filters.columns import TokensAt, ValuesAt
from retrieval_store.filters.expression import Expression, PayloadPath
from retrieval_store.filters.paths import Steps
from retrieval_store.interface.formulas import Formula
from retrieval_store.interface.points import Fields

Example: TypeAlias = Matrix | SparseVector
"""What a space has for a point: (dim,) float32 of a dense one, (m, dim) of several vectors."""
Scale: TypeAlias = Literal["distance", "server"]


# None of the classes that a plain query is made of is ever changed; but frozen, they would take
# three times as long to make.


@dataclass(slots=True, eq=False)
class Near:
    """By nearness to vectors, each a query of its own: (q, dim) float32 in a dense space; in one of
    several vectors a point q matrices, (m, dim) each, compared by late interaction.

    scale: what scores and thresholds are. "distance": hits carry distances (squared L2, 1 - the dot
    product or the cosine, L1), and a threshold is the greatest of these; scores descend: 1 -
    distance, or its negative where it is L2 or L1. "server": what a Qdrant server gives: the dot
    product or the cosine, and the L2 or L1 distance, of which less is better.
    exact: don't use an index; ef: candidates to ask of an index, where the usual number isn't
    wanted.
    """

    space: str
    vectors: Matrix | tuple[Matrix, ...]
    scale: Scale = "distance"
    exact: bool = False
    ef: int | None = None


@dataclass(slots=True, eq=False)
class Sparse:
    """By the dot product with sparse vectors, each a query of its own. corpus: the points among
    which the idf of a space that has one is counted, all if None."""

    space: str
    vectors: tuple[SparseVector, ...]
    corpus: Expression | None = None


@dataclass(slots=True, eq=False)
class Text:
    """By the words of texts, each a query of its own: the documents that BM25 ranks best.
    weighs_identifiers: words that look like identifiers count more, and it is told which share of
    a text the best documents hold, as adaptive fusion wants it."""

    texts: tuple[str, ...]
    analyzer: Analyzer
    weighs_identifiers: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Recommended:
    """By likeness to some examples and unlikeness to others: of the one that is most alike, where
    `best`, or of all of them, summed."""

    space: str
    positives: tuple[Example, ...]
    negatives: tuple[Example, ...]
    best: bool


@dataclass(frozen=True, slots=True, eq=False)
class Discovered:
    """By how many pairs a point is on the right side of, nearer to the first than to the second;
    then by nearness to a target. Without a target, by how far it is on the wrong sides."""

    space: str
    target: Example | None
    pairs: tuple[tuple[Example, Example], ...]


@dataclass(frozen=True, slots=True, eq=False)
class RelevanceFeedback:
    """By nearness to a target, times `own`, and by how much nearer a point is to the first of each
    pair than to the second, times the pair's weight."""

    space: str
    target: Example
    own: float
    pairs: tuple[tuple[Example, Example, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Diverse:
    """By nearness to one vector, and unlikeness to what is taken already (MMR): of so many
    candidates. diversity: from 0, nearness alone, to 1."""

    near: Near | Sparse
    diversity: float
    candidates: int


@dataclass(slots=True, eq=False)
class Fused:
    """The rankings of the prefetches, made one; see `base.ranking.fused`. weights: of each, all
    alike if None; k: the constant of reciprocal ranks. has_fixed_limits: how many hits each
    prefetch is asked for is the caller's wish, and stays where more hits are looked at to fill
    groups."""

    kind: FusionKind
    weights: tuple[float, ...] | None = None
    k: float = RRF_K
    has_fixed_limits: bool = False


@dataclass(frozen=True, slots=True)
class PayloadText:
    """By BM25 over the tokens of texts in the payload; corpus: the points among which these are
    counted, all if None."""

    at: TokensAt
    tokens: tuple[str, ...]
    k1: float
    b: float
    corpus: Expression | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """In the order of a number of the payload, from `start` on."""

    values: ValuesAt
    descending: bool = False
    start: int | float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """By a formula, over what the prefetches have found."""

    formula: Formula


@dataclass(frozen=True, slots=True)
class Unranked:
    """In the order of ids, or at random."""

    at_random: bool = False


ByExamples: TypeAlias = Recommended | Discovered | RelevanceFeedback
Scoring: TypeAlias = (
    Near
    | Sparse
    | Text
    | ByExamples
    | Diverse
    | Fused
    | PayloadText
    | Ordered
    | Computed
    | Unranked
)


@dataclass(slots=True, eq=False)
class Step:
    """One step. limit: how many of the best, after the first `offset` of them; expression: the
    filter; threshold: the score that hits must at least be as good as."""

    scoring: Scoring
    limit: int
    expression: Expression | None = None
    prefetch: tuple["Step", ...] = ()
    threshold: float | None = None
    offset: int = 0

    @property
    def depth(self) -> int:
        """How many hits are looked at."""
        return self.offset + self.limit


def with_limit(step: Step, limit: int) -> Step:
    """The same step for so many hits from the first on, and its prefetches for as many at least,
    where that isn't fixed."""
    prefetch = step.prefetch
    if not (isinstance(step.scoring, Fused) and step.scoring.has_fixed_limits):
        prefetch = tuple(with_limit(one, max(one.limit, limit)) for one in prefetch)
    return replace(step, limit=limit, offset=0, prefetch=prefetch)


GroupValue: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class BestOfEach:
    """Of the hits that have one value at a path at most the best `size` are left, in one ranking,
    and none without a value there. The step's limit and offset count what is left."""

    path: PayloadPath
    size: int


@dataclass(frozen=True, slots=True)
class Groups:
    """Hits are put into groups by the strings and integers that points have at a path. The first
    `count` groups are wanted, of `size` points at most. among: the filter of points that are in a
    group of these values; besides: of those that are in another one."""

    path: Steps
    count: int
    size: int
    among: Callable[[Sequence[GroupValue]], Expression]
    besides: Callable[[Sequence[GroupValue]], Expression]


@dataclass(slots=True, eq=False)
class Question:
    """Steps, answered in one state of the collection, and what hits shall carry. With groups there
    is one step. measured: hits carry the distances from its vectors too, NaN for points without
    one; for a step that fuses others, of which this is one."""

    steps: tuple[Step, ...]
    fields: Fields
    groups: BestOfEach | Groups | None = None
    measured: Near | None = None


def query_of(near: Near, place: int) -> Near:
    """One of the queries alone."""
    return replace(near, vectors=cast(Matrix, near.vectors[place : place + 1]))
