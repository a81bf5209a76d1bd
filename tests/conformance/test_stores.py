"""Our own stores pass the conformance tests for stores. Packages around the core have their own
such tests.
"""

import pytest

import retrieval_store
from retrieval_store.conformance import StoreTests


class TestMemory(StoreTests):
    @pytest.fixture
    def client(self):
        with retrieval_store.Client() as client:
            yield client


class TestDirectory(StoreTests):
    @pytest.fixture
    def client(self, tmp_path):
        with retrieval_store.Client(tmp_path) as client:
            yield client
