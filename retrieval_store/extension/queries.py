"""A query and its steps, and what a store that ranks by itself needs to answer one."""

from retrieval_store.base.analysis import (
    Analyzer,
)
from retrieval_store.base.arrays import (
    hit_distances,
)
from retrieval_store.base.fusion import (
    FIRST,
    IDENTIFIER_WEIGHT,
)
from retrieval_store.indexes import (
    CODES,
    CODES_BEFORE,
    DEFAULT_RECALL,
    EXACT,
    GREATEST_RECALL,
    HNSW,
    ef_of,
)
from retrieval_store.indexes.exact import (
    exact_distances,
    length_of,
)
from retrieval_store.query.executor import (
    Label,
    Ranked,
    answer,
)
from retrieval_store.query.formulas import (
    Formula,
)
from retrieval_store.query.query import (
    MAX_AHEAD,
    MAX_CONDITIONS,
    MAX_RECORDS,
    BestOfEach,
    Bm25,
    ExplainRequest,
    FuseRankings,
    GroupSearch,
    GroupValue,
    NearestDense,
    NearestSparse,
    Query,
    QueryStep,
    RankReport,
    WordReport,
    leaves_of,
)
from retrieval_store.query.why import (
    why,
)

__all__ = [
    "CODES",
    "CODES_BEFORE",
    "DEFAULT_RECALL",
    "EXACT",
    "FIRST",
    "GREATEST_RECALL",
    "HNSW",
    "IDENTIFIER_WEIGHT",
    "MAX_AHEAD",
    "MAX_CONDITIONS",
    "MAX_RECORDS",
    "Analyzer",
    "BestOfEach",
    "Bm25",
    "ExplainRequest",
    "Formula",
    "FuseRankings",
    "GroupSearch",
    "GroupValue",
    "Label",
    "NearestDense",
    "NearestSparse",
    "Query",
    "QueryStep",
    "RankReport",
    "Ranked",
    "WordReport",
    "answer",
    "ef_of",
    "exact_distances",
    "hit_distances",
    "leaves_of",
    "length_of",
    "why",
]
