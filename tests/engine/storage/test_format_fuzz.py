"""Every file of a store is changed at random, with correct checksums. Each use of it then gives a
result or an error of ours, in bounded time and memory, and nothing outside of the store changes.

The changes depend on the seed alone, and a failing test shows its seed. `python -m
tests.engine.storage.test_format_fuzz TARGET FOLDER SEED SEED+1` repeats it.
"""

import contextlib
import faulthandler
import json
import logging
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import uuid
import zlib
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest import mock

import apsw
import numpy as np
import pytest

import retrieval_store
from retrieval_store.api.results import SPACE
from retrieval_store.base.arrays import SparseVector
from retrieval_store.errors import DamagedError, RetrievalStoreError
from retrieval_store.filters.expression import Range
from retrieval_store.indexes.native import kernel
from retrieval_store.query.types import (
    Fields,
    NewSpace,
    NonDenseVectors,
    PointBatch,
    Vectors,
    WriteRules,
)
from tests.helpers import PATIENCE, ROOT, inside
from tests.helpers.questions import by_sparse, nearest_to
from tests.helpers.questions import search as ask
from tests.helpers.small_stores import endless
from tests.helpers.small_stores import fill as small
from tests.helpers.sqlite_pages import PAGE, Pages, sealed, words_sum
from tests.helpers.tuned import eager_codes, eager_indexes, tuned, use_trigrams

DIMENSION, COUNT = 8, 150
MEMORY = 3 << 30  # bytes of addresses, of which the libraries take the most
LONGEST = 120  # seconds of the processor, for some thirty calls
SMALL = {"hnsw": {"ef_search": 20, "max_neighbors": 4, "ef_construction": 20}}
UPSERT = WriteRules(on_existing="update", on_missing="insert")
EVERYTHING = ["metadatas", "documents", "embeddings", "uris"]


# The store that is changed: some of everything.


def make(folder):
    """A closed store, and a copy whose last writes are still in the log."""
    chance = random.Random(0)
    with (
        mock.patch("uuid.uuid4", lambda: uuid.UUID(int=chance.getrandbits(128), version=4)),
        mock.patch("os.cpu_count", lambda: 1),  # several threads make other graphs each time
        pytest.MonkeyPatch.context() as patch,
    ):
        inside.without_background(patch)  # which has files open for longer
        fill(folder)


def fill(folder):
    with retrieval_store.Client(folder / "made") as client:
        other = client.create_collection("other", SMALL, embedding_function=None)
        other.add(ids=["a", "5", "7"], **records(3))
        things = with_spaces(client)
        things.add(ids=ids(COUNT), **records(COUNT))
        put_special(client, COUNT)
        things.delete(ids=["3", "70"])
        things.update(ids=["5", "6"], embeddings=cloud(2, 9))
        things.query(query_texts="x", mode="text")
        things.warm(["n", "kind", "list"])
        things.optimize()
        lose_some(client)
    with retrieval_store.Client(folder / "made") as client:
        client.get_collection("things", None).upsert(ids=["5", "new"], **records(2))
        shutil.copytree(folder / "made", folder / "open")


def with_spaces(client):
    """A collection that has vector spaces of all kinds, which only the engine can create."""
    store = inside.store(client)
    client.create_collection("things", SMALL, embedding_function=None)
    settings = store.by_name("things").settings
    client.delete_collection("things")
    index = {"settings": {"ef_search": 20, "max_neighbors": 4, "ef_construction": 20}}
    spaces = {
        SPACE: NewSpace("l2", index),
        "sparse": NewSpace("ip", {"idf": True}, kind="sparse"),
        "several": NewSpace("cosine", kind="multi"),
        "halves": NewSpace("ip", index, datatype="float16"),
        "bytes": NewSpace("l1", datatype="uint8", dimension=DIMENSION),
    }
    store.create("things", settings, spaces)
    return client.get_collection("things", None)


def put_special(client, count):
    several = [cloud(1 + i % 3, i) for i in range(count)]
    batch = PointBatch(
        ids(count),
        {
            "sparse": NonDenseVectors(sparse(count)),
            "several": NonDenseVectors(several),
            "halves": Vectors(cloud(count, 7)),
            "bytes": Vectors(100 * cloud(count, 8)),
        },
    )
    inside.named(client, "things").put(batch, UPSERT)


def lose_some(client):
    """Remove vectors, a vector space, and names that only other interfaces know."""
    points = inside.named(client, "things")
    points.transact(lambda changes: changes.delete_vectors(["8", "9"], None, [SPACE], True))
    points.add_space("gone", NewSpace("ip", kind="sparse"))
    points.drop_space("gone")
    inside.store(client).change_aliases(lambda _: {"other name": "things", "third": "other"})


def ids(count):
    return [str(i) for i in range(count)]


def records(count):
    return {
        "embeddings": cloud(count),
        "metadatas": [{"n": i, "kind": "abc"[i % 3], "list": [i, None]} for i in range(count)],
        "documents": [f"text {i} of words " + "and more " * (i % 40) * 30 for i in range(count)],
    }


def cloud(count, seed=0):
    numbers = np.random.default_rng(seed)
    return numbers.standard_normal((count, DIMENSION)).astype(np.float32)


def sparse(count):
    chance = np.random.default_rng(1)
    return [
        SparseVector(np.sort(chance.choice(50, 5, False)).astype(np.uint32), np.ones(5, np.float32))
        for _ in range(count)
    ]


# How it is used.


def read(client):
    for listed in client.list_collections():
        for things in (listed, client.get_collection(listed.name, None)):
            yield partial(things.get, include=EVERYTHING)
            yield things.count
            yield partial(
                inside.load_index, inside.access(things), SPACE
            )  # as the background does, but now
            yield partial(things.query, cloud(3, 5), n_results=5)
            yield partial(things.query, cloud(3, 5), n_results=90, where={"n": {"$gte": 20}})
            yield partial(things.query, cloud(1, 5), exact=True, include=EVERYTHING)
            yield partial(things.get, where={"kind": {"$in": ["a", "b"]}}, limit=5)
            yield partial(things.get, where={"list": {"$contains": 7}})
            yield partial(things.warm, ["n", "kind", "list", "new"], text=True)
            yield partial(things.get, where_document={"$contains": "words and"})
            yield partial(things.get, where_document={"$regex": "5 of w"})
            yield partial(things.get, ids=["5", "7", "none"], include=EVERYTHING)


def search(client):
    for things in client.list_collections():
        yield partial(things.query, query_texts="text words", mode="text")
        yield partial(things.query, cloud(1), query_texts=["more"], mode="hybrid")
        yield partial(things.explain, cloud(1), where={"n": 5})
        yield things.stats
        if things.name == "things":
            points = inside.named(client, "things")
            yield partial(ask, points, by_sparse("sparse", tuple(sparse(2)), 5), Fields())
            yield partial(ask, points, nearest_to("several", (cloud(2),), 5), Fields())
            yield partial(ask, points, nearest_to("halves", cloud(2), 5, None), Fields())
            yield partial(ask, points, nearest_to("bytes", cloud(2), 5, None), Fields())
            for space in ("sparse", "several", "halves", "bytes"):
                yield partial(points.get, None, None, None, 0, Fields(vectors=(space,)))
            yield points.spaces
            yield partial(points.page, None, "3", 50, Fields(payload=True, version=True))
            yield partial(points.page, Range(("n",), lt=50), None, 9, Fields())
    yield inside.store(client).aliases
    yield partial(inside.store(client).resolve, "other name")
    yield partial(refuse_problems, client)


def refuse_problems(client):
    problems = [report.problem for report in client.verify() if report.problem]
    if problems:
        raise DamagedError(problems)


def write(client):
    for things in client.list_collections():
        yield partial(things.upsert, ids=["7", "newer"], **records(2))
        yield partial(things.delete, where={"n": {"$lt": 30}})
        if things.name == "things":
            yield partial(put_special, client, 9)
            yield partial(inside.named(client, "things").transact, replace_and_lose)
            yield partial(inside.named(client, "things").drop_space, "halves")
        yield partial(things.query, cloud(1), n_results=20)
        yield things.optimize
        yield partial(things.modify, name=f"{things.name}.again")


def replace_and_lose(changes):
    replacing = WriteRules(on_existing="replace", on_missing="insert")
    changes.put(PointBatch(["40", "x"], {"bytes": Vectors(cloud(2))}), replacing)
    changes.edit(None, Range(("n",), lt=60), lambda content: content, True)
    changes.delete_vectors(None, Range(("n",), lt=70), [SPACE, "sparse", "halves"], False)


def delete(client):
    yield lambda: client.create_collection("things", SMALL, None, None).add(["a"], cloud(1))
    for things in client.list_collections():
        yield partial(client.delete_collection, things.name)


USES = [
    (read, {"read_only": True}),
    (read, {}),
    (search, {}),
    (search, {"rebuild": True}),
    (write, {}),
    (delete, {}),
]


def use(store, tally):
    """Use a store in every way; `tally` counts the outcomes."""
    for calls, options in USES:
        tally["refused"] += 1  # unless all goes well
        with contextlib.suppress(RetrievalStoreError), watched():
            with retrieval_store.Client(store, **options) as client:
                for call in calls(client):
                    attempt(call, tally)
            tally["refused"] -= 1


def attempt(call, tally):
    try:
        call()
        tally["answered"] += 1
    except RetrievalStoreError:
        tally["refused"] += 1


@contextlib.contextmanager
def watched():
    """Ends the process after too long, with a traceback. It measures CPU time, which other programs
    don't affect, and elapsed time for calls that only wait."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent.ru_utime + spent.ru_stime) + LONGEST, most))
    faulthandler.dump_traceback_later(LONGEST + 5 * PATIENCE, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


# What is done to it.


def databases(store):
    return by_kind(store.glob("**/*.sqlite"))


def by_kind(files):
    """Sorted independently of the ids in their names."""
    return sorted(files, key=lambda file: (file.name.split(".")[0], file.stat().st_size))


def things_file(store):
    """The points.sqlite of the larger collection."""
    return max(store.glob("*/points.sqlite"), key=lambda file: file.stat().st_size)


def few(chance):
    return range(chance.choice([1, 1, 1, 2, 4]))


@contextlib.contextmanager
def opened(file):
    """A connection that makes the checksums of pages right, and allows every change."""
    with closing(apsw.Connection(str(file), vfs=inside.CHECKSUM_VFS)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON; PRAGMA synchronous = OFF")
        yield connection


def values(store, chance):
    """Random values in any column, in some rows or all; and deleted or restored rows."""
    file = chance.choice([*databases(store), things_file(store), things_file(store)])
    with anything_allowed(file), opened(file) as connection:
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
        tables = [name for (name,) in connection.execute(query)]
        for _ in few(chance):
            with contextlib.suppress(apsw.Error):  # SQLite itself refuses that one
                change(connection, chance.choice(tables), chance)


@contextlib.contextmanager
def anything_allowed(file):
    """Without NOT NULL constraints meanwhile; they are restored, since opening a store checks its
    schema."""
    query = "SELECT rowid, sql FROM sqlite_schema WHERE sql IS NOT NULL"
    with opened(file) as connection:
        before = connection.execute(query).fetchall()
        rewrite(connection, [(row, sql.replace("NOT NULL", "")) for row, sql in before])
    yield
    with opened(file) as connection:
        rewrite(connection, before)


def rewrite(connection, schema):
    connection.execute("PRAGMA writable_schema = ON")
    for row, sql in schema:
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE rowid = ?", (sql, row))


def change(connection, table, chance):
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    column = chance.choice(columns)
    count = connection.execute(f"SELECT count(*) FROM {table}").get
    rows = connection.execute(f"SELECT {column} FROM {table} LIMIT 200").fetchall()
    value = another(chance.choice(rows)[0] if rows else None, chance)
    whole = connection.execute(f"PRAGMA table_list({table})").fetchall()[0][4]  # WITHOUT ROWID
    where = ""
    if count and not whole and chance.random() < 0.7:
        some = f"LIMIT {chance.choice([1, 1, 5])} OFFSET {chance.randrange(count)}"
        where = f"WHERE rowid IN (SELECT rowid FROM {table} {some})"
    kind = chance.choice(["update"] * 8 + ["delete", "insert", "insert"])
    if kind == "update":
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ? {where}", (value,))
    elif kind == "delete":
        connection.execute(f"DELETE FROM {table} {where}")
    else:
        names = ", ".join("?" if name == column else name for name in columns)
        source = f"SELECT {names} FROM {table} {where or 'LIMIT 50'}"
        if not count:
            source = f"SELECT {', '.join('?' for _ in columns)}"
        parameters = (value,) if count else tuple(another(None, chance) for _ in columns)
        connection.execute(f"INSERT OR IGNORE INTO {table} {source}", parameters)


def another(value, chance):
    """Another value, often similar to the old one."""
    odd = [0, 1, -1, 7, 2**31, 2**62, 2**63 - 1, -(2**63), 0.5, 1e308, float("inf"), None]
    odd += ["", "x", "1", "\0", "../../outside/precious", "/etc/passwd", "A" * 5_000, "sparse"]
    odd += [b"", bytes(8), b"\xff" * 1024, bytes(1 << 20), chance.randbytes(chance.randrange(500))]
    if chance.random() < 0.4:
        return chance.choice(odd)
    if isinstance(value, int):
        return (value + chance.choice([-1, 1, 8, -8, 512])) % 2**62
    try:
        return as_json(value, chance)
    except (ValueError, TypeError):
        pass
    if isinstance(value, bytes) and value:
        return bytes(changed(bytearray(value), chance))
    return chance.choice(odd)


def as_json(value, chance):
    """JSON with one place replaced by something invalid."""
    tree = json.loads(value)
    if not isinstance(tree, dict):
        raise TypeError(tree)
    inside, key = tree, None
    while isinstance(inside, dict) and inside and (key is None or chance.random() < 0.7):
        parent, key = inside, chance.choice(sorted(inside))
        inside = parent[key]
    leaves = [None, True, -1, 0.5, 2**63, "", "x", "cosine", "hnsw", "exact", [], {}, [[]], 10**9]
    leaves += [{"name": "openai", "settings": {}}, {"name": "x"}, "a" * 3_000]
    if key is not None and chance.random() < 0.8:
        parent[key] = chance.choice(leaves)
    else:
        tree[chance.choice(["", "x", "name", "settings", "kind"])] = chance.choice(leaves)
    return json.dumps(tree).encode()


def changed(data, chance, within=None):
    """The data with other bytes at some place: a few random ones, or a number."""
    first, stop = within or (0, len(data))
    width = min(chance.choice([1, 1, 2, 4, 4, 8]), stop - first)
    place = chance.randrange(first, max(first + 1, stop - width + 1))
    number = chance.choice([0, 1, 2, 0x7F, 0xFF, chance.randrange(256), chance.randrange(1 << 16)])
    new = number.to_bytes(8, chance.choice(["big", "little"]))
    new = new[-width:] if new[-1] else new[:width]
    data[place : place + width] = chance.choice([new, chance.randbytes(width), b"\xff" * width])
    return data


def pages(store, chance):
    """Change bytes in pages, mostly in their headers."""
    with Pages(chance.choice([*databases(store), things_file(store)])) as file:
        for _ in few(chance):
            number = chance.choice([1, *range(1, len(file) + 1), *file.inner * 3])
            places = [(0, 12), (8, 200), (0, PAGE - inside.CHECKSUM_BYTES)]
            changed(
                file[number], chance, chance.choice([*places, (16, 108)] if number == 1 else places)
            )


def trees(store, chance):
    """Change which pages a page refers to: cycles, repeated references, or none."""
    with Pages(chance.choice([things_file(store), things_file(store), *databases(store)])) as file:
        for _ in few(chance):
            chance.choice([redirect, redirect, chain, ladder, ladder])(file, chance)


def redirect(file, chance):
    """Change one reference of a page with references."""
    if file.inner:
        page = file[chance.choice(file.inner)]
        count = int.from_bytes(page[3:5], "big")
        cells = [int.from_bytes(page[12 + 2 * i : 14 + 2 * i], "big") for i in range(count)]
        place = chance.choice([8, *[cell for cell in cells if cell < PAGE - 12]])
        target = chance.choice([0, 1, len(file) + 5, *range(1, len(file) + 1), *file.inner * 9])
        page[place : place + 4] = target.to_bytes(4, "big")


def chain(file, chance):
    """Change the overflow page of a long value to any page."""
    page = file[chance.randrange(2, len(file) + 1)]
    page[:4] = chance.randrange(len(file) + 2).to_bytes(4, "big")


def ladder(file, chance):
    """Pages that each refer many times to the next one, and the last to the first: a tree with more
    leaves than there are atoms, in a few pages."""
    if file.inner:
        number = chance.choice(file.inner)
        below = int.from_bytes(file[number][8:12], "big")
        others = sorted(set(range(2, len(file) + 1)) - {number, below})
        steps = chance.choice([1, 2, 10, 300])
        for page in chance.sample(others, min(len(others), chance.randrange(2, 18))):
            file[page][:] = rung(below, steps, chance)
            below = page
        file[number][8:12] = below.to_bytes(4, "big")


def rung(below, steps, chance):
    """A page of a table that refers to one other page, `steps` times and once more."""
    page = bytearray(PAGE)
    end = PAGE - inside.CHECKSUM_BYTES
    size = 6  # a page number and a key of two bytes
    page[0] = 5
    page[3:5] = steps.to_bytes(2, "big")
    page[5:7] = (end - steps * size).to_bytes(2, "big")
    page[8:12] = below.to_bytes(4, "big")
    for i in range(steps):
        cell = end - (i + 1) * size
        page[12 + 2 * i : 14 + 2 * i] = cell.to_bytes(2, "big")
        key = chance.choice([0, i, 300 - i])
        page[cell : cell + size] = struct.pack(">IBB", below, 0x80 | key >> 7, key & 0x7F)
    return page


def logs(store, chance):
    """Write-ahead logs of other stores, or changed ones; and their indexes."""
    shutil.rmtree(store)
    shutil.copytree(store.parent / "open", store)
    held = [log for log in by_kind(store.glob("**/*-wal")) if log.stat().st_size]
    log = chance.choice(held)
    data = log.read_bytes()
    for _ in few(chance):
        kind = chance.choice(["other", "page", "page", "page", "frame", "cut", "repeat", "shm"])
        if kind == "other":
            target = Path(f"{chance.choice(databases(store))}-wal")
            target.write_bytes(data)
        elif kind == "shm":
            shared = Path(f"{str(log)[:-4]}-shm")
            shared.write_bytes(changed(bytearray(shared.read_bytes()), chance))
        else:
            data = b"".join(log_parts(data, kind, chance))
            log.write_bytes(data)


def log_parts(data, kind, chance):
    """The log again with changed frames and correct checksums. A frame is a page after its number,
    the size of the database if it ends a transaction, and two salts."""
    head, size = bytearray(data[:24]), 24 + PAGE
    frames = [bytearray(data[i : i + size]) for i in range(32, len(data) - size + 1, size)]
    chosen = chance.choice(frames) if frames else bytearray(size)
    match kind:
        case "page":
            changed(chosen, chance, chance.choice([(24, 24 + 12), (24, 224), (24, size)]))
            chosen[24:] = sealed(chosen[24:])
        case "frame":
            changed(chosen, chance, (0, 8))
        case "cut":
            frames = frames[: chance.randrange(len(frames) + 1)]
        case "repeat":
            frames.insert(chance.randrange(len(frames) + 1), bytearray(chosen))
    order = ">" if head[3] & 1 else "<"
    sums = words_sum(bytes(head), order)
    yield bytes(head) + struct.pack(">II", *sums)
    for frame in frames:
        sums = words_sum(bytes(frame[24:]), order, words_sum(bytes(frame[:8]), order, sums))
        yield bytes(frame[:16]) + struct.pack(">II", *sums) + bytes(frame[24:])


def derived_of(kind):
    """Change bytes in a derived file; its record fits, or nearly."""

    def derived(store, chance):
        file = chance.choice(by_kind(store.glob(f"*/derived/{kind}*")))
        data = bytearray(file.read_bytes())
        for _ in few(chance):
            within = chance.choice([(0, min(len(data), 300)), (0, len(data)), (0, len(data))])
            changed(data, chance, within)
        if chance.random() < 0.1:
            del data[chance.randrange(len(data)) :]
        file.write_bytes(data)
        with opened(file.parent.parent / "points.sqlite") as connection:
            more = chance.choice([0] * 6 + [1, -1, 10**9, -(10**9)])
            connection.execute(
                "UPDATE derived SET checksum = ?, size = ?, covered = covered + ?, "
                "seq = seq + ? WHERE file = ?",
                (
                    zlib.crc32(data),
                    len(data),
                    more,
                    chance.choice([0] * 6 + [-2, 1, 99]),
                    file.name,
                ),
            )

    return derived


def odd_floats(limits):
    """Floats that cause errors in arithmetic."""
    extremes = [limits.max, limits.min, limits.smallest_subnormal, 0.0, -0.0]
    return [np.nan, np.inf, -np.inf, *extremes]


def vectors(store, chance):
    """Vectors that aren't numbers, or the largest possible, in blocks that usually have a right
    checksum. Some are wrong, to see that they are checked."""
    file = chance.choice(sorted(things_file(store).parent.glob("*.vectors")))
    number, generation = map(int, file.name.split(".")[:2])
    with opened(file.parent / "points.sqlite") as connection, file.open("r+b") as stream:
        query = "SELECT slots, dimension, datatype FROM spaces WHERE number = ?"
        ((slots, dimension, datatype),) = connection.execute(query, (number,)).fetchall()
        row_bytes = dimension * np.dtype(datatype).itemsize
        rows = np.frombuffer(stream.read(slots * row_bytes), datatype).copy()
        odd = [0, 255] if datatype == "uint8" else odd_floats(np.finfo(datatype))
        for _ in few(chance):
            place = chance.randrange(len(rows))
            rows[place : place + chance.choice([1, dimension, 900])] = chance.choice(odd)
        stream.seek(0)
        stream.write(rows.tobytes())
        if chance.random() < 0.9:
            correct_blocks(
                connection, number, generation, rows, inside.rows_per_block(row_bytes) * dimension
            )


def correct_blocks(connection, space, generation, numbers, size):
    """Correct the checksums of blocks of this many numbers."""
    query = "UPDATE blocks SET checksum = ? WHERE space = ? AND generation = ? AND block = ?"
    for block in range(-(-len(numbers) // size)):
        checksum = zlib.crc32(numbers[block * size : (block + 1) * size].tobytes())
        connection.execute(query, (checksum, space, generation, block))


TARGETS = {
    "values": (values, 35),
    "pages": (pages, 25),
    "trees": (trees, 15),
    "logs": (logs, 18),
    "graphs": (derived_of("index"), 10),
    "lists": (derived_of("[tw]"), 10),
    "columns": (derived_of("columns"), 10),
    "states": (derived_of("state"), 12),
    "vectors": (vectors, 8),
}
if kernel() is not None:  # else nobody makes or reads codes
    TARGETS["codes"] = (derived_of("codes"), 10)


# The rounds, in a process of their own.


def main(targets, folder, first, stop):
    """Change and use a store repeatedly, within the bounds. targets: several, separated by
    commas."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    faulthandler.register(signal.SIGXCPU, chain=True)
    notes = Notes()
    logging.getLogger("retrieval_store").addHandler(notes)
    be_eager()
    folder = Path(folder)
    (folder / "outside").mkdir()
    (folder / "outside" / "precious").write_text("precious")
    make(folder)
    whole = used(folder, lambda store, chance: None, 0, notes)
    assert whole["refused"] == whole["noted"] == 0, whole  # of what nobody has tampered with
    rounds = []
    for target in targets.split(","):
        for seed in range(int(first), int(stop)):
            print(target, seed, flush=True)
            rounds.append(used(folder, TARGETS[target][0], seed, notes))
    print(json.dumps(rounds))


def used(folder, tamper, seed, notes):
    """The outcome of using a tampered store."""
    shutil.copytree(folder / "made", folder / "store")
    tamper(folder / "store", random.Random(seed))
    tally = {"answered": 0, "refused": 0}
    notes.count = 0
    use(folder / "store", tally)
    shutil.rmtree(folder / "store")
    assert sorted(path.name for path in folder.iterdir()) == ["made", "open", "outside"]
    assert [path.name for path in (folder / "outside").iterdir()] == ["precious"]
    assert (folder / "outside" / "precious").read_text() == "precious"
    return {**tally, "noted": notes.count}


def be_eager():
    """Also small collections get everything that is built for large ones."""
    eager_codes()
    eager_indexes()
    tuned(cost_of_a_pass=1e4)  # more than the index, and less than floats
    eager_lists()


def eager_lists(patch=None):
    use_trigrams(patch)
    tuned(patch, columns_worth=1, states_worth=1)


class Notes(logging.Handler):
    """Counts unusable files; an exception in the background that isn't ours ends the process."""

    count = 0

    def emit(self, record):
        self.count += "can't be used" in record.getMessage()
        if record.levelno >= logging.ERROR:
            print(self.format(record), file=sys.stderr, flush=True)
            os._exit(1)


def fuzz(targets, folder, first, stop):
    command = [sys.executable, "-m", __name__, ",".join(targets), folder, first, stop]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, "\n".join([*done.stdout.splitlines()[-1:], done.stderr[-5_000:]])
    rounds = json.loads(done.stdout.splitlines()[-1])
    assert len(rounds) == len(targets) * (stop - first)
    assert sum(tally["answered"] for tally in rounds) > len(rounds), "nothing was used"


@pytest.mark.kills
@pytest.mark.property
def test_any_content_of_files_gives_a_result_or_our_error(tmp_path):
    fuzz([*TARGETS], tmp_path, 0, 1)


@pytest.mark.parametrize(
    "change", ["document = CAST(document AS BLOB)", "uri = x'00ff'", "id = x'00'", "id = 0.5"]
)
def test_other_values_in_place_of_texts_are_damage(tmp_path, monkeypatch, change):
    eager_lists(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        client.create_collection("things", embedding_function=None).add(**records(9), ids=ids(9))
    with opened(things_file(tmp_path)) as connection:
        connection.execute(f"UPDATE points SET {change} WHERE pk = 5")
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        with pytest.raises(DamagedError, match="contradicts itself"):
            things.get(include=EVERYTHING)
        if change.startswith("document"):
            for _ in range(3):  # the second time lists of trigrams are made
                with pytest.raises(DamagedError, match="contradicts itself"):
                    things.get(where_document={"$contains": "words and"}, include=["documents"])


def test_a_number_of_the_next_space_that_is_none_is_damage(tmp_path):
    small(tmp_path / "store", 8)
    with opened(things_file(tmp_path / "store")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE head SET next_space = x'01'")
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.get_collection("things", embedding_function=None)
        with pytest.raises(DamagedError, match="next vector space"):
            things.optimize()


def test_a_tree_whose_rows_come_again_and_again_takes_no_memory(tmp_path):
    small(tmp_path / "store", 8)
    endless(things_file(tmp_path / "store"))
    with retrieval_store.Client(tmp_path / "store") as client:
        things = client.get_collection("things", embedding_function=None)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(DamagedError):
            things.get(where_document={"$contains": "text"})
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


@pytest.mark.property
@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_same_twenty_times_as_long(tmp_path, target):
    rounds = TARGETS[target][1]
    fuzz([target], tmp_path, rounds, 21 * rounds)


if __name__ == "__main__":
    main(*sys.argv[1:])
