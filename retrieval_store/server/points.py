"""Bodies with points, which may hold millions of numbers: what most of them look like is checked
here by few, large steps; all else by `bodies`."""

from array import array
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from retrieval_store.base.arrays import Matrix
from retrieval_store.qdrant.instances import made
from retrieval_store.qdrant.refusals import Refused, malformed, wrong
from retrieval_store.server.bodies import as_id, read

Strings: TypeAlias = list[str]
_NUMBERS = {float, int}


def points_to_write(given: Any, strings: Strings, booleans: bool) -> Any:
    """The body of an upsert, as models.PointsList or PointsBatch. booleans: whether true or false
    stands in it somewhere."""
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


def _points(given: Any, booleans: bool) -> list[models.PointStruct]:
    if not isinstance(given, list):
        raise wrong("Format error in JSON body: points: expected a list")
    return [_point(one, i, booleans) for i, one in enumerate(given)]


def _point(given: Any, i: int, booleans: bool) -> models.PointStruct:
    try:
        point_id, vector, payload = given["id"], given["vector"], given.get("payload")
    except (TypeError, KeyError, AttributeError):
        raise wrong(f"Format error in JSON body: points[{i}]: expected id and vector") from None
    if type(point_id) is not int or point_id < 0:
        point_id = _id(point_id, i)
    if payload is not None and type(payload) is not dict:
        raise wrong(f"Format error in JSON body: points[{i}].payload: expected an object")
    row = _row(vector, booleans)
    if row is None:
        vector = _vectors(vector, i, booleans)
    return made(
        models.PointStruct,
        {"id": point_id, "vector": vector if row is None else row, "payload": payload},
    )


def _id(given: Any, i: int) -> Any:
    try:
        return as_id(given)
    except ValueError as error:
        raise wrong(f"Format error in JSON body: points[{i}].id: {error}") from None


def _vectors(given: Any, i: int, booleans: bool) -> Any:
    """The vectors of one point under their names, several of one name, sparse ones, or texts."""
    if type(given) is dict:
        rows = {name: _row(one, booleans) for name, one in given.items()}
        if all(one is not None for one in rows.values()):
            return rows
    try:
        return read(models.VectorStruct, given, [])
    except Refused as refused:
        raise wrong(f"{refused.message} (points[{i}].vector)") from None


def _row(given: Any, booleans: bool) -> Matrix | None:
    """(n,) A list of numbers as float32; None for all else. booleans: whether there may be some in
    it, which would pass for numbers."""
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
    ids = [_id(one, i) for i, one in enumerate(given["ids"])]
    vectors = given.get("vectors")
    rows = [_row(one, booleans) for one in vectors] if isinstance(vectors, list) else [None]
    if all(one is not None for one in rows):
        vectors = rows
    else:
        vectors = read(models.BatchVectorStruct, vectors, strings)
    payloads = given.get("payloads")
    if payloads is not None:
        if not isinstance(payloads, list):
            raise wrong("Format error in JSON body: batch.payloads: expected a list")
        if not all(one is None or type(one) is dict for one in payloads):
            raise wrong("Format error in JSON body: batch.payloads: expected objects")
    lengths = {len(ids), *map(len, vectors.values() if isinstance(vectors, dict) else [vectors])}
    if len(lengths | ({len(payloads)} if payloads else set())) > 1:
        raise malformed("Validation error in JSON body: as many ids as vectors and payloads")
    return made(models.Batch, {"ids": ids, "vectors": vectors, "payloads": payloads})
