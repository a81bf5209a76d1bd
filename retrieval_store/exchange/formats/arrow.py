"""Rows out of batches of Arrow's, from whatever file or table they come.

The columns of the fields are what they are called; any other is a key of the metadata. An id may be
an integer, which is read as its digits. Where a column "metadata" of JSON is, columns
"metadata.KEY" say the same again and aren't read; elsewhere each is the key KEY. Dates and times
become text, as which filters compare them, and what is null, or NaN in a column of numbers, is
nothing.
"""

from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

import numpy as np

from retrieval_store.base.validation import shown
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.exchange.formats.jsonl import object_of
from retrieval_store.exchange.formats.rows import FIELDS, Columns, Place, Row, with_vector

PREFIX = "metadata."


class Reader:
    """Makes rows of the batches of one table. names: its columns; numbered: whether ids are the
    numbers of the rows, from 0, where it has none."""

    def __init__(
        self, names: list[str], columns: Columns, place: Place, numbered: bool = False
    ) -> None:
        meant = columns.of_table(names, place.name)
        if not numbered and "id" not in meant.values():
            raise columns.no_ids(names, place.name)
        self._place, self._numbered = place, numbered
        self._fields = {name: meaning for name, meaning in meant.items() if meaning in FIELDS}
        told = "metadata" in self._fields.values()
        others = [name for name in names if name not in self._fields]
        self._keys = {
            name: name.removeprefix(PREFIX)
            for name in others
            if not (told and name.startswith(PREFIX))
        }
        self._number = 0

    def rows(self, batch: Any) -> Iterator[Row]:
        """The rows of the next batch."""
        fields = {
            meaning: _vectors(batch.column(name)) if meaning == "embedding"
            else batch.column(name).to_pylist()
            for name, meaning in self._fields.items()
        }  # fmt: skip
        others = {key: batch.column(name).to_pylist() for name, key in self._keys.items()}
        size = batch.nbytes // max(1, batch.num_rows)
        for i in range(batch.num_rows):
            self._number += 1
            found = {"id": self._number - 1} if self._numbered else {}
            found |= {name: values[i] for name, values in fields.items()}
            try:
                keys = {key: _storable(values[i], key) for key, values in others.items()}
                record = _record(found, keys)
            except InvalidArgumentError as error:
                raise self._place.refused(self._number, error) from None
            yield Row(self._number, record, size)


def _record(found: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    record = {name: value for name, value in found.items() if value is not None}
    point_id = record.get("id")
    if isinstance(point_id, int) and not isinstance(point_id, bool):
        record["id"] = str(point_id)
    metadata = record.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = record["metadata"] = object_of(metadata)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"metadata is {shown(metadata)}: {error}") from None
    given = {key: value for key, value in keys.items() if value is not None}
    if given:
        if not (metadata is None or isinstance(metadata, dict)):
            raise InvalidArgumentError(f"metadata is {shown(metadata)}, expected a JSON object")
        record["metadata"] = {**(metadata or {}), **given}
    return with_vector(record)


def _storable(value: Any, key: str) -> Any:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, float) and value != value:  # noqa: PLR0124  NaN is no number
        return None
    if isinstance(value, bytes):
        raise InvalidArgumentError(f"the column {key!r} has bytes, which metadata can't hold")
    return value


def _vectors(column: Any) -> list[Any]:
    """The vectors of a column as arrays, None for null. Python's floats would take eight times the
    memory, and most of the time."""
    from pyarrow import types

    kind = column.type
    lists = types.is_list(kind) or types.is_large_list(kind)
    if not (lists or types.is_fixed_size_list(kind)) or not types.is_floating(kind.value_type):
        return column.to_pylist()  # type: ignore[no-any-return]
    numbers = column.values.to_numpy(zero_copy_only=False)
    if lists:
        ends = column.offsets.to_numpy()
    else:
        ends = (np.arange(len(column) + 1) + column.offset) * kind.list_size
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return [numbers[ends[i] : ends[i + 1]] if there[i] else None for i in range(len(column))]
