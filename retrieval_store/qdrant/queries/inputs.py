"""The vectors that queries name: given as such, or as those of stored points."""

import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import Matrix, SparseVector, as_bytes, as_float32
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.validation import shown
from retrieval_store.qdrant.collections.configuration import UNNAMED, Vector
from retrieval_store.qdrant.collections.opened import Collections, Opened
from retrieval_store.qdrant.points.ids import id_to_read
from retrieval_store.qdrant.points.vectors import (
    dense_vector,
    normalised,
    several_vectors,
    to_sparse,
)
from retrieval_store.qdrant.refusals import NoVectorError, malformed, missing, wrong
from retrieval_store.query.query import Example
from retrieval_store.query.types import Fields, PointId

IDS = (int, str, uuid.UUID)


@dataclass(slots=True)
class Inputs:
    """Makes vectors for one step. opened: the collection that is searched; using: the name of the
    vectors there; source: the collection whose points may be named, and the name of theirs.
    named: ids of points of this collection whose vectors were asked for; read: points of the source
    by id, as far as they were read."""

    opened: Opened
    using: Vector
    source: Opened
    theirs: Vector
    named: list[PointId] = field(default_factory=list)
    read: dict[PointId, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, collections: Collections, opened: Opened, using: str | None, lookup: Any
    ) -> "Inputs":
        """For a step that uses vectors of this name, of points of the collection or another."""
        vector = opened.vector(using or UNNAMED)
        if lookup is None:
            return cls(opened, vector, opened, vector)
        source = collections.opened(lookup.collection)
        theirs = source.vector(lookup.vector or using or UNNAMED)
        if (theirs.kind, theirs.size) != (vector.kind, vector.size):
            raise wrong(
                f"lookup_from names vectors {theirs.name!r}, which are {theirs.kind} of size "
                f"{theirs.size}; vectors {vector.name!r} are {vector.kind} of size {vector.size}"
            )
        return cls(opened, vector, source, theirs)

    def example(self, given: Any) -> Example:
        """One vector, in the shape that the space has for a point."""
        if _is_id(given):
            return self._stored(given)
        if isinstance(given, list | tuple | np.ndarray) and len(given) == 0:
            raise wrong(f"the query for vectors {self.using.name!r} is empty")
        if self.using.kind == "sparse":
            return to_sparse(given)
        if self.using.kind == "multi":
            return as_asked(self.using, several_vectors(self.using, given))
        if isinstance(given, models.SparseVector) or given is None:
            raise wrong(f"the query is {shown(given)}, but vectors {self.using.name!r} are dense")
        row: Example = as_asked(self.using, dense_vector(self.using, given))[0]
        return row

    def examples(self, given: Iterable[Any]) -> list[Example]:
        """Several vectors; those of stored points are read at once."""
        every = list(given)
        self._read([id_to_read(one) for one in every if _is_id(one)])
        return [self.example(one) for one in every]

    def _read(self, ids: list[PointId]) -> None:
        if ids:
            name = self.theirs.name
            points = self.source.points.get(ids, None, None, 0, Fields(vectors=(name,)))
            self.read.update(zip(points.ids, (points.vectors or {})[name], strict=True))

    def _stored(self, given: Any) -> Example:
        point_id, name = id_to_read(given), self.theirs.name
        if point_id not in self.read:
            self._read([point_id])
        if point_id not in self.read:
            raise missing(f"Not found: No point with id {given} found")
        found = self.read[point_id]
        if found is None or (isinstance(found, np.ndarray) and np.isnan(found.ravel()[:1]).any()):
            raise NoVectorError(given, name)
        if self.source.record.id == self.opened.record.id:
            self.named.append(point_id)
        return found if isinstance(found, SparseVector) else _as_kept(self.theirs, found)


def _is_id(given: Any) -> bool:
    return isinstance(given, IDS) and not isinstance(given, bool)


def as_asked(vector: Vector, query: Matrix) -> Matrix:
    """A query's numbers as a server compares them: cut to bytes where vectors are bytes."""
    return as_float32(as_bytes(query)) if vector.datatype == "uint8" else query


def average(vector: Vector, examples: Iterable[Example], negatives: list[Example]) -> Example:
    """The average of the positives, and as much further from the average of the negatives."""
    positives = list(examples)
    if vector.kind == "sparse":
        return _sparse_average(positives, negatives)
    near, far = _matrices(positives), _matrices(negatives)
    if vector.kind == "multi":  # as a server does it: all of them together
        together: Example = np.concatenate([*near, *(-one for one in far)])
        return together
    mean: Any = np.mean(np.stack(near), axis=0, dtype=np.float64)
    if far:
        mean = mean + mean - np.mean(np.stack(far), axis=0, dtype=np.float64)
    averaged: Example = mean.astype(np.float32)
    return averaged


def _matrices(examples: list[Example]) -> list[Matrix]:
    return [one for one in examples if isinstance(one, np.ndarray)]


def _as_kept(vector: Vector, found: Matrix) -> Matrix:
    """A stored vector as a server would have it."""
    return normalised(vector, np.atleast_2d(found)).reshape(found.shape)


def _sparse_average(positives: list[Example], negatives: list[Example]) -> SparseVector:
    positive = _mean([one for one in positives if isinstance(one, SparseVector)])
    if not negatives:
        return _sparse(positive)
    negative = _mean([one for one in negatives if isinstance(one, SparseVector)])
    totals = {index: 2 * value for index, value in positive.items()}
    for index, value in negative.items():
        totals[index] = totals.get(index, 0.0) - value
    return _sparse(totals)


def _mean(vectors: list[SparseVector]) -> dict[int, float]:
    totals: dict[int, float] = {}
    for one in vectors:
        for index, value in zip(one.indices.tolist(), one.values.tolist(), strict=True):
            totals[index] = totals.get(index, 0.0) + value / len(vectors)
    return totals


def _sparse(values: dict[int, float]) -> SparseVector:
    indices = np.array(sorted(values), np.uint32)
    return SparseVector(
        indices, np.array([values[index] for index in indices.tolist()], np.float32)
    )


def nothing_given() -> Exception:
    """For examples that are needed and aren't there."""
    return malformed("at least one positive or negative example is needed")
