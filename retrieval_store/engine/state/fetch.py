"""Reading points: by pk, in bulk, and only the fields that are wanted."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, chain, repeat
from typing import Any, TypeAlias, TypeVar

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.engine.state.view import AnyView
from retrieval_store.engine.storage.records import decode_payloads, read_records
from retrieval_store.engine.storage.schema import to_id
from retrieval_store.engine.storage.special import read_special
from retrieval_store.errors import DamagedError
from retrieval_store.interface.points import Fields, PointId, Points, SpecialVector

T = TypeVar("T")

_Columns: TypeAlias = dict[str, tuple[Any, ...]]
_TEXT: set[type] = {str}
_KINDS: dict[str, set[type]] = {
    "id": {str, int},
    "document": {str, type(None)},
    "uri": {str, type(None)},
}


def fetch(view: AnyView, rows: Ints, fields: Fields) -> Points:
    """The points at these rows of the state, in that order."""
    return fetch_each(view, [rows], fields)[0]


def fetch_each(view: AnyView, groups: Sequence[Ints], fields: Fields) -> list[Points]:
    """The points of several groups of rows, read at once; groups share no values."""
    every = groups[0] if len(groups) == 1 else np.concatenate([*groups, np.empty(0, np.int64)])
    columns = _read(view, every, fields)
    payloads = decode_payloads(columns["payload"]) if fields.payload else None
    vectors, special = _vectors(view, every, fields.vectors)
    stops = accumulate(map(len, groups))
    spans = [slice(stop - len(rows), stop) for rows, stop in zip(groups, stops, strict=True)]
    parts = zip(
        _cut(_ids(columns["id"]), spans),
        _cut(payloads, spans),
        _cut(columns.get("document"), spans),
        _cut(columns.get("uri"), spans),
        [None if vectors is None else vectors[span] for span in spans],
        _cut(special, spans),
        strict=True,
    )
    return [Points(*part) for part in parts]


def _read(view: AnyView, rows: Ints, fields: Fields) -> _Columns:
    """The columns that are wanted, and the ids."""
    names, sql = _names(fields)
    records = list(chain.from_iterable(read_records(view.connection, sql, view.state.pks[rows])))
    if len(records) != len(rows):
        raise DamagedError("points.sqlite lacks points that it says are there")
    values = zip(*records, strict=True) if records else ((),) * len(names)
    columns = dict(zip(names, values, strict=True))
    for name in names:
        # Where there is no text, but should be: SQLite keeps whatever it gets.
        if name in _KINDS and not _KINDS[name].issuperset(map(type, columns[name])):
            raise ValueError(f"a point has a value as {name} that can't be one")
    return columns


@lru_cache(maxsize=64)
def _names(fields: Fields) -> tuple[tuple[str, ...], str]:
    """The columns to read, one by one and as SQL."""
    chosen = {"payload": fields.payload, "document": fields.document, "uri": fields.uri}
    names = "id", *(name for name, wanted in chosen.items() if wanted)
    return names, ", ".join(names)


def _ids(keys: Sequence[str | int]) -> Sequence[PointId]:
    return keys if _TEXT.issuperset(map(type, keys)) else [to_id(key) for key in keys]


def _cut(column: Sequence[T] | None, spans: Sequence[slice]) -> Iterable[list[T] | None]:
    """A list of each span of the column; None for each where it wasn't asked for."""
    return repeat(None, len(spans)) if column is None else [[*column[span]] for span in spans]


def _vectors(
    view: AnyView, rows: Ints, name: str | None
) -> tuple[Matrix | None, list[SpecialVector | None] | None]:
    if name is None:
        return None, None
    if name in view.state.special:
        pks = view.state.pks[rows]
        found = dict(read_special(view.connection, view.state.special[name], np.sort(pks)))
        return None, [found.get(pk) for pk in pks.tolist()]
    return fetch_vectors(view, rows, name), None


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
    matrix[owned] = stored[slots[owned]]
    return matrix
