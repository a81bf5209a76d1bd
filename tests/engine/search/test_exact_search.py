"""Collections too small for an index, compared with float64 brute force."""

import numpy as np
import pytest

import retrieval_store
from tests.helpers.indexed import with_codes
from tests.helpers.tuned import eager_codes, eager_indexes, eager_signs

WAYS = {
    "exact": lambda patch: None,
    "codes": eager_codes,
    "signs": eager_signs,
    "over-fetch": eager_indexes,
}


@pytest.mark.parametrize("size", [1e-3, 1e-12])
@pytest.mark.parametrize(
    "way",
    ["exact", "over-fetch", *(pytest.param(way, marks=with_codes) for way in ("codes", "signs"))],
)
def test_dot_products_of_small_vectors_keep_their_digits(way, size, tmp_path, monkeypatch):
    """1 - dot would lose them. Hits have that distance, but it isn't used for ranking."""
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
            request = {"where": {"tenth": 3}, "exact": way == "signs"}
            few = points.query(query_embeddings=query, n_results=10, **request)
            assert few["ids"][0] == [ids[i] for i in np.argsort(-dots) if i % 10 == 3][:10]
        assert np.mean(shares) > 0.7
