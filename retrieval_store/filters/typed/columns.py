"""What is asked of payloads at a path: which values, read as what. An engine that keeps such values
of all points keeps them by these."""

from dataclasses import dataclass
from typing import Any, TypeAlias, final

from retrieval_store.filters.nodes import PayloadPath
from retrieval_store.filters.tokens.analysis import Tokens
from retrieval_store.filters.typed.kinds import Place, PlaceKind, ScalarKind, held, places
from retrieval_store.filters.typed.paths import Found, Steps, found_in, items_of


@final
@dataclass(frozen=True, slots=True)
class ValuesAt:
    """The values at a path, elements of lists one by one, as an index of the kind holds them."""

    path: Steps
    kind: ScalarKind

    def within(self, found: Found) -> list[Any]:
        """Those among what was found at the path."""
        return [value for value in held(self.kind, items_of(found)) if value is not None]


@final
@dataclass(frozen=True, slots=True)
class PlacesAt:
    """The places at a path, elements of lists one by one."""

    path: Steps
    kind: PlaceKind

    def within(self, found: Found) -> list[Place]:
        """Those among what was found at the path."""
        return [place for place in places(self.kind, items_of(found)) if place is not None]


@final
@dataclass(frozen=True, slots=True)
class SizesAt:
    """How many values there are at a path, and whether null is among them."""

    path: Steps


@final
@dataclass(frozen=True, slots=True)
class TokensAt:
    """The tokens of texts at a path. together: those of all texts of a point as of one, as an index
    of texts keeps them."""

    path: Steps
    tokens: Tokens
    together: bool


@final
@dataclass(frozen=True, slots=True)
class ElementsAt:
    """The objects in lists at a path, each with what is asked of it."""

    path: Steps
    asked: tuple["Column", ...]


Column: TypeAlias = ValuesAt | PlacesAt | SizesAt | TokensAt | ElementsAt


def keys_of(column: Column | PayloadPath) -> PayloadPath:
    """The keys that lead to what must be read for it."""
    return column if isinstance(column, tuple) else column.path.keys


def found_at(payload: Any, column: Column) -> Found:
    """All that a payload has at its path."""
    return found_in(payload, column.path.steps)
