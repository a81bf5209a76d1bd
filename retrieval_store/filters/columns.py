"""Columns: what conditions are asked of. Each is a path into payloads and a reading of what lies
there. An engine that keeps such values of all points keeps them by these.

`within` says of one point what its column has: the items of each of which a condition may hold.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, final

from retrieval_store.base.json_values import Payload
from retrieval_store.filters.paths import Found, Path, Steps, found_in, items_of, value_at
from retrieval_store.filters.readings import (
    LOOSE,
    NOTHING,
    SEES_NOTHING,
    Place,
    PlaceKind,
    Reading,
    places,
    read,
)

_OF_KEYS: tuple[Reading, ...] = ("whole", "element", "length", "count")
_OF_STEPS: tuple[Reading, ...] = ("size", "null")


@final
@dataclass(frozen=True, slots=True)
class ValuesAt:
    """The values at a path, as a reading or an index of some kind sees them."""

    path: Path
    kind: Reading

    @property
    def siblings(self) -> "tuple[ValuesAt, ...]":
        """Columns of the same values, itself among them: to work out all of them takes little
        longer than to read the values again."""
        readings = _OF_STEPS if isinstance(self.path, Steps) else _OF_KEYS
        if self.kind not in readings:
            return (self,)
        return tuple(ValuesAt(self.path, reading) for reading in readings)

    @property
    def loose(self) -> bool:
        """Whether 1 equals 1.0 there."""
        return self.kind in LOOSE

    @property
    def sees_nothing(self) -> bool:
        """Whether a point with nothing at the path has a value in it."""
        return self.kind in SEES_NOTHING

    def within(self, found: Found) -> list[Any]:
        """Those of one point, of all that it has at the path."""
        if self.kind == "as it is":
            return found
        if not found and self.sees_nothing:
            found = [NOTHING]
        _, items = read(self.kind, found, set(map(type, found)))
        return [item for item in items if item is not None]


@final
@dataclass(frozen=True, slots=True)
class PlacesAt:
    """The places at a path, elements of lists one by one."""

    path: Steps
    kind: PlaceKind

    def within(self, found: Found) -> list[Place]:
        """Those of one point, of all that it has at the path."""
        return [place for place in places(self.kind, items_of(found)) if place is not None]


class Tokenizer(Protocol):
    """How texts become tokens. Two that compare equal make the same."""

    def of_text(self, text: str) -> list[str]:
        """The tokens of a text that is kept, in their order."""

    def of_query(self, text: str) -> list[str]:
        """The tokens that are looked for."""

    def of_phrase(self, text: str) -> list[str]:
        """The tokens that must follow one another."""


@final
@dataclass(frozen=True, slots=True)
class TokensAt:
    """The tokens of texts at a path. together: those of all texts of a point as of one, as an index
    of texts keeps them."""

    path: Steps
    tokens: Tokenizer
    together: bool

    def within(self, found: Found) -> list[list[str]]:
        """The tokens of each text of one point, of all that it has at the path."""
        texts = [self.tokens.of_text(item) for item in items_of(found) if type(item) is str]
        return [[token for text in texts for token in text]] if self.together else texts


@final
@dataclass(frozen=True, slots=True)
class ElementsAt:
    """The objects in lists at a path, each with what is asked of it."""

    path: Steps
    asked: tuple["Column", ...]

    def within(self, found: Found) -> list[dict[str, Any]]:
        """The objects of one point, of all that it has at the path."""
        return [one for one in found if type(one) is dict]


Column: TypeAlias = ValuesAt | PlacesAt | TokensAt | ElementsAt


def found_at(payload: Payload | None, column: Column) -> Found:
    """All that a payload has at the path of a column."""
    if isinstance(column.path, Steps):
        return found_in(payload, column.path.steps)
    return [value_at(payload, column.path)]
