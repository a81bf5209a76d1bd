"""What methods return, as the messages that answer; each takes the result and the seconds that it
took."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
import qdrant_client.grpc
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from retrieval_store.server.answers import Answer
from retrieval_store.server.rpc.values import (
    Message,
    fields_of,
    id_field_of,
    vectors_field_of,
)

messages: Any = qdrant_client.grpc  # whose types know no dicts in the place of messages
STATUSES = {
    models.UpdateStatus.ACKNOWLEDGED: messages.UpdateStatus.Acknowledged,
    models.UpdateStatus.COMPLETED: messages.UpdateStatus.Completed,
    models.UpdateStatus.WAIT_TIMEOUT: messages.UpdateStatus.WaitTimeout,
}


# Points


def updated(found: models.UpdateResult, seconds: float) -> Message:
    """What became of a write."""
    return messages.PointsOperationResponse(result=_update(found), time=seconds)


def updated_each(found: list[models.UpdateResult], seconds: float) -> Message:
    """The same of several."""
    return messages.UpdateBatchResponse(result=map(_update, found), time=seconds)


def _update(found: models.UpdateResult) -> Message:
    return messages.UpdateResult(operation_id=found.operation_id, status=STATUSES[found.status])


def scored(kind: type[Message]) -> Callable[[Any, float], Message]:
    """Hits, as a message of this kind."""

    def write(found: Any, seconds: float) -> Message:
        return kind(result=_hits(getattr(found, "points", found)), time=seconds)

    return write


def scored_each(kind: type[Message]) -> Callable[[Any, float], Message]:
    """The hits of several requests."""

    def write(found: Any, seconds: float) -> Message:
        several = [{"result": _hits(getattr(one, "points", one))} for one in found]
        return kind(result=several, time=seconds)

    return write


def grouped(kind: type[Message]) -> Callable[[Any, float], Message]:
    """Hits in groups."""

    def write(found: models.GroupsResult, seconds: float) -> Message:
        return kind(result={"groups": map(_group, found.groups)}, time=seconds)

    return write


def _hits(points: Iterable[models.ScoredPoint]) -> list[Any]:
    return [_hit(point) for point in points]


def _hit(point: models.ScoredPoint) -> dict[str, Any]:
    fields = _fields(point)
    fields["score"] = point.score
    fields["version"] = point.version
    return fields


def _fields(point: Any) -> dict[str, Any]:
    """What hits and records have."""
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
    given = group.id
    if type(given) is str:
        found: dict[str, Any] = {"string_value": given}
    else:
        found = {"integer_value" if given < 0 else "unsigned_value": given}
    fields = {"id": found, "hits": _hits(group.hits)}
    return fields if group.lookup is None else {**fields, "lookup": _fields(group.lookup)}


def records(found: list[models.Record], seconds: float) -> Message:
    """Points that were asked for by their ids."""
    return messages.GetResponse(result=map(_fields, found), time=seconds)


def page(found: Any, seconds: float) -> Message:
    """A page of points, and where the next one begins."""
    after = found["next_page_offset"]
    return messages.ScrollResponse(
        result=map(_fields, found["points"]),
        next_page_offset=None if after is None else id_field_of(after),
        time=seconds,
    )


def count(found: models.CountResult, seconds: float) -> Message:
    """How many points there are."""
    return messages.CountResponse(result={"count": found.count}, time=seconds)


def facet(found: models.FacetResponse, seconds: float) -> Message:
    """How often each value is there."""
    hits = [{"value": _facet_value(one.value), "count": one.count} for one in found.hits]
    return messages.FacetResponse(hits=hits, time=seconds)


def _facet_value(value: Any) -> dict[str, Any]:
    kinds = {bool: "bool_value", int: "integer_value"}
    return {kinds.get(type(value), "string_value"): value}


def pairs(found: models.SearchMatrixPairsResponse, seconds: float) -> Message:
    """How near points are to each other."""
    every = [
        {"a": id_field_of(one.a), "b": id_field_of(one.b), "score": one.score}
        for one in found.pairs
    ]
    return messages.SearchMatrixPairsResponse(result={"pairs": every}, time=seconds)


def offsets(found: models.SearchMatrixOffsetsResponse, seconds: float) -> Message:
    """The same by their places."""
    result = {
        "offsets_row": found.offsets_row,
        "offsets_col": found.offsets_col,
        "scores": found.scores,
        "ids": map(id_field_of, found.ids),
    }
    return messages.SearchMatrixOffsetsResponse(result=result, time=seconds)


# Collections


def done(kind: type[Message]) -> Callable[[bool, float], Message]:
    """Whether something was done."""
    return lambda found, seconds: kind(result=found, time=seconds)


def collections(found: models.CollectionsResponse, seconds: float) -> Message:
    """Which collections there are."""
    named = [{"name": one.name} for one in found.collections]
    return messages.ListCollectionsResponse(collections=named, time=seconds)


def collection(found: models.CollectionInfo, seconds: float) -> Message:
    """One collection."""
    result = RestToGrpc.convert_collection_info(found)
    return messages.GetCollectionInfoResponse(result=result, time=seconds)


def exists(found: Any, seconds: float) -> Message:
    """Whether a collection is there."""
    return messages.CollectionExistsResponse(result=found, time=seconds)


def aliases(found: Any, seconds: float) -> Message:
    """Other names of collections."""
    every = found["aliases"] if isinstance(found, dict) else found.aliases
    named = [
        {"alias_name": one.alias_name, "collection_name": one.collection_name} for one in every
    ]
    return messages.ListAliasesResponse(aliases=named, time=seconds)


def cluster(found: models.CollectionClusterInfo, seconds: float) -> Message:
    """Where a collection is: here."""
    answer = RestToGrpc.convert_collection_cluster_info(found)
    answer.time = seconds
    return answer


def shard_keys(found: Any, seconds: float) -> Message:
    """The shard keys of a collection: there are none."""
    return messages.ListShardKeysResponse(time=seconds)


# Snapshots, and the server


def snapshot(found: models.SnapshotDescription, seconds: float) -> Message:
    """One snapshot."""
    described = RestToGrpc.convert_snapshot_description(found)
    return messages.CreateSnapshotResponse(snapshot_description=described, time=seconds)


def snapshots(found: list[models.SnapshotDescription], seconds: float) -> Message:
    """Those that there are."""
    described = map(RestToGrpc.convert_snapshot_description, found)
    return messages.ListSnapshotsResponse(snapshot_descriptions=described, time=seconds)


def snapshot_deleted(found: Any, seconds: float) -> Message:
    """That one isn't there any more."""
    return messages.DeleteSnapshotResponse(time=seconds)


def health(found: Answer, seconds: float) -> Message:
    """Which version of the API is spoken."""
    told = orjson.loads(found.body)
    return messages.HealthCheckReply(title=told["title"], version=told["version"])
