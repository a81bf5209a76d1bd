"""Fusion of rankings, and maximal marginal relevance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.base.ranking import (
    maximal_marginal_relevance,
    reciprocal_rank_fusion,
    weighted_sum,
)
from tests.helpers.oracle import oracle_rrf

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
