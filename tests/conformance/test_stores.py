"""Our own stores pass the tests for those of others; packages around the core have theirs."""

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
