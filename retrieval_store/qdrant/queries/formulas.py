"""Formulas of qdrant-client's models, converted into those of `interface.formulas`."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from qdrant_client import models

from retrieval_store.base.validation import shown
from retrieval_store.filters.dates import micros_in
from retrieval_store.filters.leaves import MAX_NODES
from retrieval_store.filters.nodes import MAX_DEPTH
from retrieval_store.qdrant.collections.indexed import NUMBERS, PLACES, TIMES, Use
from retrieval_store.qdrant.collections.opened import Opened
from retrieval_store.qdrant.collections.strict import check_filter, check_key
from retrieval_store.qdrant.filters.indexes import parse_variable
from retrieval_store.qdrant.points.reading import expression_of
from retrieval_store.qdrant.refusals import to_float, wrong
from retrieval_store.query.query import (
    Apply,
    Combine,
    Constant,
    Decay,
    Decayed,
    DistanceTo,
    Formula,
    NumberAt,
    Power,
    Quotient,
    ScoreOf,
    Several,
    TimeAt,
    Unary,
    Variable,
    Whether,
)

MICROS = 1e6
UNARY: tuple[Unary, ...] = ("neg", "abs", "sqrt", "exp", "log10", "ln", "acosh")
SEVERAL: tuple[Several, ...] = ("sum", "mult", "max", "min")
DECAYS: tuple[Decay, ...] = ("lin", "exp", "gauss")
_SCORE = re.compile(r"\$score(?:\[(\d+)\])?", re.ASCII)


def formula_of(opened: Opened, query: models.FormulaQuery) -> Formula:
    """The formula of a query, checked as a whole."""
    return _Parser(opened, query.defaults or {}).parse(query.formula, 1)


class _Parser:
    """Parses one formula; defaults: for scores and keys that a point lacks."""

    def __init__(self, opened: Opened, defaults: Mapping[str, Any]) -> None:
        self._opened, self._nodes = opened, 0
        self._defaults = {_normal(key): value for key, value in defaults.items()}

    def parse(self, given: Any, depth: int) -> Formula:
        """One node, and those below it."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise wrong(f"the formula has more than {MAX_DEPTH} levels or {MAX_NODES} parts")
        if isinstance(given, int | float) and not isinstance(given, bool):
            return Constant(to_float(given, "the formula"))
        if isinstance(given, str):
            return self._variable(given)
        return self._special(given, depth) or self._function(given, depth) or self._whether(given)

    def _variable(self, name: str) -> Formula:
        if not name.startswith("$score"):
            return NumberAt(self._at(name, NUMBERS), self._number(name))
        found = _SCORE.fullmatch(name)
        if found is None:
            raise wrong(f"the formula: {name!r} is no score; expected '$score' or '$score[1]'")
        default = self._number(_normal(name))
        return ScoreOf(int(found[1] or 0), 0.0 if default is None else default)

    def _at(self, name: str, uses: Sequence[Use]) -> Variable:
        check_key(self._opened, name, uses)
        return parse_variable(name, self._opened.configuration.indexes_by_path)

    def _default(self, name: str) -> Any:
        value = self._defaults.get(name)
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    def _number(self, name: str) -> float | None:
        value = self._default(name)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return to_float(value, f"defaults[{name!r}]") if known else None

    def _special(self, given: Any, depth: int) -> Formula | None:
        match given:
            case models.DivExpression(div=div):
                left, right = self.parse(div.left, depth + 1), self.parse(div.right, depth + 1)
                return Quotient(left, right, div.by_zero_default)
            case models.PowExpression(pow=power):
                return Power(
                    self.parse(power.base, depth + 1), self.parse(power.exponent, depth + 1)
                )
            case models.GeoDistance(geo_distance=asked):
                return self._distance(asked)
            case models.DatetimeExpression(datetime=text):
                return Constant(_seconds(text))
            case models.DatetimeKeyExpression(datetime_key=key):
                default = self._default(key)
                seconds = _seconds(default) if isinstance(default, str) else None
                return TimeAt(self._at(key, TIMES), seconds)
        return None

    def _distance(self, asked: models.GeoDistanceParams) -> Formula:
        place = self._default(asked.to)
        known = isinstance(place, dict) and {"lon", "lat"} <= place.keys()
        name = f"defaults[{asked.to!r}]"
        default = (
            (to_float(place["lon"], f"{name}['lon']"), to_float(place["lat"], f"{name}['lat']"))
            if known
            else None
        )
        origin = (asked.origin.lon, asked.origin.lat)
        return DistanceTo(origin, self._at(asked.to, PLACES), default)

    def _function(self, given: Any, depth: int) -> Formula | None:
        """Nodes that are a model with one field, named as the function is."""
        for name, parse in _PARSERS.items():
            if isinstance(given, getattr(models, _class_of(name))):
                return parse(self, name, getattr(given, name), depth + 1)
        return None

    def apply(self, name: str, term: Any, depth: int) -> Formula:
        """A function of one number."""
        return Apply(cast(Unary, name), self.parse(term, depth))

    def combine(self, name: str, terms: Any, depth: int) -> Formula:
        """A function of several."""
        if not terms and name in ("max", "min"):
            raise wrong(f"the formula: {name!r} needs at least one operand")
        if not terms:
            return Constant(1.0 if name == "mult" else 0.0)
        return Combine(cast(Several, name), tuple(self.parse(one, depth) for one in terms))

    def decay(self, name: str, params: models.DecayParamsExpression, depth: int) -> Formula:
        """One of the decays."""
        midpoint = 0.5 if params.midpoint is None else params.midpoint
        scale = 1.0 if params.scale is None else params.scale
        kind = cast(Decay, name.removesuffix("_decay"))
        if not (0.0 <= midpoint <= 1.0 if kind == "lin" else 0.0 < midpoint < 1.0):
            raise wrong(f"the formula: midpoint is {midpoint}, expected one between 0 and 1")
        if scale <= 0.0:
            raise wrong(f"the formula: scale is {scale}, expected more than 0")
        target = Constant(0.0) if params.target is None else self.parse(params.target, depth)
        return Decayed(kind, self.parse(params.x, depth), target, scale, midpoint)

    def _whether(self, given: Any) -> Formula:
        try:
            filter_ = models.Filter(must=[given])
        except ValueError:
            raise wrong(f"the formula has {shown(given)}, expected an expression") from None
        check_filter(self._opened, filter_)
        expression = expression_of(self._opened, filter_)
        assert expression is not None
        return Whether(expression)


_PARSERS: dict[str, Callable[[_Parser, str, Any, int], Formula]] = {
    **dict.fromkeys(UNARY, _Parser.apply),
    **dict.fromkeys(SEVERAL, _Parser.combine),
    **dict.fromkeys((f"{kind}_decay" for kind in DECAYS), _Parser.decay),
}


def _class_of(name: str) -> str:
    """The model that has this field."""
    return "".join(part.capitalize() for part in name.split("_")) + "Expression"


def _normal(name: str) -> str:
    return "$score[0]" if name == "$score" else name


def _seconds(text: str) -> float:
    micros = micros_in(text)
    if micros is None:
        raise wrong(f"the formula: {text!r} is no datetime")
    return micros / MICROS
