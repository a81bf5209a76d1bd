"""Validates the fields of the page's requests, by types and limits. Errors name the field."""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, TypeAlias

from retrieval_store import SparseVector
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from retrieval_store.extension import Matrix, PointId, matrix_of, sparse_of
from retrieval_store.frameworks import fraction, quote, whole_number
from retrieval_store_server.values import INT_MAX

Check: TypeAlias = Callable[[Any, str], Any]
LONGEST_TEXT = 1_000_000  # characters
LONGEST_NAME = 10_000
MAX_KEYS = 10_000
STRING, INTEGER = "s:", "i:"  # the prefix of a record's key, by the kind of its id


def check_body(body: Any, checks: Mapping[str, Check], required: Collection[str]) -> dict[str, Any]:
    """The fields of a body, as the functions in `checks` return them. Fields that are null are left
    out. Raises InvalidArgumentError for invalid, unknown and missing fields."""
    if not isinstance(body, dict):
        raise InvalidTypeError(f"the body is {quote(body)}, expected an object")
    for name in body:
        if name not in checks:
            known = ", ".join(checks) or "none"
            raise InvalidArgumentError(f"there is no field {quote(name)}; there are {known}")
    fields = {name: value for name, value in body.items() if value is not None}
    for name in required:
        if name not in fields:
            raise InvalidArgumentError(f"{name} is missing")
    return {name: checks[name](value, name) for name, value in fields.items()}


def text(value: Any, name: str, most: int = LONGEST_TEXT) -> str:
    """The value of a field, if it is a string of at most `most` characters; otherwise raises
    InvalidArgumentError. name: the field's name, for the message."""
    if not isinstance(value, str):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected a text")
    if len(value) > most:
        raise InvalidArgumentError(f"{name} has {len(value)} characters, expected at most {most}")
    return value


def non_empty_text(value: Any, name: str) -> str:
    """The value of a field, if it is a string that is not empty; otherwise raises
    InvalidArgumentError."""
    if not (checked := text(value, name)):
        raise InvalidArgumentError(f"{name} is empty")
    return checked


name_of_something = partial(text, most=LONGEST_NAME)


def flag(value: Any, name: str) -> bool:
    """The value of a field, if it is a boolean; otherwise raises InvalidTypeError. name: the
    field's name, for the message."""
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected true or false")
    return value


def whole(least: int, most: int) -> Check:
    """A check for an integer from `least` to `most`."""
    return partial(whole_number, least=least, most=most)


def number(value: Any, name: str) -> float:
    """The value of a field, if it is a number; otherwise raises InvalidTypeError. name: the field's
    name, for the message."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected a number")
    return float(value)


def share(value: Any, name: str) -> float:
    """The value of a field, if it is a number from 0 to 1; otherwise raises InvalidArgumentError.
    name: the field's name, for the message."""
    return fraction(value, name)


def one_of(names: Collection[str]) -> Check:
    """A check for one of several words."""

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in names:
            raise InvalidArgumentError(
                f"{name} is {quote(value)}, expected one of {', '.join(names)}"
            )
        return value

    return check


def condition(value: Any, name: str) -> dict[str, Any]:
    """The value of a field, if it is a dict; otherwise raises InvalidTypeError. The content of the
    dict is checked when the filter is parsed. name: the field's name, for the message."""
    if not isinstance(value, dict):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected an object")
    return value


def key(value: Any, name: str) -> PointId:
    """The id in a key. The page names a record by a key: "i:" followed by an integer id, or "s:"
    followed by a string id."""
    key_text = text(value, name, LONGEST_NAME)
    if key_text.startswith(STRING):
        return key_text.removeprefix(STRING)
    digits = key_text.removeprefix(INTEGER)
    is_number = digits != key_text and digits.isascii() and digits.isdigit() and len(digits) <= 20
    if not is_number or int(digits) > INT_MAX:
        raise InvalidArgumentError(
            f"{name} is {quote(key_text)}, expected {STRING}ID or {INTEGER}ID"
        )
    return int(digits)


def key_of(point_id: PointId) -> str:
    """The key by which the page names the record with this id."""
    return f"{INTEGER}{point_id}" if isinstance(point_id, int) else f"{STRING}{point_id}"


def list_of(check: Check, most: int = MAX_KEYS) -> Check:
    """A check for a list of at most `most` items."""

    def each(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list):
            raise InvalidTypeError(f"{name} is {quote(value)}, expected a list")
        if len(value) > most:
            raise InvalidArgumentError(f"{name} has {len(value)} items, expected at most {most}")
        return [check(element, f"{name}[{i}]") for i, element in enumerate(value)]

    return each


def vector(value: Any, name: str) -> Matrix:
    """(m, d) float32: the query vectors in a field, which contains one vector or several. name: the
    field's name, for the message."""
    if not isinstance(value, list):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected a list of numbers")
    return matrix_of(value, name)


def sparse(value: Any, name: str) -> SparseVector:
    """The sparse vector in a field, which is an object with `indices` and `values`."""
    if not isinstance(value, dict) or value.keys() != {"indices", "values"}:
        raise InvalidTypeError(f"{name} is {quote(value)}, expected indices and values")
    (sparse_vector,) = sparse_of(value, name)
    assert sparse_vector is not None
    return sparse_vector


def data(value: Any, name: str) -> bytes:
    """The bytes that a field contains in base64."""
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidArgumentError(f"{name} is {quote(value)}, expected base64") from None
