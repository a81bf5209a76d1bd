"""Vector files: torn, truncated, with flipped bits, or written in small parts."""

import errno
import os

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import DamagedError, StorageError, StorageFullError
from retrieval_store.query.types import Fields, NewSpace
from tests.helpers import inside, steps
from tests.helpers.batches import ADD, batch
from tests.helpers.oracle import brute_force
from tests.helpers.questions import nearest_to, search
from tests.helpers.small_stores import filled, sql
from tests.helpers.tuned import tuned


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
        assert inside.rows_per_block(32) == 512
        # What the damage doesn't touch can still be read.
        assert things.get(ids="3", include=["embeddings"])["embeddings"][0, 0] == 24
        assert things.query(query_embeddings=np.zeros(8), ids=["7", "8"])["ids"] == [["7", "8"]]


def test_a_flipped_bit_is_found_when_all_other_blocks_were_read_before(tmp_path):
    filled(tmp_path, count=40, dimension=1 << 14)
    (file,) = tmp_path.glob("*/*.vectors")
    flip(file, 1 << 16)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        things.get(ids=[str(i) for i in range(4, 40)], include=["embeddings"])
        with pytest.raises(DamagedError, match="block 0, vectors 0 to 3"):
            things.get(ids="1", include=["embeddings"])


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
    block = inside.rows_per_block(32) * 32
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
    store = inside.opened(tmp_path)
    for metric in ("l2", "ip", "cosine"):
        points = store.points(store.create(f"by {metric}", {}, {"v": NewSpace(metric)}).id)
        points.put(batch(list(range(1_500)), v=vectors), ADD)
        for query in (vectors[3], vectors[1_400]):
            (hits,) = search(points, nearest_to("v", query[np.newaxis], 3, None), Fields())
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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "no space left")])
def test_vectors_that_cannot_be_appended_take_no_room_afterwards(tmp_path, monkeypatch, error):
    filled(tmp_path, count=10)
    (file,) = tmp_path.glob("*/*.vectors")
    size = file.stat().st_size
    more = {"ids": [f"more {i}" for i in range(20_000)], "embeddings": np.ones((20_000, 8))}
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        rows = things.get(include=["embeddings"])["embeddings"]  # by a map of the file
        with monkeypatch.context() as patch:
            steps.fail(patch, "sync_vectors", error)
            with pytest.raises((KeyboardInterrupt, StorageFullError)):
                things.add(**more)
        assert file.stat().st_size == size
        assert np.array_equal(things.get(include=["embeddings"])["embeddings"], rows)
        things.add(**more)
        assert np.array_equal(
            things.get(ids="more 19999", include=["embeddings"])["embeddings"], np.ones((1, 8))
        )
        assert all(report.problem is None for report in client.verify())


def lost_to_a_power_cut(path):
    """A collection of 20 points; the vectors of the last ten never reached the disk."""
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=[str(i) for i in range(10)], embeddings=np.eye(10, 8))
        for i in range(10, 20):
            things.add(ids=str(i), embeddings=np.full(8, i))
    (file,) = path.glob("*/*.vectors")
    with file.open("r+b") as stream:
        stream.seek(10 * 32)
        stream.write(bytes(10 * 32))
    return file


def check_that_all_are_there(things):
    got = things.get(include=["embeddings"])
    kept = [vector for i, vector in zip(got["ids"], got["embeddings"].tolist(), strict=True)]
    assert kept == [*np.eye(10, 8).tolist(), *([i] * 8 for i in range(10, len(kept)))]
    assert len(kept) >= 20


@pytest.mark.parametrize("cut_off", [False, True])
def test_vectors_lost_in_a_power_cut_are_restored(tmp_path, cut_off):
    file = lost_to_a_power_cut(tmp_path)
    if cut_off:  # as where a file had become longer, and that was lost too
        os.truncate(file, 10 * 32)
    with retrieval_store.Client(tmp_path) as client:
        check_that_all_are_there(client.get_collection("things", embedding_function=None))
        assert all(report.problem is None for report in client.verify())
    assert len(file.read_bytes()) >= 20 * 32


def test_a_writer_that_reads_nothing_syncs_data_lost_in_a_power_cut(tmp_path, monkeypatch):
    file = lost_to_a_power_cut(tmp_path)
    tuned(monkeypatch, unsynced_bytes=0)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        things.add(ids="20", embeddings=np.full(8, 20))
    assert np.frombuffer(file.read_bytes()[19 * 32 : 21 * 32], "f4").tolist() == [19] * 8 + [20] * 8
    with retrieval_store.Client(tmp_path) as client:
        check_that_all_are_there(client.get_collection("things", embedding_function=None))


def test_an_error_asks_a_read_only_user_to_open_the_store_for_writing_after_a_power_cut(tmp_path):
    file = lost_to_a_power_cut(tmp_path)
    before = file.read_bytes()
    with (
        retrieval_store.Client(tmp_path, read_only=True) as client,
        pytest.raises(StorageError, match="open the store once without read_only=True"),
    ):
        client.get_collection("things").query(query_embeddings=np.zeros(8))
    assert file.read_bytes() == before
    for read_only in (False, True):
        with retrieval_store.Client(tmp_path, read_only=read_only) as client:
            check_that_all_are_there(client.get_collection("things", embedding_function=None))


def test_copies_and_compacted_collections_hold_no_vector_twice(tmp_path):
    def held(path):
        files = [file for file in path.rglob("*") if file.is_file()]
        return sum(file.read_bytes().count(np.full(8, 7, "f4").tobytes()) for file in files)

    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="first", embeddings=np.zeros(8))
        for i in range(2):
            things.add(ids=str(i), embeddings=np.full(8, 7))
        things.delete(ids="1")
        client.snapshot(tmp_path / "copy.zip")
        retrieval_store.restore(tmp_path / "copy.zip", tmp_path / "copy")
        assert held(tmp_path / "copy") == 1
        things.optimize()
    assert held(tmp_path / "store") == 1
    for name in ("copy", "store"):
        with retrieval_store.Client(tmp_path / name) as client:
            copy = client.get_collection("things", embedding_function=None)
            assert copy.get(ids="0", include=["embeddings"])["embeddings"].tolist() == [[7] * 8]


HOSTILE = {
    "other bytes": "UPDATE unsynced SET rows = zeroblob(64) WHERE slot = 12",
    "part of a row": "UPDATE unsynced SET rows = zeroblob(33) WHERE slot = 19",
    "nothing": "UPDATE unsynced SET rows = x'' WHERE slot = 12",
    "a text": "UPDATE unsynced SET rows = 'a text of a stranger that has a length' WHERE slot = 19",
    "a gap": "DELETE FROM unsynced WHERE slot = 12",
    "a slot far away": "UPDATE unsynced SET slot = 1 << 60 WHERE slot = 19",
    "a slot before all": "UPDATE unsynced SET slot = -1 WHERE slot = 10",
    "a slot that is none": "UPDATE unsynced SET slot = 'none' WHERE slot = 10",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_unsynced_vectors_that_contradict_the_rest_are_damage(tmp_path, monkeypatch, what):
    file = lost_to_a_power_cut(tmp_path)
    sql(file.with_name("points.sqlite"), HOSTILE[what])
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        with pytest.raises(DamagedError):
            things.get(include=["embeddings"])
        tuned(monkeypatch, unsynced_bytes=0)
        with pytest.raises(DamagedError):
            things.add(ids="20", embeddings=np.full(8, 20))
    assert file.stat().st_size < 1 << 20
