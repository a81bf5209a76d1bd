"""The operations that a store provides to the executor: leaves of the tree of steps.

A store identifies its points by *items*: int64 numbers that only the store can interpret. Rankings
are best first, with the scores of the step's scoring; equal scores are in the order of insertion.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.base.metrics import Metric, server_scores_of
from retrieval_store.filters.nodes import Expression
from retrieval_store.interface.points import Fields, Points
from retrieval_store.interface.questions import BestOfEach, Groups, GroupValue, Near, Step, Text

if TYPE_CHECKING:
    from retrieval_store.interface.reasons import WordFindings

Label: TypeAlias = tuple[GroupValue, ...]
"""The groups that a point is in, each once."""


@dataclass(slots=True)
class Ranked:
    """Items, best first, (n,) int64, with scores, float64 (n,).

    distances: float64 (n,), where they are measured; values: the values that an order sorted by;
    share: of a query text, the weighted share of its words that the best documents hold, 0 to 1;
    is_cut: whether more hits may follow the last one.
    """

    items: Ints
    scores: Floats
    distances: Floats | None = None
    values: list[int | float] | None = None
    share: float | None = None
    is_cut: bool = False

    def at(self, places: Ints | slice) -> "Ranked":
        """The hits at these places."""
        values = self.values
        if values is not None:
            some = places.tolist() if not isinstance(places, slice) else range(len(values))[places]
            values = [values[i] for i in some]
        distances = None if self.distances is None else self.distances[places]
        items, scores = self.items[places], self.scores[places]
        return Ranked(items, scores, distances, values, self.share, self.is_cut)

    def on_server(self, metric: Metric) -> "Ranked":
        """The same hits, with similarities converted into a server's scores."""
        return Ranked(self.items, server_scores_of(self.scores, metric))


@dataclass(slots=True)
class Trace:
    """How a question was answered, for `explain`. is_kept: whether it is recorded at all; else all
    but the methods is left alone. legs: for each prefetch, or for a step without prefetches that
    ranks by text or sparse vectors, the number of hits per query; alphas: the weight of the vectors
    against the words in adaptive fusion, per query."""

    is_kept: bool = True
    legs: dict[str, list[int]] = field(default_factory=dict)
    alphas: list[float] = field(default_factory=list)

    def lap(self, step: str) -> None:
        """Attribute the time since the last lap to this step."""


class Labelling(Protocol):
    """The groups that points are in."""

    def of(self, items: Ints) -> Sequence[Label]:
        """The labels of some items, in any order."""

    @property
    def kinds(self) -> int | None:
        """An upper bound of the number of different groups; None if unknown."""

    def most(self, value: GroupValue) -> int:
        """An upper bound of the number of points in a group."""

    @property
    def apart(self) -> int:
        """The average number of points per occurrence of one value; 0 if unknown."""


class Leaves(Protocol):
    """A store in one state, from which all methods read."""

    @property
    def trace(self) -> Trace:
        """Where to record how the question is answered."""

    def rank(self, step: Step) -> list[Ranked]:
        """For each query of a step without prefetches, at least the `depth` best points that fulfil
        its filter, or all if there are fewer. InvalidArgumentError for a scoring that the store
        doesn't have."""

    def rank_among(self, step: Step, found: Sequence[Ranked]) -> Ranked:
        """The same for a step of one query, among the points that are in any of these rankings."""

    def search_key(self, step: Step) -> Hashable:
        """Equal for steps by `Near` that differ only in their query vectors, so that one search
        can answer them; None for all others."""

    def metric(self, space: str) -> Metric:
        """The metric of a vector space that exists."""

    def distances(self, near: Near, place: int, items: Ints) -> Floats:
        """(n,) float64 distances of items from the query vector at `place`; NaN for points without
        a vector."""

    def order(self, items: Ints) -> Ints:
        """Numbers that are ascending in the order of insertion."""

    def labelling(self, groups: BestOfEach | Groups, wanted: int) -> Labelling:
        """Access to the labels of points; wanted: about how many points the call will look at."""

    def fetch(self, each: Sequence[Ints], fields: Fields) -> list[Points]:
        """The points of several lists of items, read at once."""

    def matching(self, expression: Expression, limit: int) -> Ints:
        """The first `limit` points, in the order of insertion, that fulfil an expression."""

    def fulfilling(self, expression: Expression, items: Ints) -> Bools:
        """(n,) bool: which of some items fulfil an expression."""

    def words(self, text: Text, items: Ints) -> "list[WordFindings]":
        """Each distinct word of the first text, and what it adds to the scores of some items."""
