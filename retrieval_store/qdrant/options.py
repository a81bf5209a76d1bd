"""The arguments of a client: whether they mean a store in this process, and which."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retrieval_store.errors import InvalidArgumentError

PLACES = ("location", "url", "host", "path")


@dataclass(frozen=True, slots=True)
class Options:
    """Arguments by name, as they were given."""

    named: Mapping[str, Any]

    @classmethod
    def bound(cls, client: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> "Options":
        """Arguments of a client's class, by position and by name."""
        bound = inspect.signature(client).bind(*args, **kwargs)
        named = {**bound.arguments, **bound.arguments.get("kwargs", {})}
        named.pop("kwargs", None)
        return cls(named)

    @property
    def is_embedded(self) -> bool:
        """Whether a store in this process is meant."""
        return self.named.get("path") is not None or self.named.get("location") == ":memory:"

    @property
    def place(self) -> Any:
        """Its directory, or ":memory:"."""
        path = self.named.get("path")
        return ":memory:" if path is None else path

    @property
    def others(self) -> dict[str, Any]:
        """All arguments that don't say where it is."""
        return {name: value for name, value in self.named.items() if name not in PLACES}

    def check(self) -> None:
        """Raise InvalidArgumentError for arguments that contradict each other."""
        given = [name for name in PLACES if self.named.get(name) is not None]
        if len(given) > 1:
            raise InvalidArgumentError(f"expected one of {', '.join(PLACES)}, got {given}")
        if self.named.get("cloud_inference"):
            raise InvalidArgumentError("cloud_inference needs a server: give url")
