"""Filter expressions: their parts, and what of a record they are held against."""

from retrieval_store.base.validation import (
    kind_of,
)
from retrieval_store.filters.columns import (
    sort_key,
)
from retrieval_store.filters.dates import (
    micros_in,
    time_in,
)
from retrieval_store.filters.expression import (
    Expression,
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
    all_of,
    terms_of,
)
from retrieval_store.filters.paths import (
    JsonPath,
    PayloadPath,
)

__all__ = [
    "COMBINATIONS",
    "MAX_DEPTH",
    "MAX_NODES",
    "AnyElement",
    "AtLeast",
    "Expression",
    "HasId",
    "JsonPath",
    "Not",
    "PayloadPath",
    "all_of",
    "any_element",
    "kind_of",
    "micros_in",
    "sort_key",
    "terms_of",
    "time_in",
]
