"""Paths into payloads, of two kinds, and what lies at their ends.

A `PayloadPath` is a tuple of keys, one a step. One key with dots in it leads through several where
a payload has no key of that very name. It never leads into a list.

`Steps` are followed to the letter, and lead through lists where a step says so: `a.b`, `a[].b`,
`a[0]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from retrieval_store.base.json_values import Payload

PayloadPath: TypeAlias = tuple[str, ...]
EACH = None  # the step into all elements of a list
Step: TypeAlias = str | int | None  # a key, an element, or each element
Found: TypeAlias = list[Any]  # what is at the end, in order; nothing where there is nothing


@dataclass(frozen=True, slots=True)
class Steps:
    """A path. It never goes through a list but by a step that says so."""

    steps: tuple[Step, ...]

    @property
    def keys(self) -> PayloadPath:
        """The keys that it begins with."""
        keys: list[str] = []
        for step in self.steps:
            if not isinstance(step, str):
                break
            keys.append(step)
        return tuple(keys)

    @property
    def beyond(self) -> tuple[Step, ...]:
        """The steps from the first list on."""
        return self.steps[len(self.keys) :]

    def into_each(self) -> "Steps":
        """The path to the elements of the list that this one leads to."""
        return self if self.steps[-1] is EACH else Steps((*self.steps, EACH))

    def __str__(self) -> str:
        shown = "".join(
            f".{step}" if isinstance(step, str) else f"[{'' if step is EACH else step}]"
            for step in self.steps
        )
        return shown[1:]


Path: TypeAlias = PayloadPath | Steps


def dotted(path: PayloadPath) -> PayloadPath | None:
    """The keys between the dots of the only key of a path; None where there are none."""
    if len(path) != 1 or not isinstance(path[0], str) or "." not in path[0]:
        return None
    keys = tuple(path[0].split("."))
    return keys if all(keys) else None


def value_at(payload: Payload | None, path: PayloadPath) -> Any:
    """What the payload has at the path; None when there is nothing. One key with dots in it leads
    through several, where there is no key of that very name."""
    others = dotted(path)
    if others is not None and (payload is None or path[0] not in payload):
        path = others
    value: Any = payload
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def found_in(payload: Any, steps: Sequence[Step]) -> Found:
    """All that is at the end of the steps, which are followed to the letter."""
    found = [payload]
    for step in steps:
        found = [value for one in found for value in _next(one, step)]
    return found


def _next(value: Any, step: Step) -> Found:
    match value:
        case dict() if isinstance(step, str):
            return [value[step]] if step in value else []
        case list() if step is EACH:
            return value
        case list() if isinstance(step, int):
            return value[step : step + 1]
    return []


def items_of(found: Found) -> Found:
    """What is found, with the elements of a list instead of it."""
    if not any(type(value) is list for value in found):
        return found
    return [item for value in found for item in (value if type(value) is list else (value,))]
