"""Every way of copying a collection's files, of any size, gives one consistent state while others
write.

Pages in SQLite's log have no checksums of their own yet. Only copies larger than the page cache
show whether they get them.
"""

import threading
from contextlib import contextmanager
from itertools import count

import pytest

from retrieval_store import Client, restore
from tests.helpers import PATIENCE
from tests.helpers.numbered_writes import (
    NAME,
    RECORD_BYTES,
    filled,
    refuse_others,
    write,
    write_on,
)
from tests.helpers.processes import running

FIELDS = ("documents", "metadatas", "embeddings")


def snapshot(collection, client, path):
    collection.snapshot(path / "one.zip")
    restore(path / "one.zip", path / "restored")
    yield from copied(path / "restored")


def snapshot_of_the_store(collection, client, path):
    client.snapshot(path / "all.zip")
    restore(path / "all.zip", path / "restored")
    yield from copied(path / "restored")


def iterate(collection, client, path):
    yield from collection.iterate(include=FIELDS)


def export(collection, client, path):
    from retrieval_store_files import add_file, export_jsonl

    export_jsonl(collection, path / "lines.jsonl")
    with Client(path / "added") as other:
        again = other.create_collection(NAME, embedding_function=None)
        add_file(again, path / "lines.jsonl")
    yield from copied(path / "added")


def fork(collection, client, path):
    yield from collection.fork("forked").iterate(include=FIELDS)


def copy(collection, client, path):
    with Client(path / "copied") as other:
        client.copy_to(other, NAME)
    yield from copied(path / "copied")


def copied(path):
    """The records of a copy; fails if anything in it is damaged."""
    with Client(path) as client:
        assert not any(report.problem for report in client.verify())
        collection = client.get_collection(NAME, embedding_function=None)
        yield from collection.iterate(include=FIELDS)


WAYS = (snapshot, snapshot_of_the_store, iterate, export, fork, copy)


@contextmanager
def written_by_a_process(path, collection, records):
    with running(write_on, path, records) as writer:
        for line in writer.stdout:
            if line.strip() == "3":  # so there is something in the log
                break
        threading.Thread(target=writer.stdout.read, daemon=True).start()
        yield
        assert writer.poll() is None


@contextmanager
def written_by_a_thread(path, collection, records):
    over, begun = threading.Event(), threading.Event()

    def work():
        for number in count(1):
            write(collection, records, number)
            begun.set()
            if over.is_set():
                return

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(PATIENCE)
    try:
        yield
        assert thread.is_alive()
    finally:
        over.set()
        thread.join()


def refuse_mixtures(tmp_path, megabytes, written):
    """Copy a database of this size in each way during writes, and check its consistency."""
    records = megabytes * 1_000_000 // RECORD_BYTES
    with Client(tmp_path / "store") as client:
        collection = filled(client, records)
        with written(tmp_path / "store", collection, records):
            moments = []
            for way in WAYS:
                (tmp_path / way.__name__).mkdir()
                found = way(collection, client, tmp_path / way.__name__)
                moments.append(refuse_others(found, records))
        assert moments[0] > 0
        assert moments == sorted(moments)
        assert not any(report.problem for report in client.verify())


@pytest.mark.others
@pytest.mark.parametrize("written", [written_by_a_process, written_by_a_thread])
def test_each_way_to_copy_gives_one_moment_of_8_megabytes(tmp_path, written):
    refuse_mixtures(tmp_path, 8, written)


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [50, 500])
@pytest.mark.parametrize("written", [written_by_a_process, written_by_a_thread])
def test_each_way_to_copy_gives_one_moment_of_many_megabytes(tmp_path, written, megabytes):
    refuse_mixtures(tmp_path, megabytes, written)


def test_a_database_in_memory_is_copied_with_checksums(tmp_path):
    records = 50_000_000 // RECORD_BYTES
    client = Client()
    collection = filled(client, records)
    write(collection, records, 1)
    assert refuse_others(snapshot(collection, client, tmp_path), records) == 1
