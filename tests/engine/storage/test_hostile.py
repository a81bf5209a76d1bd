"""Tampered stores with correct checksums: errors, and nothing worse."""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import retrieval_store
from retrieval_store.errors import DamagedError, RetrievalStoreError
from tests.helpers import ROOT, inside
from tests.helpers.indexed import populated
from tests.helpers.small_stores import delete, everything, fill, points_file, problems, sql, write

ROUNDS = int(os.environ.get("TAMPER_ROUNDS", 50))


@pytest.fixture
def store(tmp_path):
    fill(tmp_path / "store", 8)
    return tmp_path / "store"


def use(store):
    """Read everything, verify, write, delete; every error must be ours."""
    for action in (everything, problems, write, delete):
        try:
            action(store)
        except RetrievalStoreError:
            continue


@pytest.mark.parametrize("name", ["../outside", "/etc", "", "x", "..", "a" * 36, 7, None])
def test_an_id_with_a_path_outside_is_refused_and_files_there_stay_unchanged(store, tmp_path, name):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("precious")
    sql(store / "catalog.sqlite", "UPDATE collections SET id = ?, dropping = 1", name)
    for action in (everything, delete):
        with pytest.raises(DamagedError, match=r"catalog\.sqlite"):
            action(store)
    assert (tmp_path / "outside" / "file").read_text() == "precious"


def test_links_and_pipes_in_the_place_of_files_are_refused(store, tmp_path):
    outside = tmp_path / "outside"
    for file in [store / "catalog.sqlite", points_file(store), *store.glob("*/*.vectors")]:
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
    (turns,) = directory.glob("writing.lock")
    turns.unlink()
    for put in (lambda: turns.symlink_to(outside), lambda: os.mkfifo(turns)):
        put()
        write(store)  # out of turn
        turns.unlink()
    assert outside.read_bytes() == before
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
        "UPDATE head SET seq = x'00'",
        "UPDATE head SET seq = (1 << 63) - 1",
        "UPDATE head SET next_pk = 0.5",
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
    """Many rounds of tampering and use, each within 3 GB of memory and 20 s of CPU time."""
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


@pytest.mark.kills
@pytest.mark.property
def test_random_tampering_never_crashes_hangs_or_eats_the_memory(tmp_path):
    command = [sys.executable, "-m", __name__, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"survived {ROUNDS}", done.stderr[-3_000:]


@pytest.mark.parametrize(
    "settings",
    [{"text": {}}, {"text": 3}, {"text": {"language": 5}}, {"index": {}}, {"index": 3}],
)
def test_settings_in_a_tampered_catalog_are_damage(tmp_path, settings):
    with retrieval_store.Client(tmp_path) as client:
        populated(client)
    connection = inside.database_of_catalog(tmp_path / "catalog.sqlite")
    ((held,),) = connection.execute("SELECT settings FROM collections").fetchall()
    changed = json.dumps({**json.loads(held), **settings}).encode()
    connection.execute("UPDATE collections SET settings = ?", (changed,))
    connection.close()
    with (
        retrieval_store.Client(tmp_path) as client,
        pytest.raises(DamagedError, match="settings that no version writes"),
    ):
        client.get_collection("things", embedding_function=None)


if __name__ == "__main__":
    main(sys.argv[1])
