"""Checks users' arguments, formats values and numbers, and imports optional packages.

This module imports only `errors`, since readers of files run in a process with little memory.
"""

import operator
import os
import re
import reprlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrieval_store.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    MissingDependencyError,
)

MAX_DEPTH = 100  # of metadata
LISTED = 10  # ids in a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = 60
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # with more letters than a Windows drive
# Anything but spaces and invisible characters: soft hyphens, zero-width spaces, joiners.
_VISIBLE = re.compile("[^\\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


def quote(value: Any) -> str:
    """A value and its type as text, shortened for an error message."""
    try:
        shown = _SHORT.repr(value)
    except Exception:  # Python refuses to show integers of thousands of digits, say
        shown = "a value"
    return f"{shown} ({type(value).__name__})"


def list_ids(ids: Sequence[str]) -> str:
    """The first ten ids as text, and the number of further ids."""
    more = f" and {len(ids) - LISTED:,} more" if len(ids) > LISTED else ""
    return ", ".join(map(repr, ids[:LISTED])) + more


def count_in_words(number: int, noun: str) -> str:
    """A number and a noun, such as "1 record" or "2,000 records"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def is_blank(text: str) -> bool:
    """Whether a text has no visible characters."""
    return _VISIBLE.search(text) is None


def is_unicode(text: str) -> bool:
    """Whether a string can be encoded as UTF-8, and so be stored. Python's strings can contain lone
    surrogates, which can't be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def whole_number(value: Any, name: str, least: int) -> int:
    """An integer argument as an int. Raises an error if the value isn't an integer, or is less than
    `least`. Integers of numpy are accepted. name: the name of the argument."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InvalidTypeError(f"{name} is {quote(value)}, expected an int") from None
    if number < least:
        raise InvalidArgumentError(f"{name} is {number}, expected at least {least}")
    if number > sys.maxsize:
        raise InvalidArgumentError(f"{name} is {quote(number)}, expected at most {sys.maxsize}")
    return number


def check_callable(value: Any, name: str) -> None:
    """Raise InvalidTypeError for an object that can't be called. This includes a class that is
    passed in place of an instance. None is accepted."""
    if isinstance(value, type):
        raise InvalidTypeError(f"{name} is the class {value.__name__}; pass an instance of it")
    if value is not None and not callable(value):
        raise InvalidTypeError(f"{name} is {quote(value)}, expected a callable or None")


def path_of(path: Any, name: str) -> Path:
    """The absolute path that an argument names. A "~" at the beginning of the argument stands for
    the user's home directory. name: the name of the argument."""
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


@contextmanager
def needing(feature: str, package: str | None, requirement: str) -> Iterator[None]:
    """A context manager that raises MissingDependencyError if an import within it fails. feature:
    the feature that needs the package; package: the name of the package, by default the name of the
    imported module; requirement: what to install with pip, or "[EXTRA]" of this package."""
    try:
        yield
    except ImportError as error:
        if package is None and not isinstance(error, ModuleNotFoundError):
            raise
        argument = f'"retrieval-store{requirement}"' if requirement[0] == "[" else requirement
        message = f"{feature} needs {package or error.name}: pip install {argument}"
        raise MissingDependencyError(message) from error
