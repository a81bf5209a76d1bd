"""Columns: for one payload path, which points have which value, kept current as `layers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.engine.filtering.groups import Chosen, grouped
from retrieval_store.engine.filtering.postings import Postings, build
from retrieval_store.engine.state.layers import Layers
from retrieval_store.filters.expression import ValueLeaf


@dataclass(frozen=True, slots=True)
class Segment:
    """The values of some rows: those that are scalars, and the scalars in those that are lists.

    rows: ascending, (n,); present: those of them with a value that is neither null nor [].
    """

    rows: Ints
    present: Chosen
    scalars: Postings
    elements: Postings

    @property
    def nbytes(self) -> int:
        """Bytes of memory in its arrays."""
        held = self.scalars.nbytes + self.elements.nbytes
        return self.rows.nbytes + self.present.groups.nbytes + held


Column: TypeAlias = Layers[Segment]


def column_mask(column: Column, leaf: ValueLeaf, rows: int) -> Bools | None:
    """(rows,) True where the leaf holds; right for rows that aren't stale. None for a leaf that
    can't be looked up."""
    height = max([rows, *(int(s.rows[-1]) + 1 for s in column.segments if len(s.rows))])
    mask = np.zeros(height, np.bool_)
    for i, segment in enumerate(column.segments):
        found = leaf.found_in(segment)
        if found is None:
            return None
        if i:
            mask[_together(segment.rows)] = False
        found.mark(mask)
    return mask[:rows]


def _together(rows: Ints) -> slice | Ints:
    """The rows as one piece where they are."""
    if len(rows) and int(rows[-1] - rows[0]) + 1 == len(rows):
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def build_segment(rows: Ints, values: Sequence[Any]) -> Segment:
    """The values of some rows, one for each."""
    kinds = set(map(type, values))
    lists = [(i, v) for i, v in enumerate(values) if type(v) is list] if list in kinds else []
    places = np.array([i for i, _ in lists], np.int64)
    lengths = np.array([len(value) for _, value in lists], np.int64)
    items = [item for _, value in lists for item in value]
    there = rows
    if not kinds.isdisjoint(_PERHAPS_NOTHING):
        present = np.fromiter((v is not None and v != [] for v in values), np.bool_, len(values))
        there = rows[present]
    present_rows = Chosen(grouped(there, np.zeros(len(there), np.int64), 1), [(0, 1)])
    elements = build(rows[np.repeat(places, lengths)], items)
    return Segment(rows, present_rows, build(rows, values), elements)


_PERHAPS_NOTHING = {type(None), list}
