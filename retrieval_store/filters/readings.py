"""Readings: the items that a condition sees of the values at a path of a payload.

Loose readings (1 equals 1.0), for `Collection`'s filters; except for "as it is", null counts as
missing:

- "whole": the value, if it is a scalar;
- "element": the elements of a list;
- "length": the length of a list;
- "count": the number of elements of a list, 1 for any other value;
- "as it is": any value, unchanged.

Strict readings, for Qdrant's filters, see what a payload index of a kind contains:

- the kinds "keyword", "integer", "float" and so on: the value, or each element of a list, if it has
  this type; others are ignored. For "integer" a string and 1.5 are ignored, and 1.0 is 1;
- "anything": any value but null, or each element of a list;
- "size": the number of elements; "null": whether the value is null or contains it. These two also
  see missing values (`NOTHING`).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal, TypeAlias, TypeGuard
from uuid import UUID

from retrieval_store.filters.paths import items_of

ScalarKind: TypeAlias = Literal[
    "keyword", "integer", "written integer", "float", "bool", "datetime", "time", "uuid", "anything"
]
Reading: TypeAlias = (
    ScalarKind | Literal["as it is", "whole", "element", "length", "count", "size", "null"]
)
PlaceKind: TypeAlias = Literal["geo", "written place"]  # the latter beyond the poles, too
Place: TypeAlias = tuple[float, float]  # longitude, latitude
LEAST, MOST = -(2**63), 2**63 - 1
NOTHING = object()  # marks a missing value, for readings that distinguish it from null
SEES_NOTHING: frozenset[Reading] = frozenset(("size", "null"))
LOOSE: frozenset[Reading] = frozenset(("as it is", "whole", "element", "length", "count"))


def read(
    reading: Reading, values: Sequence[Any], kinds: set[type]
) -> tuple[list[int] | None, Sequence[Any]]:
    """The items that a reading sees of some values: the number of items of each value (None: one of
    each), and all items in order. kinds: a superset of the values' types. Items that are None, or
    of a type that the reading ignores, match no condition (except for "as it is")."""
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
    """The number of elements of a value: 0 for null or nothing, 1 for what is no list."""
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
    if set(map(type, items)) == {int} and min(items) >= LEAST and max(items) <= MOST:
        return [*items]
    return [_integer(item) for item in items]


def _integer(item: Any) -> int | None:
    """An integer, or a float with an integer value, 2**63 as 2**63 - 1; None for others."""
    if type(item) is int and LEAST <= item <= MOST:
        return item
    if type(item) not in (int, float):
        return None
    number = float(item)
    if not LEAST <= number <= 2**63 or not number.is_integer():
        return None
    return min(int(number), MOST)


def _written_integers(items: Sequence[Any]) -> list[Any]:
    return [item if type(item) is int and LEAST <= item <= MOST else None for item in items]


def _floats(items: Sequence[Any]) -> list[Any]:
    kinds = set(map(type, items))
    if kinds <= {float}:
        return [*items]
    if kinds <= {int, float}:
        return [float(item) for item in items]
    return [float(item) if type(item) in (int, float) else None for item in items]


def _read_by(read: Callable[[str], Any]) -> Callable[[Sequence[Any]], list[Any]]:
    """Items converted by `read`, called once for each distinct string; None for others."""

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
    """Compiled when the first text is read: that takes half a millisecond."""
    pattern = rf"([0-9a-f]{{32}})|(?:urn:uuid:)?({_PARTS})|\{{({_PARTS})\}}"
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


def uuid_in(text: str) -> str | None:
    """The UUID in its usual form; None for a text that isn't a UUID."""
    found = _uuids().fullmatch(text)
    return None if found is None else str(UUID(found[1] or found[2] or found[3]))


def places(kind: PlaceKind, items: Iterable[Any]) -> list[Place | None]:
    """For each of the items its longitude and latitude; None for items that aren't places."""
    return [_place(item, kind == "geo") for item in items]


def _place(item: Any, on_earth: bool) -> Place | None:
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


# By kind: for each item what an index of this kind contains of it, None for nothing.
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
