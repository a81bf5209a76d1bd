"""Which way to the nearest points is cheapest, by what each is estimated to cost.

*exact*: a pass over the vectors of all points that the filter allows. *codes*: the same answer, by
a pass over their codes, which leaves few vectors to look at. *over-fetch*: the index is asked for
more candidates than are wanted, and those that the filter doesn't allow are dropped; only where
that promises a third of the whole query, since an index is only nearly right. Letting the filter
decide inside the traversal of the graph was measured and left out. At equal recall it costs as much
(at 50,000 vectors), or up to 1.7 times less (at a million, shares of 3 to 12 %), but it has no
bound: a filter for what lies far from the query took 1.1 s at a million vectors, where the exact
search takes 10 ms. And other threads stand still meanwhile.

The costs are in microseconds; only their ratios matter, which differ little from processor to
processor. They are those of `benchmarks/calibrate.py`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from retrieval_store.indexes.native.library import kernel

Method: TypeAlias = Literal["nothing matches", "exact", "codes", "over-fetch"]
METHODS: tuple[Method, ...] = ("exact", "codes", "over-fetch")

WHOLE = 250.0  # what a query costs besides its search
GAIN = 2 / 3  # an index may take so much of the whole query, against the best of the others
# A pass over vectors: something for it, for each row, and each of its numbers; where there is no
# compiled part, numpy takes so many times as long; rows from all over cost more, and even more
# where no cache holds them.
FLOATS, FLOATS_ROW, FLOATS_NUMBER = 25.0, 8e-3, 1e-4
NUMPY = 4.0
STRAY_ROW, FAR_ROW, FAR_BYTES = 1e-2, 3e-2, 16_000_000
# A pass over codes: something for it, for each row, and each of its numbers; not less than reading
# them takes where no cache holds them.
PASS, PASS_ROW, PASS_NUMBER = 25.0, 1e-3, 1e-5
ROW_BYTES, NUMBER_BYTES, BYTE, CACHED_BYTES = 16, 0.5, 5e-5, 32_000_000
BLOCK = 32  # rows that are looked at together
FEW_OF_ALL = 16  # a k that is a larger share than this leaves too many candidates
# A candidate of an index: something for the step, something for each number of its vector.
CANDIDATE, CANDIDATE_CELL = 1.6, 2.5e-3
USUAL_EF = 140  # candidates that find the nearest ten in an index
PER_RANK = 4  # candidates for each rank the last hit is expected at, beyond the usual ones
USUAL_K = 10
USUAL_SLOTS = 50_000  # up to here; in a larger graph more candidates are needed for equal recall:
GROWTH = 0.3  # .962 at a million with those that give .993 here, .985 with 2.5 times as many
TRUST = 0.5  # a last hit this deep among the candidates, as a share, is too deep to be sure
WIDER = 3


@dataclass(frozen=True, slots=True)
class CostInputs:
    """What the choice depends on.

    slots: vectors in the space, dead ones too; matching: those that may be found; contiguous:
    whether their rows, or codes, lie together; coded: how many slots have codes; indexed: how many
    slots the index holds, 0 without one; ef_search: candidates that find the usual k without a
    filter.
    """

    slots: int
    matching: int
    dimension: int
    k: int
    contiguous: bool
    coded: int
    indexed: int
    ef_search: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search. ef: how many candidates to ask the index for; costs: the estimates, in
    microseconds, by method."""

    method: Method
    ef: int
    costs: dict[str, float]


def choose(at: CostInputs, wider: int = 1) -> Plan:
    """The cheapest plan; `wider`: by how much more candidates than usual are needed, when fewer
    turned out not to be enough."""
    if not at.matching:
        return Plan("nothing matches", 0, {})
    costs: dict[str, float] = {"exact": exact_cost(at)}
    if at.coded and FEW_OF_ALL * at.k <= at.matching:
        costs["codes"] = codes_cost(at)
    best: Method = "codes" if costs.get("codes", math.inf) < costs["exact"] else "exact"
    ef = candidates(at) * wider
    # Where most of what the index holds would be candidates it is no help.
    if at.indexed and ef <= at.indexed // 2 and at.matching > at.k:
        fresh = (at.slots - at.indexed) * _floats(at.dimension)
        costs["over-fetch"] = ef * _candidate(at.dimension) + fresh
        if _gains(costs["over-fetch"], costs[best]):
            best = "over-fetch"
    return Plan(best, ef if best == "over-fetch" else 0, costs)


def gains_by_an_index(slots: int, dimension: int, coded: bool) -> bool:
    """Whether an index finds the nearest of so many so much sooner than a pass over all of them
    that it is worth building; coded: whether there are, or will be, codes."""
    usual = CostInputs(slots, slots, dimension, USUAL_K, True, slots * coded, slots, USUAL_EF)
    best = codes_cost(usual) if coded else exact_cost(usual)
    return _gains(candidates(usual) * _candidate(dimension), best)


def _gains(index: float, best: float) -> bool:
    """Whether an index promises a third of the whole query."""
    return WHOLE + index <= GAIN * (WHOLE + best)


def index_cost(at: CostInputs) -> float:
    """Of the search in an index, if there were one."""
    return candidates(replace(at, ef_search=USUAL_EF)) * _candidate(at.dimension)


def _candidate(dimension: int) -> float:
    """What a candidate of an index costs."""
    return CANDIDATE + CANDIDATE_CELL * dimension


def candidates(at: CostInputs) -> int:
    """How many candidates should hold the k nearest that match: matching ones are expected at each
    slots/matching-th rank."""
    last_rank = at.k * at.slots / at.matching
    growth = max(1.0, at.slots / USUAL_SLOTS) ** GROWTH
    return int(growth * (at.ef_search + PER_RANK * max(0.0, last_rank - USUAL_K)))


def exact_cost(at: CostInputs) -> float:
    """Of the pass over all allowed rows."""
    stray = 0.0
    if not at.contiguous:
        far = at.slots * at.dimension * 4 > FAR_BYTES
        stray = at.matching * (FAR_ROW if far else STRAY_ROW)
    return FLOATS + at.matching * _floats(at.dimension) + stray


def codes_cost(at: CostInputs) -> float:
    """Of the pass over the codes of all allowed rows, or of all blocks in which any is, and over
    the rows without."""
    rows = float(at.matching)
    if not at.contiguous:
        rows = at.slots * (1 - (1 - at.matching / at.slots) ** BLOCK)
    streamed = (ROW_BYTES + NUMBER_BYTES * at.dimension) * BYTE
    at_least = streamed if rows * at.dimension * NUMBER_BYTES > CACHED_BYTES else 0.0
    row = max(PASS_ROW + at.dimension * PASS_NUMBER, at_least)
    lacking = (at.slots - at.coded) / at.slots * at.matching * _floats(at.dimension)
    return PASS + rows * row + lacking


def _floats(dimension: int) -> float:
    """Of looking at one vector."""
    row = FLOATS_ROW + dimension * FLOATS_NUMBER
    return row if kernel() is not None else NUMPY * row
