"""The fixture that a project's tests get by naming the plugin."""

import os
import subprocess
import sys

from tests.helpers import PATIENCE

PLUGINS = 'pytest_plugins = ["retrieval_store_server.pytest_plugin"]\n'
LOADED = """
import sys

def pytest_sessionfinish():
    names = ("retrieval_store_server.run", "uvicorn", "starlette", "qdrant_client", "apsw")
    print("loaded:", [name for name in names if name in sys.modules])
"""
USED = """
import httpx

def put(url):
    body = {"vectors": {"size": 2, "distance": "Dot"}}
    return httpx.put(f"{url}/collections/c", json=body).json()["result"]

def test_one(qdrant_url):
    assert put(qdrant_url) is True
    assert httpx.put(f"{qdrant_url}/collections/of%231%2520", json={}).json()["result"] is True

def test_another(qdrant_url):  # finds nothing of the first
    assert httpx.get(f"{qdrant_url}/collections").json()["result"] == {"collections": []}
    assert put(qdrant_url) is True
"""


def ran(folder, *words):
    """pytest's output for the tests in a folder, with no plugins but those that they name."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *words, "."],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_nothing_of_a_server_is_loaded_until_the_fixture_is_used(tmp_path):
    (tmp_path / "conftest.py").write_text(PLUGINS + LOADED)
    (tmp_path / "test_own.py").write_text("def test_nothing():\n    pass\n" + USED)
    assert "loaded: []" in ran(tmp_path, "--co")
    assert "loaded: []" in ran(tmp_path, "-k", "nothing")
    assert "uvicorn" in ran(tmp_path)


def test_each_test_has_a_server_without_collections(tmp_path):
    (tmp_path / "conftest.py").write_text(PLUGINS)
    (tmp_path / "test_own.py").write_text(USED)
    assert "2 passed" in ran(tmp_path)
