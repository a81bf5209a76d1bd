"""Paths that lead through lists, as a payload's author writes them: `a.b`, `a[].b`, `a[0]`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from retrieval_store.filters.nodes import PayloadPath

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


def found_in(payload: Any, steps: Sequence[Step]) -> Found:
    """All that is at the end of the steps."""
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
