"""Commands on a served store, by its URL."""

import json

import numpy as np
import pytest

import retrieval_store
from retrieval_store_server import running
from tests.helpers.terminals import run


@pytest.fixture
def url(tmp_path):
    with running(tmp_path / "store", api_keys=["secret"]) as url:
        with retrieval_store.Client(url=url, api_key="secret") as client:
            things = client.create_collection("things", embedding_function=None)
            things.add(ids=["a", "b"], embeddings=np.eye(2), metadatas=[{"n": 1}, {"n": 2}])
        yield url


@pytest.mark.parametrize("key", ["RETRIEVAL_STORE_API_KEY", "QDRANT_API_KEY"])
def test_commands_take_the_url_of_a_store_that_is_served(url, tmp_path, monkeypatch, key):
    monkeypatch.setenv(key, "secret")

    def output_of(*words):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    found = json.loads(output_of("info", url, "things", "--json"))
    assert (found["points"], found["vectors"][""]["dimension"]) == (2, 2)
    assert json.loads(output_of("info", url, "--json"))["damaged"] is None
    assert output_of("count", url, "things", "--where", '{"n": 2}').strip() == "1"
    assert "none damaged" in output_of("verify", url)
    assert "now" in output_of("optimize", url, "things")
    assert "2 compared" in output_of("copy", url, "copied")
    assert "level already" in output_of("copy", url, "copied")
    output_of("snapshot", url, "whole.zip")
    assert (tmp_path / "whole.zip").stat().st_size > 1_000
    monkeypatch.delenv(key)
    refused = run("list", url, cwd=tmp_path)
    assert (refused.returncode, b"wants a key" in refused.stderr) == (1, True)
