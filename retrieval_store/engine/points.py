"""PointStore: the points of one collection, for any number of threads.

Locks, in the order in which they are taken:
0. `maintaining`: one thread of this process at a time compacts.
1. `_writers`: one writing thread of this process at a time; the others queue here instead of
   polling SQLite's lock, which keeps other processes' writers out.
2. a connection, lent by the database (in memory there is only one).
3. `_advancing`: held while a transaction starts and the state is brought to its `seq`. Since each
   snapshot is taken under it, none is older than the state, and the state only moves forward.
   Nothing waits for a writer while holding it.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import apsw

from retrieval_store.engine.database import (
    CONTRADICTIONS,
    LOCK_TIMEOUT_MS,
    Database,
    FileDatabase,
    MemoryDatabase,
    Mode,
    Reason,
    contradiction,
    contradictions,
    create,
    tries,
)
from retrieval_store.engine.database import (
    select as select_rows,
)
from retrieval_store.engine.fetch import fetch
from retrieval_store.engine.files import POINTS_NAME
from retrieval_store.engine.forking import aware
from retrieval_store.engine.hybrid import AnyQuery, answer
from retrieval_store.engine.indexing import FRESH_CELLS, FindClass, SpaceIndex, built_in
from retrieval_store.engine.locking import Turns
from retrieval_store.engine.report import explanation, statistics
from retrieval_store.engine.schema import (
    POINTS,
    Head,
    insert_space,
    read_head,
    read_seq,
    set_index,
    write_head,
)
from retrieval_store.engine.search import Trace, select
from retrieval_store.engine.state import OpenSpace, State, View, advanced, load
from retrieval_store.engine.types import (
    Fields,
    Hits,
    NewSpace,
    PointBatch,
    PointId,
    Points,
    PutResult,
    Space,
    WriteRules,
)
from retrieval_store.engine.vectors import VectorArray, VectorFile, Vectors
from retrieval_store.engine.write import Write, delete, put
from retrieval_store.errors import (
    DamagedError,
    LockTimeoutError,
    NotFoundError,
    ReadOnlyError,
    RetrievalStoreError,
    StorageError,
)
from retrieval_store.filters.expression import Expression
from retrieval_store.json_values import Payload

ATTENTION_EVERY = 2_000  # points written
SHORTEST_PATIENCE_MS, LONGEST_PATIENCE_MS = 50, 1_600
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Around:
    """What a PointStore needs of the store around it: classes of indexes by name, somebody to tell
    when there is something to do for maintenance, and whether derived files may be used."""

    find_class: FindClass = built_in
    attend: Callable[["PointStore"], None] = lambda points: None
    uses_derived: bool = True


class PointStore:
    """The points of one collection in a directory, or in memory when `directory` is None.

    Every method sees, or makes, one state of the collection. Methods raise NotFoundError once the
    collection has been deleted, by whichever process.
    """

    def __init__(
        self, database: Database, directory: Path | None, name: str, around: Around
    ) -> None:
        self._database = database
        self.directory = directory
        self._name = name
        self._new_locks()
        self.closing = False
        self._state: State | None = None
        self._around = around
        self._derived_from = directory if around.uses_derived else None
        self._unattended = 0
        self._spaces: dict[tuple[int, int, int], OpenSpace] = {}
        self.dropped = False
        aware(self)

    def _new_locks(self) -> None:
        self._writers, self.maintaining = Turns(), Turns()
        self._advancing, self.compacting = threading.Lock(), threading.Lock()

    @classmethod
    def open(cls, directory: Path, name: str, mode: Mode, around: Around) -> "PointStore":
        """The one in this directory, whose files are opened when they are needed."""
        if directory.is_symlink():
            raise DamagedError(f"{directory} is a link; a collection is a directory of its own")
        database = FileDatabase(directory / POINTS_NAME, POINTS, mode)
        return cls(database, directory, name, around)

    @classmethod
    def create(
        cls,
        directory: Path | None,
        name: str,
        spaces: Mapping[str, NewSpace],
        mode: Mode,
        around: Around,
    ) -> "PointStore":
        """A new, empty one with these vector spaces; the directory must exist."""

        def add_spaces(connection: apsw.Connection) -> None:
            for space_name, space in spaces.items():
                insert_space(connection, space_name, space)

        if directory is None:
            return cls(MemoryDatabase(POINTS, add_spaces), None, name, around)
        create(directory / POINTS_NAME, POINTS, add_spaces)
        return cls.open(directory, name, mode, around)

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points, durably, all or nothing."""
        result = self.write(lambda write: put(write, batch, rules))
        self._attend_now_and_then(len(batch.ids))
        return result

    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that are named and match; returns how many."""

        def change(write: Write) -> int:
            view = View(write.connection, self.state_of(write), self._derived_from)
            rows = select(view, ids, expression)[:limit]
            delete(write, view.state.pks[rows])
            return len(rows)

        deleted = self.write(change)
        self._attend_now_and_then(deleted)
        return deleted

    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that are named and match: in the order of `ids`, or of first insertion."""

        def look(view: View) -> Points:
            rows = select(view, ids, expression)[offset:]
            if view.state.lists.wanted():
                self._around.attend(self)
            return fetch(view, rows[:limit], fields)

        return self._read_again(look)

    def count(self) -> int:
        """How many points there are."""
        return self.read(lambda view: view.state.count)

    def search(self, query: AnyQuery, fields: Fields) -> list[Hits]:
        """For each of the queries the best matching points, best first."""
        return self._answer(query, fields)[0]

    def explain(self, query: AnyQuery, fields: Fields) -> Payload:
        """How `search` finds what it finds; see `report.explanation`."""
        _, trace, state = self._answer(query, fields)
        return explanation(trace, state)

    def stats(self) -> Payload:
        """What takes how much room; see `report.statistics`."""
        return self.read(lambda view: statistics(view.state, self.directory))

    def _answer(self, query: AnyQuery, fields: Fields) -> tuple[list[Hits], Trace, State]:
        def look(view: View) -> tuple[list[Hits], Trace, State]:
            trace = Trace(remarks=view.remarks)
            return answer(view, query, fields, trace), trace, view.state

        hits, trace, state = self._read_again(look)
        if trace.fresh_cells > FRESH_CELLS or state.lists.wanted():
            self._around.attend(self)
        return hits, trace, state

    def _attend_now_and_then(self, written: int) -> None:
        self._unattended += written
        if self._unattended >= ATTENTION_EVERY:
            self._unattended = 0
            self._around.attend(self)

    def mark_dropped(self) -> None:
        """From here on every call, in any process, raises NotFoundError."""

        def change(write: Write) -> None:
            write_head(write.connection, replace(write.head, seq=write.head.seq + 1, dropped=True))

        self.write(change)

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space, of which only those that tell how to search
        can change."""

        def change(write: Write) -> None:
            set_index(write.connection, space, index)
            write_head(write.connection, replace(write.head, seq=write.head.seq + 1))

        self.write(change)

    def is_dropped(self) -> bool:
        """Whether `mark_dropped` was called, by whichever process."""
        return self._use(lambda connection: read_head(connection).dropped)

    def rest(self) -> None:
        """Let go of files and of what is kept in memory of them; the next call gets them again."""
        self._database.rest()
        if self.directory is not None:
            self._forget()

    def close(self, reason: Reason) -> None:
        """Let go of everything; from here on methods raise `reason`. Calls under way in other
        threads keep what they use until they end."""
        self._database.close(reason)
        self._forget()

    def forget_after_fork(self) -> None:
        """In a child: begin anew, with locks that no thread of the parent's holds."""
        self._new_locks()
        if self.directory is not None:
            self._state, self._spaces = None, {}

    def _forget(self) -> None:
        with self._advancing:
            self._state = None
            spaces, self._spaces = self._spaces, {}
        _close(spaces.values())

    def read(self, look: Callable[[View], Found]) -> Found:
        """What `look` returns, given one consistent state to read."""

        def use(connection: apsw.Connection) -> Found:
            return look(View(connection, self._state_at(connection), self._derived_from))

        try:
            return self._unless_gone(lambda: self._database.read(use))
        except RetrievalStoreError:
            raise
        except CONTRADICTIONS as error:
            raise contradiction(error, self._database.path) from error

    def _state_at(self, connection: apsw.Connection) -> State:
        """The state that a transaction which begins now shows."""
        with self._advancing:
            state = self._state
            if state is None or read_seq(connection) != state.head.seq:
                self._state = state = self._next_state(connection, self._head(connection))
            return state

    def write(self, change: Callable[[Write], Found]) -> Found:
        """What `change` returns, given a write transaction, which is committed unless it raises."""

        def use(connection: apsw.Connection) -> Found:
            with contradictions(self._database.path):
                return change(Write(connection, self._head(connection), self.open_space))

        def write() -> Found:
            return self._unless_gone(lambda: self._database.write(use))

        self._database.refuse_if_read_only()
        return self._writers.take_within(LOCK_TIMEOUT_MS / 1000, write, self._refuse_to_wait)

    def _refuse_to_wait(self) -> NoReturn:
        raise LockTimeoutError(
            f"other threads have been writing to collection {self._name!r} for more than "
            f"{LOCK_TIMEOUT_MS // 1000} s"
        )

    def state_of(self, write: Write) -> State:
        """The state as the write transaction found it; call it before anything is written."""
        with self._advancing:
            self._state = self._next_state(write.connection, write.head)
            return self._state

    def drop_later_generations(self, generation: int) -> None:
        """Let go of what is held of generations that never came to be; another attempt at them
        begins anew."""
        with self._advancing:
            later = [key for key in self._spaces if key[1] > generation]
            _close(self._spaces.pop(key) for key in later)

    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError when the store was opened so."""
        self._database.refuse_if_read_only()

    @property
    def is_read_only(self) -> bool:
        """Whether the store was opened so."""
        try:
            self._database.refuse_if_read_only()
        except ReadOnlyError:
            return True
        return False

    @property
    def has_lists(self) -> bool:
        """Whether lists of words are held in memory."""
        state = self._state
        return state is not None and bool(state.lists.held())

    def open_spaces(self) -> list[OpenSpace]:
        """What this process holds open."""
        return list(self._spaces.values())

    def empty_log(self) -> None:
        """Bring what the write-ahead log holds into the database and cut the log off; raises
        LockTimeoutError when a reader needs it for too long."""
        patience = SHORTEST_PATIENCE_MS
        for _ in tries(LOCK_TIMEOUT_MS):
            if self._use(partial(_emptied, patience=patience)):
                return
            patience = min(2 * patience, LONGEST_PATIENCE_MS)
        raise LockTimeoutError(
            f"a reader of collection {self._name!r} has kept the write-ahead log for more than "
            f"{LOCK_TIMEOUT_MS // 1000} s; deleted content may be left in it"
        )

    def _read_again(self, look: Callable[[View], Found]) -> Found:
        """`read`, and again when maintenance has removed a file between our look at the state and
        at the file."""
        generation = None

        def noting(view: View) -> Found:
            nonlocal generation
            generation = view.state.head.generation
            return look(view)

        while True:
            try:
                return self.read(noting)
            except DamagedError:
                if generation is None or not self.has_moved_on(generation):
                    raise
                generation = None

    def has_moved_on(self, generation: int) -> bool:
        """Whether a compaction has ended since."""
        return self._use(lambda connection: self._head(connection).generation != generation)

    def _next_state(self, connection: apsw.Connection, head: Head) -> State:
        with contradictions(self._database.path):
            if self._state is None:
                return load(connection, head, self.open_space)
            if head.generation != self._state.head.generation:
                self._let_go_of_generations_before(head.generation)
            return advanced(self._state, connection, head, self.open_space)

    def _let_go_of_generations_before(self, generation: int) -> None:
        """Readers keep theirs. What was begun here of later ones counts only if it was finished
        here: else another process has made that generation, of other slots."""
        ours = self.compacting.locked() or self.directory is None
        spaces = list(self._spaces.items())
        self._spaces = {k: v for k, v in spaces if ours and k[1] >= generation}
        for key, space in spaces:
            if key not in self._spaces:
                space.index.close()

    def _head(self, connection: apsw.Connection) -> Head:
        with contradictions(self._database.path):
            head = read_head(connection)
        if head.dropped:
            raise self._gone()
        return head

    def _gone(self) -> NotFoundError:
        self.dropped = True
        return NotFoundError(f"collection {self._name!r} has been deleted")

    def _use(self, work: Callable[[apsw.Connection], Found]) -> Found:
        return self._unless_gone(lambda: self._database.use(work))

    def _unless_gone(self, work: Callable[[], Found]) -> Found:
        """What `work` returns; NotFoundError when it fails since the collection is deleted."""
        try:
            return work()
        except StorageError:
            self._refuse_if_gone()
            raise

    def _refuse_if_gone(self) -> None:
        if self.directory is not None and not self.directory.exists():
            raise self._gone() from None

    def open_space(self, space: Space, generation: int) -> OpenSpace:
        """The file and the index of a vector space in a generation."""
        assert space.dimension is not None
        # The dimension too: a transaction that fixes it may fail, and the next fix another.
        key = (space.number, generation, space.dimension)
        held = self._spaces.get(key)
        if held is None:
            index = SpaceIndex(space, generation, self._derived_from, self._around.find_class)
            held = self._spaces.setdefault(key, OpenSpace(self._vectors(space, generation), index))
        return held

    def _vectors(self, space: Space, generation: int) -> Vectors:
        assert space.dimension is not None
        if self.directory is None:
            return VectorArray(space.dimension)
        return VectorFile(self.directory / f"{space.number}.{generation}.vectors", space.dimension)


def _emptied(connection: apsw.Connection, patience: int) -> bool:
    """Whether the write-ahead log could be emptied."""
    # Most of the work without a lock; then the rest and the cut, for which writers have to wait, so
    # it waits for readers itself only a moment at a time, and longer where all of them take long.
    select_rows(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    connection.set_busy_timeout(patience)
    try:
        ((busy, _, _),) = select_rows(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    except apsw.BusyError:
        busy = 1
    finally:
        connection.set_busy_timeout(LOCK_TIMEOUT_MS)
    return not busy


def _close(spaces: Iterable[OpenSpace]) -> None:
    for space in spaces:
        space.vectors.close()
        space.index.close()
