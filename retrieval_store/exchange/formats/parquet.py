"""Parquet, by pyarrow: a row a record.

The columns are "id", "document", "uri", "embedding" (lists of one length, float16 where the
collection keeps that), "sparse_embedding" (lists "indices" and "values") and "metadata", JSON as
text. The metadata of the schema says what the collection is called and set to. Besides, for
programs that read tables, there is a column "metadata.KEY" for each key under which all values are
truths, integers of 64 bits, floats, or texts. "metadata" alone is read here.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from retrieval_store.direct.collection import Collection
from retrieval_store.errors import InvalidArgumentError, MissingDependencyError
from retrieval_store.exchange.formats.arrow import PREFIX, Reader
from retrieval_store.exchange.formats.files import file_to_read, new_file
from retrieval_store.exchange.formats.records import Chosen, Record
from retrieval_store.exchange.formats.rows import Columns, Place, Row
from retrieval_store.exchange.reports import Exported

MOST_COLUMNS = 1_000  # of keys of metadata; those that come later are in "metadata" alone
_INT64 = range(-(2**63), 2**63)
_READ = 1_000
ABOUT = b"retrieval_store"  # in the metadata of the schema: the collection, in JSON


def export_parquet(
    collection: Collection,
    path: str | os.PathLike[str],
    *,
    where: Mapping[str, Any] | None = None,
    where_document: Mapping[str, Any] | None = None,
    embeddings: bool = True,
    batch: int = 2_000,
    show_progress: bool = False,
) -> Exported:
    """Write the points that match, or all, into a new Parquet file, a row a record, as they are at
    one moment; so many are in memory at once.

    embeddings: whether vectors are written. Whatever goes wrong, no file is left.
    InvalidArgumentError for a path that exists, MissingDependencyError without pyarrow.
    """
    arrow, parquet = _pyarrow()
    chosen = Chosen(collection, where, where_document, embeddings, batch, show_progress)
    kinds = _kinds(chosen)
    with new_file(path) as (target, file), chosen.read() as some:
        first = next(some, [])
        schema = _schema(arrow, chosen, first, kinds)
        count = len(first)
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            writer.write_batch(_batch(arrow, schema, first, kinds))
            for records in some:
                writer.write_batch(_batch(arrow, schema, records, kinds))
                count += len(records)
        return Exported(target, count, file.tell())


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow, pyarrow.parquet


def _kinds(chosen: Chosen) -> dict[str, type]:
    """The keys of metadata whose values are all of one type. What is written afterwards may be a
    later state: a value that doesn't fit by then is null in its column."""
    kinds: dict[str, type | None] = {}
    with chosen.metadatas() as metadatas:
        for metadata in metadatas:
            for key, value in metadata.items():
                if value is None:
                    continue
                kind = _kind_of(value)
                if key in kinds:
                    kinds[key] = kind if kinds[key] is kind else None
                elif len(kinds) < MOST_COLUMNS:
                    kinds[key] = kind
    return {key: kind for key, kind in kinds.items() if kind is not None}


def _kind_of(value: Any) -> type | None:
    kind = type(value)
    return kind if kind in (bool, float, str) or (kind is int and value in _INT64) else None


def _schema(arrow: Any, chosen: Chosen, first: list[Record], kinds: Mapping[str, type]) -> Any:
    columns = {
        "id": arrow.string(),
        "document": arrow.string(),
        "uri": arrow.string(),
        "metadata": arrow.string(),
    }
    if chosen.vectors:
        number = arrow.float16() if chosen.is_half else arrow.float32()
        lengths = [len(one["embedding"]) for one in first if one.get("embedding") is not None]
        columns["embedding"] = arrow.list_(number, *lengths[:1])
    if chosen.has_sparse:
        columns["sparse_embedding"] = arrow.struct(
            {"indices": arrow.list_(arrow.uint32()), "values": arrow.list_(arrow.float32())}
        )
    of_kind = {
        bool: arrow.bool_(), int: arrow.int64(), float: arrow.float64(), str: arrow.string()
    }  # fmt: skip
    columns |= {PREFIX + key: of_kind[kind] for key, kind in kinds.items()}
    return arrow.schema(columns, {ABOUT: orjson.dumps(chosen.described())})


def _batch(arrow: Any, schema: Any, records: list[Record], kinds: Mapping[str, type]) -> Any:
    metadatas = [record["metadata"] for record in records]
    arrays = []
    for column in schema:
        if column.name == "embedding":
            arrays.append(_embeddings(arrow, column.type, records))
            continue
        if column.name == "metadata":
            values = [None if one is None else orjson.dumps(one).decode() for one in metadatas]
        elif column.name.startswith(PREFIX):
            key = column.name.removeprefix(PREFIX)
            values = [_fitting(one, key, kinds[key]) for one in metadatas]
        else:
            values = [record[column.name] for record in records]
        arrays.append(arrow.array(values, column.type))
    return arrow.record_batch(arrays, schema=schema)


def _fitting(metadata: Mapping[str, Any] | None, key: str, kind: type) -> Any:
    value = (metadata or {}).get(key)
    return value if _kind_of(value) is kind else None


def _embeddings(arrow: Any, kind: Any, records: list[Record]) -> Any:
    found = [record["embedding"] for record in records]
    number = np.float16 if arrow.types.is_float16(kind.value_type) else np.float32
    if not found or any(one is None for one in found):
        rows = [None if one is None else np.asarray(one, number) for one in found]
        return arrow.array(rows, kind)
    return arrow.FixedSizeListArray.from_arrays(
        arrow.array(np.concatenate(found).astype(number)), kind.list_size
    )


def about_parquet(path: Path) -> bytes | None:
    """What a file says of its collection; None where it says nothing."""
    arrow, parquet = _pyarrow()
    with file_to_read(path) as file:
        try:
            said = parquet.read_schema(file).metadata or {}
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise Place(path.name, "row").unreadable(error) from error
    found: bytes | None = said.get(ABOUT)
    return found


def rows_of_parquet(path: Path, columns: Columns) -> Iterator[Row]:
    """The records of a file, row by row. What pyarrow can't read is an InvalidArgumentError."""
    arrow, parquet = _pyarrow()
    place = Place(path.name, "row")
    with file_to_read(path) as file:
        try:
            opened = parquet.ParquetFile(file, pre_buffer=False)
            reader = Reader(opened.schema_arrow.names, columns, place)
            batches = opened.iter_batches(batch_size=_READ)
            while (batch := next(batches, None)) is not None:
                yield from reader.rows(batch)
        except InvalidArgumentError:
            raise
        except (arrow.ArrowException, OSError, ValueError) as error:
            raise place.unreadable(error) from error
