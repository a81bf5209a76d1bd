"""Searches by signs: their hits, their possible misses, and that instruction sets give the same
results.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_store.indexes import quantized
from retrieval_store.indexes.exact import BY_PRODUCTS
from retrieval_store.indexes.native import BLOCK, kernel
from retrieval_store.indexes.quantized import SearchGoal, best_frame, gather_codes
from tests.helpers.forks import in_child
from tests.helpers.indexed import with_codes
from tests.helpers.oracle import brute_measures
from tests.helpers.steps import counted
from tests.helpers.tuned import tuned
from tests.indexes.test_codes import (
    EVERY_SET,
    HARD,
    SETS,
    bits_of,
    coded,
    encoded,
    usable,
    usual_instructions,
)

__all__ = ["usual_instructions"]  # a fixture that all of these use
pytestmark = with_codes
NO_LIMIT = 1e9  # errors


def groups(random, count, dimension):
    """Rows around fifty centres; those around one centre are a few standard errors apart."""
    centres = random.standard_normal((50, dimension))
    rows = centres[random.integers(0, 50, count)] + 0.5 * random.standard_normal((count, dimension))
    return rows.astype(np.float32)


def nearest(rows, queries, metric, sought, codes=None):
    queries, lengths = usable(queries, metric)
    codes = coded(rows, metric, 3) if codes is None else codes
    return quantized.nearest_by_codes(queries, lengths, codes, sought, rows)


def true_distances(rows, queries, metric, k):
    """The distances of the nearest to each query."""
    every = [brute_measures(query, rows, metric) for query in usable(queries, metric)[0]]
    return [np.sort(far)[:k] for far in every]


def found_of(true_ones, found):
    """The share of the true nearest that were found."""
    right = wanted = 0
    for true, one in zip(true_ones, found, strict=True):
        wanted += len(true)
        right += min(len(true), int((one.distances[: one.chosen] <= true[-1] + 1e-12).sum()))
    return right / wanted


@EVERY_SET
@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("cloud", HARD)
def test_with_errors_without_limit_all_are_found(cloud, metric, instructions):
    kernel().use(instructions)
    random = np.random.default_rng(3)
    rows = HARD[cloud](random, (3_000, 48)).astype(np.float32)
    rows[10], rows[20] = 0, rows[30]
    queries = np.vstack([HARD[cloud](random, (4, 48)), rows[30:31], rows[:2]]).astype(np.float32)
    codes = coded(rows, metric, 3)
    found = nearest(rows, queries, metric, SearchGoal(10, len(rows), errors=NO_LIMIT), codes)
    proved = nearest(rows, queries, metric, SearchGoal(10, len(rows)), codes)
    for one, other in zip(found, proved, strict=True):
        assert one.chosen == other.chosen
        assert np.array_equal(np.sort(one.slots[: one.chosen]), np.sort(other.slots[: one.chosen]))
        assert np.array_equal(one.distances[: one.chosen], other.distances[: one.chosen])


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_hits_of_all_instruction_sets_agree_and_distances_are_exact(data):
    metric = data.draw(st.sampled_from(BY_PRODUCTS))
    dimension = data.draw(st.sampled_from([1, 7, 31, 64, 100, 127, 128, 257, 511, 512, 777, 4_096]))
    count, k = data.draw(st.integers(1, 600)), data.draw(st.integers(1, 30))
    errors = data.draw(st.sampled_from([1.0, 2.5, NO_LIMIT]))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows = groups(random, count, dimension)
    queries = np.vstack([random.standard_normal((2, dimension)), rows[:2]]).astype(np.float32)
    allowed = random.random(count) < data.draw(st.sampled_from([1.0, 0.5, 0.05]))
    sought = SearchGoal(k, count, bits_of(allowed), None, errors)
    pieces, each = data.draw(st.integers(1, 3)), []
    for name in SETS:
        kernel().use(name)
        each.append(nearest(rows, queries, metric, sought, coded(rows, metric, pieces)))
    for several in zip(*each, strict=True):
        first = several[0]
        assert allowed[first.slots].all() and first.chosen >= min(k, allowed.sum())
        for other in several[1:]:
            assert np.array_equal(first.distances[: first.chosen], other.distances[: other.chosen])
    for query, one in zip(usable(queries, metric)[0], each[0], strict=True):
        far = brute_measures(query, rows[one.slots], metric)
        assert np.allclose(one.distances, far, rtol=1e-9, atol=1e-12)
        assert (np.diff(one.distances[: one.chosen]) >= 0).all()


@EVERY_SET
@pytest.mark.parametrize(("metric", "dimension"), [("l2", 64), ("ip", 256), ("cosine", 256)])
def test_as_many_are_found_as_the_errors_imply(metric, dimension, instructions):
    """With random directions, all hits are just above the threshold, so fewer are found than
    otherwise, but never fewer than the number of standard errors implies."""
    kernel().use(instructions)
    random = np.random.default_rng(5)
    rows = groups(random, 10_000, dimension)
    near = rows[:30] + 0.1 * random.standard_normal((30, dimension)).astype(np.float32)
    anywhere = random.standard_normal((30, dimension)).astype(np.float32)
    codes = coded(rows, metric, 3)
    for queries in (near, anywhere):
        true_ones, shares = true_distances(rows, queries, metric, 10), []
        for errors in (1.0, 2.0, 2.5):
            found = nearest(rows, queries, metric, SearchGoal(10, 10_000, errors=errors), codes)
            shares.append(found_of(true_ones, found))
        assert shares[0] >= 0.8 and shares[1] >= 0.96 and shares[2] >= 0.985


@pytest.mark.parametrize("metric", BY_PRODUCTS)
def test_few_candidates_of_signs_are_compared_by_codes_and_distances(metric):
    random = np.random.default_rng(6)
    rows = groups(random, 20_000, 256)
    pieces = coded(rows, metric, 3)
    for one in nearest(rows, rows[:20], metric, SearchGoal(10, 20_000, errors=2.5), pieces):
        signs, codes, distances = one.looked
        assert signs >= len(rows) and codes < len(rows) / 10 and distances < 500
    (proved,) = nearest(rows, rows[:1], metric, SearchGoal(10, 20_000), pieces)
    assert proved.looked == (0, 0, 0)


@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("share", [0.5, 0.03])
def test_a_filter_changes_the_work_and_not_the_hits(metric, share):
    """Also a filter that matches nothing near the query."""
    random = np.random.default_rng(7)
    rows = groups(random, 20_000, 128)
    codes = coded(rows, metric, 3)
    for query in rows[:10]:
        far = brute_measures(query, rows, metric)
        allowed = (random.random(len(rows)) < share) & (far > np.quantile(far, 0.1))
        sought = SearchGoal(10, len(rows), bits_of(allowed), None, 3.0)
        found = nearest(rows, query[None], metric, sought, codes)
        assert allowed[found[0].slots].all() and found[0].chosen >= 10
        assert found_of([np.sort(far[allowed])[:10]], found) >= 0.8


def test_copies_of_codes_give_the_same_results():
    random = np.random.default_rng(8)
    rows = groups(random, 2_000, 128)
    frame, slots = best_frame(rows, "l2", 5), np.flatnonzero(random.random(2_000) < 0.3)
    parts = [encoded(rows[first : first + 64], "l2", frame) for first in range(0, 2_000, 64)]
    chosen = [(part, slots[slots // 64 == i] % 64) for i, part in enumerate(parts)]
    copies = quantized.CodeSegments.of([gather_codes(chosen, slots)], [0])
    queries, lengths = usable(rows[:5], "l2")
    sought = SearchGoal(10, 2_000, errors=2.5)
    found = quantized.nearest_by_codes(queries, lengths, copies, sought, rows)
    assert all(np.isin(one.slots, slots).all() for one in found)
    assert found_of(true_distances(rows[slots], queries, "l2", 10), found) >= 0.98


@pytest.mark.parametrize("stride", [1, 2, 1_000])
def test_however_many_blocks_come_first_no_row_is_found_twice(stride, monkeypatch):
    tuned(monkeypatch, sampled_blocks=stride)
    rows = groups(np.random.default_rng(9), 3_000, 64)
    for one in nearest(rows, rows[:20], "cosine", SearchGoal(10, 3_000, errors=2.5)):
        assert len(set(one.slots.tolist())) == len(one.slots) and one.chosen >= 10


def test_a_single_query_is_answered_as_many_are():
    rows = groups(np.random.default_rng(10), 5_000, 200)
    pieces, sought = coded(rows, "ip", 2), SearchGoal(10, 5_000, errors=2.0)
    one_pass = quantized.CodePass(pieces, sought, rows)
    queries, lengths = usable(rows[:20], "ip")
    together = quantized.nearest_by_codes(queries, lengths, pieces, sought, rows)
    for query, other in zip(queries, together, strict=True):
        alone = one_pass.nearest(query, rows)
        assert np.array_equal(alone.slots[: alone.chosen], other.slots[: other.chosen])


@pytest.mark.parametrize("errors", [2.0, None])
@pytest.mark.parametrize("count", [15, 16, 21, 100])
def test_many_queries_are_answered_on_several_cores_as_on_one(errors, count, monkeypatch):
    rows = groups(np.random.default_rng(12), 3_000, 64)
    queries, lengths = usable(rows[:count], "cosine")
    arguments = (
        queries,
        lengths,
        coded(rows, "cosine", 2),
        SearchGoal(10, 3_000, errors=errors),
        rows,
    )
    on_one = quantized.nearest_by_codes(*arguments)
    tuned(monkeypatch, split_work=1, cores_used=lambda: 8)
    parts = counted(monkeypatch, "search_codes_for_queries", lambda some, *_: len(some))
    on_several = quantized.nearest_by_codes(*arguments)
    assert sum(parts) == count and max(parts) <= (count if count < 16 else -(-count // 2))
    for one, other in zip(on_one, on_several, strict=True):
        assert np.array_equal(one.slots[: one.chosen], other.slots[: other.chosen])
        assert np.array_equal(one.distances[: one.chosen], other.distances[: other.chosen])
    parts.clear()
    quantized.nearest_by_codes(*arguments, may_split=False)
    assert parts == [count]


def test_rows_of_unsafe_length_are_always_measured():
    random = np.random.default_rng(0)
    rows = random.standard_normal((2_000, 64)).astype(np.float32)
    rows[5] = 1e30 * rows[7]
    (found,) = nearest(rows, rows[7:8], "cosine", SearchGoal(2, 2_000, errors=1.0))
    assert {5, 7} <= set(found.slots[: found.chosen].tolist())


def test_a_vector_that_differs_from_its_code_is_always_verified():
    rows = groups(np.random.default_rng(11), 3_000, 64)
    queries, lengths = usable(rows[100:101], "cosine")
    pieces, sought = coded(rows, "cosine", 1), SearchGoal(5, 3_000, errors=2.5)
    changed = rows.copy()
    changed[100] = -rows[100]
    (found,) = quantized.nearest_by_codes(queries, lengths, pieces, sought, changed)
    assert 100 in found.slots and 100 not in found.slots[: found.chosen]


@pytest.mark.parametrize("metric", BY_PRODUCTS)
@pytest.mark.parametrize("dimension", [33, 256])
def test_scores_by_signs_deviate_by_their_errors(metric, dimension):
    random = np.random.default_rng(12)
    rows = groups(random, 4_000, dimension)
    codes, off = encoded(rows, metric), []
    for query in random.standard_normal((20, dimension)).astype(np.float32):
        places = random.choice(len(rows), 1_000, replace=False)
        scores, errors = quantized.estimates(
            codes, places, quantized.turn_query(query, codes.frame)
        )
        far = brute_measures(query, rows[places], metric)
        true = {"l2": -far / 2, "ip": -far}.get(metric, 1 - far)
        off.append((true - scores) / errors)
    assert abs(np.mean(off)) < 0.1 and 0.85 < np.std(off) < 1.15
    assert np.array_equal(
        quantized.signs_of(codes, np.arange(len(rows)))[:, 5], quantized.signs_at(codes, 5)
    )
    assert len(codes.signs) == -(-len(rows) // BLOCK)


def test_a_large_scan_is_split_and_finds_the_same(monkeypatch):
    rows = groups(np.random.default_rng(13), 20_000, 64)
    pieces, sought = coded(rows, "cosine", 5), SearchGoal(10, 20_000, errors=2.0)
    whole = quantized.CodePass(pieces, sought, rows)
    tuned(monkeypatch, split_rows=10_000, split_part_rows=3_000, cores_used=lambda: 8)
    split = quantized.CodePass(pieces, sought, rows)
    for query in rows[:30]:
        one, other = whole.nearest(query, rows), split.nearest(query, rows)
        assert (other.distances[:10] <= one.distances[:10]).all()
        assert (np.diff(other.distances[: other.chosen]) >= 0).all()
        assert other.looked[0] >= len(rows) and len(set(other.slots)) == len(other.slots)
        true = np.sort(brute_measures(query, rows, "cosine"))[:10]
        assert np.mean(other.distances[:10] <= true[-1] + 1e-12) >= 0.8


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_a_large_proof_is_split_and_finds_the_same(monkeypatch, metric):
    random = np.random.default_rng(15)
    rows = groups(random, 20_000, 64)
    rows[random.choice(20_000, 300)] = rows[7]  # which are equally far
    pieces, sought = coded(rows, metric, 5), SearchGoal(10, 20_000)
    whole = quantized.CodePass(pieces, sought, rows)
    tuned(monkeypatch, split_rows=10_000, split_part_rows=3_000, cores_used=lambda: 16)
    split = quantized.CodePass(pieces, sought, rows)
    for query in rows[:30]:
        one, other = whole.nearest(query, rows), split.nearest(query, rows)
        assert set(one.slots[: one.chosen]) == set(other.slots[: other.chosen])
        assert np.array_equal(one.distances[: one.chosen], other.distances[: other.chosen])
        true = np.sort(brute_measures(query, rows, metric))[: one.chosen]
        assert np.allclose(one.distances[: one.chosen], true, atol=1e-9)


def test_passes_are_split_by_many_threads_and_after_a_fork(monkeypatch):
    rows = groups(np.random.default_rng(14), 20_000, 64)
    tuned(monkeypatch, split_rows=10_000, split_part_rows=3_000, cores_used=lambda: 8)
    sought = SearchGoal(10, 20_000, errors=2.0)
    one_pass = quantized.CodePass(coded(rows, "ip", 5), sought, rows)
    queries = rows[:40]
    alone = [one_pass.nearest(query, rows).slots[:10].tolist() for query in queries]

    def ask(query):
        return [one_pass.nearest(query, rows).distances[0] for _ in range(5)]

    with ThreadPoolExecutor(8) as threads:
        best = list(threads.map(ask, queries))
    assert all(len(set(each)) == 1 for each in best)
    if hasattr(os, "fork"):

        def ask_again():
            again = [one_pass.nearest(query, rows).slots[:10].tolist() for query in queries]
            assert again == alone

        assert in_child(ask_again) == 0
