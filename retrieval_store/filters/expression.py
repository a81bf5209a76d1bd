"""The filter expression language: every dialect is parsed into it, and stores evaluate only it.

A filter is a tree of these frozen nodes. The nodes define which points match, not how the points
are found. A *path* leads into a payload, with one key for each level. The engine evaluates filters
to masks; other backends translate them. A point whose payload has no value (or null) at the path
matches no leaf; negate with `Not`.
"""

from retrieval_store.filters.leaves import (
    Candidate,
    ColumnLeaf,
    DocumentContains,
    DocumentLeaf,
    DocumentMatches,
    InSlice,
    ValueLeaf,
    fulfils,
)
from retrieval_store.filters.nodes import (
    MAX_DEPTH,
    And,
    AtLeast,
    Expression,
    HasId,
    HasVector,
    Not,
    Or,
    Scalar,
    all_of,
    walk,
)
from retrieval_store.filters.paths import PayloadPath, split_dotted, value_at
from retrieval_store.filters.values import (
    Exists,
    HasLength,
    ListHas,
    OneOf,
    Range,
    TextBegins,
    TextIn,
    TextMatches,
    TextRange,
    contains,
)

__all__ = [
    "MAX_DEPTH",
    "And",
    "AtLeast",
    "Candidate",
    "ColumnLeaf",
    "DocumentContains",
    "DocumentLeaf",
    "DocumentMatches",
    "Exists",
    "Expression",
    "HasId",
    "HasLength",
    "HasVector",
    "InSlice",
    "ListHas",
    "Not",
    "OneOf",
    "Or",
    "PayloadPath",
    "Range",
    "Scalar",
    "TextBegins",
    "TextIn",
    "TextMatches",
    "TextRange",
    "ValueLeaf",
    "all_of",
    "contains",
    "every",
    "fulfils",
    "split_dotted",
    "value_at",
    "walk",
]
every = all_of  # the older name of `all_of`, which users may use
