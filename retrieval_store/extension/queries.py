"""Queries, their steps and their filters, and the interface for stores that answer them.

A store that ranks points itself implements `Ranker`, and calls `answer` for everything else.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module

from retrieval_store.api.arguments import filter_of, matrix_of, sparse_of
from retrieval_store.base.analysis import Analyzer, analyzer_of, places_of_words
from retrieval_store.base.budget import check as check_budget
from retrieval_store.base.validation import kind_of
from retrieval_store.filters.columns import sort_key
from retrieval_store.filters.dates import micros_in, time_in
from retrieval_store.filters.leaves import MAX_NODES
from retrieval_store.filters.nodes import terms_of
from retrieval_store.filters.paths import JsonPath
from retrieval_store.filters.values import is_inside
from retrieval_store.indexes import DEFAULT_RECALL, GREATEST_RECALL, ef_of
from retrieval_store.indexes.exact import distances_from
from retrieval_store.query.executor import Ranked, Ranker, Trace, answer
from retrieval_store.query.formulas import Formula
from retrieval_store.query.query import (
    MAX_AHEAD,
    MAX_CONDITIONS,
    MAX_RECORDS,
    BestOfEach,
    Bm25,
    ExplainRequest,
    FuseRankings,
    GroupSearch,
    NearestDense,
    NearestSparse,
    Query,
    QueryStep,
    RankReport,
    WordReport,
)
from retrieval_store.query.why import why

__all__ = [
    "DEFAULT_RECALL",
    "GREATEST_RECALL",
    "MAX_AHEAD",
    "MAX_CONDITIONS",
    "MAX_NODES",
    "MAX_RECORDS",
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
    "QueryStep",
    "RankReport",
    "Ranked",
    "Ranker",
    "Trace",
    "WordReport",
    "analyzer_of",
    "answer",
    "check_budget",
    "class_named",
    "distances_from",
    "ef_of",
    "filter_of",
    "is_inside",
    "kind_of",
    "matrix_of",
    "micros_in",
    "places_of_words",
    "sort_key",
    "sparse_of",
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
    "query.formulas": (
        *("Apply", "Combine", "Constant", "Decayed", "DistanceTo", "NumberAt", "Power"),
        *("Quotient", "ScoreOf", "TimeAt", "Whether"),
    ),
    "query.query": (
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
    """The dataclass of this name that can occur in a message from another process: a part of a
    query, a filter, points, or a result of a store. Returns None for any other name, so that data
    from outside cannot choose which code runs.

    Args:
        name: the `__name__` of the class.
    """
    return _class_named(name) if name in _HOME_OF else None


@cache  # of the names in the table alone: others come from clients, and without end
def _class_named(name: str) -> type:
    kind: type = getattr(import_module(f"retrieval_store.{_HOME_OF[name]}"), name)
    return kind
