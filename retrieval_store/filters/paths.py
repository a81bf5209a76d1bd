"""Two types of paths into payloads, and the functions that find the values at the end of a path.

A `PayloadPath` is a tuple of keys, one for each level of objects. A path of a single key with dots,
such as ("a.b",), means that key if the payload has it, otherwise the path ("a", "b"). A
`PayloadPath` never leads into a list.

A `JsonPath` is one of Qdrant's paths: dots always separate keys, and lists are entered by explicit
steps, as in `a.b`, `a[].b`, `a[0]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from retrieval_store.base.validation import Payload

# Keys under which documents and URIs are shown to fronts that have only payloads.
DOCUMENT, URI = "_document", "_uri"
PayloadPath: TypeAlias = tuple[str, ...]
EACH = None  # the step to all elements of a list
Step: TypeAlias = str | int | None  # a key, the position of an element, or EACH
Values: TypeAlias = list[Any]  # all values at the end of a path, in order; empty if there are none


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A path of explicit steps. A step is a key, the position of an element in a list, or EACH for
    every element of a list."""

    steps: tuple[Step, ...]

    @property
    def keys(self) -> PayloadPath:
        """The keys at the start of the path, before the first step into a list."""
        keys: list[str] = []
        for step in self.steps:
            if not isinstance(step, str):
                break
            keys.append(step)
        return tuple(keys)

    @property
    def beyond(self) -> tuple[Step, ...]:
        """The rest of the path, beginning with the first step into a list."""
        return self.steps[len(self.keys) :]

    def into_each(self) -> "JsonPath":
        """The path to each element of the list at the end of this path."""
        return self if self.steps[-1] is EACH else JsonPath((*self.steps, EACH))

    def __str__(self) -> str:
        shown = "".join(
            f".{step}" if isinstance(step, str) else f"[{'' if step is EACH else step}]"
            for step in self.steps
        )
        return shown[1:]


FieldPath: TypeAlias = PayloadPath | JsonPath


def split_dotted(path: PayloadPath) -> PayloadPath | None:
    """The keys between the dots, for a path of a single key with dots; None for any other path."""
    if len(path) != 1 or not isinstance(path[0], str) or "." not in path[0]:
        return None
    keys = tuple(path[0].split("."))
    return keys if all(keys) else None


def first_keys(path: FieldPath) -> frozenset[str]:
    """The payload keys at which values at the path may begin."""
    ways = (path.keys,) if isinstance(path, JsonPath) else (path, split_dotted(path) or ())
    return frozenset(str(way[0]) for way in ways if way)


def value_at(payload: Payload | None, path: PayloadPath) -> Any:
    """The payload's value at the path, None if there is no value. A single key with dots is split
    at the dots if the payload doesn't have that key itself."""
    others = split_dotted(path)
    if others is not None and (payload is None or path[0] not in payload):
        path = others
    value: Any = payload
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def values_at_end(payload: Any, steps: Sequence[Step]) -> Values:
    """All values at the end of the steps."""
    values = [payload]
    for step in steps:
        values = [value for parent in values for value in _next(parent, step)]
    return values


def _next(value: Any, step: Step) -> Values:
    match value:
        case dict() if isinstance(step, str):
            return [value[step]] if step in value else []
        case list() if step is EACH:
            return value
        case list() if isinstance(step, int):
            return value[step : step + 1]
    return []


def items_of(values: Values) -> Values:
    """The values, with each list replaced by its elements."""
    if not any(type(value) is list for value in values):
        return values
    return [item for value in values for item in (value if type(value) is list else (value,))]
