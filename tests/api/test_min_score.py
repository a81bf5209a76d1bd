"""min_score compared with brute force in float64: for words, sparse vectors, and fusions of
both."""

import itertools

import numpy as np
import pytest

from retrieval_store import Hybrid
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError
from tests.helpers.oracle import bm25, brute_force, oracle_rrf, oracle_weighted

WORDS = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine"]
QUERY = "oak elm pine"


@pytest.fixture
def trees(client):
    chance = np.random.default_rng(11)
    texts = [" ".join(chance.choice(WORDS, chance.integers(1, 9))) for _ in range(80)]
    vectors = chance.normal(size=(80, 6)).astype(np.float32)
    how = {"hnsw": {"space": "cosine"}, "sparse": {}}
    trees = client.create_collection("trees", how, embedding_function=None)
    sparse = [{"indices": [i % 5, 5 + i % 3], "values": [1 + i / 64, 0.5]} for i in range(80)]
    trees.add([str(i) for i in range(80)], vectors, documents=texts, sparse_embeddings=sparse)
    return trees, texts, vectors, sparse


def ranked(scores):
    """Items with a score above 0, best first, ties in the order of insertion."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    return [(i, scores[i]) for i in order if scores[i] > 0]


def bounds_between(pairs):
    """Numbers between different scores, and one on either side of all."""
    scores = [score for _, score in pairs]
    between = [(a + b) / 2 for a, b in itertools.pairwise(scores) if a - b > 1e-6]
    return [scores[0] + 1, *between[:: max(1, len(between) // 6)], scores[-1] - 1]


def check(collection, pairs, **asked):
    for bound in bounds_between(pairs):
        for count, offset in ((80, 0), (5, 0), (4, 3)):
            wanted = [i for i, score in pairs if score >= bound][offset : offset + count]
            found = collection.query(**asked, n_results=count, offset=offset, min_score=bound)
            assert found["ids"] == [[str(i) for i in wanted]], bound


@pytest.mark.embedded  # a cluster has other statistics of words
def test_text_mode_leaves_out_lower_scores(trees):
    collection, texts, _, _ = trees
    check(collection, ranked(bm25(texts, QUERY)), query_texts=QUERY, mode="text")


def test_sparse_mode_leaves_out_what_scores_less(trees):
    collection, _, _, sparse = trees
    query = {"indices": [1, 2, 6], "values": [1.0, 0.5, 2.0]}
    weight = dict(zip(query["indices"], query["values"], strict=True))
    scores = [
        sum(weight.get(i, 0) * v for i, v in zip(one["indices"], one["values"], strict=True))
        for one in sparse
    ]
    check(collection, ranked(scores), query_sparse=[query], mode="sparse")


@pytest.mark.embedded
@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_fused_queries_leave_out_lower_scores(trees, alpha):
    collection, texts, vectors, _ = trees
    query = np.linspace(-1, 1, 6)
    far = brute_force(query, vectors, "cosine")
    dense = [(int(i), 1 - far[i]) for i in np.argsort(far, kind="stable")]
    words = ranked(bm25(texts, QUERY))
    request = {"query_texts": QUERY, "query_embeddings": [query]}
    weights = (alpha, 1 - alpha)
    by_ranks = oracle_rrf([[i for i, _ in dense], [i for i, _ in words]], weights)
    check(collection, by_ranks, **request, mode=Hybrid("rrf", alpha, (80, 80)))
    by_scores = oracle_weighted([dense, words], weights)
    check(collection, by_scores, **request, mode=Hybrid("weighted", alpha, (80, 80)))


def test_groups_and_why_know_the_bound(trees):
    collection, _, _, _ = trees
    query = {"query_texts": QUERY, "mode": "text"}
    every = collection.query(**query, n_results=80)
    bound = every["scores"][0][4]
    late = every["ids"][0][-1]
    (reason,) = collection.why(**query, n_results=80, min_score=bound, records=[late])
    assert not reason.found
    assert any(one.startswith(f"min_score={bound:g} leaves it out") for one in reason.advice)


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ({"query_embeddings": [[1] * 6]}, InvalidArgumentError, "for mode 'dense' there is max_d"),
        (
            {"query_texts": "a", "query_embeddings": [[1] * 6], "mode": Hybrid(alpha=1)},
            InvalidArgumentError,
            "goes by vectors alone",
        ),
        ({"query_texts": "a", "mode": "text", "min_score": "b"}, InvalidArgumentError, "'b'"),
        (
            {"query_texts": "a", "mode": "text", "min_score": float("nan")},
            InvalidArgumentError,
            "min_score is nan",
        ),
    ],
)
def test_impossible_settings_are_refused(trees, query, error, message):
    with pytest.raises((error, InvalidTypeError), match=message):
        trees[0].query(**{"min_score": 0.5, **query})
