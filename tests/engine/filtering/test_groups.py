"""Rows by the number of their value: comparing all at once and setting them one by one give the
same result.
"""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.engine.filtering.columns import column_mask
from retrieval_store.engine.filtering.segments import (
    build_segment,
    group_rows,
    intersection,
    rows_found_in_segments,
    runs_of,
)
from retrieval_store.engine.state.caches import Layers
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.expression import (
    Exists,
    HasLength,
    ListHas,
    OneOf,
    Range,
    TextIn,
    TextRange,
)
from retrieval_store.filters.leaves import column_of
from retrieval_store.filters.values import Differs
from tests.helpers import inside
from tests.helpers.filter_strategies import numbers, scalars, texts, thorough, values
from tests.helpers.tuned import tuned

ROWS = 24
ALWAYS, NEVER = 10**9, 0  # compare

bounds = st.one_of(st.none(), numbers, st.sampled_from([10**400, -(10**400), 2.5]))
several = st.lists(scalars, max_size=4).map(tuple)
leaves = st.one_of(
    st.builds(OneOf, st.just(("x",)), several),
    st.builds(ListHas, st.just(("x",)), several),
    st.builds(Range, st.just(("x",)), bounds, bounds, bounds, bounds),
    st.builds(TextIn, st.just(("x",)), texts, st.booleans()),
    st.builds(TextRange, st.just(("x",)), gte=texts, lt=texts),
    st.builds(HasLength, st.just(("x",)), st.integers(0, 3)),
    st.just(Exists(("x",))),
)
layers = st.lists(
    st.dictionaries(st.integers(0, ROWS - 1), values, max_size=ROWS), min_size=1, max_size=3
)


@thorough
@given(layers, st.lists(leaves, min_size=1, max_size=4), st.integers(1, ROWS))
def test_a_column_of_several_layers_gives_the_value_of_each_row(built, asked, height):
    values_now = {row: value for layer in built for row, value in layer.items()}
    for leaf in asked:
        at = column_of(leaf)
        segments = tuple(
            build_segment(at, np.array(sorted(layer), np.int64), [layer[r] for r in sorted(layer)])
            for layer in built
        )
        expected = [
            row < height and any(map(leaf.holds, at.within([values_now.get(row)])))
            for row in range(height)
        ]
        for compared in (ALWAYS, NEVER):
            with pytest.MonkeyPatch.context() as patch:
                tuned(patch, compared_at_once=compared)
                column = Layers(segments, np.empty(0, np.int64))
                assert column_mask(column, leaf, height).tolist() == expected


def some_leaf(random):
    some = tuple(random.sample(range(5), random.randint(1, 2)))
    low, high = random.choice([None, 0, 1, 2]), random.choice([None, 2, 3, 4])
    return random.choice(
        [
            Range(("x",), gte=low, lt=high),
            OneOf(("x",), some),
            ListHas(("x",), some),
            Differs(ValuesAt(("x",), "anything"), some),
        ]
    )


def check_without_a_look(random):
    values_of = [0, 1, 2, 3, 4, *random.choice([(), (None,), ({"y": 0},), ([0, 1, 2, 3],), ("a",)])]
    built = [{row: random.choice(values_of) for row in range(random.randint(3, 9))}]
    for _ in range(random.randint(0, 2)):
        rows = sorted(random.sample(range(10), random.randint(1, 4)))
        built.append({row: random.choice(values_of) for row in rows})
    values_now = {row: value for layer in built for row, value in layer.items()}
    height, before, segments_of = random.choice([2, 5, 8, 11, 11]), [], {}
    share = random.choice([0, 0.2])
    dead = [row for row in range(height) if random.random() < share]
    for leaf in [some_leaf(random) for _ in range(4)]:
        at = column_of(leaf)
        if at not in segments_of:
            segments_of[at] = tuple(
                build_segment(at, np.array([*layer], np.int64), [*layer.values()])
                for layer in built
            )
        living = {
            row
            for row, value in values_now.items()
            if row < height and row not in dead and any(map(leaf.holds, at.within([value])))
        }
        segments, dead_rows = segments_of[at], np.array(dead, np.int64)
        column = Layers(segments, np.empty(0, np.int64))
        assert inside.column_count(column, leaf, dead_rows, height) in (None, len(living))
        row_sets = [leaf.find_rows(segment) for segment in segments]
        rows = [segment.rows for segment in segments]
        found = rows_found_in_segments(row_sets, rows, dead_rows, height)
        if found is None:
            continue
        reports = [(intersection(found, one), living & of_one) for one, of_one in before]
        for found_rows, expected in [(found, living), *reports]:
            if found_rows is not None:
                assert found_rows.count == len(expected)
                assert {*found_rows.list_rows().tolist()} == expected
                has = found_rows.numbered.has(np.arange(height))
                assert {*np.flatnonzero(has).tolist()} == expected
        before.append((found, living))


def test_grouping_by_layers_equals_grouping_row_by_row():
    for seed in range(150):
        check_without_a_look(Random(seed))


@pytest.mark.parametrize("count", [1, 2, 254, 255, 256, 257, 65_534, 65_535, 65_536])
def test_all_numbers_fit_and_rows_without_one_are_distinguished(monkeypatch, count):
    rows = np.arange(count + count // 2) + 7
    held = np.flatnonzero(np.arange(len(rows)) % 3 != 1)[:count]
    made = group_rows(rows[held], np.arange(len(held)), len(held))
    for start, stop in ((0, len(held)), (0, 1), (len(held) - 1, len(held)), (1, len(held))):
        expected = np.zeros(len(rows) + 9, np.bool_)
        expected[rows[held[start:stop]]] = True
        for compared in (ALWAYS, NEVER):
            tuned(monkeypatch, compared_at_once=compared)
            mask = np.zeros(len(expected), np.bool_)
            made.mark(mask, [(start, stop)])
            assert (mask == expected).all()


def test_a_row_costs_as_many_bytes_as_its_values_need():
    rows = np.arange(10_000)
    few = group_rows(rows, rows % 100, 100)
    many = group_rows(rows, rows, len(rows))
    far_apart = group_rows(rows * 10, rows % 100, 100)
    assert (few.dense.itemsize, many.dense.itemsize, far_apart.dense) == (1, 2, None)
    assert 5 * len(rows) <= few.nbytes < 5.1 * len(rows)
    assert 10 * len(rows) <= many.nbytes < 10.1 * len(rows)
    assert 4 * len(rows) <= far_apart.nbytes < 4.1 * len(rows)


def test_numbers_that_follow_one_another_are_one_run():
    assert runs_of([7, 2, 1, 2, 8, 4]) == [(1, 3), (4, 5), (7, 9)]
    assert runs_of([]) == []
