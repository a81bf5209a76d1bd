"""Groups of a `Search`: of the records with the same values under some metadata keys, a few each.

Only what was found, at most as many records as the limits of all `Knn` say, is put into groups.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from retrieval_store.base.arrays import Floats
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import Payload, shown, whole_number
from retrieval_store.direct.chroma.expressions import SCORE
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

_LEAST = {"$min_k": True, "$max_k": False}
WHOLE = 2.0**53  # up to which each integer is a float
_Sorted: TypeAlias = tuple[int, Any]  # by kinds first, since values of two can't be compared


@dataclass(frozen=True, slots=True)
class Grouping:
    """keys: by whose values records are grouped; by: the keys by which those of a group are put in
    order, the least first if `least`, of which the first `size` are kept."""

    keys: tuple[str, ...]
    by: tuple[str, ...]
    size: int
    least: bool


def grouping_of(form: Mapping[str, Any]) -> Grouping | None:
    """The grouping of a dict; None for one that says nothing."""
    if not form:
        return None
    aggregate = form["aggregate"]
    if len(aggregate) != 1 or next(iter(aggregate)) not in _LEAST:
        raise InvalidArgumentError(
            f"group_by['aggregate'] is {shown(aggregate)}, expected '$min_k' or '$max_k'"
        )
    ((operator, operand),) = aggregate.items()
    place = f"group_by['aggregate'][{operator!r}]"
    if not isinstance(operand, Mapping) or {*operand} != {"keys", "k"}:
        raise InvalidTypeError(f"{place} is {shown(operand)}, expected keys and k")
    size = whole_number(operand["k"], f"{place}['k']", 1)
    keys, by = _keys(form["keys"], "group_by['keys']"), _keys(operand["keys"], f"{place}['keys']")
    if SCORE in keys:
        raise InvalidArgumentError("group_by['keys'] has K.SCORE, expected metadata keys")
    return Grouping(keys, by, size, _LEAST[operator])


def _keys(given: Any, place: str) -> tuple[str, ...]:
    """Metadata keys, K.SCORE among them."""
    if not isinstance(given, list | tuple) or not given:
        raise InvalidTypeError(f"{place} is {shown(given)}, expected keys")
    for key in given:
        if not isinstance(key, str) or not key or (key[0] == "#" and key != SCORE):
            raise InvalidArgumentError(f"{place} has {shown(key)}, expected metadata keys")
    return tuple(given)


def grouped(grouping: Grouping, payloads: Sequence[Payload | None], scores: Floats) -> list[int]:
    """The places of the records that are kept, ascending. Where a record has nothing under a key,
    its value is none, which is less than any other."""
    groups: dict[bytes, list[int]] = {}
    for place, payload in enumerate(payloads):
        values = [_plain((payload or {}).get(key)) for key in grouping.keys]
        groups.setdefault(orjson.dumps(values), []).append(place)
    numbers = scores.tolist()

    def order(place: int) -> list[_Sorted]:
        read = {**(payloads[place] or {}), SCORE: numbers[place]}
        return [_comparable(read.get(key)) for key in grouping.by]

    kept: list[int] = []
    for places in groups.values():
        kept += sorted(places, key=order, reverse=not grouping.least)[: grouping.size]
    return sorted(kept)


def _plain(value: Any) -> Any:
    """1 for 1.0, as in filters."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < WHOLE
    return int(value) if is_whole else value


def _comparable(value: Any) -> _Sorted:
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, value
    return (3, value) if isinstance(value, str) else (4, orjson.dumps(value))
