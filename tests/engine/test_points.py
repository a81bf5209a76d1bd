"""The engine below Collection: typed ids, named spaces, points with vectors in some of them."""

import apsw
import numpy as np
import pytest

from retrieval_store.filters.expression import HasId, OneOf
from retrieval_store.query.types import Fields, PointBatch
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, batch, points_of
from tests.helpers.questions import nearest_to, search


def test_strings_and_integers_are_different_ids(store):
    points = points_of(store, v="l2")
    ids = ["1", 1, 0, 2**64 - 1, 2**63, "18446744073709551615", "a\0b", "a"]
    points.put(batch(ids, v=[[i] for i in range(8)]), ADD)
    assert points.get(None, None, None, 0, Fields()).ids == ids
    for i, point_id in enumerate(ids):
        (hits,) = search(
            points, nearest_to("v", np.array([[i]], np.float32), 1, HasId((point_id,))), Fields()
        )
        assert hits.points.ids == [point_id]
        assert hits.distances.tolist() == [0]
    assert points.delete([1, "a"], None, None) == 2
    assert points.get(["1", 1, "a\0b", "a"], None, None, 0, Fields()).ids == ["1", "a\0b"]


def test_named_spaces_have_their_own_metric_and_dimension(store):
    points = points_of(store, image="cosine", text="ip")
    points.put(batch(["both"], image=[[1, 0]], text=[[1, 2, 3]]), ADD)
    points.put(batch(["only text"], text=[[3, 2, 1]]), ADD)
    points.put(batch(["neither"]), ADD)
    query = nearest_to("image", np.array([[0, 2]], np.float32), 9)
    (images,) = search(points, query, Fields(vectors=("text",)))
    assert images.points.ids == ["both"]
    assert images.distances.tolist() == [1]
    assert images.points.vectors["text"].tolist() == [[1, 2, 3]]
    (texts,) = search(
        points, nearest_to("text", np.array([[1, 1, 2]], np.float32), 9, None), Fields()
    )
    assert texts.points.ids == ["both", "only text"]
    assert texts.distances.tolist() == [1 - 9, 1 - 7]
    vectors = points.get(None, None, None, 0, Fields(vectors=("image",))).vectors["image"]
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True]


def test_keys_are_never_reused(tmp_path):
    store = inside.opened(tmp_path)
    points = points_of(store, v="l2")
    for _ in range(3):
        points.put(batch(["a", "b"], v=[[1], [2]]), ADD)
        points.delete(["a", "b"], None, None)
    points.put(batch(["c"], v=[[3]]), ADD)
    store.close()
    (file,) = tmp_path.glob("*/points.sqlite")
    database = apsw.Connection(str(file))
    assert database.execute("SELECT pk FROM points").fetchall() == [(6,)]
    database.close()


# files


def test_ids_that_no_point_can_have_are_missing(store):
    points = points_of(store, v="l2")
    points.put(batch([1, "a"], v=[[1], [2]]), ADD)
    odd = [-1, 2**64, 10**30, "\ud800", "a\ud800", "\0"]
    assert points.get([*odd, "a"], None, None, 0, Fields()).ids == ["a"]
    assert points.delete(odd, None, None) == 0
    assert points.get(None, HasId((*odd, 1)), None, 0, Fields()).ids == [1]


def test_a_programming_error_is_not_damage_and_is_raised_unchanged(store, monkeypatch):
    points = points_of(store, v="l2")
    points.put(batch(["a"], v=np.ones((1, 2), np.float32)), ADD)
    looked = steps.noted(monkeypatch, "verify_collection")
    for error in (KeyError("a name"), IndexError("out of range"), TypeError("of none")):
        with pytest.raises(type(error)):
            points.access.read(lambda view, error=error: raised(error))
        with pytest.raises(type(error)):
            points.access.write(lambda write, error=error: raised(error))
    assert len(looked) == (store.directory is not None)  # the files are looked at once
    assert points.count() == 1


def raised(error):
    raise error


def test_a_sample_is_spread_over_all_points_that_match(store):
    points = points_of(store, v="l2")
    ids = list(range(1_000))
    points.put(PointBatch(ids, {}, [{"half": i // 500, "i": i} for i in ids]), ADD)

    def sample(expression, size):
        found = points.sample(expression, size, Fields(payload=True))
        assert found.ids == [payload["i"] for payload in found.payloads]
        return found.ids

    drawn = sample(None, 100)
    assert drawn == sample(None, 100) == sorted(set(drawn))
    assert (len(drawn), drawn[0], drawn[-1]) == (100, 0, 999)
    gaps = np.diff(drawn)
    assert 1 <= gaps.min() < gaps.max() <= 30  # of no equal length, as values may come in turn
    second = OneOf(("half",), (1,))
    assert sample(second, 1_000) == ids[500:]
    drawn = sample(second, 7)
    assert (len(drawn), drawn[0], drawn[-1]) == (7, 500, 999)
    points.delete(ids[900:], None, None)
    assert sample(second, 3)[-1] == 899
    assert sample(None, 1) == [0]
    assert sample(OneOf(("half",), (2,)), 5) == []
