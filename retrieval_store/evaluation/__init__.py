"""Measures how well a collection finds the right records, with questions whose answers are known.

`evaluate` takes a collection, and questions with the ids that should be found. It returns an
`Evaluation`: recall, MRR and nDCG of each setting, question by question, and the differences
between settings. The function is in `harness`, which queries the collection. `measures` reads
questions, computes the measures and their confidence intervals, and formats them. This package may
import the public names Client and Collection, and from `api` the checks of arguments and the
tables. It may also import `filters`, `base` and `errors`.
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
