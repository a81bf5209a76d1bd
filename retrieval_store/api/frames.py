"""Converts between records and tables: tables into arguments of `add`, results into tables.

`batches_from` reads records in batches, as arguments of `add`. A source is a data frame (pandas,
polars), a pyarrow Table, a result of `get`, or an iterable of these or of single records.

`expand_metadata` makes a column of each metadata key, and `batches_from` reads these columns back.
A column is named after its key. It is named "metadata.KEY" if another column has that name, or if
`add_from` gives that name another meaning. Columns can't express everything: null looks like a
missing value, and empty metadata like no metadata. These cases stay in "metadata", so that the same
records can be made again.

`to_pandas` and `to_arrow` convert results to tables, with a row for each point, or for each hit of
each query. `table_of_result` makes HTML tables for notebooks.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import chain, combinations, count
from numbers import Integral
from typing import Any

import numpy as np
import orjson

from retrieval_store.api.arguments import metadata_keys
from retrieval_store.base.html import ROWS, shape_of, table_of
from retrieval_store.base.system import needing
from retrieval_store.base.validation import list_ids, quote
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError, NotFoundError
from retrieval_store.filters.nodes import Expression
from retrieval_store.query.protocols import PointsBackend
from retrieval_store.query.types import Fields

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
    """Metadata as columns. values: the values of each key, None for a record without the key; rest:
    for each record the metadata that columns cannot express, None if there is none."""

    values: dict[str, list[Any]]
    rest: list[dict[str, Any] | None]

    @property
    def has_rest(self) -> bool:
        """Whether any record has metadata that the columns cannot express."""
        return any(metadata is not None for metadata in self.rest)


def expand_metadata(metadatas: Sequence[Mapping[str, Any] | None], kinds: Any = object) -> Expanded:
    """Metadata as columns. Only keys whose values all have one of these types (`kinds`) become
    columns; by default every key does."""
    keys = dict.fromkeys(key for metadata in metadatas for key in metadata or ())
    columns = {
        key: [None if metadata is None else metadata.get(key) for metadata in metadatas]
        for key in keys
    }
    if kinds is not object:
        columns = {key: values for key, values in columns.items() if common_type(values) in kinds}
    rest: list[dict[str, Any] | None] = [None] * len(metadatas)
    for i, metadata in enumerate(metadatas):
        if metadata is not None:
            left = {key: v for key, v in metadata.items() if v is None or key not in columns}
            rest[i] = left if left or not metadata else None
    return Expanded(columns, rest)


def common_type(values: Sequence[Any]) -> type | None:
    """The type that all values except None have: bool, float, str, or int within 64 bits; None if
    their types differ."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is int and any(value is not None and not -(2**63) <= value < 2**63 for value in values):
        return None
    return kind if kind in (bool, int, float, str) else None


def column_of(key: str) -> str:
    """The name of the column for a metadata key; see `key_of`."""
    return key if key not in TAKEN and key_of(key) == key else PREFIX + key


def key_of(column: Any) -> Any:
    """The metadata key of a column; the inverse of `column_of`."""
    if not isinstance(column, str) or not column.startswith(PREFIX):
        return column
    key = column.removeprefix(PREFIX)
    return key if key in TAKEN or key.startswith(PREFIX) else column


LOADED = "data"  # which records of `iterate` may have besides, and which isn't written
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """The column names of a record's fields, in a table or a dict. id: None if the index of a
    pandas frame contains the ids; metadata: the columns that are metadata keys, None for all other
    columns."""

    id: str | None = "id"
    document: str = "document"
    embedding: str = "embedding"
    uri: str = "uri"
    metadata: tuple[str, ...] | None = None

    @property
    def are_usual(self) -> bool:
        """Whether all names are the default ones."""
        return self == RecordColumns()

    @property
    def column_by_field(self) -> dict[str, str]:
        """The column of each field of a record."""
        listed = self.metadata or ()
        columns = {"document": self.document, "embedding": self.embedding, "uri": self.uri}
        if self.id is not None:
            columns = {"id": self.id, **columns}
        for name in ("image", "sparse_embedding"):
            if name not in listed and name not in columns.values():
                columns[name] = name
        if (self.metadata is None or "metadata" in listed) and "metadata" not in columns.values():
            columns["metadata"] = "metadata"
        return columns

    @property
    def needed(self) -> dict[str, str]:
        """The columns that must exist, each with the argument in which the caller named it."""
        arguments = {} if self.id is None else {self.id: "id_column"}
        fields = {self.document: "document", self.embedding: "embedding", self.uri: "uri"}
        arguments |= {column: f"{name}_column" for column, name in fields.items() if column != name}
        return arguments | dict.fromkeys(self.metadata or (), "metadata_columns")

    def keys(self, names: Iterable[Any]) -> list[Any]:
        """The columns in `names` that are metadata keys."""
        if self.metadata is not None:
            return [name for name in self.metadata if name != "metadata"]
        fields = {*self.column_by_field.values()}
        return [name for name in names if name not in fields]


def columns_named(id: Any, document: Any, embedding: Any, uri: Any, metadata: Any) -> RecordColumns:
    """The names of columns that a user passed; raises an error if they are invalid."""
    columns = {
        "id_column": id, "document_column": document, "embedding_column": embedding,
        "uri_column": uri,
    }  # fmt: skip
    for name, column in columns.items():
        if not isinstance(column, str) and not (column is None and name == "id_column"):
            raise InvalidTypeError(f"{name} is {quote(column)}, expected the name of a column")
    for argument, other in combinations(columns, 2):
        if columns[argument] == columns[other]:
            raise InvalidArgumentError(f"{argument} and {other} are both {columns[argument]!r}")
    keys = None if metadata is None else tuple(metadata_keys(metadata, "metadata_columns"))
    return RecordColumns(id, document, embedding, uri, keys)


def batches_from(source: Any, size: int, columns: RecordColumns) -> Iterator[dict[str, Any]]:
    """Yield arguments for `add`, in batches of `size` records. The last batch can be smaller."""
    waiting: list[Record] = []
    for record in _records(source, size, columns):
        waiting.append(record)
        if len(waiting) == size:
            yield _arguments(waiting)
            waiting = []
    if waiting:
        yield _arguments(waiting)


def length_of(source: Any) -> int | None:
    """The number of records in a source; None if it is unknown."""
    if isinstance(source, Mapping):
        ids = source.get("ids", ())
        return len(ids) if isinstance(ids, list | tuple) else None
    if isinstance(source, list | tuple):
        are_records = all(isinstance(record, Mapping) and "ids" not in record for record in source)
        return len(source) if are_records else None
    return len(source) if _is_frame(source) or hasattr(source, "num_rows") else None


def _records(source: Any, size: int, columns: RecordColumns) -> Iterator[Record]:
    if _is_row(source, columns):
        source = [source]
    if _is_frame(source) or _is_arrow(source) or isinstance(source, Mapping):
        yield from _records_of_piece(source, size, "source", columns)
        return
    if not isinstance(source, Iterable) or isinstance(source, str | bytes):
        raise InvalidTypeError(
            f"source is {quote(source)}, expected a DataFrame, a Table, or an iterable of records "
            "or batches"
        )
    for i, piece in enumerate(source):
        place = f"source[{i}]"
        if not _is_row(piece, columns):
            yield from _records_of_piece(piece, size, place, columns)
        elif columns.are_usual:
            _refuse_unknown(piece, place)
            yield {**piece, "id": _id_of(piece["id"], place, "id")}
        else:
            yield _record_of_named(piece, place, columns, is_first=i == 0)


def _record_of_named(piece: Record, place: str, columns: RecordColumns, is_first: bool) -> Record:
    """A record from a dict whose keys are the names of columns. The first record must have all
    these columns, so that a wrong name is noticed. Later records only need the id."""
    if columns.id is None:
        raise _no_index(place, [*piece])
    _refuse_lacking([*piece], place, columns if is_first else RecordColumns(columns.id))
    row = {**dict.fromkeys(columns.needed), **piece}
    return _record_of_row(row, columns.column_by_field, columns.keys(piece), place)


def _records_of_piece(
    piece: Any, size: int, place: str, columns: RecordColumns
) -> Iterator[Record]:
    if _is_arrow(piece):
        _refuse_columns(piece.schema.names, place, columns)
        parts = piece.to_batches(max_chunksize=size) if hasattr(piece, "to_batches") else [piece]
        start = 0
        for part in parts:
            yield from _records_of_columns(part.to_pydict(), place, columns, start)
            start += part.num_rows
    elif _is_frame(piece):
        has_index = columns.id is None and hasattr(piece, "index")
        _refuse_columns(list(piece.columns), place, columns, has_index)
        for start in range(0, len(piece), size):
            values = _columns_of(piece, start, size)
            if has_index:
                values[None] = piece.index[start : start + size].tolist()
            yield from _records_of_columns(values, place, columns, start)
    elif isinstance(piece, Mapping) and isinstance(piece.get("ids"), Sized):
        if isinstance(piece["ids"], str | bytes):
            raise InvalidTypeError(f"{place} has {quote(piece['ids'])} as ids, expected a list")
        if not columns.are_usual:
            raise InvalidArgumentError(
                f"{place} is what get returned, whose fields have names of their own; the names of "
                "columns are for tables and records"
            )
        yield from _records_of_result(piece, place)
    else:
        raise InvalidTypeError(
            f"{place} is {quote(piece)}, expected a record with 'id', or a batch with 'ids'"
        )


def _is_row(piece: Any, columns: RecordColumns) -> bool:
    """Whether an item is one record, and not a table or a dict of lists as `get` returns it."""
    if not isinstance(piece, Mapping):
        return False
    return "id" in piece if columns.are_usual else not isinstance(piece.get("ids"), Sized)


def _no_index(place: str, names: list[Any]) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"id_column is None, which means the index of a pandas DataFrame, but {place} has "
        f"none; it has the columns {list_ids(names)}"
    )


def _is_frame(source: Any) -> bool:
    return hasattr(source, "columns") and hasattr(source, "to_dict")


def _is_arrow(source: Any) -> bool:
    """Whether the source is a pyarrow Table or RecordBatch."""
    return hasattr(source, "to_pydict") and hasattr(source, "schema")


def _columns_of(frame: Any, start: int, size: int) -> dict[Any, list[Any]]:
    if hasattr(frame, "iloc"):
        columns: dict[Any, list[Any]] = frame.iloc[start : start + size].to_dict("list")
    else:
        columns = frame.slice(start, size).to_dict(as_series=False)
    return columns


def _refuse_columns(
    names: list[Any], place: str, columns: RecordColumns, has_index: bool = False
) -> None:
    """Raise InvalidArgumentError if these columns are not those of records."""
    if columns.id is None and not has_index:
        raise _no_index(place, names)
    _refuse_lacking(names, place, columns)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    plurals = () if columns.metadata is not None else FIELDS.values()
    plural = [name for name in names if name in plurals and name not in columns.needed]
    if twice or plural:
        why = f"{twice[0]!r} twice" if twice else f"{plural[0]!r}"
        raise InvalidArgumentError(
            f"{place} has {why} among the columns {list_ids(names)}; expected each once, and of "
            f"{', '.join(map(repr, FIELDS))} those that there are; all others become metadata"
        )


def _refuse_lacking(names: list[Any], place: str, columns: RecordColumns) -> None:
    """Raise InvalidArgumentError if a column that an argument names is missing."""
    for name, argument in columns.needed.items():
        if name not in names:
            raise InvalidArgumentError(
                f"{place} has no {name!r} among the columns {list_ids(names)}; {argument} says "
                "which it is"
            )


def _records_of_columns(
    values: Mapping[Any, list[Any]], place: str, columns: RecordColumns, start: int
) -> Iterator[Record]:
    """The records in the rows of a table. Columns that are no fields of a record become
    metadata."""
    fields, names = columns.column_by_field, [name for name in values if name is not None]
    if columns.id is None:
        fields = {"id": None, **fields}  # type: ignore[dict-item]
    keys = columns.keys(names)
    for i, row in enumerate(zip(*values.values(), strict=True), start):
        yield _record_of_row(dict(zip(values, row, strict=True)), fields, keys, f"{place}, row {i}")


def _record_of_row(
    row: Mapping[Any, Any], fields: Mapping[str, Any], keys: Iterable[Any], place: str
) -> Record:
    """The record in a row. fields: the columns that are fields, by field; keys: the columns that
    are metadata keys."""
    record = {name: _present(row[column]) for name, column in fields.items() if column in row}
    record["id"] = _id_of(record["id"], place, fields["id"])
    metadata = _metadata_in(record.pop("metadata", None), place)
    extra = {
        key_of(key): _storable(value) for key in keys if (value := _present(row[key])) is not None
    }
    if metadata is not None or extra:
        record["metadata"] = {**(metadata or {}), **extra}
    return record


def _id_of(value: Any, place: str, column: str | None) -> Any:
    """An id as a string; an integer becomes its digits."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return value
    where = "the index" if column is None else repr(column)
    hint = "; integers in a column that lacks one are floats" if isinstance(value, float) else ""
    raise InvalidTypeError(
        f"{place} has the id {quote(value)} in {where}, expected a text or an integer{hint}"
    )


def _metadata_in(value: Any, place: str) -> Mapping[str, Any] | None:
    """The metadata in a table's cell; the cell can contain a dict, JSON text, or None."""
    if isinstance(value, str):
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(value)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidArgumentError(
            f"{place} has {quote(value)} in the column 'metadata', expected dicts"
        )
    return value


def _storable(value: Any) -> Any:
    """The value in a form that can be stored: dates and times become strings, in the form that
    filters compare."""
    return value.isoformat() if isinstance(value, date) else value


def _present(value: Any) -> Any:
    """The value. NaN and NaT, which mark missing values in tables, become None."""
    is_nothing = isinstance(value, float) and value != value  # noqa: PLR0124  NaN is no number
    return None if is_nothing or type(value).__name__ in ("NaTType", "NAType") else value


def _records_of_result(piece: Record, place: str) -> Iterator[Record]:
    """The records of a batch in the form of a result of `get`."""
    columns = {name: piece[many] for name, many in FIELDS.items() if piece.get(many) is not None}
    for name, values in columns.items():
        if not isinstance(values, Sized):
            raise InvalidTypeError(f"{place}[{FIELDS[name]!r}] is {quote(values)}, expected a list")
        if len(values) != len(piece["ids"]):
            raise InvalidArgumentError(
                f"{place}[{FIELDS[name]!r}] has {len(values)} items, but 'ids' has "
                f"{len(piece['ids'])}"
            )
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _refuse_unknown(record: Record, place: str) -> None:
    unknown = [name for name in record if name not in FIELDS and name != LOADED]
    if unknown:
        raise InvalidArgumentError(
            f"{place} has the unknown key {unknown[0]!r}; known are {', '.join(FIELDS)}"
        )


def _arguments(records: list[Record]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, many in FIELDS.items():
        values = [record.get(name) for record in records]
        if name == "id" or any(value is not None for value in values):
            arguments[many] = values
    lacking = [i for i, record in enumerate(records) if record.get("embedding") is None]
    if lacking and len(lacking) < len(records):
        raise InvalidArgumentError(
            f"the record {records[lacking[0]]['id']!r} has no embedding, but others of its batch "
            "have one"
        )
    return arguments


_NULLABLE: dict[type, Any] = {int: "Int64", bool: "boolean"}
COLUMNS = {
    "ids": "id",
    "distances": "distance",
    "scores": "score",
    "documents": "document",
    "metadatas": "metadata",
    "uris": "uri",
    "embeddings": "embedding",
    "sparse_embeddings": "sparse_embedding",
    "data": "data",
}


def to_pandas(result: Mapping[str, Any], expand: bool = False) -> Any:
    """A pandas.DataFrame of a result of `get` or `query`. The columns are "id"; for a result of
    `query` also "query" (the query's number), "distance" and "score"; and the included ones of
    "document", "metadata" (dicts), "uri", "embedding" (float32 arrays), "sparse_embedding" (dicts)
    and "data". Raises MissingDependencyError without pandas.

    expand: whether to make a column of each metadata key, named after the key, or "metadata.KEY" if
    the name is taken. "metadata" then has only nulls and empty metadata, which columns can't
    express. So `add_from` can make the same records again.
    """
    columns = columns_of(result)
    if not _is_expanded(expand, columns):
        return frame_of(columns)
    split = expand_metadata(columns["metadata"])
    frame = frame_of(_replace_metadata(columns, split, split.rest))
    import pandas

    for key, values in split.values.items():
        kind = common_type(values)
        # pandas would make floats of integers where one is missing, or where others are floats.
        dtype = object if kind is None else _NULLABLE.get(kind) if None in values else None
        if dtype is not None:
            frame[column_of(key)] = pandas.Series(values, dtype=dtype)
    return frame


def _is_expanded(expand: Any, columns: Mapping[str, Any]) -> bool:
    if type(expand) is not bool:
        raise InvalidTypeError(f"expand is {quote(expand)}, expected a bool")
    return expand and "metadata" in columns


def _replace_metadata(
    columns: Mapping[str, Any], split: Expanded, rest: list[Any]
) -> dict[str, Any]:
    """The columns with one column for each metadata key instead of "metadata"."""
    replaced: dict[str, Any] = {}
    for name, values in columns.items():
        if name != "metadata":
            replaced[name] = values
            continue
        if split.has_rest:
            replaced[name] = rest
        replaced |= {column_of(key): values_of_key for key, values_of_key in split.values.items()}
    return replaced


def frame_of(columns: Mapping[str, Any]) -> Any:
    """A pandas.DataFrame with these columns. Raises MissingDependencyError without pandas."""
    with needing("to_pandas", "pandas", "pandas"):
        import pandas
    return pandas.DataFrame(columns)


def to_arrow(result: Mapping[str, Any], expand: bool = False) -> Any:
    """A pyarrow.Table with the columns of `to_pandas`, but metadata as JSON text, embeddings as
    lists of float32, and no data. Raises MissingDependencyError without pyarrow. expand: see
    `to_pandas`. A key becomes a column only if all its values are bools, 64-bit integers, floats or
    strings; other keys stay in "metadata"."""
    columns = columns_of(result)
    columns.pop("data", None)
    with needing("to_arrow", "pyarrow", "pyarrow"):
        import pyarrow
    types: dict[str, Any] = {}
    if _is_expanded(expand, columns):
        split = expand_metadata(columns["metadata"], (bool, int, float, str))
        columns = _replace_metadata(columns, split, _as_json(split.rest))
        of_kinds: dict[Any, Any] = {
            bool: pyarrow.bool_(),
            int: pyarrow.int64(),
            float: pyarrow.float64(),
        }
        for key, values in split.values.items():
            kind = common_type(values)
            if kind in of_kinds:
                types[column_of(key)] = of_kinds[kind]
    elif "metadata" in columns:
        columns["metadata"] = _as_json(columns["metadata"])
    types |= {
        "id": pyarrow.string(),
        "query": pyarrow.int64(),
        "distance": pyarrow.float64(),
        "score": pyarrow.float64(),
        "embedding": pyarrow.list_(pyarrow.float32()),
        "sparse_embedding": pyarrow.struct(
            {
                "indices": pyarrow.list_(pyarrow.uint32()),
                "values": pyarrow.list_(pyarrow.float32()),
            }
        ),
    }
    arrays = {
        name: pyarrow.array(values, types.get(name, pyarrow.string()))
        for name, values in columns.items()
    }
    return pyarrow.table(arrays)


def _as_json(metadatas: list[Any]) -> list[str | None]:
    return [None if metadata is None else orjson.dumps(metadata).decode() for metadata in metadatas]


def rows_of(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The points of a result of `get` one by one, for `add_from`. A row of NaN (no vector) becomes
    None."""
    columns = columns_of(result)
    if "embedding" in columns:
        columns["embedding"] = [
            vector if len(vector) and vector[0] == vector[0] else None
            for vector in columns["embedding"]
        ]
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def columns_of(result: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The columns of a result of `get` or `query`. A row is a point, or a hit of one of the
    queries."""
    if not isinstance(result, Mapping) or "ids" not in result:
        raise InvalidTypeError(f"result is {quote(result)}, expected what get or query returned")
    is_query = "scores" in result
    columns: dict[str, list[Any]] = {}
    if is_query:
        counts = [len(ids) for ids in result["ids"]]
        columns["query"] = np.repeat(np.arange(len(counts)), counts).tolist()
    for field, column in COLUMNS.items():
        values = result.get(field)
        if values is not None:
            columns[column] = _flatten(values, result["ids"]) if is_query else list(values)
    return columns


def _flatten(values: Any, ids: Any) -> list[Any]:
    """The values of all queries in one list; a None for each hit of a query that has no values."""
    parts = (
        [None] * len(part_ids) if part is None else part
        for part, part_ids in zip(values, ids, strict=True)
    )
    return list(chain.from_iterable(parts))


def rows_of_copy(
    copied: AbstractContextManager[PointsBackend],
    page: Callable[[PointsBackend, int], list[dict[str, Any]]],
    size: int,
    start: Callable[[PointsBackend], int],
) -> Iterator[dict[str, Any]]:
    """The rows of a private copy of a collection. copied: a context manager that makes the copy;
    page: reads a page of the copy at an offset; size: the number of points of a page; start:
    returns the first offset. The copy is made when this function is called, before the first row is
    read."""
    points, process = copied.__enter__(), os.getpid()
    try:
        first = start(points)
    except BaseException:
        copied.__exit__(None, None, None)
        raise

    def rows() -> Iterator[dict[str, Any]]:
        try:
            for place in count(first, size):
                records = page(points, place)
                if not records:
                    return
                yield from records
        finally:
            if os.getpid() == process:  # a forked child leaves it to its parent
                copied.__exit__(None, None, None)

    return rows()


IDS_AT_ONCE = 10_000


def offset_after(points: PointsBackend, expression: Expression | None, point: str) -> int:
    """The offset that follows a point among the points that match the expression. Raises
    NotFoundError if no point that matches has this id."""
    for place in count(0, IDS_AT_ONCE):
        ids = [*map(str, points.get(None, expression, IDS_AT_ONCE, place, Fields()).ids)]
        if point in ids:
            return place + ids.index(point) + 1
        if len(ids) < IDS_AT_ONCE:
            break
    raise NotFoundError(
        f"after is {quote(point)}, but no record that matches has this id (any more): give that of "
        "one before it"
    )


MAX_FACTS = 200


def table_of_result(result: dict[str, Any]) -> str:
    """A table of what `get` or `query` returned."""
    columns = columns_of(result)
    first = {name: values[:ROWS] for name, values in columns.items()}
    if "embedding" in first:
        first["embedding"] = [shape_of(embedding) for embedding in first["embedding"]]
    rows = list(zip(*first.values(), strict=True))
    return table_of(list(columns), rows, total=len(columns["id"]))


def table_of_facts(facts: Mapping[str, Any]) -> str:
    """A table with a row for each value in `facts`. A value in nested dicts is named by its path:
    all keys that lead to it, joined by dots."""
    return table_of(("", ""), list(_rows_of(facts, "")), most=MAX_FACTS)


def _rows_of(facts: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        key = ".".join(filter(None, (above, name)))
        if isinstance(value, Mapping):
            yield from _rows_of(value, key)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for i, element in enumerate(value):
                yield from _rows_of(element, f"{key}[{i}]")
        elif isinstance(value, list):
            yield key, ", ".join(map(str, value))
        else:
            yield key, value
