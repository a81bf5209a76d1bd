"""Steps of one query don't affect each other."""

from types import SimpleNamespace

import numpy as np
import pytest

from retrieval_store.filters.paths import JsonPath
from retrieval_store.query.executor import Ranked
from retrieval_store.query.query import GroupSearch, NearestDense, Query, QueryStep
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


class CountingItem(int):
    """An item that counts its comparisons."""

    compared = 0
    __hash__ = int.__hash__

    def __eq__(self, other):
        CountingItem.compared += 1
        return int(self) == int(other)

    def __ne__(self, other):
        CountingItem.compared += 1
        return int(self) != int(other)


def test_hits_of_an_order_are_not_compared_with_all_of_their_group():
    items = np.array([CountingItem(i % 1_000) for i in range(2_000)], object)
    ranking = Ranked(items, np.zeros(2_000), values=[*range(2_000)])
    labels = SimpleNamespace(of=lambda items: [["a"]] * len(items))
    ranker = SimpleNamespace(fetch=lambda items, fields: [SimpleNamespace(ids=[])])
    gathered = inside.gathering(ranker, GroupSearch(JsonPath(("g",)), 1, 3, None, None), labels)
    gathered.add(ranking)
    ((group, best),) = gathered.best()
    assert (group, best.items.tolist(), best.values) == ("a", [0, 1, 2], [0, 1, 2])
    assert CountingItem.compared < 10_000
