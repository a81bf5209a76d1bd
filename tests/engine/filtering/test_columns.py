"""Columns of payloads, which follow the states that readers hold."""

from hypothesis import given
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.filters.expression import And, Range
from retrieval_store.query.types import Fields, PointBatch
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, UPSERT, points_of
from tests.helpers.tuned import tuned


def test_a_reader_uses_a_column_that_was_built_for_a_later_state(store):
    points = points_of(store, v="l2")
    many = PointBatch(list(range(100)), {}, [{"n": i} for i in range(100)])
    points.put(many, ADD)
    assert len(points.get(None, Range(("n",), gte=0), None, 0, Fields()).ids) == 100
    if store.directory is None:
        return  # there a reader has the store for itself

    def look(early):
        points.put(PointBatch([1, 100], {}, [{"n": -5}, {"n": 6}]), UPSERT)
        assert points.get(None, Range(("n",), lt=0), None, 0, Fields()).ids == [1]
        assert not inside.matching(early, Range(("n",), lt=0)).any()
        assert inside.matching(early, Range(("n",), gte=0)).sum() == 100

    points.access.read(look)
    assert points.get(None, Range(("n",), gte=6), None, 0, Fields()).ids == [*range(6, 101)]


def test_columns_stay_right_when_the_notes_of_changes_run_out(store, monkeypatch):
    tuned(monkeypatch, changes_kept=4, memory_budget=0)
    points = points_of(store, v="l2")
    points.put(PointBatch(["a", "b"], {}, [{"x": 0, "y": 0, "z": 0}] * 2), ADD)
    for i in range(30):
        points.put(PointBatch(["a"], {}, [{"x": i, "y": i, "z": i}]), UPSERT)
        points.count()  # a step of the state that uses no column
        if i % 5 == 0:
            for key in "xyz":
                at_least = points.get(None, Range((key,), gte=i), None, 0, Fields()).ids
                assert at_least == (["a", "b"] if i == 0 else ["a"])


def test_payloads_are_read_once_for_all_keys_of_a_filter(store, monkeypatch):
    reads = steps.noted(monkeypatch, "read_payloads")
    points = points_of(store)
    count = 3000
    points.put(PointBatch([*range(count)], {}, [{"x": i, "y": i} for i in range(count)]), ADD)
    assert points.get(None, Range(("x",), lt=2), None, 0, Fields()).ids == [0, 1]
    points.put(PointBatch([5], {}, [{"x": 1, "y": 2, "z": 3}]), UPSERT)
    every = And((Range(("x",), lt=2), Range(("y",), gt=1), Range(("z",), gt=1)))
    assert points.get(None, every, None, 0, Fields()).ids == [5]
    told = [(len(pks), sorted(key for (key,) in paths)) for _, pks, paths in reads]
    assert told == [(count, ["x"]), (count, ["x", "y", "z"])]


KEYS = ["a", "b", "a.b", "a.b.c", "n", "..", "é", "none"]
VALUES = st.recursive(
    st.sampled_from([None, 1, 1.0, True, "x", "", [], [1, "x"], 2**63]),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.lists(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5), min_size=1, max_size=12),
    st.integers(0, 8),
)
def test_many_keys_at_once_are_found_as_one_by_one(metadatas, replaced):
    keys = [*KEYS, "a.c", "b.a", "missing", *(f"k{i}" for i in range(20))]
    conditions = [
        condition
        for key in keys
        for condition in (
            {key: {"$exists": True}},
            {key: 1},
            {key: {"$contains": "x"}},
            {key: {"$size": 2}},
            {key: {"$gte": ""}},
        )
    ]
    with retrieval_store.Client() as client:
        few = client.create_collection("few", embedding_function=None)
        many = client.create_collection("many", embedding_function=None)
        for things in (few, many):
            ids = [str(i) for i in range(len(metadatas))]
            things.add(ids, [[1.0]] * len(ids), metadatas)
            things.get(where={"a": 1})  # a column of one key, before the others
            if replaced < len(ids):
                things.upsert(str(replaced), metadatas={"n": 1, "a.b": "x"}, replace_metadata=True)
        told = many.get(where={"$or": conditions}, include=[])["ids"]
        one_by_one = [few.get(where=where, include=[])["ids"] for where in conditions]
        assert told == sorted({one for some in one_by_one for one in some}, key=int)
        assert [many.get(where=where, include=[])["ids"] for where in conditions] == one_by_one
