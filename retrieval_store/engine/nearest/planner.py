"""Which way to the nearest points is cheapest, by what each is estimated to cost.

*exact*: a matrix product over all vectors that the filter allows. *over-fetch*: the index is asked
for more candidates than are wanted, and those that the filter doesn't allow are dropped. Letting
the filter decide inside the traversal of the graph was measured and left out. At equal recall it
costs as much (at 50,000 vectors), or up to 1.7 times less (at a million, shares of 3 to 12 %), but
it has no bound: a filter for what lies far from the query took 1.1 s at a million vectors, where
the exact search takes 10 ms. And other threads stand still meanwhile.

The costs are in microseconds; only their ratios matter. `benchmarks/calibrate.py` measures them.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Method: TypeAlias = Literal["nothing matches", "exact", "over-fetch"]

# One number of a vector …
STREAMED = 3.5e-4  # … in rows that follow one another, more than the processor caches
CACHED = 1.1e-4  # … and fewer: 10 MB, since others use the cache too
CACHED_CELLS = 2_500_000
GATHERED = 4e-4  # … in rows copied together first
STRAY = 6.5e-4  # … and more of them
GATHERED_CELLS = 4_000_000
# A candidate of an index: something for the step, something for each number of its vector.
CANDIDATE, CANDIDATE_CELL = 1.6, 2.5e-3
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
    whether their rows lie together; indexed: how many slots the index holds, 0 without one;
    ef_search: candidates that find the usual k without a filter.
    """

    slots: int
    matching: int
    dimension: int
    k: int
    contiguous: bool
    indexed: int
    ef_search: int


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
    costs = {"exact": exact_cost(at)}
    ef = candidates(at) * wider
    # Where most of what the index holds would be candidates it is no help.
    if at.indexed and ef <= at.indexed // 2 and at.matching > at.k:
        fresh = (at.slots - at.indexed) * at.dimension * STREAMED
        costs["over-fetch"] = ef * (CANDIDATE + CANDIDATE_CELL * at.dimension) + fresh
    if costs.get("over-fetch", costs["exact"]) < costs["exact"]:
        return Plan("over-fetch", ef, costs)
    return Plan("exact", 0, costs)


def candidates(at: Situation) -> int:
    """How many candidates should hold the k nearest that match: matching ones are expected at each
    slots/matching-th rank."""
    last_rank = at.k * at.slots / at.matching
    growth = max(1.0, at.slots / USUAL_SLOTS) ** GROWTH
    return int(growth * (at.ef_search + PER_RANK * max(0.0, last_rank - USUAL_K)))


def exact_cost(at: Situation) -> float:
    """Of the product with all allowed rows, by the better way to get at them."""
    cells, all_cells = at.matching * at.dimension, at.slots * at.dimension
    if at.contiguous:
        return cells * _per_cell(cells)
    scattered = cells * (GATHERED if cells < GATHERED_CELLS else STRAY)
    return min(scattered, all_cells * _per_cell(all_cells))


def _per_cell(cells: int) -> float:
    return CACHED if cells < CACHED_CELLS else STREAMED
