"""Sparse vectors beside dense ones: stored, updated, found, fused, and refused by name."""

import numpy as np
import pytest

from retrieval_store import Hybrid, to_arrow, to_pandas
from retrieval_store.errors import ConflictError, InvalidArgumentError, InvalidTypeError
from retrieval_store.qdrant import QdrantClient
from tests.helpers import inside

COSINE = {"hnsw": {"space": "cosine"}}


def sparse(**entries):
    return {"indices": [int(i[1:]) for i in entries], "values": list(entries.values())}


WORDS = [sparse(_3=1.0, _5=2.0), sparse(_5=1.0), None, sparse(_9=1.0, _3=0.5)]


@pytest.fixture
def words(client):
    collection = client.create_collection(
        "words", {**COSINE, "sparse": {}}, embedding_function=None
    )
    collection.add(
        ["a", "b", "c", "d"],
        [[1, 0], [0, 1], [1, 1], [1, 2]],
        [{"n": n} for n in range(4)],
        ["one", "two", "three", "four"],
        sparse_embeddings=WORDS,
    )
    return collection


def found(collection, **query):
    answer = collection.query(query_sparse=sparse(_5=1.0, _3=1.0), **{"mode": "sparse", **query})
    return answer["ids"][0], answer["scores"][0]


def test_the_greatest_dot_products_are_found_under_filters_and_in_pages(words):
    assert found(words) == (["a", "b", "d"], [3.0, 1.0, 0.5])
    assert found(words, where={"n": {"$gt": 0}}) == (["b", "d"], [1.0, 0.5])
    assert found(words, n_results=1, offset=1) == (["b"], [1.0])
    assert words.query(query_sparse=WORDS[:2], mode="sparse", n_results=1)["ids"] == [["a"], ["a"]]


def test_updating_a_point_keeps_its_sparse_vector_and_replacing_does_not(words):
    words.update("a", embeddings=[[0, 1]])
    words.update("a", documents="new", embeddings=[[0, 1]])
    words.update("a", metadatas={"x": 1})
    words.upsert("a", [[1, 1]], sparse_embeddings=[None])
    assert found(words)[0] == ["a", "b", "d"]
    words.update("c", sparse_embeddings=sparse(_5=9.0))
    assert found(words)[0] == ["c", "a", "b", "d"]
    words.upsert("a", [[1, 0]], documents="whole", replace=True)
    assert found(words)[0] == ["c", "b", "d"]
    words.delete("c")
    assert found(words)[0] == ["b", "d"]


def test_sparse_vectors_are_read_with_points_and_with_hits(words):
    def shown(found):
        return [
            None if one is None else dict(zip(one["indices"], one["values"], strict=True))
            for one in found
        ]

    given = shown(WORDS)
    got = words.get(include=["sparse_embeddings", "embeddings"])
    assert shown(got["sparse_embeddings"]) == given
    assert got["embeddings"].tolist() == [[1, 0], [0, 1], [1, 1], [1, 2]]
    assert shown(words.get(["d", "c"], include=["sparse_embeddings"])["sparse_embeddings"]) == [
        given[3],
        None,
    ]
    hits = words.query([[0, 1]], n_results=2, include=["sparse_embeddings"])
    assert hits["ids"] == [["b", "d"]]
    assert shown(hits["sparse_embeddings"][0]) == [given[1], given[3]]
    assert "sparse_embeddings" not in words.get()


def test_iterated_records_with_sparse_vectors_can_be_added_again(words, client):
    again = client.create_collection("again", {**COSINE, "sparse": {}}, embedding_function=None)
    fields = ["documents", "metadatas", "embeddings", "sparse_embeddings"]
    assert again.add_from(words.iterate(include=fields)) == 4
    for where in ({}, {"where": {"n": {"$gt": 0}}}):
        assert found(again, **where) == found(words, **where)
    frame = to_pandas(words.get(include=fields))
    again.add_from(frame, upsert=True)
    assert found(again) == found(words)
    table = to_arrow(words.get(include=fields))
    again.delete(["a", "b", "c", "d"])
    assert again.add_from(table) == 4
    assert found(again) == found(words)


def test_a_collection_without_sparse_vectors_has_none_to_read(client):
    plain = client.create_collection("plain", embedding_function=None)
    plain.add("a", [[1, 0]])
    assert plain.get(include=["sparse_embeddings"])["sparse_embeddings"] == [None]


def test_zeros_are_not_stored_and_replacing_by_a_document_removes_the_sparse_vector(client):
    collection = client.create_collection(
        "words",
        {**COSINE, "sparse": {}},
        embedding_function=lambda texts: [[1.0, 2.0]] * len(texts),
    )
    collection.add(["a", "b"], documents=["x", "y"], sparse_embeddings=[sparse(_1=0.0), WORDS[0]])
    assert collection.query(query_sparse=sparse(_1=1.0, _5=1.0), mode="sparse")["ids"] == [["b"]]
    assert collection.query(query_sparse=sparse(_5=0.0), mode="sparse")["ids"] == [[]]
    legs = collection.explain(query_sparse=sparse(_5=1.0), mode="sparse")["legs"]
    assert legs == {"sparse": [1]}
    collection.upsert(["b"], documents=["new"], replace=True)
    assert collection.query(query_sparse=sparse(_5=1.0), mode="sparse")["ids"] == [[]]
    for given in ({"metadatas": [{"n": 1}] * 2}, {"documents": ["whole", None]}):
        with pytest.raises(
            InvalidArgumentError, match="needs embeddings|'b' has no embedding, document"
        ):
            collection.upsert(["a", "b"], **given, replace=True)
    assert collection.get(["a", "b"])["documents"] == ["x", "new"]


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_sparse_vectors_take_the_place_of_words_in_hybrid_queries(words, fusion):
    near = {"query_embeddings": [[1, 2]]}
    assert found(words, **near, mode=Hybrid(fusion, alpha=0))[0] == ["a", "b", "d"]
    assert found(words, **near, mode=Hybrid(fusion, alpha=1))[0][0] == "d"
    both, scores = found(words, **near, mode=Hybrid(fusion, alpha=0.5))
    assert set(both) == {"a", "b", "c", "d"}
    assert scores == sorted(scores, reverse=True)
    legs = words.explain(query_sparse=WORDS[0], **near, mode=Hybrid(fusion))["legs"]
    assert sorted(map(str, legs.values())) == ["[3]", "[4]"]


def test_a_text_may_be_embedded_in_two_ways(client):
    def embed(texts):
        return [[1, 2] for _ in texts]

    texts = client.create_collection("texts", {**COSINE, "sparse": {}}, embedding_function=embed)
    texts.add(["a", "b"], [[1, 0], [0, 1]], None, ["one", "two"], sparse_embeddings=WORDS[:2])
    both = texts.query(query_texts=["x", "y"], query_sparse=WORDS[:2], mode="hybrid")
    apart = texts.query([[1, 2], [1, 2]], query_sparse=WORDS[:2], mode="hybrid")
    assert both == apart
    with pytest.raises(InvalidArgumentError, match="query_sparse has 2 vectors, query_texts 1 te"):
        texts.query(query_texts="x", query_sparse=WORDS[:2], mode="hybrid")


def test_idf_weighs_what_few_points_have(client):
    configuration = {**COSINE, "sparse": {"idf": True}}
    if inside.session(client).on_cluster:
        configuration["qdrant"] = {"shard_number": 1}  # each shard goes by its own points
    collection = client.create_collection("words", configuration, embedding_function=None)
    collection.add(
        ["a", "b", "c"],
        np.eye(3),
        sparse_embeddings=[sparse(_1=1.0), sparse(_1=1.0), sparse(_2=1.0)],
    )
    answer = collection.query(query_sparse=sparse(_1=1.0, _2=1.0), mode="sparse")
    rare, common = np.log(1 + 2.5 / 1.5), np.log(1 + 1.5 / 2.5)
    assert answer["ids"] == [["c", "a", "b"]]
    assert np.allclose(answer["scores"], [[rare, common, common]], rtol=1e-6)


@pytest.mark.embedded
def test_many_points_are_ranked_as_by_brute_force_after_opening_again(tmp_path):
    import retrieval_store

    random = np.random.default_rng(5)
    table = random.random((500, 40)) * (random.random((500, 40)) < 0.2)
    rows = [{"indices": np.flatnonzero(row), "values": row[row > 0]} for row in table]
    with retrieval_store.Client(tmp_path) as client:
        made = client.create_collection("many", {"sparse": {}}, embedding_function=None)
        made.add([f"{i:03}" for i in range(500)], random.random((500, 3)), sparse_embeddings=rows)
        made.optimize()
    query = random.random(40)
    with retrieval_store.Client(tmp_path) as client:
        again = client.get_collection("many", embedding_function=None)
        answer = again.query(
            query_sparse={"indices": np.arange(40), "values": query}, mode="sparse", n_results=20
        )
    scores = table.astype(np.float32) @ query.astype(np.float32).astype(np.float64)
    assert np.allclose(answer["scores"][0], np.sort(scores)[::-1][:20], rtol=1e-5)
    with QdrantClient(path=tmp_path) as front:
        params = front.get_collection("many").config.params
        assert list(params.sparse_vectors) == ["sparse"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([{"indices": [1, 1], "values": [1, 2]}], r"sparse_embeddings\[0\] is .*each once"),
        ([{"indices": [-1], "values": [1]}], "from 0 to 4294967295"),
        ([{"indices": [1], "values": []}], "as many indices"),
        ([{"indices": [1.5], "values": [1]}], "as many indices"),
        ([{"indices": [1], "values": [float("nan")]}], "finite"),
        ([{"indices": [1], "values": [1e39]}], r"finite, or beyond 1e\+15"),
        ([{"indices": [1], "values": ["1.5"]}], "as many indices"),
        (["abc"], "as many indices"),
        ([], "sparse_embeddings has 0 items"),
    ],
)
@pytest.mark.embedded
def test_invalid_sparse_vectors_are_refused_and_nothing_is_written(words, wrong, message):
    with pytest.raises(InvalidArgumentError, match=message):
        words.add("new", [[1, 1]], sparse_embeddings=wrong)
    assert words.count() == 4


@pytest.mark.embedded
def test_queries_and_collections_without_sparse_support_raise(client, words):
    plain = client.create_collection("plain", embedding_function=None)
    for call in (
        lambda: plain.add("a", [[1, 0]], sparse_embeddings=WORDS[:1]),
        lambda: plain.query(query_sparse=WORDS[0], mode="sparse"),
    ):
        with pytest.raises(InvalidArgumentError, match=r"'plain' has no sparse vectors.*'sparse'"):
            call()
    with pytest.raises(InvalidArgumentError, match="goes with mode 'sparse' or 'hybrid'"):
        words.query(query_sparse=WORDS[0])
    with pytest.raises(InvalidArgumentError, match="'sparse' takes query_sparse, but got query_te"):
        words.query(query_texts="one", mode="sparse")
    with pytest.raises(InvalidArgumentError, match="2 vectors, query_sparse 1 vectors"):
        words.query([[1, 0], [0, 1]], query_sparse=WORDS[0], mode="hybrid")
    with pytest.raises(InvalidTypeError, match="None in it"):
        words.query(query_sparse=[None], mode="sparse")
    with pytest.raises(ConflictError, match="sparse"):
        client.get_or_create_collection("plain", {"sparse": {}}, embedding_function=None)
    with pytest.raises(InvalidArgumentError, match="'idf'"):
        client.create_collection("other", {"sparse": {"idf": 1}}, embedding_function=None)
