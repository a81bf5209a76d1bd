"""Filter expressions: their parts, and what of a record they are held against."""

from retrieval_store.api.arguments import filter_of
from retrieval_store.base.validation import (
    kind_of,
)
from retrieval_store.filters.columns import (
    Reading,
    sort_key,
)
from retrieval_store.filters.dates import (
    micros_in,
    time_in,
)
from retrieval_store.filters.expression import (
    Expression,
    fulfils,
)
from retrieval_store.filters.leaves import (
    MAX_NODES,
    AnyElement,
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
)
from retrieval_store.filters.values import Bounds

__all__ = [
    "COMBINATIONS",
    "MAX_DEPTH",
    "MAX_NODES",
    "AnyElement",
    "AtLeast",
    "Bounds",
    "Expression",
    "HasId",
    "JsonPath",
    "Not",
    "Or",
    "PayloadPath",
    "Reading",
    "all_of",
    "any_element",
    "filter_of",
    "fulfils",
    "kind_of",
    "micros_in",
    "sort_key",
    "terms_of",
    "time_in",
]
