"""Saved indexes: one process builds them, others load them. Damaged, malicious or missing files are
rebuilt and never used.
"""

import shutil
import zlib
from pathlib import Path

import pytest

import retrieval_store
from retrieval_store.indexes.hnsw import HEADER, HNSWIndex
from tests.helpers import inside, steps
from tests.helpers.indexed import (
    DIMENSION,
    SMALL,
    cloud,
    index_file,
    indexed_at_hand,
    load_index,
    populated,
    space_of,
    until,
)
from tests.helpers.tuned import tuned

pytestmark = pytest.mark.usefixtures("eager")


def answers(store):
    """The hits of queries, and how many vectors came from a file."""
    with retrieval_store.Client(store, read_only=True) as client:
        things = client.get_collection("things", embedding_function=None)
        loaded, queries = load_index(things), cloud(20, 5)
        found = things.query(query_embeddings=queries, n_results=5)["ids"]
        exact = things.query(query_embeddings=queries, n_results=5, exact=True)["ids"]
        same = sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True))
        assert same >= 95
        return loaded


def test_saved_indexes_are_loaded_by_another_process(built):
    assert answers(built) == 1_000
    modified = index_file(built).stat().st_mtime_ns
    with retrieval_store.Client(built) as client:
        things = client.get_collection("things", embedding_function=None)
        assert space_of(things)["indexed_slots"] == 1_000
        things.query([[0] * DIMENSION])
    assert index_file(built).stat().st_mtime_ns == modified


def test_additions_since_saving_are_saved_on_closing(built):
    with retrieval_store.Client(built) as client:
        things = client.get_collection("things", embedding_function=None)
        things.add(ids=[f"new {i}" for i in range(500)], embeddings=cloud(500, 9))
        until(lambda: space_of(things)["indexed_slots"] == 1_500, "the index didn't follow")
    assert answers(built) == 1_500


def truncate(file):
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)


def swap(file):
    other = HNSWIndex(DIMENSION, "l2", SMALL["hnsw"])
    other.add(cloud(1_000, 3))
    other.save(file)


def link(file):
    shutil.move(file, file.parent.parent / "elsewhere")
    file.symlink_to(file.parent.parent / "elsewhere")


DAMAGES = {
    "truncated": truncate,
    "with a flipped bit": flip,
    "of another collection": swap,
    "missing": Path.unlink,
    "a link": link,
    "missing with its folder": lambda file: shutil.rmtree(file.parent),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_changed_derived_file_is_rebuilt(built, damage):
    DAMAGES[damage](index_file(built))
    with retrieval_store.Client(built) as client:
        problems = [report for report in client.verify() if report.problem]
        assert [report.file.parent.name for report in problems] == ["derived"]
    assert answers(built) == 0
    with retrieval_store.Client(built) as client:
        things = client.get_collection("things", embedding_function=None)
        assert len(things.query([[0] * DIMENSION])["ids"][0]) == 10
        until(lambda: space_of(things)["indexed_slots"] == 1_000, "it wasn't made again")
        things.optimize()
        assert all(report.problem is None for report in client.verify())
    assert answers(built) == 1_000


def test_a_file_that_nothing_names_is_removed(built):
    stray = index_file(built).with_name(f"index.1.0.{'ab' * 16}.new")
    stray.write_bytes(b"left by a process that died")
    with retrieval_store.Client(built) as client:
        client.get_collection("things", embedding_function=None).optimize()
    assert not stray.exists()
    assert answers(built) == 1_000


def test_a_full_disk_costs_the_index_and_nothing_else(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)
        steps.fail(monkeypatch, "save_index", OSError(28, "No space left on device"))
        with pytest.raises(retrieval_store.errors.StorageFullError):
            things.optimize()
        assert len(things.query([[0] * DIMENSION])["ids"][0]) == 10
        things.add(ids="after", embeddings=[[9] * DIMENSION])
        monkeypatch.undo()
        things.optimize()
        assert all(report.problem is None for report in client.verify())
    assert list(tmp_path.glob("*/derived/*.new")) == []


def test_a_hostile_file_with_a_right_checksum_is_refused(built):
    file = index_file(built)
    data = bytearray(file.read_bytes())
    links = HEADER.itemsize + 4
    data[links : links + 4] = (10**9).to_bytes(4, "little")
    file.write_bytes(data)
    connection = inside.database_of_points(file.parent.parent / "points.sqlite")
    connection.execute("UPDATE derived SET checksum = ?", (zlib.crc32(data),))
    connection.close()
    assert answers(built) == 0
    for name in ("../../catalog.sqlite", "/etc/passwd", "..", "a/b"):
        connection = inside.database_of_points(file.parent.parent / "points.sqlite")
        connection.execute("UPDATE derived SET file = ?", (name,))
        connection.close()
        with (
            retrieval_store.Client(built) as client,
            pytest.raises(retrieval_store.errors.DamagedError, match="no name of a derived file"),
        ):
            client.get_collection("things", embedding_function=None).optimize()


def test_a_file_is_loaded_once_queries_have_lost_as_much_time_without(built, monkeypatch):
    tuned(monkeypatch, index_load_cost=1e15)
    with retrieval_store.Client(built) as client:
        things = client.get_collection("things", embedding_function=None)
        for seed in range(3):
            things.query(query_embeddings=cloud(1, seed))
        assert things.query(query_embeddings=cloud(1), where={"n": -1})["ids"] == [[]]
        inside.while_maintaining(inside.access(things), lambda: None)  # whoever was at it has ended
        inside.maintain(inside.access(things))
        assert indexed_at_hand(things) == 0
        assert things.query(query_embeddings=cloud(1), where={"n": -1})["ids"] == [[]]
        things.add(ids=["new"], embeddings=cloud(1, 9))
        assert things.query(query_embeddings=cloud(1, 9), n_results=1)["ids"] == [["new"]]
        tuned(monkeypatch, index_load_cost=1e-9)
        things.add(ids=["newer"], embeddings=cloud(1, 10))  # which calls the background
        until(lambda: space_of(things)["indexed_slots"] == 1_002, "the index wasn't loaded")
