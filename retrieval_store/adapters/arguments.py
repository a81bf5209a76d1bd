"""Arguments that frameworks pass on as their users gave them, checked."""

from typing import Any

from retrieval_store.errors import InvalidTypeError


def refuse_text(ids: Any, name: str = "ids") -> None:
    """Raise InvalidTypeError for a single string, which would pass for a list of its letters."""
    if isinstance(ids, str):
        raise InvalidTypeError(f"{name} is the str {ids!r}, expected a list of them")
