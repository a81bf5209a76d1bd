"""Imports tables from a directory in which LanceDB has stored them. The package lancedb reads the
directory.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from retrieval_store import Client
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.frameworks import progress_bar
from retrieval_store_files.formats.common import FIELDS, FileColumns, FilePlace
from retrieval_store_files.formats.parquet import BatchReader
from retrieval_store_files.imports.common import (
    Filling,
    Leftovers,
    Making,
    check_name,
    choose_names,
    directory_of,
    making,
    refuse_missing,
    refuse_taken,
)
from retrieval_store_files.reports import Carried, Imported
from retrieval_store_files.values import list_ids, needing, whole_number

Space = Literal["l2", "ip", "cosine"]
_SPACES = {"l2": "l2", "dot": "ip", "cosine": "cosine"}


@dataclass(frozen=True, slots=True)
class _Columns:
    """The names of the columns that have the ids, vectors and documents; None for a missing
    column."""

    id: str | None
    vector: str
    text: str | None


def import_lancedb(
    directory: str | os.PathLike[str],
    client: Client,
    *,
    table: str | None = None,
    name: str | None = None,
    id_column: str | None = "id",
    vector_column: str = "vector",
    text_column: str | None = "text",
    space: Space | None = None,
    batch: int = 1_000,
    show_progress: bool = False,
) -> Imported:
    """Import all tables in a directory of LanceDB, or only the table `table`. Each table becomes a
    collection. `name` is the name of the collection for `table`, by default the name of the table.

    id_column: the column of the ids, which are texts or integers; None to number the rows from 0.
    text_column: the column of the documents; None for no documents. All other columns become
    metadata. Dates and times become text. The report lists columns that can't be stored, such as
    columns of bytes. space: the distance; None for the distance of the table's vector index, or
    "l2" if the table has no such index.

    The directory isn't changed. After an error nothing is imported. Raises AlreadyExistsError if a
    name is taken, and MissingDependencyError if lancedb isn't installed.
    """
    size = whole_number(batch, "batch", 1)
    source = directory_of(directory, "*.lance", "a database of LanceDB's")
    if name is not None and table is None:
        raise InvalidArgumentError("name is given without table: name which table is called so")
    database = _lancedb().connect(str(source))
    tables = sorted(path.name.removesuffix(".lance") for path in source.glob("*.lance"))
    requested = None if table is None else {table: table if name is None else name}
    chosen = choose_names(requested, tables, "table")
    for old, new in chosen.items():
        try:
            check_name(new)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(
                f"table {old!r}: {error}; table= and name= give it another name"
            ) from None
    refuse_taken(client, list(chosen.values()))
    columns = _Columns(id_column, vector_column, text_column)
    opened = {old: _open_table(database, source, old, columns) for old in chosen}
    with making(client) as made:
        carried = [
            _carry_table(opened[old], (old, new), made, columns, space, size, show_progress)
            for old, new in chosen.items()
        ]
    return Imported(source, tuple(carried))


def _lancedb() -> Any:
    with needing("import_lancedb", "lancedb", "lancedb"):
        import lancedb
    return lancedb


def _open_table(database: Any, source: Path, name: str, columns: _Columns) -> Any:
    try:
        table = database.open_table(name)
    except Exception as error:  # of many kinds
        raise InvalidArgumentError(f"lancedb can't open {source / name}.lance: {error}") from error
    names = table.schema.names
    for argument, column in (("id_column", columns.id), ("vector_column", columns.vector)):
        if column is not None and column not in names:
            hint = ", or None to number the rows" if argument == "id_column" else ""
            raise InvalidArgumentError(
                f"{argument} is {column!r}, but table {name!r} has the columns {list_ids(names)}; "
                f"expected one of these{hint}"
            )
    return table


def _carry_table(
    table: Any,
    names: tuple[str, str],
    made: Making,
    columns: _Columns,
    space: Space | None,
    size: int,
    show_progress: bool,
) -> Carried:
    left = Leftovers()
    kept = _columns_to_read(table.schema, columns, left)
    configuration = {
        "hnsw": {"space": space or _space(table, columns.vector)},
        "vectors": {"datatype": _datatype(table.schema.field(columns.vector).type, left)},
    }
    new = made.collection(names[1], configuration=configuration, embedding_function=None)
    filling = Filling(new, left)
    total, read = table.count_rows(), 0
    with progress_bar(f"importing {names[1]}", total, "row", show_progress) as bar:
        for records in _records(table, names[0], kept, size):
            filling.add(records)
            read += len(records)
            bar.update(len(records))
    why = "a program wrote to it meanwhile, which is to be closed before, or it is damaged"
    refuse_missing(f"the table {names[0]!r}", read, total, why)
    return Carried(names[0], names[1], filling.records, left.all())


def _records(
    table: Any, name: str, kept: dict[str, str], size: int
) -> Iterator[list[dict[str, Any]]]:
    meant = list(kept.values())
    reader = BatchReader(meant, FileColumns(), FilePlace(name, "row"), numbered="id" not in meant)
    for batch in table.search().select(list(kept)).to_batches(batch_size=size):
        renamed = batch.select(list(kept)).rename_columns(meant)
        yield [row.record for row in reader.rows(renamed)]


def _columns_to_read(schema: Any, columns: _Columns, left: Leftovers) -> dict[str, str]:
    """A dict from each column to read to the field that the column becomes. Columns that can't be
    read are recorded in `left`."""
    meant = {columns.vector: "embedding"}
    if columns.text is not None:
        meant[columns.text] = "document"
        if columns.text not in schema.names:
            left.setting("documents", f"the table has no column {columns.text!r} (text_column)")
    if columns.id is not None:
        meant[columns.id] = "id"
    kept: dict[str, str] = {}
    for field in schema:
        what = f"column {field.name!r}"
        if field.name in meant:
            kept[field.name] = meant[field.name]
        elif field.name == "metadata" and _may_be_metadata(field.type):
            kept[field.name] = "metadata"  # as in LangChain's tables
        elif field.name in FIELDS:
            left.setting(what, "its name is that of a field here, which another column is")
        elif not _is_storable(field.type):
            left.setting(what, f"metadata can't hold {field.type}")
        else:
            kept[field.name] = field.name
    return kept


def _may_be_metadata(kind: Any) -> bool:
    """Whether a column can contain the metadata of records: objects, or texts that may be JSON
    objects. kind: the type of the column."""
    from pyarrow import types

    is_text = types.is_string(kind) or types.is_large_string(kind)
    return is_text or (types.is_struct(kind) and _is_storable(kind))


def _is_storable(kind: Any) -> bool:
    """Whether the values of a column can be stored as JSON."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_storable(kind.value_type)
    if types.is_struct(kind):
        return all(_is_storable(kind.field(i).type) for i in range(kind.num_fields))
    if types.is_dictionary(kind):
        return _is_storable(kind.value_type)
    plain = (
        types.is_boolean, types.is_integer, types.is_floating, types.is_string,
        types.is_large_string, types.is_date, types.is_timestamp, types.is_time, types.is_null,
    )  # fmt: skip
    return any(is_one(kind) for is_one in plain)


def _datatype(kind: Any, left: Leftovers) -> str:
    number = str(getattr(kind, "value_type", kind))
    if number == "double":
        left.setting("digits of vectors", "they are float64 there, and float32 here")
    return "float16" if number == "halffloat" else "float32"


def _space(table: Any, vector_column: str) -> str:
    """The distance of the vector index of a table; "l2" if the table has no vector index."""
    for index in table.list_indices():
        if vector_column in index.columns:
            distance = getattr(table.index_stats(index.name), "distance_type", None)
            if isinstance(distance, str) and distance.lower() in _SPACES:
                return _SPACES[distance.lower()]
    return "l2"
