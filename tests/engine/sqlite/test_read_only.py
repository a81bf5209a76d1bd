"""Who may only look at a store changes nothing in it."""

import subprocess
import sys

import apsw
import pytest

import retrieval_store
from tests.helpers import steps
from tests.helpers.small_stores import filled


def files(path):
    """Every file, with what tells whether it was changed."""
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
    """What is in a store may be made so that reading it never ends."""
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
