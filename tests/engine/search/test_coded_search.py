"""Collections searched by codes: results are exact from the first query on, whatever happens to the
files.
"""

import logging
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import StorageError
from tests.helpers import inside, steps
from tests.helpers.indexed import once_compacted, until, with_codes
from tests.helpers.oracle import brute_force
from tests.helpers.small_stores import sql
from tests.helpers.tuned import eager_codes, tuned

pytestmark = [
    pytest.mark.embedded,
    with_codes,
]
DIMENSION = 24
FILES = 3  # of the five full segments of 128 among 700 vectors, two in each


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    eager_codes(monkeypatch)


def cloud(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def populated(client, count=700, metric="cosine"):
    things = client.create_collection(
        "things", {"hnsw": {"space": metric}, "index": "exact"}, embedding_function=None
    )
    things.add(
        ids=[str(i) for i in range(count)],
        embeddings=cloud(count),
        metadatas=[{"n": i, "even": i % 2 == 0} for i in range(count)],
    )
    return things


def opened(client):
    return client.get_collection("things", embedding_function=None)


def methods(things, queries=None, **more):
    queries = cloud(1, 5) if queries is None else queries
    return [plan["method"] for plan in things.explain(query_embeddings=queries, **more)["plans"]]


def check_answers(things, held, metric="cosine", seed=5, where=None, allowed=None):
    """The hits, by id, equal those of float64 brute force over the stored vectors."""
    ids = sorted(held if allowed is None else set(held) & set(allowed))
    queries = cloud(4, seed)
    found = things.query(query_embeddings=queries, n_results=7, where=where)
    for query, hits, distances in zip(queries, found["ids"], found["distances"], strict=True):
        if ids:
            truth = brute_force(query, np.array([held[i] for i in ids]), metric)
            by_id = dict(zip(ids, truth.tolist(), strict=True))
            assert np.allclose(distances, np.sort(truth)[:7], rtol=1e-9, atol=1e-12)
            assert np.allclose([by_id[i] for i in hits], distances, rtol=1e-9, atol=1e-12)
        else:
            assert hits == []


def as_held(count):
    return dict(zip(map(str, range(count)), cloud(count), strict=True))


def ready(things):
    """Wait until all vectors have codes."""
    space = things.stats()["spaces"][""]
    slots = space["vectors"] + space["dead_slots"]
    until(
        lambda: methods(things) == ["codes"] and coded_slots(things) == slots, "no codes were made"
    )


def code_files(store):
    return sorted(Path(store).glob("*/derived/codes.*"))


def coded_slots(things):
    return things.stats()["spaces"][""]["coded_slots"]


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_the_first_query_is_answered_by_codes_and_exactly(client, metric):
    things = populated(client, metric=metric)
    check_answers(things, as_held(700), metric)  # at once, whatever has a code by now
    ready(things)
    check_answers(things, as_held(700), metric)


def test_a_filter_used_before_codes_existed_has_its_codes_cached_too(client, monkeypatch):
    with monkeypatch.context() as without:
        tuned(without, coded_cells=10**12)
        things = populated(client, 699)
        where = {"n": {"$lt": 300}}
        allowed = [str(i) for i in range(300)]
        for _ in range(3):
            check_answers(things, as_held(699), where=where, allowed=allowed)
    # What is worth having is worked out once for each number of vectors.
    things.add(ids="699", embeddings=cloud(700)[699:], metadatas=[{"n": 699, "even": False}])
    ready(things)
    gathered = steps.noted(monkeypatch, "gather_codes")
    for seed in range(5):
        check_answers(things, as_held(700), seed=seed, where=where, allowed=allowed)
    assert len(gathered) == 1


def test_a_new_filter_finds_vectors_without_codes_too(client, monkeypatch):
    inside.without_background(monkeypatch)
    things, query = populated(client), cloud(1, 5)
    inside.make_codes(inside.access(things))
    things.add(ids="last", embeddings=query, metadatas=[{"n": 700}])
    for bound in (400, 500):  # one of all codes would be ready for the next filter
        things.query(query_embeddings=query, n_results=1, where={"n": {"$lt": bound}})
    found = things.query(query_embeddings=query, n_results=1, where={"n": {"$lt": 701}})
    assert found["ids"] == [["last"]]


ROWS = 40_000


def ask_until_copied(things, where, seed, most, monkeypatch):
    """How many queries with a filter ran until the codes of its points were copied, if they were,
    and by how many bytes the filter cache grew then."""
    copied = steps.noted(monkeypatch, "gather_codes")
    for query in range(1, most + 1):
        before = things.stats()["memory"]["filters"]
        things.query(query_embeddings=cloud(1, seed + query), where=where)
        if copied:
            return query, things.stats()["memory"]["filters"] - before
    return None, 0


def test_codes_are_copied_for_narrow_filters_alone_and_once_queries_have_lost_as_much(monkeypatch):
    monkeypatch.undo()
    with retrieval_store.Client() as client:
        things = populated(client, ROWS)
        things.optimize()
        wide = {"n": {"$lt": ROWS * 0.9}}, {"n": {"$lt": ROWS // 2}}
        tuned(monkeypatch, memory_budget=30_000_000)  # of which a copy takes a 32nd part at most
        for where in wide:
            for _ in range(2):  # what a range of values allows is kept from the second time on
                things.query(query_embeddings=cloud(1), where=where)
            held = things.stats()["memory"]["filters"]
            assert ask_until_copied(things, where, 0, 300, monkeypatch) == (None, 0)
            assert things.stats()["memory"]["filters"] == held
        narrow = {"n": {"$in": [*range(0, ROWS, 40)]}}
        query, nbytes = ask_until_copied(things, narrow, 0, 300, monkeypatch)
        assert query and query > 5
        assert 1_000 * DIMENSION <= nbytes <= 1_000 * (DIMENSION + 80) + 2_000
        assert ask_until_copied(things, narrow, 500, 20, monkeypatch) == (None, 0)
        hits = things.query(query_embeddings=cloud(1, 7), where=narrow)["distances"][0]
        truth = np.sort(brute_force(cloud(1, 7)[0], cloud(ROWS)[::40], "cosine"))[:10]
        assert np.allclose(hits, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("changed", ["a vector", "another's vector", "a payload"])
def test_a_copy_lasts_as_long_as_the_vectors_that_it_has(client, monkeypatch, changed):
    things, held = populated(client), as_held(700)
    ready(things)
    where, allowed = {"n": {"$lt": 300}}, [str(i) for i in range(300)]
    for seed in range(3):
        check_answers(things, held, seed=seed, where=where, allowed=allowed)
    copied = steps.noted(monkeypatch, "gather_codes")
    if changed == "a payload":
        things.update(ids="7", metadatas={"n": 8})
    else:
        held["7" if changed == "a vector" else "500"] = cloud(1, 3)[0]
        things.update(ids="7" if changed == "a vector" else "500", embeddings=cloud(1, 3))
    for seed in range(3):
        check_answers(things, held, seed=seed, where=where, allowed=allowed)
    assert bool(copied) == (changed == "a vector")


def test_a_compacted_collection_has_codes_from_the_first_moment(client, monkeypatch):
    assert once_compacted(monkeypatch, populated(client), 300, coded_slots) == [400]


def test_whole_segments_are_files_that_the_next_process_uses(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    assert len(code_files(tmp_path)) == FILES
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        things = opened(client)
        explanation = things.explain(query_embeddings=cloud(1, 5))
        assert explanation["uncoded"] <= 700 % 128 and explanation["plans"][0]["method"] == "codes"
        check_answers(things, as_held(700))


def test_small_collections_have_no_codes(tmp_path, monkeypatch):
    tuned(monkeypatch, coded_cells=500_000)
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)
        things.optimize()
        assert methods(things) == ["exact"] and coded_slots(things) == 0
    assert not code_files(tmp_path)


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def truncate(file):
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_a_damaged_derived_file_is_detected_ignored_and_rebuilt(tmp_path, damage, monkeypatch):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    damage(code_files(tmp_path)[2])
    with monkeypatch.context() as alone, retrieval_store.Client(tmp_path, read_only=True) as client:
        inside.without_background(alone)  # nobody makes up for it
        tuned(alone, fresh_cells_of_search=100)
        things = opened(client)
        explanation = things.explain(query_embeddings=cloud(1, 5))
        assert explanation["uncoded"] >= 128 and "have no codes" in explanation["remarks"][0]
        check_answers(things, as_held(700))
    with retrieval_store.Client(tmp_path) as client:
        check_answers(opened(client), as_held(700))
        opened(client).optimize()
        assert not [file for file in client.verify() if file.problem]
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        assert opened(client).explain(query_embeddings=cloud(1, 5))["uncoded"] <= 700 % 128
    assert len(code_files(tmp_path)) == FILES


@pytest.mark.parametrize("is_maintaining", [False, True])
def test_a_file_that_verify_reports_is_released(tmp_path, is_maintaining):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    with retrieval_store.Client(tmp_path) as client:
        things = opened(client)
        check_answers(things, as_held(700))
        (file, *_) = code_files(tmp_path)

        def damage_and_verify():
            with file.open("r+b") as stream:  # in place, as a failing disk does
                stream.seek(file.stat().st_size // 2)
                stream.write(bytes(range(256)) * (file.stat().st_size // 600))
            assert [report.file for report in client.verify() if report.problem] == [file]
            # Nor is anything read on by what had been read before.
            assert not (is_maintaining and inside.is_awake(inside.access(things)))
            for seed in range(3):
                check_answers(things, as_held(700), seed=seed)

        if is_maintaining:
            inside.while_maintaining(inside.access(things), damage_and_verify)
        else:
            damage_and_verify()


def test_a_file_truncated_while_open_is_released(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    with retrieval_store.Client(tmp_path) as client:
        check_answers(opened(client), as_held(700))
        truncate(code_files(tmp_path)[0])
        for seed in range(3):
            check_answers(opened(client), as_held(700), seed=seed)


def test_a_more_complete_file_of_another_process_is_not_replaced(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client, 200)
        opened(client).optimize()
        code = "import sys, numpy as np, retrieval_store\n" + ADD
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
        held = [file.name for file in code_files(tmp_path)]
        assert methods(opened(client)) and len(held) == 1
    assert [file.name for file in code_files(tmp_path)] == held


ADD = """
from tests.helpers.tuned import eager_codes
eager_codes()
with retrieval_store.Client(sys.argv[1]) as client:
    things = client.get_collection("things", embedding_function=None)
    vectors = np.random.default_rng(1).standard_normal((60, 24))
    things.add(ids=[f"more {i}" for i in range(60)], embeddings=vectors)
    things.optimize()
"""


def test_codes_released_meanwhile_are_not_saved_as_empty(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)
        things.optimize()
        codes = inside.access(things).current_state().caches.spaces[""].codes
        codes.close()
        with pytest.raises(StorageError, match="closed before"):
            codes.write(0, tmp_path / "empty")


def test_a_store_without_codes_answers_at_once_and_gains_them(tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        tuned(before, coded_cells=10**12)
        with retrieval_store.Client(tmp_path) as client:
            populated(client).optimize()
    assert not code_files(tmp_path)
    with retrieval_store.Client(tmp_path) as client:
        check_answers(opened(client), as_held(700))
        until(lambda: len(code_files(tmp_path)) == FILES, "no codes were saved")
        ready(opened(client))
        check_answers(opened(client), as_held(700))


def test_deleted_data_is_in_no_file_after_optimize(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        things = populated(client)
        things.optimize()
        before = code_files(tmp_path)
        things.delete(where={"even": True})
        things.optimize()
        assert code_files(tmp_path) and not set(before) & set(code_files(tmp_path))
        held = {i: v for i, v in as_held(700).items() if int(i) % 2}
        check_answers(things, held)


def falsify(file):
    """Remove the upper halves of some rows."""
    data = bytearray(file.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 500] = bytes(500)
    file.write_bytes(data)
    record = "UPDATE derived SET checksum = ? WHERE file = ?"
    sql(file.parent.parent / "points.sqlite", record, zlib.crc32(data), file.name)


def test_verify_detects_codes_with_wrong_bounds(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    file = code_files(tmp_path)[1]
    falsify(file)
    with retrieval_store.Client(tmp_path) as client:
        problems = [f for f in client.verify() if f.problem]
    assert [f.file.name for f in problems] == [file.name]
    assert "bounds that don't hold" in problems[0].problem


def test_vectors_that_codes_cannot_distinguish_are_searched_directly(client, monkeypatch):
    tuned(monkeypatch, share_of_a_large_result=16, exact_at_least=1)
    things = populated(client, 50)
    things.add(ids=[f"same {i}" for i in range(900)], embeddings=[cloud(1, 5)[0]] * 900)
    until(lambda: coded_slots(things) == 950, "no codes were made")
    hits = things.query(query_embeddings=cloud(1, 5), n_results=3)["ids"][0]
    assert hits == ["same 0", "same 1", "same 2"]
    reports = [methods(things) for _ in range(6)]
    assert reports[0] == ["codes", "exact"] and reports[-1] == ["exact"]
    remarks = things.explain(query_embeddings=cloud(1, 5))["remarks"]
    assert remarks == ["codes have recently excluded too few vectors: floats are searched"]


@pytest.mark.parametrize("query", [{"n_results": 210}, {"where": {"n": -1}, "n_results": 3}])
def test_queries_that_codes_cannot_answer_do_not_affect_others(client, monkeypatch, query):
    """The farthest nine hundred can't be distinguished; that doesn't matter for the nearest
    three."""
    tuned(monkeypatch, share_of_a_large_result=16, exact_at_least=1)
    things = populated(client, 200)
    others = {"embeddings": [-cloud(1, 5)[0]] * 900, "metadatas": [{"n": -1}] * 900}
    things.add(ids=[f"far {i}" for i in range(900)], **others)
    until(lambda: coded_slots(things) == 1_100, "no codes were made")
    nearest = things.query(query_embeddings=cloud(1, 5), n_results=3, exact=True)["ids"][0]
    for _ in range(2):
        reports = [methods(things, **query) for _ in range(6)]
        assert reports[-1] == ["exact"]
        for _ in range(6):
            assert methods(things, n_results=3) == ["codes"]
            found = things.query(query_embeddings=cloud(1, 5), n_results=3)["ids"][0]
            assert found == nearest


WITHOUT = """
import sys
import retrieval_store
from tests.engine.search.test_coded_search import as_held, check_answers, methods, opened
with retrieval_store.Client(sys.argv[1]) as client:
    things = opened(client)
    print(methods(things))
    check_answers(things, as_held(700))
    things.add(ids=["new"], embeddings=[[9.0] * 24])
    print(things.query(query_embeddings=[[9.0] * 24], n_results=1)["ids"])
"""


def test_without_the_compiled_part_floats_are_searched(tmp_path):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    assert code_files(tmp_path)
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    without = {**os.environ, "RETRIEVAL_STORE_INSTRUCTIONS": "none"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=without)
    assert done.stdout.split("\n")[:2] == ["['exact']", "[['new']]"]


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_all_hits_within_a_distance_are_found_for_any_limit(client, metric):
    things = populated(client, metric=metric)
    ready(things)
    query = cloud(1, 5)
    truth = brute_force(query[0], cloud(700), metric)
    within = float(np.sort(truth)[25])
    found = things.query(query_embeddings=query, n_results=300, max_distance=within)["ids"][0]
    assert found == [str(i) for i in np.argsort(truth)[:26]]


def test_codes_of_an_older_kind_are_rebuilt_without_a_warning(tmp_path, caplog):
    with retrieval_store.Client(tmp_path) as client:
        populated(client).optimize()
    for file in code_files(tmp_path):
        data = b"rscodes1" + file.read_bytes()[8:]
        file.write_bytes(data)
        record = "UPDATE derived SET checksum = ? WHERE file = ?"
        sql(file.parent.parent / "points.sqlite", record, zlib.crc32(data), file.name)
    old = code_files(tmp_path)
    with retrieval_store.Client(tmp_path, read_only=True) as client:
        check_answers(opened(client), as_held(700))
        ready(opened(client))  # in memory
        check_answers(opened(client), as_held(700))
        assert not [file for file in client.verify() if file.problem]
    with retrieval_store.Client(tmp_path) as client:
        opened(client).optimize()
        check_answers(opened(client), as_held(700))
    assert len(code_files(tmp_path)) == FILES and not set(old) & set(code_files(tmp_path))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
