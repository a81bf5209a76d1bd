"""Reading points: by pk, in bulk, and only the fields that are wanted."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apsw
import numpy as np
import orjson

from retrieval_store.arrays import Ints, Matrix
from retrieval_store.engine.database import select
from retrieval_store.engine.schema import to_id
from retrieval_store.engine.special import read_special
from retrieval_store.engine.state import View
from retrieval_store.engine.types import Fields, Points, SpecialVector
from retrieval_store.errors import DamagedError
from retrieval_store.json_values import Payload

ROWS_AT_ONCE = 20_000


def fetch(view: View, rows: Ints, fields: Fields) -> Points:
    """The points at these rows of the state, in that order."""
    return fetch_each(view, [rows], fields)[0]


def fetch_each(view: View, groups: Sequence[Ints], fields: Fields) -> list[Points]:
    """The points of several groups of rows, read at once; groups share no values."""
    names = ["id"]
    names += ["payload"] * fields.payload + ["document"] * fields.document + ["uri"] * fields.uri
    every = groups[0] if len(groups) == 1 else np.concatenate([*groups, np.empty(0, np.int64)])
    pieces = read_records(view.connection, ", ".join(["pk", *names]), view.state.pks[every])
    found = {record[0]: record for piece in pieces for record in piece}
    return [_points(view, rows, found, names, fields) for rows in groups]


def _points(
    view: View, rows: Ints, found: dict[int, tuple[Any, ...]], names: list[str], fields: Fields
) -> Points:
    try:
        records = [found[pk] for pk in view.state.pks[rows].tolist()]
    except KeyError as error:
        raise DamagedError(f"points.sqlite lacks point {error}, which it says is there") from None
    values = {name: [record[i] for record in records] for i, name in enumerate(names, start=1)}
    return Points(
        [to_id(key) for key in values["id"]],
        decode_payloads(values["payload"]) if fields.payload else None,
        values.get("document"),
        values.get("uri"),
        *_vectors(view, rows, fields.vectors),
    )


def _vectors(
    view: View, rows: Ints, name: str | None
) -> tuple[Matrix | None, list[SpecialVector | None] | None]:
    if name is None:
        return None, None
    if name in view.state.special:
        pks = view.state.pks[rows]
        found = dict(read_special(view.connection, view.state.special[name], np.sort(pks)))
        return None, [found.get(pk) for pk in pks.tolist()]
    return fetch_vectors(view, rows, name), None


def fetch_vectors(view: View, rows: Ints, name: str) -> Matrix:
    """(n, dim) float32 copies of the vectors at these rows; NaN where a point has none."""
    space = view.state.spaces.get(name)
    if space is None:
        return np.empty((len(rows), 0), np.float32)
    slots = space.slot_of_row[rows]
    owned = slots >= 0
    stored = space.vectors.rows(space.space.slots)
    space.vectors.admit(stored, space.checksums, slots[owned])
    matrix = np.full((len(rows), stored.shape[1]), np.nan, np.float32)
    matrix[owned] = stored[slots[owned]]
    return matrix


def read_records(
    connection: apsw.Connection, columns: str, pks: Ints, condition: str = "", *parameters: str
) -> Iterator[list[tuple[Any, ...]]]:
    """Records of the points with these pks that fulfil the condition, in pieces of a bounded size;
    in ascending order of pk when the pks are."""
    query = f"SELECT {columns} FROM points WHERE pk IN carray(?) {condition} ORDER BY pk"
    for start in range(0, len(pks), ROWS_AT_ONCE):
        some = np.ascontiguousarray(pks[start : start + ROWS_AT_ONCE], np.int64)
        yield select(connection, query, apsw.carray(some), *parameters)


def decode_payloads(blobs: Iterable[bytes | None]) -> list[Payload | None]:
    """Payloads as they were stored; one call of the JSON parser for all."""
    joined = b"[%b]" % b",".join([blob or b"null" for blob in blobs])
    decoded: list[Payload | None] = orjson.loads(joined)
    return decoded
