"""One memory budget for everything that can be computed again."""

import gc
import random
import sys
import tracemalloc

import apsw
import numpy as np
import pytest

import retrieval_store
from retrieval_store.engine.state.caches import Cache, MemoryBudget, _CacheEntry
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.filters.columns import ValuesAt
from retrieval_store.filters.nodes import Or
from retrieval_store.filters.paths import JsonPath
from retrieval_store.filters.values import Between, Equals
from tests.helpers import inside, steps
from tests.helpers.indexed import until, with_codes
from tests.helpers.tuned import tuned

N, DIMENSION = 1_500, 16


@pytest.fixture
def limit():
    """Sets the limit of this process's budget, for one test."""
    gc.collect()  # other tests' stores
    with pytest.MonkeyPatch.context() as patch:
        tuned(patch, memory_budget=inside.budget().limit)  # whoever sets another
        yield lambda limit: tuned(patch, memory_budget=limit)


def budget_now():
    """The bytes that this process's budget counts now."""
    return inside.budget().cached_bytes


def filled(client, name, seed, count=N):
    random = np.random.default_rng(seed)
    things = client.create_collection(name, embedding_function=None)
    things.add(
        ids=[str(i) for i in range(count)],
        embeddings=random.standard_normal((count, DIMENSION)).astype(np.float32),
        metadatas=[{f"key{j}": i % (j + 2) for j in range(6)} for i in range(count)],
        documents=[f"word{i % 50} of thing {i}" for i in range(count)],
    )
    return things


def call(rng, things):
    """The result of a random call, in a comparable form."""
    query = np.random.default_rng(rng.randrange(5)).standard_normal(DIMENSION)
    where, at = {f"key{rng.randrange(6)}": rng.randrange(3)}, str(rng.randrange(N))
    match rng.randrange(8):
        case 0:
            return things.get(ids=[at])
        case 1:
            return things.get(where=where, limit=7)
        case 2:
            return things.query(query_embeddings=query)["ids"]
        case 3:
            return things.query(query_embeddings=query, where=where)["ids"]
        case 4:
            return things.query(query_texts=f"word{rng.randrange(50)}", mode="text")["ids"]
        case 5:
            return things.get(where_document={"$contains": f"thing {at}"})["ids"]
        case 6:
            return things.update(ids=[at], metadatas=[{"key1": 77}])
        case _:
            return things.delete(ids=[at]) is None


def answers(directory, seed, after=lambda collections: None):
    """The results of many random calls on a store of four collections."""
    rng, reported = random.Random(seed), []
    with retrieval_store.Client(directory) as client:
        collections = [filled(client, f"things{i}", i) for i in range(4)]
        for _ in range(100):
            reported.append(call(rng, rng.choice(collections)))
            after(collections)
    return reported


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return answers(tmp_path_factory.mktemp("much"), 3)


@pytest.mark.parametrize("budget", [0, 60_000])
def test_results_are_the_same_with_any_memory_budget(tmp_path, expected, limit, budget):
    limit(budget)
    assert answers(tmp_path, 3) == expected


def test_caches_besides_the_collection_in_use_stay_within_the_budget(tmp_path, limit, monkeypatch):
    inside.without_background(monkeypatch)  # which may have another collection in use
    held = []

    def look(collections):
        states = [inside.bytes_counted(inside.access(things)) for things in collections]
        held.append(budget_now() - max(states))

    limit(200_000)
    answers(tmp_path, 5, look)
    assert 100_000 < max(held) <= 200_000


def test_evicted_caches_are_no_longer_in_memory(tmp_path, limit, monkeypatch):
    inside.without_background(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        one, other = (filled(client, name, 0) for name in ("one", "other"))

        def in_memory():
            reported = client.stats()["by_collection"]
            return [reported[name]["in_memory"] for name in ("one", "other")]

        for things, expected in ((one, [True, False]), (other, [False, True])):
            limit(1 << 30)
            one.query([[0.0] * DIMENSION])
            other.query([[0.0] * DIMENSION])
            assert in_memory() == [True, True]
            limit(1)
            things.query([[0.0] * DIMENSION])
            assert in_memory() == expected


def test_a_cache_evicts_the_least_recently_used_entry():
    budget = MemoryBudget(100)
    in_use, cache = Cache(budget=budget), Cache(budget=budget)
    for key in "abcde":
        cache.put(key, key.upper(), 20)
    budget.settle(in_use)
    assert cache.keys() == [*"abcde"]
    assert cache.get("a") == "A"
    cache.put("f", "F", 20)
    budget.settle(in_use)
    assert cache.keys() == ["d", "e", "a", "f"]
    assert budget.cached_bytes == cache.nbytes == 80
    del cache
    gc.collect()
    assert budget.cached_bytes == 0


def test_a_miscounted_budget_is_corrected_in_the_end():
    budget = MemoryBudget(100)
    in_use, cache = Cache(budget=budget), Cache(budget=budget)
    cache.put("large", None, 500)
    budget.ledger.append(-10_000)  # as if an interrupt had come at the wrong moment
    for _ in range(1_100):
        budget.settle(in_use)
    assert cache.keys() == []


def test_a_cache_in_use_keeps_what_it_has_and_isnt_counted():
    budget, let_go = MemoryBudget(50), []
    in_use, other = Cache(budget=budget), Cache(lambda: let_go.append("other"), budget)
    in_use.put("state", None, 1_000)
    other.put("state", None, 40)
    budget.settle(in_use)
    assert (in_use.keys(), other.keys(), let_go) == (["state"], ["state"], [])
    budget.settle(other)
    assert (in_use.keys(), other.keys()) == ([], ["state"])


def test_an_entry_that_an_interrupt_has_cut_short_counts_nothing(monkeypatch):
    budget, raised = MemoryBudget(50), []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    entry = _CacheEntry.__new__(_CacheEntry)  # as one that an interrupt has left at the first step
    del entry
    budget.now = iter(()).__next__
    with pytest.raises(StopIteration):  # … and at a later one
        Cache(budget=budget).put("a", "A", 20)
    gc.collect()
    assert (raised, sum(budget.ledger)) == ([], 0)


@pytest.fixture
def traced():
    """The bytes allocated from here on, as counted by Python and numpy."""

    def bytes_now():
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    yield bytes_now
    tracemalloc.stop()


def has_size(key, size):
    return Between(ValuesAt(JsonPath((key,)), "size"), gte=size, lte=size)


ASKED = {  # what a reader may ask of ever new things
    "keys of Qdrant's": lambda things, i: inside.points(things).number(
        Or((Equals(ValuesAt(JsonPath((f"none{i}",)), "keyword"), "a"), has_size(f"none{i}", 2)))
    ),
    "ranges": lambda things, i: things.query(
        query_embeddings=np.ones(DIMENSION), where={"number": {"$gt": i / 3}}, n_results=1
    ),
    "long texts": lambda things, i: things.get(
        where_document={"$contains": f"thing {i // 2}" + 1_000 * "x"}
    ),
    "queries": lambda things, i: things.query(query_embeddings=np.full(DIMENSION, i + 1.0)),
}


@pytest.mark.parametrize("kind", ASKED)
def test_unlimited_new_queries_take_bounded_counted_memory(tmp_path, traced, kind):
    ask, count = ASKED[kind], 250
    # The log of what is asked for in vain, which pytest keeps, would be counted.
    with retrieval_store.Client(tmp_path, unknown_keys="ignore") as client:
        things = filled(client, "things", 1, 300)
        things.update(ids=things.get()["ids"], metadatas=[{"number": i} for i in range(300)])
        for i in range(50):
            ask(things, count + i)
        before, held = traced(), budget_now()
        for i in range(count):
            ask(things, i)
        grown = traced() - before
        assert grown <= 4_000 * count
        assert budget_now() - held >= grown - 100_000


def test_few_keys_that_no_record_has_are_remembered(tmp_path, monkeypatch):
    reads = steps.noted(monkeypatch, "read_payloads")
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client, "things", 1)
        before = things.stats()["memory"]["columns"]
        for value in range(5):
            assert things.get(where={"none": value})["ids"] == []
        assert len([pks for _, pks, _ in reads if len(pks)]) == 1  # to be told of it costs no more
        for i in range(300):
            assert things.get(where={f"none{i}": 1})["ids"] == []
        assert things.stats()["memory"]["columns"] - before <= 1_500_000
        things.update(ids=["7"], metadatas=[{"none": 1, "none299": 1}])
        assert things.get(where={"none": 1})["ids"] == ["7"]
        assert things.get(where={"none299": 1})["ids"] == ["7"]
        assert things.get(where={"none299": {"$ne": 1}}, limit=1)["ids"] == ["0"]


def test_an_idle_collection_has_no_open_files_and_keeps_its_caches(tmp_path, monkeypatch):
    steps.replace(monkeypatch, "limit_descriptors", lambda: 0)
    tuned(monkeypatch, fewest_awake=1)
    with retrieval_store.Client(tmp_path) as client:
        things, others = filled(client, "things", 1), filled(client, "others", 2)
        query = {"query_embeddings": np.ones(DIMENSION), "where": {"key1": 2}}
        expected = things.query(**query)
        points = inside.points(things)
        cached = points.access.current_state()
        others.count()
        assert points.access.descriptors == len(
            cached.state.spaces
        )  # the number of files, none open
        assert not inside.is_awake(points.access)
        assert things.query(**query) == expected
        assert points.access.current_state() == cached


def test_the_number_of_open_collections_is_limited_by_descriptors(tmp_path, monkeypatch):
    steps.replace(monkeypatch, "limit_descriptors", lambda: 400)
    with retrieval_store.Client(tmp_path) as client:
        every = [client.create_collection(f"things{i}", embedding_function=None) for i in range(40)]
        for things in every:
            things.add(ids=["a"], embeddings=[[1.0, 2.0]])
            things.count()
        awake = [things for things in every if inside.is_awake(inside.access(things))]
        assert awake == every[-len(awake) :]
        assert 20 <= len(awake) < 40
        assert sum(inside.access(things).descriptors for things in awake) <= 100


def test_the_collection_that_was_unused_for_longest_rests(tmp_path, monkeypatch):
    steps.replace(monkeypatch, "limit_descriptors", lambda: 0)
    tuned(monkeypatch, fewest_awake=2)
    with retrieval_store.Client(tmp_path) as client:
        names = ("first", "second", "third")
        first, second, third = (client.create_collection(n, embedding_function=None) for n in names)
        # Calls of a collection that is awake don't ask the store for it.
        for things in (first, second, first, third):
            things.count()
        one, two, three = map(inside.last_access, (first, second, third))
        assert inside.is_awake(one) and inside.is_awake(three) and not inside.is_awake(two)
        second.count()
        assert inside.is_awake(two) and inside.is_awake(three) and not inside.is_awake(one)


def test_collections_are_used_while_their_descriptors_are_counted(tmp_path, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        every = [client.create_collection(f"things{i}", embedding_function=None) for i in range(3)]
        queries = []

        def descriptors(points):
            if points not in queries:  # as another thread would at this moment
                queries.append(points)
                assert every[0].count() == 0
            return 1

        for things in every[:2]:
            things.count()
        steps.replace(monkeypatch, "number_of_descriptors", property(descriptors))
        assert every[2].count() == 0
        assert len(queries) == 3


def test_a_first_use_measures_as_few_collections_however_many_are_open(tmp_path, monkeypatch):
    queries = []
    steps.replace(
        monkeypatch, "number_of_descriptors", property(lambda one: queries.append(one) or 3)
    )
    with retrieval_store.Client(tmp_path, durability="relaxed") as client:
        every = [client.create_collection(f"things{i}", embedding_function=None) for i in range(60)]
        measured = []
        for things in every:
            queries.clear()
            things.count()
            measured.append(len(queries))
        assert max(measured[:20]) == max(measured)
        assert len(set(queries)) == len(queries) < 20


@pytest.mark.parametrize("budget", [-1, 1.5, True, "1 GB"])
def test_a_budget_is_a_number_of_bytes(tmp_path, budget):
    with pytest.raises(InvalidArgumentError, match="memory_budget is .*, expected bytes"):
        retrieval_store.Client(tmp_path, memory_budget=budget)


def test_a_client_sets_the_budget_and_stats_reports_it(tmp_path, limit):
    with retrieval_store.Client(tmp_path, memory_budget=12_345) as client:
        reported = filled(client, "things", 1).stats()["budget"]
        assert reported["limit"] == 12_345
        assert 0 <= reported["held"] <= budget_now()


@pytest.mark.parametrize(
    ("memory", "usual"), [(64 << 30, 256_000_000), (2_048_000_000, 256_000_000), (1 << 30, 1 << 27)]
)
def test_the_default_budget_is_small_on_any_machine(monkeypatch, memory, usual):
    steps.replace(monkeypatch, "memory_bytes", lambda otherwise: memory)
    assert inside.usual_budget() == usual


@with_codes
def test_many_repeated_filters_take_a_few_bits_per_record_each(tmp_path, traced, limit):
    limit(256_000_000)
    vectors = np.random.default_rng(1).standard_normal((20_000, 32)).astype(np.float32)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        metadatas = [{"n": i % 1_000} for i in range(len(vectors))]
        things.add(
            ids=[str(i) for i in range(len(vectors))], embeddings=vectors, metadatas=metadatas
        )
        things.optimize()

        def ask(value):
            things.query(query_embeddings=vectors[value], where={"n": {"$ne": value}})

        for value in range(100, 110):
            ask(value)
        before, count = traced(), 50
        for value in [*range(count)] * 4:
            ask(value)
        # Two bits a record, and the objects of a filter and of the search that is kept with it.
        assert traced() - before <= count * (2 * len(vectors) / 8 + 8_000)


@with_codes
def test_codes_count_that_queries_get_without_any_write(tmp_path, limit):
    vectors = np.random.default_rng(1).standard_normal((20_000, 64)).astype(np.float32)

    def counted(things):
        points = inside.points(things)
        held, memory = inside.bytes_counted(points.access), inside.bytes_held(points.access)
        return held == memory > things.stats()["memory"]["codes"] > 0

    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", embedding_function=None)
        things.add(ids=[str(i) for i in range(len(vectors))], embeddings=vectors)
        things.optimize()
        assert counted(things)
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        things.count()
        things.query(query_embeddings=vectors[0])
        until(lambda: counted(things), "nobody made codes of what is in no file")


def test_a_closed_stores_caches_no_longer_count_for_its_references(tmp_path, limit):
    before = budget_now()
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client, "things", 1)
        things.query(query_embeddings=np.zeros(DIMENSION))
        state = inside.bytes_held(inside.access(things))
        assert budget_now() - before >= state > 0
    gc.collect()
    assert budget_now() <= before


def cursors():
    """The number of SQLite cursors in this process."""
    gc.collect()
    return sum(isinstance(one, apsw.Cursor) for one in gc.get_objects())


def test_calls_leave_no_cursors(tmp_path):
    """A connection visits its cursors at each statement, so more of them also make it slower. (apsw
    3.54.0.0 kept closed ones.)"""
    with retrieval_store.Client(tmp_path) as client:
        things = filled(client, "things", 1)
        for calls in (1, 20):  # the first opens connections
            before = cursors()
            for i in range(calls):
                things.upsert(ids=f"new {i}", embeddings=np.ones(DIMENSION), metadatas={"i": i})
                things.query(query_embeddings=np.full(DIMENSION, i), where={"key0": 1})
                things.get(where={"i": i}, limit=3)
                things.delete(ids=f"new {i}")
        assert cursors() <= before


def test_a_cluster_has_no_budget_here():
    with pytest.raises(InvalidArgumentError, match="memory_budget goes with"):
        retrieval_store.Client(url="http://localhost:1", memory_budget=1)
