"""Refuses messages with invalid arguments. The codec has checked the types of the arguments; this
module checks their values.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import numpy as np

from retrieval_store import SparseVector
from retrieval_store.errors import (
    DuplicateIDError,
    InvalidArgumentError,
    InvalidFilterError,
)
from retrieval_store.extension import (
    MAX_AHEAD,
    MAX_CONDITIONS,
    MAX_RECORDS,
    BestOfEach,
    Bm25,
    ExplainRequest,
    FuseRankings,
    Ints,
    JsonPath,
    Matrix,
    NearestDense,
    NearestSparse,
    NonDenseVectors,
    PointBatch,
    PointId,
    Query,
    QueryStep,
    Vectors,
    check_object,
    find_repeated,
    list_ids,
)
from retrieval_store.filters.expression import Expression, PayloadPath
from retrieval_store_server.values import INT_MAX

_PLAIN = frozenset((str, int, bool, type(None)))
_FLAT = _PLAIN | {float}
MAX_COUNT = 2**63 - 1  # of counted objects
_SCORINGS = (NearestDense, NearestSparse, Bm25, FuseRankings)  # the queries of `Collection`
_COUNTS = ("limit", "offset", "sample", "seed", "size")  # arguments


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError for arguments that `Collection` and `QdrantClient` would never
    pass to a store."""
    for name, value in arguments.items():
        if name in _COUNTS:
            _check_count(name, value)
        elif name in ("path", "paths"):
            _check_paths([value] if name == "path" and value is not None else value or ())
        elif name == "payload":
            check_object(value, "payload")
        elif isinstance(value, PointBatch):
            _check_batch(value)
        elif name == "ids" and value is not None:
            _check_ids(value)
        elif is_dataclass(value):
            _check_tree(value)


def _check_tree(root: Any) -> None:
    """Check all parts of an argument that is a tree of dataclasses, such as a query, a filter or
    write rules."""
    for node in _nodes(root):
        if isinstance(node, np.ndarray):
            _check_finite(node)
        elif isinstance(node, float) and math.isnan(node):
            raise InvalidArgumentError("a number is NaN")
        elif isinstance(node, Expression):
            _check_condition(node)
        elif type(node) in _CHECKS:
            _CHECKS[type(node)](node)


def _nodes(root: Any) -> Iterator[Any]:
    """Yield those parts of a tree of dataclasses that must be checked, each part once. The codec
    has already limited the size of filters."""
    seen: set[int] = set()
    pending = [root]
    while pending:
        node = pending.pop()
        if id(node) not in seen:
            seen.add(id(node))
            yield node
            pending += [part for part in _parts(node) if type(part) not in _PLAIN]


def _parts(node: Any) -> Sequence[Any]:
    if type(node) in (tuple, list):
        return node  # type: ignore[no-any-return]
    kind: type = type(node)
    return [getattr(node, name) for name in _names_of(kind)]


@cache
def _names_of(kind: type) -> tuple[str, ...]:
    """The names of the fields of a dataclass; empty for any other class."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


def _check_paths(paths: Sequence[PayloadPath]) -> None:
    if not all(paths):
        raise InvalidArgumentError("a path into metadata is empty")


def _check_condition(node: Expression) -> None:
    node.check()
    path = getattr(node, "path", None) or getattr(getattr(node, "at", None), "path", None)
    if path is not None and not (path.steps if isinstance(path, JsonPath) else path):
        raise InvalidFilterError(f"the path of {type(node).__name__} is empty")


def _check_question(question: Query) -> None:
    if not question.steps:
        raise InvalidArgumentError("the question has no steps")
    if question.groups is not None and len(question.steps) > 1:
        raise InvalidArgumentError("groups go with a single step")
    if question.measured is not None and len(question.steps[0].prefetch) == 0:
        raise InvalidArgumentError("what is measured is a prefetch, of which there is none")


def _check_step(step: QueryStep) -> None:
    if type(step.scoring) not in _SCORINGS:
        raise InvalidArgumentError(
            f"{type(step.scoring).__name__} is only for a QdrantClient, which uses Qdrant's "
            "protocol"
        )
    if isinstance(step.scoring, FuseRankings) and not step.prefetch:
        raise InvalidArgumentError("there is nothing to be fused")
    _check_count("limit", step.limit)
    _check_count("offset", step.offset)
    if not 0 < step.depth <= MAX_COUNT or not step.limit:
        raise InvalidArgumentError(
            f"limit and offset are {step.limit} and {step.offset}, expected a limit of 1 or more, "
            f"and {MAX_COUNT} together at most"
        )


def _check_near(near: NearestDense) -> None:
    if isinstance(near.vectors, np.ndarray):
        _check_rows(near.vectors)
    for rows in near.vectors if isinstance(near.vectors, tuple) else ():
        _check_rows(rows)
    if not len(near.vectors):
        raise InvalidArgumentError("there are no vectors to be near to")
    if near.ef is not None and near.ef < 1:
        raise InvalidArgumentError(f"ef is {near.ef}, expected 1 or more")


def _check_rows(matrix: Matrix) -> None:
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InvalidArgumentError(
            f"vectors have the shape {matrix.shape}, expected (n, dimension)"
        )


def _check_not_empty(scoring: NearestSparse | Bm25) -> None:
    if not (scoring.vectors if isinstance(scoring, NearestSparse) else scoring.texts):
        raise InvalidArgumentError("there is nothing to be sought")


def _check_groups(groups: BestOfEach) -> None:
    if not groups.path or groups.size < 1:
        raise InvalidArgumentError("groups have no path, or a size below 1")


def _check_sparse(vector: SparseVector) -> None:
    alike = vector.indices.ndim == 1 and vector.indices.shape == vector.values.shape
    if not alike or (np.diff(vector.indices.astype(np.int64)) <= 0).any():
        raise InvalidArgumentError(
            "a sparse vector needs as many indices, ascending and each once, as values"
        )


def _check_inquiry(inquiry: ExplainRequest) -> None:
    for name, value, most in (
        ("limit", inquiry.limit, MAX_RECORDS),
        ("ahead", inquiry.ahead, MAX_AHEAD),
        ("conditions", len(inquiry.conditions), MAX_CONDITIONS),
        ("beside", len(inquiry.beside), 1),
    ):
        if not 0 <= value <= most:
            raise InvalidArgumentError(f"{name} is {value}, expected 0 to {most}")
    if inquiry.limit < 1 or inquiry.same == ():
        raise InvalidArgumentError("an inquiry has no records, or an empty path")
    if any(step.prefetch for step in inquiry.beside):
        raise InvalidArgumentError("a prefetch of another step has prefetches")


_CHECKS: Mapping[type, Any] = {
    ExplainRequest: _check_inquiry,
    Query: _check_question,
    QueryStep: _check_step,
    NearestDense: _check_near,
    NearestSparse: _check_not_empty,
    Bm25: _check_not_empty,
    BestOfEach: _check_groups,
    SparseVector: _check_sparse,
}


def _check_count(name: str, value: Any) -> None:
    if value is not None and not 0 <= value <= MAX_COUNT:
        raise InvalidArgumentError(f"{name} is {value}, expected 0 to {MAX_COUNT}")


def _check_finite(array: Any) -> None:
    if array.dtype.kind != "f" or (
        array.dtype == np.float32 and math.isfinite(np.vdot(array, array))
    ):
        return
    if not np.isfinite(array).all():
        raise InvalidArgumentError("vectors hold a number that isn't finite")


def _check_ids(ids: Sequence[PointId]) -> None:
    for point_id in ids:
        if point_id == "" or (type(point_id) is int and not 0 <= point_id <= INT_MAX):
            raise InvalidArgumentError(
                f"ids has {point_id!r}, expected strings and integers from 0 to 2**64 - 1"
            )


def _check_batch(batch: PointBatch) -> None:
    """Check that all columns have the same length, and that no id occurs twice."""
    size = len(batch.ids)
    _check_ids(batch.ids)
    if len(set(batch.ids)) < size:
        raise DuplicateIDError(f"ids given more than once: {list_ids(find_repeated(batch.ids))}")
    for name in ("payloads", "documents", "uris"):
        column = getattr(batch, name)
        if column is not None and len(column) != size:
            raise InvalidArgumentError(f"{name} has {len(column)} items, but ids has {size}")
    for i, payload in enumerate(batch.payloads or ()):
        # Parsed JSON can be stored, unless it is nested too deep.
        if type(payload) is dict and not _FLAT.issuperset(map(type, payload.values())):
            check_object(payload, "payloads", i)
    for name, column in batch.vectors.items():
        _check_vectors(name, column, size)


def _check_vectors(name: str, column: Vectors | NonDenseVectors, size: int) -> None:
    if isinstance(column, Vectors):
        _check_rows(column.matrix)
        _check_finite(column.matrix)
        count = len(column.matrix)
    else:
        count = len(column.items)
        for vector in column.items:
            if isinstance(vector, SparseVector):
                _check_sparse(vector)
                _check_finite(vector.values)
            else:
                _check_rows(vector)
                _check_finite(vector)
    if not _are_places(column.positions, count, size):
        raise InvalidArgumentError(
            f"vectors {name!r} are {count}, whose positions aren't {count} of {size}, ascending"
        )


def _are_places(positions: Ints | None, count: int, size: int) -> bool:
    if positions is None:
        return count == size
    if positions.shape != (count,):
        return False
    inside = not count or (positions[0] >= 0 and positions[-1] < size)
    return bool(inside and (np.diff(positions) > 0).all())
