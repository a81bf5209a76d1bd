"""Searching by words and by both, against oracles written for the purpose."""

import math
import re
import threading
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.base.ranking import (
    maximal_marginal_relevance,
    reciprocal_rank_fusion,
    weighted_sum,
)
from retrieval_store.base.words import Analyzer, analyzer, fold
from retrieval_store.errors import ConflictError, InvalidArgumentError

pytestmark = pytest.mark.embedded

DOCUMENTS = [
    "The cat sat on the mat.",
    "Dogs and cats are pets; a dog barks.",
    "A bank raised its interest rates.",
    "The river bank was muddy, the river high.",
    "Éclairs are sold in the CAFÉ by the river.",
    "",
]


def bm25(documents, query, k1=1.2, b=0.75):
    """Scores by the plain formula, a document at a time."""
    words = [re.findall(r"\w+", document.lower()) for document in documents]
    filled = [w for w in words if w]
    average = sum(map(len, filled)) / len(filled)
    scores = []
    for own in words:
        score = 0.0
        for word in re.findall(r"\w+", query.lower()):
            holders = sum(word in other for other in words)
            idf = math.log(1 + (len(filled) - holders + 0.5) / (holders + 0.5))
            f = own.count(word)
            score += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(own) / average)) if f else 0
        scores.append(score)
    return scores


def expected(ids, scores, k):
    """The k best ids with a score above 0, ties in order."""
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], i))
    return [ids[i] for i in order if scores[i] > 0][:k]


@pytest.fixture
def texts(client):
    collection = client.create_collection("texts", embedding_function=None)
    collection.add(
        ids=[str(i) for i in range(len(DOCUMENTS))],
        documents=DOCUMENTS,
        embeddings=np.eye(len(DOCUMENTS)),
        metadatas=[{"even": i % 2 == 0} for i in range(len(DOCUMENTS))],
    )
    return collection


def test_documents_with_any_of_the_words_come_best_first(texts):
    found = texts.query(query_texts="river bank", mode="text")
    assert found["ids"] == [["3", "2", "4"]]
    scores = bm25(DOCUMENTS, "river bank")
    assert np.allclose(found["scores"][0], sorted(scores, reverse=True)[:3], rtol=1e-6)
    assert found["distances"] == [None]
    assert found["documents"][0][0] == DOCUMENTS[3]


def test_a_filter_acts_inside_the_ranking_with_frequencies_of_the_whole_collection(texts):
    found = texts.query(query_texts="river bank", mode="text", where={"even": True}, n_results=1)
    assert found["ids"] == [["2"]]
    assert found["scores"][0][0] == pytest.approx(bm25(DOCUMENTS, "river bank")[2], rel=1e-6)
    named = texts.query(query_texts="river", mode="text", ids=["4", "0"])
    assert named["ids"] == [["4"]]


def test_case_and_diacritics_are_folded_and_user_text_is_only_text(texts):
    assert texts.query(query_texts="ECLAIRS", mode="text")["ids"] == [["4"]]
    assert texts.query(query_texts="cafe\u0301", mode="text")["ids"] == [["4"]]
    for odd in (
        '"cat" OR NOT *',
        "cat AND (",
        "cat:mat -sat ~2 ^",
        "cat\0mat",
        "' ; DROP TABLE points",
    ):
        found = texts.query(query_texts=odd, mode="text")["ids"][0]
        assert found == expected([str(i) for i in range(6)], bm25(DOCUMENTS, odd), 10)
    assert texts.query(query_texts=["...", "nowhere"], mode="text")["ids"] == [[], []]


def test_text_mode_calls_no_embedding_function(client):
    def never(input):
        raise AssertionError("called")

    collection = client.create_collection("texts", embedding_function=never)
    collection.add(ids=["a", "b"], documents=["one two", "three"], embeddings=[[1], [2]])
    assert collection.query(query_texts="three", mode="text")["ids"] == [["b"]]
    hybrid = collection.query(query_texts="three", query_embeddings=[[1]], mode="hybrid")
    assert sorted(hybrid["ids"][0]) == ["a", "b"]
    assert collection.query(query_texts="three", mode="hybrid", alpha=0)["ids"] == [["b"]]


def test_each_write_is_seen_at_once(texts):
    texts.query(query_texts="cat", mode="text")
    texts.update(ids="0", documents="a zebra", embeddings=[[0] * 6])
    texts.add(ids="new", documents="zebra zebra", embeddings=[[1] * 6])
    texts.delete(ids="1")
    documents = ["a zebra", *DOCUMENTS[2:], "zebra zebra"]
    ids = ["0", "2", "3", "4", "5", "new"]
    for query in ("zebra", "cat", "river zebra a"):
        found = texts.query(query_texts=query, mode="text")
        scores = bm25(documents, query)
        assert found["ids"][0] == expected(ids, scores, 10)
        assert np.allclose(
            found["scores"][0], sorted(filter(None, scores), reverse=True), rtol=1e-6
        )


words = st.sampled_from(["ant", "bee", "cat", "dog", "eel", "fox"])
documents = st.lists(words, max_size=8).map(" ".join)
steps = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete"]),
        st.lists(st.integers(0, 30), min_size=1, max_size=20),
        documents,
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, query=documents, even=st.booleans())
def test_ranking_agrees_with_plain_bm25_after_any_writes(steps, query, even):
    held = {}
    with retrieval_store.Client() as client:
        collection = client.create_collection("texts", embedding_function=None)
        for kind, numbers, document in steps:
            ids = list(dict.fromkeys(map(str, numbers)))
            if kind == "delete":
                collection.delete(ids=ids)
                for i in ids:
                    held.pop(i, None)
            else:
                given = [f"{document} {i if int(i) % 3 else 'ant'}" for i in ids]
                metadatas = [{"even": int(i) % 2 == 0} for i in ids]
                collection.upsert(
                    ids=ids, documents=given, embeddings=[[1]] * len(ids), metadatas=metadatas
                )
                held.update(zip(ids, given, strict=True))
            where = {"even": True} if even else None
            found = collection.query(query_texts=query, mode="text", n_results=5, where=where)
            scores = bm25(list(held.values()) or ["x"], query)
            ids = list(held)
            scores = [
                s if not even or int(i) % 2 == 0 else 0 for i, s in zip(ids, scores, strict=False)
            ]
            by_score = sorted((round(s, 5) for s in scores if s > 0), reverse=True)[:5]
            assert np.allclose(found["scores"][0], by_score, atol=1e-4)
            assert set(found["ids"][0]) <= set(held)


def test_hybrid_at_the_ends_is_one_leg_alone(texts):
    vector = np.eye(6)[1:2]
    dense = texts.query(query_embeddings=vector)
    text = texts.query(query_texts="river", mode="text")
    for fusion in ("rrf", "weighted"):
        ends = {
            "query_texts": "river",
            "query_embeddings": vector,
            "mode": "hybrid",
            "fusion": fusion,
        }
        one = texts.query(**ends, alpha=1)
        assert (one["ids"], one["distances"], one["scores"]) == (
            dense["ids"],
            dense["distances"],
            dense["scores"],
        )
        zero = texts.query(**ends, alpha=0.0)
        assert (zero["ids"], zero["scores"]) == (text["ids"], text["scores"])
        assert zero["distances"] == [None]
        told = texts.explain(**ends, alpha=0.0)
        assert list(told["legs"]) == ["text"]
        assert "dense" not in texts.explain(**ends, alpha=1)["legs"]


def oracle_rrf(rankings, weights, k=60):
    scores = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0) + weight / (k + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.9])
def test_hybrid_ranks_as_reciprocal_ranks_say_and_gives_distances(texts, alpha):
    vector = np.eye(6)[1:2] + 0.1
    dense = texts.query(query_embeddings=vector)["ids"][0]
    text = texts.query(query_texts="river bank", mode="text")["ids"][0]
    found = texts.query(
        query_embeddings=vector, query_texts="river bank", mode="hybrid", alpha=alpha, n_results=4
    )
    fused = oracle_rrf([[int(i) for i in dense], [int(i) for i in text]], [alpha, 1 - alpha])[:4]
    assert [int(i) for i in found["ids"][0]] == [item for item, _ in fused]
    assert np.allclose(found["scores"][0], [score for _, score in fused])
    exact = ((np.eye(6)[[item for item, _ in fused]] - vector) ** 2).sum(axis=1)
    assert np.allclose(found["distances"][0], exact, rtol=1e-5)
    told = texts.explain(query_embeddings=vector, query_texts="river bank", mode="hybrid")
    assert told["legs"] == {"dense": [6], "text": [3]}
    assert {"text", "fusion", "filter", "fetch"} <= set(told["steps"])


rankings = st.lists(st.lists(st.integers(0, 20), unique=True, max_size=10), min_size=1, max_size=3)


@given(rankings=rankings, weights=st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_fusion_agrees_with_ten_lines(rankings, weights):
    weights = weights[: len(rankings)]
    arrays = [(np.array(r, np.int64), np.linspace(5, 1, len(r))) for r in rankings]
    items, scores = reciprocal_rank_fusion(arrays, weights)
    expected_scores = oracle_rrf(rankings, weights)
    assert np.allclose(scores, [score for _, score in expected_scores])
    assert sorted(items.tolist()) == sorted(item for item, _ in expected_scores)
    items, scores = weighted_sum(arrays, weights)
    totals = dict.fromkeys({item for r in rankings for item in r}, 0.0)
    for ranking, weight in zip(rankings, weights, strict=True):
        for i, item in enumerate(ranking):
            totals[item] += weight * (1 - i / (len(ranking) - 1) if len(ranking) > 1 else 1)
    assert np.allclose([totals[i] for i in items.tolist()], scores)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_mmr_is_relevance_at_one_and_avoids_repetition_below():
    vectors = np.array([[1, 0.1], [1, 0.11], [0.6, 0.8], [0, 1]], np.float32)
    query = np.array([1, 0.05], np.float32)
    assert maximal_marginal_relevance(query, vectors, 4, 1.0).tolist() == [0, 1, 2, 3]
    assert maximal_marginal_relevance(query, vectors, 3, 0.3).tolist() == [0, 3, 2]
    assert maximal_marginal_relevance(query, vectors[:0], 3).tolist() == []
    assert maximal_marginal_relevance(query, vectors, 0).tolist() == []


def test_stemming_and_stopwords_go_by_language(client):
    things = client.create_collection(
        "texts", {"text": {"language": "english", "stopwords": True}}, embedding_function=None
    )
    things.add(
        ids=["a", "b"], documents=["She was running", "the house of the dog"], embeddings=[[1], [2]]
    )
    assert things.query(query_texts="runs houses", mode="text")["ids"] == [["a", "b"]]
    assert things.query(query_texts="the was of", mode="text")["ids"] == [[]]
    things.modify(configuration={"text": {"stopwords": ["dog"]}})
    assert things.query(query_texts=["dog", "the", "houses"], mode="text")["ids"] == [
        [],
        ["b"],
        ["b"],
    ]
    assert things.configuration["text"] == {
        "language": "english",
        "stemming": True,
        "stopwords": ["dog"],
    }
    with pytest.raises(ConflictError):
        client.get_or_create_collection("texts", {"text": {"language": "german"}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"language": "klingon"}, "'klingon', expected one of"),
        ({"language": 3}, "language.* is 3"),
        ({"stopwords": "the"}, "stopwords.* is 'the'"),
        ({"language": "german", "stopwords": True}, "no stopwords for the language 'german'"),
        ({"stemmer": True}, "unknown key 'stemmer'"),
        (7, "is 7"),
    ],
)
def test_settings_for_words_that_cannot_be_are_refused(client, text, message):
    with pytest.raises(InvalidArgumentError, match=message):
        client.create_collection("texts", {"text": text})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            {"mode": "text", "query_embeddings": [[1] * 6]},
            "'text' takes query_texts but got query_emb",
        ),
        ({"mode": "text"}, "got none"),
        ({"mode": "hybrid", "query_embeddings": [[1] * 6]}, "takes query_texts"),
        ({"mode": "both", "query_texts": "a"}, "mode is 'both'"),
        ({"mode": "hybrid", "query_texts": "a", "alpha": 1.5}, "alpha is 1.5"),
        ({"mode": "hybrid", "query_texts": "a", "alpha": math.nan}, "alpha is nan"),
        ({"mode": "hybrid", "query_texts": "a", "fusion": "sum"}, "fusion is 'sum'"),
        (
            {"mode": "hybrid", "query_texts": ["a", "b"], "query_embeddings": [[1] * 6]},
            "has 1 vectors",
        ),
        ({"mode": "text", "query_texts": []}, "is empty"),
        ({"mode": "text", "query_texts": [None]}, "is None"),
    ],
)
def test_queries_that_cannot_be_are_refused(texts, query, message):
    with pytest.raises(InvalidArgumentError, match=message):
        texts.query(**query)


@given(st.lists(st.text(max_size=30), max_size=6))
def test_words_of_any_text_are_runs_of_letters_digits_and_marks(texts):
    found = Analyzer().words(texts)
    for i, text in enumerate(texts):
        own = [found.vocabulary[code] for code in found.codes[found.owners == i].tolist()]
        joined = "".join(own)
        composed = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
        folded = fold("".join(c for c in composed if re.match(r"\w", c)))
        kept = [c for c in folded if re.match(r"\w", c)]
        letters = [c for c in joined if re.match(r"\w", c)]
        assert letters == kept


def test_marks_of_scripts_that_need_them_stay_in_words():
    assert Analyzer().words(["हिन्दी भाषा"]).vocabulary == ["हिन्दी", "भाषा"]
    assert Analyzer().words(["naïve NAI\u0308VE naive"]).vocabulary == ["naive"]
    assert analyzer("english", True, ["Éclair"]).words(["eclair houses"]).vocabulary == ["hous"]


def test_threads_searching_words_beside_a_writer_see_whole_states(client):
    collection = client.create_collection("texts", embedding_function=None)
    ids = [str(i) for i in range(40)]
    collection.add(ids=ids, documents=["version zero"] * 40, embeddings=[[1]] * 40)
    stop, errors = threading.Event(), []

    def read():
        while not stop.is_set():
            found = collection.query(query_texts="version", mode="text", n_results=100)
            if len(found["ids"][0]) != 40 or len(set(found["documents"][0])) != 1:
                errors.append(found)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        collection.update(ids=ids, documents=[f"version {number}"] * 40, embeddings=[[1]] * 40)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
