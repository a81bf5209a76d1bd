"""Fusion of rankings, and maximal marginal relevance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrieval_store.base import fusion as module
from retrieval_store.base.fusion import fuse, maximal_marginal_relevance
from tests.helpers.oracle import oracle_rrf
from tests.helpers.tuned import tuned

rankings = st.lists(st.lists(st.integers(0, 20), unique=True, max_size=10), min_size=1, max_size=3)


@given(rankings=rankings, weights=st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_fusion_agrees_with_ten_lines(rankings, weights):
    weights = weights[: len(rankings)]
    arrays = [(np.array(r, np.int64), np.linspace(5, 1, len(r))) for r in rankings]
    items, scores = fuse(arrays, "rrf", weights)
    expected_scores = oracle_rrf(rankings, weights)
    assert np.allclose(scores, [score for _, score in expected_scores])
    assert sorted(items.tolist()) == sorted(item for item, _ in expected_scores)
    items, scores = fuse(arrays, "weighted", weights)
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


# Of few different numbers, so that there are copies, ties and zero vectors.
clouds = st.tuples(st.integers(1, 40), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.sampled_from([-1, 0, 0, 1, 0.5, 3]))
)


@given(vectors=clouds, k=st.integers(1, 40), weight=st.sampled_from([0, 0.3, 0.5, 0.9, 1]))
@pytest.mark.parametrize("cells", [0, module.MMR_CELLS])
def test_each_pick_of_mmr_is_the_best_that_is_left(cells, vectors, k, weight):
    query = np.arange(1, vectors.shape[1] + 1, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, mmr_cells=cells)
        chosen = maximal_marginal_relevance(query, vectors, k, weight).tolist()
    assert len(set(chosen)) == len(chosen) == min(k, len(vectors))
    cosines = cosines_of(np.vstack([vectors, query]))
    relevance, likeness = cosines[-1, :-1], cosines[:-1, :-1]
    for place, pick in enumerate(chosen):
        redundancy = likeness[:, chosen[:place]].max(axis=1, initial=-1)
        value = weight * relevance - (1 - weight) * redundancy if place else relevance
        left = np.setdiff1d(np.arange(len(vectors)), chosen[:place])
        assert value[pick] >= value[left].max() - 1e-12


def cosines_of(vectors):
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    unit = wide / np.where(lengths > 0, lengths, 1)[:, None]
    return (unit[:, None] * unit).sum(axis=2)


@pytest.mark.parametrize("cells", [0, module.MMR_CELLS])
def test_mmr_takes_the_first_of_ties(cells):
    vectors = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)  # whose products have no rounding
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, mmr_cells=cells)
        chosen = maximal_marginal_relevance(np.array([0, 0, 0, 2], np.float32), vectors, 12, 0.5)
    assert chosen.tolist() == [9, 0, 3, 6, 10, 11, 1, 2, 4, 5, 7, 8]


@pytest.mark.parametrize("score", [0.1, 1 / 3, -7.7, 1e30, 5e-324])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_equal_scores_are_a_half_by_their_deviation(score, count):
    _, scores = fuse([(np.arange(count), np.full(count, score))], "dbsf")
    assert scores.tolist() == [0.5] * count
