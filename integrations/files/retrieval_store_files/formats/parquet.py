"""Reads and writes Parquet files with pyarrow. Each row is a record.

A file has the columns "id", "document", "uri", "embedding" (lists of one length, float16 if the
collection stores float16), "sparse_embedding" (lists "indices" and "values") and "metadata", which
is JSON as text. The schema's metadata contain the name and settings of the collection. For programs
that read tables there is also a column "metadata.KEY" for each key whose values are all of one
type: bool, 64-bit integer, float, or text.

`BatchReader` converts batches of any Arrow table to rows. A column with the name of a field becomes
that field; any other column becomes a key of the metadata. An integer in the column of ids becomes
a text of its digits. If there is a column "metadata" of JSON, the columns "metadata.KEY" aren't
read, because they repeat values of that column. Otherwise each column "metadata.KEY" becomes the
key KEY of the metadata. Dates and times become text, in the form that filters compare. A cell has
no value if it is null, or if it is NaN in a column of numbers.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from retrieval_store import Collection
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.loaders.files import new_file, open_regular
from retrieval_store_files.formats.common import (
    FIELDS,
    FileColumns,
    FilePlace,
    PointSelection,
    Record,
    Row,
    Where,
    with_vector,
)
from retrieval_store_files.formats.jsonl import object_of
from retrieval_store_files.reports import Exported
from retrieval_store_files.values import needing, quote

PREFIX = "metadata."


class BatchReader:
    """Converts batches of a pyarrow table to rows. names: the table's columns; numbered: whether
    the row numbers, counted from 0, become the ids of a table without a column of ids."""

    def __init__(
        self, names: list[str], columns: FileColumns, place: FilePlace, numbered: bool = False
    ) -> None:
        meant = columns.meanings_in_table(names, place.name)
        if not numbered and "id" not in meant.values():
            raise columns.no_ids(names, place.name)
        self._place, self._numbered = place, numbered
        self._fields = {name: meaning for name, meaning in meant.items() if meaning in FIELDS}
        has_metadata = "metadata" in self._fields.values()
        others = [name for name in names if name not in self._fields]
        self._keys = {
            name: name.removeprefix(PREFIX)
            for name in others
            if not (has_metadata and name.startswith(PREFIX))
        }
        self._number = 0

    def rows(self, batch: Any) -> Iterator[Row]:
        """Yield the rows of a batch. The batches must be passed in the order of the table."""
        fields = {
            meaning: _vectors(batch.column(name)) if meaning == "embedding"
            else batch.column(name).to_pylist()
            for name, meaning in self._fields.items()
        }  # fmt: skip
        others = {key: batch.column(name).to_pylist() for name, key in self._keys.items()}
        size = batch.nbytes // max(1, batch.num_rows)
        for i in range(batch.num_rows):
            self._number += 1
            row = {"id": self._number - 1} if self._numbered else {}
            row |= {name: values[i] for name, values in fields.items()}
            try:
                keys = {key: _storable(values[i], key) for key, values in others.items()}
                record = _record(row, keys)
            except InvalidArgumentError as error:
                raise self._place.error(self._number, error) from None
            yield Row(self._number, record, size)


def _record(fields: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    record = {name: value for name, value in fields.items() if value is not None}
    point_id = record.get("id")
    if isinstance(point_id, int) and not isinstance(point_id, bool):
        record["id"] = str(point_id)
    metadata = record.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = record["metadata"] = object_of(metadata)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"metadata is {quote(metadata)}: {error}") from None
    present = {key: value for key, value in keys.items() if value is not None}
    if present:
        if not (metadata is None or isinstance(metadata, dict)):
            raise InvalidArgumentError(f"metadata is {quote(metadata)}, expected a JSON object")
        record["metadata"] = {**(metadata or {}), **present}
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
    """The vectors in a column, as a list of arrays, with None for null. (Lists of Python floats
    would take eight times the memory.)"""
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
    is_valid = column.is_valid().to_numpy(zero_copy_only=False)
    return [numbers[ends[i] : ends[i + 1]] if is_valid[i] else None for i in range(len(column))]


MAX_COLUMNS = 1_000  # keys of metadata with a column; later ones are only in "metadata"
_INT64 = range(-(2**63), 2**63)
_READ = 1_000
ABOUT = b"retrieval_store"  # the schema metadata's key for the collection, in JSON


def export_parquet(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    where: Where | None = None,
    where_document: Mapping[str, Any] | None = None,
    embeddings: bool = True,
    batch: int = 2_000,
    show_progress: bool = False,
) -> Exported:
    """Write the points that match the filters, by default all points, into a new Parquet file, one
    record per row. All points come from one snapshot of the collection. After an error no file is
    left behind.

    Args:
        collection: the collection.
        path: a file that doesn't exist yet.
        where: a filter on metadata.
        where_document: a filter on documents.
        embeddings: whether vectors are written.
        batch: the number of records in memory at a time.
        show_progress: show a progress bar of the records.

    Raises:
        InvalidArgumentError: the path already exists.
        MissingDependencyError: pyarrow isn't installed.
    """
    arrow, parquet = _pyarrow()
    chosen = PointSelection(collection, where, where_document, embeddings, batch, show_progress)
    kinds = _kinds(chosen)
    with new_file(path) as (target, file), chosen.read() as batches:
        first = next(batches, [])
        schema = _schema(arrow, chosen, first, kinds)
        count = len(first)
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            writer.write_batch(_batch(arrow, schema, first, kinds))
            for records in batches:
                writer.write_batch(_batch(arrow, schema, records, kinds))
                count += len(records)
        return Exported(target, count, file.tell())


def _pyarrow() -> tuple[Any, Any]:
    with needing("Parquet", "pyarrow", "pyarrow"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet


def _kinds(chosen: PointSelection) -> dict[str, type]:
    """A dict from each metadata key whose values all have the same type to that type. Records may
    change before they are exported. If a value has another type by then, it becomes null in the
    column of its key."""
    kinds: dict[str, type | None] = {}
    with chosen.metadatas() as metadatas:
        for metadata in metadatas:
            for key, value in metadata.items():
                if value is None:
                    continue
                kind = _kind_of(value)
                if key in kinds:
                    kinds[key] = kind if kinds[key] is kind else None
                elif len(kinds) < MAX_COLUMNS:
                    kinds[key] = kind
    return {key: kind for key, kind in kinds.items() if kind is not None}


def _kind_of(value: Any) -> type | None:
    kind = type(value)
    return kind if kind in (bool, float, str) or (kind is int and value in _INT64) else None


def _schema(
    arrow: Any, chosen: PointSelection, first: list[Record], kinds: Mapping[str, type]
) -> Any:
    columns = {
        "id": arrow.string(),
        "document": arrow.string(),
        "uri": arrow.string(),
        "metadata": arrow.string(),
    }
    if chosen.vectors:
        number = arrow.float16() if chosen.is_half else arrow.float32()
        lengths = [
            len(record["embedding"]) for record in first if record.get("embedding") is not None
        ]
        fixed = [chosen.dimension] if chosen.dimension else lengths[:1]
        columns["embedding"] = arrow.list_(number, *fixed)
    if chosen.has_sparse:
        columns["sparse_embedding"] = arrow.struct(
            {"indices": arrow.list_(arrow.uint32()), "values": arrow.list_(arrow.float32())}
        )
    arrow_types = {
        bool: arrow.bool_(), int: arrow.int64(), float: arrow.float64(), str: arrow.string()
    }  # fmt: skip
    columns |= {PREFIX + key: arrow_types[kind] for key, kind in kinds.items()}
    return arrow.schema(columns, {ABOUT: orjson.dumps(chosen.describe())})


def _batch(arrow: Any, schema: Any, records: list[Record], kinds: Mapping[str, type]) -> Any:
    metadatas = [record["metadata"] for record in records]
    arrays = []
    for column in schema:
        if column.name == "embedding":
            arrays.append(_embeddings(arrow, column.type, records))
            continue
        if column.name == "metadata":
            values = [
                None if metadata is None else orjson.dumps(metadata).decode()
                for metadata in metadatas
            ]
        elif column.name.startswith(PREFIX):
            key = column.name.removeprefix(PREFIX)
            values = [_fitting(metadata, key, kinds[key]) for metadata in metadatas]
        else:
            values = [record[column.name] for record in records]
        arrays.append(arrow.array(values, column.type))
    return arrow.record_batch(arrays, schema=schema)


def _fitting(metadata: Mapping[str, Any] | None, key: str, kind: type) -> Any:
    value = (metadata or {}).get(key)
    return value if _kind_of(value) is kind else None


def _embeddings(arrow: Any, kind: Any, records: list[Record]) -> Any:
    embeddings = [record["embedding"] for record in records]
    number = np.float16 if arrow.types.is_float16(kind.value_type) else np.float32
    if not embeddings or any(embedding is None for embedding in embeddings):
        rows = [
            None if embedding is None else np.asarray(embedding, number) for embedding in embeddings
        ]
        return arrow.array(rows, kind)
    return arrow.FixedSizeListArray.from_arrays(
        arrow.array(np.concatenate(embeddings).astype(number)), kind.list_size
    )


def about_parquet(path: Path) -> bytes | None:
    """The JSON in a Parquet file that describes the exported collection; None if there is no
    description."""
    arrow, parquet = _pyarrow()
    with open_regular(path) as file:
        try:
            metadata = parquet.read_schema(file).metadata or {}
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise FilePlace(path.name, "row").unreadable(error) from error
    content: bytes | None = metadata.get(ABOUT)
    return content


def rows_of_parquet(path: Path, columns: FileColumns) -> Iterator[Row]:
    """The records of a Parquet file; raises InvalidArgumentError if pyarrow can't read it."""
    arrow, parquet = _pyarrow()
    place = FilePlace(path.name, "row")
    with open_regular(path) as file:
        try:
            opened = parquet.ParquetFile(file, pre_buffer=False)
            reader = BatchReader(opened.schema_arrow.names, columns, place)
            batches = opened.iter_batches(batch_size=_READ)
            while (batch := next(batches, None)) is not None:
                yield from reader.rows(batch)
        except InvalidArgumentError:
            raise
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise place.unreadable(error) from error
