"""New filters on columns in memory are tested only for the rows that a scan reads: by a list, a
sample or all rows, in scans of codes and of floats, after any writes.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieval_store
from tests.helpers import inside, oracle
from tests.helpers.tuned import eager_codes, tuned

COUNT, DIMENSION = 90, 4
KEYS = ("n", "m", "t")
numbers = st.one_of(st.integers(0, 12), st.sampled_from([0.5, 3.5, 7.5]))
comparisons = st.one_of(
    st.tuples(st.sampled_from(["$lt", "$lte", "$gt", "$gte", "$eq", "$ne"]), numbers).map(
        lambda one: [one]
    ),
    st.tuples(numbers, numbers).map(lambda ends: [("$gte", min(ends)), ("$lt", max(ends))]),
    st.lists(numbers, min_size=1, max_size=4).map(lambda values: [("$in", values)]),
).map(dict)
texts = st.one_of(
    st.sampled_from("abcd"),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=3).map(lambda values: {"$nin": values}),
)
leaves = st.one_of(
    st.tuples(st.sampled_from(["n", "m"]), comparisons).map(lambda one: dict([one])),
    texts.map(lambda text: {"t": text}),
)
filters = st.recursive(
    leaves,
    lambda terms: st.one_of(
        st.lists(terms, min_size=1, max_size=3).map(lambda some: {"$and": some}),
        st.lists(terms, min_size=1, max_size=3).map(lambda some: {"$or": some}),
        terms.map(lambda term: {"$not": term}),
    ),
    max_leaves=5,
)
writes = st.lists(
    st.tuples(st.sampled_from(["update", "delete", "add"]), st.integers(0, COUNT + 20)), max_size=4
)


def metadata(i, seed=0):
    random = np.random.default_rng([i, seed])
    whole = {
        "n": int(random.integers(0, 12)),
        "m": float(random.integers(0, 24)) / 2,
        "t": str(random.choice([*"abcd"])),
    }
    lacking = random.integers(0, 12)
    return {key: value for at, (key, value) in enumerate(whole.items()) if at != lacking}


def vector(i):
    return np.random.default_rng(1_000 + i).standard_normal(DIMENSION).astype(np.float32)


def write(things, held, kind, i, seed):
    """One change, and its effect on the expected content."""
    if kind == "delete":
        things.delete(ids=[str(i)])
        held.pop(i, None)
    elif (kind == "update") == (i in held):
        held[i] = metadata(i, seed)
        things.delete(ids=[str(i)])
        things.add(ids=[str(i)], embeddings=[vector(i)], metadatas=[held[i] or None])


def check(things, held, where, seed):
    """Ids, count and hits with a filter equal those by a predicate and by brute force."""
    matching = [i for i, one in held.items() if oracle.matches(one, where)]
    if seed % 2:  # first, before anything is kept
        page = things.get(where=where, limit=3, offset=seed % 5, include=[])["ids"]
        assert page == things.get(where=where, include=[])["ids"][seed % 5 :][:3]
    query = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    found = things.query(query_embeddings=query, n_results=5, where=where)
    far = {i: float(((vector(i) - query).astype(np.float64) ** 2).sum()) for i in matching}
    nearest = sorted(far, key=far.__getitem__)[:5]
    assert sorted(far[int(i)] for i in found["ids"][0]) == pytest.approx(
        sorted(far[i] for i in nearest), rel=1e-5
    )
    assert things.count(where=where) == len(matching)
    assert sorted(map(int, things.get(where=where, include=[])["ids"])) == sorted(matching)


def filled(client):
    """A collection with all columns in memory."""
    things = client.create_collection("things", {"hnsw": {"space": "l2"}}, embedding_function=None)
    ids = range(COUNT)
    things.add(
        ids=[str(i) for i in ids],
        embeddings=[vector(i) for i in ids],
        metadatas=[metadata(i) for i in ids],
    )
    for key in KEYS:
        for _ in range(3):  # what is asked again and again gets a column
            things.get(where={key: {"$ne": "nowhere"}})
    return things, {i: metadata(i) for i in ids}


ways = pytest.mark.parametrize(
    "settings_of_way",
    [
        {"sampled_rows": 8, "few_of_sample": 1, "few_listed": 10**9},
        {"sampled_rows": 8, "few_of_sample": 100},
        {"few_listed": 1},
        {"changed_rows": 2},
        {"asked_conditions": 3},
    ],
    ids=["sample", "all-rows", "list", "few-changes", "few-conditions"],
)


@ways
@settings(max_examples=10, deadline=None)
@given(st.booleans(), st.lists(st.tuples(filters, writes), min_size=1, max_size=4))
def test_new_filters_find_what_matches_after_any_writes(settings_of_way, codes, steps):
    with pytest.MonkeyPatch.context() as patch:
        if codes:
            eager_codes(patch)
        tuned(patch, broad_filters=10**9, counted_at_least=16, **settings_of_way)
        with retrieval_store.Client() as client:
            things, held = filled(client)
            for number, (where, changes) in enumerate(steps):
                check(things, held, where, number)
                for at, (kind, i) in enumerate(changes):
                    write(things, held, kind, i, 10 * number + at)
                check(things, held, where, number)


def test_bounds_of_one_key_are_one_range(monkeypatch):
    with retrieval_store.Client() as client:
        things, held = filled(client)
        where = {"n": {"$gte": 3, "$lt": 7}}
        found = inside.found_by(inside.access(things), where)
        assert inside.is_one_range(found)
        assert found.count == sum(3 <= one.get("n", -1) < 7 for one in held.values())
        apart = inside.found_by(inside.access(things), {"n": {"$gte": 3}, "m": {"$lt": 7}})
        assert not inside.is_one_range(apart)


def test_a_new_filter_is_not_cached_and_a_repeated_one_is():
    with retrieval_store.Client() as client:
        things, _ = filled(client)
        where = {"$and": [{"n": {"$lt": 9}}, {"m": {"$gte": 1}}]}
        counts = []
        for _ in range(3):
            things.query(query_embeddings=vector(1), n_results=3, where=where)
            counts.append(inside.keeps_result(inside.access(things), where))
        assert counts == [False, True, True]
