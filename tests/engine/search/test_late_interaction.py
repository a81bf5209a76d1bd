"""Several vectors per point, compared with plain loops."""

import numpy as np
import pytest

from retrieval_store.base.arrays import SparseVector
from retrieval_store.errors import DimensionMismatchError, InvalidArgumentError
from retrieval_store.filters.expression import Range
from retrieval_store.query.query import Query
from retrieval_store.query.types import Fields, NewSpace, NonDenseVectors, PointBatch, Vectors
from tests.helpers.batches import ADD, UPSERT, points_of, put
from tests.helpers.questions import by_sparse, nearest_to, search
from tests.helpers.tuned import tuned


def max_sim(query, matrix, metric):
    total = 0.0
    for one in query.astype(float):
        best = -np.inf
        for other in matrix.astype(float):
            if metric == "l2":
                value = -((one - other) ** 2).sum()
            else:
                value = one @ other
                if metric == "cosine":
                    value /= np.linalg.norm(one) * np.linalg.norm(other)
            best = max(best, value)
        total += best
    return total


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_late_interaction_is_the_sum_of_the_best_matches(store, metric):
    numbers = np.random.default_rng(3)
    points = points_of(store, m=NewSpace(metric, kind="multi"), v=NewSpace("l2"))
    matrices = [
        numbers.standard_normal((numbers.integers(1, 7), 6)).astype(np.float32) for _ in range(80)
    ]
    dense = np.stack([matrix.mean(axis=0) for matrix in matrices])
    batch = PointBatch(
        list(range(80)),
        {"m": NonDenseVectors(matrices), "v": Vectors(dense)},
        payloads=[{"n": i} for i in range(80)],
    )
    points.put(batch, ADD)
    query = numbers.standard_normal((4, 6)).astype(np.float32)
    scores = np.array([max_sim(query, matrix, metric) for matrix in matrices])
    (hit,) = search(points, nearest_to("m", (query,), 5), Fields(vectors=("m",)))
    order = np.argsort(-scores, kind="stable")
    assert hit.points.ids == order[:5].tolist()
    assert np.allclose(hit.scores, scores[order[:5]], rtol=1e-5)
    assert np.array_equal(hit.points.vectors["m"][0], matrices[order[0]])
    (hit,) = search(points, nearest_to("m", (query,), 5, Range(("n",), lt=20)), Fields())
    assert hit.points.ids == [i for i in order if i < 20][:5]
    near = nearest_to("v", query.mean(axis=0, keepdims=True), 30)
    (hit,) = search(points, nearest_to("m", (query,), 5, prefetch=(near,)), Fields())
    (chosen,) = search(points, near, Fields())
    assert hit.points.ids == [i for i in order if i in chosen.points.ids][:5]
    explanation = points.explain(Query((nearest_to("m", (query,), 5, prefetch=(near,)),), Fields()))
    assert explanation["legs"] == {"v": [30]}
    points.put(PointBatch([7], {"m": NonDenseVectors([query * 9])}), UPSERT)
    points.delete([int(order[0])], None, None)
    left = [i for i in order[1:6] if i != 7][:2]
    (hit,) = search(points, nearest_to("m", (query,), 9), Fields())
    assert not {int(order[0])} & set(hit.points.ids)
    assert set(left) <= set(hit.points.ids)


def test_vectors_of_another_kind_or_dimension_are_refused_and_nothing_is_written(store):
    points = points_of(
        store,
        s=NewSpace("ip", kind="sparse"),
        m=NewSpace("ip", kind="multi"),
        v=NewSpace("ip"),
    )
    item = SparseVector(np.array([1], np.uint32), np.ones(1, np.float32))
    matrix = np.ones((2, 3), np.float32)
    put(points, ["first"], [item])
    points.put(PointBatch(["second"], {"m": NonDenseVectors([matrix])}), ADD)
    for space, vectors, error in (
        ("s", Vectors(matrix), InvalidArgumentError),
        ("s", NonDenseVectors([matrix, matrix]), InvalidArgumentError),
        ("m", NonDenseVectors([item, item]), InvalidArgumentError),
        ("v", NonDenseVectors([item, item]), InvalidArgumentError),
        ("m", NonDenseVectors([matrix, matrix[:, :2]]), DimensionMismatchError),
        ("m", NonDenseVectors([matrix, matrix[:0]]), InvalidArgumentError),
    ):
        with pytest.raises(error):
            points.put(PointBatch(["a", "b"], {space: vectors}), UPSERT)
    assert points.count() == 2
    with pytest.raises(InvalidArgumentError, match="no sparse vector space 'm'"):
        search(points, by_sparse("m", (item,), 1), Fields())
    with pytest.raises(DimensionMismatchError):
        search(points, nearest_to("m", (matrix[:, :2],), 1), Fields())


@pytest.mark.parametrize("metric", ["cosine", "l1"])
def test_cached_vectors_reflect_every_write(store, metric):
    numbers = np.random.default_rng(5)
    points = points_of(store, m=NewSpace(metric, kind="multi"))

    def random_vectors(count):
        shapes = [(numbers.integers(1, 5), 6) for _ in range(count)]
        return [numbers.standard_normal(shape).astype(np.float32) for shape in shapes]

    held = dict(enumerate(random_vectors(300)))

    def check():
        query = numbers.standard_normal((3, 6)).astype(np.float32)
        scores = {i: score_of(query, matrix, metric) for i, matrix in held.items()}
        best = sorted(held, key=lambda i: -scores[i])[:7]
        (hit,) = search(points, nearest_to("m", (query,), 7), Fields())
        assert hit.points.ids == best
        assert np.allclose(hit.scores, [scores[i] for i in best], rtol=1e-5)
        (hit,) = search(points, nearest_to("m", (query,), 1_000), Fields())
        assert sorted(hit.points.ids) == sorted(held)

    def write(new):
        points.put(PointBatch([*new], {"m": NonDenseVectors([*new.values()])}), UPSERT)
        held.update(new)

    write(dict(held))
    check()
    write(dict(zip([5, 6, 299], random_vectors(3), strict=True)))
    check()
    write(dict(zip(range(300, 420), random_vectors(120), strict=True)))
    check()
    points.delete([0, 6, 301], None, None)
    for gone in (0, 6, 301):
        del held[gone]
    check()
    points.transact(lambda changes: changes.delete_vectors([7, 8], None, ["m"], strict=True))
    del held[7], held[8]
    check()
    assert points.stats()["memory"]["several"] > 0


def score_of(query, matrix, metric):
    if metric != "l1":
        return max_sim(query, matrix, metric)
    distances = np.abs(query[:, None].astype(float) - matrix[None].astype(float)).sum(axis=2)
    return -distances.min(axis=1).sum()


def test_vectors_that_float32_cannot_multiply_are_still_ranked(store):
    points = points_of(store, m=NewSpace("ip", kind="multi"))
    matrices = [np.full((2, 3), 1e30 * (i + 1), np.float32) for i in range(100)]
    points.put(PointBatch(list(range(100)), {"m": NonDenseVectors(matrices)}), ADD)
    query = np.full((1, 3), 1e30, np.float32)
    (hit,) = search(points, nearest_to("m", (query,), 2), Fields())
    assert hit.points.ids == [99, 98]


def test_few_points_are_read_without_caching_all(store):
    numbers = np.random.default_rng(6)
    points = points_of(store, m=NewSpace("ip", kind="multi"))
    matrices = [numbers.standard_normal((2, 3)).astype(np.float32) for _ in range(400)]
    batch = PointBatch(
        list(range(400)), {"m": NonDenseVectors(matrices)}, payloads=[{"n": i} for i in range(400)]
    )
    points.put(batch, ADD)
    query = nearest_to("m", (matrices[3],), 1, Range(("n",), lt=5))
    search(points, query, Fields())
    assert points.stats()["memory"]["several"] == 0
    for _ in range(20):
        (hit,) = search(points, query, Fields())
    assert points.stats()["memory"]["several"] > 0
    scores = [max_sim(matrices[3], matrix, "ip") for matrix in matrices[:5]]
    assert hit.points.ids == [int(np.argmax(scores))]


@pytest.mark.parametrize("metric", ["l2"])
def test_pieces_of_any_size_give_the_same(store, metric, monkeypatch):
    numbers = np.random.default_rng(5)
    points = points_of(store, m=NewSpace(metric, kind="multi"))
    matrices = [
        numbers.standard_normal((numbers.integers(1, 40), 6)).astype(np.float32) for _ in range(300)
    ]
    payloads = [{"n": i} for i in range(300)]
    points.put(PointBatch(list(range(300)), {"m": NonDenseVectors(matrices)}, payloads), ADD)
    query = numbers.standard_normal((5, 6)).astype(np.float32)
    queries = [nearest_to("m", (query,), 9, Range(("n",), lt=20)), nearest_to("m", (query,), 9)]

    def answers():  # of few points, which are read, and of all, which are kept in memory
        return [search(points, question, Fields())[0] for question in queries * 10]

    whole = answers()
    for most in (1, 300, 5_000):
        tuned(monkeypatch, multivector_numbers=most)
        for one, other in zip(answers(), whole, strict=True):
            assert one.points.ids == other.points.ids
            assert np.allclose(one.scores, other.scores, rtol=1e-12)
