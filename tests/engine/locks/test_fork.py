"""Forking while a store is open: the child opens it anew, and nothing hangs or crashes."""

import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import StorageError
from tests.helpers import PATIENCE, inside
from tests.helpers.forks import begin_child, in_child
from tests.helpers.indexed import cloud, populated

FORKS = 4
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_parent_and_child_use_one_store_at_once(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["a", "b"], embeddings=[[0], [1]], metadatas=[{"n": 0}, {"n": 1}])
        assert things.get(where={"n": 1})["ids"] == ["b"]

        def work():
            assert things.get(where={"n": 1})["ids"] == ["b"]
            things.add(ids="from the child", embeddings=[5], metadatas={"n": 5})
            assert things.query(query_embeddings=[5], n_results=1)["ids"] == [["from the child"]]
            client.create_collection("made-there", embedding_function=None)

        assert in_child(work) == 0
        assert things.get(where={"n": 5})["ids"] == ["from the child"]
        assert client.count_collections() == 2
        things.add(ids="after", embeddings=[6])
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").count() == 4
        assert [report.problem for report in client.verify()] == [None] * 4


def test_a_child_that_ends_in_the_ordinary_way_leaves_the_parent_store_alone(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[0])
        for _ in range(3):
            assert in_child(client.close) == 0
            things.add(ids=os.urandom(8).hex(), embeddings=[1])
        assert things.count() == 4
        assert [report.problem for report in client.verify()] == [None] * 3


def test_a_store_in_memory_raises_in_a_forked_child_and_works_in_the_parent():
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[0])

        def work():
            for use in (things.count, client.list_collections):
                with pytest.raises(StorageError, match="in memory can't be used in a forked"):
                    use()
            with retrieval_store.Client() as another:
                another.create_collection("things", embedding_function=None).add("x", [[1]])

        assert in_child(work) == 0
        assert things.count() == 1


def test_writes_of_a_child_outlast_the_parents_closing(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="1", embeddings=[0])
        things.count()
        to_child, from_child = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            begin_child()
            try:
                things.add(ids="2", embeddings=[0])
                os.write(from_child[1], b"x")
                os.read(to_child[0], 1)
                things.add(ids="3", embeddings=[0])
                assert things.count() == 3
                status = 0
            finally:
                os._exit(status)
        os.read(from_child[0], 1)
        assert things.count() == 2
    os.write(to_child[1], b"x")  # the parent's client is closed by now
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").get()["ids"] == ["1", "2", "3"]


def test_a_fork_succeeds_while_threads_keep_a_store_busy(tmp_path):
    stop = threading.Event()
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=[str(i) for i in range(500)], embeddings=np.ones((500, 2)))

        def read():
            while not stop.is_set():
                things.get(limit=500)

        threads = [threading.Thread(target=read) for _ in range(4)]
        lull = threading.Timer(PATIENCE, stop.set)
        for thread in (*threads, lull):
            thread.start()
        try:
            assert in_child(lambda: None) == 0
            assert not stop.is_set(), "it waited until there was nothing to do"
        finally:
            lull.cancel()
            stop.set()
            for thread in threads:
                thread.join()


def test_collecting_a_client_while_the_process_forks_does_not_hang(tmp_path):
    # The garbage collector may run anywhere, and a client that it finds closes its store.
    code = """
import os, sys, retrieval_store
from retrieval_store.engine import locks as forking

class Collected:
    def close_before_fork(self):
        things.count()
        self.client.close()

client = retrieval_store.Client(sys.argv[1])
things = client.create_collection("things", embedding_function=None)
things.add(ids="a", embeddings=[[1]])
other = Collected()
other.client = retrieval_store.Client(sys.argv[1] + "/../other")
other.client.create_collection("things", embedding_function=None)
forking.closes_before_fork(other)
if os.fork() == 0:
    os._exit(0 if things.count() == 1 else 1)
print(os.wait()[1], things.count())
"""
    run = [sys.executable, "-c", code, str(tmp_path / "store")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "0 1\n", done.stderr


def test_forks_while_the_index_is_built_and_searched(eager, tmp_path):
    stop, errors = threading.Event(), []
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)

        def work(number):
            try:
                while not stop.is_set():
                    vectors = cloud(20, random.randrange(10**6))
                    things.upsert(ids=[f"{number}.{i}" for i in range(20)], embeddings=vectors)
                    assert len(things.query(query_embeddings=vectors)["ids"][0]) == 10
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()

        def child():
            vector = cloud(1, 77)[0] * 5
            things.upsert(ids="child", embeddings=vector)
            assert things.query(query_embeddings=vector, n_results=1)["ids"] == [["child"]]
            assert things.count() >= 1_001

        statuses = [in_child(child) for _ in range(FORKS)]
        stop.set()
        for thread in threads:
            thread.join()
    assert statuses == [0] * FORKS
    assert errors == []


def test_a_child_searches_although_another_thread_was_multiplying_when_it_forked(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)
        with inside.multiplying():
            child = in_child(lambda: things.query(query_embeddings=cloud(3, 1), n_results=5))
        assert child == 0


LOADING = """
import importlib.abc, os, signal, sys, threading, time
import retrieval_store

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[2]:
            loading.set()
            time.sleep(0.3)

def write(client, point_id):
    things = client.get_or_create_collection("things", embedding_function=None)
    things.upsert(ids=point_id, embeddings=[1, 2])

assert sys.argv[2] not in sys.modules
loading = threading.Event()
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=write, args=(retrieval_store.Client(sys.argv[1]), "a"))
thread.start()
assert loading.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(60)
    write(retrieval_store.Client(sys.argv[1]), "b")
    os._exit(0)
thread.join()
print(os.waitpid(child, 0)[1])
"""


def test_a_child_can_write_if_another_thread_was_importing_the_writer(tmp_path):
    module = "retrieval_store.engine.transaction"
    command = [sys.executable, "-c", LOADING, str(tmp_path), module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout.split() == ["0"], done.stderr
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things", embedding_function=None).count() == 2
