"""A served store passes the tests for those of others."""

import pytest

from retrieval_store.conformance import StoreTests


class TestServed(StoreTests):
    @pytest.fixture
    def client(self, served):
        return served
