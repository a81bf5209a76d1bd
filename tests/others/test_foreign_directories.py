"""Foreign data stays unchanged: other programs' directories, and other files in our own."""

import hashlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import chromadb
import lancedb
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

import retrieval_store
from retrieval_store.errors import FormatError
from tests.helpers import PATIENCE, inside, steps
from tests.helpers.small_stores import sql


def made_by_chromadb(path):
    client = chromadb.PersistentClient(str(path))
    client.create_collection("things").add(ids=["a", "b"], embeddings=[[1.0, 2.0], [3.0, 4.0]])
    # Such folders, named by a UUID, hold its vectors.
    index = path / str(uuid.uuid4())
    index.mkdir()
    (index / "data_level0.bin").write_bytes(b"vectors")


def made_by_qdrant_client(path):
    client = QdrantClient(path=str(path))
    client.create_collection("things", models.VectorParams(size=2, distance="Dot"))
    client.upsert("things", [models.PointStruct(id=1, vector=[1.0, 2.0])])
    client.close()


def made_by_lancedb(path):
    lancedb.connect(str(path)).create_table("things", [{"id": "a", "vector": [1.0, 2.0]}])


def made_by_something_else(path):
    (path / "cache" / str(uuid.uuid4())).mkdir(parents=True)
    (path / str(uuid.uuid4())).mkdir()
    (path / f"{uuid.uuid4()}.dropped").mkdir()
    (path / "letter.txt").write_text("dear …")


MAKERS = {
    made_by_chromadb: r"chroma\.sqlite3.*Chroma's.*docs/chroma\.md",
    made_by_qdrant_client: "meta.json.*qdrant-client's local mode",
    made_by_lancedb: r"things\.lance.*lancedb",
    made_by_something_else: r"letter\.txt.*Name a directory that is empty",
}


def contents(path):
    """Every file and folder below, with its content and time of modification."""
    return {
        str(one.relative_to(path)): (
            one.stat().st_mtime_ns,
            hashlib.sha256(one.read_bytes()).hexdigest() if one.is_file() else None,
        )
        for one in path.rglob("*")
    }


@pytest.mark.parametrize("maker", MAKERS)
def test_a_directory_of_another_program_is_refused_and_left_as_it_is(tmp_path, maker):
    maker(tmp_path)
    before = contents(tmp_path)
    for options in ({}, {"durability": "relaxed"}):
        with pytest.raises(FormatError, match=MAKERS[maker]):
            retrieval_store.Client(tmp_path, **options)
    assert contents(tmp_path) == before
    with pytest.raises(FormatError, match="no store of retrieval-store"):
        retrieval_store.PersistentClient(tmp_path)
    with pytest.raises(retrieval_store.errors.NotFoundError, match="there is no store at"):
        retrieval_store.Client(tmp_path, read_only=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", [".DS_Store", ".gitignore", "lost+found"])
def test_common_files_of_any_directory_are_not_another_program(tmp_path, name):
    (tmp_path / name).mkdir()
    with retrieval_store.Client(tmp_path) as client:
        assert client.count_collections() == 0
    assert (tmp_path / name).is_dir()


def test_a_store_that_shares_its_directory_with_another_program_takes_nothing_from_it(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("mine", embedding_function=None).add(ids="a", embeddings=[[1]])
    made_by_chromadb(tmp_path)
    made_by_something_else(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        ours = str(client.get_collection("mine").id)

    def of_others():
        return {n: c for n, c in contents(tmp_path).items() if "catalog" not in n and ours not in n}

    before = of_others()
    with retrieval_store.Client(tmp_path, allow_reset=True) as client:
        client.get_collection("mine", embedding_function=None).optimize()
        client.reset()
    assert of_others() == before


def test_only_files_with_our_names_are_removed(tmp_path, caplog):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[[1]])
        folder = tmp_path / str(things.id)
        notes = ["notes.txt", "points.sqlite.backup", "0.0.vectors.old", "x.0.vectors"]
        for name in notes:
            (folder / name).write_text("mine")
        things.optimize()
        client.delete_collection("things")
        assert client.count_collections() == 0
    (left,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert {path.name for path in left.iterdir()} == set(notes)
    assert "stays, since it holds what isn't ours" in caplog.text


CREATE = """
import sys, retrieval_store
from retrieval_store.engine import store
from tests.helpers.dying import at_each_step
retrieval_store.Client  # has all imported that each moment needs

def work(path):
    client = retrieval_store.Client(path)
    client.create_collection("things", embedding_function=None)
    if sys.argv[2]:
        client.delete_collection("things")

names = ("mkdir", "link", "open", "fsync", "unlink", "rename", "listdir")
at_each_step(lambda step: f"{sys.argv[1]}/{step}", work, names, 1)
"""


@pytest.mark.kills
@pytest.mark.parametrize("delete", ["", "delete"])
def test_a_creation_killed_at_any_moment_leaves_nothing(tmp_path, delete):
    run = [sys.executable, "-c", CREATE, str(tmp_path), delete]
    done = subprocess.run(run, capture_output=True, text=True)
    statuses = dict(line.split() for line in done.stdout.splitlines())
    for path in map(Path, statuses):
        with retrieval_store.Client(path) as client:
            known = {str(collection.id) for collection in client.list_collections()}
        assert {one.name for one in path.iterdir() if one.is_dir()} == known
    killed = [str(-signal.SIGKILL)] * (len(statuses) - 1)
    assert [*statuses.values()] == [*killed, "0"], done.stderr
    assert len(killed) > 5


SWEEP = """
import sys, pytest, retrieval_store
from tests.helpers import steps

steps.before(pytest.MonkeyPatch(), "write_catalog", lambda: print("sweeping", flush=True))
retrieval_store.Client(sys.argv[1])
"""


def test_a_collection_that_another_process_is_making_is_not_swept(tmp_path, monkeypatch):
    opened = []

    def another_opens():
        if not opened:
            run = [sys.executable, "-c", SWEEP, str(tmp_path)]
            opened.append(subprocess.Popen(run, stdout=subprocess.PIPE, text=True))
            assert opened[0].stdout.readline() == "sweeping\n"  # as soon as we let it write

    steps.before(monkeypatch, "create_points", another_opens)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids="a", embeddings=[[1]])
        assert opened[0].wait(PATIENCE) == 0
        opened[0].stdout.close()
        assert things.count() == 1
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things", embedding_function=None).count() == 1


def test_a_name_swept_by_others_is_recorded_again_by_its_creator(tmp_path, monkeypatch):
    writes = []

    def sweep_before_the_second():
        writes.append(len(writes))
        if len(writes) == 2:  # named, and not yet made
            inside.opened(tmp_path).close()

    with retrieval_store.Client(tmp_path) as client:
        steps.before(monkeypatch, "write_catalog", sweep_before_the_second)
        things = client.create_collection("things", embedding_function=None)
        assert len(writes) == 5  # named, swept, found so, named again, made
        things.add(ids="a", embeddings=[np.ones(2)])
        assert things.count() == 1
    assert len(list(tmp_path.glob("*/points.sqlite"))) == 1


@pytest.mark.parametrize("name", ["../outside", "", "x", 7])
def test_an_unfinished_collection_with_a_path_outside_is_damage(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "points.sqlite").write_text("precious")
    retrieval_store.Client(tmp_path / "store").close()
    sql(tmp_path / "store" / "catalog.sqlite", "INSERT INTO unfinished VALUES (?)", name)
    with pytest.raises(retrieval_store.errors.DamagedError, match="catalog"):
        retrieval_store.Client(tmp_path / "store")
    assert (outside / "points.sqlite").read_text() == "precious"


def test_a_link_in_the_place_of_an_unfinished_collection_is_not_followed(tmp_path):
    outside, store = tmp_path / "outside", tmp_path / "store"
    outside.mkdir()
    (outside / "points.sqlite").write_text("precious")
    retrieval_store.Client(store).close()
    name = str(uuid.uuid4())
    sql(store / "catalog.sqlite", "INSERT INTO unfinished VALUES (?)", name)
    (store / name).symlink_to(outside)
    retrieval_store.Client(store).close()
    assert not os.path.lexists(store / name)
    assert (outside / "points.sqlite").read_text() == "precious"
