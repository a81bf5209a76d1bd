"""The records of points: read by pk, in bulk, and only the columns that are wanted."""

from collections.abc import Iterable, Iterator
from typing import Any

import apsw
import numpy as np
import orjson

from retrieval_store.base.arrays import Ints
from retrieval_store.base.json_values import Payload
from retrieval_store.engine.database.transactions import select

ROWS_AT_ONCE = 20_000


def read_records(
    connection: apsw.Connection, columns: str, pks: Ints, condition: str = "", *parameters: str
) -> Iterator[list[tuple[Any, ...]]]:
    """Records of the points with these pks that fulfil the condition, in pieces of a bounded size,
    in the order of the pks."""
    # SQLite keeps the order of a CROSS JOIN: for each of the pks, the point.
    query = f"SELECT {columns} FROM carray(?) CROSS JOIN points ON pk = value {condition}"
    for start in range(0, len(pks), ROWS_AT_ONCE):
        some = np.ascontiguousarray(pks[start : start + ROWS_AT_ONCE], np.int64)
        yield select(connection, query, apsw.carray(some), *parameters)


def decode_payloads(blobs: Iterable[bytes | None]) -> list[Payload | None]:
    """Payloads as they were stored; one call of the JSON parser for all."""
    joined = b"[%b]" % b",".join([blob or b"null" for blob in blobs])
    decoded: list[Payload | None] = orjson.loads(joined)
    return decoded
