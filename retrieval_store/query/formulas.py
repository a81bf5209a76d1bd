"""Formulas that compute a score from other scores, payloads and conditions.

A formula is a tree of these nodes. Each node is evaluated for all points at once. If a result isn't
a finite number, the query is refused, as on a Qdrant server.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from retrieval_store.filters.columns import PlacesAt, ValuesAt
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import JsonPath

Variable: TypeAlias = JsonPath | ValuesAt | PlacesAt
"""Where a formula finds a value: at a path of the payload, or among those at a path that an index
of payloads holds. The value must be one, and of the kind that is wanted; where there is none, a
default counts."""
Unary: TypeAlias = Literal["neg", "abs", "sqrt", "exp", "log10", "ln", "acosh"]
Several: TypeAlias = Literal["sum", "mult", "max", "min"]
Decay: TypeAlias = Literal["lin", "exp", "gauss"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant number; a time is given in seconds since 1970."""

    value: float


@dataclass(frozen=True, slots=True)
class ScoreOf:
    """The score that a prefetch gave the point, or a default if the prefetch didn't find it."""

    place: int
    default: float


@dataclass(frozen=True, slots=True)
class NumberAt:
    """The number at a path of the payload, or the default."""

    at: Variable
    default: float | None


@dataclass(frozen=True, slots=True)
class TimeAt:
    """The time at a path of the payload, in seconds since 1970, or the default."""

    at: Variable
    default: float | None


@dataclass(frozen=True, slots=True)
class DistanceTo:
    """The distance in metres between a given place, (longitude, latitude), and the place at a path
    of the payload, or the default place."""

    origin: tuple[float, float]
    at: Variable
    default: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Whether:
    """1 if the point fulfils a condition, else 0."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of one number."""

    function: Unary
    term: "Formula"


@dataclass(frozen=True, slots=True)
class Combine:
    """A function of several numbers."""

    function: Several
    terms: tuple["Formula", ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """One number divided by another; by_zero: the result if the divisor is 0."""

    left: "Formula"
    right: "Formula"
    by_zero: float | None


@dataclass(frozen=True, slots=True)
class Power:
    """One number to the power of another."""

    base: "Formula"
    exponent: "Formula"


@dataclass(frozen=True, slots=True)
class Decayed:
    """A decay function: 1 at the target, and `midpoint` at the distance `scale` from it; linear,
    exponential, or Gaussian."""

    kind: Decay
    x: "Formula"
    target: "Formula"
    scale: float
    midpoint: float


# What a score is computed by: each part computes a number for a point.
Formula: TypeAlias = (
    Constant
    | ScoreOf
    | NumberAt
    | TimeAt
    | DistanceTo
    | Whether
    | Apply
    | Combine
    | Quotient
    | Power
    | Decayed
)
