"""The search through an index.

The index is queried for more candidates than are wanted (over-fetch), and those that the filter
doesn't allow are dropped.
"""

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.engine.nearest.context import Neighbors, SearchContext
from retrieval_store.engine.nearest.planner import TRUST
from retrieval_store.indexes import VectorIndex

TIE = 2.0**-23  # relative error of float32 distances in an index, per number of a vector


class UselessError(Exception):
    """The index can't answer: it failed, or returned fewer candidates than exist."""


def over_fetch(
    context: SearchContext,
    index: VectorIndex,
    covered: int,
    ef: int,
    which: list[int],
    answers: list[Neighbors | None],
) -> None:
    """Fill in the answers to the queries at `which` for which enough of the index' `ef` candidates
    are allowed. covered: how many slots the index holds. UselessError when the index returns fewer
    than `ef` candidates."""
    space, k = context.space, context.k
    try:
        candidates, distances = index.search(context.vectors[which], ef)
    except RuntimeError as error:
        raise UselessError from error
    fresh = _fresh(context, covered, which) if covered < context.slots else None
    if len(index) > context.slots:  # it holds vectors newer than this reader's state
        known = np.minimum(candidates, context.slots - 1)
        rows = np.where(known == candidates, space.row_of_slot[known], -1)
    else:
        rows = space.row_of_slot[candidates]
    passing = _passing(context, rows)
    for at, i in enumerate(which):
        places = np.flatnonzero(passing[at])
        if len(places) < k or places[k - 1] > TRUST * ef:
            continue
        count = _count_near(context, candidates[at, places], distances[at, places], i)
        if count == len(places):  # more candidates may tie with the last, by float32's error
            continue
        slots = candidates[at, places[:count]]
        answers[i] = context.ranked(i, slots if fresh is None else np.append(slots, fresh[at]))


def _passing(context: SearchContext, rows: Ints) -> np.ndarray:
    passing = rows >= 0
    if context.allowed.mask is not None:
        passing &= context.allowed.mask[rows]
    return passing


def _count_near(context: SearchContext, slots: Ints, distances: Matrix, i: int) -> int:
    """How many of the candidates, nearest first, may be among the k nearest, given the errors of
    float32 distances; all of them when the distances aren't ascending (NaN)."""
    if not (distances[1:] >= distances[:-1]).all():
        return len(distances)
    last, units = float(distances[context.k - 1]), (context.dimension + 8) * TIE
    scale = {"l2": abs(last), "cosine": 1.0, "ip": 0.0}[context.metric]
    if context.metric == "ip":
        scale = context.lengths[i] * float(context.norms(slots).lengths[slots].max())
    return int(distances.searchsorted(last + units * scale, "right"))


def _fresh(context: SearchContext, covered: int, which: list[int]) -> list[Ints]:
    """For each query the nearest allowed slots that the index doesn't hold yet."""
    slots = np.flatnonzero(_passing(context, context.space.row_of_slot.whole(covered))) + covered
    return context.nearest_of(which, slots)
