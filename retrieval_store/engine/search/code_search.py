"""Searches that only large collections need: by quantized codes, and through an index.

A scan of codes proves that most vectors aren't among the nearest. Exact distances are computed only
for the few remaining vectors. If the wanted recall is below 1, signs are scanned first: they
exclude most vectors, which are very unlikely to be among the nearest. Vectors without codes are
searched as floats. An index is queried for more candidates than are wanted (over-fetch), and
candidates that don't fulfil the filter are dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.engine.search.codes import MAX_SHARE, CodeSnapshot, SpaceCodes
from retrieval_store.engine.search.context import Neighbors, SearchContext
from retrieval_store.engine.search.planner import TRUSTED_SHARE
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.exact import Nearest, max_candidates
from retrieval_store.indexes.native import RowFilter
from retrieval_store.indexes.quantized import (
    Bits,
    CodePass,
    Codes,
    CodeSegments,
    SearchGoal,
    candidates,
    gather_codes,
    nearest_by_codes,
)


@dataclass(frozen=True, slots=True)
class PackedCodes:
    """The codes of the vectors that fulfil a filter, copied into one block. slots: the slots of all
    these vectors, ascending. rest: the `slots` without codes. coded: how many slots of the space
    had codes at the time of copying."""

    pieces: CodeSegments | None
    slots: Ints
    rest: Ints
    coded: int

    @property
    def nbytes(self) -> int:
        """The size of the codes and slots in bytes."""
        codes = 0 if self.pieces is None else self.pieces.nbytes
        return codes + self.slots.nbytes + self.rest.nbytes


@dataclass(frozen=True, slots=True)
class _ScanParts:
    """The input of a search by codes. pieces: the codes to scan. allowed: the slots that fulfil the
    filter; see `quantized.candidates`. rest: the slots that fulfil the filter but have no codes;
    their vectors are searched as floats."""

    pieces: CodeSegments | None
    allowed: Bits | RowFilter | None
    rest: Ints


def code_pass(context: SearchContext, coded: CodeSnapshot, errors: float | None) -> CodePass | None:
    """A prepared scan of codes, which searches for one query vector at a time. None if some vectors
    that fulfil the filter have no codes. errors: see `SearchGoal`."""
    parts = _parts(context, coded)
    if parts.pieces is None or len(parts.rest):
        return None
    return CodePass(parts.pieces, _make_goal(context, parts, errors), context.matrix)


def _make_goal(context: SearchContext, parts: _ScanParts, errors: float | None) -> SearchGoal:
    most = max_candidates(context.allowed.about_count, MAX_SHARE, context.k)
    return SearchGoal(context.k, most, parts.allowed, context.within, errors)


def by_codes(
    context: SearchContext,
    codes: SpaceCodes,
    coded: CodeSnapshot,
    query_numbers: list[int],
    errors: float | None,
) -> list[Neighbors | None]:
    """The k nearest vectors to each of the query vectors at `query_numbers`, found by a scan of
    codes. A query's result is None if the scan leaves too many candidates. coded: the codes to
    scan; errors: see `SearchGoal`."""
    parts = _parts(context, coded)
    if parts.pieces is None or len(parts.rest):
        neighbors_by_query = _with_rest(context, parts, query_numbers, errors)
    else:
        neighbors_by_query = [
            None if hits is None else context.in_order(hits)
            for hits in _nearest_by_codes(context, parts.pieces, parts, query_numbers, errors)
        ]
    for neighbors in neighbors_by_query:
        codes.note(neighbors is not None, context.k, context.allowed.about_count)
    return neighbors_by_query


def _nearest_by_codes(
    context: SearchContext,
    pieces: CodeSegments,
    parts: _ScanParts,
    query_numbers: list[int],
    errors: float | None,
) -> list[Nearest | None]:
    """The nearest among the vectors that have codes. errors: see `SearchGoal`."""
    queries_and_lengths = (
        context.vectors_at(query_numbers),
        [context.lengths[i] for i in query_numbers],
    )
    goal = _make_goal(context, parts, errors)
    hits_by_query = nearest_by_codes(*queries_and_lengths, pieces, goal, context.matrix)
    for hits in hits_by_query:
        if hits is not None:
            context.verify_once(hits.slots)  # verifies checksums; may raise DamagedError
    return hits_by_query


def _with_rest(
    context: SearchContext, parts: _ScanParts, query_numbers: list[int], errors: float | None
) -> list[Neighbors | None]:
    """The nearest vectors if some vectors that fulfil the filter have no codes. Vectors without
    codes are searched as floats. errors: see `SearchGoal`."""
    rest = context.nearest_of(query_numbers, parts.rest)
    if parts.pieces is None:
        return [context.rank(i, slots) for i, slots in zip(query_numbers, rest, strict=True)]
    slots_by_query: Sequence[Ints | None]
    if errors is None:
        queries_and_lengths = (
            context.vectors_at(query_numbers),
            [context.lengths[i] for i in query_numbers],
        )
        slots_by_query = candidates(
            *queries_and_lengths, parts.pieces, _make_goal(context, parts, None)
        )
    else:
        hits_by_query = _nearest_by_codes(context, parts.pieces, parts, query_numbers, errors)
        slots_by_query = [
            None if hits is None else hits.slots[: hits.chosen] for hits in hits_by_query
        ]
    return [
        None if slots is None else context.rank(i, np.append(slots, rest[number]))
        for number, (i, slots) in enumerate(zip(query_numbers, slots_by_query, strict=True))
    ]


def estimate_recall(
    context: SearchContext, coded: CodeSnapshot, hits: Nearest, errors: float
) -> float | None:
    """Estimate the recall of a search by signs for a single query vector. Its hits are compared
    with the hits of a wider search. errors: the number of standard errors that the search allowed
    for; the wider search allows for one more."""
    wider = code_pass(context, coded, errors + 1)
    wider_hits = None if wider is None else wider.nearest(context.vectors[0], context.matrix)
    if wider_hits is None or not wider_hits.chosen:
        return None
    context.verify_once(wider_hits.slots)
    return hits.share_of(wider_hits, context.k)


def _parts(context: SearchContext, coded: CodeSnapshot) -> _ScanParts:
    copies, name = context.allowed.copies, context.space.space.name
    copy = copies.get(name)
    if isinstance(copy, PackedCodes) and len(copy.rest) and coded.count > copy.coded:
        copy = copies.pop(name, None)  # some of the slots without codes may have codes now
    if not isinstance(copy, PackedCodes) and context.copies_codes():
        slots = context.allowed.slots(context.space)
        assert slots is not None
        copy = copies[name] = _gather_codes(coded, slots)
        context.allowed.lost.pop(name, None)  # another thread may have removed it
    if isinstance(copy, PackedCodes):
        return _ScanParts(copy.pieces, None, copy.rest)
    return _all_parts(context, coded)


def _all_parts(context: SearchContext, coded: CodeSnapshot) -> _ScanParts:
    """All codes of the space, and a filter for the slots that can be hits."""
    space, allowed = context.space, context.allowed
    rest = coded.lacking(context.slots)
    if not allowed.restricts and not space.dead and coded.stop <= context.slots:
        return _ScanParts(coded.together, None, rest)
    rest = rest[allowed.allows(space.row_of_slot[rest])]
    return _ScanParts(coded.together, allowed.filter_for_codes(space, coded.stop), rest)


def _gather_codes(coded: CodeSnapshot, slots: Ints) -> PackedCodes:
    """Copies of the codes of these slots. Codes of segments with the same frame (transformation of
    vectors) are contiguous."""
    groups: dict[int, list[tuple[Codes, Ints]]] = {}
    chosen: dict[int, list[Ints]] = {}
    rest, end = [], 0
    for first, codes in coded.pieces:
        start, stop = np.searchsorted(slots, (first, first + codes.count)).tolist()
        rest.append(slots[end:start])
        end = stop
        if stop > start:
            groups.setdefault(id(codes.frame), []).append((codes, slots[start:stop] - first))
            chosen.setdefault(id(codes.frame), []).append(slots[start:stop])
    rest.append(slots[end:])
    packed = [gather_codes(group, np.concatenate(chosen[frame])) for frame, group in groups.items()]
    pieces = CodeSegments.of(packed, [0] * len(packed)) if packed else None
    return PackedCodes(pieces, slots, np.concatenate(rest), coded.count)


TIE = 2.0**-23  # relative error of float32 distances in an index, per number of a vector


class UselessError(Exception):
    """Raised if the index has failed, or has returned fewer candidates than requested."""


def over_fetch(
    context: SearchContext,
    index: VectorIndex,
    covered: int,
    ef: int,
    query_numbers: list[int],
    answers: list[Neighbors | None],
) -> None:
    """Search the index, and put the answers to the queries at `query_numbers` into `answers`. A
    query gets an answer only if enough of the index's `ef` candidates fulfil the filter. covered:
    how many slots the index contains. Raises UselessError if the index returns fewer than `ef`
    candidates."""
    space, k = context.space, context.k
    try:
        candidates, distances = index.search(context.vectors[query_numbers], ef)
    except RuntimeError as error:
        raise UselessError from error
    fresh = _fresh_slots(context, covered, query_numbers) if covered < context.slots else None
    if len(index) > context.slots:  # the index contains vectors newer than this reader's state
        known_slots = np.minimum(candidates, context.slots - 1)
        rows = np.where(known_slots == candidates, space.row_of_slot[known_slots], -1)
    else:
        rows = space.row_of_slot[candidates]
    passing = context.allowed.allows(rows)
    for number, i in enumerate(query_numbers):
        places = np.flatnonzero(passing[number])
        if len(places) < k or places[k - 1] > TRUSTED_SHARE * ef:
            continue
        count = _count_near(context, candidates[number, places], distances[number, places], i)
        if count == len(places):  # more candidates may tie with the last, by float32's error
            continue
        slots = candidates[number, places[:count]]
        answers[i] = context.rank(i, slots if fresh is None else np.append(slots, fresh[number]))


def _count_near(context: SearchContext, slots: Ints, distances: Matrix, i: int) -> int:
    """How many of the candidates, nearest first, may be among the k nearest, in view of the errors
    of float32 distances. All candidates are counted if the distances aren't ascending (NaN)."""
    if not (distances[1:] >= distances[:-1]).all():
        return len(distances)
    last, units = float(distances[context.k - 1]), (context.dimension + 8) * TIE
    scale = abs(last) if context.metric == "l2" else 1.0
    if context.metric == "ip":  # in addition to the digits that 1 - product loses
        scale += context.lengths[i] * float(context.norms(slots).lengths[slots].max())
    return int(distances.searchsorted(last + units * scale, "right"))


def _fresh_slots(context: SearchContext, covered: int, query_numbers: list[int]) -> list[Ints]:
    """For each query vector, the nearest slots that fulfil the filter and that the index doesn't
    cover yet."""
    passing = context.allowed.allows(context.space.row_of_slot.whole(covered))
    return context.nearest_of(query_numbers, np.flatnonzero(passing) + covered)
