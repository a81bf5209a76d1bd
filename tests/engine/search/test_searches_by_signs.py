"""Collections searched by signs: the requested share of the nearest is found, whatever is written
meanwhile, and whatever happens to the files.
"""

import json
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

import retrieval_store
from retrieval_store.errors import InvalidArgumentError
from tests.helpers import inside, steps
from tests.helpers.indexed import until, with_codes
from tests.helpers.oracle import brute_force
from tests.helpers.small_stores import sql
from tests.helpers.tuned import eager_signs, tuned

pytestmark = [pytest.mark.embedded, with_codes]
DIMENSION, COUNT = 24, 3_000
CONFIGURATION = {"hnsw": {"space": "cosine"}, "recall": 0.9}


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    measure_soon(monkeypatch)


def measure_soon(patch=None):
    """Measure soon, and quickly, with half of the usual queries."""
    eager_signs(patch)
    tuned(patch, questions_of_each_kind=12)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def groups(count, seed=0):
    """Vectors around two hundred centres, like embeddings of texts on topics. The seed changes the
    vectors, but not the centres."""
    centres = np.random.default_rng(99).standard_normal((200, DIMENSION))
    drawn = np.random.default_rng(seed).standard_normal((count, DIMENSION + 1))
    chosen = centres[(np.abs(drawn[:, -1]) * 1e6).astype(int) % 200]
    return (chosen + 0.5 * drawn[:, :-1]).astype(np.float32)


def populated(client, count=COUNT, configuration=CONFIGURATION, name="things"):
    things = client.create_collection(name, configuration, embedding_function=None)
    things.add(
        ids=[str(i) for i in range(count)],
        embeddings=groups(count),
        metadatas=[{"n": i, "tenth": i % 10} for i in range(count)],
    )
    things.optimize()
    return things


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store for most tests; each gets a copy."""
    path = tmp_path_factory.mktemp("made") / "store"
    with pytest.MonkeyPatch.context() as patch:
        measure_soon(patch)
        with retrieval_store.Client(path) as client:
            populated(client)
    return path


@pytest.fixture
def filled(made, tmp_path):
    return shutil.copytree(made, tmp_path / "filled")


@pytest.fixture
def things(filled):
    with retrieval_store.Client(filled) as client:
        things = client.get_collection("things", embedding_function=None)
        things.optimize()  # which has the codes in memory
        yield things


def opened(store):
    client = retrieval_store.Client(path=store)
    return client.get_collection("things", embedding_function=None)


def methods(things, queries=None, **more):
    queries = groups(1, 5) if queries is None else queries
    plans = things.explain(query_embeddings=queries, **more)["plans"]
    return [plan["method"] for plan in plans]


def found_of(things, true_ones, queries, **more):
    """The share of the true hits that is found."""
    hits = things.query(query_embeddings=queries, n_results=10, include=[], **more)["ids"]
    right = [len(set(found) & set(true)) for found, true in zip(hits, true_ones, strict=True)]
    return sum(right) / sum(map(len, true_ones))


def nearest(vectors, queries, metric, ids=None, count=10):
    ids = [str(i) for i in range(len(vectors))] if ids is None else ids
    far = [brute_force(query, vectors, metric) for query in queries]
    return [[ids[i] for i in np.argsort(one, kind="stable")[:count]] for one in far]


def known(things):
    return things.stats()["spaces"][""]["recall"]


def recall_files(store):
    return sorted(path.name for path in Path(store).glob("*/derived/recall.*"))


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_the_requested_share_is_found(client, monkeypatch, metric):
    tuned(monkeypatch, questions_of_each_kind=24)  # as usual
    things = populated(client, configuration={**CONFIGURATION, "hnsw": {"space": metric}})
    queries = groups(100, 5)
    true_ones = nearest(groups(COUNT), queries, metric)
    assert methods(things) == ["signs"]
    assert found_of(things, true_ones, queries) > 0.85  # .9 was asked for
    assert found_of(things, true_ones, queries, recall=0.98) > 0.95
    assert found_of(things, true_ones, queries, exact=True) == 1


def test_more_errors_are_allowed_for_a_higher_recall_and_none_for_all(things):

    def errors(**more):
        return things.explain(query_embeddings=groups(1, 5), **more)["recall"]["errors"]

    assert errors(recall=0.8) < errors(recall=0.95) <= errors(recall=0.995)
    assert errors(recall=0.8) <= errors(ef=16) < errors(ef=100)
    for query in ({"recall": 1.0}, {"exact": True}):
        explanation = things.explain(query_embeddings=groups(1, 5), **query)
        assert "recall" not in explanation and explanation["plans"][0]["method"] != "signs"


def test_measurements_are_reported(things):
    reported = things.explain(query_embeddings=groups(1, 5))["recall"]
    assert reported["target"] == 0.9 and reported["vectors"] == COUNT
    kinds = {(one["kind"], one["filter"]) for one in reported["measured"]}
    assert len(kinds) == len(reported["measured"]) == 8
    worst = reported["measured"][0]["recall"]
    assert all(0.95 < worst <= one["recall"] <= 1 for one in reported["measured"])  # of the default
    assert known(things)["measured"] == reported["measured"]
    assert abs(reported["at"] - time.time()) < 3_600


def test_the_candidates_of_a_query_and_possible_misses_are_reported(things):
    reported = things.explain(query_embeddings=groups(1, 5))["recall"]
    assert (
        reported["looked"]["signs"]
        >= COUNT
        > reported["looked"]["codes"]
        >= reported["looked"]["distances"]
    )
    assert reported["looked"]["distances"] >= 10 and 0.8 <= reported["estimate"] <= 1
    assert 0 <= reported["estimate_error"] < 0.05
    several = things.explain(query_embeddings=groups(2, 5))["recall"]
    assert several["looked"]["signs"] == 0 and several["estimate"] is None


def test_estimates_of_single_queries_are_right_on_average(client):
    things = populated(client, configuration={**CONFIGURATION, "recall": 0.8})
    queries, reported = groups(60, 5), []
    for query in queries:
        reported.append(things.explain(query_embeddings=query)["recall"]["estimate"])
    found = found_of(things, nearest(groups(COUNT), queries, "cosine"), queries)
    assert abs(np.mean(reported) - found) < 0.03


def test_measurements_are_reported_by_a_process_that_has_searched_nothing_yet(store):
    with retrieval_store.Client(store) as client:
        reported = populated(client).stats()["spaces"][""]["recall"]
    assert reported["questions"] > 50
    with retrieval_store.Client(store, read_only=True) as client:
        assert client.get_collection("things").stats()["spaces"][""]["recall"] == reported


def test_a_query_with_a_recall_has_it_measured_for_later_ones(client):
    things = populated(client, configuration={"hnsw": {"space": "cosine"}})
    assert "recall" not in things.stats()["spaces"][""]
    first = things.explain(query_embeddings=groups(1, 5), recall=0.9)
    assert first["plans"][0]["method"] == "signs" and not first["recall"]["measured"]

    def measured():
        return things.explain(query_embeddings=groups(1, 5), recall=0.9)["recall"]["measured"]

    until(measured, "nothing was measured")
    assert methods(things) != ["signs"]  # who asks for none is answered exactly


def test_a_read_only_client_measures_nothing(store):
    with retrieval_store.Client(store) as client:
        things = client.create_collection("things", CONFIGURATION, embedding_function=None)
        things.add(ids=[str(i) for i in range(COUNT)], embeddings=groups(COUNT))
        before = recall_files(store)
    with retrieval_store.Client(store, read_only=True) as client:
        things = client.get_collection("things", embedding_function=None)
        assert len(things.query(query_embeddings=groups(1, 5))["ids"][0]) == 10
        assert recall_files(store) == before


def test_why_names_the_recall_for_what_was_missed(client, monkeypatch):
    tuned(monkeypatch, measured_at_least=10**9, errors_unmeasured=(0.0,) * 6)
    things = populated(client, configuration={**CONFIGURATION, "recall": 0.8})
    queries = groups(100, 5)
    true_ones = nearest(groups(COUNT), queries, "cosine")
    found = things.query(query_embeddings=queries, n_results=10, include=[])["ids"]
    query, missed = next(
        (query, sorted(set(true) - set(some))[0])
        for query, true, some in zip(queries, true_ones, found, strict=True)
        if set(true) - set(some)
    )
    (reason,) = things.why(query_embeddings=[query], n_results=10, records=[missed])
    assert not reason.found and reason.rank is not None and reason.rank <= 10
    assert reason.advice[0].endswith("missed: exact=True finds it, or a larger recall")


@pytest.mark.parametrize("metric", ["ip"])
def test_of_uniform_noise_as_many_are_found(client, metric):
    """Its hits all lie just above the threshold."""
    noise = np.random.default_rng(3).standard_normal((COUNT + 50, 64)).astype(np.float32)
    configuration = {"hnsw": {"space": metric}, "recall": 0.98}
    things = client.create_collection("noise", configuration, embedding_function=None)
    things.add(ids=[str(i) for i in range(COUNT)], embeddings=noise[:COUNT])
    things.optimize()
    queries = noise[COUNT:]
    assert methods(things, queries[:1]) == ["signs"]
    assert found_of(things, nearest(noise[:COUNT], queries, metric), queries) > 0.97


def test_vectors_from_elsewhere_are_found_at_once(things):
    """A third of all vectors, unlike any that was measured."""
    more = groups(COUNT // 3, 9) * 0.3 + 4 * np.random.default_rng(1).standard_normal(DIMENSION)
    more = more.astype(np.float32)
    things.add(ids=[f"new {i}" for i in range(len(more))], embeddings=more)
    every = np.concatenate([groups(COUNT), more])
    ids = [*map(str, range(COUNT)), *(f"new {i}" for i in range(len(more)))]
    queries = more[:50] + 0.1 * groups(50, 8)
    true_ones = nearest(every, queries, "cosine", ids)
    assert found_of(things, true_ones, queries) > 0.85
    things.optimize()
    assert methods(things) == ["signs"] and known(things)["vectors"] == len(every)
    assert found_of(things, true_ones, queries) > 0.85


def test_it_is_measured_again_after_growing_by_a_quarter(store):
    with retrieval_store.Client(path=store) as client:
        things = populated(client, 1_000)
        for count, vectors in ((1_200, 1_000), (1_300, 1_300)):
            have = things.count()
            ids = [str(i) for i in range(have, count)]
            things.add(ids=ids, embeddings=groups(count)[have:])
            things.optimize()
            assert known(things)["vectors"] == vectors
            assert len(recall_files(store)) == 1


@pytest.mark.parametrize("left", [0, 5])
def test_of_hardly_any_vectors_nothing_is_measured(things, monkeypatch, left):
    """All others are dead, and nothing has been compacted yet."""
    tuned(monkeypatch, dead_cells=10**9)
    known_before = known(things)
    things.delete(ids=[str(i) for i in range(left, COUNT)])
    assert inside.measured(inside.access(things)) == []
    assert known(things) == known_before
    things.optimize()
    found = things.query(query_embeddings=groups(1, 5), n_results=10)["ids"][0]
    assert len(found) == left


def test_many_threads_measure_the_same(things, monkeypatch):
    access = inside.access(things)
    alone = inside.measured(access)
    tuned(monkeypatch, cores_to_measure_with=lambda: 32)
    assert len(alone) > 3 and inside.measured(access) == alone


def test_measuring_ends_when_the_client_is_closed(store, monkeypatch):
    tuned(monkeypatch, cores_to_measure_with=lambda: 32)
    for count in (1_000, 1_500, 2_000):
        with retrieval_store.Client(path=store) as client:
            things = client.get_or_create_collection("things", CONFIGURATION, None)
            have = things.count()
            ids = [str(i) for i in range(have, count)]
            things.add(ids=ids, embeddings=groups(count)[have:])
            things.query(query_embeddings=groups(1, 5))  # by which maintenance is wanted
            time.sleep(0.05)
        assert not [one for one in threading.enumerate() if "ThreadPool" in one.name]


def test_at_its_end_the_interpreter_measures_without_threads(filled):
    program = (
        "import atexit, sys, threading, retrieval_store\n"
        "from tests.helpers import inside, tuned\n"
        "tuned.eager_signs()\n"
        "tuned.tuned(None, questions_of_each_kind=12)\n"
        "tuned.tuned(None, cores_to_measure_with=lambda: 32)\n"
        "client = retrieval_store.Client(path=sys.argv[1])\n"
        "things = client.get_collection('things', embedding_function=None)\n"
        "things.query(query_embeddings=[[1.0] * 24], recall=.8)\n"
        "things.optimize()\n"
        "access = inside.access(things)\n"
        "before = inside.measured(access)\n"
        "def again():\n"
        "    print(len(before) > 3 and inside.measured(access) == before)\n"
        "atexit.register(again)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(filled)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True" and not done.stderr


@pytest.mark.parametrize("kind", ["codes.1.0.0", "recall.1.0"])
def test_a_damaged_file_is_rebuilt(filled, kind, caplog):
    (path,) = Path(filled).glob(f"*/derived/{kind}.*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    things = opened(filled)
    queries = groups(20, 8)
    true_ones = nearest(groups(COUNT), queries, "cosine")
    assert found_of(things, true_ones, queries) > 0.85
    assert "can't be used and will be made again" in caplog.text
    things.optimize()
    assert methods(things) == ["signs"] and known(things)["measured"]
    assert found_of(things, true_ones, queries) > 0.85


def replaced(path, content):
    """Replace the content of a derived file, and its recorded checksum and size."""
    path.write_bytes(content)
    record = "UPDATE derived SET checksum = ?, size = ? WHERE file = ?"
    sql(path.parents[1] / "points.sqlite", record, zlib.crc32(content), len(content), path.name)


@pytest.mark.parametrize("at", ["signs", "factors"])
def test_verify_finds_false_signs(filled, at):
    with retrieval_store.Client(path=filled) as client:
        assert problems(client) == []
    (path,) = Path(filled).glob("*/derived/codes.1.0.0.*")
    content = bytearray(path.read_bytes())
    # The last block of a file is 32 rows' signs, factors and sides, and fills 64 bytes.
    beside = 2 * 32 * 4
    if at == "signs":
        content[-beside - 128 : -beside] = bytes(128)
    else:
        floats = np.frombuffer(content, "<f4", 32, len(content) - beside) / 2
        content[-beside : -beside // 2] = floats.tobytes()
    replaced(path, bytes(content))
    with retrieval_store.Client(path=filled) as client:
        reported = {report.file.name: report.problem for report in client.verify()}
        assert "is false, though its checksum is right" in reported[path.name]


def problems(client):
    return [report.problem for report in client.verify() if report.problem]


@pytest.mark.parametrize(("metric", "spread"), [("ip", 1e-3), ("cosine", 0.0)])
def test_equal_vectors_and_nearly_equal_ones_are_found(store, caplog, spread, metric):
    rows = np.repeat(groups(COUNT // 30), 30, axis=0)
    rows += spread * np.random.default_rng(2).standard_normal(rows.shape).astype(np.float32)
    configuration = {**CONFIGURATION, "hnsw": {"space": metric}}
    with retrieval_store.Client(path=store) as client:
        things = client.create_collection("things", configuration, embedding_function=None)
        things.add(ids=[str(i) for i in range(COUNT)], embeddings=rows)
        things.optimize()
        assert problems(client) == []
    things = opened(store)
    assert things.stats()["spaces"][""]["recall"]["measured"]
    queries = rows[:COUNT:100]
    hits = things.query(query_embeddings=queries, n_results=10, include=["distances"])
    farthest = np.array([np.sort(brute_force(query, rows, metric))[9] for query in queries])
    near = np.array(hits["distances"]) <= (farthest + 1e-3 * np.abs(farthest) + 1e-6)[:, None]
    assert near.mean() >= CONFIGURATION["recall"]
    assert "can't be used" not in caplog.text


def test_measurements_of_an_earlier_version_are_repeated_silently(filled, caplog):
    (path,) = Path(filled).glob("*/derived/recall.1.0.*")
    data = json.loads(path.read_bytes())
    data[0] = data[0][:-1]  # of other targets
    replaced(path, json.dumps(data).encode())
    with retrieval_store.Client(path=filled) as client:
        assert problems(client) == []
        things = client.get_collection("things", embedding_function=None)
        things.optimize()
        assert known(things)["measured"] and problems(client) == []
    assert "can't be used" not in caplog.text


def test_data_that_have_changed_since_recall_was_measured_are_no_damage(filled):
    with retrieval_store.Client(path=filled) as client:
        things = client.get_collection("things", embedding_function=None)
        recall = known(things)
        others = np.random.default_rng(3).standard_normal((COUNT // 5, DIMENSION)) * 0.3 + 20
        things.add(ids=[f"new {i}" for i in range(len(others))], embeddings=others)
        things.optimize()  # which measures nothing
        assert known(things) == recall
        assert problems(client) == []
        things.delete(where={"tenth": {"$lt": 4}})
        things.delete(ids=things.query(query_embeddings=groups(1, 5), n_results=800)["ids"][0])
        assert problems(client) == []


def test_verify_finds_a_recall_that_is_too_high(filled):
    (path,) = Path(filled).glob("*/derived/recall.1.0.*")
    data = json.loads(path.read_bytes())
    data[3] = [0.0 for _ in data[3]]  # errors that are enough
    replaced(path, json.dumps(data).encode())
    with retrieval_store.Client(path=filled) as client:
        (problem,) = problems(client)
        assert "of the nearest are found, and now" in problem


def test_leftovers_of_older_stores_are_removed(filled):
    (path,) = Path(filled).glob("*/derived/recall.1.0.*")
    other = path.with_name(f"clusters.1.0.0.{32 * 'a'}")
    other.write_bytes(b"clusters")
    record = "INSERT INTO derived VALUES ('clusters.1.0.0', ?, 1, 8, ?, 3000)"
    sql(path.parents[1] / "points.sqlite", record, other.name, zlib.crc32(b"clusters"))
    things = opened(filled)
    assert methods(things) == ["signs"]
    things.optimize()
    assert not other.exists()


@pytest.mark.parametrize("recall", [-0.1, 1.5, "much", True])
def test_a_recall_that_is_none_is_refused(client, recall):
    with pytest.raises(InvalidArgumentError, match="recall"):
        client.create_collection("other", {"recall": recall}, embedding_function=None)
    things = client.create_collection("things", embedding_function=None)
    with pytest.raises(InvalidArgumentError, match="recall"):
        things.query(query_embeddings=[[1.0, 2.0]], recall=recall)


def test_the_recall_is_measured_once_a_space_is_settled_and_later_vectors_get_codes_soon(
    client, monkeypatch
):
    inside.without_background(monkeypatch)  # only what follows here
    tuned(monkeypatch, coded_every=0.0, looks_apart=0.0)
    things = client.create_collection("things", CONFIGURATION, embedding_function=None)
    things.add(ids=[str(i) for i in range(500)], embeddings=groups(500))
    access, coded = inside.access(things), []

    def measuring(measure, measurement):
        more = [f"more {i}" for i in range(200)]
        things.add(ids=more, embeddings=groups(200, 7))
        found = measure(measurement)
        coded.append(things.stats()["spaces"][""]["coded_slots"])
        return found

    steps.around(monkeypatch, "measure_recall", measuring)
    assert inside.maintain(access) and not coded  # nobody knows yet whether it grows
    things.add(ids=[f"soon {i}" for i in range(100)], embeddings=groups(100, 5))
    assert inside.maintain(access) and not coded  # it does
    assert not inside.maintain(access)
    assert coded == [800]
