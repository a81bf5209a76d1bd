"""Other processes that tests start. Each runs a function of this module, or of a similar one, by
its name.

They print one line for each event, which the test reads.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

import retrieval_store
from retrieval_store.engine.store import Store
from retrieval_store.query.types import Content, PointBatch, Vectors, WriteRules
from tests.helpers import PATIENCE, ROOT
from tests.helpers.tuned import eager_indexes

BATCH = 5
DIMENSION = 8
LINUX = sys.platform == "linux"
POINTS = 60  # of which all versions are alike
THREADS = 6  # that add at once
TURNS = 7  # points of which each transaction changes all


@contextmanager
def running(function, *arguments: object, eager: bool = False) -> Iterator[subprocess.Popen]:
    """The process, killed at the end if it is still running. eager: see `eager_indexes`."""
    mode = "eager" if eager else "usual"
    command = [sys.executable, "-m", function.__module__, mode, function.__name__]
    command += map(str, arguments)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ends_within_patience(process: int) -> bool:
    """Whether a process that isn't a child of this one ends in time."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            os.kill(process, 0)
            if LINUX and _is_zombie(process):
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def _is_zombie(process: int) -> bool:
    """Whether it has ended without being waited for, which may last in containers."""
    text = Path(f"/proc/{process}/stat").read_text()
    return text.rpartition(")")[2].split()[0] == "Z"


def opened(path: str) -> retrieval_store.Collection:
    return retrieval_store.Client(path).get_or_create_collection("things", embedding_function=None)


def vector(number: int) -> list[float]:
    """A vector that depends on the number, so that mixtures are visible."""
    return [float(number * DIMENSION + i) for i in range(DIMENSION)]


def add_batches(path: str, first: int) -> None:
    """Add batches without end; prints a line for each acknowledged one.

    Batch b has points b.0 … b.4, and updates the point "counter" to b. Every third batch deletes
    the batch before it.
    """
    collection = opened(path)
    print("ready", flush=True)
    for b in range(int(first), 10**9):
        numbers = [b * BATCH + i for i in range(BATCH)]
        collection.upsert(
            ids=[*(f"{b}.{i}" for i in range(BATCH)), "counter"],
            embeddings=[*map(vector, numbers), vector(b)],
            documents=[*(f"document {n}" for n in numbers), str(b)],
            metadatas=[*({"batch": b, "number": n} for n in numbers), {"batch": b, "number": b}],
        )
        print(f"added {b}\n", end="", flush=True)
        if b % 3 == 2:
            collection.delete(where={"$and": [{"batch": b - 1}, {"number": {"$gt": -1}}]})
            print(f"deleted {b - 1}\n", end="", flush=True)


def add_in_threads(path: str, first: int) -> None:
    """Add one point after another in each of several threads, without end; prints a line for each
    acknowledged one."""
    collection = opened(path)
    print("ready", flush=True)

    def work(thread: int) -> None:
        for number in count(int(first) + thread, THREADS):
            collection.add(ids=str(number), embeddings=vector(number))
            print(f"{number}\n", end="", flush=True)

    for thread in range(THREADS):
        threading.Thread(target=work, args=[thread]).start()


def transact(path: str, first: int) -> None:
    """Make one transaction after another, without end; prints a line for each acknowledged one."""
    store = Store(Path(path), "full")
    points = store.points(store.by_name("things").id)
    print("ready", flush=True)
    for number in range(int(first), 10**9):
        points.transact(partial(turn, number))
        print(number, flush=True)


def turn(number, changes):
    """One point gets its own vector, all points get the number, and another point loses its
    vector."""
    vectors = Vectors(np.full((1, DIMENSION), number, np.float32))
    changes.put(PointBatch([number % TURNS], {"v": vectors}), WriteRules("replace", "insert"))
    changes.edit(None, None, lambda content: Content({"number": number}, None, None), True)
    changes.delete_vectors([(number + 3) % TURNS], None, ["v"], False)


def first_version(path):
    """A collection whose points all have version 0."""
    collection = opened(path)
    collection.add(
        ids=[str(i) for i in range(POINTS)],
        embeddings=np.zeros((POINTS, DIMENSION)),
        documents=["version 0"] * POINTS,
        metadatas=[{"version": 0}] * POINTS,
    )
    return collection


def rewrite_all(path: str, count: str) -> None:
    """Write one new version of all points after another, each in one batch, without end."""
    collection = opened(path)
    ids = [str(i) for i in range(int(count))]
    for version in range(1, 10**9):
        collection.upsert(
            ids=ids,
            embeddings=np.full((len(ids), DIMENSION), version),
            documents=[f"version {version}"] * len(ids),
            metadatas=[{"version": version}] * len(ids),
        )
        print(version, flush=True)


def check_versions(collection, count: int, rounds: int, least: int = 1) -> int:
    """How many of `rounds` reads saw a mixture of versions. Reads more until `least` versions were
    seen, in case the writer is slow."""
    mixtures, number, seen, over = 0, 0, set(), time.monotonic() + PATIENCE
    while number < rounds or len(seen) < least:
        assert number < rounds or time.monotonic() < over, "the writer makes no progress"
        versions, found = versions_read(collection, count, by_query=number % 2 == 0)
        mixtures += len(versions) != 1 or found != count
        # What the filter finds must be what the same snapshot holds.
        newer = collection.get(where={"version": {"$gte": min(versions)}}, include=[])["ids"]
        mixtures += len(newer) != count
        seen |= versions
        number += 1
    return mixtures


def versions_read(collection, count: int, by_query: bool) -> tuple[set[int], int]:
    """The versions in metadata, documents and vectors of one read, and the number of points."""
    everything = ["metadatas", "documents", "embeddings"]
    if by_query:
        got = collection.query(
            query_embeddings=[0] * DIMENSION, n_results=count, include=everything
        )
        metadatas, documents, vectors = (got[field][0] for field in everything)
    else:
        got = collection.get(include=everything)
        metadatas, documents, vectors = (got[field] for field in everything)
    versions = {metadata["version"] for metadata in metadatas}
    versions |= {int(document.split()[1]) for document in documents}
    return versions | set(np.unique(np.array(vectors)).tolist()), len(metadatas)


def write_counters(path: str, writer: str, seconds: str) -> None:
    """Add, update and delete own points, at least six times. Prints their expected content at the
    end."""
    collection = opened(path)
    stop, held, number = time.monotonic() + float(seconds), {}, 0
    while time.monotonic() < stop or number < 6:
        number += 1
        ids = [f"{writer}.{(number * 7 + i) % 50}" for i in range(3)]
        if number % 4 == 3:
            collection.delete(ids=ids)
            for point_id in ids:
                held.pop(point_id, None)
        else:
            collection.upsert(
                ids=ids,
                embeddings=[[float(number)] * DIMENSION] * 3,
                documents=[f"version {number}"] * 3,
                metadatas=[{"version": number, "writer": writer}] * 3,
            )
            held.update(dict.fromkeys(ids, number))
        # One's own writes are seen at once, whoever else writes.
        got = collection.get(ids=ids, include=["metadatas"])
        assert {i: m["version"] for i, m in zip(got["ids"], got["metadatas"], strict=True)} == {
            i: held[i] for i in ids if i in held
        }
    print(number, *(f"{point_id}={version}" for point_id, version in held.items()))


def read_whole_points(path: str, seconds: str) -> None:
    """Read until the time is over, at least twenty times. Each point must be consistent, and
    versions only grow."""
    collection = opened(path)
    stop, newest, reads = time.monotonic() + float(seconds), {}, 0
    while time.monotonic() < stop or reads < 20:
        reads += 1
        result = collection.query(
            query_embeddings=[float(reads)] * DIMENSION,
            n_results=60,
            where={"writer": str(reads % 4)},
            include=["metadatas", "documents", "embeddings"],
        )
        for metadata, document, embedding in zip(
            result["metadatas"][0], result["documents"][0], result["embeddings"][0], strict=True
        ):
            assert metadata["writer"] == str(reads % 4)
            assert document == f"version {metadata['version']}"
            assert embedding.tolist() == [float(metadata["version"])] * DIMENSION
        seen = max((m["version"] for m in result["metadatas"][0]), default=0)
        assert seen >= newest.get(reads % 4, 0) - 60  # the newest may have been deleted
        newest[reads % 4] = max(seen, newest.get(reads % 4, 0))
    print(reads)


def optimize_again_and_again(path: str, once: str = "") -> None:
    """Compact without end, or once; prints a line for each time."""
    collection = opened(path)
    print("ready", flush=True)
    while True:
        collection.optimize()
        print("optimized", flush=True)
        if once:
            break


def create_or_get(path: str, names: str) -> None:
    """Create the collections, or get existing ones; prints their ids."""
    print("ready", flush=True)
    sys.stdin.readline()
    with retrieval_store.Client(path) as client:
        for name in names.split(","):
            collection = client.get_or_create_collection(name, embedding_function=None)
            print(collection.id, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "eager":
        eager_indexes()
    globals()[sys.argv[2]](*sys.argv[3:])
