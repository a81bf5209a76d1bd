"""Readings: what a condition sees of the values that a payload has at a path.

Some readings are loose: to them 1 equals 1.0. "whole" sees scalars, "element" those in lists,
"length" how long lists are, "count" how many there are, of what is no list one, and "as it is"
passes any value on. But for the last, null is as good as nothing there.

Others see values as an index of some kind holds them, elements of lists one by one, type and all.
A value that a kind doesn't hold isn't there: a string for an index of integers, 1.5 too; 1.0 is
there, as 1. "anything" holds all but null, as it stands. "size" and "null" say of each value how
many elements it has, and whether null is among them; they see that nothing is there, too.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeAlias, TypeGuard
from uuid import UUID

from retrieval_store.filters.dates import micros_in, time_in
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
NOTHING = object()  # stands where a path leads nowhere, for readings that see that
SEES_NOTHING: frozenset[Reading] = frozenset(("size", "null"))
LOOSE: frozenset[Reading] = frozenset(("as it is", "whole", "element", "length", "count"))


def read(
    reading: Reading, values: Sequence[Any], kinds: set[type]
) -> tuple[list[int] | None, Sequence[Any]]:
    """What the reading sees of each of some values, of these types or fewer: how many items (None:
    one of each), and all of these in order. An item may be None, or of a type that the reading has
    no use for: these count for nothing, but where values are read as they are."""
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
    """Of how many elements a value consists: null of none, and what is no list of one."""
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
    """Integers, and floats that are some; those next to the largest count as it."""
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
    """Strings as they are read, each distinct one once."""

    def all_read(items: Sequence[Any]) -> list[Any]:
        texts = {item for item in items if type(item) is str}
        known = {text: read(text) for text in texts}
        return [known[item] if type(item) is str else None for item in items]

    return all_read


_PARTS = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID = re.compile(
    rf"([0-9a-f]{{32}})|(?:urn:uuid:)?({_PARTS})|\{{({_PARTS})\}}", re.IGNORECASE | re.ASCII
)


def uuid_in(text: str) -> str | None:
    """The UUID in its usual form; None for what is none."""
    found = _UUID.fullmatch(text)
    return None if found is None else str(UUID(found[1] or found[2] or found[3]))


def places(kind: PlaceKind, items: Iterable[Any]) -> list[Place | None]:
    """For each of the items where it is, if it is a place."""
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


# For each of some items what an index of the kind holds of it; None for nothing.
_HELD: dict[ScalarKind, Callable[[Sequence[Any]], list[Any]]] = {
    "keyword": _by_type(str),
    "integer": _integers,
    "written integer": _written_integers,
    "float": _floats,
    "bool": _by_type(bool),
    "datetime": _read_by(micros_in),
    "time": _read_by(time_in),
    "uuid": _read_by(uuid_in),
    "anything": list,
}
