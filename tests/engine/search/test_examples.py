"""Likeness to examples, against all similarities in float64."""

import numpy as np
import pytest

from retrieval_store.query.query import Discover, Query, QueryStep, Recommend, RelevanceFeedback
from retrieval_store.query.types import Fields, NewSpace, PointBatch, Vectors
from tests.helpers import inside
from tests.helpers.batches import UPSERT, points_of

POINTS, DIMENSION = 2_000, 24


def alike(metric, vectors, example):
    vectors, example = vectors.astype(float), example.astype(float)
    if metric == "l2":
        return -((vectors - example) ** 2).sum(axis=1)
    products = vectors @ example
    if metric == "cosine":
        products /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(example)
    return products


def scorings(some):
    return [
        Recommend("v", some[:2], some[2:3], best=True),
        Recommend("v", some[:2], some[2:4], best=False),
        Recommend("v", (), some[2:4], best=True),
        Discover("v", some[0], ((some[1], some[2]),)),
        Discover("v", None, ((some[1], some[2]),)),
        RelevanceFeedback("v", some[0], 0.0, ((some[1], some[2], 0.7), (some[3], some[2], -0.4))),
    ]


@pytest.mark.parametrize("away", [0.0, 1e4])  # where float32 tells nothing apart
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_best_by_examples_are_those_of_all_points(store, metric, away):
    numbers = np.random.default_rng(9)
    points = points_of(store, v=NewSpace(metric))
    vectors = (away + numbers.standard_normal((POINTS, DIMENSION))).astype(np.float32)
    points.put(PointBatch(list(range(POINTS)), {"v": Vectors(vectors)}), UPSERT)
    points.delete(list(range(0, POINTS, 17)), None, None)
    left = np.setdiff1d(np.arange(POINTS), np.arange(0, POINTS, 17))
    some = tuple((away + numbers.standard_normal((4, DIMENSION))).astype(np.float32))
    for scoring in scorings(some):
        examples, combine = inside.compared_by(scoring)
        scores = combine(np.stack([alike(metric, vectors[left], one) for one in examples]))
        (found,) = points.ask(Query((QueryStep(scoring, 10),), Fields()))
        assert np.allclose(found.scores, np.sort(scores)[::-1][:10], rtol=1e-6, atol=1e-9)
        of_found = scores[np.searchsorted(left, found.points.ids)]
        assert np.allclose(of_found, found.scores, rtol=1e-6, atol=1e-9)


def test_equally_good_ones_come_in_the_order_of_insertion_page_by_page(store):
    numbers = np.random.default_rng(1)
    points = points_of(store, v=NewSpace("l2"))
    vectors = numbers.standard_normal((POINTS, DIMENSION)).astype(np.float32)
    points.put(PointBatch(list(range(POINTS)), {"v": Vectors(vectors)}), UPSERT)
    near, far = numbers.standard_normal((2, DIMENSION)).astype(np.float32)
    on_its_side = np.flatnonzero(alike("l2", vectors, near) > alike("l2", vectors, far) + 1e-6)
    for start in (0, 10, 20):
        step = QueryStep(Discover("v", None, ((near, far),)), 10, offset=start)
        (found,) = points.ask(Query((step,), Fields()))
        assert found.points.ids == on_its_side[start : start + 10].tolist()
        assert set(found.scores) == {0.0}
