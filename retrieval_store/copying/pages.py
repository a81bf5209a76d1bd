"""Points on their way from one collection to another, with all that they hold."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import orjson

from retrieval_store.base.arrays import SparseVector
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.types import (
    WHOLE,
    Fields,
    NonDenseVectors,
    PointBatch,
    PointId,
    Points,
    Vectors,
    VectorsRead,
)

PAGE, FIRST = 1_000, 16  # points that are read and written at once, at most and at first
BYTES = 32_000_000  # that these have, about
ROUNDED = 1e-5  # of a number, that a server's float32 may be off by
Spaces: TypeAlias = Sequence[str]


def everything(spaces: Spaces) -> Fields:
    """All that points hold, in these vector spaces."""
    return Fields(payload=True, document=True, uri=True, vectors=tuple(spaces))


class Pace:
    """How many points are read and written at once: so many that they have no more than BYTES, as
    those before them had; at most twice as many as before."""

    def __init__(self) -> None:
        self.size = FIRST

    def measure(self, points: Points) -> None:
        """Go by what the last points had."""
        each = max(1, _bytes_of(points) // max(1, len(points.ids)))
        self.size = max(1, min(2 * self.size, PAGE, BYTES // each))


def _bytes_of(points: Points) -> int:
    documents = sum(len(one) for one in points.documents or () if one is not None)
    payloads = len(orjson.dumps(points.payloads)) if points.payloads else 0
    return documents + payloads + sum(map(_vector_bytes, (points.vectors or {}).values()))


def _vector_bytes(column: VectorsRead) -> int:
    if isinstance(column, np.ndarray):
        return column.nbytes
    arrays = (one.values if isinstance(one, SparseVector) else one for one in column)
    return sum(one.nbytes for one in arrays if one is not None)


def pages(source: PointsBackend, fields: Fields, start: int = 0) -> Iterator[Points]:
    """All points but the first so many, in the order of first insertion."""
    pace = Pace()
    while True:
        size = pace.size
        points = source.get(None, None, size, start, fields)
        if points.ids:
            yield points
        if len(points.ids) < size:
            return
        start += size
        pace.measure(points)


def write(target: PointsBackend, points: Points) -> None:
    """Make points of the target be these; those that are there keep their places in its order."""
    if points.ids:
        target.put(batch_of(points), WHOLE)


def append(target: PointsBackend, points: Points) -> None:
    """Make these the last points of the target, in this order: who deletes a point and adds it
    again gives it another place. Where the target has transactions, no reader misses any."""
    there = target.get(points.ids, None, None, 0, Fields()).ids
    if not there:
        write(target, points)
    elif (engine := target.engine) is not None:
        engine.append(batch_of(points))
    else:
        target.delete(there, None, None)
        write(target, points)


def append_each(target: PointsBackend, found: Iterable[Points]) -> Iterator[int]:
    """The same, page by page; yields the number of each page when it is written."""
    for page in found:
        append(target, page)
        yield len(page.ids)


def write_each(target: PointsBackend, found: Iterable[Points]) -> Iterator[int]:
    """Make points of the target be these; yields the number of each page when it is written."""
    for result in target.put_each(map(batch_of, found), WHOLE):
        yield result.inserted + result.updated


def write_named(
    source: PointsBackend,
    target: PointsBackend,
    ids: Sequence[PointId],
    spaces: Spaces,
    put: Callable[[PointsBackend, Points], None] = write,
) -> None:
    """Make those of these points that are in the source, in the target what they are there."""
    fields, pace, start = everything(spaces), Pace(), 0
    while start < len(ids):
        stop = start + pace.size
        points = source.get(ids[start:stop], None, None, 0, fields)
        put(target, points)
        pace.measure(points)
        start = stop


def write_differing(target: PointsBackend, points: Points, fields: Fields) -> int:
    """Make points of the target be these, writing only what is otherwise there; returns how many
    those are."""
    there = target.get(points.ids, None, None, 0, fields)
    wanted = differing(points, there, ROUNDED)
    places = [i for i, one in enumerate(points.ids) if one in wanted]
    write(target, points.at(np.array(places, np.int64)))
    return len(wanted)


def put_in_order(source: PointsBackend, target: PointsBackend, spaces: Spaces) -> int:
    """Give the points of a target that has the same ids the order of the source, from the first on
    that stands elsewhere; returns how many were written again."""
    start, moved = 0, 0
    for points in pages(source, Fields()):
        there = target.get(None, None, len(points.ids), start, Fields()).ids
        if there != points.ids:
            break
        start += len(points.ids)
    else:
        return 0
    for points in pages(source, everything(spaces), start):
        append(target, points)
        moved += len(points.ids)
    return moved


def delete_others(source: PointsBackend, target: PointsBackend) -> int:
    """Delete the points of the target that aren't in the source; returns how many."""
    gone: list[PointId] = []
    for points in pages(target, Fields()):
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


def _given(column: VectorsRead) -> Vectors | NonDenseVectors | None:
    """The vectors of those points that have one; None where none has."""
    if isinstance(column, np.ndarray):
        if not column.shape[1]:
            return None
        places = np.flatnonzero(~np.isnan(column[:, 0]))  # rows of NaN are none
        return Vectors(np.ascontiguousarray(column[places]), places) if len(places) else None
    held = [(i, one) for i, one in enumerate(column) if one is not None]
    if not held:
        return None
    return NonDenseVectors([one for _, one in held], np.array([i for i, _ in held], np.int64))


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
