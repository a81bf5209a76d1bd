"""Statistics of a collection (how a query was executed, the sizes of its parts), and its warm-up.

`warm` loads in advance the data that the first queries would load. It loads each part by the same
functions that queries use, in a read transaction of its own. Only a saved graph is treated
differently: `warm` loads it at once; for queries, background maintenance loads it once that is
worthwhile.
"""

import time
from collections.abc import Hashable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import numpy as np

from retrieval_store.base.analysis import Analyzer
from retrieval_store.base.arrays import Ints, SparseVector
from retrieval_store.base.platform import bytes_on_disk
from retrieval_store.base.system import describe_process, holder_of
from retrieval_store.base.tracing import Attributes
from retrieval_store.base.validation import JSONValue, Payload
from retrieval_store.engine.access import Access
from retrieval_store.engine.filtering import evaluate
from retrieval_store.engine.filtering.cache import filter_result
from retrieval_store.engine.filtering.columns import USES_WORTH, current_columns, note_use
from retrieval_store.engine.maintenance.derive import load_index
from retrieval_store.engine.search.codes import (
    FILE_SEGMENTS,
    MIN_CELLS,
    NOTHING_CODED,
    SEGMENT,
    CodeSnapshot,
    number_of,
)
from retrieval_store.engine.search.context import (
    Caches,
    EngineTrace,
    OpenSpace,
    SearchView,
    SignSearchReport,
)
from retrieval_store.engine.search.index_lifecycle import FRESH_CELLS, index_is_worth_building
from retrieval_store.engine.search.planner import codes_pay_off
from retrieval_store.engine.search.ranker import EngineRanker
from retrieval_store.engine.sqlite import FileDatabase, corruption_as_damage
from retrieval_store.engine.state.caches import CACHE_BUDGET, LayerCache
from retrieval_store.engine.state.state import SpaceState, State, fetch_vectors, state_bytes
from retrieval_store.engine.storage import derived
from retrieval_store.engine.storage.files import DERIVED, LOCK_NAME, POINTS_NAME
from retrieval_store.engine.storage.log import count_present
from retrieval_store.engine.storage.schema import POINTS, Space, read_head
from retrieval_store.errors import ClientClosedError, FormatError, NotFoundError, StorageError
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.paths import PayloadPath
from retrieval_store.indexes import CODES, EXACT
from retrieval_store.indexes.exact import BY_PRODUCTS
from retrieval_store.indexes.native import REMEDY, kernel
from retrieval_store.query.executor import answer
from retrieval_store.query.query import Bm25, NearestDense, NearestSparse, Query, QueryStep, Scoring
from retrieval_store.query.types import (
    Fields,
    Gauges,
    Indexed,
    Mode,
    index_name,
    recall_wanted,
    uses_codes,
    usual_recall,
)

if TYPE_CHECKING:
    from retrieval_store.engine.search.recall import Recall

ELSEWHERE = "another process is at it"


def explanation(trace: EngineTrace, state: State) -> Payload:
    """A description of how a search was executed. fresh: the number of vectors that the index
    lacks. uncoded: the number of vectors without codes, which are searched as floats. plans: one
    plan for each query vector, and a further plan if a search was repeated. costs: estimates in
    microseconds. steps: the time of each step in milliseconds."""
    return {
        "points": state.count,
        "matching": trace.matching,
        "fresh": trace.fresh,
        "uncoded": trace.uncoded,
        "legs": {name: list[JSONValue](counts) for name, counts in trace.legs.items()},
        "alphas": [round(alpha, 4) for alpha in trace.alphas],
        "plans": [
            {
                "method": plan.method,
                "ef": plan.ef,
                "costs": {method: round(cost, 1) for method, cost in plan.costs.items()},
            }
            for plan in trace.plans
        ],
        "remarks": list[JSONValue](trace.remarks),
        "steps": {name: round(milliseconds, 4) for name, milliseconds in trace.steps.items()},
        **({} if trace.recall is None else {"recall": _signs_search_report(trace.recall)}),
    }


def _signs_search_report(by_signs: SignSearchReport) -> Payload:
    """The report on a search by signs: its target recall, the number of rows that it compared, and
    its measured recall."""
    report = _recall_report(by_signs.target, by_signs.errors, by_signs.measured)
    looked = dict(zip(("signs", "codes", "distances"), by_signs.looked, strict=True))
    off = None if by_signs.measured is None else round(by_signs.measured.off, 4)
    return {**report, "looked": {**looked}, "estimate": by_signs.estimate, "estimate_error": off}


def _recall_report(target: float, errors: float | None, recall: "Recall | None") -> Payload:
    """A report on searches by signs. target: the target recall. errors: the number of standard
    errors that the searches allow for. The measured recall of each kind of query is included, the
    lowest first."""
    measured = (
        []
        if recall is None
        else sorted(recall.measured, key=lambda measurement: measurement.recall)
    )
    return {
        "target": target,
        "errors": errors,
        "measured": [
            {
                **measurement._asdict(),
                "recall": round(measurement.recall, 4),
                "least": round(measurement.least, 4),
            }
            for measurement in measured
        ],
        "questions": None if recall is None else recall.questions,
        "vectors": None if recall is None else recall.vectors,
        "at": None if recall is None else recall.at,
    }


def count_matching(view: SearchView, steps: Sequence[QueryStep]) -> int:
    """How many points fulfil the filter of a step; the greatest number over all steps without
    prefetches."""
    counts, pending = [0], [*steps]
    while pending:
        step = pending.pop()
        pending.extend(step.prefetch)
        if not step.prefetch:
            counts.append(filter_result(view, step.expression, evaluate).count)
    return max(counts)


def search_attributes(trace: EngineTrace, state: State) -> Attributes:
    """The attributes of a search's tracing span."""
    return {
        "retrieval_store.seq": state.head.seq,
        "retrieval_store.points": state.count,
        "retrieval_store.matching": trace.matching,
        "retrieval_store.fresh": trace.fresh,
        "retrieval_store.uncoded": trace.uncoded,
        **{f"retrieval_store.ms.{step}": spent for step, spent in trace.steps.items()},
    }


def gauges(access: Access, mode: Mode) -> Gauges:
    """The gauges of a collection. They are read through a separate connection, so that monitoring
    loads nothing into memory and evicts nothing."""
    if access.directory is None:
        return access.read(_gauges_in_memory)
    cached, path = access.memory.cached_state, access.directory / POINTS_NAME
    state, caches = (None, None) if cached is None else (cached.state, cached.caches)
    database = FileDatabase(path, POINTS, mode)
    look = partial(_gauges_of, state=state, caches=caches, directory=access.directory)
    try:
        with corruption_as_damage(path):
            return database.read(look)
    except (StorageError, FormatError) as error:
        access.refuse_if_deleted()
        return Gauges(disk=_on_disk(access.directory), problem=str(error))
    finally:
        database.close(partial(ClientClosedError, "it was looked at"))


def _gauges_in_memory(view: SearchView) -> Gauges:
    return _gauges_of(view.connection, view.state, view.caches, None)


def _gauges_of(
    connection: apsw.Connection, state: State | None, caches: Caches | None, directory: Path | None
) -> Gauges:
    """The gauges according to the database; the state and caches in memory may be older."""
    head = read_head(connection)
    if head.dropped:
        raise NotFoundError.of_deleted("the collection")
    spaces = [] if state is None else state.spaces.values()
    lag = uncoded = None
    if state is not None and caches is not None and _is_at_hand(state, head.generation):
        lag, uncoded = _count_missing(connection, state, caches)
    return Gauges(
        points=count_present(connection),
        seq=head.seq,
        in_memory=state is not None,
        index_lag=lag,
        uncoded=uncoded,
        dead_slots=None if state is None else sum(space.dead for space in spaces),
        memory={} if state is None or caches is None else _in_memory(state, caches, directory),
        disk={} if directory is None else _on_disk(directory),
    )


def _is_at_hand(state: State, generation: int) -> bool:
    """Whether the state is complete and belongs to this generation. A compaction removes the files
    of earlier generations."""
    return state.is_whole and state.head.generation == generation


def _count_missing(connection: apsw.Connection, state: State, caches: Caches) -> tuple[int, int]:
    """How many vectors of points are missing from an index, and how many lack codes that they
    should have. Entries in memory and in files are both counted."""
    lag = uncoded = 0
    for name, space in state.spaces.items():
        if space.space.metric in BY_PRODUCTS:
            at_hand = caches.spaces.get(name)
            lag += _count_unindexed(connection, state, space, at_hand)
            uncoded += _count_uncoded(connection, state, space, at_hand)
    return lag, uncoded


def _count_unindexed(
    connection: apsw.Connection, state: State, space: SpaceState, at_hand: OpenSpace | None
) -> int:
    slots, dimension = space.space.slots, space.space.dimension or 0
    if uses_codes(space.space):
        return 0
    file = derived.find(connection, f"index.{space.space.number}.{state.head.generation}")
    indexed = 0 if file is None else min(file.covered, slots)
    if at_hand is not None:
        indexed = max(indexed, at_hand.index.covered)
    if index_at_hand(space.space) == EXACT:
        return 0
    if not indexed and not index_is_worth_building(slots, dimension, space.space.metric):
        return 0
    return _count_living(space, np.arange(indexed, slots))


def _count_uncoded(
    connection: apsw.Connection, state: State, space: SpaceState, at_hand: OpenSpace | None
) -> int:
    slots, dimension = space.space.slots, space.space.dimension or 0
    if not codes_pay_off(slots, dimension, space.space.metric):
        return 0
    lacking = np.ones(slots, np.bool_)
    pieces = () if at_hand is None else _codes_in_memory(at_hand).pieces
    for covered in [
        *_slots_with_codes(connection, space.space, state.head.generation),
        *(range(first, first + codes.count) for first, codes in pieces),
    ]:
        lacking[covered.start : covered.stop] = False
    if np.count_nonzero(lacking) * dimension <= MIN_CELLS:
        return 0  # so few vectors never get codes
    return _count_living(space, np.flatnonzero(lacking))


def _count_living(space: SpaceState, slots: Ints) -> int:
    return int(np.count_nonzero(space.row_of_slot[slots] >= 0)) if len(slots) else 0


def _codes_in_memory(space: OpenSpace) -> CodeSnapshot:
    """A snapshot of the codes of a space that are in memory."""
    codes = space.codes_at_hand
    return NOTHING_CODED if codes is None else codes.snapshot()


def _slots_with_codes(connection: apsw.Connection, space: Space, generation: int) -> list[range]:
    """The ranges of slots whose codes are in files."""
    ranges = []
    for file in derived.find_all(connection, f"codes.{space.number}.{generation}"):
        first = number_of(file) * FILE_SEGMENTS * SEGMENT
        covered = min(file.covered, FILE_SEGMENTS * SEGMENT, space.slots - first)
        if first >= 0 and covered > 0:
            ranges.append(range(first, first + covered))
    return ranges


def index_at_hand(space: Indexed) -> str:
    """The name of the index that a space has or will get in this process; "exact" if the index's
    package isn't installed."""
    return CODES if uses_codes(space) else index_name(space)


def statistics(view: SearchView, directory: Path | None) -> Payload:
    """The number of points and vectors, and the size of each part in bytes, on disk and in
    memory."""
    state, caches = view.state, view.caches
    return {
        "points": state.count,
        "spaces": {name: space_numbers(view, s) for name, s in state.spaces.items()},
        "memory": {**_in_memory(state, caches, directory)},
        "budget": {**CACHE_BUDGET.usage},
        "compiled": {**instruction_set()},
        "disk": {} if directory is None else {**_on_disk(directory)},
    }


def maintenance(access: Access) -> Payload | None:
    """The running maintenance of a collection: its activity, progress, and running time; None if no
    maintenance is running. If another process runs the maintenance, only that process is reported,
    as `process`."""
    now = access.maintained
    if now.doing is not None:
        seconds = round(time.monotonic() - now.since, 3)
        return {"doing": now.doing, "done": now.done, "of": now.total or None, "seconds": seconds}
    holder = None if access.directory is None else holder_of(access.directory / LOCK_NAME)
    return None if holder is None else {"doing": ELSEWHERE, "process": describe_process(holder)}


def instruction_set() -> dict[str, str | None]:
    """The instruction set that the compiled part uses. If there is no compiled part, `advice`
    explains how to get it."""
    compiled = kernel()
    if compiled is None:
        return {"instructions": None, "advice": REMEDY}
    return {"instructions": compiled.name, "advice": None}


def _in_memory(state: State, caches: Caches, directory: Path | None) -> dict[str, int]:
    memory = {
        "state": state_bytes(state),
        "columns": caches.columns.nbytes,
        "words": caches.lists.nbytes,
        "filters": caches.allowed.nbytes + caches.answers.nbytes,
        "several": caches.several.nbytes,
        "codes": sum(space.codes_nbytes for space in caches.spaces.values()),
        "indexes": sum(space.index.nbytes for space in caches.spaces.values()),
    }
    if directory is None:
        spaces = [space.space for space in state.spaces.values()]
        memory["vectors"] = sum(space.slots * space.row_bytes for space in spaces)
    return memory


def space_numbers(view: SearchView, space: SpaceState) -> Payload:
    """How many slots of a space have codes, and how many are in an index. Entries in memory and in
    files are both counted, since files are loaded when needed."""
    name, slots, caches = space.space.name, space.space.slots, view.caches
    generation, index = view.state.head.generation, index_at_hand(space.space)
    opened = caches.spaces[name]
    coded = indexed = 0
    if view.files is not None:
        coded = sum(map(len, _slots_with_codes(view.connection, space.space, generation)))
        file = derived.find(view.connection, opened.index.key)
        if (
            file is not None
            and index not in (EXACT, CODES)
            and derived.is_there(view.files.directory, file)
        ):
            indexed = min(file.covered, slots)
    return {
        "dimension": space.space.dimension,
        "vectors": space.space.slots - space.dead,
        "dead_slots": space.dead,
        "index": index,
        "indexed_slots": max(indexed, opened.index.covered),
        "index_seconds_left": opened.index.seconds_left(slots),
        "coded_slots": max(coded, _codes_in_memory(opened).count_below(slots)),
        **_signs_report(view, space),
    }


def _signs_report(view: SearchView, space: SpaceState) -> Payload:
    """The report on searches by signs, for a space that searches by signs by default; an empty dict
    for other spaces."""
    opened, dense_space = view.caches.spaces[space.space.name], space.space
    is_usual = uses_codes(dense_space) and opened.policy(dense_space).signs
    if not opened.policy(dense_space).codes or not (
        is_usual or recall_wanted(dense_space) is not None
    ):
        return {}
    opened.recall.load_saved(view.connection)  # the measurement is in a file
    target = usual_recall(dense_space)
    report = _recall_report(target, opened.recall.errors_for(target), opened.recall.known)
    return {"recall": report}


def _on_disk(directory: Path) -> dict[str, int]:
    parts = {"points": "points.sqlite*", "vectors": "*.vectors", "derived": f"{DERIVED}/*"}
    return {part: on_disk(directory, pattern) for part, pattern in parts.items()}


def on_disk(directory: Path, pattern: str) -> int:
    """The total size of the files whose names match the pattern, in bytes."""
    total = 0
    for path in directory.glob(pattern):
        with suppress(FileNotFoundError):  # maintenance may just have removed it
            total += bytes_on_disk(path)
    return total


# Already in memory, loaded from a file, built from the points.
KEPT, LOADED, BUILT = "kept", "loaded", "built"
# The numbers of a vector space that are reported.
TOLD = ("vectors", "coded_slots", "indexed_slots")
_ONE = SparseVector(np.zeros(1, np.uint32), np.ones(1, np.float32))


def warm(access: Access, paths: Sequence[PayloadPath], analyzer: Analyzer | None) -> Payload:
    """Load the state, the codes and index of each dense space, the lists of sparse spaces, the
    columns of these paths, and, if an analyzer is passed, the lists of its words. The columns are
    counted as frequently used, so maintenance saves them if that is worthwhile. Returns a
    description of the loaded data and of the work: see `api.results.Warmed`."""
    laps = _Laps()
    count = access.current_state().state.count
    laps.end("state")
    spaces = {}
    for name in access.current_state().state.spaces:
        load_index(access, name, waits=False)
        spaces[name] = access.read(_vectors, access, name)
    laps.end("spaces")
    keys = access.read(_columns, paths)
    laps.end("keys")
    lists = access.read(_lists, analyzer)
    laps.end("lists")
    if access.current_state().caches.unsaved:
        access.schedule_maintenance()
    return {
        "points": count,
        "spaces": {**spaces},
        "keys": {**keys},
        "lists": {**lists},
        "milliseconds": {**laps.milliseconds},
    }


class _Laps:
    """Measures how long each part of a call takes. milliseconds: the time of each part."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def end(self, part: str) -> None:
        """Record the time of a part that ends now. The next part begins."""
        now = time.perf_counter()
        self.milliseconds[part] = round((now - self._last) * 1e3, 3)
        self._last = now


def _vectors(view: SearchView, access: Access, name: str) -> Payload:
    """Load the codes of a dense space, by a search of the space with one of its own vectors."""
    space = view.state.spaces.get(name)
    if space is None:  # it was dropped meanwhile
        return dict.fromkeys(TOLD, 0)
    owner = np.flatnonzero(space.slot_of_row.whole() >= 0)[:1]
    if len(owner):
        trace = _ask(view, NearestDense(name, fetch_vectors(view, owner, name)))
        if trace.lacking_cells > FRESH_CELLS:
            access.schedule_maintenance()
    numbers = space_numbers(view, space)
    return {part: numbers[part] for part in TOLD}


def _columns(view: SearchView, paths: Sequence[PayloadPath]) -> dict[str, str]:
    """How the columns of each path came into memory. The keys of the result are the first keys of
    the paths."""
    columns = {path: ValuesAt(path, "whole") for path in paths}
    in_memory_before = {
        path: _is_cached(view, view.caches.columns, columns[path]) for path in paths
    }
    for path in paths:
        note_use(view, path, USES_WORTH)
    loaded = current_columns(
        view, [sibling for path in paths for sibling in columns[path].siblings]
    )
    return {
        path[0]: _where_index_is(in_memory_before[path], loaded[columns[path]].memory is not None)
        for path in paths
    }


def _lists(view: SearchView, analyzer: Analyzer | None) -> dict[str, str]:
    """How the lists of each sparse space (by its name) and the lists of words came into memory."""
    lists_by_name: dict[str, tuple[Hashable, Scoring]] = {
        space.name: (("sparse", space.number), NearestSparse(space.name, (_ONE,)))
        for space in view.state.non_dense.values()
        if space.kind == "sparse"
    }
    if analyzer is not None:
        lists_by_name["words"] = ("words", analyzer), Bm25(("word",), analyzer)
    return {name: _list(view, key, scoring) for name, (key, scoring) in lists_by_name.items()}


def _list(view: SearchView, key: Hashable, scoring: Scoring) -> str:
    cache, seq, height = view.caches.lists, view.state.head.seq, len(view.state.pks)
    in_memory_before = _is_cached(view, cache, key)
    _ask(view, scoring)
    return _where_index_is(in_memory_before, cache.at(key, seq, height).memory is not None)


def _ask(view: SearchView, scoring: Scoring) -> EngineTrace:
    """Run a search, and return its trace. Like a query, it loads the data that it needs."""
    trace = EngineTrace(False)
    answer(EngineRanker(view, trace), Query((QueryStep(scoring, 1),), Fields()))
    return trace


def _is_cached(view: SearchView, cache: LayerCache, key: Hashable) -> bool:
    return cache.find(key, view.state.head.seq, len(view.state.pks)) is not None


def _where_index_is(in_memory_before: bool, in_file: bool) -> str:
    if in_memory_before:
        return KEPT
    return LOADED if in_file else BUILT
