"""What filtering keeps between calls."""

from typing import TypeAlias

from retrieval_store.base.arrays import Ints
from retrieval_store.base.dataclasses import dataclass, field
from retrieval_store.engine.filtering.allowed import AllowedCache, Key
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.state.state import View
from retrieval_store.engine.words.cache import KeptLists
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import PayloadPath, Steps


@dataclass(frozen=True, slots=True)
class Expiry:
    """What points fulfil that have expired, None if none has: as of the write `seq`, from `since`
    on, before `until`, in seconds since 1970."""

    seq: int
    since: float
    until: float
    gone: Expression | None

    def holds(self, seq: int, moment: float) -> bool:
        """Whether it is so as of this write, at this moment."""
        return seq == self.seq and self.since <= moment < self.until


@dataclass(frozen=True, slots=True)
class KeptFilters(KeptLists):
    """What this room keeps, and the lists of words that it asks. columns: payloads by value,
    answers: what conditions say of documents, for all states that number their rows alike; allowed:
    what filters let through, in one state; spent: what looking at points without a column has cost,
    by the hash of its keys, which may be of any length (`masks`); uses: how often columns of a path
    were of use; asked: the keys of conditions on documents that were asked lately; expiry: what has
    expired, by where its moment is; living: no or one array, the rows of all points as columns hold
    them."""

    columns: LayerCache
    answers: LayerCache
    allowed: AllowedCache
    spent: dict[int, float] = field(default_factory=dict, kw_only=True)
    uses: dict[PayloadPath, int] = field(default_factory=dict, kw_only=True)
    asked: set[Key] = field(default_factory=set, kw_only=True)
    expiry: dict[Steps, Expiry] = field(default_factory=dict, kw_only=True)
    living: list[Ints] = field(default_factory=list, kw_only=True)


FilterView: TypeAlias = View[KeptFilters]
