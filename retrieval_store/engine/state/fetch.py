"""Reading points: by pk, in bulk, and only the fields that are wanted."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain, repeat
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix, as_float32
from retrieval_store.engine.state.view import AnyView
from retrieval_store.engine.storage.records import decode_payloads, read_records
from retrieval_store.engine.storage.schema import has_versions, to_id
from retrieval_store.errors import DamagedError
from retrieval_store.interface.points import Fields, PointId, Points, VectorsRead

_IDS: set[type] = {str, int}
_TEXTS: set[type] = {str, type(None)}


def fetch(view: AnyView, rows: Ints, fields: Fields) -> Points:
    """The points at these rows of the state, in that order."""
    names, sql = _names(fields, fields.version and has_versions(view.connection))
    records = list(chain.from_iterable(read_records(view.connection, sql, view.state.pks[rows])))
    if len(records) != len(rows):
        raise DamagedError("points.sqlite lacks points that it says are there")
    columns = dict(zip(names, zip(*records, strict=True) if records else repeat(()), strict=False))
    return Points(
        _ids(columns["id"]),
        decode_payloads(columns["payload"]) if fields.payload else None,
        _texts(columns["document"], "document") if fields.document else None,
        _texts(columns["uri"], "uri") if fields.uri else None,
        {name: vectors_read(view, rows, name) for name in fields.vectors} or None,
        np.array(columns["version"], np.int64) if fields.version else None,
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


@lru_cache(maxsize=64)
def _names(fields: Fields, has_versions: bool) -> tuple[tuple[str, ...], str]:
    """The columns to read, one by one and as SQL."""
    chosen = {"payload": fields.payload, "document": fields.document, "uri": fields.uri}
    names = ["id", *(name for name, wanted in chosen.items() if wanted)]
    sql = list(names)
    if fields.version:
        names.append("version")
        sql.append("version" if has_versions else "0")
    return tuple(names), ", ".join(sql)


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
        raise ValueError(f"a point has a value as {name} that can't be one")


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
