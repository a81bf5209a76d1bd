"""Formulas, worked out for all candidates at once.

What a server doesn't reach, it doesn't refuse: behind a factor of 0, or a dividend of 0, nothing
counts any more. So each node is told for which rows it is `asked`, and only there a value that is
missing, or isn't a finite number, is an error.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.base.ranking import Ranking
from retrieval_store.engine.filtering.masks import among
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.storage.records import read_exactly
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.dates import micros_in
from retrieval_store.filters.typed.geo import distances
from retrieval_store.filters.typed.paths import Steps, found_in, items_of
from retrieval_store.interface.formulas import (
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
    Whether,
)

MICROS = 1e6


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
            case NumberAt(path, default):
                return self._read(path, default, asked, _number)
            case TimeAt(path, default):
                return self._read(path, default, asked, _seconds)
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
        lon = self._read(node.path, node.default and node.default[0], asked, _longitude)
        lat = self._read(node.path, node.default and node.default[1], asked, _latitude)
        return distances(*node.origin, lon, lat)

    def _read(
        self, path: Steps, default: float | None, asked: Bools, of: Callable[[Any], float | None]
    ) -> Floats:
        """What payloads have at a path: one value each."""
        (values,) = read_exactly(
            self._view.connection, self._view.state.pks[self._rows], [path.keys]
        )
        found = [_one(items_of(found_in(value, path.beyond)), default, of) for value in values]
        lacking = np.array([one is None for one in found], np.bool_) & asked
        if lacking.any():
            raise InvalidArgumentError(
                f"the formula: a point has nothing of use at {str(path)!r}, and there is no default"
            )
        return np.array([0.0 if one is None else one for one in found])


def _one(
    items: list[Any], default: float | None, of: Callable[[Any], float | None]
) -> float | None:
    items = [item for item in items if item is not None]
    if not items:
        return default
    return of(items[0]) if len(items) == 1 else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _seconds(value: Any) -> float | None:
    micros = micros_in(value) if isinstance(value, str) else None
    return None if micros is None else micros / MICROS


def _longitude(value: Any) -> float | None:
    return _number(value.get("lon")) if isinstance(value, dict) else None


def _latitude(value: Any) -> float | None:
    return _number(value.get("lat")) if isinstance(value, dict) else None


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
