"""A store with many collections, created as a whole and deleted as a whole."""

import errno
import gc
import os
import shutil
import subprocess
import sys
import threading
import uuid
from dataclasses import replace

import apsw
import numpy as np
import pytest

import retrieval_store
from retrieval_store.base.platform import give_name
from retrieval_store.errors import (
    AlreadyExistsError,
    ClientClosedError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
)
from retrieval_store.qdrant import QdrantClient
from retrieval_store.query.types import CollectionRecord, NewSpace, PointBatch
from tests.helpers import inside, open_files, steps
from tests.helpers.batches import ADD, batch, points_of
from tests.helpers.indexed import until
from tests.helpers.small_stores import filled
from tests.helpers.tuned import tuned


@pytest.mark.parametrize("step", ["remove_dropped", "forget_open"])
def test_an_interrupted_deletion_takes_no_more_writes_and_is_finished(tmp_path, monkeypatch, step):
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        handle = client.get_collection("things")
        with monkeypatch.context() as patch:
            steps.fail(patch, step)
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


def test_the_work_of_finding_a_collection_does_not_grow_with_their_number(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=None)
        uses = [
            lambda: client.get_collection("things", None),
            client.count_collections,
            lambda: client.list_collections(limit=1),
        ]
        few = [steps_in_catalog(client, use) for use in uses]
        settings = inside.store(client).by_name("things").settings
        for number in range(200):
            add_to_catalog(client, f"zzz {number}", settings)
        assert client.count_collections() == 201
        assert [steps_in_catalog(client, use) for use in uses] == few


def add_to_catalog(client, name, settings):
    """A catalog entry without files, which are needed only when the collection is used."""
    record = CollectionRecord(str(uuid.uuid4()), name, settings)
    inside.catalog(inside.store(client)).write(lambda entries: entries.insert(record))


def steps_in_catalog(client, use):
    """How many steps SQLite takes in the catalog during a call."""
    taken = []

    def trace(flags):
        def note(event):
            taken.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])

        database = inside.database(inside.catalog(inside.store(client)))
        database.use(lambda connection: connection.trace_v2(flags, note if flags else None))

    trace(apsw.SQLITE_TRACE_PROFILE)
    use()
    trace(0)
    return sum(taken)


def test_a_read_only_store_does_not_list_what_is_deleted(tmp_path, monkeypatch):
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("other", embedding_function=None)
        with monkeypatch.context() as patch:
            steps.fail(patch, "remove_dropped")
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
            steps.fail(patch, "remove_files")
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
            steps.fail(patch, "remove_dropped")
            with pytest.raises(ZeroDivisionError):
                client.delete_collection("things")
        for _ in range(2):
            with pytest.raises(NotFoundError):
                handle.count()
        assert client.get_or_create_collection("things", embedding_function=None).count() == 0


MANY_COLLECTIONS = """
import resource, sys, retrieval_store
resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160))
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


def test_many_collections_work_with_few_descriptors(tmp_path):
    command = [sys.executable, "-c", MANY_COLLECTIONS, str(tmp_path), "60"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == ["60", "120"], done.stderr


def test_a_damaged_collection_can_be_deleted_and_does_not_affect_others(tmp_path):
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


def test_a_store_whose_directory_was_replaced_takes_no_writes(tmp_path):
    path = tmp_path / "store"
    filled(path, count=10)
    with retrieval_store.Client(path) as client:
        things = client.get_collection("things")
        things.count()
        shutil.rmtree(path)
        filled(path, count=3)
        for use in (
            lambda: things.update(ids="1", metadatas={"n": 2}),
            lambda: things.delete(ids="1"),
            lambda: things.add(ids="new", embeddings=np.ones(8)),
            things.count,
            lambda: client.create_collection("other", embedding_function=None),
        ):
            with pytest.raises((StorageError, NotFoundError)):
                use()
        with retrieval_store.Client(path) as another:
            assert another.get_collection("things").count() == 3


def test_a_collection_is_whole_once_it_has_a_name_even_with_relaxed_durability(tmp_path):
    with retrieval_store.Client(tmp_path, durability="relaxed") as client:
        client.create_collection("things", embedding_function=None)
        copy = tmp_path.parent / "after the power cut"
        shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("points.sqlite-*"))
    with retrieval_store.Client(copy) as client:
        client.get_collection("things").add(ids="a", embeddings=[1])


def test_a_collection_deleted_by_another_process_holds_no_files_open(tmp_path):
    other, held = inside.opened(tmp_path), []
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
            held.append(things)
        gc.collect()
        assert [file for file in open_files(tmp_path) if file.endswith(" (deleted)")] == []
        assert inside.counted_collections(inside.store(client)) == []


def test_waiting_threads_learn_that_a_collection_was_deleted(tmp_path):
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
            until(lambda things=things: things.count() >= 40, "the threads make no progress")
            client.delete_collection("things")
            for thread in threads:
                thread.join()
            assert ends == [NotFoundError] * 4


def test_the_id_of_an_existing_collection_is_never_reused(tmp_path):
    with (
        retrieval_store.Client(tmp_path / "a") as source,
        retrieval_store.Client(tmp_path / "b") as target,
    ):
        things = source.create_collection("things", embedding_function=None)
        things.add(["p"], [[1, 2]])
        stores = [inside.store(client) for client in (source, target)]
        record = replace(stores[0].by_name("things"), id=str(uuid.uuid4()))
        stores[1].adopt_collection(stores[0], str(things.id), record)
        for name in ("things", "others"):
            with pytest.raises(AlreadyExistsError):
                stores[1].adopt_collection(stores[0], str(things.id), replace(record, name=name))
    with retrieval_store.Client(tmp_path / "b") as target:
        assert target.count_collections() == 1
        assert not [one for one in target.verify() if one.problem]
        assert (tmp_path / "b" / record.id / "points.sqlite").exists()


def test_a_collection_whose_directory_is_lost_is_a_problem(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(["p"], [[1, 2]])
    shutil.rmtree(tmp_path / str(things.id))
    with retrieval_store.Client(tmp_path) as client:
        (problem,) = [one.problem for one in client.verify() if one.problem]
        assert "is missing: it should hold collection 'things'" in problem
        assert "missing" in client.stats()["by_collection"]["things"]["problem"]
        client.delete_collection("things")
        assert not [one for one in client.verify() if one.problem]


@pytest.fixture(params=["directory", "memory"])
def either(request, tmp_path):
    store = inside.opened(tmp_path if request.param == "directory" else None)
    yield store
    store.close()


def test_an_existing_id_is_refused_and_its_record_stays(either):
    spaces = {"vectors": NewSpace("l2")}
    record = either.create("things", {}, spaces)
    either.points(record.id).put(batch(["a"], vectors=np.ones((1, 2), np.float32)), ADD)
    for name in ("others", "things"):
        with pytest.raises(AlreadyExistsError, match="already exists"):
            either.create(name, {}, spaces, collection_id=record.id)
    with pytest.raises(AlreadyExistsError, match="'things' already exists"):
        either.create("things", {}, spaces)
    assert either.points(record.id).count() == 1
    assert [one.id for one in either.page(None, 0)] == [record.id]
    if either.directory is not None:
        again = inside.opened(either.directory, "read-only")
        assert again.points(record.id).count() == 1
        again.close()


def test_a_collection_created_during_closing_is_closed_too(either, monkeypatch):
    made = []

    def closed_meanwhile(create, *arguments):
        made.append(create(*arguments))
        inside.open_collections(either).close(
            lambda: ClientClosedError("closed"), lambda points: None
        )
        return made[0]

    steps.around(monkeypatch, "create_points", closed_meanwhile)
    with pytest.raises(ClientClosedError):
        either.create("things", {}, {"vectors": NewSpace("l2")})
    with pytest.raises(ClientClosedError):
        made[0].count()
    assert either.count() == 0


def test_the_number_of_cached_database_templates_is_bounded(tmp_path, monkeypatch):
    inside.without_templates(monkeypatch)
    tuned(monkeypatch, templates_kept=2)
    store = inside.opened(tmp_path, "relaxed")
    for i in range(4):
        store.create(f"things {i}", {}, {f"vectors {i}": NewSpace("l2")})
        assert 0 < len(inside.templates()) <= 2
    store.close()


def test_a_collection_whose_creation_fails_after_its_commit_is_closed(either, monkeypatch):
    made, failed = [], []

    def create(step, *arguments):
        made.append(step(*arguments))
        return made[0]

    def write(step, *arguments):
        result = step(*arguments)
        if made and not failed:
            failed.append(True)
            raise KeyboardInterrupt
        return result

    steps.around(monkeypatch, "create_points", create)
    steps.around(monkeypatch, "write_catalog", write)
    with pytest.raises(KeyboardInterrupt):
        either.create("things", {}, {"vectors": NewSpace("l2")})
    with pytest.raises(NotFoundError):
        made[0].count()  # nothing has it open
    assert either.count() == (0 if either.directory is None else 1)


def test_a_copy_that_another_process_takes_for_a_leftover_is_removed_if_it_fails(
    tmp_path, monkeypatch
):
    """A process that opens the store during the copy removes the copy's entry."""
    store = inside.opened(tmp_path)
    record = store.create("things", {}, {"vectors": NewSpace("l2")})
    opened = []

    def open_once(write, *arguments):
        result = write(*arguments)
        if not opened:
            opened.append(True)
            inside.opened(tmp_path).close()
        return result

    def fail_for_the_store(sync, directory):
        if directory == tmp_path:
            raise KeyboardInterrupt
        sync(directory)

    steps.around(monkeypatch, "write_catalog", open_once)
    with monkeypatch.context() as patch:
        steps.around(patch, "sync_name_of_store", fail_for_the_store)
        with pytest.raises(KeyboardInterrupt):
            store.fork(record.id, "others")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [record.id]
    opened.clear()
    forked = store.fork(record.id, "others")
    assert store.points(forked.id).count() == 0
    assert [one.name for one in store.page(None, 0)] == ["others", "things"]
    store.close()


def test_a_collection_named_by_its_own_id_is_no_replaced_one(tmp_path):
    store, name = inside.opened(tmp_path), str(uuid.uuid4())
    store.create(name, {}, {}, collection_id=name)
    inside.catalog(store).write(
        lambda entries: entries.flag(name)
    )  # as an interrupted deletion begins
    assert [one.name for one in store.page(None, 0)] == [name]  # it had not taken effect
    assert store.points(name).count() == 0
    store.close()


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_missing_store_directory_is_reported_and_no_collection_as_deleted(tmp_path, how):
    path = tmp_path / "store"
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(["a", "b"], [[1, 0], [0, 1]])
        things.query([[1, 0]])
        path.rename(tmp_path / "elsewhere") if how == "moved" else shutil.rmtree(path)
        for use in (
            things.get, things.count, things.stats, things.optimize, client.list_collections,
            lambda: things.query([[1, 0]]),
            lambda: things.add("c", [[1, 1]]),
            lambda: things.delete("a"),
            lambda: things.snapshot(tmp_path / "snapshot"),
            lambda: things.fork("other"),
            lambda: client.create_collection("another"),
            lambda: client.delete_collection("things"),
        ):  # fmt: skip
            with pytest.raises(StorageError, match=f"{path} isn't there any more: .*moved or del"):
                use()
        assert not path.exists() and not (tmp_path / "snapshot").exists()
    if how == "moved":
        with retrieval_store.Client(tmp_path / "elsewhere") as client:
            assert client.get_collection("things", embedding_function=None).count() == 2


def test_another_directory_in_the_place_of_a_store_calls_nothing_deleted(tmp_path):
    path = tmp_path / "store"
    with retrieval_store.Client(path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(["a"], [[1, 0]])
        path.rename(tmp_path / "elsewhere")
        path.mkdir()
        for use in (things.get, things.count, lambda: things.query([[1, 0]])):
            with pytest.raises(StorageError, match="another directory than|is missing"):
                use()
        assert [*path.iterdir()] == []


def test_a_path_that_is_not_utf_8_is_refused_and_nothing_is_created(tmp_path):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    with retrieval_store.Client(tmp_path / "good") as client:
        client.create_collection("things", embedding_function=None).snapshot(tmp_path / "snapshot")
    for make in (
        retrieval_store.Client,
        lambda path: retrieval_store.Client(f"{path}/below"),
        lambda path: QdrantClient(path=path),
        lambda path: retrieval_store.restore(tmp_path / "snapshot", path),
    ):
        with pytest.raises(InvalidArgumentError, match="bytes aren't valid UTF-8"):
            make(odd)
    (tmp_path / "link").symlink_to(odd)
    with pytest.raises(InvalidArgumentError, match="bytes aren't valid UTF-8"):
        retrieval_store.Client(tmp_path / "link")
    assert not os.path.exists(odd)


def test_points_are_counted_without_their_state(tmp_path):
    store = inside.opened(tmp_path)
    points_of(store, v="l2").put(PointBatch([*range(10_000)], {}), ADD)
    store.close()
    store = inside.opened(tmp_path)
    (record,) = store.page(None, 0)
    points = store.points(record.id)
    assert points.count() == 10_000
    assert [gauges.in_memory for _, gauges in store.gauges()] == [False]
    points.delete([3], None, None)
    assert points.count() == 9_999
    store.drop(record.name)
    with pytest.raises(NotFoundError):
        points.count()
    store.close()


def test_a_store_and_a_snapshot_can_be_created_on_file_systems_without_links(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.create_collection("things", embedding_function=None)
        things.add("a", [[1.0]])
        things.snapshot(tmp_path / "one.zip")
        with pytest.raises(InvalidArgumentError):
            things.snapshot(tmp_path / "one.zip")
    retrieval_store.restore(tmp_path / "one.zip", tmp_path / "store", name="again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.zip", "store"]
    (tmp_path / "taken").write_bytes(b"mine")
    (tmp_path / "new").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        give_name(tmp_path / "new", tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == b"mine"
