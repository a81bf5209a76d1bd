"""Paths into payloads, and payload indexes: which values an index contains, and how conditions,
facets, orders and formulas use them.

On a server, the meaning of a condition, a facet, an order or a formula depends on the index of its
key. So each of these is translated to a column that contains exactly the values that a server would
use. `parse_path` parses a path in Qdrant's notation into steps.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, TypeAlias, cast

from qdrant_client import models

from retrieval_store.base.validation import shorten
from retrieval_store.errors import InvalidFilterError
from retrieval_store.filters.columns import PlacesAt, ScalarKind, TokensAt, ValuesAt, uuid_in
from retrieval_store.filters.dates import micros_of
from retrieval_store.filters.geo import InCircle
from retrieval_store.filters.nodes import Expression, Scalar
from retrieval_store.filters.paths import EACH, JsonPath, Step
from retrieval_store.filters.values import Differs
from retrieval_store.qdrant.refusals import to_float
from retrieval_store.qdrant.tokenizers import tokens_of, words_in
from retrieval_store.query.formulas import Variable

_KEY = r'(?:"(?P<quoted>[^"]*)"|(?P<bare>[^."\[\]]+))'
_FIRST = re.compile(_KEY)
_NEXT = re.compile(rf"\.{_KEY}|\[(?P<place>\d*)\]", re.ASCII)
MAX_PLACES, MAX_DIGITS = 2**63, 30  # Python refuses to read thousands of digits in its own way
LONGEST_KEPT = 1_000  # characters: a caller's keys may be of megabytes


def parse_path(key: str) -> JsonPath:
    """The path for a key: `a.b`, `a[].b`, `a[0]`, or parts in double quotes; raises
    InvalidFilterError for an invalid key."""
    return _kept_path(key) if len(key) <= LONGEST_KEPT else _path(key)


def _path(key: str) -> JsonPath:
    match, steps, place = _FIRST.match(key), [], 0
    while match is not None:
        steps.append(_step(match, key))
        place = match.end()
        match = _NEXT.match(key, place)
    if place < len(key) or not steps:
        raise _invalid(key)
    return JsonPath(tuple(steps))


_kept_path = lru_cache(maxsize=1024)(_path)


def _step(match: re.Match[str], key: str) -> Step:
    groups = match.groupdict()
    if groups["quoted"] is not None:
        return groups["quoted"]
    if groups["bare"] is not None:
        if not _is_bare(groups["bare"]):
            raise _invalid(key)
        return groups["bare"]
    if not groups["place"]:
        return EACH
    if len(groups["place"]) > MAX_DIGITS or int(groups["place"]) >= MAX_PLACES:
        raise _invalid(key)
    return int(groups["place"])


def _is_bare(key: str) -> bool:
    """Whether a part of a key needs no quotes, since it has only letters, digits, `-` and `_`."""
    plain = re.sub(r"[-_]", "", key)
    return not plain or words_in(plain) == [plain]


def _invalid(key: str) -> InvalidFilterError:
    return InvalidFilterError(
        f"{shorten(key)} is no path into a payload: expected keys such as a.b, a[].b or a[0], in "
        'double quotes where they have other characters than letters, digits, "-" and "_"'
    )


Schema: TypeAlias = Any  # models.PayloadSchemaType, or parameters of an index
Indexes: TypeAlias = Mapping[JsonPath, Schema]
EVERYWHERE = (0.0, 0.0, 1e9)  # within so many metres of a place
_PLAIN_TEXT = models.TextIndexParams(type=models.TextIndexType.TEXT)


def by_path(indexes: Mapping[str, Schema]) -> Indexes:
    """The indexes by the parsed paths of their keys, since a path can be written as different
    keys."""
    return {parse_path(key): schema for key, schema in indexes.items()}


def kind_of(schema: Schema) -> str | None:
    """The kind of an index; None if there is no index."""
    if schema is None or isinstance(schema, models.PayloadSchemaType):
        return schema and str(schema.value)
    return str(schema.type.value)


def looks_up_integers(index: Schema) -> bool:
    """Whether the index is an integer index that supports lookups of equal integers."""
    return kind_of(index) == "integer" and getattr(index, "lookup", None) is not False


def orders_integers(index: Schema) -> bool:
    """Whether the index is an integer index that supports ranges."""
    return kind_of(index) == "integer" and getattr(index, "range", None) is not False


def uuids_in(index: Schema, values: Sequence[Scalar]) -> tuple[str, ...] | None:
    """The values in the form that a UUID index stores. None if there is no such index, or if a
    value is not a UUID."""
    if kind_of(index) != "uuid":
        return None
    uuids = [uuid_in(str(value)) for value in values]
    return tuple(uuid for uuid in uuids if uuid is not None) if None not in uuids else None


def tokens_at(path: JsonPath, index: Schema) -> TokensAt:
    """The column of tokens that a text index contains."""
    params = index if isinstance(index, models.TextIndexParams) else _PLAIN_TEXT
    return TokensAt(path, tokens_of(params), True)


def places_at(path: JsonPath, index: Schema) -> PlacesAt:
    """The column of locations in a geo index, or in the payloads if there is no index."""
    return PlacesAt(path, "geo" if kind_of(index) == "geo" else "written place")


def parse_facet(key: str, indexes: Indexes) -> ValuesAt:
    """The column of values that a facet on a key counts."""
    path = parse_path(key)
    index = indexes.get(path)
    if looks_up_integers(index):
        return ValuesAt(path, "integer")
    match kind_of(index):
        case "keyword" | "bool" | "uuid" as kind:
            return ValuesAt(path, kind)
    raise InvalidFilterError(
        f"{key!r} has no index of keywords, integers, bools or UUIDs, which a facet needs: "
        "create_payload_index makes one"
    )


@dataclass(frozen=True, slots=True)
class Order:
    """How points are sorted: the column of values by which they are sorted, and the first value to
    return."""

    at: ValuesAt
    descending: bool
    start: int | float | None


def parse_order(order_by: str | models.OrderBy, indexes: Indexes) -> Order:
    """How a scroll sorts points."""
    order = models.OrderBy(key=order_by) if isinstance(order_by, str) else order_by
    path = parse_path(order.key)
    index = indexes.get(path)
    descending = order.direction is models.Direction.DESC
    match kind_of(index):
        case "float" | "datetime" as kind:
            return Order(ValuesAt(path, kind), descending, _start(order.start_from))
        case "integer" if orders_integers(index):
            return Order(ValuesAt(path, "integer"), descending, _start(order.start_from))
    raise InvalidFilterError(
        f"{order.key!r} has no index of integers, floats or datetimes, which an order needs: "
        "create_payload_index makes one"
    )


def _start(value: Any) -> int | float | None:
    """The first value to return, in the form in which a server reads it: numbers are float64."""
    if value is None:
        return None
    if isinstance(value, date):
        return micros_of(value)
    return to_float(value, "start_from")


def parse_filled(key: str, schema: Schema) -> Expression:
    """The condition that a point has a value that an index on this key would contain."""
    path = parse_path(key)
    match kind_of(schema):
        case "geo":
            return InCircle(places_at(path, schema), *EVERYWHERE)
        case "text":
            return Differs(ValuesAt(path, "keyword"), ("",))
        case kind:
            return Differs(ValuesAt(path, cast(ScalarKind, kind)), ())


def parse_variable(name: str, indexes: Indexes) -> Variable:
    """The column in which a formula looks up a variable: the column of the index on exactly this
    key, or of the payload if there is no such index."""
    path = parse_path(name)
    index = indexes.get(path)
    match kind_of(index):
        case None | "text":
            return path
        case "geo":
            return places_at(path, index)
        case kind:
            return ValuesAt(path, cast(ScalarKind, kind))


def parse_scored(key: Any, indexes: Indexes) -> TokensAt:
    """The column of tokens that a query by words ranks."""
    if not isinstance(key, str):
        raise InvalidFilterError("a TextQuery needs using: the key whose texts it is about")
    path = parse_path(key)
    index = indexes.get(path)
    if kind_of(index) != "text" or getattr(index, "scoring", None) is None:
        raise InvalidFilterError(
            f"{key!r} has no index of texts with scoring, which it needs: create_payload_index "
            "makes one"
        )
    return tokens_at(path, index)
