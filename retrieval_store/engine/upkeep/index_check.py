"""Indexes in files compared with the vectors they claim to be made of.

A checksum finds what happened to a file by accident; whoever makes a file to deceive gives it the
right one. So the vectors in it are compared with those of its slots, where its class can tell them,
and what it finds with what there is.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Floats, Ints, Matrix, as_float32, distinct
from retrieval_store.base.metrics import Metric
from retrieval_store.engine.database.failures import CONTRADICTIONS
from retrieval_store.engine.nearest.indexing import SpaceIndex
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.engine.storage.derived import DerivedFile, deceit, path_of
from retrieval_store.errors import PluginError
from retrieval_store.indexes import KnowsVectors, VectorIndex
from retrieval_store.indexes.exact import (
    SAFE_LENGTHS,
    UNIT_ROUNDOFF,
    Norms,
    exact_distances,
    length_of,
    nearest,
)

CELLS_AT_ONCE = 4_000_000  # of vectors
SAMPLE = 500  # vectors that are searched for
CANDIDATES = 128  # that are asked for, in each search
# When an index finds too little. HNSW made of the same vectors with other random numbers, 12 or 24
# times for each of 180 kinds of vectors and settings that are difficult for it, missed shares of a
# sample that differed by .46 at most; by .9 where groups were larger than these.
MOST, MORE = 0.65, 0.5  # shares of the sample: that it misses, and more than one made anew
EQUAL, SHARED = 32, 0.1  # vectors that are equal; the share for which the same one is nearest


def refuse_false_index(
    directory: Path, space: SpaceState, index: SpaceIndex, made: DerivedFile
) -> None:
    """Raise DamagedError unless the file, whose checksum is right, is an index of the vectors of
    `space`."""
    path = path_of(directory, made)
    try:
        if made.covered > space.space.slots:
            raise ValueError(f"it claims {made.covered} vectors of {space.space.slots}")
        _IndexCheck(space, index.read(directory, made), index.made).run()
    except PluginError:
        return  # without its class it isn't used either
    except (*CONTRADICTIONS, RuntimeError) as error:
        raise deceit(path, error) from error


def _largest_group(values: npt.ArrayLike) -> int:
    """How often the commonest of the values is there."""
    return int(np.unique(values, return_counts=True)[1].max())


class _IndexCheck:
    """An index, and the vectors that it should hold."""

    def __init__(
        self, space: SpaceState, index: VectorIndex, make: Callable[[], VectorIndex]
    ) -> None:
        self._index, self._make = index, make
        self._rows = space.vectors.rows(space.space.slots)[: len(index)]
        self._metric: Metric = space.space.metric
        self._norms: Norms = space.vectors.norms(self._rows, space.checksums, None)

    def run(self) -> None:
        """Raise ValueError for vectors that aren't those of the collection, for distances that are
        wrong, and when it finds so little that its links must have been cut."""
        others = sum(self._others())
        if others:
            raise ValueError(
                f"{others} of {len(self._rows)} vectors aren't those of the collection"
            )
        slots = self._sample()
        goals = list(self._goals(slots))
        missed = self._missed(self._index, slots, goals)
        if missed <= MOST * len(slots) or not self._tells([target for target, _ in goals]):
            return
        anew = self._missed(self._made_anew(), slots, goals)  # its settings may be poor
        if missed - anew > MORE * len(slots):
            raise ValueError(
                f"of {len(slots)} vectors it finds {len(slots) - missed}, and one that was made "
                f"anew {len(slots) - anew}"
            )

    def _others(self) -> Iterator[int]:
        """How many vectors are others, part by part."""
        if isinstance(self._index, KnowsVectors):
            for first, rows in self._parts():
                yield int(np.count_nonzero(~self._index.holds(first, rows)))

    def _parts(self) -> Iterator[tuple[int, Matrix]]:
        step = max(1, CELLS_AT_ONCE // self._rows.shape[1])
        for first in range(0, len(self._rows), step):
            yield first, as_float32(self._rows[first : first + step])

    def _sample(self) -> Ints:
        """Some slots, of which nobody knew before which; float32 can multiply what they hold."""
        least, most = SAFE_LENGTHS
        lengths = self._norms.lengths
        good = np.flatnonzero((lengths >= least) & (lengths <= most))
        count = min(SAMPLE, len(good))
        return np.random.default_rng().choice(good, count, replace=False)

    def _made_anew(self) -> VectorIndex:
        index = self._make()
        for _, rows in self._parts():
            index.add(rows)
        return index

    def _goals(self, slots: Ints) -> Iterator[tuple[int, float]]:
        """Which vector is the nearest to that of each slot, and how near it is."""
        if self._metric == "ip":
            queries = as_float32(self._rows[slots])
            lengths = self._norms.lengths[slots].tolist()
            hits = nearest(queries, lengths, self._rows, lambda: self._norms, "ip", 1, None)
            yield from ((int(found.min()), float(distances.min())) for found, distances in hits)
        else:  # itself
            for slot in slots.tolist():
                yield slot, float(self._distances(slot, np.array([slot]))[0])

    def _tells(self, targets: list[int]) -> bool:
        """Whether an index that finds hardly anything must have been tampered with. Where many
        vectors are equal, or the same is nearest to many, any index may find nearly all or hardly
        any of them, by chance: the links of equal vectors lead to one another only."""
        if _largest_group(targets) > SHARED * len(targets):
            return False
        rows = self._rows
        anywhere = np.random.default_rng().standard_normal(rows.shape[1:], np.float32)
        length = length_of(anywhere)
        distances = exact_distances(anywhere, length, rows, None, self._metric)
        return _largest_group(np.round(distances, 12)) <= EQUAL

    def _missed(self, index: VectorIndex, slots: Ints, goals: list[tuple[int, float]]) -> int:
        """For how many of the slots searching for its vector finds none that is as near as can
        be."""
        pairs = zip(slots.tolist(), goals, strict=True)
        return sum(self._misses(index, slot, least) for slot, (_, least) in pairs)

    def _misses(self, index: VectorIndex, slot: int, least: float) -> bool:
        query, count = as_float32(self._rows[slot : slot + 1]), min(CANDIDATES, len(index))
        try:
            numbers, distances = index.search(query, count)
        except RuntimeError:  # it found fewer than it should have
            return True
        found = np.asarray(numbers).reshape(-1).astype(np.int64)
        told = np.asarray(distances).reshape(-1).astype(np.float64)
        if len(found) != len(told) or len(distinct(found)) < len(found):
            raise ValueError("a search finds a vector twice, or without a distance")
        if len(found) and not 0 <= found.min() <= found.max() < len(self._rows):
            raise ValueError("a search finds vectors that aren't there")
        true = self._distances(slot, found)
        wrong = ~(np.abs(told - true) <= self._rounding(slot, found))
        if wrong.any():
            raise ValueError(
                f"a search says that vector {found[wrong][0]} is {told[wrong][0]:.6g} away from "
                f"vector {slot}, and not {true[wrong][0]:.6g}"
            )
        return bool(true.min(initial=np.inf) > least)

    def _distances(self, slot: int, others: Ints) -> Floats:
        query, length = as_float32(self._rows[slot]), float(self._norms.lengths[slot])
        return exact_distances(query, length, self._rows, others, self._metric)

    def _rounding(self, slot: int, others: Ints) -> Floats:
        """What float32 can have got wrong of these distances, whichever way they were computed."""
        lengths, length = self._norms.lengths[others], self._norms.lengths[slot]
        scale: Floats = np.ones(len(others))
        if self._metric == "l2":
            scale = (lengths + length) ** 2
        elif self._metric == "ip":
            scale = 1 + lengths * length
        scale *= (self._rows.shape[1] + 16) * 4 * UNIT_ROUNDOFF
        return scale
