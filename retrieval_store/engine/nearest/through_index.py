"""The nearest through an index: more candidates than are wanted, of which those that aren't allowed
are dropped."""

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.engine.nearest.context import Found, SearchContext
from retrieval_store.engine.nearest.planner import TRUST
from retrieval_store.indexes import VectorIndex

TIE = 2.0**-23  # for each number of a vector: what float32 in an index may get wrong


class UselessError(Exception):
    """The index can't answer."""


def over_fetch(
    context: SearchContext,
    index: VectorIndex,
    covered: int,
    ef: int,
    which: list[int],
    answers: list[Found | None],
) -> None:
    """Answer those of the queries for which enough of `ef` candidates are allowed; UselessError
    when the index finds fewer than there are."""
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
        if count == len(places):  # there may be more that float32 can't tell from the last
            continue
        slots = candidates[at, places[:count]]
        answers[i] = context.ranked(i, slots if fresh is None else np.append(slots, fresh[at]))


def _passing(context: SearchContext, rows: Ints) -> np.ndarray:
    passing = rows >= 0
    if context.allowed.mask is not None:
        passing &= context.allowed.mask[rows]
    return passing


def _count_near(context: SearchContext, slots: Ints, distances: Matrix, i: int) -> int:
    """How many of the candidates may be among the k nearest, given what float32 can have got
    wrong; all of them when the distances make no sense."""
    if not (distances[1:] >= distances[:-1]).all():
        return len(distances)
    last, units = float(distances[context.k - 1]), (context.dimension + 8) * TIE
    scale = {"l2": abs(last), "cosine": 1.0, "ip": 0.0}[context.metric]
    if context.metric == "ip":
        scale = context.lengths[i] * float(context.norms(slots).lengths[slots].max())
    return int(distances.searchsorted(last + units * scale, "right"))


def _fresh(context: SearchContext, covered: int, which: list[int]) -> list[Ints]:
    """The nearest allowed slots behind those that the index holds, for each query."""
    slots = np.flatnonzero(_passing(context, context.space.row_of_slot.whole(covered))) + covered
    return context.nearest_of(which, slots)
