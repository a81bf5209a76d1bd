"""Errors, as they are told to another process: by the name of their class and what they say."""

from typing import Any

from retrieval_store import errors
from retrieval_store.errors import NotFoundError, RetrievalStoreError

_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, RetrievalStoreError) and kind.__name__ == name
}


def told(error: RetrievalStoreError) -> dict[str, Any]:
    """What another process is told of an error: the nearest class that it knows."""
    kind = next(one for one in type(error).__mro__ if one.__name__ in _KINDS)
    found = {"error": kind.__name__, "message": str(error).encode("utf-8", "replace").decode()}
    was_there = isinstance(error, NotFoundError) and error.was_there
    return {**found, "was_there": True} if was_there else found


def understood(said: Any) -> RetrievalStoreError | None:
    """The error of which another process told; None where it told of none."""
    name = said.get("error") if isinstance(said, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        return None
    error: RetrievalStoreError = kind(str(said.get("message", "")))
    if isinstance(error, NotFoundError):
        error.was_there = said.get("was_there") is True
    return error
