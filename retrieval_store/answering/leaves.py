"""What is asked of a store while a question is answered.

A store knows its points by *items*, int64 numbers that mean something to it alone. Scores of what
it ranks are those that the step's scoring names, best first; equal ones in the order of insertion.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.base.metrics import Metric
from retrieval_store.interface.points import Fields, Points
from retrieval_store.interface.questions import BestOfEach, Groups, GroupValue, Near, Step

Label: TypeAlias = tuple[GroupValue, ...]
"""The groups that a point is in, each once."""


@dataclass(slots=True)  # never changed; frozen, it would take three times as long to make
class Ranked:
    """Items, best first, (n,) int64, with scores, float64 (n,).

    distances: float64 (n,), where they are measured; values: what an order went by; share: how much
    of what a text says the best documents hold, 0 to 1; is_cut: whether there may be more behind
    the last.
    """

    items: Ints
    scores: Floats
    distances: Floats | None = None
    values: list[int | float] | None = None
    share: float | None = None
    is_cut: bool = False

    def at(self, places: Ints | slice) -> "Ranked":
        """Those at some places."""
        values = self.values
        if values is not None:
            some = places.tolist() if not isinstance(places, slice) else range(len(values))[places]
            values = [values[i] for i in some]
        distances = None if self.distances is None else self.distances[places]
        items, scores = self.items[places], self.scores[places]
        return Ranked(items, scores, distances, values, self.share, self.is_cut)


@dataclass(slots=True)
class Trace:
    """What is told of how a question was answered: how many hits each prefetch gave, or the words
    or sparse vectors that were asked for alone, for each query; and what vectors weighed beside
    words."""

    legs: dict[str, list[int]] = field(default_factory=dict)
    alphas: list[float] = field(default_factory=list)

    def lap(self, step: str) -> None:
        """The time since the last lap went to this step."""


class Labelling(Protocol):
    """The groups that points are in."""

    def of(self, items: Ints) -> Sequence[Label]:
        """The labels of some items, in any order."""

    @property
    def kinds(self) -> int | None:
        """How many different groups there may be: there are no more; None if that isn't known."""

    def most(self, value: GroupValue) -> int:
        """How many points may be in a group: no more are."""

    @property
    def apart(self) -> int:
        """Among how many points each value comes once, on average; 0 where that isn't known."""


class Leaves(Protocol):
    """A store that is asked, as of one state."""

    @property
    def trace(self) -> Trace:
        """Where it is noted how the question is answered."""

    def rank(self, step: Step) -> list[Ranked]:
        """For each query of a step without prefetches at least the step's `depth` best points that
        fulfil its filter, or all. InvalidArgumentError where the store has no such scoring."""

    def rank_among(self, step: Step, found: Sequence[Ranked]) -> Ranked:
        """The same for a step of one query, of points that are in any of these rankings."""

    def search_key(self, step: Step) -> Hashable:
        """Equal for steps that are one search by `Near` of several queries; None for others."""

    def metric(self, space: str) -> Metric:
        """The metric of a space, of which there is one."""

    def distances(self, near: Near, place: int, items: Ints) -> Floats:
        """(n,) from one of the query vectors; NaN for points without a vector."""

    def order(self, items: Ints) -> Ints:
        """Numbers that are ascending in the order of insertion."""

    def labelling(self, groups: BestOfEach | Groups, wanted: int) -> Labelling:
        """The labels of points, for a call that looks at about so many."""

    def fetch(self, each: Sequence[Ints], fields: Fields) -> list[Points]:
        """The points of several lists of items, read at once."""
