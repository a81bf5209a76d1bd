"""BM25 as sparse vectors: their form and settings."""

import numpy as np
import pytest

from retrieval_store.embeddings.bm25 import BM25Embedding
from retrieval_store.errors import InvalidArgumentError


@pytest.mark.parametrize(
    "settings",
    [
        {"k": "1"},
        {"k": True},
        {"k": None},
        {"k": float("nan")},
        {"k": float("inf")},
        {"k": 10**400},
        {"k": 1e300},
        {"k": -1},
        {"b": [0.5]},
        {"b": 2},
        {"average_length": 0},
        {"average_length": 5e-324},
        {"average_length": "256"},
        {"stemming": 1},
        {"stemming": "no"},
        {"stopwords": "the"},
        {"stopwords": ["the", 5]},
        {"stopwords": None},
        {"stopwords": {"the": 1}},
        {"language": 5},
        {"language": ["english"]},
        {"language": "../english"},
        {"language": "klingon"},
    ],
)
def test_settings_that_bm25_cannot_have_are_named(settings):
    with pytest.raises(InvalidArgumentError, match=next(iter(settings))):
        BM25Embedding(**settings)


@pytest.mark.parametrize("kind", [set, frozenset])
def test_stopwords_of_a_set_are_remembered_in_one_order(kind):
    words = [f"word{i}" for i in range(50)]
    assert BM25Embedding(stopwords=kind(words)).settings()["stopwords"] == sorted(words)
    assert BM25Embedding(stopwords=["the", "a"]).settings()["stopwords"] == ["the", "a"]


@pytest.mark.parametrize("texts", [["a cat", ""], ["", "a cat"], [""], ["a cat", "the of"], []])
def test_a_text_without_words_has_an_empty_vector_at_any_position(texts):
    sizes = [len(vector.indices) for vector in BM25Embedding()(texts)]
    assert sizes == [1 if "cat" in text else 0 for text in texts]


def test_the_extremes_that_bm25_allows_have_finite_values():
    for k in (0, 1e-9, 1_000):
        for b in (0, 1):
            for length in (1e-3, 1e9):
                embed = BM25Embedding(k=k, b=b, average_length=length)
                for vector in embed(["", "word " * 1_000, "a word"]):
                    assert np.isfinite(vector.values).all()
