"""Vectors of spaces that aren't dense: as blobs in points.sqlite, a record for each point.

A sparse vector is its indices, uint32, and then as many values, float32; several dense vectors of a
point are their numbers, float32, row by row. Little-endian.
"""

from collections.abc import Iterator, Sequence

import apsw
import numpy as np

from retrieval_store.base.arrays import Ints, Matrix, SparseVector
from retrieval_store.engine.database.failures import ContradictionError
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.storage.schema import Space
from retrieval_store.errors import DimensionMismatchError, InvalidArgumentError
from retrieval_store.query.types import NonDenseVector

AT_ONCE = 20_000


def put_non_dense(
    connection: apsw.Connection, space: Space, items: Sequence[NonDenseVector], owners: Ints
) -> None:
    """Store one item for each owner, in place of what it had; those whose owner is -1 are only
    checked. The first write fixes the dimension of a space of several vectors."""
    dimension = space.dimension
    for item in items:
        if space.kind == "multi":
            dimension = _checked_dimension(space, item, dimension)
        else:
            _check_sparse(space, item)
    records = [
        (pk, space.number, encoded(item))
        for pk, item in zip(owners.tolist(), items, strict=True)
        if pk >= 0
    ]
    connection.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", records)
    if dimension != space.dimension and records:
        query = "UPDATE spaces SET dimension = ? WHERE number = ?"
        connection.execute(query, (dimension, space.number))


def _check_sparse(space: Space, item: NonDenseVector) -> None:
    if not isinstance(item, SparseVector):
        raise InvalidArgumentError(f"the vectors of space {space.name!r} must be sparse")
    indices, values = item.indices, item.values
    if len(indices) != len(values) or (np.diff(indices.astype(np.int64)) <= 0).any():
        raise InvalidArgumentError(
            f"a sparse vector of space {space.name!r} has {len(indices)} indices and {len(values)} "
            "values; expected as many of both, and indices that ascend"
        )
    if not np.isfinite(values).all():
        raise InvalidArgumentError(f"a sparse vector of space {space.name!r} has infinite values")


def _checked_dimension(space: Space, item: NonDenseVector, dimension: int | None) -> int:
    if isinstance(item, SparseVector) or item.ndim != 2 or not item.size:
        raise InvalidArgumentError(
            f"the vectors of space {space.name!r} must be matrices with rows"
        )
    if dimension not in (None, item.shape[1]):
        raise DimensionMismatchError(
            f"a vector has {item.shape[1]} numbers, but space {space.name!r} holds vectors of "
            f"{dimension}"
        )
    return int(item.shape[1])


def delete_non_dense(connection: apsw.Connection, pks: Ints, space: Space | None = None) -> None:
    """Delete what these points have in a space, or in any."""
    query, some = "DELETE FROM blobs WHERE pk IN carray(?)", apsw.carray(np.ascontiguousarray(pks))
    if space is None:
        connection.execute(query, (some,))
    else:
        connection.execute(f"{query} AND space = ?", (some, space.number))


def count_non_dense(connection: apsw.Connection, space: Space) -> int:
    """How many points have something in a space."""
    query = "SELECT count(*) FROM blobs WHERE space = ?"
    ((count,),) = select(connection, query, space.number)
    return int(count)


def read_non_dense(
    connection: apsw.Connection, space: Space, pks: Ints
) -> Iterator[tuple[int, NonDenseVector]]:
    """pk and item of those of the points that have one, by ascending pk."""
    for pk, blob in read_blobs(connection, space, pks):
        yield pk, decoded(blob, space)


def read_blobs(connection: apsw.Connection, space: Space, pks: Ints) -> Iterator[tuple[int, bytes]]:
    """The same, not decoded."""
    query = "SELECT pk, content FROM blobs WHERE pk IN carray(?) AND space = ? ORDER BY pk"
    for start in range(0, len(pks), AT_ONCE):
        some = np.ascontiguousarray(pks[start : start + AT_ONCE], np.int64)
        yield from select(connection, query, apsw.carray(some), space.number)


def encoded(item: NonDenseVector) -> bytes:
    """As it is stored."""
    if isinstance(item, SparseVector):
        return item.indices.astype("<u4").tobytes() + item.values.astype("<f4").tobytes()
    return item.astype("<f4").tobytes()


def decoded(blob: bytes, space: Space) -> NonDenseVector:
    """The inverse of `encoded`."""
    if space.kind == "sparse":
        half = len(blob) // 8
        return SparseVector(
            np.frombuffer(blob, "<u4", half), np.frombuffer(blob, "<f4", half, half * 4)
        )
    matrix: Matrix = np.frombuffer(blob, "<f4").reshape(-1, space.dimension or 1)
    if not len(matrix):
        raise ContradictionError(f"a point has none of its vectors in space {space.name!r}")
    return matrix
