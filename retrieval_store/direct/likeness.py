"""Vectors that are like those of some points, and unlike those of others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Floats, Matrix
from retrieval_store.base.json_values import listed
from retrieval_store.direct.results import SPACE
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.indexes.exact import Metric
from retrieval_store.interface.points import Fields, PointId
from retrieval_store.interface.stores import Backend


def vector_like(
    backend: Backend, metric: Metric, like: Sequence[PointId], unlike: Sequence[PointId]
) -> Matrix:
    """(1, dim) float32 p + (p - u): p the average of the vectors of the first, u of the second, of
    cosine those at length 1; p alone without second ones. As Qdrant recommends by averages."""
    if not like:
        raise InvalidArgumentError("like is empty, expected ids of points to be like")
    near = _average(backend, metric, like, "like")
    if not unlike:
        return near[None].astype(np.float32)
    far = _average(backend, metric, unlike, "unlike")
    return (near + near - far)[None].astype(np.float32)


def _average(backend: Backend, metric: Metric, ids: Sequence[PointId], name: str) -> Floats:
    points = backend.points.get(ids, None, None, 0, Fields(vectors=(SPACE,)))
    column: Any = (points.vectors or {}).get(SPACE)
    there = _with_vector(points.ids, column)
    known = set(there)
    lacking = [one for one in ids if one not in known]
    if lacking:
        raise InvalidArgumentError(f"{name} names points without an embedding: {listed(lacking)}")
    wide = column.astype(np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        wide = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    average: Floats = wide.mean(axis=0)
    return average


def _with_vector(ids: Sequence[PointId], column: Matrix | None) -> list[PointId]:
    if column is None or not column.shape[1]:
        return []
    return [one for one, lacks in zip(ids, np.isnan(column[:, 0]), strict=True) if not lacks]
