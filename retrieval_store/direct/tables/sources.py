"""Records from wherever they come, in batches of the arguments that a collection's `add` takes.

A source is a data frame (pandas, polars), a pyarrow Table, what `get` returned, or any iterable of
such pieces or of single records.
"""

from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from datetime import date
from typing import Any

import orjson

from retrieval_store.base.json_values import shown
from retrieval_store.errors import InvalidArgumentError, InvalidTypeError

FIELDS = {
    "id": "ids",
    "document": "documents",
    "embedding": "embeddings",
    "metadata": "metadatas",
    "uri": "uris",
    "image": "images",
    "sparse_embedding": "sparse_embeddings",
}
LOADED = "data"  # which records of `iterate` may have besides, and which isn't written
Record = Mapping[str, Any]


def batches_from(source: Any, size: int) -> Iterator[dict[str, Any]]:
    """Arguments for `add`, of so many records each but for the last."""
    waiting: list[Record] = []
    for record in _records(source, size):
        waiting.append(record)
        if len(waiting) == size:
            yield _arguments(waiting)
            waiting = []
    if waiting:
        yield _arguments(waiting)


def length_of(source: Any) -> int | None:
    """How many records a source has, where that is known."""
    if isinstance(source, Mapping):
        ids = source.get("ids", ())
        return len(ids) if isinstance(ids, list | tuple) else None
    if isinstance(source, list | tuple):
        return len(source) if all(_is_record(one) for one in source) else None
    return len(source) if _is_frame(source) or hasattr(source, "num_rows") else None


def _records(source: Any, size: int) -> Iterator[Record]:
    if _is_record(source):
        source = [source]
    if _is_frame(source) or _is_arrow(source) or isinstance(source, Mapping):
        yield from _of_piece(source, size, "source")
        return
    if not isinstance(source, Iterable) or isinstance(source, str | bytes):
        raise InvalidTypeError(
            f"source is {shown(source)}, expected a DataFrame, a Table, or an iterable of records "
            "or batches"
        )
    for i, piece in enumerate(source):
        if _is_record(piece):
            _refuse_unknown(piece, f"source[{i}]")
            yield piece
        else:
            yield from _of_piece(piece, size, f"source[{i}]")


def _of_piece(piece: Any, size: int, place: str) -> Iterator[Record]:
    if _is_arrow(piece):
        _refuse_columns(piece.schema.names, place)
        parts = piece.to_batches(max_chunksize=size) if hasattr(piece, "to_batches") else [piece]
        for part in parts:
            yield from _of_columns(part.to_pydict(), place)
    elif _is_frame(piece):
        _refuse_columns(list(piece.columns), place)
        for start in range(0, len(piece), size):
            yield from _of_columns(_columns_of(piece, start, size), place)
    elif isinstance(piece, Mapping) and isinstance(piece.get("ids"), Sized):
        yield from _of_result(piece, place)
    else:
        raise InvalidTypeError(
            f"{place} is {shown(piece)}, expected a record with 'id', or a batch with 'ids'"
        )


def _is_record(piece: Any) -> bool:
    return isinstance(piece, Mapping) and "id" in piece


def _is_frame(source: Any) -> bool:
    return hasattr(source, "columns") and hasattr(source, "to_dict")


def _is_arrow(source: Any) -> bool:
    """A Table, or one of its batches."""
    return hasattr(source, "to_pydict") and hasattr(source, "schema")


def _columns_of(frame: Any, start: int, size: int) -> dict[str, list[Any]]:
    if hasattr(frame, "iloc"):
        columns: dict[str, list[Any]] = frame.iloc[start : start + size].to_dict("list")
    else:
        columns = frame.slice(start, size).to_dict(as_series=False)
    return columns


def _refuse_columns(names: list[Any], place: str) -> None:
    """Raise InvalidArgumentError for columns of which no records can be made."""
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    plural = [name for name in names if name in FIELDS.values()]
    if "id" in names and not twice and not plural:
        return
    listed = ", ".join(map(repr, names))
    fields = ", ".join(map(repr, FIELDS))
    why = f"{twice[0]!r} twice" if twice else f"{plural[0]!r}" if plural else "no 'id'"
    raise InvalidArgumentError(
        f"{place} has {why} among the columns {listed}; expected 'id', each once, and of {fields} "
        "those that there are; all others become metadata"
    )


def _of_columns(columns: Mapping[str, list[Any]], place: str) -> Iterator[Record]:
    """Rows of a table: columns that aren't fields of a record are keys of its metadata."""
    keys = [name for name in columns if name not in FIELDS]
    for row in zip(*columns.values(), strict=True):
        values = dict(zip(columns, map(_present, row), strict=True))
        record = {name: values[name] for name in FIELDS if name in values}
        metadata = _metadata_in(record.get("metadata"), place)
        extra = {key: _storable(values[key]) for key in keys if values[key] is not None}
        if metadata is not None or keys:
            record["metadata"] = {**(metadata or {}), **extra}
        yield record


def _metadata_in(value: Any, place: str) -> Mapping[str, Any] | None:
    """The metadata in a table: an object, also as text of JSON, or nothing."""
    if isinstance(value, str):
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(value)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidArgumentError(
            f"{place} has {shown(value)} in the column 'metadata', expected dicts"
        )
    return value


def _storable(value: Any) -> Any:
    """Dates and times as text, as which filters compare them."""
    return value.isoformat() if isinstance(value, date) else value


def _present(value: Any) -> Any:
    """The value, but None for what a table has where there is nothing: NaN and NaT."""
    is_nothing = isinstance(value, float) and value != value  # noqa: PLR0124  NaN is no number
    return None if is_nothing or type(value).__name__ in ("NaTType", "NAType") else value


def _of_result(piece: Record, place: str) -> Iterator[Record]:
    """The records of a batch in the shape of what `get` returns."""
    named = {name: piece[many] for name, many in FIELDS.items() if piece.get(many) is not None}
    for name, values in named.items():
        if not isinstance(values, Sized):
            raise InvalidTypeError(f"{place}[{FIELDS[name]!r}] is {shown(values)}, expected a list")
        if len(values) != len(piece["ids"]):
            raise InvalidArgumentError(
                f"{place}[{FIELDS[name]!r}] has {len(values)} items, but 'ids' has "
                f"{len(piece['ids'])}"
            )
    for row in zip(*named.values(), strict=True):
        yield dict(zip(named, row, strict=True))


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
