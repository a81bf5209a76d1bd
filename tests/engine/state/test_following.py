"""States in memory: new states have all writes of this and other processes; a state that a reader
holds never changes.
"""

import apsw
import numpy as np
import pytest

from retrieval_store.query.query import Query
from retrieval_store.query.types import Fields, PointBatch
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, UPSERT, batch, points_of
from tests.helpers.questions import nearest_to, search
from tests.helpers.tuned import tuned


def test_a_reader_of_another_store_object_follows_writes_of_every_kind(tmp_path):
    writer = inside.opened(tmp_path)
    points = points_of(writer, v="l2")
    reader = inside.opened(tmp_path).points(writer.by_name("things").id)
    random = np.random.default_rng(1)
    held = {}
    for step in range(150):
        ids = [int(i) for i in random.choice(40, random.integers(1, 12), replace=False)]
        if random.random() < 0.3:
            points.delete(ids, None, None)
            held = {i: v for i, v in held.items() if i not in ids}
        else:
            values = random.integers(0, 9, (len(ids), 2))
            points.put(batch(ids, v=values), UPSERT)
            held.update(zip(ids, values.tolist(), strict=True))
        if step % 7 == 0:  # so that several writes lie between two reads
            got = reader.get(None, None, None, 0, Fields(vectors=("v",)))
            vectors = got.vectors["v"].tolist() if held else []
            assert dict(zip(got.ids, vectors, strict=True)) == held
            assert reader.count() == len(held)


def test_points_that_are_deleted_before_the_first_vector_of_a_space_is_written(store):
    points = points_of(store, v="l2")
    points.put(PointBatch([1, 2, 3]), ADD)
    assert points.count() == 3
    points.delete([1], None, None)
    points.put(batch([2, 4], v=[[2], [4]]), UPSERT)
    got = points.get(None, None, None, 0, Fields(vectors=("v",)))
    assert got.ids == [2, 3, 4]
    assert np.array_equal(got.vectors["v"], [[2], [np.nan], [4]], equal_nan=True)


def test_many_deletions_make_a_reader_renumber_its_rows(tmp_path, monkeypatch):
    tuned(monkeypatch, dead_rows_tolerated=10)
    store = inside.opened(tmp_path)
    points = points_of(store, v="l2")
    for start in range(0, 200, 20):
        ids = list(range(start, start + 20))
        points.put(batch(ids, v=[[i] for i in ids]), ADD)
        points.get(None, None, None, 0, Fields())
        points.delete(ids[1:], None, None)
        assert points.get(None, None, None, 0, Fields()).ids == list(range(0, start + 1, 20))
    assert len(inside.state(points.access).pks) < 60
    (hits,) = search(points, nearest_to("v", np.array([[61]], np.float32), 2, None), Fields())
    assert hits.points.ids == [60, 80]


def test_a_reader_behind_the_change_log_reloads(tmp_path, monkeypatch):
    tuned(monkeypatch, log_writes=4, trim_every=2)
    store = inside.opened(tmp_path)
    points = points_of(store, v="l2")
    points.put(batch([1, 2, 3], v=[[1], [2], [3]]), ADD)
    reader = inside.opened(tmp_path).points(store.by_name("things").id)
    assert reader.count() == 3
    points.delete([2], None, None)
    for value in range(20):
        points.put(batch([1], v=[[value]]), UPSERT)
    (file,) = tmp_path.glob("*/points.sqlite")
    database = apsw.Connection(str(file))
    assert database.execute("SELECT count(*) FROM changes").fetchall()[0][0] <= 6
    database.close()
    got = reader.get(None, None, None, 0, Fields(vectors=("v",)))
    assert (got.ids, got.vectors["v"].tolist()) == ([1, 3], [[19], [3]])


def test_a_reader_keeps_its_state_while_others_write(tmp_path):
    store = inside.opened(tmp_path)
    points = points_of(store, v="l2")
    ids = [f"p{i}" for i in range(700)]
    points.put(batch(ids, v=[[i] for i in range(700)]), ADD)
    query = np.array([[300]], np.float32)

    def look(early):
        question = Query((nearest_to("v", query, 5),), Fields())
        before = inside.answer(early, question)[0]
        points.delete(["p300", "p5"], None, None)
        points.put(batch(["p301", "new"], v=[[9999], [300]]), UPSERT)
        assert search(points, nearest_to("v", query, 1, None), Fields())[0].points.ids == ["new"]
        assert points.count() == 699
        question = Query((nearest_to("v", query, 5),), Fields(vectors=("v",)))
        again = inside.answer(early, question)[0]
        assert again.points.ids == before.points.ids == ["p300", "p299", "p301", "p298", "p302"]
        assert again.points.vectors["v"][:, 0].tolist() == [300, 299, 301, 298, 302]
        assert early.state.count == int(inside.matching(early, None).sum()) == 700

    points.access.read(look)


def test_a_first_write_that_failed_does_not_fix_the_dimension(store, monkeypatch):
    points = points_of(store, v="l2")
    with monkeypatch.context() as patch:
        steps.fail(patch, "finish_write")
        with pytest.raises(ZeroDivisionError):
            points.put(batch(["a", "b"], v=np.ones((2, 8))), ADD)
    points.put(batch(["a", "b"], v=[[1, 2, 3], [4, 5, 6]]), ADD)
    points.put(batch(["c"], v=[[7, 8, 9]]), ADD)
    vectors = points.get(None, None, None, 0, Fields(vectors=("v",))).vectors["v"]
    assert vectors.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
