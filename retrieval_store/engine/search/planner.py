"""The query planner: chooses the search method with the least estimated cost.

- *exact*: a scan of the vectors of all points that fulfil the filter.
- *codes*: a scan of the codes of these vectors, after which few vectors are left to compare. The
  result is the same.
- *signs*: a scan of one bit of each number. A row is compared further only if its estimated score,
  plus a margin of some standard errors, may be good enough. The scan takes about a fourth of the
  time of a scan of codes.
- *over-fetch*: the index is queried for more candidates than are wanted, and those that don't
  fulfil the filter are dropped. It is chosen only if it saves a third of the time of the whole
  query, because results of an index are approximate. Signs, too, are chosen only if they save a
  third, unless the caller sets a recall.

Evaluating the filter while the graph is traversed was measured and rejected. At equal recall it
costs the same (at 50,000 vectors) or up to 1.7 times less (at a million, where 3 to 12 % match).
But its cost has no bound: a filter whose points lie far from the query took 1.1 s at a million
vectors, where the exact search takes 10 ms. The traversal also blocks all other threads.

Costs are in microseconds, measured by `benchmarks/calibrate.py`. Only their ratios matter, and
these differ little between processors.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from retrieval_store.base.arrays import Metric
from retrieval_store.indexes.exact import BY_PRODUCTS
from retrieval_store.indexes.native import MAX_DIMENSIONS, kernel

Method: TypeAlias = Literal["nothing matches", "exact", "codes", "signs", "over-fetch"]

QUERY_COST = 250.0  # the cost of a query in addition to its search
INDEX_GAIN = (
    2 / 3
)  # with an index, the whole query can take at most this share of the best other method
# A scan of vectors: a fixed cost, a cost per row, and a cost per number. Without the compiled part,
# numpy takes NUMPY_FACTOR times as long; rows that aren't contiguous cost more. If vectors exceed
# the processor's cache, the cost is at least that of reading them from memory, and scattered rows
# cost more.
FLOAT_PASS, FLOAT_ROW, FLOAT_NUMBER = 25.0, 8e-3, 1e-4
NUMPY_FACTOR = 4.0
SCATTERED_ROW, FAR_SCATTERED_ROW, FLOAT_CACHE_BYTES = 1e-2, 3e-2, 16_000_000
# A scan of codes: a fixed cost, a cost per row, and a cost per number. If codes exceed the
# processor's cache (CODE_CACHE_BYTES), the cost is at least that of reading them from memory.
CODE_PASS, CODE_ROW, CODE_NUMBER = 25.0, 1e-3, 1e-5
CODE_ROW_BYTES, CODE_NUMBER_BYTES, BYTE_READ, CODE_CACHE_BYTES = 16, 0.5, 5e-5, 8_000_000
BLOCK = 32  # rows that are scanned together
# For copying the code of a row: a cost per row, and a cost per number.
COPIED_ROW, COPIED_NUMBER = 0.1, 1.5e-3
MIN_CODED_NUMBERS = 500_000  # numbers of all vectors; fewer are searched as fast without codes
# A scan of signs: the same, and the cost of rows that are compared more closely.
SIGNS_PASS, SIGN_ROW, SIGN_NUMBER = 60.0, 2e-4, 4e-6
SIGNS_ROW_BYTES, SIGNS_NUMBER_BYTES = 8, 0.125
SLOT_BIT = 2.4e-3  # for building the bit of a slot, if a scan of codes needs the bits of a filter
MIN_NUMBERS_BY_SIGNS = 60_000_000  # numbers; with fewer, signs come first only if a recall is set
MAX_DIMENSION_BY_SIGNS = 4_096  # up to this dimension, sums of a query's tables fit into 16 bits
MIN_DIMENSIONS = 20  # below this dimension, a scan of floats is as fast
ROWS_PER_HIT = (
    # Codes are used if k is at most one row in this many; otherwise too many candidates are left.
    16
)
# A candidate of an index: a fixed cost, and a cost per number of its vector.
CANDIDATE_COST, CANDIDATE_NUMBER = 1.6, 2.5e-3
USUAL_EF = 140  # candidates with which an index finds the nearest ten
EF_PER_RANK = 4  # more candidates for each rank beyond USUAL_K at which the last hit is expected
USUAL_K = 10
USUAL_SLOTS = 50_000  # up to here; in a larger graph more candidates are needed for equal recall:
EF_GROWTH = 0.3  # .962 at a million with a number that gives .993 here, .985 with 2.5 times it
# Share of the candidates; a k-th hit after this share isn't trusted to be correct.
TRUSTED_SHARE = 0.5
WIDEN_BY = 3  # in that case the index is queried for this many times the candidates


class CostInputs(NamedTuple):
    """The inputs of the cost estimates.

    slots: the number of vectors in the space, dead vectors included. matching: how many of them
    fulfil the filter. contiguous: whether these vectors, or their codes, are contiguous in memory.
    coded: how many slots have codes. indexed: how many slots the index contains, 0 without an
    index. ef_search: how many candidates the index needs for USUAL_K hits without a filter.
    by_signs: whether scanning signs first is permitted. approximate: whether the caller set a
    recall, so that signs come first wherever that is faster. lacks_bits: whether a scan must first
    build a bitmap of the matching slots, because these aren't contiguous and the bitmap isn't
    cached.
    """

    slots: int
    matching: int
    dimension: int
    k: int
    contiguous: bool
    coded: int
    indexed: int
    ef_search: int
    by_signs: bool = False
    approximate: bool = False
    lacks_bits: bool = False


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """A plan for a search. ef: how many candidates to request from the index, 0 for other methods;
    costs: the estimated cost of each method in microseconds."""

    method: Method
    ef: int
    costs: dict[str, float]


BY_CODES = ("codes", "signs")  # methods


def choose(inputs: CostInputs, wider: int = 1) -> SearchPlan:
    """The cheapest plan. wider: a factor for the number of candidates. It is above 1 if an earlier
    attempt returned too few candidates that fulfil the filter."""
    if not inputs.matching:
        return SearchPlan("nothing matches", 0, {})
    costs: dict[str, float] = {"exact": exact_cost(inputs)}
    if inputs.coded and ROWS_PER_HIT * inputs.k <= inputs.matching:
        costs["codes"] = codes_cost(inputs)
        if inputs.by_signs:
            costs["signs"] = signs_cost(inputs)
    best: Method = "codes" if costs.get("codes", math.inf) < costs["exact"] else "exact"
    if "signs" in costs:
        cheaper = costs["signs"] < costs[best]
        if cheaper if inputs.approximate else _saves_a_third(costs["signs"], costs[best]):
            best = "signs"
    ef = candidates(inputs) * wider if inputs.indexed else 0
    # An index is no help if more than half of its vectors would be candidates.
    if 0 < ef <= inputs.indexed // 2 and inputs.matching > inputs.k:
        fresh = (inputs.slots - inputs.indexed) * _floats(inputs.dimension)
        costs["over-fetch"] = ef * _candidate(inputs.dimension) + fresh
        if _saves_a_third(costs["over-fetch"], costs[best]):
            best = "over-fetch"
    return SearchPlan(best, ef if best == "over-fetch" else 0, costs)


def codes_pay_off(slots: int, dimension: int, metric: Metric) -> bool:
    """Whether a space with this number of vectors should have codes. Always False without the
    compiled part."""
    fits = metric in BY_PRODUCTS and MIN_DIMENSIONS <= dimension <= MAX_DIMENSIONS
    return fits and slots * dimension >= MIN_CODED_NUMBERS and kernel() is not None


def signs_pay_off(slots: int, dimension: int, metric: Metric) -> bool:
    """Whether a search of this number of vectors should scan signs first even if the caller sets no
    recall."""
    large = slots * dimension >= MIN_NUMBERS_BY_SIGNS
    return large and dimension <= MAX_DIMENSION_BY_SIGNS and codes_pay_off(slots, dimension, metric)


def index_pays_off(slots: int, dimension: int, coded: bool) -> bool:
    """Whether an index is worth building for this number of vectors, because a search through it is
    so much faster than a scan of all vectors. coded: whether the vectors have, or will have,
    codes."""
    usual = CostInputs(slots, slots, dimension, USUAL_K, True, slots * coded, slots, USUAL_EF)
    best = codes_cost(usual) if coded else exact_cost(usual)
    return _saves_a_third(candidates(usual) * _candidate(dimension), best)


def _saves_a_third(cost: float, best: float) -> bool:
    """Whether a search method saves a third of the time of the whole query. Both costs are those of
    the search alone."""
    return QUERY_COST + cost <= INDEX_GAIN * (QUERY_COST + best)


def index_cost(inputs: CostInputs) -> float:
    """The cost of a search through an index, computed as if there were an index."""
    return candidates(inputs._replace(ef_search=USUAL_EF)) * _candidate(inputs.dimension)


def _candidate(dimension: int) -> float:
    """The cost of comparing one candidate during a search through an index."""
    return CANDIDATE_COST + CANDIDATE_NUMBER * dimension


def candidates(inputs: CostInputs) -> int:
    """How many candidates to request so that they contain the k nearest matching points. On
    average, one of slots / matching candidates fulfils the filter."""
    last_rank = inputs.k * inputs.slots / inputs.matching
    growth = max(1.0, inputs.slots / USUAL_SLOTS) ** EF_GROWTH
    return int(growth * (inputs.ef_search + EF_PER_RANK * max(0.0, last_rank - USUAL_K)))


def exact_cost(inputs: CostInputs) -> float:
    """The cost of a scan of the vectors of all rows that fulfil the filter."""
    row, far = _floats(inputs.dimension), inputs.slots * inputs.dimension * 4 > FLOAT_CACHE_BYTES
    if far:
        row = max(row, inputs.dimension * 4 * BYTE_READ)
    if not inputs.contiguous:
        row += FAR_SCATTERED_ROW if far else SCATTERED_ROW
    return FLOAT_PASS + inputs.matching * row


def codes_cost(inputs: CostInputs) -> float:
    """The cost of a scan of the codes of all rows that fulfil the filter, and of the vectors of
    such rows without codes. If the rows aren't contiguous, every block that contains one of them is
    scanned."""
    row_cost = CODE_ROW + inputs.dimension * CODE_NUMBER
    row = _streamed_cost(inputs, row_cost, CODE_ROW_BYTES, CODE_NUMBER_BYTES)
    return CODE_PASS + _rows_in_blocks(inputs) * row + _extra_cost(inputs)


def signs_cost(inputs: CostInputs) -> float:
    """The cost of a scan of signs, computed like `codes_cost`."""
    row_cost = SIGN_ROW + inputs.dimension * SIGN_NUMBER
    row = _streamed_cost(inputs, row_cost, SIGNS_ROW_BYTES, SIGNS_NUMBER_BYTES)
    return SIGNS_PASS + _rows_in_blocks(inputs) * row + _extra_cost(inputs)


def _rows_in_blocks(inputs: CostInputs) -> float:
    if inputs.contiguous:
        return float(inputs.matching)
    return inputs.slots * (1 - (1 - inputs.matching / inputs.slots) ** BLOCK)


def _streamed_cost(
    inputs: CostInputs, row_cost: float, row_bytes: float, number_bytes: float
) -> float:
    """The cost of scanning one row. row_cost: the cost if the row's bytes are in the processor's
    cache. number_bytes: the bytes that are read for each number of the row's vector; row_bytes: the
    further bytes that are read for the row."""
    far = _rows_in_blocks(inputs) * inputs.dimension * number_bytes > CODE_CACHE_BYTES
    return max(row_cost, (row_bytes + number_bytes * inputs.dimension) * BYTE_READ if far else 0.0)


def _extra_cost(inputs: CostInputs) -> float:
    """The cost of scanning the vectors of matching rows without codes, and of building a bitmap of
    slots."""
    lacking = (
        (inputs.slots - inputs.coded) / inputs.slots * inputs.matching * _floats(inputs.dimension)
    )
    return lacking + (
        inputs.slots * SLOT_BIT if inputs.lacks_bits and not inputs.contiguous else 0.0
    )


def copying_cost(rows: int, dimension: int) -> float:
    """The cost of copying the codes of this number of rows into one block."""
    return rows * (COPIED_ROW + dimension * COPIED_NUMBER)


def lost_without_copy(inputs: CostInputs, plan: SearchPlan) -> float:
    """How much more a search costs than it would if the same codes were contiguous."""
    if inputs.contiguous or not inputs.coded or ROWS_PER_HIT * inputs.k > inputs.matching:
        return 0.0
    return max(0.0, plan.costs[plan.method] - codes_cost(inputs._replace(contiguous=True)))


def _floats(dimension: int) -> float:
    """The cost of one vector of this dimension in a scan of floats."""
    row = FLOAT_ROW + dimension * FLOAT_NUMBER
    return row if kernel() is not None else NUMPY_FACTOR * row
