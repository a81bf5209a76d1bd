"""Reading points: by pk, in bulk, and only the fields that are wanted."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix
from retrieval_store.engine.state.view import AnyView
from retrieval_store.engine.storage.records import decode_payloads, read_records
from retrieval_store.engine.storage.schema import to_id
from retrieval_store.engine.storage.special import read_special
from retrieval_store.errors import DamagedError
from retrieval_store.interface.points import Fields, Points, SpecialVector

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
    names = _names(fields)
    pieces = read_records(view.connection, ", ".join(names), view.state.pks[every])
    records = list(chain.from_iterable(pieces))
    if len(records) != len(every):
        raise DamagedError("points.sqlite lacks points that it says are there")
    stops = accumulate(map(len, groups))
    return [
        _points(view, rows, records[stop - len(rows) : stop], fields)
        for rows, stop in zip(groups, stops, strict=True)
    ]


@lru_cache(maxsize=64)
def _names(fields: Fields) -> list[str]:
    """The columns to read."""
    chosen = {"payload": fields.payload, "document": fields.document, "uri": fields.uri}
    return ["id", *(name for name, wanted in chosen.items() if wanted)]


def _points(view: AnyView, rows: Ints, records: list[tuple[Any, ...]], fields: Fields) -> Points:
    names = _names(fields)
    columns = zip(*records, strict=True) if records else ((),) * len(names)
    values = dict(zip(names, map(list, columns), strict=True))
    _refuse_odd(values)
    return Points(
        [to_id(key) for key in values["id"]],
        decode_payloads(values["payload"]) if fields.payload else None,
        values.get("document"),
        values.get("uri"),
        *_vectors(view, rows, fields.vectors),
    )


def _refuse_odd(values: dict[str, list[Any]]) -> None:
    """Raise ValueError where there is no text, but should be: SQLite keeps whatever it gets."""
    for name, kinds in _KINDS.items():
        if not kinds.issuperset(map(type, values.get(name, ()))):
            raise ValueError(f"a point has a value as {name} that can't be one")


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
