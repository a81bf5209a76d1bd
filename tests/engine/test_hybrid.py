"""Queries by vectors, by words, and by both."""

import math

import numpy as np
import pytest

from retrieval_store import Groups, Hybrid, Rerank
from retrieval_store.errors import InvalidArgumentError
from tests.helpers.oracle import bm25, oracle_rrf, oracle_weighted, words_weight

pytestmark = pytest.mark.embedded


def len_of(query, documents):
    return [len(one) for one in documents]


def test_text_mode_calls_no_embedding_function(client):
    def never(input):
        raise AssertionError("called")

    collection = client.create_collection("texts", embedding_function=never)
    collection.add(ids=["a", "b"], documents=["one two", "three"], embeddings=[[1], [2]])
    assert collection.query(query_texts="three", mode="text")["ids"] == [["b"]]
    hybrid = collection.query(query_texts="three", query_embeddings=[[1]], mode="hybrid")
    assert sorted(hybrid["ids"][0]) == ["a", "b"]
    assert collection.query(query_texts="three", mode=Hybrid(alpha=0))["ids"] == [["b"]]


def test_hybrid_at_the_ends_is_one_leg_alone(texts):
    vector = np.eye(6)[1:2]
    dense = texts.query(query_embeddings=vector)
    text = texts.query(query_texts="river", mode="text")
    for fusion in ("rrf", "weighted"):
        ends = {"query_texts": "river", "query_embeddings": vector}
        one = texts.query(**ends, mode=Hybrid(fusion, alpha=1))
        assert (one["ids"], one["distances"], one["scores"]) == (
            dense["ids"],
            dense["distances"],
            dense["scores"],
        )
        zero = texts.query(**ends, mode=Hybrid(fusion, alpha=0.0))
        assert (zero["ids"], zero["scores"]) == (text["ids"], text["scores"])
        assert zero["distances"] == [None]
        explanation = texts.explain(**ends, mode=Hybrid(fusion, alpha=0.0))
        assert list(explanation["legs"]) == ["text"]
        assert "dense" not in texts.explain(**ends, mode=Hybrid(fusion, alpha=1))["legs"]


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.9])
def test_hybrid_ranks_by_reciprocal_ranks_and_returns_distances(texts, alpha):
    vector = np.eye(6)[1:2] + 0.1
    dense = texts.query(query_embeddings=vector)["ids"][0]
    text = texts.query(query_texts="river bank", mode="text")["ids"][0]
    found = texts.query(
        query_embeddings=vector, query_texts="river bank", mode=Hybrid(alpha=alpha), n_results=4
    )
    fused = oracle_rrf([[int(i) for i in dense], [int(i) for i in text]], [alpha, 1 - alpha])[:4]
    assert [int(i) for i in found["ids"][0]] == [item for item, _ in fused]
    assert np.allclose(found["scores"][0], [score for _, score in fused])
    exact = ((np.eye(6)[[item for item, _ in fused]] - vector) ** 2).sum(axis=1)
    assert np.allclose(found["distances"][0], exact, rtol=1e-5)
    explanation = texts.explain(query_embeddings=vector, query_texts="river bank", mode="hybrid")
    assert explanation["legs"] == {"dense": [6], "text": [3]}
    assert {"text", "fusion", "filter", "fetch"} <= set(explanation["steps"])


def test_queries_that_cannot_be_are_refused(texts):
    for query, message in [
        (
            {"mode": "text", "query_embeddings": [[1] * 6]},
            "'text' takes query_texts, but got query_emb",
        ),
        ({"mode": "text"}, "got none"),
        ({"mode": "hybrid", "query_embeddings": [[1] * 6]}, "takes query_texts"),
        ({"mode": "both", "query_texts": "a"}, "mode is 'both'"),
        (
            {"mode": "hybrid", "query_texts": ["a", "b"], "query_embeddings": [[1] * 6]},
            "has 1 vectors",
        ),
        ({"mode": "text", "query_texts": []}, "is empty"),
        ({"mode": "text", "query_texts": [None]}, "is None"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            texts.query(**query)


def test_invalid_parts_of_queries_are_refused_when_they_are_created():
    for make, message in [
        (lambda: Hybrid("rff"), "fusion is 'rff' .*expected one of"),
        (lambda: Hybrid(alpha=1.5), "alpha is 1.5"),
        (lambda: Hybrid(alpha=math.nan), "alpha is nan"),
        (lambda: Hybrid(alpha="x"), "alpha is 'x'"),
        (lambda: Hybrid(depth=10), r"depth is 10 .*expected \(vectors, words\)"),
        (lambda: Hybrid(depth=(10, 0)), "depth is 0"),
        (lambda: Hybrid(depth=(1, 2, 3)), "depth is"),
        (lambda: Groups(""), "group_by is ''"),
        (lambda: Groups(7), "group_by is 7"),
        (lambda: Groups("book", 0), "size of group_by is 0"),
        (lambda: Groups("book", "x"), "size of group_by is 'x'"),
        (lambda: Rerank("none"), "re-rankers of the names cross-encoder, similarity"),
        (lambda: Rerank(7), "rerank is 7"),
        (lambda: Rerank(dict), "rerank is <class 'dict'>"),
        (lambda: Rerank(len_of, 0), "candidates of rerank is 0"),
        (lambda: Rerank(len_of, query=5), "query of rerank is 5"),
        (lambda: Rerank(len_of, weight=True), "weight of rerank is True"),
    ]:
        with pytest.raises(InvalidArgumentError, match=message):
            make()


# what hybrid queries do where nobody says how

WORDS = [
    "a",
    "the",
    "river",
    "bank",
    "money",
    "boat",
    "water",
    "lends",
    "floats",
    "ref_1",
    "e404",
    "under_score",
    "x",
    "2019",
]


@pytest.mark.parametrize("seed", range(3))
def test_words_weigh_as_much_as_the_best_document_covers_the_query(client, seed):
    rng = np.random.default_rng(seed)
    documents = [" ".join(rng.choice(WORDS, rng.integers(0, 9))) for _ in range(30)]
    vectors = rng.standard_normal((30, 4)).astype(np.float32)
    things = client.create_collection("things", embedding_function=None)
    things.add([str(i) for i in range(30)], vectors, documents=documents)
    queries = [" ".join(rng.choice([*WORDS, "absent"], rng.integers(1, 6))) for _ in range(8)]
    request = {"query_texts": queries, "query_embeddings": vectors[:8] + 0.5, "mode": "hybrid"}
    found = things.query(**request, n_results=30, include=["distances"])
    explanation = things.explain(**request, n_results=30)
    for i, query in enumerate(queries):
        distances = ((vectors.astype(float) - request["query_embeddings"][i]) ** 2).sum(axis=1)
        worded = [(j, s) for j, s in enumerate(bm25(documents, query, identifiers=4)) if s > 0]
        weight = words_weight(documents, query, [j for j, _ in worded])
        alpha = 1 / (1 + weight)
        assert explanation["alphas"][i] == pytest.approx(alpha, abs=1e-3)
        fused = dict(oracle_weighted([[*enumerate(-distances)], worded], [alpha, 1 - alpha]))
        scores = [fused[int(one)] for one in found["ids"][i]]
        assert np.allclose(scores, found["scores"][i], atol=1e-5)
        assert np.allclose(scores, sorted(fused.values(), reverse=True), atol=1e-5)


def test_a_code_is_found_in_a_long_question_that_vectors_answer_otherwise(client):
    texts = [
        f"the pump of the boat is told to stop, which the note ref{i:04d} says" for i in range(300)
    ]
    vectors = np.random.default_rng(0).standard_normal((300, 8))
    things = client.create_collection("things", embedding_function=None)
    things.add([str(i) for i in range(300)], vectors, documents=texts)
    question = "do you know what it was that the boat was told to do in the note ref0123, please?"
    query = {"query_texts": question, "query_embeddings": vectors[7:8]}
    assert things.query(**query, mode="hybrid", n_results=2)["ids"] == [["123", "7"]]
    assert things.query(**query, n_results=1, mode=Hybrid("rrf"))["ids"] != [["123"]]


def test_words_in_no_or_all_documents_leave_the_ranking_to_the_vectors(client):
    vectors = np.random.default_rng(1).standard_normal((40, 4))
    things = client.create_collection("things", embedding_function=None)
    things.add(
        [str(i) for i in range(40)], vectors, documents=["the cat is " * (i + 1) for i in range(40)]
    )
    dense = things.query(query_embeddings=vectors[:1], n_results=5)["ids"]
    for text in ("zebra", "is the", ""):
        query = {"query_texts": text, "query_embeddings": vectors[:1], "mode": "hybrid"}
        if text:
            assert things.query(**query, n_results=5)["ids"] == dense
            assert things.explain(**query)["alphas"][0] > 0.99


def test_an_explicit_fusion_or_alpha_is_used(texts):
    query = {"query_texts": "river bank", "query_embeddings": np.eye(6)[1:2]}

    def scores(**how):
        return texts.query(**query, mode=Hybrid(**how))["scores"]

    def alpha(**how):
        return texts.explain(**query, mode=Hybrid(**how))["alphas"][0]

    assert scores(alpha=0.5) == scores(fusion="rrf") == scores(fusion="rrf", alpha=0.5)
    assert scores() == scores(fusion="adaptive") == scores(fusion="adaptive", alpha=0.5)
    assert scores() not in (scores(fusion="rrf"), scores(fusion="weighted"))
    assert scores() == texts.query(**query, mode="hybrid")["scores"]
    assert alpha(fusion="weighted", alpha=0.3) == 0.3
    assert alpha(fusion="adaptive", alpha=0.9) > alpha()


def test_adaptive_fusion_needs_words(client):
    things = client.create_collection("things", {"sparse": {}}, embedding_function=None)
    sparse = {"indices": [3], "values": [1.0]}
    things.add(["a", "b"], [[1.0], [2.0]], sparse_embeddings=[sparse, sparse])
    query = {"query_sparse": sparse, "query_embeddings": [[1.0]]}
    with pytest.raises(InvalidArgumentError, match="'adaptive' goes by the words of query_texts"):
        things.query(**query, mode=Hybrid("adaptive"))
    by_ranks = things.query(**query, mode=Hybrid("rrf"))["scores"]
    assert things.query(**query, mode="hybrid")["scores"] == by_ranks


def test_the_first_page_is_the_same_for_any_limit(client):
    rng = np.random.default_rng(2)
    words = [f"word{chr(97 + i)}" for i in range(26)]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(900)]
    vectors = rng.standard_normal((900, 6)).astype(np.float32)
    things = client.create_collection("things", embedding_function=None)
    things.add([str(i) for i in range(900)], vectors, documents=texts)
    query = {"query_texts": texts[:20], "query_embeddings": vectors[20:40], "mode": "hybrid"}
    short, long = (things.query(**query, n_results=n, include=[]) for n in (10, 300))
    assert short["ids"] == [ids[:10] for ids in long["ids"]]
    for ids, scores in zip(long["ids"], long["scores"], strict=True):
        assert len(set(ids)) == 300
        assert scores == sorted(scores, reverse=True)


def test_a_year_is_no_name_of_a_thing(client):
    things = client.create_collection("things", embedding_function=None)
    texts = ["annual report 2019 of revenue and costs", "a guide to phones, with the best of them"]
    things.add(["report", "guide"], [[0.0, 1.0], [1.0, 0.0]], documents=texts)
    query = {"query_texts": "best phones 2019", "query_embeddings": [[1.0, 0.1]], "mode": "hybrid"}
    assert things.query(**query)["ids"] == [["guide", "report"]]
