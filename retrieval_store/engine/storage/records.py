"""Reads the records of points by pk, in bulk, and only the wanted columns."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import apsw
import numpy as np
import orjson

from retrieval_store.base import budget
from retrieval_store.base.arrays import Bools, Ints
from retrieval_store.base.validation import Payload
from retrieval_store.engine.sqlite import select
from retrieval_store.filters.paths import (
    DOCUMENT,
    URI,
    PayloadPath,
    split_dotted,
    value_at,
    values_at_end,
)

ROWS_AT_ONCE = 20_000
DECODED_AT_ONCE = 4_096  # payloads
FEW_ROWS = 256  # with so few rows the garbage collector doesn't have to scan their objects
PATHS_AT_ONCE = 100  # paths in one statement; a function of SQLite can have a thousand arguments
BESIDE = {DOCUMENT: "document", URI: "uri"}  # columns for values that aren't in payloads


def read_records(
    connection: apsw.Connection, columns: str, pks: Ints, condition: str = "", *parameters: str
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the records of the points with these pks that fulfil the condition, in the order of the
    pks. Each yielded list has a limited size."""
    for piece in _pieces(pks, ROWS_AT_ONCE):
        yield _read_piece(connection, columns, piece, condition, *parameters)


def _read_piece(
    connection: apsw.Connection, columns: str, pks: Ints, condition: str = "", *parameters: str
) -> list[tuple[Any, ...]]:
    budget.check()
    # SQLite keeps the order of a CROSS JOIN: the pks in order, each with its point.
    query = f"SELECT {columns} FROM carray(?) CROSS JOIN points ON pk = value {condition}"
    return select(connection, query, apsw.carray(pks), *parameters)


def read_many(connection: apsw.Connection, columns: str, pks: Ints) -> list[tuple[Any, ...]]:
    """The records of all points with these pks, as one list."""
    if 0 < len(pks) <= ROWS_AT_ONCE:
        return _read_piece(connection, columns, np.ascontiguousarray(pks, np.int64))
    return [*chain.from_iterable(read_records(connection, columns, pks))]


def decode_payloads(blobs: Iterable[bytes | None]) -> list[Payload | None]:
    """Decode payloads. One call of the JSON parser decodes many payloads, but only up to a limit,
    because no other thread runs during the call."""
    stored = [blob or b"null" for blob in blobs]
    decoded: list[Payload | None] = orjson.loads(b"[%b]" % b",".join(stored[:DECODED_AT_ONCE]))
    for start in range(DECODED_AT_ONCE, len(stored), DECODED_AT_ONCE):
        piece = stored[start : start + DECODED_AT_ONCE]
        decoded += orjson.loads(b"[%b]" % b",".join(piece))
    return decoded


def read_values(
    connection: apsw.Connection, pks: Ints, paths: Sequence[PayloadPath]
) -> list[list[Any]]:
    """For each path, the values in the payloads of the points with these pks: see `value_at`."""
    values_by_path = dict(zip(paths, _read_at_paths(connection, pks, paths), strict=True))
    for path in paths:
        dotted_path = split_dotted(path)
        lacking = (
            []
            if dotted_path is None
            else [i for i, v in enumerate(values_by_path[path]) if v is None]
        )
        if dotted_path is not None and lacking:
            places = np.array(lacking)
            places = places[~has_value(connection, pks[places], path)]
            (values,) = _read_at_paths(connection, pks[places], [dotted_path])
            for place, value in zip(places.tolist(), values, strict=True):
                values_by_path[path][place] = value
    return [values_by_path[path] for path in paths]


def read_sparsely(
    connection: apsw.Connection, pks: Ints, paths: Sequence[PayloadPath]
) -> list[tuple[Ints, list[Any]]]:
    """For each path, the positions of the points whose payloads have a value there, ascending, and
    these values. Unlike in `read_values`, points without a value are left out. This is fast for
    many paths if each point has values at only a few of them. Each payload is read once, and only
    the paths that begin with one of its keys are looked up."""
    if not paths:
        return []  # without reading any payload
    places: list[list[int]] = [[] for _ in paths]
    values: list[list[Any]] = [[] for _ in paths]
    by_key = _by_first_key(paths)
    for place, payload in enumerate(_payloads(connection, pks)):
        for key in payload.keys() & by_key.keys():
            for number in by_key[key]:
                value = value_at(payload, paths[number])
                # A path that begins with two keys of the payload, with and without dots, is found
                # twice.
                if value is not None and not (places[number] and places[number][-1] == place):
                    places[number].append(place)
                    values[number].append(value)
    return [
        (np.array(path_places, np.int64), path_values)
        for path_places, path_values in zip(places, values, strict=True)
    ]


def _by_first_key(paths: Sequence[PayloadPath]) -> dict[str, list[int]]:
    """For each key, the positions of the paths that can begin with this key."""
    numbers_by_key: dict[str, list[int]] = {}
    for number, path in enumerate(paths):
        for spelling in (path, split_dotted(path)):
            if spelling is not None:
                numbers_by_key.setdefault(str(spelling[0]), []).append(number)
    return numbers_by_key


def _payloads(connection: apsw.Connection, pks: Ints) -> Iterator[Payload]:
    for piece in read_records(connection, "payload", pks):
        for payload in decode_payloads(blob for (blob,) in piece):
            yield payload or {}


def read_exactly(
    connection: apsw.Connection, pks: Ints, paths: Sequence[PayloadPath]
) -> list[list[Any]]:
    """Like `read_values`, but keys with dots are taken literally, and documents and URIs are found
    under their reserved keys."""
    return [
        _with_texts(values, _texts(connection, pks, path), path)
        for path, values in zip(paths, _read_at_paths(connection, pks, paths), strict=True)
    ]


def _texts(connection: apsw.Connection, pks: Ints, path: PayloadPath) -> list[str | None]:
    """The documents (or URIs) of these points if the path begins with the reserved key for
    documents (or URIs); otherwise an empty list."""
    column = BESIDE.get(path[0]) if path else None
    if column is None:
        return []
    return [text for piece in read_records(connection, column, pks) for (text,) in piece]


def _with_texts(values: list[Any], texts: list[str | None], path: PayloadPath) -> list[Any]:
    """The values, with the value of each point that has a text replaced by this text. If the path
    has several keys, the value is replaced by None instead, because a text contains no values."""
    if not texts:
        return values
    whole = len(path) == 1
    return [
        value if text is None else text if whole else None
        for value, text in zip(values, texts, strict=True)
    ]


def _read_at_paths(
    connection: apsw.Connection, pks: Ints, paths: Sequence[PayloadPath]
) -> list[list[Any]]:
    """For each path, the values in the payloads of the points with these pks. SQLite extracts them
    and returns one JSON array for thousands of points. That takes a third of the time of parsing
    the payloads, and other threads can run meanwhile."""
    values_of_paths: list[list[Any]] = []
    for first in range(0, len(paths), PATHS_AT_ONCE):
        batch = paths[first : first + PATHS_AT_ONCE]
        size = ROWS_AT_ONCE if len(batch) == 1 else FEW_ROWS
        pieces = [_values(connection, piece, batch) for piece in _pieces(pks, size)]
        values_of_paths += [
            [*chain.from_iterable(piece[i] for piece in pieces)] for i in range(len(batch))
        ]
    return values_of_paths


def has_anything(connection: apsw.Connection, pks: Ints, path: PayloadPath) -> Bools:
    """Whether each of the points with these pks has a value at the path, read as by `read_exactly`.
    null counts as a value here, although `read_exactly` returns None both for null and for a
    missing value."""
    has_path = has_value(connection, pks, path)
    texts = _texts(connection, pks, path) if len(path) == 1 else []
    return (
        has_path | np.array([text is not None for text in texts], np.bool_) if texts else has_path
    )


def has_value(connection: apsw.Connection, pks: Ints, path: PayloadPath) -> Bools:
    """Whether the payload of each of the points with these pks has a value at the path. null counts
    as a value here, although `read_values` returns None both for null and for a missing value."""
    try:
        query = (
            "SELECT payload IS NOT NULL AND json_type(payload, ?) IS NOT NULL, "
            r"instr(payload, CAST('\u0000' AS BLOB)) "
            "FROM carray(?) CROSS JOIN points ON pk = value"
        )
        rows = [
            row
            for piece in _pieces(pks, ROWS_AT_ONCE)
            for row in select(connection, query, _in_sql(path), apsw.carray(piece))
        ]
        if not any(odd for _, odd in rows):
            return np.array([is_present for is_present, _ in rows], np.bool_)
    except (ValueError, TypeError, apsw.SQLError, apsw.TooBigError):
        pass
    payloads = _payloads(connection, pks)
    return np.array([bool(values_at_end(payload, path)) for payload in payloads], np.bool_)


def _values(
    connection: apsw.Connection, pks: Ints, paths: Sequence[PayloadPath]
) -> Sequence[Sequence[Any]]:
    try:
        extracted = _extract_by_sqlite(connection, pks, [_in_sql(path) for path in paths])
    except (ValueError, TypeError, apsw.SQLError, apsw.TooBigError):
        extracted = None
    return _parse_payloads(connection, pks, paths) if extracted is None else extracted


def _in_sql(path: PayloadPath) -> str:
    """The path in SQLite's notation. Raises ValueError or TypeError if SQLite can't express the
    path."""
    quoted = [orjson.dumps(str.__str__(key)).decode() for key in path]
    if any("\\u0000" in key for key in quoted):
        raise ValueError("to SQLite a key ends there")
    return "".join(["$", *("." + key for key in quoted)])


def _extract_by_sqlite(
    connection: apsw.Connection, pks: Ints, paths: list[str]
) -> Sequence[Sequence[Any]] | None:
    """The values that SQLite finds at the paths. None if a payload may have a key with U+0000,
    because SQLite truncates such keys."""
    several = f"json_extract(payload{', ?' * len(paths)})"
    query = (  # for a single path json_extract would return an SQL value instead of JSON
        f"SELECT json_group_array({'payload -> ?' if len(paths) == 1 else several}), "
        r"max(instr(payload, CAST('\u0000' AS BLOB))) "
        "FROM carray(?) CROSS JOIN points ON pk = value"
    )
    ((array, odd),) = select(connection, query, *paths, apsw.carray(pks))
    if odd:
        return None
    values: list[Any] = orjson.loads(array)
    if len(values) != len(pks):
        raise LookupError("there are fewer payloads than points")
    if len(paths) == 1:
        return [values]
    return [[None if row is None else row[i] for row in values] for i in range(len(paths))]


def _parse_payloads(
    connection: apsw.Connection, pks: Ints, paths: Sequence[PayloadPath]
) -> Sequence[Sequence[Any]]:
    values_of_paths: list[list[Any]] = [[] for _ in paths]
    query = "SELECT payload FROM carray(?) CROSS JOIN points ON pk = value"
    for piece in _pieces(pks, FEW_ROWS):
        blobs = select(connection, query, apsw.carray(piece))
        payloads = decode_payloads(blob for (blob,) in blobs)
        for values, path in zip(values_of_paths, paths, strict=True):
            values += [_value_at(payload, path) for payload in payloads]
    return values_of_paths


def _value_at(payload: Payload | None, path: PayloadPath) -> Any:
    values = values_at_end(payload, path)
    return values[0] if values else None


def _pieces(pks: Ints, size: int) -> Iterator[Ints]:
    for start in range(0, len(pks), size):
        yield np.ascontiguousarray(pks[start : start + size], np.int64)
