"""Computes the exact ranks of records in each ranking of a query, to explain why the query finds
the records, or doesn't find them.

Each single ranking contains all points that fulfil its filter, and is computed without an index.
The rankings are combined as in the query, without its limits, thresholds and offsets. The query
itself is executed, too.
"""

from dataclasses import replace

import numpy as np

from retrieval_store.base.arrays import Bools, Floats, Ints
from retrieval_store.base.validation import kind_of
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import value_at
from retrieval_store.query.executor import (
    Ranked,
    Ranker,
    answer,
    are_bad,
    fuse_each,
    leg_names,
    less_is_better,
)
from retrieval_store.query.query import (
    Bm25,
    ExplainRequest,
    FuseRankings,
    LegReport,
    Mmr,
    NearestDense,
    NearestSparse,
    QueryStep,
    RankReport,
    WordReport,
    queries_of,
)
from retrieval_store.query.types import Fields, PointId, Points


def why(ranker: Ranker, inquiry: ExplainRequest, max_hits: int) -> RankReport:
    """The report on the records. max_hits: the greatest number of points in a ranking; points after
    them have no rank. Raises InvalidArgumentError if the query has several query vectors or
    texts."""
    question, same = inquiry.question, inquiry.same
    for steps in (question.steps, *((step,) for step in inquiry.beside)):
        if (count := queries_of(steps)) != 1:
            raise InvalidArgumentError(f"why is asked of one query, got {count}")
    items = ranker.matching(inquiry.records, inquiry.limit)
    hits = answer(ranker, replace(question, fields=Fields(payload=same is not None), measured=None))
    ways = _Ways(ranker, inquiry.records, items, max_hits)
    whole = ways.whole_ranking(question.steps[0], "")
    for step in inquiry.beside:
        ways.report_ranking(step)
    ranks = _places(whole.items, items)
    fields = Fields(payload=True, document=True, uri=True)
    (points,) = ranker.fetch([items], fields)
    (first,) = ranker.fetch([whole.items[: inquiry.ahead]], Fields())
    fulfilled = [ranker.fulfilling(expression, items) for expression in inquiry.conditions]
    batches = [query_hits.points for query_hits in hits]
    return RankReport(
        points=points,
        found=[point_id for batch in batches for point_id in batch.ids],
        matching=None,
        ranks=ranks,
        ahead=[first.ids[: max(0, rank - 1)] for rank in ranks.tolist()],
        beyond=_beyond(ranker, question.steps[0], whole, ranks),
        legs=ways.legs,
        words=ways.words,
        fulfilled=np.array(fulfilled, np.bool_).reshape(len(fulfilled), len(items)),
        same=[_with_same(points, i, batches, inquiry) for i in range(len(items))],
    )


def _places(ranking: Ints, items: Ints) -> Ints:
    """The rank of each item in a ranking: (n,), from 1. The rank is 0 if the ranking doesn't
    contain the item."""
    places = np.zeros(len(items), np.int64)
    for i, item in enumerate(items.tolist()):
        at = np.flatnonzero(ranking == item)
        places[i] = at[0] + 1 if len(at) else 0
    return places


def _with_same(
    points: Points, at: int, batches: list[Points], inquiry: ExplainRequest
) -> list[PointId]:
    """The ids of the hits whose value at the path is the same as that of the record at position
    `at`. The record itself is left out."""
    if inquiry.same is None or points.payloads is None:
        return []
    value = kind_of(value_at(points.payloads[at], inquiry.same))
    if value is None:
        return []
    return [
        point_id
        for batch in batches
        for point_id, payload in zip(batch.ids, batch.payloads or (), strict=True)
        if point_id != points.ids[at] and kind_of(value_at(payload, inquiry.same)) == value
    ]


def _beyond(ranker: Ranker, step: QueryStep, ranking: Ranked, places: Ints) -> Bools:
    """Which of the hits with the ranks `places` (from 1) are worse than the threshold of a step:
    (n,) bool."""
    beyond = np.zeros(len(places), np.bool_)
    if step.threshold is not None and len(ranking.items):
        bad = are_bad(ranker, step, ranking)
        beyond[places > 0] = bad[places[places > 0] - 1]
    return beyond


class _Ways:
    """Computes the single rankings of a query, and the ranks and scores of some items in these
    rankings. records: a filter that the items fulfil; other points may fulfil it, too."""

    def __init__(self, ranker: Ranker, records: Expression, items: Ints, max_hits: int) -> None:
        self._ranker, self._records, self._items, self._max_hits = ranker, records, items, max_hits
        self.legs: list[LegReport] = []
        self.words: list[WordReport] = []

    def whole_ranking(self, step: QueryStep, name: str) -> Ranked:
        """The ranking of all matching points by a step with one query vector or text."""
        if not step.prefetch:
            return self._rank(step, name or leg_names([step], "")[0], step.depth)
        names = leg_names(step.prefetch, name)
        legs = [
            self.whole_ranking(prefetch_step, leg_name)
            for prefetch_step, leg_name in zip(step.prefetch, names, strict=True)
        ]
        if isinstance(step.scoring, FuseRankings):
            (ranking,) = fuse_each(self._ranker, step.scoring, [legs])
            return ranking
        return self._ranker.rank_among(self._whole(step), legs)

    def report_ranking(self, step: QueryStep) -> None:
        """Add a report on how a step that isn't part of the query ranks the items."""
        self._rank(step, leg_names([step], "")[0], None)

    def _rank(self, step: QueryStep, name: str, depth: int | None) -> Ranked:
        whole = self._whole(step)
        (ranking,) = self._ranker.rank(whole)
        ranking = ranking.at(slice(whole.limit))
        self.legs.append(self._leg(step, name, depth, ranking))
        if isinstance(step.scoring, Bm25):
            self.words += self._ranker.words(step.scoring, self._items)
        return ranking

    def _whole(self, step: QueryStep) -> QueryStep:
        """The same step without limit and threshold, and with exact search."""
        scoring, limit = step.scoring, self._max_hits
        if isinstance(scoring, NearestDense):
            scoring = replace(scoring, exact=True)
        elif isinstance(scoring, Mmr):  # Mmr chooses among this many points
            limit = min(limit, max(scoring.candidates, 1))
        return replace(step, scoring=scoring, limit=limit, offset=0, threshold=None)

    def _leg(self, step: QueryStep, name: str, depth: int | None, ranking: Ranked) -> LegReport:
        """The report on the ranks of the items in a ranking. An item that the step's filter
        excludes gets the rank that it would have without the filter."""
        ranks, scores = _places(ranking.items, self._items), np.full(len(self._items), np.nan)
        distances = np.full(len(self._items), np.nan)
        alone = self._alone(step, ranking)
        places = ranks if alone is ranking else _places(alone.items, self._items)
        is_there = places > 0
        scores[is_there] = alone.scores[places[is_there] - 1]
        if alone.distances is not None:
            distances[is_there] = alone.distances[places[is_there] - 1]
        beyond = _beyond(self._ranker, step, alone, places)
        is_whole = len(ranking.items) < self._max_hits
        sign = 1.0 if less_is_better(self._ranker, step) else -1.0
        for i in np.flatnonzero(is_there & (ranks == 0)).tolist():
            before = self._count_before(ranking, self._items[i], sign * scores[i], sign)
            if is_whole or before < len(ranking.items):
                ranks[i] = before + 1
        return LegReport(name, depth, len(ranking.items), ranks, scores, distances, beyond)

    def _alone(self, step: QueryStep, ranking: Ranked) -> Ranked:
        """The ranking of only the records, without the filter of the step. If `ranking` contains
        all of the records, `ranking` is returned."""
        if (
            isinstance(step.scoring, NearestDense | NearestSparse | Bm25)
            and not np.isin(self._items, ranking.items).all()
        ):
            (alone,) = self._ranker.rank(replace(self._whole(step), expression=self._records))
            return alone
        return ranking

    def _count_before(self, ranking: Ranked, item: int, key: float, sign: float) -> int:
        """The number of items in a ranking that precede `item`. key: the item's sort key; less is
        better. sign: a score times `sign` is the score's sort key."""
        keys: Floats = sign * ranking.scores
        equal = ranking.items[keys == key]
        earlier = self._ranker.order(np.append(equal, item))
        return int(np.count_nonzero(keys < key) + np.count_nonzero(earlier[:-1] < earlier[-1]))
