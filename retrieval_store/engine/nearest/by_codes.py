"""The nearest by codes: a pass over them proves most vectors not to be near, and the few that are
left are measured. Vectors without codes are searched as they are."""

from dataclasses import dataclass

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.engine.codes.coded import Coded, penalties
from retrieval_store.engine.codes.segments import SpaceCodes
from retrieval_store.engine.nearest.asked import Asked, Found
from retrieval_store.indexes.codes import Codes, gathered
from retrieval_store.indexes.exact import is_safe_length
from retrieval_store.indexes.proof import Stretch, candidates, stretches_of

BESIDES = 32  # bytes that are kept with a code
# More candidates than these, as a share of what is looked at, are no gain. There are four for each
# hit even where vectors are easy to tell apart.
MOST_SHARE, LEAST_MOST, FOR_EACH = 16, 64, 4


@dataclass(frozen=True, slots=True)
class CodesTogether:
    """Codes of the vectors that a filter allows, copied together. rest: slots without codes."""

    stretches: tuple[Stretch, ...]
    rest: Ints

    @property
    def nbytes(self) -> int:
        """Bytes of memory in use."""
        return self.rest.nbytes + sum(stretch.nbytes for stretch in self.stretches)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is looked at. penalty: see `proof.candidates`; rest: allowed slots without codes."""

    stretches: tuple[Stretch, ...]
    penalty: Matrix | None
    rest: Ints


def can_use_codes(asked: Asked) -> bool:
    """Whether codes can bound the products with all of the query vectors."""
    return all(length > 0 and is_safe_length(length) for length in asked.lengths)


def may_keep_codes(asked: Asked) -> bool:
    """Whether the codes that the filter allows are worth keeping together."""
    return asked.may_keep(asked.dimension + BESIDES)


def by_codes(
    asked: Asked, codes: SpaceCodes, coded: Coded, gathers: bool, which: list[int]
) -> list[Found | None]:
    """The nearest to some of the query vectors; None for those whose candidates are too many.
    gathers: whether the codes of what is allowed are copied together first."""
    parts = _parts(asked, coded, gathers)
    lengths = np.array([asked.lengths[i] for i in which])
    k, vectors = asked.query.k, asked.query.vectors[which]
    most = max(asked.allowed.count // MOST_SHARE, FOR_EACH * k + LEAST_MOST)
    found = candidates(vectors, lengths, parts.stretches, asked.metric, k, most, parts.penalty)
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


def _parts(asked: Asked, coded: Coded, gathers: bool) -> _Parts:
    together = _kept(asked)
    if together is None:
        keeps = may_keep_codes(asked)
        alone = gathers or keeps
        slots = asked.allowed.slots(asked.space) if alone else None
        if slots is None:
            return _all(asked, coded)
        together = _gathered(asked, coded, slots)
        if keeps:
            kept = asked.view.kept.allowed
            kept.keep_together(asked.allowed, asked.query.space, together, asked.view.state)
    return _Parts(together.stretches, None, together.rest)


def _kept(asked: Asked) -> CodesTogether | None:
    kept = asked.allowed.together(asked.query.space)
    return kept if isinstance(kept, CodesTogether) else None


def _all(asked: Asked, coded: Coded) -> _Parts:
    """All codes, with a penalty for what isn't allowed."""
    space, mask = asked.space, asked.allowed.mask
    rest = coded.lacking(asked.slots)
    if mask is None and not space.dead and coded.stop <= asked.slots:
        return _Parts(coded.stretches, None, rest)
    rows = space.row_of_slot[rest]
    rest = rest[(rows >= 0) if mask is None else (rows >= 0) & mask[rows]]
    return _Parts(coded.stretches, penalties(coded, space, mask), rest)


def _gathered(asked: Asked, coded: Coded, slots: Ints) -> CodesTogether:
    """The codes of some slots copied together, those with one centre behind one another."""
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
            groups.setdefault(id(codes.centre), []).append((codes, slots[start:stop] - first))
            chosen.setdefault(id(codes.centre), []).append(slots[start:stop])
    rest.append(slots[at:])
    stretches: list[Stretch] = []
    for centre, pieces in groups.items():
        together = gathered(pieces, asked.metric)
        stretches += stretches_of(together, np.concatenate(chosen[centre]))
    return CodesTogether(tuple(stretches), np.concatenate(rest))
