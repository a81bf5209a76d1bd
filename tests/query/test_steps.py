"""Steps of one question don't disturb each other."""

import numpy as np
import pytest

from retrieval_store.query.query import NearestDense, Query, QueryStep
from retrieval_store.query.types import Fields, NewSpace, PointBatch, Vectors
from tests.helpers import inside
from tests.helpers.batches import UPSERT, points_of
from tests.helpers.tuned import eager_codes


@pytest.fixture
def store():
    store = inside.opened(None)
    yield store
    store.close()


def test_steps_that_are_one_search_keep_thresholds_and_windows_of_their_own(store, monkeypatch):
    eager_codes(monkeypatch)
    points = points_of(store, v=NewSpace("l2"))
    numbers = np.random.default_rng(0)
    vectors = numbers.standard_normal((600, 24)).astype(np.float32)
    points.put(PointBatch([*range(600)], {"v": Vectors(vectors)}), UPSERT)
    queries = numbers.standard_normal((4, 24)).astype(np.float32)
    far = np.sort(((vectors[:, None] - queries) ** 2).sum(axis=2), axis=0)
    limits = [(None, 0), (float(far[2, 1]) + 1e-3, 0), (None, 5), (float(far[7, 3]) + 1e-3, 2)]
    steps = [
        QueryStep(NearestDense("v", query[None]), 20 - offset, threshold=threshold, offset=offset)
        for query, (threshold, offset) in zip(queries, limits, strict=True)
    ]
    together = points.ask(Query(tuple(steps), Fields()))
    assert [len(one.points.ids) for one in together] == [20, 3, 15, 6]
    for step, one in zip(steps, together, strict=True):
        (alone,) = points.ask(Query((step,), Fields()))
        assert alone.points.ids == one.points.ids
        assert alone.distances.tolist() == one.distances.tolist()
