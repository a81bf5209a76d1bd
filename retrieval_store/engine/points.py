"""PointStore: the points of one collection; implements the protocols in `query.protocols`."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeAlias, TypeVar, TypeVarTuple

import apsw

from retrieval_store.base import budget, tracing
from retrieval_store.base.arrays import NOWHERE, Floats, Ints
from retrieval_store.base.tracing import counts_of_results, traced
from retrieval_store.base.validation import Payload
from retrieval_store.engine.access import Access, StoreHooks
from retrieval_store.engine.filtering import evaluate
from retrieval_store.engine.filtering.cache import filter_result
from retrieval_store.engine.filtering.select import (
    count_matching,
    count_within,
    select,
    select_spread,
)
from retrieval_store.engine.locks import QuestionLine
from retrieval_store.engine.search.context import EngineTrace, SearchView
from retrieval_store.engine.search.index_lifecycle import FRESH_CELLS
from retrieval_store.engine.search.ranker import EngineRanker
from retrieval_store.engine.sqlite import MemoryDatabase, create
from retrieval_store.engine.state.state import FEW, State, fetch, fetch_few, vector_bytes
from retrieval_store.engine.storage.files import POINTS_NAME
from retrieval_store.engine.storage.log import (
    WriteTransaction,
    changes_since,
    count_unless_dropped,
    finish,
    position,
)
from retrieval_store.engine.storage.schema import (
    POINTS,
    Space,
    delete_space,
    insert_space,
    read_head,
    read_spaces,
    set_index,
    space_by_name,
)
from retrieval_store.errors import AlreadyExistsError
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.nodes import Expression, Scalar, all_of
from retrieval_store.filters.paths import FieldPath, PayloadPath
from retrieval_store.query.executor import answer
from retrieval_store.query.query import NearestDense, Query, restrict_query
from retrieval_store.query.types import (
    WHOLE,
    ChangedPoints,
    Fields,
    Hits,
    Mode,
    NewSpace,
    PointBatch,
    PointId,
    Points,
    Position,
    PutResult,
    SpaceRecord,
    WriteRules,
)

if TYPE_CHECKING:
    from retrieval_store.base.analysis import Analyzer
    from retrieval_store.engine.transaction import Transaction
    from retrieval_store.query.protocols import Changes, IndexKind
    from retrieval_store.query.query import ExplainRequest, RankReport
    from retrieval_store.query.types import Projection

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
MAINTENANCE_EVERY = 2_000  # written points after which maintenance is scheduled
# … or this many if lists are in use, because a query would wait until they are updated.
LISTED_EVERY = 256
# A change of at most this many points is committed together with changes of waiting threads.
SMALL_CHANGE = 100
SWEPT_EVERY = 10.0  # seconds between two deletions of expired points
_Answered: TypeAlias = tuple[list[Hits], EngineTrace, State]


def reading(
    method: Callable[Concatenate["PointStore", SearchView, P], T],
) -> Callable[Concatenate["PointStore", P], T]:
    """Decorator: runs the method in a read transaction, which provides the view, so that callers
    pass no view. If the read is repeated, the method is called again (see `Access.read`)."""

    @wraps(method)
    def read(self: "PointStore", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.access.read(lambda view: method(self, view, *args, **kwargs))

    return read


class PointStore:
    """The points of one collection; any number of threads can use it at the same time.

    Every method either reads one consistent state or writes the next. Methods raise NotFoundError
    once this or another process has deleted the collection. access: the access to the collection's
    transactions and its data in memory.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self._unmaintained = 0
        self._line = QuestionLine[Query, Hits](_have_same_fields)
        self._sweep_at = 0.0  # when maintenance should delete expired points again

    @property
    def name(self) -> str:
        """The name of the collection, as far as this process knows it."""
        return self.access.name

    @classmethod
    def create(
        cls,
        directory: Path | None,
        name: str,
        spaces: Mapping[str, NewSpace],
        mode: Mode,
        hooks: StoreHooks,
    ) -> "PointStore":
        """Create an empty collection with these vector spaces. The directory must exist; if it is
        None, the collection is in memory."""
        add_spaces = partial(_add_spaces, spaces)
        if directory is None:
            return cls(Access(MemoryDatabase(POINTS, add_spaces), None, name, hooks))
        create(directory / POINTS_NAME, POINTS, add_spaces, alike=repr(spaces))
        return cls.open(directory, name, mode, hooks)

    @classmethod
    def open(cls, directory: Path, name: str, mode: Mode, hooks: StoreHooks) -> "PointStore":
        """Open the collection in this directory. Its files are opened only when they are needed."""
        return cls(Access.open(directory, name, mode, hooks))

    @property
    def reusable(self) -> bool:
        """Whether the collection is open and `OpenCollections` counts its file descriptors."""
        return self.access.counted

    @property
    def engine(self) -> "PointStore":
        """The object itself, which is the engine of the collection."""
        return self

    @classmethod
    def copy_in_memory(cls, source: "PointStore", name: str, hooks: StoreHooks) -> "PointStore":
        """A collection in memory with the present content of another collection in memory."""
        return cls(source.access.read(_copy_in_memory, name, hooks))

    @traced("put")
    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points in one durable transaction."""
        from retrieval_store.engine.transaction import Transaction

        joins = len(batch.ids) <= SMALL_CHANGE
        return self._change(Transaction.put_points, batch, rules, joins=joins)

    def put_each(self, batches: Iterable[PointBatch], rules: WriteRules) -> Iterator[PutResult]:
        """Like `put`, for several batches in order, each in a transaction of its own."""
        for batch in batches:
            yield self.put(batch, rules)

    @traced("delete")
    def delete(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that have one of these ids and match; returns the number
        of deleted points."""
        from retrieval_store.engine.transaction import Transaction

        joins = ids is not None and len(ids) <= SMALL_CHANGE
        return self._change(Transaction.delete_points, ids, expression, limit, joins=joins)

    @traced("put")
    def merge_payload(self, expression: Expression, payload: Payload) -> int:
        """Merge these keys into the payloads of the matching points; returns the number of matching
        points."""
        from retrieval_store.engine.transaction import Transaction

        return self._change(Transaction.merge_payload, expression, payload)

    def append(self, batch: PointBatch) -> None:
        """Insert points at the end, in this order. Existing points with the same ids are deleted
        first."""
        self.transact(partial(_put_last, batch))

    @traced("transact")
    def transact(self, change: "Callable[[Changes], T]", most: int | None = None) -> T:
        """Call `change` in one transaction and return its result. If it raises, nothing is written.
        most: the greatest number of points that `change` changes. If the number is small, another
        thread may call `change`; if that thread's transaction fails, this thread calls `change`
        again. If `most` is None, the number is unknown, and `change` is called once, in this
        thread."""
        from retrieval_store.engine.transaction import CalledBackError, Transaction

        joins = most is not None and most <= SMALL_CHANGE
        try:
            return self._change(Transaction.run, change, joins=joins)
        except CalledBackError as passing:
            raise passing.error from passing.error.__cause__

    def _change(
        self, change: "Callable[[Transaction, *Ts], T]", *arguments: *Ts, joins: bool = False
    ) -> T:
        """Make a change in a transaction, and return its result. joins: whether the change can be
        committed together with changes of other threads; one thread then makes all of them."""
        from retrieval_store.engine.transaction import change_points

        result, written, seq_before, seq = self.access.write(
            change_points, self.access, change, arguments, joins=joins
        )
        tracing.note(partial(_write_attributes, written, seq_before, seq))
        self._maintain_after_writes(written)
        return result

    @traced("get", counts_of_results)
    def get(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        """The points that have one of these ids and match. They are in the order of `ids`, or of
        first insertion if `ids` is None."""
        whole = expression is None and limit is None and not offset and not fields.vectors
        if whole and self.access.expires is None and ids and len(ids) <= FEW:
            points = self.access.without_transaction(fetch_few, ids, fields)
            if points is not None:
                return points
        return self.access.read(self._select, ids, expression, limit, offset, fields)

    def _select(
        self,
        view: SearchView,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        fields: Fields,
    ) -> Points:
        rows = select(view, ids, self._without_expired(view, expression), limit, offset)
        return self._fetch(view, rows, fields)

    @traced("get", counts_of_results)
    @reading
    def sample(
        self, view: SearchView, expression: Expression | None, size: int, fields: Fields
    ) -> Points:
        """At most `size` of the matching points, spread over all of them."""
        rows = select_spread(view, self._without_expired(view, expression), size)
        return self._fetch(view, rows, fields)

    @traced("page", counts_of_results)
    @reading
    def page(
        self,
        view: SearchView,
        expression: Expression | None,
        start: PointId | None,
        limit: int | None,
        fields: Fields,
    ) -> Points:
        """The matching points in the order of their ids, starting at the id `start`; see
        `order.page`."""
        from retrieval_store.engine.filtering.order import page

        rows = page(view, self._without_expired(view, expression), start, limit)
        return self._fetch(view, rows, fields)

    @traced("number")
    @reading
    def number(self, view: SearchView, expression: Expression | None) -> int:
        """The number of points that match."""
        return count_matching(view, self._without_expired(view, expression))

    @traced("number")
    @reading
    def count_within(
        self, view: SearchView, expression: Expression, seconds: float
    ) -> tuple[int, bool]:
        """The number of matching points, and whether the count is complete. If counting takes
        longer than `seconds`, the count so far is returned."""
        return count_within(view, self._without_expired(view, expression), seconds)

    @traced("get")
    @reading
    def project(
        self,
        view: SearchView,
        space: str,
        expression: Expression | None,
        sample: int,
        seed: int,
        path: PayloadPath | None,
    ) -> "Projection":
        """Project points to the plane in which their vectors differ most."""
        from retrieval_store.engine.search.similarity import projection

        return projection(view, space, self._without_expired(view, expression), sample, seed, path)

    def _without_expired(
        self, view: SearchView, expression: Expression | None
    ) -> Expression | None:
        """The filter, extended so that it excludes expired points."""
        path = self.access.hooks.expires
        if path is None:
            return expression
        from retrieval_store.engine.filtering.select import not_expired

        unexpired = not_expired(view, path)
        if unexpired is not None and time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEPT_EVERY
            self.access.schedule_maintenance()
        return all_of(expression, unexpired)

    def _fetch(self, view: SearchView, rows: Ints, fields: Fields) -> Points:
        self._schedule_if_needed(view)
        size = fields.nbytes + vector_bytes(view, fields)
        budget.take(len(rows) * size, "points", len(rows))
        return fetch(view, rows, fields)

    def count(self) -> int:
        """The number of points."""
        if self.access.expires is not None:
            return self.number(None)
        cached = self.access.without_transaction(self.access.memory.now)
        if cached is not None:
            return cached.state.count
        # The state isn't loaded into memory for this: it may be large, and callers may count all
        # collections.
        present = self.access.without_transaction(count_unless_dropped)
        return self.access.current_state().state.count if present is None else present

    @property
    def operation(self) -> int:
        """The number of the last operation."""
        return self.access.current_state().state.head.seq

    def position(self) -> Position:
        """The current position of the change log."""
        return position(self.access.current_state().state.head)

    @reading
    def changes_since(self, view: SearchView, position: Position) -> ChangedPoints:
        """The points inserted or changed since this position of the change log."""
        return changes_since(view.connection, position)

    @traced("query", lambda answers: counts_of_results(*(hits.points for hits in answers)))
    def ask(self, question: Query) -> list[Hits]:
        """The hits of a query: one `Hits` for each query vector or text of each step, or for each
        group, with the best hits first."""
        if tracing.is_recording():
            return self._answer(question)[0]
        if _can_be_batched(question):
            return [self._line.ask(question, self._answer_all)]
        return self.access.read(self._hits, question)

    def _answer_all(self, questions: Sequence[Query]) -> list[Hits]:
        """The hits of several queries, which all request the same fields. Each query must have one
        step with one query vector."""
        first, *others = questions
        if others:
            first = replace(first, steps=tuple(question.steps[0] for question in questions))
        return self.access.read(self._hits, first)

    @traced("facet")
    def facet(
        self, path: PayloadPath, expression: Expression | None, limit: int | None
    ) -> list[tuple[Scalar, int]]:
        """The distinct values at the path, each with the number of matching points that have it.
        The most frequent values come first. For a list, the elements count as values."""
        return self.facet_of(
            (ValuesAt(path, "whole"), ValuesAt(path, "element")), expression, limit
        )

    @reading
    def kinds(self, view: SearchView, path: FieldPath) -> list[str]:
        """The kinds of values that points have at the path; see `order.kinds`."""
        from retrieval_store.engine.filtering.order import kinds

        return kinds(view, path, self._without_expired(view, None))

    @reading
    def facet_of(
        self,
        view: SearchView,
        columns: Sequence[ValuesAt],
        expression: Expression | None,
        limit: int | None,
    ) -> list[tuple[Scalar, int]]:
        """Like `facet`, but counts the values of these columns; see `order.facet`."""
        from retrieval_store.engine.filtering.order import facet

        facets = facet(view, columns, self._without_expired(view, expression), limit)
        self._schedule_if_needed(view)
        return facets

    @traced("get", lambda numbers: counts_of_results(numbers[0]))
    @reading
    def list_in_order(
        self,
        view: SearchView,
        values: ValuesAt,
        expression: Expression | None,
        limit: int | None,
        descending: bool,
        start: int | float | None,
        fields: Fields,
    ) -> tuple[Points, list[int | float]]:
        """The matching points, sorted by the numbers that `values` has for them, beginning with the
        number `start`. A point with several numbers is repeated. Also returns the number of each
        returned point."""
        from retrieval_store.engine.filtering.order import rows_in_order

        living = self._without_expired(view, expression)
        rows, numbers = rows_in_order(view, values, living, limit, descending, start)
        return self._fetch(view, rows, fields), numbers

    @traced("explain")
    def explain(self, question: Query) -> Payload:
        """A description of how `ask` executes the query; see `stats.explanation`."""
        from retrieval_store.engine.stats import explanation

        _, trace, state = self._answer(question, explains=True)
        return explanation(trace, state)

    @traced("why")
    @reading
    def why(self, view: SearchView, inquiry: "ExplainRequest") -> "RankReport":
        """The ranks of records in the rankings of a query; see `query.why`."""
        from retrieval_store.query.why import why

        living = self._without_expired(view, None)
        request = inquiry if living is None else inquiry.among(living)
        report = why(EngineRanker(view, EngineTrace(False)), request, max(1, view.state.count))
        report.matching = _count_matching(view, request.question)
        self._schedule_if_needed(view)
        return report

    def stats(self) -> Payload:
        """The sizes of the collection's parts; see `stats.statistics`."""
        from retrieval_store.engine.stats import maintenance

        return {**self.access.read(self._statistics), "maintenance": maintenance(self.access)}

    def _statistics(self, view: SearchView) -> Payload:
        from retrieval_store.engine.stats import statistics

        numbers = statistics(view, self.access.directory)
        living = self._without_expired(view, None)
        if living is not None:
            numbers["points"] = filter_result(view, living, evaluate).count
        return numbers

    @traced("warm")
    def warm(self, paths: Sequence[PayloadPath], analyzer: "Analyzer | None") -> Payload:
        """Load the data that the first queries would load; see `stats.warm`."""
        from retrieval_store.engine.stats import warm

        return warm(self.access, paths, analyzer)

    def _answer(self, question: Query, explains: bool = False) -> _Answered:
        """The hits of a query, and a trace of how they were found. The trace is used for an
        explanation or a span."""
        answered = self.access.read(self._answer_within, question, explains)
        _, trace, state = answered
        tracing.note(partial(_search_attributes, trace, state))
        return answered

    def _answer_within(self, view: SearchView, question: Query, explains: bool) -> _Answered:
        trace = EngineTrace(True, self.access.is_read_only)
        view.remarks = trace.remarks
        hits = self._hits(view, question, trace)
        if explains:  # in the same state, because not every scoring counts the matching points
            restricted = restrict_query(question, self._without_expired(view, None))
            trace.matching = _count_matching(view, restricted)
        return hits, trace, view.state

    def _hits(
        self, view: SearchView, question: Query, trace: EngineTrace | None = None
    ) -> list[Hits]:
        if trace is None:
            trace = EngineTrace(False)
        living = self._without_expired(view, None)
        if living is not None:
            question = restrict_query(question, living)
        hits = answer(EngineRanker(view, trace), question)
        self._schedule_if_needed(view, trace.lacking_cells > FRESH_CELLS)
        return hits

    def _maintain_after_writes(self, written: int) -> None:
        self._unmaintained += written
        self.access.memory.written_at = time.monotonic()
        if self._unmaintained >= MAINTENANCE_EVERY or (
            self._unmaintained >= LISTED_EVERY and self.access.memory.has_lists
        ):
            self._unmaintained = 0
            self.access.schedule_maintenance()

    @reading
    def spaces(self, view: SearchView) -> list[SpaceRecord]:
        """The vector spaces, in the order in which they were added."""
        return [_record_of_space(view, space) for space in view.state.all_spaces.values()]

    def add_space(self, name: str, space: NewSpace) -> None:
        """Create a vector space in which no point has a vector. Raises AlreadyExistsError if the
        name is taken."""
        self.access.write(_add_space, name, space)

    def drop_space(self, name: str) -> None:
        """Delete a vector space with all vectors in it. Raises NotFoundError if the space doesn't
        exist. Maintenance removes the space's files soon, or when its current run ends."""
        self.access.write(_drop_space, name)
        self.access.schedule_maintenance()

    @traced("get", counts_of_results)
    @reading
    def in_order(
        self,
        view: SearchView,
        path: PayloadPath,
        expression: Expression | None,
        limit: int | None,
        offset: int,
        descending: bool,
        fields: Fields,
    ) -> Points:
        """The matching points that have a number or a date at the path, sorted by it; each point is
        returned once. Numbers come first, ascending, then dates; `descending` reverses the whole
        order."""
        from retrieval_store.engine.filtering.order import in_order

        most = None if limit is None else offset + limit
        rows = in_order(view, path, self._without_expired(view, expression), most, descending)
        return self._fetch(view, rows[offset:], fields)

    @traced("matrix")
    @reading
    def pairs(
        self, view: SearchView, space: str, expression: Expression | None, sample: int, limit: int
    ) -> tuple[list[PointId], Ints, Ints, Floats]:
        """Find pairs of near points: for each point of a random sample, the nearest other points of
        that sample; see `similarity.pairs`."""
        from retrieval_store.engine.search.similarity import pairs

        similar_pairs = pairs(view, space, self._without_expired(view, expression), sample, limit)
        return similar_pairs.ids, similar_pairs.a, similar_pairs.b, similar_pairs.scores

    def _schedule_if_needed(self, view: SearchView, is_lacking: bool = False) -> None:
        """Schedule maintenance if there is data to save, or if later calls need data that isn't
        built yet. is_lacking: whether many vectors have no codes, or aren't in the index."""
        demand = view.caches.lists.demand
        if is_lacking or view.caches.unsaved or (demand and demand.wanted_keys()):
            self.access.schedule_maintenance()

    def mark_dropped(self) -> None:
        """Mark the collection as deleted: every later call, in any process, raises
        NotFoundError."""
        self.access.write(_mark_dropped)

    def create_index(self, path: PayloadPath, kind: "IndexKind | None") -> None:
        """Do nothing, because the first filter on a key builds its column."""

    def configure_index(self, space: str, index: Payload) -> None:
        """Replace the index settings of a vector space. The new settings can differ from the old
        ones only in settings for searching."""
        self.access.write(_configure_index, space, index)

    def is_dropped(self) -> bool:
        """Whether `mark_dropped` was called, by any process."""
        return self.access.use(read_head).dropped


def _add_spaces(spaces: Mapping[str, NewSpace], connection: apsw.Connection) -> None:
    for name, space in spaces.items():
        insert_space(connection, name, space)


def _copy_in_memory(view: SearchView, name: str, hooks: StoreHooks) -> Access:
    access = Access(MemoryDatabase(POINTS, like=view.connection), None, name, hooks)
    for space in view.state.spaces.values():
        vectors = access.memory.open_vectors(space.space, view.state.head.generation)
        vectors.append(0, space.vectors.rows(space.space.slots))
    return access


def _put_last(batch: PointBatch, changes: "Changes") -> None:
    changes.delete(batch.ids, None)
    changes.put(batch, WHOLE)


def _add_space(write: WriteTransaction, name: str, space: NewSpace) -> None:
    if name in read_spaces(write.connection):
        raise AlreadyExistsError(f"there is a vector space {name!r} already")
    insert_space(write.connection, name, space)
    finish(write, NOWHERE, 0, 0)


def _drop_space(write: WriteTransaction, name: str) -> None:
    delete_space(write.connection, space_by_name(write.connection, name).number)
    finish(write, NOWHERE, 0, 0)


def _mark_dropped(write: WriteTransaction) -> None:
    write.head = replace(write.head, dropped=True)
    finish(write, NOWHERE, 0, 0)


def _configure_index(write: WriteTransaction, space: str, index: Payload) -> None:
    set_index(write.connection, space, index)
    finish(write, NOWHERE, 0, 0)


def _can_be_batched(question: Query) -> bool:
    """Whether a query can be executed together with queries of other threads. It must have one
    vector in one space, without groups, fusion or measured distances, and its request must be
    allowed to wait (`budget.may_wait`)."""
    if len(question.steps) != 1 or question.groups is not None or question.measured is not None:
        return False
    step = question.steps[0]
    near = step.scoring
    if step.prefetch or not isinstance(near, NearestDense) or len(near.vectors) != 1:
        return False
    return budget.may_wait()


def _have_same_fields(question: Query, other: Query) -> bool:
    return question.fields == other.fields


def _write_attributes(written: int, seq_before: int, seq: int) -> tracing.Attributes:
    """The span attributes of a transaction."""
    return {
        "retrieval_store.written": written,
        "retrieval_store.operations": seq - seq_before,
        "retrieval_store.seq": seq,
    }


def _search_attributes(trace: EngineTrace, state: State) -> tracing.Attributes:
    """The span attributes of a search; see `stats.search_attributes`."""
    from retrieval_store.engine.stats import search_attributes

    return search_attributes(trace, state)


def _count_matching(view: SearchView, question: Query) -> int:
    """How many points fulfil the filter of a query; see `stats.count_matching`."""
    from retrieval_store.engine.stats import count_matching

    return count_matching(view, question.steps)


def _record_of_space(view: SearchView, space: Space) -> SpaceRecord:
    dense = view.state.spaces.get(space.name)
    if space.kind != "dense":
        from retrieval_store.engine.storage.write import count_non_dense

        count = count_non_dense(view.connection, space)
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
