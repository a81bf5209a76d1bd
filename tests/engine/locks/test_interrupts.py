"""Ctrl-C at any moment: nothing stays locked or half written, and other threads aren't affected."""

import _imp
import faulthandler
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

import retrieval_store
from retrieval_store.engine import locks, sqlite
from retrieval_store.engine.locks import FifoLock, SharedLock
from tests.helpers import PATIENCE, ROOT, inside, steps
from tests.helpers.clocks import set_clock
from tests.helpers.indexed import until
from tests.helpers.small_stores import endless, fill, points_file
from tests.helpers.tuned import eager_indexes

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
BATCH = 3
EVERY = 20  # moment is interrupted


class Interrupt(KeyboardInterrupt):
    """An interrupt sent by the test."""


def interrupted(call, at):
    """Call it, and raise Interrupt at the `at`-th moment at which Python could run a signal
    handler: when a Python function begins, or a C function has ended. Returns whether there were
    that many moments, and the raised error."""
    left = at

    def moment(frame, event, argument):
        nonlocal left
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                raise Interrupt

    # Not a `with` and no function: what comes after it isn't the call's.
    sys.setprofile(moment)
    try:
        call()
    except Interrupt as error:
        return True, error
    finally:
        sys.setprofile(None)
    return left <= 0, None


def at_every_moment(call, check, stride=1, first=1):
    """Interrupt `call` at its first moment, at its second, and so on, until it completes. `check`
    is called in between. All tracebacks are kept, as in a notebook, so that no frame is released
    early."""
    kept = []
    for at in count(first, stride):
        was, error = interrupted(call, at)
        kept.append(error)
        check()
        if not was:
            return at
    return None


@pytest.fixture(autouse=True)
def nobody_interrupts_pytest(monkeypatch):
    """Ignores errors in finalizers, and pytest's own hook for them, which could itself be
    interrupted. Objects of interrupted constructors are collected here and not in a later test."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    yield
    gc.collect()


@pytest.fixture
def elsewhere():
    """Runs a function in another thread; fails if it hangs."""
    pool = ThreadPoolExecutor(1)

    def run(function, *arguments):
        return pool.submit(function, *arguments).result(PATIENCE)

    yield run
    pool.shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def store(request, tmp_path):
    """On disk, unless the test says otherwise."""
    with retrieval_store.Client(None if getattr(request, "param", "") else tmp_path) as client:
        yield client


def numbered(client, monkeypatch=None):
    things = client.create_collection("things", embedding_function=None)
    things.add(
        ids=[f"old {i}" for i in range(40)],
        embeddings=np.eye(40, 8),
        metadatas=[{"batch": -1}] * 40,
        documents=[f"text {i}" for i in range(40)],
    )
    return things


class Batches:
    """Batches of points that are written, and read in another thread."""

    def __init__(self, things):
        self.things, self.numbers = things, count()

    def write(self):
        number = next(self.numbers)
        self.things.upsert(
            ids=[f"{number % 4}.{i}" for i in range(BATCH)],
            embeddings=np.full((BATCH, 8), number),
            metadatas=[{"batch": number}] * BATCH,
            documents=[f"batch {number}"] * BATCH,
        )

    def check(self):
        """The content is whole, and can be written, searched and deleted."""
        got = self.things.get(where={"batch": {"$gte": 0}}, include=["metadatas", "embeddings"])
        held = {}
        for metadata, embedding in zip(got["metadatas"], got["embeddings"], strict=True):
            assert (embedding == metadata["batch"]).all()
            held[metadata["batch"]] = held.get(metadata["batch"], 0) + 1
        assert set(held.values()) <= {BATCH}, held
        self.write()
        assert len(self.things.query(query_embeddings=[1] * 8, n_results=3)["ids"][0]) == 3


MOMENTS = {
    "write": (lambda things, batches: batches.write(), 1),
    "query": (lambda things, batches: things.query(query_embeddings=np.ones((2, 8))), 1),
    "filtered query": (
        lambda things, batches: things.query(
            query_embeddings=[1] * 8, where={"batch": {"$lt": next(batches.numbers)}}
        ),
        1,
    ),
    "words": (lambda things, batches: things.query(query_texts="text", mode="text"), 3),
    "get": (lambda things, batches: things.get(ids=["old 1", "old 2"]), 1),
    "delete": (lambda things, batches: things.delete(where={"batch": 0}), 1),
    "optimize": (lambda things, batches: things.optimize(), 5),
}


@pytest.mark.parametrize(
    ("store", "name"),
    [*(("", name) for name in MOMENTS), ("memory", "write"), ("memory", "optimize")],
    indirect=["store"],
)
def test_an_interrupt_at_any_moment_leaves_nothing_locked_or_half_done(store, elsewhere, name):
    call, stride = MOMENTS[name]
    place = 2 * [*MOMENTS].index(name) + (store.path is not None)
    things = numbered(store)
    batches = Batches(things)
    moments = at_every_moment(
        lambda: call(things, batches),
        lambda: elsewhere(batches.check),
        EVERY * stride,
        first=1 + 3 * place % EVERY * stride,
    )
    assert moments > 8
    things.optimize()
    assert all(report.problem is None for report in store.verify())


def test_an_interrupt_of_a_write_with_those_of_other_threads_costs_these_nothing(
    tmp_path, monkeypatch
):
    """Each of them is written once, whether or not it was committed with the interrupted one."""
    with retrieval_store.Client(tmp_path) as client:
        things = numbered(client)
        access, numbers = inside.access(things), count()
        pool, others = ThreadPoolExecutor(2), []

        def add(number):
            things.add(ids=f"new {number}", embeddings=np.full(8, number))
            return f"new {number}", number

        def others_come():
            if threading.current_thread() is threading.main_thread() and not others:
                profile = sys.getprofile()
                sys.setprofile(None)
                others.extend(pool.submit(add, next(numbers)) for _ in range(2))
                until(lambda: inside.in_line(access) > 2, "nobody waits")
                sys.setprofile(profile)

        def write():  # what replaces looks at the state before, so others may join
            things.upsert(ids="old 1", embeddings=np.ones(8), replace=True)

        def check():
            for other in others:
                point_id, number = other.result(PATIENCE)
                got = things.get(ids=point_id, include=["embeddings"])
                assert got["embeddings"].tolist() == [[number] * 8]
            others.clear()

        steps.before(monkeypatch, "finish_write", others_come)
        assert at_every_moment(write, check, EVERY, 1) > 40
        pool.shutdown()
        assert all(report.problem is None for report in client.verify())


@pytest.mark.parametrize("name", ["query", "optimize"])
def test_an_interrupt_at_any_moment_leaves_an_index_usable(tmp_path, monkeypatch, elsewhere, name):
    eager_indexes(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        things = numbered(client)
        things.optimize()
        batches = Batches(things)
        call, stride = MOMENTS[name]
        at_every_moment(
            lambda: call(things, batches),
            lambda: elsewhere(batches.check),
            EVERY * stride,
            1,
        )
        things.optimize()
        batches.check()


def test_an_interrupt_at_any_moment_of_creating_and_deleting_leaves_no_rubbish(tmp_path, elsewhere):
    def create_and_delete(client=None):
        with retrieval_store.Client(tmp_path) as client:
            client.get_or_create_collection("fleeting", embedding_function=None)
            client.delete_collection("fleeting")

    at_every_moment(create_and_delete, lambda: elsewhere(create_and_delete), 44, 1)
    create_and_delete()
    left = {path.name for path in tmp_path.iterdir()} - {"catalog.sqlite"}
    assert not {name for name in left if not name.startswith("catalog.sqlite")}


def test_an_interrupt_at_any_moment_of_creating_leaves_no_name_without_a_collection(
    store, elsewhere
):
    def check():
        for collection in store.list_collections():
            assert collection.count() == 0
            store.delete_collection(collection.name)

    at_every_moment(
        lambda: store.create_collection("things", embedding_function=None),
        lambda: elsewhere(check),
        12,
        1,
    )


def test_an_interrupted_waiting_thread_waits_no_more(elsewhere):
    sharing, turns = SharedLock(), FifoLock()
    waits = {
        "alone": (sharing.share, sharing.alone),
        "share": (sharing.alone, sharing.share),
        "turn": (turns.take, turns.take),
    }
    for held, wanted in waits.values():
        release, started = threading.Event(), threading.Event()

        def hold(release=release, started=started):
            started.set()
            assert release.wait(PATIENCE)

        holder = threading.Thread(target=held, args=[hold])
        holder.start()
        assert started.wait(PATIENCE)
        with pytest.raises(Interrupt), alarm(lambda frame: frame.f_globals is vars(locks)):
            wanted(lambda: None)
        release.set()
        holder.join(PATIENCE)
        for method in (sharing.share, sharing.alone, turns.take):
            assert elsewhere(method, lambda: "done") == "done"


def test_waiters_run_in_order_and_give_up_at_the_timeout():
    turns, order, started = FifoLock(), [], []

    def work(i):
        order.append(i)
        time.sleep(0.01)

    def first():
        for i in range(8):
            started.append(threading.Thread(target=turns.take, args=[lambda i=i: work(i)]))
            started[-1].start()
            until(lambda i=i: len(turns._line) == i + 2, "nobody waits")
        assert turns.taken
        assert turns.take_in_time(0, lambda: "mine", lambda: "not mine") == "not mine"

    turns.take(first)
    for thread in started:
        thread.join(PATIENCE)
    assert order == list(range(8))
    assert not turns.taken


def test_a_thread_that_waits_too_long_for_a_running_batch_gets_its_result(monkeypatch):
    turns, now, looked, results = FifoLock(), [0.0], [], []
    set_clock(monkeypatch, "turns", SimpleNamespace(monotonic=lambda: now[0]))

    class Counts(list):
        def __len__(self):
            looked.append(now[0])
            return super().__len__()

    def wait():
        results.append(turns.take_in_time(1, lambda: "mine", lambda: "too late", lambda _: None))

    def first():
        waiter.start()
        until(lambda: len(turns._line) == 2, "nobody waits")
        (place,) = turns.waiting()
        counts = Counts()
        place.settle("done", counts)
        now[0] = 3.0
        until(lambda: 3.0 in looked, "it doesn't wait for the result")
        counts.append(1)

    waiter = threading.Thread(target=wait)
    turns.take(first)
    waiter.join(PATIENCE)
    assert results == ["done"]


def test_a_shared_lock_is_acquired_at_once(elsewhere):
    sharing, release, started = SharedLock(), threading.Event(), threading.Event()

    def share_at_once():
        return elsewhere(sharing.share_at_once, lambda: "shared", lambda: "not now")

    def hold():
        started.set()
        assert release.wait(PATIENCE)

    assert share_at_once() == "shared"
    holder = threading.Thread(target=sharing.alone, args=[hold])
    waiter = threading.Thread(target=sharing.alone, args=[lambda: None])

    def begin_to_wait():
        waiter.start()
        until(sharing.excluding.locked, "nobody wants to exclude")
        return sharing.share_at_once(lambda: "shared already", lambda: "not now"), share_at_once()

    assert sharing.share(begin_to_wait) == ("shared already", "not now")
    waiter.join(PATIENCE)
    holder.start()
    assert started.wait(PATIENCE)
    assert share_at_once() == "not now"
    release.set()
    holder.join(PATIENCE)
    assert share_at_once() == "shared"


def test_sharing_excludes_and_lets_both_sides_in():
    sharing, inside, wrong, done = SharedLock(), [], [], []

    def share():
        for _ in range(2_000):
            sharing.share(lambda: (inside.append(1), sharing.share(lambda: None), inside.pop()))
        done.append("shared")

    def alone():
        for _ in range(200):
            sharing.alone(lambda: wrong.extend(inside))
        done.append("alone")

    threads = [threading.Thread(target=target) for target in (share, share, alone, alone)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(done) == ["alone", "alone", "shared", "shared"]
    assert not wrong


@contextmanager
def alarm(is_meant):
    """A real signal that raises Interrupt once, when a chosen frame runs or waits. Returns a list
    that then contains the frame."""
    struck = []

    def interrupt(_, frame):
        while frame is not None and not struck:
            if is_meant(frame):
                struck.append(frame)
                raise Interrupt
            frame = frame.f_back

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.01)
    try:
        yield struck
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def storm(folder, wanted, seed):
    """Real signals at random moments of random calls, with forks, until this many have interrupted
    something. A second thread uses the store all the time, and reports errors."""
    eager_indexes()
    random_ = random.Random(seed)
    client = retrieval_store.Client(folder)
    things = numbered(client)
    batches, kept, interrupts, last = Batches(things), [], 0, [time.monotonic()]

    def beside():
        while True:
            batches.check()
            last[0] = time.monotonic()

    threading.Thread(target=beside, daemon=True).start()
    calls = [call for call, _ in MOMENTS.values()]

    def forked(things, batches):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    calls.append(forked)
    signal.signal(signal.SIGALRM, raise_interrupt)
    while interrupts < wanted:
        call = random_.choice(calls)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)  # says where it hangs
        try:
            signal.setitimer(signal.ITIMER_REAL, random_.choice([1e-5, 1e-4, 1e-3, 1e-2]))
            call(things, batches)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt as error:
            interrupts += 1
            kept[:] = [*kept[-20:], error]
        unlock_logging()
        unlock_imports()
        assert time.monotonic() - last[0] < PATIENCE, "the other thread hangs"
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    batches.check()
    print("checked", flush=True)
    sys.stdin.readline()  # another process uses the store meanwhile
    os._exit(0)


def unlock_imports():
    """importlib also releases the global import lock in Python code."""
    with suppress(RuntimeError):  # another thread has it, or none
        while True:
            _imp.release_lock()


def unlock_logging():
    """Python's logging takes and releases its lock in two steps, also around each fork. An
    interrupt between them leaves it locked, and other threads would hang when they log next."""
    while logging._lock._is_owned():
        logging._lock.release()


def raise_interrupt(*_):
    raise Interrupt


@pytest.mark.kills
def test_a_storm_of_signals_leaves_the_store_usable_by_other_threads_and_processes(tmp_path):
    command = [sys.executable, "-m", __name__, str(tmp_path / "store"), "300"]
    file = (tmp_path / "said").open("w+")  # Python tells of interrupts in places that ignore them
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=file,
        text=True,
    )
    try:
        assert process.stdout.readline() == "checked\n", (tmp_path / "said").read_text()[-5_000:]
        with retrieval_store.Client(tmp_path / "store") as client:
            things = client.get_collection("things", embedding_function=None)
            Batches(things).check()
            things.optimize()
            assert all(report.problem is None for report in client.verify())
    finally:
        process.kill()
        process.communicate()
        file.close()


@pytest.mark.kills
def test_an_interrupt_ends_a_statement_of_sqlite(tmp_path):
    fill(tmp_path, 8)
    endless(points_file(tmp_path))
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        # In what SQLite calls now and then: while it is at work, and long before it would give up.
        at_work = sqlite.StepLimiter.__call__.__code__
        with pytest.raises(Interrupt), alarm(lambda frame: frame.f_code is at_work) as struck:
            things.get(where_document={"$contains": "never there"})
        taken = struck[0].f_locals["self"].taken + sqlite.STEPS_AT_ONCE
        assert taken < sqlite.MAX_STEPS / 10
        assert things.count() == 7


if __name__ == "__main__":
    storm(sys.argv[1], int(sys.argv[2]), int((sys.argv[3:] or ["0"])[0]))
