"""Repeated filters, whose searches are cached: results are right whatever is written in between."""

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import DamagedError
from retrieval_store.filters.where import parse_where
from retrieval_store.indexes.native import kernel
from tests.helpers import inside, open_files, steps
from tests.helpers.indexed import until
from tests.helpers.oracle import brute_force
from tests.helpers.tuned import eager_codes, tuned

DIMENSION = 6
FILTERS = (None, {"kind": "a"}, {"kind": {"$ne": "a"}}, {"kind": "nothing"})
pytestmark = pytest.mark.embedded


def cloud(count, seed):
    random = np.random.default_rng(seed)
    return random.integers(-3, 4, (count, DIMENSION)).astype(np.float32)  # with many ties


def made(client, space="l2"):
    return client.create_collection("things", {"hnsw": {"space": space}}, embedding_function=None)


def put(things, held, ids, seed, kind):
    vectors = cloud(len(ids), seed)
    things.upsert(ids=ids, embeddings=vectors, metadatas=[{"kind": kind}] * len(ids))
    for point_id, vector in zip(ids, vectors, strict=True):
        held[point_id] = vector, kind


def allowed(held, where):
    if where is None:
        return dict(held)
    wanted = where["kind"]
    if isinstance(wanted, dict):
        return {one: value for one, value in held.items() if value[1] != wanted["$ne"]}
    return {one: value for one, value in held.items() if value[1] == wanted}


def check(things, held, where, metric, seed, k=4):
    """The hits are those of brute force; equally near hits come in the order of insertion."""
    query = cloud(1, seed)[0] + np.float32(0.25)
    some = allowed(held, where)
    found = things.query(query_embeddings=query, n_results=k, where=where)
    ids, distances = found["ids"][0], found["distances"][0]
    assert len(ids) == min(k, len(some))
    if ids:
        truth = brute_force(query, np.array([vector for vector, _ in some.values()]), metric)
        order = sorted(range(len(truth)), key=lambda i: (round(float(truth[i]), 9), i))
        assert ids == [list(some)[i] for i in order[:k]]
        assert np.allclose(distances, np.sort(truth)[:k], rtol=1e-9, atol=1e-12)


def derived_files_open():
    """The derived files that this process has mapped."""
    maps = Path("/proc/self/maps")
    return [line for line in maps.read_text().splitlines() if "/derived/" in line]


def closed(things):
    """Close the files of a collection. Returns whether all are closed; maintenance may use them for
    a moment."""
    inside.close_files(inside.access(things))
    gc.collect()
    return not derived_files_open()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="open files can't be listed")
@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
def test_searches_by_codes_are_cached_until_files_are_closed(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    held = {}
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        put(things, held, [f"id-{i}" for i in range(400)], 0, "a")
        things.optimize()
        for again in range(4):
            check(things, held, None, "l2", again)
        planned = steps.noted(monkeypatch, "plan_search")
        check(things, held, None, "l2", 4)
        assert not planned
        (plan,) = things.explain(query_embeddings=[0.0] * DIMENSION)["plans"]
        assert plan["method"] == "codes"
        assert inside.keeps_search(inside.access(things), None)
        for bound in range(3):  # new filters share a pass over all codes
            things.query(query_embeddings=[0.0] * DIMENSION, where={"kind": {"$gte": str(bound)}})
        assert derived_files_open()
        until(lambda: closed(things), "a derived file stays mapped")
        assert not inside.keeps_search(inside.access(things), None)
        check(things, held, None, "l2", 9)


@pytest.mark.parametrize("way", [lambda patch: None, eager_codes], ids=["floats", "codes"])
def test_filters_find_vectors_where_writes_and_compaction_have_put_them(monkeypatch, way):
    way(monkeypatch)
    with retrieval_store.Client() as client:
        things, held = made(client), {}

        def check_all(seed):
            for where in FILTERS:
                for again in range(2):
                    query = {"query_embeddings": cloud(1, again), "n_results": 4}
                    things.query(**query, where=where, max_distance=2)
                    check(things, held, where, "l2", seed + again)

        put(things, held, [f"id-{i}" for i in range(150)], 0, "a")
        put(things, held, [f"id-{i}" for i in range(150, 200)], 1, "b")
        check_all(0)
        put(things, held, ["id-7", "id-9"], 2, "a")  # the filters allow them as before
        check_all(10)
        put(things, held, [f"id-{i}" for i in range(150)], 3, "a")
        check_all(20)
        things.optimize()  # all points stay, and their vectors lie elsewhere
        check_all(30)


@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
def test_with_a_recall_the_method_that_becomes_cheaper_is_used(tmp_path):
    random, count = np.random.default_rng(0), 40_000
    vectors = random.standard_normal((300, 64))[random.integers(0, 300, count)]
    vectors = (vectors + 0.7 * random.standard_normal(vectors.shape)).astype(np.float32)
    with retrieval_store.Client(tmp_path) as client:
        things = client.create_collection("things", {"recall": 0.9}, embedding_function=None)
        metadatas = [{"n": i} for i in random.permutation(count).tolist()]
        ids = [str(i) for i in range(count)]
        things.add(ids=ids, embeddings=vectors, metadatas=metadatas)
        things.optimize()
        where = {"n": {"$lt": count // 16}}
        (first,) = things.explain(query_embeddings=vectors[0], where=where)["plans"]
        for i in range(30):  # after some of which it pays to copy the codes of what matches
            things.query(query_embeddings=vectors[i], where=where)
        (last,) = things.explain(query_embeddings=vectors[0], where=where)["plans"]
        assert (first["method"], last["method"]) == ("signs", "codes")
        assert inside.keeps_search(inside.access(things), parse_where(where))


@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
def test_files_are_closed_while_others_search_by_codes(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    held, failed, stop = {}, [], threading.Event()
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        put(things, held, [f"id-{i}" for i in range(300)], 0, "a")
        things.optimize()

        def search():
            at = 0
            try:
                while not stop.is_set():
                    at += 1
                    for _ in range(3):
                        things.query(query_embeddings=[0.5] * DIMENSION, n_results=3 + at % 40)
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            inside.close_files(inside.access(things))
        stop.set()
        for thread in threads:
            thread.join()
        assert not failed


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files can't be listed")
def test_a_cached_search_detects_a_truncated_file_and_keeps_none_open(tmp_path):
    held = {}
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        put(things, held, [f"id-{i}" for i in range(400)], 0, "a")
        for again in range(4):
            check(things, held, None, "l2", again)
        assert ".vectors" in {Path(file).suffix for file in open_files()}
        inside.close_files(inside.access(things))
        assert ".vectors" not in {Path(file).suffix for file in open_files()}
        check(things, held, None, "l2", 9)
        (vectors,) = tmp_path.glob("*/*.vectors")
        with vectors.open("r+b") as file:
            file.truncate(100)
        with pytest.raises(DamagedError, match="cut off"):
            things.query(query_embeddings=cloud(1, 3))


def test_threads_share_cached_data(tmp_path):
    held, wrong = {}, []
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        put(things, held, [f"id-{i}" for i in range(300)], 0, "a")

        def ask(seed):
            try:
                for number in range(60):
                    k = 2 + (seed + number) % 3
                    check(things, held, FILTERS[number % 3], "l2", seed * 1_000 + number, k)
            except AssertionError as error:
                wrong.append(error)

        threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
def test_new_filters_of_any_share_find_what_they_allow(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    tuned(monkeypatch, few_of_all=8)
    vectors, numbers = cloud(400, 0), np.random.default_rng(1).permutation(400)
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        metadatas = [{"n": int(number)} for number in numbers]
        things.add(ids=[f"id-{i}" for i in range(400)], embeddings=vectors, metadatas=metadatas)
        things.optimize()
        for again in range(3):  # then a search of all is kept, and the column is in memory
            where = {"n": {"$lt": 300 + again}}
            things.query(query_embeddings=cloud(1, again), where=where, n_results=4)
        planned = steps.noted(monkeypatch, "plan_search")
        for number, bound in enumerate((380, 200, 90, 40, 20, 11, 5, 1)):
            query = cloud(1, number)[0] + np.float32(0.25)
            found = things.query(query_embeddings=query, where={"n": {"$lt": bound}}, n_results=4)
            truth = brute_force(query, vectors, "l2")
            some = [i for i in np.argsort(truth, kind="stable") if numbers[i] < bound][:4]
            assert sorted(found["ids"][0]) == sorted(f"id-{i}" for i in some)
            assert np.allclose(found["distances"][0], truth[some], rtol=1e-9, atol=1e-12)
        assert len(planned) < 4  # where codes leave too many, floats are searched


@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
def test_the_vectors_that_a_new_narrow_filter_allows_are_verified(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    tuned(monkeypatch, few_of_all=8)
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        vectors = np.random.default_rng(0).normal(size=(400, 32)).astype(np.float32)
        metadatas = [{"n": i} for i in range(400)]
        things.add(ids=[f"id-{i}" for i in range(400)], embeddings=vectors, metadatas=metadatas)
        things.optimize()
        for again in range(3):
            things.query(query_embeddings=vectors[again], where={"n": {"$lt": 300 + again}})
        planned = steps.noted(monkeypatch, "plan_search")
        verified = steps.noted(monkeypatch, "verify_vectors")
        things.query(query_embeddings=vectors[5], where={"n": {"$gte": 390}})
        assert [slots.tolist() for *_, slots in verified] == [[*range(390, 400)]] and not planned


# What makes a search that is kept useless: the rows of the table of `SearchCache`.

KIND = {"kind": {"$ne": "b"}}


def write_a_vector(things, held):
    put(things, held, ["id-7"], 70, "a")


def write_what_the_filter_reads(things, held):
    things.update(ids=[f"id-{i}" for i in range(3)], metadatas=[{"kind": "b"}] * 3)
    for point_id in ("id-0", "id-1", "id-2"):
        held[point_id] = held[point_id][0], "b"


def compact(things, held):
    things.delete(ids=["id-3", "id-4"])
    del held["id-3"], held["id-4"]
    things.optimize()


def change_a_setting(things, held):
    things.modify(configuration={"recall": 0.5})


def evict(things, held):
    inside.access(things).evict()


def close_files(things, held):
    until(lambda: closed(things), "a derived file stays mapped")


def code_more(things, held):
    put(things, held, [f"more-{i}" for i in range(300)], 71, "a")
    things.optimize()


def measure(things, held):
    inside.note_recall(inside.access(things))


def load_an_index(things, held):
    inside.hold_index(inside.access(things))


OF_ALL = (write_a_vector, compact, change_a_setting, evict, close_files, load_an_index)
OF_CODES = (code_more, measure)
CHANGES = [
    *(("codes", None, happen) for happen in (*OF_ALL, *OF_CODES)),
    *(("floats", KIND, happen) for happen in (*OF_ALL, write_what_the_filter_reads)),
]


@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
@pytest.mark.parametrize(("way", "where", "happen"), CHANGES)
def test_a_search_is_cached_until_its_sources_change(tmp_path, monkeypatch, way, where, happen):
    if way == "codes":
        eager_codes(monkeypatch)
    held, expression = {}, None if where is None else parse_where(where)
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        put(things, held, [f"id-{i}" for i in range(400)], 0, "a")
        things.optimize()
        for again in range(4):
            check(things, held, where, "l2", again)
        assert inside.keeps_search(inside.access(things), expression)
        happen(things, held)
        assert not inside.keeps_search(inside.access(things), expression)
        if happen is not load_an_index:  # there is nothing in it
            for again in range(4):
                check(things, held, where, "l2", 50 + again)


@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
def test_a_search_serves_no_query_for_more_hits_or_with_another_exactness(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    held = {}
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        put(things, held, [f"id-{i}" for i in range(400)], 0, "a")
        things.optimize()
        for again in range(4):
            check(things, held, None, "l2", again)
        planned = steps.noted(monkeypatch, "plan_search")
        question = {"query_embeddings": [0.5] * DIMENSION, "n_results": 4}
        things.query(**question)
        assert not planned
        for other in ({"n_results": 5}, {"exact": True}, {"ef": 40}, {"recall": 0.8}):
            planned.clear()
            things.query(**{**question, **other})
            assert planned
            things.query(**question)
            check(things, held, None, "l2", 9)
        assert inside.searches_kept(inside.access(things)) <= 4


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="open files can't be listed")
@pytest.mark.skipif(kernel() is None, reason="no pass is compiled")
def test_a_search_whose_files_were_closed_is_not_cached(tmp_path, monkeypatch):
    eager_codes(monkeypatch)
    with retrieval_store.Client(tmp_path) as client:
        things = made(client)
        put(things, {}, [f"id-{i}" for i in range(400)], 0, "a")
        things.optimize()
        access = inside.access(things)
        until(lambda: closed(things), "a derived file stays mapped")

        def close():
            def is_closed():  # maintenance may hold the codes for a moment, and nothing is closed
                inside.close_files(access)
                return not inside.code_files(access)

            until(is_closed, "the files of codes stay open")

        with monkeypatch.context() as patch:
            steps.before(patch, "keep_search", close)
            for _ in range(3):
                things.query(query_embeddings=[0.5] * DIMENSION)
        assert inside.searches_kept(access) == 0
