"""All private parts of the package that tests use: parts of a client and a collection that users
don't see, and background work that a test runs itself. Tests use no others, so an internal change
needs a change only here.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import retrieval_store
from retrieval_store.base import budget as taking  # noqa: F401  what requests count
from retrieval_store.base.pca import places_of, plane_of  # noqa: F401  of maps
from retrieval_store.engine import access as engine_access
from retrieval_store.engine import snapshots, sqlite
from retrieval_store.engine.access import MaintenanceProgress
from retrieval_store.engine.filtering import cache, evaluate, order, select
from retrieval_store.engine.filtering.columns import column_count as column_count
from retrieval_store.engine.locks import QueueEntry
from retrieval_store.engine.maintenance import background, compaction, derive, run, verify
from retrieval_store.engine.points import PointStore as PointStore
from retrieval_store.engine.search import similarity
from retrieval_store.engine.search.context import EngineTrace
from retrieval_store.engine.search.index_lifecycle import builtin_index
from retrieval_store.engine.search.ranker import EngineRanker
from retrieval_store.engine.search.recall import UNMEASURED, Measurement, Recall
from retrieval_store.engine.sqlite import connect
from retrieval_store.engine.state import state as states
from retrieval_store.engine.state.caches import CACHE_BUDGET, MemoryBudget, usual_limit
from retrieval_store.engine.state.caches import Payback as Payback
from retrieval_store.engine.storage import files, records, vector_files
from retrieval_store.engine.storage.catalog import CATALOG
from retrieval_store.engine.storage.schema import POINTS
from retrieval_store.engine.store import Store
from retrieval_store.engine.text import inverted
from retrieval_store.extension import queries
from retrieval_store.filters.leaves import any_element  # noqa: F401  as parsers make it
from retrieval_store.filters.nodes import Expression
from retrieval_store.filters.paths import EACH  # noqa: F401  of paths with lists in them
from retrieval_store.filters.where import parse_where
from retrieval_store.indexes import exact, native, quantized
from retrieval_store.indexes.native import Numbered
from retrieval_store.query import executor
from retrieval_store.query.query import Query
from retrieval_store.query.types import Mode
from tests.helpers import PATIENCE

if TYPE_CHECKING:  # it takes a second
    from retrieval_store.qdrant import QdrantClient


# Of messages between processes: how many classes were looked up by their names.
def class_cache() -> Any:
    """The cache of classes."""
    return queries._class_named.cache_info()


# How much is read at first: thresholds that tests compare with, and don't set.
FIRST_LOOK = select.FIRST_LOOK  # points, for a limit
FIRST_STEPS = order.FIRST_STEPS  # points, for a page in order
ROWS_AT_ONCE, PATHS_AT_ONCE = records.ROWS_AT_ONCE, records.PATHS_AT_ONCE  # of payloads
FEW_IDS = states.FEW  # ids that are looked for one by one

# Of the layout of files.
CHECKSUM_BYTES, CHECKSUM_VFS = sqlite.CHECKSUM_BYTES, sqlite.CHECKSUM_VFS
CHECKSUM_EXTENSION = sqlite.EXTENSION  # where apsw keeps that which writes and checks these
SNAPSHOT_COMMENT = snapshots._COMMENT

# The parts of clients and collections.


def session(client: retrieval_store.Client) -> Any:
    """A client's session."""
    return client._session


def store(client: retrieval_store.Client) -> Any:
    """The store of a client, of any kind."""
    return client._session.store


def qdrant_client(client: retrieval_store.Client) -> Any:
    """The qdrant-client that calls the cluster of a client."""
    return store(client).cluster._nodes.present[1]


def backend(collection: retrieval_store.Collection) -> Any:
    """The backend of a collection's calls."""
    return collection._backend


def points(collection: retrieval_store.Collection) -> Any:
    """The points of a collection, of its kind of store."""
    return collection._backend.points


def access(collection: retrieval_store.Collection) -> Any:
    """The engine collection's transactions for reads and writes."""
    points: Any = collection._backend.points
    return points.access


def around_answers(
    patch: pytest.MonkeyPatch, collection: retrieval_store.Collection, call: Callable[..., Any]
) -> None:
    """Replace the function that answers this collection's queries by `call`. It gets that function
    and its arguments: the view, the query and its trace."""
    points: Any = collection._last_points
    patch.setattr(points, "_hits", partial(call, points._hits))


def waiting(collection: retrieval_store.Collection) -> int:
    """How many queries wait for a batch."""
    points: Any = collection._last_points
    return len(points._line._line)


def last_access(collection: retrieval_store.Collection) -> Any:
    """The access that the collection's last call used."""
    points: Any = collection._last_points
    return points.access


def calls(client: retrieval_store.AsyncClient) -> Any:
    """The threads that run an asynchronous client's calls, and its synchronous client."""
    return client._calls


def embedded(client: "QdrantClient") -> Any:
    """The backend of a client of Qdrant's interface: our store, or qdrant-client for a server."""
    return client._client


def configurations(client: "QdrantClient") -> Any:
    """The cached configurations of collections in such a client."""
    return client._client.collections._configurations


def without_templates(patch: pytest.MonkeyPatch) -> None:
    """No cached template of a new database."""
    patch.setattr(sqlite, "_templates", {})


def templates() -> dict[str, bytes]:
    """The cached templates of new databases, for further collections of the same form."""
    return sqlite._templates


def named(client: retrieval_store.Client, name: str) -> Any:
    """The points of the collection of this name, created by any interface."""
    return store(client).points(store(client).by_name(name).id)


def opened(path: Path | None, mode: Mode = "full", **options: Any) -> Store:
    """An engine store without an interface for users, in a directory or in memory."""
    return Store(path, mode, **options)


def catalog(store: Store) -> Any:
    """The entries of all collections of a store."""
    return store._catalog


def open_collections(store: Store) -> Any:
    """The collections that a store has open."""
    return store._open


def counted_collections(store: Store) -> list[Any]:
    """The open collections whose descriptors are counted."""
    return [*store._open._counted]


# The parts of a server, given its application.


def bodies(application: Any) -> Any:
    """The budget of request bodies."""
    return application._bodies


def jobs(application: Any) -> Any:
    """The threads of jobs that continue after a response."""
    return application._jobs


def pool(application: Any) -> Any:
    """The threads that answer requests."""
    return application._workers


def threads(application: Any) -> int:
    """The number of those threads."""
    return int(application._limits.threads)


def streams(application: Any) -> int:
    """How many clients listen."""
    return int(application._streams)


# What a collection of the engine's has in memory and open; given its `points` or `access`.


def state(access: Any) -> Any:
    """The state in memory, of any age."""
    return access.memory.cached_state.state


def database(access: Any) -> Any:
    """The connections to its database."""
    return access._database


def is_awake(access: Any) -> bool:
    """Whether a connection is kept open for the next read."""
    return bool(access._database._idle)


def writers(access: Any) -> Any:
    """The queue of its writers."""
    return access._writers


def in_line(access: Any) -> int:
    """How many of its writers work or wait."""
    return len(access._writers._line)


def together(access: Any, calls: Sequence[Callable[[], object]]) -> None:
    """Make writing calls in threads. They queue in this order before the first one continues. Waits
    for all."""
    threads = [threading.Thread(target=call) for call in calls]

    def gather() -> None:
        for number, thread in enumerate(threads):
            thread.start()
            over = time.monotonic() + PATIENCE
            while in_line(access) < number + 2:
                assert time.monotonic() < over, "nobody waits"
                time.sleep(0.001)

    access._writers.take(gather)
    for thread in threads:
        thread.join(PATIENCE)


def descriptors(access: Any) -> int:
    """How many file descriptors its open files use, without its database."""
    return int(access.memory.descriptors)


def close_files(access: Any) -> None:
    """Close its files, as happens if too many are open."""
    access.close_idle()


def bytes_held(access: Any) -> int:
    """The bytes of its state, codes and indexes."""
    return int(access.memory.nbytes)


def bytes_counted(access: Any) -> int:
    """How many of these bytes the memory budget counts."""
    return int(access._budget_entry.nbytes)


def budget() -> MemoryBudget:
    """The memory budget of all stores of this process."""
    return CACHE_BUDGET


def usual_budget() -> int:
    """The bytes of a process's default budget."""
    return usual_limit()


def matching(view: Any, expression: Expression | None) -> Any:
    """Which rows of a view match a filter."""
    return evaluate.matching(view, expression)


def answer(view: Any, question: Query) -> Any:
    """The result of a query in a view."""
    return executor.answer(EngineRanker(view, EngineTrace()), question)


def payload_values(view: Any, paths: Sequence[Any]) -> Any:
    """The values at these paths in the payloads of all points of a view, path by path."""
    return records.read_values(view.connection, view.state.pks, paths)


def fetch_vectors(view: Any, rows: Any, space: str) -> Any:
    """The vectors of rows of a view."""
    return states.fetch_vectors(view, rows, space)


def let_through(view: Any, where: dict[str, Any] | None) -> tuple[int, int]:
    """How many points of a view a filter matches, as counted, and how many slots."""
    expression = None if where is None else parse_where(where)
    result = cache.filter_result(view, expression, evaluate)
    (space,) = view.state.spaces.values()
    slots = result.slots(space)
    return result.count, space.space.slots if slots is None else len(slots)


def keeps_search(access: Any, expression: Expression | None) -> bool:
    """Whether a search with a filter is cached for the next query, as for frequent ones."""

    def look(view: Any) -> bool:
        result = cache.filter_result(view, expression, evaluate)
        space, opened = view.state.spaces[""], view.caches.spaces[""]
        kept = opened._searches._searches.get(result, {}).values()
        return any(one.validity.holds(space) for one in kept)

    return bool(access.read(look))


def searches_kept(access: Any) -> int:
    """The maximum number of searches cached for one filter."""
    opened = access.read(lambda view: view.caches.spaces[""])
    return max(map(len, opened._searches._searches.values()), default=0)


def code_files(access: Any) -> int:
    """How many files of codes are open."""
    opened = access.read(lambda view: view.caches.spaces[""])
    return int(opened.descriptors) - 1


def note_recall(access: Any) -> None:
    """Request a new measurement of the recall by signs."""
    opened = access.read(lambda view: view.caches.spaces[""])
    opened.recall.note(Recall(400, 1, UNMEASURED, (), 0.0, 0.0))


def hold_index(access: Any) -> None:
    """Load and keep an index, as maintenance does."""
    index = access.read(lambda view: view.caches.spaces[""]).index
    index.held = builtin_index("hnsw")(6, "l2", {})


def found_by(access: Any, where: dict[str, Any]) -> Any:
    """How a new filter finds its points: by a test of rows, or by a mask."""
    return access.read(lambda view: evaluate.test_or_mask(view, parse_where(where)))


def is_one_range(found: Any) -> bool:
    """Whether a filter's test is a single range of numbers."""
    return isinstance(found, cache.TestedRows) and isinstance(found.test.condition, Numbered)


def keeps_result(access: Any, where: dict[str, Any]) -> bool:
    """Whether the result of a filter is cached."""
    key = cache.key_of(parse_where(where))
    return bool(access.read(lambda view: view.caches.allowed.at(key, view.state)[0] is not None))


def filter_key(expression: Expression) -> bytes | None:
    """The cache key of a filter; None for one without a key."""
    return cache.key_of(expression)


def gathering(ranker: Any, groups: Any, labels: Any) -> Any:
    """The object that collects hits of successive rankings in groups."""
    return executor._Gathered(ranker, groups, labels, True)


def measured(access: Any, space: str = "") -> Any:
    """The recall of searches by signs for each kind of query, measured now; empty if it can't be
    measured."""
    cached = access.current_state()
    opened = cached.caches.spaces[space]
    measurement = Measurement(cached.state.spaces[space], opened.codes.snapshot(), lambda: None)
    measurement.run()
    return measurement.measure_with(opened.recall.known)


def compared_by(scoring: Any) -> Any:
    """The examples of a scoring, and how it combines the similarities to them."""
    return similarity.comparison_of(scoring)[1:3]


def multiplying() -> AbstractContextManager[Any]:
    """Holds the lock of products of many vectors, as a thread that multiplies does."""
    lock: AbstractContextManager[Any] = exact._turn.lock
    return lock


def is_multiplying() -> bool:
    """Whether a thread of this process holds that lock."""
    return bool(exact._turn.lock.locked())


def ask_rows_by_numpy(patch: Any) -> None:
    """Evaluate conditions on rows by numpy, as without the compiled part."""
    patch.setattr(native, "kernel", lambda: None)


def rotated(rows: Any, frame: Any) -> Any:
    """Vectors rotated by the frame of codes, in float64."""
    return quantized.rotate(rows, frame)


# What the background does, done now by the test; and what it does of itself.


def without_background(patch: pytest.MonkeyPatch, stopped: bool = True) -> None:
    """Run no maintenance in the background of this process until the test does, and wait for
    running work. With stopped=False, resume it."""
    patch.setattr(background._maintenance, "_stopping", stopped)
    thread = background._maintenance._thread
    if stopped and thread is not None:
        background._maintenance.stop()
        thread.join(PATIENCE)


def is_background_idle() -> bool:
    """Whether the background of this process has nothing to do."""
    return background._maintenance._thread is None


def maintain(access: Any) -> bool:
    """Do one turn of background maintenance. Returns whether there is more to do."""
    return run.run_once(access, _report_nothing)


def background_turn(access: Any) -> bool:
    """The same, with its log of failures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background._maintenance, "_stopping", False)
        return background._maintenance._maintain(access)


def optimize(access: Any, progress: Callable[[int, int], object] | None = None) -> None:
    """Do what `optimize` does for a collection."""
    run.optimize(access, progress or _report_nothing)


def alone(access: Any, milliseconds: int, work: Callable[[bool], Any]) -> Any:
    """Call `work` with whether this is the only process that maintains the collection. Waits for
    others up to this many milliseconds."""
    return run.as_only_process(access, milliseconds, work)


def maintain_now_and_then(points: Any, written: int) -> None:
    """Schedule the background if this many written points are worth it."""
    points._maintain_after_writes(written)


def report_progress(access: Any, what: str, done: int, total: int) -> None:
    """Report progress as maintenance does."""
    access.maintained = MaintenanceProgress(what, done, total)


def while_maintaining(access: Any, work: Callable[[], object]) -> None:
    """Call `work` while no other thread maintains the collection."""
    access.maintaining.take(work)


def load_index(access: Any, space: str = "") -> None:
    """Load a saved index."""
    derive.load_index(access, space)


def make_codes(access: Any, space: str = "") -> None:
    """Make codes of the vectors that have none."""
    derive.build_codes(access, space, _report_nothing)


def remove_expired(access: Any) -> int:
    """Delete expired points; returns how many."""
    return run.remove_expired(access)


def remove_leftovers(access: Any) -> None:
    """Remove the files of later generations than the first."""
    compaction.remove_leftovers(access, 0)


def follow_with_lists(access: Any, check_cancelled: Callable[[], object]) -> None:
    """Update the lists of words that are in use."""
    derive.follow_with_lists(access, check_cancelled)


def leave_in_line(access: Any) -> None:
    """Remove the entry of a thread that no longer waits to read."""
    access._database._waiting.append(QueueEntry())


def save_lists(access: Any, check_cancelled: Callable[[], object]) -> None:
    """Save lists of words, until `check_cancelled` raises an error."""
    alone(access, 0, lambda _: derive.save_lists(access, check_cancelled))


def save_columns(access: Any) -> None:
    """Save columns of payloads."""
    alone(access, 0, lambda _: derive.save_columns(access, lambda: None))


def save_state(access: Any, every: bool) -> None:
    """Save the state once no other process does maintenance, which would remove unrecorded
    files."""

    def save(is_alone: bool) -> None:
        assert is_alone
        derive.save_state(access, every=every)

    alone(access, PATIENCE * 1000, save)


def _report_nothing(done: int, total: int) -> None:
    pass


# Files, changed by one who knows the package's way to open them.


def database_of_points(path: Path) -> Any:
    """A connection to the file points.sqlite of a collection."""
    return connect(path, POINTS, "full").connection


def database_of_catalog(path: Path) -> Any:
    """A connection to the file catalog.sqlite of a store."""
    return connect(path, CATALOG, "full").connection


def verify_files(directory: Path, analyzer: Callable[[], Any]) -> Any:
    """Reports on the files of the collection in a directory, without its store."""
    return verify.verify_collection(directory, "things", "full", builtin_index, analyzer)


def rows_per_block(row_bytes: int) -> int:
    """How many vectors of this many bytes share one checksum."""
    return vector_files.rows_per_block(row_bytes)


def remove_lost_folders(directory: Path) -> None:
    """Remove the folders of a process that died while it took or restored a snapshot."""
    files.remove_lost_folders(directory)


def break_migration(patch: pytest.MonkeyPatch, version: int) -> None:
    """The step that upgrades a collection's database from this version fails at its end."""
    steps = {**POINTS.migrations, version: POINTS.migrations[version] + "; SELECT * FROM nowhere"}
    patch.setattr(engine_access, "POINTS", replace(POINTS, migrations=steps))


# Lists of words and trigrams of some documents, and of segments of them.
lists_of_words, lists_of_trigrams = inverted.list_words, inverted.list_trigrams
merge_lists = inverted.merge_lists
