"""Executes a query: carries out its steps, then reads the points of the final hits.

A step has four stages. Its prefetches find points. The step then scores these points, or all points
if it has no prefetches. Hits worse than the threshold are dropped. Then offset and limit are
applied (the *window*). A store provides the single rankings (`Ranker`), the leaves of the tree of
steps; this module combines several rankings into one. A store identifies its points by *items*:
int64 numbers that only the store can interpret. A ranking lists the best hit first. Its scores are
those of the step's scoring, and hits with equal scores are in the order of insertion.

Hits can be grouped (`best_of_each`, `rank_groups`) as a Qdrant server groups them. Usually the
limit of a step is raised until no further hit could belong to the result. That doesn't work if
scores depend on the set of candidates (steps with prefetches, and `Mmr`): then the ranking of fewer
points isn't the beginning of the ranking of all points. Such a step is repeated in rounds, as on a
server: each round ranks only the points that no earlier round has put into a group. The first
rounds exclude full groups. If groups still need points afterwards, a second series of rounds is
restricted to the groups that aren't full.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np

from retrieval_store.base import budget
from retrieval_store.base.arrays import (
    LESS_IS_BETTER,
    Bools,
    Floats,
    Ints,
    Metric,
    server_scores_of,
)
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.nodes import Expression, HasId, Not, all_of
from retrieval_store.filters.values import Between
from retrieval_store.query.query import (
    BestOfEach,
    Bm25,
    Discover,
    FormulaScore,
    FuseRankings,
    GroupSearch,
    GroupValue,
    Mmr,
    NearestDense,
    NearestSparse,
    OrderBy,
    Query,
    QueryStep,
    Recommend,
    RelevanceFeedback,
    Scoring,
    query_of,
    step_among,
    with_limit,
)
from retrieval_store.query.types import Fields, Hits, PointId, Points

if TYPE_CHECKING:
    from retrieval_store.query.query import WordReport

Label: TypeAlias = tuple[GroupValue, ...]
"""The groups that a point is in, each once."""


@dataclass(slots=True)
class Ranked:
    """A ranking: items, best first, (n,) int64, with scores, float64 (n,).

    distances: float64 (n,), or None if they aren't computed. values: the sort keys if the step
    sorts points. share: the greatest weighted share, from 0 to 1, of the query text's words that
    one of the best documents contains. is_cut: whether more hits may follow the last hit.
    """

    items: Ints
    scores: Floats
    distances: Floats | None = None
    values: list[int | float] | None = None
    share: float | None = None
    is_cut: bool = False

    def at(self, places: Ints | slice) -> "Ranked":
        """The hits at these positions."""
        values = self.values
        if values is not None:
            indices = (
                places.tolist() if not isinstance(places, slice) else range(len(values))[places]
            )
            values = [values[i] for i in indices]
        distances = None if self.distances is None else self.distances[places]
        items, scores = self.items[places], self.scores[places]
        return Ranked(items, scores, distances, values, self.share, self.is_cut)

    def on_server(self, metric: Metric) -> "Ranked":
        """The same hits, with similarities converted into the scores that a Qdrant server
        returns."""
        return Ranked(self.items, server_scores_of(self.scores, metric))


@dataclass(slots=True)
class Trace:
    """A record of how a query was executed, for `explain`. is_recording: if False, nothing is
    recorded. legs: for each prefetch ("leg"), the number of hits per query vector or text. A step
    that ranks by text or sparse vectors is recorded, too, if it has no prefetches. alphas: per
    query, the weight of the vectors in adaptive fusion; the words weigh 1 - alpha."""

    is_recording: bool = True
    legs: dict[str, list[int]] = field(default_factory=dict)
    alphas: list[float] = field(default_factory=list)

    def lap(self, step: str) -> None:
        """Add the time since the last lap to the time of this step."""


class Labelling(Protocol):
    """Looks up the labels of points. A label is the value that a group's points have in common."""

    def of(self, items: Ints) -> Sequence[Label]:
        """The labels of these items, which can be in any order."""

    @property
    def group_count(self) -> int | None:
        """An upper bound of the number of different groups; None if unknown."""

    def max_points_in(self, value: GroupValue) -> int:
        """An upper bound of the number of points in the group with this value."""

    @property
    def points_per_occurrence(self) -> int:
        """The average number of points divided by the number of points with a given value; 0 if
        unknown."""


class Ranker(Protocol):
    """Ranks the points of a collection for the executor. All methods read the same state of the
    store."""

    @property
    def trace(self) -> Trace:
        """The trace that records how the query is executed."""

    def rank(self, step: QueryStep) -> list[Ranked]:
        """For each query vector or text of a step without prefetches, one ranking of the points
        that fulfil the step's filter. It has at least the `depth` best points, or all points if
        there are fewer. Raises InvalidArgumentError if the store doesn't support the scoring."""

    def rank_among(self, step: QueryStep, rankings: Sequence[Ranked]) -> Ranked:
        """One ranking by a step with a single query vector or text. It ranks only the points that
        are in any of these rankings."""

    def batch_key(self, step: QueryStep) -> Hashable:
        """A key for steps that one search can answer together. Two steps by `NearestDense` have
        equal keys if they differ only in their query vectors. The key of any other step is None."""

    def metric(self, space: str) -> Metric:
        """The metric of a vector space, which must exist."""

    def distances(self, near: NearestDense, lists: Sequence[Ints]) -> Sequence[Floats]:
        """The distances from each query vector to the items of its list: one float64 array (n,) for
        each list. The distance is NaN for points without a vector."""

    def order(self, items: Ints) -> Ints:
        """A number for each of the items. The numbers ascend in the order in which points were
        inserted."""

    def labelling(
        self, groups: BestOfEach | GroupSearch, expected: int, expression: Expression | None
    ) -> Labelling:
        """Access to the labels of points. expected: roughly the number of points whose labels the
        call will need; expression: a filter that all these points fulfil."""

    def fetch(self, lists: Sequence[Ints], fields: Fields) -> list[Points]:
        """Read the points of several lists of items together; one `Points` for each list."""

    def matching(self, expression: Expression, limit: int) -> Ints:
        """The first `limit` points, in the order of insertion, that fulfil an expression."""

    def fulfilling(self, expression: Expression, items: Ints) -> Bools:
        """Which of these items fulfil an expression: (n,) bool."""

    def words(self, text: Bm25, items: Ints) -> "list[WordReport]":
        """Each distinct word of the first query text, with its contribution to the score of each
        item."""


ANSWERED = 700  # bytes that a hit of one response takes while it is written


def answer(ranker: Ranker, question: Query) -> list[Hits]:
    """The hits of a query: one `Hits` for each query vector or text of each step, or for each
    group. Hits are sorted from best to worst. Only the points of hits are read from the store."""
    rankings, groups = _rank_and_group(ranker, question)
    items = [ranking.items for ranking in rankings]
    count, most = sum(map(len, items)), max(map(len, items), default=0)
    budget.take(count * question.fields.nbytes + most * ANSWERED, "hits", count)
    if question.measured is not None:
        distances = ranker.distances(question.measured, items)
        for ranking, distances_of_ranking in zip(rankings, distances, strict=True):
            ranking.distances = distances_of_ranking
    points = ranker.fetch(items, question.fields)
    ranker.trace.lap("fetch")
    return [
        Hits(batch, ranking.distances, ranking.scores, ranking.values, group)
        for batch, ranking, group in zip(points, rankings, groups, strict=True)
    ]


def _rank_and_group(
    ranker: Ranker, question: Query
) -> tuple[Sequence[Ranked], Sequence[GroupValue | None]]:
    """The rankings of a query, and for each ranking the value of its group, None for queries
    without groups."""
    match question.groups:
        case None if len(question.steps) == 1:
            rankings = rank_step(ranker, question.steps[0])
        case None:
            rankings = list(chain.from_iterable(rank_each(ranker, question.steps)))
        case BestOfEach() as best:
            rankings = best_of_each(ranker, question.steps[0], best)
        case GroupSearch() as groups:
            ranked_groups = rank_groups(ranker, question.steps[0], groups)
            return [ranking for _, ranking in ranked_groups], [value for value, _ in ranked_groups]
    return rankings, [None] * len(rankings)


def rank_each(
    ranker: Ranker, steps: Sequence[QueryStep], names: Sequence[str] | None = None
) -> list[list[Ranked]]:
    """For each step, one ranking per query vector or text. Steps with equal `batch_key` are
    searched together, because one product with several query vectors costs far less than several
    products."""
    step_names = [""] * len(steps) if names is None else names
    if len(steps) == 1:
        return [rank_step(ranker, steps[0], step_names[0])]
    together: dict[Hashable, list[int]] = {}
    for i, step in enumerate(steps):
        key = ranker.batch_key(step)
        together.setdefault((i,) if key is None else key, []).append(i)
    rankings: dict[int, list[Ranked]] = {}
    for indices in together.values():
        budget.check()
        equal_steps = [steps[i] for i in indices]
        alone = len(equal_steps) == 1
        rankings_of_steps = (
            [rank_step(ranker, equal_steps[0], step_names[indices[0]])]
            if alone
            else _at_once(ranker, equal_steps)
        )
        rankings.update(zip(indices, rankings_of_steps, strict=True))
    return [rankings[i] for i in range(len(steps))]


def rank_step(ranker: Ranker, step: QueryStep, name: str = "") -> list[Ranked]:
    """One ranking for each query vector or text of a step, with threshold and window applied. name:
    the step's name in an explanation, if the step is a prefetch."""
    if not step.prefetch:
        rankings = ranker.rank(step)
        if (
            ranker.trace.is_recording
            and not name
            and isinstance(step.scoring, Bm25 | NearestSparse)
        ):
            _note(ranker.trace, leg_names([step], ""), [rankings])
    else:
        names = leg_names(step.prefetch, name)
        before = rank_each(ranker, step.prefetch, names)
        _note(ranker.trace, names, before)
        legs_of_queries = list(zip(*before, strict=True))
        if isinstance(step.scoring, FuseRankings):
            rankings = fuse_each(ranker, step.scoring, legs_of_queries)
        else:
            rankings = [
                ranker.rank_among(_for_one_query(step, i), legs)
                for i, legs in enumerate(legs_of_queries)
            ]
    return [_window(ranker, step, ranking) for ranking in rankings]


def _at_once(ranker: Ranker, steps: Sequence[QueryStep]) -> list[list[Ranked]]:
    """The rankings of steps with equal `batch_key`. One search finds the hits for all their
    vectors."""
    nears = [step.scoring for step in steps if isinstance(step.scoring, NearestDense)]
    vectors = np.concatenate([np.asarray(near.vectors) for near in nears])
    together = replace(nears[0], vectors=vectors)
    rankings = iter(ranker.rank(replace(steps[0], scoring=together, threshold=None)))
    return [
        [_window(ranker, step, next(rankings)) for _ in near.vectors]
        for step, near in zip(steps, nears, strict=True)
    ]


def _for_one_query(step: QueryStep, place: int) -> QueryStep:
    """The step with only the query vector at position `place`."""
    near = step.scoring
    if not isinstance(near, NearestDense) or len(near.vectors) == 1:
        return step
    return replace(step, scoring=query_of(near, place))


def _window(ranker: Ranker, step: QueryStep, ranking: Ranked) -> Ranked:
    """The hits that aren't worse than the step's threshold, after its offset and limit are
    applied."""
    if step.prefetch and isinstance(step.scoring, OrderBy):
        ranking = _each_once(ranking.at(slice(step.depth)))
    good = count = len(ranking.items)
    if step.threshold is not None:
        good = _count_good(ranker, step, ranking)
    depth = step.offset + step.limit
    ranking.is_cut = good == count >= depth
    if not step.offset and good == count <= step.limit:
        return ranking
    return ranking.at(slice(step.offset, min(good, depth)))


def _each_once(ranking: Ranked) -> Ranked:
    """The hits without repetitions of an item. A sort repeats the items of points with several
    values. As on a Qdrant server, the repetitions are removed after the limit was applied."""
    _, places = np.unique(ranking.items, return_index=True)
    return ranking.at(np.sort(places))


def _count_good(ranker: Ranker, step: QueryStep, ranking: Ranked) -> int:
    """The number of hits, best first, before the first hit that is worse than the threshold."""
    bad = are_bad(ranker, step, ranking)
    return int(np.argmax(bad)) if bad.any() else len(bad)


def are_bad(ranker: Ranker, step: QueryStep, ranking: Ranked) -> Bools:
    """Which hits are worse than the step's threshold: (n,) bool."""
    assert step.threshold is not None
    if isinstance(step.scoring, NearestDense) and step.scoring.scale == "distance":
        assert ranking.distances is not None
        bad: Bools = ranking.distances > step.threshold
        return bad
    return are_worse(ranker, step.scoring, ranking.scores, step.threshold)


def are_worse(ranker: Ranker, scoring: Scoring, scores: Floats, threshold: float) -> Bools:
    """Which scores, in a Qdrant server's scale, are worse than a threshold: (n,) bool.

    As on a server, only the metric of the space decides which scores are worse. If its distances
    are used as scores (L2, L1), scores above the threshold are worse; otherwise scores below it.
    That is also true of comparisons with examples, although there the greatest score is best for
    every metric.
    """
    compared = scoring.near if isinstance(scoring, Mmr) else scoring
    below = (
        isinstance(compared, NearestDense | Recommend | Discover | RelevanceFeedback)
        and ranker.metric(compared.space) in LESS_IS_BETTER
    )
    worse: Bools = scores > threshold if below else scores < threshold
    return worse


def less_is_better(ranker: Ranker, step: QueryStep) -> bool:
    """Whether the step's best hit has the least score, or the least value if the step sorts
    points."""
    if isinstance(step.scoring, OrderBy):
        return not step.scoring.descending
    near = step.scoring.near if isinstance(step.scoring, Mmr) else step.scoring
    return (
        isinstance(near, NearestDense)
        and near.scale == "server"
        and ranker.metric(near.space) in LESS_IS_BETTER
    )


def fuse_each(
    ranker: Ranker, scoring: FuseRankings, legs_of_queries: Sequence[Sequence[Ranked]]
) -> list[Ranked]:
    """For each query, fuse the rankings of its prefetches (legs) into one ranking."""
    from retrieval_store.base.fusion import fuse

    weights = [_weights(scoring, legs) for legs in legs_of_queries]
    if ranker.trace.is_recording:
        ranker.trace.alphas = [
            weights_of_query[0] for weights_of_query in weights if weights_of_query is not None
        ]
    fused = []
    for legs, weights_of_query in zip(legs_of_queries, weights, strict=True):
        rankings = [(leg.items, leg.scores) for leg in legs]
        fused.append(
            Ranked(*fuse(rankings, scoring.kind, weights_of_query, scoring.k, ranker.order))
        )
    ranker.trace.lap("fusion")
    return fused


def _weights(scoring: FuseRankings, legs: Sequence[Ranked]) -> tuple[float, ...] | None:
    """The weight of each ranking, or None for equal weights. Adaptive fusion derives the weights
    from `Ranked.share`."""
    weights = scoring.weights
    if scoring.kind == "adaptive" and weights is not None:
        from retrieval_store.base.fusion import adaptive_alpha

        for leg in legs:
            if leg.share is not None:
                alpha = adaptive_alpha(leg.share, weights[0])
                return alpha, 1.0 - alpha
    return weights


def _note(trace: Trace, names: Sequence[str], rankings: Sequence[Sequence[Ranked]]) -> None:
    """Record in the trace how many hits each step returned for each query vector or text. If a step
    was repeated to fill groups, the greatest number is recorded."""
    if not trace.is_recording:
        return
    for name, rankings_of_queries in zip(names, rankings, strict=True):
        counts = [len(ranking.items) for ranking in rankings_of_queries]
        trace.legs[name] = [*map(max, trace.legs.get(name, counts), counts)]


# The names of steps in explanations, if they aren't the names of their classes.
SHOWN_AS: Mapping[type, str] = {
    Bm25: "text",
    Discover: "discovered",
    FormulaScore: "computed",
    FuseRankings: "fused",
    Mmr: "diverse",
    OrderBy: "ordered",
    Recommend: "recommended",
}


def leg_names(steps: Sequence[QueryStep], above: str) -> list[str]:
    """The names of steps in an explanation. A step is named after its vector space, or after its
    kind if the space has no name. above: the name of the step that has these steps as prefetches;
    each name begins with this name. Repeated names get a number."""
    times: Counter[str] = Counter()
    names = []
    for step in steps:
        match step.scoring:
            case NearestDense(space=space):
                name = space or "dense"
            case NearestSparse(space=space):
                name = space or "sparse"
            case scoring:
                name = SHOWN_AS.get(type(scoring)) or type(scoring).__name__.lower()
        times[name] += 1
        numbered = name if times[name] == 1 else f"{name} {times[name]}"
        names.append(f"{above}/{numbered}" if above else numbered)
    return names


GROWTH = 8  # factor by which the depth grows while there are too few groups
FIRST_LOOK = 4  # the first depth is at least this many times the hits of all groups
FIRST_FACTOR = 2  # the first depth, relative to a group's size times points_per_occurrence
FILL_GROWTH = 2  # factor by which the depth grows once all groups are known but some aren't full
ROUNDS = 5  # at most this many rounds in each series, as on a server


def places_by_group(
    labels: Sequence[Label], size: int, max_groups: int | None = None
) -> dict[GroupValue, list[int]]:
    """For each group, the positions of its first `size` hits. Groups are in the order of their
    first hits. There are at most `max_groups` groups, or all groups if it is None."""
    places: dict[GroupValue, list[int]] = {}
    for place, label in enumerate(labels):
        for value in label:
            at = places.get(value)
            if at is None and len(places) != max_groups:
                places[value] = [place]
            elif at is not None and len(at) < size:
                at.append(place)
    return places


def best_of_each(ranker: Ranker, step: QueryStep, best: BestOfEach) -> list[Ranked]:
    """For each query vector or text of a step, one ranking with at most `best.size` hits of each
    value."""
    limit = step.depth
    labels = ranker.labelling(best, limit, step.expression)
    while True:
        budget.check()
        rankings = rank_step(ranker, with_limit(step, limit))
        places_of_groups = [
            places_by_group(labels.of(ranking.items), best.size) for ranking in rankings
        ]
        if all(
            not ranking.is_cut
            or sum(map(len, places.values())) >= step.depth
            or (labels.group_count == len(places) and _are_full(places, labels, best.size))
            for ranking, places in zip(rankings, places_of_groups, strict=True)
        ):
            window = slice(step.offset, step.depth)
            return [
                ranking.at(np.array(sorted(chain.from_iterable(places.values()))[window], np.int64))
                for ranking, places in zip(rankings, places_of_groups, strict=True)
            ]
        limit *= GROWTH


def _are_full(places: dict[GroupValue, list[int]], labels: Labelling, size: int) -> bool:
    """Whether none of these groups can get further hits."""
    return all(
        len(at) >= size or len(at) >= labels.max_points_in(value) for value, at in places.items()
    )


def rank_groups(
    ranker: Ranker, step: QueryStep, groups: GroupSearch
) -> list[tuple[GroupValue, Ranked]]:
    """The first `groups.count` groups, sorted by their best hits, with at most `groups.size` hits
    each. A point belongs to the group of each of its values. A point with any value that is neither
    a string nor an integer belongs to no group."""
    if step.prefetch or isinstance(step.scoring, Mmr):
        return _in_rounds(ranker, step, groups)
    limit = groups.count * groups.size * FIRST_LOOK
    labels = ranker.labelling(groups, limit, step.expression)
    expected = labels.points_per_occurrence * groups.size * FIRST_FACTOR
    limit = max(limit, min(GROWTH * limit, expected))
    while True:
        budget.check()
        (ranking,) = rank_step(ranker, replace(step, limit=limit))
        if isinstance(step.scoring, OrderBy):
            ranking = _each_once(ranking)
        places = places_by_group(labels.of(ranking.items), groups.size, groups.count)
        if len(set(map(type, places))) > 1:  # a server finds groups of one type per round
            return _in_rounds(ranker, step, groups)
        full = len(places) == groups.count and _are_full(places, labels, groups.size)
        if full or not ranking.is_cut:
            return [(group, ranking.at(np.array(at, np.int64))) for group, at in places.items()]
        limit *= GROWTH if len(places) < groups.count else FILL_GROWTH


class _Hit(NamedTuple):
    """A hit of a search: its item, its score, and its sort key, which is None unless the step sorts
    points."""

    item: int
    score: float
    value: int | float | None


def _in_rounds(
    ranker: Ranker, step: QueryStep, groups: GroupSearch
) -> list[tuple[GroupValue, Ranked]]:
    """The groups of a step whose scores depend on the set of candidates. They are found in rounds,
    as the module's docstring describes."""
    limit = groups.count * groups.size
    labels = ranker.labelling(groups, limit, step.expression)
    gathered = _Gathered(ranker, groups, labels, less_is_better(ranker, step))
    wide = replace(_widen_prefetches(step, groups.size), limit=limit)
    for groups_asked in (gathered.not_full, gathered.to_fill):
        for _ in range(ROUNDS):
            budget.check()
            restricted = step_among(wide, gathered.unseen(), groups_asked())
            (ranking,) = rank_step(ranker, restricted)
            gathered.add(ranking)
            if gathered.is_enough():
                return gathered.best()
            if not len(ranking.items):
                break
    return gathered.best()


def _widen_prefetches(step: QueryStep, times: int) -> QueryStep:
    """The step, with the limit of each prefetch multiplied by `times`, so that there are enough
    hits to fill the groups."""
    prefetch = tuple(
        replace(_widen_prefetches(prefetch_step, times), limit=prefetch_step.limit * times)
        for prefetch_step in step.prefetch
    )
    return replace(step, prefetch=prefetch)


@dataclass(slots=True)
class _Gathered:
    """The groups found so far. ascending: whether the least score or value ranks first. hits: the
    hits of each group. ordered: the pairs of group and item found so far, since a sort may find an
    item several times. ids: the points that are in at least one group (a dict, as an ordered
    set)."""

    ranker: Ranker
    groups: GroupSearch
    labels: Labelling
    ascending: bool
    hits: dict[GroupValue, list[_Hit]] = field(default_factory=dict)
    ordered: set[tuple[GroupValue, int]] = field(default_factory=set)
    ids: dict[PointId, None] = field(default_factory=dict)

    def add(self, ranking: Ranked) -> None:
        """Put the hits of a ranking into their groups."""
        labels = self.labels.of(ranking.items)
        values: Sequence[int | float | None] = ranking.values or [None] * len(ranking.items)
        hits = map(_Hit, ranking.items.tolist(), ranking.scores.tolist(), values)
        for hit, label in zip(hits, labels, strict=True):
            for group in label:
                others = self.hits.setdefault(group, [])
                if hit.value is not None:
                    if (group, hit.item) in self.ordered:
                        continue
                    self.ordered.add((group, hit.item))
                others.append(hit)
        labelled = ranking.items[np.array([bool(label) for label in labels], np.bool_)]
        (points,) = self.ranker.fetch([labelled], Fields())
        self.ids.update(dict.fromkeys(points.ids))

    def unseen(self) -> Expression:
        """The filter for points that have a value at the path of the groups and are in no group
        yet."""
        has_value = Between(ValuesAt(self.groups.path, "size"), gte=1)
        return all_of(has_value, Not(HasId(tuple(self.ids))) if self.ids else None) or has_value

    def not_full(self) -> Expression | None:
        """The filter that excludes full groups; None if no group is full."""
        full = [group for group, hits in self.hits.items() if self._is_full(hits)]
        return self.groups.besides(full) if full else None

    def to_fill(self) -> Expression | None:
        """The filter for points of those best groups that aren't full; None if all the best groups
        are full."""
        lacking = [group for group in self._best() if not self._is_full(self.hits[group])]
        return self.groups.among(lacking) if lacking else None

    def is_enough(self) -> bool:
        """Whether the wanted number of groups is found, and all of the best groups are full."""
        full = sum(self._is_full(self.hits[group]) for group in self._best())
        return full >= self.groups.count

    def best(self) -> list[tuple[GroupValue, Ranked]]:
        """The values of the best groups, each with a ranking of the group's best points."""
        return [(group, self._ranking_of(self.hits[group])) for group in self._best()]

    def _is_full(self, hits: Sequence[_Hit]) -> bool:
        return len(hits) >= self.groups.size

    def _sort_key(self, hit: _Hit) -> int | float:
        """The number that sorts hits from best to worst: the sort key of the hit, or its score if
        it has no sort key. The number is negated if greater is better."""
        key = hit.score if hit.value is None else hit.value
        return key if self.ascending else -key

    def _best(self) -> list[GroupValue]:
        order = sorted(self.hits, key=lambda group: min(map(self._sort_key, self.hits[group])))
        return order[: self.groups.count]

    def _ranking_of(self, hits: Sequence[_Hit]) -> Ranked:
        best = sorted(hits, key=self._sort_key)[: self.groups.size]
        values = [hit.value for hit in best if hit.value is not None]
        items = np.array([hit.item for hit in best], np.int64)
        scores = np.array([hit.score for hit in best])
        return Ranked(items, scores, values=values or None)
