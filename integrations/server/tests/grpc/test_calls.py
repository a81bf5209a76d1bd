"""Properties of gRPC calls that no recording has: encoded payloads, snapshots, and small messages
that request much."""

import pytest
from qdrant_client import grpc as q

from integrations.server.tests.grpc.calling import (
    calls,
    code,
    dense,
    make_collection,
    refusal,
    upsert,
)

WITH_ALL = {
    "with_payload": q.WithPayloadSelector(enable=True),
    "with_vectors": q.WithVectorsSelector(enable=True),
}


def ids(numbers):
    return [q.PointId(num=one) for one in numbers]


@pytest.fixture
def empty():
    with calls() as found:
        yield found


def test_vectors_without_numbers_have_no_count(empty):
    """A list would be made for each of them, while no other request is answered."""
    make_collection(empty)
    vector = q.Vector(vectors_count=2**32 - 1)
    sent = q.RecommendPoints(collection_name="c", positive_vectors=[vector], limit=1)
    kind, words = refusal(empty.points.Recommend, sent)
    assert kind == "INVALID_ARGUMENT" and "0 numbers, 4294967295 vectors" in words
    sent = upsert(q.PointStruct(id=q.PointId(num=1), vectors=q.Vectors(vector=vector)))
    assert code(empty.points.Upsert, sent) == "INVALID_ARGUMENT"


def test_payloads_are_returned_unchanged(empty):
    make_collection(empty)
    values = {
        "null": q.Value(null_value=0),
        "nothing": q.Value(),
        "integer": q.Value(integer_value=-(2**63)),
        "number": q.Value(double_value=0.1),
        "nan": q.Value(double_value=float("nan")),
        "text": q.Value(string_value="ü😀\0"),
        "list": q.Value(list_value=q.ListValue(values=[q.Value(bool_value=False), q.Value()])),
        "object": q.Value(struct_value=q.Struct(fields={"": q.Value(string_value="")})),
    }
    sent = q.PointStruct(id=q.PointId(num=1), vectors=dense([1, 2]), payload=values)
    empty.points.Upsert(upsert(sent))
    request = q.GetPoints(collection_name="c", ids=ids([1]), **WITH_ALL)
    found = dict(empty.points.Get(request).result[0].payload)
    null = q.Value(null_value=0)
    values |= {"nothing": null, "nan": null}  # JSON has no other
    values["list"].list_value.values[1].CopyFrom(null)
    assert found == values


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, -(2**63) - 1])
def test_integers_that_a_message_cannot_hold_are_floats(empty, value):
    from retrieval_store_server.grpc.write import field_of

    assert q.Value(**field_of(value)).double_value == float(value)


def test_snapshots_are_created_listed_and_deleted(tmp_path):
    with calls(tmp_path / "s") as calling:
        make_collection(calling)
        snapshots = calling.snapshots
        made = snapshots.Create(q.CreateSnapshotRequest(collection_name="c"))
        name = made.snapshot_description.name
        assert made.snapshot_description.size > 0
        assert made.snapshot_description.creation_time.seconds > 1_600_000_000
        request = q.ListSnapshotsRequest(collection_name="c")
        listed = snapshots.List(request).snapshot_descriptions
        assert [one.name for one in listed] == [name]
        gone = q.DeleteSnapshotRequest(collection_name="c", snapshot_name=name)
        assert code(snapshots.Delete, gone) == "OK"
        assert code(snapshots.Delete, gone) == "NOT_FOUND"
        other = q.DeleteSnapshotRequest(collection_name="c", snapshot_name="../catalog.sqlite")
        assert code(snapshots.Delete, other) in ("NOT_FOUND", "INVALID_ARGUMENT")
        whole = snapshots.CreateFull(q.CreateFullSnapshotRequest()).snapshot_description.name
        listed = snapshots.ListFull(q.ListFullSnapshotsRequest()).snapshot_descriptions
        assert [one.name for one in listed] == [whole]
        snapshots.DeleteFull(q.DeleteFullSnapshotRequest(snapshot_name=whole))
        assert not snapshots.ListFull(q.ListFullSnapshotsRequest()).snapshot_descriptions


def text(said, model="wordllama"):
    return q.Document(text=said, model=model)
