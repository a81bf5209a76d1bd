"""Repeated filters are updated by evaluating only the changed points."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import retrieval_store
from tests.helpers import inside
from tests.helpers.steps import noted

COUNT, DIMENSION = 300, 4


def point(i, seed):
    random = np.random.default_rng([i, seed])
    return {
        "n": int(random.integers(5)),
        "document": "".join(random.choice([*"abc"], 4)),
        "vector": random.standard_normal(DIMENSION).astype(np.float32),
    }


def write(things, ids, seed, numbers_alone=False):
    """Add points with these ids, or change the numbers of existing ones."""
    new = [point(i, seed) for i in ids]
    named, numbers = [str(i) for i in ids], [{"n": one["n"]} for one in new]
    if numbers_alone:
        things.update(ids=named, metadatas=numbers)
        return
    things.upsert(
        ids=named,
        embeddings=[one["vector"] for one in new],
        metadatas=numbers,
        documents=[one["document"] for one in new],
    )


def test_a_cached_filter_is_not_evaluated_again_for_a_write_to_another_point(monkeypatch):
    evaluated = noted(monkeypatch, "evaluate_filter")
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        write(things, range(COUNT), 0)
        for i in range(5):
            things.query(query_embeddings=[0.0] * DIMENSION, where={"n": {"$lt": 3}})
            write(things, [7], i, numbers_alone=True)
    assert len(evaluated) == 1


def test_ranges_used_once_are_not_cached():
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        write(things, range(COUNT), 0)
        for _ in range(2):
            things.count(where={"n": {"$lt": 3}})
        before = things.stats()["memory"]["filters"]
        for i in range(1, 100):
            where = {"n": {"$lt": 3 - i / 1_000}}
            assert things.count(where=where) == things.count(where={"n": {"$lt": 3}})
        assert things.stats()["memory"]["filters"] <= before + 100


@pytest.mark.parametrize("changes", [False, True])
def test_a_reader_that_began_before_a_write_sees_the_earlier_state(tmp_path, changes):
    with retrieval_store.Client(tmp_path) as client, ThreadPoolExecutor(1) as other:
        things = client.create_collection("things", embedding_function=None)
        vectors = np.random.default_rng(0).standard_normal((90, DIMENSION))
        numbers = [{"n": i % 3} for i in range(90)]
        things.add([str(i) for i in range(60)], vectors[:60], numbers[:60])
        things.delete(["0", "1", "2"])
        wheres = [{"n": 1}, {"n": {"$gte": 1}}, None]

        def ask():
            for where in wheres * 3:
                things.query(query_embeddings=vectors[:2], where=where)

        def write():
            things.add([str(i) for i in range(60, 90)], vectors[60:], numbers[60:])
            if changes:
                things.update(["4"], metadatas=[{"n": 0}])
            ask()

        def look(view):
            before = [inside.let_through(view, where) for where in wheres]
            other.submit(write).result()
            return before, [inside.let_through(view, where) for where in wheres]

        ask()
        before, after = inside.access(things).read(look)
        assert before == after == [(19, 19), (38, 38), (57, 57)]


@pytest.mark.embedded
def test_results_of_filters_that_nothing_fulfils_share_their_bits(populated):
    populated.add(ids=[f"more {i}" for i in range(30_000)], embeddings=[[1, 0]] * 30_000)
    for i in range(50):
        populated.get(where={f"no such key {i}": {"$gt": i}})
    assert populated.stats()["memory"]["filters"] < 50 * 8_000


def test_a_repeated_filter_finds_later_writes(client):
    things = client.create_collection("things", embedding_function=None)
    metadatas = [{"n": i % 7} for i in range(100)]
    things.add([f"{i}" for i in range(100)], [[i] for i in range(100)], metadatas)
    expected = {f"{i}" for i in range(100) if i % 7 == 3}

    def check():
        for _ in range(3):
            assert {*things.get(where={"n": 3})["ids"]} == expected
            (found,) = things.query([[1]], where={"n": 3}, n_results=100)["ids"]
            assert {*found} == expected

    check()
    things.add("new", [[1]], [{"n": 3}])
    expected.add("new")
    check()
    things.update("3", metadatas=[{"n": 5}])
    expected.remove("3")
    check()
