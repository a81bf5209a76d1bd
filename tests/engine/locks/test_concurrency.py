"""Readers beside writers, in threads and in other processes."""

import gc
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import apsw
import numpy as np
import pytest
from qdrant_client.http.exceptions import UnexpectedResponse

import retrieval_store
from retrieval_store.base.platform import open_lock_file, try_lock
from retrieval_store.errors import (
    DimensionMismatchError,
    IDAlreadyExistsError,
    LockTimeoutError,
    NotFoundError,
    RetrievalStoreError,
    StorageFullError,
)
from retrieval_store.qdrant import QdrantClient, models
from tests.helpers import PATIENCE, ROOT, inside, steps
from tests.helpers.processes import (
    DIMENSION,
    POINTS,
    check_versions,
    create_or_get,
    first_version,
    rewrite_all,
    running,
)
from tests.helpers.tuned import eager_indexes, tuned


@pytest.fixture
def impatient(monkeypatch):
    """All waits for locks are short."""
    tuned(monkeypatch, every_lock_timeout_ms=300)


def test_a_reader_never_sees_a_part_of_another_process_write(tmp_path):
    collection = first_version(tmp_path)
    with running(rewrite_all, tmp_path, POINTS) as writer:
        assert writer.stdout.readline() == "1\n"
        assert check_versions(collection, POINTS, 200, least=11) == 0
        assert writer.poll() is None


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_reading_threads_never_see_a_part_of_a_write(tmp_path, kind):
    collection = first_version(tmp_path if kind == "disk" else None)
    stop, results = threading.Event(), []

    def write():
        version = 0
        while not stop.is_set():
            version += 1
            collection.upsert(
                ids=[str(i) for i in range(POINTS)],
                embeddings=np.full((POINTS, DIMENSION), version),
                documents=[f"version {version}"] * POINTS,
                metadatas=[{"version": version}] * POINTS,
            )

    writer = threading.Thread(target=write)
    readers = [
        threading.Thread(target=lambda: results.append(check_versions(collection, POINTS, 80, 4)))
        for _ in range(3)
    ]
    for thread in (writer, *readers):
        thread.start()
    for reader in readers:
        reader.join()
    stop.set()
    writer.join()
    assert results == [0, 0, 0]


def test_concurrent_writes_of_threads_are_committed_together_and_fail_separately(
    tmp_path, monkeypatch
):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["there", "old"], embeddings=[[0], [1]])
        calls = {
            "new": lambda: things.add(ids="new", embeddings=[2], documents="text"),
            "twice": lambda: things.add(ids=["half", "there"], embeddings=[[3], [3]]),
            "other": lambda: things.upsert(ids="there", embeddings=[4], metadatas={"n": 1}),
            "wrong": lambda: things.add(ids="wrong", embeddings=[5, 5]),
            "gone": lambda: things.delete(ids=["old", "new"]),
            "again": lambda: things.add(ids="new", embeddings=[6]),
            "last": lambda: things.update(ids="new", metadatas={"n": 2}),
        }
        errors = {}

        def attempt(name):
            try:
                calls[name]()
            except RetrievalStoreError as error:
                errors[name] = type(error)

        transactions = steps.noted(monkeypatch, "write_transaction")
        inside.together(inside.access(things), [partial(attempt, name) for name in calls])
        assert errors == {"twice": IDAlreadyExistsError, "wrong": DimensionMismatchError}
        assert len(transactions) == 1 + len(errors)
        got = things.get(include=["embeddings", "metadatas", "documents"])
        assert got["ids"] == ["there", "new"]
        assert got["embeddings"].tolist() == [[4], [6]]
        assert got["metadatas"] == [{"n": 1}, {"n": 2}]
        assert got["documents"] == [None, None]
        assert things.query(query_embeddings=[6])["ids"] == [["new", "there"]]
        assert all(report.problem is None for report in client.verify())


@pytest.mark.parametrize("is_committed", [False, True])
def test_each_thread_of_a_failed_group_commit_commits_alone_unless_it_was_committed(
    tmp_path, monkeypatch, is_committed
):
    transactions, failed = [], []

    def fail_the_first(step, connection, format, work, turns, committed):
        def then_fail(connection):
            work(connection)
            raise StorageFullError("the first one fails")

        transactions.append(connection)
        is_first = len(transactions) == 1
        fails = is_first and not is_committed
        result = step(connection, format, then_fail if fails else work, turns, committed)
        if is_first:
            raise StorageFullError("the first one fails once it is committed")
        return result

    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="there", embeddings=[0])

        def attempt(name):
            try:
                things.add(ids=name, embeddings=[1])
            except StorageFullError:
                failed.append(name)

        with monkeypatch.context() as patch:
            steps.around(patch, "write_transaction", fail_the_first)
            inside.together(inside.access(things), [partial(attempt, name) for name in "abc"])
        assert things.get()["ids"] == ["there", "a", "b", "c"]
        assert failed == (["a"] if is_committed else [])
        assert len(transactions) == (1 if is_committed else 4)


def test_concurrent_writes_by_qdrants_client_are_committed_together_too(tmp_path, monkeypatch):
    with QdrantClient(path=tmp_path) as qdrant, retrieval_store.Client(tmp_path) as client:
        qdrant.create_collection("things", models.VectorParams(size=1, distance="Dot"))
        old = [models.PointStruct(id=i, vector=[i], payload={"old": i}) for i in (1, 2, 3)]
        qdrant.upsert("things", old)
        half = [
            models.UpsertOperation(
                upsert=models.PointsList(points=[models.PointStruct(id=8, vector=[8])])
            ),
            models.SetPayloadOperation(set_payload=models.SetPayload(payload={"n": 3}, points=[9])),
        ]
        few = models.Filter(must=[models.HasIdCondition(has_id=[7])])
        calls = {
            "new": lambda: qdrant.upsert("things", [models.PointStruct(id=7, vector=[7])]),
            "keys": lambda: qdrant.set_payload("things", {"n": 1}, [1, 7]),
            "none": lambda: qdrant.delete_vectors("things", [""], [9]),
            "half": lambda: qdrant.batch_update_points("things", half),
            "gone": lambda: qdrant.delete("things", [2, 7]),
            "nothing": lambda: qdrant.delete("things", [99]),
            "by filter": lambda: qdrant.set_payload("things", {"n": 2}, few),  # by itself
            "last": lambda: qdrant.update_vectors(
                "things", [models.PointVectors(id=3, vector=[6])]
            ),
        }
        results, errors = {}, {}

        def attempt(name):
            try:
                results[name] = calls[name]()
            except UnexpectedResponse as error:
                errors[name] = error.status_code

        transactions = steps.noted(monkeypatch, "write_transaction")
        access = inside.access(client.get_collection("things", embedding_function=None))
        inside.together(access, [partial(attempt, name) for name in calls])
        assert errors == {"none": 404, "half": 404}
        # Those before the one with a filter, it, the last, and again what failed among others.
        assert len(transactions) == 5
        numbers = sorted(result.operation_id for result in results.values())
        assert numbers == [*range(numbers[0], numbers[0] + 6)]  # none for what failed
        points, _ = qdrant.scroll("things", with_vectors=True)
        assert [(p.id, p.payload, p.vector) for p in points] == [
            (1, {"old": 1, "n": 1}, [1]),
            (3, {"old": 3}, [6]),
        ]
        assert qdrant.query_points("things", [1.0]).points[0].id == 3


def test_a_write_of_another_process_is_seen_by_the_next_read(tmp_path):
    collection = first_version(tmp_path)
    with running(rewrite_all, tmp_path, POINTS) as writer:
        for _ in range(15):
            acknowledged = int(writer.stdout.readline())
            version = collection.get("0")["metadatas"][0]["version"]
            assert version >= acknowledged
            newest = collection.query(query_embeddings=[version] * DIMENSION, n_results=1)
            assert newest["metadatas"][0][0]["version"] >= version


def test_a_busy_writer_lets_other_processes_write(tmp_path):
    collection = first_version(tmp_path)

    def writes_of_the_other():
        return collection.get("0")["metadatas"][0]["version"]

    with running(rewrite_all, tmp_path, POINTS) as writer:
        assert writer.stdout.readline() == "1\n"
        meanwhile = []
        for number in range(21):
            before = writes_of_the_other()
            collection.add(ids=f"ours {number}", embeddings=np.zeros(DIMENSION))
            meanwhile.append(writes_of_the_other() - before)
        assert writer.poll() is None
    # One that was under way, one for which the other had asked before, one after ours.
    assert sorted(meanwhile)[len(meanwhile) // 2] <= 3, meanwhile


def test_a_process_stopped_in_its_turn_does_not_block_writers(tmp_path, impatient):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[1])
        (name,) = tmp_path.glob("*/writing.lock")
        with open_lock_file(name) as file:
            assert try_lock(file)
            things.add(ids="b", embeddings=[1])
        assert things.count() == 2


def test_a_collection_deleted_by_another_process_is_not_found_and_takes_no_writes(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        collection = client.create_collection("things", embedding_function=None)
        collection.add(ids="a", embeddings=[1])
        code = f"""
import retrieval_store
with retrieval_store.Client({str(tmp_path)!r}) as client:
    client.delete_collection("things")
    client.create_collection("things", embedding_function=None).add(ids="new", embeddings=[1, 2])
"""
        subprocess.run([sys.executable, "-c", code], check=True)
        for use in (
            collection.count,
            collection.get,
            lambda: collection.add(ids="b", embeddings=[2]),
            lambda: collection.delete(ids="a"),
            lambda: collection.query(query_embeddings=[1]),
            lambda: collection.modify(name="other"),
            lambda: collection.metadata,
        ):
            with pytest.raises(NotFoundError, match="deleted"):
                use()
        assert client.get_collection("things").get()["ids"] == ["new"]
    assert len(list(tmp_path.glob("*/points.sqlite"))) == 1


def test_processes_that_make_one_store_at_once_agree(tmp_path):
    names = ",".join(f"collection-{i}" for i in range(9))
    with (
        running(create_or_get, tmp_path, names) as one,
        running(create_or_get, tmp_path, names) as two,
    ):
        processes = (one, two)
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    assert [len(output.split()) for output, _ in outputs] == [9, 9], outputs
    assert len({output for output, _ in outputs}) == 1


def crowd(path: str, seconds: float) -> None:
    """Threads that use more collections at once than stay open, and clients that come and go.
    Prints errors. Runs in its own process, since it might crash."""
    eager_indexes()
    client, wrong = retrieval_store.Client(path), []
    every = [client.create_collection(f"many-{i}", embedding_function=None) for i in range(24)]
    for things in every:
        things.add(ids=[str(i) for i in range(200)], embeddings=np.random.rand(200, DIMENSION))
    ids = [f"of many {i}" for i in range(4_000)]  # enough for an index
    every[0].add(ids=ids, embeddings=np.random.rand(len(ids), DIMENSION))
    stop = time.monotonic() + seconds

    def query(chance):
        assert len(chance.choice(every).query(query_embeddings=[[0.5] * DIMENSION])["ids"][0]) == 10

    def write(chance):
        ids = [str(chance.randrange(200)), "new"]
        chance.choice(every).upsert(ids=ids, embeddings=np.random.rand(2, DIMENSION))

    def optimize(chance):
        chance.choice(every[1:]).optimize()  # the index is for the background to build

    def create_and_delete(chance):
        name = f"fleeting-{chance.randrange(6)}"
        with suppress(NotFoundError):  # the other thread has deleted it
            client.get_or_create_collection(name, embedding_function=None).upsert("a", [[1]])
        with suppress(NotFoundError):
            client.delete_collection(name)

    def come_and_go(chance):
        other, third = retrieval_store.Client(path), retrieval_store.Client()
        other.itself, third.itself = other, third  # only the garbage collector finds them
        other.get_collection("many-3", embedding_function=None).count()
        third.create_collection("own", embedding_function=None).add(ids="a", embeddings=[[1]])
        del other, third
        if chance.random() < 0.2:
            gc.collect()

    def again_and_again(work):
        chance = random.Random(work.__name__)
        try:
            while time.monotonic() < stop:
                work(chance)
        except BaseException as error:
            wrong.append(f"{work.__name__}: {error!r}")

    works = [query] * 3 + [write] * 2 + [optimize] + [create_and_delete] * 2 + [come_and_go]
    threads = [threading.Thread(target=again_and_again, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    print(wrong, [report.problem for report in client.verify() if report.problem])


def test_a_crowd_of_threads_collections_and_clients_neither_crashes_nor_hangs(tmp_path):
    run = [sys.executable, "-X", "faulthandler", "-m", __name__, str(tmp_path), "1"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=4 * PATIENCE)
    assert (done.returncode, done.stdout) == (0, "[] []\n"), done.stderr[-3_000:]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("holder", ["a thread", "another process"])
def test_a_lock_timeout_is_an_error_and_then_the_store_works(tmp_path, holder):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        if holder == "a thread":
            line, working, over = (
                inside.writers(inside.access(things)),
                threading.Event(),
                threading.Event(),
            )
            work = [working.set, over.wait]
            thread = threading.Thread(target=line.take, args=[lambda: [do() for do in work]])
            thread.start()
            working.wait()

            def release():
                over.set()
                thread.join()

        else:
            (file,) = tmp_path.glob("*/points.sqlite")
            other = apsw.Connection(str(file), vfs="cksmvfs")
            other.execute("BEGIN IMMEDIATE")
            release = other.close
        with pytest.raises(LockTimeoutError, match="for more than"):
            things.add(ids="a", embeddings=[1])
        assert things.count() == 0
        release()
        things.add(ids="a", embeddings=[1])
        assert things.count() == 1


HOLDING = """
import sys, apsw
for name in sys.argv[1:]:
    connection = apsw.Connection(name)
    connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't tell who holds a lock")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["points", "catalog"])
def test_the_process_that_holds_a_lock_is_named_and_so_is_the_collection(tmp_path, kind):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("first", embedding_function=None)
        client.get_collection("first").modify(name="things")
    (file,) = tmp_path.glob("*/points.sqlite" if kind == "points" else "catalog.sqlite")
    held = [sys.executable, "-c", HOLDING, str(file)]
    with (
        subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
        retrieval_store.Client(tmp_path) as client,
    ):
        assert other.stdout.readline() == b"held\n"
        things = client.get_collection("things", embedding_function=None)
        holder = rf"for more than .* s, by process {other.pid} \(python -c, since 20"
        with pytest.raises(LockTimeoutError, match=holder) as caught:
            things.add("a", [[1]]) if kind == "points" else client.create_collection("more")
        if kind == "points":
            assert f"collection 'things' in {tmp_path} was locked" in str(caught.value)
            assert str(things.id) not in str(caught.value).partition(", by process")[0]
        other.stdin.close()


def asking_at_once(tmp_path, threads, seconds):
    """Threads that read six times each, for this many seconds. Returns the median number of
    concurrent reads, and the total number of reads."""
    inside_now, most, done = [], [], []

    def look(view):
        inside_now.append(True)
        most.append(len(inside_now))
        time.sleep(seconds)
        inside_now.pop()
        done.append(True)

    with retrieval_store.Client(tmp_path) as client:
        things = client.get_or_create_collection("things", embedding_function=None)
        access, begin = inside.access(things), threading.Barrier(threads, timeout=PATIENCE)

        def ask():
            access.read(lambda view: None)  # opens a connection
            begin.wait()
            for _ in range(6):
                access.read(look)

        started = [threading.Thread(target=ask) for _ in range(threads)]
        for one in started:
            one.start()
        for one in started:
            one.join()
    return sorted(most)[len(most) // 2], len(done)


def test_only_a_few_of_many_threads_read_at_once_and_none_waits_long(tmp_path, monkeypatch):
    tuned(monkeypatch, readers_at_once=3, longest_line=PATIENCE)
    usual, done = asking_at_once(tmp_path, 12, 0.01)
    assert usual <= 4 and done == 72  # more where several come at the same moment
    tuned(monkeypatch, longest_line=0.01)
    usual, done = asking_at_once(tmp_path, 12, 0.2)
    assert usual > 4 and done == 72


def test_a_thread_that_stops_waiting_to_read_keeps_no_one_from_it(tmp_path, monkeypatch):
    tuned(monkeypatch, readers_at_once=2, longest_line=PATIENCE)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        access, go, there = inside.access(things), threading.Event(), threading.Barrier(3)

        def look(view):
            there.wait(PATIENCE)
            go.wait(PATIENCE)

        started = [threading.Thread(target=access.read, args=(look,)) for _ in range(2)]
        for one in started:
            one.start()
        there.wait(PATIENCE)  # both are at it
        with monkeypatch.context() as patch:
            steps.fail(patch, "wait_to_read", KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                access.read(lambda view: None)
        inside.leave_in_line(access)  # as an interrupt does a moment later
        waiting = threading.Thread(target=things.count)
        waiting.start()
        tuned(monkeypatch, longest_line=0.01)
        late = threading.Thread(target=things.count)
        late.start()
        late.join(PATIENCE)
        assert not late.is_alive()
        go.set()
        for one in (*started, waiting):
            one.join(PATIENCE)
            assert not one.is_alive()
        assert [things.count() for _ in range(3)] == [0, 0, 0]


def test_concurrent_queries_reuse_open_connections(tmp_path, monkeypatch):
    many, rounds = 12, 5
    tuned(monkeypatch, readers_at_once=100)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(["a", "b"], [[1, 2], [3, 4]])
        access, together = inside.access(things), threading.Barrier(many, timeout=PATIENCE)
        opened = steps.noted(monkeypatch, "begin_connection")

        def ask():
            for _ in range(rounds):
                access.read(lambda view: together.wait())  # all of them have one now, …
                together.wait()  # … and none has

        threads = [threading.Thread(target=ask) for _ in range(many)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(opened) <= many  # not some more in each round


if __name__ == "__main__":
    crowd(sys.argv[1], float(sys.argv[2]))
