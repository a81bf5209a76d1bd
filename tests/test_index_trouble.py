"""Indexes and lists when things go wrong: interruptions, odd data, tampering, many collections."""

import gc
import json
import os
import random
import threading
import zlib

import numpy as np
import pytest

import retrieval_store
from retrieval_store.engine.database.opening import connect
from retrieval_store.engine.storage.schema import POINTS
from retrieval_store.engine.upkeep import background as upkeep
from retrieval_store.engine.upkeep import compaction, filling, maintenance, saving
from retrieval_store.errors import DamagedError, NotFoundError
from retrieval_store.indexes.hnsw import HEADER, HNSWIndex

from .processes import optimize_again_and_again, running
from .test_index import DIMENSION, SMALL, cloud, eager, populated, space_of, until  # noqa: F401
from .test_index_files import index_file
from .test_trigrams_and_list_files import use_trigrams

pytestmark = [pytest.mark.embedded, pytest.mark.usefixtures("eager")]


def recall(things, queries=None, k=10):
    queries = cloud(40, 99) if queries is None else queries
    found = things.query(query_embeddings=queries, n_results=k)["ids"]
    exact = things.query(query_embeddings=queries, n_results=k, exact=True)["ids"]
    assert all(len(ids) == k for ids in found)
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(found, exact, strict=True)])


def sql(store, statement, *parameters):
    (file,) = store.glob("*/points.sqlite")
    connection = connect(file, POINTS, "full").connection
    connection.execute(statement, parameters)
    connection.close()


def test_a_compaction_that_was_interrupted_leaves_no_index_behind(client, monkeypatch):
    things = populated(client, 3_000)
    things.optimize()
    things.delete(ids=[str(i) for i in range(0, 3_000, 30)])
    monkeypatch.setattr(compaction, "SLICE_BYTES", 16 * 1024)
    append, calls = compaction.append_rows, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return append(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "append_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            things.optimize()
    things.optimize()
    assert space_of(things)["indexed_slots"] == 2_900
    assert recall(things) > 0.95


def test_another_process_that_compacts_meanwhile_is_no_damage(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client, 500)
        things.optimize()
        things.delete(ids=[str(i) for i in range(50)])
        monkeypatch.setattr(upkeep._upkeep, "_stopping", True)  # only what follows here
        things.add(ids=["more"], embeddings=cloud(1))
    take_in, compacted = filling._take_in, []

    def too_late(*arguments):
        if not compacted:
            compacted.append(True)
            with running(optimize_again_and_again, tmp_path, "once", eager=True) as process:
                assert process.wait(60) == 0
        take_in(*arguments)

    monkeypatch.setattr(filling, "_take_in", too_late)
    monkeypatch.setattr(maintenance, "as_only_process", lambda points, wait, work: work(False))
    things = retrieval_store.Client(tmp_path).get_collection("things", embedding_function=None)
    points = things._backend.points
    assert maintenance.tend(points, lambda *counts: None)  # there is more to do, that's all
    assert not maintenance.tend(points, lambda *counts: None)
    assert compacted
    assert space_of(things)["indexed_slots"] == 451


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_compaction_keeps_what_float32_cannot_multiply_out_of_the_index(client, size):
    things = client.create_collection(
        "things", {"hnsw": {**SMALL["hnsw"], "space": "cosine"}}, embedding_function=None
    )
    vectors = cloud(1_000)
    vectors[::50] *= size
    things.add(ids=[str(i) for i in range(1_000)], embeddings=vectors)
    things.delete(ids=[str(i) for i in range(0, 1_000, 30)])
    things.optimize()
    assert recall(things) > 0.98


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_vectors_close_together_are_told_apart(client, metric, spread):
    things = client.create_collection(
        "things", {"hnsw": {"space": metric}}, embedding_function=None
    )
    base = cloud(1, 5, 16)
    things.add(ids=[str(i) for i in range(3_000)], embeddings=base + spread * cloud(3_000, 6, 16))
    things.optimize()
    assert recall(things, base + spread * cloud(20, 7, 16)) > 0.97


def test_a_client_collected_by_the_upkeep_thread_closes_without_a_deadlock(tmp_path, monkeypatch):
    tended, done = maintenance.tend, threading.Event()

    def collecting(points, progress):
        points.read(lambda view: gc.collect())
        done.set()
        return tended(points, progress)

    monkeypatch.setattr(upkeep, "tend", collecting)
    client = retrieval_store.Client(tmp_path)
    things = populated(client, 300)
    cycle = [client, things]
    cycle.append(cycle)
    things._backend.points._attend_now_and_then(10_000)
    del client, things, cycle
    assert done.wait(30)
    with retrieval_store.Client(tmp_path) as again:
        assert again.get_collection("things", embedding_function=None).count() == 300
    until(lambda: upkeep._upkeep._thread is None, "the upkeep thread hangs")


@pytest.mark.parametrize(
    "settings",
    [
        {"ef_search": 0},
        {"max_neighbors": 1},
        {"max_neighbors": "x"},
        {"ef_construction": -1},
        {"nonsense": 1},
    ],
)
def test_stored_settings_that_cannot_be_cost_the_index_only(tmp_path, settings):
    with retrieval_store.Client(tmp_path) as client:
        populated(client)
    stored = json.dumps({"name": "hnsw", "settings": settings})
    sql(tmp_path, "UPDATE spaces SET indexing = ?", stored.encode())
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        assert len(things.query([[0] * DIMENSION])["ids"][0]) == 10
        things.delete(ids=["1", "2"])
        things.optimize()
        assert space_of(things)["dead_slots"] == 0
        assert recall(things) > 0.9


@pytest.mark.parametrize("kind", ["no links", "not a number"])
def test_a_hostile_index_gives_neither_fewer_hits_nor_raw_errors(tmp_path, kind):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    file = index_file(tmp_path)
    data = bytearray(file.read_bytes())
    element = 4 * (2 * 8 + 1) + 4 * DIMENSION + 8
    for i in range(1_000):
        start = HEADER.itemsize + i * element
        if kind == "no links":
            data[start : start + 4] = bytes(4)
        elif i % 3 == 0:
            data[start + 4 * 17 : start + 4 * 18] = np.float32(np.nan).tobytes()
    file.write_bytes(data)
    sql(tmp_path, "UPDATE derived SET checksum = ?", zlib.crc32(data))
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("things", embedding_function=None)
        for query in cloud(50, 3):
            assert len(things.query(query_embeddings=query)["ids"][0]) == 10


def test_an_index_is_finished_though_many_other_collections_are_used(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        others = [
            client.create_collection(f"other-{i}", embedding_function=None) for i in range(20)
        ]
        things = populated(client, 3_000)
        stop = threading.Event()

        def use_others():
            while not stop.is_set():
                for other in others:
                    other.count()

        thread = threading.Thread(target=use_others)
        thread.start()
        try:
            things.optimize()
            assert len(list(tmp_path.glob(f"{things.id}/derived/index*"))) == 1
        finally:
            stop.set()
            thread.join()
        things.query([[0] * DIMENSION])
        assert space_of(things)["indexed_slots"] == 3_000


def test_writing_goes_on_where_no_thread_can_be_started(client, monkeypatch):
    until(lambda: upkeep._upkeep._thread is None, "the upkeep is busy")

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        things = populated(client)
        assert things.count() == 1_000
    things.add(ids="more", embeddings=[[1] * DIMENSION])
    until(lambda: space_of(things)["indexed_slots"] >= 1_000, "upkeep never began again")


def test_closing_closes_everything_whatever_saving_raises(tmp_path, monkeypatch, caplog):
    client = retrieval_store.Client(tmp_path)
    populated(client).optimize()

    def broken(*_):
        raise RuntimeError("hnswlib says no")

    monkeypatch.setattr(HNSWIndex, "save", broken)
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


@pytest.mark.parametrize(
    "settings",
    [{"text": {}}, {"text": 3}, {"text": {"language": 5}}, {"index": {}}, {"index": 3}],
)
def test_settings_in_a_tampered_catalog_are_damage(tmp_path, settings):
    from retrieval_store.engine.storage.catalog import CATALOG

    with retrieval_store.Client(tmp_path) as client:
        populated(client)
    connection = connect(tmp_path / "catalog.sqlite", CATALOG, "full").connection
    ((held,),) = connection.execute("SELECT settings FROM collections").fetchall()
    changed = json.dumps({**json.loads(held), **settings}).encode()
    connection.execute("UPDATE collections SET settings = ?", (changed,))
    connection.close()
    with (
        retrieval_store.Client(tmp_path) as client,
        pytest.raises(DamagedError, match="no such settings"),
    ):
        client.get_collection("things", embedding_function=None)


def test_stats_can_be_asked_for_beside_maintenance(tmp_path):
    errors, stop = [], threading.Event()
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)

        def ask():
            while not stop.is_set():
                try:
                    things.stats()
                except Exception as error:
                    errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        for i in range(15):
            things.update(ids=["1"], embeddings=cloud(1, i))
            things.optimize()
        stop.set()
        thread.join()
    assert errors == []


# words


def texts_of(client, count=300):
    things = client.create_collection("texts", embedding_function=None)
    things.add(
        ids=[str(i) for i in range(count)],
        documents=[f"w{i % 7} w{i % 11} some words number {i}" for i in range(count)],
        embeddings=np.zeros((count, 2)),
    )
    return things


def test_text_queries_and_optimize_beside_a_writer_raise_nothing(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)
    errors, stop = [], threading.Event()
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)

        def run(work):
            try:
                while not stop.is_set():
                    work()
            except Exception as error:
                errors.append(error)

        moves = random.Random(3)

        def ask():
            i = moves.randrange(200)
            where = {"$or": [{"$regex": f"w{i % 7}|x{i}"}, {"$contains": f"number {i}"}]}
            things.query(query_texts="words w5", mode="text", where_document=where)

        def write():
            point_id = str(moves.randrange(400))
            things.upsert(ids=point_id, documents=f"w5 {point_id} text", embeddings=[[1, 1]])
            things.query(query_texts="w5", mode="text")

        threads = [threading.Thread(target=run, args=(work,)) for work in (ask, ask, ask, write)]
        for thread in threads:
            thread.start()
        for _ in range(12):
            things.optimize()
        stop.set()
        for thread in threads:
            thread.join()
        assert errors == []
        assert all(report.problem is None for report in client.verify())


def test_after_optimize_no_deleted_word_is_left_in_any_file(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)

    def left(*words):
        data = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        return [word for word in words if word.encode() in data]

    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.update(
            ids=["7", "8"], documents=["zzsecret text", "qqreplaced text"], embeddings=[[1, 1]] * 2
        )
        things.query(query_texts="zzsecret", mode="text")
        things.get(where_document={"$contains": "zzsecret"})
        things.optimize()
        assert left("zzsecret", "qqreplaced") == ["zzsecret", "qqreplaced"]
        things.delete(ids="7")
        things.update(ids="8", documents="changed", embeddings=[[1, 1]])
        things.optimize()
        assert left("zzsecret", "qqreplaced") == []
        assert things.query(query_texts="changed", mode="text")["ids"] == [["8"]]
        things.update(ids="9", documents="zzsecret again", embeddings=[[1, 1]])
        things.query(query_texts="zzsecret", mode="text")
        things.optimize()
        things.delete(ids="9")
    with retrieval_store.Client(tmp_path) as client:  # which never asked for a word
        client.get_collection("texts", embedding_function=None).optimize()
    assert left("zzsecret") == []


def test_lists_of_a_former_analyzer_and_damaged_ones_do_not_stay(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        for stopwords in (["a"], ["b"], ["c"]):
            things.modify(configuration={"text": {"stopwords": stopwords}})
            things.query(query_texts="words", mode="text")
            things.optimize()
            assert len(list(tmp_path.glob("*/derived/words*"))) == 1
    (file,) = tmp_path.glob("*/derived/words*")
    file.write_bytes(b"something else" + file.read_bytes()[14:])
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("texts", embedding_function=None)
        assert things.query(query_texts="w5", mode="text")["ids"][0]
        things.optimize()
        assert all(report.problem is None for report in client.verify())


def test_settings_for_words_change_key_by_key_and_back(client):
    things = client.create_collection(
        "things", {"text": {"language": "english", "stopwords": True}}, embedding_function=None
    )
    things.add(ids=["a", "b"], documents=["two houses", "the house"], embeddings=[[1], [2]])
    things.modify(configuration={"text": {"stopwords": ["two"]}})
    assert things.configuration["text"]["language"] == "english"
    assert things.query(query_texts=["two", "housing"], mode="text")["ids"] == [[], ["a", "b"]]
    things.modify(configuration={"text": {"language": None, "stopwords": False}})
    assert things.configuration["text"] == {"language": None, "stemming": True, "stopwords": False}
    assert things.query(query_texts=["two", "house"], mode="text")["ids"] == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("language", "document", "query"),
    [
        ("russian", "новый дом", "новая"),
        ("french", "il a mangé", "mangée"),
        ("english", "NAÏVE", "naive"),
    ],
)
def test_stemmers_see_diacritics_and_searchers_need_not(client, language, document, query):
    things = client.create_collection(
        "things", {"text": {"language": language}}, embedding_function=None
    )
    things.add(ids=["a"], documents=[document], embeddings=[[1]])
    assert things.query(query_texts=query, mode="text")["ids"] == [["a"]]


def test_variation_selectors_are_no_words(client):
    things = client.create_collection("things", embedding_function=None)
    documents = ["I \u2764\ufe0f you", "step 1\ufe0f\u20e3 first"]
    things.add(ids=["1", "2"], documents=documents, embeddings=[[1], [1]])
    assert things.query(query_texts=["\u2600\ufe0f", "1", "you"], mode="text")["ids"] == [
        [],
        ["2"],
        ["1"],
    ]


def test_saved_trigrams_are_used_at_once(tmp_path, monkeypatch):
    use_trigrams(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        things = texts_of(client)
        things.get(where_document={"$contains": "number 7"})
        until(lambda: things.stats()["memory"]["words"] > 0, "no trigrams were built")
        things.optimize()
    monkeypatch.setattr("retrieval_store.engine.state.layers.WANTED_AFTER", 1_000)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("texts", embedding_function=None)
        told = things.explain([[0, 0]], where_document={"$contains": "number 77"})
        assert "by trigrams" in told["remarks"][0]


def test_a_collection_deleted_while_its_index_is_saved_is_not_found(tmp_path, monkeypatch):
    write_file = saving.derived.write_file
    monkeypatch.setattr(upkeep._upkeep, "_stopping", True)
    with retrieval_store.Client(tmp_path) as client:

        def delete_then_save(directory, key, save, seq):
            def save_too_late(path):
                client.delete_collection("things")
                return save(path)

            return write_file(directory, key, save_too_late, seq)

        things = populated(client)
        monkeypatch.setattr(saving.derived, "write_file", delete_then_save)
        with pytest.raises(NotFoundError):
            things.optimize()
