"""Letting an index take in the vectors that it lacks."""

from functools import partial

import numpy as np

from retrieval_store.engine.access import Access
from retrieval_store.engine.memory import Moment
from retrieval_store.engine.nearest.indexing import SpaceIndex, is_worth_an_index
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.errors import DamagedError
from retrieval_store.interface.records import Progress

FILLED_AT_ONCE = 2_048  # vectors, after which the background looks whether it should stop


def fill(points: Access, name: str, may_begin: bool, progress: Progress) -> bool:
    """Let the index of a space take in the vectors that it lacks; returns whether it lacks some
    since another process has begun it or has compacted, or the collection was put to rest."""

    def begin(view: SearchView) -> Moment:
        index = view.kept.indexes.get(name)
        if index is not None and index.wanted:
            index.load_saved(view.connection, newer=True)
        return Moment(view.state, view.kept)

    moment = points.read(begin)
    index = moment.kept.indexes.get(name)
    if index is None or not index.wanted:
        return False
    space = moment.state.spaces[name]
    dimension, slots = space.vectors.rows(0).shape[1], space.space.slots
    if not index.covered:
        if not is_worth_an_index(slots, dimension):
            return False
        if not may_begin:
            return True
    try:
        index.filling.take(partial(_take_in, index, space, slots, progress))
    except DamagedError:
        if not points.has_moved_on(moment.state.head.generation):
            raise
        return True  # not damage: the files are those of the generation before
    return index.closed


def _take_in(index: SpaceIndex, space: SpaceState, slots: int, progress: Progress) -> None:
    for first in range(index.covered, slots, FILLED_AT_ONCE):
        chosen = np.arange(first, min(first + FILLED_AT_ONCE, slots))
        rows = space.vectors.rows(slots)
        norms = space.vectors.admit(rows, space.checksums, chosen)
        if not norms.safe:  # what float32 can't multiply is left to the exact search
            index.full = True
            break
        if index.closed or index.full:
            break
        index.add(rows[first : chosen[-1] + 1])
        progress(len(chosen), slots)
