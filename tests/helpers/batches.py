"""Points in the engine's form: in batches, with vectors of every kind."""

import numpy as np
import scipy.sparse

from retrieval_store.base.arrays import SparseVector
from retrieval_store.query.types import NewSpace, NonDenseVectors, PointBatch, Vectors, WriteRules

TERMS, POINTS = 500, 300  # of sparse vectors
ADD = WriteRules(on_existing="refuse", on_missing="insert")
UPSERT = WriteRules(on_existing="update", on_missing="insert")


def sparse_items(count, seed=0, dense=0.03):
    matrix = scipy.sparse.random(count, TERMS, dense, "csr", np.float32, random_state=seed)
    matrix.sort_indices()
    return matrix, [
        SparseVector(row.indices.astype(np.uint32), row.data)
        for row in (matrix[i] for i in range(count))
    ]


def put(points, ids, items, rules=UPSERT, **more):
    points.put(PointBatch(ids, {"s": NonDenseVectors(items)}, **more), rules)


def points_of(store, **spaces):
    """A new collection with these spaces; a metric alone is enough for a space."""
    new = {
        name: NewSpace(space) if isinstance(space, str) else space for name, space in spaces.items()
    }
    return store.points(store.create("things", {}, new).id)


def batch(ids, **vectors):
    matrices = {name: Vectors(np.array(rows, np.float32)) for name, rows in vectors.items()}
    return PointBatch(ids, matrices)
