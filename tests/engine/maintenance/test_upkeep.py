"""Maintenance in the background and on request: beside other uses, and after failures."""

import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import islice

import pytest

import retrieval_store
from retrieval_store.errors import DamagedError, NotFoundError
from tests.helpers import PATIENCE, inside, steps
from tests.helpers.indexed import (
    DIMENSION,
    cloud,
    once_compacted,
    populated,
    space_of,
    until,
)
from tests.helpers.processes import optimize_again_and_again, running
from tests.helpers.tuned import tuned

pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("eager")]


def test_a_concurrent_compaction_by_another_process_is_no_damage(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client, 500)
        things.optimize()
        things.delete(ids=[str(i) for i in range(50)])
        inside.without_background(monkeypatch)  # only what follows here
        things.add(ids=["more"], embeddings=cloud(1))
    compacted = []

    def too_late():
        if not compacted:
            compacted.append(True)
            with running(optimize_again_and_again, tmp_path, "once", eager=True) as process:
                assert process.wait(PATIENCE) == 0

    steps.before(monkeypatch, "take_in_vectors", too_late)
    steps.replace(monkeypatch, "maintain_alone", lambda points, wait, work: work(False))
    things = retrieval_store.Client(tmp_path).get_collection("things", embedding_function=None)
    access = inside.access(things)
    assert inside.maintain(access)  # there is more to do, that's all
    assert not inside.maintain(access)
    assert compacted
    assert space_of(things)["indexed_slots"] == 451


def test_a_client_collected_by_the_upkeep_thread_closes_without_a_deadlock(tmp_path, monkeypatch):
    done = threading.Event()

    def collecting(maintain, points, progress):
        points.read(lambda view: gc.collect())
        done.set()
        return maintain(points, progress)

    steps.around(monkeypatch, "maintain", collecting)
    client = retrieval_store.Client(tmp_path)
    things = populated(client, 300)
    cycle = [client, things]
    cycle.append(cycle)
    inside.maintain_now_and_then(inside.points(things), 10_000)
    del client, things, cycle
    assert done.wait(PATIENCE)
    with retrieval_store.Client(tmp_path) as again:
        assert again.get_collection("things", embedding_function=None).count() == 300
    until(inside.is_background_idle, "the upkeep thread hangs")


def test_maintenance_of_a_deleted_collection_stops_silently(client, monkeypatch, caplog):
    access = inside.access(populated(client, 10))
    steps.fail(monkeypatch, "maintain", NotFoundError("it is gone"))
    assert not inside.background_turn(access)
    assert not caplog.text


def test_writing_works_where_no_thread_can_be_started(client, monkeypatch):
    until(inside.is_background_idle, "the upkeep is busy")

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        things = populated(client)
        assert things.count() == 1_000
    things.add(ids="more", embeddings=[[1] * DIMENSION])
    until(lambda: space_of(things)["indexed_slots"] >= 1_000, "upkeep never began again")


def test_closing_closes_everything_even_if_saving_fails(tmp_path, monkeypatch, caplog):
    client = retrieval_store.Client(tmp_path)
    populated(client).optimize()

    steps.fail(monkeypatch, "save_graph", RuntimeError("hnswlib says no"))
    things = client.get_collection("things", embedding_function=None)
    things.add(ids=[f"n{i}" for i in range(900)], embeddings=cloud(900, 3))
    until(lambda: space_of(things)["indexed_slots"] == 1_900, "it didn't follow")
    held = len(os.listdir("/proc/self/fd"))
    client.close()
    assert "wasn't saved on closing: hnswlib says no" in caplog.text
    assert len(os.listdir("/proc/self/fd")) < held


def test_a_link_in_the_place_of_the_folder_of_indexes_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("not ours")
    with retrieval_store.Client(tmp_path / "store") as client:
        things = populated(client)
        folder = tmp_path / "store" / str(things.id) / "derived"
        folder.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DamagedError, match="derived is a link"):
            things.optimize()
        assert len(things.query([[0] * DIMENSION])["ids"][0]) == 10
        folder.unlink()
        things.optimize()
        (folder / "a-folder").mkdir()
        (folder / "a file").write_text("somebody's")
        things.optimize()
        assert (folder / "a-folder").is_dir()
        client.delete_collection("things")
    assert [file.name for file in (tmp_path / "elsewhere").iterdir()] == ["precious"]
    (left,) = (tmp_path / "store").glob("*.dropped/derived")
    assert {file.name for file in left.iterdir()} == {"a-folder", "a file"}


def test_a_collection_deleted_while_its_index_is_saved_is_not_found(tmp_path, monkeypatch):
    inside.without_background(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:

        def delete_then_save(write_file, directory, key, save, seq):
            def save_too_late(path):
                client.delete_collection("things")
                return save(path)

            return write_file(directory, key, save_too_late, seq)

        things = populated(client)
        steps.around(monkeypatch, "write_derived", delete_then_save)
        with pytest.raises(NotFoundError):
            things.optimize()


@pytest.mark.parametrize("maintain", [inside.maintain, inside.optimize])
def test_files_stay_small_however_often_all_is_rewritten_while_an_index_is_filled(
    tmp_path, monkeypatch, maintain
):
    inside.without_background(monkeypatch)  # only what follows here
    tuned(monkeypatch, indexed_at_once=100)
    rewritten, dead = iter(range(12)), []

    def add_while_all_is_rewritten(add, index, rows):
        add(index, rows)
        for seed in islice(rewritten, 1):
            things.upsert(ids=[str(i) for i in range(1_000)], embeddings=cloud(1_000, seed))
            dead.append(space_of(things)["dead_slots"])

    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)
        steps.around(monkeypatch, "add_to_index", add_while_all_is_rewritten)
        maintain(inside.access(things))
        assert len(dead) == 12
        assert max(dead) <= 3_000
        found = things.query(query_embeddings=cloud(1_000, 11)[5], n_results=1)
        assert found["ids"] == [["5"]]
        space = space_of(things)
        assert space["indexed_slots"] == space["vectors"] + space["dead_slots"]


def test_a_manual_compaction_always_keeps_an_index(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        (space,) = once_compacted(monkeypatch, populated(client), 700, space_of)
        assert space["indexed_slots"] == 300


def test_a_collection_in_memory_deleted_while_it_is_compacted_is_not_found(monkeypatch):
    inside.without_background(monkeypatch)
    with retrieval_store.Client() as client:
        things = populated(client)
        things.delete(ids=["1"])

        def delete():
            with suppress(NotFoundError):  # the second time
                client.delete_collection("things")

        steps.before(monkeypatch, "look_at_living_vectors", delete)
        with pytest.raises(NotFoundError, match="does not exist any more"):
            things.optimize()


ENDS_MEANWHILE = """
import threading
import numpy as np
import retrieval_store
from retrieval_store.engine.maintenance import run

began = threading.Event()

def run_once(access, progress):
    began.set()
    threading.main_thread().join()
    raise RuntimeError("can't register atexit after shutdown")

run.run_once = run_once
client = retrieval_store.Client()
points = client.create_collection("notes", embedding_function=None)
vectors = np.random.default_rng(0).random((4_000, 256), np.float32)
points.add(ids=[str(i) for i in range(len(vectors))], embeddings=vectors)
points.query(query_embeddings=vectors[0])
assert began.wait(30)
"""


def test_work_interrupted_by_the_end_of_a_process_is_no_failure():
    """After the end of a program no thread can start."""
    done = subprocess.run([sys.executable, "-c", ENDS_MEANWHILE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
