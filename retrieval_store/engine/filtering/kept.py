"""What filtering keeps between calls."""

from dataclasses import dataclass
from typing import TypeAlias

from retrieval_store.engine.filtering.allowed import AllowedCache
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.state.view import View
from retrieval_store.engine.words.kept import KeptLists


@dataclass(frozen=True, slots=True)
class KeptFilters(KeptLists):
    """What this room keeps, and the lists of words that it asks. columns: payloads by value, for
    all states that number their rows alike; allowed: what filters let through, in one state."""

    columns: LayerCache
    allowed: AllowedCache


FilterView: TypeAlias = View[KeptFilters]
