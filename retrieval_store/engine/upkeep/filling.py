"""Letting an index take in the vectors that it lacks: those of a file, and those that are in none.

Queries load nothing: until an index is there, they are answered exactly.
"""

import logging
import weakref
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from retrieval_store.base import tracing
from retrieval_store.base.arrays import as_float32
from retrieval_store.base.tracing import log_of
from retrieval_store.engine.access import Access
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.nearest.indexing import LOADING, SpaceIndex, is_worth_an_index
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import DerivedFile
from retrieval_store.errors import DamagedError
from retrieval_store.indexes.exact import norms_of
from retrieval_store.query.types import Progress

FILLED_AT_ONCE = 2_048  # vectors, after which the background looks whether it should stop
Told: TypeAlias = "Path | weakref.ref[Access]"
_told: set[Told] = set()  # collections of which it was said that they lack an index
_log = log_of("maintenance")


def load(points: Access, name: str, at_once: bool = True, waits: bool = True) -> None:
    """Load the file of the index of a space, if there is one that holds much more than what is in
    memory, and the space is large enough to gain from it; if not `at_once`, only when queries have
    lost as much time without it as loading takes. waits: for another thread that loads, or fills,
    the index just now, which may take minutes; if not, it is left to that."""

    def look(view: SearchView) -> tuple[SpaceIndex, DerivedFile | None] | None:
        index = _wanted(view, name)
        if index is None:
            return None
        found, dimension = index.recorded(view.connection), view.state.spaces[name].space.dimension
        if found is not None and not at_once:
            index.pays_from = LOADING * found.covered * (dimension or 0)
        return None if index.rests and not at_once else (index, found)

    match points.read(look):
        case (index, DerivedFile() as found):
            # Outside of the transaction, which forks wait for, and the emptying of the log.
            loading = partial(index.load, found)
            if waits:
                index.filling.take(loading)
            else:
                index.filling.take_within(0, loading, lambda: None)


def fill(
    points: Access, name: str, may_begin: bool, progress: Progress, at_once: bool = True
) -> bool:
    """Let the index of a space take in the vectors that it lacks, and first, as `load` does, those
    of its file; returns whether it lacks some since another process has begun it or has compacted,
    or the collection was put to rest."""
    load(points, name, at_once)
    index, state = points.read(lambda view: (_wanted(view, name), view.state))
    if index is None or (index.rests and not at_once):
        return False
    if not (index.covered or index.full or may_begin):
        return True
    space = state.spaces[name]
    take_in = partial(_take_in, index, space, space.space.slots, progress)
    before = index.covered
    try:
        if before < space.space.slots and not index.full:
            with tracing.span("index", points.name):
                index.filling.take(take_in)
                tracing.note(lambda: {"retrieval_store.indexed": index.covered - before})
            _tell_of(points, before, index)
    except DamagedError:
        if not points.has_moved_on(state):
            raise
        return True  # not damage: the files are those of the generation before
    if index.refused is not None:
        _tell_once(points, index.refused)
    return index.closed


def _tell_of(points: Access, before: int, index: SpaceIndex) -> None:
    if not index.closed and index.covered > before:
        level = logging.DEBUG if before else logging.INFO
        _log.log(level, "the index of %r holds %d vectors", points.name, index.covered)


def _wanted(view: SearchView, name: str) -> SpaceIndex | None:
    """The index of a space, if the space should have one and is large enough to gain from it."""
    space = view.state.spaces.get(name)
    if space is None or not (index := view.kept.spaces[name].index).wanted:
        return None
    worth = is_worth_an_index(space.space.slots, space.space.dimension or 0, space.space.metric)
    return index if worth or index.covered else None


def _tell_once(points: Access, why: Exception) -> None:
    """Say in the log that a collection lacks its index; once, however often it is opened."""
    told: Told = points.directory or weakref.ref(points, _told.discard)
    if told not in _told:
        _told.add(told)
        place = "in memory" if points.directory is None else f"in {points.directory.parent}"
        _log.warning(
            "collection %r %s is large enough to gain from an index, but has none, and is searched "
            "exactly: %s",
            points.name,
            place,
            why,
        )


def _take_in(index: SpaceIndex, space: SpaceState, slots: int, progress: Progress) -> None:
    try:
        _take_in_parts(index, space, slots, progress)
    finally:
        index.pace = 0.0


def _take_in_parts(index: SpaceIndex, space: SpaceState, slots: int, progress: Progress) -> None:
    for first in range(index.covered, slots, FILLED_AT_ONCE):
        if index.closed or index.full:
            break
        chosen = np.arange(first, min(first + FILLED_AT_ONCE, slots))
        matrix = space.vectors.rows(slots)
        space.vectors.admit(matrix, space.checksums, chosen)
        rows = matrix[first : chosen[-1] + 1]
        if not norms_of(rows).safe:  # what float32 can't multiply is left to the exact search
            index.full = True
            break
        index.add(as_float32(rows))
        progress(len(chosen), slots)
