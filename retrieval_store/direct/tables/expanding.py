"""Metadata as columns of its own: one for each key, and back.

A column is called as its key, or "metadata.KEY" where another column, or what `add_from` reads a
column of that name as, is in the way. What a column can't tell, a null apart from no value and no
keys apart from no metadata, stays in "metadata", so that the same records are made of it again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from retrieval_store.base.dataclasses import dataclass

PREFIX = "metadata."
# What a record has, and what the arguments of `add` are called, by which columns are known.
FIELDS = {
    "id": "ids",
    "document": "documents",
    "embedding": "embeddings",
    "metadata": "metadatas",
    "uri": "uris",
    "image": "images",
    "sparse_embedding": "sparse_embeddings",
}
_OF_RESULTS = ("query", "distance", "score", "data")
TAKEN = frozenset([*FIELDS, *FIELDS.values(), *_OF_RESULTS])


@dataclass(frozen=True, slots=True)
class Expanded:
    """Metadata in columns. values: of each key, None where a record has none; rest: what they don't
    tell of each record, None where they tell all."""

    values: dict[str, list[Any]]
    rest: list[dict[str, Any] | None]

    @property
    def has_rest(self) -> bool:
        """Whether there is anything that they don't tell."""
        return any(one is not None for one in self.rest)


def expanded(metadatas: Sequence[Mapping[str, Any] | None], kinds: Any = object) -> Expanded:
    """The metadata in columns, of those keys whose values are all of one of these `kinds`; any, by
    default."""
    keys = dict.fromkeys(key for one in metadatas for key in one or ())
    columns = {key: [None if one is None else one.get(key) for one in metadatas] for key in keys}
    if kinds is not object:
        columns = {key: values for key, values in columns.items() if kind_of(values) in kinds}
    rest: list[dict[str, Any] | None] = [None] * len(metadatas)
    for i, one in enumerate(metadatas):
        if one is not None:
            left = {key: v for key, v in one.items() if v is None or key not in columns}
            rest[i] = left if left or not one else None
    return Expanded(columns, rest)


def kind_of(values: Sequence[Any]) -> type | None:
    """The type of all values that there are: bool, float, str, or int within 64 bits; else None."""
    kinds = {type(one) for one in values if one is not None}
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is int and any(one is not None and not -(2**63) <= one < 2**63 for one in values):
        return None
    return kind if kind in (bool, int, float, str) else None


def column_of(key: str) -> str:
    """What the column of a key is called."""
    return key if key not in TAKEN and key_of(key) == key else PREFIX + key


def key_of(column: Any) -> Any:
    """The key that a column is of."""
    if not isinstance(column, str) or not column.startswith(PREFIX):
        return column
    key = column.removeprefix(PREFIX)
    return key if key in TAKEN or key.startswith(PREFIX) else column
