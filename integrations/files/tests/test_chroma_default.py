"""Text that Chroma embedded by its default model, all-MiniLM-L6-v2, is imported for use without
Chroma."""

import subprocess
import sys

import chromadb
import numpy as np
import pytest
from chromadb.utils import embedding_functions

import retrieval_store
from retrieval_store import MiniLMEmbedding
from retrieval_store.errors import MissingDependencyError
from retrieval_store_files import import_chroma
from tests.helpers import steps

pytestmark = pytest.mark.models

DOCUMENTS = ["A kitten sleeps on the sofa.", "Stocks fell sharply.", "Puppies bark at strangers."]
IDS = ["cat", "money", "dog"]
REMEMBERED = {"name": "minilm", "settings": {"precision": "float32"}}


def made_by_chroma(directory, name="notes", vectors=None, documents=DOCUMENTS, **how):
    """A collection of Chroma's, with vectors by its default function unless some are given."""
    if vectors is None:
        vectors = MiniLMEmbedding("float32")(DOCUMENTS)
    settings = chromadb.Settings(anonymized_telemetry=False)
    with chromadb.PersistentClient(directory, settings) as there:
        there.create_collection(name, **how).add(IDS, vectors, documents=documents)


@pytest.fixture
def here(tmp_path):
    with retrieval_store.Client(tmp_path / "here") as client:
        yield client


def model_of(client, name="notes"):
    return client.get_collection(name).configuration["embedding_function"]


WITHOUT_CHROMA = """
import sys
from tests.helpers import minilm
minilm.install()
sys.modules["chromadb"] = None
import retrieval_store
with retrieval_store.Client(sys.argv[1]) as client:
    notes = client.get_collection("notes")
    print(notes.query(query_texts="a cat naps", n_results=1)["ids"])
    notes.add(ids=["tax"], documents=["The tax was raised."])
    print(notes.query(query_texts="taxes", n_results=1)["ids"])
"""


@pytest.mark.parametrize("named", [False, True])
def test_queries_by_text_work_without_chroma(tmp_path, named):
    function = embedding_functions.ONNXMiniLM_L6_V2()
    how = {"embedding_function": function} if named else {}
    made_by_chroma(tmp_path / "chroma", **how)
    with retrieval_store.Client(tmp_path / "here") as here:
        report = import_chroma(tmp_path / "chroma", here)
        assert [one.left for one in report.collections] == [()]
        assert model_of(here) == REMEMBERED
    command = [sys.executable, "-c", WITHOUT_CHROMA, str(tmp_path / "here")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[['cat']]\n[['tax']]\n", done.stderr


def test_vectors_of_another_model_are_detected_by_their_length(tmp_path, here):
    made_by_chroma(tmp_path / "chroma", vectors=np.eye(3, 8))
    (one,) = import_chroma(tmp_path / "chroma", here).collections
    assert [left.what for left in one.left] == ["embedding function 'default'"]
    assert "384 numbers, and these have 8" in one.left[0].why
    assert model_of(here) is None


def test_vectors_of_another_model_are_detected_by_embedding_their_documents(
    tmp_path, here, monkeypatch
):
    made_by_chroma(tmp_path / "chroma", vectors=np.eye(3, 384))
    (one,) = import_chroma(tmp_path / "chroma", here).collections
    assert "other vectors of the documents than these" in one.left[0].why
    assert model_of(here) is None

    def is_missing(*_):
        raise MissingDependencyError("minilm needs onnxruntime")

    steps.replace(monkeypatch, "embed_minilm", is_missing)  # then nobody can know
    import_chroma(tmp_path / "chroma", here, names={"notes": "unseen"})
    assert model_of(here, "unseen") == REMEMBERED


@pytest.mark.parametrize("documents", [None, DOCUMENTS])
def test_collections_without_documents_or_records_count_as_those_of_the_default(
    tmp_path, here, documents
):
    made_by_chroma(tmp_path / "chroma", documents=documents)
    with chromadb.PersistentClient(tmp_path / "chroma") as there:
        there.create_collection("empty")
    import_chroma(tmp_path / "chroma", here)
    assert model_of(here) == model_of(here, "empty") == REMEMBERED


def test_the_function_of_the_vectors_may_be_given_by_name(tmp_path, here):
    made_by_chroma(tmp_path / "chroma")
    import_chroma(tmp_path / "chroma", here, embedding_functions={"notes": "wordllama"})
    assert model_of(here)["name"] == "wordllama"
