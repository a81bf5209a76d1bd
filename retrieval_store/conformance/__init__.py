"""Tests for who brings a store, an index, an embedding function or a data loader: pytest classes to
inherit from.

`stores` has those of stores, `plugins` those of all else. A class says what it needs as fixtures
and attributes. It may use what users may, and pytest, which whoever runs tests has installed.
"""

import pytest

pytest.register_assert_rewrite(f"{__name__}.stores", f"{__name__}.plugins")

from retrieval_store.conformance.plugins import (  # noqa: E402 asserts are rewritten first
    DataLoaderTests,
    EmbeddingFunctionTests,
    IndexTests,
)
from retrieval_store.conformance.stores import StoreTests  # noqa: E402

__all__ = ["DataLoaderTests", "EmbeddingFunctionTests", "IndexTests", "StoreTests"]
