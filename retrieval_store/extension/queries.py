"""A query, its steps and its filters, and what a store needs to answer one.

A store that ranks by itself implements `Ranker`, and has `answer` do the rest; `ScanRanker` is one
for points that are in memory.
"""

import sys
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from retrieval_store.api.arguments import filter_of
from retrieval_store.base.analysis import K1, Analyzer, B, analyzer_of, places_of_words
from retrieval_store.base.arrays import Floats, Ints, Metric
from retrieval_store.base.budget import check as check_budget
from retrieval_store.base.validation import kind_of
from retrieval_store.errors import DimensionMismatchError, InvalidArgumentError
from retrieval_store.filters.columns import sort_key
from retrieval_store.filters.dates import micros_in, time_in
from retrieval_store.filters.leaves import MAX_NODES, fulfils
from retrieval_store.filters.nodes import Expression, terms_of
from retrieval_store.filters.paths import JsonPath, value_at
from retrieval_store.indexes import DEFAULT_RECALL, GREATEST_RECALL, ef_of
from retrieval_store.indexes.exact import distances_from
from retrieval_store.query.executor import Ranked, Ranker, Trace, answer
from retrieval_store.query.query import (
    BestOfEach,
    Bm25,
    ExplainRequest,
    Formula,
    FuseRankings,
    GroupSearch,
    NearestDense,
    NearestSparse,
    Query,
    QueryStep,
    RankReport,
    WordReport,
)
from retrieval_store.query.types import Fields, Points
from retrieval_store.query.why import why

if TYPE_CHECKING:
    from retrieval_store.api.embedder import embedder_of
    from retrieval_store.api.query_arguments import QueryBuilder
    from retrieval_store.api.why_request import reasons_for

__all__ = [
    "DEFAULT_RECALL",
    "GREATEST_RECALL",
    "MAX_NODES",
    "Analyzer",
    "BestOfEach",
    "Bm25",
    "ExplainRequest",
    "Formula",
    "FuseRankings",
    "GroupSearch",
    "JsonPath",
    "NearestDense",
    "NearestSparse",
    "Query",
    "QueryBuilder",
    "QueryStep",
    "RankReport",
    "Ranked",
    "Ranker",
    "ScanRanker",
    "Trace",
    "WordReport",
    "analyzer_of",
    "answer",
    "check_budget",
    "class_named",
    "distances_from",
    "ef_of",
    "embedder_of",
    "filter_of",
    "kind_of",
    "micros_in",
    "places_of_words",
    "reasons_for",
    "sort_key",
    "terms_of",
    "time_in",
    "why",
]


# The classes that may be in messages between processes, by the modules that they are of.
_HOMES: Mapping[str, Sequence[str]] = {
    "base.analysis": ("Analyzer",),
    "base.arrays": ("SparseVector",),
    "filters.nodes": ("HasId", "HasVector"),
    "filters.paths": ("JsonPath",),
    "filters.columns": ("ValuesAt", "PlacesAt", "TokensAt", "ElementsAt"),
    "filters.leaves": ("AnyElement", "DocumentContains", "DocumentMatches", "InSlice"),
    "filters.geo": ("InBox", "InCircle", "InPolygon"),
    "filters.values": (
        *("Beginning", "Between", "Containing", "Differs", "Equals", "Exists", "HasLength"),
        *("HasPhrase", "HasTokens", "ListHas", "OneOf", "Range", "TextBegins", "TextIn"),
        *("TextMatches", "TextRange"),
    ),
    "query.query": (
        *("Apply", "Combine", "Constant", "Decayed", "DistanceTo", "NumberAt", "Power"),
        *("Quotient", "ScoreOf", "TimeAt", "Whether"),
        *("BestOfEach", "Bm25", "Discover", "FormulaScore", "FuseRankings", "Mmr"),
        *("NearestDense", "NearestSparse", "OrderBy"),
        *("PayloadText", "Query", "Recommend", "RelevanceFeedback", "QueryStep"),
        *("Unranked", "RankReport", "ExplainRequest", "LegReport", "WordReport"),
    ),
    "query.types": (
        *("ChangedPoints", "Fields", "Position", "PutResult", "WriteRules", "CollectionRecord"),
        *("Gauges", "Hits", "NewSpace", "NonDenseVectors", "PointBatch", "Points", "Projection"),
        *("SpaceRecord", "Vectors"),
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def class_named(name: str) -> type | None:
    """The dataclass of this name that may be in a message from another process: a part of a query,
    of a filter, of points or of what a store answers. None for any other name, so that data never
    chooses what code runs.

    Args:
        name: its `__name__`.
    """
    return _class_named(name) if name in _HOME_OF else None


@cache  # of the names in the table alone: others come from clients, and without end
def _class_named(name: str) -> type:
    kind: type = getattr(import_module(f"retrieval_store.{_HOME_OF[name]}"), name)
    return kind


# What only a page asks that looks into stores: it takes as long to load as all else.
_LATE = {
    "QueryBuilder": "query_arguments",
    "embedder_of": "embedder",
    "reasons_for": "why_request",
}

if not TYPE_CHECKING:  # else type checkers would believe in any name

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"retrieval_store.api.{_LATE[name]}"), name)


class ScanRanker:
    """A `Ranker` over points in memory, which looks at each: by nearness to dense vectors and by
    the words of texts. points: all that there are, in the order of insertion, with all of their
    fields; metric: of their vectors, in the space "". It raises InvalidArgumentError for another
    scoring, or space, and DimensionMismatchError for query vectors of another length."""

    def __init__(self, points: Points, metric: Metric) -> None:
        self.trace = Trace()
        self._points, self._metric = points, metric

    def rank(self, step: QueryStep) -> list[Ranked]:
        """For each query of a step its best points, among all that its filter allows."""
        return self._rank(step, np.arange(len(self._points.ids)))

    def rank_among(self, step: QueryStep, rankings: Sequence[Ranked]) -> Ranked:
        """The same for a step of one query, among the points that are in any of these rankings."""
        found = [np.empty(0, np.int64), *(ranking.items for ranking in rankings)]
        (ranking,) = self._rank(step, np.unique(np.concatenate(found)))
        return ranking

    def search_key(self, step: QueryStep) -> Hashable:
        """None: each step is asked by itself."""
        return None

    def metric(self, space: str) -> Metric:
        """The metric of the vectors."""
        return self._metric

    def distances(self, near: NearestDense, lists: Sequence[Ints]) -> list[Floats]:
        """For each query vector (n,) float64 distances of a list of items from it; NaN for points
        without a vector."""
        return [
            self._distances(query, items)
            for query, items in zip(np.asarray(near.vectors), lists, strict=True)
        ]

    def order(self, items: Ints) -> Ints:
        """The items themselves, which are places in the order of insertion."""
        return items

    def labelling(
        self, groups: BestOfEach | GroupSearch, expected: int, expression: Expression | None
    ) -> "ScanLabels":
        """The values of points under a key; only for `BestOfEach`."""
        if not isinstance(groups, BestOfEach):
            raise InvalidArgumentError("points of this store aren't put into groups")
        values = [value_at(payload, groups.path) for payload in self._points.payloads or ()]
        return ScanLabels([() if kind is None else (kind,) for kind in map(kind_of, values)])

    def fetch(self, lists: Sequence[Ints], fields: Fields) -> list[Points]:
        """The points of several lists of items."""
        return [self._points.at(items).only(fields) for items in lists]

    def matching(self, expression: Expression, limit: int) -> Ints:
        """The first `limit` points, in the order of insertion, that fulfil an expression."""
        items = np.arange(len(self._points.ids))
        return items[self.fulfilling(expression, items)][:limit]

    def fulfilling(self, expression: Expression | None, items: Ints) -> npt.NDArray[np.bool_]:
        """(n,) bool: which of some items fulfil an expression."""
        if expression is None:
            return np.ones(len(items), np.bool_)
        return np.array(
            [fulfils(self._points.candidate(i), expression) for i in items.tolist()], np.bool_
        )

    def words(self, text: Bm25, items: Ints) -> list[WordReport]:
        """Each distinct word of the first text, and what it adds to the scores of some items."""
        words, weights, shares = self._word_shares(text, text.texts[0])
        return [
            WordReport(word, weight, shares[items, i])
            for i, (word, weight) in enumerate(zip(words, weights.tolist(), strict=True))
        ]

    def _rank(self, step: QueryStep, items: Ints) -> list[Ranked]:
        items = items[self.fulfilling(step.expression, items)]
        match step.scoring:
            case NearestDense(space="", scale="distance", vectors=vectors):
                return [self._nearest(query, items, step.depth) for query in np.asarray(vectors)]
            case Bm25() as text:
                return [self._by_words(text, query, items, step.depth) for query in text.texts]
        what = type(step.scoring).__name__
        raise InvalidArgumentError(f"this store can't answer a question with a step {what!r}")

    def _nearest(self, query: npt.NDArray[np.float32], items: Ints, depth: int) -> Ranked:
        distances = self._distances(query, items)
        has_vector = ~np.isnan(distances)
        items, distances = items[has_vector], distances[has_vector]
        best = np.argsort(distances, kind="stable")[:depth]
        distances = distances[best]
        scores = -distances if self._metric == "l2" else 1.0 - distances
        return Ranked(items[best], scores, distances)

    def _distances(self, query: npt.NDArray[np.float32], items: Ints) -> Floats:
        vectors = (self._points.vectors or {}).get("")
        if not isinstance(vectors, np.ndarray) or not vectors.shape[1]:
            return np.full(len(items), np.nan)
        if vectors.shape[1] != len(query):
            raise DimensionMismatchError(
                f"the query vectors have {len(query)} numbers, but the collection holds vectors of "
                f"{vectors.shape[1]} (its dimension)"
            )
        return distances_from(query, vectors[items], self._metric)

    def _by_words(self, text: Bm25, query: str, items: Ints, depth: int) -> Ranked:
        _, _, shares = self._word_shares(text, query)
        scores = shares[items].sum(axis=1)
        best = np.argsort(-scores, kind="stable")[:depth]
        best = best[scores[best] > 0]
        return Ranked(items[best], scores[best])

    def _word_shares(self, text: Bm25, query: str) -> tuple[list[str], Floats, Floats]:
        """The distinct words of a query, the idf of each, and (points, words) what each adds to the
        score of a point, by BM25."""
        asked = text.analyzer.words([query], is_query=True).vocabulary
        documents = [document or "" for document in self._points.documents or ()]
        words = text.analyzer.words(documents)
        lengths = np.bincount(words.owners, minlength=len(documents))
        place = {word: i for i, word in enumerate(asked)}
        column = np.array([place.get(word, -1) for word in words.vocabulary], np.int64)
        columns = column[words.codes]
        often = np.zeros((len(documents), len(asked)))
        np.add.at(often, (words.owners[columns >= 0], columns[columns >= 0]), 1)
        holders, having = (often > 0).sum(axis=0), max(1, np.count_nonzero(lengths))
        idf = np.log1p((having - holders + 0.5) / (holders + 0.5))
        damping = K1 * (1 - B + B * lengths / max(1.0, lengths.sum() / having))
        return asked, idf, often * (K1 + 1) / (often + damping[:, None]) * idf


class ScanLabels:
    """The values under one key of the points of a `ScanRanker`, by which hits are grouped."""

    group_count = None
    points_per_occurrence = 0

    def __init__(self, labels: Sequence[tuple[str | int, ...]]) -> None:
        self._labels = labels

    def of(self, items: Ints) -> list[tuple[str | int, ...]]:
        """The labels of some items."""
        return [self._labels[item] for item in items.tolist()]

    def max_points_in(self, value: str | int) -> int:
        """That isn't known."""
        return sys.maxsize
