"""Sparse vectors against scipy, several vectors a point against plain loops."""

import numpy as np
import pytest
import scipy.sparse

from retrieval_store.base.arrays import SparseVector
from retrieval_store.engine.store import Store
from retrieval_store.errors import DimensionMismatchError, InvalidArgumentError
from retrieval_store.filters.expression import Range
from retrieval_store.interface.points import Fields, PointBatch, SpecialVectors, Vectors
from retrieval_store.interface.queries import MultiQuery, Query, SparseQuery
from retrieval_store.interface.spaces import NewSpace

from .test_engine import ADD, UPSERT

TERMS, POINTS = 500, 300


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    store = Store(tmp_path if request.param == "disk" else None, "full")
    yield store
    store.close()


def points_of(store, **spaces):
    return store.points(store.create("things", {}, spaces).id)


def sparse_items(count, seed=0, dense=0.03):
    matrix = scipy.sparse.random(count, TERMS, dense, "csr", np.float32, random_state=seed)
    matrix.sort_indices()
    return matrix, [
        SparseVector(row.indices.astype(np.uint32), row.data)
        for row in (matrix[i] for i in range(count))
    ]


def put(points, ids, items, rules=UPSERT, **more):
    points.put(PointBatch(ids, {"s": SpecialVectors(items)}, **more), rules)


def check(points, held, queries, query_items, k, expression=None, allowed=lambda i: True):
    """Compare with the matrix product of scipy; held: id → row of a csr matrix."""
    ids = [i for i in held if allowed(i)]
    hits = points.search(SparseQuery("s", tuple(query_items), k, expression), Fields(vectors="s"))
    stacked = scipy.sparse.vstack([held[i] for i in ids])
    for i, hit in enumerate(hits):
        scores = (stacked @ queries[i].T).toarray()[:, 0]
        sharing = np.asarray((abs(stacked) @ abs(queries[i]).T).todense())[:, 0] > 0
        order = [j for j in np.argsort(-scores, kind="stable") if sharing[j]][:k]
        assert np.allclose(hit.scores, scores[order], rtol=1e-5, atol=1e-6)
        assert len(hit.points.ids) == len(order)
        assert hit.distances is None
        for point_id, item in zip(hit.points.ids, hit.points.special, strict=True):
            assert item.indices.tolist() == held[point_id].indices.tolist()
            assert item.values.tolist() == held[point_id].data.tolist()


def test_scores_are_those_of_scipy_under_filters_updates_and_deletes(store):
    points = points_of(store, s=NewSpace("ip", kind="sparse"))
    matrix, items = sparse_items(POINTS)
    put(points, list(range(POINTS)), items, ADD, payloads=[{"n": i} for i in range(POINTS)])
    held = {i: matrix[i] for i in range(POINTS)}
    queries, query_items = sparse_items(20, 1, 0.1)
    check(points, held, queries, query_items, 10)
    check(points, held, queries, query_items, 10, Range(("n",), lt=40), lambda i: i < 40)
    other, other_items = sparse_items(50, 2)
    put(points, list(range(100, 150)), other_items)
    held.update({i: other[i - 100] for i in range(100, 150)})
    check(points, held, queries, query_items, 10)
    points.delete(list(range(50)), None, None)
    for i in range(50):
        del held[i]
    check(points, held, queries, query_items, 400)
    store.optimize(store.named("things").id, lambda *_: None)
    check(points, held, queries, query_items, 10)


def test_negative_values_and_points_without_a_vector(store):
    points = points_of(store, s=NewSpace("ip", kind="sparse"))
    item = SparseVector(np.array([3, 2**32 - 1], np.uint32), np.array([-1, 2], np.float32))
    put(points, ["a"], [item])
    points.put(PointBatch(["none"]), UPSERT)
    (hit,) = points.search(SparseQuery("s", (item,), 5), Fields())
    assert (hit.points.ids, hit.scores.tolist()) == (["a"], [5.0])
    other = SparseVector(np.array([3], np.uint32), np.array([1], np.float32))
    (hit,) = points.search(SparseQuery("s", (other,), 5), Fields(vectors="s"))
    assert hit.scores.tolist() == [-1.0]
    got = points.get(["a", "none"], None, None, 0, Fields(vectors="s"))
    assert got.special[1] is None
    assert got.special[0].indices.tolist() == [3, 2**32 - 1]


def test_rare_indices_weigh_more_by_idf(store):
    points = points_of(store, s=NewSpace("ip", {"idf": True}, kind="sparse"))
    common, rare = np.array([1], np.uint32), np.array([2], np.uint32)
    one = np.ones(1, np.float32)
    items = [SparseVector(common, one)] * 9 + [SparseVector(rare, one)]
    put(points, list(range(10)), items)
    query = SparseVector(np.array([1, 2], np.uint32), np.ones(2, np.float32))
    (hit,) = points.search(SparseQuery("s", (query,), 2), Fields())
    assert hit.points.ids == [9, 0]
    assert hit.scores[0] == pytest.approx(np.log1p((10 - 1 + 0.5) / 1.5))
    assert hit.scores[1] == pytest.approx(np.log1p((10 - 9 + 0.5) / 9.5))


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
        {"m": SpecialVectors(matrices), "v": Vectors(dense)},
        payloads=[{"n": i} for i in range(80)],
    )
    points.put(batch, ADD)
    query = numbers.standard_normal((4, 6)).astype(np.float32)
    scores = np.array([max_sim(query, matrix, metric) for matrix in matrices])
    (hit,) = points.search(MultiQuery("m", (query,), 5), Fields(vectors="m"))
    order = np.argsort(-scores, kind="stable")
    assert hit.points.ids == order[:5].tolist()
    assert np.allclose(hit.scores, scores[order[:5]], rtol=1e-5)
    assert np.array_equal(hit.points.special[0], matrices[order[0]])
    (hit,) = points.search(MultiQuery("m", (query,), 5, Range(("n",), lt=20)), Fields())
    assert hit.points.ids == [i for i in order if i < 20][:5]
    near = Query("v", query.mean(axis=0, keepdims=True), 30)
    (hit,) = points.search(MultiQuery("m", (query,), 5, candidates=near), Fields())
    (chosen,) = points.search(near, Fields())
    assert hit.points.ids == [i for i in order if i in chosen.points.ids][:5]
    told = points.explain(MultiQuery("m", (query,), 5, candidates=near), Fields())
    assert told["legs"] == {"candidates": [30]}
    points.put(PointBatch([7], {"m": SpecialVectors([query * 9])}), UPSERT)
    points.delete([int(order[0])], None, None)
    left = [i for i in order[1:6] if i != 7][:2]
    (hit,) = points.search(MultiQuery("m", (query,), 9), Fields())
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
    points.put(PointBatch(["second"], {"m": SpecialVectors([matrix])}), ADD)
    for space, vectors, error in (
        ("s", Vectors(matrix), InvalidArgumentError),
        ("s", SpecialVectors([matrix, matrix]), InvalidArgumentError),
        ("m", SpecialVectors([item, item]), InvalidArgumentError),
        ("v", SpecialVectors([item, item]), InvalidArgumentError),
        ("m", SpecialVectors([matrix, matrix[:, :2]]), DimensionMismatchError),
        ("m", SpecialVectors([matrix, matrix[:0]]), InvalidArgumentError),
    ):
        with pytest.raises(error):
            points.put(PointBatch(["a", "b"], {space: vectors}), UPSERT)
    assert points.count() == 2
    with pytest.raises(InvalidArgumentError, match="no sparse vector space 'm'"):
        points.search(SparseQuery("m", (item,), 1), Fields())
    with pytest.raises(DimensionMismatchError):
        points.search(MultiQuery("m", (matrix[:, :2],), 1), Fields())


def test_bm25_vectors_rank_as_bm25_does(store):
    from retrieval_store import plugins
    from retrieval_store.embeddings.bm25 import BM25Embedding

    from .test_words import bm25

    documents = [
        "the river bank was muddy and the river high",
        "a bank raised rates",
        "dogs bark at the bank by the river of dogs and cats",
        "nothing of that kind",
    ]
    embed = plugins.load(plugins.SPARSE_EMBEDDING_FUNCTIONS, "bm25")(
        language=None, stopwords=False, average_length=sum(len(d.split()) for d in documents) / 4
    )
    assert type(embed) is BM25Embedding
    assert type(embed)(**embed.settings()).settings() == embed.settings()
    points = points_of(store, s=NewSpace("ip", {"idf": True}, kind="sparse"))
    put(points, list(range(4)), embed(documents))
    for query in ("river bank", "dogs and cats", "rates"):
        (hit,) = points.search(SparseQuery("s", tuple(embed.embed_query([query])), 4), Fields())
        scores = bm25(documents, query)
        expected = sorted((s for s in scores if s), reverse=True)
        assert np.allclose(hit.scores, expected, rtol=1e-5)


def test_bm25_vectors_have_the_form_of_qdrants(store):
    import mmh3

    from retrieval_store.embeddings.bm25 import BM25Embedding

    embed = BM25Embedding()
    (document,) = embed(["The houses, the HOUSES of the river"])
    indices = {abs(mmh3.hash("hous")): 2, abs(mmh3.hash("river")): 1}
    assert document.indices.tolist() == sorted(indices)
    damping = 1.2 * (1 - 0.75 + 0.75 * 3 / 256)
    expected = [indices[i] * 2.2 / (indices[i] + damping) for i in sorted(indices)]
    assert np.allclose(document.values, expected)
    (query,) = embed.embed_query(["houses house river the"])
    assert query.indices.tolist() == sorted(indices)
    assert query.values.tolist() == [1, 1]
    assert [len(vector.indices) for vector in embed(["", "the"])] == [0, 0]
    with pytest.raises(InvalidArgumentError, match="b is 2"):
        BM25Embedding(b=2)
