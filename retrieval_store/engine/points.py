"""PointStore: the points of one collection, as `interface.stores` promises them."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import apsw

from retrieval_store.base import tracing
from retrieval_store.base.arrays import Floats, Ints
from retrieval_store.base.json_values import Payload
from retrieval_store.base.patched import NOWHERE
from retrieval_store.base.tracing import returned, traced
from retrieval_store.engine.access import Access, Around
from retrieval_store.engine.answering import answer
from retrieval_store.engine.changes import Transaction, passing_on
from retrieval_store.engine.database.opening import create
from retrieval_store.engine.database.pools import MemoryDatabase
from retrieval_store.engine.filtering.facets import facet, in_order, ordered
from retrieval_store.engine.filtering.selecting import allowed_by, select
from retrieval_store.engine.nearest.indexing import FRESH_CELLS
from retrieval_store.engine.nearest.kept import SearchView
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.paging import page
from retrieval_store.engine.ranking.groups import grouped, pairs
from retrieval_store.engine.ranking.steps import ranked_each
from retrieval_store.engine.report import explanation, of_search, statistics
from retrieval_store.engine.state.fetch import fetch, fetch_each
from retrieval_store.engine.state.state import State
from retrieval_store.engine.storage.files import POINTS_NAME
from retrieval_store.engine.storage.log import changed_since, position
from retrieval_store.engine.storage.schema import (
    POINTS,
    Space,
    as_kept,
    delete_space,
    insert_space,
    named_space,
    read_head,
    read_spaces,
    set_index,
    shows_an_integer,
)
from retrieval_store.engine.storage.special import count_special
from retrieval_store.engine.storage.write import Write, finish
from retrieval_store.errors import AlreadyExistsError
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.expression import Expression, PayloadPath, Scalar
from retrieval_store.interface.points import (
    Changed,
    Fields,
    Hits,
    PointBatch,
    PointId,
    Points,
    Position,
    PutResult,
    RankedPoints,
    WriteRules,
)
from retrieval_store.interface.queries import AnyQuery, Cut
from retrieval_store.interface.records import Mode
from retrieval_store.interface.spaces import NewSpace, SpaceRecord
from retrieval_store.interface.steps import Grouping, GroupValue, Step
from retrieval_store.interface.stores import Changes, IndexKind

T = TypeVar("T")
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

    @classmethod
    def copied_in_memory(cls, source: Access, name: str, around: Around) -> "PointStore":
        """One in memory that holds what another one in memory holds at this moment."""

        def copy(view: SearchView) -> PointStore:
            database = MemoryDatabase(POINTS, like=view.connection)
            points = cls(database, None, name, around)
            for space in view.state.spaces.values():
                vectors = points.memory.open_vectors(space.space, view.state.head.generation)
                vectors.append(0, space.vectors.rows(space.space.slots))
            return points

        return source.read(copy)

    @traced("put")
    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points, durably, all or nothing."""
        return self._changed(lambda transaction: transaction.put_points(batch, rules))

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """The same with one batch after the other, each a transaction of its own."""
        for batch in batches:
            yield self.put(batch, rules)

    @traced("delete")
    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that are named and match; returns how many."""
        return self._changed(lambda transaction: transaction.delete_points(ids, expression, limit))

    @traced("transact")
    def transact(self, change: Callable[[Changes], T]) -> T:
        """What `change` returns, given one transaction: all that it does is written, or when it
        raises nothing."""
        return passing_on(lambda: self._changed(lambda transaction: transaction.run(change)))

    def _changed(self, change: Callable[[Transaction], T]) -> T:
        def work(write: Write) -> tuple[T, int]:
            transaction, before = Transaction(self, write), write.head.seq
            result = change(transaction)
            tracing.note(lambda: _of_write(transaction.written, before, write.head.seq))
            return result, transaction.written

        result, written = self.write(work)
        self._attend_now_and_then(written)
        return result

    @traced("get", returned)
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
            return self._fetched(view, rows, fields)

        return self.read_again(look)

    @traced("page", returned)
    def page(
        self,
        expression: Expression | None,
        start: PointId | None,
        limit: int | None,
        fields: Fields,
    ) -> Points:
        """The points that match in the order of their ids, from `start` on; see `paging`."""

        def look(view: SearchView) -> Points:
            return self._fetched(view, page(view, expression, start, limit), fields)

        return self.read_again(look)

    @traced("number")
    def number(self, expression: Expression | None) -> int:
        """How many points match."""
        return self.read_again(lambda view: allowed_by(view, expression).count)

    def _fetched(self, view: SearchView, rows: Ints, fields: Fields) -> Points:
        self._attend_if_wanted(view)
        return fetch(view, rows, fields)

    def as_kept(self, ids: Sequence[str]) -> Sequence[PointId]:
        """The ids that points have which show as these strings."""
        if not any(map(shows_an_integer, ids)):
            return ids
        return self.read(lambda view: as_kept(view.connection, ids))

    def count(self) -> int:
        """How many points there are."""
        return self.read(lambda view: view.state.count)

    @property
    def operation(self) -> int:
        """The number of the last operation."""
        return self.read(lambda view: view.state.head.seq)

    def position(self) -> Position:
        """How far the log has come."""
        return self.read(lambda view: position(view.state.head))

    def changed_since(self, since: Position) -> Changed:
        """What was inserted or changed since the log had come so far."""
        return self.read(lambda view: changed_since(view.connection, since))

    @traced("query", lambda found: returned(*(hits.points for hits in found)))
    def search(self, query: AnyQuery, fields: Fields, cut: Cut | None = None) -> list[Hits]:
        """For each of the queries the best matching points, best first; those of the cut."""
        return self._answer(query, fields, cut)[0]

    @traced("facet")
    def facet(self, values: ValuesAt, expression: Expression | None) -> list[tuple[Scalar, int]]:
        """Each value with how many of the points that fulfil the expression have it, the most
        frequent ones first, and of these the least."""
        return self.read_again(lambda view: facet(view, values, expression))

    @traced("get", lambda found: returned(found[0]))
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

    @traced("explain")
    def explain(self, query: AnyQuery, fields: Fields, cut: Cut | None = None) -> Payload:
        """How `search` finds what it finds; see `report.explanation`."""
        _, trace, state, _ = self._answer(query, fields, cut)
        return explanation(trace, state)

    def stats(self) -> Payload:
        """What takes how much room; see `report.statistics`."""
        return self.read(lambda view: statistics(view, self.directory))

    def _answer(self, query: AnyQuery, fields: Fields, cut: Cut | None) -> _Answered:
        def look(view: SearchView) -> _Answered:
            trace = Trace(remarks=view.remarks)
            hits = answer(view, query, fields, trace, cut)
            return hits, trace, view.state, [*view.kept.unsaved, *view.kept.lists.wanted()]

        answered = self.read_again(look)
        _, trace, state, wanted = answered
        tracing.note(lambda: of_search(trace, state))
        if wanted or trace.lacking_cells > FRESH_CELLS:
            self._around.attend(self)
        return answered

    def _attend_now_and_then(self, written: int) -> None:
        self._unattended += written
        if self._unattended >= ATTENTION_EVERY:
            self._unattended = 0
            self._around.attend(self)

    def spaces(self) -> list[SpaceRecord]:
        """The vector spaces, in the order in which they were added."""

        def look(view: SearchView) -> list[SpaceRecord]:
            return [_recorded(view, space) for space in view.state.known.values()]

        return self.read(look)

    def add_space(self, name: str, space: NewSpace) -> None:
        """A new vector space, in which no point has a vector; raises AlreadyExistsError."""

        def change(write: Write) -> None:
            if name in read_spaces(write.connection):
                raise AlreadyExistsError(f"there is a vector space {name!r} already")
            insert_space(write.connection, name, space)
            finish(write, NOWHERE, 0, 0)

        self.write(change)

    def drop_space(self, name: str) -> None:
        """Delete a vector space with all vectors in it; raises NotFoundError. Its files are gone
        once nobody maintains the collection any more: now, or when the one at it comes to it."""

        def change(write: Write) -> None:
            delete_space(write.connection, named_space(write.connection, name).number)
            finish(write, NOWHERE, 0, 0)

        self.write(change)
        self._around.attend(self)

    @traced("get", returned)
    def in_order(
        self,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The points that match and have a number or a date at the path, in the order of these,
        numbers first, or all that backwards; each once."""

        def look(view: SearchView) -> Points:
            each = in_order(view, path, expression, descending)[offset:]
            return self._fetched(view, each if limit is None else each[:limit], fields)

        return self.read_again(look)

    @traced("query", lambda found: returned(*(one.points for one in found)))
    def rank(self, steps: Sequence[Step], fields: Fields) -> list[RankedPoints]:
        """For each of the steps the points that it ranks, all of one state."""

        def look(view: SearchView) -> list[RankedPoints]:
            found = ranked_each(view, steps)
            points = fetch_each(view, [one.rows for one in found], fields)
            self._attend_if_wanted(view)
            return [
                RankedPoints(some, one.scores, one.values)
                for some, one in zip(points, found, strict=True)
            ]

        return self.read_again(look)

    @traced("query_groups", lambda found: returned(*(one.points for _, one in found)))
    def group(
        self, step: Step, grouping: Grouping, fields: Fields
    ) -> list[tuple[GroupValue, RankedPoints]]:
        """What a step ranks in groups, by what points have at a path; see `ranking.groups`."""

        def look(view: SearchView) -> list[tuple[GroupValue, RankedPoints]]:
            found = grouped(view, step, grouping)
            points = fetch_each(view, [one.rows for _, one in found], fields)
            return [
                (value, RankedPoints(some, one.scores, one.values))
                for some, (value, one) in zip(points, found, strict=True)
            ]

        return self.read_again(look)

    @traced("matrix")
    def pairs(
        self, space: str, expression: Expression | None, sample: int, limit: int
    ) -> tuple[list[PointId], Ints, Ints, Floats]:
        """For each of some points chosen at random the nearest others; see `ranking.groups`."""

        def look(view: SearchView) -> tuple[list[PointId], Ints, Ints, Floats]:
            found = pairs(view, space, expression, sample, limit)
            return found.ids, found.a, found.b, found.scores

        return self.read_again(look)

    def _attend_if_wanted(self, view: SearchView) -> None:
        if view.kept.unsaved or view.kept.lists.wanted():
            self._around.attend(self)

    def mark_dropped(self) -> None:
        """From here on every call, in any process, raises NotFoundError."""

        def change(write: Write) -> None:
            write.head = replace(write.head, dropped=True)
            finish(write, NOWHERE, 0, 0)

        self.write(change)

    def create_index(self, path: PayloadPath, kind: IndexKind | None) -> None:
        """Nothing is to be made: the values of a key are gathered by the first filter on it."""

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space, of which only those that tell how to search
        can change."""

        def change(write: Write) -> None:
            set_index(write.connection, space, index)
            finish(write, NOWHERE, 0, 0)

        self.write(change)

    def is_dropped(self) -> bool:
        """Whether `mark_dropped` was called, by whichever process."""
        return self._use(lambda connection: read_head(connection).dropped)


def _of_write(written: int, before: int, seq: int) -> tracing.Attributes:
    """What spans say of a transaction."""
    return {
        "retrieval_store.written": written,
        "retrieval_store.operations": seq - before,
        "retrieval_store.seq": seq,
    }


def _recorded(view: SearchView, space: Space) -> SpaceRecord:
    dense = view.state.spaces.get(space.name)
    if space.kind != "dense":
        count = count_special(view.connection, space)
    else:
        count = 0 if dense is None else dense.space.slots - dense.dead
    return SpaceRecord(
        space.name,
        space.metric,
        space.kind,
        space.datatype,
        space.dimension,
        space.index,
        count,
        space.number,
    )
