"""What a store says of itself: its collections, and the state of its files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.json_values import Payload

EXPIRES = "expires"  # in settings, the key of `CollectionRecord.expires`
TEXTS_CUT = "texts_cut"  # in settings, how many texts were: what happened, and nothing asked for


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection as the catalog knows it; the engine keeps the settings, and reads no more of
    them than `is_apart` and `expires`."""

    id: str
    name: str
    settings: Payload

    @property
    def is_apart(self) -> bool:
        """Whether only QdrantClient works with it: its unnamed vectors, if it has any, are none
        that `Collection` knows."""
        settings: object = self.settings  # which a damaged catalog may have otherwise
        return isinstance(settings, dict) and "qdrant_front" in settings and "hnsw" not in settings

    @property
    def expires(self) -> str | None:
        """The key of payloads under which points have the moment from which on they are gone: a
        time of ISO 8601, or seconds since 1970. None where there is no such key."""
        settings: object = self.settings
        key = settings.get(EXPIRES) if isinstance(settings, dict) else None
        return key if isinstance(key, str) and key else None


@dataclass(frozen=True, slots=True)
class FileReport:
    """What verifying found of one file: its size in bytes, and what is wrong, None for nothing."""

    file: Path
    bytes: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is watched of a collection; None for what isn't known without loading it, or at all.

    points: how many; seq: the number of the last operation; in_memory: whether this process has its
    state in memory, without which the following aren't known; index_lag: vectors that neither the
    index at hand nor its file has; uncoded: the same of codes; dead_slots: of vectors that were
    deleted or replaced, until compaction; memory, disk: bytes by part; problem: why it can't be
    read, None when it can.
    """

    points: int | None = None
    seq: int | None = None
    in_memory: bool = False
    index_lag: int | None = None
    uncoded: int | None = None
    dead_slots: int | None = None
    memory: Mapping[str, int] = field(default_factory=dict)
    disk: Mapping[str, int] = field(default_factory=dict)
    problem: str | None = None


Mode: TypeAlias = Literal["full", "relaxed", "read-only"]
Progress: TypeAlias = Callable[[int, int], object]  # told how many vectors more, and of how many
