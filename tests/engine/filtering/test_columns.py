"""Columns of payloads, which follow the states that readers hold."""

from retrieval_store.engine.database.pools import MemoryDatabase
from retrieval_store.engine.filtering.masks import matching
from retrieval_store.filters.expression import Range
from retrieval_store.interface.points import Fields, PointBatch
from tests.helpers.batches import ADD, UPSERT, points_of


def test_a_reader_uses_a_column_that_was_built_for_a_later_state(store):
    points = points_of(store, v="l2")
    many = PointBatch(list(range(100)), {}, [{"n": i} for i in range(100)])
    points.put(many, ADD)
    database = points._database
    assert len(points.get(None, Range(("n",), gte=0), None, 0, Fields()).ids) == 100
    if isinstance(database, MemoryDatabase):
        return  # there a reader has the store for itself

    def look(early):
        points.put(PointBatch([1, 100], {}, [{"n": -5}, {"n": 6}]), UPSERT)
        assert points.get(None, Range(("n",), lt=0), None, 0, Fields()).ids == [1]
        assert not matching(early, Range(("n",), lt=0)).any()
        assert matching(early, Range(("n",), gte=0)).sum() == 100

    points.read(look)
    assert points.get(None, Range(("n",), gte=6), None, 0, Fields()).ids == [*range(6, 101)]


def test_columns_stay_right_when_the_notes_of_changes_run_out(store, monkeypatch):
    monkeypatch.setattr("retrieval_store.engine.state.layers.CHANGES_KEPT", 4)
    monkeypatch.setattr("retrieval_store.engine.state.budget.BUDGET.limit", 0)
    points = points_of(store, v="l2")
    points.put(PointBatch(["a", "b"], {}, [{"x": 0, "y": 0, "z": 0}] * 2), ADD)
    for i in range(30):
        points.put(PointBatch(["a"], {}, [{"x": i, "y": i, "z": i}]), UPSERT)
        points.count()  # a step of the state that uses no column
        if i % 5 == 0:
            for key in "xyz":
                at_least = points.get(None, Range((key,), gte=i), None, 0, Fields()).ids
                assert at_least == (["a", "b"] if i == 0 else ["a"])
