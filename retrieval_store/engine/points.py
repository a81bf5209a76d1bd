"""PointStore: the points of one collection, as `interface.stores` promises them."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import apsw

from retrieval_store.base.json_values import Payload
from retrieval_store.engine.access import Access, Around
from retrieval_store.engine.answering import answer
from retrieval_store.engine.database.opening import create
from retrieval_store.engine.database.pools import MemoryDatabase
from retrieval_store.engine.filtering.selecting import select
from retrieval_store.engine.filtering.values import counted, ordered
from retrieval_store.engine.nearest.indexing import FRESH_CELLS
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.report import explanation, statistics
from retrieval_store.engine.state.fetch import fetch
from retrieval_store.engine.state.state import State
from retrieval_store.engine.storage.files import POINTS_NAME
from retrieval_store.engine.storage.schema import (
    POINTS,
    insert_space,
    read_head,
    set_index,
    write_head,
)
from retrieval_store.engine.storage.write import Write, delete, put
from retrieval_store.filters.expression import Expression, PayloadPath, Scalar
from retrieval_store.filters.typed.columns import ValuesAt
from retrieval_store.interface.points import (
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    PutResult,
    WriteRules,
)
from retrieval_store.interface.queries import AnyQuery
from retrieval_store.interface.records import Mode
from retrieval_store.interface.spaces import NewSpace
from retrieval_store.interface.stores import IndexKind

ATTENTION_EVERY = 2_000  # points written
# Hits, how they were found, in which state, and the lists of words that would have been of use or
# should be saved.
_Answered: TypeAlias = tuple[list[Hits], Trace, State, list[Hashable]]


class PointStore(Access):
    """The points of one collection, for any number of threads.

    Every method sees, or makes, one state of the collection. Methods raise NotFoundError once the
    collection has been deleted, by whichever process.
    """

    _unattended = 0

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
            view = self._view(write.connection, self.memory.before(write.connection, write.head))
            rows = select(view, ids, expression, limit)
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

        def look(view: SearchView) -> Points:
            rows = select(view, ids, expression, limit, offset)
            if view.kept.unsaved or view.kept.lists.wanted():
                self._around.attend(self)
            return fetch(view, rows, fields)

        return self.read_again(look)

    def count(self) -> int:
        """How many points there are."""
        return self.read(lambda view: view.state.count)

    def search(self, query: AnyQuery, fields: Fields) -> list[Hits]:
        """For each of the queries the best matching points, best first."""
        return self._answer(query, fields)[0]

    def counted(self, values: ValuesAt, expression: Expression | None) -> list[tuple[Scalar, int]]:
        """Each value with how many of the points that fulfil the expression have it, the most
        frequent ones first, and of these the least."""
        return self.read_again(lambda view: counted(view, values, expression))

    def ordered(
        self,
        values: ValuesAt,
        expression: Expression | None,
        limit: int | None,
        descending: bool,
        start: int | float | None,
        fields: Fields,
    ) -> tuple[Points, list[int | float]]:
        """The points that fulfil the expression, in the order of their values from `start` on, and
        these; one of several values comes several times."""

        def look(view: SearchView) -> tuple[Points, list[int | float]]:
            rows, found = ordered(view, values, expression, limit, descending, start)
            return fetch(view, rows, fields), found

        return self.read_again(look)

    def explain(self, query: AnyQuery, fields: Fields) -> Payload:
        """How `search` finds what it finds; see `report.explanation`."""
        _, trace, state, _ = self._answer(query, fields)
        return explanation(trace, state)

    def stats(self) -> Payload:
        """What takes how much room; see `report.statistics`."""
        return self.read(lambda view: statistics(view.state, view.kept, self.directory))

    def _answer(self, query: AnyQuery, fields: Fields) -> _Answered:
        def look(view: SearchView) -> _Answered:
            trace = Trace(remarks=view.remarks)
            hits = answer(view, query, fields, trace)
            return hits, trace, view.state, [*view.kept.unsaved, *view.kept.lists.wanted()]

        answered = self.read_again(look)
        _, trace, _, wanted = answered
        if wanted or trace.lacking_cells > FRESH_CELLS:
            self._around.attend(self)
        return answered

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

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Nothing is to be made: the values of a key are gathered by the first filter on it."""

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
