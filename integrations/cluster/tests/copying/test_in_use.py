"""Copies of collections on a cluster while others write to them."""

import random
import signal
import subprocess
import sys
import threading
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import retrieval_store
from retrieval_store.errors import AlreadyExistsError
from retrieval_store_cluster.copying import pages
from tests.helpers import inside, steps
from tests.helpers.copies import broken_off
from tests.helpers.qdrant_server import Server, serving
from tests.helpers.tuned import tuned

COUNT = 2_500
QUIET = 500  # nobody changes these


@pytest.fixture
def there():
    with closing(Server()) as server, closing(server.client()) as qdrant:
        yield retrieval_store.Client(qdrant_client=qdrant)


def filled(client):
    things = client.create_collection("things", embedding_function=None)
    for start in range(0, COUNT, 500):
        part = range(start, start + 500)
        things.add(
            ids=[f"p{i}" for i in part],
            embeddings=[[float(i), 1.0] for i in part],
            metadatas=[{"n": i, "version": 0, "long": i / 7} for i in part],
            documents=[f"text {i}" for i in part],
        )
    return things


class Writer(threading.Thread):
    """Updates, deletes and adds points, except the first QUIET."""

    def __init__(self, things):
        super().__init__()
        self.things, self.ended, self.rounds = things, threading.Event(), 0
        self.errors = []

    def run(self):
        chance = random.Random(1)
        try:
            while not self.ended.is_set():
                self.rounds += 1
                ids = [f"p{i}" for i in chance.sample(range(QUIET, COUNT), 5)]
                match self.rounds % 4:
                    case 0:
                        self.things.delete(ids)
                    case 1:
                        self.things.upsert(ids, embeddings=[[9.0, float(self.rounds)]] * len(ids))
                    case 2:
                        self.things.update(ids, metadatas=[{"version": self.rounds}] * len(ids))
                    case 3:
                        self.things.add(f"new{self.rounds}", [[1.0, 2.0]], {"n": -1})
        except Exception as error:
            self.errors.append(error)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        assert self.errors == [] and self.rounds > 10


def held(collection, ids=None):
    records = collection.get(ids, include=["metadatas", "documents", "embeddings"])
    vectors = np.asarray(records["embeddings"]).tolist()
    columns = zip(records["metadatas"], records["documents"], vectors, strict=True)
    return dict(zip(records["ids"], columns, strict=True))


@pytest.mark.parametrize("kind", ["directory", "cluster"])
def test_a_copy_of_a_collection_in_use_has_all_unchanged_records(there, tmp_path, kind):
    things = filled(there)
    quiet = [f"p{i}" for i in range(QUIET)]
    with closing(Server()) as server, closing(server.client()) as qdrant:
        match kind:
            case "directory":
                here = retrieval_store.Client(tmp_path)
            case "memory":
                here = retrieval_store.Client()
            case "cluster":
                here = retrieval_store.Client(qdrant_client=qdrant)
        with Writer(things):
            there.copy_to(here)
        copy = here.get_collection("things", embedding_function=None)
        assert held(copy, quiet) == held(things, quiet)
        assert len(copy.get(include=[])["ids"]) == len(set(copy.get(include=[])["ids"]))
        if kind != "memory":  # where a journal is
            there.copy_to(here)
            assert held(copy) == held(things)
            assert copy.get(include=[])["ids"] == things.get(include=[])["ids"]
        here.close()


def test_points_written_meanwhile_are_reported_and_copied_again(there, tmp_path, monkeypatch):
    things = filled(there)

    def write_once():
        things.delete(["p1", "p2"])
        things.add(["new1", "new2", "new3"], [[1.0, 2.0]] * 3)

    with retrieval_store.Client(tmp_path) as here:
        with monkeypatch.context() as patch:
            steps.before(patch, "write_to_copy", write_once)
            (copied,) = there.copy_to(here)
        assert copied.meanwhile == 5
        (copied,) = there.copy_to(here)
        assert copied.meanwhile == 0 and copied.changed in (3, 5) and not copied.level
        things.update(["p7", "p8"], metadatas=[{"n": -1}] * 2)
        (copied,) = there.copy_to(here)
        assert (copied.changed, copied.meanwhile) == (2, 0)
        (copied,) = there.copy_to(here)
        assert (copied.changed, copied.level) == (0, True)


def test_a_copy_that_is_run_again_brings_a_truth_that_was_a_number(there, tmp_path):
    things = there.create_collection("things", embedding_function=None)
    things.add(["a"], [[1.0, 0.0]], [{"flag": 1, "several": [{"x": 0}]}])
    with retrieval_store.Client(tmp_path / "here") as here:
        there.copy_to(here)
        copy = here.get_collection("things", None)
        for changed in ({"flag": True}, {"several": [{"x": False}]}):
            things.update(["a"], metadatas=[changed])
            there.copy_to(here)
            assert copy.count(where={"flag": True}) == 1
        assert copy.get("a")["metadatas"][0]["several"] == [{"x": False}]
        assert copy.get("a")["metadatas"][0]["several"][0]["x"] is False


@pytest.fixture
def elsewhere():
    """Another cluster."""
    with closing(Server()) as server, closing(server.client()) as qdrant:
        yield retrieval_store.Client(qdrant_client=qdrant)


@pytest.mark.parametrize("after", [5, 62])
def test_an_interrupted_copy_from_cluster_to_cluster_is_resumed(there, elsewhere, after):
    things = filled(there)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        broken_off(patch, after)
        there.copy_to(elsewhere)
    things.delete(["p0", "p9"])
    things.add("p9", [[1.0, 2.0]], {"n": 9})
    things.update("p3", metadatas={"version": 3})
    there.copy_to(elsewhere)
    copy = elsewhere.get_collection("things", embedding_function=None)
    assert held(copy) == held(things)
    assert copy.get(include=[])["ids"] == things.get(include=[])["ids"]
    (copied,) = there.copy_to(elsewhere)
    assert copied.level
    with pytest.raises(AlreadyExistsError, match="replaces nothing"):
        there.copy_to(elsewhere, fail_if_exists=True)


def test_a_copy_on_a_cluster_renamed_by_others_is_theirs(there, elsewhere):
    things = filled(there)
    there.copy_to(elsewhere)
    elsewhere.get_collection("things", embedding_function=None).modify(name="mine")
    with pytest.raises(AlreadyExistsError, match="'mine' was called first"):
        there.copy_to(elsewhere)
    things.modify(name="others")
    there.copy_to(elsewhere)
    names = [collection.name for collection in elsewhere.list_collections()]
    assert names == ["mine", "others"]
    mine, others = (elsewhere.get_collection(name, embedding_function=None) for name in names)
    mine.delete("p1")
    assert held(others) == held(things) and mine.count() == COUNT - 1


def test_a_neighbouring_collection_is_not_used_as_a_copy(there, elsewhere):
    filled(there)
    there.copy_to(elsewhere)
    name = "theirs"
    theirs = elsewhere.create_collection(name, embedding_function=None)
    theirs.add("a", [[1.0]])
    store = inside.session(elsewhere).store
    note, _ = store.copy_note(str(elsewhere.get_collection("things").id))
    store.note_copy(str(theirs.id), note)
    there.create_collection(name, embedding_function=None).add("b", [[2.0]])
    with pytest.raises(AlreadyExistsError, match="holds something else"):
        there.copy_to(elsewhere)
    assert theirs.get()["ids"] == ["a"]
    store.note_copy(str(elsewhere.get_collection("things").id), {"target": 1})
    with pytest.raises(AlreadyExistsError):
        there.copy_to(elsewhere, ["things", name])


@pytest.mark.parametrize("whole", [True, False])
def test_a_snapshot_of_a_cluster_has_all_unchanged_records(there, tmp_path, whole):
    things = filled(there)
    there.create_collection("others", embedding_function=None).add("a", [[1.0]], {"n": 1})
    quiet, file = [f"p{i}" for i in range(QUIET)], tmp_path / "cluster.zip"
    with Writer(things):
        (there if whole else things).snapshot(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    retrieval_store.restore(file, tmp_path / "store")
    with retrieval_store.Client(tmp_path / "store") as here:
        names = [collection.name for collection in here.list_collections()]
        assert names == (["others", "things"] if whole else ["things"])
        assert held(here.get_collection("things", embedding_function=None), quiet) == held(
            things, quiet
        )
        assert {report.problem for report in here.verify()} == {None}


KILLED = """
import os, sys, threading
import retrieval_store
client = retrieval_store.Client(url=sys.argv[1])
threading.Timer(float(sys.argv[3]), os.kill, (os.getpid(), 9)).start()
client.snapshot(sys.argv[2])
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("after", [0.5])
def test_leftovers_of_a_killed_snapshot_are_removed_by_the_next_one(there, tmp_path, after):
    file = tmp_path / "cluster.zip"
    with closing(Server()) as server, serving(server) as url:
        with retrieval_store.Client(url=url) as source:
            filled(source)
        command = [sys.executable, "-c", KILLED, url, str(file), str(after)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    file.unlink(missing_ok=True)
    filled(there)
    there.snapshot(file)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@given(st.permutations(range(9)), st.sets(st.integers(0, 8)), st.integers(1, 5))
def test_points_come_into_any_order(order, others, page):
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, copied_pages=page)
        with retrieval_store.Client() as client:
            source = client.create_collection("source", embedding_function=None)
            target = client.create_collection("target", embedding_function=None)
            source.add([f"p{i}" for i in order], [[float(i)] for i in order])
            target.add([f"p{i}" for i in range(9)], [[float(i)] for i in range(9)])
            target.add([f"other{i}" for i in others] or ["other"], [[0.0]] * max(1, len(others)))
            backends = [inside.named(client, name) for name in ("source", "target")]
            moved = pages.put_in_order(*backends, [""])
            ids = [own_id for own_id in target.get()["ids"] if own_id.startswith("p")]
            assert ids == source.get()["ids"]
            assert moved == 0 or list(order) != sorted(order)
