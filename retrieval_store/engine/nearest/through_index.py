"""The nearest through an index: more candidates than are wanted, of which those that aren't allowed
are dropped."""

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.engine.nearest.asked import Asked, Found
from retrieval_store.engine.nearest.planner import TRUST
from retrieval_store.indexes import VectorIndex

TIE = 2.0**-23  # for each number of a vector: what float32 in an index may get wrong


class UselessError(Exception):
    """The index can't answer."""


def over_fetch(
    asked: Asked,
    index: VectorIndex,
    covered: int,
    ef: int,
    which: list[int],
    answers: list[Found | None],
) -> None:
    """Answer those of the queries for which enough of `ef` candidates are allowed; UselessError
    when the index finds fewer than there are."""
    space, k = asked.space, asked.query.k
    try:
        candidates, distances = index.search(asked.query.vectors[which], ef)
    except RuntimeError as error:
        raise UselessError from error
    fresh = _fresh(asked, covered, which) if covered < asked.slots else None
    if len(index) > asked.slots:  # it holds vectors newer than this reader's state
        known = np.minimum(candidates, asked.slots - 1)
        rows = np.where(known == candidates, space.row_of_slot[known], -1)
    else:
        rows = space.row_of_slot[candidates]
    passing = _passing(asked, rows)
    for at, i in enumerate(which):
        places = np.flatnonzero(passing[at])
        if len(places) < k or places[k - 1] > TRUST * ef:
            continue
        count = _count_near(asked, candidates[at, places], distances[at, places], i)
        if count == len(places):  # there may be more that float32 can't tell from the last
            continue
        slots = candidates[at, places[:count]]
        answers[i] = asked.ranked(i, slots if fresh is None else np.append(slots, fresh[at]))


def _passing(asked: Asked, rows: Ints) -> np.ndarray:
    passing = rows >= 0
    if asked.allowed.mask is not None:
        passing &= asked.allowed.mask[rows]
    return passing


def _count_near(asked: Asked, slots: Ints, distances: Matrix, i: int) -> int:
    """How many of the candidates may be among the k nearest, given what float32 can have got
    wrong; all of them when the distances make no sense."""
    if not (distances[1:] >= distances[:-1]).all():
        return len(distances)
    last, units = float(distances[asked.query.k - 1]), (asked.dimension + 8) * TIE
    scale = {"l2": abs(last), "cosine": 1.0, "ip": 0.0}[asked.metric]
    if asked.metric == "ip":
        scale = asked.lengths[i] * float(asked.norms(slots).lengths[slots].max())
    return int(distances.searchsorted(last + units * scale, "right"))


def _fresh(asked: Asked, covered: int, which: list[int]) -> list[Ints]:
    """The nearest allowed slots behind those that the index holds, for each query."""
    slots = np.flatnonzero(_passing(asked, asked.space.row_of_slot.whole(covered))) + covered
    return asked.nearest_of(which, slots)
