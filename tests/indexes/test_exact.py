"""Exact neighbours compared with float64 brute force, also for values that float32 treats badly."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from retrieval_store.base.arrays import METRICS
from retrieval_store.indexes.exact import nearest as decided_nearest
from retrieval_store.indexes.exact import norms_of
from tests.helpers import PATIENCE, inside
from tests.helpers.oracle import brute_measures

CLOUDS = {
    "around the origin": lambda random, shape: random.standard_normal(shape),
    "far from the origin": lambda random, shape: random.standard_normal(shape) + 1_000,
    "very far": lambda random, shape: random.standard_normal(shape) + 1e6,
    "tiny": lambda random, shape: random.standard_normal(shape) * 1e-30,
    "huge": lambda random, shape: random.standard_normal(shape) * 1e20,
    "of lengths that differ widely": lambda random, shape: (
        random.standard_normal(shape) * np.exp(4 * random.standard_normal((shape[0], 1)))
    ),
    "with many ties": lambda random, shape: random.integers(0, 2, shape),
}


def nearest(*arguments):
    """The slots and distances of the k nearest of each query, and of ties with them."""
    found = decided_nearest(*arguments)
    for one in found:
        assert (np.diff(one.distances) >= 0).all()
        assert one.tied or len(np.unique(one.distances[: one.chosen])) == one.chosen
    return [(one.slots[: one.chosen], one.distances[: one.chosen]) for one in found]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("share", [None, 0.5, 0.02])
def test_neighbours_are_those_of_brute_measures(metric, cloud, share):
    random = np.random.default_rng(7)
    rows = CLOUDS[cloud](random, (3_000, 48)).astype(np.float32)
    rows[10], rows[20] = 0, rows[30]
    queries = np.vstack([CLOUDS[cloud](random, (4, 48)), rows[30:31]]).astype(np.float32)
    slots = None if share is None else np.flatnonzero(random.random(len(rows)) < share)
    answers = nearest(queries, rows, partial(norms_of, rows), metric, 10, slots)
    for query, (found, distances) in zip(queries, answers, strict=True):
        truth = brute_measures(query, rows, metric)
        allowed = np.arange(len(rows)) if slots is None else slots
        expected = np.sort(truth[allowed])[:10]
        scale = max(1.0, float(np.abs(expected).max())) if metric in ("ip", "cosine") else 0
        assert np.allclose(np.sort(distances)[:10], expected, rtol=1e-9, atol=1e-12 * scale)
        assert set(found.tolist()) <= set(allowed.tolist())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("length", [1e-6, 1, 10_000])
@pytest.mark.parametrize("share", [None, 0.9, 0.1])
def test_neighbours_in_float16_are_those_of_its_numbers(metric, length, share):
    random = np.random.default_rng(5)
    rows = (random.standard_normal((3_000, 48)) * length).astype(np.float16)
    queries = (random.standard_normal((4, 48)) * length).astype(np.float32)
    slots = None if share is None else np.flatnonzero(random.random(len(rows)) < share)
    allowed = np.arange(len(rows)) if slots is None else slots
    answers = nearest(queries, rows, partial(norms_of, rows), metric, 10, slots)
    for query, (found, distances) in zip(queries, answers, strict=True):
        truth = brute_measures(query, rows, metric)
        scale = 1e-9 * float(np.abs(truth).max())
        assert len(found) < 100, "float32 told nothing apart"
        assert np.allclose(np.sort(distances)[:10], np.sort(truth[allowed])[:10], 1e-9, scale)
        assert np.allclose(distances, truth[found], 1e-9, scale)


@pytest.mark.parametrize("size", [1e-20, 1e-25, 1e-36, 1e-44])
def test_a_vector_too_short_to_be_squared_is_near_by_its_direction(size):
    random = np.random.default_rng(6)
    rows = random.standard_normal((900, 48)).astype(np.float32)
    rows[123] *= np.float32(size)
    rows[500] = 0
    query = random.standard_normal(48).astype(np.float32)
    query[:] = rows[123] / max(np.abs(rows[123]).max(), 1e-45)
    answer = nearest(query[None], rows, partial(norms_of, rows), "cosine", 1, None)
    ((found, distances),) = answer
    assert found.tolist() == [123] and distances[0] < 1e-6


@pytest.mark.parametrize("metric", METRICS)
def test_equal_vectors_have_equal_distances_at_any_position(metric):
    random = np.random.default_rng(3)
    rows = random.standard_normal((2_001, 37)).astype(np.float32)
    rows[[0, 5, 999, 1_000, 1_999, 2_000]] = rows[0]
    query = rows[:1] + 1
    ((found, distances),) = nearest(query, rows, partial(norms_of, rows), metric, 2_001, None)
    same = distances[np.isin(found, [0, 5, 999, 1_000, 1_999, 2_000])]
    assert len(same) == 6
    assert len(np.unique(same)) == 1


KINDS = [(np.float32, None), (np.float16, None), (np.float32, 0.1), (np.float16, 0.1)]


def searched(queries, dtype, share):
    """Ten neighbours of each query, in two thousand rows, or a share of them."""
    random = np.random.default_rng(4)
    rows = random.integers(-9, 9, (2_000, 64)).astype(dtype)
    slots = None if share is None else np.flatnonzero(random.random(len(rows)) < share)
    queries = random.integers(-9, 9, (queries, 64)).astype(np.float32)
    answers = nearest(queries, rows, partial(norms_of, rows), "l2", 10, slots)
    return [sorted(zip(*map(np.ndarray.tolist, answer), strict=True)) for answer in answers]


@pytest.mark.parametrize(("dtype", "share"), KINDS)
def test_a_query_does_not_wait_for_the_product_of_another_and_finds_the_same(dtype, share):
    alone = searched(1, dtype, share)
    with ThreadPoolExecutor(1) as other, inside.multiplying():
        assert other.submit(searched, 1, dtype, share).result(PATIENCE) == alone


@pytest.mark.parametrize(("dtype", "share"), KINDS)
def test_of_batches_only_one_at_a_time_is_multiplied(monkeypatch, dtype, share):
    multiply, turns = np.matmul, []

    def noted(queries, rows, out):
        turns.append(inside.is_multiplying())
        return multiply(queries, rows, out=out)

    monkeypatch.setattr(np, "matmul", noted)
    searched(9, dtype, share)
    assert turns
    assert all(turns)
