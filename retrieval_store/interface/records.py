"""What a store says of itself: its collections, and the state of its files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from retrieval_store.base.json_values import Payload


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection as the catalog knows it; the engine keeps the settings, and reads no more of
    them than `is_apart`."""

    id: str
    name: str
    settings: Payload

    @property
    def is_apart(self) -> bool:
        """Whether only QdrantClient works with it: its unnamed vectors, if it has any, are none
        that `Collection` knows."""
        settings: object = self.settings  # which a damaged catalog may have otherwise
        return isinstance(settings, dict) and "qdrant_front" in settings and "hnsw" not in settings


@dataclass(frozen=True, slots=True)
class FileReport:
    """What verifying found of one file: its size in bytes, and what is wrong, None for nothing."""

    file: Path
    bytes: int
    problem: str | None


Mode: TypeAlias = Literal["full", "relaxed", "read-only"]
Progress: TypeAlias = Callable[[int, int], object]  # told how many vectors more, and of how many
