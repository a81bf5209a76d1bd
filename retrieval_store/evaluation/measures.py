"""How good what was found is: recall@k, MRR@k and nDCG@k of each question.

- recall: Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, chapter 8.
- MRR: Voorhees, The TREC-8 Question Answering Track Report, 1999.
- nDCG: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (4),
  2002. As trec_eval has it, a gain is the grade itself, and the hit at each rank, from 1 on, counts
  1 / log2(rank + 1) of its gain.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np

from retrieval_store.base.arrays import Floats
from retrieval_store.evaluation.questions import Question

Measure: TypeAlias = Literal["recall", "mrr", "ndcg"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
CALLED: dict[Measure, str] = {"recall": "recall", "mrr": "MRR", "ndcg": "nDCG"}


def measured(
    questions: Sequence[Question], found: Sequence[Sequence[str]], k: int
) -> dict[Measure, Floats]:
    """Each measure of each question, (q,) from 0 to 1.

    found: for each question the ids that were found, best first, of which the first k count.
    """
    gains = _padded(
        [
            [question.grades.get(one, 0.0) for one in ids[:k]]
            for question, ids in zip(questions, found, strict=True)
        ],
        k,
    )
    grades = [sorted(question.grades.values(), reverse=True) for question in questions]
    relevant = np.array([len(one) for one in grades], np.float64)
    ideal = _padded([one[:k] for one in grades], k)
    return {
        "recall": np.count_nonzero(gains, axis=1) / relevant,
        "mrr": reciprocal_ranks(gains),
        "ndcg": _share_of(gains, ideal),
    }


def reciprocal_ranks(gains: Floats) -> Floats:
    """(q,): 1 / the rank of the first hit with a gain; 0 without one. gains: (q, k), best first."""
    relevant = gains > 0
    return np.where(relevant.any(axis=1), 1 / (1 + relevant.argmax(axis=1)), 0.0)


def discounted(gains: Floats) -> Floats:
    """(q,): DCG, the sum of the gains, (q, k), each by 1 / log2(rank + 1)."""
    summed: Floats = (gains / np.log2(np.arange(2, gains.shape[1] + 2))).sum(axis=1)
    return summed


def _share_of(gains: Floats, ideal: Floats) -> Floats:
    """nDCG. A grade counts as a share of the question's greatest, so that no sum overflows."""
    greatest = ideal[:, :1]
    return discounted(gains / greatest) / discounted(ideal / greatest)


def _padded(rows: Sequence[Sequence[float]], k: int) -> Floats:
    """(q, k), where what is missing is 0. No wider than the longest row: zeros add nothing."""
    width = min(k, max(map(len, rows)))
    padded = np.zeros((len(rows), max(width, 1)))
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded
