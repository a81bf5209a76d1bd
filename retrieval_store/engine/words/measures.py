"""What ranking wants to know of all that is listed: how much each row has, and how many rows there
are; brought up to date with what writes have changed."""

from collections.abc import Hashable

import numpy as np

from retrieval_store.base.arrays import NOWHERE, Bools, Ints, Patched, distinct
from retrieval_store.engine.state.layers import Layers, outside
from retrieval_store.engine.words.cache import Known, Measures
from retrieval_store.engine.words.lists import Lists

ROOM = 8_192  # rows that may come before all are looked at again


def measured(known: Known, key: Hashable, layers: Layers[Lists], alive: Bools) -> Measures:
    """The measures of these layers, for a state in which these rows live."""
    found = known.get(key)
    if found is None or len(alive) > len(found.sizes):
        found = known[key] = _of_all(layers, alive)
    elif len(found.changed) or found.segments is not layers.segments:
        found = known[key] = _advanced(found, layers, alive)
    return found


def _of_all(layers: Layers[Lists], alive: Bools) -> Measures:
    sizes = np.zeros(len(alive) + ROOM, np.int64)
    for segment in layers.segments:
        there = segment.rows < len(alive)
        sizes[segment.rows[there]] = segment.sizes[there]
    sizes[: len(alive)] *= alive
    return Measures(
        layers.segments,
        layers.above(),
        Patched(sizes, NOWHERE, NOWHERE),
        int(np.count_nonzero(sizes)),
        int(sizes.sum()),
        NOWHERE,
    )


def _advanced(known: Measures, layers: Layers[Lists], alive: Bools) -> Measures:
    rows = distinct(known.changed)
    before, after = known.sizes[rows], _sizes_at(layers, rows) * alive[rows]
    return Measures(
        layers.segments,
        layers.above(),
        known.sizes.changed(rows, after),
        known.holders + int(np.count_nonzero(after)) - int(np.count_nonzero(before)),
        known.total + int(after.sum() - before.sum()),
        NOWHERE,
    )


def _sizes_at(layers: Layers[Lists], rows: Ints) -> Ints:
    sizes = np.zeros(len(rows), np.int64)
    for segment in layers.segments:
        held = ~outside(rows, segment.rows)
        sizes[held] = segment.sizes[np.searchsorted(segment.rows, rows[held])]
    return sizes
