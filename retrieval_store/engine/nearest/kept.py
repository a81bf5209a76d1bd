"""What searching keeps between calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from retrieval_store.engine.codes.segments import SpaceCodes
from retrieval_store.engine.filtering.kept import KeptFilters
from retrieval_store.engine.nearest.indexing import SpaceIndex
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.state.view import View


@dataclass(frozen=True, slots=True)
class Caches(KeptFilters):
    """All that is kept beside a state. indexes, codes: of the dense spaces, by their names, in one
    generation; several: the vectors of spaces of several, by the numbers of these, for all states
    that number their rows alike."""

    indexes: Mapping[str, SpaceIndex]
    codes: Mapping[str, SpaceCodes]
    several: LayerCache


SearchView: TypeAlias = View[Caches]
