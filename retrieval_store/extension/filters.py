"""Filter expressions: their parts, and what of a record they are held against."""

from retrieval_store.filters.columns import (
    Reading,
    ScalarKind,
    ValuesAt,
)
from retrieval_store.filters.dates import (
    micros_in,
    micros_of,
    time_in,
)
from retrieval_store.filters.expression import (
    Candidate,
    Expression,
    fulfils,
)
from retrieval_store.filters.leaves import (
    MAX_NODES,
    AnyElement,
    Interval,
    ValueLeaf,
    any_element,
)
from retrieval_store.filters.nodes import (
    COMBINATIONS,
    MAX_DEPTH,
    AtLeast,
    HasId,
    Not,
    Or,
    all_of,
    terms_of,
)
from retrieval_store.filters.paths import (
    JsonPath,
    PayloadPath,
    first_keys,
    values_at_end,
)
from retrieval_store.filters.values import (
    SOME,
    Bounds,
    Exists,
    TextRange,
    is_inside,
)

__all__ = [
    "COMBINATIONS",
    "MAX_DEPTH",
    "MAX_NODES",
    "SOME",
    "AnyElement",
    "AtLeast",
    "Bounds",
    "Candidate",
    "Exists",
    "Expression",
    "HasId",
    "Interval",
    "JsonPath",
    "Not",
    "Or",
    "PayloadPath",
    "Reading",
    "ScalarKind",
    "TextRange",
    "ValueLeaf",
    "ValuesAt",
    "all_of",
    "any_element",
    "first_keys",
    "fulfils",
    "is_inside",
    "micros_in",
    "micros_of",
    "terms_of",
    "time_in",
    "values_at_end",
]
