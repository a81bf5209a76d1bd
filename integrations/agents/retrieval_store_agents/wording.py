"""Formats values, ids and numbers for results and messages."""

import reprlib
from collections.abc import Callable, Sequence
from typing import Any

LISTED = 10  # ids in a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


def cut_text(text: str, most: int) -> str:
    """The text, if it has at most `most` characters; otherwise its beginning, followed by "…"."""
    return text if len(text) <= most else f"{text[:most]}…"


def count_in_words(number: int, noun: str) -> str:
    """A number and a noun, in the plural unless the number is 1, such as "1,000 records"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def list_first(items: Sequence[Any], most: int, show: Callable[[Any], str]) -> str:
    """The first `most` items as text, and how many more there are."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(map(show, items[:most])) + more


def list_ids(ids: Sequence[str]) -> str:
    """The first ten ids as text, and how many more there are."""
    return list_first(ids, LISTED, repr)


def shorten(value: Any) -> str:
    """The value as a short text; its type if Python refuses to show the value."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to show integers of thousands of digits
        return f"a value of type {type(value).__name__}"


def quote(value: Any) -> str:
    """The value as a short text, followed by its type."""
    return f"{shorten(value)} ({type(value).__name__})"
