"""Converts vectors and ids of points from instances of qdrant-client's model classes to columns of
arrays, and back.

A server normalises some vectors when they are written. `Collection` stores vectors unchanged, so
this module normalises them when they are returned. Ids to write are integers or UUIDs; ids to read
may also be strings that `Collection` has written.
"""

import math
import re
import uuid
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store.base import budget
from retrieval_store.base.arrays import FLOAT16_INFINITY, FLOAT16_MAX, Ints, Matrix, SparseVector
from retrieval_store.base.validation import INT_MAX, is_unicode, quote
from retrieval_store.filters.columns import uuid_in
from retrieval_store.qdrant.collections import CollectionHandle, check_shard_key
from retrieval_store.qdrant.config import UNNAMED, CollectionConfig, Vector
from retrieval_store.qdrant.refusals import bad_request, describe, invalid, wrong
from retrieval_store.query.types import (
    NonDenseVector,
    NonDenseVectors,
    PointId,
    Points,
    Vectors,
    VectorsRead,
)

Columns: TypeAlias = dict[str, Vectors | NonDenseVectors]
LARGEST_INDEX = 2**32 - 1


def columns_of(opened: CollectionHandle, values: Sequence[Any]) -> Columns:
    """The vectors of points as columns by name. values: for each point its vectors."""
    by_name: dict[str, tuple[list[int], list[Any]]] = {}
    for i, point_vectors in enumerate(values):
        for name, vector in _by_name(point_vectors):
            positions, vectors = by_name.setdefault(name, ([], []))
            positions.append(i)
            vectors.append(vector)
    return {
        name: column_of(opened, name, vectors, _positions(positions, len(values)))
        for name, (positions, vectors) in by_name.items()
    }


def _by_name(vectors: Any) -> Iterable[tuple[str, Any]]:
    if vectors is None:
        return ()
    items = vectors.items() if isinstance(vectors, Mapping) else ((UNNAMED, vectors),)
    present = [(name, vector) for name, vector in items if vector is not None]
    for name, vector in present:
        refuse_empty(name, vector)
    return present


def refuse_empty(name: str, vector: Any) -> None:
    """Raise Refused if the vector is empty, whatever its vector space."""
    if isinstance(vector, list | tuple | np.ndarray) and len(vector) == 0:
        raise invalid(f"dense vector must not be empty: {name!r}")


def _positions(positions: list[int], count: int) -> Ints | None:
    return None if len(positions) == count else np.array(positions, np.int64)


def column_of(
    opened: CollectionHandle, name: str, vectors: Any, positions: Ints | None
) -> Vectors | NonDenseVectors:
    """The vectors of one space as a column. vectors: a list or a matrix."""
    vector = opened.vector(name)
    if vector.kind == "dense":
        return Vectors(_matrix(vector, vectors), positions)
    read = to_sparse if vector.kind == "sparse" else _as_multivector(vector)
    return NonDenseVectors([read(item) for item in vectors], positions)


def _as_floats(value: Any) -> Matrix:
    """Numbers as float32. Numbers that are too large become infinite, and later checks refuse
    infinite numbers."""
    with np.errstate(over="ignore"):
        return np.array(value, np.float32, order="C")


def _as_row(value: Any) -> Matrix:
    """(1, n): a vector as float32. For a list of numbers, which is the most frequent case, this
    takes half the time of `_as_floats`."""
    if type(value) is not list:
        return _as_floats([value])
    try:
        return np.frombuffer(array("f", value), np.float32)[None]
    except (TypeError, ValueError, OverflowError):  # which numpy may yet read, or tells as it does
        return _as_floats([value])


def _matrix(vector: Vector, vectors: Any) -> Matrix:
    try:
        matrix = _as_floats(vectors)
    except (ValueError, TypeError):
        matrix = None
    if matrix is None or matrix.ndim != 2:
        for item in vectors:
            dense_vector(vector, item)
        raise bad_request(f"the vectors {vector.name!r} aren't lists of numbers")
    _check(vector, matrix)
    return _as_float16(vector, matrix)


def dense_vector(vector: Vector, value: Any) -> Matrix:
    """(1, dim): one dense vector; raises Refused if it is invalid."""
    try:
        row = _as_row(value)
    except (ValueError, TypeError):
        row = None
    if row is None or row.ndim != 2:
        expected = "a list of numbers" if vector.size is None else f"{vector.size} numbers"
        raise wrong(
            f"Wrong input: vector {vector.name!r} is {describe(value)}, expected {expected}"
        )
    _check(vector, row)
    return row


def _check(vector: Vector, matrix: Matrix) -> None:
    if vector.size is not None and matrix.shape[1] != vector.size:
        raise wrong(
            f"Wrong input: Vector dimension error: expected dim: {vector.size}, got "
            f"{matrix.shape[1]}"
        )
    # A sum that overflows tells nothing, but of most vectors it does, in less time.
    if not math.isfinite(np.vdot(matrix, matrix)) and not np.isfinite(matrix).all():
        raise wrong(f"Wrong input: a vector {vector.name!r} has numbers that are NaN or infinite")


def _as_float16(vector: Vector, matrix: Matrix) -> Matrix:
    """The vectors in the form in which a server stores them in float16, scaled to length 1 if the
    metric is cosine. Numbers beyond the range of float16 become infinite, and are returned as null.
    If the space has another datatype, the matrix is returned unchanged."""
    if vector.datatype != "float16":
        return matrix
    unit = normalise_rows(vector, matrix)
    return np.where(np.abs(unit) > FLOAT16_MAX, np.copysign(FLOAT16_INFINITY, unit), unit)


def _as_multivector(vector: Vector) -> Any:
    def read(value: Any) -> Matrix:
        return several_vectors(vector, value)

    return read


def several_vectors(vector: Vector, value: Any) -> Matrix:
    """(m, dim): the vectors of a point in a multivector space. A single vector becomes a matrix
    with one row."""
    try:
        matrix = np.atleast_2d(_as_floats(value))
    except (ValueError, TypeError):
        matrix = None
    if matrix is None or matrix.ndim != 2:
        raise bad_request(
            f"the multivector {vector.name!r} is {describe(value)}, expected lists of numbers"
        )
    if not matrix.size:
        raise invalid(
            f"dense vector must not be empty, and all vectors must be non-empty: {vector.name!r}"
        )
    _check(vector, matrix)
    return matrix


def to_sparse(value: Any) -> SparseVector:
    """The value as a sparse vector, with ascending indices."""
    if isinstance(value, Mapping):
        value = models.SparseVector.model_validate(value)
    if not isinstance(value, models.SparseVector):
        raise wrong(f"a sparse vector is {describe(value)}, expected indices and values")
    indices = np.array(value.indices, np.int64)
    values = _as_floats(value.values)
    if len(indices) != len(values):
        raise invalid(
            f"must be the same length as indices: a sparse vector has {len(indices)} "
            f"indices and {len(values)} values"
        )
    if len(indices) and not 0 <= indices.min() <= indices.max() <= LARGEST_INDEX:
        raise bad_request(f"a sparse vector has indices that aren't between 0 and {LARGEST_INDEX}")
    order = np.argsort(indices, kind="stable")
    indices = indices[order]
    if (indices[1:] == indices[:-1]).any():
        raise invalid("indices must be unique: a sparse vector has one twice")
    if not np.isfinite(values).all():
        raise wrong("a sparse vector has values that are NaN or infinite")
    return SparseVector(indices.astype(np.uint32), values[order])


def names_of(configuration: CollectionConfig, with_vectors: Any) -> tuple[str, ...] | None:
    """The names of the requested vector spaces, whether or not these exist; None if no vectors are
    requested."""
    if isinstance(with_vectors, bool) or with_vectors is None:
        return tuple(configuration.by_name) if with_vectors else None
    return tuple(dict.fromkeys([with_vectors] if isinstance(with_vectors, str) else with_vectors))


LISTED = 32  # bytes of a number in a list: itself, and its place


def _numbers_in(column: VectorsRead) -> int:
    if isinstance(column, np.ndarray):
        return column.size
    vectors = (vector for vector in column if vector is not None)
    return sum(
        2 * vector.values.size if isinstance(vector, SparseVector) else np.size(vector)
        for vector in vectors
    )


def show_vectors(
    configuration: CollectionConfig, points: Points, names: Sequence[str]
) -> list[Any]:
    """The vectors of each point in the form that qdrant-client returns: a dict by name, or the
    vector alone if the unnamed space is the only space."""
    if not points.ids:  # then a server doesn't mind names that don't exist
        return []
    for name in names:
        if name not in configuration.by_name:
            raise wrong(f"Wrong input: Not existing vector name error: {name}")
    numbers = sum(map(_numbers_in, (points.vectors or {}).values()))
    budget.take(LISTED * numbers, "vectors", len(points.ids))
    columns = [(name, _show_column(configuration.by_name[name], points)) for name in names]
    if names == (UNNAMED,):
        return [{} if vector is None else vector for vector in columns[0][1]]
    shown = []
    for i in range(len(points.ids)):
        by_name = {name: column[i] for name, column in columns if column[i] is not None}
        shown.append(by_name[UNNAMED] if by_name.keys() == {UNNAMED} else by_name)
    return shown


def _show_column(vector: Vector, points: Points) -> list[Any]:
    column = (points.vectors or {}).get(vector.name)
    if column is None:
        return [None] * len(points.ids)
    if isinstance(column, np.ndarray):
        if not column.shape[1]:
            return [None] * len(points.ids)
        lacking = np.isnan(column[:, 0])
        rows = _as_lists(vector, normalise_rows(vector, column))
        for i in lacking.nonzero()[0].tolist():
            rows[i] = None
        return rows
    return [None if item is None else _show_special(vector, item) for item in column]


def _as_lists(vector: Vector, matrix: Matrix) -> list[Any]:
    """The rows as lists, in which numbers beyond the range of float16 are None."""
    if vector.datatype != "float16" or not (np.abs(matrix) >= FLOAT16_INFINITY).any():
        rows: list[Any] = matrix.tolist()
        return rows
    return [[None if abs(x) >= FLOAT16_INFINITY else x for x in row] for row in matrix.tolist()]


def _show_special(vector: Vector, item: NonDenseVector) -> Any:
    if isinstance(item, SparseVector):
        return models.SparseVector(indices=item.indices.tolist(), values=item.values.tolist())
    return normalise_rows(vector, item).tolist()


def normalise_rows(vector: Vector, matrix: Matrix) -> Matrix:
    """The rows, scaled to length 1 if a server would store them like that. Zero vectors stay
    zero."""
    if not vector.is_normalised:
        return matrix
    wide = matrix.astype(np.float64)
    lengths = np.sqrt(np.add.reduce(wide * wide, axis=1, keepdims=True))  # as np.linalg.norm does
    if np.count_nonzero(lengths) < len(lengths):
        lengths[lengths == 0.0] = 1.0
    wide /= lengths
    return wide.astype(np.float32)


# As `uuid.UUID` prints it, which takes four times as long as to see that nothing is to be changed.
_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
Selected: TypeAlias = tuple[list[PointId] | None, models.Filter | None]


def id_to_write(value: Any) -> PointId:
    """The id of a point to write: an integer from 0 to 2^64-1, or a UUID in canonical form. Raises
    Refused for other ids."""
    if type(value) is str and _CANONICAL.fullmatch(value):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if 0 <= value <= INT_MAX:
            return int(value)
        raise bad_request(f"the point id {value} isn't between 0 and 2^64-1")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, str):
        known = uuid_in(value)
        if known is None:
            raise wrong(f"the point id {value!r} is neither an unsigned integer nor a UUID")
        return known
    raise bad_request(f"the point id is {describe(value)}, expected an unsigned integer or a UUID")


def id_to_read(value: Any) -> PointId:
    """The id of a point to read. Ids that `Collection` wrote can be any strings."""
    if type(value) is int and 0 <= value <= INT_MAX:
        return value
    if type(value) is str and _CANONICAL.fullmatch(value):
        return value
    if isinstance(value, str):
        known = uuid_in(value)
        if known is None and not is_unicode(value):
            raise bad_request(f"the point id {quote(value)} holds a lone surrogate")
        return known or value
    return id_to_write(value)


def ids_to_read(values: Iterable[Any]) -> list[PointId]:
    """The ids of points to read, in order and without duplicates."""
    if isinstance(values, str | Mapping):
        raise bad_request(f"ids is {quote(values)}, expected a sequence of ids")
    return list(dict.fromkeys(map(id_to_read, values)))


def parse_selector(selector: Any) -> Selected:
    """The ids, or the filter, in a selector."""
    check_shard_key(getattr(selector, "shard_key", None))
    match selector:
        case models.FilterSelector():
            return None, selector.filter
        case models.Filter():
            return None, selector
        case models.PointIdsList():
            selector = selector.points
    if isinstance(selector, Mapping):
        raise bad_request(
            f"points is {quote(selector)}, expected ids, or a Filter, PointIdsList or "
            "FilterSelector of qdrant_client.models"
        )
    if isinstance(selector, str | int | np.integer | uuid.UUID):
        selector = [selector]
    if not isinstance(selector, Sequence | set | frozenset):
        try:
            selector = list(selector)
        except TypeError:
            raise bad_request(f"points is {quote(selector)}, expected ids or a filter") from None
    if not selector:
        raise wrong("no points are named, and there is no filter")
    return ids_to_read(selector), None


def selector_of(ids: Sequence[Any] | None, filter_: models.Filter | None) -> Any:
    """The selector of an operation that has a field for ids and a field for a filter: the ids if
    they are set, otherwise the filter. Raises Refused if neither is set."""
    if ids is None and filter_ is None:
        raise wrong("neither points nor a filter are given")
    return filter_ if ids is None else list(ids)
