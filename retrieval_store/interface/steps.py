"""Queries in steps: points are chosen by some, and ranked by the next.

A step ranks the points that its expression allows; where steps go before it, those that any of them
has found. Its scores are those that a Qdrant server gives: distances are distances, and less is
better; of everything else more is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from retrieval_store.base.arrays import Matrix, SparseVector
from retrieval_store.filters.columns import TokensAt, ValuesAt
from retrieval_store.filters.expression import Expression
from retrieval_store.filters.paths import Steps
from retrieval_store.interface.formulas import Formula

Example: TypeAlias = Matrix | SparseVector
"""What a space has for a point: (dim,) float32 of a dense one, (m, dim) of several vectors."""


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """By nearness to a vector. exact: without an index; ef: candidates to ask of one; corpus: the
    points among which the idf of a sparse space is counted, all if None."""

    space: str
    vector: Example
    exact: bool = False
    ef: int | None = None
    corpus: Expression | None = None


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
class Adjusted:
    """By nearness to a target, times `own`, and by how much nearer a point is to the first of each
    pair than to the second, times the pair's weight."""

    space: str
    target: Example
    own: float
    pairs: tuple[tuple[Example, Example, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Diverse:
    """By nearness to a vector, and unlikeness to what is taken already (MMR): of so many
    candidates. diversity: from 0, nearness alone, to 1."""

    near: Near
    diversity: float
    candidates: int


@dataclass(frozen=True, slots=True)
class Fused:
    """The rankings before, fused by reciprocal ranks with a constant k, or by the distributions of
    their scores where k is None. weights: of each, all alike if None."""

    k: float | None
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Worded:
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
    """By a formula."""

    formula: Formula


@dataclass(frozen=True, slots=True)
class Unranked:
    """In the order of ids, or at random."""

    at_random: bool = False


Scoring: TypeAlias = (
    Near
    | Recommended
    | Discovered
    | Adjusted
    | Diverse
    | Fused
    | Worded
    | Ordered
    | Computed
    | Unranked
)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step. limit: how many of the best, after the first `offset` of them; threshold: the score
    that they must at least be as good as."""

    scoring: Scoring
    limit: int
    before: tuple["Step", ...] = ()
    expression: Expression | None = None
    threshold: float | None = None
    offset: int = 0


GroupValue: TypeAlias = str | int


@dataclass(frozen=True, slots=True)
class Grouping:
    """By what points are put into groups: the strings and integers that they have at a path. The
    first so many groups are wanted, of so many points at most. among: what points fulfil that are
    in a group of these values; besides: what those do that are in another one."""

    path: Steps
    groups: int
    size: int
    among: Callable[[Sequence[GroupValue]], Expression]
    besides: Callable[[Sequence[GroupValue]], Expression]
