"""Writes the results of methods as response messages. Each function that makes a response takes the
result, and the seconds that the method took.

This module converts vectors, point ids and payloads in both directions. It doesn't use
qdrant-client's conversion, which makes an object for each number of a vector.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import orjson
import qdrant_client.grpc
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from retrieval_store.extension import Matrix, uuid_in
from retrieval_store_server.http.answers import Response

Message: TypeAlias = Any
messages: Any = qdrant_client.grpc  # whose types don't accept dicts as messages
NULL = messages.NullValue.NULL_VALUE
INT_MIN, INT_MAX = -(2**63), 2**63 - 1  # the range of integers in payload values


def numbers(message: Message) -> Any:
    """(n,) float32: the numbers in a message whose only field is a list of numbers; an empty list
    if there are none. The numbers are the last bytes of the encoded message. Copying these bytes
    takes a fiftieth of the time that a conversion through Python objects takes."""
    count = len(message.data)
    if not count:
        return []
    sent = message.SerializeToString()
    size = 4 * count
    if len(sent) == 1 + _length_of(size) + size:
        return np.frombuffer(sent, "<f4", offset=len(sent) - size)
    return np.array(message.data, np.float32)  # followed by unknown fields


def _length_of(number: int) -> int:
    """The number of bytes that protobuf's varint encoding of an integer takes."""
    return (number.bit_length() + 6) // 7


def payload_of(fields: Any) -> dict[str, Any]:
    """A map of protobuf values as a dict that can be written as JSON."""
    return {name: value_of(fields[name]) for name in fields}


def value_of(value: Message) -> Any:
    """A protobuf value as a value that can be written as JSON. Numbers that JSON cannot express
    become None, as in Qdrant."""
    kind = value.WhichOneof("kind")
    match kind:
        case "struct_value":
            return payload_of(value.struct_value.fields)
        case "list_value":
            return [value_of(element) for element in value.list_value.values]
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else None
        case None | "null_value":
            return None
    return getattr(value, kind)


def fields_of(payload: Mapping[str, Any]) -> dict[str, Any]:
    """A payload, in the form that a message's constructor takes."""
    return {name: field_of(value) for name, value in payload.items()}


def field_of(value: Any) -> dict[str, Any]:
    """A value, in the form that a message's constructor takes. An integer that is too large becomes
    a float, as in Qdrant."""
    kind = type(value)
    if kind is str:
        return {"string_value": value.encode("utf-8", "replace").decode()}
    if kind is bool:
        return {"bool_value": value}
    if kind is int:
        fits = INT_MIN <= value <= INT_MAX
        return {"integer_value": value} if fits else {"double_value": float(value)}
    if kind is float:
        return {"double_value": value}
    if kind is dict:
        return {"struct_value": {"fields": fields_of(value)}}
    if kind is list:
        return {"list_value": {"values": [field_of(element) for element in value]}}
    return {"null_value": NULL}


def id_field_of(point_id: Any) -> dict[str, Any]:
    """An id, in the form that a message's constructor takes."""
    return {"num": point_id} if type(point_id) is int else {"uuid": str(point_id)}


def new_id_of(message: Message) -> Any:
    """The id of a point to write; raises ValueError if it is invalid."""
    kind = message.WhichOneof("point_id_options")
    if kind == "num":
        return message.num
    if kind is None:
        raise ValueError("a point has no id")
    known = uuid_in(message.uuid)
    if known is None:
        raise ValueError(f"Unable to parse UUID: {message.uuid[:100]}")
    return known


def vectors_field_of(value: Any) -> dict[str, Any]:
    """The vectors of a point, in the form that a message's constructor takes."""
    if isinstance(value, Mapping):
        named = {name: _vector_field_of(vector) for name, vector in value.items()}
        return {"vectors": {"vectors": named}}
    return {"vector": _vector_field_of(value)}


def _vector_field_of(value: Any) -> dict[str, Any]:
    if isinstance(value, models.SparseVector):
        return {"sparse": {"indices": value.indices, "values": value.values}}
    if len(value) and isinstance(value[0], list):
        return {"multi_dense": {"vectors": [{"data": _numbers_of(row)} for row in value]}}
    return {"dense": {"data": _numbers_of(value)}}


def _numbers_of(value: Any) -> Any:
    """The numbers of a vector, with infinity instead of None. In results, None represents a number
    beyond the range of float16."""
    return [math.inf if number is None else number for number in value] if None in value else value


def matrix_of(message: Message) -> Matrix | list[Any]:
    """(count, n) float32: the vectors in a message with a multivector, as rows. A list of rows if
    their lengths differ."""
    rows = [numbers(vector) for vector in message.vectors]
    if not rows or len({len(row) for row in rows}) > 1:
        return [list(map(float, row)) for row in rows]
    return np.stack(rows) if len(rows[0]) else []


STATUSES = {
    models.UpdateStatus.ACKNOWLEDGED: messages.UpdateStatus.Acknowledged,
    models.UpdateStatus.COMPLETED: messages.UpdateStatus.Completed,
    models.UpdateStatus.WAIT_TIMEOUT: messages.UpdateStatus.WaitTimeout,
}


# Points


def update_answer(result: models.UpdateResult, seconds: float) -> Message:
    """The response to a write."""
    return messages.PointsOperationResponse(result=_update(result), time=seconds)


def updated_each(results: list[models.UpdateResult], seconds: float) -> Message:
    """The response to several writes."""
    return messages.UpdateBatchResponse(result=map(_update, results), time=seconds)


def _update(result: models.UpdateResult) -> Message:
    return messages.UpdateResult(operation_id=result.operation_id, status=STATUSES[result.status])


def hits_answer(kind: type[Message]) -> Callable[[Any, float], Message]:
    """A function that makes a response of this type from hits."""

    def write(result: Any, seconds: float) -> Message:
        return kind(result=_hits(getattr(result, "points", result)), time=seconds)

    return write


def scored_each(kind: type[Message]) -> Callable[[Any, float], Message]:
    """A function that makes a response of this type from the hits of several requests."""

    def write(results: Any, seconds: float) -> Message:
        several = [{"result": _hits(getattr(result, "points", result))} for result in results]
        return kind(result=several, time=seconds)

    return write


def groups_answer(kind: type[Message]) -> Callable[[Any, float], Message]:
    """A function that makes a response of this type from hits in groups."""

    def write(result: models.GroupsResult, seconds: float) -> Message:
        return kind(result={"groups": map(_group, result.groups)}, time=seconds)

    return write


def _hits(points: Iterable[models.ScoredPoint]) -> list[Any]:
    return [_hit(point) for point in points]


def _hit(point: models.ScoredPoint) -> dict[str, Any]:
    fields = _fields(point)
    fields["score"] = point.score
    fields["version"] = point.version
    return fields


def _fields(point: Any) -> dict[str, Any]:
    """The fields of a message that a hit and a point read by id have in common: id, payload,
    vectors and order value."""
    fields: dict[str, Any] = {"id": id_field_of(point.id)}
    if point.payload:
        fields["payload"] = fields_of(point.payload)
    if point.vector is not None:
        fields["vectors"] = vectors_field_of(point.vector)
    order = point.order_value
    if order is not None:
        fields["order_value"] = {"int" if type(order) is int else "float": order}
    return fields


def _group(group: Any) -> dict[str, Any]:
    group_id = group.id
    if type(group_id) is str:
        id_field: dict[str, Any] = {"string_value": group_id}
    else:
        id_field = {"integer_value" if group_id < 0 else "unsigned_value": group_id}
    fields = {"id": id_field, "hits": _hits(group.hits)}
    return fields if group.lookup is None else {**fields, "lookup": _fields(group.lookup)}


def records(points: list[models.Record], seconds: float) -> Message:
    """The response with the points that were requested by their ids."""
    return messages.GetResponse(result=map(_fields, points), time=seconds)


def page(result: Any, seconds: float) -> Message:
    """The response with a page of points, and the offset of the next page."""
    after = result["next_page_offset"]
    return messages.ScrollResponse(
        result=map(_fields, result["points"]),
        next_page_offset=None if after is None else id_field_of(after),
        time=seconds,
    )


def count(result: models.CountResult, seconds: float) -> Message:
    """The response with a number of points."""
    return messages.CountResponse(result={"count": result.count}, time=seconds)


def facet(response: models.FacetResponse, seconds: float) -> Message:
    """The response with values and their counts."""
    hits = [{"value": _facet_value(hit.value), "count": hit.count} for hit in response.hits]
    return messages.FacetResponse(hits=hits, time=seconds)


def _facet_value(value: Any) -> dict[str, Any]:
    kinds = {bool: "bool_value", int: "integer_value"}
    return {kinds.get(type(value), "string_value"): value}


def pairs(response: models.SearchMatrixPairsResponse, seconds: float) -> Message:
    """The response with a list in which each element has two point ids and their similarity."""
    every = [
        {"a": id_field_of(pair.a), "b": id_field_of(pair.b), "score": pair.score}
        for pair in response.pairs
    ]
    return messages.SearchMatrixPairsResponse(result={"pairs": every}, time=seconds)


def offsets(response: models.SearchMatrixOffsetsResponse, seconds: float) -> Message:
    """The response with the similarities of pairs of points. The points are given by two arrays
    with offsets into a list of ids."""
    result = {
        "offsets_row": response.offsets_row,
        "offsets_col": response.offsets_col,
        "scores": response.scores,
        "ids": map(id_field_of, response.ids),
    }
    return messages.SearchMatrixOffsetsResponse(result=result, time=seconds)


# Collections


def done(kind: type[Message]) -> Callable[[bool, float], Message]:
    """A function that makes a response of this type. The response says whether an operation was
    executed."""
    return lambda result, seconds: kind(result=result, time=seconds)


def collections(response: models.CollectionsResponse, seconds: float) -> Message:
    """The response with the names of the collections."""
    named = [{"name": description.name} for description in response.collections]
    return messages.ListCollectionsResponse(collections=named, time=seconds)


def collection(info: models.CollectionInfo, seconds: float) -> Message:
    """The response with the information about a collection."""
    result = RestToGrpc.convert_collection_info(info)
    return messages.GetCollectionInfoResponse(result=result, time=seconds)


def exists(result: Any, seconds: float) -> Message:
    """The response that says whether a collection exists."""
    return messages.CollectionExistsResponse(result=result, time=seconds)


def aliases(response: Any, seconds: float) -> Message:
    """The response with the aliases of collections."""
    every = response["aliases"] if isinstance(response, dict) else response.aliases
    named = [
        {"alias_name": alias.alias_name, "collection_name": alias.collection_name}
        for alias in every
    ]
    return messages.ListAliasesResponse(aliases=named, time=seconds)


def cluster(info: models.CollectionClusterInfo, seconds: float) -> Message:
    """The response with the shards of a collection, all of which are on this server."""
    answer = RestToGrpc.convert_collection_cluster_info(info)
    answer.time = seconds
    return answer


def shard_keys(result: Any, seconds: float) -> Message:
    """The response with the shard keys of a collection: an empty list."""
    return messages.ListShardKeysResponse(time=seconds)


# Snapshots, and the server


def snapshot(description: models.SnapshotDescription, seconds: float) -> Message:
    """The response with the description of a snapshot."""
    described = RestToGrpc.convert_snapshot_description(description)
    return messages.CreateSnapshotResponse(snapshot_description=described, time=seconds)


def snapshots(descriptions: list[models.SnapshotDescription], seconds: float) -> Message:
    """The response with the descriptions of snapshots."""
    described = map(RestToGrpc.convert_snapshot_description, descriptions)
    return messages.ListSnapshotsResponse(snapshot_descriptions=described, time=seconds)


def snapshot_deleted(result: Any, seconds: float) -> Message:
    """The response that confirms that a snapshot was deleted."""
    return messages.DeleteSnapshotResponse(time=seconds)


def health(response: Response, seconds: float) -> Message:
    """The response with the version of the API."""
    body = orjson.loads(response.body)
    return messages.HealthCheckReply(title=body["title"], version=body["version"])
