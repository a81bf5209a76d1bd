"""Equally good points come in the order of first insertion, though servers change their own
order."""

from contextlib import closing

import numpy as np
import pytest

import retrieval_store
from tests.helpers.qdrant_server import Server
from tests.helpers.tuned import tuned


@pytest.fixture
def store():
    server = Server(shards=3, seed=3)
    with closing(server.client()) as qdrant:
        yield retrieval_store.Client(qdrant_client=qdrant)
    server.close()


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_points_at_one_distance_come_in_the_order_of_first_insertion(store, metric):
    things = store.create_collection("things", {"hnsw": {"space": metric}}, embedding_function=None)
    places = np.arange(300) % 4  # 75 points at each of four places
    angles = places * np.pi / 8
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ids = [f"p{i}" for i in np.random.default_rng(0).permutation(300)]
    things.add(ids=ids, embeddings=vectors)
    best = sorted(range(300), key=lambda i: (places[i], i))
    for k in (1, 10, 75, 76, 200, 300):
        found = things.query(query_embeddings=[1.0, 0.0], n_results=k)["ids"][0]
        assert found == [ids[i] for i in best[:k]]


def test_documents_of_one_score_come_in_the_order_of_first_insertion():
    server = Server(seed=4)  # one shard, since each has an idf of its own
    with closing(server.client()) as qdrant:
        things = retrieval_store.Client(qdrant_client=qdrant).create_collection(
            "things", embedding_function=None
        )
        ids = [f"p{i}" for i in np.random.default_rng(0).permutation(60)]
        texts = [f"a place {i}" if i % 3 else f"place {i} of places" for i in range(60)]
        things.add(ids=ids, embeddings=np.zeros((60, 1)), documents=texts)
        best = sorted(range(60), key=lambda i: i % 3 == 0)
        for k in (1, 9, 40, 41, 60):
            found = things.query(query_texts="place", mode="text", n_results=k)["ids"][0]
            assert found == [ids[i] for i in best[:k]]
    server.close()


def test_a_bounded_number_of_ties_is_compared(store, monkeypatch):
    tuned(monkeypatch, cluster_ties=50)
    things = store.create_collection("things", embedding_function=None)
    ids = [f"p{i}" for i in range(2_000)]
    things.add(ids=ids, embeddings=np.zeros((2_000, 1)))
    explanation = things.explain(query_embeddings=[0.0], n_results=3)
    assert explanation["requests"] <= 3
    found = things.query(query_embeddings=[0.0], n_results=3)["ids"][0]
    assert len(set(found)) == 3
