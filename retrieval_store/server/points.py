"""Bodies with points, which may hold millions of numbers.

A parser of JSON that makes an object of each number, as orjson does, takes longer for that than the
points take to be written. simdjson puts the numbers of a list into a buffer instead; where it isn't
installed, and for what it doesn't take, orjson parses the body. Either way the usual is checked
here by few, large steps, and all else by `bodies`.
"""

import threading
from array import array
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import Matrix
from retrieval_store.qdrant.errors import Refused, malformed, wrong
from retrieval_store.qdrant.read import made
from retrieval_store.server.bodies import as_id, prepare, read
from retrieval_store.server.receiving import as_json

try:
    simdjson: Any = import_module("simdjson")
except ImportError:
    simdjson = None

Strings: TypeAlias = list[str]
_NUMBERS = {float, int}
LARGE = 64 * 1024  # bytes of a body for which a second parser is worth its memory
KEPT = 8 << 20  # bytes of a body after which a parser is kept, which has thrice as much memory
_kept = threading.local()  # a parser for each thread
prepare(models.PointsList, models.PointsBatch, models.VectorStruct, models.BatchVectorStruct)


def points_to_write(sent: bytes, strings: Strings) -> Any:
    """The body of an upsert, as models.PointsList or PointsBatch."""
    given = _with_arrays(sent) if len(sent) > LARGE and simdjson is not None else None
    booleans = b"true" in sent or b"false" in sent
    if given is None:
        given = as_json(sent)
    if not isinstance(given, dict) or not {"points", "batch"} & given.keys():
        raise wrong("Format error in JSON body: expected an object with points, or with a batch")
    rest = {name: one for name, one in given.items() if name not in ("points", "batch")}
    if "batch" in given:
        body = read(models.PointsBatch, {**rest, "batch": {"ids": [], "vectors": []}}, strings)
        body.batch = _batch(given["batch"], strings, booleans)
        return body
    body = read(models.PointsList, {**rest, "points": []}, strings)
    body.points = _points(given["points"], booleans)
    return body


def _with_arrays(sent: bytes) -> Any:
    """A body with points, whose vectors are arrays where they are lists of numbers; None for what
    this parser doesn't take."""
    parser = getattr(_kept, "parser", None) or simdjson.Parser()
    _kept.parser = parser if len(sent) <= KEPT else None
    try:
        body = parser.parse(sent)
        points = body["points"]
        if not isinstance(points, simdjson.Array):
            return None
        # A list within a list of numbers would be read as if its numbers stood in that one.
        is_flat = sent.count(b"[") == 1 + len(points)
        found = {name: _plain(body[name]) for name in body.keys() if name != "points"}  # noqa: SIM118
        with np.errstate(over="ignore"):  # infinite numbers are refused with the vector's name
            found["points"] = [_with_array(one, is_flat) for one in points]
        # There may be a list in a list after all, where another point has none.
        is_wrong = is_flat and sum(map(_arrays_of, found["points"])) != len(points)
        return None if is_wrong else found
    except (ValueError, TypeError, LookupError, RuntimeError):
        return None


def _with_array(point: Any, is_flat: bool) -> dict[str, Any]:
    vector = point["vector"]
    if isinstance(vector, simdjson.Object):
        names = vector.keys()
        vector = {name: _array(vector[name], is_flat) for name in names}
    else:
        vector = _array(vector, is_flat)
    return {"id": point["id"], "vector": vector, "payload": _plain(point.get("payload"))}


def _arrays_of(point: dict[str, Any]) -> int:
    """How many vectors of a point are arrays."""
    vector = point["vector"]
    vectors = vector.values() if type(vector) is dict else [vector]
    return sum(type(one) is np.ndarray for one in vectors)


def _array(given: Any, is_flat: bool) -> Any:
    """(n,) float32 for a list of numbers; all else as plain Python."""
    if not isinstance(given, simdjson.Array) or not len(given) or type(given[0]) not in _NUMBERS:
        return _plain(given)
    if not is_flat and any(isinstance(one, simdjson.Array) for one in given):
        return given.as_list()
    return np.frombuffer(given.as_buffer(of_type="d"), np.float64).astype(np.float32)


def _plain(given: Any) -> Any:
    if isinstance(given, simdjson.Object):
        return given.as_dict()
    return given.as_list() if isinstance(given, simdjson.Array) else given


def _points(given: Any, booleans: bool) -> models.Batch:
    """Points in columns."""
    if not isinstance(given, list):
        raise wrong("Format error in JSON body: points: expected a list")
    try:
        ids = [one["id"] for one in given]
        vectors = [one["vector"] for one in given]
        payloads = [one.get("payload") for one in given]
    except (TypeError, KeyError, AttributeError):
        raise wrong("Format error in JSON body: points: each needs an id and a vector") from None
    _check_payloads(payloads)
    columns = {
        "ids": _ids(ids),
        "vectors": [_vectors(one, i, booleans) for i, one in enumerate(vectors)],
        "payloads": payloads,
    }
    return made(models.Batch, columns)


def _ids(given: list[Any]) -> list[Any]:
    """Ids that points can have."""
    try:
        return [one if type(one) is int and one >= 0 else as_id(one) for one in given]
    except ValueError as error:
        raise wrong(f"Format error in JSON body: {error}") from None


def _check_payloads(given: list[Any]) -> None:
    if not {dict, type(None)}.issuperset(map(type, given)):
        raise wrong("Format error in JSON body: a payload is no object")


def _vectors(given: Any, i: int, booleans: bool) -> Any:
    """The vectors of one point: a row, or rows, several ones, sparse ones or texts by name."""
    row = _row(given, booleans)
    if row is not None:
        return row
    if type(given) is dict:
        rows = {name: _row(one, booleans) for name, one in given.items()}
        if all(one is not None for one in rows.values()):
            return rows
    try:
        return read(models.VectorStruct, _listed(given), [])
    except Refused as refused:
        raise wrong(f"{refused.message} (points[{i}].vector)") from None


def _listed(given: Any) -> Any:
    """Vectors in which some became arrays, as lists again."""
    if type(given) is not dict:
        return given
    return {k: one.tolist() if type(one) is np.ndarray else one for k, one in given.items()}


def _row(given: Any, booleans: bool) -> Matrix | None:
    """(n,) A list of numbers, or an array of them, as float32; None for all else. booleans:
    whether there may be some in it, which would pass for numbers."""
    if type(given) is np.ndarray:
        return given
    if type(given) is not list or not given:
        return None
    if booleans and not _NUMBERS.issuperset(map(type, given)):
        return None
    try:
        return np.frombuffer(array("f", given), np.float32)
    except (TypeError, OverflowError):
        return None


def _batch(given: Any, strings: Strings, booleans: bool) -> models.Batch:
    """A batch: ids, vectors and payloads in columns."""
    if not isinstance(given, dict) or not isinstance(given.get("ids"), list):
        raise wrong("Format error in JSON body: batch: expected an object with ids and vectors")
    ids, vectors = _ids(given["ids"]), given.get("vectors")
    rows = [_row(one, booleans) for one in vectors] if isinstance(vectors, list) else [None]
    if all(one is not None for one in rows):
        vectors = rows
    else:
        vectors = read(models.BatchVectorStruct, vectors, strings)
    payloads = given.get("payloads")
    if payloads is not None:
        if not isinstance(payloads, list):
            raise wrong("Format error in JSON body: batch.payloads: expected a list")
        _check_payloads(payloads)
    lengths = {len(ids), *map(len, vectors.values() if isinstance(vectors, dict) else [vectors])}
    if len(lengths | ({len(payloads)} if payloads else set())) > 1:
        raise malformed("Validation error in JSON body: as many ids as vectors and payloads")
    return made(models.Batch, {"ids": ids, "vectors": vectors, "payloads": payloads})
