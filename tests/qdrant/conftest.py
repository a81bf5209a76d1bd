"""Clients of empty stores: on disk, and with all tests also in memory."""

import pytest

from retrieval_store.qdrant import QdrantClient


@pytest.fixture(params=["disk", pytest.param("memory", marks=pytest.mark.others)])
def embedded(request, tmp_path):
    place = {"path": tmp_path / "store"} if request.param == "disk" else {"location": ":memory:"}
    with QdrantClient(**place) as client:
        yield client
