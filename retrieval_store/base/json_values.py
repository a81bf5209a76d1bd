"""Which values a payload may hold, checked before anything is written.

The domain is JSON as orjson writes and reads it without loss: None, bool, integers from -2^63 to
2^64-1, finite floats, strings that are valid Unicode, lists, and objects with string keys. orjson
alone would turn a NaN into null and a UUID into a string; a store must not change data silently.
"""

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.errors import InvalidMetadataError

JSONValue: TypeAlias = "None | bool | int | float | str | list[JSONValue] | dict[str, JSONValue]"
Payload: TypeAlias = dict[str, "JSONValue"]
LISTED = 10  # ids in a message
MAX_DEPTH = 100  # orjson itself stops at 254
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
NO_STRING = "\udcff"  # with which no string of a payload begins


def checked_object(value: Any, place: str, *path: str | int) -> Payload:
    """`value` as a plain dict; InvalidMetadataError names `place` and the path below it."""
    if type(value) is dict and _is_plain(value):
        return value
    if not isinstance(value, Mapping):
        raise _refused(value, place, path, "a dict is expected")
    return {
        _checked_key(key, place, path): _checked(item, place, (*path, key))
        for key, item in value.items()
    }


def _is_plain(value: dict[Any, Any]) -> bool:
    """Whether the dict is in the domain as it stands; a quick look that says no when in doubt."""
    for key, item in value.items():
        kind = type(item)
        if kind is str:
            plain = item.isascii()
        elif kind is int:
            plain = INT_MIN <= item <= INT_MAX
        elif kind is float:
            plain = item - item == 0.0  # neither infinite nor NaN
        else:
            plain = kind is bool or item is None
        if not plain or type(key) is not str or not key.isascii():
            return False
    return True


def _checked(value: Any, place: str, path: tuple[Any, ...]) -> JSONValue:
    kind = type(value)
    if kind is str:
        if value.isascii() or is_unicode(value):
            return value  # type: ignore[no-any-return]
        raise _refused(value, place, path, "it holds a lone surrogate, which is not valid Unicode")
    if kind is bool or value is None:
        return value  # type: ignore[no-any-return]
    if kind is int:
        if INT_MIN <= value <= INT_MAX:
            return value  # type: ignore[no-any-return]
        raise _refused(value, place, path, "integers go from -2**63 to 2**64 - 1")
    if kind is float:
        if math.isfinite(value):
            return value  # type: ignore[no-any-return]
        raise _refused(value, place, path, "floats must be finite")
    if kind is list or kind is dict:
        return _checked_container(value, place, path)
    plain = plain_scalar(value)
    if plain is not value:
        return _checked(plain, place, path)
    raise _refused(value, place, path, "allowed are str, int, float, bool, None, list and dict")


def _checked_container(
    value: list[Any] | dict[Any, Any], place: str, path: tuple[Any, ...]
) -> JSONValue:
    if len(path) >= MAX_DEPTH:
        raise InvalidMetadataError(f"{place} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_checked(item, place, (*path, i)) for i, item in enumerate(value)]
    return {
        _checked_key(key, place, path): _checked(item, place, (*path, key))
        for key, item in value.items()
    }


def _checked_key(key: Any, place: str, path: tuple[Any, ...]) -> str:
    if type(key) is str and (key.isascii() or is_unicode(key)):
        return key
    where = place + "".join(f"[{step!r}]" for step in path)
    raise InvalidMetadataError(
        f"{where} has the key {shown(key)}; keys must be strings without lone surrogates"
    )


def is_unicode(text: str) -> bool:
    """Whether it can be stored: Python's strings may have lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(value: Any, place: str, path: tuple[Any, ...], why: str) -> InvalidMetadataError:
    where = place + "".join(f"[{step!r}]" for step in path)
    return InvalidMetadataError(f"{where} is {shown(value)}, which can't be stored: {why}")


def kind_of(value: JSONValue) -> str | int | None:
    """What equal numbers, strings, truths, and lists and objects that are written the same have in
    common, and no others: 1.0 equals 1, but True doesn't. None for null."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    return NO_STRING + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def listed(ids: Sequence[str | int]) -> str:
    """The first ten ids, and how many more there are, for a message."""
    more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
    return ", ".join(map(repr, ids[:LISTED])) + more


def existing_ids(ids: Sequence[str | int]) -> str:
    """What to say of ids that were to be new."""
    return (
        f"ids that already exist ({len(ids)}): {listed(ids)}; nothing was added. upsert adds those "
        "that are new and updates the others"
    )


def shortened(value: Any) -> str:
    """A value, shortened for a message; what can't even be shown, by its type."""
    try:
        return _SHORT.repr(value)
    except Exception:  # Python refuses to show integers of thousands of digits, say
        return f"a value of type {type(value).__name__}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


def shown(value: Any) -> str:
    """A value and its type, shortened for a message."""
    return f"{shortened(value)} ({type(value).__name__})"
