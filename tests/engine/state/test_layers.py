"""Sets of rows, ascending."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.engine.state.layers import Layers, outside, united

rows = st.sets(st.integers(0, 300)).map(lambda found: np.array(sorted(found), np.int64))


@given(rows, rows)
def test_rows_of_both_and_rows_of_one_alone(one, other):
    assert united(one, other).tolist() == sorted({*one.tolist(), *other.tolist()})
    assert one[outside(one, other)].tolist() == sorted({*one.tolist()} - {*other.tolist()})
    narrow = one.astype(np.int32)
    assert narrow[outside(narrow, other)].tolist() == one[outside(one, other)].tolist()


class Segment:
    def __init__(self, rows):
        self.rows = rows


@given(st.lists(rows, max_size=5))
def test_above_a_segment_are_the_rows_of_those_that_come_later(stack):
    above = Layers(tuple(map(Segment, stack)), np.empty(0, np.int64)).above()
    assert len(above) == len(stack)
    for i, found in enumerate(above):
        later = {row for rows in stack[i + 1 :] for row in rows.tolist()}
        assert (found is None) == (i == len(stack) - 1)
        assert found is None or found.tolist() == sorted(later)
