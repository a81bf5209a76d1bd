"""Conditions on documents: asked of each document once, and then known until it changes.

What a condition says of each row is kept from the second time on that it is asked, as columns are:
after a write only the rows that it changed are asked again, and a reader that needs the first few
points alone leaves the others for the next.
"""

from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.base.dataclasses import dataclass
from retrieval_store.base.validation import shortened
from retrieval_store.engine.database.transactions import select
from retrieval_store.engine.filtering.allowed import Key, key_of
from retrieval_store.engine.filtering.kept import FilterView
from retrieval_store.engine.state.layers import KEYS_NOTED, NOTHING_STALE, Layers
from retrieval_store.engine.storage.derived import find
from retrieval_store.engine.storage.records import read_records
from retrieval_store.engine.words.cache import TRIGRAMS, file_key
from retrieval_store.filters.leaves import DocumentContains, DocumentLeaf
from retrieval_store.filters.nodes import asking

TRIGRAMS_WORTH = 20_000  # documents; fewer are looked at in two milliseconds
UNKNOWN = -1
Said: TypeAlias = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a condition says of documents. of_row: (rows,) 1 where it holds, 0 where it doesn't,
    UNKNOWN where it wasn't asked. It is filled in by those who ask: all readers for whom a row
    isn't stale find the same."""

    of_row: Said
    is_empty: ClassVar[bool] = False  # that a condition holds nowhere is worth knowing

    @property
    def rows(self) -> Ints:
        """The rows that were asked."""
        return np.flatnonzero(self.of_row != UNKNOWN)

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its array."""
        return self.of_row.nbytes


def holding(view: FilterView, leaf: DocumentLeaf, rows: Ints) -> Bools:
    """For each of these rows, ascending and of living points, whether its document fulfils the
    condition."""
    key = key_of(leaf)
    if key is None or not _was_asked(view, key):
        return _ask(view, leaf, rows)
    known = _known(view, key)
    said = known[rows]
    if (said == UNKNOWN).any():
        unknown = rows[said == UNKNOWN]
        known[unknown] = _ask(view, leaf, unknown)
        said = known[rows]
    holds: Bools = said == 1
    return holds


def _was_asked(view: FilterView, key: Key) -> bool:
    """Whether it was asked lately, so that it is worth keeping what is found out."""
    asked = view.kept.asked
    before = key in asked
    if len(asked) > KEYS_NOTED:
        asked.clear()
    asked.add(key)
    return before


def _known(view: FilterView, key: Key) -> Said:
    """(rows,) What is known of each row of the state."""
    cache, seq, height = view.kept.answers, view.state.head.seq, len(view.state.pks)
    layers: Layers[Answers] = cache.at(key, seq, height)
    held = layers.segments[0].of_row if layers.segments else np.empty(0, np.int8)
    if len(layers.stale) or len(held) < height:
        known = np.full(height, UNKNOWN, np.int8)
        known[: len(held)] = held[:height]
        known[layers.stale] = UNKNOWN
        cache.keep(key, seq, Layers((Answers(known),), NOTHING_STALE))
        held = known
    return held


def _ask(view: FilterView, leaf: DocumentLeaf, rows: Ints) -> Bools:
    if isinstance(leaf, DocumentContains):
        pks = _pks_containing(view, leaf.text, rows)
    else:
        holds = asking(leaf, leaf.test())
        of_rows = view.state.pks[rows]
        pieces = read_records(view.connection, "pk, document", of_rows, "AND document IS NOT NULL")
        pks = [pk for piece in pieces for pk, document in piece if holds(document)]
    found = np.zeros(len(rows), np.bool_)
    found[np.searchsorted(view.state.pks[rows], np.array(pks, np.int64))] = True
    return found


def _pks_containing(view: FilterView, text: str, rows: Ints) -> list[int]:
    by_trigrams = _with_trigrams_of(view, text, len(rows))
    if by_trigrams is not None:
        rows = rows[by_trigrams[rows]]
        if view.remarks is not None:
            view.remarks.append(f"{shortened(text)}: {len(rows)} candidates by trigrams")
    if len(rows) == view.state.count:
        query = "SELECT pk FROM points WHERE instr(document, ?)"
        pieces = iter([select(view.connection, query, text)])
    else:
        pks = view.state.pks[rows]
        pieces = read_records(view.connection, "pk", pks, "AND instr(document, ?)", text)
    return [pk for piece in pieces for (pk,) in piece]


def is_listed(view: FilterView, leaf: DocumentLeaf) -> bool:
    """Whether lists of trigrams find the few documents that may fulfil the condition."""
    if view.state.count < TRIGRAMS_WORTH or not isinstance(leaf, DocumentContains):
        return False
    return _has_trigrams(leaf.text) and _are_there(view)


def _has_trigrams(text: str) -> bool:
    """Whether a text is long enough for lists of trigrams to say anything."""
    from retrieval_store.engine.words.lists import trigrams_of

    return bool(trigrams_of(text))


def _are_there(view: FilterView) -> bool:
    return view.kept.lists.has(TRIGRAMS, view.state.head.seq, len(view.state.pks))


def _with_trigrams_of(view: FilterView, text: str, count: int) -> Bools | None:
    """Rows whose documents may contain the text; None when looking at so many of them is as well,
    or there are no lists of trigrams yet: they are built when they are wanted often enough."""
    if view.state.count < TRIGRAMS_WORTH or count < TRIGRAMS_WORTH // 10:
        return None
    from retrieval_store.engine.words.lists import trigrams_of
    from retrieval_store.engine.words.ranked import rows_with_all

    kept, trigrams = view.kept, trigrams_of(text)
    if not trigrams:
        return None
    if not _are_there(view):
        times = kept.lists.demand.ask(TRIGRAMS)
        if times > 1 or find(view.connection, file_key(TRIGRAMS)) is None:
            return None
    return rows_with_all(view, trigrams)
