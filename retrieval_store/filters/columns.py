"""Columns: the values that conditions are about. A column is a path into payloads and a reading,
the way in which the values at the path are seen. An engine that caches values of all points uses
columns as keys.

`within` returns the items that a column has for one point; a condition holds for the point if it
holds for any of these.
"""

from typing import Any, Protocol, TypeAlias, final

from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import Payload
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
    """The values at a path, as a reading sees them (see `readings`)."""

    path: Path
    kind: Reading

    @property
    def siblings(self) -> "tuple[ValuesAt, ...]":
        """The columns that are derived from the same values, including this one. Building all of
        them at once takes less time than reading the values again later."""
        readings = _OF_STEPS if isinstance(self.path, Steps) else _OF_KEYS
        if self.kind not in readings:
            return (self,)
        return tuple(ValuesAt(self.path, reading) for reading in readings)

    @property
    def loose(self) -> bool:
        """Whether 1 equals 1.0 in this column."""
        return self.kind in LOOSE

    @property
    def sees_nothing(self) -> bool:
        """Whether a point with nothing at the path has a value in this column."""
        return self.kind in SEES_NOTHING

    def within(self, found: Found) -> list[Any]:
        """The items of one point. found: all that its payload has at the path."""
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
        """The places of one point. found: all that its payload has at the path."""
        return [place for place in places(self.kind, items_of(found)) if place is not None]


class Tokenizer(Protocol):
    """Splits texts into tokens. Tokenizers that compare equal make the same tokens."""

    def of_text(self, text: str) -> list[str]:
        """The tokens of a stored text, in order."""

    def of_query(self, text: str) -> list[str]:
        """The tokens of a query, to be found in any order."""

    def of_phrase(self, text: str) -> list[str]:
        """The tokens of a phrase, to be found in this order, adjacent."""


@final
@dataclass(frozen=True, slots=True)
class TokensAt:
    """The tokens of texts at a path. together: concatenate the tokens of all texts of a point, as a
    text index does."""

    path: Steps
    tokens: Tokenizer
    together: bool

    def within(self, found: Found) -> list[list[str]]:
        """The tokens of each text of one point. found: all that its payload has at the path."""
        texts = [self.tokens.of_text(item) for item in items_of(found) if type(item) is str]
        return [[token for text in texts for token in text]] if self.together else texts


@final
@dataclass(frozen=True, slots=True)
class ElementsAt:
    """The objects in lists at a path. asked: the columns within each object that a condition
    needs."""

    path: Steps
    asked: tuple["Column", ...]

    def within(self, found: Found) -> list[dict[str, Any]]:
        """The objects of one point. found: all that its payload has at the path."""
        return [one for one in found if type(one) is dict]


Column: TypeAlias = ValuesAt | PlacesAt | TokensAt | ElementsAt


def found_at(payload: Payload | None, column: Column) -> Found:
    """All values that a payload has at the path of a column."""
    if isinstance(column.path, Steps):
        return found_in(payload, column.path.steps)
    return [value_at(payload, column.path)]
