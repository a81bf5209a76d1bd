"""A served store passes the conformance tests for stores of other packages."""

import pytest

from retrieval_store.conformance import StoreTests


class TestServed(StoreTests):
    @pytest.fixture
    def client(self, served):
        return served
