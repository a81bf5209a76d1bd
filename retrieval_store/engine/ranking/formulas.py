"""Formulas, worked out for all candidates at once.

What a server doesn't reach, it doesn't refuse: behind a factor of 0, or a dividend of 0, nothing
counts any more. So each node is told for which rows it is `asked`, and only there a value that is
missing, or isn't a finite number, is an error.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.base.fusion import Ranking
from retrieval_store.engine.filtering.masks import among
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.storage.records import has_anything, read_exactly
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.dates import micros_in
from retrieval_store.filters.paths import EACH, Steps, found_in, items_of
from retrieval_store.filters.values import distances
from retrieval_store.query.query import (
    Apply,
    Combine,
    Constant,
    Decayed,
    DistanceTo,
    Formula,
    NumberAt,
    Power,
    Quotient,
    ScoreOf,
    TimeAt,
    Variable,
    Whether,
)

MICROS = 1e6
EAST, NORTH = 180.0, 90.0


def worked_out(view: SearchView, formula: Formula, rows: Ints, before: Sequence[Ranking]) -> Floats:
    """(n,) the formula's value for each of the rows, ascending; InvalidArgumentError where it has
    none. before: what earlier steps have found, with scores."""
    with np.errstate(all="ignore"):  # what isn't finite is told apart below
        scores = _Rows(view, rows, before).value(formula, np.ones(len(rows), np.bool_))
        narrow = scores.astype(np.float32)
    _refuse(~np.isfinite(narrow), "the score")
    return scores


def _refuse(wrong: Bools, what: str) -> None:
    if wrong.any():
        raise InvalidArgumentError(f"the formula: {what} isn't a finite number for some point")


class _Rows:
    """Some rows, and what formulas look up of them."""

    def __init__(self, view: SearchView, rows: Ints, before: Sequence[Ranking]) -> None:
        self._view, self._rows, self._before = view, rows, before

    def value(self, node: Formula, asked: Bools) -> Floats:
        """(n,) right for the rows that it is asked for."""
        match node:
            case Constant(value):
                return np.full(len(self._rows), value)
            case ScoreOf(place, default):
                return self._score(place, default)
            case NumberAt(at, default):
                return self._read(at, asked, _number, default)
            case TimeAt(at, default):
                return self._read(at, asked, _seconds, default)
            case DistanceTo():
                return self._distance(node, asked)
            case Whether(expression):
                return among(self._view, expression, self._rows).astype(np.float64)
            case Apply(function, term):
                found = _FUNCTIONS[function](self.value(term, asked))
                return _finite(found, asked, function)
            case Combine("mult", terms):
                return self._product(terms, asked)
            case Combine(function, terms):
                values = np.stack([self.value(term, asked) for term in terms])
                return _REDUCED[function](values)
            case Quotient():
                return self._quotient(node, asked)
            case Power(base, exponent):
                powers = self.value(base, asked) ** self.value(exponent, asked)
                return _finite(powers, asked, "a power")
            case Decayed():
                return self._decayed(node, asked)

    def _score(self, place: int, default: float) -> Floats:
        scores = np.full(len(self._rows), default)
        if place < len(self._before):
            found, given = self._before[place]
            scores[np.searchsorted(self._rows, found)] = given
        return scores

    def _product(self, terms: Sequence[Formula], asked: Bools) -> Floats:
        product = np.ones(len(self._rows))
        for term in terms:
            factor = self.value(term, asked)
            product = np.where(asked, product * factor, product)
            product[asked & (factor == 0)] = 0.0
            asked = asked & (factor != 0)
        return product

    def _quotient(self, node: Quotient, asked: Bools) -> Floats:
        left = self.value(node.left, asked)
        asked = asked & (left != 0)
        right = self.value(node.right, asked)
        quotient = np.where(left == 0, 0.0, left / right)
        if node.by_zero is not None:
            quotient = np.where((left != 0) & (right == 0), node.by_zero, quotient)
        return _finite(quotient, asked, "a quotient")

    def _decayed(self, node: Decayed, asked: Bools) -> Floats:
        """Qdrant's documentation, "Decay functions"."""
        apart: Floats = (
            np.abs(self.value(node.x, asked) - self.value(node.target, asked)) / node.scale
        )
        match node.kind:
            case "lin":
                return np.maximum(0.0, 1.0 - (1.0 - node.midpoint) * apart)
            case "exp":
                decayed: Floats = np.exp(np.log(node.midpoint) * apart)
            case "gauss":
                decayed = np.exp(np.log(node.midpoint) * apart * apart)
        return decayed

    def _distance(self, node: DistanceTo, asked: Bools) -> Floats:
        places = self._read(node.at, asked, _place, node.default, (0.0, 0.0)).reshape(-1, 2)
        return distances(*node.origin, places[:, 0], places[:, 1])

    def _read(
        self,
        at: Variable,
        asked: Bools,
        of: Callable[[Any], Any],
        default: Any,
        unasked: Any = 0.0,
    ) -> Floats:
        """What points have there, one value each, and what stands for it where it isn't asked."""
        path = at if isinstance(at, Steps) else at.path
        assert isinstance(path, Steps)  # fronts with formulas have no others
        connection, pks = self._view.connection, self._view.state.pks[self._rows]
        (values,) = read_exactly(connection, pks, [path.keys])
        nothing = [i for i, value in enumerate(values) if value is None]
        null = has_anything(connection, pks[nothing], path.keys) if nothing else ()
        absent = {i for i, there in zip(nothing, null, strict=True) if not there}
        held = (
            [] if i in absent else _held(at, found_in(value, path.beyond))
            for i, value in enumerate(values)
        )
        found = [_one(one, default, of) for one in held]
        lacking = np.array([one is None for one in found], np.bool_) & asked
        if lacking.any():
            raise InvalidArgumentError(
                f"the formula: a point has nothing of use at {str(path)!r}, and there is no default"
            )
        return np.array([unasked if one is None else one for one in found], np.float64)


class _Time(NamedTuple):
    """A time as an index of times holds it."""

    micros: int


def _held(at: Variable, found: list[Any]) -> list[Any]:
    """The values of a point. As a path that leads into a list says so, one that ends with all of
    its elements gives these as they are, and another those of a list in its place."""
    if isinstance(at, Steps):
        return found if at.steps[-1] is EACH else items_of(found)
    held: list[Any] = at.within(found)
    is_time = isinstance(at, ValuesAt) and at.kind == "datetime"
    return [_Time(micros) for micros in held] if is_time else held


def _one(values: list[Any], default: Any, of: Callable[[Any], Any]) -> Any:
    """The only value, or several as a list; the default where there is none."""
    if not values:
        return default
    return of(values[0] if len(values) == 1 else values)


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _seconds(value: Any) -> float | None:
    if isinstance(value, _Time):
        return value.micros / MICROS
    micros = micros_in(value) if isinstance(value, str) else None
    return None if micros is None else micros / MICROS


def _place(value: Any) -> tuple[float, float] | None:
    """Two numbers are a place too, as servers read them: longitude and latitude."""
    match value:
        case {"lon": lon, "lat": lat} | [lon, lat]:
            east, north = _number(lon), _number(lat)
            if east is not None and north is not None and abs(east) <= EAST and abs(north) <= NORTH:
                return east, north
    return None


def _finite(values: Floats, asked: Bools, what: str) -> Floats:
    _refuse(asked & ~np.isfinite(values), what)
    return values


_FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log10": np.log10,
    "ln": np.log,
    "acosh": np.arccosh,
}
_REDUCED: dict[str, Callable[[Floats], Floats]] = {
    "sum": lambda values: values.sum(axis=0),
    "max": np.fmax.reduce,
    "min": np.fmin.reduce,
}
