"""Responses in the JSON of a Qdrant server. Vectors and scores are written with the fewest digits
that give the same float32. Fields that aren't set are left out, except those that a Qdrant server
returns as null.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel
from qdrant_client import models

from retrieval_store_server.native.codec import Parts, size_of

JSON, TEXT = "application/json", "text/plain; charset=utf-8"
PIECE = 256 * 1024  # bytes of a body per message
OPTIONS = orjson.OPT_SERIALIZE_NUMPY
SHOWN_AS_NULL = (  # settings of a collection, by their paths
    *(("optimizer_config", name) for name in ("max_segment_size", "memmap_threshold")),
    *(("optimizer_config", name) for name in ("max_optimization_threads", "prevent_unoptimized")),
    ("quantization_config",),
)


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. The body is `body`, or, if `parts` is not empty, the concatenation of
    `parts`. retry_after: the number of seconds after which the client can try again; headers:
    further headers."""

    status: int
    body: bytes
    media_type: str | None = JSON
    retry_after: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    parts: Parts = ()

    @property
    def size(self) -> int:
        """The size of the body in bytes."""
        return size_of(self.parts or [self.body])

    def pieces(self) -> Iterator[bytes]:
        """Yield the body in one or more pieces. A piece is made only when the previous piece has
        been sent."""
        if not self.parts and len(self.body) <= PIECE:
            yield self.body
            return
        few: list[Any] = []
        size = 0
        for part in self.parts or [self.body]:
            whole = memoryview(part).cast("B")
            for at in range(0, len(whole), PIECE):
                few.append(whole[at : at + PIECE])
                size += len(few[-1])
                if size >= PIECE:
                    yield b"".join(few)
                    few, size = [], 0
        if few or not self.size:
            yield b"".join(few)


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """A response that sends a file. temporary: whether the file is deleted after the response, even
    if sending fails."""

    path: Any
    name: str
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class Streamed:
    """A response that is sent in parts, as they become available. first: the first part. following:
    a function that is called repeatedly in a thread; returns the next part, or None if there is no
    new part. idle: a part that is sent if no other part was sent for a while."""

    first: bytes
    following: Callable[[], bytes | None]
    idle: bytes
    media_type: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A response with the status 202, after which the work continues. job: the work."""

    job: Callable[[], object]


def answer_of(result: Any, seconds: float) -> Response:
    """The response that contains a method's result."""
    if isinstance(result, Response):
        return result
    if type(result) is Fragment:
        return _answer_in_parts([result], seconds)
    if type(result) is list and result and {Fragment}.issuperset(map(type, result)):
        between = [part for fragment in result for part in (b",", fragment)]
        return _answer_in_parts([b"[", *between[1:], b"]"], seconds)
    body = {"result": result, "status": "ok", "time": seconds}
    return Response(200, orjson.dumps(body, as_jsonable, OPTIONS))


def _answer_in_parts(result: list[bytes], seconds: float) -> Response:
    """The response that contains a result whose JSON is given in parts. If the parts are short,
    they are joined."""
    parts = [b'{"result":', *result, b',"status":"ok","time":%b}' % orjson.dumps(seconds)]
    if size_of(parts) <= PIECE:
        return Response(200, b"".join(parts))
    return Response(200, b"", parts=parts)


class Fragment(bytes):
    """A part of a response that is already encoded as JSON. The encoded bytes take far less memory
    than the objects that they represent."""

    __slots__ = ()


def points_as_json(hits: Any) -> Fragment:
    """The response to a query as JSON, made directly from the columns of the hits: `QdrantService`
    calls this function."""
    return Fragment(b'{"points":%b}' % hits_as_json(hits))


def hits_as_json(hits: Any) -> Fragment:
    """The hits of a query as a JSON list."""
    scores = hits.scores.astype(np.float32)
    shown: list[dict[str, Any]] = [
        {"id": point_id, "version": version, "score": score}
        for point_id, version, score in zip(hits.ids, hits.versions, scores, strict=True)
    ]
    columns = {"payload": hits.payloads, "vector": hits.vectors, "order_value": hits.order_values}
    for name, column in columns.items():
        for hit, value in zip(shown, column, strict=True):
            if value is not None:
                hit[name] = vectors(value) if name == "vector" else value
    return Fragment(orjson.dumps(shown, as_jsonable, OPTIONS))


def accepted_answer(seconds: float) -> Response:
    """A response with the status 202: the work will be done later."""
    return Response(202, orjson.dumps({"status": "accepted", "time": seconds}))


def refusal(status: int, message: str, retry_after: int | None = None) -> Response:
    """The response to a refused request, with the reason."""
    message = message.encode("utf-8", "replace").decode()  # a lone surrogate isn't JSON
    body = orjson.dumps({"status": {"error": message}, "time": 0.0})
    return Response(status, body, retry_after=retry_after)


def text(status: int, body: str) -> Response:
    """A plain-text response."""
    return Response(status, body.encode("utf-8", "replace"), TEXT)


def nothing(status: int) -> Response:
    """A response without a body."""
    return Response(status, b"", None)


def as_jsonable(value: Any) -> Any:
    """A model converted to a value that orjson can write. The function is passed to `orjson.dumps`
    as `default`."""
    write = _WRITERS.get(type(value))
    if write is not None:
        return write(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    raise TypeError(f"{type(value)} is no part of an answer")


def _scored_point(point: models.ScoredPoint) -> dict[str, Any]:
    shown = {"id": point.id, "version": point.version, "score": np.float32(point.score)}
    return _with_parts(shown, point)


def _record(point: models.Record) -> dict[str, Any]:
    return _with_parts({"id": point.id}, point)


def _with_parts(shown: dict[str, Any], point: Any) -> dict[str, Any]:
    if point.payload is not None:
        shown["payload"] = point.payload
    if point.vector is not None:
        shown["vector"] = vectors(point.vector)
    if point.order_value is not None:
        shown["order_value"] = point.order_value
    return shown


def vectors(value: Any) -> Any:
    """The vectors of a point, with their numbers as float32. For float32, orjson writes fewer
    digits than for Python floats."""
    if isinstance(value, Mapping):
        return {name: vectors(vector) for name, vector in value.items()}
    if isinstance(value, models.SparseVector):
        return {"indices": value.indices, "values": np.array(value.values, np.float32)}
    if any(number is None for number in value):  # numbers that float16 can't represent
        return [None if number is None else np.float32(number) for number in value]
    if value and any(isinstance(row, list) and None in row for row in value):
        return [vectors(row) for row in value]
    return np.array(value, np.float32)


def _group(group: models.PointGroup) -> dict[str, Any]:
    shown = {"hits": group.hits, "id": group.id}
    return shown if group.lookup is None else {**shown, "lookup": group.lookup}


def _pairs(response: models.SearchMatrixPairsResponse) -> Any:
    return {"pairs": [{**vars(pair), "score": np.float32(pair.score)} for pair in response.pairs]}


def _offsets(response: models.SearchMatrixOffsetsResponse) -> Any:
    return {**vars(response), "scores": np.array(response.scores, np.float32)}


def _collection(info: models.CollectionInfo) -> Any:
    shown = info.model_dump(mode="json", by_alias=True, exclude_none=True)
    for *path, name in SHOWN_AS_NULL:
        inner = shown["config"]
        for step in path:
            inner = inner[step]
        inner.setdefault(name, None)
    return shown


_WRITERS: Mapping[type, Callable[[Any], Any]] = {
    Fragment: orjson.Fragment,
    models.CollectionInfo: _collection,
    models.GroupsResult: lambda result: {"groups": result.groups},
    models.PointGroup: _group,
    models.Record: _record,
    models.ScoredPoint: _scored_point,
    models.SearchMatrixOffsetsResponse: _offsets,
    models.SearchMatrixPairsResponse: _pairs,
    models.UpdateResult: lambda result: {
        "operation_id": result.operation_id,
        "status": result.status.value,
    },
}
