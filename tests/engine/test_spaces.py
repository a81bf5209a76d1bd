"""Vector spaces: precision, distances, and how spaces are added and dropped."""

import numpy as np
import pytest

from retrieval_store.base.arrays import SparseVector
from retrieval_store.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    InvalidArgumentError,
    NotFoundError,
)
from retrieval_store.query.types import Fields, NewSpace, NonDenseVectors, PointBatch, SpaceRecord
from tests.helpers import inside
from tests.helpers.batches import ADD, UPSERT, batch, points_of
from tests.helpers.indexed import until
from tests.helpers.oracle import brute_force
from tests.helpers.questions import by_sparse, nearest_to, search
from tests.helpers.tuned import tuned


def cloud(count, seed=0, dimension=8):
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, dimension)) * 100).astype(np.float32)


def vectors_in(points, space):
    return points.get(None, None, None, 0, Fields(vectors=(space,))).vectors[space]


def special(ids, space, items):
    return PointBatch(ids, {space: NonDenseVectors(items)})


def test_numbers_stored_as_bytes_are_truncated_to_integers_from_0_to_255(store):
    points = points_of(store, v=NewSpace("l2", datatype="uint8"))
    points.put(batch(["a", "b"], v=[[3.7, 300, -5, 255.9], [0.99, 1, 254.5, 1e30]]), ADD)
    assert vectors_in(points, "v").tolist() == [[3, 255, 0, 255], [0, 1, 254, 255]]


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine", "l1"])
@pytest.mark.parametrize("datatype", ["float32", "uint8"])
def test_neighbours_are_those_of_the_stored_numbers(store, metric, datatype, eager):
    points = points_of(store, v=NewSpace(metric, datatype=datatype))
    points.put(batch(list(range(500)), v=cloud(500)), ADD)
    store.optimize(store.by_name("things").id, lambda *_: None)
    held, query = vectors_in(points, "v"), cloud(3, 5)
    hits = search(points, nearest_to("v", query, 10), Fields())
    for one, hit in zip(query, hits, strict=True):
        truth = brute_force(one, held, metric)
        assert np.allclose(hit.distances, np.sort(truth)[:10], rtol=1e-9)
        assert hit.points.ids == np.lexsort((np.arange(500), truth))[:10].tolist()
        shift = 0 if metric in ("l2", "l1") else 1
        assert np.allclose(hit.scores, shift - hit.distances)


def test_no_codes_and_no_index_are_built_for_indistinguishable_vectors(store, eager, monkeypatch):
    tuned(monkeypatch, coded_cells=1)
    points = points_of(store, far="l1", near="l2")
    points.put(batch(list(range(300)), far=cloud(300), near=cloud(300)), ADD)
    store.optimize(store.by_name("things").id, lambda *_: None)
    spaces = points.stats()["spaces"]
    assert spaces["near"]["indexed_slots"] == 300
    assert spaces["far"]["indexed_slots"] == spaces["far"]["coded_slots"] == 0


def test_several_vectors_of_a_point_are_rounded_to_the_datatype(store):
    points = points_of(
        store,
        bytes=NewSpace("l1", kind="multi", datatype="uint8"),
        halves=NewSpace("ip", kind="multi", datatype="float16"),
    )
    items = [np.array([[1.5, 1000], [0.1, -3]], np.float32)]
    points.put(special(["a"], "bytes", items), ADD)
    points.put(special(["a"], "halves", items), UPSERT)
    assert vectors_in(points, "bytes")[0].tolist() == [[1, 255], [0, 0]]
    assert vectors_in(points, "halves")[0].tolist() == items[0].astype(np.float16).tolist()
    query = np.array([[1, 1], [2, 250]], np.float32)
    (hit,) = search(points, nearest_to("bytes", (query,), 1), Fields())
    assert hit.scores.tolist() == [-2 - 6]  # |1-0| + |1-0|, and |2-1| + |250-255|
    with pytest.raises(InvalidArgumentError, match="keeps float16"):
        points.put(special(["b"], "halves", [np.array([[70_000, 0]], np.float32)]), ADD)
    assert points.count() == 1


def test_a_dimension_that_is_given_is_fixed_from_the_start(store):
    points = points_of(
        store, v=NewSpace("l2", dimension=3), m=NewSpace("ip", kind="multi", dimension=2)
    )
    with pytest.raises(DimensionMismatchError, match="2 numbers.*vectors of 3"):
        points.put(batch(["a"], v=[[1, 2]]), ADD)
    with pytest.raises(DimensionMismatchError, match="3 numbers.*vectors of 2"):
        points.put(special(["a"], "m", [np.ones((1, 3), np.float32)]), ADD)
    (hits,) = search(points, nearest_to("v", np.ones((1, 3), np.float32), 5), Fields())
    assert hits.points.ids == []
    points.put(batch(["a"], v=[[1, 2, 3]]), ADD)
    assert vectors_in(points, "v").tolist() == [[1, 2, 3]]
    with pytest.raises(InvalidArgumentError, match="dimension 0; expected one from 1"):
        points.add_space("none", NewSpace("l2", dimension=0))


def test_spaces_report_their_parameters_and_number_of_points(store):
    points = points_of(store, v=NewSpace("cosine", datatype="uint8", dimension=2))
    points.add_space("words", NewSpace("ip", {"idf": True}, kind="sparse"))
    points.add_space("later", NewSpace("l1"))
    points.put(batch([1, 2, 3], v=np.ones((3, 2))), ADD)
    item = SparseVector(np.array([4], np.uint32), np.ones(1, np.float32))
    points.put(special([2, 3], "words", [item, item]), UPSERT)
    points.delete([3], None, None)
    points.put(batch([1], v=[[5, 5]]), UPSERT)
    assert points.spaces() == [
        SpaceRecord("v", "cosine", "dense", "uint8", 2, {}, 2),
        SpaceRecord("words", "ip", "sparse", "float32", None, {"idf": True}, 1),
        SpaceRecord("later", "l1", "dense", "float32", None, {}, 0),
    ]
    with pytest.raises(AlreadyExistsError, match="'later'"):
        points.add_space("later", NewSpace("l2"))
    with pytest.raises(NotFoundError, match="'other'"):
        points.drop_space("other")


def test_a_space_with_the_name_of_a_dropped_space_is_empty(store):
    points = points_of(store, v="l2", s=NewSpace("ip", kind="sparse"))
    points.put(batch([1, 2], v=[[1, 2], [3, 4]]), ADD)
    item = SparseVector(np.array([4], np.uint32), np.ones(1, np.float32))
    points.put(special([1, 2], "s", [item, item]), UPSERT)
    query = by_sparse("s", (item,), 5)
    assert search(points, query, Fields())[0].points.ids == [1, 2]
    assert search(points, nearest_to("v", np.ones((1, 2), np.float32), 5), Fields())
    for name, space in (("v", NewSpace("ip")), ("s", NewSpace("ip", kind="sparse"))):
        points.drop_space(name)
        assert name not in [space.name for space in points.spaces()]
        points.add_space(name, space)
    assert [space.count for space in points.spaces()] == [0, 0]
    assert search(points, query, Fields())[0].points.ids == []
    assert inside.descriptors(points.access) == 0  # the other is open no more
    points.put(batch([2], v=[[7, 7, 7]]), UPSERT)
    (hits,) = search(
        points, nearest_to("v", np.ones((1, 3), np.float32), 5), Fields(vectors=("v",))
    )
    assert (hits.points.ids, hits.points.vectors["v"].tolist()) == ([2], [[7, 7, 7]])


def test_the_files_of_a_space_that_was_dropped_are_removed_and_no_others(tmp_path):
    store = inside.opened(tmp_path)
    points = points_of(store, a="l2", b="l2")
    points.put(batch([1], a=[[1]], b=[[2]]), ADD)
    (folder,) = (file.parent for file in tmp_path.glob("*/points.sqlite"))
    assert {file.name for file in folder.glob("*.vectors")} == {"1.0.vectors", "2.0.vectors"}
    (folder / "9.0.vectors").write_bytes(b"of a number that no space has had yet")
    points.drop_space("a")
    points.add_space("a", NewSpace("l2"))
    points.put(batch([1], a=[[5]]), UPSERT)
    store.optimize(store.by_name("things").id, lambda *_: None)
    numbers = {int(file.name.split(".")[0]) for file in folder.glob("*.vectors")}
    assert numbers <= {2, 3, 9}
    assert 9 in numbers
    assert vectors_in(points, "a").tolist() == [[5]]
    assert vectors_in(points, "b").tolist() == [[2]]
    assert all(report.problem is None for report in store.verify(lambda _: None))
    store.close()


def test_maintenance_in_the_background_removes_the_files_of_a_dropped_space(tmp_path):
    store = inside.opened(tmp_path)
    points = points_of(store, a="l2", b="l2")
    points.put(batch([1], a=[[1]], b=[[2]]), ADD)
    (file,) = tmp_path.glob("*/1.0.vectors")
    points.drop_space("a")
    until(lambda: not file.exists(), "the file is still there")
    store.close()


def test_a_process_learns_that_a_space_was_dropped(tmp_path, monkeypatch):
    inside.without_background(monkeypatch)
    writer, other = inside.opened(tmp_path), inside.opened(tmp_path)
    points = points_of(writer, a="l2", b="l2")
    points.put(batch([1, 2], a=[[1], [2]], b=[[3], [4]]), ADD)
    reader = other.points(other.by_name("things").id)
    assert reader.get(None, None, None, 0, Fields(vectors=("b",))).ids == [1, 2]  # `a` unmapped
    held = inside.descriptors(reader.access)
    points.drop_space("a")
    assert vectors_in(reader, "b").tolist() == [[3], [4]]
    assert inside.descriptors(reader.access) < held
    inside.load_index(reader.access, "a")  # as the background may be about to
    points.add_space("a", NewSpace("l2"))
    points.put(batch([2], a=[[9, 9]]), UPSERT)
    writer.optimize(writer.by_name("things").id, lambda *_: None)
    assert np.array_equal(vectors_in(reader, "a"), [[np.nan] * 2, [9, 9]], equal_nan=True)
    reader.put(batch([1], a=[[8, 8]]), UPSERT)
    assert vectors_in(points, "a").tolist() == [[8, 8], [9, 9]]
    writer.close()
    other.close()


def test_a_reader_whose_file_is_removed_meanwhile_retries(tmp_path):
    writer, other = inside.opened(tmp_path), inside.opened(tmp_path)
    points = points_of(writer, a="l2", b="l2")
    points.put(batch([1], a=[[1]], b=[[3]]), ADD)
    reader = other.points(other.by_name("things").id)
    seen = []

    def look(view):
        seen.append(sorted(view.state.spaces))
        if len(seen) == 1:
            points.drop_space("a")
            inside.remove_leftovers(points.access)
        return inside.fetch_vectors(view, np.array([0]), "a").shape

    assert reader.access.read(look) == (1, 0)
    assert seen == [["a", "b"], ["b"]]
    writer.close()
    other.close()


def test_a_space_can_be_dropped_and_created_again_while_its_vectors_are_copied(store):
    points = points_of(store, a="l2", b="l2")
    points.put(batch([1, 2, 3], a=[[1], [2], [3]], b=[[4], [5], [6]]), ADD)
    points.delete([1], None, None)
    changed = []

    def change(done, total):
        if not changed:
            changed.append(points.drop_space("a"))
            points.add_space("a", NewSpace("l2"))
            points.put(batch([3], a=[[9, 9]]), UPSERT)

    store.optimize(store.by_name("things").id, change)
    assert changed
    assert np.array_equal(vectors_in(points, "a"), [[np.nan] * 2, [9, 9]], equal_nan=True)
    assert vectors_in(points, "b").tolist() == [[5], [6]]
    points.put(batch([2], a=[[7, 7]]), UPSERT)
    assert vectors_in(points, "a").tolist() == [[7, 7], [9, 9]]
    assert all(report.problem is None for report in store.verify(lambda _: None))
