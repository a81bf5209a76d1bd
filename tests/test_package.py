"""What importing the package costs, and what it exposes."""

import subprocess
import sys

import pytest

import retrieval_store

HEAVY = [
    "numpy",
    "apsw",
    "orjson",
    "hnswlib",
    "re2",
    "tqdm",
    "torch",
    "wordllama",
    "importlib.metadata",
]


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, retrieval_store; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(modules.stdout.split())
    assert "retrieval_store" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert [name for name in loaded if name.startswith("retrieval_store.")] == []


def test_using_a_store_without_embedding_texts_imports_no_model_and_no_network():
    code = """
import sys, retrieval_store
collection = retrieval_store.Client().create_collection("abc")
collection.add(ids="a", embeddings=[1, 2])
collection.query(query_embeddings=[1, 2])
print(*sys.modules)
"""
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert set(modules.stdout.split()).isdisjoint(["wordllama", "torch", "requests", "http.client"])


def test_public_names_are_there_and_others_are_not():
    assert {"Client", "Collection", "EphemeralClient", "PersistentClient"} <= set(
        dir(retrieval_store)
    )
    assert retrieval_store.Client.__name__ == "Client"
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        retrieval_store.Klient  # noqa: B018
