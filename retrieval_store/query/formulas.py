"""Formulas that compute a score from other scores, payloads and conditions.

A formula is a tree of these nodes. Each node is evaluated for all points at once. If a result isn't
a finite number, the query fails, as on a Qdrant server.
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
    """A constant number. A time is given in seconds since 1970."""

    value: float


@dataclass(frozen=True, slots=True)
class ScoreOf:
    """The score of the point in a prefetch, or `default` if that prefetch didn't find the point."""

    place: int
    default: float


@dataclass(frozen=True, slots=True)
class NumberAt:
    """The number at a path of the payload, or `default` if there is no number."""

    at: Variable
    default: float | None


@dataclass(frozen=True, slots=True)
class TimeAt:
    """The point in time at a path of the payload, in seconds since 1970, or `default` if there is
    no time."""

    at: Variable
    default: float | None


@dataclass(frozen=True, slots=True)
class DistanceTo:
    """The distance in metres from `origin`, (longitude, latitude), to the location at a path of the
    payload. If the payload has no location there, `default` is used as its location."""

    origin: tuple[float, float]
    at: Variable
    default: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Whether:
    """1 if the point fulfils a condition, else 0."""

    expression: Expression


@dataclass(frozen=True, slots=True)
class Apply:
    """The result of a function of one argument. The argument is the value of `term`."""

    function: Unary
    term: "Formula"


@dataclass(frozen=True, slots=True)
class Combine:
    """The result of a function of several numbers, the values of `terms`."""

    function: Several
    terms: tuple["Formula", ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """The left number divided by the right number; by_zero: the result if the right number is 0."""

    left: "Formula"
    right: "Formula"
    by_zero: float | None


@dataclass(frozen=True, slots=True)
class Power:
    """The base raised to the power of the exponent."""

    base: "Formula"
    exponent: "Formula"


@dataclass(frozen=True, slots=True)
class Decayed:
    """A linear, exponential or Gaussian decay function of x. Its value is 1 at the target, and
    `midpoint` where x is `scale` away from the target."""

    kind: Decay
    x: "Formula"
    target: "Formula"
    scale: float
    midpoint: float


# The nodes of a formula: each computes a number for a point.
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
