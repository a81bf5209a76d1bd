"""Without hnswlib there is no graph, and no message asks to install it. A store can move to such an
installation and back.
"""

import subprocess
import sys

import pytest

import retrieval_store
from retrieval_store.errors import PluginError
from retrieval_store.indexes.hnsw import HNSWIndex
from tests.helpers import PATIENCE, ROOT
from tests.helpers.indexed import (
    DIMENSION,
    SMALL,
    cloud,
    index_file,
    load_index,
    populated,
    space_of,
    until,
)

pytestmark = pytest.mark.embedded

WITHOUT = """
import logging, sys
sys.modules["hnswlib"] = None  # importing it is an ImportError
import numpy as np, retrieval_store
from tests.helpers.indexed import cloud, populated, space_of, until
from tests.helpers.tuned import eager_indexes, use_index

class Heard(logging.Handler):
    said = []
    def emit(self, record):
        self.said.append(record.getMessage())

logging.getLogger("retrieval_store").addHandler(Heard())
"""
LARGE = """
def check(things, vectors):
    ids = things.get(include=[])["ids"]
    for query in cloud(10, 1, 128):
        distances = ((vectors - query.astype(float)) ** 2).sum(axis=1)
        found = things.query(query_embeddings=query)["ids"]
        assert found == [[ids[i] for i in np.argsort(distances)[:10]]]

use_index()
with retrieval_store.Client(sys.argv[1]) as client:
    small = client.create_collection("small", embedding_function=None)
    small.add(ids="a", embeddings=[1, 2])
    small.optimize()
    things = client.create_collection("things", {"hnsw": {"ef_search": 50}}, embedding_function=None)
    vectors = cloud(30_000, dimension=128)  # 3.84 million numbers
    things.add(ids=[str(i) for i in range(30_000)], embeddings=vectors)
    check(things, vectors)
    explanation = things.explain(query_embeddings=vectors[0])
    gauges = client.stats()["by_collection"]["things"]
    assert (explanation["fresh"], gauges["index_lag"], space_of(things)["index"]) == (0, 0, "codes")
    things.delete(ids=[str(i) for i in range(4_000)])
    things.optimize()
    check(things, vectors[4_000:])
    assert space_of(things)["dead_slots"] == space_of(things)["indexed_slots"] == 0
with retrieval_store.Client(sys.argv[1]) as client:
    things = client.get_collection("things", embedding_function=None)
    things.optimize()
    assert [report for report in client.verify() if report.problem] == []
assert Heard.said == []
"""
SMALL_STEPS = """
eager_indexes()
with retrieval_store.Client(sys.argv[1]) as client:
    known = sys.argv[2] == "known"
    things = client.get_collection("things", None) if known else populated(client)
    things.add(ids=[f"new {i}" for i in range(200)], embeddings=cloud(200, 9))
    queries = cloud(20, 5)
    exact = things.query(query_embeddings=queries, exact=True)["ids"]
    assert things.query(query_embeddings=queries)["ids"] == exact
    things.optimize()
    assert space_of(things)["indexed_slots"] == 0
    assert [report for report in client.verify() if report.problem] == []
assert Heard.said == []
"""


def run_without_hnswlib(steps, *arguments):
    command = [sys.executable, "-c", WITHOUT + steps, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout


def test_a_collection_is_searched_exactly_without_a_warning(tmp_path):
    run_without_hnswlib(LARGE, tmp_path)


@pytest.mark.usefixtures("eager")
def test_a_store_created_with_hnswlib_works_without_it_and_with_it_again(built):
    file = index_file(built)
    run_without_hnswlib(SMALL_STEPS, built, "known")
    assert index_file(built) == file
    with retrieval_store.Client(built) as client:
        things = client.get_collection("things", embedding_function=None)
        assert load_index(things) == 1_000
        things.optimize()
        assert space_of(things)["indexed_slots"] == 1_200
        assert [report for report in client.verify() if report.problem] == []


@pytest.mark.usefixtures("eager")
def test_a_store_created_without_hnswlib_gets_an_index_once_it_is_installed(tmp_path):
    run_without_hnswlib(SMALL_STEPS, tmp_path, "new")
    assert list(tmp_path.glob("*/derived/index*")) == []
    with retrieval_store.Client(tmp_path) as client:
        things = client.get_collection("things", embedding_function=None)
        things.query(query_embeddings=[0] * DIMENSION)
        until(lambda: space_of(things)["indexed_slots"] == 1_200, "no index was built")


def test_settings_are_checked_without_hnswlib_and_vectors_are_refused(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with retrieval_store.Client() as client:
        things = populated(client)
        assert things.configuration["hnsw"]["ef_search"] == SMALL["hnsw"]["ef_search"]
        with pytest.raises(ValueError, match="ef_search"):
            client.create_collection("bad", {"hnsw": {"ef_search": 0}})
    index = HNSWIndex(DIMENSION, "l2", SMALL["hnsw"])
    for use in (lambda: index.add(cloud(10)), lambda: index.load(tmp_path / "file", 10)):
        with pytest.raises(PluginError, match=r'"hnsw" needs hnswlib: .*retrieval-store\[hnsw\]"'):
            use()
    assert (len(index), index.nbytes) == (0, 0)
