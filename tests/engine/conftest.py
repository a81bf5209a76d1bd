"""The engine's stores, and indexes and lists of the smallest collections."""

import numpy as np
import pytest

import retrieval_store
from tests.helpers import inside
from tests.helpers.indexed import populated
from tests.helpers.listed import DOCUMENTS
from tests.helpers.tuned import eager_indexes


@pytest.fixture
def eager(monkeypatch):
    eager_indexes(monkeypatch)


@pytest.fixture(params=["disk", pytest.param("memory", marks=pytest.mark.others)])
def store(request, tmp_path):
    store = inside.opened(tmp_path if request.param == "disk" else None)
    yield store
    store.close()


@pytest.fixture
def texts(client):
    collection = client.create_collection("texts", embedding_function=None)
    collection.add(
        ids=[str(i) for i in range(len(DOCUMENTS))],
        documents=DOCUMENTS,
        embeddings=np.eye(len(DOCUMENTS)),
        metadatas=[{"even": i % 2 == 0} for i in range(len(DOCUMENTS))],
    )
    return collection


@pytest.fixture
def built(tmp_path):
    """A closed store whose collection has a saved index."""
    with retrieval_store.Client(tmp_path / "store") as client:
        populated(client).optimize()
    return tmp_path / "store"
