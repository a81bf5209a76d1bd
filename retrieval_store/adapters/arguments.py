"""Arguments that frameworks pass on as their users gave them, checked."""

from collections.abc import Iterable, Mapping
from typing import Any

from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError


def refuse_text(ids: Any, name: str = "ids") -> None:
    """Raise InvalidTypeError for a single string, which would pass for a list of its letters."""
    if isinstance(ids, str):
        raise InvalidTypeError(f"{name} is the str {ids!r}, expected a list of them")


def items_of(given: Any, name: str, kind: Any, *others: Any) -> list[Any]:
    """A list of an iterable whose items are of a kind, or one of the others. Raises
    InvalidTypeError, which names the first that isn't."""
    refuse_text(given, name)
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidTypeError(f"{name} is {shown(given)}, expected a list of {kind.__name__}")
    items = list(given)
    for i, item in enumerate(items):
        if not isinstance(item, kind) and all(item is not other for other in others):
            raise InvalidTypeError(f"{name}[{i}] is {shown(item)}, expected {kind.__name__}")
    return items


def refuse_unknown(given: Iterable[str], known: Iterable[str], caller: str) -> None:
    """Raise InvalidTypeError for the name of an argument that isn't among those known."""
    unknown = sorted(set(given) - set(known), key=str)
    if unknown:
        raise InvalidTypeError(
            f"there is no argument {unknown[0]!r}; {caller} takes {', '.join(known)}"
        )


def batch_size_of(value: Any) -> int:
    """How many records are written at once; raises InvalidArgumentError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(f"batch_size is {shown(value)}, expected an int of at least 1")
    return value


def search_params_of(given: Any) -> dict[str, Any]:
    """`ef` and `exact` of what Qdrant's users pass as search_params: its model, or a dict. Raises
    InvalidArgumentError for parameters that mean nothing here."""
    dump = None if isinstance(given, type) else getattr(given, "model_dump", None)
    params = given if dump is None else dump()
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise InvalidTypeError(
            f"search_params is {shown(given)}, expected a dict such as {{'hnsw_ef': 100}}, or "
            "SearchParams of qdrant_client.models"
        )
    names = {"hnsw_ef": "ef", "exact": "exact"}
    # What isn't given is False there, or None.
    said = {key: value for key, value in params.items() if value is not None and value is not False}
    refuse_unknown(said, names, "search_params")
    return {names[key]: value for key, value in said.items()}
