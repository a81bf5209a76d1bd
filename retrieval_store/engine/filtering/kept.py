"""What filtering keeps between calls."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeAlias

from retrieval_store.engine.filtering.allowed import AllowedCache
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.state.view import View
from retrieval_store.engine.words.kept import KeptLists
from retrieval_store.filters.expression import DocumentLeaf, PayloadPath

KEYS_NOTED = 10_000


@dataclass(frozen=True, slots=True)
class KeptFilters(KeptLists):
    """What this room keeps, and the lists of words that it asks. columns: payloads by value,
    answers: what conditions say of documents, for all states that number their rows alike; allowed:
    what filters let through, in one state; spent: what looking at points without a column has cost
    (`masks`); uses: how often a column was of use; asked: conditions on documents that were asked
    lately."""

    columns: LayerCache
    answers: LayerCache
    allowed: AllowedCache
    spent: dict[Hashable, float] = field(default_factory=dict, kw_only=True)
    uses: dict[PayloadPath, int] = field(default_factory=dict, kw_only=True)
    asked: dict[DocumentLeaf, None] = field(default_factory=dict, kw_only=True)


FilterView: TypeAlias = View[KeptFilters]
