"""Conditions on rows give the same results compiled and by numpy, for some rows and for all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_store.base.arrays import bits_of
from retrieval_store.indexes.native import (
    Listed,
    Numbered,
    RowTest,
    Terms,
    address,
    kernel,
)
from tests.helpers import inside

HEIGHT = 150
NOWHERE = np.empty(0, np.int64)
some_rows = st.lists(st.integers(0, HEIGHT - 1), unique=True).map(
    lambda rows: np.array(sorted(rows), np.int64)
)


@st.composite
def conditions_on_numbers(draw):
    """Conditions on the rows from a base on, by numbers of one to four bytes."""
    dtype = draw(st.sampled_from(["u1", "u2", "u4"]))
    most = int(np.iinfo(dtype).max)
    base = draw(st.sampled_from([0, 0, 7, 40]))
    size = draw(st.integers(0, HEIGHT - base))
    numbers = draw(
        st.lists(
            st.sampled_from([0, 1, 2, 9, 10, 17, most - 1, most]), min_size=size, max_size=size
        )
    )
    ends = sorted(draw(st.tuples(*[st.sampled_from([0, 1, 3, 9, 11, 18, most, most + 1])] * 2)))
    among = None
    if ends[1] <= 18 and draw(st.booleans()):
        among = np.frombuffer(draw(st.binary(min_size=3, max_size=3)), np.uint8)
    over = draw(st.one_of(st.just(NOWHERE), some_rows))
    held = over[draw(st.integers(0, 3)) :: 2].copy()
    array = np.array(numbers, dtype)
    packed = address(array), array.itemsize, base, len(array)
    return Numbered(array, packed, tuple(ends), among, over, held)


conditions = st.recursive(
    conditions_on_numbers() | some_rows.map(Listed),
    lambda inner: st.builds(
        Terms,
        st.sampled_from(["all", "any", "none"]),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
    ),
    max_leaves=6,
)


def holds(condition, row):
    """Whether a row fulfils a condition, in plain Python."""
    match condition:
        case Terms("all", terms):
            return all(holds(term, row) for term in terms)
        case Terms("any", terms):
            return any(holds(term, row) for term in terms)
        case Terms(_, terms):
            return not any(holds(term, row) for term in terms)
        case Listed(held):
            return row in held.tolist()
    if row in condition.over.tolist():
        return row in condition.held.tolist()
    place = row - condition.packed[2]
    if not 0 <= place < len(condition.numbers):
        return False
    number = int(condition.numbers[place])
    bits = None if condition.among is None else int.from_bytes(condition.among.tobytes(), "little")
    at = number - condition.run[0] // 8 * 8
    return condition.run[0] <= number < condition.run[1] and (bits is None or bool(bits >> at & 1))


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch):
    """Compiled, or by numpy."""
    if request.param == "numpy":
        inside.ask_rows_by_numpy(monkeypatch)
    elif kernel() is None:
        pytest.skip("nothing is compiled")


@settings(max_examples=10, deadline=None)
@given(conditions, st.integers(0, HEIGHT), some_rows)
def test_a_row_test_equals_its_condition(condition, height, rows):
    expected = np.array([holds(condition, row) for row in range(HEIGHT)], np.bool_)
    test = RowTest.of(condition)
    assert (condition.has(np.arange(HEIGHT)) == expected).all()
    assert (test.has(rows) == expected[rows]).all()
    assert test.count(rows) == expected[rows].sum()
    assert (test.has(range(height)) == expected[:height]).all()
    assert test.count(range(height // 2, height)) == expected[height // 2 : height].sum()
    assert (test.bits(height) == bits_of(expected[:height])).all()


def test_without_the_compiled_part_numpy_evaluates(way):
    numbers = np.arange(100, dtype=np.uint8)
    condition = Numbered(numbers, (address(numbers), 1, 0, 100), (20, 50), None, NOWHERE, NOWHERE)
    test = RowTest.of(Terms("none", (condition,)))
    assert test.count(np.arange(100)) == 70 and test.count(range(64)) == 34
    assert test.has(np.array([19, 20, 49, 50])).tolist() == [True, False, False, True]


@pytest.mark.parametrize(("kind", "expected"), [("all", True), ("any", False), ("none", True)])
def test_empty_and_is_true_and_empty_or_is_false(way, kind, expected):
    test = RowTest.of(Terms("any", (Terms(kind, ()),)))
    assert test.has(np.array([0, 7])).tolist() == [expected] * 2
    assert test.has(range(0)).tolist() == []
    assert test.count(range(5)) == 5 * expected
    assert (test.bits(3) == bits_of(np.full(3, expected))).all()
