"""Operations on points: one or several operations form a transaction.

Each operation sees the writes of the operations before it, through an `Overlay`: the committed
state, and the points that the transaction has touched. To evaluate an operation's filter, touched
points are read one by one; for all other points, the committed state and its caches are used.
Uncommitted data never enters caches that other readers share. The transaction has a state of its
own, which is discarded when it ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar, TypeVarTuple

import numpy as np

from retrieval_store.base.arrays import NOWHERE, Bools, Ints, distinct
from retrieval_store.base.validation import Payload, absent_ids
from retrieval_store.engine.access import (
    Access,
    CachedState,
    CollectionWrite,
    caches_after,
    empty_caches,
)
from retrieval_store.engine.filtering.evaluate import filter_rows, scan_rows
from retrieval_store.engine.filtering.select import expired_by_now, expired_filter, select
from retrieval_store.engine.search.context import SearchView
from retrieval_store.engine.state.caches import outside
from retrieval_store.engine.state.state import View, advance, rows_of
from retrieval_store.engine.storage import write as storage
from retrieval_store.engine.storage.log import finish, present_pks, read_changes
from retrieval_store.engine.storage.schema import pks_of_ids, read_spaces, space_by_name
from retrieval_store.filters.nodes import Expression, Not, all_of
from retrieval_store.query.protocols import Changes
from retrieval_store.query.types import (
    Content,
    PointBatch,
    PointId,
    PutResult,
    WriteRules,
    merge_payload,
)

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class CalledBackError(Exception):
    """Wraps an error that a caller's function raised. Code that converts errors into DamagedError
    doesn't convert the wrapped error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _call_back(edit: Callable[[Content], Content], content: Content) -> Content:
    """Call a caller's function with the content of a point, and return its result. Errors are
    wrapped."""
    try:
        return edit(content)
    except Exception as error:
        raise CalledBackError(error) from error


class Overlay:
    """The points as the operations of a transaction see them. The points that the transaction has
    touched are in their new state, all other points in the committed state. (It also implements
    `storage.write.PointLookup`: `fulfilling` and `slots`.)"""

    def __init__(self, access: Access, write: CollectionWrite) -> None:
        self._access, self._write = access, write

    def note_committed(self) -> None:
        """Load the committed state, unless it is already loaded. Must be called at the beginning of
        an operation. In a collection in memory, it must also be called at the beginning of the
        transaction."""
        write = self._write
        if write.committed is None and write.head.seq == write.begun.seq:
            write.committed = self._access.memory.before(write.connection, write.head)
        # Other connections show the committed state until this transaction ends.
        elif write.committed is None:
            write.committed = self._access.current_state()

    def choose(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> Ints:
        """The pks of the first `limit` points that have one of these ids and match. Must be called
        at the beginning of an operation."""
        # Such calls don't need the state.
        if ids is not None and expression is None and limit is None:
            pks_by_id = pks_of_ids(self._write.connection, ids)
            return np.sort(np.fromiter(pks_by_id.values(), np.int64, len(pks_by_id)))
        self.note_committed()
        view = self._view()
        if ids is None and expression is not None and self._can_use_committed_results:
            return self._matching(view, expression)
        return view.state.pks[select(view, ids, expression, limit)]

    def expired_condition(self) -> Expression | None:
        """The filter for expired points; None if no point has expired."""
        path = self._access.expires
        if path is None:
            return None
        self.note_committed()
        # The view has no columns that would show whether any point has expired.
        if self._can_use_committed_results:
            return expired_by_now(path)
        return expired_filter(self._view(), path)

    def fulfilling(self, pks: Ints, expression: Expression) -> Bools:
        """Which of these points fulfil the expression: (n,) bool. All the points must exist."""
        view = self._view()
        rows, places = np.unique(rows_of(view.state.pks, pks), return_inverse=True)
        return filter_rows(view, expression, rows)[places]

    def slots(self, space: str, pks: Ints) -> Ints:
        """The slots of these points' vectors in a dense space: (n,), -1 for points without a
        vector."""
        state = self._view().state
        if space not in state.spaces:
            return np.full(len(pks), -1, np.int64)
        return state.spaces[space].slot_of_row[rows_of(state.pks, pks)]

    @property
    def _can_use_committed_results(self) -> bool:
        """Whether matching points can be found from the committed state and the touched points.
        False in a memory-only collection, whose single connection can no longer show the committed
        state. Also False in a very long transaction, if the change log doesn't reach back to its
        start."""
        head, begun = self._write.head, self._write.begun
        has_written = self._access.directory is not None and head.seq > begun.seq
        return has_written and head.log_floor <= begun.seq

    def _touched_pks(self) -> Ints:
        """The pks of the points that earlier operations of this transaction have written or
        deleted, in ascending order."""
        connection, begun = self._write.connection, self._write.begun
        born = present_pks(connection, begun.next_pk, self._write.head.next_pk)
        changed = read_changes(connection, begun.seq).of()
        return distinct(np.concatenate([changed, born]))

    def _matching(self, view: SearchView, expression: Expression) -> Ints:
        """The pks of the matching points, in ascending order. Touched points are matched in their
        present state; other points are found from the committed state and its caches."""
        pks, touched = view.state.pks, self._touched_pks()
        rows = rows_of(pks, touched)
        rows = rows[rows >= 0]
        rows = rows[view.state.alive[rows]]
        touched_matches = pks[rows[scan_rows(view, expression, rows)]]
        committed_matches = self._access.read(_pks_matching, expression)
        return np.sort(
            np.concatenate(
                [committed_matches[outside(committed_matches, touched)], touched_matches]
            )
        )

    def _view(self) -> SearchView:
        """The view that the next operation uses. Until an operation has written something, the view
        shows the committed state with its caches. From then on the view shows the transaction's own
        state, which no other reader sees.

        That state shares arrays with the committed state, and appends to them. This is safe because
        no other process or thread commits meanwhile.
        """
        write = self._write
        assert write.committed is not None
        head, connection = write.head, write.connection
        if head.seq == write.begun.seq:
            return self._access.view(connection, write.committed)
        before = write.own or write.committed
        step = advance(before.state, connection, head, write.open_vectors)
        if write.own is None or step.changed is None:
            write.own = CachedState(step.state, empty_caches(head.seq, {}))
        elif step.state is not before.state:
            caches = caches_after(before.caches, head.seq, step.changed, {})
            write.own = CachedState(step.state, caches)
        return View(connection, write.own.state, write.own.caches)


def _pks_matching(view: SearchView, expression: Expression) -> Ints:
    """The pks of the points that match in a view, in ascending order."""
    return view.state.pks[select(view, None, expression)]


def _operation(
    method: Callable[Concatenate["Transaction", P], T],
) -> Callable[Concatenate["Transaction", P], T]:
    """Decorator: turns a method into an operation of a transaction. The operation gets a number
    even if it changes nothing. If it fails, the transaction fails too."""

    @wraps(method)
    def operate(self: "Transaction", /, *args: P.args, **kwargs: P.kwargs) -> T:
        before = self._write.head.seq
        try:
            result = method(self, *args, **kwargs)
            if self._write.head.seq == before:
                finish(self._write, NOWHERE, 0, 0)
        except CalledBackError as passing:
            self._failed = passing
            raise passing.error from passing.error.__cause__
        except Exception as error:
            self._failed = error
            raise
        return result

    return operate


class Transaction:
    """Implements the protocol `Changes` on a write transaction that has begun.

    written: how many points the operations have written or deleted so far.
    """

    def __init__(self, access: Access, write: CollectionWrite) -> None:
        self._access, self._write = access, write
        self._overlay = Overlay(access, write)
        self._failed: Exception | None = None
        self.written = 0

    def run(self, change: Callable[[Changes], T]) -> T:
        """Call `change` with this transaction, and return its result. A failed operation may have
        written a part of its changes. So the whole transaction fails, even if `change` catches the
        error."""
        if self._access.directory is None:  # its only connection shows the transaction's writes
            self._overlay.note_committed()
        try:
            result = change(self)
        except Exception as error:
            raise error if error is self._failed else CalledBackError(error) from error
        if self._failed is not None:
            raise self._failed
        return result

    # Methods of `Changes`: each of these operations gets a number.

    @property
    def operation(self) -> int:
        return self._write.head.seq

    @_operation
    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        return self.put_points(batch, rules)

    @_operation
    def delete(self, ids: Sequence[PointId] | None, expression: Expression | None) -> int:
        return self.delete_points(ids, expression, None)

    @_operation
    def edit(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        edit: Callable[[Content], Content],
        strict: bool,
    ) -> int:
        pks = self._pks_of(ids, expression, strict)
        storage.edit(self._write, pks, partial(_call_back, edit))
        return self._note_written(pks)

    @_operation
    def delete_vectors(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        spaces: Sequence[str],
        strict: bool,
    ) -> int:
        self._overlay.note_committed()  # needed to find the slots of vectors
        pks = self._pks_of(ids, expression, strict)
        named = [space_by_name(self._write.connection, name) for name in spaces]
        storage.delete_vectors(self._write, pks, named, self._overlay)
        return self._note_written(pks)

    # Operations for transactions that consist of a single operation.

    def put_points(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points. `rules` decides how existing and missing points are treated."""
        if rules.where is not None or (
            rules.on_existing == "replace" and self._lacks_vectors(batch)
        ):
            self._overlay.note_committed()
        self._delete_or_exclude_expired(batch.ids, None)
        self.written += len(batch.ids)
        return storage.put_points(self._write, batch, rules, self._overlay)

    def _lacks_vectors(self, batch: PointBatch) -> bool:
        """Whether a point of the batch has no vector in some space."""
        vectors_of_spaces = map(batch.vectors.get, read_spaces(self._write.connection))
        return any(
            vectors is None or vectors.positions is not None for vectors in vectors_of_spaces
        )

    def delete_points(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that have one of these ids and match; returns the number
        of deleted points."""
        expression = self._delete_or_exclude_expired(ids, expression)
        pks = self._overlay.choose(ids, expression, limit)
        storage.delete(self._write, pks)
        return self._note_written(pks)

    def merge_payload(self, expression: Expression, payload: Payload) -> int:
        """Merge these keys into the payloads of the matching points; returns the number of matching
        points."""
        pks = self._pks_of(None, expression, strict=False)
        storage.edit(self._write, pks, partial(_merge, payload))
        return self._note_written(pks)

    def _delete_or_exclude_expired(
        self, ids: Sequence[PointId] | None, expression: Expression | None
    ) -> Expression | None:
        """Make sure that an operation affects no expired point. Expired points with the operation's
        ids are deleted. Without ids, the returned expression excludes expired points."""
        expired = self._overlay.expired_condition()
        if expired is None:
            return expression
        if ids is None:
            return all_of(expression, Not(expired))
        storage.delete(self._write, self._overlay.choose(ids, expired, None))
        return expression

    def _note_written(self, pks: Ints) -> int:
        self.written += len(pks)
        return len(pks)

    def _pks_of(
        self, ids: Sequence[PointId] | None, expression: Expression | None, strict: bool
    ) -> Ints:
        """The pks of the points that have one of these ids and match, in ascending order, without
        repetitions. strict: raise NotFoundError for ids that don't exist."""
        expression = self._delete_or_exclude_expired(ids, expression)
        pks = distinct(self._overlay.choose(ids, expression, None))
        if strict and ids is not None and len(pks) < len(ids):
            pks_by_id = pks_of_ids(self._write.connection, ids)
            absent = [point_id for point_id in ids if point_id not in pks_by_id]
            if absent:
                raise absent_ids(absent)
        return pks


def _merge(payload: Payload, content: Content) -> Content:
    """The point's content, with the keys of a new payload merged into its payload."""
    return replace(content, payload=merge_payload(content.payload, payload))


def change_points(
    write: CollectionWrite,
    access: Access,
    change: Callable[[Transaction, *Ts], T],
    arguments: tuple[*Ts],
) -> tuple[T, int, int, int]:
    """Make a change in a write transaction. Returns the change's result, how many points it has
    written or deleted, and the numbers of the last operation before and after it."""
    transaction, seq_before = Transaction(access, write), write.head.seq
    result = change(transaction, *arguments)
    return result, transaction.written, seq_before, write.head.seq
