"""A cluster passes the tests that retrieval-store has for stores."""

import pytest

from retrieval_store.conformance import StoreTests


class TestCluster(StoreTests):
    @pytest.fixture
    def client(self, cluster):
        return cluster
