"""Loading what the first queries would load, before there are any.

Each part is done as a query does it, in a read transaction of its own, so nothing here knows how
codes, columns or lists come to be there. But a saved graph is loaded at once, which queries leave
to the background until it pays.
"""

import time
from collections.abc import Hashable, Sequence

import numpy as np

from retrieval_store.base.analysis import Analyzer
from retrieval_store.base.arrays import SparseVector
from retrieval_store.base.validation import Payload
from retrieval_store.engine.access import Access
from retrieval_store.engine.filtering.columns import USES_WORTH, current_columns, note_use
from retrieval_store.engine.nearest.context import SearchView, Trace
from retrieval_store.engine.nearest.indexing import FRESH_CELLS
from retrieval_store.engine.ranking.leaves import EngineLeaves
from retrieval_store.engine.report import of_space
from retrieval_store.engine.state.fetch import fetch_vectors
from retrieval_store.engine.state.layers import LayerCache
from retrieval_store.engine.upkeep.filling import load
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.query.executor import answer
from retrieval_store.query.query import Near, Question, Scoring, Sparse, Step, Text
from retrieval_store.query.types import Fields

KEPT, LOADED, BUILT = "kept", "loaded", "built"  # in memory before, from a file, from the points
TOLD = ("vectors", "coded_slots", "indexed_slots")  # of a vector space
_ONE = SparseVector(np.zeros(1, np.uint32), np.ones(1, np.float32))


def warm(points: Access, paths: Sequence[PayloadPath], analyzer: Analyzer | None) -> Payload:
    """Load the state, codes and index of each dense space, the lists of sparse ones, the columns of
    these paths, and the lists of words as the analyzer finds them, if one is given. The columns
    count as used often, so maintenance saves them where that is worth it. Returns what there is
    now, and what was done for it: see `direct.results.Warmed`."""
    laps = _Laps()
    count = points.read(lambda view: view.state.count)
    laps.end("state")
    spaces = {name: _vectors(points, name) for name in points.cached().state.spaces}
    laps.end("spaces")
    keys = points.read(lambda view: _columns(view, paths))
    laps.end("keys")
    lists = points.read(lambda view: _lists(view, analyzer))
    laps.end("lists")
    if points.cached().kept.unsaved:
        points.schedule_maintenance()
    return {
        "points": count,
        "spaces": {**spaces},
        "keys": {**keys},
        "lists": {**lists},
        "milliseconds": {**laps.told},
    }


class _Laps:
    """told: the milliseconds that each part took."""

    def __init__(self) -> None:
        self.told: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, part: str) -> None:
        """A part ends here, and the next begins."""
        now = time.perf_counter()
        self.told[part] = round((now - self._last) * 1e3, 3)
        self._last = now


def _vectors(points: Access, name: str) -> Payload:
    """Load the index and the codes of a dense space: the codes, and what else a search needs, by
    looking for what is nearest to one of its own vectors."""
    load(points, name, waits=False)

    def look(view: SearchView) -> Payload:
        space = view.state.spaces.get(name)
        if space is None:  # it was dropped meanwhile
            return dict.fromkeys(TOLD, 0)
        owner = np.flatnonzero(space.slot_of_row.whole() >= 0)[:1]
        if len(owner):
            trace = _ask(view, Near(name, fetch_vectors(view, owner, name)))
            if trace.lacking_cells > FRESH_CELLS:
                points.schedule_maintenance()
        told = of_space(view, space)
        return {part: told[part] for part in TOLD}

    return points.read(look)


def _columns(view: SearchView, paths: Sequence[PayloadPath]) -> dict[str, str]:
    """How the columns of each path came to be in memory, by its first key."""
    columns = {path: ValuesAt(path, "whole") for path in paths}
    before = {path: _is_there(view, view.kept.columns, columns[path]) for path in paths}
    for path in paths:
        note_use(view, path, USES_WORTH)
    found = current_columns(view, [one for path in paths for one in columns[path].siblings])
    return {path[0]: _told(before[path], found[columns[path]].memory is not None) for path in paths}


def _lists(view: SearchView, analyzer: Analyzer | None) -> dict[str, str]:
    """How the lists of each sparse space, by its name, and of words came to be in memory."""
    asked: dict[str, tuple[Hashable, Scoring]] = {
        space.name: (("sparse", space.number), Sparse(space.name, (_ONE,)))
        for space in view.state.non_dense.values()
        if space.kind == "sparse"
    }
    if analyzer is not None:
        asked["words"] = ("words", analyzer), Text(("word",), analyzer)
    return {name: _list(view, key, scoring) for name, (key, scoring) in asked.items()}


def _list(view: SearchView, key: Hashable, scoring: Scoring) -> str:
    cache, seq, height = view.kept.lists, view.state.head.seq, len(view.state.pks)
    before = _is_there(view, cache, key)
    _ask(view, scoring)
    return _told(before, cache.at(key, seq, height).memory is not None)


def _ask(view: SearchView, scoring: Scoring) -> Trace:
    """Ask as a query does."""
    trace = Trace(False)
    answer(EngineLeaves(view, trace), Question((Step(scoring, 1),), Fields()))
    return trace


def _is_there(view: SearchView, cache: LayerCache, key: Hashable) -> bool:
    return cache.there(key, view.state.head.seq, len(view.state.pks)) is not None


def _told(before: bool, in_file: bool) -> str:
    if before:
        return KEPT
    return LOADED if in_file else BUILT
