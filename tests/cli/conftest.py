"""Commands that a package around the core brings are tried where it is installed."""

import pytest

OF_PACKAGES = {"add", "copy", "export"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for words in getattr(item, "callspec", None).params.values() if has_words(item) else ():
            if isinstance(words, tuple) and OF_PACKAGES & set(map(str, words)):
                item.add_marker("others")


def has_words(item: pytest.Item) -> bool:
    return "tests/cli" in item.nodeid and hasattr(item, "callspec")
