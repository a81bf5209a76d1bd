"""Bodies with points, which may hold millions of numbers: what most of them look like is checked
here by few, large steps; all else by `bodies`."""

from typing import Any, TypeAlias

from qdrant_client import models

from retrieval_store.qdrant.instances import made
from retrieval_store.qdrant.refusals import malformed, wrong
from retrieval_store.server.bodies import as_id, read

Strings: TypeAlias = list[str]
_NUMBERS = {float, int}


def points_to_write(given: Any, strings: Strings) -> Any:
    """The body of an upsert, as models.PointsList or PointsBatch."""
    if not isinstance(given, dict) or not {"points", "batch"} & given.keys():
        raise wrong("Format error in JSON body: expected an object with points, or with a batch")
    rest = {name: one for name, one in given.items() if name not in ("points", "batch")}
    if "batch" in given:
        body = read(models.PointsBatch, {**rest, "batch": {"ids": [], "vectors": []}}, strings)
        body.batch = _batch(given["batch"], strings)
        return body
    body = read(models.PointsList, {**rest, "points": []}, strings)
    body.points = _points(given["points"])
    return body


def _points(given: Any) -> list[models.PointStruct]:
    if not isinstance(given, list):
        raise wrong("Format error in JSON body: points: expected a list")
    return [_point(one, i) for i, one in enumerate(given)]


def _point(given: Any, i: int) -> models.PointStruct:
    if type(given) is not dict or "id" not in given or "vector" not in given:
        raise wrong(f"Format error in JSON body: points[{i}]: expected id and vector")
    payload = given.get("payload")
    if payload is not None and type(payload) is not dict:
        raise wrong(f"Format error in JSON body: points[{i}].payload: expected an object")
    return made(
        models.PointStruct,
        {
            "id": _id(given["id"], f"points[{i}].id"),
            "vector": _vectors(given["vector"], f"points[{i}].vector"),
            "payload": payload,
        },
    )


def _id(given: Any, place: str) -> Any:
    try:
        return as_id(given)
    except ValueError as error:
        raise wrong(f"Format error in JSON body: {place}: {error}") from None


def _vectors(given: Any, place: str) -> Any:
    """The vectors of one point, under their names or without."""
    if _is_plain(given):
        return given
    if type(given) is dict and all(map(_is_plain, given.values())):
        return given
    return read(models.VectorStruct, given, [])


def _is_plain(given: Any) -> bool:
    """Whether it is a list of numbers."""
    return type(given) is list and _NUMBERS.issuperset(map(type, given)) and bool(given)


def _batch(given: Any, strings: Strings) -> models.Batch:
    """A batch: ids, vectors and payloads in columns."""
    if not isinstance(given, dict) or not isinstance(given.get("ids"), list):
        raise wrong("Format error in JSON body: batch: expected an object with ids and vectors")
    ids = [_id(one, f"batch.ids[{i}]") for i, one in enumerate(given["ids"])]
    vectors = given.get("vectors")
    if not (isinstance(vectors, list) and all(map(_is_plain, vectors))):
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
