"""Metadata as it is shown to a person or a model."""

import json
from collections.abc import Mapping
from typing import Any

from retrieval_store.query.passages import without_keys_of_sync

OF_NODES = "_node"  # begins the keys of what LlamaIndex keeps of a node
LONGEST_VALUE = 1_000  # characters of a value


def show_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Metadata without what others keep there for themselves: LlamaIndex of its nodes, and a folder
    that is kept in step of its files."""
    if metadata is None:
        return None
    return {
        key: _shorten_value(value)
        for key, value in without_keys_of_sync(metadata).items()
        if not key.startswith(OF_NODES)
    }


def cut_text(text: str, most: int) -> str:
    """A text of at most so many characters; what is left out is marked."""
    return text if len(text) <= most else f"{text[:most]}…"


def _shorten_value(value: Any) -> Any:
    """A value of metadata, of which no more is shown than of a document."""
    if isinstance(value, str):
        return cut_text(value, LONGEST_VALUE)
    if isinstance(value, dict | list):
        shown = json.dumps(value, ensure_ascii=False, default=str)
        return value if len(shown) <= LONGEST_VALUE else cut_text(shown, LONGEST_VALUE)
    return value
