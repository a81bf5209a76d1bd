"""The index: no wrong or missing hit, whatever was written by any process, also while it is
built."""

import random
import threading
from contextlib import ExitStack

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import ConflictError, InvalidArgumentError, PluginError
from tests.helpers import PATIENCE, steps
from tests.helpers.indexed import DIMENSION, SMALL, cloud, load_index, populated, space_of, until
from tests.helpers.processes import (
    opened,
    optimize_again_and_again,
    read_whole_points,
    running,
    write_counters,
)
from tests.helpers.tuned import tuned, use_index

pytestmark = pytest.mark.embedded


def method(collection, **query):
    return collection.explain(query_embeddings=[0.0] * DIMENSION, **query)["plans"][-1]["method"]


def test_a_filter_on_a_cluster_far_from_the_query_is_answered_exactly(eager, client):
    things = client.create_collection("things", SMALL, embedding_function=None)
    near, far = cloud(2_000), cloud(500, 1) + 50
    things.add(
        ids=[f"near {i}" for i in range(2_000)], embeddings=near, metadatas=[{"far": False}] * 2_000
    )
    things.add(
        ids=[f"far {i}" for i in range(500)], embeddings=far, metadatas=[{"far": True}] * 500
    )
    things.optimize()
    for query in cloud(10, 2):
        found = things.query(query_embeddings=query, where={"far": True}, n_results=10)
        distances = ((far - query) ** 2).sum(axis=1)
        assert found["ids"][0] == [f"far {i}" for i in np.argsort(distances)[:10]]
    plans = things.explain(query_embeddings=cloud(1, 2), where={"far": True})["plans"]
    assert plans[0]["method"] == "over-fetch"
    assert plans[-1]["method"] == "exact"


@pytest.mark.parametrize("change", ["add_to", "load"])
def test_no_query_waits_for_an_index_that_grows_or_is_loaded(eager, built, monkeypatch, change):
    begun, release = threading.Event(), threading.Event()

    def held_up(change, *arguments):
        begun.set()
        assert release.wait(PATIENCE)
        change(*arguments)

    steps.around(monkeypatch, f"{change}_graph", held_up)
    with retrieval_store.Client(built) as client:
        things = client.get_collection("things", embedding_function=None)
        vector = cloud(1, 9)[0] * 3
        things.add(ids="new", embeddings=vector)  # which calls the background
        assert begun.wait(PATIENCE)
        assert things.query(query_embeddings=vector, n_results=1)["ids"] == [["new"]]
        assert method(things) == "exact"
        release.set()
        until(lambda: space_of(things)["indexed_slots"] == 1_001, "it wasn't finished")
        until(lambda: method(things) == "over-fetch", "it isn't used")


def test_dead_slots_are_removed_in_the_background(eager, client):
    things = populated(client)
    things.update(ids=[str(i) for i in range(900)], embeddings=cloud(900, 1))
    until(lambda: space_of(things)["dead_slots"] == 0, "nothing was compacted")
    until(lambda: space_of(things)["indexed_slots"] == 1_000, "the index wasn't built again")
    until(lambda: method(things) == "over-fetch", "it isn't used")
    assert things.query(query_embeddings=cloud(900, 1)[5], n_results=1)["ids"] == [["5"]]


def test_eight_threads_mixing_all_operations_agree_with_a_model(eager, client):
    things = populated(client, 400)
    errors = []

    def work(number):
        mine, moves = {}, random.Random(number)
        try:
            for step in range(60):
                ids = [f"{number}.{moves.randrange(30)}" for _ in range(3)]
                ids = list(dict.fromkeys(ids))
                vectors = cloud(len(ids), number * 1_000 + step) + 20 * number
                kind = moves.choice(["upsert", "upsert", "delete", "query", "get", "optimize"])
                if kind == "upsert":
                    things.upsert(
                        ids=ids,
                        embeddings=vectors,
                        metadatas=[{"by": number, "n": step}] * len(ids),
                    )
                    mine.update(zip(ids, vectors, strict=True))
                elif kind == "delete":
                    things.delete(ids=ids)
                    for i in ids:
                        mine.pop(i, None)
                elif kind == "get":
                    got = things.get(where={"by": number}, include=["embeddings"])
                    held = {
                        i: v.tolist() for i, v in zip(got["ids"], got["embeddings"], strict=True)
                    }
                    assert held == {i: v.tolist() for i, v in mine.items()}
                elif kind == "optimize" and step % 10 == 0:
                    things.optimize()
                elif mine:
                    query = vectors[0]
                    order = sorted(mine, key=lambda i: ((mine[i].astype(float) - query) ** 2).sum())
                    found = things.query(query_embeddings=query, where={"by": number}, n_results=5)
                    assert found["ids"][0] == order[:5]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_four_writing_and_two_reading_processes_while_the_index_is_built(tmp_path):
    opened(tmp_path)
    seconds = 1
    with ExitStack() as stack:

        def start(function, *arguments):
            return stack.enter_context(running(function, *arguments, eager=True))

        writers = [start(write_counters, tmp_path, w, seconds) for w in range(4)]
        readers = [start(read_whole_points, tmp_path, seconds) for _ in range(2)]
        optimizer = start(optimize_again_and_again, tmp_path)
        outputs = [process.communicate(timeout=seconds + PATIENCE) for process in writers + readers]
        assert optimizer.poll() is None, optimizer.stderr.read()
    assert [errors for _, errors in outputs] == [""] * 6
    expected = {}
    for output, _ in outputs[:4]:
        expected.update(point.split("=") for point in output.split()[1:])
    got = opened(tmp_path).get()
    assert {
        i: str(m["version"]) for i, m in zip(got["ids"], got["metadatas"], strict=True)
    } == expected


def test_explain_reports_the_steps_and_stats_the_sizes(client, monkeypatch):
    use_index(monkeypatch)
    tuned(monkeypatch, index_worth=100_000)
    things = client.create_collection("things", embedding_function=None)
    things.add(
        ids=[str(i) for i in range(2_000)],
        embeddings=cloud(2_000, dimension=64),
        metadatas=[{"n": i} for i in range(2_000)],
    )
    things.optimize()
    query = cloud(1, 5, 64)
    explanation = things.explain(query_embeddings=query)
    assert explanation["plans"][0]["method"] == "over-fetch"
    assert (
        explanation["plans"][0]["costs"]["over-fetch"] < explanation["plans"][0]["costs"]["exact"]
    )
    assert (explanation["points"], explanation["matching"], explanation["fresh"]) == (
        2_000,
        2_000,
        0,
    )
    assert {"filter", "over-fetch", "fetch"} <= set(explanation["steps"])
    assert all(milliseconds >= 0 for milliseconds in explanation["steps"].values())
    assert things.explain(query_embeddings=query, exact=True)["plans"][0]["method"] == "exact"
    rare = things.explain(query_embeddings=query, where={"n": {"$lt": 50}})
    assert (rare["matching"], rare["plans"][0]["method"]) == (50, "exact")
    none = things.explain(query_embeddings=query, where={"n": -1})
    assert (none["matching"], none["plans"][0]["method"]) == (0, "nothing matches")
    assert things.explain(query_embeddings=query, ef=555)["plans"][0]["ef"] == 555
    stats = things.stats()
    assert stats["points"] == 2_000
    assert stats["spaces"][""] == {
        "dimension": 64,
        "vectors": 2_000,
        "dead_slots": 0,
        "index": "hnsw",
        "indexed_slots": 2_000,
        "index_seconds_left": None,
        "coded_slots": stats["spaces"][""]["coded_slots"],  # as many as this processor is worth
    }
    assert stats["memory"]["indexes"] > 2_000 * 64 * 4
    assert stats["memory"]["columns"] > 2_000 * 8
    if client.path is not None:
        assert stats["disk"]["vectors"] >= 2_000 * 64 * 4
        assert stats["disk"]["derived"] > 2_000 * 64 * 4
        assert stats["disk"]["points"] > 0


def test_ef_search_can_be_changed_for_every_process(eager, tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)
        things.optimize()
        assert things.explain(query_embeddings=[0] * DIMENSION)["plans"][0]["ef"] == 20
        with retrieval_store.Client(tmp_path, read_only=True) as other:
            reader = other.get_collection("things", embedding_function=None)
            assert load_index(reader) == 1_000
            assert reader.explain(query_embeddings=[0] * DIMENSION)["plans"][0]["ef"] == 20
            things.modify(configuration={"hnsw": {"ef_search": 77}})
            assert reader.explain(query_embeddings=[0] * DIMENSION)["plans"][0]["ef"] == 77
            assert reader.configuration["hnsw"]["ef_search"] == 77


def test_a_collection_may_do_without_an_index(eager, client):
    things = populated(client, configuration={"index": "exact"})
    things.optimize()
    assert space_of(things)["indexed_slots"] == 0
    assert method(things) == "exact"
    assert things.configuration["index"] == {"name": "exact", "settings": {}}
    with pytest.raises(ConflictError, match="index"):
        client.get_or_create_collection("things", {"index": "hnsw"}, embedding_function=None)


def test_an_unknown_index_or_unknown_settings_of_an_index_are_refused(client):
    for index, error, message in [
        ("magic", PluginError, "no plugin 'magic'"),
        ({"name": 3}, InvalidArgumentError, "name.* is 3"),
        ({"name": "hnsw", "settings": {"ef_search": 3}}, InvalidArgumentError, "under 'hnsw'"),
        ({"names": "hnsw"}, InvalidArgumentError, "unknown key 'names'"),
        (7, InvalidArgumentError, "is 7"),
    ]:
        with pytest.raises(error, match=message):
            client.create_collection("things", {"index": index})
        assert client.count_collections() == 0


@pytest.mark.parametrize("size", [1e20, 1e-25])
def test_vectors_that_float32_cannot_multiply_are_found_with_an_index(eager, client, size):
    things = populated(client)
    things.optimize()
    things.add(ids=["odd", "odder"], embeddings=[[size] * DIMENSION, [-size] * DIMENSION])
    assert things.query(query_embeddings=[size] * DIMENSION, n_results=1)["ids"] == [["odd"]]
    things.optimize()
    assert things.query(query_embeddings=[-size] * DIMENSION, n_results=1)["ids"] == [["odder"]]
    assert len(things.query(query_embeddings=[0.5] * DIMENSION, n_results=1_002)["ids"][0]) == 1_002
