"""Indexes after interruptions, with unusual data, and after tampering."""

import json
import zlib

import numpy as np
import pytest

import retrieval_store
from retrieval_store.indexes.hnsw import HEADER
from tests.helpers import inside, steps
from tests.helpers.indexed import DIMENSION, SMALL, cloud, index_file, populated, space_of
from tests.helpers.tuned import tuned

pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("eager")]


def recall(things, queries=None, k=10):
    queries = cloud(40, 99) if queries is None else queries
    found = things.query(query_embeddings=queries, n_results=k)["ids"]
    exact = things.query(query_embeddings=queries, n_results=k, exact=True)["ids"]
    assert all(len(ids) == k for ids in found)
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(found, exact, strict=True)])


def sql(store, statement, *parameters):
    (file,) = store.glob("*/points.sqlite")
    connection = inside.database_of_points(file)
    connection.execute(statement, parameters)
    connection.close()


def test_a_compaction_that_was_interrupted_leaves_no_index_behind(client, monkeypatch):
    things = populated(client, 3_000)
    things.optimize()
    things.delete(ids=[str(i) for i in range(0, 3_000, 30)])
    tuned(monkeypatch, slice_bytes=16 * 1024)
    calls = []

    def interrupted():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        steps.before(patch, "copy_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            things.optimize()
    things.optimize()
    assert space_of(things)["indexed_slots"] == 2_900
    assert recall(things) > 0.95


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_compaction_keeps_what_float32_cannot_multiply_out_of_the_index(client, size):
    things = client.create_collection(
        "things", {"hnsw": {**SMALL["hnsw"], "space": "cosine"}}, embedding_function=None
    )
    vectors = cloud(1_000)
    vectors[::50] *= size
    things.add(ids=[str(i) for i in range(1_000)], embeddings=vectors)
    things.delete(ids=[str(i) for i in range(0, 1_000, 30)])
    things.optimize()
    assert recall(things) > 0.98


@pytest.mark.parametrize(("metric", "spread"), [("cosine", 1e-4), ("ip", 1e-3)])
def test_close_vectors_are_distinguished(client, metric, spread):
    things = client.create_collection(
        "things", {"hnsw": {"space": metric}}, embedding_function=None
    )
    base = cloud(1, 5, 16)
    things.add(ids=[str(i) for i in range(3_000)], embeddings=base + spread * cloud(3_000, 6, 16))
    things.optimize()
    assert recall(things, base + spread * cloud(20, 7, 16)) > 0.97


@pytest.mark.parametrize(
    "settings",
    [
        {"ef_search": 0},
        {"max_neighbors": "x"},
        {"nonsense": 1},
    ],
)
def test_stored_settings_that_cannot_be_cost_the_index_only(tmp_path, settings):
    with retrieval_store.Client(tmp_path) as client:
        populated(client)
    stored = json.dumps({"name": "hnsw", "settings": settings})
    sql(tmp_path, "UPDATE spaces SET indexing = ?", stored.encode())
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        assert len(things.query([[0] * DIMENSION])["ids"][0]) == 10
        things.delete(ids=["1", "2"])
        things.optimize()
        assert space_of(things)["dead_slots"] == 0
        assert recall(things) > 0.9


def test_a_malicious_index_causes_neither_missing_hits_nor_raw_errors(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    file = index_file(tmp_path)
    data = bytearray(file.read_bytes())
    element = 4 * (2 * 8 + 1) + 4 * DIMENSION + 8
    for i in range(1_000):
        start = HEADER.itemsize + i * element
        data[start : start + 4] = bytes(4)  # no links
    file.write_bytes(data)
    sql(tmp_path, "UPDATE derived SET checksum = ?", zlib.crc32(data))
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("things", embedding_function=None)
        for query in cloud(50, 3):
            assert len(things.query(query_embeddings=query)["ids"][0]) == 10


# words
