"""Sparse vectors compared with scipy."""

import numpy as np
import pytest
import scipy.sparse

from retrieval_store import plugins
from retrieval_store.base.arrays import SparseVector
from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.expression import Range
from retrieval_store.query.types import Fields, NewSpace, PointBatch
from tests.helpers.batches import ADD, POINTS, UPSERT, points_of, put, sparse_items
from tests.helpers.oracle import bm25
from tests.helpers.questions import by_sparse, search


def check(points, held, queries, query_items, k, expression=None, allowed=lambda i: True):
    """Compare with the matrix product of scipy; held: id → row of a csr matrix."""
    ids = [i for i in held if allowed(i)]
    hits = search(points, by_sparse("s", tuple(query_items), k, expression), Fields(vectors=("s",)))
    stacked = scipy.sparse.vstack([held[i] for i in ids])
    for i, hit in enumerate(hits):
        scores = (stacked @ queries[i].T).toarray()[:, 0]
        sharing = np.asarray((abs(stacked) @ abs(queries[i]).T).todense())[:, 0] > 0
        order = [j for j in np.argsort(-scores, kind="stable") if sharing[j]][:k]
        assert np.allclose(hit.scores, scores[order], rtol=1e-5, atol=1e-6)
        assert len(hit.points.ids) == len(order)
        assert hit.distances is None
        for point_id, item in zip(hit.points.ids, hit.points.vectors["s"], strict=True):
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
    store.optimize(store.by_name("things").id, lambda *_: None)
    check(points, held, queries, query_items, 10)


def test_negative_values_and_points_without_a_vector(store):
    points = points_of(store, s=NewSpace("ip", kind="sparse"))
    item = SparseVector(np.array([3, 2**32 - 1], np.uint32), np.array([-1, 2], np.float32))
    put(points, ["a"], [item])
    points.put(PointBatch(["none"]), UPSERT)
    (hit,) = search(points, by_sparse("s", (item,), 5), Fields())
    assert (hit.points.ids, hit.scores.tolist()) == (["a"], [5.0])
    other = SparseVector(np.array([3], np.uint32), np.array([1], np.float32))
    (hit,) = search(points, by_sparse("s", (other,), 5), Fields(vectors=("s",)))
    assert hit.scores.tolist() == [-1.0]
    got = points.get(["a", "none"], None, None, 0, Fields(vectors=("s",)))
    assert got.vectors["s"][1] is None
    assert got.vectors["s"][0].indices.tolist() == [3, 2**32 - 1]


def test_rare_indices_weigh_more_by_idf(store):
    points = points_of(store, s=NewSpace("ip", {"idf": True}, kind="sparse"))
    common, rare = np.array([1], np.uint32), np.array([2], np.uint32)
    one = np.ones(1, np.float32)
    items = [SparseVector(common, one)] * 9 + [SparseVector(rare, one)]
    put(points, list(range(10)), items)
    query = SparseVector(np.array([1, 2], np.uint32), np.ones(2, np.float32))
    (hit,) = search(points, by_sparse("s", (query,), 2), Fields())
    assert hit.points.ids == [9, 0]
    assert hit.scores[0] == pytest.approx(np.log1p((10 - 1 + 0.5) / 1.5))
    assert hit.scores[1] == pytest.approx(np.log1p((10 - 9 + 0.5) / 9.5))


def test_bm25_vectors_rank_as_bm25_does(store):
    from retrieval_store.embeddings.bm25 import BM25Embedding

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
        (hit,) = search(points, by_sparse("s", tuple(embed.embed_query([query])), 4), Fields())
        scores = bm25(documents, query)
        expected = sorted((s for s in scores if s), reverse=True)
        assert np.allclose(hit.scores, expected, rtol=1e-5)


def test_bm25_vectors_have_the_form_of_qdrants(store):
    import mmh3

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
