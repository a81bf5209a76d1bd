"""`Access` to one collection: transactions on its database, and its data in memory.

`Memory` holds the *cached state*: the state as of one write, and the caches derived from that
state. `seq` is the number of that write. If a reader's transaction shows the same write, the reader
uses the cached state unchanged (`now`). Any other reader starts a new transaction, and brings the
cached state to the `seq` of that transaction (`at`). All transactions that change the cached state
start under one lock (`_advancing`). So no such transaction is older than the cached state, and the
cached state only moves forward.

A thread takes the locks in this order:
0. `maintaining`: held while a thread compacts; one thread of this process at a time.
1. `_writers`: held while a thread writes. Other writing threads of this process queue here, instead
   of polling SQLite's lock, which keeps writers of other processes out.
2. a connection from the database's pool (a database in memory has only one).
3. the turn of this process (`locks.in_turn`), held only while the thread waits for SQLite's lock.
4. `Memory._advancing`: while a transaction starts and the cached state is brought to its `seq`. A
   thread that holds this lock never waits for a writer.
"""

import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, TypeVarTuple

import apsw
import numpy as np

from retrieval_store.base import budget, tracing
from retrieval_store.base.locks import Lock
from retrieval_store.base.validation import Payload
from retrieval_store.engine.filtering.cache import FilterCache
from retrieval_store.engine.filtering.columns import keys_of_column as columns_made_of
from retrieval_store.engine.locks import FifoLock, QueueEntry, reset_after_fork, tries
from retrieval_store.engine.search.context import Caches, OpenSpace, SearchView
from retrieval_store.engine.search.index_lifecycle import FindClass, SpaceIndex, builtin_index
from retrieval_store.engine.sqlite import (
    CORRUPTION_ERRORS,
    LOCK_TIMEOUT_MS,
    ContradictionError,
    Database,
    FileDatabase,
    Reason,
    SQLiteTransaction,
    corruption_as_damage,
    corruption_error,
    identity_of,
    lock_timeout,
    refuse_moved,
    wait_for_locks,
)
from retrieval_store.engine.sqlite import select as select_rows
from retrieval_store.engine.state.caches import CACHE_BUDGET, Cache, LayerCache
from retrieval_store.engine.state.state import (
    FILE_KIND,
    ChangedRows,
    State,
    StateStep,
    View,
    changes_between,
    changes_since,
    empty_state,
    follow_log,
    is_worth_a_file,
    load,
    numbers_of,
    state_bytes,
)
from retrieval_store.engine.storage.derived import DerivedFiles
from retrieval_store.engine.storage.files import POINTS_NAME, TURNS_NAME, Label
from retrieval_store.engine.storage.log import WriteTransaction
from retrieval_store.engine.storage.schema import (
    POINTS,
    CollectionHead,
    Space,
    numbers_of_spaces,
    read_head,
)
from retrieval_store.engine.storage.vector_files import (
    VectorArray,
    VectorFile,
    VectorRows,
    restore_unsynced,
)
from retrieval_store.engine.text.inverted import (
    OF_DOCUMENTS,
    OF_VECTORS,
    measures_still_valid,
    renumber_cached_lists,
    source_of_lists,
)
from retrieval_store.errors import (
    DamagedError,
    LockTimeoutError,
    NotFoundError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.filters.paths import JsonPath
from retrieval_store.query.types import Mode

if TYPE_CHECKING:
    from retrieval_store.engine.search.codes import SpaceCodes
    from retrieval_store.engine.search.recall import SpaceRecall

ReadHead: TypeAlias = Callable[[apsw.Connection], CollectionHead]


def _last_write(connection: apsw.Connection) -> int | None:
    """The number of the last write to the collection; None if the collection has been deleted."""
    # This runs for each read, so `select` isn't used. It reads at most two rows, even from a
    # damaged file.
    seq, dropped = connection.execute("SELECT seq, dropped FROM head LIMIT 2").get
    return None if dropped else seq


@dataclass(frozen=True, slots=True)
class CachedState:
    """The state of a collection as of one write, and the caches derived from it."""

    state: State
    caches: Caches


class Memory:
    """The data of one collection in memory.

    directory: the directory of the collection's files, None for a collection that exists only in
    memory. files: the usable derived files, or None. find_class: returns the class of an index by
    its name. may_write: whether the store was opened for writing. compacting: a lock held while
    this process builds a new generation. state_rests_until, lists_rest_until, columns_rest_until,
    words_rest_until: the times before which the state, the lists, unused columns and unused word
    lists aren't saved again. lists_in_use: a function that returns the cache whose lists were
    updated last (None once that cache is gone), and the keys of these lists. written_at: when this
    process last wrote points.
    """

    def __init__(
        self,
        directory: Path | None,
        files: DerivedFiles | None,
        find_class: FindClass,
        may_write: bool,
    ) -> None:
        self._directory, self._files = directory, files
        self._find_class, self._may_write = find_class, may_write
        self._spaces: dict[tuple[int, int, int], OpenSpace] = {}
        self._cached: CachedState | None = None
        self.lists_in_use: tuple[Callable[[], LayerCache | None], list[Any]] = (lambda: None), []
        self.written_at = -math.inf
        self.state_rests_until = self.columns_rest_until = self.lists_rest_until = 0.0
        self.words_rest_until = 0.0
        self._new_locks()

    def _new_locks(self) -> None:
        self._advancing, self.compacting = Lock(), Lock()

    def now(self, connection: apsw.Connection) -> CachedState | None:
        """The cached state, if this connection's transaction shows the same state. Doesn't wait for
        other threads. If None is returned, the caller has to begin a new transaction."""
        cached = self._cached
        if (
            cached is not None
            and _last_write(connection) == cached.state.head.seq
            and cached.state.is_whole
        ):
            return cached
        return None

    def at(self, connection: apsw.Connection, read_head: ReadHead) -> CachedState:
        """The state that a transaction on this connection shows. The transaction must not have read
        anything yet."""
        with self._advancing:
            cached = self.now(connection)
            if cached is None:
                self._cached = cached = self._next(connection, read_head(connection))
            return cached

    def before(self, connection: apsw.Connection, head: CollectionHead) -> CachedState:
        """The state at the beginning of a write transaction. The transaction must not have written
        anything yet."""
        with self._advancing:
            self._cached = cached = self._next(connection, head)
            return cached

    def _next(self, connection: apsw.Connection, head: CollectionHead) -> CachedState:
        old, step = self._cached, None
        if old is not None and head.generation != old.state.head.generation:
            self._let_go_of_generations_before(head.generation)
        if old is not None and old.state.is_whole:
            step = follow_log(old.state, connection, head, self.open_vectors)
            if step is not None and step.state is old.state:
                return old
        if step is None:
            step = self._load_state(connection, head)
        self._let_go_of_dropped(step.state)
        spaces = step.state.spaces.values()
        opened = {s.space.name: self.open_space(s.space, head.generation) for s in spaces}
        changed = step.changed
        if old is not None and changed is None and old.state.is_whole:
            changed = changes_between(old.state, step.state, connection)
        if old is None or changed is None:
            caches = empty_caches(head.seq, opened)
            if old is not None and old.state.is_whole:
                caches = with_lists_of(caches, old, step.state, connection)
            lacks_file = step.state.mapped is None and is_worth_a_file(step.state.count)
            if self._files is not None and lacks_file:
                caches.unsaved.add(FILE_KIND)
            return CachedState(step.state, caches)
        caches = caches_after(old.caches, head.seq, changed, opened)
        if step.changed is None:  # results of filters refer to vectors by their slots
            caches = replace(caches, allowed=FilterCache(head.seq))
        return CachedState(step.state, caches)

    def _load_state(self, connection: apsw.Connection, head: CollectionHead) -> StateStep:
        """The state, loaded from its derived file if that file is usable, otherwise from the
        database. The process that loads it may be the first since a power cut, so vectors that were
        never synced are restored first."""
        if self._directory is not None:
            restore_unsynced(connection, head.generation, self.open_vectors, self._may_write)
        if self._files is not None and is_worth_a_file(head.next_pk):
            from retrieval_store.engine.state.mapped_files import StateFile

            unloaded = View(connection, empty_state(head), None, self._files)
            state = StateFile(head.generation, self.open_vectors).read_saved(unloaded)
            if state is not None:
                return StateStep(state, None)
        return load(connection, head, self.open_vectors)

    def open_vectors(self, space: Space, generation: int) -> VectorRows:
        """The vectors of a space in a generation. They are opened unless they are already open."""
        return self.open_space(space, generation).vectors

    def open_space(self, space: Space, generation: int) -> OpenSpace:
        """The vectors, index and codes of a space in a generation. They are opened unless they are
        already open."""
        assert space.dimension is not None
        # The dimension is part of the key: a transaction that sets it may fail, and the next may
        # set another.
        key = (space.number, generation, space.dimension)
        opened = self._spaces.get(key)
        if opened is None:
            index = SpaceIndex(space, generation, self._files, self._find_class)
            vectors = self._vectors(space, generation)
            arguments = space, generation, self._files
            new_space = OpenSpace(
                vectors, index, partial(_codes_of, *arguments), partial(_recall_of, *arguments)
            )
            opened = self._spaces.setdefault(key, new_space)
        return opened

    def _vectors(self, space: Space, generation: int) -> VectorRows:
        assert space.dimension is not None
        if self._directory is None:
            return VectorArray(space.dimension, space.datatype)
        path = self._directory / f"{space.number}.{generation}.vectors"
        return VectorFile(path, space.dimension, space.datatype)

    def drop_later_generations(self, generation: int) -> None:
        """Close files of later generations, whose compaction failed. The next compaction starts
        from scratch."""
        with self._advancing:
            later = [key for key in self._spaces if key[1] > generation]
            _close(self._spaces.pop(key) for key in later)

    def _let_go_of_generations_before(self, generation: int) -> None:
        """Drop the data of earlier generations; readers keep the data that they use. Data of this
        or a later generation is kept only if this process is compacting. If another process has
        compacted, the slots of our data may differ from those in the files."""
        may_keep = self.compacting.locked() or self._directory is None
        spaces = list(self._spaces.items())
        self._spaces = {k: v for k, v in spaces if may_keep and k[1] >= generation}
        for key, space in spaces:
            if key not in self._spaces:
                space.let_go()

    def _let_go_of_dropped(self, state: State) -> None:
        """Drop the data of deleted vector spaces; readers keep the data that they use."""
        present_numbers = numbers_of(state)
        for key in [key for key in list(self._spaces) if key[0] not in present_numbers]:
            self._spaces.pop(key).let_go()

    @property
    def has_lists(self) -> bool:
        """Whether there are lists of words or of sparse vectors that queries have used."""
        cached = self._cached
        return bool(self.lists_in_use[1]) or (
            cached is not None and bool(cached.caches.lists.used_keys())
        )

    def has_something_to_save(self) -> bool:
        """Whether there is data to save: unsaved word lists, a state large enough for a file, or an
        index or codes that have grown since they were saved."""
        cached = self._cached
        if cached is not None and (
            cached.caches.lists.nonempty_keys() or is_worth_a_file(cached.state.count)
        ):
            return True
        return any(space.has_something_to_save for space in list(self._spaces.values()))

    def close_idle(self) -> None:
        """Close files; they are opened again when they are needed."""
        with self._advancing:
            if self._maps_state:
                self._cached = None
            elif self._cached is not None:
                for cache in _caches_with_files(self._cached.caches):
                    cache.unmap()
        for space in list(self._spaces.values()):
            space.close_idle()

    @property
    def cached_state(self) -> CachedState | None:
        """The cached state, however old; None if no state is cached."""
        return self._cached

    @property
    def nbytes(self) -> int:
        """The bytes of memory for the state, codes and indexes. For a collection that exists only
        in memory, the result is 0, because none of its data can be evicted."""
        cached = self._cached
        if cached is None or self._directory is None:
            return 0
        size = sum(space.nbytes for space in list(self._spaces.values()))
        return size + state_bytes(cached.state)

    @property
    def descriptors(self) -> int:
        """How many file descriptors the open files use."""
        spaces = list(self._spaces.values())
        cached = self._cached
        with_files = () if cached is None else _caches_with_files(cached.caches)
        mapped = self._maps_state + sum(cache.files for cache in with_files)
        return mapped + sum(space.descriptors for space in spaces)

    @property
    def _maps_state(self) -> bool:
        cached = self._cached
        return cached is not None and cached.state.mapped is not None

    def forget(self) -> None:
        """Drop all data; readers keep their own references until they end."""
        with self._advancing:
            self._cached = None
            spaces, self._spaces = self._spaces, {}
        _close(spaces.values())

    def forget_after_fork(self) -> None:
        """Called in a forked child: drop all data and replace the locks, which threads of the
        parent may hold. A collection that exists only in memory keeps its data."""
        self._new_locks()
        if self._directory is not None:
            self._cached, self._spaces = None, {}


def empty_caches(seq: int, spaces: Mapping[str, OpenSpace]) -> Caches:
    """New caches without content, for the state as of the write `seq`. spaces: the open vector
    spaces by name."""
    return Caches(
        lists=LayerCache(seq, source_of_lists),
        measures={},
        columns=LayerCache(seq, lambda column: columns_made_of(column.path)),
        answers=LayerCache(seq),
        allowed=FilterCache(seq),
        spaces=spaces,
        several=LayerCache(seq),
    )


def with_lists_of(
    caches: Caches, old: CachedState, new: State, connection: apsw.Connection
) -> Caches:
    """A copy of the caches with the lists of the earlier state `old`. The rows in the lists are
    renumbered to those of the state `new`. If the changes between the two states aren't known, the
    caches are returned unchanged."""
    changed = changes_since(old.state, new, connection)
    if changed is None:
        return caches
    return replace(caches, lists=renumber_cached_lists(old.caches.lists, old.state, new, changed))


def caches_after(
    caches: Caches, seq: int, changed: ChangedRows, spaces: Mapping[str, OpenSpace]
) -> Caches:
    """The caches for the state at `seq`: the given caches, with the changed rows marked as
    stale."""
    caches.columns.note(seq, changed.payload)
    caches.allowed.note(seq, changed.anything)
    caches.answers.note(seq, {None: changed.documents})
    caches.several.note(seq, {None: changed.non_dense})
    caches.lists.note(seq, {OF_DOCUMENTS: changed.documents, OF_VECTORS: changed.non_dense})
    listed = np.concatenate([changed.documents, changed.non_dense])
    measures = measures_still_valid(caches.measures, listed)
    return replace(caches, measures=measures, spaces=spaces)


def _caches_with_files(caches: Caches) -> tuple[LayerCache, ...]:
    """The caches whose layers may be mapped from files."""
    return caches.lists, caches.columns


def _codes_of(space: Space, generation: int, files: DerivedFiles | None) -> "SpaceCodes":
    from retrieval_store.engine.search.codes import SpaceCodes

    return SpaceCodes(space, generation, files)


def _recall_of(space: Space, generation: int, files: DerivedFiles | None) -> "SpaceRecall":
    from retrieval_store.engine.search.recall import SpaceRecall

    return SpaceRecall(space, generation, files)


def _close(spaces: Iterable[OpenSpace]) -> None:
    for space in spaces:
        space.vectors.close()
        space.let_go()


@dataclass(slots=True)
class CollectionWrite(WriteTransaction):
    """A write transaction, and the states of the points before and during it. begun: the
    collection's head at the start. committed: the state before the transaction, if it was needed
    before the first write. own: the state that includes the transaction's writes; no reader sees
    it."""

    begun: CollectionHead
    committed: CachedState | None = None
    own: CachedState | None = None


JOINING = 64  # at most this many changes of other threads are committed together with a change
SHORTEST_PATIENCE_MS, LONGEST_PATIENCE_MS = 50, 1_600
# Memory is accounted at the end of the first calls after a write, and then every ACCOUNTED_EVERY
# calls. (Memory also grows without writes, as queries load codes from files.) It isn't accounted at
# each call, because that takes half as long as the shortest call.
FIRST_CALLS, ACCOUNTED_EVERY = 4, 16
Result = TypeVar("Result")
Ts = TypeVarTuple("Ts")
A = TypeVar("A", bound="Access")


@dataclass(frozen=True, slots=True)
class MaintenanceProgress:
    """The progress of maintenance. doing: a phrase for the current activity, None if there is none;
    done, total: numbers of vectors or points; since: the start, by `time.monotonic`."""

    doing: str | None = None
    done: int = 0
    total: int = 0
    since: float = 0.0

    def advanced(self, done: int, total: int) -> "MaintenanceProgress":
        """A copy of this progress with `done` more vectors or points done, and with another
        total."""
        return replace(self, done=self.done + done, total=total)


IDLE = MaintenanceProgress()


@dataclass(frozen=True, slots=True)
class StoreHooks:
    """Settings and callbacks that a store passes to its collections. find_class: returns the class
    of an index by its name. schedule_maintenance: called when there may be work for maintenance.
    uses_derived: whether derived files can be used. expires: the payload path of a point's expiry
    time, None if points don't expire. find_damage: checks every byte of a collection and returns
    the problem found, or None. text_settings: the settings for analysing documents, None if text
    search isn't used."""

    find_class: FindClass = builtin_index
    schedule_maintenance: Callable[["Access"], None] = lambda access: None
    uses_derived: bool = True
    expires: JsonPath | None = None
    find_damage: Callable[["Access"], str | None] = lambda access: None
    text_settings: Payload | None = None


class Access:
    """Access to one collection in a directory, or in memory if `directory` is None.

    A reader sees one consistent state; a writer creates the next state. Methods raise NotFoundError
    once this or another process has deleted the collection.
    """

    def __init__(
        self, database: Database, directory: Path | None, name: str, hooks: StoreHooks
    ) -> None:
        self._database = database
        self.directory = directory
        self._home = None if directory is None else identity_of(directory.parent)
        self.label = Label(name)
        self._new_locks()
        self.closing = False
        self.hooks = hooks
        self._files: DerivedFiles | None = None
        if directory is not None and hooks.uses_derived:
            self._files = DerivedFiles(directory, self.label)
        may_write = not database.is_read_only
        self.memory = Memory(directory, self._files, hooks.find_class, may_write)
        self.dropped = False
        # Whether the store counts its file descriptors; False once it is closed.
        self.counted = False
        self.maintained = IDLE  # the maintenance that this process runs
        self._budget_entry: Cache[None, None] = Cache(_evicting_weakly(self))
        self._accounted, self._calls = -1, 0
        self._sound_at = -1  # the last write after which a check found no damage
        reset_after_fork(self)

    @property
    def name(self) -> str:
        """The collection's name, as far as this process knows it (another process may have renamed
        the collection)."""
        return self.label.name

    @property
    def expires(self) -> JsonPath | None:
        """The payload path of a point's expiry time; see `StoreHooks`."""
        return self.hooks.expires

    def _new_locks(self) -> None:
        self._writers, self.maintaining = FifoLock(), FifoLock()

    @classmethod
    def open(cls: type[A], directory: Path, name: str, mode: Mode, hooks: StoreHooks) -> A:
        """Open the collection in this directory. Its files are opened only when they are needed."""
        if directory.is_symlink():
            raise DamagedError(f"{directory} is a link; a collection is a directory of its own")
        database = FileDatabase(directory / POINTS_NAME, POINTS, mode, directory / TURNS_NAME)
        return cls(database, directory, name, hooks)

    def close_idle(self) -> None:
        """Close files; the next call opens them again. Data in memory stays."""
        self._database.close_idle()
        if self.directory is not None:
            self.memory.close_idle()

    def close_at_exit(self) -> None:
        """Close files before the process ends; a later call opens them again."""
        self.close_idle()
        self._database.close_at_exit()

    def forget(self) -> None:
        """Close files and drop all data in memory; the next call loads the data again."""
        self._database.close_idle()
        if self.directory is not None:
            self.memory.forget()

    @property
    def descriptors(self) -> int:
        """How many file descriptors the collection uses."""
        return self._database.descriptors + self.memory.descriptors

    @property
    def last_used(self) -> float:
        """When a call last took a connection, by `time.monotonic`."""
        return self._database.last_used

    def account_memory(self) -> None:
        """Report the size of the data in memory to the memory budget of this process."""
        if self.directory is not None:
            self._budget_entry.put(None, None, self.memory.nbytes)

    def evict(self) -> None:
        """Drop the data in memory, which the next call loads again. During maintenance nothing is
        dropped, because an index may be only half built."""
        if self.maintaining.taken:
            self.account_memory()
        else:
            self._accounted = -1
            self.memory.forget()

    def _end_call(self, seq: int) -> None:
        """At the end of a call that used the state as of the write `seq`: account memory, and
        enforce the budget. The caller must not hold any locks."""
        self._budget_entry.get(None)  # this marks the entry as used
        self._calls = self._calls + 1 if seq == self._accounted else 1
        if self._calls <= FIRST_CALLS or self._calls % ACCOUNTED_EVERY == 0:
            self._accounted = seq
            self.account_memory()
        CACHE_BUDGET.settle(self._budget_entry)

    def close(self, reason: Reason) -> None:
        """Close files and drop all data in memory; later calls of methods raise `reason`. Running
        calls in other threads keep their references until they end."""
        self.counted = False
        self._database.close(reason)
        self.memory.forget()
        self._budget_entry.drop(None)  # so that a reference to a closed collection holds no memory

    def forget_after_fork(self) -> None:
        """Called in a forked child: replace the locks, which threads of the parent may hold, and
        drop data in memory."""
        self._new_locks()
        self.memory.forget_after_fork()

    def read(self, look: Callable[[SearchView, *Ts], Result], *arguments: *Ts) -> Result:
        """Call `look` with one consistent state and these arguments, and return its result.

        `look` is called again if maintenance has removed a file after the state was read and before
        the file was opened. After an error that corrupt data can cause, all data is reloaded, and
        `look` is called once more. (A derived file may have been overwritten while it was mapped.)
        If the error is repeated, all bytes are checked. If the check finds damage, DamagedError is
        raised; otherwise the error is raised unchanged.
        """
        is_new = self.directory is None
        while True:
            states_read: list[State] = []
            try:
                # `_Pool.look` lends a connection to `_show`, which calls `look` with a view.
                result = self._database.look(self._show, states_read, look, arguments)
                self._end_call(states_read[0].head.seq)
                return result
            except RetrievalStoreError as error:
                if not self._should_retry(error, states_read):
                    raise
            except CORRUPTION_ERRORS as error:
                if not is_new:
                    self.memory.forget()
                    is_new = True
                    continue
                damage = self._check_after_error(error)
                if not self._should_retry(damage, states_read):
                    raise damage from error

    def _check_after_error(self, error: Exception) -> DamagedError:
        """After an error, check all bytes of the files. Returns a DamagedError for the damage that
        was found; raises `error` itself if there is no damage. A state without damage isn't checked
        again until the next write."""
        path, problem = self._database.path, None
        if not isinstance(error, ContradictionError):
            with corruption_as_damage(path):
                seq = self.use(read_head).seq
            problem = None if seq == self._sound_at else self.hooks.find_damage(self)
            if problem is None:
                self._sound_at = seq
                raise error
        return corruption_error(error, path, problem)

    def without_transaction(
        self, look: Callable[[apsw.Connection, *Ts], Result | None], *arguments: *Ts
    ) -> Result | None:
        """Call `look` with a connection and these arguments, and return its result. `look` runs a
        single statement, which sees one state without a transaction. Returns None if `look` fails.
        The caller then uses `read`, which returns a result or raises the error."""
        return self._database.without_transaction(look, *arguments)

    def _show(
        self,
        connection: apsw.Connection,
        states_read: list[State],
        look: Callable[[SearchView, *Ts], Result],
        arguments: tuple[*Ts],
    ) -> Result:
        """Call `look` in a read transaction, with the state that the transaction shows. This state
        is also added to `states_read`."""
        with SQLiteTransaction(connection):
            cached = self.memory.now(connection)
            if cached is not None:
                states_read.append(cached.state)
                return look(self.view(connection, cached), *arguments)
        budget.may_block()
        with SQLiteTransaction(connection):
            cached = self.memory.at(connection, self._head)
            states_read.append(cached.state)
            return look(self.view(connection, cached), *arguments)

    def _should_retry(self, error: RetrievalStoreError, states_read: list[State]) -> bool:
        """Whether a read failed only because maintenance removed a file after the read had loaded
        its state. The error isn't raised here: its traceback would keep all local objects of the
        call alive."""
        if isinstance(error, StorageError):
            self.refuse_if_deleted()
        return (
            isinstance(error, DamagedError)
            and bool(states_read)
            and self.has_moved_on(states_read[0])
        )

    def current_state(self) -> CachedState:
        """The current state in memory, and its caches."""
        return self.read(state_and_caches)

    def state_in_database(self, view: SearchView) -> State:
        """The state of a view, reloaded from the database. The state in memory may come from a
        derived file, which must not decide about data that can't be rebuilt."""
        return load(view.connection, view.state.head, self.memory.open_vectors).state

    def view(self, connection: apsw.Connection, cached: CachedState) -> SearchView:
        """The view that a call uses, in a transaction that shows this state."""
        return View(connection, cached.state, cached.caches, self._files)

    def write(
        self,
        change: Callable[[CollectionWrite, *Ts], Result],
        *arguments: *Ts,
        joins: bool = False,
    ) -> Result:
        """Call `change` with a write transaction and these arguments, and return its result. The
        transaction is committed unless `change` raises. joins: whether the change can be committed
        in one transaction with changes of other threads. Then another thread may call `change`. If
        its transaction fails, this thread calls `change` again."""
        self._database.refuse_if_read_only()
        joins = joins and self.directory is not None
        do = partial(_call, change, arguments)
        try:
            result = self._writers.take_in_time(
                LOCK_TIMEOUT_MS / 1000,
                partial(self._write, do, joins),
                self._refuse_to_wait,
                do if joins else None,
            )
        except RetrievalStoreError:
            raise
        except CORRUPTION_ERRORS as error:
            raise self._check_after_error(error) from error
        CACHE_BUDGET.settle(self._budget_entry)
        return result

    def _write(self, do: Callable[[CollectionWrite], Result], joins: bool) -> Result:
        """Commit a change. If it joins, other threads' changes are committed in the same
        transaction. If they make the transaction fail, this change is committed alone, and each
        other thread gets the error of its own change. do: makes the change."""
        while True:
            joined: list[QueueEntry] = []
            committed: list[object] = []  # gets an item when the transaction is committed
            make = partial(self._make, do, joins, joined, committed)
            try:
                result = self._database.write(make, committed)
            except Exception as error:
                if committed or not joined:
                    self._raise_known_cause(error)
                    raise
                joins = False
            else:
                for entry in joined:
                    entry.call()
                return result

    def _make(
        self,
        do: Callable[[CollectionWrite], Result],
        joins: bool,
        joined: list[QueueEntry],
        committed: list[object],
        connection: apsw.Connection,
    ) -> Result:
        """Make a change in a transaction that has begun. If the change joins, also make other
        threads' changes; their queue entries are added to `joined`. do: makes the change.
        committed: a list that gets an item when the transaction is committed."""
        tracing.event("begun")  # the time until this event was spent waiting for other writers
        head = self._head(connection)
        write = CollectionWrite(connection, head, self.memory.open_vectors, head)
        if joins and self._writers.is_waited_for:
            write.committed = self.memory.before(connection, head)
        result = do(write)
        if joins and write.committed is not None:
            for entry in islice(self._writers.waiting(), JOINING):
                joined.append(entry)
                _join(write, entry, committed)
        return result

    def _refuse_to_wait(self) -> NoReturn:
        raise LockTimeoutError(
            f"other threads have been writing to collection {self.name!r} for more than "
            f"{LOCK_TIMEOUT_MS // 1000} s"
        )

    def schedule_maintenance(self) -> None:
        """Notify the store that there may be work for maintenance."""
        self.hooks.schedule_maintenance(self)

    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError if the store was opened read-only."""
        self._database.refuse_if_read_only()

    @property
    def is_read_only(self) -> bool:
        """Whether the store was opened read-only."""
        return self._database.is_read_only

    def empty_log(self) -> None:
        """Copy the write-ahead log into the database and truncate the log. Raises LockTimeoutError
        if a reader uses the log for too long."""
        patience = SHORTEST_PATIENCE_MS
        for _ in tries(LOCK_TIMEOUT_MS):
            if self.use(_empty_log, patience):
                return
            patience = min(2 * patience, LONGEST_PATIENCE_MS)
        raise LockTimeoutError(
            f"a reader of collection {self.name!r} has used the write-ahead log for more than "
            f"{LOCK_TIMEOUT_MS // 1000} s; deleted content may be left in it"
        )

    def has_moved_on(self, state: State) -> bool:
        """Whether files that a state refers to may be gone: a compaction, or the deletion of a
        vector space, removes files."""
        return self.use(self._has_moved_on, state)

    def _has_moved_on(self, connection: apsw.Connection, state: State) -> bool:
        head = self._head(connection)
        if head.seq == state.head.seq:  # needed even if a tampered store contradicts itself
            return False
        compacted = head.generation != state.head.generation
        return compacted or not numbers_of(state) <= numbers_of_spaces(connection)

    def _head(self, connection: apsw.Connection) -> CollectionHead:
        with corruption_as_damage(self._database.path):
            head = read_head(connection)
        if head.dropped:
            raise self._note_deletion()
        return head

    def _note_deletion(self) -> NotFoundError:
        """Record that the collection is deleted; returns the error to raise."""
        self.dropped, self.counted = True, False
        return NotFoundError.of_deleted(f"Collection {self.name!r}")

    def use(self, work: Callable[[apsw.Connection, *Ts], Result], *arguments: *Ts) -> Result:
        """Call `work` with a connection outside any transaction and these arguments, and return its
        result. Raises NotFoundError if the collection is deleted."""
        try:
            return self._database.use(work, *arguments)
        except StorageError as error:
            self._raise_known_cause(error)
            raise

    def _raise_known_cause(self, error: Exception) -> None:
        """Raise a more precise error than `error`, if the cause is known. It is NotFoundError if
        the collection is deleted, or an error that names the collection and the process that has
        locked it. Otherwise nothing is raised."""
        if isinstance(error, LockTimeoutError):
            path = self._database.path
            subject = f"collection {self.name!r} in {path.parent.parent}"
            raise lock_timeout(subject, path) from error
        if isinstance(error, StorageError):
            self.refuse_if_deleted()

    def refuse_if_deleted(self) -> None:
        """Raise NotFoundError if the collection's directory is gone: the collection was deleted.
        Raise StorageError if the whole store's directory is gone. For a collection in memory, raise
        NotFoundError if it is marked as deleted."""
        if self.directory is None:
            self._database.use(self._head)
        elif not self.directory.exists():
            refuse_moved(self.directory.parent, self._home)
            raise self._note_deletion() from None


def state_and_caches(view: SearchView) -> CachedState:
    """The state of a view, and its caches."""
    return CachedState(view.state, view.caches)


def _call(
    change: Callable[[CollectionWrite, *Ts], Result], arguments: tuple[*Ts], write: CollectionWrite
) -> Result:
    return change(write, *arguments)


def _join(write: CollectionWrite, entry: QueueEntry, committed: list[object]) -> None:
    """Make a change for another thread that waits in the queue, either completely or not at all. An
    error is ignored here: the other thread then makes its change alone, and gets the error. entry:
    the other thread's entry in the queue. committed: a list that gets an item when the transaction
    is committed."""
    head = write.head
    try:
        with SQLiteTransaction(write.connection):  # a savepoint
            assert entry.batched is not None
            entry.settle(entry.batched(write), committed)
    except Exception:
        write.head, write.own = head, None
        if not write.connection.in_transaction:  # SQLite has rolled the transaction back
            raise


def _evicting_weakly(access: Access) -> Callable[[], None]:
    """A function that evicts a collection's data from memory. It refers to the collection weakly,
    so that the memory budget, which stores the function, doesn't keep the collection alive."""
    reference = weakref.ref(access)

    def evict() -> None:
        living_access = reference()
        if living_access is not None:
            living_access.evict()

    return evict


def _empty_log(connection: apsw.Connection, patience: int) -> bool:
    """Copy the write-ahead log into the database and truncate the log; returns whether that
    succeeded. patience: how many milliseconds to wait for readers."""
    # PASSIVE does most of the work without a lock. TRUNCATE does the rest; while it waits for
    # readers, writers have to wait too. So it waits only for `patience` milliseconds, which grow
    # with each attempt.
    select_rows(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    wait_for_locks(connection, patience)
    try:
        ((busy, _, _),) = select_rows(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.BusyError:
        busy = 1
    finally:
        wait_for_locks(connection, LOCK_TIMEOUT_MS)
    return not busy
