"""What goes into the engine and what comes out: points, in columns rather than one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeAlias

from retrieval_store.arrays import Floats, Ints, Matrix
from retrieval_store.indexes.exact import Metric
from retrieval_store.json_values import Payload

PointId: TypeAlias = str | int


class Unset(Enum):
    """Stands for "leave what is there" in an update."""

    UNSET = "unset"


UNSET = Unset.UNSET
MaybeText: TypeAlias = str | None | Unset
MaybePayload: TypeAlias = Payload | None | Unset


@dataclass(frozen=True, slots=True)
class Space:
    """A named vector space; `dimension` is None until the first write fixes it."""

    number: int
    name: str
    metric: Metric
    dimension: int | None
    slots: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors for some points of a batch.

    matrix: (m, dim) float32, C-contiguous; positions: which points of the batch they belong to,
    ascending int64 (m,), None for all of them.
    """

    matrix: Matrix
    positions: Ints | None = None


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Points to write. A field that is None as a whole leaves known points as they are, and so does
    UNSET as one of its items; new points get null."""

    ids: Sequence[PointId]
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    payloads: Sequence[MaybePayload] | None = None
    documents: Sequence[MaybeText] | None = None
    uris: Sequence[MaybeText] | None = None


@dataclass(frozen=True, slots=True)
class WriteRules:
    """How `put` treats points that exist, points that don't, and payloads.

    merge_payloads: keys of the new payload replace those of the old, a None deletes the key;
    otherwise the new payload replaces the old. needs_vector: the space in which each new point must
    have a vector, None when points may come without.
    """

    known: Literal["refuse", "update"]
    new: Literal["insert", "ignore"]
    merge_payloads: bool = True
    needs_vector: str | None = None


@dataclass(frozen=True, slots=True)
class PutResult:
    """What `put` did: how many points it inserted and updated, and which ids it ignored."""

    inserted: int
    updated: int
    ignored: Sequence[PointId]


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of points to fetch, besides their ids; `vectors` names a space or is None."""

    payload: bool = False
    document: bool = False
    uri: bool = False
    vectors: str | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """Points read; fields that weren't asked for are None.

    vectors: (n, dim) float32, rows of NaN for points without a vector in the space.
    """

    ids: list[PointId]
    payloads: list[Payload | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    vectors: Matrix | None = None


@dataclass(frozen=True, slots=True)
class Hits:
    """The answer to one query: points, nearest first, and their distances, float64 (n,)."""

    points: Points
    distances: Floats
