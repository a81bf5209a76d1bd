"""Measures how well a collection finds the right records, with questions whose answers are known.

The input is a collection, and questions with the ids that should be found. The output is an
`Evaluation`: recall, MRR and nDCG of each setting, question by question, and the differences
between settings. `harness` has the function `evaluate`, and queries the collection. `measures`
reads questions, computes the measures and their confidence intervals, and shows them. This package
may use the public names Client and Collection, and the checks of arguments and the tables of `api`.
It may also use `filters`, `base` and `errors`.
"""

from retrieval_store.evaluation.harness import evaluate
from retrieval_store.evaluation.measures import (
    Change,
    Comparison,
    Estimate,
    Evaluation,
    Question,
    SettingResult,
)

__all__ = [
    "Change",
    "Comparison",
    "Estimate",
    "Evaluation",
    "Question",
    "SettingResult",
    "evaluate",
]
