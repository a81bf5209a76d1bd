"""Points in columns, which may be long: what is JSON already goes as it is, and vectors as arrays.

Vectors of a space that isn't dense stand one behind the other, with the length of each; -1 where a
point has none.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from retrieval_store.base.arrays import Ints, Matrix, SparseVector
from retrieval_store.errors import InvalidArgumentError
from retrieval_store.protocol.codec import Array, MalformedError, list_in, register_coder
from retrieval_store.query.types import (
    UNSET,
    Hits,
    NonDenseVector,
    NonDenseVectors,
    PointBatch,
    PointId,
    Points,
    Projection,
    ShownIds,
    Vectors,
    VectorsRead,
)

_MAX_NUMBERS = 2**31  # numbers of a vector, of which no sum is too large
_LEFT = False  # stands for UNSET, which is neither text, object nor null


class _Ids:
    """Point ids, with those that show as strings."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, list | tuple)

    def encode(self, value: Any, arrays: list[Array]) -> Any:
        return {"shown" if isinstance(value, ShownIds) else "ids": [*value]}

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict and data.keys() <= {"shown", "ids"}

    def decode(self, data: Any, arrays: Sequence[Array]) -> Any:
        if not self.can_decode(data) or len(data) != 1:
            raise MalformedError("ids are no list of ids")
        ((kind, ids),) = data.items()
        types = set(map(type, list_in(ids)))
        if not types <= ({str} if kind == "shown" else {str, int}):
            raise MalformedError("ids are neither strings nor integers")
        return ShownIds(ids) if kind == "shown" else ids


class _Batch:
    """Points to write."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, PointBatch)

    def encode(self, value: PointBatch, arrays: list[Array]) -> Any:
        return {
            "ids": _IDS.encode(value.ids, arrays),
            "vectors": {name: _encode_vectors(one, arrays) for name, one in value.vectors.items()},
            "payloads": _encode_column(value.payloads),
            "documents": _encode_column(value.documents),
            "uris": _encode_column(value.uris),
        }

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> PointBatch:
        data = _object(data)
        vectors = _object(data.get("vectors"))
        return PointBatch(
            _IDS.decode(data.get("ids"), arrays),
            {name: _decode_vectors(one, arrays) for name, one in vectors.items()},
            _decode_column(data.get("payloads"), dict),
            _decode_column(data.get("documents"), str),
            _decode_column(data.get("uris"), str),
        )


class _Points:
    """Points that were read."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Points)

    def encode(self, value: Points, arrays: list[Array]) -> Any:
        found: dict[str, Any] = {"ids": value.ids}
        for name in ("payloads", "documents", "uris"):
            column = getattr(value, name)
            if column is not None:
                found[name] = column
        if value.vectors is not None:
            found["vectors"] = {
                name: _encode_vectors_read(one, arrays) for name, one in value.vectors.items()
            }
        if value.versions is not None:
            found["versions"] = _append_array(np.asarray(value.versions, np.int64), arrays)
        return found

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Points:
        data = _object(data)
        vectors, versions = data.get("vectors"), data.get("versions")
        ids = _of_types(data.get("ids"), {str, int})
        found = Points(
            ids,
            _optional(data.get("payloads"), dict),
            _optional(data.get("documents"), str),
            _optional(data.get("uris"), str),
            None
            if vectors is None
            else {name: _column(one, arrays) for name, one in _object(vectors).items()},
            None if versions is None else _at(versions, arrays, np.int64, 1),
        )
        columns = (found.payloads, found.documents, found.uris, found.versions)
        for column in (*columns, *(found.vectors or {}).values()):
            if column is not None and len(column) != len(ids):
                raise MalformedError(f"there are {len(column)} values for {len(ids)} points")
        return found


class _Hits:
    """The answer to one query."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Hits)

    def encode(self, value: Hits, arrays: list[Array]) -> Any:
        found = {
            "points": _POINTS.encode(value.points, arrays),
            "scores": _append_array(np.asarray(value.scores, np.float64), arrays),
        }
        if value.distances is not None:
            found["distances"] = _append_array(np.asarray(value.distances, np.float64), arrays)
        if value.values is not None:
            found["values"] = value.values
        if value.group is not None:
            found["group"] = value.group
        return found

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Hits:
        data = _object(data)
        distances, values = data.get("distances"), data.get("values")
        found = Hits(
            _POINTS.decode(data.get("points"), arrays),
            None if distances is None else _at(distances, arrays, np.float64, 1),
            _at(data.get("scores"), arrays, np.float64, 1),
            None if values is None else _of_types(values, {int, float}),
            data.get("group"),
        )
        for column in (found.distances, found.scores, found.values):
            if column is not None and len(column) != len(found.points.ids):
                raise MalformedError("there are other numbers of scores than of points")
        return found


class _Projection:
    """Points in the plane of a projection."""

    def can_encode(self, value: Any) -> bool:
        return isinstance(value, Projection)

    def encode(self, value: Projection, arrays: list[Array]) -> Any:
        return {
            "ids": value.ids,
            "places": _append_array(np.asarray(value.places, np.float32), arrays),
            "axes": _append_array(np.asarray(value.axes, np.float32), arrays),
            "explained": _append_array(np.asarray(value.explained, np.float64), arrays),
            "total": value.total,
            "values": value.values,
        }

    def can_decode(self, data: Any) -> bool:
        return type(data) is dict

    def decode(self, data: Any, arrays: Sequence[Array]) -> Projection:
        data = _object(data)
        ids, values = _of_types(data.get("ids"), {str, int}), data.get("values")
        found = Projection(
            ids,
            _at(data.get("places"), arrays, np.float32, 2),
            _at(data.get("axes"), arrays, np.float32, 2),
            _at(data.get("explained"), arrays, np.float64, 1),
            _of_types([data.get("total")], {int})[0],
            None if values is None else _of_types(values, {str, int, float, bool, type(None)}),
        )
        shapes = found.places.shape, found.axes.shape[:1], found.explained.shape
        if shapes != ((len(ids), 2), (3,), (2,)) or len(found.values or ids) != len(ids):
            raise MalformedError("there are other numbers of places than of points")
        return found


_IDS, _POINTS = _Ids(), _Points()
register_coder(Sequence[PointId], _IDS)
register_coder(PointBatch, _Batch())
register_coder(Points, _POINTS)
register_coder(Hits, _Hits())
register_coder(Projection, _Projection())


def _encode_column(column: Sequence[Any] | None) -> list[Any] | None:
    if column is None:
        return None
    return [_LEFT if one is UNSET else one for one in column]


def _decode_column(data: Any, kind: type) -> list[Any] | None:
    if data is None:
        return None
    types = set(map(type, list_in(data)))
    if not types <= {kind, type(None), bool}:
        raise MalformedError(f"a column holds what is no {kind.__name__}")
    if bool not in types:
        return list(data)
    if any(one is True for one in data):
        raise MalformedError(f"a column holds what is no {kind.__name__}")
    return [UNSET if one is _LEFT else one for one in data]


def _of_types(data: Any, types: set[type]) -> list[Any]:
    if not types.issuperset(map(type, list_in(data))):
        raise MalformedError("a column holds what it can't")
    return data  # type: ignore[no-any-return]


def _optional(data: Any, kind: type) -> list[Any] | None:
    return None if data is None else _of_types(data, {kind, type(None)})


def _encode_vectors(column: Vectors | NonDenseVectors, arrays: list[Array]) -> Any:
    places = None if column.positions is None else _append_array(column.positions, arrays)
    if isinstance(column, Vectors):
        return {"matrix": _append_array(column.matrix, arrays), "positions": places}
    return {**_concatenate_vectors(column.items, arrays), "positions": places}


def _decode_vectors(data: Any, arrays: Sequence[Array]) -> Vectors | NonDenseVectors:
    data = _object(data)
    places = data.get("positions")
    positions = None if places is None else _at(places, arrays, np.int64, 1)
    if "matrix" in data:
        return Vectors(_at(data["matrix"], arrays, np.float32, 2), positions)
    items = [one for one in _split_vectors(data, arrays) if one is not None]
    return NonDenseVectors(items, positions)


def _encode_vectors_read(column: VectorsRead, arrays: list[Array]) -> Any:
    if isinstance(column, np.ndarray):
        return {"matrix": _append_array(column, arrays)}
    return _concatenate_vectors(column, arrays)


def _column(data: Any, arrays: Sequence[Array]) -> VectorsRead:
    data = _object(data)
    if "matrix" in data:
        matrix: Matrix = _at(data["matrix"], arrays, np.float32, 2)
        return matrix
    return _split_vectors(data, arrays)


def _concatenate_vectors(items: Sequence[NonDenseVector | None], arrays: list[Array]) -> Any:
    """Vectors concatenated."""
    vectors = [one for one in items if one is not None]
    if all(isinstance(one, np.ndarray) for one in vectors) and vectors:
        lengths = [-1 if one is None else len(one) for one in items]  # type: ignore[arg-type]
        rows: Matrix = np.concatenate(cast(list[Matrix], vectors))
        return {
            "lengths": _append_array(np.array(lengths, np.int64), arrays),
            "rows": _append_array(rows, arrays),
        }
    sparse = [one for one in vectors if isinstance(one, SparseVector)]
    if len(sparse) != len(vectors):
        raise InvalidArgumentError("vectors of one space are partly sparse")
    lengths = [len(one.values) if isinstance(one, SparseVector) else -1 for one in items]
    empty: list[Any] = [np.empty(0)]
    indices = np.concatenate([*empty, *(one.indices for one in sparse)]).astype(np.uint32)
    values = np.concatenate([*empty, *(one.values for one in sparse)]).astype(np.float32)
    return {
        "lengths": _append_array(np.array(lengths, np.int64), arrays),
        "indices": _append_array(indices, arrays),
        "values": _append_array(values, arrays),
    }


def _split_vectors(data: Any, arrays: Sequence[Array]) -> list[NonDenseVector | None]:
    lengths: Ints = _at(data.get("lengths"), arrays, np.int64, 1)
    if lengths.max(initial=0) > _MAX_NUMBERS:
        raise MalformedError("a vector is longer than all there is")
    stops = np.cumsum(np.maximum(lengths, 0))
    total = int(stops[-1]) if len(stops) else 0
    starts = (stops - np.maximum(lengths, 0)).tolist()
    spans = [slice(a, b) for a, b in zip(starts, stops.tolist(), strict=True)]
    there = (lengths >= 0).tolist()
    if "rows" in data:
        rows = _at(data["rows"], arrays, np.float32, 2)
        _refuse_other(total, len(rows))
        return [rows[span] if one else None for span, one in zip(spans, there, strict=True)]
    indices = _at(data.get("indices"), arrays, np.uint32, 1)
    values = _at(data.get("values"), arrays, np.float32, 1)
    _refuse_other(total, len(indices), len(values))
    return [
        SparseVector(indices[span], values[span]) if one else None
        for span, one in zip(spans, there, strict=True)
    ]


def _refuse_other(total: int, *lengths: int) -> None:
    if any(length != total for length in lengths):
        raise MalformedError(f"there are {lengths} numbers, expected {total} of each")


def _append_array(array: Array, arrays: list[Array]) -> int:
    arrays.append(array)
    return len(arrays) - 1


def _at(place: Any, arrays: Sequence[Array], kind: Any, dimensions: int) -> Any:
    if type(place) is not int or not 0 <= place < len(arrays):
        raise MalformedError("an array is missing")
    found = arrays[place]
    if found.dtype != kind or found.ndim != dimensions:
        raise MalformedError(f"an array is {found.ndim}-dimensional {found.dtype}")
    return found


def _object(data: Any) -> dict[str, Any]:
    if type(data) is not dict:
        raise MalformedError("an object is missing")
    return data
