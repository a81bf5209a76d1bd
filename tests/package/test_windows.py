"""On a simulated Windows: a store in memory works, a store on disk raises an error that names the
alternatives, and no open or mapped file is renamed, replaced or removed.
"""

import os
import re
import subprocess
import sys

import pytest

from tests.helpers import PATIENCE, ROOT
from tests.helpers.packages import PACKAGES

# Others' own imports may ask what system this is; what takes long is for those who need it.
BEFORE = """
import os, sys
from pathlib import Path
import asyncio, apsw, numpy, orjson, re2
from tests.helpers import windows
windows.pretend(whole=True)
import retrieval_store
"""
QDRANT = "import qdrant_client\n"


def started(code, *arguments, **variables):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | variables,
        timeout=PATIENCE,
    )


def run(code, *arguments, first="", **variables):
    done = started(first + BEFORE + code, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.elsewhere
def test_stores_in_memory_work_and_those_on_disk_are_refused_by_naming_the_setting(tmp_path):
    code = """
from retrieval_store.qdrant import QdrantClient, models
with retrieval_store.Client() as client:
    notes = client.create_collection("notes")
    notes.add(["a", "b"], documents=["the cat sleeps", "interest rates"], metadatas=[{"n": 1}] * 2)
    print(notes.query(query_texts="kitten", n_results=1)["ids"])
    print(notes.query(query_texts="rates", mode="text", where={"n": 1})["ids"])
    notes.delete(ids="a")
    notes.optimize()
    print(notes.count(), notes.stats()["points"])
with QdrantClient(":memory:") as client:
    client.create_collection("c", models.VectorParams(size=2, distance="Dot"))
    client.upsert("c", [models.PointStruct(id=1, vector=[1, 2])])
    print(client.query_points("c", [1.0, 1.0]).points[0].score)
for setting in ({}, {"RETRIEVAL_STORE_WINDOWS": "yes"}):
    os.environ.update(setting)
    for make in (retrieval_store.Client, lambda path: QdrantClient(path=path)):
        try:
            make(sys.argv[1])
        except retrieval_store.errors.StorageError as error:
            print(error)
print(os.listdir(sys.argv[1]))
"""
    lines = run(code, str(tmp_path), first=QDRANT + "import wordllama\n").splitlines()
    assert lines[:4] == ["[['a']]", "[['b']]", "1 1", "3.0"]
    *refused, left = lines[4:]
    assert (len(refused), len({*refused}), left) == (4, 1, "[]")
    assert "RETRIEVAL_STORE_WINDOWS=trial" in refused[0]
    assert "never been tested on Windows" in refused[0] and "may lose data" in refused[0]


@pytest.mark.elsewhere
def test_stores_on_disk_can_be_tried(tmp_path):
    code = """
from retrieval_store.base import system
system.PROCESSES = Path("nowhere")
path, snapshot, restored = sys.argv[1:]
with retrieval_store.Client(path) as client:
    notes = client.create_collection("notes", embedding_function=None)
    notes.add([str(i) for i in range(1_000)], numpy.random.rand(1_000, 8), documents=["text"] * 1_000)
    notes.delete(ids=[str(i) for i in range(500)])
    notes.query(query_embeddings=numpy.ones(8))
    notes.optimize()
    notes.add("new", numpy.ones(8))
    print(notes.stats()["points"], system.holder_of(Path(path) / "catalog.sqlite"))
    client.snapshot(snapshot)
    client.create_collection("gone", embedding_function=None).add("a", numpy.ones(8))
    client.delete_collection("gone")
    print(sorted(one.name for one in client.list_collections()), len(os.listdir(path)))
with retrieval_store.Client(path) as client:
    print(client.get_collection("notes", embedding_function=None).query(query_embeddings=numpy.ones(8))["ids"][0][0])
    print([report.problem for report in client.verify() if report.problem])
retrieval_store.restore(snapshot, restored)
with retrieval_store.Client(restored, read_only=True) as client:
    print(client.get_collection("notes", embedding_function=None).count())
from retrieval_store.qdrant import QdrantClient
with QdrantClient(path=path) as client:
    print(client.count("notes").count)
print(len(windows.refused))
"""
    names = (str(tmp_path / name) for name in ("store", "snapshot.zip", "restored"))
    lines = run(code, *names, first=QDRANT, RETRIEVAL_STORE_WINDOWS="trial").splitlines()
    told_of, names, *others = lines
    assert told_of == "501 None"
    assert names.startswith("['notes']")
    assert others == ["new", "[]", "501", "501", "0"]


def test_a_collection_with_files_in_use_is_deleted_and_they_are_removed_later(tmp_path):
    code = """
def make(client):
    client.create_collection("notes", embedding_function=None).add("a", numpy.ones(8))
def directories():
    return sum(os.path.isdir(os.path.join(sys.argv[1], name)) for name in os.listdir(sys.argv[1]))
with retrieval_store.Client(sys.argv[1]) as client:
    make(client)
    (path,) = Path(sys.argv[1]).glob("*/1.0.vectors")
    with path.open() as file:
        client.delete_collection("notes")
        print(client.count_collections(), directories())
        make(client)
        client.delete_collection("notes")
        make(client)
        print(client.count_collections(), directories())
    print(client.count_collections(), directories())
    with next(Path(sys.argv[1]).glob("*/1.0.vectors")).open() as file:
        client.delete_collection("notes")
with retrieval_store.Client(sys.argv[1]) as client:
    print(client.count_collections(), directories())
"""
    lines = run(code, str(tmp_path), RETRIEVAL_STORE_WINDOWS="trial").splitlines()
    assert lines == ["0 1", "1 2", "1 1", "0 0"]


LOCKS = """
import os, sys
from pathlib import Path
from retrieval_store.base.platform import open_lock_file, try_lock, unlock
def opened(): return open_lock_file(Path(sys.argv[1]))
first, second, third = opened(), opened(), opened()
print(try_lock(first), try_lock(second), try_lock(second, shared=True))
unlock(first)
print(try_lock(first, shared=True), try_lock(second, shared=True), try_lock(third))
first.close(), second.close()
print(try_lock(third), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("before", ["", BEFORE], ids=["here", "windows"])
def test_a_lock_is_exclusive_or_shared_and_is_released_when_its_process_ends(tmp_path, before):
    for _ in range(2):
        done = started(before + LOCKS, str(tmp_path / "lock"))
        assert done.returncode == -9, done.stderr
        assert done.stdout.splitlines() == ["True False False", "True True False", "True"]


def test_the_functions_of_a_port_are_in_one_module():
    of_posix = re.compile(
        r"\bfcntl\b|\bO_(DIRECTORY|NOFOLLOW|NONBLOCK|CLOEXEC|PATH)\b|\bPROT_READ\b"
        r"|\b(fdatasync|pread|pwrite|register_at_fork)\("
    )
    folders = (ROOT / "retrieval_store", *PACKAGES.values())
    files = [one for folder in folders for one in folder.rglob("*.py")]
    knowing = [
        one.relative_to(ROOT).as_posix() for one in files if of_posix.search(one.read_text())
    ]
    assert knowing == ["retrieval_store/base/platform.py"]


CHOSEN = ("tests/engine/test_store.py", "tests/engine/snapshots", "tests/engine/maintenance")
# Where files in use stay for a while, directories can't be opened, or nobody has a number.
OTHERWISE = (
    "test_endless_inputs_are_no_snapshot",
    "test_the_folder_of_another_user_stays",
    "test_optimizing_forgets_files_that_cannot_be_rebuilt",
    "test_optimizing_removes_leftovers_and_leaves_files_in_use",
    "test_a_collection_deleted_while_its_index_is_saved_is_not_found",
    "test_a_collection_deleted_by_another_process_holds_no_files_open",
    "test_a_compaction_that_fails_leaves_nothing_of_the_new_generation",
    "test_files_are_removed_even_if_their_blocks_cannot_be_forgotten_on_a_full_disk",
    "test_an_interrupt_after_the_switch_leaves_the_new_generation",
)


@pytest.mark.slow
def test_open_or_mapped_files_are_neither_renamed_nor_removed():
    """Tests of the engine, in a process where that is refused."""
    left_out = " or ".join(OTHERWISE)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.helpers.windows"),
            *("-p", "no:cacheprovider", "-m", "not (slow or kills or property)"),
            *("-k", f"not ({left_out})", *CHOSEN),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-4_000:]
