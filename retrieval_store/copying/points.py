"""Points on their way from one collection to another, with all that they hold."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import SparseVector
from retrieval_store.interface.points import (
    Fields,
    PointBatch,
    PointId,
    Points,
    SpecialVectors,
    Vectors,
    VectorsRead,
    WriteRules,
)
from retrieval_store.interface.stores import PointsBackend

PAGE = 1_000  # points that are read and written at once
NUMBERS = 4_000_000  # and of these no more than have so many numbers
ROUNDED = 1e-5  # of a number, that a server's float32 may be off by
WHOLE = WriteRules(known="replace", new="insert", merge_payloads=False)
Spaces: TypeAlias = Sequence[str]


def everything(spaces: Spaces) -> Fields:
    """All that points hold, in these vector spaces."""
    return Fields(payload=True, document=True, uri=True, vectors=tuple(spaces))


def page_size(dimensions: int) -> int:
    """How many points with so many numbers are read and written at once."""
    return max(1, min(PAGE, NUMBERS // max(1, dimensions)))


def pages(source: PointsBackend, fields: Fields, start: int, size: int) -> Iterator[Points]:
    """All points but the first so many, in the order of first insertion."""
    while True:
        points = source.get(None, None, size, start, fields)
        if points.ids:
            yield points
        if len(points.ids) < size:
            return
        start += size


def write(target: PointsBackend, points: Points) -> None:
    """Make points of the target be these."""
    if points.ids:
        target.put(batch_of(points), WHOLE)


def write_named(
    source: PointsBackend, target: PointsBackend, ids: Sequence[PointId], spaces: Spaces, size: int
) -> None:
    """Make those of these points that are in the source, in the target what they are there."""
    fields = everything(spaces)
    for start in range(0, len(ids), size):
        write(target, source.get(ids[start : start + size], None, None, 0, fields))


def write_differing(target: PointsBackend, points: Points, fields: Fields) -> None:
    """Make points of the target be these, writing only what is otherwise there."""
    there = target.get(points.ids, None, None, 0, fields)
    wanted = differing(points, there, ROUNDED)
    write(target, _some(points, [i for i, one in enumerate(points.ids) if one in wanted]))


def _some(points: Points, places: Sequence[int]) -> Points:
    def some(column: Any) -> Any:
        if isinstance(column, np.ndarray):
            return column[np.array(places, np.int64)]
        return None if column is None else [column[place] for place in places]

    vectors = {name: some(column) for name, column in (points.vectors or {}).items()}
    return Points(
        some(points.ids), some(points.payloads), some(points.documents), some(points.uris), vectors
    )


def delete_others(source: PointsBackend, target: PointsBackend) -> int:
    """Delete the points of the target that aren't in the source; returns how many."""
    gone: list[PointId] = []
    for points in pages(target, Fields(), 0, 10 * PAGE):
        there = set(source.get(points.ids, None, None, 0, Fields()).ids)
        gone += [one for one in points.ids if one not in there]
    for start in range(0, len(gone), PAGE):
        target.delete(gone[start : start + PAGE], None, None)
    return len(gone)


def batch_of(points: Points) -> PointBatch:
    """What was read, to be written."""
    vectors = {name: _given(column) for name, column in (points.vectors or {}).items()}
    return PointBatch(
        points.ids,
        {name: given for name, given in vectors.items() if given is not None},
        points.payloads,
        points.documents,
        points.uris,
    )


def _given(column: VectorsRead) -> Vectors | SpecialVectors | None:
    """The vectors of those points that have one; None where none has."""
    if isinstance(column, np.ndarray):
        if not column.shape[1]:
            return None
        places = np.flatnonzero(~np.isnan(column[:, 0]))  # rows of NaN are none
        return Vectors(np.ascontiguousarray(column[places]), places) if len(places) else None
    held = [(i, one) for i, one in enumerate(column) if one is not None]
    if not held:
        return None
    return SpecialVectors([one for _, one in held], np.array([i for i, _ in held], np.int64))


def differing(one: Points, other: Points, tolerance: float) -> set[PointId]:
    """The ids of points of the first that aren't in the second, or otherwise. tolerance: by what
    share numbers of vectors may differ."""
    places = {point: place for place, point in enumerate(other.ids)}
    return {
        point
        for place, point in enumerate(one.ids)
        if point not in places or not _equal(one, place, other, places[point], tolerance)
    }


def _equal(one: Points, i: int, other: Points, j: int, tolerance: float) -> bool:
    columns = (
        (one.payloads, other.payloads),
        (one.documents, other.documents),
        (one.uris, other.uris),
    )
    if any(a is not None and b is not None and a[i] != b[j] for a, b in columns):
        return False
    there = other.vectors or {}
    return all(
        name in there and _close(column[i], there[name][j], tolerance)
        for name, column in (one.vectors or {}).items()
    )


def _close(one: object, other: object, tolerance: float) -> bool:
    if isinstance(one, SparseVector) and isinstance(other, SparseVector):
        same = np.array_equal(one.indices, other.indices)
        return same and _close(one.values, other.values, tolerance)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if not one.size or not other.size:  # no dimension yet, or a row of NaN: no vector
            return bool(np.isnan(one).all() and np.isnan(other).all())
        return bool(np.allclose(one, other, tolerance, tolerance / 100, equal_nan=True))
    return one is None and other is None
