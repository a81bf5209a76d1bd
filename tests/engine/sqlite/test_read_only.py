"""A read-only client changes nothing in a store."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import apsw
import pytest

import retrieval_store
from tests.helpers import steps
from tests.helpers.small_stores import filled


def files(path):
    """Every file, with its stamps and content, to detect changes."""
    found = (one for one in path.rglob("*") if one.is_file())
    return {one: (one.read_bytes(), one.stat().st_mtime_ns) for one in found}


def test_a_client_that_only_reads_leaves_no_files(tmp_path):
    filled(tmp_path)
    before = files(tmp_path)
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = client.get_collection("things")
        assert things.count() == len(things.get()["ids"]) == 2000
        assert client.verify()
    assert files(tmp_path) == before


@pytest.mark.parametrize("words", [["verify"], ["info"], ["list"], ["count", "things"]])
def test_commands_that_only_look_leave_no_files(tmp_path, words):
    filled(tmp_path)
    before = files(tmp_path)
    command, *rest = words
    run = [sys.executable, "-m", "retrieval_store", command, str(tmp_path), *rest]
    subprocess.run(run, check=True, capture_output=True)
    assert files(tmp_path) == before


def test_the_last_of_several_readers_leaves_no_files(tmp_path):
    filled(tmp_path)
    before = files(tmp_path)
    program = (
        "import sys, retrieval_store as r\n"
        "c = r.Client(sys.argv[1], read_only=True)\n"
        "print(c.get_collection('things').count(), flush=True)\n"
        "input()\nc.close()"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    readers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    assert [reader.stdout.readline() for reader in readers] == ["2000\n"] * 3
    for reader in readers:
        reader.communicate("\n")
    assert files(tmp_path) == before


def test_a_log_that_another_process_uses_stays(tmp_path):
    filled(tmp_path)
    writer = retrieval_store.Client(tmp_path)
    program = (
        "import sys, retrieval_store as r\n"
        "c = r.Client(sys.argv[1], read_only=True)\n"
        "print(c.get_collection('things').count(), flush=True)\n"
        "input()\nc.close()"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline() == "2000\n"
    things = writer.get_collection("things")
    things.delete(ids=things.get(limit=1)["ids"])
    reader.communicate("\n")
    assert things.count() == 1999
    things.delete(ids=things.get(limit=1)["ids"])
    writer.close()
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        assert client.get_collection("things").count() == 1998


def test_every_connection_to_a_store_that_is_only_read_is_on_guard(tmp_path, monkeypatch):
    """A store may be constructed so that reading it never ends."""
    filled(tmp_path)
    guarded, opened = steps.noted(monkeypatch, "begin_connection"), []
    connection = apsw.Connection

    def connected(name, *arguments, **named):
        opened.append(name)
        return connection(name, *arguments, **named)

    monkeypatch.setattr(apsw, "Connection", connected)
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        assert client.get_collection("things").count() == 2000
    assert len(opened) == len(guarded) >= 4  # the last of each database as it is closed


OPENING = """
import os, sys, urllib.parse, retrieval_store
with retrieval_store.Client(sys.argv[2]) as client:  # all modules are loaded while they can be read
    things = client.create_collection("things", embedding_function=None)
    things.add(["a"], [[1.0, 0.0]], documents=["a boat"])
    things.query(query_embeddings=[1.0, 0.0])
if os.getuid() == 0:
    os.seteuid(65534)
try:
    with retrieval_store.Client(sys.argv[1]) as client:
        client.get_collection("things").upsert(["0"], [[1.0] * 8])
except retrieval_store.errors.StorageError as error:
    print(error)
with retrieval_store.Client(sys.argv[1], read_only=True) as client:
    print(client.get_collection("things").count())
"""


@pytest.mark.parametrize("what", ["files", "folders", "all", "vectors"])
def test_a_read_only_user_learns_how_to_read(what):
    with tempfile.TemporaryDirectory() as folder:  # which another user may enter
        os.chmod(folder, 0o755)
        _read_what_may_not_be_written(Path(folder), what)


def _read_what_may_not_be_written(folder, what):
    store = folder / "store"
    filled(store)
    kept = {
        "files": lambda path: path.is_file(),
        "folders": lambda path: path.is_dir(),
        "all": lambda path: True,
        "vectors": lambda path: path.suffix == ".vectors",
    }[what]
    for path in [store, *store.rglob("*")]:
        others = 0o777 if path.is_dir() else 0o666
        path.chmod(0o555 if kept(path) and path.is_dir() else 0o444 if kept(path) else others)
    run = [sys.executable, "-c", OPENING, str(store), str(folder / "warm")]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.stderr == ""
    error, count = done.stdout.splitlines()
    assert error.endswith("; where nothing can be written open the store with read_only=True")
    assert count == "2000"
