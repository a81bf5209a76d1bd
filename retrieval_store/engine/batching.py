"""Queries that wait are answered together.

Of one process' threads the interpreter runs one at a time, and each hand-over costs. So while the
queries of some threads are answered, those of others wait in line, and who comes to answer next
answers all that wait with its own: one transaction and one pass for all of them. Nobody waits
longer than that takes, 50 ms at most, and nobody at all where no other thread asks.

The state is read once all of them have asked, so that each sees what was written before it asked.
A query that fails makes the others of its batch be answered alone, each by its own thread.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from retrieval_store.base import budget, tracing
from retrieval_store.base.locks import Lock
from retrieval_store.base.system import usable_cores
from retrieval_store.query.query import NearestDense, Query
from retrieval_store.query.types import Hits

MOST = 16  # queries in one batch
LONGEST_WAIT = 0.05  # seconds
SEATS = max(2, usable_cores() // 4)  # threads that answer at a time
Answer = Callable[[Query], list[Hits]]


def may_join(question: Query) -> bool:
    """Whether a query may be answered together with others: one vector in one space, that is
    neither measured, grouped nor fused, and may wait."""
    if len(question.steps) != 1 or question.groups is not None or question.measured is not None:
        return False
    (step,) = question.steps
    near = step.scoring
    if step.prefetch or not isinstance(near, NearestDense) or len(near.vectors) != 1:
        return False
    return budget.may_wait() and not tracing.is_recording()


class _Waiting:
    """A query in line. called: released to wake its thread; hits: what another thread has found for
    it, None where it couldn't; is_done: whether another thread has had it in its batch."""

    __slots__ = ("called", "hits", "is_done", "question")

    def __init__(self, question: Query) -> None:
        self.question = question
        self.called = threading.Lock()
        self.called.acquire()
        self.hits: list[Hits] | None = None
        self.is_done = False

    def call(self) -> None:
        """Wake its thread."""
        with suppress(RuntimeError):  # it has been called already
            self.called.release()


class QueryBatcher:
    """The line of one collection."""

    def __init__(self) -> None:
        self._line: deque[_Waiting] = deque()
        self._seats = [Lock() for _ in range(SEATS)]

    def ask(self, question: Query, answer: Answer) -> list[Hits]:
        """The hits of a query that may be answered together with others. answer: answers a query of
        one or more steps."""
        seat = self._free_seat()
        if seat is None:
            waiting = _Waiting(question)
            self._line.append(waiting)
            seat = self._wait(waiting)
            if waiting.hits is not None:
                return waiting.hits
            if seat is None:
                return answer(question)
        try:
            others = self._take_others(question) if self._line else ()
            return _answer_all(question, others, answer) if others else answer(question)
        finally:
            self._give_back(seat)

    def _free_seat(self) -> Lock | None:
        """A seat that this thread has from now on; None where all are taken."""
        return next((seat for seat in self._seats if seat.acquire(blocking=False)), None)

    def _give_back(self, seat: Lock) -> None:
        seat.release()
        with suppress(IndexError):
            self._line[0].call()

    def _wait(self, waiting: _Waiting) -> Lock | None:
        """Wait for an answer, or a seat, which is returned; for neither for too long."""
        ends = time.monotonic() + LONGEST_WAIT
        while True:
            # Looked for first: who had it may have left before this one was in line.
            seat = self._free_seat()
            if seat is not None:
                with suppress(ValueError):  # another thread has taken the query just now
                    self._line.remove(waiting)
                    return seat
                self._give_back(seat)
            left = ends - time.monotonic()
            if left <= 0 or not waiting.called.acquire(timeout=left):
                break
            if waiting.is_done:
                return None
        with suppress(ValueError):
            self._line.remove(waiting)
        # Queries take long, or a thread was interrupted before it gave its seat back.
        self._seats = [Lock() for _ in range(SEATS)]
        return None

    def _take_others(self, question: Query) -> Sequence[_Waiting]:
        """Those first in line that want the same fields."""
        others: list[_Waiting] = []
        while len(others) < MOST - 1:
            try:
                other = self._line.popleft()
            except IndexError:
                break
            if other.question.fields != question.fields:
                self._line.appendleft(other)
                break
            others.append(other)
        return others


def _answer_all(question: Query, others: Sequence[_Waiting], answer: Answer) -> list[Hits]:
    """The hits of a query, and for those that wait theirs; each query has one step of one vector,
    and so one answer."""
    try:
        steps = [other.question.steps[0] for other in others]
        own, *hits_of_others = answer(replace(question, steps=(*question.steps, *steps)))
        for other, hits in zip(others, hits_of_others, strict=True):
            other.hits = [hits]
        return [own]
    except Exception:
        return answer(question)
    finally:
        for other in others:
            other.is_done = True
            other.call()
