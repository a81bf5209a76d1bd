"""Counting matches within a time limit, without columns of all points."""

from collections import Counter

import pytest

import retrieval_store
from retrieval_store.filters.where import parse_where, parse_where_document
from retrieval_store.query.types import PointBatch, most_frequent
from tests.helpers import inside
from tests.helpers.batches import UPSERT
from tests.helpers.clocks import Ticking, set_clock
from tests.helpers.tuned import tuned

COUNT = 3_000


@pytest.fixture
def points(monkeypatch):
    """Points of a collection that is large enough to be read in pieces."""
    tuned(monkeypatch, few_to_count=100, looked_at_once=500)
    with retrieval_store.Client() as client:
        collection = client.create_collection("many", embedding_function=None)
        collection.add(
            ids=[str(i) for i in range(COUNT)],
            embeddings=[[i, 1] for i in range(COUNT)],
            metadatas=[{"n": i, "even": i % 2 == 0} for i in range(COUNT)],
            documents=[f"document {i}" for i in range(COUNT)],
        )
        collection.delete(ids=["0", "1"])
        yield inside.points(collection)


FILTERS = [
    (parse_where({"n": {"$lt": 2_500}}), 2_498),
    (parse_where({"$or": [{"even": True}, {"n": 7}]}), 1_500),
    (parse_where_document({"$contains": "document 29"}), 111),
    (parse_where({"n": {"$lt": 0}}), 0),
]


@pytest.mark.parametrize(("expression", "count"), FILTERS)
def test_with_enough_time_all_are_counted_and_the_result_is_cached(points, expression, count):
    assert points.count_within(expression, 100.0) == (count, True)
    assert points.count_within(expression, 0.0) == (count, True)
    assert points.number(expression) == count


def test_after_the_time_limit_the_partial_result_is_returned(points, monkeypatch):
    set_clock(monkeypatch, "counting", Ticking())
    expression = parse_where({"n": {"$gte": 0}})
    assert points.count_within(expression, 2.5) == (1_000, False)
    assert points.count_within(expression, 0.0) == (0, False)
    assert points.stats()["memory"]["columns"] == 0
    assert points.number(expression) == COUNT - 2
    assert points.count_within(expression, 0.0) == (COUNT - 2, True)


def test_columns_in_memory_count_exactly_without_time(points, monkeypatch):
    points.number(parse_where({"n": {"$gte": 5}}))
    points.number(parse_where({"even": True}))
    set_clock(monkeypatch, "counting", Ticking())
    both = parse_where({"$and": [{"n": {"$lt": 10}}, {"even": True}]})
    assert points.count_within(both, 0.0) == (4, True)


def test_counting_keeps_nothing_of_conditions_on_one_key(points):
    points.number(parse_where({"n": {"$lt": 0}}))
    held = points.stats()["memory"]["filters"]
    for i in range(2, 50):
        assert points.number(parse_where({"n": {"$lt": i}})) == i - 2
        assert points.number(parse_where({"n": {"$ne": i}})) == COUNT - 3
    assert points.stats()["memory"]["filters"] == held
    points.put(PointBatch(["7"], payloads=[{"n": COUNT}]), UPSERT)
    points.delete(["5"], None, None)
    for i in range(60, 63):  # the first is told by the column as it was, and what has changed
        assert points.number(parse_where({"n": {"$lt": i}})) == i - 4


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_the_first_of_many_values_are_the_most_frequent_and_then_the_least(points, limit):
    counts = Counter({(False, i): 1 for i in range(2, COUNT)})
    assert points.facet(("n",), None, limit) == most_frequent(counts, limit)
