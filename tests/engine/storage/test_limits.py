"""Full disks, read-only directories, system limits: a clear error, nothing is lost, and the store
works again when the cause is gone.

The scenarios run in their own processes, in a namespace where a small file system can be mounted.
"""

import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import NotFoundError, ReadOnlyError, StorageError, StorageFullError
from tests.helpers import ROOT
from tests.helpers.tuned import tuned


def mount(path, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)


def records(start, count):
    return {
        "ids": [str(i) for i in range(start, start + count)],
        "embeddings": np.full((count, 64), start),
        "documents": [f"{i} " * 40 for i in range(start, start + count)],
        "metadatas": [{"n": i} for i in range(start, start + count)],
    }


def fill_until_it_fails(things):
    """Add batches until the disk is full; returns how many points were acknowledged."""
    for batch in range(1_000):
        try:
            things.add(**records(batch * 50, 50))
        except StorageFullError as error:
            print(error)
            return batch * 50
    raise AssertionError("the disk never got full")


def check(things, count):
    got = things.get(include=["embeddings", "metadatas", "documents"])
    assert got["ids"] == [str(i) for i in range(count)]
    assert [metadata["n"] for metadata in got["metadatas"]] == list(range(count))
    assert (got["embeddings"][:, 0] == np.arange(count) // 50 * 50).all()
    assert len(things.query(query_embeddings=[0] * 64, n_results=5)["ids"][0]) == 5


def full_disk(path):
    mount(path, "size=1m")
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        count = fill_until_it_fails(things)
        assert count >= 100
        check(things, count)
        subprocess.run(["mount", "-o", "remount,size=30m", str(path)], check=True)
        things.add(**records(count, 50))
        check(things, count + 50)
    with retrieval_store.Client(path) as client:
        check(client.get_collection("things"), count + 50)
        assert all(report.problem is None for report in client.verify())


def full_disk_while_compacting(path):
    mount(path, "size=6m")
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        numbers = np.arange(3_000)
        vectors = np.repeat(numbers[:, None], 256, axis=1).astype(np.float32)
        for start in range(0, 3_000, 500):
            some = slice(start, start + 500)
            things.add(ids=[str(i) for i in numbers[some]], embeddings=vectors[some])
        things.delete(ids=[str(i) for i in numbers[::10]])
        before = things.get(include=["embeddings"])
        for _ in range(3):
            with pytest.raises(StorageFullError) as caught:
                things.optimize()
            after = things.get(include=["embeddings"])
            assert after["ids"] == before["ids"]
            assert np.array_equal(after["embeddings"], before["embeddings"])
            assert len(list(path.glob("*/*.vectors"))) == 1  # what failed takes no room
        print(caught.value)
        subprocess.run(["mount", "-o", "remount,size=30m", str(path)], check=True)
        things.optimize()
        assert len(list(path.glob("*/*.vectors"))) == 1
        assert things.stats()["spaces"][""]["dead_slots"] == 0
        assert np.array_equal(
            things.get(include=["embeddings"])["embeddings"], before["embeddings"]
        )
        assert all(report.problem is None for report in client.verify())


def largest_file(path):
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        count = fill_until_it_fails(things)
        assert count >= 50
        check(things, count)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        things.add(**records(count, 50))
        check(things, count + 50)


def few_descriptors(path):
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(**records(0, 50))
    with retrieval_store.Client(path) as client:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = len(os.listdir("/proc/self/fd"))
        for more, use in (
            (1, lambda: client.get_collection("things").count()),
            (-1, lambda: client.create_collection("more", embedding_function=None)),
        ):
            resource.setrlimit(resource.RLIMIT_NOFILE, (held + more, limits[1]))
            with pytest.raises(StorageError):
                use()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        check(client.get_collection("things"), 50)
        client.create_collection("more")


def read_only_place(path):
    mount(path, "size=10m")
    with retrieval_store.Client(path) as client:
        client.create_collection("things", embedding_function=None).add(**records(0, 50))
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    with pytest.raises(StorageError):
        retrieval_store.Client(path).create_collection("other")
    with retrieval_store.Client(path, read_only=True) as client:
        things = client.get_collection("things")
        check(things, 50)
        assert things.get(where={"n": {"$lt": 3}})["ids"] == ["0", "1", "2"]
        for write in (
            lambda: things.add(**records(50, 1)),
            lambda: things.update(ids="1", metadatas={"n": 3}),
            lambda: things.delete(ids="1"),
            lambda: things.modify(name="other"),
            lambda: client.create_collection("other"),
            lambda: client.delete_collection("things"),
        ):
            with pytest.raises(ReadOnlyError, match="read_only=True"):
                write()
        assert [report.problem for report in client.verify()] == [None] * 3


def no_permission(path):
    with retrieval_store.Client(path) as client:
        client.create_collection("things", embedding_function=None).add(**records(0, 50))
    for file in [path, *path.rglob("*")]:
        file.chmod(0o700 if file.is_dir() else 0o600)
    if os.getuid() == 0:
        os.setuid(65534)
    else:
        path.chmod(0)
    for read_only in (False, True):
        with pytest.raises(StorageError, match=path.name):
            retrieval_store.Client(path, read_only=read_only).list_collections()


def run(scenario, path, *prefix):
    command = [*prefix, sys.executable, "-m", __name__, scenario.__name__, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def namespace():
    """The command that starts a program where a small file system can be mounted."""
    prefix = ("unshare", "--map-root-user", "--mount")
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespace can be made here, as in a chroot: {error}")
    return prefix


def test_a_full_disk_loses_nothing_and_the_store_works_when_there_is_space(tmp_path, namespace):
    assert "no space left" in run(full_disk, tmp_path, *namespace)


def test_a_disk_that_fills_up_during_compaction_loses_nothing(tmp_path, namespace):
    assert "no space left" in run(full_disk_while_compacting, tmp_path, *namespace)


def test_a_limit_on_the_size_of_files_is_like_a_full_disk(tmp_path):
    run(largest_file, tmp_path)


def test_running_out_of_descriptors_is_an_error_that_passes(tmp_path):
    run(few_descriptors, tmp_path)


def test_a_store_where_nothing_can_be_written_is_read(tmp_path, namespace):
    run(read_only_place, tmp_path, *namespace)


def test_a_store_that_may_not_be_read_is_an_error(tmp_path):
    run(no_permission, tmp_path / "theirs")


def test_a_read_only_client_sees_the_writes_of_another_process(tmp_path):
    with pytest.raises(NotFoundError, match="no store at .*nothing; without read_only=True"):
        retrieval_store.Client(tmp_path / "nothing", read_only=True)
    assert not (tmp_path / "nothing").exists()
    with (
        retrieval_store.Client(tmp_path) as writer,
        retrieval_store.Client(tmp_path, read_only=True) as reader,
    ):
        things = writer.create_collection("things", embedding_function=None)
        for i in range(3):
            things.add(ids=str(i), embeddings=[i])
            assert reader.get_collection("things").count() == i + 1
        with pytest.raises(ReadOnlyError):
            reader.get_collection("things").add(ids="x", embeddings=[1])


def test_a_network_file_system_is_warned_of(tmp_path, monkeypatch):
    table = tmp_path / "mounts"
    share = tmp_path / "a share"
    entry = str(share).replace(" ", "\\040")
    table.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {entry} nfs4 rw 0 0\n")
    tuned(monkeypatch, mounts=table)
    with (
        pytest.warns(UserWarning, match=r"network file system \(nfs4\)"),
        retrieval_store.Client(share / "store"),
    ):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retrieval_store.Client(tmp_path / "local").close()
    tuned(monkeypatch, mounts=tmp_path / "no such table")
    with retrieval_store.Client(share / "store"):
        pass


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
