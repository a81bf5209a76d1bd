"""Stores that someone has tampered with, checksums made right again: errors, and nothing worse."""

import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np
import pytest

import retrieval_store
from retrieval_store.engine.database.opening import CHECKSUM_BYTES
from retrieval_store.errors import DamagedError, RetrievalStoreError

from .sqlite_pages import PAGE, Pages
from .test_damage import everything, fill, problems
from .test_interrupts import alarm

ROUNDS = 400


def sql(file, statement, *parameters):
    """Change a database as one who knows about the checksums would."""
    with retrieval_store.Client(file.parent / "another"):  # registers the checksum VFS
        pass
    database = apsw.Connection(str(file), vfs="cksmvfs")
    database.execute(statement, parameters)
    database.close()
    shutil.rmtree(file.parent / "another")


@pytest.fixture
def store(tmp_path):
    fill(tmp_path / "store", 8)
    return tmp_path / "store"


def points_file(store):
    (file,) = store.glob("*/points.sqlite")
    return file


def use(store):
    """Read everything, verify, write, delete; whatever goes wrong must be an error of ours."""
    for action in (everything, problems, write, delete):
        try:
            action(store)
        except RetrievalStoreError:
            continue


def write(store):
    with retrieval_store.Client(store) as client:
        (things,) = client.list_collections()
        things.upsert(ids=["id 3", "new"], embeddings=np.ones((2, 4)), metadatas=[{"n": 1}] * 2)


def delete(store):
    with retrieval_store.Client(store) as client:
        for collection in client.list_collections():
            client.delete_collection(collection.name)


@pytest.mark.parametrize("name", ["../outside", "/etc", "", "x", "..", "a" * 36, 7, None])
def test_an_id_that_leads_elsewhere_is_refused_and_nothing_there_is_touched(store, tmp_path, name):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("precious")
    sql(store / "catalog.sqlite", "UPDATE collections SET id = ?, dropping = 1", name)
    for action in (everything, delete):
        with pytest.raises(DamagedError, match=r"catalog\.sqlite"):
            action(store)
    assert (tmp_path / "outside" / "file").read_text() == "precious"


def test_links_and_pipes_in_the_place_of_files_are_refused(store, tmp_path):
    outside = tmp_path / "outside"
    for file in [store / "catalog.sqlite", *store.glob("*/*")]:
        kept = file.rename(tmp_path / "kept")
        shutil.copy(kept, outside)
        before = outside.read_bytes()
        for put in (lambda file=file: file.symlink_to(outside), lambda file=file: os.mkfifo(file)):
            put()
            with pytest.raises(DamagedError, match=f"{file.name} is not a regular file"):
                everything(store)
            file.unlink()
        assert outside.read_bytes() == before
        kept.rename(file)
    directory = points_file(store).parent
    moved = directory.rename(tmp_path / "moved")
    directory.symlink_to(moved)
    with pytest.raises(DamagedError, match="is a link"):
        everything(store)
    delete(store)
    assert (moved / "points.sqlite").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE spaces SET slots = 1 << 60",
        "UPDATE spaces SET slots = -1",
        "UPDATE spaces SET dimension = 1 << 40",
        "UPDATE spaces SET dimension = 0",
        "UPDATE spaces SET dimension = 5",
        "UPDATE spaces SET metric = 'manhattan'",
        "UPDATE spaces SET number = -7",
        "UPDATE head SET next_pk = 1 << 62, seq = 1 << 62",
        "UPDATE head SET generation = 99",
        "DELETE FROM head",
        "DELETE FROM blocks",
        "UPDATE blocks SET owners = zeroblob(8)",
        "UPDATE blocks SET owners = zeroblob(7)",
        "UPDATE blocks SET owners = 'text'",
        "UPDATE blocks SET checksum = 'text'",
        "UPDATE blocks SET checksum = 1 << 40",
        "UPDATE presence SET bitmap = zeroblob(3)",
        "UPDATE presence SET bitmap = zeroblob(100000)",
        "UPDATE presence SET bitmap = zeroblob(1024)",
        "UPDATE presence SET chunk = 1 << 61",
        "UPDATE points SET payload = '{\"n\": '",
        "UPDATE points SET payload = '][,[]'",
        "UPDATE points SET payload = x'ff'",
        "UPDATE points SET document = 5, id = x'00' WHERE pk = 3",
        "DELETE FROM points WHERE pk = 3",
        "DROP TABLE blocks",
        "DROP TABLE changes",
    ],
)
def test_contradictory_tables_are_damage_or_harmless(store, statement):
    sql(points_file(store), statement)
    use(store)


def test_settings_that_no_client_stored_are_damage(store):
    for settings in (
        b"{}",
        b"[]",
        b"null",
        b"{",
        b'{"metadata":1,"hnsw":{},"embedding_function":2}',
    ):
        sql(store / "catalog.sqlite", "UPDATE collections SET settings = ?", settings)
        with pytest.raises(DamagedError, match="catalog"):
            everything(store)


def super_journal(database, victim):
    """A journal that makes SQLite before 3.53.3 delete the file that it calls its super-journal."""
    magic = bytes.fromhex("d9d505f920a163d7")
    pages, name = database.stat().st_size // 4096, str(victim).encode()
    head = magic + struct.pack(">IIIII", 0, 0, pages, 512, 4096)
    tail = struct.pack(">I", 0x40000000 // 4096 + 1) + name
    tail += struct.pack(">II", len(name), sum(name)) + magic
    return head.ljust(512, b"\0") + tail


@pytest.mark.parametrize("kind", ["super-journal", "pipe", "link", "folder", "empty"])
def test_a_journal_beside_a_database_is_refused(store, tmp_path, kind):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for database in (store / "catalog.sqlite", points_file(store)):
        journal = database.with_name(database.name + "-journal")
        make = {
            "super-journal": lambda j=journal, d=database: j.write_bytes(super_journal(d, victim)),
            "pipe": lambda j=journal: os.mkfifo(j),
            "link": lambda j=journal: j.symlink_to(victim),
            "folder": lambda j=journal: j.mkdir(),
            "empty": lambda j=journal: j.touch(),
        }
        make[kind]()
        for read_only in (False, True):
            with (
                pytest.raises(DamagedError, match=f"{journal.name} isn't a file of retrieval"),
                retrieval_store.Client(store, read_only=read_only) as client,
            ):
                client.get_collection("things").count()
        if database.name == "points.sqlite":
            assert problems(store) == {database.name}
        journal.rmdir() if kind == "folder" else journal.unlink()
        everything(store)
    assert victim.read_text() == "precious"


def test_the_lowest_sqlite_that_is_allowed_obeys_no_super_journal_of_a_stranger(tmp_path):
    (lowest,) = [
        line.split(">=")[1].strip('",')
        for line in (Path(__file__).parent.parent / "pyproject.toml").read_text().splitlines()
        if line.strip().startswith('"apsw>=')
    ]
    assert tuple(map(int, lowest.split("."))) >= (3, 53, 3)
    database, victim = tmp_path / "database", tmp_path / "victim"
    with closing(apsw.Connection(str(database))) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    victim.write_text("precious")
    Path(f"{database}-journal").write_bytes(super_journal(database, victim))
    with closing(apsw.Connection(str(database))) as connection:
        assert connection.execute("SELECT * FROM t").fetchall() == []
    assert victim.exists()


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 1, i, 0, 0, 0, 0 FROM n"
)


@pytest.mark.parametrize(
    "statements",
    [
        f"DROP TABLE head; CREATE VIEW head (one, seq, next_pk, generation, log_floor, dropped) AS {ENDLESS}",
        "CREATE TRIGGER t BEFORE INSERT ON points BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER t AFTER UPDATE ON head BEGIN DELETE FROM points; END",
        "CREATE INDEX i ON points (length(document))",
        "CREATE TABLE more (x)",
        "ALTER TABLE points ADD COLUMN x AS (length(document))",
        "DROP TABLE changes; CREATE TABLE changes (seq INTEGER PRIMARY KEY, pks BLOB NOT NULL DEFAULT x'')",
    ],
)
def test_a_schema_that_is_not_ours_is_refused(store, statements):
    sql(points_file(store), statements)
    for action in (everything, write):
        with pytest.raises(DamagedError, match="its tables aren't those of this format"):
            action(store)
    assert "points.sqlite" in problems(store)
    delete(store)  # nothing keeps one from throwing it away


def test_a_catalog_with_a_schema_that_is_not_ours_is_refused(store):
    sql(store / "catalog.sqlite", "CREATE VIEW more AS SELECT * FROM collections")
    with pytest.raises(DamagedError, match=r"catalog\.sqlite.*its tables aren't those"):
        everything(store)


def endless(database):
    """Make the tree of the points one whose pages lead to the same pages again and again, with
    checksums that are right: reading all of it takes longer than anybody lives."""
    for document in ("x" * 60_000, None):  # which leaves free pages
        sql(database, "UPDATE points SET document = ? WHERE pk = 0", document)
    with closing(apsw.Connection(str(database), vfs="cksmvfs")) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'points'"
        ((root,),) = connection.execute(query).fetchall()
    with Pages(database) as pages:
        last = below = len(pages)
        pages[last][:] = pages[root]
        for page in [*range(last - 1, last - 7, -1), root]:
            pages[page][:] = interior(below)
            below = page


def interior(child):
    """An inner page of a table's tree, all of whose children are the same page."""
    cells = b"".join(struct.pack(">I", child) + bytes([0x81, i]) for i in range(100))
    start = PAGE - CHECKSUM_BYTES - len(cells)
    places = b"".join(struct.pack(">H", start + 6 * i) for i in range(100))
    head = bytes([5]) + struct.pack(">HHHBI", 0, 100, start, 0, child)
    return (head + places).ljust(start, b"\0") + cells + bytes(CHECKSUM_BYTES)


def test_a_tree_without_end_ends(store):
    endless(points_file(store))
    with retrieval_store.Client(store) as client:
        things = client.get_collection("things", embedding_function=None)
        with pytest.raises(DamagedError, match="it would take for ever"):
            things.get(where_document={"$contains": "never there"})
    assert "points.sqlite" in problems(store)


def test_an_interrupt_ends_a_statement_of_sqlite(store):
    endless(points_file(store))
    with retrieval_store.Client(store) as client:
        things = client.get_collection("things", embedding_function=None)
        began = time.monotonic()
        with alarm(0.2), pytest.raises(KeyboardInterrupt):
            things.get(where_document={"$contains": "never there"})
        assert time.monotonic() - began < 2
        assert things.count() == 7


def tamper(store, seed):
    """Overwrite some values with others, at random."""
    chance = random.Random(seed)
    file = chance.choice([points_file(store), points_file(store), store / "catalog.sqlite"])
    tables = {
        "points.sqlite": {
            "head": ["seq", "next_pk", "generation", "log_floor", "dropped"],
            "spaces": ["number", "name", "metric", "dimension", "slots"],
            "points": ["pk", "id", "payload", "document", "uri"],
            "presence": ["chunk", "bitmap"],
            "blocks": ["space", "generation", "block", "checksum", "owners"],
        },
        "catalog.sqlite": {"collections": ["id", "name", "settings", "dropping"]},
    }
    for _ in range(chance.choice([1, 1, 1, 3])):
        table, columns = chance.choice(list(tables[file.name].items()))
        column = chance.choice(columns)
        value = chance.choice(
            [
                *(0, 1, -1, 2**31, 2**62, -(2**63), 0.5),
                *("", "x", "1", b"", b"\0" * 8, b"\xff" * 1024),
                chance.randbytes(chance.randrange(2_000)),
            ]
        )
        statement = f"UPDATE OR IGNORE {table} SET {column} = ?"
        if table != "head" and chance.random() < 0.5:
            statement += (
                f" WHERE rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {chance.randrange(4)})"
            )
        try:
            sql(file, statement, value)
        except apsw.Error:  # SQLite itself refuses that one
            continue


def main(folder):
    """Many rounds of tampering and use, within 3 GB of memory and 20 s of CPU time a round."""
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    fill(Path(folder) / "made", 8)
    for seed in range(ROUNDS):
        spent = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
        resource.setrlimit(resource.RLIMIT_CPU, (spent + 20, most))
        store = Path(folder) / "store"
        shutil.copytree(Path(folder) / "made", store)
        print("seed", seed, flush=True)
        tamper(store, seed)
        use(store)
        shutil.rmtree(store)
    print("survived", ROUNDS)


def test_random_tampering_never_crashes_hangs_or_eats_the_memory(tmp_path):
    command = [sys.executable, "-m", "tests.test_hostile", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"survived {ROUNDS}", done.stderr[-3_000:]


if __name__ == "__main__":
    main(sys.argv[1])
