"""While vectors are copied, which may take minutes, the process can fork, and others write, compact
and delete. The copy has the content of its beginning.
"""

import os

import numpy as np
import pytest

import retrieval_store
from tests.helpers import steps

IDS = [f"p{i}" for i in range(300)]
VECTORS = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    with retrieval_store.Client(tmp_path / "store") as client:
        client.create_collection("things", embedding_function=None).add(IDS, VECTORS)
    with retrieval_store.Client(tmp_path / "store") as client:  # whose maps are new
        yield client


def copies(store, tmp_path):
    """Each way of copying, by name, with a function that returns the content of the copy."""
    things = store.get_collection("things")

    def snapshot():
        things.snapshot(tmp_path / "snapshot")
        retrieval_store.restore(tmp_path / "snapshot", tmp_path / "restored")
        with retrieval_store.Client(tmp_path / "restored") as restored:
            return restored.get_collection("things").get(include=["embeddings"])

    return {
        "snapshot": snapshot,
        "fork": lambda: things.fork("forked").get(include=["embeddings"]),
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.parametrize("way", ["snapshot", "fork"])
def test_a_process_forks_while_vectors_are_copied(store, tmp_path, monkeypatch, way):
    copy = copies(store, tmp_path)[way]
    ended = []

    def fork():
        if not ended:
            assert not steps.taken("is_unforkable")()
            child = os.fork()
            if not child:
                os._exit(7)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    steps.before(monkeypatch, "verify_vectors", fork)
    copied = copy()
    assert ended == [7]
    assert copied["ids"] == IDS
    np.testing.assert_array_equal(copied["embeddings"], VECTORS)


@pytest.mark.parametrize("way", ["snapshot", "fork"])
def test_changes_of_others_meanwhile_are_not_in_the_copy(store, tmp_path, monkeypatch, way):
    copy = copies(store, tmp_path)[way]
    done = []

    def change():
        if not done:
            done.append(True)
            with retrieval_store.Client(tmp_path / "store") as other:
                things = other.get_collection("things")
                things.upsert(IDS[:100], -VECTORS[:100])
                things.delete(IDS[100:250])
                things.optimize()  # which removes the files that are being copied
                things.add(["new"], VECTORS[:1])

    steps.before(monkeypatch, "verify_vectors", change)
    copied = copy()
    assert done == [True]
    assert copied["ids"] == IDS
    np.testing.assert_array_equal(copied["embeddings"], VECTORS)
