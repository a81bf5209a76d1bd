"""Tests for authors of a store, an index, an embedding function or a data loader: pytest classes
from which their tests inherit.

`stores` has the tests of stores, `plugins` all others. The docstring of a class names the fixtures
and attributes that its subclass defines. The package may import public names and pytest.
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
