"""Recall, MRR, nDCG and their intervals, compared with other libraries and values by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval_store.evaluation.measures import (
    MEASURES,
    Question,
    intervals_of_means,
    measure_questions,
)

NAMES = [f"p{i}" for i in range(12)]
all_grades = st.dictionaries(
    st.sampled_from(NAMES), st.floats(0.01, 100) | st.integers(1, 5), min_size=1, max_size=8
)
rankings = st.lists(st.sampled_from(NAMES), unique=True, max_size=12)
ks = st.integers(1, 15)


def values_of(grades, ids, k):
    values = measure_questions([Question("q", grades)], [ids], k)
    return {measure: values[measure].item() for measure in MEASURES}


def test_the_measures_of_a_ranking_are_those_by_hand():
    values = values_of({"a": 3, "b": 1, "c": 2}, ["x", "b", "a", "y"], 3)
    assert values["recall"] == pytest.approx(2 / 3)
    assert values["mrr"] == pytest.approx(1 / 2)
    found = 1 / np.log2(3) + 3 / np.log2(4)
    assert values["ndcg"] == pytest.approx(
        found / (3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4))
    )


def test_results_after_the_first_k_do_not_count():
    assert values_of({"a": 1}, ["x", "y", "a"], 2) == {"recall": 0, "mrr": 0, "ndcg": 0}
    assert values_of({"a": 1}, ["x", "y", "a"], 3) == {"recall": 1, "mrr": 1 / 3, "ndcg": 0.5}


def test_where_more_is_relevant_than_k_recall_stays_below_1_and_ndcg_need_not():
    values = values_of(dict.fromkeys("abcd", 1.0), ["c", "a"], 2)
    assert values == {"recall": 0.5, "mrr": 1, "ndcg": pytest.approx(1)}


def test_a_question_without_hits_counts_as_0_in_the_mean():
    questions = [Question("q", {"a": 1.0}), Question("r", {"b": 1.0})]
    values = measure_questions(questions, [[], ["b", "a"]], 10)
    assert [values[measure].tolist() for measure in MEASURES] == [[0, 1]] * 3


@pytest.mark.others
@given(all_grades, rankings, ks)
def test_ndcg_is_that_of_scikit_learn(grades, ids, k):
    from sklearn.metrics import ndcg_score

    # What isn't found comes behind all hits; it takes as many irrelevant ones that none counts.
    rest = [name for name in NAMES if name not in ids]
    order = [*ids, *[None] * k, *rest]
    truth = np.array([[grades.get(name, 0.0) for name in order]])
    expected = ndcg_score(truth, -np.arange(len(order), dtype=float)[np.newaxis], k=k)
    assert values_of(grades, ids, k)["ndcg"] == pytest.approx(expected)


@given(all_grades, rankings, ks)
def test_recall_and_mrr_equal_their_definitions(grades, ids, k):
    hits = [rank for rank, name in enumerate(ids[:k], 1) if name in grades]
    values = values_of(grades, ids, k)
    assert values["recall"] == pytest.approx(len(hits) / len(grades))
    assert values["mrr"] == pytest.approx(1 / hits[0] if hits else 0)


@given(all_grades, ks)
def test_the_best_ranking_has_1(grades, k):
    best = sorted(grades, key=grades.__getitem__, reverse=True)
    values = values_of(grades, best, k)
    assert values["ndcg"] == pytest.approx(1)
    assert values["mrr"] == 1
    assert values["recall"] == min(1, k / len(grades))


@given(all_grades, st.permutations(NAMES), ks, st.integers(0, len(NAMES) - 2))
def test_to_move_a_better_hit_up_never_costs_anything(grades, ids, k, i):
    pair = sorted(ids[i : i + 2], key=lambda one: -grades.get(one, 0))
    sorted_there = [*ids[:i], *pair, *ids[i + 2 :]]
    before, after = values_of(grades, ids, k), values_of(grades, sorted_there, k)
    for measure in MEASURES:
        assert 0 <= before[measure] <= after[measure] + 1e-12 <= 1 + 1e-9


@given(all_grades, rankings, ks, st.randoms(), st.sampled_from([1e-300, 0.5, 1e300]))
def test_neither_the_order_of_the_right_ids_nor_a_scale_of_grades_matters(
    grades, ids, k, random, scale
):
    shuffled = random.sample(list(grades.items()), len(grades))
    scaled = {name: grade * scale for name, grade in shuffled}
    assert values_of(scaled, ids, k) == pytest.approx(values_of(grades, ids, k))


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("count", [25, 300])
def test_an_interval_is_that_of_scipy(count, confidence):
    rng = np.random.default_rng(count)
    differences = rng.choice([0, 0, 0.5, -0.3, 1], count) * rng.random(count)
    from scipy import stats  # which takes its time

    theirs = stats.bootstrap(
        (differences,), np.mean, method="percentile", confidence_level=confidence,
        n_resamples=10_000, random_state=1,
    ).confidence_interval  # fmt: skip
    ((low, high),) = intervals_of_means(differences[:, np.newaxis], confidence, seed=0)
    width = theirs.high - theirs.low
    assert abs(low - theirs.low) < 0.05 * width
    assert abs(high - theirs.high) < 0.05 * width


def test_an_interval_does_not_depend_on_other_measures():
    values = np.random.default_rng(0).random((40, 3))
    together = intervals_of_means(values, 0.95, seed=3)
    alone = [intervals_of_means(values[:, [i]], 0.95, seed=3)[0] for i in range(3)]
    np.testing.assert_allclose(together, alone)


def test_an_interval_of_one_value_is_that_value():
    assert intervals_of_means(np.full((7, 1), 0.3), 0.95, 0).tolist() == [[0.3, 0.3]]
