"""Compaction: deleted data is gone from every file, and other users aren't affected meanwhile."""

import os
import random
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import LockTimeoutError, ReadOnlyError
from retrieval_store.query.types import Fields, NewSpace
from tests.helpers import PATIENCE, inside, steps
from tests.helpers.batches import UPSERT, batch
from tests.helpers.indexed import until
from tests.helpers.processes import (
    DIMENSION,
    POINTS,
    check_versions,
    first_version,
    optimize_again_and_again,
    rewrite_all,
    running,
)
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.embedded

EVERYTHING = ["metadatas", "documents", "embeddings"]


def content(collection):
    got = collection.get(include=EVERYTHING)
    found = collection.query(query_embeddings=np.full(DIMENSION, 7), n_results=20)
    return (
        got["ids"],
        got["metadatas"],
        got["documents"],
        got["embeddings"].tolist(),
        found["ids"],
        collection.get(where={"n": {"$gte": 100}}, include=[])["ids"],
    )


def churned(client, count=2_000):
    """A collection after many updates and deletions, and strings that must not be found
    afterwards."""
    things = client.create_collection("things", embedding_function=None)
    random_numbers = np.random.default_rng(0)
    ids = [str(i) for i in range(count)]
    things.add(
        ids=ids,
        embeddings=random_numbers.standard_normal((count, DIMENSION)),
        documents=[f"a secret text {i} " * 20 for i in range(count)],
        metadatas=[{"n": i, "note": f"confidential {i}"} for i in range(count)],
    )
    for start in range(0, count, 200):
        some = ids[start : start + 100]
        things.update(
            ids=some,
            embeddings=random_numbers.standard_normal((100, DIMENSION)),
            documents=["public"] * 100,
            metadatas=[{"note": "open"}] * 100,
        )
        things.delete(ids=ids[start + 100 : start + 200])
    return things


def test_compaction_keeps_the_content_and_makes_files_small(client, tmp_path, terminal, capfd):
    things = churned(client)
    before = content(things)
    sizes = {f: f.stat().st_size for f in tmp_path.rglob("*") if f.is_file()}
    things.optimize(show_progress=True)
    assert "1000/1000" in capfd.readouterr().err
    assert content(things) == before
    space = things.stats()["spaces"][""]
    assert (space["vectors"], space["dead_slots"]) == (1_000, 0)
    if client.path is not None:
        (vectors,) = client.path.glob("*/*.vectors")
        assert vectors.name == "1.1.vectors"
        assert vectors.stat().st_blocks * 512 < 1.4 * 1_000 * DIMENSION * 4
        (points,) = client.path.glob("*/points.sqlite")
        assert points.stat().st_size < max(sizes.values()) / 3
        assert all(report.problem is None for report in client.verify())
    things.optimize()  # nothing to do
    things.upsert(ids=["0", "new"], embeddings=np.full((2, DIMENSION), 7), metadatas=[{"n": 1}] * 2)
    assert things.query(query_embeddings=np.full(DIMENSION, 7), n_results=2)["ids"] == [
        ["0", "new"]
    ]


def test_background_work_counts_as_progress_too(client):
    points = inside.points(churned(client, 400))
    begun, ended, reported = threading.Event(), threading.Event(), []

    def others_work():
        for done in (100, 250, 400):
            inside.report_progress(points.access, "compacting", done, 400)
            begun.set()
            until(lambda done=done: sum(n for n, _ in reported) >= done, "the bar stands still")
        ended.set()

    def progress(done, total):
        reported.append((done, total))
        assert sum(n for n, _ in reported) <= 400 or ended.is_set()

    background = threading.Thread(
        target=inside.while_maintaining, args=(points.access, others_work)
    )
    background.start()
    assert begun.wait(PATIENCE)
    inside.optimize(points.access, progress)
    background.join()
    assert ended.is_set()


def test_stats_report_maintenance(client):
    things = churned(client, 400)
    assert things.stats()["maintenance"] is None
    reports = []
    inside.optimize(inside.access(things), lambda *_: reports.append(things.stats()["maintenance"]))
    (done,) = {(one["doing"], one["done"], one["of"]) for one in reports[-1:]}
    assert done == ("compacting", 200, 200)
    assert (
        reports[-1]["seconds"] >= reports[0]["seconds"] >= 0
    )  # in milliseconds, it may be none yet
    assert things.stats()["maintenance"] is None


def test_no_byte_of_deleted_data_is_in_any_file(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = churned(client, 400)
        things.add(ids="marked", embeddings=np.full(DIMENSION, 0.123456), documents="doomed")
        things.get()
        vector = np.full(DIMENSION, 0.123456, np.float32).tobytes()
        secrets = [b"secret text", b"confidential", b"doomed", vector]

        def found():
            files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
            return [secret for secret in secrets if any(secret in data for data in files)]

        assert found() == secrets
        things.delete(ids="marked")
        things.optimize()
        assert found() == []
        assert things.count() == 200


def test_others_read_and_write_during_maintenance(tmp_path):
    collection = first_version(tmp_path)
    with (
        running(rewrite_all, tmp_path, POINTS) as writer,
        running(optimize_again_and_again, tmp_path) as optimizer,
    ):
        assert writer.stdout.readline() == "1\n"
        assert optimizer.stdout.readline() == "ready\n"
        for _ in range(3):
            assert check_versions(collection, POINTS, 80, least=2) == 0
            assert optimizer.stdout.readline() == "optimized\n", optimizer.stderr.read()
        for process in (writer, optimizer):
            assert process.poll() is None, process.stderr.read()
    collection.optimize()
    assert len(list(tmp_path.glob("*/*.vectors"))) == 1


@pytest.mark.kills
def test_a_compaction_killed_at_random_moments_harms_nothing_and_the_next_one_cleans_up(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = churned(client, 2_000)
        before = content(things)
    moments = random.Random(4)
    for _ in range(2):
        with running(optimize_again_and_again, tmp_path, "once") as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            killer = threading.Timer(moments.uniform(0, 0.06), process.kill)
            killer.start()
            process.wait()
            killer.join()
        with retrieval_store.Client(tmp_path) as client:
            things = client.get_collection("things")
            assert content(things) == before
            assert all(report.problem is None for report in client.verify())
            things.update(ids=["0", "1"], embeddings=np.ones((2, DIMENSION)))
            before = content(things)
    with retrieval_store.Client(tmp_path) as client:
        client.get_collection("things").optimize()
        assert len(list(tmp_path.glob("*/*.vectors"))) == 1
        assert content(client.get_collection("things")) == before


def test_all_vector_spaces_are_compacted_together(tmp_path):
    store = inside.opened(tmp_path)
    names = [f"s{i}" for i in range(3)]
    record = store.create("things", {}, dict.fromkeys(names, NewSpace("l2")))
    points = store.points(record.id)
    ids = list(range(50))
    for value in range(3):
        for name in names:
            points.put(batch(ids, **{name: [[value, i] for i in ids]}), UPSERT)
    points.put(batch([99]), UPSERT)  # has no vector at all
    points.delete([7, 8], None, None)
    store.optimize(record.id, lambda *_: None)
    for name in names:
        got = points.get(None, None, None, 0, Fields(vectors=(name,)))
        assert got.ids == [*ids[:7], *ids[9:], 99]
        assert got.vectors[name][:-1].tolist() == [[2, i] for i in got.ids[:-1]]
        assert np.isnan(got.vectors[name][-1]).all()
        space = points.stats()["spaces"][name]
        assert (space["vectors"], space["dead_slots"]) == (48, 0)
    store.close()


def test_points_written_during_the_compaction_of_an_emptied_collection_are_kept(
    tmp_path, monkeypatch
):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["a", "b"], embeddings=[[1], [2]])
        things.delete(ids=["a", "b"])
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        steps.before(monkeypatch, "compact", lambda: things.add(ids="c", embeddings=[[3]]))
        things.optimize()
        assert things.query(query_embeddings=[3])["ids"] == [["c"]]


def test_a_reader_that_keeps_the_log_long_is_reported_and_writers_do_not_wait(
    tmp_path, monkeypatch
):
    tuned(monkeypatch, lock_timeout_ms=400)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=["a", "b"], embeddings=[[1], [2]], documents=["doomed", "kept"])

        def write_meanwhile(_):
            things.delete(ids="a")
            with pytest.raises(LockTimeoutError, match="deleted content may be left"):
                things.optimize()
            things.add(ids="c", embeddings=[[3]])

        inside.access(things).read(write_meanwhile)
        things.optimize()
        assert things.get()["ids"] == ["b", "c"]
        assert not any(b"doomed" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_a_read_only_store_is_left_as_it_is(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[[1]])
        steps.fail(monkeypatch, "remove_dropped")
        client.create_collection("gone", embedding_function=None)
        with pytest.raises(ZeroDivisionError):
            client.delete_collection("gone")
    monkeypatch.undo()

    def names():  # the background may still be closing a database
        every = map(str, tmp_path.rglob("*"))
        return sorted(name for name in every if not name.endswith(("-shm", "-wal")))

    before = names()
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        with pytest.raises(ReadOnlyError):
            client.get_collection("things").optimize()
        assert client.get_collection("things").count() == 1
    assert names() == before


ALONE = """
import sys, retrieval_store
from tests.helpers import inside
things = retrieval_store.Client(sys.argv[1]).get_collection("things", None)
print(inside.alone(inside.access(things), 0, lambda alone: alone))
"""


def test_the_lock_stays_when_the_store_is_opened_and_closed_by_another_path(tmp_path):
    path, link = tmp_path / "store", tmp_path / "link"

    def alone_elsewhere():
        run = [sys.executable, "-c", ALONE, str(path)]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()

    def work(alone):
        assert alone
        with retrieval_store.Client(link, rebuild=True) as other:
            again = inside.access(other.get_collection("things", None))
            assert inside.alone(again, 0, lambda alone: not alone)
        shutil.copytree(path, tmp_path / "copy")  # as a backup does in the same process
        return alone_elsewhere()

    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[[1.0]])
        link.symlink_to(path)
        access = inside.access(things)
        assert inside.alone(access, 0, work) == "False"
        assert alone_elsewhere() == "True"


def test_a_child_forked_meanwhile_does_not_keep_the_lock(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[[1.0]])
        code = FORKED.replace("PATH", str(tmp_path))
        died = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        child = int(died.stdout.readline())  # lives on when its parent has died
        try:
            assert died.wait(PATIENCE) == -9
            access = inside.access(things)
            # the child closes the file as soon as it gets to run, perhaps after its parent's death
            assert inside.alone(access, PATIENCE * 1000, lambda alone: alone)
        finally:
            os.kill(child, 9)
            died.stdout.close()


FORKED = """
import os, threading, retrieval_store
from tests.helpers import inside
things = retrieval_store.Client("PATH").get_collection("things", None)
held = threading.Event()

def work(alone):
    held.set()
    threading.Event().wait()

access = inside.access(things)
threading.Thread(target=inside.alone, args=(access, 0, work), daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    threading.Event().wait()
print(child, flush=True)
os.kill(os.getpid(), 9)
"""
