"""Formulas that compute a score from other scores, payloads and conditions.

A formula is a tree of these nodes. Each is evaluated for all points at once; where a result isn't a
finite number the query is refused, as on a server.
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
    """A number; of a time, its seconds since 1970."""

    value: float


@dataclass(frozen=True, slots=True)
class ScoreOf:
    """The score that one of the steps before gave, or a default where it didn't find the point."""

    place: int
    default: float


@dataclass(frozen=True, slots=True)
class NumberAt:
    """A number, or the default."""

    at: Variable
    default: float | None


@dataclass(frozen=True, slots=True)
class TimeAt:
    """A time, in seconds since 1970, or the default."""

    at: Variable
    default: float | None


@dataclass(frozen=True, slots=True)
class DistanceTo:
    """Metres from a place, (longitude, latitude), to another, or to the default."""

    origin: tuple[float, float]
    at: Variable
    default: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Whether:
    """1 where a condition is fulfilled, else 0."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class Apply:
    """A function of one number."""

    function: Unary
    term: "Formula"


@dataclass(frozen=True, slots=True)
class Combine:
    """A function of several."""

    function: Several
    terms: tuple["Formula", ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """One number divided by another; by_zero: the result where the divisor is 0."""

    left: "Formula"
    right: "Formula"
    by_zero: float | None


@dataclass(frozen=True, slots=True)
class Power:
    """One to the power of another."""

    base: "Formula"
    exponent: "Formula"


@dataclass(frozen=True, slots=True)
class Decayed:
    """1 at the target, and `midpoint` at a distance of `scale` from it: along a line, an
    exponential, or a bell."""

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
