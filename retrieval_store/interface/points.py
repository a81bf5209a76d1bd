"""Points that go into a store and come out of it: in columns, rather than one by one."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Floats, Ints, Matrix, SparseVector
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.json_values import Payload
from retrieval_store.filters.nodes import Expression

PointId: TypeAlias = str | int


class ShownIds(tuple[str, ...]):
    """Ids as they are shown, from a caller to whom all ids are strings: "7" is the id of the point
    with the integer 7, if there is one and none with the string; else it is the string. A store
    finds out which in the same state that it uses the ids in."""

    __slots__ = ()


NonDenseVector: TypeAlias = SparseVector | Matrix


class Unset(Enum):
    """Stands for "leave what is there" in an update."""

    UNSET = "unset"


UNSET = Unset.UNSET
MaybeText: TypeAlias = str | None | Unset
MaybePayload: TypeAlias = Payload | None | Unset


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors for some points of a batch.

    matrix: (m, dim) float32, C-contiguous; positions: which points of the batch they belong to,
    ascending int64 (m,), None for all of them.
    """

    matrix: Matrix
    positions: Ints | None = None


@dataclass(frozen=True, slots=True)
class NonDenseVectors:
    """Vectors for some points of a batch, in a space that isn't dense.

    items: for each a SparseVector, or a (m, dim) float32 matrix of its several vectors; positions:
    as in `Vectors`.
    """

    items: Sequence[NonDenseVector]
    positions: Ints | None = None


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Points to write. A field that is None as a whole leaves known points as they are, and so does
    UNSET as one of its items; new points get null."""

    ids: Sequence[PointId]
    vectors: Mapping[str, Vectors | NonDenseVectors] = field(default_factory=dict)
    payloads: Sequence[MaybePayload] | None = None
    documents: Sequence[MaybeText] | None = None
    uris: Sequence[MaybeText] | None = None


@dataclass(frozen=True, slots=True)
class WriteRules:
    """How `put` treats points that exist, points that don't, and payloads.

    on_existing: "update" changes what is given of a point, "replace" makes the point what the batch
    says, so that what isn't given is gone, vectors too; "ignore" leaves it as it is, "refuse" is an
    IDAlreadyExistsError. on_missing: "refuse" is a NotFoundError. merge_payloads: keys of the new
    payload replace those of the old, a None deletes the key; otherwise the new payload replaces the
    old. needs_vector: the space in which each new point must have a vector, None when points may
    come without. where: points that exist and don't fulfil it are ignored.
    """

    on_existing: Literal["refuse", "update", "replace", "ignore"]
    on_missing: Literal["insert", "ignore", "refuse"]
    merge_payloads: bool = True
    needs_vector: str | None = None
    where: Expression | None = None


# Points are what the batch says, and nothing else.
WHOLE = WriteRules(on_existing="replace", on_missing="insert", merge_payloads=False)


@dataclass(frozen=True, slots=True)
class Content:
    """What a point says besides its vectors."""

    payload: Payload | None
    document: str | None
    uri: str | None


def merged(old: Payload | None, new: Payload | None) -> Payload | None:
    """`old` with the keys of `new`; a None deletes the key."""
    if new is None:
        return old
    merged = {**(old or {}), **new}
    return {key: value for key, value in merged.items() if key not in new or value is not None}


@dataclass(frozen=True, slots=True)
class PutResult:
    """What `put` did: how many points it inserted and updated, and which ids it ignored."""

    inserted: int
    updated: int
    ignored: Sequence[PointId]


@dataclass(frozen=True, slots=True)
class Position:
    """How far a collection's log has come: the number of its last operation, and how many points
    have ever been inserted."""

    operation: int
    inserted: int


@dataclass(frozen=True, slots=True)
class Changed:
    """What is otherwise than at an earlier position. ids: of the points that were inserted or
    changed since and are there, the former last, in the order of insertion; None where the log
    doesn't reach back so far. inserted: how many of them are new."""

    position: Position
    ids: Sequence[PointId] | None
    inserted: int = 0


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of points to fetch, besides their ids. vectors: names of spaces; version: the
    number of the operation that changed a point last."""

    payload: bool = False
    document: bool = False
    uri: bool = False
    vectors: tuple[str, ...] = ()
    version: bool = False


VectorsRead: TypeAlias = Matrix | list[NonDenseVector | None]


@dataclass(slots=True)  # never changed; frozen, it would take three times as long to make
class Points:
    """Points read; fields that weren't asked for are None.

    vectors: by the names of spaces; of a dense one (n, dim) float32, rows of NaN for points without
    a vector in it; of others a list, with None for points without. versions: (n,).
    """

    ids: list[PointId]
    payloads: list[Payload | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    vectors: dict[str, VectorsRead] | None = None
    versions: Ints | None = None

    def at(self, places: Ints) -> "Points":
        """The points at these places."""

        def some(column: Any) -> Any:
            if isinstance(column, np.ndarray):
                return column[places]
            return None if column is None else [column[place] for place in places.tolist()]

        vectors = self.vectors
        return Points(
            some(self.ids),
            some(self.payloads),
            some(self.documents),
            some(self.uris),
            None if vectors is None else {name: some(one) for name, one in vectors.items()},
            some(self.versions),
        )


@dataclass(slots=True)  # never changed; frozen, it would take three times as long to make
class Hits:
    """The answer to one query, or one group of it: points, best first, their distances, float64
    (n,), None where nothing is measured, and their scores, float64 (n,), in the scale of the
    question. values: what an order went by; group: what the points of a group have in common."""

    points: Points
    distances: Floats | None
    scores: Floats
    values: list[int | float] | None = None
    group: str | int | None = None
