"""Snapshots: their content, that they are of one moment, and that no damaged one is restored."""

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import orjson
import pytest

from retrieval_store import Client, restore
from retrieval_store.errors import (
    AlreadyExistsError,
    DamagedError,
    FormatError,
    InvalidArgumentError,
    InvalidTypeError,
    LockTimeoutError,
    RetrievalStoreError,
)
from retrieval_store.query.types import CollectionRecord
from tests.helpers import inside, steps
from tests.helpers.processes import POINTS, first_version, rewrite_all, running, versions_read

RANDOM = np.random.default_rng(5)


def filled(client, name="notes", count=50):
    collection = client.create_collection(name, embedding_function=None)
    collection.add(
        ids=[f"{name} {i}" for i in range(count)],
        embeddings=RANDOM.normal(size=(count, 8)),
        documents=[f"note {i} of {name}" for i in range(count)],
        metadatas=[{"n": i} for i in range(count)],
    )
    return collection


def everything(collection):
    found = collection.get(include=["embeddings", "documents", "metadatas", "uris"])
    return {**found, "embeddings": np.asarray(found["embeddings"]).tolist()}


@pytest.fixture
def snapshot(tmp_path):
    """A snapshot of a store with two collections."""
    with Client(tmp_path / "store") as client:
        filled(client, "notes"), filled(client, "letters")
        client.snapshot(tmp_path / "store.zip")
    return tmp_path / "store.zip"


@pytest.mark.parametrize("place", ["directory", "memory"])
def test_a_collection_is_restored_unchanged(tmp_path, place):
    with Client(tmp_path / "store" if place == "directory" else None) as client:
        collection = filled(client)
        collection.modify(metadata={"who": "me"})
        before = everything(collection)
        collection.snapshot(tmp_path / "notes.zip")
        collection.delete(where={"n": {"$lt": 30}})
    restore(tmp_path / "notes.zip", tmp_path / "again")
    with Client(tmp_path / "again") as client:
        again = client.get_collection("notes", embedding_function=None)
        assert everything(again) == before
        assert again.metadata == {"who": "me"}
        assert not any(report.problem for report in client.verify())


def test_a_store_is_restored_with_all_its_collections(tmp_path, snapshot):
    (tmp_path / "empty").mkdir()
    restore(snapshot, tmp_path / "empty")
    with Client(tmp_path / "store") as one, Client(tmp_path / "empty") as other:
        for name in ("letters", "notes"):
            collections = [c.get_collection(name, embedding_function=None) for c in (one, other)]
            assert everything(collections[0]) == everything(collections[1])
        assert [c.name for c in other.list_collections()] == ["letters", "notes"]


def test_an_alias_is_in_it_though_its_collection_gets_another_name_meanwhile(tmp_path):
    store, other = inside.opened(tmp_path), inside.opened(tmp_path)
    record = store.create("notes", {}, {})
    store.change_aliases(lambda _: {"live": "notes"})

    def then_rename(page, *arguments):
        records = page(*arguments)
        other.change(record.id, lambda r: CollectionRecord(r.id, "letters", r.settings))
        return records

    with pytest.MonkeyPatch.context() as patch:
        steps.around(patch, "page_of_catalog", then_rename)
        store.snapshot(tmp_path / "store.zip")
    restore(tmp_path / "store.zip", tmp_path / "again")
    again = inside.opened(tmp_path / "again")
    assert again.aliases() == {"live": "notes"}
    assert other.aliases() == {"live": "letters"}
    for opened in (store, other, again):
        opened.close()


def test_nothing_that_was_deleted_is_in_it(tmp_path):
    with Client(tmp_path / "store") as client:
        collection = filled(client)
        collection.add(ids=["secret"], embeddings=[[7.5] * 8], documents=["the secret word"])
        collection.delete(ids=["secret"])
        collection.snapshot(tmp_path / "notes.zip")
    content = (tmp_path / "notes.zip").read_bytes()
    assert b"note 7 of notes" in content
    assert b"the secret word" not in content
    assert np.full(8, 7.5, np.float32).tobytes() not in content


def test_it_is_added_to_a_store_under_another_name(tmp_path):
    with Client(tmp_path / "store") as client:
        collection = filled(client)
        collection.snapshot(tmp_path / "notes.zip")
        with pytest.raises(AlreadyExistsError, match="notes"):
            restore(tmp_path / "notes.zip", tmp_path / "store")
        restore(tmp_path / "notes.zip", tmp_path / "store", name="copies")
        copies = client.get_collection("copies", embedding_function=None)
        assert everything(copies) == everything(collection)
        copies.delete(ids=["notes 0"])
        assert collection.count() == 50
    assert {path.name for path in tmp_path.iterdir()} == {"store", "notes.zip"}


def test_a_restored_collection_exists_though_the_replaced_one_cannot_be_dropped_yet(
    tmp_path, monkeypatch
):
    store = inside.opened(tmp_path)
    store.create("notes", {}, {})
    store.snapshot(tmp_path.parent / "notes.zip", store.by_name("notes").id)
    replaced = store.points(store.by_name("notes").id)

    def locked(*_):
        raise LockTimeoutError("somebody writes")

    with monkeypatch.context() as patch:
        patch.setattr(type(replaced), "mark_dropped", locked)
        record = store.restore(tmp_path.parent / "notes.zip", replace=True)
    assert [one.id for one in store.page(None, 0)] == [record.id]
    store.close()


def test_it_replaces_nothing(tmp_path, snapshot):
    with Client(tmp_path / "store") as client:
        for path in (snapshot, tmp_path / "store"):
            with pytest.raises(InvalidArgumentError, match="there already"):
                client.snapshot(path)
        with pytest.raises(InvalidArgumentError, match="no directory"):
            client.snapshot(tmp_path / "nowhere" / "store.zip")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for path in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        with pytest.raises(InvalidArgumentError, match="there already"):
            restore(snapshot, path)
    with pytest.raises(InvalidArgumentError, match="2 collections"):
        restore(snapshot, tmp_path / "store")
    with pytest.raises(InvalidArgumentError, match="no store"):
        restore(snapshot, tmp_path / "new", name="notes")
    with pytest.raises(InvalidArgumentError, match="memory"):
        inside.opened(None).restore(snapshot)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_bad_paths_are_named(tmp_path, snapshot):
    with pytest.raises(InvalidTypeError, match="snapshot is 7"):
        restore(7, tmp_path / "new")
    with pytest.raises(InvalidTypeError, match="path is None"):
        restore(snapshot, None)
    with pytest.raises(InvalidArgumentError, match="no snapshot"):
        restore(tmp_path / "no.zip", tmp_path / "new")
    (tmp_path / "text.zip").write_text("not a snapshot")
    with pytest.raises(DamagedError, match="no snapshot"):
        restore(tmp_path / "text.zip", tmp_path / "new")


def test_endless_inputs_are_no_snapshot(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    for path in (tmp_path / "pipe.zip", "/dev/zero", tmp_path):
        with pytest.raises(InvalidArgumentError, match="no regular file|no snapshot"):
            restore(path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def rewritten(snapshot, change):
    """The snapshot with changed files. Its manifest is unchanged, unless `change` replaces it."""
    with zipfile.ZipFile(snapshot) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    options = change(files) or {}
    target = snapshot.with_name("changed.zip")
    with zipfile.ZipFile(target, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        digest = hashlib.sha256(files["manifest.json"]).hexdigest()
        archive.comment = inside.SNAPSHOT_COMMENT + digest.encode() if comment else b""
    return target


def with_manifest(held, **said):
    held["manifest.json"] = orjson.dumps({**orjson.loads(held["manifest.json"]), **said})


def escaping(files):
    """Names with paths outside, in the archive and in its manifest."""
    data = orjson.loads(files["manifest.json"])
    name = next(iter(data["files"]))
    data["files"]["../escaped"] = data["files"].pop(name)
    files["../escaped"] = files.pop(name)
    files["manifest.json"] = orjson.dumps(data)


def other_id(files):
    data = orjson.loads(files["manifest.json"])
    data["collections"][0]["id"] = "../.."
    files["manifest.json"] = orjson.dumps(data)


def shorter(files):
    name = next(name for name in files if name.endswith(".vectors"))
    files[name] = files[name][:-1]


def other_vectors(files):
    """All checksums of the snapshot are right, but those in points.sqlite are wrong."""
    data = orjson.loads(files["manifest.json"])
    name = next(name for name in files if name.endswith(".vectors"))
    files[name] = bytes(len(files[name]))
    data["files"][name]["sha256"] = hashlib.sha256(files[name]).hexdigest()
    files["manifest.json"] = orjson.dumps(data)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda files: with_manifest(files, format=99), FormatError),
        (lambda files: with_manifest(files, files={}), DamagedError),
        (lambda files: with_manifest(files, collections=7), DamagedError),
        (lambda files: files.update({"more.txt": b"x"}), DamagedError),
        (lambda files: {"compression": zipfile.ZIP_DEFLATED}, DamagedError),
        (escaping, DamagedError),
        (other_id, DamagedError),
        (shorter, DamagedError),
        (other_vectors, DamagedError),
    ],
)
def test_invalid_snapshots_are_refused_and_leave_nothing(tmp_path, snapshot, change, error):
    changed = rewritten(snapshot, change)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error):
        restore(changed, tmp_path / "new")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.property
def test_a_flipped_byte_never_changes_what_is_restored(tmp_path, snapshot):
    """If a byte of a snapshot changes, it is refused, or the restored content is the same."""
    content = snapshot.read_bytes()
    with Client(tmp_path / "store") as client:
        expected = everything(client.get_collection("notes", embedding_function=None))
    for i, place in enumerate(RANDOM.integers(0, len(content), 60).tolist()):
        changed = bytearray(content)
        changed[place] ^= 1 << (i % 8)
        (tmp_path / "changed.zip").write_bytes(changed)
        target = tmp_path / f"new {i}"
        try:
            restore(tmp_path / "changed.zip", target)
        except RetrievalStoreError:
            assert not target.exists()
            continue
        with Client(target) as client:
            again = client.get_collection("notes", embedding_function=None)
            assert everything(again) == expected


@pytest.mark.kills
def test_each_is_of_one_moment_while_four_processes_write(tmp_path):
    first_version(tmp_path / "store")
    with ExitStack() as stack, Client(tmp_path / "store") as client:
        writers = [
            stack.enter_context(running(rewrite_all, tmp_path / "store", POINTS)) for _ in range(4)
        ]
        for writer in writers:
            assert writer.stdout.readline().strip() == "1"
        things = client.get_collection("things", embedding_function=None)
        for i in range(8):
            things.snapshot(tmp_path / f"{i}.zip")
        assert all(writer.poll() is None for writer in writers)
    for i in range(8):
        restore(tmp_path / f"{i}.zip", tmp_path / f"restored {i}")
        with Client(tmp_path / f"restored {i}") as client:
            things = client.get_collection("things", embedding_function=None)
            for by_query in (False, True):
                versions, found = versions_read(things, POINTS, by_query)
                assert len(versions) == 1 and found == POINTS


DYING = """
import shutil, sys, retrieval_store
import retrieval_store.engine.snapshots, retrieval_store.engine.maintenance.run
from tests.helpers.dying import at_each_step

template, root, doing = sys.argv[1:]

def work(path):
    if doing == "restore a store":
        return retrieval_store.restore(f"{template}/notes.zip", f"{path}/restored")
    client = retrieval_store.Client(f"{path}/store")
    notes = client.get_collection("notes", embedding_function=None)
    if doing == "snapshot":
        client.snapshot(f"{path}/store.zip")
    elif doing == "restore":
        retrieval_store.restore(f"{template}/notes.zip", f"{path}/store", "again")
    elif doing == "fork":
        notes.fork("again")
    else:
        next(notes.iterate(batch=10))

def prepared(step):
    shutil.copytree(f"{template}/store", f"{root}/{step}/store")
    return f"{root}/{step}"

names = ("mkdir", "link", "open", "fsync", "unlink", "rename", "rmdir")
at_each_step(prepared, work, names, 2)
"""


@pytest.mark.kills
@pytest.mark.parametrize("doing", ["snapshot", "restore", "restore a store", "fork", "iterate"])
def test_leftovers_of_a_killed_process_are_removed_by_the_next(tmp_path, doing):
    template = tmp_path / "template"
    with Client(template / "store") as client:
        filled(client).snapshot(template / "notes.zip")
    run = [sys.executable, "-c", DYING, str(template), str(tmp_path / "killed"), doing]
    done = subprocess.run(run, capture_output=True, text=True)
    statuses = dict(line.split() for line in done.stdout.splitlines())
    assert len(statuses) > 3, done.stderr
    assert [*statuses.values()] == [*[str(-signal.SIGKILL)] * (len(statuses) - 1), "0"], done.stderr
    left = [*(tmp_path / "killed").rglob(".retrieval-store-*")]
    assert left
    for path in map(Path, statuses):
        with Client(path / "store") as client:
            client.get_collection("notes", embedding_function=None).snapshot(path / "next.zip")
            assert {one.name for one in client.list_collections()} <= {"notes", "again"}
        assert [*path.rglob(".retrieval-store-*")] == []


def test_optimizing_removes_leftovers_and_leaves_files_in_use(tmp_path):
    with Client(tmp_path / "store") as client:
        notes = filled(client)
        named = tmp_path / "store" / "snapshots" / "collection-notes"
        lost = [tmp_path / "store" / ".retrieval-store-1", named / ".retrieval-store-2"]
        for folder in lost:
            (folder / "copy").mkdir(parents=True)
            (folder / "copy" / "points.sqlite").write_bytes(b"half")
        kept = tmp_path / "store" / ".retrieval-store-3"
        (kept / "copy").mkdir(parents=True)
        (kept / "copy" / "letters.txt").write_text("another's")
        pages = notes.iterate(batch=10)
        next(pages)
        (in_use,) = set((tmp_path / "store").glob(".retrieval-store-*")) - {*lost, kept}
        notes.optimize()
        assert not any(folder.exists() for folder in lost)
        assert (kept / "copy" / "letters.txt").read_text() == "another's"
        assert len(list(pages)) == 49
        assert not in_use.exists()


def test_a_copy_removed_before_it_is_locked_is_created_again(tmp_path, monkeypatch):
    made, mkdir = [], Path.mkdir

    def mkdir_while_another_opens(path, *arguments, **named):
        mkdir(path, *arguments, **named)
        if path.name.startswith(".retrieval-store-") and len(made) < 2:
            made.append(path)
            inside.remove_lost_folders(path.parent)

    with Client(tmp_path / "store") as client:
        notes = filled(client)
        monkeypatch.setattr(Path, "mkdir", mkdir_while_another_opens)
        assert notes.fork("again").count() == 50
    assert len(made) == 2
    assert not [*tmp_path.rglob(".retrieval-store-*")]


def test_without_directory_locks_no_folder_counts_as_abandoned(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(errno.ENOLCK, "no locks")

    with Client(tmp_path / "store") as client:
        notes = filled(client)
        monkeypatch.setattr(fcntl, "flock", no_locks)
        (tmp_path / ".retrieval-store-1").mkdir()
        notes.snapshot(tmp_path / "notes.zip")
    assert (tmp_path / ".retrieval-store-1").exists()
    assert len([*tmp_path.glob(".retrieval-store-*")]) == 1
    restore(tmp_path / "notes.zip", tmp_path / "again")


def test_the_folder_of_another_user_stays(tmp_path, monkeypatch):
    folder = tmp_path / ".retrieval-store-1"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
        inside.remove_lost_folders(tmp_path)
    assert folder.exists()
    inside.remove_lost_folders(tmp_path)
    assert not folder.exists()
