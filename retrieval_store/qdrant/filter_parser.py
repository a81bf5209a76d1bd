"""Translates Qdrant's filters into expressions: combinations, and conditions on points and
payloads. How a condition on a key is translated depends on the payload index of the key."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from qdrant_client import models

from retrieval_store.base import budget
from retrieval_store.base.validation import quote
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.columns import (
    MAX_INTEGER,
    MIN_INTEGER,
    ScalarKind,
    TokensAt,
    ValuesAt,
    uuid_in,
)
from retrieval_store.filters.dates import micros_of
from retrieval_store.filters.geo import InBox, InCircle, InPolygon, Ring
from retrieval_store.filters.leaves import MAX_NODES, InSlice, any_element
from retrieval_store.filters.nodes import (
    And,
    AtLeast,
    Expression,
    HasId,
    HasVector,
    Not,
    Or,
    Scalar,
)
from retrieval_store.filters.paths import JsonPath
from retrieval_store.filters.values import (
    Beginning,
    Between,
    Containing,
    Differs,
    Equals,
    HasPhrase,
    HasTokens,
)
from retrieval_store.qdrant.payload_indexes import (
    Indexes,
    Schema,
    kind_of,
    looks_up_integers,
    orders_integers,
    parse_path,
    places_at,
    tokens_at,
    uuids_in,
)
from retrieval_store.qdrant.refusals import bad_request, describe, invalid, to_float
from retrieval_store.query.query import GroupSearch

NONE = Or(())
MIN_RING_POINTS = 4  # points: a triangle, and its first again


def _match(path: JsonPath, index: Schema, operand: Any) -> Expression:
    match operand:
        case models.MatchValue(value=value):
            return one_of(path, index, [value])
        case models.MatchAny(any=values):
            return one_of(path, index, values)
        case models.MatchExcept(except_=values):
            return other_than(path, index, values)
        case models.MatchText() | models.MatchTextAny() | models.MatchPhrase():
            return _text(path, index, operand)
        case models.MatchPrefix(prefix=prefix):
            return Beginning(ValuesAt(path, "keyword"), prefix)
        case models.MatchSubstring(substring=text):
            return Containing(ValuesAt(path, "keyword"), text)
    raise InvalidFilterError(f"{describe(operand)} is no way to match")


def _text(path: JsonPath, index: Schema, value: Any) -> Expression:
    """The condition for a text match: by tokens if the index has tokens, otherwise by
    substrings."""
    if kind_of(index) != "text":
        return _with_letters(ValuesAt(path, "keyword"), value)
    at = tokens_at(path, index)
    match value:
        case models.MatchText(text=text):
            return HasTokens(at, tuple(at.tokens.tokenize_query(text)), every=True)
        case models.MatchTextAny(text_any=text):
            return HasTokens(at, tuple(at.tokens.tokenize_query(text)), every=False)
        case models.MatchPhrase(phrase=phrase) if getattr(index, "phrase_matching", None):
            tokens = tuple(at.tokens.tokenize_phrase(phrase))
            return HasPhrase(TokensAt(path, at.tokens, False), tokens)
    return NONE


def _with_letters(at: ValuesAt, value: Any) -> Expression:
    """The condition for a text match by substrings. A string must contain the text, or with
    `text_any` one word of the text. Case matters."""
    match value:
        case models.MatchTextAny(text_any=text):
            return Or(tuple(Containing(at, part) for part in dict.fromkeys(text.split())))
        case models.MatchPhrase(phrase=text) | models.MatchText(text=text):
            return Containing(at, text)
    raise InvalidFilterError(f"{describe(value)} is no way to match a text")


def is_missed(index: Schema, match: Any) -> bool:
    """Whether a server that looks up the match in this index would miss points that match. For
    example, an index of numbers reads a UUID as a large number, and finds nothing."""
    return (
        kind_of(index) in ("integer", "float", "datetime")
        and isinstance(match, models.MatchValue)
        and isinstance(match.value, str)
        and uuid_in(match.value) is not None
    )


def one_of(path: JsonPath, index: Schema, values: Sequence[Scalar]) -> Expression:
    """The condition that a point has at least one of these values."""
    if not values:
        return NONE
    if isinstance(values[0], str):
        uuids = uuids_in(index, values)
        if uuids is not None:
            return Equals(ValuesAt(path, "uuid"), uuids)
        return Equals(ValuesAt(path, "keyword"), tuple(values))
    if isinstance(values[0], bool):
        return Equals(ValuesAt(path, "bool"), tuple(values))
    kind: ScalarKind = "integer" if looks_up_integers(index) else "written integer"
    return Equals(ValuesAt(path, kind), tuple(values))


def other_than(path: JsonPath, index: Schema, values: Sequence[Scalar]) -> Expression:
    """The condition that a point has a value that is none of these."""
    if values and not isinstance(values[0], str):
        kind: ScalarKind = "integer" if looks_up_integers(index) else "anything"
        return Differs(ValuesAt(path, kind), tuple(values))
    uuids = uuids_in(index, values)
    if uuids is not None:
        return Differs(ValuesAt(path, "uuid"), uuids)
    kind = "keyword" if kind_of(index) == "keyword" else "anything"
    return Differs(ValuesAt(path, kind), tuple(values))


def _range(path: JsonPath, index: Schema, operand: Any) -> Expression:
    """The condition for a range, in the units of the index. An index of numbers compares dates as
    microseconds, and an index of dates also takes plain numbers."""
    given_bounds = vars(operand).items()
    bounds = {name: _bound(value) for name, value in given_bounds if value is not None}
    kind: ScalarKind = "datetime" if isinstance(operand, models.DatetimeRange) else "float"
    if kind_of(index) == "float":
        kind = "float"
    elif kind_of(index) == "datetime":
        kind = "datetime"
    elif orders_integers(index):
        kind = "integer"
    if kind == "integer":
        bounds = {name: as_read(value) for name, value in bounds.items()}
    if kind != "float":
        bounds = {name: clamp_integer(value) for name, value in bounds.items()}
    return Between(ValuesAt(path, kind), **bounds)


def _bound(value: Any) -> int | float:
    if isinstance(value, date):
        return micros_of(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidFilterError(
            f"the range has the bound {describe(value)}, expected a finite one"
        )
    return to_float(value, "the bound of a range")


def as_read(value: int | float) -> int | float:
    """A number in the form in which a server parses it. The server reads the digits as float64, and
    multiplies or divides them by a power of ten. So some numbers beyond 2^53 differ by one unit in
    the last place."""
    if isinstance(value, int):
        return value
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    power = int(exponent)
    number = float(int("".join(map(str, digits))))
    if power < -308:  # beyond what a divisor may be
        number, power = number / 1e308, power + 308
    number = number * 10.0**power if power >= 0 else number / 10.0**-power
    return -number if sign else number


def clamp_integer(value: int | float) -> int | float:
    """A bound for integers, limited to 64 bits."""
    return min(max(value, MIN_INTEGER), MAX_INTEGER)


def _box(path: JsonPath, index: Schema, box: models.GeoBoundingBox) -> Expression:
    (west, north), (east, south) = _place(box.top_left), _place(box.bottom_right)
    return InBox(places_at(path, index), west, north, east, south)


def _circle(path: JsonPath, index: Schema, circle: models.GeoRadius) -> Expression:
    if not math.isfinite(circle.radius):
        raise InvalidFilterError(
            f"the circle has the radius {describe(circle.radius)}, expected a finite one"
        )
    return InCircle(places_at(path, index), *_place(circle.center), circle.radius)


def _polygon(path: JsonPath, index: Schema, polygon: models.GeoPolygon) -> Expression:
    interiors = tuple(_ring(interior) for interior in polygon.interiors or ())
    return InPolygon(places_at(path, index), _ring(polygon.exterior), interiors)


def _ring(line: models.GeoLineString) -> Ring:
    points = tuple(map(_place, line.points))
    if len(points) < MIN_RING_POINTS:
        raise InvalidFilterError(f"a polygon has {len(points)} points, expected at least 4")
    if points[0] != points[-1]:
        raise InvalidFilterError("a polygon's last point isn't its first, as it should be")
    return points


def _place(point: models.GeoPoint) -> tuple[float, float]:
    if not (abs(point.lon) <= 180 and abs(point.lat) <= 90):
        raise InvalidFilterError(
            f"a place has lon={point.lon} and lat={point.lat}, expected them within 180 and 90"
        )
    return point.lon, point.lat


PARSERS: dict[str, Callable[[JsonPath, Schema, Any], Expression]] = {
    "match": _match,
    "range": _range,
    "geo_bounding_box": _box,
    "geo_radius": _circle,
    "geo_polygon": _polygon,
}
MAX_LEVELS = 64  # of filters in filters: servers read JSON of 128 levels


# Conditions that were parsed, by their ids and whether they must not hold: each with itself, so
# that its id is no other's, what came of it, and for how many conditions it counts.
KnownConditions: TypeAlias = dict[tuple[int, bool], tuple[Any, Expression, int]]


def parse_filter(
    filter_: models.Filter | None, indexes: Indexes, known: KnownConditions | None = None
) -> Expression | None:
    """A filter as an expression; None for None. Raises InvalidFilterError for a filter that a
    server refuses. indexes: the payload indexes by path, as reported; known: the conditions of the
    request's other filters; the conditions of this filter are added, and equal conditions become
    one object."""
    if filter_ is None:
        return None
    return _FilterParser(indexes, {} if known is None else known, [0]).filter(filter_, 1)


def merge_filters(
    first: models.Filter | None, second: models.Filter | None
) -> models.Filter | None:
    """Two filters merged into one, as on a server. The conditions in `must` and `must_not` of both
    filters apply. The `should` lists are concatenated, so that a point only needs to fulfil one
    condition of either list."""
    if first is None or second is None or _says_nothing(second):
        return first or second
    if _says_nothing(first):
        return second
    least = first.min_should or second.min_should
    if first.min_should is not None and second.min_should is not None:
        least = models.MinShould(
            conditions=[*first.min_should.conditions, *second.min_should.conditions],
            min_count=max(first.min_should.min_count, second.min_should.min_count),
        )
    return models.Filter(
        must=_joined(first.must, second.must),
        must_not=_joined(first.must_not, second.must_not),
        should=_joined(first.should, second.should),
        min_should=least,
    )


def _says_nothing(filter_: models.Filter) -> bool:
    has_conditions = filter_.must or filter_.must_not or filter_.should
    return not has_conditions and filter_.min_should is None


def _joined(conditions: Any, others: Any) -> Any:
    if conditions is None or others is None:
        return others if conditions is None else conditions
    lists = [value if isinstance(value, list) else [value] for value in (conditions, others)]
    return lists[0] + lists[1]


@dataclass(slots=True)
class _FilterParser:
    """Parses one filter. known: see `parse_filter`; count: the number of conditions so far; inside:
    the path of the list to whose elements the conditions apply, if any; negated: whether the
    conditions are negated."""

    indexes: Indexes
    known: KnownConditions
    count: list[int]
    inside: tuple[JsonPath, ...] = ()
    negated: bool = False

    def filter(self, filter_: models.Filter, depth: int) -> Expression:
        if depth > MAX_LEVELS:
            raise InvalidFilterError(f"the filter is nested deeper than {MAX_LEVELS} levels")
        terms = [] if filter_.must is None else self._parse_all(filter_.must, depth)
        if filter_.must_not is not None:
            terms += [Not(term) for term in self._opposite()._parse_all(filter_.must_not, depth)]
        should = [] if filter_.should is None else self._parse_all(filter_.should, depth)
        # To servers no alternatives are no condition on a point, but one that no element fulfils.
        if should or (self.inside and filter_.should is not None):
            terms.append(Or(tuple(should)))
        if filter_.min_should is not None:
            terms.append(self._parse_min_should(filter_.min_should, depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _opposite(self) -> "_FilterParser":
        return replace(self, negated=True)

    def _parse_all(self, value: Any, depth: int) -> list[Expression]:
        conditions = value if isinstance(value, list) else [value]
        parse = self._parse_outermost if depth == 1 else self._parse_condition
        return [parse(condition, depth) for condition in conditions]

    def _parse_min_should(self, min_should: models.MinShould, depth: int) -> Expression:
        if min_should.min_count < 1:
            raise bad_request(f"min_count is {min_should.min_count}, expected 1 or more")
        return AtLeast(tuple(self._parse_all(min_should.conditions, depth)), min_should.min_count)

    def _parse_outermost(self, value: Any, depth: int) -> Expression:
        key = id(value), self.negated
        if key in self.known:
            _, parsed, count = self.known[key]
            self._count(count)
            return parsed
        before = self.count[0]
        parsed = self._parse_condition(value, depth)
        self.known[key] = value, parsed, self.count[0] - before
        return parsed

    def _parse_condition(self, value: Any, depth: int) -> Expression:
        budget.check()
        self._count(1)
        match value:
            case models.Filter():
                return self.filter(value, depth + 1)
            case models.FieldCondition():
                return self._parse_field(value)
            case models.IsEmptyCondition(is_empty=payload_field):
                return Not(Between(ValuesAt(parse_path(payload_field.key), "size"), gte=1))
            case models.IsNullCondition(is_null=payload_field):
                return Equals(ValuesAt(parse_path(payload_field.key), "null"), (True,))
            case models.NestedCondition(nested=nested):
                return self._parse_nested(nested, depth + 1)
        if self.inside:  # elements of lists have neither ids nor vectors
            return NONE
        match value:
            case models.HasIdCondition(has_id=ids):
                return HasId(tuple(map(parse_id, ids)))
            case models.HasVectorCondition(has_vector=str(space)):
                return HasVector(space)
            case models.SliceCondition(slice=part):
                if 0 < part.total <= part.index:
                    raise invalid(
                        f"[filter.?.slice.index: {part.index} must be less than the total of "
                        f"{part.total}]"
                    )
                return _check_node(InSlice(part.total, part.index))
        raise InvalidFilterError(f"{quote(value)} is no condition of a filter")

    def _count(self, conditions: int) -> None:
        self.count[0] += conditions
        if self.count[0] > MAX_NODES:
            raise InvalidFilterError(f"the filter has more than {MAX_NODES} conditions")

    def _parse_nested(self, nested: models.Nested, depth: int) -> Expression:
        path = parse_path(nested.key).into_each()
        within = replace(self, inside=(*self.inside, path))
        return any_element(path, within.filter(nested.filter, depth))

    def _parse_field(self, condition: models.FieldCondition) -> Expression:
        path = parse_path(condition.key)
        if (condition.is_empty, condition.is_null, condition.values_count) != (None, None, None):
            return self._parse_sizes(path, condition)
        index = self._index(path)
        if index is not None and not self.negated and is_missed(index, condition.match):
            return NONE
        if isinstance(condition.match, models.MatchTextAny) and kind_of(index) != "text":
            self._count(len(condition.match.text_any.split(maxsplit=MAX_NODES)))
        conditions = [
            parse(path, index, value)
            for name, parse in PARSERS.items()
            if (value := getattr(condition, name)) is not None
        ]
        if not conditions:
            message = "At least one field condition must be specified"
            raise invalid(f"{message}: {condition.key!r} has none")
        return conditions[0] if len(conditions) == 1 else Or(tuple(conditions))

    def _parse_sizes(self, path: JsonPath, condition: models.FieldCondition) -> Expression:
        """The condition for `values_count`, `is_empty` or `is_null`. The other parts of a field
        condition that has one of these are ignored. If the key leads to several lists, one list
        that is neither empty nor null suffices, unless an index contains the values of all
        lists."""
        if condition.is_empty is None and condition.is_null is None:
            assert condition.values_count is not None
            return Between(ValuesAt(path, "size"), **condition.values_count.model_dump())
        sizes, nulls = ValuesAt(path, "size"), ValuesAt(path, "null")
        indexed = not self.inside and path in self.indexes
        if condition.is_empty is not None:
            has_value = Between(sizes, gte=1)
            return (
                has_value
                if not condition.is_empty
                else Not(has_value)
                if indexed
                else Between(sizes, lt=1)
            )
        null = Equals(nulls, (True,))
        return null if condition.is_null else Not(null) if indexed else Equals(nulls, (False,))

    def _index(self, path: JsonPath) -> Schema:
        """The index that affects a condition at this path. Only an index of texts affects a
        condition on the elements of a list."""
        if not self.indexes:
            return None
        if not self.inside:
            return self.indexes.get(path)
        steps = tuple(step for outer in self.inside for step in outer.steps)
        index = self.indexes.get(JsonPath((*steps, *path.steps)))
        return index if kind_of(index) == "text" else None


def parse_id(value: Any) -> int | str:
    """A point id in canonical form. Ids that `Collection` wrote can be any strings."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        return uuid_in(value) or value
    if isinstance(value, int) and 0 <= value < 2**64:
        return value
    raise InvalidFilterError(
        f"the filter has the id {quote(value)}, expected an integer from 0 to 2**64 - 1 or a string"
    )


def _check_node(node: Expression) -> Expression:
    node.check()
    return node


def grouping_by(key: str, groups: int, size: int, indexes: Indexes) -> GroupSearch:
    """The grouping of hits by a key. A server finds the hits of a group by conditions on the values
    of this key."""
    path = parse_path(key)
    index = indexes.get(path)

    def by_condition(
        condition: Callable[..., Expression],
    ) -> Callable[[Sequence[str | int]], Expression]:
        def filter_of_values(values: Sequence[str | int]) -> Expression:
            kinds = [[v for v in values if type(v) is kind] for kind in (int, str)]
            return And(
                tuple(
                    condition(path, index, values_of_kind)
                    for values_of_kind in kinds
                    if values_of_kind
                )
            )

        return filter_of_values

    return GroupSearch(path, groups, size, by_condition(one_of), by_condition(other_than))
