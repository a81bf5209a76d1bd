"""Columns of payloads are current for the state of each reader."""

import threading
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.base.budget import LargeRequestError, RequestMemory, ShortBudget
from retrieval_store.filters.expression import And, Range
from retrieval_store.filters.paths import JsonPath
from retrieval_store.query.types import WHOLE, Fields, PointBatch, WriteRules
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
        assert points.operation  # a step of the state that uses no column
        if i % 5 == 0:
            for key in "xyz":
                at_least = points.get(None, Range((key,), gte=i), None, 0, Fields()).ids
                assert at_least == (["a", "b"] if i == 0 else ["a"])


def test_existing_columns_are_read_while_another_is_built(store):
    points = points_of(store, v="l2")
    points.put(PointBatch([*range(100)], {}, [{"n": i} for i in range(100)]), ADD)
    assert len(points.get(None, Range(("n",), gte=1), None, 0, Fields()).ids) == 99
    found = []

    def read():
        found.append(points.get(None, Range(("n",), gte=97), None, 0, Fields()).ids)

    with points.access.read(lambda view: view.caches.columns).refreshing:
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(20)
        assert found == [[97, 98, 99]]


def test_short_reads_in_memory_do_not_wait_for_each_other():
    store = inside.opened(None)
    points = points_of(store, v="l2")
    points.put(PointBatch([1, 2], {}), ADD)
    raised, budget = [], ShortBudget(60, 1 << 30, RequestMemory(1 << 30), None, 1 << 30)

    def read():
        with budget:
            try:
                points.get([1], None, None, 0, Fields())
            except LargeRequestError as error:
                raised.append(error)

    def while_another_reads(view):
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(20)
        assert len(raised) == 1

    points.access.read(while_another_reads)
    read()
    assert len(raised) == 1
    store.close()


def test_payloads_are_read_once_for_all_keys_of_a_filter(store, monkeypatch):
    reads = steps.noted(monkeypatch, "read_payloads")
    points = points_of(store)
    count = 3000
    points.put(PointBatch([*range(count)], {}, [{"x": i, "y": i} for i in range(count)]), ADD)
    assert points.get(None, Range(("x",), lt=2), None, 0, Fields()).ids == [0, 1]
    points.put(PointBatch([5], {}, [{"x": 1, "y": 2, "z": 3}]), UPSERT)
    every = And((Range(("x",), lt=2), Range(("y",), gt=1), Range(("z",), gt=1)))
    assert points.get(None, every, None, 0, Fields()).ids == [5]
    reports = [(len(pks), sorted(key for (key,) in paths)) for _, pks, paths in reads]
    assert reports == [(count, ["x"]), (count, ["x", "y", "z"])]


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
        reported = many.get(where={"$or": conditions}, include=[])["ids"]
        one_by_one = [few.get(where=where, include=[])["ids"] for where in conditions]
        assert reported == sorted({one for some in one_by_one for one in some}, key=int)
        assert [many.get(where=where, include=[])["ids"] for where in conditions] == one_by_one


def test_columns_of_other_keys_than_a_write_changes_are_not_read_again(store, monkeypatch):
    points = points_of(store)
    payloads = [{"x": i, "y": i % 7, "z": {"deep": i}} for i in range(3_000)]
    points.put(PointBatch([*range(3_000)], {}, payloads), ADD)
    few, ids = And((Range(("x",), lt=5), Range(("y",), gte=0))), [0, 1, 2, 3, 4]
    deep = Range(JsonPath(("z", "deep")), lt=5)
    for query in (few, deep):
        assert points.get(None, query, None, 0, Fields()).ids == ids
    reads = steps.noted(monkeypatch, "read_payloads")
    others = steps.noted(monkeypatch, "read_exactly")

    def set_keys(content):
        return replace(content, payload={**content.payload, "other": 1, "document": "new"})

    def set_text(content):
        return replace(content, document="a text")

    points.transact(lambda changes: changes.edit([*range(200)], None, set_keys, True))
    points.transact(lambda changes: changes.edit([3], None, set_text, True))
    merging = WriteRules("update", "refuse", merge_payloads=True)
    points.put(PointBatch([4, 5], {}, [{"other": 2}, {"more": True}]), merging)
    points.put(PointBatch([6], {}, [{"y": 6, "z": {"deep": 6}, "x": 6}]), WHOLE)  # as it was
    for query in (few, deep):
        assert points.get(None, query, None, 0, Fields()).ids == ids
    assert not any(len(pks) for _, pks, paths in reads if paths)
    assert not any(len(pks) for _, pks, paths in others if paths)
    points.put(PointBatch([900], {}, [{"y": 1.0, "x": 4}]), merging)
    points.put(PointBatch([2], {}, [{"x": 2, "z": {"deep": True}}]), WHOLE)
    assert points.get(None, few, None, 0, Fields()).ids == [0, 1, 3, 4, 900]
    assert points.get(None, deep, None, 0, Fields()).ids == [0, 1, 3, 4]
    points.delete([0], None, None)
    assert points.get(None, few, None, 0, Fields()).ids == [1, 3, 4, 900]


def test_a_write_is_read_once_for_all_columns_that_it_has_changed(store, monkeypatch):
    points = points_of(store)
    keys = [f"k{i}" for i in range(10)]
    points.put(PointBatch([*range(500)], {}, [dict.fromkeys(keys, i) for i in range(500)]), ADD)
    for key in keys:
        assert points.get(None, Range((key,), lt=2), None, 0, Fields()).ids == [0, 1]
    reads = steps.noted(monkeypatch, "read_payloads")
    points.put(PointBatch([7, 8], {}, [dict.fromkeys(keys, 0)] * 2), UPSERT)
    for key in keys:
        assert points.get(None, Range((key,), lt=2), None, 0, Fields()).ids == [0, 1, 7, 8]
    assert [len(pks) for _, pks, paths in reads if paths] == [2]
