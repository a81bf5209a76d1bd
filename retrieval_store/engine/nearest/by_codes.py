"""The nearest by codes: a pass over them proves most vectors not to be near, and the few that are
left are measured. Vectors without codes are searched as they are."""

from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Ints
from retrieval_store.engine.codes.coded import Coded
from retrieval_store.engine.codes.segments import SpaceCodes
from retrieval_store.engine.nearest.asked import Asked, Found
from retrieval_store.indexes.codes import Codes, gathered
from retrieval_store.indexes.exact import is_safe_length
from retrieval_store.indexes.scan import Bits, Pieces, candidates
from retrieval_store.indexes.sought import most_left

BESIDES = 32  # bytes that are kept with a code
MOST_SHARE = 20  # more candidates than one in so many of what is looked at are no gain


@dataclass(frozen=True, slots=True)
class CodesTogether:
    """Codes of the vectors that a filter allows, copied together. rest: slots without codes; coded:
    how many slots had codes then."""

    pieces: Pieces | None
    rest: Ints
    coded: int

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return self.rest.nbytes + (0 if self.pieces is None else self.pieces.nbytes)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is looked at. allowed: see `scan.candidates`; rest: allowed slots without codes."""

    pieces: Pieces | None
    allowed: Bits | None
    rest: Ints


def can_use_codes(asked: Asked, i: int) -> bool:
    """Whether codes can bound the products with one of the query vectors."""
    length = asked.lengths[i]
    return is_safe_length(length) and (length > 0 or asked.metric == "l2")


def may_keep_codes(asked: Asked) -> bool:
    """Whether the codes that the filter allows are worth keeping together."""
    return asked.may_keep(asked.dimension + BESIDES)


def by_codes(asked: Asked, codes: SpaceCodes, coded: Coded, which: list[int]) -> list[Found | None]:
    """The nearest to some of the query vectors; None for those whose candidates are too many."""
    parts = _parts(asked, coded)
    k = asked.query.k
    most = most_left(asked.allowed.count, MOST_SHARE, k)
    found: list[Ints | None] = [np.empty(0, np.int64)] * len(which)
    if parts.pieces is not None:
        vectors, lengths = asked.query.vectors[which], [asked.lengths[i] for i in which]
        found = candidates(
            vectors, lengths, parts.pieces, k, most, parts.allowed, asked.query.within
        )
    rest = asked.nearest_of(which, parts.rest) if len(parts.rest) else None
    answers: list[Found | None] = []
    for at, slots in enumerate(found):
        codes.note(slots is not None)
        if slots is None:
            answers.append(None)
        else:
            every = slots if rest is None else np.append(slots, rest[at])
            answers.append(asked.ranked(which[at], every))
    return answers


def _parts(asked: Asked, coded: Coded) -> _Parts:
    together = _kept(asked, coded)
    if together is None and may_keep_codes(asked):
        slots = asked.allowed.slots(asked.space)
        if slots is not None:
            together = _gathered(asked, coded, slots)
            kept = asked.view.kept.allowed
            kept.keep_packed(asked.allowed, asked.query.space, together, asked.view.state)
    if together is None:
        return _all(asked, coded)
    return _Parts(together.pieces, None, together.rest)


def _kept(asked: Asked, coded: Coded) -> CodesTogether | None:
    """What is kept together, unless some of it had no codes and may have them now."""
    kept = asked.allowed.packed(asked.query.space)
    if not isinstance(kept, CodesTogether):
        return None
    return None if len(kept.rest) and coded.count > kept.coded else kept


def _all(asked: Asked, coded: Coded) -> _Parts:
    """All codes, with bits for what is allowed."""
    space, mask = asked.space, asked.allowed.mask
    rest = coded.lacking(asked.slots)
    if mask is None and not space.dead and coded.stop <= asked.slots:
        return _Parts(coded.together, None, rest)
    rows = space.row_of_slot[rest]
    rest = rest[(rows >= 0) if mask is None else (rows >= 0) & mask[rows]]
    return _Parts(coded.together, asked.allowed.bits(space, coded.stop), rest)


def _gathered(asked: Asked, coded: Coded, slots: Ints) -> CodesTogether:
    """The codes of some slots copied together, those in one frame behind one another."""
    if (slots[1:] < slots[:-1]).any():
        slots = np.sort(slots)
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
    found = [gathered(group, np.concatenate(chosen[frame])) for frame, group in groups.items()]
    pieces = Pieces.of(found, [0] * len(found)) if found else None
    return CodesTogether(pieces, np.concatenate(rest), coded.count)
