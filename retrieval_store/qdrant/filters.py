"""Qdrant's filters as expressions, and what facets and orders are of.

A condition on a key means what it means on a server, where it depends on the index that the key
has: an index answers what it can from the values that it holds, and everything else is asked of
payloads. So each condition is translated into one on the values that would be asked there.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias, cast
from uuid import UUID

from qdrant_client import models

from retrieval_store.base.json_values import shown
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.dates import micros_of
from retrieval_store.filters.expression import (
    And,
    AtLeast,
    Expression,
    HasId,
    Not,
    Or,
    Scalar,
)
from retrieval_store.filters.limits import MAX_NODES
from retrieval_store.filters.typed.columns import PlacesAt, SizesAt, TokensAt, ValuesAt
from retrieval_store.filters.typed.geo import InBox, InCircle, InPolygon, Ring
from retrieval_store.filters.typed.kinds import LEAST, MOST, ScalarKind, uuid_in
from retrieval_store.filters.typed.matches import Between, Counted, Differs, Equals, HasNull
from retrieval_store.filters.typed.nested import any_element
from retrieval_store.filters.typed.paths import Steps
from retrieval_store.filters.typed.points import HasVector, InSlice
from retrieval_store.filters.typed.texts import Beginning, Containing, HasPhrase, HasTokens
from retrieval_store.interface.formulas import Variable
from retrieval_store.interface.questions import Groups
from retrieval_store.qdrant.paths import parse_path
from retrieval_store.qdrant.refusals import malformed, to_float
from retrieval_store.qdrant.text import tokens_of

Schema: TypeAlias = Any  # models.PayloadSchemaType, or parameters of an index
Indexes: TypeAlias = Mapping[Steps, Schema]
NONE = Or(())
EVERYWHERE = (0.0, 0.0, 1e9)  # within so many metres of a place
MOST_LEVELS = 64  # of filters in filters: servers read JSON of 128 levels
LEAST_OF_A_RING = 4  # points: a triangle, and its first again


def parse_filter(given: models.Filter | None, indexes: Mapping[str, Schema]) -> Expression | None:
    """The filter as an expression, None for none; InvalidFilterError for one that a server refuses.

    indexes: of payloads, by key, as they are described."""
    if given is None:
        return None
    return _Parser(by_path(indexes)).filter(given, 1)


def merged(one: models.Filter | None, other: models.Filter | None) -> models.Filter | None:
    """Two filters as one, as servers make it: all that must be or mustn't, of both; but what should
    be stands together, so it is enough that something of either is so."""
    if one is None or other is None:
        return one or other
    least = one.min_should or other.min_should
    if one.min_should is not None and other.min_should is not None:
        least = models.MinShould(
            conditions=[*one.min_should.conditions, *other.min_should.conditions],
            min_count=max(one.min_should.min_count, other.min_should.min_count),
        )
    return models.Filter(
        must=_together(one.must, other.must),
        must_not=_together(one.must_not, other.must_not),
        should=_together(one.should, other.should),
        min_should=least,
    )


def _together(some: Any, others: Any) -> Any:
    if some is None or others is None:
        return others if some is None else some
    lists = [one if isinstance(one, list) else [one] for one in (some, others)]
    return lists[0] + lists[1]


def by_path(indexes: Mapping[str, Schema]) -> Indexes:
    """The indexes by the paths of their keys, which may be written in several ways."""
    return {parse_path(key): schema for key, schema in indexes.items()}


def kind_of(schema: Schema) -> str | None:
    """Which kind of index is described; None for none."""
    if schema is None or isinstance(schema, models.PayloadSchemaType):
        return schema and str(schema.value)
    return str(schema.type.value)


@dataclass(slots=True)
class _Parser:
    """Parses one filter. inside: of which list the conditions are asked of elements, if of any;
    negated: whether what is asked must not be so; count: how many conditions there were."""

    indexes: Indexes
    inside: tuple[Steps, ...] = ()
    negated: bool = False
    count: list[int] = field(default_factory=lambda: [0])

    def filter(self, given: models.Filter, depth: int) -> Expression:
        if depth > MOST_LEVELS:
            raise InvalidFilterError(f"the filter is nested deeper than {MOST_LEVELS} levels")
        terms = [*self._all(given.must, depth)]
        terms += [Not(term) for term in self._opposite()._all(given.must_not, depth)]
        should = self._all(given.should, depth)
        # To servers no alternatives are no condition on a point, but one that no element fulfils.
        if should or (self.inside and given.should is not None):
            terms.append(Or(tuple(should)))
        if given.min_should is not None:
            terms.append(self._least(given.min_should, depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _opposite(self) -> "_Parser":
        return replace(self, negated=True)

    def _all(self, given: Any, depth: int) -> list[Expression]:
        conditions = given if isinstance(given, list) else [] if given is None else [given]
        return [self._condition(one, depth) for one in conditions]

    def _least(self, given: models.MinShould, depth: int) -> Expression:
        if given.min_count < 1:
            raise malformed(f"min_count is {given.min_count}, expected 1 or more")
        return AtLeast(tuple(self._all(given.conditions, depth)), given.min_count)

    def _condition(self, given: Any, depth: int) -> Expression:
        self.count[0] += 1
        if self.count[0] > MAX_NODES:
            raise InvalidFilterError(f"the filter has more than {MAX_NODES} conditions")
        match given:
            case models.Filter():
                return self.filter(given, depth + 1)
            case models.FieldCondition():
                return self._of_field(given)
            case models.IsEmptyCondition(is_empty=of):
                return Not(Counted(SizesAt(parse_path(of.key)), gte=1))
            case models.IsNullCondition(is_null=of):
                return HasNull(SizesAt(parse_path(of.key)))
            case models.NestedCondition(nested=nested):
                return self._nested(nested, depth + 1)
        if self.inside:  # elements of lists have neither ids nor vectors
            return NONE
        match given:
            case models.HasIdCondition(has_id=ids):
                return HasId(tuple(map(parse_id, ids)))
            case models.HasVectorCondition(has_vector=str(space)):
                return HasVector(space)
            case models.SliceCondition(slice=part):
                return _checked(InSlice(part.total, part.index))
        raise InvalidFilterError(f"{shown(given)} is no condition of a filter")

    def _nested(self, given: models.Nested, depth: int) -> Expression:
        path = parse_path(given.key).into_each()
        within = replace(self, inside=(*self.inside, path))
        return any_element(path, within.filter(given.filter, depth))

    def _of_field(self, given: models.FieldCondition) -> Expression:
        path = parse_path(given.key)
        sizes = self._sizes(path, given)
        if sizes is not None:
            return sizes
        index = self._index(path)
        if not self.negated and _is_missed(index, given.match):
            return NONE
        said = [
            parse(path, index, value)
            for name, parse in _PARSERS.items()
            if (value := getattr(given, name)) is not None
        ]
        if not said:
            raise InvalidFilterError(f"the condition on {given.key!r} says nothing")
        return said[0] if len(said) == 1 else Or(tuple(said))

    def _sizes(self, path: Steps, given: models.FieldCondition) -> Expression | None:
        """What is asked of how many values there are, which goes before all else. Where there are
        several, one that is empty or isn't null is enough, unless an index knows of all at once."""
        at, indexed = SizesAt(path), not self.inside and path in self.indexes
        if given.is_empty is not None:
            some = Counted(at, gte=1)
            return some if not given.is_empty else Not(some) if indexed else Counted(at, lt=1)
        if given.is_null is not None:
            null = HasNull(at)
            return null if given.is_null else Not(null) if indexed else HasNull(at, wanted=False)
        count = given.values_count
        return None if count is None else Counted(at, **count.model_dump())

    def _index(self, path: Steps) -> Schema:
        """The index that counts: of elements of lists, which are looked at one by one, only that of
        texts does."""
        steps = tuple(step for outer in self.inside for step in outer.steps)
        index = self.indexes.get(Steps((*steps, *path.steps)))
        return index if not self.inside or kind_of(index) == "text" else None


def _match(path: Steps, index: Schema, given: Any) -> Expression:
    match given:
        case models.MatchValue(value=value):
            return _one_of(path, index, [value])
        case models.MatchAny(any=values):
            return _one_of(path, index, values)
        case models.MatchExcept(except_=values):
            return _other_than(path, index, values)
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
    at = _tokens_at(path, index)
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


def _is_missed(index: Schema, match: Any) -> bool:
    """Whether a server that looks for the points in an index finds none, though it would say yes of
    some if it were asked of them: indexes of numbers are asked for UUIDs, as for large ones."""
    return (
        kind_of(index) in ("integer", "float", "datetime")
        and isinstance(match, models.MatchValue)
        and isinstance(match.value, str)
        and uuid_in(match.value) is not None
    )


def _one_of(path: Steps, index: Schema, values: Sequence[Scalar]) -> Expression:
    if not values:
        return NONE
    if isinstance(values[0], str):
        held = _uuids(index, values)
        if held is not None:
            return Equals(ValuesAt(path, "uuid"), held)
        return Equals(ValuesAt(path, "keyword"), tuple(values))
    if isinstance(values[0], bool):
        return Equals(ValuesAt(path, "bool"), tuple(values))
    kind: ScalarKind = "integer" if _looks_up_integers(index) else "written integer"
    return Equals(ValuesAt(path, kind), tuple(values))


def _other_than(path: Steps, index: Schema, values: Sequence[Scalar]) -> Expression:
    if values and not isinstance(values[0], str):
        kind: ScalarKind = "integer" if _looks_up_integers(index) else "anything"
        return Differs(ValuesAt(path, kind), tuple(values))
    held = _uuids(index, values)
    if held is not None:
        return Differs(ValuesAt(path, "uuid"), held)
    kind = "keyword" if kind_of(index) == "keyword" else "anything"
    return Differs(ValuesAt(path, kind), tuple(values))


def _uuids(index: Schema, values: Sequence[Scalar]) -> tuple[str, ...] | None:
    """The values as an index of UUIDs holds them; None where there is none, or one is no UUID."""
    if kind_of(index) != "uuid":
        return None
    found = [uuid_in(str(value)) for value in values]
    return tuple(one for one in found if one is not None) if None not in found else None


def _looks_up_integers(index: Schema) -> bool:
    return kind_of(index) == "integer" and getattr(index, "lookup", None) is not False


def _orders_integers(index: Schema) -> bool:
    return kind_of(index) == "integer" and getattr(index, "range", None) is not False


def _tokens_at(path: Steps, index: Schema) -> TokensAt:
    """The tokens that an index of texts has."""
    params = index if isinstance(index, models.TextIndexParams) else _PLAIN_TEXT
    return TokensAt(path, tokens_of(params), True)


_PLAIN_TEXT = models.TextIndexParams(type=models.TextIndexType.TEXT)


def _range(path: Steps, index: Schema, given: Any) -> Expression:
    """Between bounds, as the index reads them: an index of numbers takes times for microseconds,
    and one of times takes numbers for these."""
    bounds = {name: _bound(value) for name, value in given if value is not None}
    kind: ScalarKind = "datetime" if isinstance(given, models.DatetimeRange) else "float"
    if kind_of(index) == "float":
        kind = "float"
    elif kind_of(index) == "datetime":
        kind = "datetime"
    elif _orders_integers(index):
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
    return InBox(_places_at(path, index), west, north, east, south)


def _circle(path: Steps, index: Schema, given: models.GeoRadius) -> Expression:
    return InCircle(_places_at(path, index), *_place(given.center), given.radius)


def _polygon(path: Steps, index: Schema, given: models.GeoPolygon) -> Expression:
    interiors = tuple(_ring(one) for one in given.interiors or ())
    return InPolygon(_places_at(path, index), _ring(given.exterior), interiors)


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


def _places_at(path: Steps, index: Schema) -> PlacesAt:
    return PlacesAt(path, "geo" if kind_of(index) == "geo" else "written place")


def parse_id(given: Any) -> int | str:
    """A point's id in canonical form; one that `Collection` has written may be any string."""
    if isinstance(given, UUID):
        return str(given)
    if isinstance(given, str):
        return uuid_in(given) or given
    if isinstance(given, int) and 0 <= given < 2**64:
        return given
    raise InvalidFilterError(
        f"the filter has the id {shown(given)}, expected an integer from 0 to 2**64 - 1 or a string"
    )


def _checked(node: Expression) -> Expression:
    node.check()
    return node


_PARSERS: dict[str, Callable[[Steps, Schema, Any], Expression]] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _box,
    "geo_radius": _circle,
    "geo_polygon": _polygon,
}


def parse_facet(key: str, indexes: Mapping[str, Schema]) -> ValuesAt:
    """The values that a facet of a key counts."""
    path = parse_path(key)
    index = by_path(indexes).get(path)
    if _looks_up_integers(index):
        return ValuesAt(path, "integer")
    match kind_of(index):
        case "keyword" | "bool" | "uuid" as kind:
            return ValuesAt(path, kind)
    raise InvalidFilterError(
        f"{key!r} has no index of keywords, integers, bools or UUIDs, which a facet needs"
    )


@dataclass(frozen=True, slots=True)
class Order:
    """By which values points are ordered, and from which one on."""

    at: ValuesAt
    descending: bool
    start: int | float | None


def parse_order(given: str | models.OrderBy, indexes: Mapping[str, Schema]) -> Order:
    """The order of a scroll."""
    asked = models.OrderBy(key=given) if isinstance(given, str) else given
    path = parse_path(asked.key)
    index = by_path(indexes).get(path)
    descending = asked.direction is models.Direction.DESC
    match kind_of(index):
        case "float" | "datetime" as kind:
            return Order(ValuesAt(path, kind), descending, _start(asked.start_from))
        case "integer" if _orders_integers(index):
            return Order(ValuesAt(path, "integer"), descending, _start(asked.start_from))
    raise InvalidFilterError(
        f"{asked.key!r} has no index of integers, floats or datetimes, which an order needs"
    )


def _start(given: Any) -> int | float | None:
    """From where an order begins; servers read numbers as float64."""
    if given is None:
        return None
    if isinstance(given, datetime | date):
        return micros_of(given)
    return to_float(given, "start_from")


def parse_filled(key: str, schema: Schema) -> Expression:
    """The points that have a value which an index of the key holds."""
    path = parse_path(key)
    match kind_of(schema):
        case "geo":
            return InCircle(_places_at(path, schema), *EVERYWHERE)
        case "text":
            return Differs(ValuesAt(path, "keyword"), ("",))
        case kind:
            return Differs(ValuesAt(path, cast(ScalarKind, kind)), ())


def grouping_by(key: str, groups: int, size: int, indexes: Mapping[str, Schema]) -> Groups:
    """Groups by a key, of which a server asks with conditions on its values."""
    path = parse_path(key)
    index = by_path(indexes).get(path)

    def by(condition: Callable[..., Expression]) -> Callable[[Sequence[str | int]], Expression]:
        def of(values: Sequence[str | int]) -> Expression:
            kinds = [[v for v in values if type(v) is kind] for kind in (int, str)]
            return And(tuple(condition(path, index, some) for some in kinds if some))

        return of

    return Groups(path, groups, size, by(_one_of), by(_other_than))


def parse_variable(name: str, indexes: Mapping[str, Schema]) -> Variable:
    """Where a formula finds a variable: in the index of just that key, or else in the payload."""
    path = parse_path(name)
    index = by_path(indexes).get(path)
    match kind_of(index):
        case None | "text":
            return path
        case "geo":
            return _places_at(path, index)
        case kind:
            return ValuesAt(path, cast(ScalarKind, kind))


def parse_scored(key: Any, indexes: Mapping[str, Schema]) -> TokensAt:
    """The tokens that a query of words is ranked by."""
    if not isinstance(key, str):
        raise InvalidFilterError("a TextQuery needs using: the key whose texts it is about")
    path = parse_path(key)
    index = by_path(indexes).get(path)
    if kind_of(index) != "text" or getattr(index, "scoring", None) is None:
        raise InvalidFilterError(f"{key!r} has no index of texts with scoring, which it needs")
    return _tokens_at(path, index)
