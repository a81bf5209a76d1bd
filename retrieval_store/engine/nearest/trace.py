"""What a search did, for those who ask for an explanation."""

import time
from dataclasses import dataclass, field

from retrieval_store.answering import leaves as answering
from retrieval_store.base.tracing import Attributes
from retrieval_store.engine.nearest.planner import Plan

UNCODED = 8  # vectors that an index lacks are as little a burden as one without a code


@dataclass(slots=True)
class Trace(answering.Trace):
    """What a search did, besides: the plan for each query, how many points matched, how many
    vectors the index and the codes lacked, and how many numbers these are at most, and the
    milliseconds of each step."""

    plans: list[Plan] = field(default_factory=list)
    matching: int = 0
    fresh: int = 0
    uncoded: int = 0
    lacking_cells: int = 0
    steps: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    last: float = field(default_factory=time.perf_counter)

    def note_fresh(self, vectors: int, dimension: int) -> None:
        """The index lacks so many."""
        self.fresh = vectors
        self.lacking_cells = max(self.lacking_cells, vectors * dimension)

    def note_uncoded(self, vectors: int, dimension: int) -> None:
        """So many have no codes."""
        self.uncoded = vectors
        self.lacking_cells = max(self.lacking_cells, UNCODED * vectors * dimension)

    def of_plans(self, first: int, k: int) -> Attributes:
        """For spans: the plans from the `first` on, and how many vectors each query was compared
        with by them, at most."""
        plans = self.plans[first:]
        scanned = [plan.ef if plan.method == "over-fetch" else self.matching for plan in plans]
        return {
            "retrieval_store.methods": [*dict.fromkeys(plan.method for plan in plans)],
            "retrieval_store.k": k,
            "retrieval_store.ef": max((plan.ef for plan in plans), default=0),
            "retrieval_store.matching": self.matching,
            "retrieval_store.scanned": max(scanned, default=0),
            "retrieval_store.fresh": self.fresh,
            "retrieval_store.uncoded": self.uncoded,
        }

    def lap(self, step: str) -> None:
        """The time since the last lap went to this step."""
        now = time.perf_counter()
        self.steps[step] = self.steps.get(step, 0.0) + (now - self.last) * 1e3
        self.last = now
