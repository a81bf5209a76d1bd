"""Filters that come again are brought up to date by asking the points that have changed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from tests.helpers import inside
from tests.helpers.steps import noted
from tests.helpers.tuned import eager_codes, tuned

COUNT, DIMENSION = 300, 4
FILTERS = {
    "low": ({"where": {"n": {"$lt": 3}}}, lambda p: p["n"] is not None and p["n"] < 3),
    "not": ({"where": {"n": {"$ne": 2}}}, lambda p: p["n"] != 2),
    "word": ({"where_document": {"$contains": "ab"}}, lambda p: "ab" in p["document"]),
    "both": (
        {"where": {"n": {"$gte": 1}}, "where_document": {"$regex": "^a"}},
        lambda p: p["n"] is not None and p["n"] >= 1 and p["document"].startswith("a"),
    ),
}
ids = st.lists(st.integers(0, COUNT + 5), min_size=1, max_size=4, unique=True)
steps = st.lists(
    st.tuples(st.sampled_from(["n", "document", "vector", "upsert", "delete", "nothing"]), ids),
    min_size=2,
    max_size=10,
)


def point(i, seed):
    random = np.random.default_rng([i, seed])
    return {
        "n": int(random.integers(5)),
        "document": "".join(random.choice([*"abc"], 4)),
        "vector": random.standard_normal(DIMENSION).astype(np.float32),
    }


def write(things, held, kind, ids, seed):
    """Do one step to the collection, and to what it should hold."""
    known, named = [i for i in ids if i in held], [i for i in ids if kind == "upsert" or i in held]
    new = {i: point(i, seed) for i in named}
    match kind:
        case "n":
            held.update({i: held[i] | {"n": new[i]["n"]} for i in known})
            if known:
                numbers = [{"n": new[i]["n"]} for i in known]
                things.update(ids=[str(i) for i in known], metadatas=numbers)
        case "document" | "vector":
            for i in known:
                held[i] = held[i] | {"vector": new[i]["vector"]}
                held[i] |= {"document": new[i]["document"]} if kind == "document" else {}
            if known:
                texts = [held[i]["document"] for i in known] if kind == "document" else None
                vectors = [held[i]["vector"] for i in known]
                things.update(ids=[str(i) for i in known], embeddings=vectors, documents=texts)
        case "upsert":
            held.update(new)
            things.upsert(
                ids=[str(i) for i in named],
                embeddings=[new[i]["vector"] for i in named],
                metadatas=[{"n": new[i]["n"]} for i in named],
                documents=[new[i]["document"] for i in named],
            )
        case "delete":
            things.delete(ids=[str(i) for i in known])
            for i in known:
                del held[i]


def check(things, held, query):
    for arguments, holds in FILTERS.values():
        chosen = {i: p for i, p in held.items() if holds(p)}
        assert sorted(map(int, things.get(**arguments)["ids"])) == sorted(chosen)
        distances = {i: float(((p["vector"] - query) ** 2).sum()) for i, p in chosen.items()}
        found = things.query(query_embeddings=query, n_results=5, **arguments)["ids"][0]
        nearest = sorted(distances, key=distances.__getitem__)[:5]
        assert sorted(distances[int(i)] for i in found) == [distances[i] for i in nearest]


@pytest.mark.parametrize("followed", [1_024, 2])
@settings(max_examples=10)
@given(steps=steps)
def test_answers_under_kept_filters_are_right_after_any_writes(steps, followed):
    with pytest.MonkeyPatch.context() as patch:
        eager_codes(patch)
        tuned(patch, filters_followed=followed)
        with retrieval_store.Client() as client:
            things = client.create_collection("things", embedding_function=None)
            held = {}
            write(things, held, "upsert", range(COUNT), 0)
            query = np.full(DIMENSION, 0.3, np.float32)
            for seed, (kind, chosen) in enumerate(steps, 1):
                write(things, held, kind, chosen, seed)
                check(things, held, query)


def test_a_filter_that_is_kept_isnt_evaluated_again_for_a_write_to_another_point(monkeypatch):
    evaluated = noted(monkeypatch, "evaluate_filter")
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        held = {}
        write(things, held, "upsert", range(COUNT), 0)
        for i in range(5):
            things.query(query_embeddings=[0.0] * DIMENSION, where={"n": {"$lt": 3}})
            write(things, held, "n", [7], i)
    assert len(evaluated) == 1


@settings(max_examples=10)
@given(steps=steps)
def test_ranges_that_are_asked_for_once_are_answered_as_others(steps):
    with pytest.MonkeyPatch.context() as patch, retrieval_store.Client() as client:
        eager_codes(patch)
        things = client.create_collection("things", embedding_function=None)
        held, query = {}, np.full(DIMENSION, 0.3, np.float32)
        write(things, held, "upsert", range(COUNT), 0)
        things.count(where={"n": {"$lt": 3}})
        for seed, (kind, chosen) in enumerate(steps, 1):
            write(things, held, kind, chosen, seed)
            things.count(where={"n": {"$lt": seed}})
            for bound in (0.5, 2.5, 3.5):
                where = {"n": {"$lt": bound + seed / 1_000}}
                near = sorted(
                    float(((p["vector"] - query) ** 2).sum())
                    for p in held.values()
                    if p["n"] < bound
                )
                found = things.query(query_embeddings=query, n_results=5, where=where)
                assert np.allclose(found["distances"][0], near[:5], rtol=1e-6)
                where = {"n": {"$lt": bound + seed / 2_000}}
                assert things.count(where=where) == len(near)
                assert len(things.get(where=where, include=[])["ids"]) == len(near)


def test_ranges_that_are_asked_for_once_are_not_kept():
    with retrieval_store.Client() as client:
        things = client.create_collection("things", embedding_function=None)
        write(things, {}, "upsert", range(COUNT), 0)
        for _ in range(2):
            things.count(where={"n": {"$lt": 3}})
        before = things.stats()["memory"]["filters"]
        for i in range(1, 100):
            where = {"n": {"$lt": 3 - i / 1_000}}
            assert things.count(where=where) == things.count(where={"n": {"$lt": 3}})
        assert things.stats()["memory"]["filters"] <= before + 100


@pytest.mark.parametrize("changes", [False, True])
def test_a_reader_that_began_before_a_write_sees_what_was_there(tmp_path, changes):
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
