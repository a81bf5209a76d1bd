"""Similarity to examples, compared with all similarities in float64."""

import numpy as np
import pytest

from retrieval_store.base.arrays import SparseVector
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.query.query import (
    Discover,
    Mmr,
    NearestDense,
    NearestSparse,
    Query,
    QueryStep,
    Recommend,
    RelevanceFeedback,
)
from retrieval_store.query.types import Fields, NewSpace, NonDenseVectors, PointBatch, Vectors
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


def test_none_of_the_best_are_none(store):
    points = points_of(store, v=NewSpace("l2"))
    vectors = np.random.default_rng(2).standard_normal((200, 6)).astype(np.float32)
    points.put(PointBatch(list(range(200)), {"v": Vectors(vectors)}), UPSERT)
    step = QueryStep(Recommend("v", (ones(6),), (), best=True), 0)
    (found,) = points.ask(Query((step,), Fields()))
    assert found.points.ids == []


def ones(*shape):
    return np.ones(shape, np.float32)


SPARSE = SparseVector(np.ones(1, np.uint32), ones(1))
WRONG = [
    NearestDense("v", (ones(2, 6), ones(1, 6))),
    NearestDense("v", ones(1, 5)),
    NearestDense("m", ones(2, 6)),
    NearestDense("m", (ones(2, 5),)),
    NearestSparse("v", (SPARSE,)),
    NearestDense("s", ones(1, 6)),
    Recommend("v", (ones(5),), (), best=True),
    Recommend("v", (ones(2, 6),), (), best=True),
    Recommend("v", (SPARSE,), (), best=False),
    Recommend("m", (ones(2, 5),), (), best=True),
    Recommend("s", (ones(6),), (), best=True),
    Discover("v", ones(6), ((ones(5), ones(6)),)),
    RelevanceFeedback("v", ones(5), 1.0, ((ones(6), ones(5), 1.0),)),
    Mmr(NearestDense("v", ones(1, 5)), 0.5, 10),
    Mmr(NearestDense("v", (ones(1, 6),)), 0.5, 10),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_examples_of_another_kind_or_dimension_are_refused_without_reporting_damage(
    store, number, caplog
):
    spaces = {"m": NewSpace("ip", kind="multi"), "s": NewSpace("ip", kind="sparse")}
    points = points_of(store, v=NewSpace("l2"), **spaces)
    vectors = {
        "v": Vectors(np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)),
        "m": NonDenseVectors([ones(3, 6)] * 50),
        "s": NonDenseVectors([SPARSE] * 50),
    }
    points.put(PointBatch(list(range(50)), vectors), UPSERT)
    first = QueryStep(NearestDense("v", ones(1, 6)), 30)
    for step in (QueryStep(WRONG[number], 5), QueryStep(WRONG[number], 5, prefetch=(first,))):
        try:
            (found,) = points.ask(Query((step,), Fields()))
        except InvalidArgumentError:
            continue
        assert step.prefetch and isinstance(WRONG[number], NearestDense) and found.points.ids
    assert not caplog.records
