"""The points of a dense vector space, drawn in a plane."""

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix, as_float32
from retrieval_store.base.pca import drawn, projected
from retrieval_store.engine.filtering.selecting import allowed_by
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.ranking.similar import rows_with_vector
from retrieval_store.engine.state.fetch import fetch
from retrieval_store.engine.state.state import known_space
from retrieval_store.engine.storage.records import read_values
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.query.types import Fields, Projection, nothing_in, refuse_other_kind, scalar


def projection(
    view: SearchView,
    name: str,
    expression: Expression | None,
    sample: int,
    seed: int,
    path: PayloadPath | None,
) -> Projection:
    """A sample of the points that match and have a vector in the space, in a plane."""
    refuse_other_kind(name, known_space(view.state, name).kind)
    space = view.state.spaces.get(name)
    if space is None:  # nothing was ever written to it
        return nothing_in(path)
    mask = allowed_by(view, expression).mask
    rows = rows_with_vector(view, name, np.flatnonzero(view.state.alive if mask is None else mask))
    total = len(rows)
    rows = rows[drawn(total, sample, seed)]
    slots = space.slot_of_row[rows]
    matrix = space.vectors.rows(space.space.slots)
    space.vectors.admit(matrix, space.checksums, slots)

    def read(places: Ints) -> Matrix:
        return as_float32(matrix[slots[places]])

    places, plane = projected(read, len(rows), seed, space.space.metric == "cosine")
    values = None
    if path is not None:
        (found,) = read_values(view.connection, view.state.pks[rows], [path])
        values = [*map(scalar, found)]
    ids = fetch(view, rows, Fields()).ids
    return Projection(ids, places, plane.axes, plane.explained, total, values)
