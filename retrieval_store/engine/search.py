"""Which points a call means, and which of them are nearest to a query."""

from collections.abc import Iterator, Sequence

import numpy as np

from retrieval_store.arrays import Bools, Floats, Ints, Matrix
from retrieval_store.engine.fetch import fetch
from retrieval_store.engine.masks import matching
from retrieval_store.engine.schema import pks_of_ids
from retrieval_store.engine.state import SpaceState, View, rows_of
from retrieval_store.engine.types import Fields, Hits, PointId
from retrieval_store.errors import DimensionMismatchError
from retrieval_store.filters.expression import Expression
from retrieval_store.indexes.exact import nearest


def select(view: View, ids: Sequence[PointId] | None, expression: Expression | None) -> Ints:
    """Rows of the points that are named and fulfil the expression: in the order of `ids`, or of
    first insertion when `ids` is None."""
    if ids is None:
        return np.flatnonzero(matching(view, expression))
    pks = pks_of_ids(view.connection, ids)
    named = np.array([pks[point_id] for point_id in ids if point_id in pks], np.int64)
    rows = rows_of(view.state.pks, named)
    return rows if expression is None else rows[matching(view, expression)[rows]]


def search(
    view: View,
    space_name: str,
    queries: Matrix,
    k: int,
    expression: Expression | None,
    fields: Fields,
) -> list[Hits]:
    """For each query, (q, dim) float32, the k nearest points that fulfil the expression; exact.

    Ties are in the order of first insertion.
    """
    space = view.state.spaces.get(space_name)
    if space is None:
        nothing = np.empty(0, np.int64)
        return [Hits(fetch(view, nothing, fields), np.empty(0)) for _ in queries]
    if queries.shape[1] != space.space.dimension:
        raise DimensionMismatchError(
            f"the query vectors have {queries.shape[1]} numbers, but the collection holds vectors "
            f"of {space.space.dimension}"
        )
    mask = None if expression is None else matching(view, expression)
    return [
        Hits(fetch(view, rows, fields), distances)
        for rows, distances in _nearest_rows(space, queries, k, mask)
    ]


def _nearest_rows(
    space: SpaceState, queries: Matrix, k: int, mask: Bools | None
) -> Iterator[tuple[Ints, Floats]]:
    slots = _allowed_slots(space, mask)
    matrix = space.vectors.rows(space.space.slots)
    norms = space.vectors.admit(matrix, space.checksums, slots)
    for found, distances in nearest(queries, matrix, norms, space.space.metric, k, slots):
        rows = space.row_of_slot[found]
        order = np.lexsort((rows, distances))[:k]
        yield rows[order], distances[order]


def _allowed_slots(space: SpaceState, mask: Bools | None) -> Ints | None:
    """The living slots of the masked rows; None when that is all there are."""
    if mask is None:
        return np.flatnonzero(space.row_of_slot >= 0) if space.dead else None
    slots = space.slot_of_row[mask]
    return slots[slots >= 0]
