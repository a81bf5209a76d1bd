"""Conditions on a key → leaves, by what the index of the key makes of them."""

import math
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from qdrant_client import models

from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.columns import LEAST, MOST, ScalarKind, TokensAt, ValuesAt, uuid_in
from retrieval_store.filters.dates import micros_of
from retrieval_store.filters.nodes import Expression, Or, Scalar
from retrieval_store.filters.paths import Steps
from retrieval_store.filters.values import (
    Beginning,
    Between,
    Containing,
    Differs,
    Equals,
    HasPhrase,
    HasTokens,
    InBox,
    InCircle,
    InPolygon,
    Ring,
)
from retrieval_store.qdrant.filters.indexes import (
    Schema,
    kind_of,
    looks_up_integers,
    orders_integers,
    places_at,
    tokens_at,
    uuids_in,
)
from retrieval_store.qdrant.refusals import to_float

NONE = Or(())
LEAST_OF_A_RING = 4  # points: a triangle, and its first again


def _match(path: Steps, index: Schema, given: Any) -> Expression:
    match given:
        case models.MatchValue(value=value):
            return one_of(path, index, [value])
        case models.MatchAny(any=values):
            return one_of(path, index, values)
        case models.MatchExcept(except_=values):
            return other_than(path, index, values)
        case models.MatchText() | models.MatchTextAny() | models.MatchPhrase():
            return _text(path, index, given)
        case models.MatchPrefix(prefix=prefix):
            return Beginning(ValuesAt(path, "keyword"), prefix)
        case models.MatchSubstring(substring=text):
            return Containing(ValuesAt(path, "keyword"), text)
    raise InvalidFilterError(f"{shown(given)} is no way to match")


def _text(path: Steps, index: Schema, given: Any) -> Expression:
    """What is asked of texts: of their tokens, if an index has some, and else of their letters."""
    if kind_of(index) != "text":
        return _with_letters(ValuesAt(path, "keyword"), given)
    at = tokens_at(path, index)
    match given:
        case models.MatchText(text=text):
            return HasTokens(at, tuple(at.tokens.of_query(text)), every=True)
        case models.MatchTextAny(text_any=text):
            return HasTokens(at, tuple(at.tokens.of_query(text)), every=False)
        case models.MatchPhrase(phrase=phrase) if getattr(index, "phrase_matching", None):
            return HasPhrase(TokensAt(path, at.tokens, False), tuple(at.tokens.of_phrase(phrase)))
    return NONE


def _with_letters(at: ValuesAt, given: Any) -> Expression:
    """Strings that have a text in them, or any of its parts between blanks, case and all."""
    match given:
        case models.MatchTextAny(text_any=text):
            return Or(tuple(Containing(at, part) for part in dict.fromkeys(text.split())))
        case models.MatchPhrase(phrase=text) | models.MatchText(text=text):
            return Containing(at, text)
    raise InvalidFilterError(f"{shown(given)} is no way to match a text")


def is_missed(index: Schema, match: Any) -> bool:
    """Whether a server that looks for the points in an index finds none, though it would say yes of
    some if it were asked of them: indexes of numbers are asked for UUIDs, as for large ones."""
    return (
        kind_of(index) in ("integer", "float", "datetime")
        and isinstance(match, models.MatchValue)
        and isinstance(match.value, str)
        and uuid_in(match.value) is not None
    )


def one_of(path: Steps, index: Schema, values: Sequence[Scalar]) -> Expression:
    """Points with a value that is one of these."""
    if not values:
        return NONE
    if isinstance(values[0], str):
        held = uuids_in(index, values)
        if held is not None:
            return Equals(ValuesAt(path, "uuid"), held)
        return Equals(ValuesAt(path, "keyword"), tuple(values))
    if isinstance(values[0], bool):
        return Equals(ValuesAt(path, "bool"), tuple(values))
    kind: ScalarKind = "integer" if looks_up_integers(index) else "written integer"
    return Equals(ValuesAt(path, kind), tuple(values))


def other_than(path: Steps, index: Schema, values: Sequence[Scalar]) -> Expression:
    """Points with a value that is none of these."""
    if values and not isinstance(values[0], str):
        kind: ScalarKind = "integer" if looks_up_integers(index) else "anything"
        return Differs(ValuesAt(path, kind), tuple(values))
    held = uuids_in(index, values)
    if held is not None:
        return Differs(ValuesAt(path, "uuid"), held)
    kind = "keyword" if kind_of(index) == "keyword" else "anything"
    return Differs(ValuesAt(path, kind), tuple(values))


def _range(path: Steps, index: Schema, given: Any) -> Expression:
    """Between bounds, as the index reads them: an index of numbers takes times for microseconds,
    and one of times takes numbers for these."""
    given_bounds = vars(given).items()
    bounds = {name: _bound(value) for name, value in given_bounds if value is not None}
    kind: ScalarKind = "datetime" if isinstance(given, models.DatetimeRange) else "float"
    if kind_of(index) == "float":
        kind = "float"
    elif kind_of(index) == "datetime":
        kind = "datetime"
    elif orders_integers(index):
        kind = "integer"
    if kind == "integer":
        bounds = {name: as_read(value) for name, value in bounds.items()}
    if kind != "float":
        bounds = {name: clamped(value) for name, value in bounds.items()}
    return Between(ValuesAt(path, kind), **bounds)


def _bound(value: Any) -> int | float:
    if isinstance(value, date):
        return micros_of(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidFilterError(f"the range has the bound {shown(value)}, expected a finite one")
    return to_float(value, "the bound of a range")


def as_read(value: int | float) -> int | float:
    """A number as a server reads it, whose integers beyond 2^53 tell the difference: of a float the
    digits, as float64, times or divided by a power of ten, which is a unit off for some."""
    if isinstance(value, int):
        return value
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    power = int(exponent)
    number = float(int("".join(map(str, digits))))
    number = number * 10.0**power if power >= 0 else number / 10.0**-power
    return -number if sign else number


def clamped(value: int | float) -> int | float:
    """A bound of integers, which end at 64 bits."""
    return min(max(value, LEAST), MOST)


def _box(path: Steps, index: Schema, given: models.GeoBoundingBox) -> Expression:
    (west, north), (east, south) = _place(given.top_left), _place(given.bottom_right)
    return InBox(places_at(path, index), west, north, east, south)


def _circle(path: Steps, index: Schema, given: models.GeoRadius) -> Expression:
    return InCircle(places_at(path, index), *_place(given.center), given.radius)


def _polygon(path: Steps, index: Schema, given: models.GeoPolygon) -> Expression:
    interiors = tuple(_ring(one) for one in given.interiors or ())
    return InPolygon(places_at(path, index), _ring(given.exterior), interiors)


def _ring(given: models.GeoLineString) -> Ring:
    points = tuple(map(_place, given.points))
    if len(points) < LEAST_OF_A_RING:
        raise InvalidFilterError(f"a polygon has {len(points)} points, expected at least 4")
    if points[0] != points[-1]:
        raise InvalidFilterError("a polygon's last point isn't its first, as it should be")
    return points


def _place(given: models.GeoPoint) -> tuple[float, float]:
    if not (abs(given.lon) <= 180 and abs(given.lat) <= 90):
        raise InvalidFilterError(
            f"a place has lon={given.lon} and lat={given.lat}, expected them within 180 and 90"
        )
    return given.lon, given.lat


PARSERS: dict[str, Callable[[Steps, Schema, Any], Expression]] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _box,
    "geo_radius": _circle,
    "geo_polygon": _polygon,
}
