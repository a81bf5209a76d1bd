"""Threads, interrupts and forks: how this process holds locks and other resources.

**Interrupts.** Ctrl-C raises KeyboardInterrupt between any two steps of the main thread: between a
lock's acquire() and the `try` after it, at the first step of a context manager's __exit__, in the
middle of threading.Condition. Only one way to hold a lock is safe: `with lock:`, in the frame of a
function, on a lock of `base/locks.py`, which is acquired and released without such a gap. (The
frame of a generator-based context manager isn't safe: an interrupt suspends the generator, which
then holds its locks until the traceback is dropped.)

So every function here holds its locks by such a `with`, while it calls another function. Waiting
and working threads aren't counted: the locks themselves show whether there are any.

**Forks.** A child must not use SQLite's connections that it inherited, nor even close them. SQLite
also keeps a list of the locks that this process has on each file. A child that inherits this list
takes no locks of its own. So a fork waits until no thread is inside SQLite, and closes all
connections first; the child opens stores again by path. A store in memory can't be reopened by
path, so using it in the child is an error. A fork also waits while any thread is importing a module
of this package, because the child would inherit the import's lock.
"""

import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, Protocol, TypeAlias, TypeVar, TypeVarTuple

from retrieval_store.base.locks import Lock, ReentrantLock
from retrieval_store.base.platform import at_fork, open_lock_file, try_lock, unlock
from retrieval_store.base.system import usable_cores

PACKAGE, LONGEST_IMPORT_MS = "retrieval_store", 10_000
LOOK_AGAIN = 0.05  # seconds; the thread looks again, in case a wake-up was lost
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def tries(milliseconds: int, pause: float = 0.02) -> Iterator[None]:
    """Yield at once, and then repeatedly after pauses of `pause` seconds, until `milliseconds` have
    passed. For locks that can only be polled."""
    yield  # most attempts succeed at once, and need no Event
    pausing, deadline = threading.Event(), time.monotonic() + milliseconds / 1000
    while time.monotonic() < deadline:
        pausing.wait(pause)
        yield


POLLED_EVERY = 0.001  # seconds between two attempts of a process that waits for its turn


def in_turn(path: Path, milliseconds: int, ask: Callable[[], T]) -> T:
    """Return the result of `ask`, which waits for another lock, such as SQLite's. Processes call
    `ask` in turn, so that only one at a time waits for that lock. A process that has just released
    the lock must queue here again, behind the waiting processes. The turn only keeps an order, and
    protects no data. So `ask` is called without a turn on file systems without file locks, and
    after the timeout, for example if the process that has the turn is suspended."""
    try:
        opened: BinaryIO | None = open_lock_file(path)
    except OSError:
        opened = None
    if opened is None:
        return ask()
    with opened as file:
        try:
            with suppress(OSError):
                any(try_lock(file) for _ in tries(milliseconds, POLLED_EVERY))
            return ask()
        finally:
            with suppress(OSError):
                unlock(file)


class SharedLock:
    """A readers-writer lock: many threads share it, or one thread holds it exclusively. A thread
    that waits to hold the lock exclusively goes before threads that come later to share it;
    otherwise it might never get the lock. When an exclusive thread releases the lock, the threads
    that already waited go first. A thread that already shares or holds the lock can share it once
    more, for example if a client is garbage-collected in that thread."""

    def __init__(self) -> None:
        # For each thread, the lock that it holds while it shares.
        self._inside: dict[int, ReentrantLock] = {}
        # … and the lock that it holds while it waits for its turn to share
        self._waiting: dict[int, ReentrantLock] = {}
        # A thread that holds the lock exclusively holds both locks: others test the first and wait
        # for the second. With a single lock, a waiting thread would hold it for a moment and look
        # like an exclusive thread.
        self.excluding, self.barrier = Lock(), Lock()
        self.excluder = 0  # the thread that holds both, 0 if none does

    def share(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Call `work` with these arguments while no thread holds the lock exclusively, and return
        its result."""
        inside = self._inside.get(threading.get_ident()) or _lock_of_thread(self._inside)
        if inside.is_mine():  # an exclusive thread already waits for this thread
            return work(*arguments)
        with inside:
            if not self.excluding.locked() or self.excluder == threading.get_ident():
                return work(*arguments)
        return self._share_in_turn(work, *arguments)

    def share_at_once(self, work: Callable[[], T], on_timeout: Callable[[], T]) -> T:
        """Like `share`, but without waiting. If another thread holds the lock exclusively, or waits
        to do so, the result of `on_timeout` is returned."""
        inside = _lock_of_thread(self._inside)
        if inside.is_mine():
            return work()
        with inside:
            if not self.excluding.locked() or self.excluder == threading.get_ident():
                return work()
        return on_timeout()

    def _share_in_turn(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        inside = _lock_of_thread(self._inside)
        with _lock_of_thread(self._waiting):
            while True:
                with self.barrier:
                    pass
                with inside:
                    if not self.excluding.locked():
                        return work(*arguments)

    def alone(self, work: Callable[[], T]) -> T:
        """Call `work` while no other thread holds the lock, and return its result."""
        for waiting in list(self._waiting.values()):
            with waiting:
                pass
        with self.barrier, self.excluding:
            self.wait_for_others()
            return work()

    def wait_for_others(self) -> None:
        """Wait until no other thread shares the lock. The caller must hold `excluding`, which keeps
        other threads out."""
        self.excluder = threading.get_ident()
        for inside in list(self._inside.values()):
            with inside:
                pass

    def is_mine(self) -> bool:
        """Whether this thread shares the lock."""
        return _lock_of_thread(self._inside).is_mine()

    def forget_others(self) -> None:
        """Drop the locks of other threads; called in a forked child, which has only one thread."""
        self._inside, self._waiting = {}, {}


def _lock_of_thread(locks: dict[int, ReentrantLock]) -> ReentrantLock:
    """The lock of the calling thread. A new thread may have the ident of a thread that has ended;
    then it gets that thread's lock, which is free."""
    me = threading.get_ident()
    return locks.get(me) or locks.setdefault(me, ReentrantLock())


class QueueEntry:
    """The entry of a waiting thread in the queue.

    batched: the thread's work, if the thread that holds the FifoLock is allowed to do it instead;
    otherwise None. lock: held while the entry's thread waits or works. called: a lock that is
    released to wake that thread.
    """

    __slots__ = ("_counts", "_offered", "batched", "called", "lock", "result")

    def __init__(self, batched: Callable[[Any], Any] | None = None) -> None:
        self.batched = batched
        self.lock, self.called = Lock(), threading.Lock()
        self.called.acquire()
        self.result: Any = None
        self._counts: Sequence[object] = ()
        self._offered = [batched]

    def takes(self) -> bool:
        """Whether this is the first call of the method. Only the first caller goes on: either the
        thread that holds the lock, which then does the entry's work, or the entry's own thread,
        which then stops waiting."""
        with suppress(IndexError):
            self._offered.pop()
            return True
        return False

    def settle(self, result: object, counts: Sequence[object]) -> None:
        """Record a result, which becomes valid as soon as the sequence `counts` has an item."""
        self.result, self._counts = result, counts

    @property
    def is_settled(self) -> bool:
        """Whether another thread has done this entry's work, and the result is valid."""
        return bool(self._counts)

    def call(self) -> None:
        """Wake the thread of this entry."""
        with suppress(RuntimeError):  # the thread was already woken
            self.called.release()


class FifoLock:
    """A lock that one thread at a time holds. Waiting threads get it in the order in which they
    came."""

    def __init__(self) -> None:
        self._line: deque[QueueEntry] = deque()

    @property
    def taken(self) -> bool:
        """Whether any thread holds the lock or waits for it."""
        return any(entry.lock.locked() for entry in tuple(self._line))

    @property
    def is_waited_for(self) -> bool:
        """Whether other threads wait. Only the thread that holds the lock is allowed to call
        this."""
        return len(self._line) > 1

    def take(self, work: Callable[[], T]) -> T:
        """Call `work` when it is this thread's turn, and return its result."""
        return self.take_in_time(threading.TIMEOUT_MAX, work, work)

    def take_in_time(
        self,
        seconds: float,
        work: Callable[[], T],
        on_timeout: Callable[[], T],
        batched: Callable[[Any], T] | None = None,
    ) -> T:
        """Like `take`, but returns the result of `on_timeout` if it isn't this thread's turn within
        `seconds`. batched: the work, if the thread that holds the lock is allowed to do it instead
        (see `waiting`); then its result is returned."""
        entry = QueueEntry(batched)
        try:
            with entry.lock:
                self._line.append(entry)
                if self._is_reached(entry, time.monotonic() + seconds):
                    return work()
                if entry.is_settled:
                    return entry.result  # type: ignore[no-any-return]
        finally:
            self._call_first()
        return on_timeout()

    def waiting(self) -> Iterator[QueueEntry]:
        """Yield the entries of the waiting threads in order, up to the first entry whose work only
        its own thread is allowed to do. Only the thread that holds the lock is allowed to call this
        method. Each entry is yielded once. If an entry isn't settled when its thread's turn comes,
        that thread does the work itself."""
        for entry in tuple(self._line)[1:]:
            if entry.lock.locked():
                if entry.batched is None:
                    return
                if entry.takes():
                    yield entry

    def _is_reached(self, entry: QueueEntry, deadline: float) -> bool:
        while self._first() is not entry:
            seconds_left = deadline - time.monotonic()
            if entry.is_settled or (seconds_left <= 0 and entry.takes()):
                return False
            entry.called.acquire(
                timeout=min(seconds_left, LOOK_AGAIN) if seconds_left > 0 else LOOK_AGAIN
            )
        return not entry.is_settled

    def _call_first(self) -> None:
        first = self._first()
        if first is not None:
            first.call()

    def _first(self) -> QueueEntry | None:
        """The first entry in the queue whose thread still waits or works; None if there is no such
        entry."""
        while True:
            try:
                first = self._line[0]
            except IndexError:
                return None
            if first.lock.locked():
                return first
            with suppress(ValueError):  # another thread was faster
                self._line.remove(first)


MOST_TOGETHER = 16  # queries that one thread answers together
LONGEST_WAIT = 0.05  # seconds that a thread waits
SEATS = max(2, usable_cores() // 2)  # threads that answer at the same time
Q = TypeVar("Q")
A = TypeVar("A")
AnswerAll: TypeAlias = Callable[[Sequence[Q]], Sequence[A]]


class _Waiting(Generic[Q, A]):
    """A query that waits in line. called: a lock that is released to wake the query's thread;
    answers: empty, or the single answer that another thread has found; is_done: whether another
    thread has tried to answer the query."""

    __slots__ = ("answers", "called", "is_done", "question")

    def __init__(self, question: Q) -> None:
        self.question = question
        self.called = threading.Lock()
        self.called.acquire()
        self.answers: Sequence[A] = ()
        self.is_done = False

    def call(self) -> None:
        """Wake the thread that waits for an answer."""
        with suppress(RuntimeError):  # the thread was already woken
            self.called.release()


class QuestionLine(Generic[Q, A]):
    """Batches the queries of threads, so that one thread answers the queries of several threads.

    The interpreter runs one thread at a time, and each switch costs time. So only SEATS threads
    answer at a time, and the others wait in line. The next thread that gets a seat answers all
    waiting queries together with its own. A thread waits only while all seats are taken, and 50 ms
    at most; then it answers its query itself. Queries answered together read the state only after
    the last of them was submitted. If answering together fails, each thread answers its own query.
    If an interrupted thread didn't release its seat, all seats are replaced after those 50 ms.
    are_alike: returns whether two queries can be answered together.
    """

    def __init__(self, are_alike: Callable[[Q, Q], bool]) -> None:
        self._have_same_fields = are_alike
        self._line: deque[_Waiting[Q, A]] = deque()
        self._seats = [Lock() for _ in range(SEATS)]

    def ask(self, question: Q, answer_all: AnswerAll[Q, A]) -> A:
        """The answer to a query. answer_all: returns the answers to a list of queries."""
        seat = self._free_seat()
        if seat is None:
            waiting = _Waiting[Q, A](question)
            self._line.append(waiting)
            seat = self._wait(waiting)
            if seat is None:
                return (waiting.answers or answer_all([question]))[0]
        try:
            if self._line:
                return _answer_group(question, self._take_others(question), answer_all)
            return answer_all([question])[0]
        finally:
            seat.release()
            if self._line:
                self._call_first()

    def _free_seat(self) -> Lock | None:
        """Take a free seat for this thread and return it; None if all seats are taken."""
        for seat in self._seats:
            if seat.acquire(blocking=False):
                return seat
        return None

    def _call_first(self) -> None:
        with suppress(IndexError):
            self._line[0].call()

    def _wait(self, waiting: _Waiting[Q, A]) -> Lock | None:
        """Wait for a seat and return it. Returns None if another thread has answered the query, or
        if the time is over."""
        ends = time.monotonic() + LONGEST_WAIT
        while True:
            # Tested first, because the thread that had the seat may have left before this thread
            # was in line.
            seat = self._free_seat()
            if seat is not None:
                with suppress(ValueError):  # another thread has taken the query just now
                    self._line.remove(waiting)
                    return seat
                seat.release()
                self._call_first()
            left = ends - time.monotonic()
            if left <= 0 or not waiting.called.acquire(timeout=left):
                break
            if waiting.is_done:
                return None
        with suppress(ValueError):
            self._line.remove(waiting)
        # Answers take long, or an interrupted thread didn't return its seat.
        self._seats = [Lock() for _ in range(SEATS)]
        return None

    def _take_others(self, question: Q) -> Sequence[_Waiting[Q, A]]:
        """Remove the first queries in line that can be answered together with this query, and
        return them."""
        others: list[_Waiting[Q, A]] = []
        while len(others) < MOST_TOGETHER - 1:
            try:
                other = self._line.popleft()
            except IndexError:
                break
            if not self._have_same_fields(other.question, question):
                self._line.appendleft(other)
                break
            others.append(other)
        return others


def _answer_group(question: Q, others: Sequence[_Waiting[Q, A]], answer_all: AnswerAll[Q, A]) -> A:
    """Answer a query and the waiting queries of other threads together. Returns the answer to
    `question`, and stores the other answers in `others`."""
    try:
        own, *answers = answer_all([question, *(other.question for other in others)])
        for other, answer in zip(others, answers, strict=True):
            other.answers = [answer]
        return own
    except Exception:
        if not others:
            raise
        return answer_all([question])[0]
    finally:
        for other in others:
            other.is_done = True
            other.call()


class _PutOff(threading.local):
    """For each thread, the calls that it has deferred. calls: None if the thread doesn't defer
    calls."""

    calls: list[Callable[[], None]] | None = None


_put_off = _PutOff()


def collect_deferred() -> list[Callable[[], None]]:
    """From now on, collect this thread's calls of `defer` in a list, and return that list. The
    thread must make the collected calls later."""
    calls: list[Callable[[], None]] = []
    _put_off.calls = calls
    return calls


def defer(call: Callable[[], None]) -> None:
    """Call `call` at once. If this thread collects deferred calls, `call` is only added to them,
    because the thread may hold locks that `call` needs."""
    if _put_off.calls is None:
        call()
    else:
        _put_off.calls.append(call)


class ForkAware(Protocol):
    """Holds a resource that a forked child must not inherit."""

    def forget_after_fork(self) -> None:
        """Called in the child, which has one thread. Drops locks that threads of the parent may
        hold."""


class ClosesBeforeFork(Protocol):
    """An object that can close its idle resources before a fork."""

    def close_before_fork(self) -> None:
        """Close the idle resources."""


_aware: "weakref.WeakSet[Any]" = weakref.WeakSet()
_closing: "weakref.WeakSet[Any]" = weakref.WeakSet()
_gate = SharedLock()


def reset_after_fork(holder: ForkAware) -> None:
    """Register an object whose `forget_after_fork` is called in the child after each fork."""
    _aware.add(holder)


def closes_before_fork(holder: ClosesBeforeFork) -> None:
    """Register an object whose `close_before_fork` is called before each fork."""
    _closing.add(holder)


# unforkable(work, *arguments) calls `work`, which is inside SQLite or changes an index, and returns
# its result. Forks of other threads wait for it.
unforkable = _gate.share


def is_unforkable() -> bool:
    """Whether this thread is inside `unforkable`, so that a fork has to wait for it."""
    return _gate.is_mine()


def _before_fork() -> None:
    interrupt = None
    while True:
        try:
            _gate.wait_for_others()
            break
        # Python continues with the fork after an error, so this function must continue too
        except BaseException as error:
            interrupt = error
    for holder in list(_closing):
        with suppress(Exception):
            holder.close_before_fork()
    _wait_for_imports()
    if interrupt is not None:
        raise interrupt


def _wait_for_imports() -> None:
    """Wait until no other thread is importing a module of ours. Otherwise a forked child would
    inherit the module's lock, and none of its threads would ever release it."""
    # Importlib keeps a lock for each module while any thread imports it; the locks are private. If
    # a Python version keeps them elsewhere, a fork doesn't wait, and a child may hang in an import
    # that its parent was in: test_fork.py checks each version.
    locks = getattr(sys.modules["_frozen_importlib"], "_module_locks", {})
    for _ in tries(LONGEST_IMPORT_MS):
        package_locks = [lock() for name, lock in [*locks.items()] if name.startswith(PACKAGE)]
        owners = {getattr(lock, "owner", None) for lock in package_locks}
        if owners <= {None, threading.get_ident()}:
            return


def _in_child() -> None:
    _gate.forget_others()
    for holder in list(_aware):
        holder.forget_after_fork()


# Python calls `before` functions in the reverse order, the others in this order. The locks' own
# methods are registered, because no interrupt can come before their first step. _before is
# registered twice, because an interrupt can come before its first step.
at_fork(before=_before_fork, after_in_child=_in_child)
at_fork(before=_before_fork)
for _lock in (_gate.excluding, _gate.barrier):
    at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
