"""Which way to the nearest points is cheapest, by what each is estimated to cost.

*exact*: a matrix product over the vectors of all points that the filter allows. *codes*: the same
answer, by a product over their codes, which leaves few vectors to look at. *over-fetch*: the index
is asked for more candidates than are wanted, and those that the filter doesn't allow are dropped.
Letting the filter decide inside the traversal of the graph was measured and left out. At equal
recall it costs as much (at 50,000 vectors), or up to 1.7 times less (at a million, shares of 3 to
12 %), but it has no bound: a filter for what lies far from the query took 1.1 s at a million
vectors, where the exact search takes 10 ms. And other threads stand still meanwhile.

The costs are in microseconds; only their ratios matter. How fast products are is measured by each
process (`speeds`); the other figures are those of `benchmarks/calibrate.py`.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from retrieval_store.engine.codes.speeds import Speeds

Method: TypeAlias = Literal["nothing matches", "exact", "codes", "over-fetch"]
METHODS: tuple[Method, ...] = ("exact", "codes", "over-fetch")

# What a number of a vector costs, against one in rows that follow one another in a cache …
CACHED = 1.0
STREAMED = 3.0  # … where there are more: 10 MB, since others use the cache too
CACHED_CELLS = 2_500_000
STRAY = 2.5  # by how much more a copy of a row costs where no cache holds all rows …
STRAY_BYTES = 16_000_000  # … which are more than these
CHOSEN = 0.002  # what it costs to find the k best of the products, for each of them
# A pass over codes: something for what comes before and after, for each row besides its product, …
PASS, PASS_ROW, GATHERING_ROW = 100.0, 1.2e-3, 6e-3  # … and where codes are copied together first
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
class Situation:
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
    speeds: Speeds


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search. ef: how many candidates to ask the index for; costs: the estimates, in
    microseconds, by method."""

    method: Method
    ef: int
    costs: dict[str, float]


def choose(at: Situation, wider: int = 1) -> Plan:
    """The cheapest plan; `wider`: by how much more candidates than usual are needed, when fewer
    turned out not to be enough."""
    if not at.matching:
        return Plan("nothing matches", 0, {})
    costs: dict[str, float] = {"exact": exact_cost(at)}
    if at.coded and FEW_OF_ALL * at.k <= at.matching:
        costs["codes"] = codes_cost(at)
    ef = candidates(at) * wider
    # Where most of what the index holds would be candidates it is no help.
    if at.indexed and ef <= at.indexed // 2 and at.matching > at.k:
        fresh = (at.slots - at.indexed) * at.dimension * STREAMED * at.speeds.number
        costs["over-fetch"] = ef * _candidate(at.dimension) + fresh
    best = min(METHODS, key=lambda method: costs.get(method, math.inf))
    return Plan(best, ef if best == "over-fetch" else 0, costs)


def gains_by_an_index(slots: int, dimension: int, speeds: Speeds) -> bool:
    """Whether an index finds the nearest of so many sooner than a pass over all of them."""
    row = speeds.of_code(dimension) + PASS_ROW
    floats = slots * dimension * STREAMED * speeds.number
    return min(PASS + slots * row, floats) > USUAL_EF * _candidate(dimension)


def index_cost(at: Situation) -> float:
    """Of the search in an index, if there were one."""
    return candidates(replace(at, ef_search=USUAL_EF)) * _candidate(at.dimension)


def _candidate(dimension: int) -> float:
    """What a candidate of an index costs."""
    return CANDIDATE + CANDIDATE_CELL * dimension


def candidates(at: Situation) -> int:
    """How many candidates should hold the k nearest that match: matching ones are expected at each
    slots/matching-th rank."""
    last_rank = at.k * at.slots / at.matching
    growth = max(1.0, at.slots / USUAL_SLOTS) ** GROWTH
    return int(growth * (at.ef_search + PER_RANK * max(0.0, last_rank - USUAL_K)))


def exact_cost(at: Situation) -> float:
    """Of the product with all allowed rows, by the better way to get at them."""
    cells, all_cells = at.matching * at.dimension, at.slots * at.dimension
    chosen = at.matching * CHOSEN
    if at.contiguous:
        return cells * _per_cell(cells, at.speeds) + chosen
    scattered = _copies(at, 4) + cells * CACHED * at.speeds.number
    return min(scattered, all_cells * _per_cell(all_cells, at.speeds)) + chosen


def codes_cost(at: Situation) -> float:
    """Of the pass over the codes of all allowed rows, or of all, and over the rows without."""
    lacking = (at.slots - at.coded) / at.slots * _copies(at, 4)
    if at.contiguous:
        return PASS + at.matching * _code(at) + lacking
    return PASS + min(_all_codes(at), _codes_gathered(at)) + lacking


def gathers(at: Situation) -> bool:
    """Whether to copy the codes of the allowed rows together, rather than to look at all."""
    return _codes_gathered(at) < _all_codes(at)


def _code(at: Situation) -> float:
    """Of looking at one row's code."""
    return at.speeds.of_code(at.dimension) + PASS_ROW


def _all_codes(at: Situation) -> float:
    return at.slots * _code(at)


def _codes_gathered(at: Situation) -> float:
    """Of the codes of all allowed rows, copied together first."""
    return at.matching * (_code(at) + GATHERING_ROW) + _copies(at, 1)


def _copies(at: Situation, size: int) -> float:
    """Of copying the allowed rows together, of numbers of so many bytes."""
    stray = STRAY if at.slots * at.dimension * size > STRAY_BYTES else 1
    return stray * at.matching * at.speeds.of_copy(at.dimension * size)


def _per_cell(cells: int, speeds: Speeds) -> float:
    return speeds.number * (CACHED if cells < CACHED_CELLS else STREAMED)
