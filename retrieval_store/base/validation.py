"""Checks users' arguments: numbers, paths, functions, and payload values.

Errors name the argument, the value and the expected values. Payloads are checked before anything is
written; `as_stored` converts values of other types.

The domain of payloads is JSON as orjson writes and reads it without loss: None, bool, integers from
-2^63 to 2^64-1, finite floats, strings that are valid Unicode, lists, and objects with string keys.
orjson alone would convert a NaN to null and a UUID to a string; a store must not change data
silently.
"""

import math
import operator
import os
import re
import reprlib
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from datetime import date
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt
import orjson

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidMetadataError,
    InvalidTypeError,
    NotFoundError,
)

# The values that a payload can contain, and payloads. Numbers must be finite, and strings valid
# Unicode.
JSONValue: TypeAlias = "None | bool | int | float | str | list[JSONValue] | dict[str, JSONValue]"
Payload: TypeAlias = dict[str, "JSONValue"]
LISTED = 10  # ids in a message
MAX_DEPTH = 100  # levels of nesting; orjson itself stops at 254
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
_LISTED = "biufUTO"  # numpy's kinds of numbers, strings, bools and objects
NO_STRING = "\udcff"  # no string of a payload begins with this character


def check_object(
    value: Any, place: str, *path: str | int, stored_as: Callable[[Any], Any] = plain_scalar
) -> Payload:
    """The value as a plain dict. Raises InvalidMetadataError for an invalid value. place, path: the
    position of the dict, for the error message. The message appends the keys that lead to the
    invalid value. stored_as: converts a value that isn't JSON; by default only numbers and bools of
    numpy are converted."""
    if type(value) is dict and _is_plain(value):
        return value
    if not isinstance(value, Mapping):
        raise _invalid_value(value, place, path, "a dict is expected")
    return _Checking(place, stored_as).object(value, path)


def check_metadata(value: Any, place: str, *path: str | int) -> Payload:
    """Like `check_object`, but converts values that have a usual form in JSON; see `as_stored`."""
    return check_object(value, place, *path, stored_as=as_stored)


def as_stored(value: Any) -> Any:
    """The stored form of a value that isn't JSON. A number or string of numpy, of a subclass or of
    an enum becomes Python's own type. A date or time becomes its `isoformat()`, which filters can
    parse; a UUID and a path become text. A tuple becomes a list; a one-dimensional numpy array
    becomes the list of its numbers, strings or bools; an instance of a subclass of dict or list
    becomes a plain dict or list. Other values are returned unchanged."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, date) and type(value).__name__ != "NaTType":  # pandas' NaT isn't a date
        return value.isoformat()
    if isinstance(value, UUID | PurePath):
        return str(value)
    if isinstance(value, tuple | list):
        return [*value]
    if isinstance(value, np.ndarray):
        return value.tolist() if _is_list(value) else value
    return {**value} if isinstance(value, Mapping) else plain_scalar(value)


def _is_list(array: npt.NDArray[Any]) -> bool:
    """Whether an array is stored as a list of values, each of which is checked separately."""
    return array.ndim == 1 and array.dtype.kind in _LISTED and not np.ma.is_masked(array)


def _is_plain(value: dict[Any, Any]) -> bool:
    """Whether a dict is certainly valid without conversion. The test is quick, and can also return
    False for a valid dict."""
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


@dataclass(frozen=True, slots=True)
class _Checking:
    """Checks a payload. place: the payload's name in messages; stored_as: as in `check_object`."""

    place: str
    stored_as: Callable[[Any], Any]

    def object(self, value: Mapping[Any, Any], path: tuple[Any, ...]) -> Payload:
        """Check each value of a dict, and return the dict as a plain dict."""
        return {
            self._key(key, path): self._value(item, (*path, key)) for key, item in value.items()
        }

    def _value(self, value: Any, path: tuple[Any, ...]) -> JSONValue:
        kind = type(value)
        if kind is list or kind is dict:
            return self._container(value, path)
        if kind is bool or value is None:
            return value  # type: ignore[no-any-return]
        if outside := _OUTSIDE.get(kind):
            if (why := outside(value)) is None:
                return value  # type: ignore[no-any-return]
            raise _invalid_value(value, self.place, path, why)
        plain = self._store_as(value, path)
        if plain is not value:
            return self._value(plain, path)
        raise _invalid_value(value, self.place, path, _instead_of(value))

    def _store_as(self, value: Any, path: tuple[Any, ...]) -> Any:
        try:
            return self.stored_as(value)
        except Exception as error:  # raised by a class of the user
            raise _invalid_value(value, self.place, path, f"it can't be read: {error!r}") from error

    def _container(self, value: list[Any] | dict[Any, Any], path: tuple[Any, ...]) -> JSONValue:
        if len(path) >= MAX_DEPTH:
            raise InvalidMetadataError(f"{self.place} is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, list):
            return [self._value(item, (*path, i)) for i, item in enumerate(value)]
        return self.object(value, path)

    def _key(self, key: Any, path: tuple[Any, ...]) -> str:
        plain = self.stored_as(key) if isinstance(key, str) else key
        if type(plain) is str and (plain.isascii() or is_unicode(plain)):
            return plain
        where = self.place + "".join(f"[{step!r}]" for step in path)
        raise InvalidMetadataError(
            f"{where} has the key {quote(key)}; keys must be strings without lone surrogates"
        )


def _outside_of_text(value: str) -> str | None:
    if value.isascii() or is_unicode(value):
        return None
    return "it holds a lone surrogate, which is not valid Unicode"


def _outside_of_integers(value: int) -> str | None:
    return None if INT_MIN <= value <= INT_MAX else "integers go from -2**63 to 2**64 - 1"


def _outside_of_floats(value: float) -> str | None:
    return None if math.isfinite(value) else "floats must be finite"


# Functions that say why a scalar of this type can't be stored; they return None if it can.
_OUTSIDE: dict[type, Callable[[Any], str | None]] = {
    str: _outside_of_text,
    int: _outside_of_integers,
    float: _outside_of_floats,
}
# For values of other types: what to write instead. Types are given by class names, so that they
# aren't imported.
_INSTEAD = {
    "Decimal": "write float(…), or str(…) to keep all digits",
    "Fraction": "write float(…) or str(…)",
    "bytes": "write a string, such as base64.b64encode(…).decode()",
    "bytearray": "write a string, such as base64.b64encode(…).decode()",
    "complex": "write [….real, ….imag]",
    "set": "write sorted(…)",
    "frozenset": "write sorted(…)",
    "time": "write ….isoformat()",
    "timedelta": "write ….total_seconds()",
    "timedelta64": "write str(…), or a number of seconds",
    "Timedelta": "write ….total_seconds()",
    "datetime64": "write str(…)",
    "ndarray": "an array is stored if it has one dimension, of numbers, strings or bools; write "
    "….tolist()",
    "MaskedArray": "write ….tolist(), which has None where it is masked",
    "Tensor": "write ….tolist()",
    "Series": "write ….tolist()",
    "longdouble": "write float(…)",
    "NaTType": "write None, or leave it out",
    "NAType": "write None, or leave it out",
}


def _instead_of(value: Any) -> str:
    if isinstance(value, Enum):
        return "write its .value"
    if callable(getattr(value, "model_dump", None)):
        return "write ….model_dump(mode='json')"
    if is_dataclass(value):
        return "write dataclasses.asdict(…)"
    allowed = "allowed are str, int, float, bool, None, list and dict"
    instead = _INSTEAD.get(type(value).__name__)
    return allowed if instead is None else f"{allowed}: {instead}"


def is_unicode(text: str) -> bool:
    """Whether a string can be stored. Python's strings can contain lone surrogates, which aren't
    valid Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid_value(value: Any, place: str, path: tuple[Any, ...], why: str) -> InvalidMetadataError:
    where = place + "".join(f"[{step!r}]" for step in path)
    return InvalidMetadataError(f"{where} is {quote(value)}, which can't be stored: {why}")


def kind_of(value: JSONValue) -> str | int | None:
    """A hashable key for a value, None for null. Two keys are equal exactly if the values are
    equal: 1.0 equals 1, True doesn't equal 1, and lists and objects are equal if their JSON is
    equal."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return value
    return NO_STRING + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def list_ids(ids: Sequence[str | int]) -> str:
    """The first ten ids, and the number of further ids, for a message."""
    return list_first(ids, LISTED, repr)


def list_first(ids: Sequence[Any], most: int, show: Callable[[Any], str] = str) -> str:
    """The first `most` ids, and the number of further ids. show: returns an id as text."""
    more = f" and {len(ids) - most:,} more" if len(ids) > most else ""
    return ", ".join(map(show, ids[:most])) + more


def absent_ids(ids: Sequence[str | int]) -> NotFoundError:
    """The error to raise if a call must change points with these ids, but they don't exist."""
    error = NotFoundError(f"ids that aren't there: {list_ids(ids)}; nothing was written")
    error.missing = tuple(ids)
    return error


_Item = TypeVar("_Item", bound=Hashable)


def find_repeated(items: Iterable[_Item]) -> list[_Item]:
    """The items that occur more than once, without repetitions, in the order of their second
    occurrence."""
    seen: set[_Item] = set()
    again = [item for item in items if item in seen or seen.add(item)]  # type: ignore[func-returns-value]
    return list(dict.fromkeys(again))


def existing_ids(ids: Sequence[str | int]) -> str:
    """The error message for a call that adds points with these ids, which exist already."""
    return (
        f"ids that already exist ({len(ids)}): {list_ids(ids)}; nothing was added. upsert adds "
        "those that are new and updates the others"
    )


def shorten(value: Any) -> str:
    """A value as text, shortened for a message; its type if it can't be shown."""
    try:
        return _SHORT.repr(value)
    except Exception:  # for example, Python refuses to show integers of thousands of digits
        return f"a value of type {type(value).__name__}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


def quote(value: Any) -> str:
    """A value and its type as text, shortened for an error message."""
    return f"{shorten(value)} ({type(value).__name__})"


def whole_number(value: Any, name: str, least: int, most: int = sys.maxsize) -> int:
    """An integer (numpy's integers too) as an int.

    Args:
        value: the user's value.
        name: the name of the argument, for the message.
        least: the smallest valid value.
        most: the greatest valid value.

    Raises:
        InvalidArgumentError: the integer is out of range.
        InvalidTypeError: the value isn't an integer; bools aren't accepted.
    """
    number = value if type(value) is int else _index_of(value, name)
    if number < least:
        raise InvalidArgumentError(f"{name} is {number}, expected at least {least}")
    if number > most:
        raise InvalidArgumentError(f"{name} is {quote(number)}, expected at most {most}")
    return number


def fraction(value: Any, name: str) -> float:
    """A number from 0 to 1 (numpy's numbers too) as a float.

    Args:
        value: the user's value.
        name: the name of the argument, for the message.

    Raises:
        InvalidArgumentError: the value isn't a number from 0 to 1.
    """
    number: Any = value if type(value) is float else plain_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected a number from 0 to 1")
    return float(number)


def seconds(value: Any, name: str) -> float:
    """The value as a number of seconds. Raises InvalidArgumentError unless it is finite and at
    least 0."""
    number: Any = plain_scalar(value)
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    if not (is_number and 0 <= number < math.inf):
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected seconds: 0 or more")
    return float(number)


_DIGITS = len(str(2**64 - 1))  # of the greatest integer that can be an id


def shows_an_integer(text: str) -> bool:
    """Whether a string is the decimal form of an integer that can be an id."""
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS and str(int(text)) == text


def refuse_credentials(url: str) -> None:
    """Raise InvalidArgumentError if a URL, whether valid or not, contains a user name or a
    password."""
    if "@" in (url.partition("://")[2] or url).partition("/")[0]:
        raise InvalidArgumentError("url holds a name or a password: give api_key= or headers=")


def host_in_url(host: str) -> str:
    """A host in the form that a URL requires: an IPv6 address is put in brackets."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def whole_bytes(value: Any, name: str) -> int:
    """The value as a number of bytes. Raises InvalidArgumentError unless it is an int of at least
    0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected bytes: 0 or more")
    return value


def _index_of(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InvalidTypeError(f"{name} is {quote(value)}, expected an int") from None


def check_callable(value: Any, name: str) -> None:
    """Raise InvalidTypeError if a value can't be called, such as a name, or if it is a class
    instead of an instance."""
    if isinstance(value, type):
        raise InvalidTypeError(f"{name} is the class {value.__name__}; pass an instance of it")
    if value is not None and not isinstance(value, Enum) and not callable(value):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected a callable or None")


# Anything but spaces and invisible characters: soft hyphens, spaces of no width, joiners.
_VISIBLE = re.compile("[^\\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


def is_blank(text: str) -> bool:
    """Whether a text has no visible characters."""
    return _VISIBLE.search(text) is None


IN_MEMORY = ":memory:"  # may be passed instead of a path, as in SQLite and qdrant-client
# At least two letters, because a Windows drive has one.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def check_new_file(target: Path) -> None:
    """Raise InvalidArgumentError if no snapshot can be written to this path."""
    if os.path.lexists(target):
        raise error_of_taken_path(target)
    if not target.parent.is_dir():
        raise InvalidArgumentError(f"there is no directory {target.parent}")


def error_of_taken_path(target: Path) -> InvalidArgumentError:
    """The error to raise if a file or directory already exists at a path."""
    return InvalidArgumentError(f"{target} is there already; a snapshot replaces nothing")


def path_of(path: Any, name: str) -> Path:
    """The absolute path of a file or directory. "~" at the start of `path` is the user's home.
    Raises InvalidTypeError if `path` isn't a path, and InvalidArgumentError if it is a URL."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidTypeError(f"{name} is {quote(path)}, expected the name of a directory or file")
    if _URL.match(text):
        raise InvalidArgumentError(
            f"{name} is {text!r}, expected the path of a directory or file; the URL of a server "
            "goes to url="
        )
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidArgumentError(f"{name} is {text!r}: {error}") from None


def store_path(path: Any, name: str = "path") -> Path | None:
    """The absolute path of a store; None for a store in memory.

    Args:
        path: a string or a path, or None or ":memory:" for a store in memory; "~" at its start is
            the user's home.
        name: the name of the argument, for the message.

    Raises:
        InvalidTypeError: the value isn't a path.
        InvalidArgumentError: the value is a URL.
    """
    return None if path is None or path == IN_MEMORY else path_of(path, name)
