"""Operations on points, one or several in a transaction.

Each sees what those before it have written, through an `Overlay`: what is committed, and over that
the points that the transaction has touched. What a filter allows is asked anew for each operation:
of touched points one by one, of all others as they were committed. Nothing of it comes into what is
shared: a state of the transaction's own follows it, and what is worked out of that is thrown away.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from retrieval_store.base.arrays import Bools, Ints, distinct
from retrieval_store.base.json_values import listed
from retrieval_store.base.patched import NOWHERE
from retrieval_store.engine.access import Access
from retrieval_store.engine.filtering.masks import among, look
from retrieval_store.engine.filtering.selecting import select
from retrieval_store.engine.memory import CachedState, caches_after, empty_caches
from retrieval_store.engine.nearest.context import SearchView
from retrieval_store.engine.state.layers import outside
from retrieval_store.engine.state.state import advanced, rows_of
from retrieval_store.engine.state.view import View
from retrieval_store.engine.storage import write as storage
from retrieval_store.engine.storage.log import read_changes
from retrieval_store.engine.storage.presence import present_pks
from retrieval_store.engine.storage.schema import named_space, pks_of_ids
from retrieval_store.engine.storage.write import Write
from retrieval_store.errors import NotFoundError
from retrieval_store.filters.expression import Expression
from retrieval_store.interface.points import Content, PointBatch, PointId, PutResult, WriteRules
from retrieval_store.interface.stores import Changes

T = TypeVar("T")


class CalledBackError(Exception):
    """An error of a function of the caller's, on its way through what takes errors for signs of
    damage."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def passing_on(work: Callable[[], T]) -> T:
    """What `work` returns; errors of functions of the caller's come out as they were."""
    try:
        return work()
    except CalledBackError as passing:
        raise passing.error from passing.error.__cause__


class Overlay:
    """What the operations of a transaction see: the points as they are committed, and over these
    the ones that the transaction has touched, as it has left them. (It is what `storage.write`
    wants to know of points, too: `fulfilling` and `slots`.)"""

    def __init__(self, access: Access, write: Write) -> None:
        self._access, self._write = access, write
        self._begun = write.head
        self._committed: CachedState | None = None
        self._own: CachedState | None = None

    def note_committed(self) -> None:
        """Take note of what is committed: before anything is written, or not at all."""
        if self._committed is None:
            write = self._write
            self._committed = self._access.memory.before(write.connection, write.head)

    def chosen(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> Ints:
        """The pks of the first `limit` points that are named and match."""
        view = self._view()
        if ids is None and expression is not None and self._tells_touched:
            return self._matching(view, expression)
        return view.state.pks[select(view, ids, expression, limit)]

    def fulfilling(self, pks: Ints, expression: Expression) -> Bools:
        """For each of these points, which exist, whether it fulfils the expression."""
        view = self._view()
        rows, places = np.unique(rows_of(view.state.pks, pks), return_inverse=True)
        return among(view, expression, rows)[places]

    def slots(self, space: str, pks: Ints) -> Ints:
        """Where the vectors of these points are in a dense space; -1 for those without."""
        state = self._view().state
        if space not in state.spaces:
            return np.full(len(pks), -1, np.int64)
        return state.spaces[space].slot_of_row[rows_of(state.pks, pks)]

    @property
    def _tells_touched(self) -> bool:
        """Whether touched points can be told from others, which are found as they were committed.
        In memory there is one connection, to which nothing is as it was; and the log of a very long
        transaction doesn't reach back to all."""
        head = self._write.head
        begun = self._access.directory is not None and head.seq > self._begun.seq
        return begun and head.log_floor <= self._begun.seq

    def _touched(self) -> Ints:
        """The pks of the points that other operations of this transaction have written or deleted,
        ascending."""
        connection = self._write.connection
        born = present_pks(connection, self._begun.next_pk, self._write.head.next_pk)
        changed = read_changes(connection, self._begun.seq).of()
        return distinct(np.concatenate([changed, born]))

    def _matching(self, view: SearchView, expression: Expression) -> Ints:
        """The pks of the points that match: touched ones as they are now, others by what is kept
        of the committed state."""
        pks, touched = view.state.pks, self._touched()
        rows = rows_of(pks, touched)
        rows = rows[rows >= 0]
        rows = rows[view.state.alive[rows]]
        found = pks[rows[look(view, expression, rows)]]
        before = self._access.read(lambda other: _matching_pks(other, expression))
        return np.sort(np.concatenate([before[outside(before, touched)], found]))

    def _view(self) -> SearchView:
        """What is committed, with all that is kept of it, until an operation has written something;
        from then on a state that no other reader sees.

        That one shares arrays with the last that was committed, and appends to them. No other
        process or thread commits meanwhile, and the next one begins where that state ended.
        """
        assert self._committed is not None
        head, connection = self._write.head, self._write.connection
        if head.seq == self._begun.seq:
            return self._access.view(connection, self._committed)
        before = self._own or self._committed
        step = advanced(before.state, connection, head, self._access.memory.open_vectors)
        if self._own is None or step.changed is None:
            self._own = CachedState(step.state, empty_caches(head.seq, {}))
        elif step.state is not before.state:
            kept = caches_after(before.kept, head.seq, step.changed, {})
            self._own = CachedState(step.state, kept)
        return View(connection, self._own.state, self._own.kept)


def _matching_pks(view: SearchView, expression: Expression) -> Ints:
    return view.state.pks[select(view, None, expression)]


class Transaction:
    """The `Changes` of a write that has begun.

    written: how many points its operations have written or deleted by now.
    """

    def __init__(self, access: Access, write: Write) -> None:
        self._write = write
        self._overlay = Overlay(access, write)
        self._failed: Exception | None = None
        self.written = 0

    def run(self, change: Callable[[Changes], T]) -> T:
        """What `change` returns. An operation that fails may have written a part, so nothing is
        written then, even if `change` goes on."""
        self._overlay.note_committed()
        try:
            result = change(self)
        except Exception as error:
            raise error if error is self._failed else CalledBackError(error) from error
        if self._failed is not None:
            raise self._failed
        return result

    # What `Changes` promises: operations that have a number each.

    @property
    def operation(self) -> int:
        return self._write.head.seq

    def put(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        return self._operate(partial(self.put_points, batch, rules))

    def delete(self, ids: Sequence[PointId] | None, expression: Expression | None) -> int:
        return self._operate(partial(self.delete_points, ids, expression, None))

    def edit(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        edit: Callable[[Content], Content],
        strict: bool,
    ) -> int:
        def edited(content: Content) -> Content:
            try:
                return edit(content)
            except Exception as error:
                raise CalledBackError(error) from error

        def change() -> int:
            pks = self._named(ids, expression, strict)
            storage.edit(self._write, pks, edited)
            return self._counted(pks)

        return self._operate(change)

    def delete_vectors(
        self,
        ids: Sequence[PointId] | None,
        expression: Expression | None,
        spaces: Sequence[str],
        strict: bool,
    ) -> int:
        def change() -> int:
            pks = self._named(ids, expression, strict)
            named = [named_space(self._write.connection, name) for name in spaces]
            storage.delete_vectors(self._write, pks, named, self._overlay)
            return self._counted(pks)

        return self._operate(change)

    def _operate(self, change: Callable[[], T]) -> T:
        """What an operation returns. One that changes nothing has a number too."""
        before = self._write.head.seq
        try:
            result = change()
            if self._write.head.seq == before:
                storage.finish(self._write, NOWHERE, 0, 0)
        except CalledBackError as passing:
            self._failed = passing
            raise passing.error from passing.error.__cause__
        except Exception as error:
            self._failed = error
            raise
        return result

    # What a transaction of one operation does.

    def put_points(self, batch: PointBatch, rules: WriteRules) -> PutResult:
        """Insert and update points as the rules say."""
        if rules.on_existing == "replace" or rules.where is not None:
            self._overlay.note_committed()
        self.written += len(batch.ids)
        return storage.put(self._write, batch, rules, self._overlay)

    def delete_points(
        self, ids: Sequence[PointId] | None, expression: Expression | None, limit: int | None
    ) -> int:
        """Delete the first `limit` points that are named and match; returns how many."""
        self._overlay.note_committed()
        pks = self._overlay.chosen(ids, expression, limit)
        storage.delete(self._write, pks)
        return self._counted(pks)

    def _counted(self, pks: Ints) -> int:
        self.written += len(pks)
        return len(pks)

    def _named(
        self, ids: Sequence[PointId] | None, expression: Expression | None, strict: bool
    ) -> Ints:
        """The pks of the points that are named and match, each once, ascending."""
        if strict and ids is not None:
            known = pks_of_ids(self._write.connection, ids)
            absent = [point_id for point_id in ids if point_id not in known]
            if absent:
                raise NotFoundError(f"ids that aren't there: {listed(absent)}; nothing was written")
        return distinct(self._overlay.chosen(ids, expression, None))
