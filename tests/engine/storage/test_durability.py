"""A writer is killed at random moments: acknowledged writes are there, and no batch is there in
part.
"""

import random
import time

import numpy as np
import pytest

import retrieval_store
from retrieval_store.query.types import Fields, NewSpace
from tests.helpers import inside
from tests.helpers.processes import (
    BATCH,
    THREADS,
    TURNS,
    add_batches,
    add_in_threads,
    running,
    transact,
    vector,
)


def batches_in(path) -> set[int]:
    """The batches in the store; each is checked to be whole and right."""
    with retrieval_store.Client(path) as client:
        collection = client.get_or_create_collection("things", embedding_function=None)
        got = collection.get(include=["metadatas", "documents", "embeddings"])
        numbers: dict[int, list[int]] = {}
        for i, point_id in enumerate(got["ids"]):
            number, batch = got["metadatas"][i]["number"], got["metadatas"][i]["batch"]
            assert got["embeddings"][i].tolist() == vector(number)
            if point_id == "counter":
                assert got["documents"][i] == str(number)
            else:
                assert point_id == f"{batch}.{number - batch * BATCH}"
                assert got["documents"][i] == f"document {number}"
                numbers.setdefault(batch, []).append(number)
        for batch, found in numbers.items():
            assert found == [batch * BATCH + i for i in range(BATCH)], "a batch is there in part"
        newest = [number for found in numbers.values() for number in found][-100:]
        if newest:
            result = collection.query(query_embeddings=[*map(vector, newest)], n_results=2)
            for number, ids in zip(newest, result["ids"], strict=True):
                # The counter may have the same vector.
                assert f"{number // BATCH}.{number % BATCH}" in ids
        return set(numbers)


def done(held: set[int], line: str) -> set[int]:
    """The expected content after the acknowledged write."""
    kind, batch = line.split()
    return held | {int(batch)} if kind == "added" else held - {int(batch)}


def write_after(line: str | None, first: int) -> str:
    """The next write after the acknowledged one."""
    if line is None:
        return f"added {first}"
    kind, batch = line.split()
    if kind == "added" and int(batch) % 3 == 2:
        return f"deleted {int(batch) - 1}"
    return f"added {int(batch) + (1 if kind == 'added' else 2)}"


def kill_again_and_again(path, kills: int, seed: int, most: int, eager: bool = False) -> int:
    """Kill a writer this many times, anywhere in one of its first `most` writes or soon after, and
    compare after each kill. Returns the number of writes."""
    moments = random.Random(seed)
    held: set[int] = set()
    first = writes = 0
    for _ in range(kills):
        with running(add_batches, path, first, eager=eager) as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            messages = [process.stdout.readline() for _ in range(moments.randrange(most))]
            time.sleep(moments.uniform(0, 0.005))
            process.kill()
            messages.append(process.stdout.read())
            lines = "".join(messages).split("\n")[:-1]  # the last may be cut off
        for line in lines:
            held = done(held, line)
        unacknowledged = done(held, write_after(lines[-1] if lines else None, first))
        found = batches_in(path)
        assert found in (held, unacknowledged)
        held = found
        writes += len(lines)
        first = max([first, *(int(line.split()[1]) + 2 for line in lines)]) + 1
    return writes


@pytest.mark.kills
def test_a_writer_killed_at_random_moments_loses_nothing_acknowledged(tmp_path):
    assert kill_again_and_again(tmp_path, 6, seed=1, most=200) > 300


@pytest.mark.kills
def test_a_writer_with_an_index_killed_at_random_moments_loses_nothing(eager, tmp_path):
    assert kill_again_and_again(tmp_path, 4, 3, most=60, eager=True) > 60


@pytest.mark.kills
def test_a_kill_loses_no_acknowledged_write_of_a_joint_commit(tmp_path):
    moments, held = random.Random(6), set()
    for _ in range(5):
        first = max(held, default=-1) + 1
        with running(add_in_threads, tmp_path, first) as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            messages = [process.stdout.readline() for _ in range(moments.randrange(150))]
            time.sleep(moments.uniform(0, 0.005))
            process.kill()
            messages.append(process.stdout.read())
        acknowledged = {int(line) for line in "".join(messages).split("\n")[:-1]}
        with retrieval_store.Client(tmp_path) as client:
            got = client.get_collection("things").get(include=["embeddings"])
        found = {int(point_id) for point_id in got["ids"]}
        assert [*map(vector, map(int, got["ids"]))] == got["embeddings"].tolist()
        assert held | acknowledged <= found
        assert len(found - held - acknowledged) <= THREADS
        held = found


def turns(number):
    """The expected vectors after this transaction and all before it."""
    held = {}
    for each in range(number + 1):
        held[each % TURNS] = each
        held.pop((each + 3) % TURNS, None)
    return held


@pytest.mark.kills
def test_of_a_transaction_of_several_operations_a_kill_leaves_all_or_nothing(tmp_path):
    store = inside.opened(tmp_path)
    collection = store.create("things", {}, {"v": NewSpace("l2")}).id
    moments, last = random.Random(5), -1
    for _ in range(4):
        with running(transact, tmp_path, last + 1) as process:
            assert process.stdout.readline() == "ready\n", process.stderr.read()
            messages = [process.stdout.readline() for _ in range(moments.randrange(60))]
            time.sleep(moments.uniform(0, 0.005))
            process.kill()
            messages.append(process.stdout.read())
        acknowledged = [int(line) for line in "".join(messages).split("\n")[:-1]]
        got = store.points(collection).get(None, None, None, 0, Fields(True, vectors=("v",)))
        numbers = {payload["number"] for payload in got.payloads}
        if numbers:
            (last,) = numbers
            vectors = got.vectors["v"][:, 0].tolist() if got.vectors["v"].size else []
            held = {i: v for i, v in zip(got.ids, vectors, strict=True) if not np.isnan(v)}
            assert held == turns(last)
        assert last - max(acknowledged, default=last) in (0, 1)
        assert all(report.problem is None for report in store.verify(lambda _: None))
    assert last > 40
    store.close()
