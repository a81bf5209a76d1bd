"""What only large collections need: the searches by codes, of clusters, and through an index.

A pass over codes proves that most vectors aren't among the nearest; exact distances are computed
for the few that are left. Vectors without codes are searched as floats. Clusters are looked at in
the order of nearness; vectors that came after them are searched exactly. An index is queried for
more candidates than are wanted (over-fetch), and those that the filter doesn't allow are dropped.
"""

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.engine.filtering.cache import FilterResult
from retrieval_store.engine.search.clusters import MAX_SHARE as MAX_PLACES_SHARE
from retrieval_store.engine.search.clusters import ClusterSnapshot
from retrieval_store.engine.search.codes import CodeSnapshot, SpaceCodes
from retrieval_store.engine.search.context import Neighbors, SearchContext
from retrieval_store.engine.search.planner import TRUSTED_SHARE, CostInputs, codes_pay_off
from retrieval_store.engine.state.state import SpaceState
from retrieval_store.indexes import VectorIndex
from retrieval_store.indexes.clusters import ClusterPass
from retrieval_store.indexes.exact import max_candidates
from retrieval_store.indexes.native import BLOCK, RowFilter
from retrieval_store.indexes.quantized import (
    Bits,
    CodePass,
    Codes,
    Pieces,
    candidates,
    gather_codes,
    nearest_by_codes,
)

MAX_SHARE = 20  # a pass over codes must leave at most one candidate in so many rows


@dataclass(frozen=True, slots=True)
class PackedCodes:
    """Codes of the vectors that a filter allows, copied together. slots: all that are allowed,
    ascending; rest: those without codes; coded: how many slots of the space had codes when this was
    made."""

    pieces: Pieces | None
    slots: Ints
    rest: Ints
    coded: int

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        codes = 0 if self.pieces is None else self.pieces.nbytes
        return codes + self.slots.nbytes + self.rest.nbytes


@dataclass(frozen=True, slots=True)
class _ScanParts:
    """What a search by codes scans. allowed: see `quantized.candidates`; rest: allowed slots
    without codes, which are searched as floats."""

    pieces: Pieces | None
    allowed: Bits | RowFilter | None
    rest: Ints


def code_pass(context: SearchContext, coded: CodeSnapshot) -> CodePass | None:
    """A pass over codes for one query at a time; None where some allowed vectors have no codes."""
    parts = _parts(context, coded)
    if parts.pieces is None or len(parts.rest):
        return None
    most = max_candidates(context.allowed.about, MAX_SHARE, context.k)
    what = context.k, most, context.matrix, parts.allowed, context.within
    return CodePass(parts.pieces, *what)


def every_code(context: SearchContext, coded: CodeSnapshot) -> CodePass:
    """The same over all codes, without a filter."""
    assert coded.together is not None
    most = max_candidates(context.slots, MAX_SHARE, context.k)
    return CodePass(coded.together, context.k, most, context.matrix)


def pass_among(
    allowed: FilterResult, space: SpaceState, coded: CodeSnapshot, at: CostInputs
) -> CodePass:
    """The same over codes of all vectors of a space. at: the planner's inputs."""
    matrix, pieces = space.vectors.rows(at.slots), coded.together
    assert pieces is not None
    most = max_candidates(allowed.about, MAX_SHARE, at.k)
    return CodePass(pieces, at.k, most, matrix, allowed.filter_for_codes(space, coded.stop))


def by_codes(
    context: SearchContext, codes: SpaceCodes, coded: CodeSnapshot, which: list[int]
) -> list[Neighbors | None]:
    """The k nearest to each of the query vectors at `which`, by a pass over codes; None for queries
    with too many candidates."""
    parts = _parts(context, coded)
    most = max_candidates(context.allowed.about, MAX_SHARE, context.k)
    if parts.pieces is None or len(parts.rest):
        found = _with_rest(context, parts, most, which)
    else:
        found = _nearest_by_codes(context, parts.pieces, parts.allowed, most, which)
    for one in found:
        codes.note(one is not None, context.k, context.allowed.about)
    return found


def _nearest_by_codes(
    context: SearchContext,
    pieces: Pieces,
    allowed: Bits | RowFilter | None,
    most: int,
    which: list[int],
) -> list[Neighbors | None]:
    """The nearest, where all allowed vectors have codes."""
    vectors, lengths = context.some(which), [context.lengths[i] for i in which]
    found = nearest_by_codes(
        vectors, lengths, pieces, context.k, most, context.matrix, allowed, context.within
    )
    for one in found:
        if one is not None:
            context.admit(one.slots)  # verifies checksums; may raise DamagedError
    return [None if one is None else context.in_order(one) for one in found]


def _with_rest(
    context: SearchContext, parts: _ScanParts, most: int, which: list[int]
) -> list[Neighbors | None]:
    """The nearest, where some allowed vectors have no codes."""
    vectors, lengths = context.some(which), [context.lengths[i] for i in which]
    found: list[Ints | None] = [np.empty(0, np.int64)] * len(which)
    if parts.pieces is not None:
        k, within = context.k, context.within
        found = candidates(vectors, lengths, parts.pieces, k, most, parts.allowed, within)
    rest = context.nearest_of(which, parts.rest)
    return [
        None if slots is None else context.ranked(i, np.append(slots, rest[at]))
        for at, (i, slots) in enumerate(zip(which, found, strict=True))
    ]


def _parts(context: SearchContext, coded: CodeSnapshot) -> _ScanParts:
    copies, name = context.allowed.copies, context.space.space.name
    copy = copies.get(name)
    if isinstance(copy, PackedCodes) and len(copy.rest) and coded.count > copy.coded:
        copy = copies.pop(name, None)  # some of the rest may have codes now
    if not isinstance(copy, PackedCodes) and context.copies_codes():
        slots = context.allowed.slots(context.space)
        assert slots is not None
        copy = copies[name] = _gather_codes(context, coded, slots)
        context.allowed.lost.pop(name, None)  # another thread may have done so
    if isinstance(copy, PackedCodes):
        return _ScanParts(copy.pieces, None, copy.rest)
    return _all(context, coded)


def _all(context: SearchContext, coded: CodeSnapshot) -> _ScanParts:
    """All codes of the space, with bits for the slots that are allowed."""
    space, allowed = context.space, context.allowed
    rest = coded.lacking(context.slots)
    if not allowed.restricts and not space.dead and coded.stop <= context.slots:
        return _ScanParts(coded.together, None, rest)
    rest = rest[allowed.allows(space.row_of_slot[rest])]
    return _ScanParts(coded.together, allowed.filter_for_codes(space, coded.stop), rest)


def _gather_codes(context: SearchContext, coded: CodeSnapshot, slots: Ints) -> PackedCodes:
    """The codes of these slots copied together, contiguous for each frame."""
    groups: dict[int, list[tuple[Codes, Ints]]] = {}
    chosen: dict[int, list[Ints]] = {}
    rest, at = [], 0
    for first, codes in coded.pieces:
        start, stop = np.searchsorted(slots, (first, first + codes.count)).tolist()
        rest.append(slots[at:start])
        at = stop
        if stop > start:
            groups.setdefault(id(codes.frame), []).append((codes, slots[start:stop] - first))
            chosen.setdefault(id(codes.frame), []).append(slots[start:stop])
    rest.append(slots[at:])
    found = [gather_codes(group, np.concatenate(chosen[frame])) for frame, group in groups.items()]
    pieces = Pieces.of(found, [0] * len(found)) if found else None
    return PackedCodes(pieces, slots, np.concatenate(rest), coded.count)


FRESH_VECTORS = 1_024  # behind the clusters: more are searched by codes


def cluster_inputs(
    context: SearchContext, shown: ClusterSnapshot, target: float, together: bool
) -> CostInputs:
    """The planner's inputs for a search of clusters at this recall. together: see
    `CostInputs.contiguous`."""
    clusters, slots = shown.clusters, context.slots
    matching = min(context.allowed.about, slots - context.space.dead)
    places = None
    if matching > context.k:
        depth = context.k * slots / matching
        places = shown.recall.places_for(depth, target, clusters.stop)
    places = places or 0
    return CostInputs(
        slots,
        matching,
        context.dimension,
        context.k,
        together,
        slots if codes_pay_off(slots, context.dimension, context.metric) else 0,
        0,
        0,
        places if places * MAX_PLACES_SHARE <= clusters.places else 0,
        len(clusters.model.centres),
        shown.recall.estimates_for(context.k),
        behind=max(0, slots - clusters.stop),
    )


def cluster_pass(context: SearchContext, shown: ClusterSnapshot, places: int) -> ClusterPass:
    """A search of clusters for one query at a time, which looks at so many places."""
    space, clusters = context.space, shown.clusters
    share = min(1.0, context.allowed.about / max(1, context.slots - space.dead))
    whole = not context.allowed.restricts and not space.dead
    allowed = None if whole else context.allowed.slot_filter(space, clusters.stop)
    effort = shown.recall.effort(round(places * share), context.k / share)
    most, stop = shown.recall.estimates_for(context.k), min(clusters.stop, context.slots)
    return ClusterPass(clusters, context.k, effort, most, allowed, stop)


def by_clusters(
    context: SearchContext,
    shown: ClusterSnapshot,
    codes: SpaceCodes | None,
    one_pass: ClusterPass,
    which: list[int],
) -> list[Neighbors]:
    """The k nearest to each of the query vectors at `which` among those that a pass finds. codes:
    of the space, by which later vectors are searched."""
    stop, answers = min(shown.clusters.stop, context.slots), []
    rest = _behind_clusters(context, codes, stop, which) if stop < context.slots else None
    for at, i in enumerate(which):
        found = one_pass.of_length(context.vectors[i], context.lengths[i], context.matrix)
        if rest is not None:
            answers.append(context.ranked(i, np.append(found.slots[: found.chosen], rest[at])))
            continue
        context.admit(found.slots)  # verifies checksums; may raise DamagedError
        answers.append(context.in_order(found))
    return answers


def _behind_clusters(
    context: SearchContext, codes: SpaceCodes | None, stop: int, which: list[int]
) -> list[Ints]:
    """For each query the slots from `stop` on that may be among the nearest."""
    if context.slots - stop > FRESH_VECTORS and codes is not None and not codes.closed:
        codes.load_saved(context.view.connection, context.slots)
        coded = codes.shown()
        if coded.together is not None and coded.stop > stop:
            bits = np.zeros(-(-coded.stop // BLOCK), "<u4")
            allowed, first = context.allowed.slot_bits(context.space, coded.stop), stop // BLOCK
            bits[first:] = allowed[first : len(bits)]
            bits[first] &= np.uint32(0xFFFFFFFF << stop % BLOCK & 0xFFFFFFFF)
            vectors, lengths = context.some(which), [context.lengths[i] for i in which]
            most = max_candidates(context.slots - stop, MAX_SHARE, context.k)
            found = candidates(vectors, lengths, coded.together, context.k, most, bits)
            later = coded.lacking(context.slots)
            later = later[later >= stop]
            later = later[context.allowed.allows(context.space.row_of_slot[later])]
            if all(slots is not None for slots in found) and len(later) <= FRESH_VECTORS:
                return [np.append(slots, later) for slots in found if slots is not None]
    return _fresh(context, stop, which)


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
    passing = context.allowed.allows(rows)
    for at, i in enumerate(which):
        places = np.flatnonzero(passing[at])
        if len(places) < k or places[k - 1] > TRUSTED_SHARE * ef:
            continue
        count = _count_near(context, candidates[at, places], distances[at, places], i)
        if count == len(places):  # more candidates may tie with the last, by float32's error
            continue
        slots = candidates[at, places[:count]]
        answers[i] = context.ranked(i, slots if fresh is None else np.append(slots, fresh[at]))


def _count_near(context: SearchContext, slots: Ints, distances: Matrix, i: int) -> int:
    """How many of the candidates, nearest first, may be among the k nearest, given the errors of
    float32 distances; all of them when the distances aren't ascending (NaN)."""
    if not (distances[1:] >= distances[:-1]).all():
        return len(distances)
    last, units = float(distances[context.k - 1]), (context.dimension + 8) * TIE
    scale = abs(last) if context.metric == "l2" else 1.0
    if context.metric == "ip":  # besides what is lost of a product that is taken from 1
        scale += context.lengths[i] * float(context.norms(slots).lengths[slots].max())
    return int(distances.searchsorted(last + units * scale, "right"))


def _fresh(context: SearchContext, covered: int, which: list[int]) -> list[Ints]:
    """For each query the nearest allowed slots that the index or the clusters don't cover yet."""
    passing = context.allowed.allows(context.space.row_of_slot.whole(covered))
    return context.nearest_of(which, np.flatnonzero(passing) + covered)
