"""Simulated power cuts at every moment of a mixed workload: see `power_loss`.

Each test runs in its own process (`python -m tests.engine.storage.test_power_loss …`), since the
recording VFS must be installed before SQLite's checksum VFS.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import retrieval_store
from retrieval_store.api.configuration import DEFAULTS
from retrieval_store.api.results import SPACE
from retrieval_store.query.protocols import Changes
from retrieval_store.query.types import Content, Fields, NewSpace, PointBatch, Vectors, WriteRules
from tests.helpers import ROOT, inside, steps
from tests.helpers.power_loss import Chance, Disk, Event, Recorder
from tests.helpers.tuned import tuned

DIMENSION = 8
OTHER = "other"
UPSERT = WriteRules(on_existing="update", on_missing="insert")
SHARES = (0, 1, 0.5, 0.8)  # of what wasn't synced survives: nothing, all, some

# Syncs that can be left out, one at a time: what the place would call is replaced by nothing.
SYNCS = {
    "of vectors": "sync_vectors",
    "of the name of a new vector file": "sync_name_of_vectors",
    "of a new database": "sync_database",
    "of the name of a new database": "sync_name_of_database",
    "of the name of a collection's directory": "sync_name_of_store",
    "of the name of the store's directory": "sync_name_of_store",
}

Holdings = dict[str, tuple]
SharesAt = Callable[[int, Event], tuple[float, ...]]


def content(path: Path) -> Holdings:
    """The whole content of a store, in a comparable form."""
    held: Holdings = {}
    with retrieval_store.Client(path) as client:
        for collection in client.list_collections():
            got = collection.get(include=["metadatas", "documents", "embeddings"])
            engine = inside.points(collection)
            others = engine.get(None, None, None, 0, Fields(vectors=(OTHER,))).vectors[OTHER]
            points = [
                (
                    *(got["ids"][i], str(got["metadatas"][i]), got["documents"][i]),
                    *(*vector, others[i].tobytes()),
                )
                for i, vector in enumerate(got["embeddings"].tolist())
            ]
            found = collection.query(query_embeddings=np.zeros(DIMENSION), n_results=10_000)
            assert sorted(found["ids"][0]) == sorted(got["ids"])
            held[collection.name] = (str(collection.metadata), *points)
        held["aliases"] = ("", *sorted(inside.store(client).aliases().items()))
    return held


def workload(path: Path, durability: str) -> Iterator[None]:
    """A step of work before each yield: all operations, with files that grow, are closed and
    opened."""
    vectors = np.random.default_rng(0).integers(0, 9, (900, DIMENSION)).astype(np.float32)

    def records(start, stop):
        return {
            "ids": [str(i) for i in range(start, stop)],
            "embeddings": vectors[start:stop],
            "documents": [f"document {i}" for i in range(start, stop)],
            "metadatas": [{"n": i} for i in range(start, stop)],
        }

    with retrieval_store.Client(path, durability=durability) as client:
        yield
        one = client.create_collection("one", embedding_function=None)
        yield
        one.add(**records(0, 3))
        yield
        one.add(**records(3, 600))  # beyond one block, and beyond the file's first size
        yield
        one.update(ids=["1", "5"], embeddings=vectors[[7, 8]], metadatas=[{"n": None}, {"m": 1}])
        yield
        one.delete(where={"n": {"$gte": 590}})
        yield
        one.optimize()
        yield
        two = client.create_collection("two", embedding_function=None, metadata={"of": 2})
        yield
        two.add(**records(0, 1))
        yield
    with retrieval_store.Client(path, durability=durability) as client:
        one = client.get_collection("one")
        one.upsert(**records(580, 620))
        yield
        one.modify(name="uno", metadata={"renamed": True})
        yield
        client.delete_collection("two")
        yield
        two = client.create_collection("two", embedding_function=None)
        yield
        two.add(**records(5, 7))
        yield
        one.add(**records(700, 702))  # after the 40 there is no room for these outside the file
        yield
        one.add(**records(702, 703))
        yield
        two.add(**records(7, 8))
        yield
        more = [partial(one.add, **records(i, i + 1)) for i in range(710, 714)]
        inside.together(inside.access(one), more)  # in one transaction
        yield
        # A second vector space, whose file is made when the write-ahead log is long there.
        settings = {"metadata": None, "hnsw": DEFAULTS, "embedding_function": None}
        store = inside.store(client)
        both = store.points(
            store.create("both", settings, dict.fromkeys([SPACE, OTHER], NewSpace("l2"))).id
        )
        yield
        both.put(PointBatch(["a"], {SPACE: Vectors(vectors[:1])}), UPSERT)
        yield
        both.put(PointBatch(["a"], {OTHER: Vectors(vectors[1:2])}), UPSERT)
        yield
        both.put(PointBatch(["a"], {OTHER: Vectors(vectors[2:3])}), UPSERT)
        yield
        store.optimize(store.by_name("both").id, lambda *_: None)
        yield
        store.change_aliases(lambda aliases: {**aliases, "x": "both", "y": "uno"})
        yield
        both.transact(partial(several_operations, vectors))
        yield
        store.change_aliases(lambda aliases: {"x": "uno"})
        yield
        both.drop_space(OTHER)
        both.add_space(OTHER, NewSpace("ip"))
        store.optimize(store.by_name("both").id, lambda *_: None)  # or its file goes at any time
        yield
        both.put(PointBatch(["d"], {OTHER: Vectors(vectors[11:12])}), UPSERT)
        yield


def several_operations(vectors: np.ndarray, changes: Changes) -> None:
    """All kinds of operations on points, in one transaction."""
    replace = WriteRules(on_existing="replace", on_missing="insert")
    new = {SPACE: Vectors(vectors[3:6]), OTHER: Vectors(vectors[6:9])}
    changes.put(PointBatch(["b", "c", "d"], new, [{"n": 1}] * 3), replace)
    changes.edit(None, None, lambda old: Content({"n": 2}, "a text", old.uri), False)
    changes.delete_vectors(["b"], None, [OTHER], False)
    changes.delete(["c"], None)
    changes.put(PointBatch(["a"], {SPACE: Vectors(vectors[9:10])}, [{"n": 3}]), replace)


def record(
    root: Path, durability: str, monkeypatch, looking: bool
) -> tuple[list[Event], list[Holdings]]:
    """The events of the workload, with an "acknowledged" after each step, and the store's content
    after each step, if `looking`."""
    store = root / "store"
    recorder = Recorder(root)
    contents: list[Holdings] = [{"aliases": ("",)}]
    for step in _stepwise(recorder, store, durability, monkeypatch):
        if not looking:
            continue
        # A copy, since a look at the store itself would write and sync.
        copy = root.parent / f"copy-{step}"
        shutil.copytree(store, copy)
        contents.append(content(copy))
        shutil.rmtree(copy)
    return recorder.events, contents


def _stepwise(recorder, store, durability, monkeypatch) -> Iterator[int]:
    steps = workload(store, durability)
    for number in range(1, 1_000):
        with recorder.recording(monkeypatch):
            more = next(steps, "the end") is None
        recorder.events.append(Event("acknowledged", ""))
        if not more:
            recorder.events.pop()
            return
        yield number


def some_of(number: int, event: Event) -> tuple[float, ...]:
    """The case in which nothing survives is checked wherever it can differ from the case before;
    one of the other shares, in turn, at every sixth moment."""
    if number % 6 == 0:
        return 0, SHARES[1 + number % (len(SHARES) - 1)]
    return (0,) if event.kind in ("acknowledged", "sync", "sync directory") else ()


def crashes(
    events: list[Event], shares_at: SharesAt
) -> Iterator[tuple[str, Holdings | Exception, int]]:
    """Crash after each event, in several ways. Yields the event, what is left (or the error of
    reading it), and how many steps were acknowledged."""
    root = Path(events[0].path)  # the first event makes the directory of the store
    disk, acknowledged = Disk(root.parent), 0
    for number, event in enumerate(events):
        if event.kind == "acknowledged":
            acknowledged += 1
        else:
            disk.replay(event)
        for share in shares_at(number, event):
            place = f"after event {number} ({event.kind} {event.path}), {share} survive"
            with tempfile.TemporaryDirectory() as folder:
                left = Path(folder) / "left"
                disk.crashed(left, Chance(share, random.Random(number)))
                try:
                    yield place, content(left / root.name), acknowledged
                except Exception as error:
                    yield place, error, acknowledged


def difference(found: Holdings, expected: Holdings) -> str:
    """A short description of the differences."""
    for name in sorted({*found, *expected}):
        one, other = found.get(name, ()), expected.get(name, ())
        if one != other:
            differing = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
            return f"{name}: {len(one)} instead of {len(other)}, {differing[:2]}"
    return "nowhere"


def violations(events: list[Event], contents: list[Holdings], shares_at: SharesAt) -> Iterator[str]:
    """Cases in which the remaining content is neither the acknowledged one nor that with the
    current step."""
    for place, found, acknowledged in crashes(events, shares_at):
        if isinstance(found, Exception):
            yield f"{place}: {found!r}"
        elif found not in contents[acknowledged : acknowledged + 2]:
            yield f"{place}: not what was acknowledged: {difference(found, contents[acknowledged])}"


def inconsistencies(
    events: list[Event], contents: list[Holdings], shares_at: SharesAt
) -> Iterator[str]:
    """The same for relaxed durability: each collection must have a content that it had at some
    time."""
    points = {held[1:] for names in contents for held in names.values()}
    for place, found, _ in crashes(events, shares_at):
        if isinstance(found, Exception):
            yield f"{place}: {found!r}"
        elif any(held[1:] not in points for held in found.values()):
            yield f"{place}: what never was"


def synced_by_a_creation(root: Path, monkeypatch) -> list[str]:
    """The kinds of files that creating a collection syncs, in order."""
    recorder = Recorder(root)
    with recorder.recording(monkeypatch), retrieval_store.Client(root / "store") as client:
        client.create_collection("one", embedding_function=None)
        before = len(recorder.events)
        client.create_collection("two", embedding_function=None)
        made = recorder.events[before:]
    return [Path(event.path).name[:14] for event in made if event.kind == "sync"]


def recorded(
    durability: str, left_out: str = "", looking: bool = True
) -> tuple[list[Event], list[Holdings]]:
    """The result of `record`, with one sync left out."""
    monkeypatch = pytest.MonkeyPatch()
    tuned(monkeypatch, small_bytes=2_048, unsynced_bytes=1_300)  # of 64 and 40 vectors
    if left_out:
        steps.replace(monkeypatch, SYNCS[left_out], lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "root"
        root.mkdir()
        events, contents = record(root, durability, monkeypatch, looking)
    monkeypatch.undo()
    return events, contents


def main(check: str, durability: str = "full", shares: str = "some") -> None:
    """Print the errors, and the number of cases. shares: "some" or "all" of them after each
    event."""
    if check == "creation":
        with tempfile.TemporaryDirectory() as folder:
            print(*synced_by_a_creation(Path(folder).resolve(), pytest.MonkeyPatch()))
        return
    if check == "needed":
        _, contents = recorded("full")  # which are the same without a sync, until power is lost
        for left_out in SYNCS:
            events, _ = recorded("full", left_out, looking=False)
            found = violations(events, contents, lambda number, event: (0,))
            print(f"{left_out}: {next(found, 'nothing')}")
        return
    if check == "unrestored":
        events, contents = recorded("full")
        steps.replace(pytest.MonkeyPatch(), "restore_vectors", lambda *_: None)
        print(*islice(violations(events, contents, lambda number, event: (0,)), 1))
        return
    find = {"lost": violations, "inconsistent": inconsistencies}[check]
    shares_at = {"some": some_of, "all": lambda number, event: SHARES}[shares]
    events, contents = recorded(durability)
    found = find(events, contents, shares_at)
    if check == "lost" and durability == "relaxed":
        found = islice(found, 1)
    for violation in found:
        print("violation:", violation)
    print(len(events), "events")


def run(*arguments: str) -> str:
    """The output of `main`, with its files in memory if possible. Syncs are recorded, so their
    effect on a disk doesn't matter."""
    command = [sys.executable, "-m", __name__, *arguments]
    folder = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **folder}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


thoroughly = pytest.mark.parametrize(
    "shares", ["some", pytest.param("all", marks=pytest.mark.slow)]
)


@pytest.mark.kills
@thoroughly
def test_power_cuts_lose_nothing_acknowledged_and_leave_nothing_in_part(shares):
    output = run("lost", "full", shares)
    assert "violation" not in output
    assert int(output.split()[0]) > 200


@pytest.mark.kills
@thoroughly
def test_power_cuts_under_relaxed_durability_leave_what_once_was(shares):
    assert "violation" not in run("inconsistent", "relaxed", shares)


@pytest.fixture(scope="module")
def without_a_sync() -> dict[str, str]:
    """What is lost without each of the syncs."""
    return dict(line.split(": ", 1) for line in run("needed").splitlines())


@pytest.mark.kills
@pytest.mark.parametrize("left_out", SYNCS)
def test_each_sync_is_needed(left_out, without_a_sync):
    """The simulation detects each missing sync, so each has a reason."""
    assert without_a_sync[left_out].startswith("after event")


@pytest.mark.kills
def test_the_sync_of_the_write_ahead_log_is_needed():
    assert "violation" in run("lost", "relaxed")


@pytest.mark.kills
def test_vectors_that_were_not_synced_are_restored():
    assert "wrong checksum" in run("unrestored")


def test_a_creation_waits_for_the_new_database_once_and_for_the_catalog_twice():
    assert run("creation").split() == ["catalog.sqlite", "points.sqlite.", "catalog.sqlite"]


if __name__ == "__main__":
    main(*sys.argv[1:])
