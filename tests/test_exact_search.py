"""Exact neighbours against float64 brute force, also where float32 arithmetic is treacherous."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.indexes.exact import length_of, nearest, norms_of

METRICS = ("l2", "ip", "cosine")
CLOUDS = {
    "around the origin": lambda random, shape: random.standard_normal(shape),
    "far from the origin": lambda random, shape: random.standard_normal(shape) + 1_000,
    "very far": lambda random, shape: random.standard_normal(shape) + 1e6,
    "tiny": lambda random, shape: random.standard_normal(shape) * 1e-30,
    "huge": lambda random, shape: random.standard_normal(shape) * 1e20,
    "of lengths that differ widely": lambda random, shape: (
        random.standard_normal(shape) * np.exp(4 * random.standard_normal((shape[0], 1)))
    ),
    "with many ties": lambda random, shape: random.integers(0, 2, shape),
}


def brute_force(query, rows, metric):
    """float64 distances of all rows."""
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    dots = rows @ query
    if metric == "ip":
        return 1 - dots
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1 - np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("share", [None, 0.5, 0.02])
def test_neighbours_are_those_of_brute_force(metric, cloud, share):
    random = np.random.default_rng(7)
    rows = CLOUDS[cloud](random, (3_000, 48)).astype(np.float32)
    rows[10], rows[20] = 0, rows[30]
    queries = np.vstack([CLOUDS[cloud](random, (4, 48)), rows[30:31]]).astype(np.float32)
    slots = None if share is None else np.flatnonzero(random.random(len(rows)) < share)
    lengths = [length_of(query) for query in queries]
    answers = nearest(queries, lengths, rows, norms_of(rows), metric, 10, slots)
    for query, (found, distances) in zip(queries, answers, strict=True):
        truth = brute_force(query, rows, metric)
        allowed = np.arange(len(rows)) if slots is None else slots
        expected = np.sort(truth[allowed])[:10]
        scale = max(1.0, float(np.abs(expected).max())) if metric != "l2" else 0
        assert np.allclose(np.sort(distances)[:10], expected, rtol=1e-9, atol=1e-12 * scale)
        assert set(found.tolist()) <= set(allowed.tolist())


@pytest.mark.parametrize("metric", METRICS)
def test_equal_vectors_have_equal_distances_wherever_they_stand(metric):
    random = np.random.default_rng(3)
    rows = random.standard_normal((2_001, 37)).astype(np.float32)
    rows[[0, 5, 999, 1_000, 1_999, 2_000]] = rows[0]
    query = rows[:1] + 1
    ((found, distances),) = nearest(
        query, [length_of(query[0])], rows, norms_of(rows), metric, 2_001, None
    )
    same = distances[np.isin(found, [0, 5, 999, 1_000, 1_999, 2_000])]
    assert len(same) == 6
    assert len(np.unique(same)) == 1


def test_one_call_with_many_queries_answers_as_many_calls_do():
    random = np.random.default_rng(5)
    rows = random.standard_normal((5_000, 16)).astype(np.float32)
    with retrieval_store.Client() as client:
        collection = client.create_collection("points", embedding_function=None)
        collection.add(ids=[str(i) for i in range(5_000)], embeddings=rows)
        queries = random.standard_normal((900, 16))
        together = collection.query(query_embeddings=queries, n_results=3)
        for i in (0, 450, 899):
            alone = collection.query(query_embeddings=queries[i], n_results=3)
            assert alone["ids"][0] == together["ids"][i]
            assert alone["distances"][0] == together["distances"][i]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(METRICS))
def test_updates_and_deletes_never_leave_old_vectors_behind(seed, metric):
    random = np.random.default_rng(seed)
    held: dict[str, np.ndarray] = {}
    with retrieval_store.Client() as client:
        configuration = {"hnsw": {"space": metric}}
        collection = client.create_collection("points", configuration, embedding_function=None)
        for _ in range(8):
            ids = [str(i) for i in random.choice(60, random.integers(1, 30), replace=False)]
            if random.random() < 0.3 and held:
                collection.delete(ids=ids)
                held = {i: v for i, v in held.items() if i not in ids}
            else:
                vectors = random.integers(-3, 4, (len(ids), 3)).astype(np.float32)
                collection.upsert(ids=ids, embeddings=vectors)
                held.update(zip(ids, vectors, strict=True))
            query = random.integers(-3, 4, 3).astype(np.float32)
            result = collection.query(query_embeddings=query, n_results=7, include=["distances"])
            if held:
                truth = brute_force(query, np.array(list(held.values())), metric)
                assert np.allclose(result["distances"][0], np.sort(truth)[:7], atol=1e-9)
                found = np.array([held[i] for i in result["ids"][0]])
                assert np.allclose(brute_force(query, found, metric), result["distances"][0])
            else:
                assert result["ids"] == [[]]
