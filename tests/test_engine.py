"""The engine below Collection: typed ids, named spaces, files, formats, checksums."""

import contextlib
import gc
import os
import shutil
import subprocess
import sys
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import pytest

import retrieval_store
from retrieval_store.engine.answering import answer
from retrieval_store.engine.database.pools import MemoryDatabase
from retrieval_store.engine.filtering.masks import matching
from retrieval_store.engine.nearest.trace import Trace
from retrieval_store.engine.storage.schema import POINTS
from retrieval_store.engine.storage.vectors import rows_per_block
from retrieval_store.engine.store import Store
from retrieval_store.errors import DamagedError, FormatError, NotFoundError, StorageError
from retrieval_store.filters.expression import HasId, Range
from retrieval_store.interface.points import Fields, PointBatch, Vectors, WriteRules
from retrieval_store.interface.queries import Query
from retrieval_store.interface.spaces import NewSpace

from .test_exact_search import brute_force

ADD = WriteRules(known="refuse", new="insert")
UPSERT = WriteRules(known="update", new="insert")
EVERYTHING = Fields(payload=True, document=True, uri=True)


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    store = Store(tmp_path if request.param == "disk" else None, "full")
    yield store
    store.close()


def points_of(store, **spaces):
    new = {name: NewSpace(metric) for name, metric in spaces.items()}
    return store.points(store.create("things", {}, new).id)


def batch(ids, **vectors):
    matrices = {name: Vectors(np.array(rows, np.float32)) for name, rows in vectors.items()}
    return PointBatch(ids, matrices)


def test_strings_and_integers_are_different_ids(store):
    points = points_of(store, v="l2")
    ids = ["1", 1, 0, 2**64 - 1, 2**63, "18446744073709551615", "a\0b", "a"]
    points.put(batch(ids, v=[[i] for i in range(8)]), ADD)
    assert points.get(None, None, None, 0, Fields()).ids == ids
    for i, point_id in enumerate(ids):
        (hits,) = points.search(
            Query("v", np.array([[i]], np.float32), 1, HasId((point_id,))), Fields()
        )
        assert hits.points.ids == [point_id]
        assert hits.distances.tolist() == [0]
    assert points.delete([1, "a"], None, None) == 2
    assert points.get(["1", 1, "a\0b", "a"], None, None, 0, Fields()).ids == ["1", "a\0b"]


def test_named_spaces_have_their_own_metric_and_dimension(store):
    points = points_of(store, image="cosine", text="ip")
    points.put(batch(["both"], image=[[1, 0]], text=[[1, 2, 3]]), ADD)
    points.put(batch(["only text"], text=[[3, 2, 1]]), ADD)
    points.put(batch(["neither"]), ADD)
    query = Query("image", np.array([[0, 2]], np.float32), 9)
    (images,) = points.search(query, Fields(vectors="text"))
    assert images.points.ids == ["both"]
    assert images.distances.tolist() == [1]
    assert images.points.vectors.tolist() == [[1, 2, 3]]
    (texts,) = points.search(Query("text", np.array([[1, 1, 2]], np.float32), 9, None), Fields())
    assert texts.points.ids == ["both", "only text"]
    assert texts.distances.tolist() == [1 - 9, 1 - 7]
    vectors = points.get(None, None, None, 0, Fields(vectors="image")).vectors
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True]


def test_a_point_gets_vectors_for_some_spaces_and_positions(store):
    points = points_of(store, a="l2", b="l2")
    some = Vectors(np.array([[5], [6]], np.float32), np.array([0, 2]))
    points.put(PointBatch(["x", "y", "z"], {"a": some}), ADD)
    later = Vectors(np.array([[7, 7]], np.float32), np.array([1]))
    points.put(PointBatch(["x", "y"], {"b": later}), UPSERT)
    assert [
        np.nan_to_num(points.get(None, None, None, 0, Fields(vectors=s)).vectors, nan=-1).tolist()
        for s in "ab"
    ] == [[[5], [-1], [6]], [[-1, -1], [7, 7], [-1, -1]]]


def test_keys_are_never_reused(tmp_path):
    store = Store(tmp_path, "full")
    points = points_of(store, v="l2")
    for _ in range(3):
        points.put(batch(["a", "b"], v=[[1], [2]]), ADD)
        points.delete(["a", "b"], None, None)
    points.put(batch(["c"], v=[[3]]), ADD)
    store.close()
    (file,) = tmp_path.glob("*/points.sqlite")
    database = apsw.Connection(str(file))
    assert database.execute("SELECT pk FROM points").fetchall() == [(6,)]
    database.close()


def test_a_reader_of_another_store_object_follows_writes_of_every_kind(tmp_path):
    writer = Store(tmp_path, "full")
    points = points_of(writer, v="l2")
    reader = Store(tmp_path, "full").points(writer.named("things").id)
    random = np.random.default_rng(1)
    held = {}
    for step in range(150):
        ids = [int(i) for i in random.choice(40, random.integers(1, 12), replace=False)]
        if random.random() < 0.3:
            points.delete(ids, None, None)
            held = {i: v for i, v in held.items() if i not in ids}
        else:
            values = random.integers(0, 9, (len(ids), 2))
            points.put(batch(ids, v=values), UPSERT)
            held.update(zip(ids, values.tolist(), strict=True))
        if step % 7 == 0:  # so that several writes lie between two reads
            got = reader.get(None, None, None, 0, Fields(vectors="v"))
            vectors = got.vectors.tolist() if held else []
            assert dict(zip(got.ids, vectors, strict=True)) == held
            assert reader.count() == len(held)


def test_many_deletions_make_a_reader_number_its_rows_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval_store.engine.state.state.TOLERATED_DEAD_ROWS", 10)
    store = Store(tmp_path, "full")
    points = points_of(store, v="l2")
    for start in range(0, 200, 20):
        ids = list(range(start, start + 20))
        points.put(batch(ids, v=[[i] for i in ids]), ADD)
        points.get(None, None, None, 0, Fields())
        points.delete(ids[1:], None, None)
        assert points.get(None, None, None, 0, Fields()).ids == list(range(0, start + 1, 20))
    assert len(points.memory._moment.state.pks) < 60
    (hits,) = points.search(Query("v", np.array([[61]], np.float32), 2, None), Fields())
    assert hits.points.ids == [60, 80]


def test_a_reader_behind_the_change_log_loads_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("retrieval_store.engine.storage.write.LOG_WRITES", 4)
    monkeypatch.setattr("retrieval_store.engine.storage.write.TRIM_EVERY", 2)
    store = Store(tmp_path, "full")
    points = points_of(store, v="l2")
    points.put(batch([1, 2, 3], v=[[1], [2], [3]]), ADD)
    reader = Store(tmp_path, "full").points(store.named("things").id)
    assert reader.count() == 3
    points.delete([2], None, None)
    for value in range(20):
        points.put(batch([1], v=[[value]]), UPSERT)
    (file,) = tmp_path.glob("*/points.sqlite")
    database = apsw.Connection(str(file))
    assert database.execute("SELECT count(*) FROM changes").fetchall()[0][0] <= 6
    database.close()
    got = reader.get(None, None, None, 0, Fields(vectors="v"))
    assert (got.ids, got.vectors.tolist()) == ([1, 3], [[19], [3]])


def test_a_point_updated_and_deleted_between_two_reads_is_gone(tmp_path):
    store, other = Store(tmp_path, "full"), Store(tmp_path, "full")
    points = points_of(store, v="l2")
    points.put(batch(["a", "b"], v=[[0], [5]]), ADD)
    reader = other.points(store.named("things").id)
    query = np.zeros((1, 1), np.float32)
    assert reader.search(Query("v", query, 2, None), Fields())[0].points.ids == ["a", "b"]
    points.put(batch(["a"], v=[[1]]), UPSERT)
    points.put(batch(["a"], v=[[2]]), UPSERT)
    assert reader.search(Query("v", query, 2, None), Fields())[0].distances.tolist() == [4, 25]
    points.put(batch(["a"], v=[[3]]), UPSERT)
    points.delete(["a"], None, None)
    assert reader.search(Query("v", query, 2, None), Fields())[0].points.ids == ["b"]


def test_a_reader_keeps_its_state_while_others_write(tmp_path):
    store = Store(tmp_path, "full")
    points = points_of(store, v="l2")
    ids = [f"p{i}" for i in range(700)]
    points.put(batch(ids, v=[[i] for i in range(700)]), ADD)
    query = np.array([[300]], np.float32)

    def look(early):
        before = answer(early, Query("v", query, 5), Fields(), Trace())[0]
        points.delete(["p300", "p5"], None, None)
        points.put(batch(["p301", "new"], v=[[9999], [300]]), UPSERT)
        assert points.search(Query("v", query, 1, None), Fields())[0].points.ids == ["new"]
        assert points.count() == 699
        again = answer(early, Query("v", query, 5), Fields(vectors="v"), Trace())[0]
        assert again.points.ids == before.points.ids == ["p300", "p299", "p301", "p298", "p302"]
        assert again.points.vectors[:, 0].tolist() == [300, 299, 301, 298, 302]
        assert early.state.count == int(matching(early, None).sum()) == 700

    points.read(look)


def test_a_first_write_that_failed_does_not_fix_the_dimension(store, monkeypatch):
    points = points_of(store, v="l2")
    with monkeypatch.context() as patch:
        patch.setattr("retrieval_store.engine.storage.write._finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            points.put(batch(["a", "b"], v=np.ones((2, 8))), ADD)
    points.put(batch(["a", "b"], v=[[1, 2, 3], [4, 5, 6]]), ADD)
    points.put(batch(["c"], v=[[7, 8, 9]]), ADD)
    vectors = points.get(None, None, None, 0, Fields(vectors="v")).vectors
    assert vectors.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_a_reader_uses_a_column_that_was_built_for_a_later_state(store):
    points = points_of(store, v="l2")
    many = PointBatch(list(range(100)), {}, [{"n": i} for i in range(100)])
    points.put(many, ADD)
    database = points._database
    assert len(points.get(None, Range(("n",), gte=0), None, 0, Fields()).ids) == 100
    if isinstance(database, MemoryDatabase):
        return  # there a reader has the store for itself

    def look(early):
        points.put(PointBatch([1, 100], {}, [{"n": -5}, {"n": 6}]), UPSERT)
        assert points.get(None, Range(("n",), lt=0), None, 0, Fields()).ids == [1]
        assert not matching(early, Range(("n",), lt=0)).any()
        assert matching(early, Range(("n",), gte=0)).sum() == 100

    points.read(look)
    assert points.get(None, Range(("n",), gte=6), None, 0, Fields()).ids == [*range(6, 101)]


def test_columns_stay_right_when_the_notes_of_changes_run_out(store, monkeypatch):
    monkeypatch.setattr("retrieval_store.engine.state.layers.CHANGES_KEPT", 4)
    monkeypatch.setattr("retrieval_store.engine.memory.COLUMNS_KEPT", 2)
    points = points_of(store, v="l2")
    points.put(PointBatch(["a", "b"], {}, [{"x": 0, "y": 0, "z": 0}] * 2), ADD)
    for i in range(30):
        points.put(PointBatch(["a"], {}, [{"x": i, "y": i, "z": i}]), UPSERT)
        points.count()  # a step of the state that uses no column
        if i % 5 == 0:
            for key in "xyz":
                at_least = points.get(None, Range((key,), gte=i), None, 0, Fields()).ids
                assert at_least == (["a", "b"] if i == 0 else ["a"])


# files


def filled(path, count=2_000, dimension=8):
    with retrieval_store.Client(path) as client:
        collection = client.create_collection("things", embedding_function=None)
        collection.add(
            ids=[str(i) for i in range(count)],
            embeddings=np.arange(count * dimension).reshape(count, dimension),
            documents=[f"the text of document {i}" for i in range(count)],
            metadatas=[{"n": i} for i in range(count)],
        )


def flip(file, place):
    with file.open("r+b") as stream:
        stream.seek(place)
        (byte,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte ^ 1]))


def test_a_flipped_bit_in_a_vector_is_an_error_that_names_the_file(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/*.vectors")
    bad_row = 1_500
    flip(file, bad_row * 32)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        with pytest.raises(DamagedError, match=file.name):
            things.query(query_embeddings=np.zeros(8))
        with pytest.raises(DamagedError, match="block 2, vectors 1024 to 1535"):
            things.get(ids=str(bad_row), include=["embeddings"])
        assert rows_per_block(8) == 512
        # What the damage doesn't touch can still be read.
        assert things.get(ids="3", include=["embeddings"])["embeddings"][0, 0] == 24
        assert things.query(query_embeddings=np.zeros(8), ids=["7", "8"])["ids"] == [["7", "8"]]


def test_a_flipped_bit_in_a_document_is_an_error_that_names_the_file(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/points.sqlite")
    flip(file, file.read_bytes().index(b"document 1234"))
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        with pytest.raises(DamagedError, match=r"points\.sqlite is damaged"):
            things.get(ids="1234")


def test_a_vector_file_that_is_cut_off_or_missing_is_damage_and_no_crash(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/*.vectors")
    block = rows_per_block(8) * 32
    for spoil in (
        lambda: os.truncate(file, 2 * block),
        lambda: os.truncate(file, block + 1_000),
        lambda: os.truncate(file, 0),
        file.unlink,
    ):
        spoil()
        with retrieval_store.Client(tmp_path) as client:
            things = client.get_collection("things")
            with pytest.raises(DamagedError, match=file.name):
                things.query(query_embeddings=np.zeros(8))
            assert things.get(ids="5")["documents"] == ["the text of document 5"]


def test_vectors_are_written_whole_even_if_the_system_writes_little_at_a_time(
    tmp_path, monkeypatch
):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:1_000], offset))
    filled(tmp_path, count=700)
    with retrieval_store.Client(tmp_path) as client:
        vectors = client.get_collection("things").get(include=["embeddings"])["embeddings"]
        assert np.array_equal(vectors.ravel(), np.arange(700 * 8))


def test_lengths_that_float32_can_t_square_are_noted_in_whichever_block_they_are(tmp_path):
    vectors = np.random.default_rng(2).standard_normal((1_500, 8)).astype(np.float32)
    vectors[3] *= 1e25
    store = Store(tmp_path, "full")
    for metric in ("l2", "ip", "cosine"):
        points = store.points(store.create(f"by {metric}", {}, {"v": NewSpace(metric)}).id)
        points.put(batch(list(range(1_500)), v=vectors), ADD)
        for query in (vectors[3], vectors[1_400]):
            (hits,) = points.search(Query("v", query[np.newaxis], 3, None), Fields())
            expected = np.sort(brute_force(query, vectors, metric))[:3]
            assert np.allclose(hits.distances, expected, rtol=1e-9, atol=1e-12)


def test_a_torn_tail_of_the_vector_file_is_invisible_and_overwritten(tmp_path):
    filled(tmp_path, count=10)
    (file,) = tmp_path.glob("*/*.vectors")
    with file.open("r+b") as stream:
        stream.seek(10 * 32)
        stream.write(b"\xff" * 1_000)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        assert things.count() == 10
        things.add(ids="new", embeddings=np.ones(8))
        assert things.query(query_embeddings=np.ones(8), n_results=1)["ids"] == [["new"]]


def test_databases_of_another_kind_or_a_newer_version_are_refused(tmp_path):
    filled(tmp_path / "store")
    (points,) = (tmp_path / "store").glob("*/points.sqlite")
    catalog = tmp_path / "store" / "catalog.sqlite"
    for pragma, message in (
        ("user_version = 99", "format version 99"),
        ("application_id = 7", "not"),
    ):
        for file in (points, catalog):
            kept = tmp_path / "kept"
            shutil.copytree(tmp_path / "store", kept)
            database = apsw.Connection(str(file), vfs="cksmvfs")
            database.execute(f"PRAGMA {pragma}")
            database.close()
            with pytest.raises(FormatError, match=message):
                retrieval_store.Client(tmp_path / "store").get_collection("things").count()
            shutil.rmtree(tmp_path / "store")
            kept.rename(tmp_path / "store")


def as_version_1(store):
    """Take back what the second format version added."""
    for file in store.glob("*/points.sqlite"):
        database = apsw.Connection(str(file), vfs="cksmvfs")
        database.execute(
            "ALTER TABLE spaces DROP COLUMN indexing; ALTER TABLE spaces DROP COLUMN kind;"
            "DROP TABLE derived; DROP TABLE blobs; PRAGMA user_version = 1"
        )
        database.close()


def test_a_store_of_an_older_format_is_brought_up_to_date(tmp_path):
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        before = client.get_collection("things").get(include=["embeddings", "documents"])
    as_version_1(tmp_path)
    with (
        retrieval_store.Client(tmp_path, read_only=True) as client,
        pytest.raises(FormatError, match="open the store once without"),
    ):
        client.get_collection("things").count()
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        after = things.get(include=["embeddings", "documents"])
        assert (after["ids"], after["documents"]) == (before["ids"], before["documents"])
        assert np.array_equal(after["embeddings"], before["embeddings"])
        things.modify(configuration={"hnsw": {"ef_search": 50}})
        things.upsert(ids="new", embeddings=np.ones(8))
        things.optimize()
        assert all(report.problem is None for report in client.verify())
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        assert client.get_collection("things").count() == len(before["ids"]) + 1


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    filled(tmp_path)
    as_version_1(tmp_path)
    (points,) = tmp_path.glob("*/points.sqlite")
    broken = {1: POINTS.migrations[1] + "; SELECT * FROM nowhere"}
    with monkeypatch.context() as patch:
        patch.setattr("retrieval_store.engine.points.POINTS", replace(POINTS, migrations=broken))
        with retrieval_store.Client(tmp_path) as client, pytest.raises(StorageError):
            client.get_collection("things").count()
    database = apsw.Connection(str(points), vfs="cksmvfs")
    assert database.execute("PRAGMA user_version").fetchall() == [(1,)]
    database.close()
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").count() > 0


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"certainly not a database" * 1_000)
    with pytest.raises(StorageError, match=r"catalog\.sqlite"):
        retrieval_store.Client(tmp_path)


@pytest.mark.parametrize("step", ["_remove", "_forget"])
def test_an_interrupted_deletion_takes_no_more_writes_and_is_finished(tmp_path, monkeypatch, step):
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        handle = client.get_collection("things")
        with monkeypatch.context() as patch:
            patch.setattr(Store, step, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                client.delete_collection("things")
        with pytest.raises(ValueError, match="deleted"):
            handle.add(ids="new", embeddings=np.ones(8))
        with pytest.raises(ValueError, match="no collection"):
            client.get_collection("things")
        assert client.list_collections() == []
        assert client.get_or_create_collection("things", embedding_function=None).count() == 0
        client.delete_collection("things")
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.sqlite"]


def test_a_read_only_store_does_not_list_what_is_deleted(tmp_path, monkeypatch):
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("other", embedding_function=None)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "_remove", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                client.delete_collection("things")
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        assert [found.name for found in client.list_collections()] == ["other"]
        assert client.list_collections(offset=1) == []
        assert client.count_collections() == 1
        with pytest.raises(NotFoundError):
            client.get_collection("things")


def test_a_deletion_that_died_is_finished_and_nothing_else_is_removed(tmp_path, monkeypatch):
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("gone", embedding_function=None)
        with monkeypatch.context() as patch:
            patch.setattr("retrieval_store.engine.store.remove_collection", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                client.delete_collection("gone")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "points.sqlite").write_text("mine")
    stranger = tmp_path / str(uuid.uuid4())
    stranger.mkdir()
    (stranger / "0.0.vectors").write_bytes(b"somebody's")
    (tmp_path / f"{uuid.uuid4()}.dropped").symlink_to(tmp_path / "notes")
    before = {path for path in tmp_path.rglob("*") if ".dropped/" not in str(path)}
    grave = next(
        path for path in tmp_path.glob("*.dropped") if path.is_dir() and not path.is_symlink()
    )
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").count() > 0
        assert not grave.exists()
    assert {*tmp_path.rglob("*")} == before - {grave}


def test_a_deletion_interrupted_in_memory_is_finished_too(monkeypatch):
    with retrieval_store.Client() as client:
        handle = client.create_collection("things", embedding_function=None)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "_remove", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                client.delete_collection("things")
        for _ in range(2):
            with pytest.raises(NotFoundError):
                handle.count()
        assert client.get_or_create_collection("things", embedding_function=None).count() == 0


def test_a_collection_whose_files_are_gone_can_be_deleted(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/points.sqlite")
    file.unlink()
    with retrieval_store.Client(tmp_path, allow_reset=True) as client:
        with pytest.raises(DamagedError, match=r"points\.sqlite is missing"):
            client.get_collection("things").count()
        client.reset()
        assert client.list_collections() == []


MANY_COLLECTIONS = """
import resource, sys, retrieval_store
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
path, count = sys.argv[1], int(sys.argv[2])
for attempt in range(2):
    with retrieval_store.Client(path) as client:
        for i in range(count):
            things = client.get_or_create_collection(f"collection-{i}", embedding_function=None)
            things.upsert(ids=str(attempt), embeddings=[i])
        handles = client.list_collections()
        assert len(handles) == count
        for i in range(0, count, 7):
            things = client.get_collection(f"collection-{i}")
            assert things.query(query_embeddings=[i])["ids"] == [["0", "1"][: attempt + 1]]
        print(sum(things.count() for things in handles))
"""


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_many_collections_work_with_few_descriptors(tmp_path, count):
    command = [sys.executable, "-c", MANY_COLLECTIONS, str(tmp_path), str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == [str(count), str(2 * count)], done.stderr


def test_a_damaged_collection_can_be_deleted_and_does_not_bother_others(tmp_path):
    filled(tmp_path)
    (file,) = tmp_path.glob("*/points.sqlite")
    file.write_bytes(b"\0" * 50_000)
    with retrieval_store.Client(tmp_path) as client:
        other = client.create_collection("other", embedding_function=None)
        with pytest.raises(StorageError):
            client.get_collection("things").count()
        other.add(ids="a", embeddings=[1])
        client.delete_collection("things")
        assert [collection.name for collection in client.list_collections()] == ["other"]
        assert other.count() == 1


def test_a_store_whose_directory_was_deleted_or_replaced_takes_no_writes(tmp_path):
    path = tmp_path / "store"
    for replaced in (False, True):
        filled(path, count=10)
        with retrieval_store.Client(path) as client:
            things = client.get_collection("things")
            things.count()
            shutil.rmtree(path)
            if replaced:
                filled(path, count=3)
            for use in (
                lambda things=things: things.update(ids="1", metadatas={"n": 2}),
                lambda things=things: things.delete(ids="1"),
                lambda things=things: things.add(ids="new", embeddings=np.ones(8)),
                things.count,
                lambda client=client: client.create_collection("other", embedding_function=None),
            ):
                with pytest.raises((StorageError, NotFoundError)):
                    use()
            if replaced:
                with retrieval_store.Client(path) as another:
                    assert another.get_collection("things").count() == 3
        shutil.rmtree(path, ignore_errors=True)


def test_a_collection_is_whole_once_it_has_a_name_even_with_relaxed_durability(tmp_path):
    with retrieval_store.Client(tmp_path, durability="relaxed") as client:
        client.create_collection("things", embedding_function=None)
        copy = tmp_path.parent / "after the power cut"
        shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("points.sqlite-*"))
    with retrieval_store.Client(copy) as client:
        client.get_collection("things").add(ids="a", embeddings=[1])


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path):
    file = tmp_path / "catalog.sqlite"
    database = apsw.Connection(str(file))
    database.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    database.close()
    before = file.read_bytes()
    with pytest.raises(FormatError, match="not a database of retrieval-store"):
        retrieval_store.Client(tmp_path)
    assert file.read_bytes() == before


def test_a_collection_deleted_by_another_process_holds_no_files_open(tmp_path):
    def descriptors():
        links = []
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                links.append(os.readlink(link))
        return [link for link in links if link.endswith(" (deleted)") and str(tmp_path) in link]

    other = Store(tmp_path, "full")
    with retrieval_store.Client(tmp_path) as client:
        for name in ("one", "two", "three"):
            things = client.create_collection(name, embedding_function=None)
            things.add(ids="a", embeddings=[1])
            things.query(query_embeddings=[1])
            other.drop(name)
            with pytest.raises(NotFoundError):
                things.count()
            with pytest.raises(NotFoundError):
                things.count()
            del things
        gc.collect()
        assert descriptors() == []


def test_threads_that_wait_while_a_collection_is_deleted_learn_that_it_is_gone(tmp_path):
    for path in (None, tmp_path):
        with retrieval_store.Client(path) as client:
            things = client.create_collection("things", embedding_function=None)
            ends = []

            def work(number, things=things, ends=ends):
                try:
                    for i in range(10**9):
                        things.upsert(ids=f"{number}.{i}", embeddings=[i])
                        things.count()
                except Exception as error:
                    ends.append(type(error))

            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            while things.count() < 40:
                pass
            client.delete_collection("things")
            for thread in threads:
                thread.join()
            assert ends == [NotFoundError] * 4
