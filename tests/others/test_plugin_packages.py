"""Packages of others, installed as a user would, into their own folder."""

import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT
from tests.helpers.packages import installed, run
from tests.package.test_adapters import faults_of

USE_INDEX = """
import numpy as np
import retrieval_store
from tests.helpers.tuned import use_index

use_index()

rng = np.random.default_rng(0)  # of 8 dimensions at heart, like what models make: easy to find
vectors = rng.standard_normal((20_000, 8)) @ rng.standard_normal((8, 160))
things = retrieval_store.Client("store").get_or_create_collection(
    "things", {"index": {"name": "usearch", "settings": {"expansion": 96}}}, embedding_function=None
)
if not things.count():
    things.add(ids=[str(i) for i in range(len(vectors))], embeddings=vectors)
things.optimize()  # which loads what the process before has saved
plan = things.explain(query_embeddings=vectors[7])["plans"][0]
space = things.stats()["spaces"][""]
print(plan["method"], plan["ef"], space["index"], space["indexed_slots"])
found = things.query(query_embeddings=vectors[:50], n_results=1)["ids"]
print(sum(ids == [str(i)] for i, ids in enumerate(found)) >= 45)
"""


@pytest.fixture(scope="module")
def with_usearch(tmp_path_factory):
    pytest.importorskip("usearch.index")
    return installed("index_plugin", tmp_path_factory.mktemp("installed"))


def test_an_index_from_another_package_is_built_used_saved_and_loaded(with_usearch, tmp_path):
    for _ in range(2):
        done = run(USE_INDEX, with_usearch, tmp_path)
        assert done.stdout == "over-fetch 96 usearch 20000\nTrue\n", done.stderr


def run_tests_of(example, environment, folder):
    """Run an example's own tests in the environment where it is installed."""
    tests = ROOT / "examples" / example / "tests"
    program = f"import pytest, sys; sys.exit(pytest.main([{str(tests)!r}, '-q']))"
    done = run(program, environment, folder)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr


def test_the_index_passes_the_tests_for_indexes(with_usearch, tmp_path):
    run_tests_of("index_plugin", with_usearch, tmp_path)


STORE = ROOT / "examples/store_plugin/retrieval_store_sqlitefile/__init__.py"


def test_a_store_from_another_package_passes_the_tests_for_stores(tmp_path):
    environment = installed("store_plugin", tmp_path / "installed")
    run_tests_of("store_plugin", environment, tmp_path)
    url = f"sqlitefile://{tmp_path}/commands.db"
    filled = run(f"""
import retrieval_store
notes = retrieval_store.Client(url={url!r}).create_collection("notes", embedding_function=None)
notes.add(["a", "b"], [[1, 0], [0, 1]])
""", environment, tmp_path)  # fmt: skip
    assert filled.returncode == 0, filled.stderr
    count = "from retrieval_store.__main__ import main; main()"
    command = [sys.executable, "-c", count, "count", url, "notes"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "2\n", done.stderr


def test_a_store_is_written_in_few_lines_that_import_what_is_public():
    assert len(STORE.read_text().splitlines()) <= 200
    assert [*faults_of(STORE.read_text(), "retrieval_store_cluster")] == []


def test_without_its_package_the_scheme_of_a_url_is_unknown(tmp_path):
    program = "import retrieval_store; retrieval_store.Client(url='sqlitefile:///tmp/x.db')"
    done = run(program, dict(os.environ), tmp_path)
    assert "InvalidArgumentError: url is 'sqlitefile:///tmp/x.db'" in done.stderr


def test_without_its_package_a_collection_is_searched_exactly_with_a_warning(
    with_usearch, tmp_path
):
    run(USE_INDEX, with_usearch, tmp_path)
    program = """
import retrieval_store
from tests.helpers.tuned import use_index

use_index()
things = retrieval_store.Client("store").get_collection("things", embedding_function=None)
vector = things.get("7", include=["embeddings"])["embeddings"]
print(things.explain(query_embeddings=vector)["plans"][0]["method"])
print(*things.query(query_embeddings=vector, n_results=1)["ids"][0])
things.optimize()
"""
    done = run(program, dict(os.environ), tmp_path)
    assert done.stdout == "exact\n7\n", done.stderr
    assert "no plugin 'usearch' is registered" in done.stderr


USE_COLOURS = """
import numpy as np
from PIL import Image
import retrieval_store
from retrieval_store import plugins

for colour in ("red", "green", "blue", "orange"):
    Image.new("RGB", (8, 8), colour).save(f"{colour}.png")
Histogram = plugins.load(plugins.EMBEDDING_FUNCTIONS, "colour-histogram")
loader = plugins.load(plugins.DATA_LOADERS, "folders")(".")
with retrieval_store.Client("store") as client:
    images = client.create_collection(
        "images", embedding_function=Histogram(bins=6), data_loader=loader
    )
    images.add(ids=["r", "g", "b", "o"], uris=["red.png", "green.png", "blue.png", "orange.png"])
"""

USE_COLOURS_AGAIN = """
import retrieval_store
from retrieval_store import plugins

loader = plugins.load(plugins.DATA_LOADERS, "folders")(".")
with retrieval_store.Client("store") as client:
    images = client.get_collection("images", data_loader=loader)
    print(images.configuration["embedding_function"])
    print(images.query(query_uris="green.png", n_results=1)["ids"])
listed = [p for p in plugins.available() if p.package == "retrieval-store-colours"]
print(*[f"{p.group} {p.name} {p.version}" for p in listed], sep="\\n")
"""


def test_an_embedding_function_and_a_loader_from_another_package(tmp_path):
    environment = installed("plugin_package", tmp_path / "installed")
    done = run(USE_COLOURS, environment, tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(USE_COLOURS_AGAIN, environment, tmp_path)  # where nothing was given
    assert done.stdout.splitlines() == [
        "{'name': 'colour-histogram', 'settings': {'bins': 6}}",
        "[['g']]",
        "retrieval_store.embedding_functions colour-histogram 1.0",
        "retrieval_store.data_loaders folders 1.0",
    ], done.stderr
    program = """
import retrieval_store
with retrieval_store.Client("store") as client:
    images = client.get_collection("images")
    print(images.count())
    images.query(query_texts="x")
"""
    done = run(program, dict(os.environ), tmp_path)
    assert done.stdout == "4\n"
    assert "no plugin 'colour-histogram' is registered" in done.stderr
