"""Columns: the values that conditions are about.

A column is a path into payloads and a reading, which defines how the values at the path are
interpreted. An engine that caches values of all points uses columns as keys. `within` returns the
items that a column has for one point; a condition holds for the point if it holds for any of these
items.

Loose readings (1 equals 1.0) are for the filters of `Collection`. Null counts as missing, except in
"as it is":

- "whole": the value, if it is a scalar;
- "element": the elements of a list;
- "length": the length of a list;
- "count": the number of elements of a list, 1 for any other value;
- "as it is": any value, unchanged.

Strict readings are for Qdrant's filters. They contain the same items as a payload index of that
type:

- the types "keyword", "integer", "float" and so on: the value, or each element of a list, that has
  this type; other values are ignored. For "integer" a string and 1.5 are ignored, and 1.0 is 1;
- "anything": any value except null, or each element of a list;
- "size": the number of elements; "null": whether the value is null or contains null. For these two,
  a missing value is an item too (`NOTHING`).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol, TypeAlias, TypeGuard, final
from uuid import UUID

from retrieval_store.base.validation import Payload
from retrieval_store.filters.paths import (
    FieldPath,
    JsonPath,
    PayloadPath,
    Values,
    items_of,
    split_dotted,
    value_at,
    values_at_end,
)

ScalarKind: TypeAlias = Literal[
    "keyword", "integer", "written integer", "float", "bool", "datetime", "time", "uuid", "anything"
]
Reading: TypeAlias = (
    ScalarKind | Literal["as it is", "whole", "element", "length", "count", "size", "null"]
)
# "written place" also accepts latitudes beyond the poles.
PlaceKind: TypeAlias = Literal["geo", "written place"]
LonLat: TypeAlias = tuple[float, float]  # longitude, latitude
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
NOTHING = object()  # marks a missing value, for readings that distinguish it from null
SEES_NOTHING: frozenset[Reading] = frozenset(("size", "null"))
SORTED_KINDS: tuple[ScalarKind, ...] = ("float", "time")  # numbers, followed by dates
LOOSE: frozenset[Reading] = frozenset(("as it is", "whole", "element", "length", "count"))


def read_items(
    reading: Reading, values: Sequence[Any], kinds: set[type]
) -> tuple[list[int] | None, Sequence[Any]]:
    """The items that a reading extracts from some values: the number of items in each value (None:
    one item in each), and all items in order. kinds: a set that contains the types of the values.
    Items that are None, or of a type that the reading ignores, match no condition (except with "as
    it is")."""
    match reading:
        case "as it is" | "whole":
            return None, values
        case "element" | "length" if list not in kinds:
            return [0] * len(values), []
        case "element":
            counts = [len(value) if type(value) is list else 0 for value in values]
            return counts, [item for v in values if type(v) is list for item in v]
        case "length":
            return None, [len(value) if type(value) is list else None for value in values]
        case "count" if kinds.isdisjoint((list, type(None))):
            return None, [1] * len(values)
        case "count":
            return None, [None if value is None else _size(value) for value in values]
        case "size":
            return None, [*map(_size, values)]
        case "null":
            return None, [*map(_has_null, values)]
    if list not in kinds:
        return None, _HELD[reading](values)
    counts = [len(value) if type(value) is list else 1 for value in values]
    return counts, _HELD[reading](items_of([*values]))


def _size(value: object) -> int:
    """The number of elements of a list; 0 for null or a missing value, 1 for any other value."""
    return len(value) if isinstance(value, list) else int(value not in (None, NOTHING))


def _has_null(value: object) -> bool:
    return value is None or (isinstance(value, list) and None in value)


def _by_type(*types: type) -> Callable[[Sequence[Any]], list[Any]]:
    allowed = set(types)

    def only(items: Sequence[Any]) -> list[Any]:
        if allowed.issuperset(map(type, items)):
            return [*items]
        return [item if type(item) in allowed else None for item in items]

    return only


def _integers(items: Sequence[Any]) -> list[Any]:
    if set(map(type, items)) == {int} and min(items) >= MIN_INTEGER and max(items) <= MAX_INTEGER:
        return [*items]
    return [_integer(item) for item in items]


def _integer(item: Any) -> int | None:
    """The item as an int if it is an integer or a float with an integer value (2**63 becomes 2**63
    - 1). Otherwise None."""
    if type(item) is int and MIN_INTEGER <= item <= MAX_INTEGER:
        return item
    if type(item) not in (int, float):
        return None
    number = float(item)
    if not MIN_INTEGER <= number <= 2**63 or not number.is_integer():
        return None
    return min(int(number), MAX_INTEGER)


def _written_integers(items: Sequence[Any]) -> list[Any]:
    return [
        item if type(item) is int and MIN_INTEGER <= item <= MAX_INTEGER else None for item in items
    ]


def _floats(items: Sequence[Any]) -> list[Any]:
    kinds = set(map(type, items))
    if kinds <= {float}:
        return [*items]
    if kinds <= {int, float}:
        return [float(item) for item in items]
    return [float(item) if type(item) in (int, float) else None for item in items]


def _read_by(read: Callable[[str], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    """A function that converts items with `read`. `read` is called once for each distinct string.
    Items that aren't strings become None."""

    def all_read(items: Sequence[Any]) -> list[Any]:
        texts = {item for item in items if type(item) is str}
        known = {text: read(text) for text in texts}
        return [known[item] if type(item) is str else None for item in items]

    return all_read


def _times(items: Sequence[Any]) -> list[Any]:
    from retrieval_store.filters.dates import micros_in

    return _read_by(micros_in)(items)


def _whole_times(items: Sequence[Any]) -> list[Any]:
    from retrieval_store.filters.dates import time_in

    return _read_by(time_in)(items)


_PARTS = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@cache
def _uuids() -> re.Pattern[str]:
    """The pattern of a UUID. It is compiled at the first use, because that takes half a
    millisecond."""
    pattern = rf"([0-9a-f]{{32}})|(?-i:urn:uuid:)?({_PARTS})|\{{({_PARTS})\}}"
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


def uuid_in(text: str) -> str | None:
    """The UUID in a text, in its canonical form; None if the text isn't a UUID."""
    match = _uuids().fullmatch(text)
    return None if match is None else str(UUID(match[1] or match[2] or match[3]))


def places(kind: PlaceKind, items: Iterable[Any]) -> list[LonLat | None]:
    """For each item its longitude and latitude; None for items that aren't geographic locations."""
    return [_place(item, kind == "geo") for item in items]


def _place(item: Any, on_earth: bool) -> LonLat | None:
    if type(item) is not dict:
        return None
    lon, lat = item.get("lon"), item.get("lat")
    if not (_is_number(lon) and _is_number(lat)):
        return None
    if on_earth and not (-180 <= lon <= 180 and -90 <= lat <= 90):
        return None
    return float(lon), float(lat)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return type(value) in (int, float)


# For each type, a function that returns the content of an index of this type for each item, None
# for no content.
_HELD: dict[ScalarKind, Callable[[Sequence[Any]], list[Any]]] = {
    "keyword": _by_type(str),
    "integer": _integers,
    "written integer": _written_integers,
    "float": _floats,
    "bool": _by_type(bool),
    "datetime": _times,
    "time": _whole_times,
    "uuid": _read_by(uuid_in),
    "anything": list,
}
_OF_KEYS: tuple[Reading, ...] = ("whole", "element", "length", "count")
_OF_STEPS: tuple[Reading, ...] = ("size", "null")


@final
@dataclass(frozen=True, slots=True)
class ValuesAt:
    """The values at a path, interpreted by a reading (see `Reading`)."""

    path: FieldPath
    kind: Reading

    @property
    def siblings(self) -> "tuple[ValuesAt, ...]":
        """The columns that are derived from the same values, including this column. Building all of
        them at once takes less time than reading the values again later."""
        readings = _OF_STEPS if isinstance(self.path, JsonPath) else _OF_KEYS
        if self.kind not in readings:
            return (self,)
        return tuple(ValuesAt(self.path, reading) for reading in readings)

    @property
    def loose(self) -> bool:
        """Whether 1 equals 1.0 in this column."""
        return self.kind in LOOSE

    @property
    def sees_nothing(self) -> bool:
        """Whether a point with no value at the path has an item in this column."""
        return self.kind in SEES_NOTHING

    def within(self, values: Values) -> list[Any]:
        """The items of one point. values: all values at the path in the point's payload."""
        if self.kind == "as it is":
            return values
        if not values and self.sees_nothing:
            values = [NOTHING]
        _, items = read_items(self.kind, values, set(map(type, values)))
        return [item for item in items if item is not None]


@final
@dataclass(frozen=True, slots=True)
class PlacesAt:
    """The geographic locations at a path; each element of a list can be a location."""

    path: JsonPath
    kind: PlaceKind

    def within(self, values: Values) -> list[LonLat]:
        """The locations of one point. values: all values at the path in the point's payload."""
        return [place for place in places(self.kind, items_of(values)) if place is not None]


def sort_key(
    payload: Payload | None, path: PayloadPath, descending: bool
) -> tuple[int, float] | None:
    """The sort key of a payload by the numbers and dates at a path: (0, number) or (1, microseconds
    since 1970). If there are several values, the value that comes first in sort order is used. None
    for a payload without numbers and dates. A single key with dots is read as a path if the payload
    doesn't have that key itself."""
    found, others = values_at_end(payload, path), split_dotted(path)
    if others is not None and found in ([], [None], [[]]):
        found = values_at_end(payload, others)
    for place in (1, 0) if descending else (0, 1):
        values = ValuesAt(JsonPath(path), SORTED_KINDS[place]).within(found)
        if values:
            return place, max(values) if descending else min(values)
    return None


class Tokenizer(Protocol):
    """Splits texts into tokens. Tokenizers that compare equal produce the same tokens."""

    def tokenize_text(self, text: str) -> list[str]:
        """The tokens of a stored text, in order."""

    def tokenize_query(self, text: str) -> list[str]:
        """The tokens of a query; a text can contain them in any order."""

    def tokenize_phrase(self, text: str) -> list[str]:
        """The tokens of a phrase; a text must contain them in this order, adjacent."""


@final
@dataclass(frozen=True, slots=True)
class TokensAt:
    """The tokens of texts at a path. together: whether to concatenate the tokens of all texts of a
    point, as a text index does."""

    path: JsonPath
    tokens: Tokenizer
    together: bool

    def within(self, values: Values) -> list[list[str]]:
        """The tokens of each text of one point. values: all values at the path in the point's
        payload."""
        texts = [self.tokens.tokenize_text(item) for item in items_of(values) if type(item) is str]
        return [[token for text in texts for token in text]] if self.together else texts


@final
@dataclass(frozen=True, slots=True)
class ElementsAt:
    """The objects in lists at a path. asked: the columns within each object that conditions use."""

    path: JsonPath
    asked: tuple["Column", ...]

    def within(self, values: Values) -> list[dict[str, Any]]:
        """The objects of one point. values: all values at the path in the point's payload."""
        return [value for value in values if type(value) is dict]


Column: TypeAlias = ValuesAt | PlacesAt | TokensAt | ElementsAt


def values_at(payload: Payload | None, column: Column) -> Values:
    """All values of a payload at the path of a column."""
    if isinstance(column.path, JsonPath):
        return values_at_end(payload, column.path.steps)
    return [value_at(payload, column.path)]
