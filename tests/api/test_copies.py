"""Iterating over all points of one state, and copies of collections."""

import gc
import os
import subprocess
import sys
import threading
from contextlib import suppress

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidTypeError,
    NotFoundError,
    ReadOnlyError,
)
from tests.helpers import steps
from tests.helpers.forks import in_child

COUNT = 2_500


@pytest.fixture
def things(client):
    return filled(client)


def filled(client, name="things", count=COUNT):
    things = client.create_collection(name, embedding_function=None)
    things.add(
        ids=[f"p{i}" for i in range(count)],
        embeddings=[[float(i), 1.0] for i in range(count)],
        documents=[f"version 1 of {i}" for i in range(count)],
        metadatas=[{"n": i} for i in range(count)],
    )
    return things


def hidden(path):
    return [name for name in os.listdir(path) if name.startswith(".retrieval-store-")]


@pytest.mark.parametrize("batch", [1_000, 7_000, 1])
def test_all_points_are_iterated_one_by_one(things, batch):
    every = range(0, COUNT, 1 if batch > 1 else 100)
    where = None if batch > 1 else {"n": {"$in": list(every)}}
    found = list(things.iterate(batch=batch, where=where))
    assert [one["id"] for one in found] == [f"p{i}" for i in every]
    assert found[3] == {
        "id": f"p{every[3]}",
        "document": f"version 1 of {every[3]}",
        "metadata": {"n": every[3]},
    }
    near = things.iterate(batch=batch, where={"n": {"$lt": 3}}, include=["embeddings"])
    assert [one["embedding"].tolist() for one in near] == [[i, 1.0] for i in range(3)]


@pytest.mark.parametrize("batch", [100, 5_000])
@pytest.mark.parametrize("where", [None, {"n": {"$gte": 40}}], ids=str)
def test_interrupted_iteration_continues_after_its_last_record(things, batch, where):
    whole = list(things.iterate(batch=batch, where=where))
    for place in (0, 99, 1_234, len(whole) - 1):
        last = whole[place]["id"]
        rest = list(things.iterate(batch=batch, where=where, after=last))
        assert rest == whole[place + 1 :]
    things.delete("p99")
    things.update("p39", metadatas={"n": -1})
    for gone in ("p99", "absent", *(["p39"] if where else [])):
        with pytest.raises(NotFoundError, match="no record that matches has"):
            things.iterate(batch=batch, where=where, after=gone)
    with pytest.raises(InvalidTypeError, match="after is 3"):
        things.iterate(after=3)
    assert next(things.iterate(batch=batch, after="p98"))["id"] == "p100"


@pytest.mark.embedded
def test_concurrent_writes_are_not_visible(things, client):
    rows = things.iterate(batch=100, include=["documents", "embeddings"])
    seen = [next(rows) for _ in range(150)]
    ids = [f"p{i}" for i in range(COUNT)]
    things.update(ids=ids, documents=["version 2"] * COUNT, embeddings=[[0.0, 0.0]] * COUNT)
    things.delete(where={"n": {"$gte": 1_000}})
    things.optimize()
    seen += rows
    assert [one["id"] for one in seen] == ids
    assert all(one["document"].startswith("version 1") for one in seen)
    assert [one["embedding"][0] for one in seen] == list(range(COUNT))
    few = things.iterate(batch=100, where={"n": {"$lt": 5}})  # what fits is read at once
    client.delete_collection("things")
    assert len(list(few)) == 5
    with pytest.raises(NotFoundError):
        things.iterate()


def test_copies_go_when_iterators_do(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client)
        list(things.iterate(batch=100))
        assert hidden(tmp_path) == []
        rows, others = things.iterate(batch=100), things.iterate(batch=100)
        next(rows)
        assert len(hidden(tmp_path)) == 2
        rows.close()
        del others
        gc.collect()
        assert hidden(tmp_path) == []
        rest = things.iterate(batch=100)
        next(rest)
    assert len(list(rest)) == COUNT - 1  # a closed client takes nothing from it
    assert hidden(tmp_path) == []
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("things", embedding_function=None)
        assert len(list(things.iterate(batch=100))) == COUNT


def test_a_process_may_fork_meanwhile(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client)
        rows = things.iterate(batch=100)
        before = [next(rows)["id"] for _ in range(150)]

        def count():
            with retrieval_store.Client(tmp_path) as client:
                assert client.get_collection("things", embedding_function=None).count() == COUNT

        assert in_child(count) == 0
        assert before + [one["id"] for one in rows] == [f"p{i}" for i in range(COUNT)]


@pytest.mark.elsewhere
def test_records_go_from_one_collection_to_another(things, client):
    copy = client.create_collection("copy", embedding_function=None)
    everything = ["embeddings", "documents", "metadatas"]
    assert copy.add_from(things.iterate(include=everything)) == COUNT
    one, other = things.get(include=everything), copy.get(include=everything)
    assert one["metadatas"] == other["metadatas"] and one["documents"] == other["documents"]
    assert np.array_equal(one["embeddings"], other["embeddings"])


def test_a_fork_is_a_collection_of_its_own(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection(
            "things", {"hnsw": {"space": "cosine"}}, {"topic": "x"}, embedding_function=letters
        )
        things.add(ids=["a", "b"], documents=["listen", "google"], metadatas=[{"n": 1}, {"n": 2}])
        things.delete(ids=["b"])
        fork = things.fork("others")
        assert fork.name == "others" and fork.id != things.id and fork.metadata == {"topic": "x"}
        assert fork.configuration == things.configuration
        fork.add(ids="c", documents="silent")
        things.update(ids="a", metadatas={"n": 5})
        assert things.get()["metadatas"] == [{"n": 5}]
        assert fork.get()["ids"] == ["a", "c"] and fork.get(ids="a")["metadatas"] == [{"n": 1}]
        assert fork.query(query_texts="tinsel", n_results=1)["ids"] == [["a"]]
        for name, error in (("things", AlreadyExistsError), ("-", InvalidArgumentError)):
            with pytest.raises(error):
                things.fork(name)
        assert client.count_collections() == 2 and hidden(tmp_path) == []
    with retrieval_store.Client(tmp_path) as client:
        assert all(report.problem is None for report in client.verify())
        assert client.get_collection("others", embedding_function=letters).count() == 2
    with retrieval_store.Client(tmp_path, read_only=True) as client, pytest.raises(ReadOnlyError):
        client.get_collection("others", embedding_function=None).fork("third")


@pytest.mark.embedded
def test_a_fork_has_all_records_and_is_independent(client):
    configuration = {"hnsw": {"space": "ip"}, "sparse": {}, "vectors": {"datatype": "float16"}}
    things = client.create_collection("things", configuration, embedding_function=letters)
    for start in range(0, 300, 50):
        things.add(
            ids=[str(i) for i in range(start, start + 50)],
            documents=[f"text {'ab' * (i % 7)}" for i in range(start, start + 50)],
            metadatas=[{"n": i} for i in range(start, start + 50)],
            sparse_embeddings=[
                {"indices": [i, 1_000], "values": [1.0, 2.0]} for i in range(start, start + 50)
            ],
        )
    things.update("7", documents="something else", metadatas={"n": None})
    things.delete(where={"n": {"$gte": 200, "$lt": 250}})
    things.create_index("n")
    everything = ["documents", "metadatas", "embeddings", "sparse_embeddings", "uris"]
    before = things.get(include=everything)
    query = {"query_texts": ["text abab", "something"], "n_results": 20, "mode": "hybrid"}
    answers = things.query(**query)
    fork = things.fork("forked")
    assert fork.configuration == things.configuration
    things.delete(ids=["0", "7"])
    things.add("new", documents="only here")
    for name, column in fork.get(include=everything).items():
        assert (
            np.array_equal(column, before[name]) if name == "embeddings" else column == before[name]
        )
    assert fork.query(**query)["ids"] == answers["ids"]
    assert fork.query(**query)["scores"] == answers["scores"]
    fork.upsert("0", documents="only there")
    assert fork.fork("again").count() == fork.count() == len(before["ids"])
    assert (things.count(), "new" in fork, things.get("0")["ids"]) == (249, False, [])
    client.delete_collection("things")
    assert fork.get("0")["documents"] == ["only there"]
    if client.path is None:
        return
    assert all(report.problem is None for report in client.verify())


def letters(texts):
    return [[text.count(c) for c in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


def test_a_fork_is_of_one_state_while_others_write(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        ids = [str(i) for i in range(300)]
        ended = threading.Event()

        def write():
            version = 0
            while not ended.is_set():
                version += 1
                things.upsert(
                    ids=ids, embeddings=[[float(version)]] * 300, metadatas=[{"v": version}] * 300
                )

        things.upsert(ids=ids, embeddings=[[0.0]] * 300, metadatas=[{"v": 0}] * 300)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for i in range(5):
                got = things.fork(f"fork{i}").get(include=["metadatas", "embeddings"])
                (version,) = {one["v"] for one in got["metadatas"]}
                assert len(got["ids"]) == 300 and (got["embeddings"] == version).all()
        finally:
            ended.set()
            writer.join()


def test_missing_collections_are_reported(client):
    things = filled(client, count=3)
    for wrong in ({"batch": 0}, {"include": ["distances"]}, {"where": {"$x": 1}}):
        with pytest.raises(InvalidArgumentError):
            things.iterate(**wrong)


def test_a_forked_child_leaves_the_copy_to_its_parent(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        iterators = [filled(client).iterate(batch=100)]
        next(iterators[0])
        assert in_child(iterators.clear) == 0
        assert len(list(iterators[0])) == COUNT - 1


def test_copies_of_dead_processes_are_removed_when_a_store_is_opened(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        rows = filled(client).iterate(batch=100)
        next(rows)
        code = (
            "import os, sys, retrieval_store as r\n"
            "rows = r.Client(sys.argv[1]).get_collection('things', None).iterate(batch=100)\n"
            "next(rows)\nos.kill(os.getpid(), 9)"
        )
        died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
        assert died.returncode == -9 and len(hidden(tmp_path)) == 2
        code = "import sys, retrieval_store as r; r.Client(sys.argv[1]).close()"
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        assert len(hidden(tmp_path)) == 1  # that of this process, which lives
        assert len(list(rows)) == COUNT - 1


def test_a_compaction_that_was_cut_short_is_not_copied(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client)
        things.update(ids=[f"p{i}" for i in range(100)], embeddings=[[0.0, 0.0]] * 100)
        with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
            steps.fail(patch, "switch_generation", KeyboardInterrupt)
            things.optimize()
        assert len(list(things.iterate(batch=100))) == COUNT
        assert things.fork("others").count() == COUNT
        things.snapshot(tmp_path / "snapshot.zip")
