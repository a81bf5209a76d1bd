"""Format versions: older ones are upgraded, newer ones and other programs' are refused."""

import shutil
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import apsw
import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import FormatError, NotFoundError, StorageError
from retrieval_store.query.types import Fields, NewSpace
from tests.helpers import inside, steps
from tests.helpers.batches import UPSERT, batch
from tests.helpers.small_stores import filled, sql


def test_databases_of_another_kind_or_a_newer_version_are_refused(tmp_path):
    filled(tmp_path / "store")
    (points,) = (tmp_path / "store").glob("*/points.sqlite")
    catalog = tmp_path / "store" / "catalog.sqlite"
    for pragma, message in (
        ("user_version = 99", "format version 99"),
        ("application_id = 7", "not"),
    ):
        for file in (points, catalog):
            kept = tmp_path / "kept"
            shutil.copytree(tmp_path / "store", kept)
            database = apsw.Connection(str(file), vfs="cksmvfs")
            database.execute(f"PRAGMA {pragma}")
            database.close()
            with pytest.raises(FormatError, match=message):
                retrieval_store.Client(tmp_path / "store").get_collection("things").count()
            shutil.rmtree(tmp_path / "store")
            kept.rename(tmp_path / "store")


@pytest.mark.parametrize("place", [inside.CHECKSUM_EXTENSION, "elsewhere/cksumvfs"])
def test_pages_have_checksums_wherever_apsw_keeps_the_extension(tmp_path, place):
    program = f"""
import apsw
import retrieval_store
from tests.helpers.tuned import tuned
tuned(checksum_extension={place!r})
retrieval_store.Client({str(tmp_path)!r}).create_collection("things", embedding_function=None)
print("apsw.sqlite_extra" in __import__("sys").modules, apsw.vfs_names()[0] != "cksmvfs")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == [str(place != inside.CHECKSUM_EXTENSION), "True"], done.stderr
    for file in (tmp_path / "catalog.sqlite", *tmp_path.glob("*/points.sqlite")):
        database = apsw.Connection(str(file), vfs="cksmvfs")
        assert database.reserve_bytes("main") == inside.CHECKSUM_BYTES
        assert database.pragma("checksum_verification") == "1"
        database.close()


def as_version_6(store):
    """Undo what the seventh format version added."""
    for file in store.glob("*/points.sqlite"):
        sql(file, "ALTER TABLE changes DROP COLUMN keys; PRAGMA user_version = 6")


def as_version_5(store):
    """Undo what the sixth version added, too."""
    as_version_6(store)
    for file in store.glob("*/points.sqlite"):
        sql(file, "DROP TABLE unsynced; PRAGMA user_version = 5")


def as_version_4(store):
    """Undo what the fifth version added, too."""
    as_version_5(store)
    for file in store.glob("*/points.sqlite"):
        sql(
            file,
            "ALTER TABLE points DROP COLUMN version; ALTER TABLE head DROP COLUMN next_space;"
            "DROP INDEX blobs_of_space; PRAGMA user_version = 4",
        )


def as_version_3(store):
    """Undo what the fourth version added, too."""
    as_version_4(store)
    for file in store.glob("*/points.sqlite"):
        sql(file, "ALTER TABLE changes DROP COLUMN parts; PRAGMA user_version = 3")


def as_version_2(store):
    """Undo what the third version added, too."""
    as_version_3(store)
    for file in store.glob("*/points.sqlite"):
        sql(file, "ALTER TABLE spaces DROP COLUMN datatype; PRAGMA user_version = 2")


def as_version_1(store):
    """Undo what the second version added, too."""
    as_version_2(store)
    for file in store.glob("*/points.sqlite"):
        sql(
            file,
            "ALTER TABLE spaces DROP COLUMN indexing; ALTER TABLE spaces DROP COLUMN kind;"
            "DROP TABLE derived; DROP TABLE blobs; PRAGMA user_version = 1",
        )


def as_catalog_3(store):
    """Undo what the fourth format version of the catalog added."""
    sql(
        store / "catalog.sqlite",
        "DROP TABLE aliases; DROP INDEX apart; ALTER TABLE collections DROP COLUMN apart;"
        "PRAGMA user_version = 3",
    )


def as_catalog_2(store):
    """Undo what its third version added, too."""
    as_catalog_3(store)
    sql(store / "catalog.sqlite", "DROP INDEX flagged; PRAGMA user_version = 2")


def version_of(file):
    database = apsw.Connection(str(file), vfs="cksmvfs")
    try:
        return database.pragma("user_version")
    finally:
        database.close()


def test_a_store_of_an_older_format_is_brought_up_to_date(tmp_path):
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        before = client.get_collection("things").get(include=["embeddings", "documents"])
    as_version_1(tmp_path)
    with (
        retrieval_store.Client(tmp_path, read_only=True) as client,
        pytest.raises(FormatError, match="open the store once without"),
    ):
        client.get_collection("things").count()
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        after = things.get(include=["embeddings", "documents"])
        assert (after["ids"], after["documents"]) == (before["ids"], before["documents"])
        assert np.array_equal(after["embeddings"], before["embeddings"])
        things.modify(configuration={"hnsw": {"ef_search": 50}})
        things.upsert(ids="new", embeddings=np.ones(8))
        things.optimize()
        assert all(report.problem is None for report in client.verify())
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        assert client.get_collection("things").count() == len(before["ids"]) + 1


def test_a_store_without_datatypes_is_read_as_it_is_and_brought_up_to_date_by_a_writer(tmp_path):
    filled(tmp_path)
    as_version_2(tmp_path)
    (points,) = tmp_path.glob("*/points.sqlite")
    with retrieval_store.Client(tmp_path, read_only=True) as reader:
        things = reader.get_collection("things")
        before = things.get(include=["embeddings"])["embeddings"]
        assert things.query(query_embeddings=before[7], n_results=1)["ids"] == [["7"]]
        assert all(report.problem is None for report in reader.verify())
        assert version_of(points) == 2
        with retrieval_store.Client(tmp_path) as writer:
            writer.get_collection("things").add(ids="new", embeddings=np.ones(8))
        assert version_of(points) == 7
        after = things.get(include=["embeddings"])["embeddings"]  # by the reader that was there
        assert np.array_equal(after, [*before, np.ones(8)])


def test_a_store_without_versions_is_read_as_it_is_and_gets_them_from_its_writes(tmp_path):
    filled(tmp_path, count=20)
    as_version_4(tmp_path)
    (points,) = tmp_path.glob("*/points.sqlite")
    fields = Fields(version=True)
    reader = inside.opened(tmp_path, "read-only")
    old = reader.points(reader.by_name("things").id)
    assert old.get(["7", "8"], None, None, 0, fields).versions.tolist() == [0, 0]
    assert [space.count for space in old.spaces()] == [20]
    assert old.page(None, "7", 2, Fields()).ids == ["7", "8"]
    assert version_of(points) == 4
    store = inside.opened(tmp_path)
    new = store.points(store.by_name("things").id)
    assert new.transact(lambda changes: changes.delete_vectors(["7"], None, [""], True)) == 1
    new.add_space("more", NewSpace("l1"))
    assert version_of(points) == 7
    for each in (new, old):
        got = each.get(["7", "8"], None, None, 0, Fields(vectors=("",), version=True))
        assert np.isnan(got.vectors[""]).all(axis=1).tolist() == [True, False]
        assert got.versions.tolist() == [new.operation - 1, 0]
    new.put(batch(["8"], more=[[1, 2]]), UPSERT)
    assert {file.name for file in points.parent.glob("*.vectors")} == {"1.0.vectors", "2.0.vectors"}
    store.close()
    reader.close()


def test_a_catalog_without_aliases_has_none_before_the_first_writer(tmp_path):
    filled(tmp_path, count=1)
    as_catalog_3(tmp_path)
    reader = inside.opened(tmp_path, "read-only")
    assert reader.aliases() == {}
    with pytest.raises(NotFoundError, match="alias 'other'"):
        reader.resolve("other")
    store = inside.opened(tmp_path)
    store.change_aliases(lambda was: {"other": "things"})
    assert reader.resolve("other") == store.by_name("things")
    store.close()
    reader.close()


def test_a_log_with_only_changed_points_is_followed_for_all_of_them(tmp_path):
    filled(tmp_path)
    where, words = {"n": {"$gt": 10_000}}, {"query_texts": "seven", "mode": "text"}
    with retrieval_store.Client(tmp_path) as writer:
        things = writer.get_collection("things")
        numbers, texts = [{"n": 50_000}] * 2, ["seven"] * 2
        things.update(
            ids=["7", "8"], embeddings=np.ones((2, 8)), metadatas=numbers, documents=texts
        )
    as_version_3(tmp_path)
    with retrieval_store.Client(tmp_path, read_only=True) as reader:
        things = reader.get_collection("things")
        assert things.get(where=where)["ids"] == ["7", "8"]
        assert things.query(**words)["ids"] == [["7", "8"]]
        with retrieval_store.Client(tmp_path) as writer:
            writer.get_collection("things").update(ids=["9"], metadatas=[{"n": 50_000}])
        assert things.get(where=where)["ids"] == ["7", "8", "9"]


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    filled(tmp_path)
    as_version_1(tmp_path)
    (points,) = tmp_path.glob("*/points.sqlite")
    with monkeypatch.context() as patch:
        inside.break_migration(patch, 1)
        with retrieval_store.Client(tmp_path) as client, pytest.raises(StorageError):
            client.get_collection("things").count()
    database = apsw.Connection(str(points), vfs="cksmvfs")
    assert database.execute("PRAGMA user_version").fetchall() == [(1,)]
    database.close()
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things").count() > 0


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"certainly not a database" * 1_000)
    with pytest.raises(StorageError, match=r"catalog\.sqlite"):
        retrieval_store.Client(tmp_path)


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path):
    file = tmp_path / "catalog.sqlite"
    database = apsw.Connection(str(file))
    database.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    database.close()
    before = file.read_bytes()
    with pytest.raises(FormatError, match="not a database of retrieval-store"):
        retrieval_store.Client(tmp_path)
    assert file.read_bytes() == before


def test_a_catalog_of_the_first_format_is_brought_up_to_date(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=None).add(ids="a", embeddings=[[1]])
    as_catalog_2(tmp_path)
    sql(tmp_path / "catalog.sqlite", "DROP TABLE unfinished; PRAGMA user_version = 1")
    stranger = tmp_path / str(uuid.uuid4())
    shutil.copytree(next(tmp_path.glob("*/points.sqlite")).parent, stranger)
    (stranger / "points.sqlite").unlink()
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        assert client.get_collection("things", embedding_function=None).count() == 1
    with retrieval_store.Client(tmp_path) as client:
        assert client.get_collection("things", embedding_function=None).count() == 1
        client.create_collection("more", embedding_function=None)
    assert Path(stranger).is_dir()


def test_a_catalog_without_its_index_is_read_as_it_is_and_brought_up_to_date_by_a_writer(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=None)
        client.create_collection("deleted", embedding_function=None)
        with pytest.MonkeyPatch.context() as patch, suppress(ZeroDivisionError):
            steps.fail(patch, "remove_dropped")
            client.delete_collection("deleted")
    as_catalog_2(tmp_path)
    catalog = tmp_path / "catalog.sqlite"
    with retrieval_store.Client(tmp_path, read_only=True) as reader:
        assert [found.name for found in reader.list_collections()] == ["things"]
        assert reader.count_collections() == 1
        assert version_of(catalog) == 2
        with retrieval_store.Client(tmp_path) as writer:
            assert version_of(catalog) == 4
            assert len(list(tmp_path.glob("*/points.sqlite"))) == 1  # the deletion was finished
            writer.create_collection("more", embedding_function=None)
        assert [found.name for found in reader.list_collections()] == ["more", "things"]
