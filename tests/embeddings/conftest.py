"""Tests with torch models run only where torch is installed."""

import pytest

BY_TORCH = {"minilm", "splade", "checkpoint", "theirs"}  # fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/embeddings" in item.nodeid and BY_TORCH & set(item.fixturenames):
            item.add_marker("others")
