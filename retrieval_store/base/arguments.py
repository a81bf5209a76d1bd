"""Arguments that users pass, checked: numbers, paths, functions. Errors name the argument, the
value and what would be right.
"""

import operator
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from retrieval_store.base.arrays import plain_scalar
from retrieval_store.base.json_values import shown
from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidTypeError,
)


def whole_number(value: Any, name: str, least: int, most: int = sys.maxsize) -> int:
    """An int from `least` to `most`."""
    number = value if type(value) is int else _index_of(value, name)
    if number < least:
        raise InvalidArgumentError(f"{name} is {number}, expected at least {least}")
    if number > most:
        raise InvalidArgumentError(f"{name} is {shown(number)}, expected at most {most}")
    return number


def fraction(value: Any, name: str) -> float:
    """A number from 0 to 1."""
    number: Any = value if type(value) is float else plain_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
        raise InvalidArgumentError(f"{name} is {shown(value)}, expected a number from 0 to 1")
    return float(number)


def seconds(value: Any, name: str) -> float:
    """A number of seconds."""
    number: Any = plain_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not number >= 0:
        raise InvalidArgumentError(f"{name} is {shown(value)}, expected seconds: 0 or more")
    return float(number)


def whole_bytes(value: Any, name: str) -> int:
    """A number of bytes."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidArgumentError(f"{name} is {shown(value)}, expected bytes: 0 or more")
    return value


def _index_of(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InvalidTypeError(f"{name} is {shown(value)}, expected an int") from None


def check_callable(value: Any, name: str) -> None:
    """Refuse what can't be called: a name, say, or a class instead of an instance."""
    if isinstance(value, type):
        raise InvalidTypeError(f"{name} is the class {value.__name__}; pass an instance of it")
    if value is not None and not isinstance(value, Enum) and not callable(value):
        raise InvalidTypeError(f"{name} is {shown(value)}, expected a callable or None")


def path_of(path: Any, name: str) -> Path:
    """A path of files, absolute; "~" at its beginning is the home of the user."""
    try:
        given = os.fspath(path)
    except TypeError:
        given = None
    if not isinstance(given, str) or not given or "\0" in given:
        raise InvalidTypeError(f"{name} is {shown(path)}, expected the name of a directory or file")
    if given.startswith(("http://", "https://")):
        raise InvalidArgumentError(f"{name} is {given!r}; a cluster's goes to url=")
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise InvalidArgumentError(f"{name} is {given!r}: {error}") from None
