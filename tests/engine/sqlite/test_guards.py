"""Malicious databases that attack SQLite itself: journals, schemas, endless trees."""

import os
import re
import struct
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import retrieval_store
from retrieval_store.errors import DamagedError
from tests.helpers import ROOT, inside
from tests.helpers.small_stores import (
    delete,
    endless,
    everything,
    fill,
    filled,
    points_file,
    problems,
    sql,
    write,
)
from tests.helpers.tuned import tuned


@pytest.fixture
def store(tmp_path):
    fill(tmp_path / "store", 8)
    return tmp_path / "store"


def super_journal(database, victim):
    """A journal that makes SQLite before 3.53.3 delete the file that the journal names as its
    super-journal."""
    magic = bytes.fromhex("d9d505f920a163d7")
    pages, name = database.stat().st_size // 4096, str(victim).encode()
    head = magic + struct.pack(">IIIII", 0, 0, pages, 512, 4096)
    tail = struct.pack(">I", 0x40000000 // 4096 + 1) + name
    tail += struct.pack(">II", len(name), sum(name)) + magic
    return head.ljust(512, b"\0") + tail


@pytest.mark.parametrize("kind", ["super-journal", "pipe", "link", "folder", "empty"])
def test_a_database_with_a_journal_is_refused(store, tmp_path, kind):
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


def test_the_oldest_allowed_sqlite_ignores_a_foreign_super_journal(tmp_path):
    (lowest,) = [
        re.findall(r">=([\d.]+)", line)[0]
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
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


def test_a_tree_without_end_ends(store, monkeypatch):
    tuned(monkeypatch, steps_of_sqlite=10_000_000)
    endless(points_file(store))
    with retrieval_store.Client(store) as client:
        things = client.get_collection("things", embedding_function=None)
        with pytest.raises(DamagedError, match="it did not finish"):
            things.get(where_document={"$contains": "never there"})
    assert "points.sqlite" in problems(store)


def test_connections_of_many_threads_at_once_have_small_caches(tmp_path):
    """Dozens of large caches took half a gigabyte."""
    filled(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things")
        things.count()
        access, sizes = inside.access(things), []

        def deeper(connection):
            sizes.append(-connection.pragma("cache_size"))
            if len(sizes) < 9:
                access.use(deeper)

        access.use(deeper)
        assert len(set(sizes[:4])) == 1 and len(set(sizes[4:])) == 1
        assert sizes[-1] <= sizes[0] // 8
        del sizes[1:]
        sizes[:] = sizes * 8  # so that one more ends it
        access.use(deeper)
        assert sizes[-1] == sizes[0], "a small one wasn't let go of"
