"""PointStore: the points of one collection, for any number of threads.

Locks, in the order in which they are taken:
0. `maintaining`: one thread of this process at a time compacts.
1. `_queue`, then `_writing`: one writing thread of this process at a time; the others queue here
   instead of polling SQLite's lock, which keeps other processes' writers out.
2. a connection, borrowed from the database (in memory there is only one).
3. `_advancing`: held while a transaction starts and the state is brought to its `seq`. Since each
   snapshot is taken under it, none is older than the state, and the state only moves forward.
   Nothing waits for a writer while holding it.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import apsw

from retrieval_store.arrays import Matrix
from retrieval_store.engine.database import (
    LOCK_TIMEOUT_MS,
    Database,
    FileDatabase,
    MemoryDatabase,
    Mode,
    Reason,
    contradictions,
    create,
    transaction,
    tries,
)
from retrieval_store.engine.database import (
    select as select_rows,
)
from retrieval_store.engine.fetch import fetch
from retrieval_store.engine.forking import aware
from retrieval_store.engine.schema import POINTS, Head, read_head, write_head
from retrieval_store.engine.search import search, select
from retrieval_store.engine.state import State, View, advanced, load
from retrieval_store.engine.types import (
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    PutResult,
    Space,
    WriteRules,
)
from retrieval_store.engine.vectors import VectorArray, VectorFile, Vectors
from retrieval_store.engine.write import Write, delete, put
from retrieval_store.errors import DamagedError, LockTimeoutError, NotFoundError, StorageError
from retrieval_store.filters.expression import Expression
from retrieval_store.indexes.exact import Metric

FILE_NAME = "points.sqlite"
Found = TypeVar("Found")


class PointStore:
    """The points of one collection in a directory, or in memory when `directory` is None.

    Every method sees, or makes, one state of the collection. Methods raise NotFoundError once the
    collection has been deleted, by whichever process.
    """

    def __init__(self, database: Database, directory: Path | None, name: str) -> None:
        self._database = database
        self.directory = directory
        self._name = name
        self._queue, self._writing = threading.Lock(), threading.Lock()
        self._advancing = threading.Lock()
        self.maintaining = threading.Lock()
        self._state: State | None = None
        self._vectors: dict[tuple[int, int, int], Vectors] = {}
        self.dropped = False
        aware(self)

    @classmethod
    def open(cls, directory: Path, name: str, mode: Mode) -> "PointStore":
        """The one in this directory, whose files are opened when they are needed."""
        if directory.is_symlink():
            raise DamagedError(f"{directory} is a link; a collection is a directory of its own")
        return cls(FileDatabase(directory / FILE_NAME, POINTS, mode), directory, name)

    @classmethod
    def create(
        cls, directory: Path | None, name: str, spaces: dict[str, Metric], mode: Mode
    ) -> "PointStore":
        """A new, empty one with these vector spaces; the directory must exist."""

        def add_spaces(connection: apsw.Connection) -> None:
            query = "INSERT INTO spaces (name, metric, slots) VALUES (?, ?, 0)"
            connection.executemany(query, list(spaces.items()))

        if directory is None:
            return cls(MemoryDatabase(POINTS, add_spaces), None, name)
        create(directory / FILE_NAME, POINTS, add_spaces)
        return cls.open(directory, name, mode)

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points, durably, all or nothing."""
        with self.writing() as write:
            return put(write, batch, rules)

    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that are named and match; returns how many."""
        with self.writing() as write:
            view = View(write.connection, self.state_of(write))
            rows = select(view, ids, expression)[:limit]
            delete(write, view.state.pks[rows])
            return len(rows)

    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that are named and match: in the order of `ids`, or of first insertion."""

        def read(view: View) -> Points:
            rows = select(view, ids, expression)[offset:]
            return fetch(view, rows[:limit], fields)

        return self._read_again(read)

    def count(self) -> int:
        """How many points there are."""
        with self.reading() as view:
            return view.state.count

    def search(
        self,
        space: str,
        queries: Matrix,
        k: int,
        expression: Expression | None,
        fields: Fields,
    ) -> list[Hits]:
        """For each query, (q, dim) float32, the k nearest matching points, nearest first."""
        return self._read_again(lambda view: search(view, space, queries, k, expression, fields))

    def mark_dropped(self) -> None:
        """From here on every call, in any process, raises NotFoundError."""
        with self.writing() as write:
            write_head(write.connection, replace(write.head, seq=write.head.seq + 1, dropped=True))

    def is_dropped(self) -> bool:
        """Whether `mark_dropped` was called, by whichever process."""
        with self._connection() as connection:
            return read_head(connection).dropped

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
        self._queue, self._writing = threading.Lock(), threading.Lock()
        self._advancing = threading.Lock()
        self.maintaining = threading.Lock()
        if self.directory is not None:
            self._state, self._vectors = None, {}

    def _forget(self) -> None:
        with self._advancing:
            self._state = None
            vectors, self._vectors = self._vectors, {}
        for held in list(vectors.values()):
            held.close()

    @contextmanager
    def reading(self) -> Iterator[View]:
        """One consistent state to read, for as long as the block lasts."""
        # The transaction ends when the connection goes back.
        with self._connection() as connection:
            with self._advancing:
                connection.execute("BEGIN")
                head = self._head(connection)
                self._state = state = self._next_state(connection, head)
            with contradictions(self._database.path):
                yield View(connection, state)

    @contextmanager
    def writing(self) -> Iterator[Write]:
        """A write transaction; it commits when the block ends without an error."""
        self._database.refuse_if_read_only()
        with (
            self._turn(),
            self._connection() as connection,
            transaction(connection, "IMMEDIATE"),
            contradictions(self._database.path),
        ):
            yield Write(connection, self._head(connection), self._open_vectors)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        # Whoever waits for the lock holds the queue, so one who writes again and again, as
        # maintenance does, can't overtake.
        self._acquire(self._queue)
        try:
            self._acquire(self._writing)
        finally:
            self._queue.release()
        try:
            yield
        finally:
            self._writing.release()

    def _acquire(self, lock: threading.Lock) -> None:
        if not lock.acquire(timeout=LOCK_TIMEOUT_MS / 1000):
            raise LockTimeoutError(
                f"other threads have been writing to collection {self._name!r} for more than "
                f"{LOCK_TIMEOUT_MS // 1000} s"
            )

    def state_of(self, write: Write) -> State:
        """The state as the write transaction found it; call it before anything is written."""
        with self._advancing:
            self._state = self._next_state(write.connection, write.head)
            return self._state

    def refuse_if_read_only(self) -> None:
        """Raise ReadOnlyError when the store was opened so."""
        self._database.refuse_if_read_only()

    def empty_log(self) -> None:
        """Bring what the write-ahead log holds into the database and cut the log off; raises
        LockTimeoutError when a reader needs it for too long."""
        for _ in tries(LOCK_TIMEOUT_MS):
            with self._connection() as connection:
                # Most of the work without a lock; then the rest and the cut, for which writers
                # have to wait, so it waits for readers itself only a moment at a time.
                select_rows(connection, "PRAGMA wal_checkpoint(PASSIVE)")
                connection.set_busy_timeout(50)
                try:
                    ((busy, _, _),) = select_rows(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
                except apsw.BusyError:
                    busy = 1
                finally:
                    connection.set_busy_timeout(LOCK_TIMEOUT_MS)
            if not busy:
                return
        raise LockTimeoutError(
            f"a reader of collection {self._name!r} has kept the write-ahead log for more than "
            f"{LOCK_TIMEOUT_MS // 1000} s; deleted content may be left in it"
        )

    def _read_again(self, read: Callable[[View], Found]) -> Found:
        """`read`, and again when maintenance has removed a file between our look at the state and
        at the file."""
        while True:
            generation = None
            try:
                with self.reading() as view:
                    generation = view.state.head.generation
                    return read(view)
            except DamagedError:
                if generation is None or not self.has_moved_on(generation):
                    raise

    def has_moved_on(self, generation: int) -> bool:
        """Whether a compaction has ended since."""
        with self._connection() as connection:
            return self._head(connection).generation != generation

    def _next_state(self, connection: apsw.Connection, head: Head) -> State:
        with contradictions(self._database.path):
            if self._state is None:
                return load(connection, head, self._open_vectors)
            if head.generation != self._state.head.generation:  # readers keep theirs
                self._vectors = {
                    k: v for k, v in list(self._vectors.items()) if k[1] >= head.generation
                }
            return advanced(self._state, connection, head, self._open_vectors)

    def _head(self, connection: apsw.Connection) -> Head:
        with contradictions(self._database.path):
            head = read_head(connection)
        if head.dropped:
            raise self._gone()
        return head

    def _gone(self) -> NotFoundError:
        self.dropped = True
        return NotFoundError(f"collection {self._name!r} has been deleted")

    @contextmanager
    def _connection(self) -> Iterator[apsw.Connection]:
        try:
            with self._database.borrow() as connection:
                yield connection
        except StorageError:
            if self.directory is not None and not self.directory.exists():
                raise self._gone() from None
            raise

    def _open_vectors(self, space: Space, generation: int) -> Vectors:
        assert space.dimension is not None
        # The dimension too: a transaction that fixes it may fail, and the next fix another.
        key = (space.number, generation, space.dimension)
        held = self._vectors.get(key)
        if held is None:
            name = f"{space.number}.{generation}.vectors"
            held = self._vectors.setdefault(
                key,
                VectorArray(space.dimension)
                if self.directory is None
                else VectorFile(self.directory / name, space.dimension),
            )
        return held
