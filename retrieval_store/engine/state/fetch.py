"""Reading points: by pk, in bulk, and only the fields that are wanted."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, compress, repeat
from typing import Any

import apsw
import numpy as np

from retrieval_store.base.arrays import Ints, Matrix, as_float32
from retrieval_store.engine.database.failures import ContradictionError
from retrieval_store.engine.state.state import AnyView
from retrieval_store.engine.storage.records import decode_payloads, read_many
from retrieval_store.engine.storage.schema import has_versions, shows_an_integer, to_id, to_key
from retrieval_store.errors import DamagedError
from retrieval_store.query.types import Fields, PointId, Points, ShownIds, VectorsRead

FEW = 16  # ids that one statement is asked for, which names each of them
_IDS: set[type] = {str, int}
_TEXTS: set[type] = {str, type(None)}


def fetch(view: AnyView, rows: Ints, fields: Fields) -> Points:
    """The points at these rows of the state, in that order."""
    records = read_many(view.connection, _columns(fields, view.connection), view.state.pks[rows])
    if len(records) != len(rows):
        raise DamagedError("points.sqlite lacks points that it says are there")
    vectors = {name: vectors_read(view, rows, name) for name in fields.vectors} or None
    return _points(records, fields, vectors)


def fetch_few(connection: apsw.Connection, ids: Sequence[PointId], fields: Fields) -> Points | None:
    """The points with these ids, at most FEW, in that order, without vectors; by one statement,
    which needs no transaction and no state in memory. None if that can't tell: if the collection is
    deleted, or none of the ids is there."""
    keys: dict[Any, PointId] = {to_key(one): one for one in ids}
    if isinstance(ids, ShownIds):
        integers = {to_key(int(one)): one for one in ids if shows_an_integer(one)}
        keys = {**keys, **integers} if integers else keys
    query = _asking_for(_columns(fields, connection), len(keys))
    found = connection.execute(query, (*keys,)).fetchall()
    if not found or found[0][-1]:
        return None
    records: dict[PointId, tuple[Any, ...]] = {}
    for record in found:
        shown = keys[record[0]]
        if isinstance(record[0], str) or shown not in records:  # "7" comes before 7
            records[shown] = record
    return _points([records[one] for one in ids if one in records], fields, None)


@lru_cache(maxsize=256)
def _asking_for(columns: str, count: int) -> str:
    """A query for so many points by their ids, and whether the collection has been deleted."""
    marks = ", ".join("?" * count)
    return (
        f"SELECT {columns}, (SELECT dropped FROM head) FROM points "
        f"WHERE id IN ({marks}) LIMIT {count}"
    )


def _points(
    records: Sequence[tuple[Any, ...]], fields: Fields, vectors: dict[str, VectorsRead] | None
) -> Points:
    """Points of the records that `_columns` names."""
    columns = iter(zip(*records, strict=True) if records else repeat(()))
    return Points(
        _ids(next(columns)),
        decode_payloads(next(columns)) if fields.payload else None,
        _texts(next(columns), "document") if fields.document else None,
        _texts(next(columns), "uri") if fields.uri else None,
        vectors,
        np.array(next(columns), np.int64) if fields.version else None,
    )


def fetch_each(view: AnyView, groups: Sequence[Ints], fields: Fields) -> list[Points]:
    """The points of several groups of rows, read at once; groups share no values."""
    if len(groups) == 1:
        return [fetch(view, groups[0], fields)]
    points = fetch(view, np.concatenate([*groups, np.empty(0, np.int64)]), fields)
    stops = accumulate(map(len, groups))
    return [
        _part(points, slice(stop - len(rows), stop))
        for rows, stop in zip(groups, stops, strict=True)
    ]


def _part(points: Points, span: slice) -> Points:
    return Points(
        points.ids[span],
        None if points.payloads is None else points.payloads[span],
        None if points.documents is None else points.documents[span],
        None if points.uris is None else points.uris[span],
        points.vectors and {name: part[span] for name, part in points.vectors.items()},
        None if points.versions is None else points.versions[span],
    )


def _columns(fields: Fields, connection: apsw.Connection) -> str:
    """The columns to read, in the order of `Points`."""
    version = fields.version and ("version" if has_versions(connection) else "0")
    return _listed(fields.payload, fields.document, fields.uri, version or "")


@lru_cache(maxsize=64)
def _listed(payload: bool, document: bool, uri: bool, version: str) -> str:
    wanted = True, payload, document, uri, version
    return ", ".join(compress(("id", "payload", "document", "uri", version), wanted))


def _ids(keys: Sequence[Any]) -> list[PointId]:
    kinds = set(map(type, keys))
    _refuse_odd(kinds, _IDS, "id")
    return [to_id(key) for key in keys] if int in kinds else [*keys]


def _texts(texts: Sequence[Any], name: str) -> list[str | None]:
    _refuse_odd(set(map(type, texts)), _TEXTS, name)
    return [*texts]


def _refuse_odd(kinds: set[type], known: set[type], name: str) -> None:
    """Raise ValueError where there is no text, but should be: SQLite keeps whatever it gets."""
    if not kinds <= known:
        raise ContradictionError(f"a point has a value as {name} that can't be one")


def vectors_read(view: AnyView, rows: Ints, name: str) -> VectorsRead:
    """The vectors of rows in a space of any kind."""
    if name in view.state.non_dense:
        from retrieval_store.engine.storage.non_dense import read_non_dense

        pks = view.state.pks[rows]
        found = dict(read_non_dense(view.connection, view.state.non_dense[name], np.sort(pks)))
        return [found.get(pk) for pk in pks.tolist()]
    return fetch_vectors(view, rows, name)


def fetch_vectors(view: AnyView, rows: Ints, name: str) -> Matrix:
    """(n, dim) float32 copies of the vectors at these rows; NaN where a point has none."""
    space = view.state.spaces.get(name)
    if space is None:
        return np.empty((len(rows), 0), np.float32)
    slots = space.slot_of_row[rows]
    owned = slots >= 0
    stored = space.vectors.rows(space.space.slots)
    space.vectors.admit(stored, space.checksums, slots[owned])
    matrix = np.full((len(rows), stored.shape[1]), np.nan, np.float32)
    matrix[owned] = as_float32(stored[slots[owned]])
    return matrix
