"""How well a collection finds what it should, measured on questions whose answers are known.

In come a collection and questions, each with the ids that should be found; out goes an `Evaluation`
with recall, MRR and nDCG of each setting, question by question, and what two settings differ in.
`evaluating` has the one function; `questions` reads and checks what is asked, `settings` in which
ways, `asking` asks the collection; `measures` says how good what was found is, `bootstrap` how far
that can be trusted; `results` holds it, `tables` shows it. It may use what users may, Client and
Collection, what `direct` checks arguments with and makes tables by, `filters`, `base` and `errors`.
"""

from retrieval_store.evaluation.evaluate import evaluate
from retrieval_store.evaluation.results import (
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
