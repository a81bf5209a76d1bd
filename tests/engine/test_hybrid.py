"""Queries by vectors, by words, and by both."""

import math

import numpy as np
import pytest

from retrieval_store.errors import InvalidArgumentError
from tests.helpers.oracle import oracle_rrf

pytestmark = pytest.mark.embedded


def test_text_mode_calls_no_embedding_function(client):
    def never(input):
        raise AssertionError("called")

    collection = client.create_collection("texts", embedding_function=never)
    collection.add(ids=["a", "b"], documents=["one two", "three"], embeddings=[[1], [2]])
    assert collection.query(query_texts="three", mode="text")["ids"] == [["b"]]
    hybrid = collection.query(query_texts="three", query_embeddings=[[1]], mode="hybrid")
    assert sorted(hybrid["ids"][0]) == ["a", "b"]
    assert collection.query(query_texts="three", mode="hybrid", alpha=0)["ids"] == [["b"]]


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
