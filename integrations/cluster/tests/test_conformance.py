"""A cluster passes retrieval-store's conformance tests for stores."""

import pytest

from retrieval_store.conformance import StoreTests


class TestCluster(StoreTests):
    has_repeated_words = False  # as with Qdrant's own model of words

    @pytest.fixture
    def client(self, cluster):
        return cluster
