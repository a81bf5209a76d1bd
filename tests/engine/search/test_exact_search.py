"""Collections too small for an index, against float64 brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from tests.helpers.indexed import with_codes
from tests.helpers.oracle import brute_force
from tests.helpers.tuned import eager_codes, eager_indexes, eager_signs


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


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["l2", "ip", "cosine"]))
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


WAYS = {
    "exact": lambda patch: None,
    "codes": eager_codes,
    "signs": eager_signs,
    "over-fetch": eager_indexes,
}


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-8, 1e-12])
@pytest.mark.parametrize(
    "way",
    ["exact", "over-fetch", *(pytest.param(way, marks=with_codes) for way in ("codes", "signs"))],
)
def test_dot_products_of_small_vectors_keep_their_digits(way, size, tmp_path, monkeypatch):
    """1 - dot has lost them; that distance is what hits are told with, and not what ranks them."""
    WAYS[way](monkeypatch)
    random = np.random.default_rng(8)
    centres = np.repeat(random.standard_normal((150, 24)), 20, axis=0)
    rows = ((centres + 0.5 * random.standard_normal((3_000, 24))) * size).astype(np.float32)
    queries = rows[::700] + rows[1::700]
    settings = {"hnsw": {"space": "ip"}} | ({"recall": 0.9} if way == "signs" else {})
    ids = [str(i) for i in range(len(rows))]
    with retrieval_store.Client(path=tmp_path / "store") as client:
        points = client.create_collection("points", settings, embedding_function=None)
        points.add(ids=ids, embeddings=rows, metadatas=[{"tenth": i % 10} for i in range(3_000)])
        points.optimize()
        plans = points.explain(query_embeddings=queries)["plans"]
        assert [plan["method"] for plan in plans][:1] == [way]
        shares = []
        for query in queries:
            dots = rows.astype(np.float64) @ query.astype(np.float64)
            best = np.argsort(-dots)[:10]
            for exact in (True, False, False):
                found = points.query(query_embeddings=query, n_results=10, exact=exact)
                assert np.allclose(
                    found["scores"][0], dots[[int(i) for i in found["ids"][0]]], 1e-12, 0
                )
                assert np.allclose(
                    found["distances"][0], 1 - np.array(found["scores"][0]), 0, 1e-15
                )
                same = np.isin(best, [int(i) for i in found["ids"][0]]).sum()
                shares.append(same / 10)
                assert same == 10 or (way in ("signs", "over-fetch") and not exact)
            asked = {"where": {"tenth": 3}, "exact": way == "signs"}
            few = points.query(query_embeddings=query, n_results=10, **asked)
            assert few["ids"][0] == [ids[i] for i in np.argsort(-dots) if i % 10 == 3][:10]
        assert np.mean(shares) > 0.7
