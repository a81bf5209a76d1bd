"""Which points a call means."""

from collections.abc import Sequence

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.engine.filtering.allowed import Allowed, key_of
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.filtering.masks import matching
from retrieval_store.engine.state.state import rows_of
from retrieval_store.engine.storage.schema import pks_of_ids
from retrieval_store.filters.expression import Expression
from retrieval_store.interface.points import PointId


def select(view: FilterView, ids: Sequence[PointId] | None, expression: Expression | None) -> Ints:
    """Rows of the points that are named and fulfil the expression: in the order of `ids`, or of
    first insertion when `ids` is None."""
    if ids is None:
        return np.flatnonzero(matching(view, expression))
    pks = pks_of_ids(view.connection, ids)
    named = np.array([pks[point_id] for point_id in ids if point_id in pks], np.int64)
    rows = rows_of(view.state.pks, named)
    return rows if expression is None else rows[matching(view, expression)[rows]]


def allowed_by(view: FilterView, expression: Expression | None) -> Allowed:
    """What an expression allows, worked out now or kept from before."""
    key = key_of(expression)
    kept = None if key is None else view.kept.allowed.get(key)
    if kept is not None:
        return kept
    if expression is None:
        allowed = Allowed(None, view.state.count, key)
    else:
        mask = matching(view, expression)
        allowed = Allowed(mask, int(np.count_nonzero(mask)), key)
    view.kept.allowed.keep(allowed)
    return allowed
