"""Moves points from one collection to another in pages, with all their fields.

`compare` checks whether a copy equals its source, by the number of points and a random sample.
`holds_the_same` compares all points, and is used if no journal says that the collection is a copy.

`SpaceChanges` gives a copy the vector spaces of its source, while points are added and deleted. If
a space was dropped and added again, the new space has the old name, but another number, and none of
the old vectors. All vectors in a new space were written after the space was added. So the changes
since that moment include all its vectors.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
import orjson

from retrieval_store import SparseVector
from retrieval_store.errors import StorageError
from retrieval_store.extension import (
    WHOLE,
    EnginePoints,
    Fields,
    Matrix,
    NewSpace,
    NonDenseVectors,
    Payload,
    PointBatch,
    PointId,
    Points,
    PointsBackend,
    SpaceRecord,
    Vectors,
    VectorsRead,
)

PAGE, FIRST = 1_000, 16  # points that are read and written at once, at most and at first
BYTES = 32_000_000  # their approximate size
ROUNDED = 1e-5  # relative error of a server's float32
Spaces: TypeAlias = Sequence[str]


def everything(spaces: Spaces) -> Fields:
    """All fields of points, with the vectors in these spaces."""
    return Fields(payload=True, document=True, uri=True, vectors=tuple(spaces))


class Pace:
    """How many points are read and written in one request. The size of these points, estimated from
    earlier points, is at most BYTES. From one request to the next, the number of points at most
    doubles."""

    def __init__(self) -> None:
        self.size = FIRST

    def measure(self, points: Points) -> None:
        """Adjust the number of points in a request to the size of the points that were copied
        last."""
        each = max(1, _bytes_of(points) // max(1, len(points.ids)))
        self.size = max(1, min(2 * self.size, PAGE, BYTES // each))


def _bytes_of(points: Points) -> int:
    documents = sum(len(document) for document in points.documents or () if document is not None)
    payloads = len(orjson.dumps(points.payloads)) if points.payloads else 0
    return documents + payloads + sum(map(_vector_bytes, (points.vectors or {}).values()))


def _vector_bytes(column: VectorsRead) -> int:
    if isinstance(column, np.ndarray):
        return column.nbytes
    arrays = (vector.values if isinstance(vector, SparseVector) else vector for vector in column)
    return sum(array.nbytes for array in arrays if array is not None)


def read_pages(source: PointsBackend, fields: Fields, start: int = 0) -> Iterator[Points]:
    """All points after the first `start`, in the order of first insertion."""
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
    """Make points of the target equal to these points. Existing points keep their positions in the
    order of insertion."""
    if points.ids:
        target.put(batch_of(points), WHOLE)


def append(target: PointsBackend, points: Points) -> None:
    """Write these points at the end of the target's order of insertion. A point that exists in the
    target is deleted first, so that it moves to the end. If the target has transactions, no reader
    sees a state in which points are missing."""
    existing_ids = target.get(points.ids, None, None, 0, Fields()).ids
    if not existing_ids:
        write(target, points)
    elif (engine := target.engine) is not None:
        engine.append(batch_of(points))
    else:
        target.delete(existing_ids, None, None)
        write(target, points)


def append_each(target: PointsBackend, pages: Iterable[Points]) -> Iterator[int]:
    """Call `append` for each page; yields the number of points of each page once the page is
    written."""
    for page in pages:
        append(target, page)
        yield len(page.ids)


def write_each(target: PointsBackend, pages: Iterable[Points]) -> Iterator[int]:
    """Do the same as `write` for each page; yields the number of points of each page once the page
    is written."""
    for result in target.put_each(map(batch_of, pages), WHOLE):
        yield result.inserted + result.updated


def write_named(
    source: PointsBackend,
    target: PointsBackend,
    ids: Sequence[PointId],
    spaces: Spaces,
    put: Callable[[PointsBackend, Points], None] = write,
) -> None:
    """Copy the points with these ids by `put`. Ids that the source does not have are ignored."""
    fields, pace, start = everything(spaces), Pace(), 0
    while start < len(ids):
        stop = start + pace.size
        points = source.get(ids[start:stop], None, None, 0, fields)
        put(target, points)
        pace.measure(points)
        start = stop


def write_differing(target: PointsBackend, points: Points, fields: Fields) -> int:
    """Write those of these points that are missing or different in the target; returns how many
    were written."""
    copies = target.get(points.ids, None, None, 0, fields)
    differing_ids = differing(points, copies, ROUNDED)
    places = [i for i, point_id in enumerate(points.ids) if point_id in differing_ids]
    write(target, points.at(np.array(places, np.int64)))
    return len(differing_ids)


def put_in_order(source: PointsBackend, target: PointsBackend, spaces: Spaces) -> int:
    """Give the target's points the order of the source; both must have the same ids. The first
    point that is out of order, and all points that follow it in the source, are written again at
    the end of the target. Returns how many points were written."""
    moved = 0
    for points in read_pages(source, everything(spaces), _in_order(source, target)):
        append(target, points)
        moved += len(points.ids)
    return moved


def _in_order(source: PointsBackend, target: PointsBackend) -> int:
    """How many of the source's first points are in the same order in the target, where other points
    may be between them."""
    target_ids, passed, number = _ids_of(target), set[PointId](), 0
    for point in _ids_of(source):
        if point in passed:
            return number
        for other in target_ids:
            if other == point:
                break
            passed.add(other)
        else:
            return number
        number += 1
    return number


def _ids_of(points: PointsBackend) -> Iterator[PointId]:
    return chain.from_iterable(page.ids for page in read_pages(points, Fields()))


def delete_others(source: PointsBackend, target: PointsBackend) -> int:
    """Delete the points of the target that the source does not have; returns their number."""
    gone: list[PointId] = []
    for points in read_pages(target, Fields()):
        source_ids = set(source.get(points.ids, None, None, 0, Fields()).ids)
        gone += [point_id for point_id in points.ids if point_id not in source_ids]
    for start in range(0, len(gone), PAGE):
        target.delete(gone[start : start + PAGE], None, None)
    return len(gone)


def batch_of(points: Points) -> PointBatch:
    """A batch with these points, as `put` takes it."""
    vectors = {name: _present_vectors(column) for name, column in (points.vectors or {}).items()}
    return PointBatch(
        points.ids,
        {name: present for name, present in vectors.items() if present is not None},
        points.payloads,
        points.documents,
        points.uris,
    )


def _present_vectors(column: VectorsRead) -> Vectors | NonDenseVectors | None:
    """The vectors in a column, with the positions of the points that have a vector; None if no
    point has a vector."""
    if isinstance(column, np.ndarray):
        if not column.shape[1]:
            return None
        places = np.flatnonzero(~np.isnan(column[:, 0]))  # rows of NaN are none
        return Vectors(np.ascontiguousarray(column[places]), places) if len(places) else None
    present = [(i, vector) for i, vector in enumerate(column) if vector is not None]
    if not present:
        return None
    return NonDenseVectors(
        [vector for _, vector in present], np.array([i for i, _ in present], np.int64)
    )


def differing(points: Points, others: Points, tolerance: float) -> set[PointId]:
    """The ids of points that are missing in `others`, or different there. tolerance: the relative
    difference that is allowed between the numbers of vectors."""
    places = {point: place for place, point in enumerate(others.ids)}
    pairs = [(i, places[point]) for i, point in enumerate(points.ids) if point in places]
    same = {i for i, j in pairs if _has_same_fields(points, i, others, j)}
    same.intersection_update(*_equal_by_space(points, others, pairs, tolerance))
    return {point for i, point in enumerate(points.ids) if i not in same}


def _has_same_fields(points: Points, i: int, others: Points, j: int) -> bool:
    columns = (
        (points.payloads, others.payloads),
        (points.documents, others.documents),
        (points.uris, others.uris),
    )
    return all(a is None or b is None or _is_same(a[i], b[j]) for a, b in columns)


def _equal_by_space(
    points: Points, others: Points, pairs: Sequence[tuple[int, int]], tolerance: float
) -> Iterator[set[int]]:
    """For each vector space, the positions in `points` of points that have equal vectors in
    `points` and `others`. pairs: for each point that is in both, its two positions."""
    other_vectors = others.vectors or {}
    for name, column in (points.vectors or {}).items():
        other = other_vectors.get(name)
        if other is None:
            yield set()
        elif isinstance(column, np.ndarray) and isinstance(other, np.ndarray):
            yield _equal_rows(column, other, pairs, tolerance)
        else:
            yield {i for i, j in pairs if _close(column[i], other[j], tolerance)}


def _equal_rows(
    matrix: Matrix, other: Matrix, pairs: Sequence[tuple[int, int]], tolerance: float
) -> set[int]:
    """The positions in `matrix` of rows that are equal in both matrices. pairs: the rows to
    compare. A row of NaN, or a row without numbers, isn't a vector."""
    rows, other_rows = np.array(pairs, np.int64).reshape(-1, 2).T
    left, right = matrix[rows], other[other_rows]
    if left.shape == right.shape:
        alike = np.isclose(left, right, tolerance, tolerance / 100, equal_nan=True).all(axis=1)
    else:  # a space without a dimension yet
        alike = np.isnan(left).all(axis=1) & np.isnan(right).all(axis=1)
    return {*rows[alike].tolist()}


def _is_same(value: object, other: object) -> bool:
    """Whether two values are equal. In contrast to Python, True does not equal 1."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_is_same(v, other[k]) for k, v in value.items())
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_same, value, other))
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _close(vector: object, other: object, tolerance: float) -> bool:
    if isinstance(vector, SparseVector) and isinstance(other, SparseVector):
        same = np.array_equal(vector.indices, other.indices)
        return same and _close(vector.values, other.values, tolerance)
    if isinstance(vector, np.ndarray) and isinstance(other, np.ndarray):
        return vector.shape == other.shape and bool(
            np.allclose(vector, other, tolerance, tolerance / 100, equal_nan=True)
        )
    return vector is None and other is None


SAMPLE, RUN = 1_000, 50  # points, in runs of this length


@dataclass(frozen=True, slots=True)
class Since:
    """The source's changes since a position. ids: the changed points that still exist, None if
    unknown; rests: whether no point was changed or deleted."""

    ids: frozenset[PointId] | None
    rests: bool


def compare(
    source: PointsBackend,
    target: PointsBackend,
    spaces: Spaces,
    since: Callable[[], Since],
    rounds: bool,
    name: str,
) -> int:
    """Compare the number of points in source and target, and a random sample of the points; returns
    the size of the sample. Raises StorageError for a point that differs, is missing, or exists only
    in the target. since: a function that returns the source's changes up to the time of its call;
    rounds: whether the target is a cluster, which rounds vectors."""
    before, count = source.count(), target.count()
    # A difference is excused if the source's point has changed. Others may write while both are
    # read, so changes are looked up afterwards.
    if count != before and since().rests and not source.count() <= count < before:
        raise StorageError(  # if no points have expired meanwhile
            f"the copy of collection {name!r} has {count:,} points, its source {before:,}"
        )
    if since().ids is None:
        return 0
    fields, compared = everything(spaces), 0
    # A cluster counts its points to find a position among them, several times for each.
    chosen, other = (source, target) if rounds else (target, source)
    for start in _starts(min(count, chosen.count())):
        copied = chosen.get(None, None, RUN, start, fields)
        same_points = other.get(copied.ids, None, None, 0, fields)
        wrong = differing(copied, same_points, ROUNDED if rounds else 0)
        if wrong:
            now = since()
            if now.ids is None:
                return compared
            wrong -= now.ids if now.rests else now.ids | (set(copied.ids) - set(same_points.ids))
        if wrong and source.engine is None:  # which has no change log
            wrong = _wrong_again(source, target, [*wrong], fields)
        if wrong:  # unless they have expired since
            wrong &= {*chosen.get([*wrong], None, None, 0, Fields()).ids}
        if wrong:
            raise StorageError(
                f"the copy of collection {name!r} differs from its source: the point "
                f"{min(wrong, key=str)!r} holds something else, or isn't there; copy it again"
            )
        compared += len(copied.ids)
    return compared


def _wrong_again(
    source: PointsBackend, target: PointsBackend, ids: list[PointId], fields: Fields
) -> set[PointId]:
    """Copy points of a cluster again. Returns the points that still differ, although no other
    program has changed them meanwhile."""
    before = source.get(ids, None, None, 0, fields)
    write(target, before)
    copies = target.get(ids, None, None, 0, fields)
    after = source.get(ids, None, None, 0, fields)
    return differing(before, copies, ROUNDED) - differing(before, after, 0)


def holds_the_same(
    source: PointsBackend, target: PointsBackend, spaces: Spaces, rounds: bool
) -> bool:
    """Whether source and target have the same points in the same order."""
    if source.count() != target.count():
        return False
    fields, start, tolerance = everything(spaces), 0, ROUNDED if rounds else 0
    for points in read_pages(source, fields):
        copies = target.get(None, None, len(points.ids), start, fields)
        if points.ids != copies.ids or differing(points, copies, tolerance):
            return False
        start += len(points.ids)
    return True


def _starts(count: int) -> list[int]:
    """The positions at which the runs of a random sample begin. If there are few points, the runs
    cover all points."""
    if count <= SAMPLE:
        return list(range(0, count, RUN))
    return sorted(random.sample(range(count - RUN + 1), SAMPLE // RUN))


def numbers(spaces: Sequence[SpaceRecord]) -> dict[str, int]:
    """The numbers of vector spaces, by their names."""
    return {space.name: space.number for space in spaces}


def as_new(space: SpaceRecord) -> NewSpace:
    """A new vector space with the settings of an existing one."""
    return NewSpace(space.metric, space.index, space.kind, space.datatype, space.dimension)


@dataclass(frozen=True, slots=True)
class SpaceChanges:
    """The changes that give a copy the vector spaces of its source: spaces to drop, then spaces to
    add, and spaces whose settings change."""

    dropped: Sequence[str]
    added: Mapping[str, NewSpace]
    changed: Mapping[str, Payload]

    def __bool__(self) -> bool:
        return bool(self.dropped or self.added or self.changed)

    def take(self, target: EnginePoints) -> None:
        """Make these changes. Changes that an earlier process has already made are skipped."""
        for name in self.dropped:
            target.drop_space(name)
        for name, space in self.added.items():
            target.add_space(name, space)
        for name, index in self.changed.items():
            target.configure_index(name, index)


def steps(
    source: Sequence[SpaceRecord], known: Mapping[str, int] | None, target: Sequence[SpaceRecord]
) -> SpaceChanges:
    """The changes that give the target the vector spaces of the source. known: the numbers of the
    spaces whose vectors the target has; None for all spaces."""
    source_spaces = {space.name: space for space in source}
    kept = {
        space.name: space
        for space in target
        if _can_stay(space, source_spaces.get(space.name), known)
    }
    return SpaceChanges(
        [space.name for space in target if space.name not in kept],
        {name: as_new(space) for name, space in source_spaces.items() if name not in kept},
        {
            name: source_spaces[name].index
            for name, space in kept.items()
            if space.index != source_spaces[name].index
        },
    )


def _can_stay(
    space: SpaceRecord, source: SpaceRecord | None, known: Mapping[str, int] | None
) -> bool:
    """Whether a vector space of the target can stay, because it is the source's space, or differs
    only in its settings. source: the source's space of this name, if any; known: as in `steps`."""
    if source is None or (known is not None and known.get(source.name) != source.number):
        return False
    kinds = (space.metric, space.kind, space.datatype)
    if kinds != (source.metric, source.kind, source.datatype):
        return False
    # The first vector fixes the dimension; when all vectors are deleted, only a new space can have
    # another one.
    fixed_later = space.dimension is None and source.count > 0
    return fixed_later or space.dimension == source.dimension
